"""An archive's table of contents is what pg_restore lists, whatever names are in it."""

import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from leadctl.backup.contents import ArchiveEntry, read_contents, write_offsets
from leadctl.errors import BackupDamaged
from leadctl.postgres.binaries import dump_programs
from tests.backups import create
from tests.conftest import Cli
from tests.servers import Server

OWNER = f'odd "owner" of. {os.getpid()}'
ODD = """
CREATE SCHEMA a; CREATE SCHEMA "a b"; CREATE SCHEMA "TABLE DATA a"; CREATE SCHEMA "-";
CREATE TABLE a."b c" (id serial PRIMARY KEY); CREATE TABLE "a b".c (id int PRIMARY KEY REFERENCES a."b c");
CREATE TABLE a.b (id int, "two words" text, at date) PARTITION BY RANGE (id);
CREATE TABLE a."b 1. ""x"" %s" PARTITION OF a.b FOR VALUES FROM (0) TO (10);
CREATE TABLE a."b\n2" PARTITION OF a.b FOR VALUES FROM (10) TO (20);
CREATE INDEX "by two" ON a.b ("two words");
CREATE TABLE "-"."ATTACH x" (id int); COMMENT ON TABLE "-"."ATTACH x" IS 'DATABASE y';
CREATE FUNCTION a."f g"(a."b c", text DEFAULT 'x; y') RETURNS int LANGUAGE sql AS 'SELECT 1';
INSERT INTO a."b c" DEFAULT VALUES; INSERT INTO "a b".c VALUES (1);
INSERT INTO a.b SELECT i, 'x' FROM generate_series(0, 19) i;
"""


@pytest.fixture
def odd(server: Server) -> Iterator[str]:
    role = OWNER.replace('"', '""')
    with server.connect() as connection:
        connection.execute(f'DROP ROLE IF EXISTS "{role}"; CREATE ROLE "{role}"')
    name = create(server, f"contents_{os.getpid()}", ODD)
    with server.connect(name) as connection:
        connection.execute(f'ALTER TABLE a."b c" OWNER TO "{role}"')
    yield name
    server.drop(name)
    with server.connect() as connection:
        connection.execute(f'DROP ROLE "{role}"')


def dumped(server: Server, name: str, path: Path, form: str) -> Path:
    program = dump_programs(server.major, server.major).path("pg_dump")
    place = ("-h", server.socket, "-p", str(server.port), "-U", "postgres")
    subprocess.run([program, *place, f"--format={form}", f"--file={path}", name], check=True)
    return path


def listed(server: Server, path: Path) -> list[tuple[str, frozenset[str]]]:
    """Return what pg_restore says: each line, and the numbers of what it needs."""
    program = dump_programs(server.major, server.major).path("pg_restore")
    arguments = [str(program), "--list", "--verbose", "--create", str(path)]
    found: list[tuple[str, frozenset[str]]] = []
    done = subprocess.run(arguments, capture_output=True, check=True)
    for line in done.stdout.decode().split("\n"):
        if entry := re.fullmatch(r"(\d+;) \d+ \d+ (.*)", line):
            found.append((" ".join(entry.groups()), frozenset()))
        elif line.startswith(";\tdepends on:"):
            found[-1] = (found[-1][0], frozenset(line.split()[3:]))
    return found


def as_listed(entry: ArchiveEntry) -> tuple[str, frozenset[str]]:
    return (f"{entry.id}; {entry.label} {entry.owner}", entry.needs)


@pytest.mark.parametrize("form", ["custom", "tar", "directory"])
def test_as_pg_restore_lists_it(server: Server, odd: str, tmp_path: Path, form: str) -> None:
    path = dumped(server, odd, tmp_path / "dump", form)

    def write(sink: object) -> None:
        with path.open("rb") as file:
            while data := file.read(100):
                sink.write(data)  # type: ignore[attr-defined]

    found = read_contents("it", path if path.is_dir() else write)
    assert [as_listed(entry) for entry in found.entries] == listed(server, path)
    assert (found.database, int(found.server_version.split(".")[0])) == (odd, server.major)
    tables = {entry.parts for entry in found.entries if entry.kind == "TABLE"}
    assert {("a", "b c"), ("a b", "c"), ("a", "b\n2"), ("-", "ATTACH x")} <= tables


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda data: data[:2000], "cut short"),
        (lambda data: b"PGDUMP" + data, "not an archive"),
        (lambda data: data[:6] + b"\x63" + data[7:], "reads 1.12 to 1.16"),
        (lambda data: data[:60] + b"\xff" * 60 + data[120:], "damaged|cut short"),
        (lambda _: b"", "cut short"),
    ],
)
def test_a_damaged_one_is_named(
    server: Server, odd: str, tmp_path: Path, change: object, says: str
) -> None:
    data = dumped(server, odd, tmp_path / "dump", "custom").read_bytes()
    with pytest.raises(BackupDamaged, match=says):
        read_contents("it", lambda sink: sink.write(change(data)))  # type: ignore[operator]


def test_roles_with_odd_names_are_foreseen(
    server: Server, odd: str, cli: Cli, tmp_path: Path
) -> None:
    path = dumped(server, odd, tmp_path / "x.dump", "custom")
    with server.connect(odd) as connection:
        role = OWNER.replace('"', '""')
        connection.execute(f'DROP OWNED BY "{role}" CASCADE; DROP ROLE "{role}"')
    outcome = cli("restore", str(path), "--into", f"{odd}_x", url=server.url(odd))
    with server.connect() as connection:
        connection.execute(f'CREATE ROLE "{role}"')  # for the fixture's end
    assert (outcome.code, OWNER in outcome.err) == (1, True), outcome.err


def test_one_partition_is_skipped_and_no_other_name(
    server: Server, odd: str, cli: Cli, tmp_path: Path
) -> None:
    env, url = {"BACKUP_DIR": str(tmp_path)}, server.url(odd)
    assert cli("backup", url=url, env=env).code == 0
    copy = f"{odd}_skipped"
    try:
        skip = ("--skip", 'TABLE DATA a b 1. "x" %s')
        outcome = cli("restore", "latest", "--into", copy, *skip, "-o", "json", url=url, env=env)
        assert outcome.code == 7, outcome.err
        assert outcome.json["incomplete"] == [{"table": '"a"."b"', "rows": 20, "restored": 10}]
        assert len(outcome.json["left_out"]) == 1
        with server.connect(copy) as connection:
            assert connection.execute("SELECT min(id) FROM a.b").fetchall() == [(10,)]
        # Two tables are listed alike, so neither may be meant.
        both = cli(
            "restore", "latest", "--into", f"{copy}2", "--skip", "TABLE a b c", url=url, env=env
        )
        assert (both.code, "2 entries" in both.err) == (2, True), both.err
        schema = cli(
            "restore", "latest", "--into", f"{copy}2", "--skip", "TABLE a", url=url, env=env
        )
        assert (schema.code, "no entry" in schema.err) == (2, True), schema.err
    finally:
        server.drop(copy)
        server.drop(f"{copy}2")


def test_offsets_are_as_pg_dump_writes_them_to_a_file(
    server: Server, odd: str, tmp_path: Path
) -> None:
    with server.connect(odd) as connection:
        objects = "SELECT lo_from_bytea(0, 'a'), lo_from_bytea(0, repeat('b', 5000)::bytea)"
        connection.execute(objects)
    program = dump_programs(server.major, server.major).path("pg_dump")
    place = ("-h", server.socket, "-p", str(server.port), "-U", "postgres", "--format=custom")
    made_at = slice(11, 50)
    for compressed in ("--compress=0", "--compress=6"):
        piped, told = tmp_path / "piped", tmp_path / "told"
        dump = [program, *place, compressed]
        subprocess.run([*dump, f"--file={told}", odd], check=True)
        with piped.open("w+b") as archive:
            archive.write(subprocess.run([*dump, odd], check=True, stdout=subprocess.PIPE).stdout)
            before = piped.read_bytes()
            write_offsets(archive)
        found, wanted = bytearray(piped.read_bytes()), bytearray(told.read_bytes())
        found[made_at] = wanted[made_at] = b""
        assert found == wanted
        assert before != piped.read_bytes()
