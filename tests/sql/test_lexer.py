"""Statements are told apart as PostgreSQL itself tells them apart."""

from leadctl.sql.lexer import Reader, split
from tests.servers import Server

TEXTS = {
    "a column called end": """CREATE FUNCTION nums() RETURNS SETOF int BEGIN ATOMIC
        SELECT x.end FROM (SELECT 1 AS "end") x; END""",
    "a name called end, with and without AS": """CREATE FUNCTION two() RETURNS int BEGIN ATOMIC
        SELECT 1 AS end; SELECT 2 end; END""",
    "a name called case": """CREATE FUNCTION three() RETURNS int BEGIN ATOMIC
        SELECT 3 AS case; END""",
    "CASE in a body": """CREATE FUNCTION four() RETURNS int BEGIN ATOMIC
        SELECT CASE WHEN true THEN CASE WHEN true THEN 4 END END; END""",
    "a body without statements": "CREATE PROCEDURE nothing() BEGIN ATOMIC END",
    "columns called begin and atomic": 'SELECT x.begin atomic FROM (SELECT 1 AS "begin") x',
    "an escape string in two parts": "SELECT E'a'\n'b\\';c'",
    "an escape string in three parts, with comments": (
        "SELECT E'a' -- it's\n  -- 'the first'\n  '\\';b'\r'\\';c'"
    ),
    "a plain string in two parts, with a backslash": "SELECT 'a\\'\n';c'",
    "a string behind an escape string": "SELECT E'\\'' || ';'",
    "a comment that ends at a carriage return": "SELECT 1 -- ;\r, ';'",
}


def test_statements_are_those_that_the_server_executes(server: Server, database: str) -> None:
    with server.connect(database) as connection:
        for name, text in TEXTS.items():
            script = f"SELECT 1;{text};\n;SELECT 2;"
            cursor, executed = connection.execute(script), 1
            while cursor.nextset():
                executed += 1
            assert list(split(script)) == ["SELECT 1", text, "SELECT 2"], name
            assert executed == 3, name


def test_what_the_server_would_refuse_is_left_whole() -> None:
    assert list(split("SELECT a[1;2]; SELECT 1")) == ["SELECT a[1;2]", "SELECT 1"]


def test_the_table_of_an_alter_table_stands_behind_words_of_its_own() -> None:
    for written in ("t", "ONLY t", "IF EXISTS t", "IF EXISTS ONLY T"):
        reader = Reader(f"ALTER TABLE {written} DROP CONSTRAINT c")
        assert reader.altered_table() == "t", written
        assert reader.accept("DROP", "CONSTRAINT"), written
    reader = Reader("ALTER VIEW v RENAME TO w")
    assert reader.altered_table() is None
    assert reader.accept("ALTER", "VIEW")
