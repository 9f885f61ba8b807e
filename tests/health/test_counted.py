"""Numbers of the checks beside what EXPLAIN, the file system and a cipher of others count."""

import os
import time
from base64 import urlsafe_b64encode
from collections.abc import Iterator, Mapping
from hashlib import sha256
from pathlib import Path
from typing import Any

import psycopg
import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from tests.conftest import KEY, Cli, Prepared
from tests.processes import wait_for
from tests.servers import MAJOR, RunningServer

BLOCK = 8192


@pytest.fixture(scope="module")
def small() -> Iterator[RunningServer]:
    """A server with little memory for blocks, which nobody else makes work."""
    with RunningServer(MAJOR, shared_buffers="1MB", autovacuum="off", jit="off") as running:
        yield running


def found(cli: Cli, url: str, check: str, *flags: str) -> dict[str, Any]:
    (one,) = cli("health-check", "--check", check, *flags, "-o", "json", url=url).json["checks"]
    return dict(one)


def settled(cli: Cli, url: str, check: str) -> dict[str, Any]:
    """Return a check's result when the counters have come to rest."""
    deadline, before = time.monotonic() + 20, None
    while (now := found(cli, url, check)) != before or now["status"] == "skipped":
        assert time.monotonic() < deadline, now
        before = now
        time.sleep(0.4)
    return now


def explained(connection: psycopg.Connection[Any], statement: str) -> dict[str, Any]:
    """Run a statement; return what the server says that its plan did."""
    explain = f"EXPLAIN (ANALYZE, BUFFERS, TIMING off, FORMAT JSON) {statement}"
    row = connection.execute(explain).fetchone()
    assert row is not None
    return dict(row[0][0]["Plan"])


def nodes(plan: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    yield plan
    for below in plan.get("Plans", []):
        yield from nodes(below)


@pytest.mark.thorough
def test_as_many_blocks_and_scans_as_plans_say(small: RunningServer, cli: Cli) -> None:
    url = small.info.url("postgres")
    with small.info.connect() as connection:
        connection.execute("SET max_parallel_workers_per_gather = 0; SET enable_bitmapscan = off")
        connection.execute(
            "CREATE TABLE read (n int PRIMARY KEY, t text);"
            "INSERT INTO read SELECT n, repeat('x', 400) FROM generate_series(1, 60000) n"
        )
        connection.execute("VACUUM read")
    with small.info.connect() as connection:  # what the one before did is counted at its end
        connection.execute("SELECT pg_stat_reset()")
        connection.execute("ANALYZE read")
    hits = reads = scans = searches = 0
    with small.info.connect() as connection:
        connection.execute("SET max_parallel_workers_per_gather = 0; SET enable_bitmapscan = off")
        connection.execute("SELECT t FROM read WHERE n = 1")  # reads the catalog for the next ones
        searches += 1
        for number in range(120):
            text = "WHERE n = 77" if number % 4 else "WHERE t > ''"
            plan = explained(connection, f"SELECT count(t) FROM read {text}")
            hits += plan["Shared Hit Blocks"]
            reads += plan["Shared Read Blocks"]
            kinds = {node["Node Type"] for node in nodes(plan)}
            scans += "Seq Scan" in kinds
            searches += bool(kinds & {"Index Scan", "Index Only Scan"})
    assert (scans, searches) == (30, 91)
    usage = settled(cli, url, "index-usage")
    assert usage["value"] == pytest.approx(100 * searches / (scans + searches), abs=0.1)
    hit = settled(cli, url, "cache-hit")
    assert hit["value"] == pytest.approx(100 * hits / (hits + reads), abs=0.2)


def test_as_many_bytes_as_sorts_write(small: RunningServer, cli: Cli, tmp_path: Path) -> None:
    url = small.info.url("postgres")
    (tmp_path / "leadctl.toml").write_text("[health.temporary-files]\nwarning = 1\n")
    with small.info.connect() as connection:
        connection.execute("SELECT pg_stat_reset()")
    with small.info.connect() as connection:
        connection.execute("SET work_mem = '64kB'; SET max_parallel_workers_per_gather = 0")
        statement = "SELECT count(*) FROM generate_series(1, 300000)"
        written = explained(connection, statement)["Temp Written Blocks"] * BLOCK
    assert written > 1_000_000
    deadline = time.monotonic() + 20
    while (one := found(cli, url, "temporary-files"))["status"] != "warning":
        assert time.monotonic() < deadline, one
        time.sleep(0.2)
    with small.info.connect() as connection:
        query = "SELECT temp_bytes FROM pg_stat_database WHERE datname = 'postgres'"
        assert connection.execute(query).fetchone() == (pytest.approx(written, rel=0.1),)
    said = int(one["message"].partition(" bytes")[0].replace(",", "").split()[-1])
    assert said == pytest.approx(written, rel=0.1), one


def test_the_age_of_a_backup_is_that_of_its_files(
    leadconnector: Prepared, cli: Cli, tmp_path: Path
) -> None:
    env = {"BACKUP_DIR": str(tmp_path / "backups")}

    def check() -> dict[str, Any]:
        flags = ("--check", "backups", "-o", "json")
        (one,) = cli("health-check", *flags, url=leadconnector.url, env=env).json["checks"]
        return dict(one)

    assert cli("backup", url=leadconnector.url, env=env).code == 0
    (folder,) = (tmp_path / "backups").glob("2*")
    files = [path for path in folder.iterdir() if path.is_file()]
    hours = (time.time() - max(path.stat().st_mtime for path in files)) / 3600
    assert check()["value"] == pytest.approx(hours, abs=0.1)
    largest = max(files, key=lambda path: path.stat().st_size)
    os.truncate(largest, largest.stat().st_size // 2)
    broken = check()
    assert broken["status"] == "critical"
    assert "no good backup" in broken["message"]


def encrypted(text: str, key: str, context: str) -> str:
    """Encrypt as docs/encryption.md describes it, by another hand."""

    def spelled(raw: bytes) -> str:
        return urlsafe_b64encode(raw).decode().rstrip("=")

    raw, nonce = bytes.fromhex(key), os.urandom(12)
    fingerprint = sha256(b"leadctl key" + raw).hexdigest()[:16]
    sealed = AESGCM(raw).encrypt(nonce, text.encode(), context.encode())
    return f"lc1.{fingerprint}.{spelled(nonce)}.{spelled(sealed)}"


@pytest.mark.parametrize(
    ("key", "context", "status", "said"),
    [
        (KEY, "leadconnector.users.access_token", "ok", "values under known keys"),
        ("ab" * 32, "leadconnector.users.access_token", "critical", "users.access_token"),
        (KEY, "leadconnector.pages.access_token", "critical", "users.access_token"),
    ],
    ids=["ours", "another key", "moved"],
)
def test_ciphertext_of_another_hand(
    leadconnector: Prepared, cli: Cli, key: str, context: str, status: str, said: str
) -> None:
    for (row,) in leadconnector.query("SELECT id FROM users"):
        value = encrypted("a token", key, context)
        leadconnector.query("UPDATE users SET access_token = %s WHERE id = %s", value, row)
    one = found(cli, leadconnector.url, "encryption")
    assert one["status"] == status, one
    assert said in one["message"], one


@pytest.fixture(scope="module")
def counting() -> Iterator[RunningServer]:
    """A server of our own that vacuums by itself, though not within the minute."""
    with RunningServer(MAJOR) as running:
        yield running


CHURNED = (
    "CREATE TABLE churned (n int) WITH (autovacuum_enabled = off)",
    "INSERT INTO churned SELECT generate_series(1, 60000)",
    "ANALYZE churned",
    "DELETE FROM churned WHERE n <= 30000",
)


def test_rows_that_a_role_is_not_counted_for(counting: RunningServer, cli: Cli) -> None:
    """The server counts, but not what this role does: its dead rows are nowhere."""
    url = counting.info.url("postgres")
    with counting.info.connect() as connection:
        connection.execute("CREATE ROLE unseen LOGIN; ALTER ROLE unseen SET track_counts = off")
        connection.execute("CREATE TABLE rows (n int); ALTER TABLE rows OWNER TO unseen")
        with psycopg.connect(
            host=counting.info.socket,
            port=counting.info.port,
            user="unseen",
            dbname="postgres",
            autocommit=True,
        ) as app:
            app.execute("INSERT INTO rows SELECT generate_series(1, 30000)")
            app.execute("DELETE FROM rows")
        query = "SELECT n_live_tup + n_dead_tup FROM pg_stat_user_tables WHERE relname = 'rows'"
        assert connection.execute(query).fetchall() == [(0,)]
        for check in ("vacuum", "statistics", "deadlocks", "checksums"):
            one = found(cli, url, check)
            assert (one["status"], "unseen" in one["message"]) == ("skipped", True), one
        connection.execute("DROP OWNED BY unseen; DROP ROLE unseen")
    for check in ("deadlocks", "checksums"):
        assert found(cli, url, check)["status"] == "ok"


def test_counters_of_a_server_that_stopped_counting(counting: RunningServer, cli: Cli) -> None:
    """What they say is of before; what happens now is nowhere."""
    url = counting.info.url("postgres")
    with counting.info.connect() as connection:
        connection.execute(
            "CREATE TABLE scanned AS SELECT n, repeat('x', 900) FROM generate_series(1, 5000) n"
        )
        connection.execute("VACUUM ANALYZE scanned")
        connection.execute("SELECT pg_stat_reset()")
        for _ in range(200):
            connection.execute("SELECT count(*) FROM scanned")
        connection.execute("SET work_mem = '64kB'")
        connection.execute(
            "SELECT count(*) FROM (SELECT n FROM generate_series(1, 5000) n ORDER BY n DESC) s"
        )
    checks = ("cache-hit", "temporary-files")
    wait_for(lambda: [found(cli, url, check)["status"] for check in checks] == ["ok", "ok"])
    with counting.info.connect() as connection:
        connection.execute("ALTER SYSTEM SET track_counts = off")
        connection.execute("SELECT pg_reload_conf()")
        try:
            wait_for(lambda: connection.execute("SHOW track_counts").fetchone() == ("off",))
            for check in checks:
                one = found(cli, url, check)
                assert (one["status"], "track_counts" in one["message"]) == ("skipped", True), one
        finally:
            connection.execute("ALTER SYSTEM RESET track_counts")
            connection.execute("SELECT pg_reload_conf()")
        connection.execute("DROP TABLE scanned")


@pytest.mark.thorough
@pytest.mark.skipif(MAJOR == 16, reason="there is no pgstattuple")
@pytest.mark.parametrize("lost", ["reset", "copied", "crashed"])
def test_dead_rows_that_nobody_counts_any_more(cli: Cli, lost: str) -> None:
    """They are in the table, and the server knows of none."""
    with RunningServer(MAJOR) as running:
        with running.info.connect() as connection:
            connection.execute("CREATE EXTENSION pgstattuple")
            for statement in CHURNED:
                connection.execute(statement)
            connection.execute("ALTER TABLE churned RESET (autovacuum_enabled)")
        database = "postgres"
        if lost == "reset":
            with running.info.connect() as connection:
                connection.execute("SELECT pg_stat_reset()")
        elif lost == "copied":
            database = "copied"
            with running.info.connect("template1") as connection:
                connection.execute("CREATE DATABASE copied TEMPLATE postgres")
        else:
            with running.info.connect() as connection:
                connection.execute("CHECKPOINT")  # no commit of the tests waits for the disk
            running.crash()
            running.launch()
        url = running.info.url(database)
        with running.info.connect(database) as connection:
            ((dead, live),) = connection.execute(
                "SELECT (t).dead_tuple_count, (t).tuple_count FROM pgstattuple('churned') t"
            ).fetchall()
            assert (dead, live) == (30000, 30000)
            one = found(cli, url, "vacuum")
            assert (one["status"], "churned" in one["message"]) == ("skipped", True), one
            connection.execute("ANALYZE churned")
        known = settled(cli, url, "vacuum")
        assert known["status"] == "warning", known
        assert f"churned has {dead:,} dead rows" in known["message"], known


@pytest.mark.parametrize("made", ["CREATE INDEX ON loaded (n)", "VACUUM loaded", "ANALYZE loaded"])
def test_statistics_are_those_that_the_planner_has(
    counting: RunningServer, cli: Cli, made: str
) -> None:
    """An index, and VACUUM, tell the server how many rows there are, and nothing else."""
    url = counting.info.url("postgres")
    with counting.info.connect() as connection:
        connection.execute(
            "CREATE TABLE loaded (n int);INSERT INTO loaded SELECT generate_series(1, 20000)"
        )
        connection.execute(made)
        planned = connection.execute(
            "SELECT count(*) FROM pg_statistic WHERE starelid = 'loaded'::regclass"
        ).fetchone()
        expected = "ok" if made == "ANALYZE loaded" else "warning"
        assert planned == ((expected == "ok"),)
        one = settled(cli, url, "statistics")
        assert one["status"] == expected, one
        if expected == "warning":
            line = ("health-check", "--check", "statistics", "--fix", "--yes", "-o", "json")
            assert cli(*line, url=url).json["checks"][0]["status"] == "ok"
        connection.execute("DROP TABLE loaded")
