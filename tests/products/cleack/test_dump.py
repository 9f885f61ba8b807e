"""Cleack's tables through pg_dump: triggers neither stop a restore nor write a row during it."""

import os
import subprocess
from pathlib import Path
from typing import Any

import pytest
from psycopg.errors import RestrictViolation

from leadctl.catalog.definitions import compare, read_catalog, without_grants
from tests.conftest import Cli, Prepare, Prepared
from tests.servers import PASSWORD, Server, find_binaries

pytestmark = pytest.mark.thorough

TABLES = [
    "users",
    "credits",
    "subscriptions",
    "social_accounts",
    "draws",
    "draw_history",
    "blacklist",
    "system_metrics",
]


@pytest.fixture
def lived_in(prepared: Prepare) -> Prepared:
    """A database whose ledger does not lie on disk in the order in which it was written."""
    database = prepared("cleack")
    database.query(
        "INSERT INTO users (id, email, password_hash)"
        " SELECT 'u' || n, n || '@example.com', password_hash FROM users, generate_series(1, 3) n"
    )
    add = (
        "INSERT INTO credits (id, user_id, transaction_type, amount)"
        " SELECT {} || n, {}, CASE WHEN n % 2 = 0 THEN 'usage' ELSE 'bonus' END::transaction_type,"
        " CASE WHEN n % 2 = 0 THEN -n + 1 ELSE n END FROM generate_series(1, {}) n"
    )
    database.query(add.format("'gone'", "'u1'", 40))
    database.query(add.format("'first'", "'u2'", 20))
    database.query("DELETE FROM users WHERE id = 'u1'")
    database.query("VACUUM credits")
    database.query(add.format("'later'", "'u2'", 10))
    assert database.query("SELECT id FROM credits WHERE user_id = 'u2' LIMIT 1") == [("later1",)]
    database.query(
        "INSERT INTO draws (id, user_id, platform, post_url, config, status, error)"
        " SELECT 'failed', 'u3', platform, post_url, config, 'failed', 'rate limit' FROM draws"
    )
    return database


@pytest.fixture
def copy(server: Server, database: str) -> Prepared:
    """An empty database to restore into."""
    return Prepared(database, server.url(database), server)


def run(server: Server, program: str, *arguments: str | Path) -> None:
    """Run a client program of the server's own version."""
    binaries = find_binaries(server.major)
    env = {**os.environ, "PGPASSWORD": PASSWORD}
    for folder in binaries.parents[3].glob("lib/*-linux-gnu*"):  # unpacked beside its libraries
        env["LD_LIBRARY_PATH"] = str(folder)
    done = subprocess.run(
        [
            binaries / program,
            f"--host={server.host}",
            f"--port={server.port}",
            "--username=postgres",
            *arguments,
        ],
        env=env,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")


def contents(database: Prepared, schema: str) -> dict[str, Any]:
    query = "SELECT coalesce(jsonb_agg(t ORDER BY id), '[]') FROM {}.{} t"
    return {table: database.query(query.format(schema, table)) for table in TABLES}


def is_whole(copy: Prepared, original: Prepared, schema: str = "public") -> None:
    """The same rows, the same objects, and triggers at work."""
    assert contents(copy, schema) == contents(original, schema)
    with (
        original.server.connect(original.name) as ours,
        copy.server.connect(copy.name) as theirs,
    ):
        for connection in (ours, theirs):
            connection.execute(f"SET search_path = {schema}")
        # pg_dump leaves out what PostgreSQL granted on public, whatever its name is now.
        found = compare(read_catalog(ours, schema), read_catalog(theirs, schema))
        assert without_grants(found) == []
        theirs.execute(
            "INSERT INTO credits (id, user_id, transaction_type, amount)"
            " VALUES ('next', 'u2', 'bonus', 5)"
        )
        theirs.execute("UPDATE draws SET status = 'processing' WHERE id = 'failed'")
        with pytest.raises(RestrictViolation):
            theirs.execute("DELETE FROM credits")
    assert copy.query(
        f"SELECT entry, balance = (SELECT sum(amount) FROM {schema}.credits WHERE user_id = 'u2')"
        f" FROM {schema}.credits WHERE id = 'next'"
    ) == [(31, True)]
    assert copy.query(
        f"SELECT array_agg(action::text ORDER BY step) FROM {schema}.draw_history"
        " WHERE draw_id = 'failed'"
    ) == [(["created", "started", "failed", "retried"],)]


@pytest.mark.parametrize("schema", ["public", "shop"])
@pytest.mark.parametrize("form", ["plain", "custom"])
def test_a_dump_comes_back_as_it_was(
    lived_in: Prepared, copy: Prepared, tmp_path: Path, schema: str, form: str
) -> None:
    if schema != "public":
        lived_in.query(f"ALTER SCHEMA public RENAME TO {schema}")
    server, dump = lived_in.server, tmp_path / "dump"
    run(
        server,
        "pg_dump",
        f"--dbname={lived_in.name}",
        f"--format={form}",
        f"--file={dump}",
        "--exclude-schema=leadctl",
    )
    if form == "plain":
        run(
            server,
            "psql",
            f"--dbname={copy.name}",
            "--quiet",
            "--output=/dev/null",
            "--set=ON_ERROR_STOP=1",
            f"--file={dump}",
        )
    else:
        run(server, "pg_restore", f"--dbname={copy.name}", dump)
    is_whole(copy, lived_in, schema)


def test_rows_alone_come_back_with_triggers_disabled(
    lived_in: Prepared, copy: Prepared, cli: Cli, tmp_path: Path
) -> None:
    server, dump = lived_in.server, tmp_path / "dump"
    assert cli("migrate", "--app", "cleack", url=copy.url).code == 0
    run(
        server,
        "pg_dump",
        f"--dbname={lived_in.name}",
        "--format=custom",
        "--data-only",
        f"--file={dump}",
        "--exclude-schema=leadctl",
        "--exclude-table=alembic_version",
    )
    run(server, "pg_restore", f"--dbname={copy.name}", "--data-only", "--disable-triggers", dump)
    is_whole(copy, lived_in)
