"""What a check is, and what it answers."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import Enum
from functools import cached_property
from typing import Any

from leadctl.apps.registry import App
from leadctl.crypto import Keyring
from leadctl.db import state
from leadctl.db.connect import Connection
from leadctl.db.queries import beside
from leadctl.db.target import Target

QUERIES = beside(__file__, "health.sql")


class CheckStatus(Enum):
    """How a check went; skipped is never ok: it says that nothing is known, and why."""

    OK = "ok"
    WARNING = "warning"
    CRITICAL = "critical"
    SKIPPED = "skipped"


@dataclass(frozen=True)
class CheckResult:
    """One check's answer; `value` is its evidence in `unit`, `hint` the next step."""

    name: str
    status: CheckStatus
    value: float | str | None = None
    unit: str = ""
    message: str = ""
    hint: str = ""


@dataclass(frozen=True)
class Facts:
    """What the checks look at: a connection that may read only, and what is read through it."""

    connection: Connection
    target: Target
    app: App
    app_was_named: bool
    """Whether somebody named the app, rather than its being the default."""
    keyring: Callable[[], Keyring]
    """Reads the keyring; raises what `crypto.sources.keyring_of` raises."""

    def query(self, name: str, **params: Any) -> list[Any]:
        """Run a named block and return its rows."""
        sql = QUERIES.get(name, self.connection.info.server_version)
        return self.connection.execute(sql, {"schema": self.target.schema, **params}).fetchall()

    @cached_property
    def current(self) -> list[str] | None:
        """The revisions that the schema is at; None where it was never migrated."""
        return state.current_revisions(self.connection, self.target.schema, self.app.version_table)

    @cached_property
    def fingerprint(self) -> Mapping[str, Any] | None:
        """What the schema should look like, as recorded."""
        return state.fingerprint(
            self.connection, self.app.name, self.target.schema, self.app.version_table
        )

    @cached_property
    def tables(self) -> int:
        """How many tables the schema has, Alembic's own not counted."""
        return int(self.query("tables")[0][0])

    @property
    def is_stranger(self) -> bool:
        """Whether the database has tables, and none of them through leadctl or Alembic.

        Then nobody expects migrations there, unless the app was named.
        """
        return self.current is None and self.tables > 0 and not self.app_was_named


Check = Callable[[Facts], CheckResult | None]
"""Looks at something; None where it is not there to be looked at."""
