"""What the live catalog knows about the tables that a statement changes."""

from psycopg import sql

from leadctl.postgres.connect import Connection
from leadctl.sql.locks import CatalogFacts
from leadctl.sql.statements import Reader


def live_facts(connection: Connection, schema: str) -> CatalogFacts:
    """Return facts that are looked up in the catalog when they are needed."""

    def one(query: str, *parameters: object) -> object:
        row = connection.execute(query, parameters).fetchone()
        return row[0] if row else None

    def regclass(name: str) -> str:
        parts = name.split(".") if "." in name else [schema, name]
        return sql.Identifier(*parts).as_string(connection)

    def is_volatile(name: str) -> bool:
        return bool(
            one(
                "SELECT bool_or(provolatile = 'v') FROM pg_proc WHERE proname = %s",
                name.rpartition(".")[2],
            )
        )

    def type_change_rewrites(table: str, column: str, kind: str) -> bool:
        current = one(
            "SELECT format_type(atttypid, atttypmod) FROM pg_attribute"
            " WHERE attrelid = to_regclass(%s) AND attname = %s AND NOT attisdropped",
            regclass(table),
            column,
        )
        return current is None or not _same_on_disk(str(current), kind)

    def has_not_null_check(table: str, column: str) -> bool:
        definitions = connection.execute(
            "SELECT pg_get_constraintdef(oid) FROM pg_constraint"
            " WHERE conrelid = to_regclass(%s) AND contype = 'c' AND convalidated",
            (regclass(table),),
        )
        quoted = sql.Identifier(column).as_string(connection)
        wanted = {f"CHECK (({name} IS NOT NULL))" for name in (column, quoted)}
        return any(definition in wanted for (definition,) in definitions)

    def table_of_index(index: str) -> str | None:
        found = one(
            "SELECT c.relname FROM pg_index i JOIN pg_class c ON c.oid = i.indrelid"
            " WHERE i.indexrelid = to_regclass(%s)",
            regclass(index),
        )
        return None if found is None else str(found)

    def referencing(table: str) -> list[str]:
        rows = connection.execute(
            "SELECT DISTINCT c.relname FROM pg_constraint n JOIN pg_class c ON c.oid = n.confrelid"
            " WHERE n.conrelid = to_regclass(%s) AND n.contype = 'f' AND n.confrelid <> n.conrelid",
            (regclass(table),),
        )
        return [name for (name,) in rows]

    return CatalogFacts(
        is_volatile, type_change_rewrites, has_not_null_check, table_of_index, referencing
    )


def _same_on_disk(current: str, new: str) -> bool:
    """Whether PostgreSQL changes between two types without writing the rows anew.

    True for a varchar that gets longer or loses its limit, and for text and varchar without one;
    https://www.postgresql.org/docs/current/sql-altertable.html, "Notes".
    """
    before, after = _type(current), _type(new)
    if before == after:
        return True
    characters = {"text", "varchar"}
    if before[0] in characters and after[0] in characters:
        return after[1] is None or (before[1] is not None and before[1] <= after[1])
    if before[0] == after[0] in {"numeric", "varbit"}:
        wider = after[1] is None or (before[1] is not None and before[1] <= after[1])
        return wider and (after[1] is None or before[2] == after[2])
    return False


def _type(text: str) -> tuple[str, int | None, int | None]:
    """Return a type's plain name, its length or precision, and its scale."""
    reader = Reader(text)
    name = reader.name()
    if name == "character" and reader.accept("VARYING"):
        name = "varchar"
    name = {"decimal": "numeric"}.get(name, name)
    limits = reader.parenthesised()
    parts = limits.text.split(",") if limits else []
    numbers = [int(part) if part.strip().isdigit() else None for part in parts]
    first, second, *_ = [*numbers, None, None]
    return name, first, second
