"""Writing seed files from live rows: references by key, secrets masked."""

import csv
import io
import json
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum
from ipaddress import IPv4Address, IPv6Address
from pathlib import Path
from typing import Any
from uuid import UUID

import yaml
from sqlalchemy import Column, Connection, Select, Table, func, select, text
from sqlalchemy.exc import DBAPIError, ProgrammingError

from leadctl.apps.metadata import load_metadata
from leadctl.apps.registry import App
from leadctl.errors import OperationFailed, UsageError
from leadctl.init.project_files import is_secret_name, snake_case
from leadctl.models.values import encrypted_columns
from leadctl.postgres import exact
from leadctl.postgres.engine import driver_connection, run_engine
from leadctl.postgres.target import Target
from leadctl.postgres.translate import translate
from leadctl.seed.upsert import ModelRows, natural_key
from leadctl.text import inert

_MASK = "masked"
FORMATS = ("yaml", "json", "csv")
_ROWS_MAX = 10_000
"""Seed files are read whole, so that more rows are no seed."""


@dataclass(frozen=True)
class Exported:
    """What was written of a table."""

    table: str
    rows: int
    masked: tuple[str, ...]
    """Columns whose values were replaced: encrypted ones, and those that look like secrets."""
    path: Path


def export(
    target: Target,
    app: App,
    table_name: str,
    *,
    where: str | None,
    path: Path,
    for_spreadsheet: bool = False,
) -> Exported:
    """Write rows of a table as a seed file in the format of the path's ending.

    `where` is an SQL condition on the table's own columns, run in a transaction that may not
    write.  A foreign key to a table with a natural key becomes that key, and a primary key that
    the server makes is left out.  `for_spreadsheet` leaves no cell of CSV that is a formula.
    Raises UsageError and OperationFailed.
    """
    metadata = load_metadata(app)
    table = metadata.tables.get(table_name)
    if table is None:
        raise UsageError(
            f"{app.name} has no table {table_name}.",
            hint=f"Available: {', '.join(sorted(metadata.tables))}.",
        )
    if path.suffix.removeprefix(".") not in FORMATS:
        raise UsageError(
            f"{path} has no ending that names a format.",
            hint=f"Use one of these endings: {', '.join(FORMATS)}.",
        )
    if for_spreadsheet and path.suffix != ".csv":
        raise UsageError(
            f"--for-spreadsheet is for seed files in CSV, and {path.name} is not CSV.",
            hint=f"Add --to {path.stem}.csv, or leave --for-spreadsheet out.",
        )
    if path.exists():
        raise OperationFailed(f"{path} exists.", hint="Move it away, or name another file.")
    encrypted = {column for column, _ in encrypted_columns(metadata)}
    masked = {c.name for c in table.columns if c in encrypted or _is_secret(c.name)}
    columns = [column for column in table.columns if not _is_generated(column)]
    with run_engine(target, "export").connect() as connection:
        connection.exec_driver_sql("SET TRANSACTION READ ONLY")
        touching = ModelRows(connection)
        with touching.touched(table):
            rows = _read(connection, target.schema, table, columns, masked, where)
        referred = [_with_keys(connection, touching, table, row) for row in rows]
    _write(path, table, referred, for_spreadsheet=for_spreadsheet)
    return Exported(table.name, len(rows), tuple(sorted(masked)), path)


def _is_secret(column: str) -> bool:
    """Whether a name says secret; a hash of a password is nothing for a file either."""
    return is_secret_name(column) or "password" in snake_case(column)


def _is_generated(column: Column[Any]) -> bool:
    """Whether the server makes the values, and another column tells the rows apart."""
    if column.computed is not None:
        return True
    made = column.identity is not None or column.table.autoincrement_column is column
    if not (column.primary_key and made and not column.foreign_keys):
        return False
    others = {each.name: True for each in column.table.columns if each is not column}
    return natural_key(column.table, others) is not None


def _read(
    connection: Connection,
    schema: str,
    table: Table,
    columns: Iterable[Column[Any]],
    masked: Collection[str],
    where: str | None,
) -> list[dict[str, Any]]:
    # Masked values never leave the server.
    selected = [
        func.nullif(column.is_(None), True).label(column.name) if column.name in masked else column
        for column in columns
    ]
    query = select(*selected).order_by(*table.primary_key.columns).limit(_ROWS_MAX + 1)
    if where:
        query = query.where(text(where.replace(":", r"\:")))
    try:
        found = _fetch(connection, schema, table, query, where)
    except DBAPIError as error:
        known = translate(error)
        if not where:
            raise known or OperationFailed(str(error.orig)) from None
        raise UsageError(
            f"--where {where}: {known.message if known else error.orig}",
            hint="It is an SQL condition on the table's columns.",
        ) from None
    if len(found) > _ROWS_MAX:
        raise UsageError(
            f"{table.name} has more than {_ROWS_MAX} such rows.", hint="Choose with --where."
        )
    return [
        {
            name: (f"{_MASK}-{number}" if value is not None else None) if name in masked else value
            for name, value in row.items()
        }
        for number, row in enumerate(found, 1)
    ]


def _fetch(
    connection: Connection, schema: str, table: Table, query: Select[Any], where: str | None
) -> list[dict[str, Any]]:
    """Read rows: along pg_catalog, unless the condition names more of the app's than columns."""
    driver = driver_connection(connection)
    if where and exact.authored(driver, schema, where, [table.name]).exactly:
        named = {"schema_translate_map": {None: schema}}
        try:
            with connection.begin_nested(), exact.own_path(driver):
                found = connection.execute(query, execution_options=named)
                return [dict(row) for row in found.mappings()]
        except ProgrammingError:
            pass  # it names more of the app's; else the server says below what is wrong
    return [dict(row) for row in connection.execute(query).mappings()]


def _with_keys(
    connection: Connection, rows: ModelRows, table: Table, row: dict[str, Any]
) -> dict[str, Any]:
    """Return a row with plain values, its references as what finds the row referred to."""
    result: dict[str, Any] = {}
    for name, value in row.items():
        column = table.columns[name]
        referred = next((key.column for key in column.foreign_keys), None)
        key = _key_of(connection, rows, referred, value) if referred is not None else None
        result[str(name)] = key if key is not None else _plain(value)
    return result


def _key_of(
    connection: Connection, rows: ModelRows, referred: Column[Any], value: Any
) -> dict[str, Any] | None:
    table = referred.table
    others = {
        each.name: True
        for each in table.columns
        if not (each.primary_key or each.foreign_keys or _is_secret(each.name))
    }
    key = natural_key(table, others)
    if value is None or key is None:
        return None
    query = select(*(table.columns[name] for name in key)).where(rows.equal(referred, value))
    with rows.touched(table):
        found = connection.execute(query).mappings().first()
    if found is None or None in found.values():
        return None
    return {str(name): _plain(found[name]) for name in key}


def _plain(value: Any) -> Any:
    """Return a value as YAML and JSON have it; the server reads the text of others again."""
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, datetime | date | time):
        return value.isoformat()
    if isinstance(value, timedelta):
        return f"{value.total_seconds()} seconds"
    if isinstance(value, Decimal | UUID | IPv4Address | IPv6Address):
        return str(value)
    if isinstance(value, bytes | memoryview):
        return "\\x" + bytes(value).hex()
    return value


def _write(path: Path, table: Table, rows: list[dict[str, Any]], *, for_spreadsheet: bool) -> None:
    if path.suffix == ".csv":
        content = _csv(rows, inert if for_spreadsheet else str)
    elif path.suffix == ".json":
        content = (
            json.dumps({str(table.name): rows}, ensure_ascii=False, indent=2, default=str) + "\n"
        )
    else:
        content = yaml.safe_dump({str(table.name): rows}, allow_unicode=True, sort_keys=False)
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("x", encoding="utf-8") as file:
        path.chmod(0o600)  # rows are data
        file.write(content)


def _csv(rows: list[dict[str, Any]], way: Callable[[str], str]) -> str:
    """Return CSV, texts as `way` has them; a reference is JSON, since a field holds one text."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    for line in [list(rows[0]) if rows else [], *(row.values() for row in rows)]:
        fields = map(_field, line)
        writer.writerow([way(field) if isinstance(field, str) else field for field in fields])
    return out.getvalue()


def _field(value: Any) -> Any:
    return json.dumps(value, ensure_ascii=False) if isinstance(value, Mapping | list) else value
