"""`leadctl migrate` and its subcommands, as a user runs them."""

import json
import re
from pathlib import Path

import pytest

from tests.conftest import Cli, Prepared
from tests.processes import ROOT, python
from tests.servers import Server


def test_from_nothing_to_migrated_and_seeded(server: Server, cli: Cli) -> None:
    name = server.create()
    server.drop(name)  # migrate makes the database, too
    url = server.url(name)
    try:
        first = cli("migrate", "-o", "json", url=url)
        assert first.code == 0
        assert [step["revision"] for step in first.json["applied"]] == [
            "leadconnector_0001",
            "leadconnector_0002",
        ]
        assert first.json["current"] == "leadconnector_0002"
        assert first.json["pending"] == []
        assert cli("seed", "-o", "json", url=url).json["tables"][0] == {
            "table": "users",
            "inserted": 1,
            "unchanged": 0,
            "updated": 0,
        }
        again = cli("migrate", url=url)
        assert (again.code, again.err) == (0, "")
        assert "Nothing to do" in again.out
    finally:
        server.drop(name)


def test_a_second_seed_changes_nothing(leadconnector: Prepared, cli: Cli) -> None:
    leadconnector.query("UPDATE users SET name = 'Ada'")
    before = leadconnector.query("SELECT * FROM users, pages, webhooks, page_webhook_configs")
    again = cli("seed", "-o", "json", url=leadconnector.url).json
    assert [(table["inserted"], table["unchanged"]) for table in again["tables"]] == [(0, 1)] * 4
    after = leadconnector.query("SELECT * FROM users, pages, webhooks, page_webhook_configs")
    assert before == after


def test_seed_without_a_key_writes_nothing(leadconnector: Prepared, cli: Cli) -> None:
    leadconnector.query("TRUNCATE users CASCADE")
    outcome = cli("seed", url=leadconnector.url, env={"ENCRYPTION_KEY": ""})
    assert outcome.code == 3
    assert "no encryption key" in outcome.err
    assert "ENCRYPTION_KEY" in outcome.err
    assert leadconnector.query("SELECT count(*) FROM users") == [(0,)]


def test_seed_before_migrate_says_so(server: Server, database: str, cli: Cli) -> None:
    outcome = cli("seed", url=server.url(database))
    assert outcome.code == 1
    assert "users" in outcome.err
    assert "leadctl migrate" in outcome.err


def test_seed_names_a_fixture_that_is_in_the_way(leadconnector: Prepared, cli: Cli) -> None:
    leadconnector.query("UPDATE users SET email = 'somebody@example.com'")
    outcome = cli("seed", url=leadconnector.url)
    assert outcome.code == 1
    assert "test@example.com" in outcome.err


def test_records(leadconnector: Prepared, cli: Cli) -> None:
    rows = leadconnector.query(
        "SELECT revision, sql, checksum, applied_by, fingerprint IS NOT NULL FROM leadctl.migration"
        " ORDER BY revision"
    )
    assert [row[0] for row in rows] == ["leadconnector_0001", "leadconnector_0002"]
    assert "CREATE TABLE users" in rows[0][1]
    assert "alembic_version" not in rows[0][1] + rows[1][1]
    assert rows[1][1].count("CREATE INDEX CONCURRENTLY") == 8
    assert all(len(row[2]) == 64 and row[3].startswith("postgres, ") for row in rows)
    assert [row[4] for row in rows] == [False, True]
    ((fingerprint,),) = leadconnector.query(
        "SELECT fingerprint FROM leadctl.migration WHERE fingerprint IS NOT NULL"
    )
    assert fingerprint["encrypted"]["users.access_token"] == "leadconnector.users.access_token"
    assert {"table": "users", "key": {"email": "test@example.com"}} in fingerprint["fixtures"]
    assert "index idx_leads_form_id" in fingerprint["objects"]
    history = cli("migrate", "history", "-o", "json", url=leadconnector.url).json
    assert [entry["revision"] for entry in history["revisions"]] == [row[0] for row in rows]


def test_steps_and_targets(server: Server, database: str, cli: Cli) -> None:
    url = server.url(database)
    first = cli("migrate", "--steps", "1", "-o", "json", url=url).json
    assert first["pending"] == ["leadconnector_0002"]
    status = cli("migrate", "status", "-o", "json", url=url)
    assert status.code == 1
    assert [entry["state"] for entry in status.json["revisions"]] == ["applied", "pending"]
    assert cli("migrate", "up", "leadconnector_0002", url=url).code == 0
    assert cli("migrate", "status", url=url).code == 0
    assert cli("migrate", "up", "nonsense", url=url).code == 1


def test_status_of_what_does_not_fit(shop: Path, server: Server, database: str, cli: Cli) -> None:
    url = server.url(database)
    assert cli("migrate", url=url).code == 0
    revision = shop / "migrations" / "0001_first_tables.py"
    text = revision.read_text()
    revision.write_text(text.replace("\n", "\r\n"))
    assert cli("migrate", "status", url=url).code == 0
    revision.write_text(f"{text}\n# a comment\n".replace('"""', '"""Once: ', 1))
    assert cli("migrate", "status", url=url).code == 0
    revision.write_text(f"{text}\nlimit = 1\n")
    edited = cli("migrate", "status", "-o", "json", url=url)
    assert (edited.code, edited.json["revisions"][0]["state"]) == (1, "edited")
    revision.rename(shop / "0001.txt")
    missing = cli("migrate", "status", "-o", "json", url=url)
    assert (missing.code, missing.json["revisions"][0]["state"]) == (1, "missing")
    with server.connect(database) as connection:
        connection.execute("DELETE FROM leadctl.migration")
    unknown = cli("migrate", "status", "-o", "json", url=url)
    assert (unknown.code, unknown.json["revisions"][0]["state"]) == (1, "unknown")
    up = cli("migrate", url=url)
    assert up.code == 1
    assert "shop_0001" in up.err


def test_status_of_a_database_that_does_not_exist(server: Server, cli: Cli) -> None:
    outcome = cli("migrate", "status", "-o", "json", url=server.url("nowhere_at_all"))
    assert outcome.code == 1
    assert {entry["state"] for entry in outcome.json["revisions"]} == {"pending"}


@pytest.mark.thorough
def test_new_writes_what_the_models_have_more(
    shop: Path, server: Server, database: str, cli: Cli
) -> None:
    url = server.url(database)
    assert cli("migrate", "new", "-m", "x", url=url).code == 1  # one is pending
    assert cli("migrate", url=url).code == 0
    nothing = cli("migrate", "new", "-m", "x", "-o", "json", url=url)
    assert nothing.json["revisions"] == []
    models = shop / "shop" / "models.py"
    models.write_text(
        models.read_text().replace(
            "    email: Mapped[str]", "    phone: Mapped[str | None]\n    email: Mapped[str]"
        )
    )
    new = ("migrate", "new", "-m", "Phone numbers", "-o", "json")
    out = python("-m", "leadctl", *new, env={"DATABASE_URL": url}, cwd=shop)
    (written,) = json.loads(out)["revisions"]
    mark = written["revision"].removeprefix("shop_0002")
    assert re.fullmatch("_[0-9a-f]{4}", mark)
    assert Path(written["path"]).name == f"0002{mark}_phone_numbers.py"
    assert (
        "ALTER TABLE customers ADD COLUMN phone character varying"
        in Path(written["path"]).read_text()
    )
    applied = cli("migrate", "-o", "json", url=url).json
    assert applied["current"] == written["revision"]


@pytest.mark.thorough
def test_two_apps_in_two_schemas_do_not_see_each_other(
    shop: Path, server: Server, database: str, cli: Cli
) -> None:
    url = server.url(database)
    (shop / "shop" / "models.py").read_text()
    assert cli("migrate", "--app", "leadconnector", "--schema", "one", url=url).code == 0
    assert cli("migrate", "--app", "shop", "--schema", "two", url=url).code == 0
    assert cli("migrate", "--app", "leadconnector", "--schema", "three", url=url).code == 0
    for app, schema in (("leadconnector", "one"), ("shop", "two"), ("leadconnector", "three")):
        assert cli("seed", "--app", app, "--schema", schema, url=url).code == 0
        assert cli("migrate", "status", "--app", app, "--schema", schema, url=url).code == 0
    with server.connect(database) as connection:
        enums = connection.execute(
            "SELECT typnamespace::regnamespace::text FROM pg_type WHERE typname = 'lead_status'"
            " ORDER BY 1"
        ).fetchall()
        assert enums == [("one",), ("three",)]
        assert connection.execute(
            "SELECT count(*) FROM pg_class WHERE relnamespace = 'public'::regnamespace"
        ).fetchone() == (0,)


def test_two_apps_in_one_schema_are_refused(
    shop: Path, server: Server, database: str, cli: Cli
) -> None:
    url = server.url(database)
    assert cli("migrate", "--app", "shop", url=url).code == 0
    outcome = cli("migrate", "--app", "leadconnector", url=url)
    assert outcome.code == 5
    assert "customers" in outcome.err
    assert "--schema" in outcome.err


def test_tables_in_the_way_are_named(server: Server, database: str, cli: Cli) -> None:
    with server.connect(database) as connection:
        connection.execute("CREATE TABLE users (id int); CREATE TABLE leads (id int)")
    outcome = cli("migrate", url=server.url(database))
    assert outcome.code == 5
    assert "leads, users" in outcome.err


def test_an_interrupted_index_is_replaced(server: Server, database: str, cli: Cli) -> None:
    url = server.url(database)
    assert cli("migrate", "--steps", "1", url=url).code == 0
    with server.connect(database) as connection:
        connection.execute(
            "INSERT INTO users (id, email, facebook_id, access_token) VALUES ('1', 'a', 'a', 'a'), ('2', 'b', 'b', 'a')"
        )
        # A unique index over values that are not unique ends as an interrupted one does: invalid.
        with pytest.raises(Exception, match="could not create unique index"):
            connection.execute(
                "CREATE UNIQUE INDEX CONCURRENTLY idx_users_last_login ON users (access_token)"
            )
        connection.execute("CREATE INDEX idx_leads_form_id ON leads (form_id)")
    assert cli("migrate", url=url).code == 0
    with server.connect(database) as connection:
        rows = connection.execute(
            "SELECT indisvalid, indisunique FROM pg_index"
            " WHERE indexrelid = 'idx_users_last_login'::regclass"
        ).fetchall()
    assert rows == [(True, False)]


def test_a_revision_that_fails_leaves_nothing(
    shop: Path, server: Server, database: str, cli: Cli
) -> None:
    (shop / "migrations" / "0002_bad.py").write_text(
        '"""Bad."""\nfrom alembic import op\nrevision = "shop_0002"\ndown_revision = "shop_0001"\n'
        "def upgrade():\n    op.execute('CREATE TABLE half (id int)')\n    op.execute('CREATE TABEL x')\n"
    )
    url = server.url(database)
    outcome = cli("migrate", "-o", "json", url=url)
    assert outcome.code == 1
    assert outcome.out == ""
    error = json.loads(outcome.err.splitlines()[-1])
    assert error["code"] == "revision_failed"
    assert "shop_0002" in error["message"]
    assert "TABEL" in error["message"]
    assert "reset" not in error["hint"]
    with server.connect(database) as connection:
        assert connection.execute("SELECT to_regclass('half')").fetchone() == (None,)
    assert cli("migrate", "status", "-o", "json", url=url).json["current"] == "shop_0001"


@pytest.mark.thorough
def test_alembic_beside_leadctl(server: Server, database: str, cli: Cli) -> None:
    """Plain Alembic upgrades, is seen by leadctl, and journals as leadctl does."""

    def alembic(*arguments: str) -> str:
        ini = ROOT / "migrations" / "leadconnector" / "alembic.ini"
        env = {"DATABASE_URL": server.url(database)}
        return python("-m", "alembic", "-c", ini, *arguments, env=env)

    alembic("upgrade", "head")
    assert "leadconnector_0002 (head)" in alembic("current")
    assert "No new upgrade operations" in alembic("check")
    assert cli("migrate", "status", url=server.url(database)).code == 0
    assert "CREATE TABLE users" in alembic("upgrade", "head", "--sql")
    alembic("downgrade", "-1")
    status = cli("migrate", "status", "-o", "json", url=server.url(database))
    assert [entry["state"] for entry in status.json["revisions"]] == ["applied", "pending"]
    with server.connect(database) as connection:
        rows = connection.execute(
            "SELECT revision, fingerprint->'objects' ? 'index idx_leads_form_id'"
            " FROM leadctl.migration"
        ).fetchall()
        assert rows == [("leadconnector_0001", False)]
    alembic("downgrade", "base")
    with server.connect(database) as connection:
        assert connection.execute(
            "SELECT count(*) FROM pg_class WHERE relkind = 'r'"
            " AND relnamespace = 'public'::regnamespace AND relname <> 'alembic_version'"
        ).fetchone() == (0,)
