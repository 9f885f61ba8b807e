"""`migrate --fleet`: each tenant as `migrate` would leave it, asked of the server."""

import json
import subprocess
from pathlib import Path

import pytest

import leadctl
from leadctl.postgres.binaries import client_program
from tests.conftest import Cli, Prepared
from tests.history import Project
from tests.servers import PASSWORD, Server

APPLIED = ["leadconnector_0001", "leadconnector_0002"]


def declare(folder: Path, count: int, *more: str, app: str = "leadconnector") -> None:
    """Declare a fleet of tenants, t_1 to t_N."""
    query = f"SELECT 't_' || n FROM generate_series(1, {count}) n"
    file = folder / "leadctl.toml"
    before = file.read_text() if file.exists() else f'app = "{app}"\n'
    file.write_text("\n".join([before, "[fleet.tenants]", f'query = "{query}"', *more, ""]))


@pytest.fixture
def place(server: Server, database: str) -> Prepared:
    """An empty database."""
    return Prepared(database, server.url(database), server)


def standing(place: Prepared, table: str = "alembic_version") -> dict[str, list[str]]:
    """Return what Alembic's table says in each schema that has one."""
    found = place.query(
        "SELECT relnamespace::regnamespace::text FROM pg_class WHERE relname = %s ORDER BY 1", table
    )
    return {
        schema: [each for (each,) in place.query(f"SELECT version_num FROM {schema}.{table}")]
        for (schema,) in found
    }


def dump(place: Prepared, schema: str) -> str:
    """Return a schema as pg_dump writes it, without its name."""
    done = subprocess.run(
        [client_program("pg_dump"), "-s", "-n", schema, "-d", place.url],
        capture_output=True, text=True, check=True, env={"PGPASSWORD": PASSWORD},
    )  # fmt: skip
    lines = [line for line in done.stdout.splitlines() if "restrict" not in line]
    return "\n".join(lines).replace(schema, "X")


@pytest.mark.thorough
def test_each_tenant_is_as_migrate_leaves_one(place: Prepared, cli: Cli, tmp_path: Path) -> None:
    declare(tmp_path, 6)
    place.query('CREATE SCHEMA "t_3"')  # one is there, and empty
    outcome = cli("migrate", "--fleet", "tenants", "-o", "json", url=place.url)
    assert (outcome.code, outcome.json["counts"]["done"]) == (0, 6), outcome.err
    assert cli("migrate", "--schema", "alone", url=place.url).code == 0
    assert standing(place) == {f"t_{n}": APPLIED[-1:] for n in range(1, 7)} | {
        "alone": APPLIED[-1:]
    }
    dumps = {dump(place, schema) for schema in ("alone", "t_1", "t_3", "t_6")}
    assert len(dumps) == 1
    # What is recorded is what `migrate` records, and the journal has the fleet's run.
    records = place.query(
        "SELECT count(*), count(DISTINCT schema), count(DISTINCT (checksum, sql, made))"
        " FROM leadctl.migration"
    )
    assert records == [(14, 7, 2)]
    fingerprints = place.query(
        "SELECT count(*), count(DISTINCT fingerprint) FROM leadctl.migration"
        " WHERE fingerprint IS NOT NULL"
    )
    assert fingerprints == [(7, 1)]
    runs = place.query(
        "SELECT count(*), count(DISTINCT schema), min(summary->'fleet'->>'run'),"
        " bool_and(outcome = 'done' AND summary->'applied' = %s::jsonb) FROM leadctl.run"
        " WHERE summary ? 'fleet'",
        json.dumps(APPLIED),
    )
    assert runs == [(6, 6, outcome.json["run"], True)]
    held = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND database ="
    assert place.query(f"{held} (SELECT oid FROM pg_database WHERE datname = %s)", place.name) == [
        (0,)
    ]
    for verb in ("status", "check", "drift"):
        assert cli("migrate", verb, "--fleet", "tenants", url=place.url).code == 0, verb


@pytest.mark.thorough
def test_most_tenants_do_not_run_alembic(
    place: Prepared, cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from leadctl.migrate.alembic_runner import AlembicRunner

    ran: list[bool] = []
    run = AlembicRunner.run
    monkeypatch.setattr(
        AlembicRunner,
        "run",
        lambda self, *args, **given: (
            ran.append(given.get("connection") is not None),
            run(self, *args, **given),
        ),
    )
    declare(tmp_path, 12)
    assert cli("migrate", "--fleet", "tenants", url=place.url).code == 0
    assert sum(ran) == 1  # the others were sent what the first has proven
    assert len(standing(place)) == 12
    ran.clear()
    outcome = cli("migrate", "--fleet", "tenants", "-o", "json", url=place.url)
    assert (outcome.code, ran) == (0, [])
    assert all(each["result"]["applied"] == [] for each in outcome.json["targets"])


@pytest.mark.thorough
def test_a_tenant_that_has_what_no_file_says_is_named_and_the_others_go_on(
    place: Prepared, project: Project, tmp_path: Path, cli: Cli
) -> None:
    declare(tmp_path, 3)
    project.revision("CREATE TABLE a (n int)")
    assert cli("migrate", "--fleet", "tenants", url=place.url).code == 0
    gone = project.revision("CREATE TABLE b (n int)")
    last = project.revision("CREATE TABLE c (n int)")
    assert cli("migrate", "--schema", "t_2", url=place.url).code == 0
    gone.unlink()
    for arguments in ([], ["--plan"], ["check"]):
        outcome = cli("migrate", *arguments, "--fleet", "tenants", "-o", "json", url=place.url)
        said = {each["target"]: each["message"] or "" for each in outcome.json["targets"]}
        assert "t_2, has applied own_0002, which is not in" in said["t_2"], arguments
        assert all("follows the revision own_0002" in said[name] for name in ("t_1", "t_3"))
        assert outcome.code == 7
    last.unlink()  # now the others have all that there is
    outcome = cli("migrate", "--fleet", "tenants", "-o", "json", url=place.url)
    assert {each["target"]: each["error"] for each in outcome.json["targets"]} == {
        "t_1": None,
        "t_2": "revision_missing",
        "t_3": None,
    }


@pytest.mark.thorough
def test_tenants_at_different_revisions_all_come_to_the_head(
    place: Prepared, project: Project, tmp_path: Path, cli: Cli
) -> None:
    declare(tmp_path, 4)
    project.revision("CREATE TABLE a (n int)")
    for schema in ("t_1", "t_2"):
        assert cli("migrate", "--schema", schema, url=place.url).code == 0
    place.query("CREATE TABLE t_2.by_hand (n int)")
    project.revision("ALTER TABLE a ADD COLUMN m text DEFAULT 'x%'", "CREATE TABLE b (n int)")
    project.revision("CREATE INDEX CONCURRENTLY IF NOT EXISTS i ON a (m)", concurrently=True)
    outcome = cli("migrate", "--fleet", "tenants", "-o", "json", url=place.url)
    assert outcome.code == 0, outcome.out
    assert standing(place) == {f"t_{n}": ["own_0003"] for n in range(1, 5)}
    made = dict(
        place.query("SELECT schema, made FROM leadctl.migration WHERE revision = 'own_0002'")
    )
    assert made == {f"t_{n}": ["table b"] for n in range(1, 5)}
    # What was made by hand is no one's of the app, and is seen as drift where it is.
    assert cli("migrate", "drift", "--schema", "t_4", url=place.url).code == 0
    alike = {dump(place, schema) for schema in ("t_1", "t_3", "t_4")}
    assert len(alike) == 1


ASKS = """\
    import sqlalchemy as sa
    count = op.get_bind().execute(sa.text("SELECT count(*) FROM rows")).scalar()
    op.execute(f"CREATE TABLE had_{count} (n int)")
"""
HIDES = """\
    if not op.get_context().as_sql:
        import sqlalchemy as sa
        count = op.get_bind().execute(sa.text("SELECT count(*) FROM rows")).scalar()
        op.execute(f"CREATE TABLE had_{count} (n int)")
"""
WITH_VALUES = """\
    import uuid
    import sqlalchemy as sa
    table = sa.table("rows", sa.column("key", sa.Text))
    op.bulk_insert(table, [{"key": str(uuid.uuid4())}])
"""
IN_TEXT = """\
    import uuid
    op.execute(f"INSERT INTO rows VALUES ('{uuid.uuid4()}')")
"""


@pytest.mark.few(1)
@pytest.mark.parametrize("code", [ASKS, HIDES])
def test_a_revision_that_asks_is_run_for_each(
    place: Prepared, project: Project, tmp_path: Path, cli: Cli, code: str
) -> None:
    declare(tmp_path, 3)
    project.revision("CREATE TABLE rows (key text)")
    assert cli("migrate", "--fleet", "tenants", url=place.url).code == 0
    for number in (2, 3):
        place.query(f"INSERT INTO t_{number}.rows SELECT 'x' FROM generate_series(1, {number})")
    project.revision(code=code)
    assert cli("migrate", "--fleet", "tenants", url=place.url).code == 0
    made = place.query(
        "SELECT relnamespace::regnamespace::text, relname FROM pg_class WHERE relname ~ '^had_'"
        " AND relkind = 'r' ORDER BY 1"
    )
    assert made == [("t_1", "had_0"), ("t_2", "had_2"), ("t_3", "had_3")]


@pytest.mark.few(1)
@pytest.mark.parametrize("code", [WITH_VALUES, IN_TEXT])
def test_values_that_are_made_in_a_revision_are_made_for_each(
    place: Prepared, project: Project, tmp_path: Path, cli: Cli, code: str
) -> None:
    declare(tmp_path, 3)
    project.revision("CREATE TABLE rows (key text)")
    project.revision(code=code)
    assert cli("migrate", "--fleet", "tenants", url=place.url).code == 0
    found = {place.query(f"SELECT key FROM t_{number}.rows")[0][0] for number in (1, 2, 3)}
    assert len(found) == 3


def test_settings_of_a_revision_stay_with_its_tenant(
    place: Prepared, project: Project, tmp_path: Path, cli: Cli
) -> None:
    declare(tmp_path, 4)
    project.revision("CREATE TABLE a (n int)", "SET search_path = pg_catalog")
    project.revision("CREATE TABLE b (n int) -- a comment at the end")
    assert cli("migrate", "--fleet", "tenants", url=place.url).code == 0
    made = place.query(
        "SELECT relnamespace::regnamespace::text, string_agg(relname, ' ' ORDER BY relname)"
        " FROM pg_class WHERE relkind = 'r' AND relname IN ('a', 'b') GROUP BY 1 ORDER BY 1"
    )
    assert made == [(f"t_{number}", "a b") for number in range(1, 5)]


@pytest.mark.thorough
def test_a_bad_row_holds_up_nobody_and_is_named(
    place: Prepared, project: Project, tmp_path: Path, cli: Cli
) -> None:
    declare(tmp_path, 8)
    project.revision("CREATE TABLE a (n int)")
    assert cli("migrate", "--fleet", "tenants", url=place.url).code == 0
    for bad in (1, 5):  # the first of all, too
        place.query(f"INSERT INTO t_{bad}.a VALUES (NULL)")
    project.revision("ALTER TABLE a ALTER COLUMN n SET NOT NULL")
    outcome = cli("migrate", "--fleet", "tenants", "-o", "json", url=place.url)
    assert outcome.code == 1
    failed = [each for each in outcome.json["targets"] if each["state"] == "failed"]
    assert [each["target"] for each in failed] == ["t_1", "t_5"]
    assert all(each["error"] == "revision_failed" for each in failed)
    assert all("contains null values" in each["message"] for each in failed)
    good = {f"t_{number}": ["own_0002"] for number in (2, 3, 4, 6, 7, 8)}
    assert standing(place) == good | {"t_1": ["own_0001"], "t_5": ["own_0001"]}
    text = cli("migrate", "--fleet", "tenants", url=place.url)
    assert "6 done, 2 failed" in text.out
    assert "leadctl migrate --fleet tenants --only t_5" in text.out
    place.query("UPDATE t_5.a SET n = 1")
    assert cli("migrate", "--fleet", "tenants", "--only", "t_5", url=place.url).code == 0
    assert standing(place)["t_5"] == ["own_0002"]


@pytest.mark.thorough
def test_canary_and_max_failures(
    place: Prepared, project: Project, tmp_path: Path, cli: Cli
) -> None:
    declare(tmp_path, 8)
    project.revision("CREATE TABLE a (n int)")
    assert cli("migrate", "--fleet", "tenants", url=place.url).code == 0
    place.query("INSERT INTO t_2.a VALUES (NULL)")
    project.revision("ALTER TABLE a ALTER COLUMN n SET NOT NULL")
    outcome = cli("migrate", "--fleet", "tenants", "--canary", "2", "-o", "json", url=place.url)
    assert (outcome.code, outcome.json["ended"]) == (1, "canary")
    assert outcome.json["counts"] == {"done": 1, "no": 0, "failed": 1, "not run": 6}
    assert sum(each == ["own_0002"] for each in standing(place).values()) == 1
    for number in range(3, 9):
        place.query(f"INSERT INTO t_{number}.a VALUES (NULL)")
    outcome = cli(
        "migrate", "--fleet", "tenants", "--max-failures", "2", "--jobs", "1", "-o", "json",
        url=place.url,
    )  # fmt: skip
    assert (outcome.code, outcome.json["ended"]) == (1, "max failures")
    assert outcome.json["counts"] == {"done": 1, "no": 0, "failed": 2, "not run": 5}


@pytest.mark.thorough
def test_a_lock_that_is_held_is_waited_for_by_its_tenant_alone(
    place: Prepared, cli: Cli, tmp_path: Path
) -> None:
    from leadctl.journal.lock import lock_key

    declare(tmp_path, 5)
    with place.server.connect(place.name) as other:
        other.execute("SELECT pg_advisory_lock(%s, %s)", lock_key("t_3"))
        outcome = cli(
            "migrate", "--fleet", "tenants", "--lock-wait", "1s", "-o", "json", url=place.url
        )
    assert outcome.code == 6
    failed = [each["target"] for each in outcome.json["targets"] if each["state"] == "failed"]
    assert failed == ["t_3"]
    assert sorted(standing(place)) == ["t_1", "t_2", "t_4", "t_5"]


@pytest.mark.thorough
def test_a_half_built_index_is_built_again(place: Prepared, cli: Cli, tmp_path: Path) -> None:
    declare(tmp_path, 3)
    assert cli("migrate", "up", APPLIED[0], "--fleet", "tenants", url=place.url).code == 0
    place.query("CREATE INDEX idx_leads_form_id ON t_2.leads (form_id)")
    place.query(
        "UPDATE pg_index SET indisvalid = false WHERE indexrelid = 't_2.idx_leads_form_id'::regclass"
    )
    assert cli("migrate", "--fleet", "tenants", url=place.url).code == 0
    assert place.query("SELECT count(*) FROM pg_index WHERE NOT indisvalid") == [(0,)]
    assert len({dump(place, schema) for schema in ("t_1", "t_2", "t_3")}) == 1


@pytest.mark.thorough
def test_another_apps_schema_is_refused_and_left(place: Prepared, cli: Cli, tmp_path: Path) -> None:
    assert cli("migrate", "--app", "whatsapp", "--schema", "t_2", url=place.url).code == 0
    place.query("CREATE SCHEMA t_3")
    place.query("CREATE TABLE t_3.users (mine int)")
    declare(tmp_path, 4)
    outcome = cli("migrate", "--fleet", "tenants", "-o", "json", url=place.url)
    found = {each["target"]: each["error"] for each in outcome.json["targets"]}
    taken = "schema_taken"
    assert (outcome.code, found) == (5, {"t_1": None, "t_2": taken, "t_3": taken, "t_4": None})
    assert place.query(
        "SELECT count(*) FROM pg_class WHERE relnamespace = 't_3'::regnamespace"
    ) == [(1,)]


def test_an_edited_revision_is_refused_for_each(
    place: Prepared, project: Project, tmp_path: Path, cli: Cli
) -> None:
    declare(tmp_path, 3)
    first = project.revision("CREATE TABLE a (n int)")
    assert cli("migrate", "--fleet", "tenants", url=place.url).code == 0
    first.write_text(first.read_text().replace("(n int)", "(n bigint)"))
    outcome = cli("migrate", "--fleet", "tenants", "-o", "json", url=place.url)
    assert outcome.code == 1
    assert {each["error"] for each in outcome.json["targets"]} == {"revision_edited"}


@pytest.fixture
def guarded(place: Prepared, cli: Cli, tmp_path: Path) -> Prepared:
    """A fleet in a protected database."""
    declare(tmp_path, 3)
    assert cli("migrate", "--fleet", "tenants", url=place.url).code == 0
    assert cli("db", "environment", "production", "--protect", url=place.url).code == 0
    return place


@pytest.mark.thorough
def test_the_guard_wants_the_fleets_name(guarded: Prepared, cli: Cli) -> None:
    down = ("migrate", "down", "--fleet", "tenants")
    before = standing(guarded)
    for more, said in (
        ((), "3 targets in 1 database"),
        (("--yes",), "--confirm tenants"),
        (("--confirm", guarded.name), "the fleet's name: --confirm tenants"),
    ):
        outcome = cli(*down, *more, url=guarded.url)
        assert (outcome.code, said in outcome.err) == (5, True), outcome.err
        assert standing(guarded) == before
    outcome = cli(*down, "--confirm", "tenants", url=guarded.url)
    assert outcome.code == 0, outcome.out
    assert set(map(tuple, standing(guarded).values())) == {(APPLIED[0],)}
    # On a protected database a migration without findings goes on, as for one target.
    assert cli("migrate", "--fleet", "tenants", url=guarded.url).code == 0
    assert standing(guarded) == before


def test_the_python_api_returns_the_same_report(place: Prepared, tmp_path: Path) -> None:
    declare(tmp_path, 3)
    fleet = leadctl.Fleet.of("tenants", url=place.url)
    report = fleet.migrate()
    assert (report.ok, report.total) == (True, 3)
    assert [each.result and each.result.current for each in report.targets] == [APPLIED[-1]] * 3
    assert all(each.result and each.result.ok for each in fleet.status().targets)


def test_a_tenant_that_is_dropped_meanwhile_does_not_come_back(
    place: Prepared, tmp_path: Path
) -> None:
    other = place.server.create()
    place.query("CREATE SCHEMA t_1; CREATE SCHEMA t_2")
    declared = f'[fleet.schemas]\nschemas = "t_*"\n[fleet.shops]\ndatabases = "{other}"\n'
    (tmp_path / "leadctl.toml").write_text(f'app = "leadconnector"\n{declared}')
    fleets = [leadctl.Fleet.of(name, url=place.url) for name in ("schemas", "shops")]
    assert [[each.name for each in fleet.targets] for fleet in fleets] == [["t_1", "t_2"], [other]]
    place.query("DROP SCHEMA t_2")
    place.server.drop(other)
    reports = [fleet.migrate() for fleet in fleets]
    assert [[each.error for each in report.targets] for report in reports] == [
        [None, "target_dropped"], ["target_dropped"]]  # fmt: skip
    assert place.query("SELECT to_regnamespace('t_2') IS NULL") == [(True,)]
    assert place.query("SELECT count(*) FROM pg_database WHERE datname = %s", other) == [(0,)]
    assert standing(place) == {"t_1": APPLIED[-1:]}


@pytest.mark.thorough
def test_what_code_in_a_revision_makes_is_recorded_of_each(
    place: Prepared, project: Project, tmp_path: Path, cli: Cli
) -> None:
    """The same text makes another comment in each schema; with a trigger, another table."""
    declare(tmp_path, 4)
    project.revision("CREATE TABLE a (n int)")
    project.revision(
        "DO $$ BEGIN EXECUTE format('COMMENT ON TABLE a IS %L', current_schema()); END $$"
    )
    assert cli("migrate", "--fleet", "tenants", url=place.url).code == 0
    assert place.query("SELECT obj_description('t_3.a'::regclass)") == [("t_3",)]
    assert cli("migrate", "drift", "--fleet", "tenants", url=place.url).code == 0
    place.query(
        "CREATE FUNCTION public.commented() RETURNS event_trigger LANGUAGE plpgsql AS $$ BEGIN"
        " IF to_regclass('b') IS NOT NULL AND obj_description(to_regclass('b')) IS NULL THEN"
        " EXECUTE format('COMMENT ON TABLE b IS %L', current_schema()); END IF; END $$"
    )
    place.query(
        "CREATE EVENT TRIGGER commented ON ddl_command_end WHEN TAG IN ('CREATE TABLE')"
        " EXECUTE FUNCTION public.commented()"
    )
    project.revision("CREATE TABLE b (n int)")
    assert cli("migrate", "--fleet", "tenants", url=place.url).code == 0
    assert place.query("SELECT obj_description('t_4.b'::regclass)") == [("t_4",)]
    assert cli("migrate", "drift", "--fleet", "tenants", url=place.url).code == 0
