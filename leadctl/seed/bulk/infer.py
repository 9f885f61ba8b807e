"""What makes a table's columns: what the factory declares, and for the rest what can be inferred.

Foreign keys become links: the first that is required says whom the rows belong to, and the others
lead to rows of the same owner where there are such.  Columns that must differ get makers that do.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import sqlalchemy as sa
from sqlalchemy.types import TypeEngine

from leadctl.apps.synthetic.chunk import ColumnPlan, Maker
from leadctl.apps.synthetic.constrained import Span
from leadctl.apps.synthetic.makers import (
    DAYS,
    Days,
    Email,
    InTurn,
    Link,
    Position,
    Reference,
    Serial,
    Short,
    Unique,
)
from leadctl.apps.synthetic.shapes import Factory, Shape
from leadctl.catalog.relations import Relation
from leadctl.errors import CannotInfer
from leadctl.models.values import EncryptedJSON, EncryptedText
from leadctl.seed.bulk.conditions import Condition
from leadctl.seed.bulk.values import (
    CheckRules,
    column_type,
    json_default,
    made_column,
    read_checks,
    value_maker,
)

_NULLS = 0.15
_TOKEN = 10  # the length of a unique text
_DEPTH_FACTOR = 5.0
"""How many rows a table has for each row of the one that its rows belong to."""


@dataclass
class PlannedTable:
    """A table that is being planned."""

    table: sa.Table
    relation: Relation
    rules: CheckRules
    shape: Shape
    first_numbers: dict[str, int]
    """By column that a sequence numbers: where to begin."""
    kinds: dict[str, TypeEngine[Any]] = field(init=False)
    """The columns' types, without decorators and domains."""
    made: str | None = field(init=False)
    """The column that says when a row was made."""
    makers: dict[str, Maker] = field(init=False)
    even: bool = field(init=False)
    at_most: float | None = field(init=False)
    unique: list[list[str]] = field(default_factory=list, init=False)
    """Columns that must differ together, besides those of unique indexes."""

    def __post_init__(self) -> None:
        self.kinds = {
            column.name: column_type(column, self.relation) for column in self.table.columns
        }
        self.made = made_column(self.table, self.kinds)
        self.makers = {name: maker for name, maker in self.shape.columns.items() if maker}
        self.even, self.at_most = self.shape.even, self.shape.at_most

    @property
    def name(self) -> str:
        """The table's name."""
        return self.table.name

    @property
    def owner(self) -> str | None:
        """The table that its rows belong to."""
        return self.shape.owner

    def serial(self, column: str) -> Serial:
        """Return a maker of the numbers behind those that exist, and that may be there."""
        return Serial(max(self.first_numbers[column], int(self.rules.least.get(column, 0))))


def infer(
    tables: Sequence[sa.Table],
    relations: Mapping[str, Relation],
    factory: Factory,
    first_numbers: Mapping[str, dict[str, int]],
    conditions: Mapping[str, Sequence[Condition]],
    spans_apart: Callable[..., tuple[dict[str, Span], list[list[str]]]],
) -> dict[str, PlannedTable]:
    """Return the tables to fill, each after those that it refers to.

    `spans_apart` is that of the conditions.  Raises CannotInfer for a column that needs a factory.
    """
    planned: dict[str, PlannedTable] = {}
    for table in tables:
        shape = factory.shape(table.name)
        if shape is not None and not shape.share:
            continue
        found = PlannedTable(
            table,
            relations[table.name],
            read_checks(each.of_columns for each in conditions.get(table.name, ())),
            _placed(table, shape, planned),
            first_numbers.get(table.name, {}),
        )
        planned[table.name] = found
        _refer(found, planned)
        owners = [name for name in found.makers if _is_owner(found, name)]
        spans, found.unique = spans_apart(relations[table.name], owners, found.shape.columns)
        found.makers |= spans
        found.made = None if found.made in spans else found.made
        _differ(found)
        _fill(found)
    return planned


def column_plans(found: PlannedTable) -> tuple[ColumnPlan, ...]:
    """Return the columns of a table, as another process can be told."""
    return tuple(
        ColumnPlan(name, maker, _kind(found, name), _context(found.table.columns[name]))
        for name, maker in found.makers.items()
    )


# --- Whom rows belong to --------------------------------------------------------------------


def _placed(table: sa.Table, shape: Shape | None, planned: Mapping[str, PlannedTable]) -> Shape:
    """Return a table's shape with an owner, where there can be one."""
    owner = shape.owner if shape else None
    if owner is None:
        required = [
            key for key in _foreign_keys(table)
            if key.referred_table.name in planned and not any(c.nullable for c in key.columns)
        ]  # fmt: skip
        owner = required[0].referred_table.name if required else None
    if shape is not None:
        return replace(shape, owner=owner)
    share = planned[owner].shape.share * _DEPTH_FACTOR if owner else 1.0
    return Shape(table.name, share, owner=owner)


def _foreign_keys(table: sa.Table) -> list[sa.ForeignKeyConstraint]:
    """Return the foreign keys in the order of their columns in the table."""
    order = {column.name: index for index, column in enumerate(table.columns)}
    return sorted(
        table.foreign_key_constraints,
        key=lambda key: (len(key.columns), [order[column.name] for column in key.columns]),
    )


def _refer(found: PlannedTable, planned: Mapping[str, PlannedTable]) -> None:
    keys = _foreign_keys(found.table)
    keys.sort(key=lambda key: key.referred_table.name != found.owner)
    for key in keys:
        missing = [
            element for element in key.elements if element.parent.name not in found.makers
            and element.parent.name not in found.shape.columns
        ]  # fmt: skip
        if not missing:
            continue
        link = _link(found, key, planned)
        if link is None:
            _leave_empty(found, [element.parent for element in missing])
            continue
        for element in missing:
            found.makers[element.parent.name] = Reference(link, element.column.name)


def _link(
    found: PlannedTable, key: sa.ForeignKeyConstraint, planned: Mapping[str, PlannedTable]
) -> Link | None:
    name = key.referred_table.name
    if name not in planned:
        return None
    nullable = any(column.nullable for column in key.columns)
    null = _NULLS if nullable else 0.0
    if name == found.name:
        return Link(name, null=null, required=not nullable)
    chain = _chain(found, planned)
    if name in chain:
        return Link(name, through=name, null=null if name != found.owner else 0.0)
    parent = planned[name]
    if parent.owner in chain and not parent.shape.event:
        return Link(name, through=parent.owner, null=null, required=not nullable)
    return Link(name, null=null)


def _chain(found: PlannedTable, planned: Mapping[str, PlannedTable]) -> list[str]:
    chain, owner = [], found.owner
    while owner is not None:
        chain.append(owner)
        owner = planned[owner].owner
    return chain


def _leave_empty(found: PlannedTable, columns: Sequence[sa.Column[Any]]) -> None:
    """Leave a reference empty whose table is filled later, or not at all."""
    required = [column.name for column in columns if not column.nullable]
    if required:
        raise CannotInfer(
            f"{found.name}.{required[0]} refers to a table that is not filled before it, and may "
            "not be empty.",
            hint="Tables that need each other's rows cannot be filled by --bulk.",
        )


# --- What must differ -----------------------------------------------------------------------


def _differ(found: PlannedTable) -> None:
    """Give makers of different values to the columns of unique sets, the smallest set first."""
    wanted = [*_unique_sets(found.relation), *found.unique]
    sets = [_columns_of(found, expressions) for expressions in wanted]
    for columns in sorted(filter(None, sets), key=len):
        if not any(_differs(found, column) for column in columns):
            _make_differ(found, columns)


def _unique_sets(relation: Relation) -> list[list[str]]:
    """Return the expressions that must differ together, those of the primary key first."""
    unique = [index for index in relation.indexes if index.unique]
    return [relation.key_of(each) for each in sorted(unique, key=lambda each: not each.primary)]


def _columns_of(found: PlannedTable, expressions: Sequence[str]) -> list[str]:
    """Return the columns in the expressions of an index, in the order of the expressions."""
    names = [re.findall(r"\w+", expression) for expression in expressions]
    return [name for words in names for name in words if name in found.table.columns]


def _differs(found: PlannedTable, column: str) -> bool:
    maker = found.makers.get(column)
    if column in found.shape.columns:
        return True  # the factory's word is taken
    if isinstance(maker, Reference) and maker.link.table == found.owner:
        return found.even and found.at_most == 1
    apart = isinstance(maker, Span) and maker.first is not None
    return apart or isinstance(maker, Unique | Serial | Short | Email | Days | InTurn | Position)


def _make_differ(found: PlannedTable, columns: Sequence[str]) -> None:
    owned = any(_is_owner(found, column) for column in columns)
    free = [column for column in columns if column not in found.makers]
    for column in free:
        maker = _unique_maker(found, found.table.columns[column], owned=owned)
        if maker is not None:
            found.makers[column] = maker
            return
    for column in free:
        values = _few_values(found, column)
        if values:
            found.makers[column] = InTurn(values)
            _limit(found, len(values))
            return
    for column in columns:
        maker = found.makers.get(column)
        if isinstance(maker, Reference) and not _is_owner(found, column):
            link = Link(maker.link.table, turn=True, required=True)
            found.makers[column] = Reference(link, maker.column)
            _limit(found, None)
            return
    if owned:
        _limit(found, 1)
        return
    raise CannotInfer(
        f"{found.name} ({', '.join(columns)}) must differ in every row, and nothing is known that "
        "does.",
        hint=f"Declare the column in a factory: [apps.NAME] factory, Shape({found.name!r}, …).",
    )


def _is_owner(found: PlannedTable, column: str) -> bool:
    maker = found.makers.get(column)
    return isinstance(maker, Reference) and maker.link.table == found.owner


def _limit(found: PlannedTable, rows: int | None) -> None:
    found.even = True
    if rows is not None:
        found.at_most = min(rows, found.at_most or rows)


def _unique_maker(found: PlannedTable, column: sa.Column[Any], *, owned: bool) -> Maker | None:
    kind, name = found.kinds[column.name], column.name
    if isinstance(kind, sa.Enum) or name in found.rules.values:
        return None
    if name in found.first_numbers:
        return found.serial(name)
    if isinstance(kind, sa.Integer | sa.Numeric | sa.Float):
        found.even = found.even or owned
        first = int(found.rules.least.get(name, 1))
        return Position(first) if owned and found.owner else Serial(first)
    if isinstance(kind, sa.Uuid):
        return Unique("uuid")
    if isinstance(kind, sa.Date):
        found.at_most, found.even = DAYS, True
        return Days(owned=owned)
    return _unique_text(found, column, kind) if isinstance(kind, sa.String) else None


def _unique_text(found: PlannedTable, column: sa.Column[Any], kind: sa.String) -> Maker:
    name = column.name
    longest = min(kind.length or 1 << 20, found.rules.longest.get(name, 1 << 20))
    if name in found.rules.phones or "phone" in name:
        return Unique("phone")
    if "email" in name and longest >= 60:
        return Email()
    if column.primary_key and longest >= 24:
        return Unique("cuid")
    if name.endswith("_id") and longest >= 15:
        return Unique("digits", name=name)
    return Unique("token", name=name) if longest >= _TOKEN else Short(longest)


def _few_values(found: PlannedTable, column: str) -> list[Any]:
    kind = found.kinds[column]
    if column in found.rules.values:
        return found.rules.values[column]
    if isinstance(kind, sa.Enum):
        return list(kind.enums)
    return ["t", "f"] if isinstance(kind, sa.Boolean) else []


def _fill(found: PlannedTable) -> None:
    for column in found.table.columns:
        live = found.relation.column(column.name)
        if live is None or live.generated or column.name in found.shape.columns:
            continue
        if column.name not in found.makers:
            maker = _maker(found, column)
            if maker is not None:
                found.makers[column.name] = maker
            elif live.not_null and not live.has_default:
                raise CannotInfer(
                    f"Nothing is known that could be in {found.name}.{column.name}, "
                    f"of type {column.type}.",
                    hint="Declare the column in a factory: [apps.NAME] factory, "
                    f"Shape({found.name!r}, …).",
                )
    for live in found.relation.columns:
        if live.name not in found.table.columns and live.not_null and not live.has_default:
            raise CannotInfer(
                f"The column {found.name}.{live.name} is required, and not in the models.",
                hint="Bring models and database together: leadctl migrate status",
            )


def _maker(found: PlannedTable, column: sa.Column[Any]) -> Maker | None:
    if column.foreign_keys:
        return None
    if column.name in found.first_numbers:
        return found.serial(column.name)
    if isinstance(column.type, EncryptedJSON):
        return json_default(array=False)
    if isinstance(column.type, EncryptedText):
        return Unique("hex", null=_NULLS if column.nullable else 0.0, name=column.name)
    return value_maker(column, found.kinds[column.name], found.rules, found.made)


def _kind(found: PlannedTable, name: str) -> str:
    column = found.table.columns[name]
    if isinstance(found.makers[name], Reference | Span) or _context(column):
        return "text"
    kind = found.kinds[name]
    if isinstance(kind, sa.DateTime):
        return "time"
    dated = isinstance(kind, sa.Date) and not isinstance(found.makers[name], Days)
    return "date" if dated else "text"


def _context(column: sa.Column[Any]) -> str | None:
    return column.type.context if isinstance(column.type, EncryptedText | EncryptedJSON) else None


def numbered(table: sa.Table, relation: Relation) -> list[str]:
    """Return the columns that a sequence numbers, and the numbers that are unique by themselves."""
    referring = {column.name for column in table.columns if column.foreign_keys}
    alone = {name for names in _unique_sets(relation) if not referring & {*names} for name in names}
    numbers = {
        column.name
        for column in table.columns
        if isinstance(column_type(column, relation), sa.Integer | sa.Numeric | sa.Float)
        and not column.foreign_keys
    }
    return [
        column.name
        for column in relation.columns
        if column.name in relation.sequences or column.name in numbers & alone
    ]
