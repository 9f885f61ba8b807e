"""`leadctl inspect`: every report, on any database, by any role."""

import json
import re
import stat
from contextlib import ExitStack
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
from psycopg import sql

from leadctl.inspect import run
from leadctl.render import terminal
from leadctl.render.views import inspect as views
from tests.conftest import Cli, Prepare, Prepared
from tests.servers import Server


def rows(cli: Cli, url: str, report: str, *flags: str) -> list[dict[str, Any]]:
    outcome = cli("inspect", report, *flags, "-o", "json", url=url)
    assert outcome.code == 0, outcome.err + outcome.out
    (found,) = outcome.json["reports"]
    assert found["report"] == report
    assert found["skipped"] is None
    return list(found["rows"])


def test_the_list(cli: Cli) -> None:
    """It needs no database."""
    shown = cli("inspect")
    assert shown.code == 0
    listed = cli("inspect", "-o", "json").json["reports"]
    assert all(report["name"] in shown.out for report in listed)
    assert len({report["name"] for report in listed}) == len(listed) > 30
    assert {report["group"] for report in listed} == {"tables", "indexes", "activity", "server"}
    assert cli("inspect", "-o", "csv").out.startswith("name,group,description,versions,needs\n")


def test_all_of_them(leadconnector: Prepared, cli: Cli) -> None:
    outcome = cli("inspect", "all", "-o", "json", url=leadconnector.url)
    assert (outcome.code, outcome.err) == (0, "")
    found = outcome.json
    assert (found["database"], found["replica_lag_seconds"]) == (leadconnector.name, None)
    listed = {report["name"] for report in cli("inspect", "-o", "json").json["reports"]}
    assert {report["report"] for report in found["reports"]} == listed - {"bloat-exact"}
    skipped = [report for report in found["reports"] if report["skipped"]]
    assert [report["report"] for report in skipped] == ["slow-queries", "nodes"]
    assert "CREATE EXTENSION pg_stat_statements" in skipped[0]["skipped"]


def test_to_a_folder(leadconnector: Prepared, cli: Cli, tmp_path: Path) -> None:
    folder = tmp_path / "ticket"
    for output, suffix in (("table", "txt"), ("json", "json"), ("csv", "csv")):
        outcome = cli("inspect", "all", "--to", str(folder), "-o", output, url=leadconnector.url)
        assert outcome.code == 0, outcome.err
        files = sorted(folder.glob(f"*.{suffix}"))
        assert len(files) > 25
        assert {stat.S_IMODE(file.stat().st_mode) for file in files} == {0o600}
    assert not list(folder.glob(".*"))
    assert "alembic_version" in (folder / "tables.txt").read_text()
    assert json.loads((folder / "indexes.json").read_text())["rows"]
    assert (
        (folder / "indexes.csv").read_text().startswith("table,index,bytes,scans,primary,unique,")
    )


def test_wrong_use(leadconnector: Prepared, cli: Cli, tmp_path: Path) -> None:
    unknown = cli("inspect", "index", url=leadconnector.url)
    assert (unknown.code, "Did you mean indexes?" in unknown.err) == (2, True)
    assert cli("inspect", "--to", str(tmp_path), url=leadconnector.url).code == 2
    assert cli("inspect", "all", "-o", "csv", url=leadconnector.url).code == 2
    assert cli("inspect", "slow-queries", url=leadconnector.url).code == 1
    (tmp_path / "file").touch()
    assert cli("inspect", "all", "--to", str(tmp_path / "file"), url=leadconnector.url).code == 1
    assert cli("inspect", "tables").code == 3


SET_UP = """
CREATE TABLE parent (a int, b int, PRIMARY KEY (a, b));
CREATE TABLE child (id int PRIMARY KEY, a int, b int, note text,
    FOREIGN KEY (a, b) REFERENCES parent);
CREATE TABLE without (n int);
CREATE TABLE part (n int, at date) PARTITION BY RANGE (at);
CREATE TABLE part_1 PARTITION OF part FOR VALUES FROM ('2026-01-01') TO ('2027-01-01');
CREATE INDEX one ON child (note);
CREATE INDEX one_again ON child (note);
CREATE INDEX longer ON child (note, id);
CREATE INDEX only_some ON child (note) WHERE id > 5;
CREATE INDEX by_expression ON child (lower(note)) WHERE  id > 5;
CREATE INDEX by_expression_too ON child (lower(note)) WHERE id > 5
"""


def test_indexes(server: Server, database: str, cli: Cli) -> None:
    url = server.url(database)
    with server.connect(database) as connection:
        connection.execute(SET_UP)
        duplicates = [(r["index"], r["same_as"]) for r in rows(cli, url, "duplicate-indexes")]
        assert duplicates == [("by_expression_too", "by_expression"), ("one_again", "one")]
        covered = {(r["index"], r["covered_by"]) for r in rows(cli, url, "covered-indexes")}
        assert covered == {("one", "longer"), ("one_again", "longer")}
        (missing,) = rows(cli, url, "missing-indexes")
        assert missing["remedy"] == "CREATE INDEX CONCURRENTLY ON child (a, b)"
        connection.execute("CREATE INDEX partly ON child (b)")
        assert len(rows(cli, url, "missing-indexes")) == 1
        connection.execute("CREATE INDEX in_any_order ON child (b, a, note)")
        assert rows(cli, url, "missing-indexes") == []
        names = {row["table"] for row in rows(cli, url, "missing-primary-keys")}
        assert names == {"without", "part"}
        connection.execute("CREATE TABLE big AS SELECT n FROM generate_series(1, 100000) n")
        connection.execute("CREATE INDEX never_used ON big (n)")
        connection.execute("ANALYZE big")
        (unused,) = rows(cli, url, "unused-indexes")
        assert (unused["index"], unused["scans"]) == ("never_used", 0)
        largest = rows(cli, url, "tables")[0]
        assert (largest["table"], largest["rows"]) == ("big", 100000)
        assert (
            largest["total_bytes"]
            == largest["heap_bytes"] + largest["toast_bytes"] + (largest["index_bytes"])
        )


BESIDE = """
CREATE SCHEMA "Billing";
CREATE TABLE "Billing".leads (id int PRIMARY KEY, at timestamptz);
CREATE TABLE "Billing".notes (lead int);
ALTER TABLE "Billing".notes ADD FOREIGN KEY (lead) REFERENCES "Billing".leads NOT VALID;
CREATE INDEX one ON "Billing".leads (at); CREATE INDEX two ON "Billing".leads (at);
CREATE SEQUENCE "Billing".numbers AS smallint; SELECT setval('"Billing".numbers', 32000);
UPDATE pg_index SET indisvalid = false WHERE indexrelid = '"Billing".two'::regclass;
"""
SEEN_BESIDE = {
    "tables": ("table", '"Billing".leads'),
    "indexes": ("index", '"Billing".one'),
    "vacuum": ("table", '"Billing".notes'),
    "invalid-indexes": ("index", '"Billing".two'),
    "missing-indexes": ("remedy", 'CREATE INDEX CONCURRENTLY ON "Billing".notes (lead)'),
    "missing-primary-keys": ("table", '"Billing".notes'),
    "sequences": ("sequence", '"Billing".numbers'),
    "unvalidated-constraints": ("table", '"Billing".notes'),
    "index-usage": ("table", '"Billing".leads'),
    "cache-hit": ("table", '"Billing".leads'),
}


def test_schemas_that_the_app_has_beside_its_own(
    leadconnector: Prepared, cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    leadconnector.query(BESIDE)
    one = [row["table"] for row in rows(cli, leadconnector.url, "tables")]
    assert not [name for name in one if "Billing" in name]
    monkeypatch.chdir(tmp_path)
    (tmp_path / "leadctl.toml").write_text(
        '[apps.wide]\nmodels = "leadctl.products.leadconnector.models:Base"\n'
        'schemas = ["Billing", "not there"]\n'
    )
    for report, (column, name) in SEEN_BESIDE.items():
        found = rows(cli, leadconnector.url, report, "--app", "wide")
        assert name in [row[column] for row in found], report
        if column == "table":
            assert all("public." not in row[column] for row in found)
    checks = ("--check", "sequences", "--check", "invalid-indexes", "-o", "json")
    checked = cli("health-check", *checks, "--app", "wide", url=leadconnector.url)
    assert checked.code == 2
    assert {each["status"] for each in checked.json["checks"]} == {"critical", "warning"}
    assert '"Billing".numbers' in checked.out.replace("\\", "")
    fixed = cli("health-check", *checks, "--fix", "--yes", "--app", "wide", url=leadconnector.url)
    assert [each["outcome"] for each in fixed.json["fixes"]] == ["done"]
    assert leadconnector.query("""SELECT to_regclass('"Billing".two')""") == [(None,)]


def test_the_estimate_of_bloat_is_near_the_truth(server: Server, database: str, cli: Cli) -> None:
    url = server.url(database)
    with server.connect(database) as connection:
        available = connection.execute(
            "SELECT 1 FROM pg_available_extensions WHERE name = 'pgstattuple'"
        ).fetchone()
        connection.execute(
            "CREATE TABLE big (n int PRIMARY KEY, t text, u numeric) WITH (autovacuum_enabled = false)"
        )
        connection.execute(
            "INSERT INTO big SELECT n, repeat('x', n % 90), nullif(n % 7, 0)"
            " FROM generate_series(1, 200000) n"
        )
        connection.execute("VACUUM ANALYZE big")
        assert all(row["wasted_percent"] < 15 for row in rows(cli, url, "bloat"))
        connection.execute("DELETE FROM big WHERE n % 2 = 0")
        connection.execute("VACUUM ANALYZE big")
        found = {row["kind"]: row["wasted_percent"] for row in rows(cli, url, "bloat")}
        assert found["table"] == pytest.approx(50, abs=10)
        if available:
            connection.execute("CREATE SCHEMA ext")
            connection.execute("CREATE EXTENSION pgstattuple SCHEMA ext")
            exact = {row["name"]: row["wasted_percent"] for row in rows(cli, url, "bloat-exact")}
            assert found["table"] == pytest.approx(exact["big"], abs=10)


def test_a_schema_that_does_not_exist_has_no_report(leadconnector: Prepared, cli: Cli) -> None:
    """What is about the whole server is shown all the same."""
    flags = ("--schema", "emtpy", "-o", "json")
    alone = cli("inspect", "indexes", *flags, url=leadconnector.url)
    assert (alone.code, alone.json["reports"][0]["skipped"]) == (1, "there is no schema emtpy")
    reports = cli("inspect", "all", *flags, url=leadconnector.url).json["reports"]
    shown = {report["report"] for report in reports if report["rows"]}
    assert {"database", "connections", "wraparound"} <= shown
    assert not {"tables", "indexes", "vacuum", "missing-primary-keys"} & shown


def test_what_names_a_thing_is_no_amount(leadconnector: Prepared, cli: Cli) -> None:
    """A pid is pasted into pg_terminate_backend; a year and an id are read as they are."""
    url, database = leadconnector.url, leadconnector
    with ExitStack() as stack:
        holder, waiter = (
            stack.enter_context(database.server.connect(database.name)) for _ in range(2)
        )
        holder.execute("BEGIN")
        holder.execute("LOCK TABLE leads")
        thread = Thread(target=lambda: waiter.execute("SELECT FROM leads LIMIT 1"))
        thread.start()
        try:
            database.wait_for(
                "SELECT 1 FROM pg_locks WHERE NOT granted AND relation = 'leads'::regclass"
            )
            shown = cli("inspect", "blocking", url=url).out
            pids = {holder.info.backend_pid, waiter.info.backend_pid}
            assert {int(found) for found in re.findall(r"\b\d+\b", shown)} >= pids
            for report in ("locks", "transactions", "idle-in-transaction"):
                shown = cli("inspect", report, url=url).out
                assert re.search(rf"\b{holder.info.backend_pid}\b", shown)
                assert not re.search(r"\b\d{1,3},\d{3}\b", shown)
        finally:
            holder.execute("ROLLBACK")
            thread.join()
    database.query("CREATE SEQUENCE s START 4321; SELECT nextval('s')")
    shown = cli("inspect", "sequences", url=url).out
    assert re.search(r"\b4321\b", shown)
    assert str(2**63 - 1) in shown


@pytest.mark.thorough
def test_a_locked_table_is_not_waited_for(leadconnector: Prepared, cli: Cli) -> None:
    with leadconnector.server.connect(leadconnector.name) as blocker, blocker.transaction():
        blocker.execute("LOCK TABLE leads, users")
        for report in (
            "tables",
            "bloat",
            "indexes",
            "vacuum",
            "locks",
            "missing-indexes",
            "invalid-indexes",
        ):
            assert rows(cli, leadconnector.url, report) is not None
        locked = {row["relation"] for row in rows(cli, leadconnector.url, "locks")}
        assert {"leads", "users"} <= locked
        found = cli("stats", "-o", "json", url=leadconnector.url).json
        assert {table["name"] for table in found["tables"]} >= {"leads", "users"}


def test_a_role_that_may_do_little(server: Server, database: str, cli: Cli) -> None:
    role = sql.Identifier(f"guest_{database}")
    with server.connect(database) as connection:
        connection.execute(
            "CREATE TABLE hidden (id serial PRIMARY KEY); INSERT INTO hidden DEFAULT VALUES"
        )
        connection.execute(sql.SQL("CREATE ROLE {} LOGIN PASSWORD 'a guest'").format(role))
        url = server.url(database).replace(
            "postgres:correct%20horse%20battery", f"guest_{database}:a%20guest"
        )
        try:
            found = cli("inspect", "all", "-o", "json", url=url).json["reports"]
            skipped = {report["report"] for report in found if report["skipped"]}
            assert skipped == {"slow-queries", "nodes"}
            noted = {
                report["report"]
                for report in found
                if "pg_read_all_stats" in (report["note"] or "")
            }
            assert "long-queries" in noted
            (sequence,) = rows(cli, url, "sequences")
            assert (sequence["readable"], sequence["used_percent"]) == (False, None)
            outcome = cli("health-check", "--check", "sequences", url=url)
            assert (outcome.code, "may not read 1 of 1 sequences" in outcome.out) == (3, True)
        finally:
            connection.execute(sql.SQL("DROP ROLE {}").format(role))


@pytest.mark.parametrize(
    ("query", "shown"),
    [
        (
            "SELECT 'postgresql://ada:hunter22@db/x',\n $$password = 'hunter22'$$",
            "SELECT ••••, ••••",
        ),
        ("ALTER ROLE postgres PASSWORD 'hunter22'", "ALTER ROLE postgres PASSWORD ••••"),
        ("SELECT 1 /* hunter22 */ FROM users -- hunter22\n", "SELECT •••• FROM users"),
        (
            "SELECT E'a\\'hunter22', U&'hunter22', -4111 AS \"x'y\"",
            'SELECT ••••, ••••, -•••• AS "x\'y"',
        ),
        ("SELECT $q$it''s hunter22$q$, 1e5", "SELECT ••••, ••••"),
        (f"SELECT '{'é' * 600}', 'hunter22'", "SELECT ••••"),
        ("SET standard_conforming_strings = off; SELECT 'a\\'hunter22'", "SELECT ••••"),
    ],
)
def test_constants_in_queries_are_hidden(
    leadconnector: Prepared, cli: Cli, query: str, shown: str
) -> None:
    """They are values of rows and passwords; the server cuts a long one in the middle."""
    with (
        leadconnector.server.connect(leadconnector.name) as session,
        session.transaction(force_rollback=True),  # the password stays
    ):
        for statement in query.split("; "):
            session.execute(statement)
        (row,) = rows(cli, leadconnector.url, "idle-in-transaction")
    assert row["last_query"].startswith(shown)
    assert not [secret for secret in ("hunter22", "4111") if secret in row["last_query"]]


def test_sixty_columns(leadconnector: Prepared, cli: Cli) -> None:
    outcome = cli("inspect", "all", url=leadconnector.url, env={"COLUMNS": "60"})
    assert outcome.code == 0
    assert max(map(len, outcome.out.splitlines())) <= 60


@pytest.mark.parametrize("app", ["whatsapp", "cleack"])
def test_other_apps(app: str, prepared: Prepare, cli: Cli) -> None:
    database = prepared(app)
    outcome = cli("inspect", "all", "--app", app, "-o", "json", url=database.url)
    assert outcome.code == 0
    assert cli("stats", "--app", app, url=database.url).code == 0


def test_a_session_that_ends_in_the_middle(
    leadconnector: Prepared, cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was read is told, and of the rest why it was not."""
    asked, ask = list[str](), run.ask

    def ends(connection: Any, report: Any, *rest: Any) -> Any:
        asked.append(report.name)
        if len(asked) == 3:
            leadconnector.query(f"SELECT pg_terminate_backend({connection.info.backend_pid})")
        return ask(connection, report, *rest)

    monkeypatch.setattr(run, "ask", ends)
    outcome = cli("inspect", "all", "-o", "json", url=leadconnector.url)
    assert (outcome.code, outcome.err, len(asked)) == (0, "", 3)
    reports = outcome.json["reports"]
    assert not [each for each in reports[:2] if each["skipped"]]
    assert {each["skipped"] for each in reports[3:]} == {"the connection was lost"}
    assert all(each["description"] for each in reports)
    assert outcome.json["server_version"]


def test_who_waits_for_whom_can_be_read_in_eighty_columns() -> None:
    """Each session is one line: a column that has no room is left out, and not one letter wide."""
    waits = {"state": "active", "waiting_seconds": 3.0, "transaction_seconds": 4.0}
    queue = [
        {"session": f"{'  ' * depth}{32540 + depth}", "blocked_by": 32539 + depth, "user": "postgres",
         "application": f"checkout-worker-{depth}", **waits, "wants": "ExclusiveLock",
         "relation": "orders", "query": "UPDATE orders SET paid = $1"}
        for depth in range(3)
    ]  # fmt: skip
    report = run.InspectReport("blocking", "Who waits for whom?", tuple(queue))
    shown = terminal.render([*views.report(report)], width=80, color=False)
    title, _, *lines = shown.split("\n\n", 1)[1].splitlines()
    assert re.split(r"\s{2,}", title)[:2] == ["Session", "Blocked by"]
    assert [line.split()[0] for line in lines] == ["32540", "32541", "32542"]
