"""A server that answers in another language: what happens is known by SQLSTATE, never by words."""

import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import pytest

from leadctl.postgres import binaries
from tests.conftest import Cli
from tests.history import Project
from tests.servers import PASSWORD, RunningServer, Server

pytestmark = pytest.mark.skipif(
    not Path("/usr/share/locale/de/LC_MESSAGES/postgres-15.mo").exists()
    or not Path("/usr/share/i18n/locales/de_DE").exists()
    or shutil.which("localedef") is None,
    reason="no server here has its messages in German",
)


@pytest.fixture(scope="module")
def german() -> Iterator[Server]:
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        subprocess.run(
            ["localedef", "-i", "de_DE", "-f", "UTF-8", folder / "de_DE.UTF-8"],
            check=True,
            capture_output=True,
        )
        folder.chmod(0o755)  # the server's user reads it
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("LOCPATH", str(folder))
            running = RunningServer(15, lc_messages="de_DE.UTF-8")
        with running:
            yield running.info


@pytest.mark.thorough
def test_it_answers_in_german(german: Server) -> None:
    with german.connect() as connection, pytest.raises(Exception, match="existiert nicht"):
        connection.execute("SELECT * FROM nothing")


def test_a_missing_database(german: Server, project: Project, cli: Cli) -> None:
    project.revision("CREATE TABLE q (id int)", "INSERT INTO q VALUES (1)")
    url = german.url("made_in_german")
    assert cli("migrate", "status", url=url).code == 1
    planned = cli("migrate", "--plan", "-o", "json", url=url)
    assert planned.json["current"] is None
    assert cli("health-check", url=url).code == 2
    assert cli("migrate", url=url).code == 0
    with german.connect("made_in_german") as connection:
        assert connection.execute("SELECT count(*) FROM q").fetchone() == (1,)


def test_who_may_not_connect(german: Server, project: Project, cli: Cli) -> None:
    project.revision("CREATE TABLE q (id int)")
    for url in (
        german.url("made_nowhere").replace("postgres:", "nobody_there:"),
        german.url("postgres").replace("horse", "donkey"),
    ):
        outcome = cli("migrate", url=url)
        assert outcome.code == 4
        assert "does not exist" not in outcome.err
    with german.connect() as connection:
        rows = connection.execute("SELECT FROM pg_database WHERE datname = 'made_nowhere'")
        assert rows.fetchone() is None


@pytest.mark.thorough
def test_what_revisions_meet(german: Server, project: Project, cli: Cli) -> None:
    """Rewrites, scans and losses of the plan; a notice; an index over duplicates."""
    database = german.create()
    url = german.url(database)
    project.revision(
        "CREATE TABLE parent (id int PRIMARY KEY)",
        "CREATE TABLE q (id int, v text, p int)",
        "INSERT INTO q SELECT n % 9, 'v', NULL FROM generate_series(1, 200) n",
        "DO $$ BEGIN RAISE NOTICE 'so weit'; END $$",
    )
    outcome = cli("migrate", url=url)
    assert outcome.code == 0
    assert "NOTICE: so weit" in outcome.err
    project.revision("ALTER TABLE q ALTER id TYPE bigint")
    project.revision("ALTER TABLE q ADD FOREIGN KEY (p) REFERENCES parent")
    project.revision("ALTER TABLE q DROP COLUMN v")
    found = cli("migrate", "--plan", "-o", "json", url=url).json["revisions"]
    effects = [{each["table"]: each for each in one["statements"][0]["effects"]} for one in found]
    assert effects[0]["q"]["rewrites"]
    assert effects[1]["q"]["scans"]
    assert effects[1]["parent"]["scans"]
    assert effects[2]["q"]["loss"] == {"what": "column v", "rows": 200, "exact": True}
    assert cli("migrate", url=url).code == 0
    project.revision("CREATE UNIQUE INDEX CONCURRENTLY x ON q (id)", concurrently=True)
    assert cli("migrate", url=url).code == 1
    with german.connect(database) as connection:
        rows = connection.execute("SELECT FROM pg_index WHERE NOT indisvalid").fetchall()
        assert rows == []


OWNER = "eigner"


@pytest.fixture(params=["postgres", OWNER])
def of_role(german: Server, request: pytest.FixtureRequest) -> Iterator[str]:
    """The URL of a database that a superuser owns, or a role that may not choose the language."""
    name = german.create()
    with german.connect(name) as connection:
        if connection.execute("SELECT FROM pg_roles WHERE rolname = %s", (OWNER,)).rowcount == 0:
            connection.execute(f"CREATE ROLE {OWNER} LOGIN CREATEDB PASSWORD '{PASSWORD}'")
        connection.execute(f"ALTER DATABASE {name} OWNER TO {request.param}")
        connection.execute(f"ALTER SCHEMA public OWNER TO {request.param}")
    yield german.url(name).replace("postgres:", f"{request.param}:")
    german.drop(name)


@pytest.mark.few(4)
@pytest.mark.parametrize(
    "statement",
    [
        "INSERT INTO q SELECT 2, v FROM q UNION ALL SELECT 3, v FROM q",
        "ALTER TABLE q ADD n int; INSERT INTO q SELECT NULL, v || 'x' FROM q",
        "ALTER TABLE q ALTER v TYPE int USING v::int",
        "ALTER TABLE q ADD CHECK (v <> 'ada' || '@' || 'b.org')",
        "INSERT INTO q SELECT 4, repeat(v, 9) FROM q",
        "DO $$ BEGIN RAISE EXCEPTION 'das Konto »%«', (SELECT v FROM q); END $$",
        "DO $$ BEGIN RAISE NOTICE 'Zeile „%“', (SELECT v FROM q); END $$",
    ],
)
def test_no_value_of_a_row_is_shown(
    of_role: str, project: Project, cli: Cli, statement: str
) -> None:
    project.revision(
        "CREATE TABLE q (id int NOT NULL, v varchar(20) UNIQUE)",
        "INSERT INTO q VALUES (1, 'ada' || '@' || 'b.org')",
    )
    assert cli("migrate", url=of_role).code == 0
    project.revision(statement)
    failed = cli("migrate", url=of_role)
    assert failed.code == (0 if "NOTICE" in statement else 1)
    assert "ada@b.org" not in failed.err + failed.out
    assert "ada@b.org" not in cli("history", "-o", "json", url=of_role).out
    assert "ada@b.org" not in cli("migrate", "status", "-o", "json", url=of_role).out


DUMP = "--\n-- PostgreSQL database dump\n--\n\n{}\n--\n-- PostgreSQL database dump complete\n--\n"
SCRIPTS = {
    "CREATE TABLE q (id int);\nCREATE INDEX CONCURRENTLY i ON q (id);\n": (0, ""),
    "CREATE TABLE q (id int);\nCREATE DATABASE another_one;\n": (5, "single database"),
    "CREATE TABLE q (id int);\n\\connect postgres\n": (5, "single database"),
    "CREATE TABLE q (id int);\nCREATE TABLE q (id int);\n": (1, ""),
    "CREATE TABLE q (id int);\nCOPY q FROM stdin;\nada@b.org\n\\.\n": (1, ""),
}


@pytest.mark.few(2)
@pytest.mark.parametrize("script", SCRIPTS)
def test_a_script_is_restored_or_refused(
    of_role: str, german: Server, cli: Cli, tmp_path: Path, script: str
) -> None:
    code, hint = SCRIPTS[script]
    (tmp_path / "x.sql").write_text(DUMP.format(script))
    name = f"into_{uuid4().hex[:8]}"
    outcome = cli("restore", str(tmp_path / "x.sql"), "--into", name, url=of_role)
    assert outcome.code == code, outcome.err
    assert hint in outcome.err
    assert "ada@b.org" not in outcome.err
    assert "exit code" not in outcome.err  # the server's own reason is shown
    german.drop(name)


def test_a_backup_and_what_it_cannot_read(of_role: str, german: Server, cli: Cli) -> None:
    """Backup and restore as anywhere; a table of somebody else's is named before pg_dump meets it."""
    with german.connect(of_role.rpartition("/")[2].rstrip("?")) as connection:
        connection.execute("CREATE TABLE q (id int); INSERT INTO q VALUES (1)")
        connection.execute(f"ALTER TABLE q OWNER TO {OWNER}")
        made = cli("backup", "-o", "json", url=of_role)
        assert made.code == 0, made.err
        into = f"into_{uuid4().hex[:8]}"
        assert cli("restore", "latest", "--into", into, url=of_role).code == 0
        with german.connect(into) as copy:
            assert copy.execute("SELECT count(*) FROM q").fetchone() == (1,)
        german.drop(into)
        connection.execute("CREATE TABLE secret (id int)")
        assert cli("backup", url=of_role).code == (4 if OWNER in of_role else 0)


LACKS = {
    "CREATE FUNCTION f(int4) RETURNS int4 LANGUAGE internal AS 'int4um'": "--embedded",
    "CREATE TABLE other (id int);"
    "CREATE FUNCTION f(int) RETURNS int IMMUTABLE LANGUAGE plpgsql AS"
    " 'BEGIN RETURN (SELECT count(*) FROM other) + $1; END'; CREATE INDEX ON q (f(id))": "search_path",
    "INSERT INTO q VALUES (1);"
    "CREATE FUNCTION f(int) RETURNS bool IMMUTABLE LANGUAGE plpgsql AS"
    " $$ BEGIN RETURN current_user <> 'postgres'; END $$;"
    "CREATE UNIQUE INDEX ON q (id) WHERE f(id)": "Correct this",
}


@pytest.mark.parametrize("makes", LACKS)
def test_what_a_rehearsals_server_lacks(german: Server, cli: Cli, makes: str) -> None:
    """It says nothing about the backup, nor does what the database itself would reject."""
    database = german.create()
    with german.connect(database) as connection:
        connection.execute("CREATE TABLE q (id int); INSERT INTO q VALUES (1)")
        connection.execute(makes)
        if connection.execute("SELECT FROM pg_roles WHERE rolname = %s", (OWNER,)).rowcount == 0:
            connection.execute(f"CREATE ROLE {OWNER} LOGIN CREATEDB PASSWORD '{PASSWORD}'")
        assert cli("backup", url=german.url(database)).code == 0
    url = german.url(database).replace("postgres:", f"{OWNER}:")
    verified = cli("backup", "verify", "latest", "--restore", url=url)
    assert verified.code == 1
    assert "could not be rehearsed here" in verified.out
    assert LACKS[makes] in verified.out
    german.drop(database)


def test_an_extension_that_the_server_lacks(of_role: str, project: Project, cli: Cli) -> None:
    project.revision("CREATE EXTENSION hypopg")
    refused = cli("migrate", url=of_role)
    assert refused.code != 0
    if OWNER not in of_role:
        assert "does not have the extension hypopg" in refused.err


def test_a_newer_pg_restore(
    of_role: str, german: Server, cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It sets what an older server does not know: that is passed over, and nothing else."""
    with german.connect(of_role.rpartition("/")[2].rstrip("?")) as connection:
        connection.execute("CREATE TABLE q (id int); INSERT INTO q VALUES (1)")
        connection.execute(f"ALTER TABLE q OWNER TO {OWNER}")
    assert cli("backup", url=of_role).code == 0
    into = f"into_{uuid4().hex[:8]}"
    newer = binaries._wheel()
    assert newer is not None
    assert newer.major >= 17
    monkeypatch.setattr(binaries, "_system", lambda _: [])
    outcome = cli("restore", "latest", "--into", into, url=of_role)
    assert outcome.code == 0, outcome.err
    with german.connect(into) as copy:
        assert copy.execute("SELECT count(*) FROM q").fetchone() == (1,)
    german.drop(into)


def test_a_newer_pg_restore_that_really_fails(
    of_role: str, german: Server, cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever the table is called: only the setting's own command is passed over."""
    with german.connect(of_role.rpartition("/")[2].rstrip("?")) as connection:
        connection.execute(
            "CREATE FUNCTION positive(int) RETURNS bool LANGUAGE plpgsql AS"
            " 'BEGIN RETURN (SELECT $1 > 0 AND count(*) >= 0 FROM other); END';"
            "CREATE TABLE other (id int);"
            "CREATE TABLE transaction_timeout (id int CHECK (positive(id)));"
            "INSERT INTO transaction_timeout VALUES (1);"
            f"ALTER TABLE other OWNER TO {OWNER};"
            f"ALTER TABLE transaction_timeout OWNER TO {OWNER};"
            f"ALTER FUNCTION positive OWNER TO {OWNER}"
        )
    assert cli("backup", url=of_role).code == 0
    into = f"into_{uuid4().hex[:8]}"
    monkeypatch.setattr(binaries, "_system", lambda _: [])
    assert cli("restore", "latest", "--into", into, url=of_role).code == 1
    kept = cli("restore", "latest", "--into", into, "--keep-going", "-o", "json", url=of_role)
    assert kept.code == 7, kept.err
    assert "transaction_timeout" in kept.out
    german.drop(into)
