"""Paths from table to table: which relations the names of one lead along, and their SQL.

    path = { relation "." } ( column { "." key of JSON } | relation )

A relation's name is that of `--follow`.  Its rows are those that a foreign key puts on its other
side: one row, or none, where the table refers; any number where it is referred to.
"""

from collections.abc import Callable, Iterable, Sequence

from leadctl.catalog.facets import Reference
from leadctl.errors import UnknownRelation
from leadctl.studio.shape import Fragment, TableShape, build, join, name, operator


def leading(shape: TableShape, names: Sequence[str]) -> tuple[Reference, tuple[str, ...]] | None:
    """Return the relation that a path's first names name, and the names behind it.

    A relation's name may have a point itself (`messages.sender_id`), so the longest counts.  None
    where the first name is no relation.
    """
    for length in range(len(names), 0, -1):
        found = shape.reference(".".join(names[:length]))
        if found is not None:
            return found, tuple(names[length:])
    return None


def relation(shape: TableShape, names: Sequence[str]) -> tuple[Reference, tuple[str, ...]]:
    """Return what `leading` does.  Raises UnknownRelation."""
    found = leading(shape, names)
    if found is None:
        known = ", ".join(shape.relation_names)
        raise UnknownRelation(
            f"{shape.name} has no relation {names[0]!r}.",
            hint=f"Available: {known}."
            if known
            else "It has no foreign key, and none refers to it.",
        )
    return found


def matching(
    reference: Reference, own: Callable[[str], Fragment], other: Callable[[str], Fragment]
) -> Fragment:
    """Compose that two rows belong together by a reference; each side writes its columns.

    The operators have what is referred to on their left.
    """
    sides = (other, own) if reference.outgoing else (own, other)
    return join(
        " AND ",
        [
            build("{} {} {}", sides[0](referred), operator(equal), sides[1](column))
            for referred, column, equal in zip(
                reference.referred, reference.columns, reference.equal, strict=True
            )
        ],
    )


def joined(shape: TableShape, reference: Reference, other: TableShape) -> Fragment:
    """Compose that rows of two tables belong together by a reference of the first."""
    return matching(
        reference,
        lambda column: name(shape.alias, column),
        lambda column: name(other.alias, column),
    )


def related(shape: TableShape, reference: Reference, here: Fragment, alias: str) -> Fragment:
    """Compose that rows called `alias` are those of a reference of the one row that is `here`."""

    def held(column: str) -> Fragment:
        return build(
            "(SELECT {} FROM {} WHERE {})", name(shape.alias, column), shape.identifier, here
        )

    return matching(reference, held, lambda column: name(alias, column))


def exists(shape: TableShape, *conditions: Fragment) -> Fragment:
    """Compose that a table has a row that meets conditions."""
    return build("EXISTS (SELECT FROM {} WHERE {})", shape.identifier, join(" AND ", conditions))


def role_of(shapes: Iterable[TableShape]) -> str | None:
    """Return the role to read several tables as in one statement: the first that is not ours.

    Reading a table runs code of its owner's, such as a function in the condition of an index; so
    where one has to be read with its owner's rights, all are.
    """
    return next((shape.touched_as for shape in shapes if shape.touched_as is not None), None)
