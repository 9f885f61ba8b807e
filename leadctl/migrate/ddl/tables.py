"""The statements that create and change tables, their columns left out."""

from collections.abc import Iterator, Sequence

from leadctl.catalog.definitions import Attributes, Catalog, split_name
from leadctl.errors import OperationFailed
from leadctl.migrate.ddl.columns import column
from leadctl.migrate.ddl.steps import mentions, plain

Columns = Sequence[tuple[str, Attributes]]


def create_table(
    name: str, attributes: Attributes, columns: Columns, constraints: Columns = ()
) -> str:
    """Return the statement that creates a table with its columns and some of its constraints."""
    kind = {"unlogged": "UNLOGGED "}.get(attributes.get("persistence", ""), "")
    kind = "FOREIGN " if "foreign" in attributes else kind
    ordered = sorted(columns, key=lambda column: column[1].get("position", 0))
    parts = [column(own, each) for own, each in ordered]
    parts += [f"CONSTRAINT {own} {each['definition']}" for own, each in constraints]
    lines = ",\n".join(f"    {part}" for part in parts)
    parts = [f"CREATE {kind}TABLE {name}"]
    if "partition_of" in attributes:
        parts.append(f"PARTITION OF {attributes['partition_of']} {attributes['partition_bound']}")
    else:
        parts.append(f"(\n{lines}\n)" if lines else "()")
    if "inherits" in attributes:
        parts.append(f"INHERITS ({', '.join(attributes['inherits'])})")
    if "partition_key" in attributes:
        parts.append(f"PARTITION BY {attributes['partition_key']}")
    if "options" in attributes:
        parts.append(f"WITH ({', '.join(attributes['options'])})")
    if "foreign" in attributes:
        parts.append(attributes["foreign"])
    return " ".join(parts)


def within_tables(before: Catalog, after: Catalog) -> list[str]:
    """Return the keys of the constraints that can be written within CREATE TABLE.

    Not foreign keys, which may go in a circle, nor what calls functions, which may need the table,
    nor a second key of the same columns, which CREATE TABLE drops without a word.
    """
    functions = {plain(name) for name in after.names("function")}
    found: dict[tuple[str, str], str] = {}
    by_kind = sorted(after.names("constraint"), key=lambda name: _place(after, name))
    for name in by_kind:
        text = after.objects[f"constraint {name}"]["definition"]
        table = split_name(name)[0]
        if (
            f"table {table}" not in before.objects
            and "partition_of" not in after.objects[f"table {table}"]
            and not text.startswith("FOREIGN KEY")
            and not text.endswith("NOT VALID")
            and not mentions(text) & functions
        ):
            same = text.removeprefix("PRIMARY KEY").removeprefix("UNIQUE")
            found.setdefault((table, same), f"constraint {name}")
    return list(found.values())


def _place(catalog: Catalog, constraint: str) -> int:
    """Return where a constraint stands among those of its table."""
    text = catalog.objects[f"constraint {constraint}"]["definition"]
    kinds = ("PRIMARY KEY", "UNIQUE", "CHECK")
    return next((index for index, kind in enumerate(kinds) if text.startswith(kind)), len(kinds))


def row_security(name: str, before: Attributes, after: Attributes) -> Iterator[str]:
    """Yield what turns row security on or off."""
    old, new = before.get("row_security"), after.get("row_security")
    if old == new:
        return
    if bool(old) != bool(new):
        yield f"ALTER TABLE {name} {'ENABLE' if new else 'DISABLE'} ROW LEVEL SECURITY"
    if (old == "forced") != (new == "forced"):
        yield f"ALTER TABLE {name} {'' if new == 'forced' else 'NO '}FORCE ROW LEVEL SECURITY"


def alter_table(name: str, before: Attributes, after: Attributes) -> Iterator[str]:
    """Yield what changes a table as such, its columns and row security left out.

    Raises OperationFailed for what PostgreSQL cannot change in place.
    """
    if before.get("partition_key") != after.get("partition_key"):
        raise OperationFailed(
            f"The table {name} cannot become partitioned, or cease to be, in place.",
            hint="Make a new table beside it, move the rows, and rename both.",
        )
    if before.get("foreign") != after.get("foreign"):
        raise OperationFailed(
            f"The foreign table {name} cannot be given another server or options here.",
            hint="Write it by hand: leadctl migrate new --empty -m NAME",
        )
    if before.get("persistence") != after.get("persistence"):
        yield f"ALTER TABLE {name} SET {'UNLOGGED' if after.get('persistence') else 'LOGGED'}"
    place = ("partition_of", "partition_bound")
    if [before.get(each) for each in place] != [after.get(each) for each in place]:
        if "partition_of" in before:
            yield f"ALTER TABLE {before['partition_of']} DETACH PARTITION {name}"
        if "partition_of" in after:
            yield (
                f"ALTER TABLE {after['partition_of']} ATTACH PARTITION {name} "
                f"{after['partition_bound']}"
            )
    old, new = before.get("inherits", []), after.get("inherits", [])
    yield from (f"ALTER TABLE {name} NO INHERIT {parent}" for parent in old if parent not in new)
    yield from (f"ALTER TABLE {name} INHERIT {parent}" for parent in new if parent not in old)
    yield from _options(name, before.get("options", []), after.get("options", []))


def _options(name: str, old: list[str], new: list[str]) -> Iterator[str]:
    names = {option.partition("=")[0] for option in new}
    gone = [own for option in old if (own := option.partition("=")[0]) not in names]
    added = [option for option in new if option not in old]
    if gone:
        yield f"ALTER TABLE {name} RESET ({', '.join(gone)})"
    if added:
        yield f"ALTER TABLE {name} SET ({', '.join(added)})"
