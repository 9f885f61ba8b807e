"""`restore --keep-going`, `--skip` and `--no-owner`: what is not there is named, and exit is 7."""

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from leadctl.postgres.binaries import dump_programs
from tests.backups import Place, create, plain_dump
from tests.conftest import Cli
from tests.servers import Server

NEEDS_A_PATH = """
CREATE TABLE lim (k text PRIMARY KEY, v int);
INSERT INTO lim VALUES ('max', 100);
CREATE FUNCTION fits(i int) RETURNS bool LANGUAGE plpgsql AS
    $$ BEGIN RETURN i <= (SELECT v FROM lim WHERE k = 'max'); END $$;
CREATE TABLE checked (i int PRIMARY KEY CHECK (fits(i)));
INSERT INTO checked SELECT generate_series(1, 10);
CREATE TABLE others (i int PRIMARY KEY, c int REFERENCES checked);
INSERT INTO others SELECT i, i FROM generate_series(1, 10) i;
CREATE TABLE plain (i int PRIMARY KEY, t text DEFAULT 'x; y');
INSERT INTO plain SELECT generate_series(1, 1000);
CREATE VIEW plain_view AS SELECT * FROM plain;
COMMENT ON VIEW plain_view IS 'it is';
"""
"""Rows of `checked` do not load: the function finds its table by search_path only."""


class Partly(Place):
    """A database with what does not load."""

    @property
    def copy(self) -> str:
        return f"{self.name}_copy"

    def dump(self, *options: str) -> bytes:
        program = dump_programs(self.server.major, self.server.major).path("pg_dump")
        place = ("-h", self.server.socket, "-p", str(self.server.port), "-U", "postgres")
        return subprocess.run(
            [program, *place, *options, self.name], capture_output=True, check=True
        ).stdout


@pytest.fixture
def place(server: Server, cli: Cli, tmp_path: Path) -> Iterator[Partly]:
    found = Partly(server, create(server, f"partly_{os.getpid()}", NEEDS_A_PATH), cli, tmp_path)
    assert found.leadctl("backup").code == 0
    yield found
    with server.connect() as connection:
        names = connection.execute(
            "SELECT datname FROM pg_database WHERE starts_with(datname, %s)", (found.name,)
        ).fetchall()
    for (name,) in names:
        server.drop(name)


def test_what_fails_is_left_out_and_counted(place: Partly) -> None:
    refused = place.leadctl("restore", "latest", "--into", place.copy)
    assert (refused.code, "--keep-going" in refused.err) == (1, True), refused.err
    assert "ALTER FUNCTION name SET search_path" in " ".join(refused.err.split())
    outcome = place.leadctl("restore", "latest", "--into", place.copy, "--keep-going", "-o", "json")
    assert outcome.code == 7, outcome.err
    result = outcome.json
    assert (result["complete"], result["rows"]) == (False, 1011)
    assert result["incomplete"] == [{"table": "public.checked", "rows": 10, "restored": 0}]
    entries = {each["entry"]: each["reason"] for each in result["left_out"]}
    assert "TABLE DATA public checked" in entries, entries
    assert 'relation "lim" does not exist' in entries["TABLE DATA public checked"]
    assert "violates foreign key" in entries["FK CONSTRAINT public others others_c_fkey"]
    assert place.query("SELECT count(*) FROM plain", place.copy) == [(1000,)]
    assert place.query("SELECT count(*) FROM checked", place.copy) == [(0,)]
    shown = place.leadctl("restore", "latest", "--into", f"{place.copy}2", "--keep-going")
    assert (shown.code, "Restored IN PART" in shown.out) == (7, True)


def test_over_a_database_nothing_is_dropped(place: Partly) -> None:
    assert place.leadctl("db", "environment", "dev", "--unprotect").code == 0
    options = ("--keep-going", "--drop-old", "--yes", "-o", "json")
    outcome = place.leadctl("restore", "latest", *options)
    assert outcome.code == 7, outcome.err
    previous = outcome.json["previous"]
    assert place.query("SELECT count(*) FROM checked", previous) == [(10,)]


def test_entries_are_skipped_with_what_needs_them(place: Partly) -> None:
    skip = ("--skip", "TABLE public checked", "--skip", "VIEW public plain_view")
    outcome = place.leadctl("restore", "latest", "--into", place.copy, *skip, "-o", "json")
    assert outcome.code == 7, outcome.err
    entries = {each["entry"]: each["reason"] for each in outcome.json["left_out"]}
    assert entries["TABLE public checked"] == "skipped"
    assert "TABLE public checked" in entries["FK CONSTRAINT public others others_c_fkey"]
    assert outcome.json["incomplete"] == [{"table": "public.checked", "rows": 10, "restored": 0}]
    assert place.query("SELECT to_regclass('checked'), to_regclass('plain_view')", place.copy) == [
        (None, None)
    ]
    unknown = place.leadctl("restore", "latest", "--into", f"{place.copy}2", "--skip", "TABLE x y")
    assert (unknown.code, "no entry 'TABLE x y'" in unknown.err) == (2, True), unknown.err
    assert place.query(f"SELECT FROM pg_database WHERE datname = '{place.copy}2'") == []


def test_a_user_mapping_goes_with_its_server(place: Partly) -> None:
    place.query(
        'CREATE FOREIGN DATA WRAPPER nothing; CREATE SERVER "far SERVER" FOREIGN DATA WRAPPER nothing;'
        'CREATE USER MAPPING FOR PUBLIC SERVER "far SERVER"; DROP TABLE checked CASCADE'
    )
    assert place.leadctl("backup").code == 0
    skip = ("--skip", "FOREIGN DATA WRAPPER - nothing")
    outcome = place.leadctl("restore", "latest", "--into", place.copy, *skip, "-o", "json")
    assert outcome.code == 7, outcome.err
    assert {each["entry"].split(" - ")[0] for each in outcome.json["left_out"]} == {
        "FOREIGN DATA WRAPPER",
        "SERVER",
        "USER MAPPING",
    }
    whole = f"{place.copy}2"
    assert place.leadctl("restore", "latest", "--into", whole).code == 0
    assert plain_dump(place.server, whole) == plain_dump(place.server, place.name)


def test_a_whole_restore_is_complete(place: Partly) -> None:
    place.query("ALTER FUNCTION fits SET search_path = public")
    assert place.leadctl("backup").code == 0
    outcome = place.leadctl("restore", "latest", "--into", place.copy, "--keep-going", "-o", "json")
    assert outcome.code == 0, outcome.err
    assert (outcome.json["complete"], outcome.json["left_out"]) == (True, [])
    assert plain_dump(place.server, place.copy) == plain_dump(place.server, place.name)


@pytest.mark.parametrize("form", ["--format=custom", "--format=plain", "--format=tar"])
def test_a_file_of_pg_dump(place: Partly, form: str, tmp_path: Path) -> None:
    file = tmp_path / "dump"
    file.write_bytes(place.dump(form))
    outcome = place.leadctl(
        "restore", str(file), "--into", place.copy, "--keep-going", "-o", "json"
    )
    assert outcome.code == 7, outcome.err
    assert len(outcome.json["left_out"]) == 2, outcome.json
    assert place.query("SELECT count(*), max(t) FROM plain", place.copy) == [(1000, "x; y")]
    assert place.query("SELECT count(*) FROM checked", place.copy) == [(0,)]


SCRIPT = """--
-- PostgreSQL database dump
--
SET client_encoding = 'UTF8';
CREATE ROLE_THAT_IS_NO_STATEMENT;
CREATE TABLE public.a (id int, t text);
ALTER TABLE public.a OWNER TO nobody_here;
COPY public.missing (id, t) FROM stdin;
1\tDROP TABLE public.a;
2\t; CREATE TABLE public.injected (id int);
\\.
COPY public.a (id, t) FROM stdin;
1\tone
2\t\\N
\\.
CREATE FUNCTION public.f(a int, b text, c text, d text, e text, f text, g text, h text)
    RETURNS int LANGUAGE sql BEGIN ATOMIC SELECT 1; SELECT 2; END;
ALTER FUNCTION public.f(a int, b text, c text, d text, e text, f text, g text, h text)
    OWNER TO "no;body";
GRANT SELECT ON TABLE public.a TO nobody_here;
ALTER DEFAULT PRIVILEGES FOR ROLE nobody_here GRANT SELECT ON TABLES TO nobody_here;
CREATE EVENT TRIGGER et ON ddl_command_end EXECUTE FUNCTION public.gone();
CREATE TABLE public.last (id int)
"""


def test_a_script_goes_on_and_no_row_is_run(place: Partly, tmp_path: Path) -> None:
    file = tmp_path / "managed.sql"
    file.write_text(SCRIPT + "--\n-- PostgreSQL database dump complete\n--\n")
    outcome = place.leadctl(
        "restore", str(file), "--into", place.copy, "--keep-going", "-o", "json"
    )
    assert outcome.code == 7, outcome.err
    entries = [each["entry"] for each in outcome.json["left_out"]]
    lines = [entry.partition(":")[0] for entry in entries]
    assert lines == ["line 5", "line 7", "line 8", "line 18", "line 20", "line 21", "line 22"]
    tables = "SELECT relname::text FROM pg_class WHERE relkind = 'r' AND oid > 16384 AND relnamespace = 'public'::regnamespace ORDER BY 1"
    assert place.query(tables, place.copy) == [("a",), ("last",)]
    assert place.query("SELECT * FROM a ORDER BY id", place.copy) == [(1, "one"), (2, None)]


def test_a_script_without_owners(place: Partly, tmp_path: Path) -> None:
    broken = (
        "CREATE ROLE_THAT_IS_NO_STATEMENT;\n",
        "CREATE EVENT TRIGGER et ON ddl_command_end EXECUTE FUNCTION public.gone();\n",
    )
    text = SCRIPT
    for statement in broken:
        text = text.replace(statement, "")
    head, _, rest = text.partition("COPY public.missing")
    text = head + rest.partition("\\.\n")[2]
    file = tmp_path / "managed.sql"
    file.write_text(text + "--\n-- PostgreSQL database dump complete\n--\n")
    assert place.leadctl("restore", str(file), "--into", place.copy).code == 1
    outcome = place.leadctl("restore", str(file), "--into", place.copy, "--no-owner", "-o", "json")
    assert outcome.code == 0, outcome.err
    assert place.query("SELECT count(*), max(t) FROM a", place.copy) == [(2, "one")]
    end = "--\n-- PostgreSQL database dump complete\n--\n"
    file.write_text(text.replace("GRANT SELECT", "SELEKT 1; GRANT SELECT") + end)
    failed = place.leadctl("restore", str(file), "--into", f"{place.copy}2", "--no-owner")
    assert (failed.code, "line 1" in failed.err) == (1, True), failed.err
