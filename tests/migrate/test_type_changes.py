"""Whatever a column's type becomes: values stay, are refused, or it was said that they may go."""

from collections.abc import Iterator
from itertools import permutations

import psycopg
import pytest

from leadctl.catalog.definitions import read_catalog
from leadctl.migrate.ddl.autodetector import changes
from leadctl.postgres.connect import Connection, connect
from leadctl.postgres.target import resolve
from leadctl.settings import load_settings
from tests.servers import Server

pytestmark = pytest.mark.thorough

VALUES = {
    "text": ["1.239", "a long text", "2026-01-02 03:04:05.678+02", "0101010101", "7"],
    "varchar(5)": ["abcde", "7"],
    "code": ["abc"],
    "smallint": ["7"],
    "integer": ["2147483647"],
    "bigint": ["9223372036854775807", "7"],
    "numeric(9,3)": ["123456.789"],
    "numeric(4,1)": ["123.4"],
    "real": ["0.1"],
    "double precision": ["0.1", "1e300"],
    "boolean": ["true"],
    "date": ["2026-01-02"],
    "timestamp": ["2026-01-02 03:04:05.678901"],
    "timestamp(0)": ["2026-01-02 03:04:05"],
    "time": ["03:04:05.678901"],
    "interval": ["1 day 00:00:01.678901"],
    "interval(0)": ["1 day 00:00:01"],
    "bit(8)": ["01010101"],
    "bit(4)": ["0101"],
    "text[]": ["{a long text,b}"],
    "varchar(3)[]": ["{abc}"],
    "numeric(4,1)[]": ["{1.5}"],
    "numeric[]": ["{1.239}"],
    "jsonb": ['{"a": 1.50}', "7"],
}


@pytest.fixture(scope="module")
def connection(server: Server) -> Iterator[Connection]:
    name = server.create()
    settings = load_settings({}, environ={"DATABASE_URL": server.url(name)})
    with connect(resolve(settings, app="leadconnector"), rows=True) as opened:
        opened.execute("CREATE DOMAIN code AS varchar(3)")
        yield opened
    server.drop(name)


@pytest.mark.parametrize("old", VALUES)
def test_no_value_changes_unsaid(connection: Connection, old: str) -> None:
    for kind in (each for one, each in permutations(VALUES, 2) if one == old):
        for value in VALUES[old]:
            assert_kept(connection, old, kind, value)


def assert_kept(connection: Connection, old: str, new: str, value: str) -> None:
    """Change a column with a value; unless it is refused or said, the value must come back."""
    connection.execute("DROP TABLE IF EXISTS t")
    connection.execute(f"CREATE TABLE t (c {new})".encode())
    after = read_catalog(connection, "public")
    connection.execute("DROP TABLE t")
    connection.execute(f"CREATE TABLE t (c {old}, was {old})".encode())
    connection.execute("ALTER TABLE t DROP was")  # a place that is no column's any more
    connection.execute("INSERT INTO t VALUES (%s)", (value,))
    steps = changes(read_catalog(connection, "public"), after)
    try:
        for step in steps:
            connection.execute(step.sql.encode())
    except psycopg.Error:
        return
    if any(step.loses for step in steps):
        return
    assert came_back(connection, old, value), f"{old} {value} to {new}: {steps}"


def came_back(connection: Connection, old: str, value: str) -> bool:
    """Whether the value is what it was, once it is of its old type again."""
    for form in ("c", "c::text", "c[1]"):
        try:
            row = connection.execute(
                f"SELECT ({form})::{old} = %s::{old} FROM t".encode(), (value,)
            ).fetchone()
        except psycopg.Error:
            continue
        if row == (True,):
            return True
    return False
