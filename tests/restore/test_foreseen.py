"""What a restore foresees: it says so before anything is made, and leaves no copy behind."""

import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from psycopg import sql

from leadctl.backup.manifest import parse, render
from leadctl.errors import LockHeld
from leadctl.postgres.binaries import dump_programs
from leadctl.restore import database
from tests.backups import encrypted_backups
from tests.conftest import Cli, Outcome
from tests.processes import wait_for
from tests.servers import MAJOR, PASSWORD, RunningServer


class Shop:
    """A database on a server of its own, and the folder of its backups."""

    def __init__(self, server: RunningServer, cli: Cli, folder: Path) -> None:
        self.server, self._cli, self._env = server.info, cli, encrypted_backups(folder)

    def leadctl(self, *arguments: str, url: str | None = None) -> Outcome:
        return self._cli(*arguments, url=url or self.server.url("shop"), env=self._env)

    def query(self, statement: str, name: str = "shop") -> list[tuple[object, ...]]:
        with self.server.connect(name) as connection:
            cursor = connection.execute(statement)
            return cursor.fetchall() if cursor.description else []

    def dumped(self, folder: Path) -> Path:
        """Return an archive of pg_dump's."""
        place = ["-h", self.server.socket, "-p", str(self.server.port), "-U", "postgres"]
        program, path = dump_programs(MAJOR, MAJOR).path("pg_dump"), folder / "shop.dump"
        subprocess.run([program, *place, "-Fc", f"--file={path}", "shop"], check=True)
        return path

    def databases(self) -> set[object]:
        return {name for (name,) in self.query("SELECT datname FROM pg_database", "postgres")}


@pytest.fixture(scope="module")
def running() -> Iterator[RunningServer]:
    with RunningServer(MAJOR, wal_level="logical", max_prepared_transactions="5") as server:
        yield server


@pytest.fixture
def shop(running: RunningServer, cli: Cli, tmp_path: Path) -> Iterator[Shop]:
    found = Shop(running, cli, tmp_path)
    found.query("CREATE DATABASE shop", "postgres")
    found.query("CREATE TABLE t (id int PRIMARY KEY); INSERT INTO t SELECT generate_series(1, 9)")
    assert found.leadctl("db", "environment", "development", "--unprotect").code == 0
    yield found
    for gid, on in found.query("SELECT gid, database FROM pg_prepared_xacts", "postgres"):
        found.query(f"ROLLBACK PREPARED {sql.Literal(gid).as_string()}", str(on))
    for name in found.databases() - {"postgres", "template0", "template1"}:
        for (sub,) in found.query(
            "SELECT subname FROM pg_subscription s JOIN pg_database d ON d.oid = subdbid"
            " WHERE datname = current_database()",
            str(name),
        ):
            found.query(f"ALTER SUBSCRIPTION {sub} DISABLE", str(name))
            found.query(f"ALTER SUBSCRIPTION {sub} SET (slot_name = NONE)", str(name))
            found.query(f"DROP SUBSCRIPTION {sub}", str(name))
        found.server.drop(str(name))
    for (role,) in found.query("SELECT rolname FROM pg_roles WHERE rolname ~ '^shop'", "postgres"):
        found.query(f"DROP ROLE {role}", "postgres")


SUBSCRIPTION = (
    "CREATE SUBSCRIPTION s CONNECTION 'host=127.0.0.1 port=1 dbname=x' PUBLICATION p"
    " WITH (connect = false)"
)


@pytest.mark.thorough
def test_a_prepared_transaction(shop: Shop) -> None:
    assert shop.leadctl("backup").code == 0
    shop.query("BEGIN; DELETE FROM t WHERE id = 1; PREPARE TRANSACTION 'it''s'")
    before = shop.databases()
    for arguments in (["--dry-run"], ["--yes"]):
        refused = shop.leadctl("restore", *arguments)
        assert (refused.code, "ROLLBACK PREPARED 'it''s'" in refused.err) == (1, True), refused.err
    assert shop.databases() == before
    shop.query("ROLLBACK PREPARED 'it''s'")
    assert shop.leadctl("restore", "--yes").code == 0


@pytest.mark.thorough
def test_a_subscription(shop: Shop) -> None:
    shop.query(SUBSCRIPTION)
    assert shop.leadctl("backup").code == 0
    before = shop.databases()
    verified = shop.leadctl("backup", "verify", "latest", "--restore", "-o", "json")
    assert (verified.code, verified.json["depth"]) == (0, "restored"), verified.out
    assert shop.databases() == before
    shop.query("ALTER SUBSCRIPTION s SET (slot_name = 's'); ALTER SUBSCRIPTION s ENABLE")
    refused = shop.leadctl("restore", "--yes", "--drop-old")
    assert (refused.code, "ALTER SUBSCRIPTION s DISABLE" in refused.err) == (1, True), refused.err
    assert shop.databases() == before
    shop.query("ALTER SUBSCRIPTION s DISABLE")
    done = shop.leadctl("restore", "--yes", "--drop-old")
    assert (done.code, 'ALTER SUBSCRIPTION "s" ENABLE' in done.err) == (0, True), done.err
    assert shop.databases() == before
    assert shop.query("SELECT subenabled FROM pg_subscription") == [(False,)]


def test_a_slot_that_is_read(shop: Shop) -> None:
    assert shop.leadctl("backup").code == 0
    shop.query("SELECT pg_create_logical_replication_slot('cdc', 'test_decoding')")
    program = dump_programs(MAJOR, MAJOR).path("pg_recvlogical")
    if not program.exists():
        pytest.skip("there is no pg_recvlogical here")
    where = ["-h", shop.server.socket, "-p", str(shop.server.port), "-U", "postgres", "-d", "shop"]
    reader = subprocess.Popen([program, *where, "--slot=cdc", "--start", "-f", "/dev/null"])
    try:
        wait_for(lambda: shop.query("SELECT 1 FROM pg_replication_slots WHERE active"))
        refused = shop.leadctl("restore", "--yes")
        assert (refused.code, "'cdc'" in refused.err) == (1, True), refused.err
    finally:
        reader.terminate()
        reader.wait()
    wait_for(lambda: not shop.query("SELECT 1 FROM pg_replication_slots WHERE active"))
    assert shop.leadctl("restore", "--yes").code == 0
    (kept,) = shop.databases() - {"postgres", "template0", "template1", "shop"}
    shop.query("SELECT pg_drop_replication_slot('cdc')", str(kept))


@pytest.mark.few(1)
@pytest.mark.parametrize(
    ("makes", "named"),
    [
        ("CREATE EXTENSION pageinspect", "pageinspect"),
        (
            "CREATE FUNCTION f() RETURNS event_trigger LANGUAGE plpgsql AS 'BEGIN END';"
            " CREATE EVENT TRIGGER alarm ON ddl_command_end EXECUTE FUNCTION f()",
            "alarm",
        ),
        (SUBSCRIPTION, "subscription s"),
        ("CREATE PUBLICATION everything FOR ALL TABLES", "PUBLICATION - everything"),
        (
            "CREATE FUNCTION f() RETURNS int LANGUAGE sql IMMUTABLE LEAKPROOF AS 'SELECT 1'",
            "FUNCTION public f()",
        ),
    ],
)
def test_what_the_role_may_not_make(shop: Shop, makes: str, named: str) -> None:
    shop.query(f"{makes}; CREATE ROLE shop_app LOGIN CREATEDB PASSWORD '{PASSWORD}'")
    assert shop.leadctl("backup").code == 0
    before = shop.databases()
    url = shop.server.url("shop").replace("//postgres:", "//shop_app:")
    for arguments in (["--dry-run"], ["--yes"]):
        for options in ([], ["--no-owner"]):
            into = ["--into", "shop_copy", *options]
            refused = shop.leadctl("restore", *into, *arguments, url=url)
            assert (refused.code, named in refused.err) == (4, True), refused.err
    verified = shop.leadctl("backup", "verify", "latest", "--restore", url=url)
    if "SUBSCRIPTION" in makes:  # which a rehearsal never makes
        assert verified.code == 0, verified.out
    else:
        assert (verified.code, "could not be rehearsed" in verified.out) == (1, True), verified.out
        assert "--embedded" in verified.out
    assert shop.databases() == before


def test_owners_that_the_role_cannot_set(shop: Shop) -> None:
    """As services have them: an administrator's role that is no superuser, nor a member of all."""
    shop.query("CREATE ROLE service_admin; CREATE SCHEMA tools AUTHORIZATION service_admin")
    shop.query(f"CREATE ROLE shop_app LOGIN CREATEDB PASSWORD '{PASSWORD}'")
    shop.query("ALTER DATABASE shop OWNER TO shop_app; CREATE ROLE team ROLE shop_app")
    shop.query("CREATE TABLE theirs (id int); ALTER TABLE theirs OWNER TO team")
    assert shop.leadctl("backup").code == 0
    before = shop.databases()
    url = shop.server.url("shop").replace("//postgres:", "//shop_app:")
    for arguments in (["--dry-run"], ["--yes"]):
        refused = shop.leadctl("restore", "--into", "shop_copy", *arguments, url=url)
        assert (refused.code, "service_admin" in refused.err) == (4, True), refused.err
        assert "--no-owner" in refused.err
        assert "team" not in refused.err
    assert shop.databases() == before
    assert shop.leadctl("restore", "--into", "shop_copy", "--no-owner", url=url).code == 0


@pytest.mark.thorough
def test_a_copy_that_cannot_be_dropped_is_named(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert shop.leadctl("backup").code == 0
    before = shop.databases()

    def fails(*_: object, **__: object) -> None:
        raise LockHeld("It hangs.")

    original = database._let_go
    with monkeypatch.context() as patched:
        patched.setattr("leadctl.restore.restore.swap", fails)
        calls = iter([False, True])
        patched.setattr(database, "_let_go", lambda *a: fails() if next(calls) else original(*a))
        failed = shop.leadctl("restore", "--yes")
    (left,) = shop.databases() - before
    assert (failed.code, f'DROP DATABASE "{left}"' in failed.err) == (6, True), failed.err
    assert shop.leadctl("restore", "--yes", "--drop-old").code == 0
    assert shop.databases() == before


def test_what_a_first_superuser_of_another_name_owns(shop: Shop) -> None:
    assert shop.leadctl("backup", "-o", "json").code == 0
    shown = shop.leadctl("backup", "show", "latest", "-o", "json").json
    assert shown["manifest"]["roles"] == ["postgres"]


def test_a_clock_that_was_ahead(shop: Shop) -> None:
    first = Path(shop.leadctl("backup", "-o", "json").json["path"])
    ahead = first.rename(first.with_name(f"{int(first.name[:4]) + 2}{first.name[4:]}"))
    manifest = ahead / "manifest.json"
    text = manifest.read_text()
    manifest.write_text(render(replace(parse(text), id=ahead.name)))
    second = shop.leadctl("backup", "-o", "json")
    assert ahead.name in second.err
    found = shop.leadctl("restore", "--dry-run", "-o", "json")
    assert found.json["backup"] == second.json["id"]
    # Whose clock is wrong, nobody knows: the newer one may hold the rows of the day.
    assert f"the backup {ahead.name} is newer" in found.err
    assert "with its id" in found.err
    listed = shop.leadctl("backup", "list", "-o", "json").json["backups"]
    assert [backup["from_future"] for backup in listed] == [True, False]
    assert f"{ahead.name} was made by a clock" in shop.leadctl("backup", "list").out
    health = shop.leadctl("health-check", "--check", "backups", "-o", "json")
    assert "from the future" in health.out
    (checked,) = health.json["checks"]
    assert 0 <= checked["value"] < 1
    shop.leadctl("backup", "prune", "--yes")
    assert ahead.exists()


@pytest.mark.thorough
def test_a_database_that_lets_nobody_in_or_write(shop: Shop) -> None:
    shop.query(
        f"CREATE ROLE shop_app LOGIN CREATEDB PASSWORD '{PASSWORD}'; ALTER DATABASE shop OWNER TO shop_app;"
        "ALTER TABLE t OWNER TO shop_app; ALTER SCHEMA leadctl OWNER TO shop_app;"
        "ALTER TABLE leadctl.identity OWNER TO shop_app; ALTER TABLE leadctl.run OWNER TO shop_app;"
        "ALTER TABLE leadctl.migration OWNER TO shop_app;"
        "ALTER DATABASE shop SET default_transaction_read_only = on"
    )
    assert shop.leadctl("backup").code == 0
    url = shop.server.url("shop").replace("//postgres:", "//shop_app:")
    for limit in ("-1", "0"):
        shop.query(f"ALTER DATABASE shop CONNECTION LIMIT {limit}", "postgres")
        assert shop.leadctl("backup").code == 0
        done = shop.leadctl("restore", "latest", "--into", "shop_copy", url=url)
        closed = limit == "0"  # then its owner may not connect to write the journal
        assert (done.code, "not in the journal" in done.err) == (0, closed), done.err
        noted = "SELECT count(*) FROM leadctl.run WHERE command = 'restore'"
        assert shop.query(noted, "shop_copy") == [(not closed,)], limit
        of_copy = "SELECT datconnlimit FROM pg_database WHERE datname = 'shop_copy'"
        assert shop.query(of_copy, "postgres") == [(int(limit),)]
        assert shop.query("SELECT count(*) FROM t", "shop_copy") == [(9,)]
        shop.server.drop("shop_copy")


@pytest.mark.few(1)
@pytest.mark.parametrize(
    ("makes", "named"),
    [
        (
            "CREATE COLLATION elsewhere (provider = libc, locale = 'C');"
            " UPDATE pg_collation SET collcollate = 'xx_XX.utf8', collctype = 'xx_XX.utf8'"
            " WHERE collname = 'elsewhere'",
            "COLLATION public elsewhere (could not create locale",
        ),
        (
            'CREATE COLLATION pg_catalog."its own" FROM "C";'
            ' CREATE TABLE sorted (name text COLLATE pg_catalog."its own")',
            "COLLATION pg_catalog its own (it does not exist)",
        ),
        (
            "CREATE TEXT SEARCH DICTIONARY d (TEMPLATE = pg_catalog.simple, stopwords = english);"
            " UPDATE pg_ts_dict SET dictinitoption = 'stopwords = ''nowhere''' WHERE dictname = 'd'",
            "TEXT SEARCH DICTIONARY public d (could not open stop-word file",
        ),
    ],
)
def test_what_the_server_cannot_make(shop: Shop, tmp_path: Path, makes: str, named: str) -> None:
    shop.query(makes)
    assert shop.leadctl("backup").code == 0
    before = shop.databases()
    for source in ("latest", str(shop.dumped(tmp_path))):
        for more in ("--dry-run", "--yes"):
            refused = shop.leadctl("restore", source, "--into", "shop_copy", more)
            said = (named in refused.err, "--keep-going" in refused.err)
            assert (refused.code, *said) == (1, True, True), refused.err
    verified = shop.leadctl("backup", "verify", "latest", "--restore")
    assert (verified.code, "could not be rehearsed" in verified.out) == (1, True), verified.out
    assert shop.databases() == before
    partly = shop.leadctl("restore", "latest", "--into", "shop_copy", "--keep-going")
    assert partly.code == 7, partly.err


def test_what_is_tried_is_one_statement(shop: Shop, tmp_path: Path) -> None:
    """An archive that somebody forged runs nothing else while it is looked at."""
    shop.query(
        "CREATE TEXT SEARCH DICTIONARY d (TEMPLATE = pg_catalog.simple, stopwords = english)"
    )
    dump = shop.dumped(tmp_path)
    data, said = dump.read_bytes(), b"stopwords = 'english' );"
    more = said + b" COMMIT; ALTER ROLE CURRENT_USER SET work_mem = '65kB'; --"
    at = data.index(said)
    begin = data.rindex(b"CREATE TEXT SEARCH DICTIONARY", 0, at)
    text = data[begin : data.index(b";\n", at) + 2].replace(said, more)
    length = slice(begin - 4, begin)  # of the text, behind its sign
    old = int.from_bytes(data[length], "little")
    dump.write_bytes(
        data[: begin - 4] + len(text).to_bytes(4, "little") + text + data[begin + old :]
    )
    looked = shop.leadctl("restore", str(dump), "--into", "other", "--dry-run")
    settings = "SELECT setconfig FROM pg_db_role_setting WHERE setrole = current_user::regrole"
    assert shop.query(settings) == [], looked.out


def test_a_role_that_no_option_leaves_out(shop: Shop, tmp_path: Path) -> None:
    """A policy names it, so --no-owner needs it, too."""
    role = 'shop, "odd'
    quoted = sql.Identifier(role).as_string()
    shop.query(
        f"CREATE ROLE {quoted};"
        f" CREATE POLICY p ON t FOR SELECT TO current_user, {quoted} USING (true)"
    )
    assert shop.leadctl("backup").code == 0
    dump = shop.dumped(tmp_path)
    shop.query(f"DROP OWNED BY {quoted}; DROP ROLE {quoted}")
    before = shop.databases()
    ahead = shop.leadctl("restore", "latest", "--into", "other")
    assert (ahead.code, "A role that a policy" in ahead.err) == (1, True), ahead.err
    for source in ("latest", str(dump)):
        for more in ("--dry-run", "--yes"):
            refused = shop.leadctl("restore", source, "--into", "other", "--no-owner", more)
            said = (role in refused.err, "policies" in refused.err)
            assert (refused.code, *said) == (1, True, True), refused.err
    assert shop.databases() == before
    shop.query(f"CREATE ROLE {quoted}")
    done = shop.leadctl("restore", "latest", "--into", "other", "--no-owner")
    assert done.code == 0, done.err
    assert shop.query("SELECT polname FROM pg_policy", "other") == [("p",)]
    shop.query(f"DROP OWNED BY {quoted}", "other")
    shop.query(f"DROP ROLE {quoted}")
