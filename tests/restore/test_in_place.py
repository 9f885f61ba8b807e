"""`restore --in-place`: by the usual role of an app, in one transaction, or nothing at all."""

import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import psycopg
import pytest

import leadctl
from leadctl.backup.manifest import parse, render
from leadctl.restore.database import maintenance
from leadctl.restore.restore import _drop
from tests.backups import Place, create, plain_dump
from tests.conftest import Cli
from tests.processes import environment
from tests.restore.test_dropped import SHOP
from tests.servers import PASSWORD, Server

ROLE = f"in_place_app_{os.getpid()}"
MORE = """
CREATE FUNCTION alone(n int) RETURNS int LANGUAGE sql AS 'SELECT n';
CREATE PROCEDURE doing() LANGUAGE sql AS 'SELECT 1';
CREATE TYPE pair AS (a int, b text);
CREATE SEQUENCE counter START 7;
CREATE VIEW two AS SELECT 2 AS two;
CREATE VIEW three AS SELECT two + 1 AS three FROM two;
CREATE TABLE logs (id int, at date, PRIMARY KEY (id, at)) PARTITION BY RANGE (at);
CREATE TABLE logs_1 PARTITION OF logs FOR VALUES FROM ('2020-01-01') TO ('2030-01-01');
CREATE TEXT SEARCH DICTIONARY plain (TEMPLATE = simple, STOPWORDS = english);
CREATE TEXT SEARCH CONFIGURATION "our words" (COPY = simple);
ALTER TEXT SEARCH CONFIGURATION "our words" ALTER MAPPING FOR asciiword WITH plain;
CREATE FUNCTION same(int, text) RETURNS bool LANGUAGE sql IMMUTABLE AS 'SELECT $1::text = $2';
CREATE OPERATOR === (LEFTARG = int, RIGHTARG = text, FUNCTION = same);
CREATE TABLE words (id int PRIMARY KEY, t text, v tsvector GENERATED ALWAYS AS (to_tsvector('"our words"', t)) STORED);
CREATE INDEX by_word ON words USING gin (to_tsvector('"our words"', t));
INSERT INTO words (id, t) VALUES (1, 'the word');
INSERT INTO logs SELECT i, '2024-01-01' FROM generate_series(1, 50) i;
SELECT nextval('counter');
"""


class InPlace(Place):
    """A database of an app's role, which owns the schema public and may make no database."""

    def __init__(self, server: Server, name: str, cli: Cli, folder: Path) -> None:
        super().__init__(server, name, cli, folder)
        self.url = self.url.replace("//postgres:", f"//{ROLE}:")
        self.backup = Path()

    def connect(self, name: str) -> psycopg.Connection[Any]:
        return psycopg.connect(self.url, dbname=name, autocommit=True)

    def dump(self) -> list[str]:
        return plain_dump(self.server, self.name, None, "--exclude-schema=leadctl")


@pytest.fixture
def place(server: Server, cli: Cli, tmp_path: Path) -> Iterator[InPlace]:
    name = create(server, f"in_place_{os.getpid()}", "")
    with server.connect(name) as connection:
        connection.execute(f"DROP ROLE IF EXISTS {ROLE}")
        connection.execute(f"CREATE ROLE {ROLE} LOGIN PASSWORD '{PASSWORD}' IN ROLE pg_monitor")
        connection.execute(f"ALTER SCHEMA public OWNER TO {ROLE}")
        connection.execute(f"ALTER DATABASE {name} OWNER TO {ROLE}")
        connection.execute("CREATE SCHEMA others; CREATE TABLE others.t (id int)")
        connection.execute(
            f"GRANT SELECT ON others.t TO {ROLE}; GRANT USAGE ON SCHEMA others TO {ROLE}"
        )
    found = InPlace(server, name, cli, tmp_path)
    try:
        found.query(SHOP.replace("ALTER TABLE orders FORCE ROW LEVEL SECURITY;", ""))
        found.query(MORE)
        assert found.leadctl("db", "environment", "dev", "--unprotect").code == 0
        made = found.leadctl("backup", "-o", "json")
        assert made.code == 0, made.err
        found.backup = Path(made.json["path"])
        yield found
    finally:
        server.drop(name)
        with server.connect() as connection:
            connection.execute(f"DROP ROLE {ROLE}")


def test_all_is_as_it_was(place: InPlace) -> None:
    before = place.dump()
    refused = place.leadctl("restore", "latest", "--yes")
    assert (refused.code, "--in-place" in refused.err) == (4, True), refused.err
    place.query(
        "DROP TABLE items; UPDATE customers SET name = 'z'; DROP VIEW three; DROP TYPE pair"
    )
    place.query("CREATE TABLE newer (id serial, o int REFERENCES orders)")
    place.query(
        'ALTER TEXT SEARCH CONFIGURATION "our words" DROP MAPPING FOR asciiword;'
        "DROP OPERATOR === (int, text); ALTER TEXT SEARCH DICTIONARY plain (STOPWORDS = french)"
    )
    place.query("CREATE VIEW newest AS TABLE newer; ALTER TABLE customers RENAME name TO called")
    assert place.leadctl("restore", "latest", "--in-place").code == 5
    outcome = place.leadctl("restore", "latest", "--in-place", "--yes", "-o", "json")
    assert (outcome.code, "does not have it: public.newer." in outcome.err) == (0, True), (
        outcome.err
    )
    assert place.dump() == before
    assert place.query("SELECT count(*) FROM leadctl.run WHERE command = 'restore'") == [(1,)]


def test_a_replaced_database_that_cannot_be_dropped_is_kept(place: InPlace, server: Server) -> None:
    """The restore is done by then: its result and its record are not lost."""
    old = create(server, f"{place.name}_old", "")
    said: list[str] = []
    target = leadctl.database(place.url).target
    try:
        with server.connect(old) as session:  # a superuser's, which the owner cannot end
            session.execute(f"ALTER DATABASE {old} OWNER TO {ROLE}")
            with maintenance(target) as connection:
                assert _drop(target, connection, old, 1, said.append, whole=True) == old
        assert said[0].startswith(f"Kept {old}, which cannot be dropped: ")
        with maintenance(target) as connection:
            assert _drop(target, connection, old, 1, said.append, whole=True) is None
        assert said[1:] == [f"Dropped {old}, the old database."]
    finally:
        server.drop(old)


def test_objects_that_need_each_other(place: InPlace, server: Server) -> None:
    """A policy asks a function for a row of its own table, and a check a function that takes one."""
    place.query(
        "CREATE TABLE profiles (id int PRIMARY KEY, of name DEFAULT current_user);"
        "INSERT INTO profiles VALUES (1);"
        "CREATE FUNCTION me() RETURNS profiles STABLE RETURN (SELECT p FROM profiles p LIMIT 1);"
        "CREATE FUNCTION good(p profiles) RETURNS bool IMMUTABLE RETURN p.id > 0;"
        "CREATE POLICY own ON profiles USING (of = (me()).of);"
        "ALTER TABLE profiles ADD CHECK (good(profiles));"
        "CREATE VIEW mine AS SELECT (me()).*"
    )
    made = place.leadctl("backup")
    assert made.code == 0, made.err
    before = place.dump()
    place.query("UPDATE profiles SET id = 2; DROP VIEW mine")
    with server.connect(place.name) as connection:
        connection.execute("CREATE VIEW others.v AS SELECT public.good(NULL::public.profiles)")
    stopped = place.leadctl("restore", "latest", "--in-place", "--yes")
    assert (stopped.code, "view others.v depends on" in stopped.err) == (5, True), stopped.err
    assert place.query("SELECT id FROM profiles") == [(2,)]
    with server.connect(place.name) as connection:
        connection.execute("DROP VIEW others.v")
    outcome = place.leadctl("restore", "latest", "--in-place", "--yes")
    assert outcome.code == 0, outcome.err
    assert place.dump() == before


@pytest.mark.parametrize("option", ["--exclude", "--exclude-data"])
def test_rows_that_the_backup_does_not_have(place: InPlace, option: str) -> None:
    place.query("CREATE TABLE log (id int); INSERT INTO log SELECT generate_series(1, 50)")
    assert place.leadctl("backup", option, "log").code == 0
    before = place.dump()
    outcome = place.leadctl("restore", "latest", "--in-place", "--yes")
    assert (outcome.code, "public.log were left out" in outcome.err) == (1, True), outcome.err
    assert place.dump() == before


def test_what_others_need_stops_it(place: InPlace, server: Server) -> None:
    with server.connect(place.name) as connection:
        connection.execute("CREATE VIEW others.v AS SELECT * FROM customers")
    before = place.dump()
    outcome = place.leadctl("restore", "latest", "--in-place", "--yes")
    assert (outcome.code, "others.v" in outcome.err) == (5, True), outcome.err
    assert place.dump() == before


MEMBERS = (
    "SELECT pubname, tablename, attnames::text, rowfilter FROM pg_publication_tables ORDER BY 1, 2"
)


def test_publications_keep_their_tables(place: InPlace, server: Server) -> None:
    """DROP TABLE takes a table out of every publication, without a word."""
    with server.connect(place.name) as connection:
        connection.execute(
            "CREATE PUBLICATION ours FOR TABLE customers (id) WHERE (id > 0), orders;"
            f"ALTER PUBLICATION ours OWNER TO {ROLE}"
        )
        before = connection.execute(MEMBERS).fetchall()
        outcome = place.leadctl("restore", "latest", "--in-place", "--yes")
        assert outcome.code == 0, outcome.err
        assert connection.execute(MEMBERS).fetchall() == before
        assert place.leadctl("backup").code == 0
        connection.execute("ALTER PUBLICATION ours OWNER TO postgres")
        for taken_out in ("orders", "customers"):
            outcome = place.leadctl("restore", "latest", "--in-place", "--yes")
            assert (outcome.code, "ours has public.customers" in outcome.err) == (5, True)
            assert "--data-only" in outcome.err
            assert connection.execute(MEMBERS).fetchall() == before
            connection.execute(f"ALTER PUBLICATION ours DROP TABLE {taken_out}")
            before = connection.execute(MEMBERS).fetchall()
        outcome = place.leadctl("restore", "latest", "--in-place", "--yes")
        assert (outcome.code, "ADD TABLE ONLY public.customers (id)" in outcome.err) == (0, True), (
            outcome.err
        )


def test_a_failure_leaves_all_as_it_was(place: InPlace) -> None:
    path = place.backup / "manifest.json"
    manifest = parse(path.read_text())
    tables = tuple(
        replace(t, rows=t.rows + 1) if t.name.endswith(".items") else t for t in manifest.tables
    )
    path.write_text(render(replace(manifest, tables=tables)))
    place.query("DELETE FROM items WHERE id > 7")
    before = place.dump()
    outcome = place.leadctl("restore", "latest", "--in-place", "--yes")
    assert (outcome.code, "has 300 rows of public.items" in outcome.err) == (1, True), outcome.err
    assert place.dump() == before


def test_whoever_read_the_messages_is_gone(place: InPlace) -> None:
    """As of `2>&1 | head`: the keys are validated, and the journal has the restore."""
    place.query("DELETE FROM items")
    keys = {"BACKUP_DIR": str(place.backups), "BACKUP_IDENTITY_FILE": str(place.identity)}
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run(
        [sys.executable, "-m", "leadctl", "restore", "latest", "--in-place", "--yes"],
        env=environment({**keys, "DATABASE_URL": place.url}),
        stdout=subprocess.PIPE,
        stderr=writer,
        check=False,
    )
    os.close(writer)
    assert (done.returncode, b"items" in done.stdout) == (0, True)
    assert place.query("SELECT count(*) FROM items") == [(300,)]
    assert place.query("SELECT count(*) FROM pg_constraint WHERE NOT convalidated") == [(0,)]
    assert place.query("SELECT outcome FROM leadctl.run WHERE command = 'restore'") == [("done",)]


def test_the_guard(place: InPlace) -> None:
    place.leadctl("db", "environment", "production", "--protect")
    before = place.dump()
    outcome = place.leadctl("restore", "latest", "--in-place", "--yes")
    assert (outcome.code, "restore in place" in outcome.err) == (5, True), outcome.err
    assert place.dump() == before
    done = place.leadctl("restore", "latest", "--in-place", "--confirm", place.name)
    assert done.code == 0, done.err
    assert place.query("SELECT environment, protected FROM leadctl.identity") == [
        ("production", True)
    ]


def test_a_table_that_a_session_holds(place: InPlace) -> None:
    with psycopg.connect(place.url) as session:
        session.execute("INSERT INTO items VALUES (999, 1)")
        outcome = place.leadctl(
            *("restore", "latest", "--in-place", "--yes", "--lock-timeout", "0.2s")
        )
        assert (outcome.code, "locked" in outcome.err) == (1, True), outcome.err
    assert place.query("SELECT count(*) FROM items") == [(301,)]


def test_a_schema_whose_name_begins_like_the_apps(place: InPlace, server: Server) -> None:
    """What `public x` has is not the schema public's, and stays as it is."""
    with server.connect(place.name) as connection:
        connection.execute('CREATE SCHEMA "public items"; CREATE TABLE "public items".t (id int)')
        connection.execute('CREATE TABLE public."items t" (id int)')
        connection.execute(f'ALTER TABLE public."items t" OWNER TO {ROLE}')
    with server.connect(place.name) as connection:
        connection.execute(f'GRANT USAGE ON SCHEMA "public items" TO {ROLE}')
        connection.execute(f'GRANT SELECT ON "public items".t TO {ROLE}')
    assert place.leadctl("backup").code == 0
    place.query('DROP TABLE "items t"; DELETE FROM items')
    with server.connect(place.name) as connection:
        connection.execute('INSERT INTO "public items".t VALUES (7)')
    outcome = place.leadctl("restore", "latest", "--in-place", "--yes")
    assert outcome.code == 0, outcome.err
    assert place.query('SELECT * FROM "public items".t') == [(7,)]
    assert place.query('SELECT count(*) FROM "items t", items') == [(0,)]
    assert place.query("SELECT count(*) FROM items") == [(300,)]


SUPABASE_LIKE = f"""
CREATE TABLE others.users (id int PRIMARY KEY, email text);
CREATE TRIGGER on_created AFTER INSERT ON others.users FOR EACH ROW EXECUTE FUNCTION public.new_user();
CREATE TABLE others.objects (id int, of int, code text DEFAULT public.code(1));
CREATE POLICY ours ON others.objects USING (public.is_member(of));
CREATE VIEW others.summed AS SELECT public.total(of), public.names(1) FROM others.objects GROUP BY of;
CREATE FUNCTION others.twice(a int) RETURNS int BEGIN ATOMIC SELECT 2 * public.inner_one(a); END;
GRANT EXECUTE ON FUNCTION others.twice TO {ROLE};
GRANT SELECT, INSERT ON others.users, others.objects TO {ROLE};
"""
NEEDED = """
CREATE TABLE profiles (id int PRIMARY KEY, email text);
CREATE FUNCTION new_user() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER SET search_path = '' AS
$$ BEGIN INSERT INTO public.profiles VALUES (NEW.id, NEW.email); RETURN NEW; END $$;
COMMENT ON FUNCTION new_user() IS 'CREATE FUNCTION it makes profiles';
CREATE FUNCTION is_member("of" int) RETURNS bool LANGUAGE sql STABLE AS
$$ SELECT EXISTS (SELECT FROM public.profiles WHERE id = $1) /*
CREATE FUNCTION of a comment */ $$;
REVOKE ALL ON FUNCTION is_member FROM PUBLIC; GRANT EXECUTE ON FUNCTION is_member TO pg_monitor;
CREATE FUNCTION code(n int) RETURNS text LANGUAGE sql AS 'SELECT ''c'' || n';
CREATE FUNCTION deepest(n int) RETURNS int LANGUAGE sql AS 'SELECT n';
CREATE FUNCTION inner_one(n int) RETURNS int BEGIN ATOMIC SELECT deepest(n); END;
CREATE FUNCTION adding(int, int) RETURNS int LANGUAGE sql AS 'SELECT coalesce($1, 0) + $2';
CREATE AGGREGATE total(int) (sfunc = adding, stype = int);
CREATE FUNCTION names(n int) RETURNS SETOF text LANGUAGE sql ROWS 7 AS 'SELECT email FROM public.profiles LIMIT n';
INSERT INTO profiles VALUES (1, 'a');
"""
CHANGED = """
CREATE OR REPLACE FUNCTION new_user() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NULL; END $$;
COMMENT ON FUNCTION new_user() IS NULL; COMMENT ON FUNCTION code IS 'newer'; COMMENT ON AGGREGATE total(int) IS 'x';
GRANT EXECUTE ON FUNCTION new_user TO pg_read_all_data WITH GRANT OPTION;
CREATE OR REPLACE FUNCTION is_member("of" int) RETURNS bool LANGUAGE plpgsql PARALLEL SAFE COST 9 AS $$ BEGIN RETURN false; END $$;
GRANT EXECUTE ON FUNCTION is_member TO PUBLIC; REVOKE EXECUTE ON FUNCTION is_member FROM pg_monitor;
CREATE OR REPLACE FUNCTION code(n int) RETURNS text LANGUAGE sql AS 'SELECT ''newer''';
CREATE OR REPLACE FUNCTION deepest(n int) RETURNS int LANGUAGE sql AS 'SELECT 0';
CREATE OR REPLACE FUNCTION inner_one(n int) RETURNS int BEGIN ATOMIC SELECT 5; END;
CREATE OR REPLACE FUNCTION adding(int, int) RETURNS int LANGUAGE sql AS 'SELECT 0';
CREATE OR REPLACE FUNCTION names(n int) RETURNS SETOF text LANGUAGE sql AS 'SELECT ''x''';
DROP TABLE items; DELETE FROM profiles;
"""


@pytest.fixture
def needed(place: InPlace, server: Server) -> Iterator[psycopg.Connection[Any]]:
    """A database whose functions are needed by what another role owns, and a backup of it."""
    place.query(NEEDED)
    with server.connect(place.name) as connection:
        connection.execute(SUPABASE_LIKE)
        made = place.leadctl("backup")
        assert made.code == 0, made.err
        yield connection


def test_functions_that_others_need_are_replaced(
    place: InPlace, needed: psycopg.Connection[Any]
) -> None:
    """Triggers, policies, defaults, views and functions of others call what the backup has."""
    before = place.dump()
    place.query(CHANGED)
    outcome = place.leadctl("restore", "latest", "--in-place", "--yes")
    assert outcome.code == 0, outcome.err
    assert "could not be dropped: public.adding(integer,integer), public.code(" in outcome.err
    assert place.dump() == before
    place.query(
        "INSERT INTO others.users VALUES (7, 'new'); INSERT INTO others.objects VALUES (1, 7)"
    )
    assert place.query("TABLE profiles") == [(1, "a"), (7, "new")]
    called = "SELECT code, is_member(of), others.twice(3), total(of) OVER () FROM others.objects"
    assert needed.execute(called).fetchall() == [("c1", True, 6, 7)]
    assert needed.execute("TABLE others.summed").fetchall() == [(7, "a")]


@pytest.mark.parametrize(
    ("theirs", "ours", "says"),
    [
        ("", "DROP FUNCTION code(int) CASCADE; CREATE FUNCTION code(n int) RETURNS int LANGUAGE sql"
         " AS 'SELECT 1'", "cannot change return type of existing function, and others need"),
        ("", "CREATE FUNCTION newer() RETURNS int LANGUAGE sql AS 'SELECT 1'", "on function public.newer()"),
        ("CREATE INDEX ON others.objects (public.fixed(of))", "", "on function public.fixed(integer)"),
        ("CREATE VIEW others.stated AS SELECT public.state('a'::public.states)", "", "on type public.states"),
        ("CREATE VIEW others.more AS TABLE public.profiles", "", "on table public.profiles"),
    ],
    ids=["result", "unknown", "index", "type", "table"],
)  # fmt: skip
def test_functions_that_cannot_be_replaced(
    place: InPlace, needed: psycopg.Connection[Any], theirs: str, ours: str, says: str
) -> None:
    """What holds results of a function, such as an index, would be wrong by another one."""
    place.query(
        "CREATE FUNCTION fixed(int) RETURNS int LANGUAGE sql IMMUTABLE AS 'SELECT $1';"
        "CREATE TYPE states AS ENUM ('a');"
        "CREATE FUNCTION state(s states) RETURNS int LANGUAGE sql AS 'SELECT 1'"
    )
    assert place.leadctl("backup").code == 0
    if ours:
        needed.execute("ALTER TABLE others.objects ALTER code DROP DEFAULT")
        place.query(ours)
        name = ours.rpartition("CREATE FUNCTION ")[2].partition("(")[0]
        call = "code(1)" if name == "code" else "newer()"
        needed.execute(f"CREATE VIEW others.calls AS SELECT public.{call}")
    needed.execute(theirs or "SELECT")
    before = place.dump()
    outcome = place.leadctl("restore", "latest", "--in-place", "--yes")
    assert (outcome.code, says in outcome.err) in {(1, True), (5, True)}, outcome.err
    assert "Nothing was changed" in outcome.err
    assert place.dump() == before


def test_an_event_trigger_that_secures_new_tables(place: InPlace, server: Server) -> None:
    """As Supabase has one: the tables' rows would be hidden from everybody but their owner."""
    secured = "SELECT relname FROM pg_class WHERE relrowsecurity ORDER BY 1"
    before, as_it_was = place.dump(), place.query(secured)
    with server.connect(place.name) as connection:
        connection.execute(
            "CREATE FUNCTION others.secure() RETURNS event_trigger LANGUAGE plpgsql AS $$"
            "DECLARE made record; BEGIN FOR made IN SELECT * FROM pg_event_trigger_ddl_commands()"
            " WHERE schema_name = 'public' AND object_type = 'table' LOOP EXECUTE format("
            "'ALTER TABLE %s ENABLE ROW LEVEL SECURITY', made.object_identity); END LOOP; END $$;"
            "CREATE EVENT TRIGGER secure ON ddl_command_end WHEN TAG IN ('CREATE TABLE')"
            " EXECUTE FUNCTION others.secure()"
        )
        for more in (("--in-place", "--yes"), ("--table", "items")):
            place.query("DROP TABLE items")
            outcome = place.leadctl("restore", "latest", *more)
            assert outcome.code == 0, outcome.err
            assert place.query(secured) == as_it_was
        connection.execute("DROP EVENT TRIGGER secure; DROP FUNCTION others.secure")
    assert place.dump() == before


BEAT = f"""
CREATE TABLE public.beat (id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY, n serial, "of" int CHECK ("of" > 0), UNIQUE (n));
CREATE INDEX of_beat ON public.beat ("of"); CREATE STATISTICS public.beats ON n, "of" FROM public.beat;
CREATE FUNCTION others.nothing() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END';
CREATE TRIGGER ticking BEFORE UPDATE ON public.beat FOR EACH ROW EXECUTE FUNCTION others.nothing();
CREATE POLICY seen ON public.beat USING (true); CREATE RULE kept AS ON DELETE TO public.beat DO INSTEAD NOTHING;
CREATE TABLE public."beat rate" (id int PRIMARY KEY REFERENCES public.beat); COMMENT ON TABLE public.beat IS 'beats';
INSERT INTO public.beat ("of") VALUES (1), (2); INSERT INTO public."beat rate" VALUES (1);
GRANT SELECT ON ALL SEQUENCES IN SCHEMA public TO {ROLE};
GRANT SELECT, REFERENCES, TRIGGER ON public.beat, public."beat rate" TO {ROLE};
CREATE PUBLICATION beating FOR TABLE public.beat; ALTER PUBLICATION beating OWNER TO {ROLE};
"""
ON_BEAT = """
CREATE TABLE "beats" (id int PRIMARY KEY REFERENCES beat); INSERT INTO beats VALUES (1);
CREATE POLICY rated ON beats USING (EXISTS (SELECT FROM beat b WHERE b.id = beats.id));
CREATE VIEW beating AS SELECT b.id, r.id AS rate FROM beat b LEFT JOIN "beat rate" r USING (id);
"""


@pytest.mark.parametrize("option", [[], ["--exclude-data", '"beat rate"']])
def test_tables_that_another_role_owns(place: InPlace, server: Server, option: list[str]) -> None:
    """A service's own in the app's schema: they stay with all their parts, and what is on them is back."""
    with server.connect(place.name) as connection:
        connection.execute(BEAT)
        place.query(ON_BEAT)
        made = place.leadctl("backup", *option)
        assert made.code == 0, made.err
        before = place.dump()
        place.query("DROP VIEW beating; DROP TABLE beats; DELETE FROM items")
        changed = connection.execute('INSERT INTO "beat rate" VALUES (2) RETURNING id').fetchall()
        outcome = place.leadctl("restore", "latest", "--in-place", "--yes")
        said = 'another role owns it: "public"."beat", "public"."beat rate"'
        assert (outcome.code, said in outcome.err) == (0, True), outcome.err
        assert (
            connection.execute('DELETE FROM "beat rate" WHERE id = 2 RETURNING id').fetchall()
            == changed
        )
    assert place.dump() == before


def test_a_superuser_replaces_the_database_of_an_ordinary_role(
    place: InPlace, server: Server, cli: Cli
) -> None:
    """Its journal belongs to that role, whom nobody trusts but where it owns the database."""
    before = place.dump()
    place.query("DELETE FROM items")
    env = {"BACKUP_DIR": str(place.backups), "BACKUP_IDENTITY_FILE": str(place.identity)}
    outcome = cli("restore", "latest", "--yes", "--drop-old", url=server.url(place.name), env=env)
    assert outcome.code == 0, outcome.err
    assert place.dump() == before
    owner = f"SELECT pg_get_userbyid(datdba) FROM pg_database WHERE datname = '{place.name}'"
    assert place.query(owner) == [(ROLE,)]
    assert place.leadctl("history").code == 0
