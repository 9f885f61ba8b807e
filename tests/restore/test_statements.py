"""What a script does is read before it runs, however it is cut into pieces."""

import pytest

from leadctl.restore.script import StatementReader


def read(script: str, size: int = 1 << 20) -> StatementReader:
    reader = StatementReader()
    data = script.encode()
    for start in range(0, len(data), size):
        reader.write(data[start : start + size])
    reader.close()
    return reader


OUTSIDE = [
    "COMMIT;",
    "BEGIN; SELECT 1; COMMIT;",
    "BEGIN; SELECT pg_catalog.lo_put(1, 0, 'x'); COMMIT;",
    "BEGIN; SELECT pg_catalog.lo_open(1, 2); DROP TABLE t; COMMIT;",
    "end",
    "/* a /* b */ c */ rollback work;",
    "ROLLBACK",
    "PREPARE TRANSACTION 'x';",
    "drop database x;",
    'CREATE USER "MAPPING";',
    "ALTER SYSTEM SET work_mem = '1GB';",
    "alter role x superuser;",
    "COMMENT ON DATABASE x IS 'y';",
    "GRANT a TO b;",
    "GRANT CONNECT ON DATABASE x TO y;",
    "REASSIGN OWNED BY a TO b;",
    "DROP OWNED BY a;",
    "CREATE TABLESPACE t LOCATION '/x';",
    "COPY t TO PROGRAM 'true';",
    "COPY t (a) FROM '/etc/passwd';",
    "COPY t (stdin) FROM PROGRAM 'x';",
    "COPY (SELECT a FROM stdin) TO '/x';",
    "LOAD 'x';",
    "SELECT pg_catalog.lo_import('/etc/passwd');",
    "INSERT INTO t SELECT pg_read_file('/etc/passwd');",
    "CREATE TABLE t AS SELECT pg_read_file('/etc/passwd');",
    "EXPLAIN ANALYZE SELECT \"lo_import\"('/etc/passwd');",
    "COPY t (a) FROM '/etc/passwd' WHERE a IS NOT DISTINCT FROM stdin;",
    "DO $$ BEGIN IF true THEN CREATE ROLE x; END IF; END $$;",
    "DO LANGUAGE plpgsql 'BEGIN EXECUTE ''drop database x''; END';",
    "DO $a$ BEGIN INSERT INTO t VALUES (1); COMMIT; END $a$;",
    "\ufeffCOMMIT;",
    "INSERT INTO t VALUES (1, 'a'), (pg_read_file('/etc/passwd'));",
    "INSERT INTO t VALUES (1), (2) RETURNING lo_import('/etc/passwd');",
    "SELECT 1 \\; COMMIT",
    "COPY t FROM stdin \\; COMMIT;",
]
BEFORE = [
    "",
    "SELECT 1;\n",
    "SELECT 'it''s; /*', E'a\\'; --', $$;'$$, $a$ $$;' $a$, \"x;'\";\n",
    "SET standard_conforming_strings = off; SELECT 'a\\'; x';\nSET standard_conforming_strings = on;\n",
    "SELECT 'C:\\';\n",
    "SET standard_conforming_strings = off;\nRESET standard_conforming_strings; SELECT 'C:\\';\n",
    "SET standard_conforming_strings = off;\nRESET ALL; SELECT 'C:\\';\n",
    "INSERT INTO t VALUES ('C:\\', 1.5), ('it''s;', NULL), (' );', true);\n",
    "SET standard_conforming_strings = off; INSERT INTO t VALUES ('\\'); COMMIT;');\nRESET standard_conforming_strings;\n",
    "COPY t (a) FROM stdin;\nCOMMIT;\n\\.x\n\\N\tx\n\\.\n",
    "CREATE RULE r AS ON INSERT TO t DO ALSO (DELETE FROM t; DELETE FROM u);\n",
    "CREATE OR REPLACE FUNCTION f() RETURNS int BEGIN ATOMIC SELECT CASE WHEN true THEN 1 END; END;\n",
    "CREATE FUNCTION begin(a int) RETURNS int LANGUAGE sql AS 'SELECT 1';\n",
    "CREATE FUNCTION begin.atomic() RETURNS int LANGUAGE sql AS 'SELECT 1';\n",
    "SET SESSION standard_conforming_strings TO 'off'; SELECT 'a\\'; x';\nSET standard_conforming_strings = on;\n",
]
INSIDE = [
    "ROLLBACK TO SAVEPOINT a;",
    "CREATE USER MAPPING FOR x SERVER y;",
    "GRANT SELECT ON t TO x;",
    "ALTER DEFAULT PRIVILEGES FOR ROLE x GRANT SELECT ON TABLES TO y;",
    "COPY (SELECT 1) TO STDOUT;",
    'COPY t ("stdin", program) FROM stdin;\nCOMMIT;\n\\.\n',
    "CREATE TABLE lo_import (load int);",
    "GRANT EXECUTE ON FUNCTION dblink(text) TO x;",
    "-- COMMIT;",
    "/* COMMIT; */",
    "SELECT 'COMMIT;'",
    "COPY t FROM stdin;\nDROP DATABASE x;\n\\.\n",
    "CREATE FUNCTION f() RETURNS int LANGUAGE plpgsql AS $_$ BEGIN COMMIT; END; $_$;",
    "CREATE TABLE role (database int);",
    "DO $$ BEGIN CREATE USER MAPPING FOR x SERVER y; EXCEPTION WHEN others THEN NULL; END $$;",
    "SET search_path = dblink, public;",
    "SELECT 1 AS dblink;\n(SELECT 2);",
    "CREATE TABLE t (pg_promote int DEFAULT (1), lo_import text);",
    "BEGIN;\nSELECT pg_catalog.lo_open('1', 131072);\nSELECT pg_catalog.lowrite(0, '\\x');\nCOMMIT;",
]


@pytest.mark.parametrize("size", [1, 7, 1 << 20])
@pytest.mark.parametrize("before", BEFORE)
@pytest.mark.parametrize("statement", OUTSIDE)
def test_what_reaches_out_is_found_with_its_line(statement: str, before: str, size: int) -> None:
    found = read(before + statement, size).outside
    assert [each.line for each in found] == [before.count("\n") + 1]


@pytest.mark.parametrize("before", BEFORE)
@pytest.mark.parametrize("statement", INSIDE)
def test_what_stays_inside_is_let_through(statement: str, before: str) -> None:
    assert read(before + statement, 5).outside == []


HIDDEN = [
    (
        "CREATE FUNCTION f() RETURNS int LANGUAGE plpgsql AS $$ BEGIN\nCREATE ROLE x; END $$;\n"
        "CREATE VIEW v AS SELECT f();\n-- f()\nSELECT public.f();",
        5,
    ),
    ("CREATE PROCEDURE p() AS 'ALTER SYSTEM RESET ALL' LANGUAGE sql;\nCALL p();", 2),
    (
        "CREATE FUNCTION f() RETURNS text BEGIN ATOMIC SELECT pg_read_file('x'); END;\n"
        "INSERT INTO t VALUES (f());",
        2,
    ),
    ("CREATE FUNCTION f() RETURNS int BEGIN ATOMIC SELECT 1 AS case; END;\nDROP ROLE x;", 2),
]


@pytest.mark.parametrize(("script", "line"), HIDDEN)
def test_what_a_function_of_the_script_hides_is_found(script: str, line: int) -> None:
    assert [each.line for each in read(script, 3).outside] == [line]


@pytest.mark.parametrize("script", ["", " \n", "-- nothing\n", "/* COMMIT; */", "\\connect x\n"])
def test_nothing_is_no_statement(script: str) -> None:
    assert read(script).number == 0


def test_long_rows_and_strings_take_no_memory() -> None:
    reader = StatementReader()
    for piece in (
        "COPY t FROM stdin;\n",
        *["x" * 65536] * 50,
        "\n\\.\nSELECT '",
        *["y" * 65536] * 50,
    ):
        reader.write(piece.encode())
        assert len(reader._left) < 70000
    reader.write(b"'; COMMIT;")
    reader.close()
    assert [each.line for each in reader.outside] == [4]


NEEDS = r"""
SET ROLE "set; by";
SET SESSION AUTHORIZATION DEFAULT;
CREATE ROLE made_here;
CREATE SCHEMA s AUTHORIZATION of_schema;
CREATE EXTENSION IF NOT EXISTS "uuid-ossp" WITH SCHEMA public;
CREATE EXTENSION pgcrypto;
CREATE EVENT TRIGGER alarm ON ddl_command_end EXECUTE FUNCTION f();
CREATE SUBSCRIPTION "Sub" CONNECTION 'dbname=x' PUBLICATION p;
ALTER TABLE public.t OWNER TO "My ""odd"" Role";
ALTER FUNCTION f(a integer, b text, c numeric, d text, e text, f text, g text) OWNER TO of_function;
ALTER TABLE t OWNER TO CURRENT_USER;
ALTER TABLE t OWNER TO made_here;
GRANT SELECT(a), INSERT(b) ON TABLE public.t TO one, "TWO", PUBLIC WITH GRANT OPTION;
REVOKE ALL ON FUNCTION f(to_x integer) FROM three GRANTED BY CURRENT_USER;
ALTER DEFAULT PRIVILEGES FOR ROLE four IN SCHEMA public GRANT SELECT ON TABLES TO five;
CREATE POLICY p ON t TO six USING ((owner = 'seven'::text));
ALTER TABLE t RENAME TO not_a_role;
ALTER DATABASE x SET search_path TO not_a_role, public;
COMMENT ON TABLE t IS 'OWNER TO not_a_role';
INSERT INTO t VALUES ('GRANT x TO not_a_role');
COPY t (owner, "to") FROM stdin;
OWNER TO not_a_role;
\.
CREATE FUNCTION g() RETURNS text LANGUAGE sql AS $$ GRANT x TO not_a_role $$;
"""


def test_what_a_script_needs() -> None:
    for size in (7, 600, len(NEEDS)):
        reader = StatementReader()
        data = NEEDS.encode()
        for start in range(0, len(data), size):
            reader.write(data[start : start + size])
        reader.close()
        assert reader.roles | reader.named_roles == {
            *("set; by", "of_schema", 'My "odd" Role', "of_function"),
            *("one", "TWO", "three", "four", "five", "six"),
        }
        assert reader.extensions == {"uuid-ossp", "pgcrypto"}
        assert (reader.event_triggers, reader.subscriptions) == ({"alarm"}, {"Sub"})


def test_rows_begin_only_where_psql_takes_them() -> None:
    """A column called stdin does not make what follows rows, which nobody would look at."""
    found = read("COPY t (stdin) FROM '/f';\nDROP DATABASE x;\n\\.\nCOMMIT;\n").outside
    assert [each.line for each in found] == [1, 2, 4]


ROLES = [
    ("CREATE SCHEMA s AUTHORIZATION a;", "a"),
    ("CREATE SCHEMA AUTHORIZATION a;", "a"),
    ('CREATE SCHEMA IF NOT EXISTS s AUTHORIZATION "a, b";', "a, b"),
    ("SET ROLE a;", "a"),
    ("SET LOCAL ROLE a;", "a"),
    ("SET SESSION ROLE 'a''b';", "a'b"),
    ("SET role TO a;", "a"),
    ("SET role = 'a';", "a"),
    ("SET SESSION AUTHORIZATION 'a';", "a"),
    ("SET SESSION AUTHORIZATION DEFAULT;", ""),
    ("REASSIGN OWNED BY a, b TO c;", "a b c"),
    ("DROP OWNED BY a;", "a"),
    ("ALTER DEFAULT PRIVILEGES FOR ROLE a, b IN SCHEMA s GRANT SELECT ON TABLES TO c;", "a b c"),
    ("ALTER DEFAULT PRIVILEGES FOR USER a REVOKE ALL ON TABLES FROM PUBLIC, b CASCADE;", "a b"),
    ("GRANT SELECT, INSERT ON t, u TO a, GROUP b, c WITH GRANT OPTION GRANTED BY d;", "a b c d"),
    ("GRANT EXECUTE ON FUNCTION f(to_x int) TO a GRANTED BY CURRENT_USER;", "a"),
    ("ALTER TABLE ONLY s.t OWNER TO a;", "a"),
    ("ALTER TABLE t OWNER TO a, ADD c int, ADD d int;", "a"),
    ("ALTER TABLE public.rename OWNER TO a;", "a"),
    ("ALTER TABLE rename OWNER TO a;", "a"),
    ("ALTER TABLE t RENAME owner TO b;", ""),
    ("ALTER TABLE s.t RENAME COLUMN owner TO b;", ""),
    ("UPDATE t SET role = upper(role);", ""),
    ("UPDATE t SET owner = a, role = 'b';", ""),
    ("SELECT a, b FROM c FOR UPDATE;", ""),
]
NAMED = [
    ("CREATE POLICY p ON t AS PERMISSIVE FOR SELECT TO a, b USING (true);", "a b"),
    ('ALTER POLICY "to" ON t TO a;', "a"),
    ("ALTER POLICY p ON t RENAME TO q;", ""),
    ("CREATE USER MAPPING FOR a SERVER s OPTIONS (user 'b');", "a"),
    ("CREATE USER MAPPING IF NOT EXISTS FOR USER SERVER s;", ""),
    ("ALTER USER MAPPING FOR a SERVER s OPTIONS (SET user 'b');", "a"),
]


@pytest.mark.parametrize("size", [1, 1 << 20])
@pytest.mark.parametrize(("statement", "roles"), ROLES)
def test_the_roles_of_owners_and_grants(statement: str, roles: str, size: int) -> None:
    expected = {roles} if ", " in roles else set(roles.split())
    found = read(f"SELECT 'x';{statement}SELECT a, b;", size)
    assert (found.roles, found.named_roles) == (expected, set())


@pytest.mark.parametrize(("statement", "roles"), NAMED)
def test_the_roles_that_policies_and_user_mappings_name(statement: str, roles: str) -> None:
    found = read(statement)
    assert (found.roles, found.named_roles) == (set(), set(roles.split()))
