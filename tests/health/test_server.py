"""Checks of the server as a whole, on servers of their own: each fault made, seen and mended."""

import time
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from tests.conftest import Cli
from tests.health.test_facts import eventually, status, thresholds
from tests.processes import wait_for
from tests.servers import MAJOR, RunningServer, Server

HAS_CONTRIB = MAJOR != 16
"""The wheel that the tests have 16 from brings no extensions."""
_XIDS_A_SEGMENT = 32 * 8192 * 4
_MULTIXACTS_A_SEGMENT = 32 * 8192 // 4


@pytest.fixture(scope="module")
def primary() -> Iterator[RunningServer]:
    """A server that replicates, archives and prepares."""
    running = RunningServer(
        MAJOR,
        archive_mode="on",
        archive_command="true",
        max_prepared_transactions="5",
        wal_keep_size="64MB",
        autovacuum="off",
        **({"shared_preload_libraries": "pg_stat_statements"} if HAS_CONTRIB else {}),
    )
    yield running
    running.stop()


def sql(server: RunningServer, *statements: str) -> None:
    with server.info.connect() as connection:
        for each in statements:
            connection.execute(each)


@pytest.mark.thorough
def test_archiving(primary: RunningServer, cli: Cli, tmp_path: Path) -> None:
    url = primary.info.url("postgres")
    assert status(cli, url, "archiving") == "skipped"
    switch = ("SELECT pg_logical_emit_message(false, 'x', 'x')", "SELECT pg_switch_wal()")
    sql(primary, *switch)
    eventually("ok", lambda: status(cli, url, "archiving"))
    sql(primary, "ALTER SYSTEM SET archive_command = 'false'", "SELECT pg_reload_conf()")
    sql(primary, *switch)
    eventually("critical", lambda: status(cli, url, "archiving"))
    (row,) = cli("inspect", "archiving", "-o", "json", url=url).json["reports"][0]["rows"]
    assert (row["failing"], row["failed"] > 0) == (True, True)
    sql(primary, "ALTER SYSTEM SET archive_command = 'true'", "SELECT pg_reload_conf()", *switch)
    eventually("ok", lambda: status(cli, url, "archiving"))
    # The newest that was archived is no segment: a base backup's own file, and then no name at all.
    primary.program(
        "pg_basebackup",
        "-d",
        f"host={primary.info.socket} port={primary.info.port} user=postgres",
        "-D",
        primary.data.parent / "copy",
        "-X",
        "none",
        "-c",
        "fast",
        "--no-manifest",
    )
    last = "SELECT last_archived_wal FROM pg_stat_archiver"
    with primary.info.connect() as connection:
        wait_for(lambda: str(connection.execute(last).fetchall()).count(".backup") == 1)
    assert status(cli, url, "archiving") == "ok"
    thresholds(tmp_path, "archiving", warning=0)
    assert status(cli, url, "archiving") == "warning"


def test_replication_slots(primary: RunningServer, cli: Cli, tmp_path: Path) -> None:
    url = primary.info.url("postgres")
    assert status(cli, url, "replication-slots") == "skipped"
    sql(primary, "SELECT pg_create_physical_replication_slot('forgotten', true)")
    assert status(cli, url, "replication-slots") == "warning"  # nobody reads it
    thresholds(tmp_path, "replication-slots", warning=100_000, critical=1_000_000)
    sql(primary, "SELECT pg_logical_emit_message(false, 'x', repeat('x', 2000000))")
    assert status(cli, url, "replication-slots") == "critical"
    thresholds(tmp_path, "replication-slots", warning=1_000_000, critical=100_000_000)
    # What the slot needs is removed: the limit is one segment, and three were written since.
    sql(primary, "ALTER SYSTEM SET max_slot_wal_keep_size = '1MB'")
    sql(primary, "ALTER SYSTEM SET wal_keep_size = 0", "SELECT pg_reload_conf()")
    for _ in range(3):
        sql(primary, "SELECT pg_logical_emit_message(false, 'x', 'x')", "SELECT pg_switch_wal()")
    sql(primary, "CHECKPOINT")
    assert status(cli, url, "replication-slots") == "critical"
    sql(primary, "SELECT pg_drop_replication_slot('forgotten')", "ALTER SYSTEM RESET ALL")
    sql(primary, "SELECT pg_reload_conf()")
    assert status(cli, url, "replication-slots") == "skipped"


@pytest.mark.thorough
def test_prepared_transactions(primary: RunningServer, cli: Cli) -> None:
    url = primary.info.url("postgres")
    assert status(cli, url, "prepared-transactions") == "ok"
    with primary.info.connect() as connection:
        connection.execute("BEGIN")
        connection.execute("CREATE TABLE later (n int)")
        connection.execute("PREPARE TRANSACTION 'forgotten'")
    eventually("warning", lambda: status(cli, url, "prepared-transactions"))
    sql(primary, "ROLLBACK PREPARED 'forgotten'")
    assert status(cli, url, "prepared-transactions") == "ok"


@pytest.mark.thorough
@pytest.mark.skipif(not HAS_CONTRIB, reason="there is no pg_stat_statements")
def test_slow_queries(primary: RunningServer, cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    from leadctl.health import activity

    monkeypatch.setattr(activity, "_COUNTED_MS", 1000)  # a test does not run for a minute
    url = primary.info.url("postgres")
    assert cli("inspect", "slow-queries", url=url).code == 1
    assert status(cli, url, "slow-queries") == "skipped"
    sql(primary, "CREATE SCHEMA stat", "CREATE EXTENSION pg_stat_statements SCHEMA stat")
    sql(primary, "SELECT stat.pg_stat_statements_reset()")
    assert status(cli, url, "slow-queries") == "skipped"
    with primary.info.connect() as connection:
        for _ in range(105):
            connection.execute("SELECT pg_sleep(0.021)")
    assert status(cli, url, "slow-queries") == "warning"
    rows = cli("inspect", "slow-queries", "-o", "json", url=url).json["reports"][0]["rows"]
    assert (rows[0]["query"], rows[0]["calls"]) == ("SELECT pg_sleep($1)", 105)
    sql(primary, "SELECT stat.pg_stat_statements_reset()", "SELECT pg_sleep(1.1)")
    assert status(cli, url, "slow-queries") == "ok"


@pytest.mark.skipif(not HAS_CONTRIB, reason="there is no pg_stat_statements")
def test_an_extension_that_cannot_be_asked(
    primary: RunningServer, server: Server, database: str, cli: Cli
) -> None:
    """Without its library, or as old as before an upgrade of the server, it says nothing."""
    with server.connect(database) as connection:
        connection.execute("CREATE EXTENSION pg_stat_statements")
    assert status(cli, server.url(database), "slow-queries") == "skipped"
    sql(primary, "CREATE DATABASE upgraded")
    with primary.info.connect("upgraded") as connection:
        connection.execute("CREATE EXTENSION pg_stat_statements VERSION '1.7'")
    assert status(cli, primary.info.url("upgraded"), "slow-queries") == "skipped"


@pytest.mark.thorough
def test_a_lagging_standby(primary: RunningServer, cli: Cli, tmp_path: Path) -> None:
    url = primary.info.url("postgres")
    assert status(cli, url, "replication") == "skipped"
    with RunningServer(MAJOR, standby_of=primary) as standby:
        its_url = standby.info.url("postgres")
        eventually("ok", lambda: status(cli, url, "replication"))
        eventually("ok", lambda: status(cli, its_url, "replication"))
        thresholds(tmp_path, "replication", warning=0.5)
        eventually("ok", lambda: status(cli, its_url, "replication"))
        sql(primary, "CREATE TABLE seen (n int)", "DROP TABLE seen")
        time.sleep(1)
        sql(standby, "SELECT pg_wal_replay_pause()")
        sql(primary, "CREATE TABLE moved (n int)", "SELECT pg_sleep(0.6)", "DROP TABLE moved")
        eventually("warning", lambda: status(cli, its_url, "replication"))
        eventually("warning", lambda: _moved(primary) or status(cli, url, "replication"))
        (row,) = cli("inspect", "standby", "-o", "json", url=its_url).json["reports"][0]["rows"]
        assert (row["paused"], row["behind_bytes"] > 0) == (True, True)
        sql(standby, "SELECT pg_wal_replay_resume()")
        eventually("ok", lambda: status(cli, its_url, "replication"))
        eventually("ok", lambda: _moved(primary) or status(cli, url, "replication"))
        _everything_works_on_a_standby(cli, its_url)
        _reads_go_to_the_replica(cli, tmp_path, url, its_url)
    eventually("skipped", lambda: status(cli, url, "replication"))


def _moved(primary: RunningServer) -> str:
    sql(primary, "SELECT pg_logical_emit_message(true, 'x', 'x')")
    return ""


def _everything_works_on_a_standby(cli: Cli, url: str) -> None:
    found = cli("inspect", "all", "-o", "json", url=url).json
    skipped = {each["report"]: each["skipped"] for each in found["reports"] if each["skipped"]}
    assert skipped.keys() <= {"slow-queries", "nodes"}
    outcome = cli("health-check", "-o", "json", url=url)
    bad = {c["name"] for c in outcome.json["checks"] if c["status"] in {"warning", "critical"}}
    assert bad <= {"schema", "migrations"}  # nothing was migrated there
    assert cli("stats", "-o", "json", url=url).code == 0


def _reads_go_to_the_replica(cli: Cli, folder: Path, url: str, its_url: str) -> None:
    config = folder / "leadctl.toml"
    config.write_text(f'[env.prod]\nurl = "{url}"\nreplica = "{its_url}"\n')
    for command in (["inspect", "standby"], ["stats"]):
        outcome = cli(*command, "--env", "prod", "-o", "json")
        assert "Reading from the replica postgresql://" in outcome.err
        assert " s behind." in outcome.err
        assert "correct" not in outcome.err  # the password
        assert outcome.json["replica_lag_seconds"] >= 0
    assert (
        len(cli("inspect", "standby", "--env", "prod", "-o", "json").json["reports"][0]["rows"])
        == 1
    )
    sheet = cli("studio", "--env", "prod", "-o", "json")
    assert (sheet.code, "Reading from the replica" in sheet.err) == (0, True), sheet.err
    config.write_text(f'[env.prod]\nurl = "{url}"\nreplica = "{url}"\n')
    refused = cli("inspect", "standby", "--env", "prod")
    assert (refused.code, "is not a standby" in refused.err) == (3, True)
    config.unlink()


def wear_out(server: RunningServer, database: str, table: str) -> None:
    """Use up 1.35 billion transaction and multixact ids, and change a byte of a table on disk."""
    with server.info.connect(database) as connection:
        row = connection.execute("SELECT pg_relation_filepath(%s)", (table,)).fetchone()
        assert row is not None
    server.shut_down()
    reached = 1_350_000_000
    for folder, per_segment in (
        ("pg_xact", _XIDS_A_SEGMENT),
        ("pg_multixact/offsets", _MULTIXACTS_A_SEGMENT),
    ):
        segment = server.data / folder / f"{reached // per_segment:04X}"
        segment.write_bytes(bytes(32 * 8192))
        segment.chmod(0o666)
    server.program("pg_resetwal", "-f", "-x", str(reached), "-m", f"{reached},1", server.data)
    change_a_byte(server.data / row[0])
    server.launch()


def change_a_byte(path: Path) -> None:
    """Change what is on disk, where there is something."""
    with path.open("r+b") as file:
        file.seek(5000)
        byte = file.read(1)
        if byte:
            file.seek(5000)
            file.write(bytes([byte[0] ^ 0xFF]))


@pytest.mark.thorough
def test_ids_that_near_their_end(cli: Cli) -> None:
    """A server that has used 1.35 billion transaction and multixact ids, and never froze any."""
    with RunningServer(
        MAJOR,
        autovacuum_freeze_max_age="2000000000",
        autovacuum_multixact_freeze_max_age="2000000000",
    ) as old:
        url = old.info.url("postgres")
        assert status(cli, url, "transaction-age") == "ok"
        assert status(cli, url, "multixact-age") == "ok"
        sql(old, "CREATE TABLE kept (n int)")
        wear_out(old, "postgres", "kept")
        assert status(cli, url, "transaction-age") == "warning"
        assert status(cli, url, "multixact-age") == "warning"
        rows = cli("inspect", "wraparound", "-o", "json", url=url).json["reports"][0]["rows"]
        assert min(row["transaction_age"] for row in rows) > 1_340_000_000
        sql(old, "ALTER DATABASE template0 ALLOW_CONNECTIONS true")
        for database in ("postgres", "template0", "template1"):
            with old.info.connect(database) as connection:
                connection.execute("VACUUM (FREEZE)")
        assert status(cli, url, "transaction-age") == "ok"
        assert status(cli, url, "multixact-age") == "ok"


@pytest.mark.thorough
def test_checksums(cli: Cli) -> None:
    """One byte of a table is changed on disk."""
    with RunningServer(MAJOR) as broken:
        url = broken.info.url("postgres")
        assert status(cli, url, "checksums") == "ok"
        with broken.info.connect() as connection:
            connection.execute("CREATE TABLE kept AS SELECT generate_series(1, 1000) AS n")
            connection.execute("CHECKPOINT")
            row = connection.execute("SELECT pg_relation_filepath('kept')").fetchone()
            assert row is not None
        broken.shut_down()
        change_a_byte(broken.data / row[0])
        broken.launch()
        with pytest.raises(psycopg.errors.DataCorrupted), broken.info.connect() as connection:
            connection.execute("SELECT count(*) FROM kept")
        eventually("critical", lambda: status(cli, url, "checksums"))
        sql(broken, "DROP TABLE kept", "SELECT pg_stat_reset()")
        eventually("ok", lambda: status(cli, url, "checksums"))


@pytest.mark.thorough
def test_checksums_of_what_all_databases_share(cli: Cli) -> None:
    """The server counts them for no database."""
    with RunningServer(MAJOR) as broken:
        url = broken.info.url("postgres")
        sql(broken, "COMMENT ON ROLE postgres IS 'kept'", "CHECKPOINT")
        with broken.info.connect() as connection:
            row = connection.execute("SELECT pg_relation_filepath('pg_shdescription')").fetchone()
            assert row is not None
        broken.shut_down()
        change_a_byte(broken.data / row[0])
        broken.launch()
        with broken.info.connect() as connection:
            connection.execute("SET enable_indexscan = off; SET enable_bitmapscan = off")
            with pytest.raises(psycopg.errors.DataCorrupted):
                connection.execute("SELECT count(*) FROM pg_shdescription")
        eventually("critical", lambda: status(cli, url, "checksums"))
