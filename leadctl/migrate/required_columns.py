"""Columns that become required: which rows have no value yet, and what gives them one."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace

import psycopg
from psycopg import sql

from leadctl.errors import RowsWithoutValue, UsageError
from leadctl.migrate.ddl.steps import Fill, Phase, Stage, Step, literal, plain
from leadctl.migrate.ddl.tables import require
from leadctl.migrate.drafts import Draft
from leadctl.migrate.new import Ask, Ready
from leadctl.postgres.connect import Connection, connect
from leadctl.postgres.queries import written_by_server, written_by_user
from leadctl.postgres.target import Target
from leadctl.progress import Narrate
from leadctl.text import counted

_FILLED = "The rows were filled in the revision before; they are held against it in the next one."
_TO_FILL = (
    "For new rows; those that exist are filled in the next revision, and then held against it."
)


def _fill(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not (equals and value.strip() and "." in name):
        raise UsageError(
            f"--fill {text} is not TABLE.COLUMN=SQL.",
            hint="For example: --fill \"companies.website='unknown'\"",
        )
    return name.strip(), value.strip()


_Missing = Callable[[Connection, str, str, int], str | None]
"""What is done where rows of a table have no value for a column: it may give one, or raise."""


def filling(target: Target, given: Sequence[str], ask: Ask | None, narrate: Narrate) -> Ready:
    """Return what adds fills to revisions that are not applied here, as `filled` does.

    Rows of this database that get no value are told of: others may have none such, and the
    revision can still be edited.
    """

    def told(connection: Connection, table: str, name: str, rows: int) -> str | None:
        said = _lacking(table, name, rows)
        answer = ask(f"{said}. A value or SQL for them, Enter leaves it to you") if ask else ""
        if answer:
            return _as_sql(connection, table, name, answer)
        narrate(
            f"{said}: fill them in the revision before it is applied, or write it with "
            f"--fill \"{name}='…'\"."
        )
        return None

    def ready(drafts: Sequence[Draft]) -> Sequence[Draft]:
        with connect(target, "new", rows=True, read_only=True) as connection:
            return filled(connection, drafts, given, told)

    return ready


def filled(
    connection: Connection, drafts: Sequence[Draft], given: Sequence[str], missing_value: _Missing
) -> Sequence[Draft]:
    """Add what gives a value to the rows that lack one in a column that becomes required.

    That is one of `given` ("table.column=SQL") or what `missing_value` gives.  Raises UsageError
    for one that is none, and RowsWithoutValue.
    """
    values = dict(map(_fill, given))
    missing = {
        ".".join(map(plain, step.requires)): step.requires
        for draft in drafts
        for step in draft.up
        if step.requires
    }
    unknown = sorted(values.keys() - missing.keys())
    if unknown:
        raise UsageError(
            f"--fill {', '.join(unknown)}: it does not become required.",
            hint=f"These columns do: {', '.join(sorted(missing)) or 'nothing'}.",
        )
    names = _Names(step for draft in drafts for step in draft.up)
    fills: dict[tuple[str, str], Fill] = {}
    for name, required in missing.items():
        table, own = names.before(*required)
        rows = _rows_without(connection, table, own)
        value = values.get(name)
        if value is None and rows:
            value = missing_value(connection, table, name, rows)
        if value is not None:
            _check_value(connection, table, name, value)
            _refuse_empty(connection, (table, own), name, value)
            fills[required] = Fill(
                required[0], f"{required[1]} = {value}", f"{required[1]} IS NULL"
            )
    if not fills:
        return drafts
    return _with_fills(drafts, fills) if drafts[0].safe else _with_updates(drafts, fills)


class _Names:
    """What tables and columns are called in the database, which renames of a change come to."""

    def __init__(self, steps: Iterable[Step]) -> None:
        renames = [step.renamed for step in steps if step.renamed]
        self._tables = {new: old for old, new in (each for each in renames if len(each) == 2)}
        self._columns = {
            (table, new): old for table, old, new in (each for each in renames if len(each) == 3)
        }

    def before(self, table: str, own: str) -> tuple[str, str]:
        """Return a table and a column of it as they are called now."""
        table = self._tables.get(table, table)
        return table, self._columns.get((table, own), own)


def _with_fills(drafts: Sequence[Draft], fills: Mapping[tuple[str, str], Fill]) -> Sequence[Draft]:
    """Put fills into a revision of their own, which commits batch by batch."""

    def told(draft: Draft, step: Step) -> Step:
        why = _FILLED if draft.stage > Stage.FILL else _TO_FILL
        return replace(step, why=why) if step.requires in fills else step

    new = [Step("", Phase.DEPENDENT, stage=Stage.FILL, fill=fill) for fill in fills.values()]
    existing = [step for draft in drafts if draft.stage is Stage.FILL for step in draft.up]
    others = [
        replace(draft, up=[told(draft, step) for step in draft.up])
        for draft in drafts
        if draft.stage is not Stage.FILL
    ]
    return sorted(
        [*others, Draft(Stage.FILL, [*existing, *new], [])], key=lambda draft: draft.stage
    )


def _with_updates(
    drafts: Sequence[Draft], fills: Mapping[tuple[str, str], Fill]
) -> Sequence[Draft]:
    """Put fills in front of what requires them, as statements of the same transaction."""

    def steps(step: Step) -> Iterator[Step]:
        fill = fills.get(step.requires) if step.requires else None
        if step.requires is None or fill is None:
            yield step
            return
        last = step
        if step.nullable:
            yield replace(step, sql=step.nullable, requires=None)
            last = replace(step, sql=require(fill.table, step.requires[1], {}))
        yield Step(f"UPDATE {fill.table} SET {fill.assignment} WHERE {fill.where}", step.phase)  # noqa: S608
        yield last

    return [
        replace(draft, up=[new for step in draft.up for new in steps(step)]) for draft in drafts
    ]


def _rows_without(connection: Connection, table: str, own: str, value: str = "NULL") -> int:
    """Count the rows that have no value, nor get one: all of them, where the column is new."""
    for condition in (f"{own} IS NULL", "true"):
        query = sql.SQL("SELECT pg_catalog.count(*) FROM {} WHERE {} AND ({}) IS NULL").format(
            written_by_server(table), written_by_server(condition), written_by_user(value)
        )
        try:
            with connection.transaction():
                row = connection.execute(query).fetchone()
                return int(row[0]) if row else 0
        except psycopg.errors.UndefinedColumn:
            continue
        except psycopg.errors.UndefinedTable:  # it is made by the same change
            break
    return 0


def _refuse_empty(connection: Connection, column: tuple[str, str], name: str, value: str) -> None:
    """Raise RowsWithoutValue where SQL that gives a value gives none to some rows."""
    try:
        left = _rows_without(connection, *column, value)
    except psycopg.Error:  # it writes, as nextval() does: only doing it tells
        return
    if left:
        raise RowsWithoutValue(
            f"{value} is empty for {counted(left, 'row')} of {plain(column[0])} that have no "
            f"{name}. Nothing was written.",
            hint=f"Give them a value, too: --fill \"{name}=coalesce({value}, '…')\"",
        )


def _lacking(table: str, name: str, rows: int) -> str:
    return f"{counted(rows, 'row')} of {plain(table)} {'has' if rows == 1 else 'have'} no {name}"


def asked(connection: Connection, table: str, name: str, rows: int, *, ask: Ask | None) -> str:
    """Return the value that somebody names for rows.  Raises RowsWithoutValue where nobody does."""
    said = _lacking(table, name, rows)
    answer = ask(f"{said}. A value or SQL for them, Enter stops") if ask else ""
    if not answer:
        raise RowsWithoutValue(
            f"{said}, which becomes required. Nothing was written.",
            hint=f"Give them a value, in SQL: --fill \"{name}='…'\". Or give the column a "
            "server_default, or make it nullable.",
        )
    return _as_sql(connection, table, name, answer)


def _as_sql(connection: Connection, table: str, name: str, answer: str) -> str:
    """Return what somebody typed as SQL: itself where it is some, else as a text."""
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
            f"{value} is not a value for {name}: {error.diag.message_primary or error}.",
            hint=f"It is SQL: put a text in quotes, e.g. --fill \"{name}='unknown'\"",
        ) from None
