"""Values of rows that stay, and that a statement takes away: counted in the target.

A value is lost where it becomes NULL.  It is overwritten where it cannot be restored from what is
there then: it is replaced by something that is not made from it, gets shorter, or two that differed
become one.  What the revision itself names as the one value that it replaces is known, as long as
no other row has the new one.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from psycopg import sql

from leadctl.migrate.live_tables import LiveTables
from leadctl.migrate.plan import Loss
from leadctl.postgres.queries import written_by_user
from leadctl.sql.assignments import Assignment, Overwriting, assigned
from leadctl.sql.lexer import Kind, tokens

_OF_PARTS = ("text", "char", "citext", "json", "hstore", "xml", "bytea", "[]")
"""Parts of a type's name: a value of it that gets shorter has lost a part."""
_NEVER_CUT = ("character", "bit")
"""Types that refuse what is too long for them, where no expression cuts it."""


@dataclass(frozen=True)
class Retyped:
    """A column whose type a statement changes."""

    column: str
    """Its name in the target now."""
    kind: str
    """The new type, as format_type writes it."""
    is_enum: bool
    """Whether the new type is an enum."""


@dataclass(frozen=True)
class ValuesLost:
    """What of a table's values goes: what becomes NULL, and what is replaced by other values."""

    emptied: Loss | None = None
    overwritten: Loss | None = None

    def plus(self, other: "ValuesLost") -> "ValuesLost":
        """Return both together."""
        return ValuesLost(
            together(self.emptied, other.emptied), together(self.overwritten, other.overwritten)
        )


def any_values(tables: LiveTables, table: str) -> ValuesLost:
    """Return what an update may overwrite that is not to be read: all that there is."""
    loss = tables.loss(table, ["rows"])
    unknown = Loss("values", None, exact=False)
    return ValuesLost(overwritten=unknown if loss else None)


def by_update(
    tables: LiveTables,
    table: str,
    update: Overwriting,
    columns: Mapping[str, str] | None,
    *,
    countable: bool,
) -> ValuesLost:
    """Return what an update takes of a table that exists.

    `columns` are the names in the target of those that it has there; None where they have the same
    names.  `countable` is whether the update's own condition and expressions
    may be asked of the target's rows: nothing has changed them before.
    """
    old = [
        _resolved(tables, table, each, each.column if columns is None else columns[each.column])
        for each in update.assignments
        if not update.fills(each.column)
        and (tables.type_of(table, each.column) if columns is None else each.column in columns)
    ]
    if not old:
        return ValuesLost()
    counts = _count(tables, table, update, old) if countable and update.rows else None
    if counts is None:
        every = not (update.condition or update.joined or update.rows is None)
        return _at_most(tables, table, old, every=every)
    emptied, overwritten = [], []
    for (assignment, column), found in zip(old, counts, strict=True):
        kind = tables.type_of(table, column) or ""
        if found.emptied:
            emptied.append((column, found.emptied))
        if lost := _overwritten(update, assignment, found, kind):
            overwritten.append((column, lost))
    return ValuesLost(_counted("values of column", emptied), _counted("column", overwritten))


def by_conversion(
    tables: LiveTables,
    table: str,
    retyped: Sequence[Retyped],
    using: Mapping[str, str],
    *,
    countable: bool,
) -> ValuesLost:
    """Return the values that changes of types take, by what is left when they are changed back."""
    found = ValuesLost()
    for each in retyped:
        expression = using.get(each.column)
        only_casts = expression is None or _is_cast(expression)
        refused = expression is None and each.kind.startswith(_NEVER_CUT) and "(" in each.kind
        same_value = {tables.type_of(table, each.column), each.kind} == {"json", "jsonb"}
        if refused or (only_casts and (each.is_enum or same_value)):
            continue
        if expression and each.kind == tables.type_of(table, each.column):
            own = tables.name(table).as_string()
            update = Overwriting(
                table, own, (assigned(each.column, expression, own),), f"FROM ONLY {own}"
            )
            lost = by_update(tables, table, update, {each.column: each.column}, countable=countable)
        else:
            lost = _by_cast(tables, table, each, expression, countable=countable)
        found = found.plus(lost)
    return found


def _resolved(
    tables: LiveTables, table: str, assignment: Assignment, column: str
) -> tuple[Assignment, str]:
    """Return what a column of the target is assigned, DEFAULT being NULL where it has none."""
    if assignment.is_default:
        found = tables.column(table, column)
        value = "NULL" if found is not None and not found.has_default else None
        assignment = replace(assignment, value=value)
    return assignment, column


@dataclass(frozen=True)
class _Counts:
    emptied: int
    changed: int
    shortened: int
    before: int
    """How many values differ before."""
    behind: int
    """How many of them differ behind it."""
    others: int
    """Rows that have the new value already, where that is one."""


_AS_TEXT = sql.SQL("CAST(CAST(({value}\n) AS {kind}) AS pg_catalog.text)")
_OLD_AND_NEW = sql.SQL("CAST({qualifier}.{column} AS pg_catalog.text) AS {was}, {value} AS {now}")
_ROWS_OF_VALUE = sql.SQL(
    "(SELECT pg_catalog.count(*) FROM {table} WHERE CAST({column} AS pg_catalog.text)"
    " OPERATOR(pg_catalog.=) {value})"
)
_COUNTED = sql.SQL(
    "pg_catalog.count({was}) FILTER (WHERE {now} IS NULL),"
    " pg_catalog.count(*) FILTER (WHERE {was} OPERATOR(pg_catalog.<>) {now}),"
    " pg_catalog.count(*) FILTER (WHERE pg_catalog.length({now})"
    " OPERATOR(pg_catalog.<) pg_catalog.length({was})),"
    " pg_catalog.count(DISTINCT {was}),"
    " pg_catalog.count(DISTINCT {now}) FILTER (WHERE {was} IS NOT NULL), {others}"
)
"""What `_Counts` has, in its order."""
_ONCE = sql.SQL("DISTINCT ON ({qualifier}.tableoid, {qualifier}.ctid) ")
"""A row that a join has several times is updated once."""


def _count(
    tables: LiveTables, table: str, update: Overwriting, old: Iterable[tuple[Assignment, str]]
) -> list[_Counts] | None:
    """Count what an update would do to each column's values; None where that is not known."""
    qualifier = written_by_user(update.qualifier)
    given, wanted = [], []
    for number, (assignment, column) in enumerate(old):
        kind = tables.type_of(table, column)
        if assignment.value is None or kind is None:
            return None
        was, now = sql.Identifier(f"old_{number}"), sql.Identifier(f"new_{number}")
        value = _AS_TEXT.format(value=written_by_user(assignment.value), kind=written_by_user(kind))
        name = sql.Identifier(column)
        given.append(
            _OLD_AND_NEW.format(qualifier=qualifier, column=name, was=was, value=value, now=now)
        )
        others: sql.Composable = sql.SQL("0")
        if assignment.is_constant:
            others = _ROWS_OF_VALUE.format(table=tables.name(table), column=name, value=value)
        wanted.append(_COUNTED.format(was=was, now=now, others=others))
    once = _ONCE.format(qualifier=qualifier) if update.joined else sql.SQL("")
    query = sql.SQL(
        "{before}SELECT {wanted} FROM (SELECT {once}{given} {rows}\n) AS leadctl_values"
    ).format(
        before=written_by_user(update.before),
        wanted=sql.SQL(", ").join(wanted),
        once=once,
        given=sql.SQL(", ").join(given),
        rows=written_by_user(update.rows or ""),
    )
    row = tables.count(table, query)
    if row is None:
        return None
    return [_Counts(*row[start : start + 6]) for start in range(0, len(row), 6)]


def _overwritten(update: Overwriting, assignment: Assignment, found: _Counts, kind: str) -> int:
    """Return how many values of a column cannot be restored."""
    if assignment.of_itself:
        if found.before > found.behind and found.changed:
            return found.changed
        return found.shortened if any(part in kind for part in _OF_PARTS) else 0
    known = assignment.is_constant and update.names_old_value(assignment.column)
    return 0 if known and not found.others else found.changed


def _at_most(
    tables: LiveTables, table: str, old: Iterable[tuple[Assignment, str]], *, every: bool
) -> ValuesLost:
    """Return what goes where only the columns are known, and whether it is of all rows."""
    found = ValuesLost()
    for assignment, column in old:
        loss = None if assignment.keeps else tables.loss(table, [f"column {column}"])
        if loss is None:
            continue
        loss = replace(loss, rows=loss.rows if every else None, exact=False)
        emptied = replace(loss, what=f"values of column {column}")
        found = found.plus(
            ValuesLost(emptied) if assignment.empties else ValuesLost(overwritten=loss)
        )
    return found


def _by_cast(
    tables: LiveTables, table: str, each: Retyped, expression: str | None, *, countable: bool
) -> ValuesLost:
    kind = tables.type_of(table, each.column)
    if kind is None:
        return ValuesLost()
    unknown = ValuesLost(overwritten=Loss(f"column {each.column}", None, exact=False))
    empty = tables.loss(table, [f"column {each.column}"]) is None
    if empty or not countable:
        return ValuesLost() if empty else unknown
    column = sql.Identifier(each.column)
    new = sql.SQL("CAST(({expression}\n) AS {kind})").format(
        expression=column if expression is None else written_by_user(expression),
        kind=written_by_user(each.kind),
    )
    old = written_by_user(kind)
    for back in (sql.SQL("CAST({new} AS {old})").format(new=new, old=old), new):
        query = sql.SQL(
            "SELECT pg_catalog.count({column}) FILTER (WHERE {new} IS NULL),"
            " pg_catalog.count({column}) FILTER (WHERE CAST({back} AS pg_catalog.text)"
            " OPERATOR(pg_catalog.<>) CAST({column} AS pg_catalog.text)) FROM ONLY {table}"
        ).format(column=column, new=new, back=back, table=tables.name(table))
        row = tables.count(table, query, zone=_zone(expression or ""))
        if row is not None:
            emptied, changed = row
            return ValuesLost(
                _counted("values of column", [(each.column, emptied)] if emptied else []),
                _counted("column", [(each.column, changed)] if changed else []),
            )
    return unknown


def _is_cast(expression: str) -> bool:
    """Whether an expression is a column with casts, and nothing else."""
    found = list(tokens(expression))
    return all(token.name is not None or token.text in {"::", "."} for token in found) and (
        len(found) == 1 or any(token.text == "::" for token in found)
    )


def _zone(expression: str) -> str | None:
    """Return the time zone that an expression names."""
    found = list(tokens(expression))
    for at, time, zone, name in zip(found, found[1:], found[2:], found[3:], strict=False):
        if (at.word, time.word, zone.word, name.kind) == ("AT", "TIME", "ZONE", Kind.STRING):
            return name.text.strip("'")
    return None


def _counted(what: str, columns: Sequence[tuple[str, int]]) -> Loss | None:
    if not columns:
        return None
    names = ", ".join(f"{what} {column}" for column, _ in columns)
    return Loss(names, max(rows for _, rows in columns), exact=True)


def together(one: Loss | None, other: Loss | None) -> Loss | None:
    """Return two losses of one table as one."""
    if one is None or other is None:
        return one or other
    known = one.rows is not None and other.rows is not None
    rows = max(one.rows or 0, other.rows or 0) if known else None
    what = ", ".join(dict.fromkeys((one.what, other.what)))
    return Loss(what, rows, exact=one.exact and other.exact and known)
