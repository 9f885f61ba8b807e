"""Tables that cannot be changed in place: they are recreated, and the rows are copied.

A table that becomes partitioned, ceases to be, or is partitioned by something else, one with
another order of parents, and one of which a column becomes its parent's alone.  The old one is
renamed first (`set_aside`), with what would hold its names, so that all that follows is the
comparison of two schemas as they then are: the new table comes, and the old one goes.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

from leadctl.catalog.definitions import Attributes, Catalog, owner, split_name
from leadctl.migrate.ddl.steps import (
    Phase,
    Step,
    aside,
    identifier,
    literal,
    mentions,
    plain,
)
from leadctl.migrate.ddl.tables import (
    cast_loses,
    count_on,
    inherited_column,
    parents,
    parents_change_places,
    using_clause,
)
from leadctl.migrate.ddl.type_replacement import (
    is_moved,
    moved,
    movers,
    of_replaced,
    replaced_types,
)
from leadctl.postgres import LONGEST_NAME

_COST = (
    "{table} cannot be changed in place ({why}): its rows are copied, while no other session can "
    "read or write them, and take twice the space until the end. The new table belongs to the "
    "role that runs this, and to no publication that names tables."
)


class Copy(NamedTuple):
    """A table that was set aside, and the one that takes its rows; `why` says why."""

    former: str
    table: str
    why: str

    @property
    def back(self) -> "Copy":
        """The copy of the way back."""
        return Copy(self.table, self.former, self.why)


@dataclass(frozen=True)
class SetAside:
    """The renames that set tables aside, and the copies that their rows need then."""

    steps: tuple[Step, ...] = ()
    copies: tuple[Copy, ...] = ()


def set_aside(before: Catalog, after: Catalog) -> SetAside:
    """Return what sets aside the tables that both have, and that must be recreated."""
    found = _made_anew(before, after)
    steps = [step for table, why in found.items() if why for step in _detached(table, before)]
    steps += [step for table in found for step in _renames(table, before)]
    copies = [Copy(aside(table), table, why) for table, why in found.items() if why is not None]
    return SetAside(tuple(steps), tuple(copies))


def _made_anew(before: Catalog, after: Catalog) -> dict[str, str | None]:
    """Return the tables that must be recreated, and why; None where a parent's rows are theirs."""
    both = [name for name in before.names("table") if f"table {name}" in after.objects]
    found: dict[str, str | None] = {}
    replaced = replaced_types(before, after)
    for table in both:
        why = _why_anew(table, before, after, replaced)
        if why is not None:
            found[table] = why
    waiting = True
    while waiting:  # what hangs on one that is recreated, level by level
        waiting = False
        for table in both:
            above = {*parents(after, table)} & {*parents(before, table)} & found.keys()
            if table not in found and above:
                found[table] = f"its parent {min(above)} is recreated"
                waiting = True
    for table in found:
        then, now = (each.objects[f"table {table}"].get("partition_of") for each in (before, after))
        if then in found and then == now:
            found[table] = None
    return found


def _why_anew(table: str, before: Catalog, after: Catalog, replaced: Sequence[str]) -> str | None:
    old, new = (each.objects[f"table {table}"] for each in (before, after))
    elsewhere = [table, *_partitions(table, before), *_partitions(table, after)]
    if any(
        "foreign" in each.objects.get(f"table {name}", {})
        for name in elsewhere
        for each in (before, after)
    ):
        return None  # the rows of foreign tables stay where they are
    if old.get("partition_key") != new.get("partition_key"):
        return "how it is partitioned"
    words = mentions(str(old.get("partition_key", "")))
    for each, was in before.columns(table).items():
        now = after.columns(table).get(each, was)
        retyped = (was["type"], was.get("collation")) != (now["type"], now.get("collation"))
        if plain(each) in words and (retyped or is_moved(was, replaced)):
            return "the type of what it is partitioned by"
    has = new.get("inherits", [])
    added = [each for each in has if each not in old.get("inherits", [])]
    if parents_change_places(old, new):
        return "the order of its parents"
    own = before.columns(table)
    if has and any(
        f"column {table}.{each}" not in after.objects and inherited_column(after, table, each)
        for each in own
    ):
        return "a column of its own that becomes its parent's alone"
    if any(
        each not in all_columns(before, table)
        for parent in added
        for each in all_columns(before, parent)
    ):
        return "a new parent that has columns which it has not"
    return None


def _detached(table: str, before: Catalog) -> Iterator[Step]:
    """Yield what takes a partition from its parent, with its rows: the new one takes its place."""
    attributes = before.objects[f"table {table}"]
    parent = attributes.get("partition_of")
    if parent is not None:
        attach = f"ALTER TABLE {parent} ATTACH PARTITION {table} {attributes['partition_bound']}"
        detach = f"ALTER TABLE {parent} DETACH PARTITION {table}"
        yield Step(detach, Phase.RENAME, back=Step(attach, Phase.RENAME))


def _renames(table: str, before: Catalog) -> Iterator[Step]:
    former = aside(table)
    yield _rename("ALTER TABLE {} RENAME TO {}", table, former)
    for key, attributes in before.objects.items():
        if owner(key, attributes) != table:
            continue
        kind, _, name = key.partition(" ")
        if kind in {"index", "other"}:
            index = name.removeprefix("index ") if kind == "other" else name
            yield _rename("ALTER INDEX {} RENAME TO {}", index, aside(index))
        elif kind == "constraint":
            own = split_name(name)[-1]
            yield _rename(f"ALTER TABLE {former} RENAME CONSTRAINT {{}} TO {{}}", own, aside(own))
        elif kind == "column" and "identity" in attributes:
            sequence, its = (_usual_sequence(each, name) for each in (table, former))
            if sequence and its and f"sequence {sequence}" not in before.objects:
                form = "ALTER SEQUENCE IF EXISTS {} RENAME TO {}"
                yield _rename(form, sequence, its)


def _usual_sequence(table: str, column: str) -> str | None:
    """Return what PostgreSQL calls the sequence of an identity; None where it shortens that."""
    usual = f"{plain(table)}_{plain(split_name(column)[-1])}_seq"
    schema = table.removesuffix(split_name(table)[-1])
    return f"{schema}{identifier(usual)}" if len(usual.encode()) <= LONGEST_NAME else None


def _rename(form: str, old: str, new: str) -> Step:
    schema = new.removesuffix(split_name(new)[-1])
    back = Step(form.format(new, old.removeprefix(schema)), Phase.RENAME)
    return Step(form.format(old, new.removeprefix(schema)), Phase.RENAME, back=back)


def rows_of(table: str) -> str:
    """Return the key of the rows that are copied before a table goes."""
    return f"rows {table}"


def link_to_parents(table: str) -> str:
    """Return the key of what a table is to its parents, which it leaves before they go."""
    return f"link {table}"


def _all_seen_of(table: str) -> str:
    """Return the key of a table's being seen whole by its owner, whatever its policies say."""
    return f"all of {table}"


def copied(copy: Copy, before: Catalog, after: Catalog, replaced: Sequence[str]) -> Iterator[Step]:
    """Yield what copies the rows of a table that was set aside, and lets its numbers go on.

    `replaced` are the keys of types of which another one takes the name.
    """
    had, has = all_columns(before, copy.former), all_columns(after, copy.table)
    both = [own for own, each in has.items() if own in had and "generated" not in each]
    moving = dict.fromkeys(
        each
        for own in both
        if of_replaced(had[own]["type"], replaced)
        for each in movers(had[own]["type"].removesuffix("[]"), before)
    )
    values = []
    for own in both:
        kind = had[own]["type"]
        if kind == has[own]["type"] and of_replaced(kind, replaced):
            values.append(f"{moved(own, kind, before, after)}::{kind}")
        else:
            values.append(_value(own, had[own], has[own], replaced))
    gone = [own for own, each in had.items() if own not in has and "generated" not in each]
    loses = [f"the columns {', '.join(gone)}"] if gone else []
    loses += [
        f"what {has[own]['type']} cannot hold of {own}"
        for own in both
        if had[own]["type"] != has[own]["type"] and cast_loses(had[own]["type"], has[own]["type"])
    ]
    is_parent = "partition_key" in before.objects[f"table {copy.former}"]
    source = copy.former if is_parent else f"ONLY {copy.former}"
    parts = tuple(f"table {each}" for each in [copy.table, *_partitions(copy.table, after)])
    left = [each for each in _partitions(copy.former, before) if f"table {each}" in after.objects]
    stays = f" Rows of {', '.join(left)} stay there." if left else ""
    if before.objects[f"table {copy.former}"].get("row_security") == "forced":
        # What its policies hide from its owner would not be copied, and go with it.
        seen = f"ALTER TABLE {copy.former} NO FORCE ROW LEVEL SECURITY"
        yield Step(seen, Phase.DEFINE, (_all_seen_of(copy.former),))
    numbers = any("identity" in has[own] for own in both)
    overriding = " OVERRIDING SYSTEM VALUE" if numbers else ""
    yield Step(
        f"INSERT INTO {copy.table} ({', '.join(both)}){overriding}"  # noqa: S608 - names as the server quotes them
        f" SELECT {', '.join(values)} FROM {source}",
        Phase.DEFINE,
        (rows_of(copy.table),),
        (rows_of(copy.former),),
        needs=(*parts, *map(link_to_parents, left), _all_seen_of(copy.former), *moving),
        loses=f"{' and '.join(loses)} of {copy.table}" if loses else "",
        why=_COST.format(table=copy.table, why=copy.why) + stays,
    )
    for own in has:
        if "identity" in has[own] and own in had:
            yield _goes_on(copy, own, had[own], has[own])


def _goes_on(copy: Copy, own: str, old: Attributes, new: Attributes) -> Step:
    """Return what lets an identity go on where the former one stopped."""
    step = replace(count_on(copy.table, own, new), phase=Phase.DEFINE, needs=(rows_of(copy.table),))
    if "identity" in old and old.get("identity_options") == new.get("identity_options"):
        sequences = (
            f"pg_get_serial_sequence({literal(table)}, {literal(plain(own))})::regclass"
            for table in (copy.table, copy.former)
        )
        form = "SELECT setval({}, nextval({}), false)"
        step = replace(step, sql=form.format(*sequences), ends=(rows_of(copy.former),))
    return step


def _value(own: str, old: Attributes, new: Attributes, replaced: Sequence[str]) -> str:
    kind = new["type"]
    if of_replaced(old["type"], replaced):
        return f"{own}::text{'[]' if kind.endswith('[]') else ''}::{kind}"
    if old["type"] == kind:
        return own
    cast = using_clause(own, old["type"], kind)
    return cast.removeprefix(" USING ") if cast else own


def all_columns(catalog: Catalog, table: str) -> Mapping[str, Attributes]:
    """Return all columns of a table, also those that parents hand down."""
    found: dict[str, Attributes] = {}
    for parent in parents(catalog, table):
        found.update(all_columns(catalog, parent))
    return {**found, **catalog.columns(table)}


def _partitions(table: str, catalog: Catalog) -> Iterator[str]:
    for name in catalog.names("table"):
        if catalog.objects[f"table {name}"].get("partition_of") == table:
            yield name
            yield from _partitions(name, catalog)
