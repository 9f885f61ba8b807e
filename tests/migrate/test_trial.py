"""What is said of statements is what the server does when it really runs them, with rows."""

import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg import sql

from leadctl.apps.registry import App, find_app
from leadctl.migrate import trial_database as trial_database_module
from leadctl.migrate.alembic_runner import RevisionStatement
from leadctl.migrate.lint import LOSES_DATA, UNPLANNABLE, findings
from leadctl.migrate.plan import TableEffect
from leadctl.migrate.planner import Planner
from leadctl.migrate.revisions import read_history
from leadctl.migrate.trial import Observed, Trial, trial
from leadctl.migrate.trial_database import copy, reach, trial_database
from leadctl.postgres.connect import connect
from leadctl.postgres.target import Target, resolve
from leadctl.settings import load_settings
from leadctl.sql.lock_modes import Lock
from tests.conftest import Cli
from tests.history import Project
from tests.processes import start, wait_for
from tests.servers import CACHE, PASSWORD, Server, find_binaries

DATA = Path(__file__).parent / "trial"
ROLES = ("plan_owner", "plan_reader")
TABLESPACE = "plan_ts"
EXTENSIONS = {"citext", "hstore", "btree_gist", "pg_trgm"}
MODES = {mode.name.replace("_", "").lower(): mode for mode in Lock}


def statements(server: Server) -> list[str]:
    found = []
    for line in (DATA / "statements.txt").read_text().splitlines():
        version, _, statement = line.partition(": ") if line[:2].isdigit() else ("0", "", line)
        if int(version) <= server.major:
            found.append(statement)
    return found


@dataclass
class Real:
    """What a statement did to one relation."""

    kind: str
    lock: Lock = Lock.NONE
    rewritten: bool = False
    read: bool = False
    lost: bool = False


def relations(connection: psycopg.Connection) -> dict[int, tuple[str, str, Any, int]]:
    rows = connection.execute(
        "SELECT c.oid, CASE nspname WHEN 'public' THEN '' ELSE nspname || '.' END || relname,"
        " relkind::text, pg_relation_filenode(c.oid), pg_stat_get_xact_numscans(c.oid)"
        " FROM pg_class c JOIN pg_namespace n ON n.oid = relnamespace"
        " WHERE nspname !~ '^pg_|^information' AND relkind IN ('r', 'p', 'm', 'v', 'S')"
    )
    return {oid: (name, kind, node, scans) for oid, name, kind, node, scans in rows}


def contents(connection: psycopg.Connection, oids: Iterator[int]) -> dict[int, dict[int, int]]:
    """The rows (as column 0), and the values of each column."""
    found = {}
    for oid in oids:
        columns = connection.execute(
            "SELECT attnum, attname FROM pg_attribute WHERE attrelid = %s AND attnum > 0"
            " AND NOT attisdropped",
            (oid,),
        ).fetchall()
        (table,) = connection.execute("SELECT %s::regclass::text", (oid,)).fetchone() or ("",)
        counts = "".join(f", count({sql.Identifier(name).as_string()})" for _, name in columns)
        row = connection.execute(f"SELECT count(*){counts} FROM ONLY {table}").fetchone()
        found[oid] = dict(zip([0, *(number for number, _ in columns)], row or (), strict=True))
    return found


def observe(connection: psycopg.Connection, statement: str) -> dict[str, Real]:
    """Run a statement on the tables with their rows, look, and take it back."""
    connection.rollback()
    before = relations(connection)
    connection.rollback()
    before = relations(connection)
    stored = contents(connection, (oid for oid, each in before.items() if each[1] in "rm"))
    before = relations(connection)
    connection.execute(statement)
    connection.execute("RESET ROLE; RESET search_path")
    held: dict[int, Lock] = {}
    for oid, mode in connection.execute(
        "SELECT relation, lower(mode) FROM pg_locks WHERE pid = pg_backend_pid()"
        " AND locktype = 'relation'"
    ):
        held[oid] = max(held.get(oid, Lock.NONE), MODES[mode.removesuffix("lock")])
    after = relations(connection)
    left = {}
    if "WITH NO DATA" not in statement:
        left = contents(connection, (oid for oid in stored if oid in after))
    connection.rollback()
    found = {}
    for oid, (name, kind, node, scans) in before.items():
        now = after.get(oid)
        counts, remaining = stored.get(oid, {}), left.get(oid, {})
        lost = bool(counts.get(0)) and (now is None or (oid in left and (
            remaining[0] < counts[0]
            or any(count and number not in remaining for number, count in counts.items())
        )))  # fmt: skip
        found[name] = Real(
            kind,
            held.get(oid, Lock.NONE),
            rewritten=bool(now and kind in "rm" and now[2] != node),
            read=bool(now and kind in "rm" and now[3] > scans),
            lost=lost,
        )
    return found


@dataclass
class Verdicts:
    """What of the plan is not what the server did, by statement."""

    count: int = 0
    loss_not_said: list[str] = field(default_factory=list)
    too_weak: list[str] = field(default_factory=list)
    too_strong: list[str] = field(default_factory=list)
    unplannable: list[str] = field(default_factory=list)

    def add(self, statement: str, real: dict[str, Real], planned: Any, rules: set[str]) -> None:
        self.count += 1
        if UNPLANNABLE in rules:
            self.unplannable.append(f"{statement}: {planned.unplannable}")
            return
        claims = {each.table: each for each in planned.effects}
        weak: list[str] = []
        strong: list[str] = []
        for name in real.keys() | claims.keys():
            did, claim = real.get(name, Real("r")), claims.get(name)
            if did.lost and not (claim and claim.loss and LOSES_DATA in rules):
                self.loss_not_said.append(f"{statement}: {name}")
            said = bool(claim and claim.loss and not claim.loss.what.startswith("values"))
            if said and not did.lost and did.kind != "p":
                strong.append(f"loss of {name}")
            _compare(name, did, claim, weak, strong, counts=not statement.startswith("TRUNCATE"))
        if weak:
            self.too_weak.append(f"{statement}: {weak}")
        if strong:
            self.too_strong.append(f"{statement}: {strong}")


def _compare(
    name: str, did: Real, claim: Any, weak: list[str], strong: list[str], *, counts: bool
) -> None:
    lock = Lock[claim.lock.replace(" ", "_")] if claim else Lock.NONE
    # The weakest come and go with planning, and block nobody.
    if max(lock, did.lock) >= Lock.ROW_EXCLUSIVE and lock != did.lock:
        (weak if lock < did.lock else strong).append(f"{name} {lock.words}, {did.lock.words}")
    if did.kind == "p" or not counts:  # TRUNCATE makes new, empty files, and their indexes
        return
    rewrites, scans = bool(claim and claim.rewrites), bool(claim and claim.scans)
    if did.rewritten != rewrites:
        (weak if did.rewritten else strong).append(f"rewrites {name}")
    elif not rewrites and max(lock, did.lock) >= Lock.SHARE and did.read != scans:
        (weak if did.read else strong).append(f"scans {name}")


@pytest.fixture
def corpus(server: Server, database: str) -> str:
    """The URL of a database with the corpus's tables."""
    with server.connect(database) as connection:
        available = {
            row[0] for row in connection.execute("SELECT name FROM pg_available_extensions")
        }
        if not available >= EXTENSIONS:
            pytest.skip("this server has no contrib")
        connection.execute("SELECT pg_advisory_lock(1)")
        for role in ROLES:
            connection.execute(
                f"DO $$ BEGIN CREATE ROLE {role}; EXCEPTION WHEN duplicate_object THEN END $$"
            )
        if not connection.execute(
            "SELECT 1 FROM pg_tablespace WHERE spcname = 'plan_ts'"
        ).fetchone():
            connection.execute("SET allow_in_place_tablespaces = on")
            connection.execute("CREATE TABLESPACE plan_ts LOCATION ''")
        connection.execute((DATA / "schema.sql").read_text().encode())
    return server.url(database)


def at(url: str, folder: Path) -> tuple[Target, App]:
    (folder / "leadctl.toml").write_text(
        'app = "own"\n[apps.own]\nmodels = "m:x"\nmigrations = "."\n'
    )
    settings = load_settings({}, cwd=folder, environ={"DATABASE_URL": url})
    return resolve(settings, app="own"), find_app(settings)


def judge(server: Server, url: str, chosen: list[str], folder: Path) -> Verdicts:
    """Compare plan and server for each statement, each on the tables as they are at the start."""
    target, app = at(url, folder)
    verdicts = Verdicts()
    with ExitStack() as stack:
        source = stack.enter_context(connect(target, "plan", rows=True, read_only=True))
        reached = reach(source, chosen)
        scratch = stack.enter_context(trial_database(target, source))
        session = stack.enter_context(copy(source, scratch, reached))
        # Each is tried on what was copied, not behind the others.
        run = session.execute
        session.execute = lambda query, *rest, **more: run(  # type: ignore[method-assign]
            "ROLLBACK" if query == "COMMIT" else query, *rest, **more
        )
        trial = Trial(session, target.schema)
        witness = stack.enter_context(psycopg.connect(url))
        for statement in chosen:
            planner = Planner(app, read_history(app.versions), source, target.schema)
            planner._trial = trial
            planned = planner.statement(RevisionStatement(statement, transactional=True))
            trial._observer.look_again()  # what it did was taken back
            found = findings([planned], None)
            verdicts.add(statement, observe(witness, statement), planned, {f.rule for f in found})
    return verdicts


def planned(url: str, folder: Path, statement: str) -> tuple[TableEffect, ...]:
    """What the plan says of one statement, on each relation."""
    target, app = at(url, folder)
    with connect(target, "plan", rows=True, read_only=True) as source:
        planner = Planner(app, read_history(app.versions), source, target.schema)
        scratch = trial(target, source, [statement])
        with scratch as planner._trial:
            return planner.statement(RevisionStatement(statement, transactional=False)).effects


def check(found: Verdicts) -> None:
    assert found.loss_not_said == []
    assert found.too_weak == []
    assert len(found.too_strong) <= 0.03 * found.count, found.too_strong
    assert len(found.unplannable) <= 0.05 * found.count, found.unplannable


@pytest.mark.thorough
def test_some_statements(
    server: Server, corpus: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("leadctl.migrate.lint.find_squawk", lambda: None)
    check(judge(server, corpus, statements(server)[::6], tmp_path))


@pytest.mark.thorough
def test_one_behind_the_other_nothing_is_overlooked(
    server: Server, corpus: str, tmp_path: Path
) -> None:
    """What is read again behind a statement, which is little, is all that is other than before."""
    target, _ = at(corpus, tmp_path)
    chosen = [each for each in statements(server) if not each.startswith(("SET", "DROP SCHEMA"))]
    done = 0
    with (
        connect(target, "plan", rows=True, read_only=True) as source,
        trial(target, source, chosen) as tried,
    ):
        observer = tried._observer
        for statement in chosen:
            done += isinstance(
                tried.run(RevisionStatement(statement, transactional=True)), Observed
            )
            now = {oid: replace(each, scans=0) for oid, each in observer.now.items()}
            there = {oid: replace(each, scans=0) for oid, each in observer.read().items()}
            assert now == there, statement
    assert done > 100


OUTSIDE = {
    "VACUUM": "lonely",
    "VACUUM (FULL) q, lonely": "lonely",
    "VACUUM ANALYZE q (filled)": "q",
    "VACUUM parts": "parts_1",
    "VACUUM FULL parts": "parts_1",
    "CLUSTER": "of_key",
    "CREATE INDEX CONCURRENTLY x ON t (b)": "t",
    "CREATE INDEX CONCURRENTLY x ON parts_1 (n)": "parts_1",
    "DROP INDEX CONCURRENTLY t_a": "t",
    "REINDEX INDEX CONCURRENTLY t_a": "t",
    "REINDEX (CONCURRENTLY) TABLE lonely": "lonely",
    "REINDEX TABLE parts": "parts_1",
    "REINDEX SCHEMA other": "other.lonely",
    "REINDEX SCHEMA CONCURRENTLY other": "other.lonely",
    "ALTER TABLE parts DETACH PARTITION parts_1 CONCURRENTLY": "parts",
}
"""What runs outside a transaction, and a table that it waits for."""


@pytest.mark.few(4)
@pytest.mark.parametrize("statement", OUTSIDE)
def test_outside_a_transaction(server: Server, corpus: str, tmp_path: Path, statement: str) -> None:
    """The lock that is said is the one that the statement waits for where the table is held."""
    table = OUTSIDE[statement]
    with psycopg.connect(corpus, autocommit=True) as run, psycopg.connect(corpus) as holder:
        run.execute("CREATE TABLE of_key (id int PRIMARY KEY); CLUSTER of_key USING of_key_pkey")
        (claim,) = (each for each in planned(corpus, tmp_path, statement) if each.table == table)
        holder.execute(f"LOCK TABLE {table} IN SHARE ROW EXCLUSIVE MODE")
        running = threading.Thread(target=run.execute, args=(statement,))
        running.start()
        asked = None
        while asked is None and running.is_alive():
            asked = holder.execute(
                "SELECT lower(mode) FROM pg_locks WHERE NOT granted AND pid = %s"
                " AND locktype = 'relation' AND relation = %s::regclass",
                (run.info.backend_pid, table),
            ).fetchone()
        holder.rollback()
        running.join()
    assert asked is not None
    assert Lock[claim.lock.replace(" ", "_")] == MODES[asked[0].removesuffix("lock")]


def test_a_table_that_leaves_a_publication(corpus: str, tmp_path: Path) -> None:
    """The statement does not name it."""
    statement = "ALTER PUBLICATION pub SET TABLE q"
    said = {each.table: each.lock for each in planned(corpus, tmp_path, statement)}
    with psycopg.connect(corpus) as run:
        run.execute(statement)
        locked = run.execute(
            "SELECT relation::regclass::text, lower(mode) FROM pg_locks JOIN pg_class c"
            " ON c.oid = relation WHERE pid = pg_backend_pid() AND relkind = 'r'"
            " AND relnamespace = 'public'::regnamespace AND mode LIKE 'Share%'"
        ).fetchall()
        run.rollback()
    assert {table for table, _ in locked} == {"child", "q"}
    for table, mode in locked:
        assert MODES[mode.removesuffix("lock")] == Lock[said[table].replace(" ", "_")]


@pytest.mark.slow
def test_every_statement(
    server: Server, corpus: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("leadctl.migrate.lint.find_squawk", lambda: None)
    check(judge(server, corpus, statements(server), tmp_path))


# --- What a trial must not do ------------------------------------------------------------------


@pytest.fixture
def tables(project: Project, server: Server, database: str, cli: Cli) -> str:
    """The URL of a database with a table that has rows."""
    project.revision(
        "CREATE TYPE mood AS ENUM ('sad')",
        "CREATE TABLE q (id int PRIMARY KEY, v text, m mood)",
        "INSERT INTO q SELECT n, n, 'sad' FROM generate_series(1, 200) n",
    )
    url = server.url(database)
    assert cli("migrate", url=url).code == 0
    return url


def leftovers(server: Server) -> list[str]:
    """Scratch databases that no running test holds."""
    with server.connect() as connection:
        rows = connection.execute(
            "SELECT datname FROM pg_database WHERE datname ~ '^leadctl_trial' AND NOT EXISTS"
            " (SELECT FROM pg_locks WHERE locktype = 'advisory' AND objid::text = substr(datname, 15))"
        )
        return [name for (name,) in rows]


OUTWARD = [
    ["ALTER TABLE public.q ADD COLUMN x int", "COMMIT", "DROP TABLE public.q"],
    ["CREATE ROLE {role}"],
    ["DO $$ BEGIN EXECUTE 'CREATE ROLE {role}'; END $$"],
    ["CREATE FUNCTION f() RETURNS int LANGUAGE plpgsql AS 'BEGIN CREATE ROLE {role}; RETURN 1; END'",
     "SELECT f()"],
    ["ALTER DATABASE {database} SET work_mem = '1MB'"],
    ["COMMENT ON DATABASE {database} IS 'x'"],
    ["ALTER SYSTEM SET work_mem = '1MB'"],
    ["COPY q TO '{file}'"],
    ["COPY q TO PROGRAM 'touch {file}'"],
    ["DROP DATABASE {database}"],
    ["SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{database}'"],
]  # fmt: skip


@pytest.mark.few(1)
@pytest.mark.parametrize("case", OUTWARD, ids=lambda case: case[-1].split(" {")[0][:40])
def test_nothing_is_reached_from_a_trial(
    project: Project,
    server: Server,
    database: str,
    tables: str,
    cli: Cli,
    tmp_path: Path,
    case: list[str],
) -> None:
    """Neither the target nor what all databases share; and a lock on the target is not waited for."""
    file = tmp_path / "out"
    role = f"made_by_{database}"
    project.revision(*(each.format(role=role, database=database, file=file) for each in case))
    with server.connect(database) as other:
        with other.transaction():
            other.execute("LOCK TABLE q")
            assert cli("migrate", "--plan", url=tables).code in {0, 1}
        assert other.execute("SELECT count(*), count(v) FROM q").fetchone() == (200, 200)
        assert other.execute("SELECT FROM pg_attribute WHERE attrelid = 'q'::regclass AND attname = 'x'").fetchone() is None  # fmt: skip
        assert other.execute("SELECT FROM pg_roles WHERE rolname = %s", (role,)).fetchone() is None
        assert other.execute(
            "SELECT count(*) FROM pg_db_role_setting s JOIN pg_database d ON d.oid = setdatabase"
            " WHERE datname = current_database()"
        ).fetchone() == (0,)
        assert other.execute(
            "SELECT shobj_description(oid, 'pg_database') FROM pg_database"
            " WHERE datname = current_database()"
        ).fetchone() == (None,)
    assert not file.exists()
    wait_for(lambda: set(leftovers(server)) <= {"leadctl_trial_4711"})  # another test's


def test_a_killed_runs_database_goes_with_the_next_run(
    project: Project, server: Server, tables: str, cli: Cli
) -> None:
    project.revision("DROP TABLE q")
    with server.connect() as killed, server.connect() as running:
        killed.execute("CREATE DATABASE leadctl_trial_4711")
        running.execute("SELECT pg_advisory_lock(%s, 4712)", (trial_database_module._LOCK_CLASS,))
        running.execute("CREATE DATABASE leadctl_trial_4712")
        assert cli("migrate", "--plan", url=tables).code == 1
        assert "leadctl_trial_4711" not in leftovers(server)
        running.execute("DROP DATABASE leadctl_trial_4712")  # it is still there


def as_owner_without_createdb(server: Server, database: str) -> str:
    name = f"owner_of_{database}"
    with server.connect(database) as connection:
        connection.execute(f"CREATE ROLE {name} LOGIN PASSWORD '{PASSWORD}'")
        connection.execute(f"GRANT ALL ON DATABASE {database} TO {name}")
        connection.execute(f"GRANT ALL ON ALL TABLES IN SCHEMA public, leadctl TO {name}")
        connection.execute(f"GRANT ALL ON SCHEMA public, leadctl TO {name}")
    return server.url(database).replace("postgres:", f"{name}:")


@pytest.mark.thorough
def test_a_role_that_may_make_no_database(
    project: Project, server: Server, database: str, tables: str, cli: Cli
) -> None:
    """A server of leadctl's own takes its place, where there is one of the version."""
    project.revision("DROP TYPE mood CASCADE")
    url = as_owner_without_createdb(server, database)
    outcome = cli("migrate", "--plan", "-o", "json", url=url)
    (statement,) = outcome.json["revisions"][0]["statements"]
    if find_binaries(server.major).is_relative_to(CACHE):  # only the tests know those
        assert "permission denied to create database" in outcome.json["not_tried"]
        assert "CASCADE takes along" in statement["unplannable"]
    else:
        assert outcome.json["not_tried"] is None
        (effect,) = statement["effects"]
        assert effect["table"] == "q"
        assert effect["loss"] == {"what": "column m", "rows": 200, "exact": True}
    assert outcome.code == 1


def test_neither_a_database_nor_a_server(
    project: Project,
    server: Server,
    database: str,
    tables: str,
    cli: Cli,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It is read, and said; what reading does not tell is refused on a protected database."""
    monkeypatch.setattr("leadctl.db.server_binaries", lambda *_: None)
    monkeypatch.setattr(
        "leadctl.postgres.embedded.temporary_server.server_with", lambda *_, **__: None
    )
    assert cli("db", "environment", "production", "--protect", url=tables).code == 0
    project.revision("DROP TYPE mood CASCADE")
    url = as_owner_without_createdb(server, database)
    outcome = cli("migrate", "--plan", url=url)
    assert "Judged by reading, without a trial on the server" in outcome.out
    assert "permission denied to create database" in outcome.out
    assert "unplannable" in outcome.out
    assert cli("migrate", url=url).code == 5


@pytest.mark.thorough
@pytest.mark.parametrize("may_create", [True, False])
def test_what_a_killed_trial_leaves_goes_with_the_next(
    project: Project, server: Server, database: str, tables: str, cli: Cli, may_create: bool
) -> None:
    """A scratch database, or a server of its own with its folder."""
    url = tables if may_create else as_owner_without_createdb(server, database)
    slow = project.revision(
        "DO $$ BEGIN PERFORM count(*) FROM generate_series(1, 900000000), q; END $$"
    )
    running = start("migrate", "--plan", env={"DATABASE_URL": url})
    found = await_trial(running, server, Path(tempfile.gettempdir()), scratch=may_create)
    running.kill()
    running.communicate()
    assert found.is_there(server)
    slow.unlink()
    project.revision("DROP TABLE q", down="own_0001")
    assert cli("migrate", "--plan", url=url).code == 1
    # Another test's command may be the one that removes it: then it is gone a little later.
    deadline = time.monotonic() + 30
    while found.is_there(server) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not found.is_there(server)


@dataclass
class Left:
    """What a trial has made: a database of the server, or a folder and a server of its own."""

    database: str = ""
    folder: Path = Path()
    process: int = 0

    def is_there(self, server: Server) -> bool:
        if self.folder != Path():
            return self.folder.exists() or Path(f"/proc/{self.process}").exists()
        with server.connect() as connection:
            rows = connection.execute(
                "SELECT FROM pg_database WHERE datname = %s", (self.database,)
            )
            return rows.fetchone() is not None


def await_trial(
    running: subprocess.Popen[str], server: Server, folders: Path, *, scratch: bool
) -> Left:
    """Wait until a process tries its statement."""
    with server.connect() as connection:
        while running.poll() is None:
            row = connection.execute(
                "SELECT datname FROM pg_stat_activity WHERE datname ~ '^leadctl_trial'"
                " AND query LIKE '%900000000%'"
            ).fetchone()
            own = next(iter(folders.glob(f"leadctl-temporary-{running.pid}-*")), None)
            if scratch and row:
                return Left(database=row[0])
            if own and not scratch:
                root = Path((own / ".leadctl" / "home").read_text().splitlines()[0])
                pid = root.with_name(f"{root.name}-rehearsal") / "data" / "postmaster.pid"
                if pid.exists() and "ready" in pid.read_text():
                    return Left(folder=own, process=int(pid.read_text().splitlines()[0]))
            time.sleep(0.05)
    raise AssertionError(running.communicate())


def test_reading_alone(project: Project, server: Server, tables: str, cli: Cli) -> None:
    project.revision("DROP TYPE mood CASCADE")
    outcome = cli("migrate", "--plan=read", "-o", "json", url=tables)
    (statement,) = outcome.json["revisions"][0]["statements"]
    assert not statement["tried"]
    assert "CASCADE takes along" in statement["unplannable"]
    assert "reading" in cli("migrate", "--plan=read", url=tables).out
