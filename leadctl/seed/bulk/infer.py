"""What makes a table's columns: what the factory declares, and for the rest what can be inferred.

Foreign keys become links: the first that is required says whom the rows belong to, and the others
lead to rows of the same owner where there are such.  Columns that must differ get makers that do.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import sqlalchemy as sa

from leadctl.apps.synthetic.chunk import ColumnPlan, Maker
from leadctl.apps.synthetic.constrained import Span
from leadctl.apps.synthetic.makers import (
    Days,
    InTurn,
    Link,
    Reference,
    Unique,
)
from leadctl.apps.synthetic.shapes import Factory, Shape
from leadctl.catalog.relations import Relation
from leadctl.errors import CannotInfer
from leadctl.models.values import EncryptedJSON, EncryptedText
from leadctl.seed.bulk.conditions import Condition
from leadctl.seed.bulk.inheritance import Inheritance
from leadctl.seed.bulk.unique import PlannedTable, differ, names_owner, refers
from leadctl.seed.bulk.values import (
    few_values,
    json_default,
    read_checks,
    value_maker,
)

_NULLS = 0.15
_DEPTH_FACTOR = 5.0
"""How many rows a table has for each row of the one that its rows belong to."""


def infer(
    tables: Sequence[sa.Table],
    relations: Mapping[str, Relation],
    factory: Factory,
    first_numbers: Mapping[str, dict[str, int]],
    conditions: Mapping[str, Sequence[Condition]],
    inheritance: Inheritance,
    spans_apart: Callable[..., tuple[dict[str, Span], list[list[str]]]],
) -> dict[str, PlannedTable]:
    """Return the tables to fill, each after those that it refers to.

    `spans_apart` is that of the conditions.  Raises CannotInfer for a column that needs a factory.
    """
    planned: dict[str, PlannedTable] = {}
    for table in tables:
        shape = factory.shape(table.name)
        if (shape is not None and not shape.share) or table.name in inheritance.without_rows:
            continue
        found = PlannedTable(
            table,
            relations[table.name],
            read_checks(each.of_columns for each in conditions.get(table.name, ())),
            _placed(table, shape, planned, inheritance),
            first_numbers.get(table.name, {}),
        )
        planned[table.name] = found
        if table.name in inheritance.discriminators:
            column, maker = inheritance.discriminators[table.name]
            found.makers[column] = maker
        _refer(found, planned)
        owners = [name for name in found.makers if names_owner(found, [name])]
        spans, found.unique = spans_apart(relations[table.name], owners, found.shape.columns)
        found.makers |= spans
        found.made = None if found.made in spans else found.made
        differ(found)
        _fill(found)
    return planned


def column_plans(found: PlannedTable) -> tuple[ColumnPlan, ...]:
    """Return the columns of a table, as another process can be told."""
    return tuple(
        ColumnPlan(name, maker, _kind(found, name), _context(found.table.columns[name]))
        for name, maker in found.makers.items()
    )


# --- Whom rows belong to --------------------------------------------------------------------


def _placed(
    table: sa.Table,
    shape: Shape | None,
    planned: Mapping[str, PlannedTable],
    inheritance: Inheritance,
) -> Shape:
    """Return a table's shape with an owner, where there can be one."""
    if inherited := inheritance.parents.get(table.name):
        share = planned[inherited].shape.share * inheritance.chosen[table.name].share
        return replace(shape or Shape(table.name, share), share=share, owner=inherited)
    owner = shape.owner if shape else None
    if owner is None:
        required = [
            key for key in _foreign_keys(table)
            if key.referred_table.name in planned and not any(c.nullable for c in key.columns)
        ]  # fmt: skip
        # What refers with another key's columns, and more, belongs to both.
        widest = [
            key for key in required
            if not any({*key.columns} < {*other.columns} for other in required)
        ]  # fmt: skip
        owner = widest[0].referred_table.name if widest else None
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
            and element.parent is not element.column
        ]  # fmt: skip
        if not missing:
            continue
        empty = all(element.parent.nullable for element in missing)
        link = _link(found, key, planned, nullable=empty)
        if link is None:
            _leave_empty(found, key, [element.parent for element in missing])
            continue
        for element in missing:
            found.makers[element.parent.name] = Reference(link, element.column.name)


def _link(
    found: PlannedTable,
    key: sa.ForeignKeyConstraint,
    planned: Mapping[str, PlannedTable],
    *,
    nullable: bool,
) -> Link | None:
    """Return the rows that a key leads to; None where they cannot be told."""
    name = key.referred_table.name
    if name not in planned:
        return None
    null = _NULLS if nullable else 0.0
    chain = _chain(found, planned)
    shared = [
        element for element in key.elements
        if element.parent.name in found.makers or element.parent is element.column
    ]  # fmt: skip
    if shared and not _agree(found, shared, chain, planned):
        return None
    if name == found.name:
        return Link(name, through=found.owner if shared else None, null=null, required=not nullable)
    if name in chain:
        return Link(name, through=name, null=null if name != found.owner else 0.0)
    parent = planned[name]
    if parent.owner in chain and not parent.shape.event:
        # A row of another owner has another owner's key, and none is better than that.
        required = not nullable and not shared
        return Link(name, through=parent.owner, null=null, required=required)
    return None if shared else Link(name, null=null)


def _agree(
    found: PlannedTable,
    shared: Sequence[sa.ForeignKey],
    chain: Sequence[str],
    planned: Mapping[str, PlannedTable],
) -> bool:
    """Whether rows of two tables that belong to the same row have the same in shared columns."""
    for element in shared:
        name, other = element.parent.name, element.column
        origin = _origin(planned, found.name, name)
        same = origin == _origin(planned, other.table.name, other.name) and origin[0] in chain
        if not same and name not in found.shape.columns:  # else the factory's word is taken
            return False
    return True


def _origin(planned: Mapping[str, PlannedTable], table: str, column: str) -> tuple[str, str]:
    """Return the column, of the rows that a table's rows belong to, that a column is a copy of."""
    maker = planned[table].makers.get(column)
    while isinstance(maker, Reference) and maker.by_number:
        table, column = maker.link.table, maker.column
        maker = planned[table].makers.get(column)
    return table, column


def _chain(found: PlannedTable, planned: Mapping[str, PlannedTable]) -> list[str]:
    chain, owner = [], found.owner
    while owner is not None:
        chain.append(owner)
        owner = planned[owner].owner
    return chain


def _leave_empty(
    found: PlannedTable, key: sa.ForeignKeyConstraint, columns: Sequence[sa.Column[Any]]
) -> None:
    """Leave a reference empty whose rows are made later, not at all, or with another key's."""
    required = [column.name for column in columns if not column.nullable]
    if not required:
        return
    others = [each.name for each in key.columns if each not in columns]
    if others:
        raise CannotInfer(
            f"{found.name}.{required[0]} refers to {key.referred_table.name} together with "
            f"{', '.join(others)}, which another key decides, and may not be empty.",
            hint=f"Declare them in a factory: [apps.NAME] factory, Shape({found.name!r}, …).",
        )
    raise CannotInfer(
        f"{found.name}.{required[0]} may not be NULL, and refers to a table that cannot be "
        f"filled before it.",
        hint="Tables that need each other's rows cannot be filled by --bulk.",
    )


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
                    f"leadctl cannot make values for {found.name}.{column.name}, of type "
                    f"{live.type}.",
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
    if refers(column):
        return None
    has_few = few_values(column.name, found.kinds[column.name], found.rules)
    if column.name in found.first_numbers and not has_few:
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
    dated = isinstance(kind, sa.Date) and not isinstance(found.makers[name], Days | InTurn)
    return "date" if dated else "text"


def _context(column: sa.Column[Any]) -> str | None:
    return column.type.context if isinstance(column.type, EncryptedText | EncryptedJSON) else None
