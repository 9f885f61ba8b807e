"""What is for a developer's database: `migrate dev`, the loop, and `db push`, without revisions."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from itertools import groupby

import psycopg
from psycopg import sql

from leadctl.apps.registry import App
from leadctl.catalog.definitions import Catalog, compare, without_grants
from leadctl.errors import (
    OperationFailed,
    Protected,
    RowsWithoutValue,
    UnknownDatabase,
    UsageError,
)
from leadctl.journal.guard import Consent, permit, protection, require_identity
from leadctl.journal.lock import schema_lock
from leadctl.journal.runs import journaled
from leadctl.migrate.ddl.autodetector import changes
from leadctl.migrate.ddl.steps import Fill, Phase, Stage, Step, literal, losses, plain
from leadctl.migrate.new import Ask, new
from leadctl.migrate.planner import Planner
from leadctl.migrate.revisions import read_history
from leadctl.migrate.schema_sources import (
    database_schema,
    desired_schema,
    models_schema,
    recorded_schema,
)
from leadctl.migrate.script import Statement
from leadctl.migrate.status import refuse_other_apps
from leadctl.migrate.up import MigrateResult, up
from leadctl.migrate.writer import Draft, WrittenRevision
from leadctl.postgres.connect import Connection, Timeouts, connect, set_timeouts
from leadctl.postgres.provision import connect_or_create, ensure_schema
from leadctl.postgres.queries import written_by_server, written_by_user
from leadctl.postgres.target import Target
from leadctl.postgres.translate import translate
from leadctl.progress import Narrate, Progress
from leadctl.sql.effects import effects
from leadctl.text import counted

_FILLED = "The rows were filled in the revision before; they are held against it in the next one."
_LOCAL = {"localhost", "127.0.0.1", "::1"}


@dataclass(frozen=True)
class Dev:
    """What was written, and where the database is now."""

    written: tuple[WrittenRevision, ...]
    migrated: MigrateResult


@dataclass(frozen=True)
class Push:
    """What was executed."""

    app: str
    database: str
    schema: str
    statements: tuple[str, ...]
    lost: tuple[str, ...]
    """What of the rows went, in words."""


def dev(
    target: Target,
    app: App,
    message: str,
    *,
    renames: Sequence[str] = (),
    fills: Sequence[str] = (),
    ask: Ask | None = None,
    consent: Consent,
    timeouts: Timeouts,
    narrate: Narrate,
    progress: Progress,
) -> Dev:
    """Apply what is pending, write the revisions that the models ask for, show and apply them.

    The rows are looked at before anything is written: what would be lost wants consent, and a
    column that becomes required a value for the rows that have none, asked for or among `fills`
    ("table.column=SQL").  Raises Protected for a protected database, which is no place to develop
    on, NotConfirmed, RowsWithoutValue, and what `up` and `new` raise.
    """
    given = dict(_fill(text) for text in fills)

    def apply() -> MigrateResult:
        return up(
            target, app, consent=Consent(), timeouts=timeouts, narrate=narrate, progress=progress
        )

    hint = "Develop on a database of your own, and write revisions with migrate new."
    with suppress(UnknownDatabase), connect(target, "dev", read_only=True) as connection:
        _refuse_protected(connection, target, "migrate dev", hint)
    first = apply()

    def ready(drafts: Sequence[Draft]) -> Sequence[Draft]:
        with connect(target, "dev", rows=True, read_only=True) as connection:
            filled = _filled(connection, drafts, given, ask)
            planner = Planner(app, read_history(app.migrations), connection, target.schema)
            lost = list(_lost(planner, filled))
            for each in lost:
                narrate(f"It loses {each}.")
            if lost:
                permit(connection, target, "migrate dev", consent)
        return filled

    written = new(
        target, app, message, renames=renames, ask=ask, ready=ready, narrate=narrate
    ).revisions
    for each in written:
        narrate(each.path.read_text(encoding="utf-8").rstrip())
    return Dev(written, apply() if written else first)


def _lost(planner: Planner, drafts: Sequence[Draft]) -> Iterator[str]:
    """Yield what of the rows that are there would go, and of how many."""
    for step in (each for draft in drafts for each in draft.up if each.sql):
        found = planner.statement(Statement(step.sql, transactional=True)).effects
        counts = [effect.loss for effect in found if effect.loss]
        if counts:
            about = "" if counts[0].exact else "about "
            rows = "rows" if counts[0].rows is None else about + counted(counts[0].rows, "row")
            yield f"{step.loses or counts[0].what}: that of {rows}"
            continue
        # A cast, or a value that an enum loses: only the server could say of which rows.
        untold = step.loses and not any(each.drops for each in effects(step.sql))
        if untold and (not found or any(effect.rows != 0 for effect in found)):
            yield step.loses


def _fill(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not (equals and value.strip() and "." in name):
        raise UsageError(
            f"--fill {text} is not TABLE.COLUMN=SQL.",
            hint="For example: --fill \"companies.website='unknown'\"",
        )
    return name.strip(), value.strip()


def _filled(
    connection: Connection, drafts: Sequence[Draft], given: Mapping[str, str], ask: Ask | None
) -> Sequence[Draft]:
    """Add what gives a value to the rows that lack one in a column that becomes required."""
    missing = {
        _column(step.requires): step.requires
        for draft in drafts
        for step in draft.up
        if step.requires
    }
    unknown = sorted(given.keys() - missing.keys())
    if unknown:
        raise UsageError(
            f"--fill {', '.join(unknown)}: it does not become required.",
            hint=f"What does: {', '.join(sorted(missing)) or 'nothing'}.",
        )
    fills = []
    for name, (table, own) in missing.items():
        rows = _rows_without(connection, table, own)
        value = given.get(name)
        if value is None and rows:
            value = _asked(connection, table, name, rows, ask)
        if value is not None:
            _check_value(connection, table, name, value)
            fill = Fill(table, f"{own} = {value}", f"{own} IS NULL")
            fills.append(Step("", Phase.DEPENDENT, stage=Stage.FILL, fill=fill))
    return _with_fills(drafts, fills) if fills else drafts


def _column(required: tuple[str, str]) -> str:
    return ".".join(map(plain, required))


def _with_fills(drafts: Sequence[Draft], fills: Sequence[Step]) -> Sequence[Draft]:
    filled = {(step.fill.table, step.fill.where) for step in fills if step.fill}

    def told(step: Step) -> Step:
        table, own = step.requires or ("", "")
        return replace(step, why=_FILLED) if (table, f"{own} IS NULL") in filled else step

    existing = [step for draft in drafts if draft.stage is Stage.FILL for step in draft.up]
    others = [
        replace(draft, up=[told(step) for step in draft.up])
        for draft in drafts
        if draft.stage is not Stage.FILL
    ]
    return sorted(
        [*others, Draft(Stage.FILL, [*existing, *fills], [])], key=lambda draft: draft.stage
    )


def _rows_without(connection: Connection, table: str, own: str) -> int:
    """Count the rows that have no value: all of them, where the column is new."""
    for condition in (f"{own} IS NULL", "true"):
        try:
            with connection.transaction():
                query = sql.SQL("SELECT pg_catalog.count(*) FROM {} WHERE {}")
                row = connection.execute(
                    query.format(*map(written_by_server, (table, condition)))
                ).fetchone()
                return int(row[0]) if row else 0
        except psycopg.errors.UndefinedColumn:
            continue
        except psycopg.errors.UndefinedTable:  # it is renamed, or made, by the same change
            break
    return 0


def _asked(connection: Connection, table: str, name: str, rows: int, ask: Ask | None) -> str:
    said = f"{counted(rows, 'row')} of {plain(table)} {'has' if rows == 1 else 'have'} no {name}"
    answer = ask(f"{said}. A value or SQL for them, Enter stops") if ask else ""
    if not answer:
        raise RowsWithoutValue(
            f"{said}, which becomes required. Nothing was written.",
            hint=f"Say what they get, in SQL: --fill \"{name}='…'\". Or give the column a "
            "server_default, or let it be empty.",
        )
    try:
        _check_value(connection, table, name, answer)
    except UsageError:
        return literal(answer)
    return answer


def _check_value(connection: Connection, table: str, name: str, value: str) -> None:
    """Raise UsageError where the server does not take a value for a column."""
    try:
        with connection.transaction():
            query = sql.SQL("EXPLAIN SELECT ({}) FROM {}")
            connection.execute(query.format(written_by_user(value), written_by_server(table)))
    except psycopg.Error as error:
        raise UsageError(
            f"{value} is no value for {name}: {error.diag.message_primary or error}.",
            hint=f"It is SQL: a text stands in quotes, as in --fill \"{name}='unknown'\"",
        ) from None


def push(
    target: Target,
    app: App,
    *,
    consent: Consent,
    timeouts: Timeouts,
    narrate: Narrate,
) -> Push:
    """Make the schema what the models say.

    One transaction, but for enum values that are used at once.  Tables and the like that the app
    did not make are left alone where it is known what it made.  Raises Protected for a database
    that is protected or not on this machine, and NotConfirmed where rows would go.
    """
    _refuse_remote(target)
    with suppress(UnknownDatabase), connect(target, "push", read_only=True) as connection:
        _permit_push(connection, target)
    connect_or_create(target, "push", narrate).close()
    with schema_lock(target, "db push", timeouts.lock_wait, narrate) as session:
        _permit_push(session, target)
        refuse_other_apps(session, target, app)
        ensure_schema(session, target, narrate)
        found = database_schema(session, target, app)
        record = recorded_schema(session, target, app)
        models = models_schema(target, app)
        wanted = desired_schema(app, models, found, record.own if record else ())
        steps = changes(found, wanted)
        lost = losses(steps)
        for each in lost:
            narrate(f"It loses {each}.")
        if lost:
            permit(session, target, "db push", consent)
        if steps:
            with journaled(target, "push", app.name) as entry:
                with connect(target, "push", rows=True) as connection:
                    set_timeouts(connection, timeouts)
                    _execute(connection, steps)
                entry.note(statements=len(steps))
                _check(database_schema(session, target, app), wanted)
    statements = tuple(step.sql for step in steps)
    return Push(app.name, target.database, target.schema, statements, tuple(lost))


def _permit_push(connection: Connection, target: Target) -> None:
    require_identity(connection, "db push")
    hint = "Write a revision with leadctl migrate new, and apply it with leadctl migrate."
    _refuse_protected(connection, target, "db push", hint)


def _refuse_remote(target: Target) -> None:
    hosts = str(target.url.params.get("host", "")).split(",")
    if target.embedded or all(not host or host in _LOCAL or host[0] == "/" for host in hosts):
        return
    raise Protected(
        f"db push is refused on {target.describe()}: it is not on this machine.",
        hint="Write a revision with leadctl migrate new, and apply it there with leadctl migrate.",
    )


def _refuse_protected(connection: Connection, target: Target, verb: str, hint: str) -> None:
    reason = protection(connection, target)
    if reason:
        raise Protected(
            f"{verb} is refused on {target.database}: {reason}. Nothing was changed.", hint=hint
        )


def _execute(connection: Connection, steps: Sequence[Step]) -> None:
    for _, group in groupby(steps, key=lambda step: step.stage):
        with connection.transaction():
            for step in group:
                try:
                    connection.execute(step.sql.encode())
                except psycopg.Error as error:
                    reason = translate(error) or OperationFailed(str(error))
                    raise OperationFailed(
                        f"{reason.message}: {' '.join(step.sql.split())}",
                        hint="Change the rows that are in the way; what this stage did is undone.",
                    ) from error


def _check(found: Catalog, wanted: Catalog) -> None:
    left = without_grants(compare(found, wanted))
    if left:
        raise OperationFailed(
            "Left over is what cannot be changed in place: "
            f"{', '.join(f'{each.change} {each.object}' for each in left)}.",
            hint="Change it by hand; leadctl migrate diff shows it.",
        )
