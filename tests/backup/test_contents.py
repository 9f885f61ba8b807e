"""What comes back from a backup is what was there: everything that PostgreSQL has."""

import io
import os
import re
import subprocess
from contextlib import suppress
from dataclasses import replace
from itertools import count, cycle
from pathlib import Path
from typing import Any
from urllib.parse import quote

import psycopg
import pytest

from leadctl.backup.contents import ArchiveEntry, RowCounter, read_contents
from leadctl.backup.create import BackupOptions
from leadctl.backup.create import create as back_up
from leadctl.backup.manifest import ARCHIVE
from leadctl.backup.reader import BackupReader
from leadctl.backup.snapshot import count_tables
from leadctl.backup.storage import BackupFolder
from leadctl.backup.stream import read_identities
from leadctl.errors import BackupDamaged
from leadctl.postgres.binaries import dump_programs
from leadctl.postgres.target import resolve
from leadctl.restore.backups import RestorableBackup
from leadctl.restore.database import scratch_database, settings_for_loading
from leadctl.restore.load import divide_entries
from leadctl.restore.properties import DatabaseProperties
from leadctl.restore.restorable import Loading
from leadctl.settings import load_settings
from tests.backups import EVERYTHING, WEIRD, create, key_pair, plain_dump
from tests.conftest import KEY, Cli, Prepare, Prepared
from tests.processes import run
from tests.servers import MAJOR, RunningServer, Server

CHINOOK = Path(__file__).parents[1] / "data" / "chinook" / "chinook.sql"


def quiet(*_: object) -> None:
    """Tell nobody."""


AS_IF_LARGE = Loading(quiet, quiet, memory_bytes=0, min_connection_bytes=1, min_index_bytes=1)
"""Loads over two connections, and makes indexes meanwhile, as with tables that are large."""
IN_MEMORY = Loading(quiet, quiet)
"""Unpacks a small archive in memory, and loads from there."""


def target(server: Server, name: str):  # type: ignore[no-untyped-def]
    settings = load_settings({}, environ={"DATABASE_URL": server.url(quote(name))})
    return resolve(settings, app="leadconnector")


def counted_as_it_passes(reader: BackupReader) -> dict[tuple[str, ...], int]:
    """Return the rows that an archive has, by what counts them in pieces; not what the server has."""
    archive, counter = io.BytesIO(), RowCounter("the archive")
    reader.unpack(ARCHIVE, archive)
    data, at = archive.getvalue(), 0
    for size in cycle((1, 2, 3, 7, 1000, 70_000)):
        counter.take(data[at : at + size])
        at += size
        if at >= len(data):
            return counter.rows()
    raise AssertionError


def there_and_back(server: Server, name: str, folder: Path) -> None:
    """Back a database up, load it into new ones in either way, and compare them."""
    recipient, identity = key_pair(folder)
    store = BackupFolder(folder / "backups")
    back_up(target(server, name), store, BackupOptions([recipient], lock_wait=5), quiet, quiet)
    reader = RestorableBackup(store.find("latest"), read_identities(identity))
    assert counted_as_it_passes(reader) == {
        each.parts: each.rows for each in reader.manifest.tables
    }
    for loading in (AS_IF_LARGE, IN_MEMORY):
        copy = server.create()
        try:
            with reader.loader(loading) as load:
                load(target(server, copy), server.major, loading)
            assert plain_dump(server, copy) == plain_dump(server, name)
        finally:
            server.drop(copy)


def test_everything_comes_back(server: Server, tmp_path: Path) -> None:
    name = create(server, f"{WEIRD} {tmp_path.name}", EVERYTHING)
    try:
        there_and_back(server, name, tmp_path)
    finally:
        server.drop(name)


@pytest.mark.thorough
def test_chinook_comes_back(server: Server, tmp_path: Path) -> None:
    name = create(server, f"chinook_{tmp_path.name}", CHINOOK.read_text())
    try:
        there_and_back(server, name, tmp_path)
    finally:
        server.drop(name)


@pytest.mark.skipif(MAJOR == 18, reason="there is no newer one")
def test_everything_comes_back_on_the_next_newer_server(server: Server, tmp_path: Path) -> None:
    name = create(server, f"{WEIRD} {tmp_path.name}", EVERYTHING)
    with RunningServer(MAJOR + 1) as newer:
        env = {"BACKUP_DIR": str(tmp_path / "backups")}
        done = run("backup", env=env | {"DATABASE_URL": server.url(quote(name))})
        assert done.returncode == 0, done.stderr
        env["DATABASE_URL"] = newer.info.url("copy")
        done = run("restore", env=env)
        if "pg_trgm" in done.stderr:  # not every server of the tests has what is contributed
            with server.connect(name) as connection:
                connection.execute("DROP EXTENSION pg_trgm")
            run("backup", env=env | {"DATABASE_URL": server.url(quote(name))})
            done = run("restore", env=env)
        assert done.returncode == 0, done.stderr
        with newer.info.connect("copy") as connection:
            connection.execute("DROP SCHEMA IF EXISTS leadctl CASCADE")
        dumps = [plain_dump(newer.info, "copy", MAJOR + 1), plain_dump(server, name, MAJOR + 1)]
        # Columns of views are qualified by some versions, and by others not; some minor versions
        # number each column's making among its options, which are not another server's.
        copied, original = (
            sorted(
                re.sub(r"\b(people|z_first|a_second|orders|totals2?)\.", "", line)
                for line in lines
                if "SET (pg_attver=" not in line
            )
            for lines in dumps
        )
        assert copied == original
        server.drop(name)


@pytest.mark.thorough
@pytest.mark.parametrize(
    "app",
    [
        "leadconnector",
        *(
            pytest.param(app, marks=pytest.mark.thorough)
            for app in ("salesagent", "viralmommy", "whatsapp", "cleack")
        ),
    ],
)
def test_every_app_comes_back(app: str, prepared: Prepare, tmp_path: Path) -> None:
    database = prepared(app)
    env = {"DATABASE_URL": database.url, "ENCRYPTION_KEY": KEY}
    filled = run("seed", "--app", app, "--bulk", "20000", env=env)
    assert filled.returncode == 0, filled.stderr
    there_and_back(database.server, database.name, tmp_path)


@pytest.mark.thorough
@pytest.mark.parametrize("which", [0, 1])
def test_a_connection_that_fails_ends_the_other(
    leadconnector: Prepared, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, which: int
) -> None:
    env = {"DATABASE_URL": leadconnector.url, "ENCRYPTION_KEY": KEY}
    assert run("seed", "--bulk", "20000", env=env).returncode == 0
    recipient, identity = key_pair(tmp_path)
    store = BackupFolder(tmp_path / "backups")
    of = target(leadconnector.server, leadconnector.name)
    back_up(of, store, BackupOptions([recipient], lock_wait=5), quiet, quiet)
    reader = RestorableBackup(store.find("latest"), read_identities(identity))
    begun = count()

    def unpack(self: BackupReader, stem: str, sink: Any) -> None:
        if stem == ARCHIVE and next(begun) == 2 + which:  # after making the tables, and the list
            raise BackupDamaged("It is.")
        original(self, stem, sink)

    original = BackupReader.unpack
    monkeypatch.setattr(BackupReader, "unpack", unpack)
    copy = leadconnector.server.create()
    try:
        with (
            pytest.raises(BackupDamaged, match=r"^It is\.$"),
            reader.loader(AS_IF_LARGE) as load,
        ):
            load(target(leadconnector.server, copy), leadconnector.server.major, AS_IF_LARGE)
        with leadconnector.server.connect("postgres") as connection:
            query = "SELECT count(*) FROM pg_stat_activity WHERE datname = %s"
            assert connection.execute(query, (copy,)).fetchall() == [(0,)]
    finally:
        leadconnector.server.drop(copy)


def test_what_is_damaged_in_memory_is_not_loaded(
    leadconnector: Prepared, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipient, identity = key_pair(tmp_path)
    store = BackupFolder(tmp_path / "backups")
    of = target(leadconnector.server, leadconnector.name)
    back_up(of, store, BackupOptions([recipient], lock_wait=5), quiet, quiet)
    reader = RestorableBackup(store.find("latest"), read_identities(identity))

    def unpack(self: BackupReader, stem: str, sink: Any) -> None:
        original(self, stem, sink)
        if stem == ARCHIVE and hasattr(sink, "fileno"):  # the table of contents is read as well
            raise BackupDamaged("It is.")

    original = BackupReader.unpack
    monkeypatch.setattr(BackupReader, "unpack", unpack)
    copy = leadconnector.server.create()
    try:
        with pytest.raises(BackupDamaged, match=r"^It is\.$"), reader.loader(IN_MEMORY) as load:
            load(target(leadconnector.server, copy), leadconnector.server.major, IN_MEMORY)
        with leadconnector.server.connect(copy) as connection:
            tables = "SELECT count(*) FROM pg_class WHERE oid >= 16384 AND relkind = 'r'"
            assert connection.execute(tables).fetchall() == [(0,)]
        monkeypatch.setattr("os.memfd_create", lambda _: (_ for _ in ()).throw(OSError()))
        monkeypatch.setattr(BackupReader, "unpack", original)
        with reader.loader(IN_MEMORY) as load:
            load(target(leadconnector.server, copy), leadconnector.server.major, IN_MEMORY)
        assert plain_dump(leadconnector.server, copy) == plain_dump(
            leadconnector.server, of.database
        )
    finally:
        leadconnector.server.drop(copy)


@pytest.mark.parametrize(
    ("worth", "shares"),
    [
        (1, [["4", "6"], ["5", "7"], ["3", "8"]]),
        (6, [["4", "6", "7", "5"], ["3", "8"]]),
        (10, [["3", "4", "5", "6", "7", "8"]]),
    ],
)
def test_tables_are_divided_by_their_bytes(worth: int, shares: list[list[str]]) -> None:
    listed = {
        "3": ("TABLE DATA", "small"), "4": ("TABLE DATA", "largest"), "5": ("TABLE DATA", "large"),
        "6": ("SEQUENCE SET", "large_id_seq"), "7": ("TABLE DATA", "not in the manifest"),
        "8": ("TABLE DATA", "middle one"),
    }  # fmt: skip
    entries = [ArchiveEntry(n, kind, "public", name, "me") for n, (kind, name) in listed.items()]
    bytes_of = {"small": 3, "largest": 9, "large": 5, "middle one": 3}
    sizes = {("public", name): size for name, size in bytes_of.items()}
    divided = divide_entries(entries, sizes, 3, worth)
    assert [sorted(share) for share in divided] == [sorted(share) for share in shares]


COUNTED = """
CREATE TABLE t (id int); INSERT INTO t SELECT generate_series(1, 77);
CREATE FUNCTION f(int) RETURNS int IMMUTABLE LANGUAGE plpgsql AS 'BEGIN RETURN 1; END';
CREATE {kind}; ALTER TABLE t OWNER TO {role};
CREATE OR REPLACE FUNCTION f(int) RETURNS int IMMUTABLE LANGUAGE plpgsql AS
'BEGIN PERFORM set_config(''counted.by'', current_user, false); RETURN 1; END';
"""
RAISES = """
CREATE OR REPLACE FUNCTION f(int) RETURNS int IMMUTABLE LANGUAGE plpgsql AS
'BEGIN RAISE ''no plan''; END'
"""


@pytest.mark.parametrize(
    "kind", ["INDEX ON t ((id + f(1)))", "STATISTICS of_f ON (id + f(1)), id FROM t"]
)
def test_a_table_is_counted_as_its_owner_even_if_no_query_of_it_can_be_planned(
    server: Server, cli: Cli, tmp_path: Path, kind: str
) -> None:
    role = f"counted_{os.getpid()}"
    with server.connect() as connection:
        connection.execute(f"DROP ROLE IF EXISTS {role}; CREATE ROLE {role}")
    name = create(server, role, COUNTED.format(kind=kind, role=role))
    try:
        with server.connect(name) as connection:
            with connection.transaction():
                assert [table.rows for table in count_tables(connection)] == [77]
            assert connection.execute("SHOW counted.by").fetchone() == (role,)
            connection.execute(RAISES)
        with server.connect(name) as connection, pytest.raises(psycopg.errors.RaiseException):
            connection.execute("SELECT count(*) FROM t")
        made = cli("backup", "-o", "json", url=server.url(name), env={"BACKUP_DIR": str(tmp_path)})
        assert (made.code, made.json["rows"]) == (0, 77), made.err
    finally:
        server.drop(name)
        with server.connect() as connection:
            connection.execute(f"DROP ROLE {role}")


def test_a_head_that_was_changed_is_damage(server: Server, tmp_path: Path) -> None:
    """Whatever byte it is: a forged archive gives no traceback."""
    name = create(server, "changed_head", "CREATE TABLE t (id int PRIMARY KEY, s text DEFAULT 'x')")
    program = dump_programs(server.major, server.major).path("pg_dump")
    where = ["-h", server.socket, "-p", str(server.port), "-U", "postgres"]
    path = tmp_path / "dump"
    subprocess.run([program, *where, "-Fc", "--compress=0", "-f", path, name], check=True)
    server.drop(name)
    good = path.read_bytes()
    read = 0
    for at in range(len(good)):
        changed = good[:at] + bytes([good[at] ^ 0xC1]) + good[at + 1 :]
        with suppress(BackupDamaged):
            read_contents("it", lambda sink, data=changed: sink.write(data))
            read += 1
    assert 0 < read < len(good)


@pytest.mark.parametrize(
    ("index", "size", "expected"),
    [
        ("CREATE INDEX ON t (a, lower(b))", 2**30, {"maintenance_work_mem": "8MB"}),
        ("CREATE INDEX ON t (a)", 2**20, {"max_parallel_maintenance_workers": "0"}),
        ("CREATE INDEX ON t (a)", 2**40, {}),
        ("CREATE INDEX ON t USING gin (to_tsvector('simple', b))", 2**30, {}),
        ("ALTER TABLE t ADD EXCLUDE USING gist (c WITH &&)", 2**30, {}),
    ],
)
def test_sorting_stays_in_the_cache(
    server: Server, tmp_path: Path, index: str, size: int, expected: dict[str, str]
) -> None:
    """Unless there is so much that it is merged more than once, or indexes that need the memory."""
    recipient, identity = key_pair(tmp_path)
    store = BackupFolder(tmp_path / "backups")
    table = "CREATE TABLE t (a int PRIMARY KEY, b text, c int4range);"
    name = create(server, f"sorted_{os.getpid()}", f"{table} {index}")
    try:
        back_up(target(server, name), store, BackupOptions([recipient], lock_wait=5), quiet, quiet)
    finally:
        server.drop(name)
    origin = RestorableBackup(store.find("latest"), read_identities(identity)).origin()
    settings = settings_for_loading(replace(origin, bytes=size))
    assert settings == {"synchronous_commit": "off", **expected}


@pytest.mark.parametrize(("limit", "expected"), [("-1", "8MB"), ("1GB", "64MB")])
def test_sorting_leaves_no_files_where_these_are_limited(
    server: Server, limit: str, expected: str
) -> None:
    name = f"limited_{limit.strip('-').lower()}_{os.getpid()}"
    settings = {"maintenance_work_mem": "8MB", "synchronous_commit": "off"}
    where = target(server, "postgres")
    with server.connect() as connection:
        connection.execute(f"SET temp_file_limit = '{limit}'")
        made = scratch_database(where, connection, name, DatabaseProperties(), quiet, settings)
        with made, server.connect(name) as loading:
            found = loading.execute("SHOW maintenance_work_mem").fetchone()
            assert found == (expected,)
            assert loading.execute("SHOW synchronous_commit").fetchone() == ("off",)
    server.drop(name)
