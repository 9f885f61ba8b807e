"""Every way that a server cannot be reached: one message, one hint, exit 4, no password."""

import os
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from psycopg import sql

from tests.conftest import Cli, Outcome, Prepared
from tests.processes import run, start, wait_for
from tests.servers import PASSWORD, RunningServer, Server


def check(outcome: Outcome, *said: str, code: int = 4) -> None:
    assert outcome.code == code, outcome.err
    assert outcome.out == ""
    assert "Traceback" not in outcome.err
    assert PASSWORD not in outcome.err
    assert PASSWORD.replace(" ", "%20") not in outcome.err
    assert outcome.err.count("Error: ") == 1
    assert "Hint: " in outcome.err
    for part in said:
        assert part in outcome.err


@pytest.fixture
def limited(server: Server, database: str) -> Iterator[str]:
    """A role that may log in and nothing else."""
    name = f"limited_{database}"
    with server.connect() as connection:
        connection.execute(
            sql.SQL("CREATE ROLE {} LOGIN PASSWORD {}").format(sql.Identifier(name), PASSWORD)
        )
    yield name
    with server.connect(database) as connection:
        connection.execute(sql.SQL("DROP OWNED BY {}").format(sql.Identifier(name)))
        connection.execute(sql.SQL("DROP ROLE {}").format(sql.Identifier(name)))


def test_wrong_password(server: Server, database: str, cli: Cli) -> None:
    url = server.url(database).replace("correct", "wr0ng")
    outcome = cli("migrate", url=url)
    check(outcome, "password authentication failed", "~/.pgpass")
    assert "wr0ng" not in outcome.err


def test_unknown_host(cli: Cli) -> None:
    outcome = cli("migrate", url=f"postgresql://u:{PASSWORD.replace(' ', '%20')}@nosuch.invalid/x")
    check(outcome, "nosuch.invalid")


def test_nothing_listens(cli: Cli) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    check(cli("migrate", url=f"postgresql://u:pw@127.0.0.1:{port}/x"), "Connection refused")


@pytest.mark.thorough
def test_no_answer_within_the_connect_timeout(cli: Cli) -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        began = time.monotonic()
        outcome = cli(
            "migrate",
            url=f"postgresql://u:pw@127.0.0.1:{silent.getsockname()[1]}/x",
            env={"LEADCTL_CONNECT_TIMEOUT": "2s"},
        )
    check(outcome, "LEADCTL_CONNECT_TIMEOUT")
    assert time.monotonic() - began < 10


def test_unknown_database_that_may_not_be_created(server: Server, limited: str, cli: Cli) -> None:
    url = server.url("nowhere_at_all").replace("//postgres:", f"//{limited}:")
    check(cli("migrate", url=url), "nowhere_at_all", "CREATE DATABASE", limited)


def test_a_schema_that_may_not_be_created(
    server: Server, database: str, limited: str, cli: Cli
) -> None:
    url = server.url(database).replace("//postgres:", f"//{limited}:")
    check(cli("migrate", "--schema", "app", url=url), "app", "CREATE SCHEMA")


def test_no_privilege_for_the_records(
    server: Server, database: str, limited: str, cli: Cli
) -> None:
    with server.connect(database) as connection:
        connection.execute(
            sql.SQL("CREATE SCHEMA app AUTHORIZATION {}").format(sql.Identifier(limited))
        )
    url = server.url(database).replace("//postgres:", f"//{limited}:")
    check(cli("migrate", "--schema", "app", url=url), "schema leadctl", "GRANT CREATE ON DATABASE")


def test_reading_needs_no_privilege(leadconnector: Prepared, limited: str, cli: Cli) -> None:
    leadconnector.query(f"GRANT USAGE ON SCHEMA leadctl TO {limited}")
    leadconnector.query(f"GRANT SELECT ON ALL TABLES IN SCHEMA leadctl, public TO {limited}")
    url = leadconnector.url.replace("//postgres:", f"//{limited}:")
    assert cli("migrate", "status", url=url).code == 0
    assert cli("migrate", url=url).code == 0
    leadconnector.query(f"REVOKE ALL ON ALL TABLES IN SCHEMA leadctl, public FROM {limited}")
    check(cli("migrate", "status", url=url), "permission denied")
    leadconnector.query(f"REVOKE USAGE ON SCHEMA leadctl FROM {limited}")


def test_a_full_connection_list(leadconnector: Prepared, limited: str, cli: Cli) -> None:
    leadconnector.query(f"ALTER ROLE {limited} CONNECTION LIMIT 0")
    url = leadconnector.url.replace("//postgres:", f"//{limited}:")
    check(cli("migrate", url=url), "too many connections")


def test_a_server_that_is_not_ready(server: Server, cli: Cli) -> None:
    """A standby that may not be read: it answers as one that starts up."""
    with RunningServer(server.major, hot_standby="off") as starting:
        starting.restart_as_standby()
        check(cli("migrate", url=starting.info.url("x")), "not accepting connections")


@contextmanager
def ended_in_the_middle(server: Server, database: str) -> Iterator[None]:
    """End the session that runs a revision once it sleeps."""

    def end() -> None:
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline:
            with server.connect(database) as connection:
                ended = connection.execute(
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                    " WHERE query LIKE 'SELECT pg_sleep%' AND datname = current_database()"
                ).fetchall()
            if ended:
                return
            time.sleep(0.05)

    thread = threading.Thread(target=end)
    thread.start()
    yield
    thread.join()


def test_a_server_that_goes_away_in_the_middle(
    shop: Path, server: Server, database: str, cli: Cli
) -> None:
    (shop / "migrations" / "0002_slow.py").write_text(
        '"""Slow."""\nfrom alembic import op\nrevision = "shop_0002"\ndown_revision = "shop_0001"\n'
        "def upgrade():\n    op.execute('CREATE TABLE half (id int)')\n"
        "    op.execute('SELECT pg_sleep(30)')\n"
    )
    with ended_in_the_middle(server, database):
        outcome = cli("migrate", "-q", url=server.url(database))
    check(outcome, "terminating connection", "run it again")
    with server.connect(database) as connection:
        assert connection.execute("SELECT to_regclass('half')").fetchone() == (None,)


def test_an_old_server_is_refused_by_name(server: Server) -> None:
    from leadctl.errors import UnsupportedServer
    from leadctl.postgres import connect as module
    from leadctl.postgres.target import resolve
    from leadctl.settings import load_settings

    target = resolve(
        load_settings(environ={"DATABASE_URL": server.url("postgres")}), app="leadconnector"
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "OLDEST_MAJOR", 99)
        with pytest.raises(UnsupportedServer, match=f"PostgreSQL {server.major}"):
            module.connect(target)


SLEEPING = (
    "SELECT 1 FROM pg_stat_activity WHERE query LIKE 'SELECT pg_sleep%'"
    " AND datname = current_database()"
)


@pytest.mark.thorough
def test_interrupt_and_termination(shop: Path, server: Server, database: str) -> None:
    import signal

    (shop / "migrations" / "0002_slow.py").write_text(
        '"""Slow."""\nfrom alembic import op\nrevision = "shop_0002"\ndown_revision = "shop_0001"\n'
        "def upgrade():\n    op.execute('SELECT pg_sleep(30)')\n"
    )
    for number, code in ((signal.SIGINT, 130), (signal.SIGTERM, 143)):
        process = start("migrate", env={"DATABASE_URL": server.url(database)})
        with server.connect(database) as connection:
            wait_for(lambda: connection.execute(SLEEPING).fetchone())
        os.kill(process.pid, number)
        out, err = process.communicate(timeout=20)
        assert (process.returncode, out) == (code, "")
        assert "Traceback" not in err
    assert run("migrate", "status", env={"DATABASE_URL": server.url(database)}).returncode == 1


@pytest.mark.thorough
@pytest.mark.parametrize(
    "command",
    ["migrate check", "migrate diff", "cleanup --list", "cleanup --dry-run", "stats leads"],
)
def test_what_reads_does_not_wait_for_ever_for_a_lock(
    leadconnector: Prepared, cli: Cli, monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    monkeypatch.setattr("leadctl.postgres.connect._READ_LOCK_TIMEOUT", "100ms")
    with leadconnector.server.connect(leadconnector.name) as other, other.transaction():
        other.execute("LOCK TABLE leads IN ACCESS EXCLUSIVE MODE")
        outcome = cli(*command.split(), url=leadconnector.url)
        other.execute("SELECT FROM leads LIMIT 1")  # it holds it still
    assert (outcome.code, "leadctl inspect blocking" in outcome.err) == (1, True), outcome.err
