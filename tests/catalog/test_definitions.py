"""Reading a schema passes over kinds that it has none of, and over nothing else."""

import pytest

from leadctl.catalog import definitions
from leadctl.catalog.definitions import read_catalog
from leadctl.postgres.connect import connect
from leadctl.postgres.target import resolve
from leadctl.settings import load_settings
from tests.servers import Server

ALONE = {
    "nothing": "SELECT",
    "enum": "CREATE TYPE e AS ENUM ('a')",
    "domain": "CREATE DOMAIN d AS int CHECK (VALUE > 0)",
    "composite": "CREATE TYPE c AS (a int)",
    "range": "CREATE TYPE r AS RANGE (subtype = float8)",
    "shell": "CREATE TYPE shell",
    "base": "CREATE TYPE b; CREATE FUNCTION b_in(cstring) RETURNS b LANGUAGE internal STRICT IMMUTABLE"
    " AS 'textin'; CREATE FUNCTION b_out(b) RETURNS cstring LANGUAGE internal STRICT IMMUTABLE"
    " AS 'textout'; CREATE TYPE b (INPUT = b_in, OUTPUT = b_out)",
    "collation": 'CREATE COLLATION k FROM "C"',
    "function": "CREATE FUNCTION f() RETURNS int LANGUAGE sql RETURN 1",
    "procedure": "CREATE PROCEDURE p() LANGUAGE sql AS 'SELECT 1'",
    "aggregate": "CREATE AGGREGATE g (int) (SFUNC = int4pl, STYPE = int)",
    "operator": "CREATE OPERATOR @@@ (FUNCTION = int4pl, LEFTARG = int, RIGHTARG = int)",
    "operator family": "CREATE OPERATOR FAMILY o USING btree",
    "operator class": "CREATE OPERATOR CLASS o FOR TYPE int USING btree AS OPERATOR 1 <,"
    " FUNCTION 1 btint4cmp(int, int)",
    "text search": "CREATE TEXT SEARCH CONFIGURATION t (COPY = simple)",
    "dictionary": "CREATE TEXT SEARCH DICTIONARY t (TEMPLATE = simple)",
    "conversion": "CREATE CONVERSION v FOR 'LATIN1' TO 'UTF8' FROM iso8859_1_to_utf8",
    "statistics": "CREATE TABLE t (a int, b int); CREATE STATISTICS s ON a, b FROM t",
    "trigger": "CREATE TABLE t (a int); CREATE TRIGGER g BEFORE UPDATE ON t FOR EACH ROW"
    " EXECUTE FUNCTION suppress_redundant_updates_trigger()",
    "policy": "CREATE TABLE t (a int); CREATE POLICY p ON t USING (a > 0)",
    "rule": "CREATE TABLE t (a int); CREATE RULE r AS ON DELETE TO t DO INSTEAD NOTHING",
    "index of a partition": "CREATE TABLE t (a int) PARTITION BY LIST (a); CREATE INDEX i ON t (a);"
    " CREATE TABLE t1 PARTITION OF t FOR VALUES IN (1)",
    "view": "CREATE VIEW v AS SELECT 1 AS a",
    "sequence": "CREATE SEQUENCE s",
}
"""Statements that make one thing each, in a schema that has nothing else."""


@pytest.mark.parametrize("what", ALONE)
def test_what_is_there_alone_is_read(
    server: Server, database: str, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    """The witness is the reading of all kinds, whatever is there."""
    with server.connect(database) as connection:
        connection.execute("CREATE SCHEMA alone; SET search_path = alone; " + ALONE[what])
    settings = load_settings(environ={"DATABASE_URL": server.url(database)})
    target = resolve(settings, app="")
    with connect(target) as reader:
        for schema, also in (("alone", ()), ("public", ("alone",))):
            found = read_catalog(reader, schema, also=also)
            with monkeypatch.context() as patched:
                patched.setattr(definitions._DEPENDENCIES, "column", lambda *_, **__: [])
                assert found == read_catalog(reader, schema, also=also)
            assert found.objects or what == "nothing"


def test_what_is_passed_over_is_not_asked_for(server: Server, database: str) -> None:
    settings = load_settings(environ={"DATABASE_URL": server.url(database)})
    with connect(resolve(settings, app="")) as reader:
        absent = definitions._DEPENDENCIES.column(reader, "absent", schema="public")
    known = {block.name for block in definitions._QUERIES.blocks}
    assert set(absent) < known
    assert {"other", "policy", "rule", "function", "enum"} <= set(absent)
