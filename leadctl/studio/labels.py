"""How rows are called on a page: short ids, and labels of the rows that foreign keys refer to.

A label is a short text that people know a row by: a name, a title, an email.  Those of a page are
read by the keys of the rows referred to, in one statement whatever the number of rows.  No label is
taken from a masked column, and one that cannot be read is left out: the key stands for it.
"""

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import psycopg

from leadctl.catalog.facets import Reference
from leadctl.catalog.relations import Relation, read_numbered
from leadctl.studio.paths import matching
from leadctl.studio.session import Session
from leadctl.studio.shape import ColumnShape, Fragment, TableShape, Type, build, join, name, value

Labels = Mapping[tuple[int, int], str]
"""What the row is called that a cell refers to, by the cell's row and column."""
_CHARACTERS = 60
_KEY_CHARACTERS = 1000
"""A key of more is not looked for: a page has it cut."""
_TEXTS = {"text", "character varying", "character", "citext", "name"}
_TEXT = Type("pg_catalog", "text", "S", (), None)
_CALLED = (
    "(display|full|public|preferred)?_?name|title|label",
    "e_?mail(_address)?|user_?name|login|subject|headline|slug",
    ".*_(name|title|label|e_?mail)",
)
"""Columns that a label is taken from, the best first."""
_OPAQUE = re.compile(
    r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}"  # uuid
    r"|[0-9a-f]{24,64}|[0-9A-HJKMNP-TV-Z]{26}"  # hexadecimal, ULID
    r"|(?:[a-z]{1,12}_)?(?=[a-z]*\d)[a-z0-9]{24,25}"  # cuid
    r"|(?:[a-z]{1,12}_)?(?=[^a-z]*[a-z])(?=[^A-Z]*[A-Z])(?=\D*\d)[A-Za-z0-9_-]{21,27}"  # nanoid
)
_PREFIX = re.compile(r"(?:[a-z]{1,12}_)?")
_BEGINNING = 8
_LEFT_OUT = 4
"""Characters that an id is shortened by at least."""


def is_opaque(text: str) -> bool:
    """Whether a text is an id that a program made and nobody reads: a uuid, ULID, cuid or alike."""
    return _OPAQUE.fullmatch(text) is not None


def shortened(values: Iterable[str | None]) -> dict[str, str]:
    """Return the beginnings that tell values apart which are opaque ids; nothing where one is none.

    They have at least eight characters, behind what the ids have in common (`cus_`).
    """
    ids = {each for each in values if each is not None}
    if not ids or not all(map(is_opaque, ids)):
        return {}
    prefixes = (_PREFIX.match(each) for each in ids)
    length = _BEGINNING + max(found.end() for found in prefixes if found is not None)
    shortest = min(map(len, ids))
    while len({each[:length] for each in ids}) < len(ids) and length < shortest:
        length += 1
    if length > shortest - _LEFT_OUT:
        return {}
    return {each: f"{each[:length]}…" for each in ids}


@dataclass(frozen=True)
class _Labelled:
    """A foreign key whose columns are on a page, and what its rows are called by."""

    reference: Reference
    positions: tuple[int, ...]
    """Where its columns are on the page."""
    relation: Relation
    label: str

    @property
    def position(self) -> int:
        """The column that the label stands in."""
        return self.positions[-1]


def read_labels(
    session: Session,
    shape: TableShape,
    columns: Sequence[ColumnShape],
    rows: Sequence[Sequence[str | None]],
) -> Labels:
    """Return what the rows are called that the cells of a page refer to; `rows` are as read."""
    if not rows:
        return {}
    by_role: dict[str | None, list[_Labelled]] = defaultdict(list)
    for each in _labelled(session, shape, columns):
        by_role[each.relation.touched_as].append(each)
    found: dict[tuple[int, int], str] = {}
    with session.hurried():
        for role, group in by_role.items():
            found |= _read(session, role, group, columns, rows)
    conceal = session.secrets(shape).masking.conceal
    return {cell: label for cell, label in found.items() if conceal(label) == label}


def _labelled(
    session: Session, shape: TableShape, columns: Sequence[ColumnShape]
) -> Iterable[_Labelled]:
    masking = session.secrets(shape).masking
    positions = {column.name: position for position, column in enumerate(columns)}
    wanted = [
        reference
        for reference in shape.relation.references
        if all(each in positions and not masking.covers(each) for each in reference.columns)
    ]
    wanted.sort(key=lambda reference: len(reference.columns))
    parents = read_numbered(
        session.connection, {reference.parent for reference in wanted}, "columns"
    )
    taken: set[int] = set()
    for reference in wanted:
        relation = parents[reference.parent]
        label = label_column(session, relation, reference.referred)
        held = tuple(positions[each] for each in reference.columns)
        if label is not None and held[-1] not in taken:
            taken.add(held[-1])
            yield _Labelled(reference, held, relation, label)


def label_column(session: Session, relation: Relation, key: Sequence[str] = ()) -> str | None:
    """Return the column that a table's rows are called by; None where none is that or may be."""
    texts = tuple(
        ColumnShape(column.name, column.type, _TEXT, column.not_null)
        for column in relation.columns
        if column.base in _TEXTS and column.name not in key
    )
    masking = session.secrets(TableShape(relation, texts, (), relation.touched_as)).masking
    for pattern in _CALLED:
        for column in texts:
            fits = re.fullmatch(pattern, column.name, re.IGNORECASE)
            if fits and not masking.covers(column.name):
                return column.name
    return None


def _read(
    session: Session,
    role: str | None,
    group: Sequence[_Labelled],
    columns: Sequence[ColumnShape],
    rows: Sequence[Sequence[str | None]],
) -> dict[tuple[int, int], str]:
    """Read the labels of some foreign keys in one statement; where that is refused, one by one."""
    cells = [_cells(each, rows) for each in group]
    queries = [
        _query(number, labelled, columns, list(keys))
        for number, (labelled, keys) in enumerate(zip(group, cells, strict=True))
        if keys
    ]
    if not queries:
        return {}
    try:
        with session.connection.transaction():
            found = join(" UNION ALL ", queries).run(session.connection, role).fetchall()
    except (psycopg.errors.InsufficientPrivilege, psycopg.errors.LockNotAvailable):
        one_by_one = (_read(session, role, [each], columns, rows) for each in group)
        return {} if len(group) == 1 else {c: t for found in one_by_one for c, t in found.items()}
    except psycopg.errors.QueryCanceled:
        return {}
    labels: dict[tuple[int, int], str] = {}
    for number, position, label in found:
        key = list(cells[number])[position - 1]
        labels |= {(row, group[number].position): label for row in cells[number][key]}
    return labels


def _cells(
    labelled: _Labelled, rows: Sequence[Sequence[str | None]]
) -> dict[tuple[str, ...], list[int]]:
    """Return the keys of the rows referred to, with the rows that refer to each."""
    found: dict[tuple[str, ...], list[int]] = defaultdict(list)
    for number, row in enumerate(rows):
        key = tuple(text for position in labelled.positions if (text := row[position]) is not None)
        if len(key) == len(labelled.positions) and max(map(len, key)) < _KEY_CHARACTERS:
            found[key].append(number)
    return found


def _query(
    number: int,
    labelled: _Labelled,
    columns: Sequence[ColumnShape],
    keys: Sequence[tuple[str, ...]],
) -> Fragment:
    """Compose a statement that reads labels: of which reference, and of which of its keys."""
    lists = [
        build(
            "pg_catalog.unnest(CAST({} AS {}[]))",
            value([key[part] for key in keys]),
            columns[position].base.identifier,
        )
        for part, position in enumerate(labelled.positions)
    ]
    reference, other = labelled.reference, labelled.relation
    held = dict(zip(reference.columns, (f"k{part}" for part in range(len(lists))), strict=True))
    return build(
        "SELECT {}::pg_catalog.int4, v.place, pg_catalog.left({}::pg_catalog.text, {})"
        " FROM ROWS FROM ({}) WITH ORDINALITY AS v ({}, place) JOIN {} AS o ON {}"
        " WHERE {} IS NOT NULL",
        value(number),
        name("o", labelled.label),
        value(_CHARACTERS),
        join(", ", lists),
        join(", ", [name(each) for each in held.values()]),
        name(other.schema, other.name),
        matching(
            reference, lambda column: name("v", held[column]), lambda column: name("o", column)
        ),
        name("o", labelled.label),
    )
