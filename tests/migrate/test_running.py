"""What a revision does to its session, its indexes and its transaction, and what is kept of it."""

import json
import subprocess
import threading
import time

import psycopg
import pytest

from tests.conftest import Cli
from tests.history import Project
from tests.servers import Server, find_binaries

Q = ["CREATE TABLE q (id int, filled text)", "INSERT INTO q SELECT n, 'same' FROM generate_series(1, 9) n"]  # fmt: skip


@pytest.fixture
def url(project: Project, server: Server, database: str, cli: Cli) -> str:
    project.revision(*Q)
    assert cli("migrate", url=server.url(database)).code == 0
    return server.url(database)


def invalid(server: Server, database: str) -> list[str]:
    with server.connect(database) as connection:
        rows = connection.execute("SELECT indexrelid::regclass FROM pg_index WHERE NOT indisvalid")
        return [name for (name,) in rows]


BUILDS = [
    "CREATE UNIQUE INDEX CONCURRENTLY IF NOT EXISTS qi ON q (filled)",
    "/* c */ CREATE UNIQUE INDEX CONCURRENTLY IF NOT EXISTS qi ON q (filled)",
    "-- note\nCREATE UNIQUE INDEX CONCURRENTLY IF NOT EXISTS qi ON q (filled)",
    "CREATE UNIQUE INDEX /*x*/ CONCURRENTLY IF NOT EXISTS qi ON q (filled)",
    'CREATE UNIQUE INDEX CONCURRENTLY IF NOT EXISTS "Q i.x" ON public.q (filled)',
    "CREATE UNIQUE INDEX CONCURRENTLY ON q (filled)",
]


@pytest.mark.few(2)
@pytest.mark.parametrize("killed", [False, True])
@pytest.mark.parametrize("build", BUILDS)
def test_an_index_that_was_not_built_never_counts(
    project: Project,
    server: Server,
    database: str,
    url: str,
    cli: Cli,
    build: str,
    killed: bool,
) -> None:
    """A build fails on duplicates; when those are gone, the next run builds a valid index."""
    project.revision(build, concurrently=True)
    if killed:  # what it left is left
        with server.connect(database) as connection, pytest.raises(Exception, match="duplicated"):
            connection.execute(build)
        assert len(invalid(server, database)) == 1
    assert cli("migrate", url=url).code == 1
    assert invalid(server, database) == []
    with server.connect(database) as connection:
        connection.execute("UPDATE q SET filled = id")
        assert cli("migrate", url=url).code == 0
        rows = connection.execute(
            "SELECT indisvalid, indisunique FROM pg_index WHERE indrelid = 'q'::regclass"
        )
        assert rows.fetchall() == [(True, True)]


def test_what_a_stopped_reindex_left_goes(
    project: Project, server: Server, database: str, url: str, cli: Cli
) -> None:
    project.revision("REINDEX (CONCURRENTLY) TABLE q", concurrently=True)
    with server.connect(database) as connection:
        connection.execute("CREATE INDEX qi ON q (id)")
        with pytest.raises(Exception, match="duplicated"):
            connection.execute("CREATE UNIQUE INDEX CONCURRENTLY qi_ccnew ON q (filled)")
    assert invalid(server, database) == ["qi_ccnew"]
    assert cli("migrate", url=url).code == 0
    assert invalid(server, database) == []


def test_an_invalid_index_of_somebody_else_stays(
    project: Project, server: Server, database: str, url: str, cli: Cli
) -> None:
    project.revision("CREATE INDEX CONCURRENTLY qi ON q (id)", concurrently=True)
    with server.connect(database) as connection, pytest.raises(Exception, match="duplicated"):
        connection.execute("CREATE UNIQUE INDEX CONCURRENTLY theirs ON q (filled)")
    assert cli("migrate", url=url).code == 0
    assert invalid(server, database) == ["theirs"]


SETTINGS = [
    "SET search_path TO pg_catalog",
    "SELECT pg_catalog.set_config('search_path', '', false)",
    "SET ROLE {role}",
    "SET SESSION AUTHORIZATION {role}",
    "SET DateStyle TO 'German'",
    "SET statement_timeout = 1",
    "SET quote_all_identifiers = on",
    "SET client_min_messages = error",
    "SET idle_in_transaction_session_timeout = '1s'",
    "SET default_transaction_read_only = on",
]


@pytest.mark.few(2)
@pytest.mark.parametrize("setting", SETTINGS)
def test_what_a_revision_sets_is_its_own(
    project: Project, server: Server, database: str, url: str, cli: Cli, setting: str
) -> None:
    role = f"weak_{database}"
    with server.connect(database) as connection:
        connection.execute(f"CREATE ROLE {role}")
        project.revision("CREATE TABLE a (id int)", setting.format(role=role))
        project.revision("CREATE TABLE b (id int)")
        outcome = cli("migrate", url=url)
        assert outcome.code == 0, outcome.err
        assert cli("migrate", "status", url=url).code == 0
        assert cli("migrate", "drift", url=url).code == 0
        assert connection.execute("SELECT to_regclass('public.b') IS NOT NULL").fetchone() == (
            True,
        )
        connection.execute(f"DROP OWNED BY {role}; DROP ROLE {role}")


@pytest.mark.parametrize("ends", ["COMMIT", "ROLLBACK", "commit /* it */"])
def test_a_revision_that_ends_its_transaction_is_refused(
    project: Project, server: Server, database: str, url: str, cli: Cli, ends: str
) -> None:
    project.revision("ALTER TABLE q ADD x int", ends, "CREATE INDEX CONCURRENTLY qi ON q (x)")
    outcome = cli("migrate", url=url)
    assert outcome.code == 1
    assert "mixed-transaction" in outcome.err
    with server.connect(database) as connection:
        assert connection.execute(
            "SELECT count(*) FROM pg_attribute WHERE attrelid = 'q'::regclass AND attname = 'x'"
        ).fetchone() == (0,)


@pytest.mark.thorough
def test_a_stopped_detaching_is_finished(
    project: Project, server: Server, database: str, url: str, cli: Cli
) -> None:
    """What began it cannot be done again: PostgreSQL only lets it come to its end."""
    detach = 'alter table parts detach partition "p 1" concurrently'
    with server.connect(database) as holder, server.connect(database) as other:
        holder.execute(
            "CREATE TABLE parts (id int) PARTITION BY RANGE (id);"
            'CREATE TABLE "p 1" PARTITION OF parts FOR VALUES FROM (0) TO (9);'
            "INSERT INTO parts VALUES (1)"
        )
        holder.execute("BEGIN; SELECT FROM parts")
        other.execute("SET statement_timeout = '500ms'")
        with pytest.raises(psycopg.errors.QueryCanceled):
            other.execute(detach)
        holder.execute("COMMIT")
        pending = "SELECT count(*) FROM pg_inherits WHERE inhdetachpending"
        assert holder.execute(pending).fetchone() == (1,)
        project.revision(detach, concurrently=True)
        outcome = cli("migrate", url=url)
        assert outcome.code == 0, outcome.err
        assert holder.execute("SELECT count(*) FROM pg_inherits").fetchone() == (0,)
        assert holder.execute('SELECT count(*) FROM "p 1"').fetchone() == (1,)


ENDS = {
    "END": 'op.execute("END /* it */ TRANSACTION")',
    "a computed text": 'op.execute("COM" + "MIT")',
    "a driver's text": 'op.get_bind().exec_driver_sql("commit and chain")',
    "several": 'op.execute(f"SELECT {1}; ABORT")',
    "the connection's": "op.get_bind().commit()",
    "a name of it": "connection = op.get_bind()\nconnection.commit()",
    "the connection's back": "op.get_bind().rollback()",
    "the driver's": "op.get_bind().connection.commit()",
    "psycopg's": "driver = op.get_bind().connection.driver_connection\ndriver.commit()",
    "psycopg's back": "op.get_bind().connection.driver_connection.rollback()",
    "another session's": "with op.get_bind().engine.begin() as c:\n"
    "    c.exec_driver_sql('CREATE TABLE half (id int)')",
    "two phases": """op.execute("PREPARE TRANSACTION 'mine'")""",
}


@pytest.mark.few(3)
@pytest.mark.parametrize("way", ["up", "down"])
@pytest.mark.parametrize("ends", ENDS)
def test_no_revision_ends_its_transaction_behind_our_back(
    project: Project, server: Server, database: str, url: str, cli: Cli, ends: str, way: str
) -> None:
    """What no reading of its text foresees, too: nothing of it is there afterwards."""
    steps = ['op.execute("ALTER TABLE q ADD x int")', *ENDS[ends].splitlines()]
    code = "\n".join(f"    {each}" for each in steps)
    if way == "up":
        project.revision(code=code)
        outcome = cli("migrate", url=url)
    else:
        project.revision("CREATE TABLE other (id int)", downgrade=code)
        assert cli("migrate", url=url).code == 0
        outcome = cli("migrate", "down", "--yes", url=url)
    assert outcome.code == 1, outcome.err
    assert "mixed-transaction" in outcome.err
    with server.connect(database) as connection:
        assert connection.execute(
            "SELECT count(*) FROM pg_attribute WHERE attrelid = 'q'::regclass AND attname = 'x'"
        ).fetchone() == (0,)
        assert connection.execute("SELECT count(*) FROM pg_prepared_xacts").fetchone() == (0,)
        assert connection.execute("SELECT to_regclass('public.half')").fetchone() == (None,)
    if way == "up" and ends not in {"a computed text", "another session's"}:
        (linted,) = json.loads(cli("migrate", "lint", "-o", "json", url=url).out)["revisions"]
        assert "transaction-control" in [each["rule"] for each in linted["findings"]]


def test_a_session_takes_back_what_the_first_revision_did(
    project: Project, server: Server, database: str, cli: Cli
) -> None:
    """Alembic's own table is gone with it: the cause is told."""
    project.revision(
        head="from sqlalchemy import orm, text",
        code="""    op.execute("CREATE TABLE q (id int)")
    session = orm.Session(op.get_bind())
    try:
        session.execute(text("SELECT 1 / 0"))
    except Exception:
        session.rollback()""",
    )
    outcome = cli("migrate", url=server.url(database))
    assert outcome.code == 1
    assert "ends its transaction itself, with ROLLBACK" in outcome.err


def test_a_session_that_joins_the_transaction_may_commit(
    project: Project, url: str, cli: Cli
) -> None:
    project.revision(
        head="from sqlalchemy import orm, text",
        code="""    with orm.Session(op.get_bind()) as session:
        session.execute(text("UPDATE q SET id = id"))
        session.commit()""",
    )
    outcome = cli("migrate", url=url)
    assert outcome.code == 0, outcome.err


@pytest.mark.parametrize("allowed", ["by the file", "--allow"])
def test_a_revision_may_be_allowed_to_end_its_transaction(
    project: Project, url: str, cli: Cli, allowed: str
) -> None:
    says = (
        "# leadctl: allow mixed-transaction it is from before" if allowed == "by the file" else ""
    )
    project.revision(
        code='    op.execute("ALTER TABLE q ADD x int")\n    op.get_bind().commit()\n'
        '    op.execute("CREATE TABLE after (id int)")',
        head=says,
    )
    asked = ["--allow", "mixed-transaction"] if allowed == "--allow" else []
    outcome = cli("migrate", *asked, url=url)
    assert outcome.code == 0, outcome.err


_RAW = "op.get_bind().connection.driver_connection.cursor().execute"
HALVES = {
    "a cursor's": (f'{_RAW}("COMMIT")', "mixed-transaction"),
    "a cursor's, and it fails": (f'{_RAW}("COMMIT")\n    op.execute("SELECT 1/0")', "by zero"),
    "a cursor's, and the session ends": (
        f'{_RAW}("COMMIT")\n    {_RAW}("SELECT pg_terminate_backend(pg_backend_pid())")',
        "lost",
    ),
    "outside": (
        "with op.get_context().autocommit_block():\n"
        '        op.execute("CREATE TABLE half (id int)")\n        op.execute("SELECT 1/0")',
        "by zero",
    ),
    "within a block": (
        "with op.get_context().autocommit_block():\n"
        '        op.execute("DO $$ BEGIN CREATE TABLE half (id int); COMMIT; PERFORM 1/0; END $$")',
        "by zero",
    ),
    "outside, and the session ends": (
        "with op.get_context().autocommit_block():\n"
        '        op.execute("CREATE TABLE half (id int)")\n'
        '        op.execute("SELECT pg_terminate_backend(pg_backend_pid())")',
        "lost",
    ),
}


@pytest.mark.parametrize("case", HALVES)
def test_what_stays_of_a_revision_is_told(
    project: Project, server: Server, database: str, url: str, cli: Cli, case: str
) -> None:
    """No hook of ours sees it, or it is meant to: what the server kept is not "not applied"."""
    code, why = HALVES[case]
    first = "" if "autocommit_block" in code else '    op.execute("CREATE TABLE half (id int)")\n'
    project.revision(code=f"{first}    {code}")
    outcome = cli("migrate", url=url)
    assert outcome.code == (4 if why == "lost" else 1)
    assert why in outcome.err
    assert "not applied" not in outcome.err
    assert "Nothing half done" not in outcome.err
    assert "stays" in outcome.err
    assert cli("migrate", "status", url=url).code == 1
    with server.connect(database) as connection:
        assert connection.execute("SELECT to_regclass('public.half')").fetchone() != (None,)


@pytest.mark.parametrize("code", ["_RAW('ROLLBACK')", "_RAW('ROLLBACK; SELECT 1/0')"])
def test_what_is_rolled_back_by_a_cursor_is_not_told_to_stay(
    project: Project, server: Server, database: str, url: str, cli: Cli, code: str
) -> None:
    first = '    op.execute("CREATE TABLE half (id int)")\n'
    project.revision(code=f"{first}    {code.replace('_RAW', _RAW)}")
    outcome = cli("migrate", url=url)
    assert outcome.code == 1
    assert "stays" not in outcome.err
    with server.connect(database) as connection:
        assert connection.execute("SELECT to_regclass('public.half')").fetchone() == (None,)


def test_a_temporary_table_does_not_take_the_record(
    project: Project, server: Server, database: str, cli: Cli
) -> None:
    """Alembic names its table without a schema: the run was done, and nothing recorded."""
    project.revision("CREATE TEMP TABLE alembic_version (version_num text)", "CREATE TABLE a ()")
    outcome = cli("migrate", url=server.url(database))
    assert (outcome.code, "hides Alembic's" in outcome.err) == (1, True), outcome.err
    with server.connect(database) as connection:
        assert connection.execute("SELECT to_regclass('public.a')").fetchone() == (None,)


def test_what_gave_a_result_is_not_done_twice(
    project: Project, server: Server, database: str, url: str, cli: Cli
) -> None:
    """Outside a transaction it stays, and its result cannot be had again: the cause is told."""
    project.revision(
        code="    with op.get_context().autocommit_block():\n"
        '        op.execute("INSERT INTO q VALUES (77) RETURNING id")\n'
        '        op.execute("ALTER TABLE q ADD x int")'
    )
    with server.connect(database) as other:
        other.execute("BEGIN; LOCK TABLE q IN SHARE UPDATE EXCLUSIVE MODE")
        outcome = cli("migrate", "--lock-timeout", "300ms", url=url)
        other.execute("COMMIT")
        assert outcome.code == 1
        assert "lock" in outcome.err
        assert other.execute("SELECT count(*) FROM q WHERE id = 77").fetchone() == (1,)


@pytest.mark.thorough
def test_a_lock_outside_a_transaction_is_waited_for_where_it_stopped(
    project: Project, server: Server, database: str, url: str, cli: Cli
) -> None:
    """What was done before it is not done again: it would fail."""
    project.revision(
        "CREATE TABLE half (id int)", "INSERT INTO half VALUES (1)", "ALTER TABLE q ADD x int",
        concurrently=True,
    )  # fmt: skip
    with server.connect(database) as other:
        other.execute("BEGIN; LOCK TABLE q")
        release = threading.Timer(2, lambda: other.execute("COMMIT"))
        release.start()
        outcome = cli("migrate", "--lock-timeout", "300ms", url=url)
        release.join()
        assert outcome.code == 0, outcome.err
        assert "locked by others" in outcome.err
        assert other.execute("SELECT count(*) FROM half").fetchone() == (1,)
        assert other.execute("SELECT count(x) FROM q").fetchone() == (0,)


@pytest.mark.thorough
@pytest.mark.parametrize("sqlstate", ["40P01", "40001"])
def test_what_others_ended_is_tried_again(
    project: Project, server: Server, database: str, url: str, cli: Cli, sqlstate: str
) -> None:
    project.revision(
        "CREATE TABLE a (id int)",
        "DO $$ BEGIN IF nextval('tries') < 2 THEN"
        f" RAISE EXCEPTION 'ended' USING ERRCODE = '{sqlstate}'; END IF; END $$",
    )
    with server.connect(database) as connection:
        connection.execute("CREATE SEQUENCE tries")
        started = time.monotonic()
        outcome = cli("migrate", url=url)
        assert outcome.code == 0, outcome.err
        assert "trying again" in outcome.err
        assert time.monotonic() - started < 60
        assert connection.execute("SELECT last_value FROM tries").fetchone() == (2,)


def test_what_the_server_says_is_shown(project: Project, url: str, cli: Cli) -> None:
    """Each text once, escaped, without values and secrets; not what leadctl's own SQL says."""
    project.revision(
        "DO $$ BEGIN RAISE NOTICE 'changed % rows', 9; RAISE WARNING E'two\\nlines \\x1b[31m'; END $$",
        "DO $$ BEGIN FOR n IN 1..50 LOOP RAISE NOTICE 'the same'; END LOOP; END $$",
        "DO $$ BEGIN RAISE NOTICE 'at postgresql://me:secret-word@host/db'; END $$",
        "DO $$ BEGIN RAISE NOTICE 'the row \"4111 1111\" of table \"q\"'; RAISE DEBUG 'no'; END $$",
        "CREATE TABLE IF NOT EXISTS q (id int)",
    )
    project.revision("DO $$ BEGIN FOR n IN 1..500 LOOP RAISE NOTICE 'row %', n; END LOOP; END $$")
    outcome = cli("migrate", url=url)
    assert outcome.code == 0
    said = [line.partition("Z ")[2] for line in outcome.err.splitlines()]
    first = [line.partition(": ")[2] for line in said if line.startswith("own_0002: ")]
    assert first[:3] == [
        "NOTICE: changed 9 rows",
        "WARNING: two lines \\x1b[31m",
        "NOTICE: the same",
    ]
    assert 'NOTICE: relation "q" already exists, skipping' in first
    assert first[-1] == "and 49 messages like these."
    assert len(first) == 7
    assert "secret-word" not in outcome.err
    assert "4111" not in outcome.err
    assert sum(line.startswith("own_0003: NOTICE: row ") for line in said) == 20
    assert "own_0003: and 480 messages like these." in said
    assert cli("migrate", "-q", url=url).err == ""


def test_notices_of_a_revision_that_fails(project: Project, url: str, cli: Cli) -> None:
    project.revision("DO $$ BEGIN RAISE NOTICE 'so far'; PERFORM 1/0; END $$")
    outcome = cli("migrate", url=url)
    assert outcome.code == 1
    assert outcome.err.count("own_0002: NOTICE: so far") == 1


LONG = "2026_11_29_120000_add_a_website_to_every_company"


@pytest.mark.thorough
def test_ids_longer_than_alembic_has_room_for(
    project: Project, server: Server, database: str, url: str, cli: Cli
) -> None:
    """In the second revision, in the first, and by psql."""
    project.revision(
        "CREATE TABLE r (id int)", name=LONG, downgrade='    op.execute("DROP TABLE r")'
    )
    script = cli("migrate", "--sql", url=url).out
    assert cli("migrate", url=url).code == 0
    assert cli("migrate", "status", url=url).code == 0
    fresh, by_psql = server.create(), server.create()
    assert cli("migrate", url=server.url(fresh)).code == 0
    psql(server, by_psql, cli("migrate", "--sql", url=server.url(by_psql)).out)
    with server.connect(database) as connection:
        connection.execute("DROP TABLE r; DELETE FROM alembic_version")
        connection.execute("ALTER TABLE alembic_version ALTER version_num TYPE varchar(32)")
        connection.execute("INSERT INTO alembic_version VALUES ('own_0001')")
    psql(server, database, script)
    for name in (database, fresh, by_psql):
        with server.connect(name) as connection:
            rows = connection.execute("SELECT version_num FROM alembic_version").fetchall()
            assert rows == [(LONG,)]
    assert cli("migrate", "down", "--yes", url=server.url(fresh)).code == 0


def psql(server: Server, database: str, script: str) -> None:
    program = find_binaries(server.major) / "psql"
    done = subprocess.run(
        [program, "-X", "-q", "-h", server.socket, "-p", str(server.port), "-U", "postgres", database],
        input=script, text=True, capture_output=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("on", ["ROLE postgres IN DATABASE {}", "DATABASE {}"])
def test_a_database_that_is_read_only(
    project: Project, server: Server, database: str, url: str, cli: Cli, on: str
) -> None:
    project.revision("CREATE TABLE r (id int)")
    with server.connect(database) as connection:
        connection.execute(f"ALTER {on.format(database)} SET default_transaction_read_only = on")
    assert cli("migrate", "--plan", url=url).code in {0, 1}
    outcome = cli("migrate", url=url)
    assert outcome.code != 0
    assert "read-only" in outcome.err
    assert "default_transaction_read_only" in outcome.err
    assert cli("migrate", "status", url=url).code == 1
    with server.connect(database) as connection:
        assert connection.execute("SELECT to_regclass('r')").fetchone() == (None,)


@pytest.mark.thorough
@pytest.mark.parametrize("encoding", ["SQL_ASCII", "LATIN1", "EUC_JP"])
def test_a_database_in_another_encoding(
    project: Project, server: Server, cli: Cli, encoding: str
) -> None:
    """The trial is in the same; what does not fit is said of the revision."""
    with server.connect() as connection:
        name = f"t_{encoding.lower()}_{project.migrations.stat().st_ino}"
        connection.execute(
            f"CREATE DATABASE {name} ENCODING '{encoding}' LOCALE 'C' TEMPLATE template0"
        )
    try:
        url = server.url(name)
        text = {"SQL_ASCII": "Zürich", "LATIN1": "Zürich", "EUC_JP": "日本"}[encoding]
        project.revision(
            "CREATE TABLE q (id int, name text)",
            f"INSERT INTO q VALUES (1, '{text}')",
            f"COMMENT ON TABLE q IS '{text}'",
        )
        outcome = cli("migrate", url=url)
        assert outcome.code == 0, outcome.err
        project.revision(
            f'ALTER TABLE q ADD COLUMN "{text}" text',
            "ALTER TABLE q ALTER id TYPE bigint",
            "ALTER TABLE q DROP COLUMN name",
        )
        plan = cli("migrate", "--plan", "-o", "json", url=url).json
        assert plan["not_tried"] is None
        effects = [each["effects"][0] for each in plan["revisions"][0]["statements"]]
        assert [each["rewrites"] for each in effects] == [False, True, False]
        assert effects[2]["loss"]["rows"] == 1
        assert cli("migrate", url=url).code == 0
        assert cli("migrate", "status", url=url).code == 0
        assert cli("migrate", "drift", url=url).code == 0
    finally:
        server.drop(name)


def test_the_role_that_is_set_for_a_database_is_named(
    project: Project, server: Server, database: str, cli: Cli
) -> None:
    """Its rights count, not those of the user who connects."""
    project.revision("CREATE TABLE q (id int)")
    with server.connect(database) as connection:
        connection.execute(f"CREATE ROLE weak_{database}")
        connection.execute(f"ALTER DATABASE {database} SET role = weak_{database}")
    outcome = cli("migrate", url=server.url(database))
    assert outcome.code == 4
    assert f"The role weak_{database} may not create the schema leadctl" in outcome.err
    assert f'TO "weak_{database}"' in outcome.err


@pytest.mark.parametrize(
    "sets",
    [
        "SET search_path TO ar",
        "SELECT pg_catalog.set_config('search_path', '', false)",
        "SET ROLE {}",
    ],
)
def test_a_script_records_whatever_a_revision_sets(
    project: Project, server: Server, database: str, cli: Cli, sets: str
) -> None:
    role = f"setrole_{database}"
    with server.connect(database) as connection:
        connection.execute(
            f"CREATE SCHEMA ar; CREATE ROLE {role}; GRANT ALL ON SCHEMA ar TO {role}"
        )
    project.revision(sets.format(role), "CREATE TABLE ar.a (id int)")
    project.revision("CREATE TABLE b (id int)")
    psql(server, database, cli("migrate", "--sql", url=server.url(database)).out)
    with server.connect(database) as connection:
        rows = connection.execute("SELECT version_num FROM public.alembic_version").fetchall()
        assert rows == [("own_0002",)]
        assert connection.execute("SELECT to_regclass('public.b')").fetchone() == ("b",)


@pytest.mark.parametrize("concurrently", [False, True])
def test_an_extension_that_the_server_lacks(
    project: Project, server: Server, database: str, cli: Cli, concurrently: bool
) -> None:
    url = server.url(database)
    project.revision("CREATE TABLE before_it (id int)")
    project.revision(
        'CREATE EXTENSION IF NOT EXISTS "no-such-one" WITH SCHEMA public', concurrently=concurrently
    )
    done = cli("migrate", url=url)
    with server.connect(database) as connection:  # nothing was begun that cannot be ended
        assert connection.execute("SELECT to_regclass('before_it')").fetchone() == (None,)
    assert done.code == 1
    assert "does not have the extension no-such-one" in done.err
    assert "Install no-such-one where the server runs" in done.err
    assert "or set DATABASE_URL to a server that has it" in done.err
    planned = cli("migrate", "--plan", url=url)  # else it would be found to be in order
    assert (planned.code, planned.err) == (1, done.err)


def test_an_extension_that_is_not_made_for_certain_stops_nothing(
    project: Project, url: str, cli: Cli
) -> None:
    project.revision(
        code="""\
    "CREATE EXTENSION in_a_docstring"
    # CREATE EXTENSION in_a_comment
    if op.get_bind() is None:
        op.execute("CREATE EXTENSION behind_a_condition")
    op.execute("COMMENT ON SCHEMA public IS 'no CREATE EXTENSION in it'")
    op.execute("DO $$BEGIN\\nCREATE EXTENSION caught;\\nEXCEPTION WHEN OTHERS THEN NULL; END$$")
""",
        downgrade='    op.execute("CREATE EXTENSION on_the_way_back")',
    )
    project.revision("CREATE EXTENSION IF NOT EXISTS plpgsql")
    done = cli("migrate", url=url)
    assert done.code == 0, done.err
