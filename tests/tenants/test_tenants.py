"""`tenants list/create/drop/rename`, each seen by the catalog, pg_dump and other sessions."""

import json
import sys

import pytest

from tests.history import Project
from tests.processes import start, wait_for
from tests.servers import PASSWORD
from tests.tenants.conftest import ROLE, Tenants


def grant(tenants: Tenants, schema: str) -> None:
    tenants.query(
        f"GRANT USAGE ON SCHEMA {schema} TO pg_monitor;"
        f"GRANT SELECT, INSERT, UPDATE ON {schema}.customers TO pg_monitor;"
        f"GRANT SELECT (id) ON {schema}.orders TO pg_monitor WITH GRANT OPTION;"
        f"GRANT USAGE ON SEQUENCE {schema}.customers_id_seq TO pg_monitor;"
        f"REVOKE ALL ON FUNCTION {schema}.lowered(text) FROM PUBLIC;"
        f"GRANT EXECUTE ON FUNCTION {schema}.lowered(text) TO pg_monitor;"
        f"ALTER DEFAULT PRIVILEGES IN SCHEMA {schema} GRANT SELECT ON TABLES TO pg_monitor"
    )


def test_a_tenant_has_all_that_the_app_makes(tenants: Tenants) -> None:
    made = tenants.done("tenants", "create", "acme")
    assert (made["name"], made["revision"], made["applied"]) == ("acme", "own_0002", 2)
    tenants.done("tenants", "create", 'we"ird näme')
    assert tenants.schemas() == ["acme", 'we"ird näme']
    listed = {each["name"]: each for each in tenants.done("tenants", "list")["tenants"]}
    assert {name: (t["revision"], t["pending"], t["tables"]) for name, t in listed.items()} == {
        "acme": ("own_0002", 0, 3),
        'we"ird näme': ("own_0002", 0, 3),
    }
    assert [t["name"] for t in tenants.done("tenants", "list", "ac*")["tenants"]] == ["acme"]
    assert tenants.done("migrate", "status", "--schema", 'we"ird näme')["ok"]
    assert tenants.leadctl("migrate", "drift", "--schema", "acme").code == 0
    quoted, plain = tenants.dump('we"ird näme'), tenants.dump("acme")
    names = ('"we""ird näme"', 'we"ird näme')
    assert (
        sorted(line.replace(names[0], "acme").replace(names[1], "acme") for line in quoted) == plain
    )


def test_a_tenant_like_another_has_its_grants_and_owner(tenants: Tenants) -> None:
    tenants.done("tenants", "create", "first")
    grant(tenants, "first")
    tenants.query(
        f"ALTER SCHEMA first OWNER TO {ROLE}; ALTER TABLE first.customers OWNER TO {ROLE};"
        f"ALTER TABLE first.orders OWNER TO {ROLE}; ALTER TYPE first.mood OWNER TO {ROLE};"
        f"ALTER FUNCTION first.lowered OWNER TO {ROLE}; ALTER VIEW first.busy OWNER TO {ROLE};"
        f"ALTER TABLE first.alembic_version OWNER TO {ROLE};"
        f"GRANT SELECT ON first.orders TO pg_monitor"
    )
    made = tenants.done("tenants", "create", "second", "--like", "first")
    assert made["owner"] == ROLE
    as_first = [line.replace("second", "first") for line in tenants.dump("second", "-s")]
    assert sorted(as_first) == tenants.dump("first", "-s")


@pytest.fixture
def alembic_runs(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """Gather the runs of Alembic on a database."""
    from leadctl.migrate.alembic_runner import AlembicRunner

    runs: list[bool] = []
    run = AlembicRunner.run

    def noted(self: AlembicRunner, *arguments: object, **given: object) -> object:
        if given.get("connection") is not None:
            runs.append(True)
        return run(self, *arguments, **given)  # type: ignore[arg-type]

    monkeypatch.setattr(AlembicRunner, "run", noted)
    return runs


@pytest.mark.thorough
def test_the_next_tenant_is_made_of_recorded_sql(
    tenants: Tenants, project: Project, alembic_runs: list[bool]
) -> None:
    project.revision(
        "CREATE INDEX CONCURRENTLY IF NOT EXISTS o ON orders (plan)", concurrently=True
    )
    project.revision("INSERT INTO customers (name) VALUES ('100 %, it''s  so')")
    tenants.done("tenants", "create", "first")
    assert len(alembic_runs) == 1
    tenants.query("DROP SCHEMA first CASCADE")
    made = tenants.done("tenants", "create", "second")
    tenants.done("tenants", "create", "third", "--confirm", tenants.name)
    assert (len(alembic_runs), made["applied"], made["revision"]) == (1, 4, "own_0004")
    assert tenants.leadctl("migrate", "--schema", "alone").code == 0
    assert len(alembic_runs) == 2
    dumps = [
        sorted(line.replace(name, "X") for line in tenants.dump(name))
        for name in ("second", "third", "alone")
    ]
    assert dumps[0] == dumps[1] == dumps[2]
    records = "SELECT DISTINCT revision, checksum, sql, made, fingerprint FROM leadctl.migration"
    assert len(tenants.query(f"{records} WHERE schema <> 'first'")) == 4
    assert tenants.leadctl("migrate", "drift", "--schema", "second").code == 0
    runs = tenants.query(
        "SELECT command, outcome, summary->>'applied' FROM leadctl.run WHERE schema = 'second'"
        " ORDER BY id"
    )
    assert [run[:2] for run in runs] == [("tenants create", "done"), ("migrate", "done")]
    assert json.loads(runs[1][2]) == ["own_0001", "own_0002", "own_0003", "own_0004"]
    # What is edited is no longer what was recorded.
    edited = project.migrations / "own_0004.py"
    edited.write_text(edited.read_text().replace("so", "otherwise"))
    tenants.done("tenants", "create", "fourth")
    assert tenants.query("SELECT name FROM fourth.customers") == [("100 %, it's  otherwise",)]


@pytest.mark.thorough
def test_a_revision_that_reads_other_code_is_read_each_time(
    tenants: Tenants, project: Project
) -> None:
    helper = tenants.folder / "own_helper.py"
    project.revision(code="    op.execute(own_helper.STATEMENT)", head="import own_helper")
    for name in ("one", "another"):
        helper.write_text(f'STATEMENT = "CREATE TABLE {name} (n int)"\n')
        sys.modules.pop("own_helper", None)
        tenants.done("tenants", "create", name)
        assert tenants.query("SELECT to_regclass(%s) IS NOT NULL", f"{name}.{name}") == [(True,)]


@pytest.mark.thorough
@pytest.mark.parametrize(
    ("given", "is_run"),
    [
        ("GRANT SELECT ON leadctl.script TO PUBLIC", True),
        ("GRANT INSERT ON leadctl.script TO pg_monitor", False),
        ("GRANT UPDATE (statements) ON leadctl.script TO pg_monitor", False),
        ("GRANT ALL ON leadctl.script TO PUBLIC", False),
    ],
)
def test_recorded_sql_that_others_may_write_is_not_run(
    tenants: Tenants, given: str, is_run: bool
) -> None:
    tenants.done("tenants", "create", "first")
    tenants.query(
        f"{given}; UPDATE leadctl.script SET statements = statements || '{{CREATE TABLE foreign_ (n int)}}'"
    )
    tenants.done("tenants", "create", "second")
    found = tenants.query("SELECT to_regclass('second.foreign_') IS NOT NULL")
    assert found == [(is_run,)]


@pytest.mark.parametrize(
    "name", ["", "pg_x", "leadctl", "public", "é" * 32, "a\nb", "x_moved_20200101t000000z"]
)
def test_names_that_are_none(tenants: Tenants, name: str) -> None:
    outcome = tenants.leadctl("tenants", "create", name)
    assert outcome.code == 2, outcome.err
    assert tenants.schemas() == []


def test_what_is_there_is_left(tenants: Tenants) -> None:
    tenants.query("CREATE SCHEMA other; CREATE TABLE other.t (id int)")
    outcome = tenants.leadctl("tenants", "create", "other")
    assert (outcome.code, "already" in outcome.err) == (5, True), outcome.err
    assert tenants.leadctl("tenants", "drop", "other", "--yes").code == 1
    assert tenants.leadctl("tenants", "rename", "other", "another", "--yes").code == 1
    assert tenants.query("SELECT count(*) FROM other.t") == [(0,)]


@pytest.mark.thorough
def test_a_killed_run_is_continued(tenants: Tenants, project: Project) -> None:
    project.revision("SELECT pg_sleep(60)")
    process = start("tenants", "create", "acme", env={"DATABASE_URL": tenants.url, **tenants.env})
    wait_for(
        lambda: tenants.query(
            "SELECT 1 FROM pg_stat_activity WHERE query ~ 'pg_sleep.60' AND state = 'active'"
            " AND datname = current_database() AND pid <> pg_backend_pid()"
        )
    )
    process.kill()
    process.communicate()
    wait_for(
        lambda: (
            not tenants.query(
                "SELECT 1 FROM pg_stat_activity WHERE query ~ 'pg_sleep.60' AND state = 'active'"
                " AND datname = current_database() AND pid <> pg_backend_pid()"
            )
        )
    )
    (project.migrations / "own_0003.py").unlink()
    made = tenants.done("tenants", "create", "acme")
    assert (made["revision"], made["applied"]) == ("own_0002", 0)
    assert tenants.leadctl("tenants", "create", "acme").code == 5  # now it is whole


@pytest.mark.thorough
def test_drop_takes_the_tenant_and_nothing_else(tenants: Tenants) -> None:
    for name in ("acme", "other"):
        tenants.done("tenants", "create", name)
        tenants.fill(name, 10)
    other = tenants.dump("other")
    assert tenants.leadctl("tenants", "drop", "acme").code == 5
    tenants.query("CREATE VIEW public.needs AS SELECT * FROM acme.customers")
    refused = tenants.leadctl("tenants", "drop", "acme", "--yes")
    assert (refused.code, "public.needs" in refused.err) == (5, True), refused.err
    assert tenants.query("SELECT count(*) FROM public.needs") == [(10,)]
    tenants.query("DROP VIEW public.needs")
    dropped = tenants.done("tenants", "drop", "acme", "--yes")
    assert dropped["tables"] == 3
    assert tenants.schemas() == ["other"]
    assert tenants.dump("other") == other
    assert tenants.query("SELECT DISTINCT schema FROM leadctl.migration") == [("other",)]
    tenants.done("tenants", "create", "acme")


def test_a_protected_database_wants_its_name(tenants: Tenants) -> None:
    tenants.done("tenants", "create", "acme")
    tenants.done("db", "environment", "production", "--protect")
    for line in (["drop", "acme", "--yes"], ["rename", "acme", "b", "--yes"]):
        outcome = tenants.leadctl("tenants", *line)
        assert (outcome.code, "protected" in outcome.err) == (5, True), outcome.err
    assert tenants.schemas() == ["acme"]
    assert tenants.leadctl("tenants", "drop", "acme", "--confirm", "acme").code == 5
    tenants.done("tenants", "drop", "acme", "--confirm", tenants.name)


def test_a_session_that_holds_a_table_stops_the_drop(tenants: Tenants) -> None:
    tenants.done("tenants", "create", "acme")
    with tenants.server.connect(tenants.name) as session, session.transaction():
        session.execute("INSERT INTO acme.customers (name) VALUES ('mine')")
        outcome = tenants.leadctl("tenants", "drop", "acme", "--yes", "--lock-timeout", "0.2s")
        assert (outcome.code, "locked" in outcome.err) == (1, True), outcome.err
    assert tenants.query("SELECT count(*) FROM acme.customers") == [(1,)]


@pytest.mark.thorough
def test_a_renamed_tenant_is_found_by_all_that_led_to_it(tenants: Tenants) -> None:
    tenants.done("tenants", "create", "acme")
    tenants.done("tenants", "create", "other")
    tenants.fill("acme", 10)
    assert tenants.leadctl("migrate", "drift", "--schema", "acme").code == 0
    tenants.query(
        f"GRANT USAGE ON SCHEMA acme TO {ROLE}; GRANT ALL ON ALL TABLES IN SCHEMA acme TO {ROLE};"
        f"GRANT ALL ON ALL SEQUENCES IN SCHEMA acme TO {ROLE}"
    )
    tenants.query(
        f"""ALTER ROLE {ROLE} SET search_path TO "$user", acme, 'public';
        ALTER DATABASE "{tenants.name}" SET search_path TO acme, other;
        CREATE FUNCTION public.count_them() RETURNS bigint LANGUAGE sql SECURITY DEFINER
            SET search_path TO acme, pg_temp AS 'SELECT count(*) FROM customers';
        CREATE FUNCTION public.names_it() RETURNS bigint LANGUAGE plpgsql AS
            'BEGIN RETURN (SELECT count(*) FROM acme.customers); END'"""
    )
    before = tenants.dump("acme")
    result = tenants.done("tenants", "rename", "acme", "a c-m,e", "--yes")
    assert len(result["paths"]) == 3
    assert result["mentions"] == ["public.names_it()"]
    assert tenants.schemas() == ["a c-m,e", "other"]
    with tenants.as_app() as app:
        assert app.execute("SELECT count(*) FROM customers").fetchone() == (10,)
        assert app.execute(
            "INSERT INTO customers (name) VALUES ('new') RETURNING id"
        ).fetchone() == (11,)
        assert app.execute("SELECT public.count_them()").fetchone() == (11,)
        path = app.execute("SHOW search_path").fetchone()
        assert path == ('"$user", "a c-m,e", public',)
    assert tenants.query("SHOW search_path") == [('"a c-m,e", other',)]
    assert tenants.done("migrate", "status", "--schema", "a c-m,e")["ok"]
    assert tenants.done("migrate", "--schema", "a c-m,e")["applied"] == []
    # The role's path in every database is another one's, too: it was set for this one alone.
    assert tenants.query(
        "SELECT setconfig FROM pg_db_role_setting s JOIN pg_roles r ON r.oid = setrole"
        " WHERE rolname = %s AND setdatabase = 0", ROLE
    ) == [(['search_path="$user", acme, public'],)]  # fmt: skip
    tenants.query(
        "DELETE FROM \"a c-m,e\".customers WHERE name = 'new'; "
        "SELECT setval('\"a c-m,e\".customers_id_seq', 10)"
    )
    tenants.done("tenants", "rename", "a c-m,e", "acme", "--yes")
    assert tenants.dump("acme") == before
    tenants.query(
        f"REVOKE ALL ON ALL TABLES IN SCHEMA acme FROM {ROLE};"
        f"REVOKE ALL ON ALL SEQUENCES IN SCHEMA acme FROM {ROLE};"
        f"REVOKE USAGE ON SCHEMA acme FROM {ROLE}"
    )
    assert tenants.leadctl("migrate", "drift", "--schema", "acme").code == 0


def test_a_rename_that_cannot_be_whole_changes_nothing(tenants: Tenants) -> None:
    """A role that owns the schema, and may not set another's search path."""
    tenants.done("tenants", "create", "acme")
    tenants.query(f"""ALTER SCHEMA acme OWNER TO {ROLE}; ALTER TABLE acme.alembic_version OWNER TO {ROLE};
        GRANT CREATE ON DATABASE "{tenants.name}" TO {ROLE}; ALTER SCHEMA leadctl OWNER TO {ROLE};
        ALTER TABLE leadctl.run OWNER TO {ROLE}; ALTER TABLE leadctl.migration OWNER TO {ROLE};
        ALTER TABLE leadctl.identity OWNER TO {ROLE}; ALTER ROLE postgres IN DATABASE "{tenants.name}" SET search_path TO acme""")
    url = tenants.url.replace("//postgres:", f"//{ROLE}:")
    outcome = tenants.leadctl("tenants", "rename", "acme", "b", "--yes", "--url", url)
    assert (outcome.code, "Nothing was changed" in outcome.err) == (4, True), outcome.err
    assert PASSWORD not in outcome.err
    assert tenants.schemas() == ["acme"]
    assert tenants.query("SELECT DISTINCT schema FROM leadctl.migration") == [("acme",)]


def test_a_name_that_is_taken(tenants: Tenants) -> None:
    for name in ("acme", "other"):
        tenants.done("tenants", "create", name)
    assert tenants.leadctl("tenants", "rename", "acme", "other", "--yes").code == 5
    assert tenants.schemas() == ["acme", "other"]
