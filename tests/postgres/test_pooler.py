"""A pooler between leadctl and the server: Debian's pgbouncer, for real."""

import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psycopg
import pytest

from tests.conftest import Cli
from tests.servers import CACHE, PASSWORD, Server, die_with_parent, free_port, server_account

PROGRAMS = ("/usr/sbin/pgbouncer", str(CACHE / "usr/sbin/pgbouncer"))
PROGRAM = next(filter(os.path.exists, PROGRAMS), shutil.which("pgbouncer"))

pytestmark = pytest.mark.skipif(PROGRAM is None, reason="tests/get_servers.sh brings pgbouncer")


@pytest.fixture
def pgbouncer(server: Server) -> Iterator[Callable[..., int]]:
    """Start pgbouncers in front of the server, in a mode and of a size; return their ports."""
    running: list[tuple[subprocess.Popen[bytes], Path]] = []

    def start(mode: str, size: int = 20, patience: int = 2) -> int:
        folder = Path(tempfile.mkdtemp(prefix="leadctl-pooler-"))
        port = free_port()
        (folder / "users").write_text(f'"postgres" "{PASSWORD}"\n')
        (folder / "ini").write_text(
            f"[databases]\ncut_off = host=127.0.0.1 port=1\n* = host=127.0.0.1 port={server.port}\n"
            f"[pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = {port}\nunix_socket_dir =\n"
            f"auth_type = scram-sha-256\nauth_file = {folder}/users\npool_mode = {mode}\n"
            f"ignore_startup_parameters = extra_float_digits\nquery_wait_timeout = {patience}\n"
            f"default_pool_size = {size}\n"
        )
        account = {}
        if os.geteuid() == 0:
            entry = server_account()
            account = {"user": entry.pw_uid, "group": entry.pw_gid, "extra_groups": []}
            os.chown(folder, entry.pw_uid, entry.pw_gid)
        libraries = {"LD_LIBRARY_PATH": str(next((CACHE / "usr/lib").glob("*-linux-gnu*"), ""))}
        process = subprocess.Popen(
            [PROGRAM, "-q", folder / "ini"],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env=os.environ | libraries,
            preexec_fn=die_with_parent,
            **account,
        )
        running.append((process, folder))
        deadline = time.monotonic() + 20
        while True:
            try:
                psycopg.connect(server.url("postgres").replace(str(server.port), str(port))).close()
                return port
            except psycopg.OperationalError:
                assert time.monotonic() < deadline
                assert process.poll() is None
                time.sleep(0.05)

    yield start
    for process, folder in running:
        process.kill()
        process.wait()
        shutil.rmtree(folder)


def test_transaction_mode_is_refused_before_anything_is_set(
    server: Server, database: str, pgbouncer: Callable[[str], int], cli: Cli
) -> None:
    pooled = server.url(database).replace(str(server.port), str(pgbouncer("transaction")))
    for command in (["migrate"], ["health-check"], ["migrate", "status"], ["stats"]):
        outcome = cli(*command, url=pooled)
        assert outcome.code == 3, outcome.err
        assert "transaction mode" in outcome.err + outcome.out
        assert "DIRECT_URL" in outcome.err + outcome.out
    with psycopg.connect(pooled) as application:
        # Nothing of ours stayed behind for the next client of the same session.
        assert application.execute("SHOW default_transaction_read_only").fetchone() == ("off",)
        assert application.execute("SHOW search_path").fetchone() == ('"$user", public',)
    direct = cli("migrate", url=pooled, env={"DIRECT_URL": server.url(database)})
    assert direct.code == 0, direct.err


def test_a_busy_pooler_is_found_out_too(
    server: Server, database: str, pgbouncer: Callable[[str], int], cli: Cli
) -> None:
    pooled = server.url(database).replace(str(server.port), str(pgbouncer("transaction")))
    held = [psycopg.connect(pooled) for _ in range(3)]
    for connection in held:
        connection.execute("SELECT 1")  # opens a transaction
    for connection in held[:2]:
        connection.rollback()
    assert cli("migrate", url=pooled).code == 3
    for connection in held:
        connection.close()


def test_session_mode_is_a_session(
    server: Server, database: str, pgbouncer: Callable[[str], int], cli: Cli
) -> None:
    pooled = server.url(database).replace(str(server.port), str(pgbouncer("session")))
    assert cli("migrate", url=pooled).code == 0
    assert cli("health-check", url=pooled).code in {0, 1}
    assert cli("migrate", "status", url=pooled).code == 0


def test_a_health_check_needs_no_more_connections_than_a_pool_has(
    server: Server, template: Callable[[str], str], pgbouncer: Callable[..., int], cli: Cli
) -> None:
    """It looks at the pooler with a second one, and reads the schema on it while others are free."""
    name = server.create(template("leadconnector"))
    pooled = server.url(name).replace(str(server.port), str(pgbouncer("session", 2)))
    checks = cli("health-check", "-o", "json", url=pooled).json["checks"]
    found = {each["name"]: each["status"] for each in checks}
    assert (found["server"], found["drift"]) == ("ok", "ok")
    server.drop(name)


@pytest.mark.thorough
def test_one_connection_is_enough_for_who_needs_one(
    server: Server, template: Callable[[str], str], pgbouncer: Callable[..., int], cli: Cli
) -> None:
    """In transaction mode the pooler serves first who waited longer: that it does not is proof."""
    name = server.create(template("leadconnector"))
    pooled = server.url(name).replace(str(server.port), str(pgbouncer("session", 1, 20)))
    checks = cli("health-check", "-o", "json", url=pooled).json["checks"]
    found = {each["name"]: each["status"] for each in checks}
    assert (found["server"], found["drift"]) == ("ok", "ok")
    assert cli("migrate", "status", url=pooled).code == 0
    server.drop(name)


def test_a_pool_of_one_in_transaction_mode_is_found_out(
    server: Server, database: str, pgbouncer: Callable[..., int], cli: Cli
) -> None:
    pooled = server.url(database).replace(str(server.port), str(pgbouncer("transaction", 1, 20)))
    with psycopg.connect(pooled) as application, ThreadPoolExecutor(1) as thread:
        application.execute("SELECT 1")  # opens a transaction
        refused = thread.submit(cli, "migrate", url=pooled)
        time.sleep(1)
        application.rollback()
        assert refused.result().code == 3


@pytest.mark.thorough
def test_a_server_that_the_pooler_does_not_reach_is_no_missing_database(
    server: Server, pgbouncer: Callable[[str], int], cli: Cli
) -> None:
    pooled = server.url("cut_off").replace(str(server.port), str(pgbouncer("session")))
    for command in (["migrate"], ["migrate", "status"], ["reset", "--yes"]):
        outcome = cli(*command, url=pooled)
        assert outcome.code == 4, outcome.out
        assert "query_wait_timeout" in outcome.err
        assert "database" not in outcome.err
    with server.connect() as connection:
        found = connection.execute("SELECT FROM pg_database WHERE datname = 'cut_off'")
        assert found.fetchone() is None
