"""`leadctl restore FILE`: what anyone's pg_dump made."""

import bz2
import codecs
import gzip
import io
import lzma
import subprocess
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pyrage
import pytest
import zstandard

from leadctl.postgres.binaries import dump_programs
from tests.backups import EVERYTHING, create, key_pair, left_by_restores, plain_dump
from tests.conftest import Cli, Outcome, Prepared
from tests.servers import Server

Restore = Callable[..., Outcome]
Dump = Callable[..., Path]
FORMATS = ["plain", "custom", "tar", "directory"]


@pytest.fixture
def copy(leadconnector: Prepared) -> Iterator[str]:
    name = f"{leadconnector.name}_copy"
    yield name
    leadconnector.server.drop(name)


@pytest.fixture
def leadctl(leadconnector: Prepared, cli: Cli, tmp_path: Path) -> Iterator[Restore]:
    def run(*arguments: str, **more: str) -> Outcome:
        env = {"BACKUP_DIR": str(tmp_path / "backups")}
        return cli(*arguments, url=leadconnector.url, env=env | more)

    yield run
    for name in left_by_restores(leadconnector):
        leadconnector.server.drop(name)


@pytest.fixture
def dump(leadconnector: Prepared, tmp_path: Path) -> Dump:
    return lambda *arguments: pg_dump(
        leadconnector.server, leadconnector.name, tmp_path / "dump", *arguments
    )


def same(database: Prepared, copy: str) -> bool:
    """Whether a copy is the database, but for the run that made it."""
    with database.server.connect(copy) as connection:
        connection.execute("DELETE FROM leadctl.run WHERE command = 'restore'")

    def content(name: str) -> list[str]:
        return [line for line in plain_dump(database.server, name) if "run_id_seq" not in line]

    return content(copy) == content(database.name)


def pg_dump(server: Server, database: str, path: Path, *arguments: str) -> Path:
    program = dump_programs(server.major, server.major).path("pg_dump")
    where = ["-h", server.socket, "-p", str(server.port), "-U", "postgres"]
    subprocess.run(
        [program, *where, f"--file={path}", *arguments, "--", database],
        check=True,
        capture_output=True,
    )
    return path


@pytest.mark.thorough
def test_everything_in_every_format(server: Server, cli: Cli, tmp_path: Path) -> None:
    name = create(server, f"t_{uuid4().hex[:12]}", EVERYTHING)
    try:
        for kind in FORMATS:
            path = pg_dump(server, name, tmp_path / kind, f"--format={kind}")
            into = f"t_{uuid4().hex[:12]}"
            outcome = cli("restore", str(path), "--into", into, url=server.url(name))
            try:
                assert outcome.code == 0, outcome.err
                assert plain_dump(server, into) == plain_dump(server, name)
            finally:
                server.drop(into)
    finally:
        server.drop(name)


@pytest.mark.parametrize("kind", ["plain", "custom"])
@pytest.mark.few(1)
@pytest.mark.parametrize("suffix", [".zst.age", ".gz", ".zst"])
def test_packed(
    leadctl: Restore,
    leadconnector: Prepared,
    dump: Dump,
    copy: str,
    tmp_path: Path,
    kind: str,
    suffix: str,
) -> None:
    recipient, identity = key_pair(tmp_path)
    data = dump(f"--format={kind}").read_bytes()
    data = gzip.compress(data) if suffix == ".gz" else zstandard.compress(data)
    if suffix.endswith(".age"):
        data = pyrage.encrypt(data, [pyrage.x25519.Recipient.from_str(recipient)])
    path = tmp_path / f"packed{suffix}"
    path.write_bytes(data)
    outcome = leadctl("restore", str(path), "--into", copy, BACKUP_IDENTITY_FILE=str(identity))
    assert outcome.code == 0, outcome.err
    assert same(leadconnector, copy)
    path.write_bytes(data[: len(data) // 2])
    outcome = leadctl(
        "restore", str(path), "--into", f"{copy}2", BACKUP_IDENTITY_FILE=str(identity)
    )
    assert outcome.code == 1, outcome.err
    assert leadctl("restore", str(path), "--into", f"{copy}2").code in {1, 3}


@pytest.mark.thorough
def test_over_a_database(leadctl: Restore, leadconnector: Prepared, dump: Dump) -> None:
    leadctl("db", "environment", "production", "--protect")
    path = str(dump("--format=plain", "--exclude-schema=leadctl"))
    identity = leadconnector.query("SELECT * FROM leadctl.identity")
    runs = leadconnector.query("SELECT count(*) FROM leadctl.run")
    leadconnector.query("DELETE FROM users")
    assert leadctl("restore", path, "--yes").code == 5
    planned = leadctl("restore", path, "--dry-run", "-o", "json").json
    assert (planned["replaces"], planned["rows"]) == (True, None)
    outcome = leadctl("restore", path, "--confirm", leadconnector.name, "-o", "json")
    assert outcome.code == 0, outcome.err
    assert leadconnector.query("SELECT count(*) FROM users") == [(1,)]
    assert leadconnector.query("SELECT * FROM leadctl.identity") == identity
    ours = "SELECT count(*) FROM leadctl.run WHERE command <> 'restore'"
    assert leadconnector.query(ours) == runs


@pytest.mark.few(1)
@pytest.mark.parametrize(
    "kind", [*FORMATS[:3], pytest.param("directory", marks=pytest.mark.thorough)]
)
def test_cut_short(
    leadctl: Restore, leadconnector: Prepared, dump: Dump, copy: str, kind: str
) -> None:
    leadconnector.query(
        "CREATE TABLE filler AS SELECT md5(n::text) FROM generate_series(1, 20000) n"
    )
    path = dump(f"--format={kind}")
    before = plain_dump(leadconnector.server, leadconnector.name)
    for cut in (path / "toc.dat", *path.glob("*.gz")) if path.is_dir() else (path,):
        whole = cut.read_bytes()
        for share in (0.3, 0.9, 0.999):
            cut.write_bytes(whole[: int(len(whole) * share)])
            for arguments in (["--into", copy], ["--yes"]):
                outcome = leadctl("restore", str(path), *arguments)
                assert outcome.code == 1, (cut, share, outcome.err)
        cut.write_bytes(whole)
    assert left_by_restores(leadconnector) == []
    assert plain_dump(leadconnector.server, leadconnector.name) == before


@pytest.mark.few(1)
@pytest.mark.parametrize(
    ("script", "says"),
    [
        ("CREATE TABLE a (b int); SELECT 1 / 0; CREATE TABLE c ();", "division by zero"),
        ("CREATE TABLE a (b int);\nCOPY a FROM stdin;\n12\n13", "is cut short"),
        ("CREATE TABLE a (b int);\nCOPY a FROM stdin;\n", "is cut short"),
        ("CREATE TABLE a (b int);\n/* and", "is cut short"),
        ("CREATE TABLE a (b int);\nINSERT INTO a SELECT $a$1$", "is cut short"),
        ("ALTER SCHEMA public OWNER TO nobody_is_called_so;", "nobody_is_called_so"),
        ("CREATE EXTENSION nothing_is_called_so;", "nothing_is_called_so"),
    ],
)
def test_scripts_that_cannot_run(
    leadctl: Restore, leadconnector: Prepared, tmp_path: Path, copy: str, script: str, says: str
) -> None:
    path = tmp_path / "script.sql"
    path.write_text(script)
    for arguments in (["--into", copy], ["--yes"]):
        outcome = leadctl("restore", str(path), *arguments)
        assert (outcome.code, says in outcome.err) == (1, True), outcome.err
    assert left_by_restores(leadconnector) == []
    assert leadconnector.query("SELECT count(*) FROM users") == [(1,)]


def test_of_a_whole_cluster_or_with_create(leadctl: Restore, dump: Dump, copy: str) -> None:
    outcome = leadctl("restore", str(dump("--create")), "--into", copy)
    assert (outcome.code, "without --create" in outcome.err) == (5, True)


def test_a_script_that_cannot_be_one_transaction(
    leadctl: Restore, leadconnector: Prepared, tmp_path: Path, copy: str
) -> None:
    path = tmp_path / "script.sql"
    script = "CREATE TABLE a (b int);;\nCREATE INDEX CONCURRENTLY ON a (b);\n;VACUUM a;\n"
    objects = "BEGIN;\nSELECT pg_catalog.lo_create('77');\nCOMMIT;\n"
    makes = "CREATE FUNCTION f() RETURNS int LANGUAGE sql AS 'SELECT 1';\n"
    for text, option in (
        (script, "--quiet"),
        (objects + script, "--quiet"),
        (objects + makes + script, "--no-owner"),
    ):
        path.write_text(text)
        outcome = leadctl("restore", str(path), "--into", copy, option)
        assert outcome.code == 0, outcome.err
        with leadconnector.server.connect(copy) as connection:
            assert connection.execute("SELECT count(*) FROM a").fetchone() == (0,)
            found = connection.execute("SELECT oid FROM pg_largeobject_metadata").fetchall()
            assert found == [(77,)] * (objects in text)
        leadconnector.server.drop(copy)


def test_data_that_looks_like_commands(
    leadctl: Restore, leadconnector: Prepared, dump: Dump, copy: str
) -> None:
    leadconnector.query("CREATE TABLE odd (t text)")
    for text in ("\\restrict abc", "\restrict abc", "\\unrestrict abc", "\\.", "a\n\\.\nb"):
        leadconnector.query("INSERT INTO odd VALUES (%s)", text)
    leadconnector.query("CREATE TABLE one (t text)")
    leadconnector.query("INSERT INTO one VALUES (chr(13) || 'estrict abc')")
    assert leadctl("restore", str(dump()), "--into", copy).code == 0
    assert same(leadconnector, copy)


def test_options_that_a_script_does_not_have(leadctl: Restore, dump: Dump, copy: str) -> None:
    path = str(dump())
    for option in ("--skip=TABLE x y", "--schema-only"):
        outcome = leadctl("restore", path, "--into", copy, option)
        assert (outcome.code, "script" in outcome.err) == (2, True), outcome.err
    assert leadctl("restore", path, "--table", "users").code == 2
    assert leadctl("restore", f"{path}.not-there", "--into", copy).code == 1


def test_options_that_an_archive_has(
    leadctl: Restore, leadconnector: Prepared, dump: Dump, copy: str
) -> None:
    path = str(dump("--format=custom"))
    outcome = leadctl("restore", path, "--into", copy, "--schema-only", "--no-owner", "--jobs=3")
    assert outcome.code == 0, outcome.err
    with leadconnector.server.connect(copy) as connection:
        assert connection.execute("SELECT count(*) FROM users").fetchone() == (0,)


def test_what_the_server_lacks(leadctl: Restore, leadconnector: Prepared, dump: Dump) -> None:
    role = f"owner_{leadconnector.name}"
    leadconnector.query(f"CREATE ROLE {role}; ALTER TABLE users OWNER TO {role}")
    path = str(dump("--format=custom"))
    leadconnector.query(f"ALTER TABLE users OWNER TO postgres; DROP ROLE {role}")
    outcome = leadctl("restore", path, "--yes")
    assert (outcome.code, role in outcome.err) == (1, True), outcome.err
    assert leadctl("restore", path, "--dry-run", "-o", "json").json["missing_roles"] == [role]
    assert leadctl("restore", path, "--yes", "--no-owner").code == 0


NOTHING = {
    "empty.sql": b"",
    "comment.sql": b"-- nothing came\n",
    "nothing.sql.gz": gzip.compress(b""),
}


@pytest.mark.few(2)
@pytest.mark.parametrize("name", NOTHING)
def test_a_file_that_holds_nothing(
    leadctl: Restore, leadconnector: Prepared, tmp_path: Path, copy: str, name: str
) -> None:
    path = tmp_path / name
    path.write_bytes(NOTHING[name])
    for arguments in (["--into", copy], ["--yes", "--drop-old"], ["--dry-run"]):
        outcome = leadctl("restore", str(path), *arguments)
        assert (outcome.code, "no SQL statement" in outcome.err) == (1, True), outcome.err
    assert left_by_restores(leadconnector) == []
    assert leadconnector.query("SELECT count(*) FROM users") == [(1,)]


def test_a_script_that_makes_no_table(
    leadctl: Restore, leadconnector: Prepared, tmp_path: Path, copy: str
) -> None:
    path = tmp_path / "none.sql"
    path.write_text(
        "SET search_path = public;\nCREATE FUNCTION f() RETURNS int LANGUAGE sql RETURN 1;"
    )
    for arguments in (["--into", copy], ["--yes", "--drop-old"], ["--yes", "--keep-going"]):
        outcome = leadctl("restore", str(path), *arguments)
        assert (outcome.code, "tables: there is none" in outcome.err) == (1, True), outcome.err
    assert left_by_restores(leadconnector) == []
    assert leadconnector.query("SELECT count(*) FROM users") == [(1,)]


def test_no_rows_do_not_drop_the_old_database(
    leadctl: Restore, leadconnector: Prepared, tmp_path: Path
) -> None:
    path = tmp_path / "bare.sql"
    path.write_text("CREATE TABLE users (id int);")
    outcome = leadctl("restore", str(path), "--yes", "--drop-old", "-o", "json")
    assert outcome.code == 0, outcome.err
    with leadconnector.server.connect(outcome.json["previous"]) as connection:
        assert connection.execute("SELECT count(*) FROM users").fetchone() == (1,)


@pytest.mark.parametrize(
    ("command", "line"),
    [
        ("\\connect postgres\nCREATE TABLE a ();", 1),
        ("SELECT 1;\n\\! touch /tmp/never\n", 2),
        ("CREATE TABLE a (i int);\nSELECT 1 \\gexec\n", 2),
        ("\\set x 1\nCREATE TABLE a (i int);\n\\copy a FROM 'a.csv'\n", 1),
    ],
)
def test_commands_of_psql_are_refused(
    leadctl: Restore, leadconnector: Prepared, tmp_path: Path, copy: str, command: str, line: int
) -> None:
    path = tmp_path / "script.sql"
    path.write_text(command)
    for option in ("--quiet", "--no-owner", "--keep-going", "--trust-script"):
        outcome = leadctl("restore", str(path), "--into", copy, option)
        assert (outcome.code, f", line {line}: \\" in outcome.err) == (5, True), outcome.err
        assert "--trust-script" not in outcome.err
    assert left_by_restores(leadconnector) == []


REACHING = {
    "CREATE TABLE t (i int);\nVACUUM;\nDROP DATABASE {victim};": 3,
    "CREATE TABLE t (i int);\nCOMMIT;\nCREATE ROLE {victim} SUPERUSER;\nSELECT 1/0;": 2,
    "CREATE TABLE t (i int);\nROLLBACK;\nCREATE TABLE u (i int);": 2,
    "CREATE TABLE t (i int);\n\nALTER SYSTEM SET work_mem = '65MB';": 3,
    "CREATE DATABASE {victim}_2;": 1,
}


@pytest.mark.few(2)
@pytest.mark.parametrize("script", REACHING)
def test_a_script_that_reaches_out(
    leadctl: Restore, leadconnector: Prepared, tmp_path: Path, copy: str, script: str
) -> None:
    server, victim = leadconnector.server, f"{leadconnector.name}_copy_victim"
    create(server, victim, "")
    try:
        path = tmp_path / "script.sql"
        path.write_text(script.format(victim=victim))
        for arguments in (["--into", copy], ["--yes"], ["--dry-run"]):
            outcome = leadctl("restore", str(path), *arguments)
            assert (outcome.code, f"line {REACHING[script]}:" in outcome.err) == (5, True), (
                outcome.err
            )
        databases = leadconnector.query(
            "SELECT datname FROM pg_database WHERE datname LIKE %s", f"{victim}%"
        )
        assert databases == [(victim,)]
        assert leadconnector.query("SELECT 1 FROM pg_roles WHERE rolname = %s", victim) == []
        assert left_by_restores(leadconnector) == []
    finally:
        server.drop(victim)


def test_a_script_that_is_trusted(
    leadctl: Restore, leadconnector: Prepared, tmp_path: Path, copy: str
) -> None:
    path = tmp_path / "script.sql"
    path.write_text("BEGIN;\nCREATE TABLE t (i int);\nCOMMIT;\n")
    assert leadctl("restore", str(path), "--into", copy).code == 5
    outcome = leadctl("restore", str(path), "--into", copy, "--trust-script")
    assert outcome.code == 0, outcome.err
    with leadconnector.server.connect(copy) as connection:
        assert connection.execute("SELECT count(*) FROM t").fetchone() == (0,)


MAKES_ROLE = """CREATE TABLE t (i int);
CREATE FUNCTION made() RETURNS trigger LANGUAGE plpgsql
    AS $$ BEGIN EXECUTE format('CREATE %s {role}', 'ROLE'); RETURN NEW; END $$;
CREATE FUNCTION called() RETURNS int LANGUAGE plpgsql AS $$ BEGIN EXECUTE {text}; RETURN 1; END $$;
"""
HIDDEN = {
    "CREATE TRIGGER x BEFORE INSERT ON t FOR EACH ROW EXECUTE FUNCTION made();\n"
    "INSERT INTO t VALUES (1);": 6,
    "CREATE CONSTRAINT TRIGGER x AFTER INSERT ON t DEFERRABLE INITIALLY DEFERRED\n"
    "    FOR EACH ROW EXECUTE FUNCTION made();\nINSERT INTO t VALUES (1);\nSELECT 1;\n": 9,
    "CREATE VIEW v AS SELECT called();\nSELECT 1;\nSELECT * FROM v;": 7,
    "INSERT INTO t VALUES (1);\nALTER TABLE t ADD j int DEFAULT called();\nSELECT 1;": 6,
    "ALTER TABLE t ALTER i SET DEFAULT called(), ADD j int;\nCOPY t (j) FROM stdin;\n1\n\\.\nSELECT 1;": 6,
    'SELECT 1;\nSELECT U&"c\\0061lled"();': 6,
    "DO $$ BEGIN PERFORM called(); END $$;": 5,
    "BEGIN;\nSELECT pg_catalog.lo_create('77');\nCOMMIT;\nSELECT 1;\nSELECT called();": 9,
    "SAVEPOINT s;\nCREATE MATERIALIZED VIEW m AS SELECT called();\nRELEASE s;": 6,
}
HIDDEN_WRITES = [
    "'CREATE ' || 'ROLE {role}'",
    "'ALTER ' || 'DATABASE {victim} SET work_mem = ''5MB'''",
    "'COMMENT ON ' || 'DATABASE {victim} IS ''x'''",
    "'GRANT {member} TO ' || 'pg_monitor'",
    "'DROP ' || 'ROLE {member}'",
    "'REVOKE CONNECT ON ' || 'DATABASE {victim} FROM PUBLIC'",
    "'UPDATE pg_authid SET rolconnlimit = 5 WHERE rolname = ''{member}'''",
]


@pytest.fixture
def shared(leadconnector: Prepared) -> Iterator[Callable[[], list[tuple[Any, ...]]]]:
    """Yield what reads, from the server's catalogs, what a script may not write."""
    server, name = leadconnector.server, leadconnector.name
    create(server, f"{name}_victim", "")
    leadconnector.query(f"CREATE ROLE {name}_member")
    yield lambda: leadconnector.query(
        "SELECT datname, datacl::text, shobj_description(d.oid, 'pg_database'), setconfig::text"
        " FROM pg_database d LEFT JOIN pg_db_role_setting ON setdatabase = d.oid"
        " WHERE datname = %s UNION ALL SELECT rolname, rolconnlimit::text, member::text, ''"
        " FROM pg_authid a LEFT JOIN pg_auth_members ON roleid = a.oid WHERE rolname LIKE %s",
        f"{name}_victim",
        f"{name}%",
    )
    server.drop(f"{name}_victim")
    leadconnector.query(f"DROP ROLE IF EXISTS {name}_made, {name}_member")


def hiding(script: str, write: str, name: str) -> str:
    names = {"role": f"{name}_made", "member": f"{name}_member", "victim": f"{name}_victim"}
    return MAKES_ROLE.format(role=names["role"], text=write.format(**names)) + script


@pytest.mark.thorough
@pytest.mark.parametrize(
    ("script", "write"),
    [(script, HIDDEN_WRITES[0]) for script in HIDDEN]
    + [("SELECT 1;\nSELECT * FROM (SELECT called()) s;", write) for write in HIDDEN_WRITES[1:]],
)
def test_what_a_script_calls_reaches_out(
    leadctl: Restore,
    leadconnector: Prepared,
    tmp_path: Path,
    copy: str,
    shared: Callable[[], list[tuple[Any, ...]]],
    script: str,
    write: str,
) -> None:
    """The text does not say it, so the server is asked before anything of it is committed."""
    before, line = shared(), HIDDEN.get(script, 6)
    path = tmp_path / "script.sql"
    path.write_text(hiding(script, write, leadconnector.name))
    for option in ([], ["--no-owner"], ["--keep-going"]):
        if option == ["--keep-going"] and "SAVEPOINT" in script:
            continue
        outcome = leadctl("restore", str(path), "--into", copy, *option)
        # What waits for the end of all waits for its own statement's there.
        at = 7 if option == ["--keep-going"] and "DEFERRED" in script else line
        assert (outcome.code, f", line {at}: " in outcome.err) == (5, True), outcome.err
        assert shared() == before
        assert left_by_restores(leadconnector) == []


def test_what_a_script_without_a_transaction_calls_reaches_out(
    leadctl: Restore,
    leadconnector: Prepared,
    tmp_path: Path,
    copy: str,
    shared: Callable[[], list[tuple[Any, ...]]],
) -> None:
    before, path = shared(), tmp_path / "script.sql"
    script = "VACUUM t;\nCREATE VIEW v AS SELECT called();\nSELECT * FROM v;"
    path.write_text(hiding(script, HIDDEN_WRITES[0], leadconnector.name))
    outcome = leadctl("restore", str(path), "--into", copy)
    assert (outcome.code, ", line 7: " in outcome.err) == (5, True), outcome.err
    assert (shared(), left_by_restores(leadconnector)) == (before, [])
    outcome = leadctl("restore", str(path), "--into", copy, "--trust-script")
    assert (outcome.code, len(shared())) == (0, len(before) + 1), outcome.err


FOREIGN = """CREATE EXTENSION postgres_fdw;
CREATE SERVER s FOREIGN DATA WRAPPER postgres_fdw OPTIONS (host '{host}', port '{port}', dbname '{victim}');
CREATE USER MAPPING FOR CURRENT_USER SERVER s OPTIONS (user 'postgres', password_required 'false');
CREATE FOREIGN TABLE there (i int) SERVER s OPTIONS (table_name 'kept');
CREATE FOREIGN TABLE unread (i int) SERVER s OPTIONS (table_name 'missing');
COMMENT ON FOREIGN TABLE there IS 'x';
{copy}
"""


def test_rows_for_another_database_are_not_sent(
    leadctl: Restore,
    leadconnector: Prepared,
    tmp_path: Path,
    copy: str,
    shared: Callable[[], list[tuple[Any, ...]]],
) -> None:
    """As pg_dump --include-foreign-data writes them."""
    server, victim = leadconnector.server, shared()[0][0]
    if not leadconnector.query("SELECT 1 FROM pg_available_extensions WHERE name = 'postgres_fdw'"):
        pytest.skip("This server has no postgres_fdw.")
    with server.connect(victim) as connection:
        connection.execute("CREATE TABLE kept (i int)")
    path = tmp_path / "script.sql"
    where = {"host": server.socket, "port": server.port, "victim": victim}
    for rows, code in (("COPY there FROM stdin;\n1\n\\.\n", 5), ("CREATE TABLE here (i int);", 0)):
        path.write_text(FOREIGN.format(copy=rows, **where))
        for option in ("--quiet", "--no-owner", "--keep-going"):
            outcome = leadctl("restore", str(path), "--into", copy, option)
            assert outcome.code == code, outcome.err
            assert (", line 7: COPY" in outcome.err) == (code == 5)
            with server.connect(victim) as connection:
                assert connection.execute("SELECT count(*) FROM kept").fetchone() == (0,)
            server.drop(copy)


INSIDE = """
CREATE SCHEMA s AUTHORIZATION {member};
CREATE TABLE s.t (i int PRIMARY KEY, j int REFERENCES s.t DEFERRABLE INITIALLY DEFERRED);
ALTER TABLE s.t OWNER TO {member};
GRANT SELECT ON s.t TO pg_monitor;
DO $$ BEGIN EXECUTE 'GRANT SELECT ON s.t TO PUBLIC'; END $$;
CREATE EXTENSION pg_trgm;
CREATE FUNCTION greeted() RETURNS event_trigger LANGUAGE plpgsql AS $$ BEGIN END $$;
{login}
CREATE SUBSCRIPTION {member} CONNECTION 'dbname=x' PUBLICATION p
    WITH (connect = false, slot_name = NONE);
COMMENT ON SUBSCRIPTION {member} IS 'of this database';
COMMENT ON SCHEMA s IS 'x';
COPY s.t FROM stdin;
1	2
2	1
\\.
"""


@pytest.mark.thorough
@pytest.mark.usefixtures("shared")
@pytest.mark.parametrize("option", ["--quiet", "--no-owner", "--keep-going"])
def test_what_a_script_calls_stays_inside(
    leadctl: Restore, leadconnector: Prepared, tmp_path: Path, copy: str, option: str
) -> None:
    """Owners, login triggers, subscriptions and their comments are this database's own."""
    login = "CREATE EVENT TRIGGER g ON login EXECUTE FUNCTION greeted();"
    member = f"{leadconnector.name}_member"
    path = tmp_path / "script.sql"
    path.write_text(
        INSIDE.format(member=member, login=login if leadconnector.server.major > 16 else "")
    )
    outcome = leadctl("restore", str(path), "--into", copy, option)
    assert outcome.code == 0, outcome.err
    with leadconnector.server.connect(copy) as connection:
        assert connection.execute("SELECT count(*) FROM s.t").fetchone() == (2,)
        connection.execute(f"DROP SUBSCRIPTION {member}")


@pytest.mark.parametrize("option", ["--quiet", "--no-owner", "--keep-going"])
def test_a_script_in_another_encoding(
    leadctl: Restore, leadconnector: Prepared, tmp_path: Path, copy: str, option: str
) -> None:
    path = tmp_path / "script.sql"
    script = """SET client_encoding = 'LATIN1';
CREATE TABLE "é" ("ü" text);
BEGIN;
SELECT pg_catalog.lo_create('77');
COMMIT;
COPY "é" ("ü") FROM stdin;
ñ
\\.
INSERT INTO "é" VALUES ('ß');
"""
    path.write_bytes(script.encode("latin-1"))
    outcome = leadctl("restore", str(path), "--into", copy, option)
    assert outcome.code == 0, outcome.err
    with leadconnector.server.connect(copy) as connection:
        assert connection.execute('SELECT "ü" FROM "é"').fetchall() == [("ñ",), ("ß",)]


def test_a_deferred_constraint_is_named(leadctl: Restore, tmp_path: Path, copy: str) -> None:
    path = tmp_path / "script.sql"
    path.write_text(
        "CREATE TABLE t (i int PRIMARY KEY, j int REFERENCES t DEFERRABLE INITIALLY DEFERRED);\n"
        "INSERT INTO t VALUES (1, 2);\n"
    )
    for option in ([], ["--no-owner"]):
        outcome = leadctl("restore", str(path), "--into", copy, *option)
        assert (outcome.code, "violates foreign key constraint" in outcome.err) == (1, True)


def compressed(kind: str, data: bytes) -> bytes:
    if kind.startswith("zip"):
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w") as archive:
            archive.writestr("dump.sql", data)
        return buffer.getvalue()
    return {
        "gzip": gzip.compress,
        "xz": lzma.compress,
        "bz2": bz2.compress,
        "zstd": zstandard.compress,
        "gzip in xz": lambda plain: lzma.compress(gzip.compress(plain)),
        "crlf": lambda plain: plain.replace(b"\n", b"\r\n"),
        "signed": lambda plain: codecs.BOM_UTF8 + plain,  # as PowerShell writes UTF-8
        "utf-16": lambda plain: plain.decode().encode("utf-16"),
        "padded": lambda plain: gzip.compress(plain) + bytes(4096),
    }[kind](data)


@pytest.mark.few(2)
@pytest.mark.parametrize(
    ("kind", "name"),
    [
        ("gzip", "dump"),
        ("gzip", "dump.sql"),
        ("gzip", "DUMP.GZ"),
        ("xz", "dump.gz"),
        ("bz2", "dump"),
        ("zstd", "dump.sql"),
        ("gzip in xz", "dump"),
        ("padded", "dump.gz"),
        ("crlf", "dump.sql"),
        ("signed", "dump.sql"),
    ],
)
def test_packing_is_told_by_the_first_bytes(
    leadctl: Restore, server: Server, tmp_path: Path, copy: str, kind: str, name: str
) -> None:
    of = create(
        server, f"t_{uuid4().hex[:12]}", "CREATE TABLE t (a text); INSERT INTO t VALUES ('x')"
    )
    try:
        plain = pg_dump(server, of, tmp_path / "plain").read_bytes()
        path = tmp_path / name
        path.write_bytes(compressed(kind, plain))
        outcome = leadctl("restore", str(path), "--into", copy)
        assert outcome.code == 0, outcome.err
        assert plain_dump(server, copy) == plain_dump(server, of)
        if kind not in {"crlf", "padded", "signed"}:
            path.write_bytes(path.read_bytes()[:-9])
            outcome = leadctl("restore", str(path), "--into", f"{copy}2")
            assert (outcome.code, "cut short" in outcome.err) == (1, True), outcome.err
    finally:
        server.drop(of)


SQL = b"CREATE TABLE t (i int);\n"


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (compressed("zip", SQL), "a zip archive"),
        (compressed("utf-16", SQL), "UTF-16"),
        (lzma.compress(SQL, format=lzma.FORMAT_ALONE), "by lzma"),
        (b"\x04\x22\x4d\x18" + SQL, "by lz4"),
        (b"-----BEGIN PGP MESSAGE-----\n\n", "by PGP"),
        (b"-----BEGIN AGE ENCRYPTED FILE-----\n", "an armored age file"),
        (b"Salted__12345678" + SQL, "by OpenSSL"),
        (b"-- MySQL dump 10.13\n" + SQL, "a dump of MySQL"),
        (SQL.decode().encode("utf-32"), "UTF-32"),
        (b"\0\0\xfe\xff" + SQL.decode().encode("utf-32-be"), "UTF-32"),
        (SQL.decode().encode("utf-16-le"), "not SQL"),
        (SQL.decode().encode("utf-16-be"), "not SQL"),
        (compressed("gzip", b"<html>404</html>"), "not SQL"),
        (b'\n{"error": "denied"}', "not SQL"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_kinds_that_are_not_read_are_named(
    leadctl: Restore, tmp_path: Path, copy: str, data: bytes, says: str
) -> None:
    path = tmp_path / "dump.sql"
    path.write_bytes(data)
    outcome = leadctl("restore", str(path), "--into", copy)
    assert (outcome.code, says in outcome.err) == (1, True), outcome.err
    assert "--keep-going" not in outcome.err


def test_a_compression_that_pg_restore_lacks(
    leadctl: Restore, leadconnector: Prepared, dump: Dump, copy: str
) -> None:
    """Nothing of the rows would come back by --keep-going, so it is not named as a way out."""
    if leadconnector.server.major < 16:
        pytest.skip("Its archives do not say how they are compressed.")
    path = dump("--format=custom")
    archive = bytearray(path.read_bytes())
    archive[11] = 2  # LZ4
    path.write_bytes(archive)
    for option in ("--quiet", "--keep-going"):
        outcome = leadctl("restore", str(path), "--into", copy, option)
        assert outcome.code == 1
        if "does not support compression" in outcome.err:  # in other builds it is no LZ4
            assert "--compress=gzip" in outcome.err
            assert "--keep-going" not in outcome.err


def test_values_of_rows_are_not_shown(leadctl: Restore, tmp_path: Path, copy: str) -> None:
    path = tmp_path / "dump.sql"
    path.write_text("CREATE TABLE t (i int);\nCOPY t FROM stdin;\nsecret-card-4111\n\\.\n")
    outcome = leadctl("restore", str(path), "--into", copy)
    assert (outcome.code, "invalid input syntax" in outcome.err) == (1, True), outcome.err
    assert "4111" not in outcome.err + outcome.out
