"""The values that a statement puts in place of others: UPDATE, ON CONFLICT, MERGE, a new type.

Which rows they are is a part of a query, so that whoever has the rows can count what is lost.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from leadctl.sql.lexer import Kind, Reader, Token, parts_of_name, tokens
from leadctl.text import quoted

_CONSTANTS = {"TRUE", "FALSE"}
_QUERIES = {"SELECT", "VALUES", "WITH"}
_KEEPS = frozenset(
    {"ALL", "ANY", "ELSE", "EXISTS", "NOT", "OR", "SOME", "THEN", "WHEN"}
    | {"ARRAY_APPEND", "ARRAY_CAT", "ARRAY_PREPEND", "BTRIM", "COALESCE", "CONCAT", "GREATEST"}
    | {"INITCAP", "JSONB_BUILD_ARRAY", "JSONB_BUILD_OBJECT", "LEAST", "LOWER", "LTRIM", "NULLIF"}
    | {"RTRIM", "TO_JSON", "TO_JSONB", "TRIM", "UPPER"}
)
"""What may stand before a parenthesis and keeps a value's content, as far as its rows tell."""
_TAKES = frozenset({"CASE", "NULLIF", "GREATEST", "LEAST", *"-/%[#&@?<>=.!~^"})
"""What may take a part of a value: the words, and the symbols of operators."""


@dataclass(frozen=True)
class Assignment:
    """A column's new value."""

    column: str
    value: str | None
    """As SQL; None where it is no expression of one row: a part of an array, a query of several."""
    of_itself: bool
    """Whether it is made from the value that it replaces, by what keeps it as far as is known."""

    @property
    def keeps(self) -> bool:
        """Whether the text alone says that the value that it replaces is still in it."""
        found = list(tokens(self.value or ""))
        takes = any(token.word in _TAKES or token.text in _TAKES for token in found)
        return self.of_itself and not takes

    @property
    def is_default(self) -> bool:
        """Whether it is the column's default."""
        return self.value is not None and self.value.upper() == "DEFAULT"

    @property
    def is_constant(self) -> bool:
        """Whether it is one value, whatever the row."""
        return _is_constant(list(tokens(self.value or "")))

    @property
    def empties(self) -> bool:
        """Whether it is NULL, whatever the row."""
        return self.value is not None and _is_null(self.value)


@dataclass(frozen=True)
class Overwriting:
    """Columns of one table that get new values in some rows."""

    table: str
    """As `Reader.name` writes it."""
    qualifier: str
    """What its columns are qualified by in `rows`, as SQL."""
    assignments: tuple[Assignment, ...]
    rows: str | None
    """What a query of the rows has behind its list of columns; None where it cannot be said."""
    condition: str = ""
    """Its WHERE, as far as it has one."""
    before: str = ""
    """The WITH that stands before such a query."""
    joined: bool = False
    """Whether a row of the table may be there several times."""

    @property
    def emptied(self) -> list[str]:
        """The columns that become NULL, as the text alone says."""
        return [e.column for e in self.assignments if e.empties and not self.fills(e.column)]

    def fills(self, column: str) -> bool:
        """Whether the condition lets only rows through that have nothing in a column."""
        return any(
            _is_own(part[:-2], column, self.qualifier)
            for part in _conjuncts(self.condition)
            if [each.word for each in part[-2:]] == ["IS", "NULL"]
        )

    def names_old_value(self, column: str) -> bool:
        """Whether the condition says which one constant is replaced."""
        return any(
            len(part) > 2
            and part[-2].text == "="
            and _is_own(part[:-2], column, self.qualifier)
            and _is_constant(part[-1:])
            for part in _conjuncts(self.condition)
        )


def assigned(column: str, value: str | None, qualifier: str) -> Assignment:
    """Return what a column is assigned by an expression on a table that `qualifier` names."""
    kept = _KEEPS.issuperset(each.upper() for each in Reader(value or "").called())
    made = kept and _reads(value or "", column, qualifier)
    return Assignment(column, value, of_itself=made)


def overwritings(sql: str) -> list[Overwriting]:
    """Return what a statement overwrites, as far as it is written at its top."""
    reader = Reader(sql)
    before = _with(reader)
    if reader.accept("UPDATE"):
        return list(_update(reader, before))
    if reader.accept("INSERT", "INTO"):
        return [] if before else list(_upsert(reader))
    if reader.accept("MERGE", "INTO"):
        return list(_merge(reader, before))
    return []


def conversions(sql: str) -> dict[str, tuple[str, str | None]]:
    """Return the columns to which an ALTER TABLE gives a type: that, and what follows USING."""
    reader = Reader(sql)
    if reader.altered_table() is None:
        return {}
    found = {}
    while not reader.done:
        action = reader.until_comma()
        if not action.accept("ALTER"):
            continue
        action.accept("COLUMN")
        column = action.take().name or ""
        if action.accept("TYPE") or action.accept("SET", "DATA", "TYPE"):
            kind = action.until("USING", "COLLATE")
            action.until("USING")
            found[column] = kind, action.rest() if action.accept("USING") else None
    return found


def _with(reader: Reader) -> str:
    """Take the WITH that a statement begins with, and return it."""
    if not reader.accept("WITH"):
        return ""
    return f"WITH {reader.until('UPDATE', 'INSERT', 'MERGE', 'DELETE', 'SELECT')} "


def _update(reader: Reader, before: str) -> Iterator[Overwriting]:
    table, source, qualifier = _target(reader, "SET")
    if not reader.accept("SET"):
        return
    assigned = reader.until("FROM", "WHERE", "RETURNING")
    others = reader.until("WHERE", "RETURNING") if reader.accept("FROM") else ""
    condition = reader.until("RETURNING") if reader.accept("WHERE") else ""
    behind_cursor = Reader(condition).accept("CURRENT", "OF")
    joined = f", {others}" if others else ""
    where = f" WHERE {condition}" if condition else ""
    yield Overwriting(
        table,
        qualifier,
        tuple(_assignments(assigned, qualifier)),
        None if behind_cursor else f"FROM {source}{joined}{where}",
        condition,
        before,
        joined=bool(others),
    )


def _upsert(reader: Reader) -> Iterator[Overwriting]:
    table = reader.name()
    alias = quoted(reader.name()) if reader.accept("AS") else ""
    qualifier = alias or quoted(parts_of_name(table)[-1])
    columns = reader.parenthesised() if reader.peek(1).word not in _QUERIES else None
    while reader.peek().word in {"OVERRIDING", "SYSTEM", "USER", "VALUE"}:
        reader.take()
    query = reader.until("ON", before="CONFLICT")
    if not reader.accept("ON", "CONFLICT"):
        return
    keys = reader.parenthesised()
    plain = keys is not None and all(
        token.name is not None or token.text == "," for token in tokens(keys.text)
    )
    behind = reader.until("DO")
    if not reader.accept("DO", "UPDATE", "SET"):
        return
    assigned = reader.until("WHERE", "RETURNING")
    condition = reader.until("RETURNING") if reader.accept("WHERE") else ""
    rows = None
    if columns is not None and keys is not None and plain and not behind.strip():
        same = " AND ".join(
            f"CAST({qualifier}.{each.strip()} AS pg_catalog.text)"
            f" OPERATOR(pg_catalog.=) CAST(excluded.{each.strip()} AS pg_catalog.text)"
            for each in keys.text.split(",")
        )
        found = ".".join(map(quoted, parts_of_name(table)))
        rows = (
            f"FROM {found} AS {qualifier} JOIN ({query}) AS excluded"
            f" ({columns.text}) ON {same}" + (f" WHERE {condition}" if condition else "")
        )
    yield Overwriting(
        table, qualifier, tuple(_assignments(assigned, qualifier)), rows, condition, joined=True
    )


def _merge(reader: Reader, before: str) -> Iterator[Overwriting]:
    table, target, qualifier = _target(reader, "USING")
    if not reader.accept("USING"):
        return
    source = reader.until("ON")
    on = reader.until("WHEN") if reader.accept("ON") else ""
    while reader.accept("WHEN"):
        matched = reader.accept("MATCHED")
        condition = reader.until("THEN")
        reader.accept("THEN")
        action = Reader(reader.until("WHEN", "RETURNING"))
        if not action.accept("UPDATE", "SET"):
            continue
        also = Reader(condition).rest()
        where = f" WHERE {also[3:]}" if also.upper().startswith("AND") else ""
        plain = matched and (bool(where) or not also)
        yield Overwriting(
            table,
            qualifier,
            tuple(_assignments(action.rest(), qualifier)),
            f"FROM {target} JOIN {source} ON {on}{where}" if plain else None,
            also[3:] if where else "",
            before,
            joined=True,
        )


def _target(reader: Reader, *until: str) -> tuple[str, str, str]:
    """Take a table with its alias; return its name, both as SQL, and what qualifies its columns."""
    start = reader.peek().start
    table = reader.table()
    reader.accept("*")
    alias = ""
    if reader.accept("AS") or reader.peek().word not in until:
        alias = reader.take().text
    source = reader.text[start : reader.peek().start].strip()
    return table, source, alias or quoted(parts_of_name(table)[-1])


def _assignments(text: str, qualifier: str) -> Iterator[Assignment]:
    reader = Reader(text)
    while not reader.done:
        part = reader.until_comma()
        several = part.parenthesised()
        columns = [part.take().name or ""] if several is None else list(_names(several))
        if not part.accept("="):  # a part of an array, or of a composite value
            yield from (Assignment(each, None, of_itself=False) for each in columns)
            continue
        values = _values(part, len(columns))
        for column, value in zip(columns, values, strict=True):
            yield assigned(column, value, qualifier)


def _names(reader: Reader) -> Iterator[str]:
    while not reader.done:
        yield reader.until_comma().take().name or ""


def _values(reader: Reader, count: int) -> list[str | None]:
    """Return what is assigned to each of some columns; None for what one query gives to several."""
    if count == 1 and reader.peek().word != "ROW":
        return [reader.rest()]
    reader.accept("ROW")
    row = reader.parenthesised()
    if row is not None and row.peek().word in _QUERIES:
        return [None] * count
    found: list[str | None] = []
    while row is not None and not row.done:
        found.append(row.until_comma().text.strip())
    return found if len(found) == count else [None] * count


def _reads(value: str, column: str, qualifier: str) -> bool:
    """Whether an expression reads a column of the table that is written to."""
    found, own = list(tokens(value)), _unquoted(qualifier)
    for index, token in enumerate(found):
        if token.name == column:
            qualified = index > 1 and found[index - 1].text == "."
            if found[index - 2].name == own if qualified else not _in_query(found[:index]):
                return True
    return False


def _in_query(before: Sequence[Token]) -> bool:
    """Whether parentheses that are open behind some tokens have a query: its names are its own."""
    depth = 0
    for token, following in zip(reversed(before), [None, *reversed(before)], strict=False):
        depth += {")": 1, "(": -1}.get(token.text, 0)
        if depth < 0:
            depth = 0
            if following is not None and following.word in _QUERIES:
                return True
    return False


def _conjuncts(condition: str) -> Iterator[list[Token]]:
    """Yield the parts of a condition that must all hold; none where one may do for another."""
    found, depth = [list[Token]()], 0
    for token in tokens(condition):
        depth += {"(": 1, ")": -1, "CASE": 1, "END": -1}.get(token.text.upper(), 0)
        if not depth and token.word in {"OR", "NOT", "BETWEEN"}:
            if token.word == "NOT" and found[-1] and found[-1][-1].word == "IS":
                found[-1].append(token)
                continue
            return
        if not depth and token.word == "AND":
            found.append([])
        else:
            found[-1].append(token)
    yield from found


def _is_own(part: list[Token], column: str, qualifier: str) -> bool:
    """Whether tokens are a column, qualified or not."""
    if len(part) == 3 and part[1].text == ".":
        return part[0].name == _unquoted(qualifier) and part[2].name == column
    return len(part) == 1 and part[0].name == column


def _is_constant(part: list[Token]) -> bool:
    return len(part) == 1 and (
        part[0].kind in {Kind.STRING, Kind.NUMBER} or part[0].word in _CONSTANTS
    )


def _is_null(value: str) -> bool:
    """Whether an expression is NULL: by itself, in parentheses, or with its type."""
    found = [token for token in tokens(value) if token.text not in {"(", ")"}]
    cast = len(found) == 1 or found[1].text == "::"
    return bool(found) and found[0].word == "NULL" and cast


def _unquoted(qualifier: str) -> str | None:
    return next(tokens(qualifier)).name
