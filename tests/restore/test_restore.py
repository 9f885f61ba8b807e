"""`leadctl restore`: over a database, beside it, and single tables; nothing is lost on the way."""

import json
import shutil
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from psycopg import sql

from leadctl.journal.kept_names import kept_database, kept_prefix, kept_since, moved_database
from leadctl.restore.database import end_sessions, restore_lock, set_database_name
from tests.backups import (
    EVERYTHING,
    WEIRD,
    create,
    encrypted_backups,
    left_by_restores,
    plain_dump,
)
from tests.conftest import KEY, Cli, Outcome, Prepare, Prepared
from tests.servers import Server

Restore = Callable[..., Outcome]


@pytest.fixture
def env(tmp_path: Path) -> dict[str, str]:
    return encrypted_backups(tmp_path)


@pytest.fixture
def leadctl(leadconnector: Prepared, cli: Cli, env: dict[str, str]) -> Iterator[Restore]:
    def run(*arguments: str, **more: str) -> Outcome:
        return cli(*arguments, url=leadconnector.url, env=env | more)

    yield run
    for (name,) in leadconnector.query(
        "SELECT datname FROM pg_database WHERE datname LIKE current_database() || '%%'"
        " AND datname <> current_database()"
    ):
        leadconnector.server.drop(name)


@pytest.mark.thorough
def test_over_a_database(leadctl: Restore, leadconnector: Prepared) -> None:
    leadctl("backup")
    assert leadctl("backup", "verify", "latest").code == 0
    before = plain_dump(leadconnector.server, leadconnector.name)
    leadconnector.query("DELETE FROM users")
    assert leadctl("restore").code == 5
    assert leadconnector.query("SELECT count(*) FROM users") == [(0,)]
    planned = leadctl("restore", "--dry-run", "-o", "json")
    assert (planned.code, planned.json["replaces"]) == (0, True)
    assert leadconnector.query("SELECT count(*) FROM users") == [(0,)]
    with leadconnector.server.connect(leadconnector.name):  # a session is in the way
        outcome = leadctl("restore", "--yes", "-o", "json")
    assert outcome.code == 0, outcome.err
    assert "Migrations of leadconnector: 2 applied." in outcome.err
    assert leadconnector.query("SELECT count(*) FROM users") == [(1,)]
    journal = leadconnector.query("DELETE FROM leadctl.run WHERE command = 'restore' RETURNING id")
    assert len(journal) == 1
    after = plain_dump(leadconnector.server, leadconnector.name)
    assert [line for line in after if "setval" not in line] == [
        line for line in before if "setval" not in line
    ]
    previous = outcome.json["previous"]
    with leadconnector.server.connect(previous) as connection:
        assert connection.execute("SELECT count(*) FROM users").fetchone() == (0,)
    assert leadctl("health-check").code == 0


def test_into_a_new_database(leadctl: Restore, leadconnector: Prepared) -> None:
    leadctl("backup")
    new = f"{leadconnector.name}_new"
    for _ in range(2):
        outcome = leadctl("restore", "latest", "--into", new, "-o", "json")
        if outcome.code:
            break
        assert (outcome.json["database"], outcome.json["previous"]) == (new, None)
    assert (outcome.code, "exists already" in outcome.err) == (5, True)
    with leadconnector.server.connect(new) as connection:
        assert connection.execute("SELECT count(*) FROM users").fetchone() == (1,)
    assert left_by_restores(leadconnector) == []


def test_into_a_database_that_is_gone(leadctl: Restore, leadconnector: Prepared) -> None:
    leadctl("backup")
    leadconnector.server.drop(leadconnector.name)
    outcome = leadctl("restore")
    assert outcome.code == 0, outcome.err
    assert leadctl("migrate", "status").code == 0


def test_settings_and_grants_of_the_database_come_back(
    leadctl: Restore, leadconnector: Prepared
) -> None:
    name = sql.Identifier(leadconnector.name)
    with leadconnector.server.connect() as connection:
        for statement in (
            "ALTER DATABASE {} SET search_path TO \"$user\", 'odd one', public",
            "ALTER DATABASE {} SET work_mem = '8MB'",
            "ALTER DATABASE {} SET app.who = 'it''s me'",
            "REVOKE ALL ON DATABASE {} FROM PUBLIC",
            "GRANT CONNECT ON DATABASE {} TO pg_monitor",
            "COMMENT ON DATABASE {} IS 'ours'",
        ):
            connection.execute(sql.SQL(statement).format(name))
    leadctl("backup")
    new = f"{leadconnector.name}_new"
    assert leadctl("restore", "--into", new).code == 0

    def facts(database: str) -> Any:
        return leadconnector.query(
            "SELECT setconfig, datacl::text[], shobj_description(d.oid, 'pg_database')"
            " FROM pg_database d LEFT JOIN pg_db_role_setting ON setdatabase = d.oid"
            " WHERE datname = %s",
            database,
        )

    assert facts(new) == facts(leadconnector.name)


def test_a_protected_database_stays_so(leadctl: Restore, leadconnector: Prepared) -> None:
    leadctl("backup")
    leadctl("db", "environment", "production", "--protect")
    assert leadctl("restore", "--yes").code == 5
    assert leadctl("restore", "--confirm", leadconnector.name).code == 0
    assert leadconnector.query("SELECT environment, protected FROM leadctl.identity") == [
        ("production", True)
    ]


def test_what_is_missing_is_said_before_anything_is_made(
    leadctl: Restore, leadconnector: Prepared
) -> None:
    role = f"owner_{leadconnector.name}"
    leadconnector.query(f"CREATE ROLE {role}")
    leadconnector.query(f"ALTER TABLE users OWNER TO {role}")
    leadctl("backup")
    leadconnector.query("ALTER TABLE users OWNER TO postgres")
    leadconnector.query(f"DROP ROLE {role}")
    outcome = leadctl("restore", "--yes")
    assert (outcome.code, role in outcome.err) == (1, True)
    assert leadctl("restore", "--yes", "--no-owner").code == 0
    assert leadconnector.query(
        "SELECT tableowner FROM pg_tables WHERE tablename = 'users' AND schemaname = 'public'"
    ) == [("postgres",)]


def test_a_damaged_backup_is_not_restored(
    leadctl: Restore, leadconnector: Prepared, env: dict[str, str]
) -> None:
    path = Path(leadctl("backup", "-o", "json").json["path"])
    archive = path / "archive.dump.zst.age"
    data = bytearray(archive.read_bytes())
    data[len(data) // 2] ^= 1
    archive.write_bytes(data)
    outcome = leadctl("restore", "--yes")
    assert (outcome.code, "damaged" in outcome.err) == (1, True)
    assert left_by_restores(leadconnector) == []


def test_without_the_private_key(leadctl: Restore) -> None:
    leadctl("backup")
    outcome = leadctl("restore", "--yes", BACKUP_IDENTITY_FILE="")
    assert (outcome.code, "BACKUP_IDENTITY_FILE" in outcome.err) == (3, True)


@pytest.mark.parametrize("letters", ["n", "é"])
def test_databases_whose_names_begin_alike_are_kept_apart(letters: str) -> None:
    """Where a name has to be cut so that a time fits, what is left says whose it is."""
    long = f"customers_of_{letters * 50}".encode()[:62].decode(errors="ignore")
    for short in (long, long[:-1], long[:40], "shop"):
        for name in (kept_database(short), moved_database(short)):
            assert len(name.encode()) <= 63
            assert kept_since(name)
        others = {kept_prefix(other) for other in (f"{short}1", f"{short}2", f"{short}12")}
        assert len(others | {kept_prefix(short)}) == 4
        assert kept_database(short).startswith(kept_prefix(short))
    assert kept_prefix("shop") == "shop_before_"


@pytest.mark.thorough
def test_what_restores_left(leadctl: Restore, leadconnector: Prepared) -> None:
    nothing = leadctl("db", "kept")
    assert (
        nothing.code,
        "left nothing" in nothing.out or "was kept by restores of" in nothing.out,
    ) == (
        0,
        True,
    )
    leadctl("backup")
    old = leadctl("restore", "--yes", "-o", "json").json["previous"]
    schema = leadctl("restore", "--table", "users", "-o", "json").json["schema"]
    leadconnector.query("CREATE SCHEMA restored_by_me; CREATE SCHEMA restored_99999999_999999")
    found = leadctl("db", "kept", "-o", "json").json["kept"]
    assert {(each["kind"], each["name"]) for each in found} == {
        ("database", old),
        ("schema", schema),
    }
    ((size,),) = leadconnector.query("SELECT pg_database_size(%s)", old)
    assert {each["bytes"] for each in found if each["kind"] == "database"} == {size}
    assert leadctl("health-check", "--check", "kept-by-restores").code == 0
    aged = old.replace("_before_20", "_before_19")  # a century ago
    with leadconnector.server.connect() as connection:
        connection.execute(
            sql.SQL("ALTER DATABASE {} RENAME TO {}").format(*map(sql.Identifier, (old, aged)))
        )
    health = leadctl("health-check", "--check", "kept-by-restores")
    assert (health.code, "db kept" in health.out) == (2, True), health.out
    assert leadctl("db", "kept", "--drop", aged).code == 5
    for name in ("postgres", leadconnector.name, "restored_by_me", "public", f"{aged}x"):
        outcome = leadctl("db", "kept", "--drop", aged, "--drop", name, "--yes")
        assert (outcome.code, "Nothing was dropped" in outcome.err) == (1, True), outcome.err
    leadconnector.query(f"CREATE VIEW mine AS SELECT * FROM {schema}.users")
    used = leadctl("db", "kept", "--drop", schema, "--yes")
    assert (used.code, "mine" in used.err) == (5, True), used.err
    leadconnector.query("DROP VIEW mine")
    leadctl("db", "environment", "production", "--protect")
    assert leadctl("db", "kept", "--drop", aged, "--yes").code == 5
    assert aged in left_by_restores(leadconnector)
    done = leadctl("db", "kept", "--drop", aged, "--drop", schema, "--confirm", leadconnector.name)
    assert done.code == 0, done.err
    assert leadctl("db", "kept", "-o", "json").json["kept"] == []
    assert left_by_restores(leadconnector) == []


@pytest.mark.thorough
def test_a_weird_database_with_everything(
    server: Server, cli: Cli, env: dict[str, str], tmp_path: Path
) -> None:
    from urllib.parse import quote

    name = create(server, f"{WEIRD} {tmp_path.name}"[:60], EVERYTHING)
    try:
        url = server.url(quote(name))
        assert cli("db", "environment", "test", "--unprotect", url=url, env=env).code == 0
        apart_from_journal = (None, "--exclude-schema=leadctl")
        before = plain_dump(server, name, *apart_from_journal)
        assert cli("backup", url=url, env=env).code == 0
        with server.connect(name) as connection:
            connection.execute("DROP TABLE people CASCADE")
        outcome = cli("restore", "--yes", "-o", "json", url=url, env=env)
        assert outcome.code == 0, outcome.err
        assert plain_dump(server, name, *apart_from_journal) == before
        server.drop(outcome.json["previous"])
    finally:
        server.drop(name)


# --- single tables --------------------------------------------------------------------------


def test_rows_of_tables_come_back(leadctl: Restore, leadconnector: Prepared) -> None:
    leadconnector.query(
        "INSERT INTO leads (id, facebook_lead_id, page_id, form_id, form_name, lead_data)"
        " SELECT 'x' || n, 'x' || n, (SELECT min(id) FROM pages), 'f', E'tab\\t\\\\.' || n, '{}'"
        " FROM generate_series(1, 5000) n"
    )
    rows = "SELECT md5(string_agg(l::text, ',' ORDER BY id)) FROM leads l WHERE id LIKE 'x%%'"
    before = leadconnector.query(rows)
    leadctl("backup")
    leadconnector.query("DELETE FROM leads WHERE id LIKE 'x1%%'")
    leadconnector.query("UPDATE leads SET form_name = 'changed' WHERE id LIKE 'x2%%'")
    leadconnector.query(
        "INSERT INTO leads SELECT 'newer', 'newer', page_id, form_id, form_name, NULL, NULL, NULL,"
        " NULL, NULL, NULL, lead_data FROM leads LIMIT 1"
    )
    planned = leadctl("restore", "--data-only", "--table", "leads", "--dry-run", "-o", "json").json
    gone = changed = 1111
    assert [(t["rows"], t["inserted"], t["updated"]) for t in planned["tables"]] == [
        (5000, gone, changed)
    ]
    assert leadconnector.query(rows) != before
    assert leadctl("restore", "--data-only", "--table", "leads").code == 5
    outcome = leadctl("restore", "--data-only", "--table", "leads", "--yes", "-o", "json")
    assert outcome.code == 0, outcome.err
    assert outcome.json["tables"] == planned["tables"]
    assert leadconnector.query(rows) == before
    assert leadconnector.query("SELECT count(*) FROM leads WHERE id = 'newer'") == [(1,)]


def test_tables_that_refer_to_each_other(leadctl: Restore, leadconnector: Prepared) -> None:
    leadctl("backup")
    leadconnector.query("DELETE FROM users")  # and with it all the rest
    outcome = leadctl("restore", "--data-only", "--table", "pages", "--yes")
    assert (outcome.code, "add that table" in outcome.err) == (1, True)
    outcome = leadctl(
        "restore", "--data-only", "--table", "pages", "--table", "users", "--yes", "-o", "json"
    )
    assert [t["inserted"] for t in outcome.json["tables"]] == [1, 1]


def test_a_table_beside_the_live_one(leadctl: Restore, leadconnector: Prepared) -> None:
    leadctl("backup")
    whole = "SELECT md5(string_agg({0}::text, ',' ORDER BY id)) FROM {0}"
    before = [leadconnector.query(whole.format(table)) for table in ("users", "pages")]
    leadconnector.query("DELETE FROM users")  # and with it all the rest
    planned = leadctl("restore", "--table", "pages", "--table", "users", "--dry-run", "-o", "json")
    assert [(t["table"], t["rows"]) for t in planned.json["tables"]] == [
        ("public.pages", 1),
        ("public.users", 1),
    ]
    schemas = "SELECT nspname FROM pg_namespace WHERE nspname LIKE 'restored%%'"
    assert leadconnector.query(schemas) == []
    outcome = leadctl("restore", "--table", "pages", "--table", "users", "-o", "json")
    assert outcome.code == 0, outcome.err
    assert leadconnector.query(schemas) == [(outcome.json["schema"],)]
    assert leadconnector.query("SELECT count(*) FROM users") == [(0,)]
    again = leadctl("restore", "--table", "users")
    assert (again.code, "DROP SCHEMA" in again.err) == (5, True)
    for line in outcome.json["lines"]:  # users first, though pages were named first
        leadconnector.query(line)
    assert [leadconnector.query(whole.format(table)) for table in ("users", "pages")] == before
    assert leadconnector.query(schemas) == []
    assert leadctl("restore", "--table", "nothing").code == 1


def test_a_column_and_a_table_that_are_gone(leadctl: Restore, leadconnector: Prepared) -> None:
    leadctl("backup")
    email = leadconnector.query("SELECT email FROM users")
    leadconnector.query("ALTER TABLE users DROP COLUMN email; DROP TABLE leads CASCADE")
    outcome = leadctl("restore", "--table", "users", "--table", "leads", "-o", "json")
    assert outcome.code == 0, outcome.err
    leads, users = (table["scratch"] for table in outcome.json["tables"])
    assert leadconnector.query(f"SELECT email FROM {users}") == email
    assert (leads, leadconnector.query("SELECT count(*) FROM leads")) == (None, [(0,)])
    for line in outcome.json["lines"]:  # the lines work on the table as it is
        leadconnector.query(line)
    assert leadconnector.query("SELECT email FROM users") == email
    drift = leadctl("migrate", "drift", "-o", "json").json["differences"]
    assert {each["object"]: each["change"] for each in drift}["column users.email"] == "changed"


def test_a_table_without_a_key_gets_no_row_twice(leadctl: Restore, leadconnector: Prepared) -> None:
    """What is not unique, or may be NULL, is in no conflict."""
    leadconnector.query("CREATE TABLE notes (id int UNIQUE, note text)")
    leadconnector.query("INSERT INTO notes VALUES (NULL, 'a'), (NULL, 'a'), (1, 'b'), (2, 'c')")
    leadctl("backup")
    leadconnector.query("DELETE FROM notes WHERE ctid = (SELECT min(ctid) FROM notes) OR id = 2")
    outcome = leadctl("restore", "--table", "notes", "-o", "json")
    for line in outcome.json["lines"]:
        leadconnector.query(line)
    found = leadconnector.query("SELECT id, note FROM notes ORDER BY note, id")
    assert found == [(None, "a"), (None, "a"), (1, "b"), (2, "c")]


def test_a_column_that_went_on_purpose_is_not_brought_back(
    leadctl: Restore, leadconnector: Prepared
) -> None:
    leadconnector.query("ALTER TABLE users ADD COLUMN nickname text DEFAULT 'x'")
    leadctl("backup")
    leadconnector.query("DELETE FROM users")
    leadconnector.query("ALTER TABLE users DROP COLUMN nickname, ADD COLUMN plan text NOT NULL")
    assert "users requires plan" in leadctl("restore", "--table", "users").err
    for (schema,) in leadconnector.query(
        "SELECT nspname FROM pg_namespace WHERE nspname LIKE 'restored%%'"
    ):
        leadconnector.query(f"DROP SCHEMA {schema} CASCADE")
    leadconnector.query("ALTER TABLE users ALTER COLUMN plan SET DEFAULT 'free'")
    outcome = leadctl("restore", "--table", "users", "-o", "json")
    assert "users has no nickname now" in outcome.err
    (users,) = (table["scratch"] for table in outcome.json["tables"])
    assert leadconnector.query(f"SELECT nickname FROM {users}") == [("x",)]
    leadconnector.query(outcome.json["lines"][0])
    assert leadconnector.query("SELECT plan FROM users") == [("free",)]


def test_data_only_of_a_table_that_is_gone_says_how(
    leadctl: Restore, leadconnector: Prepared
) -> None:
    leadctl("backup")
    leadconnector.query("DROP TABLE webhook_deliveries")
    line = ("restore", "--data-only", "--table", "webhook_deliveries")
    for more in (("--dry-run",), ("--yes",)):
        refused = leadctl(*line, *more)
        assert (refused.code, "Leave out --data-only" in refused.err) == (1, True), refused.err
    assert leadctl("restore", "--table", "webhook_deliveries").code == 0
    assert leadctl(*line, "--yes").code == 0


def test_everything_beside(server: Server, cli: Cli, env: dict[str, str]) -> None:
    name = create(server, "by_side", EVERYTHING)
    try:
        url = server.url(name)
        made = cli("backup", "-o", "json", url=url, env=env)
        manifest = json.loads((Path(made.json["path"]) / "manifest.json").read_text())
        tables = [table["name"] for table in manifest["tables"] if "child" not in table["name"]]
        options = [option for table in tables for option in ("--table", table)]
        before = [line for line in plain_dump(server, name) if "Schema" not in line]
        outcome = cli("restore", *options, "-o", "json", url=url, env=env)
        assert outcome.code == 0, outcome.err
        with server.connect(name) as connection:
            for table in outcome.json["tables"]:
                for place in (table["table"], table["scratch"]):
                    count = f"SELECT count(*) FROM ONLY {place}"
                    assert connection.execute(sql.SQL(count)).fetchone() == (table["rows"],)
            connection.execute(sql.SQL(outcome.json["lines"][-1]))
        inherits = cli("restore", "--table", "child", url=url, env=env)
        assert (inherits.code, "--into" in inherits.err) == (1, True)
        assert [line for line in plain_dump(server, name) if "Schema" not in line] == before
    finally:
        server.drop(name)


def test_a_disk_that_is_too_small(
    leadctl: Restore,
    leadconnector: Prepared,
    cli: Cli,
    env: dict[str, str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    leadctl("backup")
    usage = shutil.disk_usage("/")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=5 * 2**20))
    # What a disk has left is known where the server is on this machine.
    info = leadconnector.server
    url = f"postgresql:///{leadconnector.name}?host={info.socket}&port={info.port}&user=postgres"
    for arguments in (["--dry-run"], ["--yes"]):
        outcome = cli("restore", *arguments, url=url, env=env)
        assert (outcome.code, "has 5.2 MB left" in outcome.err) == (1, True), outcome.err
    assert left_by_restores(leadconnector) == []


def test_triggers_rest_and_wake_again(prepared: Prepare, cli: Cli, env: dict[str, str]) -> None:
    cleack = prepared("cleack")
    history = "SELECT count(*) FROM draw_history"
    states = "SELECT tgname, tgenabled FROM pg_trigger WHERE NOT tgisinternal ORDER BY 1"
    before, enabled = cleack.query(history), cleack.query(states)
    assert before != [(0,)]
    assert cli("backup", "--app", "cleack", url=cleack.url, env=env).code == 0
    cleack.query("SET session_replication_role = replica; DELETE FROM draws")
    outcome = cli(
        *("restore", "--app", "cleack", "--data-only", "--table", "draws", "--yes"),
        url=cleack.url,
        env=env,
    )
    assert outcome.code == 0, outcome.err
    assert (cleack.query(history), cleack.query(states)) == (before, enabled)


@pytest.mark.thorough
def test_everything_by_table(server: Server, cli: Cli, env: dict[str, str]) -> None:
    name = create(server, "by_table", EVERYTHING)
    try:
        before = [line for line in plain_dump(server, name) if "Schema" not in line]
        url = server.url(name)
        cli("backup", url=url, env=env)
        cli("db", "environment", "dev", "--unprotect", url=url, env=env)
        with server.connect(name) as connection:
            connection.execute('DELETE FROM "odd Schema"."Tä""ble"; UPDATE people SET name = name')
        for table in ("people", '"odd Schema"."Tä""ble"'):
            outcome = cli("restore", "--data-only", "--table", table, "--yes", url=url, env=env)
            assert outcome.code == 0, outcome.err
        for table in ("events", "late", "nothing"):  # without a key, or not there
            outcome = cli("restore", "--data-only", "--table", table, "--yes", url=url, env=env)
            assert outcome.code == 1, outcome.err
            assert "Hint" in outcome.err
        with server.connect(name) as connection:
            connection.execute("DROP SCHEMA leadctl CASCADE")
        after = [line for line in plain_dump(server, name) if "Schema" not in line]
        assert after == before
    finally:
        server.drop(name)


def test_all_rows_into_a_fresh_schema(prepared: Prepare, cli: Cli, env: dict[str, str]) -> None:
    app = prepared("viralmommy")
    cli("seed", "--app", "viralmommy", "--bulk", "2000", "--yes", url=app.url, env=env)
    app.query("CREATE TABLE numbered (id serial PRIMARY KEY, self int REFERENCES numbered)")
    app.query("INSERT INTO numbered (self) SELECT n FROM generate_series(1, 50) n")
    assert cli("backup", "--app", "viralmommy", url=app.url, env=env).code == 0
    tables = [
        name
        for (name,) in app.query(
            "SELECT quote_ident(tablename) FROM pg_tables WHERE schemaname = 'public'"
        )
    ]
    content = {table: app.query(f"SELECT md5(string_agg(t::text, '' ORDER BY t::text)) FROM {table} t")
               for table in tables}  # fmt: skip
    app.query(f"TRUNCATE {', '.join(t for t in tables if t != 'alembic_version')} RESTART IDENTITY")
    assert cli("restore", "--data-only", "--app", "viralmommy", url=app.url, env=env).code == 5
    outcome = cli("restore", "--data-only", "--yes", "--app", "viralmommy", url=app.url, env=env)
    assert outcome.code == 0, outcome.err
    for table, before in content.items():
        after = app.query(f"SELECT md5(string_agg(t::text, '' ORDER BY t::text)) FROM {table} t")
        assert after == before, table
    assert app.query("INSERT INTO numbered DEFAULT VALUES RETURNING id") == [(51,)]


def test_the_schema_alone(leadctl: Restore, leadconnector: Prepared) -> None:
    leadctl("backup")
    new = f"{leadconnector.name}_new"
    assert leadctl("restore", "--into", new, "--schema-only", "--jobs", "1").code == 0
    with leadconnector.server.connect(new) as connection:
        assert connection.execute("SELECT count(*) FROM users").fetchone() == (0,)
        revision = connection.execute("SELECT version_num FROM alembic_version").fetchone()
    assert revision in leadconnector.query("SELECT version_num FROM alembic_version")

    def schema(name: str) -> list[str]:
        lines = plain_dump(leadconnector.server, name)
        return [line for line in lines if line.startswith(("CREATE", "ALTER", "    ADD"))]

    assert schema(new) == schema(leadconnector.name)


@pytest.mark.thorough
def test_the_old_database_may_go(leadctl: Restore, leadconnector: Prepared) -> None:
    leadctl("backup")
    kept = leadctl("restore", "--yes", "-o", "json").json["previous"]
    outcome = leadctl("restore", "--yes", "--drop-old", "-o", "json")
    assert (outcome.code, outcome.json["previous"]) == (0, None)
    assert kept in outcome.err
    assert left_by_restores(leadconnector) == [kept]


def test_identity_and_journal_survive(leadctl: Restore, leadconnector: Prepared) -> None:
    leadctl("backup")
    leadctl("db", "environment", "staging")
    leadctl("migrate", "--steps", "1")
    leadconnector.query(
        "INSERT INTO leadctl.run (command, run_by, session, session_start) VALUES ('x', 'y', 1, now())"
    )
    identity = leadconnector.query("SELECT * FROM leadctl.identity")
    runs = leadconnector.query("SELECT * FROM leadctl.run ORDER BY id")
    assert leadctl("restore", "--yes").code == 0
    assert leadconnector.query("SELECT * FROM leadctl.identity") == identity
    found = leadconnector.query("SELECT * FROM leadctl.run ORDER BY id")
    assert (found[:-1], found[-1][1]) == (runs, "restore")


def test_a_dry_run_is_the_whole_preflight(
    leadctl: Restore, leadconnector: Prepared, env: dict[str, str]
) -> None:
    path = Path(leadctl("backup", "-o", "json").json["path"])
    assert leadctl("restore", "--dry-run").code == 0
    assert leadctl("restore", "--dry-run", BACKUP_IDENTITY_FILE="").code == 3
    (path / "globals.sql.zst.age").write_bytes(b"")
    outcome = leadctl("restore", "--dry-run")
    assert (outcome.code, "damaged" in outcome.err) == (1, True)
    assert left_by_restores(leadconnector) == []
    assert env


def test_flags_that_exclude_each_other(leadctl: Restore) -> None:
    leadctl("backup")
    for arguments in (
        ["--table", "users", "--into", "x"],
        ["--table", "users", "--schema-only"],
        ["--data-only", "--schema-only"],
        ["--data-only", "--no-owner"],
        ["--jobs", "0"],
    ):
        assert leadctl("restore", *arguments).code == 2, arguments


def test_secrets_show_nowhere(leadctl: Restore, env: dict[str, str]) -> None:
    private = Path(env["BACKUP_IDENTITY_FILE"]).read_text().splitlines()[1]
    for arguments in (["backup"], ["restore", "--yes", "-vv"], ["history", "-o", "json"]):
        outcome = leadctl(*arguments)
        assert outcome.code == 0, outcome.err
        for secret in (KEY, private, "correct horse"):
            assert secret not in outcome.out + outcome.err
    assert json.dumps(env)


def test_all_sessions_of_a_database_end_at_once(leadconnector: Prepared) -> None:
    """They are gone when that is said, so that the server renames it without waiting."""
    server, name = leadconnector.server, leadconnector.name
    renamed = f"{name}_renamed"
    others = [server.connect(name) for _ in range(9)]
    try:
        with server.connect("postgres") as connection, connection.transaction():
            assert end_sessions(connection, name) == len(others)
            with server.connect("postgres") as witness:
                left = "SELECT count(*) FROM pg_stat_activity WHERE datname = %s"
                assert witness.execute(left, (name,)).fetchall() == [(0,)]
            set_database_name(connection, name, renamed)
            set_database_name(connection, renamed, name)
            assert end_sessions(connection, name) == 0
    finally:
        for other in others:
            other.close()


def test_a_lock_that_is_just_let_go_is_no_other_run(leadconnector: Prepared) -> None:
    """The server notices the end of a session a moment after it."""
    server, name = leadconnector.server, leadconnector.name
    held = server.connect("postgres")
    with server.connect("postgres") as connection, restore_lock(held, name):
        threading.Timer(0.1, held.close).start()
        with restore_lock(connection, name):
            assert held.closed
