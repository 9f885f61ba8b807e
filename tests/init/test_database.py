"""`leadctl init --from-database`: databases that others made."""

import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import sqlalchemy
from sqlalchemy.orm import Session, configure_mappers

from leadctl.apps.metadata import load_metadata
from leadctl.apps.registry import find_app, load_module
from leadctl.catalog.definitions import Difference, compare, read_catalog
from leadctl.crypto import keyring_of, using
from leadctl.postgres.binaries import server_binaries
from leadctl.postgres.connect import connect
from leadctl.postgres.engine import run_engine
from leadctl.postgres.target import Target, resolve
from leadctl.settings import load_settings
from tests.conftest import Cli, Prepared
from tests.servers import MAJOR, Server

DATA = Path(__file__).parents[1] / "data"
NODE_KEY = "6b0c6f1d9f2e4a7785c3b1a0de55f00d3c2b1a0918f7e6d5c4b3a29181706f5e"
NEW_KEY = "ab" * 32


@pytest.fixture
def load(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[..., Prepared]]:
    """Load a file of SQL into a database of its own; the current folder is an empty project."""
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.chdir(tmp_path)
    made: list[str] = []

    def loaded(*files: str) -> Prepared:
        text = "".join((DATA / file).read_text() for file in files)
        made.append(server.create())
        with server.connect(made[-1]) as connection:
            for extension in re.findall(r"CREATE EXTENSION (\w+)", text):
                if not connection.execute(
                    "SELECT 1 FROM pg_available_extensions WHERE name = %s", (extension,)
                ).fetchone():
                    pytest.skip(f"this server has no {extension}")
            connection.execute(text)
        return Prepared(made[-1], server.url(made[-1]), server)

    yield loaded
    for name in made:
        server.drop(name)


def target(url: str) -> Target:
    settings = load_settings({"url": url})
    return resolve(settings, app=settings.app)


def differences(one: str, other: str) -> list[Difference]:
    ignore = ["alembic_version", "_prisma_migrations"]
    with connect(target(one), rows=True) as first, connect(target(other), rows=True) as second:
        return compare(
            read_catalog(first, "public", ignore), read_catalog(second, "public", ignore)
        )


@pytest.mark.thorough
@pytest.mark.parametrize(
    ("file", "app"), [("chinook/chinook.sql", "music"), ("prisma/leadconnector.sql", "crm")]
)
def test_models_migrations_and_database_are_one(
    file: str, app: str, load: Callable[..., Prepared], database: str, server: Server, cli: Cli
) -> None:
    existing = load(file)
    outcome = cli("init", "--from-database", "--app", app, "-o", "json", url=existing.url)
    assert outcome.code == 0, outcome.err
    assert outcome.json["unrepresented"] == []
    status = cli("migrate", "status", url=existing.url)
    assert status.code == 0, status.out
    nothing = cli("migrate", "new", "-m", "x", url=existing.url)
    assert nothing.out.startswith("Nothing to write"), nothing.out
    # A new database gets from the migrations, and another from the models, what the old one has.
    assert cli("migrate", url=server.url(database)).code == 0
    assert differences(existing.url, server.url(database)) == []
    models = server.create()
    settings = load_settings()
    with run_engine(target(server.url(models)), "t").connect() as connection, connection.begin():
        load_metadata(find_app(settings)).create_all(connection)
    assert differences(existing.url, server.url(models)) == []
    server.drop(models)
    assert cli("reset", "--yes", url=server.url(database)).code == 0
    assert differences(existing.url, server.url(database)) == []


@pytest.mark.thorough
def test_the_models_are_usable(load: Callable[..., Prepared], cli: Cli) -> None:
    existing = load("prisma/leadconnector.sql")
    assert cli("init", "--from-database", "--app", "crm2", url=existing.url).code == 0
    app = find_app(load_settings())
    models = load_module(app, "crm2_models", "models")
    configure_mappers()
    with Session(run_engine(target(existing.url), "test")) as session:
        page = session.query(models.Page).order_by(models.Page.facebook_page_id).first()
        assert page.user.pages
        assert page.created_at.microsecond % 1000 == 0
        assert {lead.page for lead in page.leads} <= {page}


@pytest.mark.thorough
def test_what_models_cannot_say_is_said_and_kept(
    load: Callable[..., Prepared], database: str, server: Server, cli: Cli
) -> None:
    existing = load("everything.sql", "extensions.sql")
    outcome = cli("init", "--from-database", "--app", "whole", "-o", "json", url=existing.url)
    assert outcome.code == 0, outcome.err
    said = {each["object"] for each in outcome.json["unrepresented"]}
    assert {"view totals", 'trigger "User Accounts".touch', "policy orders.own"} <= said
    assert not {each for each in said if each.startswith("column")}
    done = cli("migrate", url=server.url(database))
    assert done.code == 0, done.err
    assert differences(existing.url, server.url(database)) == []
    configure_mappers()


UNUSUAL = {
    # what a database has: (its SQL, what models cannot say of it)
    "deferred": (
        "CREATE TABLE t (id int, n int, CONSTRAINT k PRIMARY KEY (id) DEFERRABLE,"
        " CONSTRAINT later UNIQUE (n) DEFERRABLE INITIALLY DEFERRED, UNIQUE (n, id) DEFERRABLE)",
        [],
    ),
    "precision": (
        "CREATE TABLE t (id int PRIMARY KEY, a timestamp(0), b timestamptz(0), c time(0),"
        " d timestamp(3), e timetz(0), f interval(0), g timestamp(0)[])",
        [],
    ),
    "a key's order": (
        "CREATE TABLE t (k text, way bigint, version int, PRIMARY KEY (way, version, k))",
        [],
    ),
    "indexes": (
        'CREATE TABLE t (id int PRIMARY KEY, a text, "B c" int, d int[]);'
        "CREATE INDEX i1 ON t (lower(a) varchar_pattern_ops, id DESC NULLS LAST);"
        'CREATE INDEX i2 ON t (a COLLATE "C" text_pattern_ops DESC) INCLUDE (id);'
        'CREATE UNIQUE INDEX i3 ON t (COALESCE("B c", id) DESC, "B c") WHERE a <> \'(\';'
        "CREATE INDEX i4 ON t USING gin (d) WITH (fastupdate = off);"
        "CREATE INDEX i5 ON t ((a || ',)%'), (id::text))",
        [],
    ),
    "exclusions": (
        "CREATE TABLE t (id int PRIMARY KEY, during int4range, n int4range,"
        " CONSTRAINT x EXCLUDE USING gist (during WITH &&, (n * during) WITH =)"
        " WHERE (id > 0) DEFERRABLE INITIALLY DEFERRED, EXCLUDE USING btree (id WITH =))",
        [],
    ),
    "how it is stored": (
        "CREATE UNLOGGED TABLE t (id int PRIMARY KEY)"
        " WITH (fillfactor = 70, autovacuum_vacuum_scale_factor = 0.05)",
        ["table t"] if sqlalchemy.__version__ < "2.1" else [],
    ),
    "sequences": (
        "CREATE SEQUENCE s START 100 INCREMENT 7 CACHE 3 CYCLE;"
        "CREATE TABLE t (id bigint PRIMARY KEY DEFAULT nextval('s'))",
        [],
    ),
    "a sequence that falls, and one with bounds": (
        "CREATE SEQUENCE s AS smallint INCREMENT -2 START 10 MINVALUE -9 MAXVALUE 99;"
        "CREATE SEQUENCE plain_fall INCREMENT -1; CREATE SEQUENCE i AS integer MINVALUE 5;"
        "CREATE TABLE t (id smallint PRIMARY KEY DEFAULT nextval('s'))",
        [],
    ),
    "what is made of enums": (
        "CREATE TYPE mood AS ENUM ('sad'); CREATE TYPE unused AS ENUM ('a');"
        "CREATE DOMAIN felt AS mood DEFAULT 'sad'; CREATE TYPE pair AS (a int, b unused);"
        "CREATE FUNCTION worse(mood) RETURNS mood LANGUAGE sql RETURN $1;"
        "CREATE TABLE t (id int PRIMARY KEY, m mood, f felt, p pair, ps pair[])",
        ["enum unused"],
    ),
    "rows of other tables": (
        "CREATE TABLE z (street text, city text); CREATE TABLE child () INHERITS (z);"
        "CREATE TABLE t (id int PRIMARY KEY, a z, other z[], c child); CREATE DOMAIN good AS z;"
        "CREATE VIEW v AS SELECT id, a FROM t; CREATE TYPE n AS (v v, m int);"
        "CREATE TABLE u (id int PRIMARY KEY, v v, ns n[], g good);"
        "CREATE TYPE of AS (name text, age int); CREATE TABLE w OF of",
        ["table child"],
    ),
    "what takes a table's rows": (
        "CREATE TABLE z (id int PRIMARY KEY, n int);"
        "CREATE FUNCTION good(z) RETURNS boolean LANGUAGE sql IMMUTABLE RETURN $1.id > 0;"
        "CREATE FUNCTION span(z) RETURNS int4range LANGUAGE sql IMMUTABLE"
        " RETURN int4range($1.id, $1.n); CREATE INDEX ON z (span(z));"
        "CREATE FUNCTION made() RETURNS z LANGUAGE sql RETURN row(1, 2)::z;"
        "ALTER TABLE z ADD CHECK (good(z));"
        "CREATE TABLE b (id int, x z[]) PARTITION BY RANGE (span(x[1]));"
        "CREATE DOMAIN checked AS int CHECK (good(row(VALUE, 1)::z));"
        "CREATE TABLE t (id int PRIMARY KEY, a z DEFAULT made(), d checked DEFAULT 1, CHECK (good(a)),"
        " s int4range GENERATED ALWAYS AS (span(a)) STORED, EXCLUDE USING gist (span(a) WITH &&));"
        "CREATE STATISTICS ON (span(a)), (good(a)) FROM t",
        [],
    ),
    "defaults of types with enums": (
        "CREATE TYPE mood AS ENUM ('sad', 'ok'); CREATE TYPE pair AS (a int, m mood);"
        "CREATE DOMAIN d AS mood CHECK (VALUE <> 'ok'); CREATE TYPE pairs AS (p pair, ps pair[]);"
        "CREATE FUNCTION same(mood) RETURNS mood LANGUAGE sql IMMUTABLE RETURN $1;"
        "CREATE TYPE r AS RANGE (SUBTYPE = mood); CREATE TYPE rp AS RANGE (SUBTYPE = pair);"
        "CREATE TABLE t (id int PRIMARY KEY, p pair DEFAULT row(1, 'sad')::pair, d d DEFAULT 'sad',"
        " m mood DEFAULT same('ok'), ps pairs DEFAULT row(row(1, 'ok')::pair, NULL)::pairs,"
        " g mood GENERATED ALWAYS AS ((p).m) STORED, r r DEFAULT '[sad,ok)', rp rp,"
        " CHECK (same((p).m) <> 'ok')); CREATE INDEX ON t (same(m), ((p).m))",
        [],
    ),
    "parts by hash": (
        "CREATE TABLE t (id int, account int, PRIMARY KEY (account, id))"
        " PARTITION BY HASH (account);"
        "CREATE TABLE t_0 PARTITION OF t FOR VALUES WITH (MODULUS 1, REMAINDER 0)",
        [],
    ),
    "children": (
        "CREATE TABLE t (id int PRIMARY KEY); CREATE TABLE child (more text) INHERITS (t);"
        "CREATE INDEX ON child (more)",
        ["table child"],
    ),
    "types that nobody uses": (
        "CREATE TYPE used AS ENUM ('a'); CREATE TYPE unused AS ENUM ('b');"
        "CREATE TABLE t (id int PRIMARY KEY, u used)",
        ["enum unused"],
    ),
    "not valid": (
        "CREATE TABLE t (id int PRIMARY KEY, up int);"
        "ALTER TABLE t ADD CONSTRAINT f FOREIGN KEY (up) REFERENCES t NOT VALID",
        ["constraint t.f"],
    ),
    "domains": (
        "CREATE DOMAIN email AS text CHECK (VALUE LIKE '%@%') DEFAULT 'a@b';"
        "CREATE TABLE t (id int PRIMARY KEY, e email NOT NULL, es email[])",
        [],
    ),
    "names that the file of models needs": (
        "CREATE TYPE \"Interval\" AS ENUM ('month'); CREATE TYPE kind AS ENUM ('a');"
        " CREATE TYPE \"Kind\" AS ENUM ('b');"
        "CREATE TABLE t (id int PRIMARY KEY, uuid uuid, other uuid, datetime timestamptz,"
        " at timestamptz, str text, int int, more text, text text DEFAULT 'x', list text[],"
        ' mapped_column int, later int DEFAULT 3, i "Interval", j interval, k kind, l "Kind",'
        ' "☃²" int, "1²" int); CREATE TABLE "ARRAY" (x int[]);'
        'CREATE TABLE "Integer" (id int PRIMARY KEY, t_id int REFERENCES t);'
        "CREATE TABLE dates (id int PRIMARY KEY, d date)",
        [],
    ),
    "operators": (
        "CREATE FUNCTION less(text, text) RETURNS boolean LANGUAGE sql IMMUTABLE"
        " AS 'SELECT $1 < $2';"
        "CREATE OPERATOR <<< (LEFTARG = text, RIGHTARG = text, FUNCTION = less);"
        "CREATE TABLE t (id int PRIMARY KEY, a text)",
        [],
    ),
}


if MAJOR >= 18:
    UNUSUAL["not enforced"] = (
        "CREATE TABLE t (id int PRIMARY KEY, up int REFERENCES t NOT ENFORCED,"
        " CONSTRAINT c CHECK (up > 0) NOT ENFORCED)",
        ["constraint t.c", "constraint t.t_up_fkey"],
    )


@pytest.mark.few(1)
@pytest.mark.parametrize("name", UNUSUAL)
def test_models_of_a_database_change_nothing_of_it(
    name: str,
    server: Server,
    database: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    cli: Cli,
) -> None:
    sql, unmanaged = UNUSUAL[name]
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    with server.connect(database) as connection:
        connection.execute(sql)
    url, app = server.url(database), f"unusual_{list(UNUSUAL).index(name)}"
    assert cli("init", "--from-database", "--app", app, url=url).code == 0
    assert find_app(load_settings({"app": app})).unmanaged == tuple(unmanaged)
    assert cli("migrate", "check", url=url).code == 0
    nothing = cli("migrate", "new", "-m", "x", url=url)
    assert nothing.out.startswith("Nothing to write"), nothing.out
    # A change of one's own brings nothing else along.
    before = dumped(url)
    models = tmp_path / f"{app}_models.py"
    models.write_text(
        models.read_text().replace(
            "class T(Base):\n", "class T(Base):\n    added: Mapped[int | None]\n"
        )
    )
    monkeypatch.delitem(sys.modules, models.stem, raising=False)
    done = cli("migrate", "dev", "-m", "x", url=url)
    assert done.code == 0, done.err
    after = [line for line in dumped(url) if line.strip(" ,") != "added integer"]
    assert [line.rstrip(",") for line in after] == [line.rstrip(",") for line in before]


def dumped(url: str) -> list[str]:
    """Return what pg_dump says of the schema public, without the version table."""
    done = subprocess.run(
        [
            str(server_binaries().path("pg_dump")),
            "-s",
            "-n",
            "public",
            "-T",
            "alembic_version",
            url,
        ],
        capture_output=True,
        text=True,
        check=True,
    )
    return [line for line in done.stdout.splitlines() if not line.startswith(("--", "\\"))]


@pytest.mark.thorough
def test_columns_that_are_to_be_encrypted(load: Callable[..., Prepared], cli: Cli) -> None:
    existing = load("prisma/leadconnector.sql")
    encrypt = ["--encrypt", "users.accessToken", "--encrypt", "users.refreshToken"]
    wrong = cli("init", "--from-database", "--encrypt", "users.none", url=existing.url)
    assert (wrong.code, wrong.out) == (2, "")
    outcome = cli(
        "init", "--from-database", "--app", "crm3", *encrypt, "-o", "json", url=existing.url
    )
    assert outcome.code == 0, outcome.err
    assert outcome.json["encrypted"] == [
        {"column": "pages.accessToken", "why": "its values: Node's ciphertext"}
    ]
    env = {"ENCRYPTION_KEY": "", "ENCRYPTION_KEYS": f"new:{NEW_KEY},legacy/node:{NODE_KEY}"}
    assert cli("keys", "rotate", url=existing.url, env=env).code == 0
    models = load_module(find_app(load_settings()), "crm3_models", "models")
    keys = keyring_of(load_settings(environ=env))
    with Session(run_engine(target(existing.url), "test")) as session, using(keys):
        tokens = {user.access_token for user in session.query(models.User)}
    assert tokens == {"EAAG-user-token-ada", "EAAG-user-token-grace"}


@pytest.mark.thorough
def test_prismas_history_is_checked(
    load: Callable[..., Prepared], tmp_path: Path, cli: Cli
) -> None:
    existing = load("prisma/leadconnector.sql")
    insert = (
        "INSERT INTO _prisma_migrations (id, checksum, migration_name, finished_at, rolled_back_at)"
        " VALUES (%s, 'x', %s, %s, %s)"
    )
    existing.query(insert, "2", "2_missing", "2026-01-01", None)
    existing.query(insert, "3", "3_failed", None, None)
    existing.query(insert, "4", "4_rolled_back", None, "2026-01-01")
    existing.query(insert, "5", "5_edited", "2026-01-01", None)
    folder = tmp_path / "prisma" / "migrations"
    shutil.copytree(DATA / "prisma" / "migrations", folder)
    (initial,) = folder.glob("*/migration.sql")
    initial.write_bytes(initial.read_bytes().replace(b"\n", b"\r\n"))
    for name in ("5_edited", "6_pending"):
        (folder / name).mkdir()
        (folder / name / "migration.sql").write_text("SELECT 1;\n")
    outcome = cli("init", "--from-database", "--app", "crm4", "-o", "json", url=existing.url)
    assert outcome.code == 0, outcome.err
    states = {each["name"]: each["state"] for each in outcome.json["prisma"]}
    assert states == {
        "20261121013415_initial_schema": "applied",
        "2_missing": "missing",
        "3_failed": "failed",
        "4_rolled_back": "rolled back",
        "5_edited": "edited",
        "6_pending": "pending",
    }
    assert existing.query("SELECT count(*) FROM _prisma_migrations") == [(5,)]


@pytest.mark.thorough
def test_prismas_history_goes_where_that_is_said(load: Callable[..., Prepared], cli: Cli) -> None:
    existing = load("prisma/leadconnector.sql")
    outcome = cli("init", "--from-database", "--app", "crm5", "--drop-history", url=existing.url)
    assert outcome.code == 0, outcome.err
    assert existing.query("SELECT to_regclass('_prisma_migrations') IS NOT NULL") == [(True,)]
    assert cli("migrate", url=existing.url).code == 0
    assert existing.query("SELECT to_regclass('_prisma_migrations') IS NOT NULL") == [(False,)]


@pytest.mark.thorough
def test_leadconnector_takes_over_prismas_database(
    load: Callable[..., Prepared], leadconnector: Prepared, tmp_path: Path, cli: Cli
) -> None:
    existing = load("prisma/leadconnector.sql")
    tables = ("users", "pages", "leads", "webhooks", "page_webhook_configs", "webhook_deliveries")
    rows = {table: existing.query(f"SELECT count(*) FROM {table}") for table in tables}
    time = existing.query("SELECT \"createdAt\" AT TIME ZONE 'UTC' FROM leads ORDER BY id")
    env = {"ENCRYPTION_KEY": "", "ENCRYPTION_KEYS": f"new:{NEW_KEY},legacy/node:{NODE_KEY}"}
    outcome = cli("init", "--from-database", "--take-over", url=existing.url, env=env)
    assert outcome.code == 0, outcome.err
    done = cli("migrate", url=existing.url, env=env)
    assert done.code == 0, done.err
    assert differences(existing.url, leadconnector.url) == []
    assert {table: existing.query(f"SELECT count(*) FROM {table}") for table in tables} == rows
    assert existing.query("SELECT created_at FROM leads ORDER BY id") == time
    assert cli("keys", "rotate", url=existing.url, env=env).code == 0
    assert cli("migrate", "new", "-m", "x", url=existing.url, env=env).out.startswith("Nothing")
    # The built-in app goes on from there without the project's files.
    shutil.rmtree(tmp_path / "migrations")
    (tmp_path / "leadctl.toml").unlink()
    for revision in ("leadconnector_0001", "leadconnector_0002"):
        arguments = ("migrate", "resolve", "--accept-edit", revision)
        assert cli(*arguments, url=existing.url, env=env).code == 0
    assert cli("migrate", "status", url=existing.url, env=env).code == 0
    new_key_only = {"ENCRYPTION_KEY": NEW_KEY}
    assert cli("seed", url=existing.url, env=new_key_only).code == 0
    assert cli("health-check", url=existing.url, env=new_key_only).code == 0


@pytest.mark.thorough
def test_init_may_begin_anew(
    load: Callable[..., Prepared],
    tmp_path_factory: pytest.TempPathFactory,
    cli: Cli,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    existing = load("prisma/leadconnector.sql")
    first = cli("init", "--from-database", "--app", "crm6", url=existing.url)
    assert "leadctl init --from-database --take-over" in " ".join(first.out.split())
    again = cli("init", "--from-database", "--app", "crm6", url=existing.url)
    assert (again.code, again.out) == (5, "")
    assert "to start again, first remove" in again.err
    monkeypatch.chdir(tmp_path_factory.mktemp("empty"))
    second = cli("init", "--from-database", "--take-over", "-o", "json", url=existing.url)
    assert second.code == 0, second.err
    assert any("crm6_0001 of crm6" in note for note in second.json["notes"])
    recorded = existing.query("SELECT app, revision FROM leadctl.migration")
    assert recorded == [("leadconnector", "leadconnector_0001")]
    assert cli("migrate", url=existing.url).code == 0
    # What was applied is more than a record.
    monkeypatch.chdir(tmp_path_factory.mktemp("other"))
    third = cli("init", "--from-database", "--app", "crm6", url=existing.url)
    assert (third.code, third.out) == (5, "")
    assert "migrated by leadctl already: the app leadconnector is at" in third.err
    assert not list(Path.cwd().iterdir())


OWN_MODELS = """\
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

class Base(DeclarativeBase):
    pass

class Order(Base):
    __tablename__ = "orders"
    id: Mapped[int] = mapped_column(primary_key=True)
    placed_by: Mapped[str | None]
"""
OWN_TAKE_OVER = """\
-- The old shop cannot work
-- on it afterwards.

-- As the models have it.
ALTER TABLE "Orders" RENAME COLUMN "placedBy" TO placed_by;
ALTER TABLE "Orders"
    RENAME TO orders;
ALTER SEQUENCE "Orders_id_seq" RENAME TO orders_id_seq;
"""


@pytest.mark.thorough
def test_an_own_app_takes_over_what_its_file_renames(
    server: Server, database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cli: Cli
) -> None:
    with server.connect(database) as connection:
        connection.execute(
            'CREATE TABLE "Orders" (id serial, "placedBy" varchar,'
            " CONSTRAINT orders_pkey PRIMARY KEY (id));"
            """INSERT INTO "Orders" ("placedBy") VALUES ('ada')"""
        )
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    module = f"models_{database}"
    (tmp_path / f"{module}.py").write_text(OWN_MODELS)
    (tmp_path / "from_old.sql").write_text(OWN_TAKE_OVER)
    configuration = f'[apps.store]\nmodels = "{module}:Base"\ntake_over = "from_old.sql"\n'
    (tmp_path / "leadctl.toml").write_text(configuration)
    url = server.url(database)
    outcome = cli("init", "--from-database", "--take-over", "-o", "json", url=url)
    assert outcome.code == 0, outcome.err
    assert outcome.json["notes"][1:] == ["The old shop cannot work on it afterwards."]
    assert outcome.json["next"] == ["leadctl migrate --plan", "leadctl migrate"]
    assert (tmp_path / "leadctl.toml").read_text() == configuration
    again = cli("init", "--from-database", "--take-over", url=url)
    assert (again.code, again.out) == (5, "")
    assert "has revisions, and init overwrites nothing" in again.err
    assert cli("migrate", url=url).code == 0
    assert cli("migrate", "check", url=url).code == 0
    with server.connect(database) as connection:
        assert connection.execute("SELECT * FROM orders").fetchall() == [(1, "ada")]


def test_take_over_of_another_database(load: Callable[..., Prepared], cli: Cli) -> None:
    outcome = cli("init", "--from-database", "--take-over", url=load("chinook/chinook.sql").url)
    assert (outcome.code, outcome.out) == (1, "")
    assert not list(Path.cwd().iterdir())


HISTORIES = {
    "Django": "CREATE TABLE django_migrations (id serial PRIMARY KEY, app text, name text, applied timestamptz)",
    "Rails": "CREATE TABLE schema_migrations (version varchar PRIMARY KEY);"
    "CREATE TABLE ar_internal_metadata (key varchar PRIMARY KEY, value varchar)",
    "dbmate": "CREATE TABLE schema_migrations (version varchar(128) PRIMARY KEY)",
    "Flyway": "CREATE TABLE flyway_schema_history (installed_rank int PRIMARY KEY, checksum int, success bool)",
}


@pytest.mark.few(1)
@pytest.mark.parametrize("tool", HISTORIES)
def test_histories_of_other_tools_are_named_and_left(
    tool: str, server: Server, database: str, cli: Cli, tmp_path: Path
) -> None:
    with server.connect(database) as connection:
        connection.execute("CREATE TABLE cats (id int PRIMARY KEY)")
        connection.execute(HISTORIES[tool])
    name = f"cats_{tool.lower()}"
    outcome = cli("init", "--from-database", "--app", name, "-o", "json", url=server.url(database))
    assert outcome.code == 0, outcome.err
    assert [each["tool"] for each in outcome.json["histories"]] == [tool]
    assert outcome.json["tables"] == ["cats"]
    assert outcome.json["unrepresented"] == []
    assert cli("migrate", "new", "-m", "x", url=server.url(database)).out.startswith("Nothing")


def test_a_database_that_alembic_migrates_is_refused(
    server: Server, database: str, cli: Cli, tmp_path: Path
) -> None:
    with server.connect(database) as connection:
        connection.execute("CREATE TABLE cats (id int PRIMARY KEY)")
        connection.execute("CREATE TABLE alembic_version (version_num varchar(32) PRIMARY KEY)")
    outcome = cli("init", "--from-database", "--app", "cats", url=server.url(database))
    assert (outcome.code, outcome.out) == (5, "")
    assert "alembic_version" in outcome.err
    assert not list(Path.cwd().iterdir())


ELSEWHERE = """
CREATE SCHEMA billing;
CREATE TYPE billing.kind AS ENUM ('a', 'b');
CREATE TABLE billing.invoices (id int PRIMARY KEY);
CREATE FUNCTION billing.next() RETURNS int LANGUAGE sql AS 'SELECT 1';
CREATE SCHEMA ext; CREATE EXTENSION citext SCHEMA ext; CREATE EXTENSION postgres_fdw;
CREATE SERVER far FOREIGN DATA WRAPPER postgres_fdw;
"""
NEEDS_ELSEWHERE = """
CREATE TABLE cats (
    id int PRIMARY KEY DEFAULT billing.next(), kind billing.kind NOT NULL DEFAULT 'a',
    kinds billing.kind[], name ext.citext, owed billing.invoices,
    last int CONSTRAINT last REFERENCES billing.invoices ON DELETE CASCADE
);
CREATE INDEX ON cats (kind);
CREATE DOMAIN own AS billing.kind;
CREATE VIEW owed AS SELECT * FROM billing.invoices;
CREATE FOREIGN TABLE strays (id int) SERVER far;
"""


@pytest.mark.thorough
def test_what_is_needed_of_elsewhere_is_said(
    server: Server, database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cli: Cli
) -> None:
    """With that a new database gets from the baseline what pg_dump says of the old one."""
    monkeypatch.chdir(tmp_path)
    url, new = server.url(database), server.create()
    with server.connect(database) as connection:
        connection.execute(ELSEWHERE + NEEDS_ELSEWHERE)
    with server.connect(database) as writer, writer.transaction():
        writer.execute("INSERT INTO billing.invoices VALUES (1)")  # which a key's lock waits for
        outcome = cli("init", "--from-database", "--app", "cats2", "-o", "json", url=url)
    assert outcome.code == 0, outcome.err
    assert "equals the database." in outcome.err
    assert (
        "Not tried, since that locks tables of other schemas: constraint cats.last" in outcome.err
    )
    _ignored, read, needed = outcome.json["notes"]
    assert read.endswith("were not read: billing.")
    assert needed.endswith(
        ": extension citext in ext, function billing.next(), server far, table billing.invoices, "
        "type billing.invoices, type billing.kind."
    )
    assert outcome.json["tables"] == ["cats"]
    assert find_app(load_settings({"app": "cats2"})).unmanaged == (
        "constraint cats.last",
        "table strays",
    )
    assert cli("migrate", "check", url=url).code == 0
    assert cli("migrate", "new", "-m", "x", url=url).out.startswith("Nothing to write")
    with server.connect(new) as connection:
        connection.execute(ELSEWHERE)
    done = cli("migrate", url=server.url(new))
    assert done.code == 0, done.err
    assert dumped(server.url(new)) == dumped(url)
    server.drop(new)


def test_what_the_server_rejects_is_left_out(
    server: Server, database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cli: Cli
) -> None:
    """A role that may make no function of the server's own, nor what calls one; all else goes on."""
    monkeypatch.chdir(tmp_path)
    role = f"{database}_reader"
    with server.connect(database) as connection:
        connection.execute(
            "CREATE FUNCTION plus(int) RETURNS int LANGUAGE internal IMMUTABLE AS 'int4up';"
            "CREATE TABLE t (id int PRIMARY KEY, n int DEFAULT plus(1), CHECK (plus(n) > 0));"
            "CREATE TABLE u (id int PRIMARY KEY, t int REFERENCES t, g int GENERATED ALWAYS AS (plus(id)) STORED);"
            "CREATE INDEX ON u (plus(t));"
            f"CREATE ROLE {role} LOGIN PASSWORD 'reads'; GRANT ALL ON SCHEMA public TO {role};"
            f"GRANT CREATE ON DATABASE {database} TO {role}; GRANT ALL ON t, u TO {role}"
        )
    url = server.url(database)
    other = url.replace("postgres:correct%20horse%20battery", f"{role}:reads")
    try:
        outcome = cli("init", "--from-database", "--app", "rejects", "-o", "json", url=other)
        assert outcome.code == 0, outcome.err
        assert "equals the database but for" in outcome.err
        left = next(each for each in outcome.json["notes"] if "does not make" in each)
        assert "function plus(integer) (permission denied for language internal)" in left
        assert outcome.json["tables"] == ["t", "u"]
        done = cli("migrate", "check", url=other)
        assert done.code == 0, done.out + done.err
        assert cli("migrate", "new", "-m", "x", url=other).out.startswith("Nothing to write")
    finally:
        with server.connect(database) as connection:
            connection.execute(f"DROP OWNED BY {role}; DROP ROLE {role}")


def test_a_column_of_a_typed_table_is_refused_by_name(
    server: Server, database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cli: Cli
) -> None:
    """PostgreSQL has no other columns there than the type's, which models do not say."""
    monkeypatch.chdir(tmp_path)
    url = server.url(database)
    with server.connect(database) as connection:
        connection.execute("CREATE TYPE pair AS (x int, y text); CREATE TABLE t OF pair")
        connection.execute("ALTER TABLE t ADD PRIMARY KEY (x)")
    assert cli("init", "--from-database", "--app", f"typed_{database}", url=url).code == 0
    models = tmp_path / f"typed_{database}_models.py"
    text = models.read_text()
    models.write_text(text.replace("class T(Base):", "class T(Base):\n    n: Mapped[int | None]"))
    outcome = cli("migrate", "new", "-m", "n", url=url)
    assert (outcome.code, "The table t is of the type pair" in outcome.err) == (1, True), (
        outcome.err
    )
    assert "ALTER TYPE pair ADD ATTRIBUTE" in outcome.err


def test_an_empty_database(server: Server, database: str, cli: Cli) -> None:
    outcome = cli("init", "--from-database", "--app", "cats", url=server.url(database))
    assert (outcome.code, outcome.out) == (1, "")


@pytest.mark.parametrize(
    "wrong", [["--encrypt", "a.b"], ["--take-over"], ["--from-database", "--models", "a:b"]]
)
def test_options_that_mean_nothing_together(wrong: list[str], cli: Cli) -> None:
    assert cli("init", *wrong, url="postgresql://localhost/x").code == 2
