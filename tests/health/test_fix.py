"""`health-check --fix`: what it mends, what it leaves, and that it asks."""

import re
import stat
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import psycopg
import pytest

from leadctl.health import fix
from tests.conftest import KEY, Cli, Prepared
from tests.processes import run


def break_everything(database: Prepared) -> None:
    """An index dropped, one invalid, one of both; a constraint and a table nobody looked at."""
    database.query("DROP INDEX idx_leads_form_id; DROP INDEX ix_leads_status")
    database.query(
        "CREATE TABLE twice WITH (autovacuum_enabled = off) AS SELECT 1 AS n FROM generate_series(1, 20000)"
    )
    with pytest.raises(psycopg.errors.UniqueViolation):
        database.query("CREATE UNIQUE INDEX CONCURRENTLY twice_n ON twice (n)")
    with database.server.connect(database.name) as blocker, blocker.transaction():
        blocker.execute("LOCK TABLE leads IN ROW EXCLUSIVE MODE")
        with database.server.connect(database.name) as builder:
            builder.execute("SET statement_timeout = '300ms'")
            with pytest.raises(psycopg.errors.QueryCanceled):
                builder.execute("CREATE INDEX CONCURRENTLY ix_leads_status ON leads (status)")
    database.query("ALTER TABLE twice ADD CONSTRAINT one CHECK (n = 1) NOT VALID")
    database.query("ALTER TABLE twice ADD CONSTRAINT two CHECK (n = 2) NOT VALID")


@contextmanager
def in_work(
    database: Prepared, index: str, table: str, column: str
) -> Iterator[Callable[[], None]]:
    """Let another session build an index, for as long as what is yielded is not called."""
    connect = partial(database.server.connect, database.name)
    with connect() as reader, connect() as builder:
        reader.autocommit = False
        reader.execute(f"LOCK {table} IN ROW EXCLUSIVE MODE")
        build = f"CREATE INDEX CONCURRENTLY {index} ON {table} ({column})"
        builder.pgconn.send_query(build.encode())
        database.wait_for(f"SELECT 1 WHERE to_regclass('{index}') IS NOT NULL")

        def end() -> None:
            reader.rollback()
            while (result := builder.pgconn.get_result()) is not None:
                assert result.status == psycopg.pq.ExecStatus.COMMAND_OK, result.error_message

        yield end


MENDED = {
    'DROP INDEX CONCURRENTLY "public"."twice_n"': "done",
    'DROP INDEX CONCURRENTLY "public"."ix_leads_status"': "done",
    "CREATE INDEX CONCURRENTLY idx_leads_form_id ON leads USING btree (form_id)": "done",
    "CREATE INDEX CONCURRENTLY ix_leads_status ON leads USING btree (status)": "done",
    'ALTER TABLE "public"."twice" VALIDATE CONSTRAINT "one"': "done",
    'ALTER TABLE "public"."twice" VALIDATE CONSTRAINT "two"': "failed",
    'ANALYZE "public"."twice"': "done",
}


@pytest.mark.thorough
def test_what_can_be_mended_is(leadconnector: Prepared, cli: Cli) -> None:
    break_everything(leadconnector)
    before = cli("health-check", "-o", "json", url=leadconnector.url)
    assert before.code == 2
    outcome = cli("health-check", "--fix", "--yes", "-o", "json", url=leadconnector.url)
    found = {fix["statement"]: fix["outcome"] for fix in outcome.json["fixes"]}
    assert found == MENDED
    (failed,) = [fix for fix in outcome.json["fixes"] if fix["outcome"] == "failed"]
    assert "two" in failed["message"]
    bad = {c["name"] for c in outcome.json["checks"] if c["status"] in {"warning", "critical"}}
    assert bad == {"unvalidated-constraints"}
    assert outcome.code == 1
    history = cli("history", "-o", "json", url=leadconnector.url).json["runs"]
    assert history[0]["command"] == "health-check --fix"
    assert len(history[0]["summary"]["fixed"]) >= 5


def test_it_asks_where_nobody_said_yes(leadconnector: Prepared, cli: Cli) -> None:
    leadconnector.query("DROP INDEX idx_leads_form_id")
    outcome = cli("health-check", "--fix", url=leadconnector.url)
    assert (outcome.code, "--yes" in outcome.err) == (3, True)
    assert leadconnector.query("SELECT to_regclass('idx_leads_form_id')") == [(None,)]
    env = {"LEADCTL_HEALTH_CHECK_FIX": "1", "LEADCTL_HEALTH_CHECK_YES": "1"}
    assert cli("health-check", url=leadconnector.url, env=env).code == 2
    assert leadconnector.query("SELECT to_regclass('idx_leads_form_id')") == [(None,)]


def test_only_what_was_selected(leadconnector: Prepared, cli: Cli) -> None:
    break_everything(leadconnector)
    arguments = ["health-check", "--fix", "--yes", "--check", "indexes", "-o", "json"]
    fixes = cli(*arguments, url=leadconnector.url).json["fixes"]
    assert {fix["check"] for fix in fixes} == {"indexes"}


def test_nothing_to_mend_changes_nothing(leadconnector: Prepared, cli: Cli) -> None:
    outcome = cli("health-check", "--fix", url=leadconnector.url)
    assert outcome.code == 0
    assert "There is nothing that --fix can fix." in outcome.err
    assert cli("history", "-o", "json", url=leadconnector.url).json["runs"][0]["command"] != (
        "health-check --fix"
    )


def test_a_database_that_leadctl_never_saw_gets_no_schema(
    server: object, database: str, cli: Cli
) -> None:
    with server.connect(database) as connection:  # type: ignore[attr-defined]
        connection.execute("CREATE TABLE one AS SELECT 1 AS n")
        connection.execute("ALTER TABLE one ADD CHECK (n = 1) NOT VALID")
        url = server.url(database)  # type: ignore[attr-defined]
        fixes = cli("health-check", "--fix", "--yes", "-o", "json", url=url).json["fixes"]
        assert fixes[0]["outcome"] == "done"
        assert connection.execute("SELECT to_regnamespace('leadctl')").fetchone() == (None,)


def test_prometheus_to_a_file(leadconnector: Prepared, cli: Cli, tmp_path: Path) -> None:
    file = tmp_path / "leadctl.prom"
    file.write_text("old")
    outcome = cli("health-check", "-o", "prometheus", "--to", str(file), url=leadconnector.url)
    assert (outcome.code, outcome.out) == (0, "")
    text = file.read_text()
    place = f'database="{leadconnector.name}",schema="public",app="leadconnector"'
    assert f"leadctl_health_status{{{place}}} 0\n" in text
    assert f'leadctl_check_status{{{place},check="archiving"}} 3\n' in text
    assert f'leadctl_check_value{{{place},check="indexes",unit="bad"}} 0\n' in text
    assert stat.S_IMODE(file.stat().st_mode) & 0o444 == 0o444
    assert [path.name for path in tmp_path.iterdir()] == ["leadctl.prom"]
    printed = cli("health-check", "-o", "prometheus", url=leadconnector.url).out
    lines = [line for line in printed.splitlines() if not line.startswith("#")]
    assert all(line.rpartition("} ")[2].replace(".", "").isdigit() for line in lines)
    assert cli("health-check", "--to", str(file), url=leadconnector.url).code == 3


def test_selection_and_thresholds(leadconnector: Prepared, cli: Cli, tmp_path: Path) -> None:
    url = leadconnector.url

    def names(*flags: str) -> list[str]:
        found = cli("health-check", *flags, "-o", "json", url=url).json
        return [check["name"] for check in found["checks"]]

    everything = names()
    assert names("--check", "seed", "--check", "server") == ["server", "seed"]
    assert names("--skip", "seed") == [name for name in everything if name != "seed"]
    listed = cli("health-check", "--list", "-o", "json").json["checks"]
    assert [check["name"] for check in listed] == everything
    assert all(check["description"].endswith((".", "?")) for check in listed), listed
    unknown = cli("health-check", "--check", "sede", url=url)
    assert (unknown.code, "Did you mean seed?" in unknown.err) == (3, True)
    assert cli("health-check", "--interval", "30s", url=url).code == 3
    config = tmp_path / "leadctl.toml"
    for text, said in (
        ("[health.sede]\nwarning = 1", "is not a check"),
        ("[health.seed]\nwarning = 1", "has no threshold"),
        ("[health.latency]\nwarning = 5000", "before it warns"),
        ("[health.latency]\nwarn = 1", "Did you mean warning?"),
        ('[health.latency]\nwarning = "soon"', "is not a number"),
        ("[health.latency]\nwarning = true", "is not a number"),
        ("health = 1", "health"),
    ):
        config.write_text(text)
        refused = cli("health-check", url=url)
        assert (refused.code, said in refused.err) == (3, True), (text, refused.err)
    config.write_text("[health.latency]\nwarning = 0\ncritical = 5000")
    assert cli("health-check", "--check", "latency", url=url).code == 1
    (entry,) = cli("health-check", "--check", "latency", "--list", "-o", "json").json["checks"]
    assert (entry["warning"], entry["critical"]) == (0, 5000)


@pytest.mark.few(2)
@pytest.mark.parametrize("app", ["leadconnector", "salesagent", "viralmommy", "whatsapp", "cleack"])
def test_every_app_is_healthy_when_fresh(app: str, prepared: object) -> None:
    database = prepared(app)  # type: ignore[operator]
    env = {"DATABASE_URL": database.url, "ENCRYPTION_KEY": KEY}
    done = run("health-check", "--app", app, env=env)
    assert done.returncode == 0, done.stdout


def test_an_index_that_another_role_builds_survives(leadconnector: Prepared, cli: Cli) -> None:
    """The owner of the table may not see what a superuser's session does."""
    database = leadconnector
    owner = f"owner_of_{database.name}"
    database.query(f"CREATE ROLE {owner} LOGIN PASSWORD 'owner'")
    database.query(f"GRANT ALL ON SCHEMA public TO {owner}")
    database.query("DROP SCHEMA leadctl CASCADE")
    database.query("CREATE TABLE big AS SELECT 1 AS n")
    database.query("CREATE INDEX sound ON big (n)")
    database.query(f"ALTER TABLE big OWNER TO {owner}")
    url = re.sub("//postgres:[^@]+@", f"//{owner}:owner@", database.url)
    check = ("health-check", "--check", "invalid-indexes", "-o", "json")
    with in_work(database, "being_built", "big", "n") as end:
        (found,) = cli(*check, url=url).json["checks"]
        assert found["status"] == "skipped"
        assert "being_built" in found["message"]
        (found,) = cli(*check, url=database.url).json["checks"]
        assert found["status"] == "ok"
        outcome = cli(*check, "--fix", "--yes", url=url)
        assert outcome.out, outcome.err
        fixes = outcome.json["fixes"]
        assert [fix["outcome"] for fix in fixes] == ["failed"]
        assert "building" in fixes[0]["message"]
        end()
    assert database.query(
        "SELECT indisvalid FROM pg_index WHERE indexrelid = 'being_built'::regclass"
    ) == [(True,)]
    database.query(f"DROP OWNED BY {owner}; DROP ROLE {owner}")


def test_an_index_of_a_partitioned_table_that_was_never_attached(
    leadconnector: Prepared, cli: Cli
) -> None:
    leadconnector.query("CREATE TABLE parted (n int) PARTITION BY RANGE (n)")
    leadconnector.query("CREATE TABLE parted_1 PARTITION OF parted FOR VALUES FROM (0) TO (9)")
    leadconnector.query("CREATE INDEX never_attached ON ONLY parted (n)")
    flags = ("health-check", "--check", "invalid-indexes", "--fix", "--yes", "-o", "json")
    outcome = cli(*flags, url=leadconnector.url)
    (found,) = outcome.json["checks"]
    assert (found["status"], found["message"]) == ("warning", "never_attached")
    assert "ATTACH PARTITION" in found["hint"]
    assert leadconnector.query("SELECT to_regclass('never_attached')::text") == [
        ("never_attached",)
    ]


@contextmanager
def at_work(database: Prepared, statement: str, begun: str) -> Iterator[psycopg.Connection[Any]]:
    """Let somebody work concurrently, held up by a reader that then goes; it must come to its end."""
    with ExitStack() as stack:
        reader = stack.enter_context(database.server.connect(database.name))
        reader.autocommit = False
        reader.execute("LOCK big IN ROW EXCLUSIVE MODE")
        builder = stack.enter_context(database.server.connect(database.name))
        builder.pgconn.send_query(statement.encode())
        database.wait_for(begun)
        yield builder
        reader.rollback()
        while (result := builder.pgconn.get_result()) is not None:
            assert result.status == psycopg.pq.ExecStatus.COMMAND_OK, result.error_message


def big_with_leftover(database: Prepared) -> None:
    """A table whose index a cancelled build left, and a constraint that nobody validated."""
    database.query("CREATE TABLE big AS SELECT n FROM generate_series(1, 20000) n")
    database.query("INSERT INTO big VALUES (1)")
    with pytest.raises(psycopg.errors.UniqueViolation):
        database.query("CREATE UNIQUE INDEX CONCURRENTLY left_over ON big (n)")
    database.query("CREATE INDEX sound ON big (n)")
    database.query("ALTER TABLE big ADD CONSTRAINT one CHECK (n > 0) NOT VALID")


WORK = {
    "REINDEX CONCURRENTLY": (
        "REINDEX TABLE CONCURRENTLY big",
        "SELECT 1 FROM pg_class WHERE relname = 'sound_ccnew'",
    ),
    "REINDEX CONCURRENTLY of what was left": (
        "REINDEX INDEX CONCURRENTLY sound",
        "SELECT 1 FROM pg_class WHERE relname = 'sound_ccnew'",
    ),
    "CREATE INDEX CONCURRENTLY of another": (
        "CREATE INDEX CONCURRENTLY other ON big (n)",
        "SELECT 1 WHERE to_regclass('other') IS NOT NULL",
    ),
}


@pytest.mark.parametrize("work", WORK)
def test_nobody_s_work_is_disturbed(leadconnector: Prepared, cli: Cli, work: str) -> None:
    """What others do on a table comes to its end, and what is to be mended there waits."""
    database = leadconnector
    big_with_leftover(database)
    url, check = database.url, ("health-check", "--check", "invalid-indexes")
    with at_work(database, *WORK[work]):
        (found,) = cli(*check, "-o", "json", url=url).json["checks"]
        assert found["status"] != "ok"
        flags = ("--check", "unvalidated-constraints", "--fix", "--yes", "-o", "json")
        outcome = cli(*check, *flags, url=url)
        assert {fix["outcome"] for fix in outcome.json["fixes"]} == {"failed"}
        assert "another session works on its table" in outcome.json["fixes"][0]["message"]
    assert database.query("SELECT to_regclass('left_over') IS NULL") == [(False,)]
    fixes = cli(*check, *flags, url=url).json["fixes"]
    assert {fix["outcome"] for fix in fixes} == {"done"}
    assert database.query("SELECT count(*) FROM pg_index WHERE NOT indisvalid") == [(0,)]


def test_it_waits_a_little_for_who_is_soon_done(
    leadconnector: Prepared, cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Such as autovacuum, which holds the same lock on a table for as long as it works there."""
    database = leadconnector
    database.query("CREATE TABLE big WITH (autovacuum_enabled = off) AS SELECT 1 AS n")
    database.query("ALTER TABLE big ADD CONSTRAINT one CHECK (n > 0) NOT VALID")
    with database.server.connect(database.name) as worker:
        worker.autocommit = False
        worker.execute("LOCK big IN SHARE UPDATE EXCLUSIVE MODE")
        monkeypatch.setattr(fix.time, "sleep", lambda _: worker.rollback())
        flags = ("--check", "unvalidated-constraints", "--fix", "--yes", "-o", "json")
        (done,) = cli("health-check", *flags, url=database.url).json["fixes"]
    assert done["outcome"] == "done"


def test_an_index_that_is_missing_is_not_built_into_another_s_build(
    leadconnector: Prepared, cli: Cli
) -> None:
    """Two builds on one table wait for each other, and the server ends one."""
    database = leadconnector
    database.query("DROP INDEX idx_leads_form_id")
    with in_work(database, "other", "leads", "form_name") as end:
        flags = ("health-check", "--check", "indexes", "--fix", "--yes", "-o", "json")
        (fix,) = cli(*flags, url=database.url).json["fixes"]
        assert (fix["outcome"], "another session works" in fix["message"]) == ("failed", True)
        end()
    (fix,) = cli(*flags, url=database.url).json["fixes"]
    assert fix["outcome"] == "done"


def test_an_index_is_not_valid_before_its_build_has_ended(
    leadconnector: Prepared, cli: Cli
) -> None:
    """Neither for who sees the build, nor for who sees the lock alone."""
    database, role = leadconnector, f"owner_{leadconnector.name}"
    flags = ("health-check", "--check", "indexes", "-o", "json")
    database.query(
        f"CREATE ROLE {role} LOGIN PASSWORD 'a b'; GRANT USAGE ON SCHEMA public, leadctl TO {role};"
        f"GRANT SELECT ON ALL TABLES IN SCHEMA public, leadctl TO {role};"
        "DROP INDEX idx_leads_form_id"
    )
    urls = [
        database.url,
        database.url.replace("postgres:correct%20horse%20battery", f"{role}:a%20b"),
    ]
    with ExitStack() as stack:
        stack.callback(lambda: database.query(f"DROP OWNED BY {role}; DROP ROLE {role}"))
        end = stack.enter_context(in_work(database, "idx_leads_form_id", "leads", "form_id"))
        for url in urls:
            (found,) = cli(*flags, url=url).json["checks"]
            assert (found["status"], found["value"]) == ("warning", 1)
            assert found["message"] == "not valid yet, being built: idx_leads_form_id"
        end()
        for url in urls:
            assert cli(*flags, url=url).json["checks"][0]["status"] == "ok"


def test_a_partition_that_is_being_detached_is_left_alone(
    leadconnector: Prepared, cli: Cli
) -> None:
    """Between its two steps a DETACH CONCURRENTLY holds no lock on the partition."""
    database = leadconnector
    database.query(
        "CREATE TABLE parent (n int) PARTITION BY RANGE (n);"
        "CREATE TABLE big PARTITION OF parent FOR VALUES FROM (0) TO (100);"
        "CREATE TABLE rest PARTITION OF parent FOR VALUES FROM (100) TO (200);"
        "INSERT INTO parent VALUES (1), (1)"
    )
    with pytest.raises(psycopg.errors.UniqueViolation):
        database.query("CREATE UNIQUE INDEX CONCURRENTLY left_over ON big (n)")
    check = ("health-check", "--check", "invalid-indexes", "--fix", "--yes", "-o", "json")
    with ExitStack() as stack:
        reader = stack.enter_context(database.server.connect(database.name))
        reader.autocommit = False
        reader.execute("LOCK ONLY parent IN ACCESS SHARE MODE")
        detacher = stack.enter_context(database.server.connect(database.name))
        detacher.pgconn.send_query(b"ALTER TABLE parent DETACH PARTITION big CONCURRENTLY")
        database.wait_for("SELECT 1 FROM pg_inherits WHERE inhdetachpending")
        (fix,) = cli(*check, url=database.url).json["fixes"]
        assert (fix["outcome"], "being detached" in fix["message"]) == ("failed", True)
        reader.rollback()
        while (result := detacher.pgconn.get_result()) is not None:
            assert result.status == psycopg.pq.ExecStatus.COMMAND_OK, result.error_message
    (fix,) = cli(*check, url=database.url).json["fixes"]
    assert fix["outcome"] == "done"


def test_nobody_comes_between_the_proof_and_the_step(
    leadconnector: Prepared, cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Somebody who begins a build at that moment comes after it, and both come to their end."""
    from leadctl.health import fix

    database = leadconnector
    big_with_leftover(database)
    with ExitStack() as stack:
        builder = stack.enter_context(database.server.connect(database.name))
        prove = fix._prove_needed

        def meanwhile(*given: Any) -> None:
            if builder.pgconn.transaction_status == psycopg.pq.TransactionStatus.IDLE:
                builder.pgconn.send_query(b"CREATE INDEX CONCURRENTLY later ON big (n)")
                database.wait_for("SELECT 1 FROM pg_locks WHERE NOT granted")
            prove(*given)

        monkeypatch.setattr(fix, "_prove_needed", meanwhile)
        flags = ("health-check", "--check", "invalid-indexes", "--fix", "--yes", "-o", "json")
        (found,) = cli(*flags, url=database.url).json["fixes"]
        while (result := builder.pgconn.get_result()) is not None:
            assert result.status == psycopg.pq.ExecStatus.COMMAND_OK, result.error_message
        assert found["outcome"] in {"done", "failed"}, found
    assert database.query(
        "SELECT indisvalid FROM pg_index WHERE indexrelid = 'later'::regclass"
    ) == [(True,)]
