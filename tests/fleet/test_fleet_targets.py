"""Which targets a fleet has, asked of a server that has schemas of all kinds."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.backups import encrypted_backups
from tests.conftest import Cli
from tests.servers import Server

Fleet = Callable[..., None]


@pytest.fixture
def fleet(tmp_path: Path) -> Fleet:
    """Write leadctl.toml with a fleet: `fleet('schemas = "t_*"')`, and more tables."""

    def write(declared: str, *others: str) -> None:
        text = "\n".join(['app = "leadconnector"', "[fleet.tenants]", declared, *others])
        (tmp_path / "leadctl.toml").write_text(f"{text}\n")

    return write


def names(cli: Cli, url: str | None, *options: str) -> list[str]:
    """Return the targets that a command for the fleet acts on."""
    outcome = cli("migrate", "status", "--fleet", "tenants", "-o", "json", *options, url=url)
    assert outcome.code == 1, outcome.err  # nothing is applied in them
    return [each["target"] for each in outcome.json["targets"]]


def test_schemas_by_pattern(fleet: Fleet, cli: Cli, server: Server, database: str) -> None:
    with server.connect(database) as connection:
        for schema in ("t_b", "t_a", "t_template", "T_c", "tt"):
            connection.execute(f'CREATE SCHEMA "{schema}"')
    fleet('schemas = "t_*"\nexclude = ["t_templ*"]')
    assert names(cli, server.url(database)) == ["t_a", "t_b"]
    assert names(cli, server.url(database), "--only", "*b") == ["t_b"]
    fleet('schemas = "*"')
    assert names(cli, server.url(database)) == ["T_c", "public", "t_a", "t_b", "t_template", "tt"]


@pytest.mark.thorough
def test_a_schema_is_passed_over_where_leadctl_keeps_it_and_never_for_its_name(
    fleet: Fleet, cli: Cli, server: Server, database: str, tmp_path: Path
) -> None:
    url = server.url(database)
    theirs = ("t_arriving", "t_moved_20260101t000000z", "t_x_before_20260101_120000")
    with server.connect(database) as connection:
        for schema in theirs:
            connection.execute(f'CREATE SCHEMA "{schema}"')
    fleet('schemas = "t_*"')
    assert names(cli, url) == list(theirs)
    assert cli("tenants", "create", "t_a", "--yes", url=url).code == 0
    env = encrypted_backups(tmp_path)
    made = cli("backup", "--tenant", "t_a", url=url, env=env)
    assert made.code == 0, made.err
    put_back = cli("restore", "--tenant", "t_a", "--yes", "-o", "json", url=url, env=env)
    assert put_back.code == 0, put_back.err
    with server.connect(database) as connection:
        schemas = {row[0] for row in connection.execute("SELECT nspname FROM pg_namespace")}
    assert put_back.json["kept_as"] in schemas
    found = cli("migrate", "status", "--fleet", "tenants", "-o", "json", url=url).json
    assert {each["schema"] for each in found["targets"]} == {*theirs, "t_a"}
    states = {
        each["name"]: each["state"]
        for each in cli("tenants", "list", "-o", "json", url=url).json["tenants"]
    }
    assert states == {"t_a": "open", put_back.json["kept_as"]: "kept"}


def test_schemas_by_a_query(fleet: Fleet, cli: Cli, server: Server, database: str) -> None:
    url = server.url(database)
    with server.connect(database) as connection:
        connection.execute("CREATE TABLE tenants (name text, active bool)")
        connection.execute(
            "INSERT INTO tenants VALUES ('b', true), ('a; DROP TABLE tenants', true), ('c', false)"
        )
    fleet('query = "SELECT name FROM tenants WHERE active ORDER BY 1 DESC"')
    assert names(cli, url) == ["b", "a; DROP TABLE tenants"]
    for query, said in (
        ("SELECT name, 1 FROM tenants", "one column of names"),
        ("SELECT 1", "one column of names"),
        ("SELECT nobody FROM tenants", "does not exist"),
        ("DELETE FROM tenants RETURNING name", "read-only"),
        ("SELECT name FROM tenants WHERE false", "has no targets"),
    ):
        fleet(f'query = "{query}"')
        outcome = cli("migrate", "status", "--fleet", "tenants", url=url)
        assert (outcome.code, said in outcome.err) == (3, True), outcome.err


def test_a_query_runs_nothing_of_the_apps_by_its_name_and_a_view_as_its_owner(
    fleet: Fleet, cli: Cli, server: Server, database: str
) -> None:
    owner = f"fleet_owner_{os.getpid()}"
    with server.connect(database) as connection:
        connection.execute(
            f"CREATE ROLE {owner}; GRANT CREATE ON SCHEMA public TO {owner}; SET ROLE {owner};"
            "CREATE TABLE listed (name varchar(20)); INSERT INTO listed VALUES ('b%'), ('c');"
            "CREATE FUNCTION hijack(varchar, varchar) RETURNS boolean LANGUAGE plpgsql"
            " AS 'BEGIN RAISE EXCEPTION ''it ran as %'', current_user; END';"
            "CREATE OPERATOR ~ (LEFTARG = varchar, RIGHTARG = varchar, FUNCTION = hijack);"
            "CREATE FUNCTION lower(varchar) RETURNS text LANGUAGE plpgsql"
            " AS 'BEGIN RAISE EXCEPTION ''it ran as %'', current_user; END';"
            "CREATE FUNCTION who() RETURNS text LANGUAGE sql AS 'SELECT current_user::text';"
            "CREATE VIEW seen AS SELECT who() AS name; RESET ROLE"
        )
    try:
        for query, found in (
            ("SELECT lower(name) FROM listed WHERE name ~ 'b' AND name LIKE '%'", ["b%"]),
            ("SELECT name FROM seen", [owner]),
        ):
            fleet(f'query = "{query}"')
            assert names(cli, server.url(database)) == found
        fleet('query = "SELECT name, name FROM listed"')
        outcome = cli("migrate", "status", "--fleet", "tenants", url=server.url(database))
        assert (outcome.code, "one column" in outcome.err) == (3, True), outcome.err
    finally:
        with server.connect(database) as connection:
            connection.execute(f"DROP OWNED BY {owner}; DROP ROLE {owner}")


def test_a_schema_is_named_by_all_of_its_name(
    fleet: Fleet, cli: Cli, server: Server, database: str
) -> None:
    with server.connect(database) as connection:
        connection.execute('CREATE SCHEMA t; CREATE SCHEMA "a/t"; CREATE SCHEMA "a/b"')
    fleet('schemas = "*t"')
    url = server.url(database)
    assert names(cli, url) == ["a/t", "t"]
    assert names(cli, url, "--only", "t") == ["t"]
    fleet('schemas = "*t"\nexclude = ["t"]')
    assert names(cli, url) == ["a/t"]


def test_a_row_that_names_what_no_app_may_have_is_refused_alone(
    fleet: Fleet, cli: Cli, server: Server, database: str
) -> None:
    ours = ["leadctl", "pg_catalog", "information_schema", "$user", "t" * 70]
    with server.connect(database) as connection:
        connection.execute("CREATE TABLE tenants (name text); CREATE SCHEMA good")
        for name in [*ours, "good"]:
            connection.execute("INSERT INTO tenants VALUES (%s)", (name,))
    fleet('query = "SELECT name FROM tenants"')
    url = server.url(database)
    outcome = cli("migrate", "--fleet", "tenants", "-o", "json", url=url)
    found = {each["target"]: each["error"] for each in outcome.json["targets"]}
    assert found == {"good": None} | dict.fromkeys(ours, "invalid_schema")
    assert (outcome.code, outcome.json["counts"]["done"]) == (3, 1)
    with server.connect(database) as connection:
        # Neither there nor in what PostgreSQL would make of the longer name.
        tables = connection.execute(
            "SELECT relnamespace::regnamespace::text FROM pg_class WHERE relname = 'leads'"
        )
        assert tables.fetchall() == [("good",)]


def test_databases_by_pattern(fleet: Fleet, cli: Cli, server: Server, database: str) -> None:
    others = [f"{database}_{letter}" for letter in "ab"]
    kept, half = f"{database}_before_20260101T000000Z", f"{database}_half_dropped"
    with server.connect() as connection:
        for name in (*others, kept, half):
            connection.execute(f"CREATE DATABASE {name}")
        # As an interrupted DROP DATABASE leaves it: nobody can connect to it.
        connection.execute("UPDATE pg_database SET datconnlimit = -2 WHERE datname = %s", (half,))
    try:
        fleet(f'databases = "{database}_*"')
        assert names(cli, server.url(database)) == others
    finally:
        for name in (*others, kept, half):
            server.drop(name)


@pytest.mark.thorough
def test_tenants_of_a_fleet_are_listed_as_the_server_has_them(
    fleet: Fleet, cli: Cli, server: Server, database: str
) -> None:
    """Schemas and databases: revision, owner and size, asked of the server alone."""
    url, one, role = server.url(database), f"{database}_o'ne", f"own_{database}"
    with server.connect(database) as connection:
        connection.execute(f"CREATE ROLE {role}")
        connection.execute("CREATE SCHEMA t_none")
    fleet('schemas = "t_*"', "[fleet.shops]", f'databases = "{database}_*"')
    try:
        assert cli("tenants", "create", "t_1", url=url).code == 0
        made = ("tenants", "create", one, "--database", "--owner", role)
        assert cli(*made, url=url).code == 0
        assert cli(*made, url=url).code == 5  # it is there
        refused = cli("tenants", "list", "t_*", "--fleet", "tenants", url=url)
        assert (refused.code, "PATTERN cannot be used with --fleet" in refused.err) == (2, True)
        for name in ("postgres", "template1", "leadctl_x", "x" * 64, ""):
            assert cli("tenants", "create", name, "--database", url=url).code == 2
        nobodys = ("tenants", "create", f"{database}_no", "--database", "--owner", "nobody_here")
        assert cli(*nobodys, url=url).code == 1
        lists = [
            cli("tenants", "list", "--fleet", each, "-o", "json", url=url).json["targets"]
            for each in ("tenants", "shops")
        ]
        found = {each["target"]: each["result"]["tenants"] for each in (*lists[0], *lists[1])}
        assert set(found) == {"t_1", "t_none", one}  # no database is left of the missing role's
        assert found["t_none"] == []
        (schema,), (whole,) = found["t_1"], found[one]
        head = "leadconnector_0002"
        assert (schema["name"], schema["revision"], schema["pending"]) == ("t_1", head, 0)
        assert (whole["name"], whole["revision"], whole["owner"]) == (one, head, role)
        with server.connect(one) as connection:
            sizes = connection.execute("SELECT pg_database_size(current_database())").fetchone()
            assert sizes
            assert abs(whole["bytes"] - sizes[0]) < 2**20
            owners = "SELECT DISTINCT tableowner FROM pg_tables WHERE schemaname = 'public'"
            assert connection.execute(owners).fetchall() == [(role,)]
            refused = cli("tenants", "drop", one, "--database", "--yes", url=url)
            assert (refused.code, "other session" in refused.err) == (1, True), refused.err
            rename = ("tenants", "rename", one, f"{database}_two", "--database", "--yes")
            refused = cli(*rename, url=url)
            assert (refused.code, "other session" in refused.err) == (1, True), refused.err
        for new, code in (
            ("postgres", 2),
            (database, 5),
            (f"{database}_before_20260101T000000Z", 2),
        ):
            assert cli(*rename[:3], new, *rename[4:], url=url).code == code
        assert cli(*rename[:-1], url=url).code == 5  # nobody said yes
        assert cli("tenants", "rename", "postgres", "x", "--database", "--yes", url=url).code == 1
        assert cli(*rename, url=url).code == 0
        with server.connect(rename[3]) as connection:
            noted = "SELECT summary->>'previous' FROM leadctl.run WHERE command = 'tenants rename'"
            assert connection.execute(noted).fetchall() == [(one,)]
            owners = "SELECT DISTINCT tableowner FROM pg_tables WHERE schemaname = 'public'"
            assert connection.execute(owners).fetchall() == [(role,)]
        assert cli("tenants", "rename", rename[3], one, "--database", "--yes", url=url).code == 0
        assert cli("tenants", "drop", one, "--database", url=url).code == 5
        assert cli("tenants", "drop", "postgres", "--database", "--yes", url=url).code == 1
        assert cli("tenants", "drop", one, "--database", "--yes", url=url).code == 0
        with server.connect() as connection:
            left = "SELECT count(*) FROM pg_database WHERE starts_with(datname, %s)"
            assert connection.execute(left, (f"{database}_",)).fetchone() == (0,)
    finally:
        server.drop(one)
        server.drop(f"{database}_two")
        server.drop(database)
        with server.connect() as connection:
            connection.execute(f"DROP ROLE {role}")


@pytest.mark.thorough
def test_environments_and_their_schemas(
    fleet: Fleet, cli: Cli, server: Server, database: str
) -> None:
    other = server.create()
    try:
        for name, schemas in ((database, ("t_1", "t_2")), (other, ("t_1",))):
            with server.connect(name) as connection:
                for schema in schemas:
                    connection.execute(f"CREATE SCHEMA {schema}")
        urls = {"eu": server.url(database), "us": server.url(other), "ca": server.url("nowhere")}
        envs = [f'[env.{name}]\nurl = "{url}"' for name, url in urls.items()]
        fleet('envs = ["eu", "us", "ca"]\nschemas = "t_*"', *envs)
        # A region that is down is one target that failed, and holds up no other.
        outcome = cli("migrate", "status", "--fleet", "tenants", "-o", "json")
        found = {each["target"]: each for each in outcome.json["targets"]}
        assert list(found) == ["eu/t_1", "eu/t_2", "us/t_1", "ca"]
        assert [each["state"] for each in found.values()] == ["no", "no", "no", "failed"]
        assert found["ca"]["error"] == "unknown_database"
        assert outcome.code == 7  # 1 of three, 4 of one
        assert names(cli, None, "--only", "us/*") == ["us/t_1"]
        assert names(cli, None, "--only", "us") == ["us/t_1"]
        # What is named may be in the one that is down: it is not known to be done there.
        for pattern in ("t_1", "*_1", "*/t_1", "nobody"):
            only = ("--only", pattern, "-o", "json")
            outcome = cli("migrate", "status", "--fleet", "tenants", *only)
            told = [(each["target"], each["state"]) for each in outcome.json["targets"]]
            known = [] if pattern == "nobody" else [("eu/t_1", "no"), ("us/t_1", "no")]
            assert told == [*known, ("ca", "failed")], pattern
        outcome = cli("migrate", "status", "--fleet", "tenants", "--only", "ca/t_1")
        assert (outcome.code, "nowhere" in outcome.err + outcome.out) == (4, True)
        same = f'[env.same]\nurl = "{urls["eu"]}?application_name=x"'
        for found in ('schemas = "t_*"', 'databases = "*"', ""):
            fleet(f'envs = ["eu", "same"]\n{found}', *envs, same)
            refused = cli("reset", "--fleet", "tenants", "--yes")
            assert (refused.code, "are the same" in refused.err) == (3, True), refused.err
        fleet('envs = ["eu", "us"]', *envs)
        assert names(cli, None) == ["eu", "us"]
        fleet(
            'envs = ["eu", "us", "down"]',
            *envs,
            "[env.down]",
            'url = "postgresql://x@127.0.0.1:1/x"',
        )
        for verb in (["migrate"], ["migrate", "down", "--yes"], ["reset", "--yes"]):
            outcome = cli(*verb, "--fleet", "tenants", "-o", "json")
            found = [each["state"] for each in outcome.json["targets"]]
            assert (outcome.code, found) == (4, ["done", "done", "failed"])
    finally:
        server.drop(other)


@pytest.mark.parametrize(
    ("declared", "said"),
    [
        ('schemas = "a"\nquery = "b"', "has schemas and query"),
        ("exclude = []", "does not say what its targets are"),
        ('envs = ["nowhere"]', "does not exist: 'nowhere'"),
        ("schemas = 1", "is not a text"),
        ('schema = "a"', "does not know: schema"),
    ],
)
def test_a_fleet_that_says_nothing_of_use(fleet: Fleet, cli: Cli, declared: str, said: str) -> None:
    fleet(declared)
    outcome = cli("config")
    assert outcome.code == 3
    assert said in outcome.err


def test_what_does_not_go_with_a_fleet(
    fleet: Fleet, cli: Cli, server: Server, database: str
) -> None:
    url = server.url(database)
    fleet('schemas = "t_*"')
    for arguments, code in (
        (["migrate", "--fleet", "tenant"], 3),
        (["migrate", "--fleet", "tenants", "--schema", "x"], 2),
        (["migrate", "--fleet", "tenants", "--sql"], 2),
        (["migrate", "--jobs", "2"], 2),
        (["migrate", "--fleet", "a", "up", "--fleet", "b"], 2),
        (["migrate", "--fleet", "tenants", "new", "-m", "x"], 2),
        (["migrate", "--fleet", "tenants"], 3),  # it has no targets
    ):
        assert cli(*arguments, url=url).code == code, arguments
