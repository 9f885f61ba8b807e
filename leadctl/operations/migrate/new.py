"""Writing a revision: what the models have and the database lacks, as autogenerate sees it."""

import os
import re
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import sqlalchemy
from alembic.autogenerate import RevisionContext
from alembic.autogenerate.render import _repr_type
from alembic.operations.ops import MigrationScript
from alembic.runtime.environment import EnvironmentContext
from sqlalchemy.dialects import postgresql
from sqlalchemy.exc import SAWarning
from sqlalchemy.types import TypeDecorator, TypeEngine

from leadctl.apps import alembic_environment
from leadctl.apps.registry import App, load_metadata
from leadctl.db import state
from leadctl.db.connect import connect
from leadctl.db.engine import run_engine
from leadctl.db.target import Target
from leadctl.errors import MigrationsInvalid, OperationFailed, UnknownDatabase
from leadctl.operations.database import ensure_database
from leadctl.operations.migrate.complete import complete, names_to_compare, rendering
from leadctl.operations.migrate.revisions import History, read_history
from leadctl.operations.migrate.script import script_directory

Narrate = Callable[[str], None]

_NUMBERED = re.compile(r"(?P<prefix>.*?)(?P<number>\d{4})$")


@dataclass(frozen=True)
class NewRevision:
    """A revision that was written; `path` is None where there was nothing to write."""

    app: str
    revision: str | None
    follows: str | None
    path: Path | None


def new(
    target: Target,
    app: App,
    message: str,
    *,
    narrate: Narrate = lambda _: None,
    empty: bool = False,
) -> NewRevision:
    """Write the revision that takes the database to the models; `empty` one without operations.

    A database that is missing is made: the first revision is written before any is applied.
    Raises OperationFailed where revisions are pending: the difference would hold theirs, too.
    """
    _check_writable(app)
    app.migrations.mkdir(parents=True, exist_ok=True)
    history = read_history(app.migrations)
    if not empty:
        _refuse_pending(target, app, history, narrate)
    revision_id = _next_id(app, history)
    written = _write(target, app, history, message, revision_id, empty=empty)
    if written is None:
        return NewRevision(app.name, None, history.head, None)
    return NewRevision(app.name, revision_id, history.head, written)


def _check_writable(app: App) -> None:
    if not os.access(app.migrations if app.migrations.exists() else app.migrations.parent, os.W_OK):
        raise MigrationsInvalid(
            f"The folder {app.migrations} cannot be written to.",
            hint="Declare an app of your own in leadctl.toml for models of your own."
            if app.builtin
            else "Make it writable.",
        )


def _refuse_pending(target: Target, app: App, history: History, narrate: Narrate) -> None:
    try:
        connection = connect(target, "new", read_only=True)
    except UnknownDatabase:
        ensure_database(target, narrate)
        connection = connect(target, "new", read_only=True)
    with connection:
        current = state.current_revisions(connection, target.schema, app.version_table) or []
    pending = history.pending(current)
    if pending:
        raise OperationFailed(
            f"{target.database} is not what the new revision would follow: pending are "
            f"{', '.join(revision.id for revision in pending)}.",
            hint="Apply them first with: leadctl migrate",
        )


def _next_id(app: App, history: History) -> str:
    """Continue the numbering of the history where it has one."""
    numbered = _NUMBERED.match(history.head or f"{app.name}_0000")
    if numbered is None:
        return os.urandom(6).hex()
    return f"{numbered['prefix']}{int(numbered['number']) + 1:04d}"


def _write(
    target: Target, app: App, history: History, message: str, revision_id: str, *, empty: bool
) -> Path | None:
    config, script = script_directory(history)
    slug = re.sub(r"\W+", "_", message.lower()).strip("_")[:40]
    number = _NUMBERED.match(revision_id)
    script.file_template = f"{number['number'] if number else revision_id}_{slug}"
    metadata = load_metadata(app)
    options = {
        "compare_server_default": True,
        "render_item": _render_type,
        **names_to_compare(metadata),
        **_own_options(app),
    }
    options["render_item"] = rendering(options["render_item"])
    found: list[MigrationScript] = []
    command: dict[str, Any] = {
        "message": message,
        "autogenerate": not empty,
        "sql": False,
        "head": "head",
        "splice": False,
        "branch_label": None,
        "version_path": str(history.folder),
        "rev_id": revision_id,
        "depends_on": None,
    }
    revision = RevisionContext(config, script, command)
    if empty:
        return _path(next(iter(revision.generate_scripts())))

    def compare(heads: Any, context: Any) -> list[Any]:
        revision.run_autogenerate(heads, context)
        return []

    def keep(_context: Any, _revision: Any, directives: list[MigrationScript]) -> None:
        upgrade = directives[0].upgrade_ops
        if upgrade is not None and upgrade.is_empty():
            directives.clear()
        for directive in directives:
            complete(directive, metadata, connection)
        found.extend(directives)

    with (
        run_engine(target, "new").connect() as connection,
        EnvironmentContext(config, script, fn=compare) as environment,
    ):
        environment.configure(
            connection=connection,
            target_metadata=metadata,
            process_revision_directives=keep,
            **options,
        )
        with warnings.catch_warnings(), environment.begin_transaction():
            warnings.filterwarnings("ignore", "Cannot correctly sort tables", SAWarning)
            environment.run_migrations()
        connection.rollback()
    return _path(next(iter(revision.generate_scripts()))) if found else None


def _own_options(app: App) -> dict[str, Any]:
    """Return what a team's own env.py says of comparing and rendering, and of Alembic's table."""
    if app.environment is None:
        return {}
    given = alembic_environment.options(app)
    return {
        name: value
        for name, value in given.items()
        if name in alembic_environment.HONOURED - {"target_metadata"} and value is not None
    }


def _render_type(kind: str, item: Any, context: Any) -> str | Literal[False]:
    """Render a type that wraps another as what it is in the database.

    A revision then needs none of the code that it was written from, which goes on changing.
    """
    if kind != "type" or not isinstance(item, TypeDecorator):
        return False
    inner = item.load_dialect_impl(context.dialect)
    return _repr_type(_public(item.impl_instance if inner is item else inner), context)


def _public(type_: TypeEngine[Any]) -> TypeEngine[Any]:
    """Return a type without what a driver's dialect makes of it: one that a revision can name."""
    for known in () if isinstance(type_, TypeDecorator) else type(type_).__mro__:
        if any(getattr(place, known.__name__, None) is known for place in (postgresql, sqlalchemy)):
            return type_.adapt(known)
    return type_


def _path(script: Any) -> Path:
    return Path(script.path)
