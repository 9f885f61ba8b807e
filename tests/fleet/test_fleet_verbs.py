"""Every verb that takes --fleet, on the tenants of one database and on several databases."""

from collections.abc import Callable
from pathlib import Path

import psycopg
import pytest

import leadctl
from leadctl.crypto import Key
from leadctl.errors import NotConfirmed, Protected
from leadctl.postgres.connect import connect
from leadctl.postgres.sessions import Sessions, reused
from tests.backups import encrypted_backups
from tests.conftest import KEY, Cli, Prepared
from tests.fleet.test_fleet_migrate import declare, standing
from tests.servers import Server

Tenants = Callable[[int], Prepared]


@pytest.fixture
def tenants(server: Server, database: str, cli: Cli, tmp_path: Path) -> Tenants:
    """Make a database of so many tenants, migrated and seeded."""

    def make(count: int) -> Prepared:
        declare(tmp_path, count)
        place = Prepared(database, server.url(database), server)
        assert cli("migrate", "--fleet", "tenants", url=place.url).code == 0
        assert cli("seed", "--fleet", "tenants", url=place.url).code == 0
        return place

    return make


@pytest.mark.thorough
def test_each_tenant_is_seeded_once(tenants: Tenants, cli: Cli) -> None:
    place = tenants(3)
    users = "SELECT count(*) FROM t_{}.users"
    before = [place.query(users.format(number)) for number in (1, 2, 3)]
    assert len(set(map(str, before))) == 1
    assert before[0] != [(0,)]
    again = cli("seed", "--fleet", "tenants", "-o", "json", url=place.url)
    assert [sum(t["inserted"] for t in each["result"]["tables"]) for each in again.json["targets"]] == [
        0, 0, 0
    ]  # fmt: skip
    assert [place.query(users.format(number)) for number in (1, 2, 3)] == before


@pytest.mark.thorough
def test_each_tenant_is_replanted_with_one_consent(tenants: Tenants, cli: Cli) -> None:
    place = tenants(2)
    users = "SELECT count(*) FROM t_{}.users"
    seeded = [place.query(users.format(number)) for number in (1, 2)]
    for number in (1, 2):
        place.query(
            f"INSERT INTO t_{number}.users (id, email, facebook_id, access_token)"
            " VALUES ('u', 'u@x', 'f', 't')"
        )
    refused = cli("seed", "--fleet", "tenants", "--replant", url=place.url)
    assert refused.code == 5, refused.err
    assert [place.query(users.format(number)) for number in (1, 2)] != seeded
    done = cli("seed", "--fleet", "tenants", "--replant", "--yes", url=place.url)
    assert done.code == 0, done.err
    assert [place.query(users.format(number)) for number in (1, 2)] == seeded
    place.query("UPDATE leadctl.identity SET protected = true")
    assert cli("seed", "--fleet", "tenants", "--replant", "--yes", url=place.url).code == 5


@pytest.mark.thorough
def test_the_health_of_a_fleet(tenants: Tenants, cli: Cli) -> None:
    place = tenants(3)
    check = ("health-check", "--fleet", "tenants", "--check", "migrations", "--check", "indexes")
    assert cli(*check, "-o", "nagios", url=place.url).out == (
        "LEADCTL OK - tenants: 3 ok | critical=0 warning=0 unknown=0 ok=3\n"
    )
    place.query("DROP INDEX t_2.idx_leads_form_id")
    place.query("DELETE FROM t_3.alembic_version")
    found = cli(*check, "-o", "nagios", url=place.url)
    assert found.code == 2
    assert "t_3: migrations" in found.out
    metrics = cli(*check, "-o", "prometheus", url=place.url).out.splitlines()
    assert 'leadctl_fleet_targets{fleet="tenants",state="done"} 1' in metrics
    assert sum(line.startswith("leadctl_health_status{") for line in metrics) == 3
    assert len([line for line in metrics if line.startswith("# TYPE leadctl_check_status")]) == 1
    report = cli(*check, "-o", "json", url=place.url)
    by_target = {each["target"]: each["result"]["status"] for each in report.json["targets"]}
    assert by_target["t_1"] == "ok"
    assert by_target["t_3"] == "critical"
    for option in ("--list", "--fix"):
        assert cli("health-check", "--fleet", "tenants", option, url=place.url).code == 3


@pytest.mark.thorough
def test_what_a_check_of_the_database_finds_is_said_of_each(tenants: Tenants, cli: Cli) -> None:
    place = tenants(3)
    with place.server.connect(place.name) as other:
        other.execute("BEGIN")
        other.execute("SELECT count(*) FROM t_1.users")
        alone = cli("health-check", "-o", "json", "--schema", "t_2", url=place.url).json
        fleet = cli("health-check", "-o", "json", "--fleet", "tenants", url=place.url).json
    names = {check["name"]: check["status"] for check in alone["checks"]}
    for each in fleet["targets"]:
        found = {check["name"]: check["status"] for check in each["result"]["checks"]}
        assert found.keys() == names.keys()


_BROKEN = (
    "DROP TABLE t_1.webhook_deliveries",
    "ALTER TABLE t_2.leads ADD COLUMN hand text",
    "DROP INDEX t_3.ix_leads_page_id",
    "ALTER TABLE t_4.leads ADD CONSTRAINT late CHECK (id <> 'x') NOT VALID",
    "CREATE INDEX twice ON t_5.leads (page_id)",
    "CREATE SEQUENCE t_6.numbers MAXVALUE 100; SELECT setval('t_6.numbers', 99)",
    "UPDATE t_7.users SET access_token = 'plain'",
    "DELETE FROM t_8.page_webhook_configs; DELETE FROM t_8.webhooks",
    "DROP SCHEMA t_9 CASCADE",
)
_OF_SCHEMA = {
    "schema", "migrations", "drift", "seed", "indexes", "encryption", "invalid-indexes",
    "duplicate-indexes", "missing-indexes", "unvalidated-constraints", "narrow-foreign-keys",
    "sequences", "bloat",
}  # fmt: skip


@pytest.mark.thorough
def test_what_is_read_of_many_tenants_at_once_is_what_is_read_of_each(
    tenants: Tenants, cli: Cli
) -> None:
    place = tenants(11)
    for statement in _BROKEN:
        place.query(f"DO $do$ BEGIN EXECUTE $sql${statement}$sql$; END $do$")
    place.query("CREATE VIEW t_10.seen AS SELECT id, status FROM t_10.leads")
    fleet = cli("health-check", "-o", "json", "--fleet", "tenants", url=place.url).json
    together = {each["schema"]: each["result"]["checks"] for each in fleet["targets"]}
    problems = set()
    for schema, checks in together.items():
        alone = cli("health-check", "-o", "json", "--schema", schema, url=place.url).json["checks"]
        assert [each for each in checks if each["name"] in _OF_SCHEMA] == [
            each for each in alone if each["name"] in _OF_SCHEMA
        ]
        problems |= {
            (schema, each["name"])
            for each in checks
            if each["name"] in _OF_SCHEMA and each["status"] in {"warning", "critical"}
        }
    assert {schema for schema, _ in problems} == together.keys() - {"t_10", "t_11"}
    assert {name for _, name in problems} >= {
        "schema", "drift", "indexes", "unvalidated-constraints", "duplicate-indexes", "sequences",
        "encryption", "seed", "migrations",
    }  # fmt: skip


@pytest.mark.thorough
def test_a_tenant_whose_table_is_locked_holds_up_no_other_check(tenants: Tenants, cli: Cli) -> None:
    place = tenants(6)
    place.query("CREATE VIEW t_5.seen AS SELECT id FROM t_5.leads")
    with place.server.connect(place.name) as other:
        other.execute("BEGIN")
        other.execute("LOCK TABLE t_5.leads IN ACCESS EXCLUSIVE MODE")
        wanted = ("--check", "drift", "--check", "schema", "--timeout", "4s")
        found = cli("health-check", *wanted, "-o", "json", "--fleet", "tenants", url=place.url)
    drift = {
        each["schema"]: next(
            check["status"] for check in each["result"]["checks"] if check["name"] == "drift"
        )
        for each in found.json["targets"]
    }
    assert drift == {f"t_{n}": "critical" if n == 5 else "ok" for n in range(1, 7)}


def test_metrics_in_a_file_are_of_the_whole_fleet(
    tenants: Tenants, cli: Cli, tmp_path: Path
) -> None:
    place = tenants(2)
    file = tmp_path / "leadctl.prom"
    check = ("health-check", "--fleet", "tenants", "--check", "migrations", "--to", str(file))
    assert cli(*check, url=place.url).code == 3
    outcome = cli(*check, "-o", "prometheus", url=place.url)
    assert (outcome.code, outcome.out) == (0, "")
    lines = file.read_text().splitlines()
    assert 'leadctl_fleet_targets{fleet="tenants",state="done"} 2' in lines
    assert sum(line.startswith("leadctl_health_status{") for line in lines) == 2


def test_keys_of_each_tenant_are_rotated(tenants: Tenants, cli: Cli) -> None:
    place = tenants(2)
    new = Key.from_hex("new", "ab" * 32)
    env = {"ENCRYPTION_KEY": "", "ENCRYPTION_KEYS": f"new:{'ab' * 32},old:{KEY}"}
    values = (
        "SELECT split_part(access_token, '.', 2) FROM t_1.users"
        " UNION ALL SELECT split_part(access_token, '.', 2) FROM t_2.pages"
    )
    before = place.query(values)
    assert (new.fingerprint,) not in before
    assert len(before) > 1
    rotated = cli("keys", "rotate", "--fleet", "tenants", "-o", "json", url=place.url, env=env)
    assert (rotated.code, rotated.json["counts"]["done"]) == (0, 2), rotated.err
    assert place.query(values) == [(new.fingerprint,)] * len(before)
    old = {"ENCRYPTION_KEY": KEY, "ENCRYPTION_KEYS": ""}
    status = cli("keys", "status", "--fleet", "tenants", "-o", "json", url=place.url, env=old)
    assert status.json["counts"]["no"] == 2


@pytest.mark.thorough
def test_databases_as_tenants(server: Server, database: str, cli: Cli, tmp_path: Path) -> None:
    others = [f"{database}_{letter}" for letter in "ab"]
    text = f'app = "leadconnector"\n[fleet.tenants]\ndatabases = "{database}_*"\n'
    (tmp_path / "leadctl.toml").write_text(text)
    url, env = server.url(database), encrypted_backups(tmp_path) | {"ENCRYPTION_KEY": KEY}
    with server.connect() as connection:
        for name in others:
            connection.execute(f"CREATE DATABASE {name}")

    def done(*arguments: str, codes: tuple[int, ...] = (0,)) -> None:
        found = cli(*arguments, "--fleet", "tenants", "-o", "json", url=url, env=env)
        assert found.code in codes, (arguments, found.err, found.out)
        assert [each["database"] for each in found.json["targets"]] == others
        assert found.json["counts"]["failed"] == 0

    try:
        done("migrate")
        for verb in (
            ("migrate",), ("migrate", "status"), ("migrate", "--plan"), ("migrate", "check"),
            ("migrate", "drift"), ("seed",), ("stats",), ("inspect", "tables"),
            ("cleanup", "--dry-run"), ("keys", "status"), ("keys", "rotate"), ("backup",),
            ("backup", "verify", "latest"), ("history",),
        ):  # fmt: skip
            done(*verb)
        done("health-check", codes=(0, 1))
        done("migrate", "down", "--yes")
        done("reset", "--yes")
        for name in others:
            with server.connect(name) as connection:
                assert connection.execute("TABLE alembic_version").fetchall() == [
                    ("leadconnector_0002",)
                ]
        with server.connect(database) as connection:
            assert connection.execute("SELECT to_regclass('users')").fetchone() == (None,)
    finally:
        for name in others:
            server.drop(name)


def test_rows_are_deleted_in_each_tenant_by_its_rules(tenants: Tenants, cli: Cli) -> None:
    place = tenants(2)
    for number in (1, 2):
        place.query(f"UPDATE t_{number}.leads SET status = 'ARCHIVED'")
    before = place.query("SELECT count(*) FROM t_1.leads")
    preview = cli("cleanup", "--fleet", "tenants", "--dry-run", "-o", "json", url=place.url)
    assert [each["state"] for each in preview.json["targets"]] == ["done", "done"]
    assert place.query("SELECT count(*) FROM t_1.leads") == before
    outcome = cli("cleanup", "--fleet", "tenants", "-o", "json", url=place.url)
    assert outcome.code == 0, outcome.out
    assert {each["result"]["schema"] for each in outcome.json["targets"]} == {"t_1", "t_2"}
    runs = place.query(
        "SELECT schema FROM leadctl.run WHERE command = 'cleanup' AND summary->'fleet' ? 'run' ORDER BY 1"
    )
    assert runs == [("t_1",), ("t_2",)]


def test_reports_of_each_tenant(tenants: Tenants, cli: Cli) -> None:
    place = tenants(2)
    stats = cli("stats", "--fleet", "tenants", "-o", "json", url=place.url).json
    rows = [
        {table["name"]: table["rows"] for table in each["result"]["tables"]}
        for each in stats["targets"]
    ]
    assert rows[0] == rows[1]
    assert rows[0]["users"] == place.query("SELECT count(*) FROM t_1.users")[0][0]
    keys = cli("keys", "status", "--fleet", "tenants", "-o", "json", url=place.url)
    assert (keys.code, [each["result"]["ok"] for each in keys.json["targets"]]) == (0, [True, True])
    found = cli("inspect", "tables", "--fleet", "tenants", "-o", "json", url=place.url).json
    assert [len(each["result"]["reports"][0]["rows"]) for each in found["targets"]] == [7, 7]
    # One journal is one database's, however many tenants it has.
    history = cli("history", "--fleet", "tenants", "-o", "json", url=place.url).json
    assert [(each["target"], each["schema"]) for each in history["targets"]] == [(place.name, None)]
    assert cli("stats", "--fleet", "tenants", "-o", "csv", url=place.url).code == 2


@pytest.mark.thorough
def test_reset_wants_consent_and_resets_each(tenants: Tenants, cli: Cli) -> None:
    place = tenants(2)
    place.query("CREATE TABLE t_1.mine (n int)")
    refused = cli("reset", "--fleet", "tenants", url=place.url)
    assert (refused.code, "2 targets in 1 database" in refused.err) == (5, True)
    place.query("DELETE FROM t_1.leads")
    assert cli("reset", "--fleet", "tenants", "--yes", url=place.url).code == 0
    assert standing(place) == {f"t_{n}": ["leadconnector_0002"] for n in (1, 2)}
    assert place.query("SELECT to_regclass('t_1.mine') IS NOT NULL") == [(True,)]


def test_each_database_has_backups_of_its_own(
    server: Server, database: str, cli: Cli, tmp_path: Path
) -> None:
    other = server.create()
    try:
        envs = {"eu": server.url(database), "us": server.url(other)}
        text = "\n".join(f'[env.{name}]\nurl = "{url}"' for name, url in envs.items())
        fleet = '[fleet.regions]\nenvs = ["eu", "us"]'
        (tmp_path / "leadctl.toml").write_text(f'app = "leadconnector"\n{fleet}\n{text}\n')
        assert cli("migrate", "--fleet", "regions").code == 0
        made = cli("backup", "--to", "kept", "--fleet", "regions", "-o", "json")
        assert (made.code, made.json["counts"]["done"]) == (0, 2), made.out
        folders = {path.name for path in (tmp_path / "kept").iterdir()}
        assert folders == {"eu", "us"}
        checked = cli(
            "backup", "verify", "latest", "--from", "kept", "--fleet", "regions", "-o", "json"
        )
        assert checked.code == 0
        both = {each["target"]: each["result"]["id"] for each in checked.json["targets"]}
        assert both == {each["target"]: each["result"]["id"] for each in made.json["targets"]}
        one = ("--fleet", "regions", "--only", "us", "-o", "json")
        again = cli("backup", "--to", "kept", *one).json["targets"][0]["result"]
        assert Path(again["path"]).parent == tmp_path / "kept" / "us"
        checked = cli("backup", "verify", "latest", "--from", "kept", *one)
        assert checked.json["targets"][0]["result"]["id"] == again["id"]
    finally:
        server.drop(other)


def test_a_session_that_is_used_again_is_as_new(leadconnector: Prepared) -> None:
    target = leadconnector.target()
    sessions = Sessions(3)
    leadconnector.query("CREATE ROLE r_" + leadconnector.name)
    try:
        with reused(sessions):
            with connect(target, "first", rows=True) as first:
                pid = first.info.backend_pid
                first.execute("SELECT pg_advisory_lock(1)")
                first.execute("CREATE TEMP TABLE left_over (n int)")
                first.execute(f"SET ROLE r_{leadconnector.name}")
                first.execute("SET statement_timeout = 7")
                first.execute("BEGIN")
            assert leadconnector.query(
                "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND pid = %s", pid
            ) == [(0,)]
            with pytest.raises(psycopg.OperationalError):
                first.execute("SELECT 1")
            with connect(target, "second") as second:
                assert second.info.backend_pid == pid
                found = second.execute(
                    "SELECT current_user, to_regclass('pg_temp.left_over'),"
                    " current_setting('statement_timeout'), current_setting('application_name')"
                    " LIKE 'leadctl second%'"
                ).fetchone()
                assert found == ("postgres", None, "0", True)
                with connect(target, "third") as third:
                    assert third.info.backend_pid != pid
            # One that was ended meanwhile is not handed out.
            leadconnector.query("SELECT pg_terminate_backend(%s)", pid)
            with connect(target, "fourth") as fourth:
                assert fourth.execute("SELECT 1").fetchone() == (1,)
    finally:
        sessions.close()
        leadconnector.query("DROP ROLE r_" + leadconnector.name)


@pytest.mark.thorough
def test_the_python_api_has_every_verb(tenants: Tenants, monkeypatch: pytest.MonkeyPatch) -> None:
    place = tenants(2)
    monkeypatch.setenv("ENCRYPTION_KEY", KEY)
    fleet = leadctl.Fleet.of("tenants", url=place.url)
    for verb in (
        fleet.status, fleet.plan, fleet.check, fleet.drift, fleet.migrate, fleet.seed, fleet.cleanup,
        fleet.stats, fleet.keys, fleet.history, fleet.backup, fleet.verify_backup,
    ):  # fmt: skip
        report = verb()
        assert report.ok, (report.verb, [each.message for each in report.bad])
    assert fleet.health("migrations").ok
    assert fleet.inspect("tables").ok
    with pytest.raises(NotConfirmed):
        fleet.down()
    with pytest.raises(Protected):
        fleet.reset(confirm=place.name)
    assert fleet.down(confirm="tenants").ok
    assert set(map(tuple, standing(place).values())) == {("leadconnector_0001",)}
    assert fleet.reset(confirm="tenants").ok
