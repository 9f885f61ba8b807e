"""`leadctl health-check`: each check made to fail for real, and to recover."""

import json
import os
import re
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import psycopg
import pytest

from leadctl.health import database
from leadctl.health.check import Evidence, check
from leadctl.health.facts import Facts
from leadctl.health.run import CHECKS
from tests.conftest import Cli, Prepared
from tests.processes import start
from tests.servers import MAJOR, RunningServer, Server, find_binaries


def statuses(cli: Cli, url: str, *flags: str) -> tuple[int, dict[str, str]]:
    if not (settings := Path("leadctl.toml")).exists():  # how long others let us wait says nothing
        settings.write_text("[health.latency]\nwarning = 60000\ncritical = 60000\n")
    outcome = cli("health-check", *flags, "-o", "json", url=url)
    return outcome.code, {check["name"]: check["status"] for check in outcome.json["checks"]}


Fault = Callable[[Prepared], "contextmanager[None]"]


@contextmanager
def statement(database: Prepared, do: str, undo: str) -> Iterator[None]:
    database.query(do)
    yield
    database.query(undo)


def a_missing_seed(database: Prepared) -> object:
    return statement(
        database,
        "CREATE TABLE saved AS TABLE page_webhook_configs; DELETE FROM page_webhook_configs",
        "INSERT INTO page_webhook_configs TABLE saved; DROP TABLE saved",
    )


def a_changed_column(database: Prepared) -> object:
    return statement(
        database,
        "ALTER TABLE leads ALTER COLUMN form_name DROP NOT NULL",
        "ALTER TABLE leads ALTER COLUMN form_name SET NOT NULL",
    )


def a_dropped_index(database: Prepared) -> object:
    return statement(
        database,
        "DROP INDEX idx_leads_form_id",
        "CREATE INDEX idx_leads_form_id ON leads (form_id)",
    )


def a_dropped_constraint(database: Prepared) -> object:
    return statement(
        database,
        "ALTER TABLE users DROP CONSTRAINT uq_users_email",
        "ALTER TABLE users ADD CONSTRAINT uq_users_email UNIQUE (email)",
    )


@contextmanager
def an_invalid_index(database: Prepared) -> Iterator[None]:
    """What a cancelled concurrent build leaves."""
    database.query("DROP INDEX idx_leads_form_id")
    with database.server.connect(database.name) as blocker, blocker.transaction():
        blocker.execute("LOCK TABLE leads IN ROW EXCLUSIVE MODE")
        with database.server.connect(database.name) as builder:
            builder.execute("SET statement_timeout = '500ms'")
            with pytest.raises(psycopg.errors.QueryCanceled):
                builder.execute("CREATE INDEX CONCURRENTLY idx_leads_form_id ON leads (form_id)")
    assert database.query("SELECT count(*) FROM pg_index WHERE NOT indisvalid") == [(1,)]
    yield
    database.query("DROP INDEX idx_leads_form_id")
    database.query("CREATE INDEX idx_leads_form_id ON leads (form_id)")


def a_pending_revision(database: Prepared) -> object:
    return statement(
        database,
        "UPDATE alembic_version SET version_num = 'leadconnector_0001'",
        "UPDATE alembic_version SET version_num = 'leadconnector_0002'",
    )


def an_unknown_revision(database: Prepared) -> object:
    return statement(
        database,
        "UPDATE alembic_version SET version_num = 'from_the_future'",
        "UPDATE alembic_version SET version_num = 'leadconnector_0002'",
    )


def an_edited_revision(database: Prepared) -> object:
    return statement(
        database,
        "UPDATE leadctl.migration SET checksum = 'x' || checksum",
        "UPDATE leadctl.migration SET checksum = substr(checksum, 2)",
    )


def a_missing_schema(database: Prepared) -> object:
    return statement(
        database,
        "ALTER SCHEMA public RENAME TO hidden",
        "ALTER SCHEMA hidden RENAME TO public",
    )


NOT_RECORDED = dict.fromkeys(("drift", "seed", "indexes", "encryption"), "skipped")
"""Where it is at no revision whose schema and fixtures were recorded."""

OF_TABLES = (
    "invalid-indexes",
    "duplicate-indexes",
    "missing-indexes",
    "unvalidated-constraints",
    "narrow-foreign-keys",
    "vacuum",
    "statistics",
    "bloat",
)

FAULTS = [
    (a_missing_seed, {"seed": "warning"}, 1),
    (a_changed_column, {"drift": "warning"}, 1),
    (a_dropped_index, {"indexes": "critical", "drift": "warning"}, 2),
    (a_dropped_constraint, {"indexes": "critical", "drift": "warning"}, 2),
    (
        an_invalid_index,
        {"indexes": "critical", "drift": "warning", "invalid-indexes": "warning"},
        2,
    ),
    (a_pending_revision, {"migrations": "critical", **NOT_RECORDED}, 2),
    (an_unknown_revision, {"migrations": "critical", **NOT_RECORDED}, 2),
    (an_edited_revision, {"migrations": "warning"}, 1),
    (
        a_missing_schema,
        {
            "schema": "critical",
            "migrations": "critical",
            **NOT_RECORDED,
            **dict.fromkeys(OF_TABLES, "skipped"),
        },
        2,
    ),
]

NOTHING_TO_SEE = (
    "cleanup",
    "sequences",
    "cache-hit",
    "index-usage",
    "slow-queries",
    "replication",
    "citus-nodes",
    "replication-slots",
    "archiving",
    "pitr-archive",
    "pitr-rehearsal",
    "backups",
)
"""What a small, new database on a server of its own cannot know."""
GREEN = {found.name: "skipped" if found.name in NOTHING_TO_SEE else "ok" for found in CHECKS}


@pytest.mark.few(3)
@pytest.mark.parametrize(("fault", "expected", "code"), FAULTS, ids=[f[0].__name__ for f in FAULTS])
def test_a_fault_is_seen_and_its_mending_too(
    leadconnector: Prepared,
    cli: Cli,
    fault: Callable[[Prepared], object],
    expected: dict[str, str],
    code: int,
) -> None:
    assert statuses(cli, leadconnector.url) == (0, GREEN)
    with fault(leadconnector):  # type: ignore[attr-defined]
        assert statuses(cli, leadconnector.url) == (code, GREEN | expected)
        outcome = cli("health-check", "-o", "json", url=leadconnector.url)
        for check in outcome.json["checks"]:
            assert check["hint"] or check["status"] in {"ok", "skipped"}, check
        assert outcome.json["healthy"] == (code == 1)
    assert statuses(cli, leadconnector.url) == (0, GREEN)


@pytest.mark.thorough
def test_a_full_connection_list(cli: Cli) -> None:
    settings = {"max_connections": "12", "superuser_reserved_connections": "3"}
    with RunningServer(MAJOR, **settings) as full, ExitStack() as held:
        url = full.info.url("postgres")
        assert statuses(cli, url)[1]["connections"] == "ok"
        connections = [held.enter_context(full.info.connect()) for _ in range(8)]
        assert statuses(cli, url)[1]["connections"] == "critical"
        connections.pop().close()
        time.sleep(0.3)
        assert statuses(cli, url)[1]["connections"] == "ok"


@pytest.mark.thorough
def test_latency_is_graded(
    leadconnector: Prepared, cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    with slow_wire(leadconnector.server, seconds=0.15) as port:
        url = leadconnector.url.replace(f":{leadconnector.server.port}/", f":{port}/")
        outcome = cli("health-check", "-o", "json", url=url)
    assert outcome.code == 1
    assert outcome.json["latency_ms"] > 150
    assert [check["status"] for check in outcome.json["checks"]][1] == "warning"


@pytest.mark.thorough
@pytest.mark.parametrize("seconds", [0.15, 0.05])
def test_pgbench_finds_the_same_latency(
    leadconnector: Prepared, cli: Cli, tmp_path: Path, seconds: float
) -> None:
    pgbench = find_binaries(MAJOR) / "pgbench"
    if not pgbench.exists():
        pytest.skip("there is no pgbench")
    script = tmp_path / "select.sql"
    script.write_text("SELECT 1;\n")
    with slow_wire(leadconnector.server, seconds=seconds) as port:
        url = leadconnector.url.replace(f":{leadconnector.server.port}/", f":{port}/")
        (found,) = cli("health-check", "--check", "latency", "-o", "json", url=url).json["checks"]
        done = subprocess.run(
            [pgbench, "--no-vacuum", "--file", script, "--transactions", "10", url],
            check=True,
            capture_output=True,
            text=True,
        )
    (milliseconds,) = re.findall(r"latency average = ([\d.]+) ms", done.stdout)
    assert found["value"] == pytest.approx(float(milliseconds), rel=0.5)
    assert (found["status"] == "warning") == (found["value"] >= 100)


@contextmanager
def slow_wire(server: Server, seconds: float) -> Iterator[int]:
    """A relay that delays what the client sends."""
    listener = socket.create_server(("127.0.0.1", 0))
    stopped = threading.Event()

    def relay(source: socket.socket, sink: socket.socket, delay: float) -> None:
        with suppress(OSError):
            while data := source.recv(65536):
                time.sleep(delay)
                sink.sendall(data)
        with suppress(OSError):
            sink.shutdown(socket.SHUT_WR)

    def serve(client: socket.socket) -> None:
        with client, socket.create_connection((server.host, server.port)) as upstream:
            back = threading.Thread(target=relay, args=(upstream, client, 0.0), daemon=True)
            back.start()
            relay(client, upstream, seconds)
            back.join()

    def accept() -> None:
        with suppress(OSError):
            while not stopped.is_set():
                client, _ = listener.accept()
                threading.Thread(target=serve, args=(client,), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    yield listener.getsockname()[1]
    stopped.set()
    listener.close()


def test_a_protected_target_needs_no_seed(leadconnector: Prepared, cli: Cli) -> None:
    leadconnector.query("TRUNCATE users CASCADE")
    assert statuses(cli, leadconnector.url)[0] == 1
    assert cli("db", "environment", "production", "--protect", url=leadconnector.url).code == 0
    code, found = statuses(cli, leadconnector.url)
    assert (code, found["seed"], found["backups"]) == (1, "skipped", "warning")


def test_an_empty_database_is_not_ok(server: Server, database: str, cli: Cli) -> None:
    code, found = statuses(cli, server.url(database))
    assert (code, found["schema"], found["migrations"]) == (2, "critical", "critical")


@pytest.mark.parametrize("output", ["table", "json", "nagios"])
def test_unreachable_is_critical(cli: Cli, output: str) -> None:
    outcome = cli("health-check", "-o", output, url="postgresql://postgres@127.0.0.1:1/x")
    assert outcome.code == 2
    assert "Connection refused" in outcome.out
    assert outcome.err == ""


def test_a_missing_database_is_critical(server: Server, cli: Cli) -> None:
    outcome = cli("health-check", "-o", "json", url=server.url("nowhere_at_all"))
    assert outcome.code == 2
    assert outcome.json["status"] == "critical"
    assert "leadctl migrate" in outcome.json["checks"][0]["hint"]


@pytest.mark.parametrize(
    ("arguments", "env"),
    [
        (["--nonsense"], {}),
        (["--wait", "soon"], {}),
        (["-o", "xml"], {}),
        (["--app", "nothing"], {}),
        ([], {"LEADCTL_LOCK_WAIT": "soon"}),
        ([], {"DATABASE_URL": "mysql://x"}),
    ],
)
def test_usage_and_configuration_are_unknown_not_critical(
    cli: Cli, arguments: list[str], env: dict[str, str]
) -> None:
    assert cli("health-check", *arguments, url="postgresql://x/y", env=env).code == 3


def test_no_database_is_unknown(cli: Cli) -> None:
    outcome = cli("health-check", "-o", "nagios")
    assert outcome.code == 3
    assert outcome.out.startswith("LEADCTL UNKNOWN - ")
    assert outcome.out.count("\n") == 1


def test_nagios_is_one_line(leadconnector: Prepared, cli: Cli) -> None:
    outcome = cli("health-check", "-o", "nagios", url=leadconnector.url)
    assert re.match(r"LEADCTL OK - \d+ checks ok, \d+ skipped \| latency=", outcome.out)
    assert outcome.out.count("\n") == 1
    leadconnector.query("DROP INDEX idx_leads_form_id")
    outcome = cli("health-check", "-o", "nagios", url=leadconnector.url)
    assert outcome.out.startswith("LEADCTL CRITICAL - indexes: missing: idx_leads_form_id; drift: ")


@pytest.mark.thorough
def test_wait_until_reachable(cli: Cli) -> None:
    with RunningServer(MAJOR) as late:
        url = late.info.url("postgres")
        late.shut_down()
        began = time.monotonic()
        assert cli("health-check", "--wait", "1s", url=url).code == 2
        assert 1 <= time.monotonic() - began < 10
        waiting = start("health-check", "--wait", "30s", "-o", "json", env={"DATABASE_URL": url})
        assert waiting.stderr is not None
        assert "Waiting up to 30 s" in waiting.stderr.readline()
        late.launch()
        out, _ = waiting.communicate(timeout=40)
        assert json.loads(out)["checks"][0]["status"] == "ok"


@pytest.mark.thorough
def test_time_is_bounded_when_the_server_hangs(
    leadconnector: Prepared, cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The server's process is stopped in the middle: it neither answers nor goes away."""
    from leadctl.health import run

    stopped: list[int] = []

    @check()
    def hang(facts: Facts) -> Evidence:
        stopped.append(facts.connection.info.backend_pid)
        os.kill(stopped[0], signal.SIGSTOP)
        facts.connection.execute("SELECT 1")
        raise AssertionError("unreachable")

    monkeypatch.setattr(run, "CHECKS", (database.server, hang, database.schema))
    began = time.monotonic()
    try:
        outcome = cli("health-check", "--timeout", "2s", "-o", "json", url=leadconnector.url)
    finally:
        os.kill(stopped[0], signal.SIGCONT)
    assert time.monotonic() - began < 10
    assert outcome.code == 2
    assert [check["status"] for check in outcome.json["checks"]] == ["ok", "critical", "skipped"]


@pytest.mark.thorough
def test_a_locked_table_does_not_hang_it(leadconnector: Prepared, cli: Cli) -> None:
    with leadconnector.server.connect(leadconnector.name) as blocker, blocker.transaction():
        blocker.execute("LOCK TABLE users IN ACCESS EXCLUSIVE MODE")
        code, found = statuses(cli, leadconnector.url, "--timeout", "4s")
    assert (code, found["seed"], found["indexes"]) == (2, "critical", "ok")
    assert found["archiving"] == "skipped"


def test_what_is_wrong_comes_first(leadconnector: Prepared, cli: Cli) -> None:
    """In a table with the next command, in Nagios' line and in Prometheus' metrics alike."""
    url = leadconnector.url
    leadconnector.query("DROP INDEX idx_leads_form_id; CREATE INDEX again ON leads (page_id)")
    leadconnector.query("CREATE INDEX once_more ON leads (page_id)")
    checks = cli("health-check", "-o", "json", url=url).json["checks"]
    severity = {"critical": 0, "warning": 1, "skipped": 2, "ok": 3}
    order = [c["name"] for c in sorted(checks, key=lambda c: severity[c["status"]])]
    bad = {c["name"]: c for c in checks if c["status"] in {"critical", "warning"}}
    assert {"indexes", "drift", "duplicate-indexes"} <= bad.keys()
    lines = cli("health-check", url=url, env={"COLUMNS": "400"}).out.splitlines()
    rows = [line.split()[:2] for line in lines if line.startswith(("critical ", "warning "))]
    assert rows == [[bad[name]["status"], name] for name in order[: len(bad)]]
    for found in bad.values():
        (place,) = [n for n, line in enumerate(lines) if line.split()[1:2] == [found["name"]]]
        assert found["hint"] in lines[place + 1]
    counts = [sum(c["status"] == kind for c in checks) for kind in ("skipped", "ok")]
    assert lines[-2].startswith(f"{counts[0]} skipped (--all says why): ")
    assert lines[-1] == f"{counts[1]} ok"
    everything = cli("health-check", "--all", url=url, env={"COLUMNS": "400"}).out.splitlines()
    shown = [line.split()[1] for line in everything if line.startswith(tuple(severity))]
    assert shown == order
    nagios = cli("health-check", "-o", "nagios", url=url).out
    places = [nagios.index(f"{name}: ") for name in order[: len(bad)]]
    assert places == sorted(places)
    metrics = cli("health-check", "-o", "prometheus", url=url).out
    places = [metrics.index(f'check="{name}"') for name in order]
    assert places == sorted(places)


def test_where_nothing_is_known_it_says_why(leadconnector: Prepared, cli: Cli) -> None:
    outcome = cli("health-check", "--check", "archiving", url=leadconnector.url)
    assert (outcome.code, "archive_mode is off" in outcome.out) == (3, True)


OPENS = "SELECT pg_catalog.pg_backend_pid()"
"""What each session is asked first."""


def statements(cli: Cli, url: str, *arguments: str) -> list[str]:
    outcome = cli("health-check", "-vv", *arguments, url=url)
    return [line.partition("ms  ")[2] for line in outcome.err.splitlines() if " ms  " in line]


def test_nothing_is_asked_twice(leadconnector: Prepared, cli: Cli) -> None:
    """Each question is a round trip, and a probe asks every minute."""
    asked = statements(cli, leadconnector.url)
    assert len(asked) > 20
    sessions = {"SELECT 1", *asked[:2]}  # the latency, and what is set in both
    assert not {each for each in asked if asked.count(each) > 1} - sessions


def test_definitions_are_read_on_a_second_connection_where_there_is_room(
    leadconnector: Prepared, cli: Cli
) -> None:
    """It is counted by nobody, and nothing depends on it."""
    url = leadconnector.url
    assert statements(cli, url).count(OPENS) == 2
    assert statements(cli, url, "--skip", "drift").count(OPENS) == 1
    assert statements(cli, url, "--skip", "connections").count(OPENS) == 1
    role = f"one_{leadconnector.name}"
    leadconnector.query(f"CREATE ROLE {role} LOGIN PASSWORD 'pass-word' CONNECTION LIMIT 1")
    leadconnector.query(f"GRANT pg_read_all_data TO {role}")
    limited = re.sub("//postgres:[^@]+@", f"//{role}:pass-word@", url)
    try:
        done = cli("health-check", "-o", "json", url=limited)
        (found,) = [each for each in done.json["checks"] if each["name"] == "drift"]
        assert (found["status"], found["unit"]) == ("ok", "differences")
        leadconnector.query("ALTER TABLE users ADD surplus int")
        assert "users.surplus" in cli("health-check", url=limited).out
        assert "users.surplus" in cli("health-check", url=url).out
    finally:
        leadconnector.query(f"DROP ROLE {role}")
