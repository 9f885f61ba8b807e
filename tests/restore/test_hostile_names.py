"""Names and rows that look like statements: a restore takes them for what they are."""

import json
import re
from pathlib import Path

import pytest
from psycopg import sql

from leadctl.postgres.queries import parts_of
from tests.backups import create, encrypted_backups
from tests.conftest import Cli
from tests.servers import Server

HEADERS_IN_ROWS = """
CREATE TABLE public.users (id int PRIMARY KEY, name text);
INSERT INTO public.users VALUES (1, 'one'), (2, E'two\\n\\\\.\\nCOPY public.users (id) FROM stdin;');
CREATE SCHEMA evil;
CREATE TABLE evil.users ("x
y" text, b text);
INSERT INTO evil.users VALUES
 ('COPY public.users (id FROM public.users; ALTER ROLE leadctl_mallory SUPERUSER; COMMIT; --',
  ') FROM stdin;'),
 ('COPY public.users (id) FROM PROGRAM ''false'' --', ') FROM stdin;'),
 ('COPY public.users (id, name) FROM stdin;', '9'), ('9', 'nine');
CREATE TABLE evil."users postgres" (id int PRIMARY KEY);
INSERT INTO evil."users postgres" VALUES (7);
"""
WEIRD_SCHEMA = 'sch.e"ma %s'
WEIRD_NAMES = (
    "line\nbreak",
    'dot.ted "quoted"',
    "per%cent %s %(x)s",
    "back\\slash \\",
    "separator\u2028FROM stdin;\x0b",
    "); DROP TABLE x; --",
    "COPY x (y) FROM stdin;",
)


@pytest.fixture
def env(tmp_path: Path) -> dict[str, str]:
    return encrypted_backups(tmp_path)


def test_rows_that_look_like_headers(server: Server, cli: Cli, env: dict[str, str]) -> None:
    with server.connect() as connection:
        connection.execute("DROP ROLE IF EXISTS leadctl_mallory; CREATE ROLE leadctl_mallory")
    name = create(server, "headers_in_rows", HEADERS_IN_ROWS)
    try:
        url = server.url(name)
        assert cli("backup", url=url, env=env).code == 0
        with server.connect(name) as connection:
            before = connection.execute("SELECT * FROM users ORDER BY 1").fetchall()
            connection.execute("DELETE FROM users")
        table = ("--table", "public.users")
        dry = cli("restore", *table, "--data-only", "--dry-run", "-o", "json", url=url, env=env)
        assert (dry.code, dry.json["tables"][0]["inserted"]) == (0, 2), dry.err
        beside = cli("restore", *table, "-o", "json", url=url, env=env)
        assert (beside.code, beside.json["tables"][0]["rows"]) == (0, 2), beside.err
        assert cli("db", "environment", "test", "--unprotect", url=url, env=env).code == 0
        assert cli("restore", *table, "--data-only", "--yes", url=url, env=env).code == 0
        with server.connect(name) as connection:
            assert connection.execute("SELECT * FROM users ORDER BY 1").fetchall() == before
            role = "SELECT rolsuper FROM pg_roles WHERE rolname = 'leadctl_mallory'"
            assert connection.execute(role).fetchone() == (False,)
    finally:
        server.drop(name)
        with server.connect() as connection:
            connection.execute("DROP ROLE leadctl_mallory")


def test_names_that_look_like_anything(server: Server, cli: Cli, env: dict[str, str]) -> None:
    name = create(server, "weird_names", "CREATE TABLE x (id int)")
    tables = [sql.Identifier(WEIRD_SCHEMA, each) for each in WEIRD_NAMES]
    try:
        url = server.url(name)
        with server.connect(name) as connection:
            connection.execute(sql.SQL("CREATE SCHEMA {}").format(sql.Identifier(WEIRD_SCHEMA)))
            for table, each in zip(tables, WEIRD_NAMES, strict=True):
                column = sql.Identifier(each)
                connection.execute(
                    sql.SQL(
                        "CREATE TABLE {0} ({1} int PRIMARY KEY, {2} text DEFAULT {3} CHECK ({2} > {3}));"
                        " INSERT INTO {0} VALUES (1, {4}), (2, {4}); CREATE TRIGGER {1} BEFORE"
                        " UPDATE ON {0} EXECUTE FUNCTION suppress_redundant_updates_trigger()"
                    ).format(table, column, sql.Identifier(each + "2"), "", each)
                )
        assert cli("backup", url=url, env=env).code == 0
        options = [o for t in tables for o in ("--table", t.as_string(None))]
        beside = cli("restore", *options, "-o", "json", url=url, env=env)
        assert beside.code == 0, beside.err
        with server.connect(name) as connection:
            for table in tables:
                connection.execute(sql.SQL("DELETE FROM {}").format(table))
            for line in beside.json["lines"]:
                connection.execute(line)
            for table, each in zip(tables, WEIRD_NAMES, strict=True):
                rows = connection.execute(sql.SQL("SELECT * FROM {} ORDER BY 1").format(table))
                assert rows.fetchall() == [(1, each), (2, each)]
                connection.execute(sql.SQL("DELETE FROM {}").format(table))
        assert cli("db", "environment", "test", "--unprotect", url=url, env=env).code == 0
        back = cli("restore", *options, "--data-only", "--yes", "-o", "json", url=url, env=env)
        assert back.code == 0, back.err
        assert [table["inserted"] for table in back.json["tables"]] == [2] * len(tables)
    finally:
        server.drop(name)


@pytest.mark.few(2)
@pytest.mark.parametrize(
    "change",
    [
        {"settings": {"grants": ["CONNECT ON DATABASE postgres TO postgres; CREATE ROLE x: y"]}},
        {"materialized_views": ["public.x; CREATE ROLE leadctl_mallory"]},
        {"tables": [{"name": "public.x; CREATE ROLE leadctl_mallory", "rows": 0, "bytes": 0}]},
    ],
)
def test_a_manifest_is_no_statement(
    server: Server, cli: Cli, env: dict[str, str], change: dict[str, object]
) -> None:
    from leadctl.backup import manifest as manifests

    name = create(server, "hostile_manifest", "CREATE TABLE x (id int)")
    try:
        url = server.url(name)
        made = cli("backup", "-o", "json", url=url, env=env)
        path = Path(made.json["path"]) / "manifest.json"
        document = json.loads(path.read_text())
        del document["sha256"]
        for key, value in change.items():
            document[key] = document[key] | value if isinstance(value, dict) else value
        path.write_text(manifests._text(document))
        outcome = cli("restore", "latest", "--into", "hostile_manifest_new", url=url, env=env)
        if "settings" in change:  # information for people: the archive says what is done
            assert outcome.code == 0, outcome.err
            server.drop("hostile_manifest_new")
        else:
            assert outcome.code == 1, outcome.err
            assert re.search("no table|damaged", outcome.err), outcome.err
        with server.connect() as connection:
            roles = connection.execute("SELECT FROM pg_roles WHERE rolname IN ('x', 'y')")
            assert roles.rowcount == 0
            databases = connection.execute(
                "SELECT FROM pg_database WHERE datname LIKE '%hostile_manifest_new%'"
            )
            assert databases.rowcount == 0
    finally:
        server.drop(name)


@pytest.mark.parametrize(
    "text", ["", "a.", ".a", "a b", 'a"b"', '""', '"a', "a;b", "1a", "a\n", "a\0"]
)
def test_what_is_no_name(text: str) -> None:
    with pytest.raises(ValueError, match="is not a name"):
        parts_of(text)


def test_what_is_a_name() -> None:
    assert parts_of('a.b$1."c.""d\n"') == ("a", "b$1", 'c."d\n')
    assert parts_of('"Ä b".ä') == ("Ä b", "ä")
