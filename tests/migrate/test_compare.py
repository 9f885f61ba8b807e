"""check, drift and diff: what differs between models, migrations and databases."""

import re
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from psycopg import sql

from leadctl.sql.lexer import split
from tests.backups import EVERYTHING
from tests.conftest import Cli, Prepared
from tests.history import Project
from tests.migrate.test_pairs import psql
from tests.servers import Server

BY_HAND = {
    "ALTER TABLE leads ALTER form_id TYPE varchar(20)": ("changed", "column leads.form_id"),
    "DROP INDEX idx_leads_form_id": ("missing", "index idx_leads_form_id"),
    "ALTER TYPE lead_status ADD VALUE 'LOST'": ("changed", "enum lead_status"),
    "CREATE VIEW open_leads AS SELECT id FROM leads": ("extra", "view open_leads"),
}


def test_all_three_agree(leadconnector: Prepared, cli: Cli) -> None:
    outcome = cli("migrate", "check", url=leadconnector.url)
    assert outcome.code == 0, outcome.out + outcome.err
    assert "agree" in outcome.out
    assert cli("migrate", "drift", url=leadconnector.url).code == 0
    for sides in ([], ["record", "database"], ["leadconnector_0002", "database"]):
        outcome = cli("migrate", "diff", *sides, url=leadconnector.url)
        assert outcome.code == 0, outcome.out + outcome.err


def test_a_number_of_the_servers_own_is_no_difference(leadconnector: Prepared, cli: Cli) -> None:
    """Minor versions of November 2026 keep `pg_attver` among each column's options."""
    attver = (
        "UPDATE pg_attribute SET attoptions = ARRAY['pg_attver=' || (%s + attnum)] WHERE attnum > 0"
    )
    user = " AND attrelid IN (SELECT oid FROM pg_class WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace)"
    with leadconnector.server.connect(leadconnector.name) as session:
        session.execute("SET allow_system_table_mods = on")
        session.execute(attver % 100 + user)
    for line in (["check"], ["drift"]):
        outcome = cli("migrate", *line, url=leadconnector.url)
        assert outcome.code == 0, outcome.out
    # What was recorded when such a number still counted is none, either.
    leadconnector.query(
        """UPDATE leadctl.migration SET fingerprint = jsonb_set(fingerprint,
            '{objects,property pg_attver of leads.id}', '{"do": "x"}') WHERE fingerprint IS NOT NULL"""
    )
    assert cli("migrate", "drift", url=leadconnector.url).code == 0


@pytest.mark.parametrize("statement", BY_HAND)
def test_what_was_done_by_hand_is_named(leadconnector: Prepared, cli: Cli, statement: str) -> None:
    leadconnector.query(statement)
    outcome = cli("migrate", "drift", "-o", "json", url=leadconnector.url)
    assert outcome.code == 1
    found = outcome.json
    assert found["revision"] == "leadconnector_0002"
    assert found["since"]
    assert [(each["change"], each["object"]) for each in found["differences"]] == [
        BY_HAND[statement]
    ]
    shown = cli("migrate", "drift", url=leadconnector.url)
    assert BY_HAND[statement][1].split()[1] in shown.out
    assert cli("migrate", "check", "-o", "json", url=leadconnector.url).json["drift"]


def test_two_revisions_and_two_databases(
    leadconnector: Prepared, server: Server, database: str, cli: Cli, tmp_path: Path
) -> None:
    url = leadconnector.url
    outcome = cli(
        "migrate", "diff", "leadconnector_0001", "leadconnector_0002", "-o", "json", url=url
    )
    assert outcome.code == 1
    assert {each["change"] for each in outcome.json["differences"]} == {"extra"}
    assert len(outcome.json["differences"]) == 8
    (tmp_path / "leadctl.toml").write_text(f'[env.other]\nurl = "{server.url(database)}"\n')
    for other in (server.url(database), "other"):
        outcome = cli("migrate", "diff", "database", other, "-o", "json", url=url)
        assert {each["change"] for each in outcome.json["differences"]} == {"missing"}
    assert cli("migrate", "diff", "other", "base", url=url).code == 0
    assert cli("migrate", "diff", "database", "nothing", url=url).code == 3
    assert cli("migrate", "diff", "base", "base", url=url).code == 2


@pytest.mark.thorough
def test_sql_that_turns_one_database_into_another(server: Server, database: str, cli: Cli) -> None:
    other = server.create()
    try:
        with server.connect(other) as connection:
            for statement in split(EVERYTHING):
                connection.execute(statement)
        url = server.url(database)
        sides = ("migrate", "diff", "database", server.url(other))
        written = cli(*sides, "-o", "sql", url=url)
        assert written.code == 1, written.err
        psql(url, written.out)
        assert cli(*sides, url=url).code == 0
        back = cli("migrate", "diff", server.url(other), "base", "-o", "sql", url=url)
        assert (
            '-- Loses the tables "User Accounts", a, a2, b, cache, child, closures, events,'
            " events_2024, events_rest, late, logs, odd, order_items, orders, parent, people,"
            " scratch, shipments, visits, visits_2026 with all rows."
        ) in back.out
        psql(url, back.out)
        shown = cli(*sides, "-o", "json", url=url)
        assert shown.code == 1
        password = server.url(other).partition("@")[0].rpartition(":")[2]
        assert password not in shown.out + shown.err + cli(*sides, url=url).out
    finally:
        server.drop(other)


def test_pending_revisions_are_run_in_a_scratch_schema(
    project: Project, server: Server, database: str, cli: Cli
) -> None:
    url = server.url(database)
    project.revision("CREATE TABLE unused (id bigserial PRIMARY KEY)")
    project.revision("CREATE INDEX CONCURRENTLY i ON unused (id)", concurrently=True)
    outcome = cli("migrate", "check", "-o", "json", url=url)
    assert outcome.code == 1, outcome.err
    assert outcome.json["pending"] == ["own_0001", "own_0002"]
    assert "column unused.id" in {each["object"] for each in outcome.json["models"]}
    with server.connect(database) as connection:
        assert connection.execute(
            "SELECT count(*) FROM pg_namespace WHERE nspname LIKE 'leadctl%'"
        ).fetchone() == (0,)


def test_drift_of_nothing(server: Server, database: str, cli: Cli) -> None:
    outcome = cli("migrate", "drift", url=server.url(database))
    assert outcome.code == 1
    assert "Nothing of leadconnector was applied" in outcome.err


@pytest.fixture
def other(server: Server, database: str, tmp_path: Path) -> Iterator[tuple[str, str]]:
    """Two databases of no app's: their URLs."""
    (tmp_path / "leadctl.toml").write_text('app = "t"\n[apps.t]\nmigrations = "db"\n')
    (tmp_path / "db").mkdir()
    name = server.create()
    yield server.url(database), server.url(name)
    server.drop(name)


def test_what_is_renamed_keeps_its_rows(other: tuple[str, str], cli: Cli) -> None:
    before, after = other
    assert psql(before, "CREATE TABLE t (old int); INSERT INTO t VALUES (7)") == ""
    assert psql(after, "CREATE TABLE t (new int)") == ""
    diff = ("migrate", "diff", "database", after, "-o", "sql")
    assert "if this is a rename: --rename t.old:new" in cli(*diff, url=before).out
    written = cli(*diff, "--rename", "t.old:new", url=before)
    assert "if this is a rename" not in written.out
    assert psql(before, written.out) == ""
    assert cli("migrate", "diff", "database", after, url=before).code == 0
    with psycopg.connect(before) as connection:
        assert connection.execute("SELECT new FROM t").fetchall() == [(7,)]
    assert cli("migrate", "diff", "database", after, "--safe", url=before).code == 2
    nameless = cli("migrate", "diff", url=before)
    assert (nameless.code, "names no models" in nameless.err) == (3, True)


def test_a_column_that_is_generated_no_more_keeps_its_values(
    other: tuple[str, str], cli: Cli
) -> None:
    """The function that its expression calls is made anew at the same time."""
    before, after = other
    made = "CREATE FUNCTION f(i int) RETURNS {} IMMUTABLE LANGUAGE sql AS 'SELECT i * 3';"
    generated = "CREATE TABLE t (a int, g int GENERATED ALWAYS AS (f(a)) STORED);"
    assert psql(before, f"{made.format('int')} {generated} INSERT INTO t VALUES (2)") == ""
    assert psql(after, f"{made.format('bigint')} CREATE TABLE t (a int, g int)") == ""
    written = cli("migrate", "diff", "database", after, "-o", "sql", url=before)
    assert psql(before, written.out) == ""
    with psycopg.connect(before) as connection:
        assert connection.execute("SELECT g FROM t").fetchall() == [(6,)]
    assert cli("migrate", "diff", "database", after, url=before).code == 0


def test_others_write_while_the_safe_script_runs(other: tuple[str, str], cli: Cli) -> None:
    """A writer's transaction is open all the while, as one more always is."""
    before, after = other
    assert psql(before, "CREATE TABLE t (a int, b int); INSERT INTO t VALUES (1, 1)") == ""
    wanted = (
        "CREATE TABLE t (a int NOT NULL, b int CHECK (b > 0), UNIQUE (a)); CREATE INDEX i ON t (b)"
    )
    assert psql(after, wanted) == ""
    written = cli("migrate", "diff", "database", after, "-o", "sql", "--safe", url=before)
    assert written.code == 1, written.err
    with psycopg.connect(before, autocommit=True) as watched:
        watched.execute("CREATE TABLE held (statement text, mode text)")
        for statement in split(re.sub(r"^\\.*$", "", written.out, flags=re.M)):
            if statement in {"BEGIN", "COMMIT"} or "CONCURRENTLY" in statement:
                watched.execute(statement.encode())
                continue
            with watched.transaction():
                watched.execute("SET LOCAL client_min_messages = debug1")
                told: list[str] = []
                watched.add_notice_handler(
                    lambda each, told=told: told.append(each.message_primary)
                )
                watched.execute(statement.encode())
                modes = {
                    mode
                    for (mode,) in watched.execute(
                        "SELECT mode FROM pg_locks WHERE relation = 't'::regclass AND pid = pg_backend_pid()"
                    )
                }
                scans = [each for each in told if "verifying" in each or "rewriting" in each]
                assert not ("AccessExclusiveLock" in modes and scans), statement
    assert cli("migrate", "diff", "database", after, url=before).code == 1  # the table `held`


@pytest.mark.parametrize("before_it", ["", "PARTITION BY RANGE (id)"])
def test_rows_that_policies_hide_from_the_owner_are_copied(
    other: tuple[str, str], server: Server, cli: Cli, before_it: str
) -> None:
    role = f"hidden_from_{other[0].rpartition('/')[2]}"
    table = "CREATE TABLE t (id int NOT NULL) {}"
    secured = (
        "ALTER TABLE t ENABLE ROW LEVEL SECURITY; ALTER TABLE t FORCE ROW LEVEL SECURITY;"
        f"CREATE POLICY odd ON t USING (id % 2 = 1); ALTER TABLE t OWNER TO {role};"
    )
    part = f"CREATE TABLE p PARTITION OF t DEFAULT; ALTER TABLE p OWNER TO {role};"
    parts = {"": "", "PARTITION BY RANGE (id)": part, "PARTITION BY LIST (id)": part}
    kinds = [before_it, "PARTITION BY LIST (id)"]
    with server.connect() as connection:
        connection.execute(f"CREATE ROLE {role} LOGIN PASSWORD 'mine'")
    try:
        for url, kind in zip(other, kinds, strict=True):
            assert psql(url, table.format(kind) + ";" + secured + parts[kind]) == ""
            assert psql(url, f"GRANT ALL ON SCHEMA public TO {role}") == ""
            database = url.rpartition("/")[2]
            assert psql(url, f"GRANT CREATE ON DATABASE {database} TO {role}") == ""
        assert psql(other[0], "INSERT INTO t SELECT generate_series(1, 100)") == ""
        url = re.sub("//[^@]*@", f"//{role}:mine@", other[0])
        written = cli("migrate", "diff", "database", other[1], "-o", "sql", url=url)
        assert "INSERT INTO t" in written.out, written.err
        assert psql(url, written.out) == ""
        with psycopg.connect(other[0]) as connection:
            assert connection.execute("SELECT count(*) FROM t").fetchone() == (100,)
            forced = "SELECT relforcerowsecurity FROM pg_class WHERE oid = 't'::regclass"
            assert connection.execute(forced).fetchone() == (True,)
    finally:
        for url in other:
            psql(url, f"DROP OWNED BY {role}")
        with server.connect() as connection:
            connection.execute(f"DROP ROLE {role}")


def test_a_role_that_may_not_try(other: tuple[str, str], server: Server, cli: Cli) -> None:
    before, after = other
    assert psql(after, "CREATE TABLE t (a int)") == ""
    name = before.rpartition("/")[2]
    with server.connect(name) as connection:
        connection.execute("CREATE ROLE may_not_try LOGIN PASSWORD 'mine'")
        connection.execute(
            sql.SQL("REVOKE CREATE ON DATABASE {} FROM PUBLIC").format(sql.Identifier(name))
        )
    try:
        url = re.sub("//[^@]*@", "//may_not_try:mine@", before)
        written = cli("migrate", "diff", "database", after, "-o", "sql", url=url)
        assert written.code == 1, written.err
        assert "-- Not tried: " in written.out
        assert "CREATE TABLE t" in written.out
    finally:
        with server.connect(name) as connection:
            connection.execute("DROP OWNED BY may_not_try; DROP ROLE may_not_try")
