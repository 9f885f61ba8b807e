"""Where the targets of a fleet stand, read for many at once.

One question for a hundred schemas costs what it costs for one.  What is not plainly in order
(another app's schema, an edited or a missing revision) is no standing here: the verb itself says
what is wrong.
"""

import threading
from collections.abc import Hashable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace

import psycopg

from leadctl.apps.registry import App
from leadctl.errors import LeadctlError
from leadctl.journal import records, state
from leadctl.journal.records import AppliedRevision
from leadctl.migrate.integrity import missing_revisions
from leadctl.migrate.revisions import History
from leadctl.postgres.connect import Connection, connect, set_session
from leadctl.postgres.queries import queries_of
from leadctl.postgres.target import Target

QUERIES = queries_of(__file__, "fleet.sql")
_AT_ONCE = 100
"""Schemas that one question is about: each is a lock, and a query as long as they are many."""


@dataclass(frozen=True)
class Standing:
    """Which revisions a schema is at, and what was recorded of them."""

    current: tuple[str, ...]
    recorded: tuple[AppliedRevision, ...] = ()
    has_table: bool = False
    """Whether it has Alembic's table."""
    is_plain: bool = field(default=True, compare=False)
    """Whether that table is read with this role's own rights."""

    def is_in_order(self, app: App, history: History) -> bool:
        """Whether all that was applied is the app's, and is in its folder as it was applied."""
        if {each.app for each in self.recorded} - {app.name}:
            return False
        if missing_revisions(history, self.current, self.recorded):
            return False
        applied = history.ancestors(self.current)
        return all(
            history.get(each.revision).is_recorded_as(each.checksum)
            for each in self.recorded
            if each.revision in applied
        )


def database_key(target: Target) -> Hashable:
    """Return what targets share that are schemas of one database, reached in one way."""
    return replace(target, schema="")


class Standings:
    """The standings of targets, read when the first of some is asked for, and given out once."""

    def __init__(self, targets: Iterable[Target], app: App) -> None:
        self._app = app
        self._guard = threading.Lock()
        self._known: dict[Target, Standing | None] = {}
        self._with: dict[Target, list[Target]] = {}
        groups: dict[Hashable, list[Target]] = {}
        for target in targets:
            groups.setdefault(database_key(target), []).append(target)
        for group in groups.values():
            for start in range(0, len(group), _AT_ONCE):
                chunk = group[start : start + _AT_ONCE]
                self._with |= dict.fromkeys(chunk, chunk)

    def take(self, target: Target) -> Standing | None:
        """Return where a target stands; None where it must be asked alone."""
        with self._guard:
            chunk = self._with.pop(target, None)
            if chunk is None:
                return None
            if target not in self._known:
                self._known |= dict.fromkeys(chunk)
                with suppress(LeadctlError, psycopg.Error):  # each says for itself what is wrong
                    with connect(target, "fleet", read_only=True) as connection:
                        set_session(connection, {"lock_timeout": "1s"})
                        schemas = [each.schema for each in chunk]
                        found = standings_on(connection, schemas, self._app)
                    self._known |= zip(chunk, found, strict=True)
            return self._known.pop(target)


def standings_on(connection: Connection, schemas: Sequence[str], app: App) -> list[Standing]:
    """Read where schemas of the connected database stand; changes nothing.

    Raises PreparedSchema, NewerState and psycopg.Error.
    """
    recorded: dict[str, list[AppliedRevision]] = {schema: [] for schema in schemas}
    if state.is_there(connection):
        state.check_version(connection)
        for schema, *values in QUERIES.rows(connection, "recorded", schemas=list(schemas)):
            recorded[schema].append(AppliedRevision(*values))
    current = records.revisions_of_schemas(connection, schemas, app.version_table)
    return [
        Standing(found.revisions, tuple(recorded[schema]), True, found.reader is None)
        if (found := current.get(schema))
        else Standing((), tuple(recorded[schema]))
        for schema in schemas
    ]
