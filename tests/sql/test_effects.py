"""What is said of a statement's locks, rewrites and scans is what the server really does."""

from collections.abc import Iterator

import psycopg
import pytest

from leadctl.migrate.live_tables import LiveTables
from leadctl.sql.effects import effects
from leadctl.sql.lock_modes import CatalogFacts, Lock, StatementEffect
from tests.servers import Server

SETUP = """
CREATE TABLE parent (id int PRIMARY KEY, name text);
CREATE TABLE t (id int PRIMARY KEY, a int, b int NOT NULL DEFAULT 0, s varchar(20), u text,
    parent_id int, CONSTRAINT c_valid CHECK (a > 0), CONSTRAINT a_set CHECK (a IS NOT NULL));
CREATE TABLE child (id int PRIMARY KEY, t_id int REFERENCES t);
CREATE UNIQUE INDEX t_b ON t (id, b);
CREATE INDEX t_a ON t (a);
ALTER TABLE t ADD CONSTRAINT c_later CHECK (b < 10000000) NOT VALID;
CREATE TABLE parts (at date, n int) PARTITION BY RANGE (at);
CREATE TABLE parts_1 PARTITION OF parts FOR VALUES FROM ('2026-01-01') TO ('2026-02-01');
CREATE TABLE parts_2 (at date, n int);
CREATE MATERIALIZED VIEW m AS SELECT id FROM t;
CREATE FUNCTION trig() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END';
CREATE TRIGGER tr BEFORE INSERT ON t FOR EACH ROW EXECUTE FUNCTION trig();
CREATE POLICY p ON t USING (true);
INSERT INTO parent SELECT n, n FROM generate_series(1, 100) n;
INSERT INTO t SELECT n, n, n, n, n, n FROM generate_series(1, 100) n;
"""

STATEMENTS = [
    "CREATE TABLE fresh (id int)",
    "CREATE TABLE fresh (id int, t_id int REFERENCES t (id), FOREIGN KEY (id) REFERENCES parent)",
    "CREATE TABLE fresh (LIKE t)",
    "CREATE TABLE fresh (x int) INHERITS (t)",
    "CREATE TABLE fresh PARTITION OF parts FOR VALUES FROM ('2026-03-01') TO ('2026-04-01')",
    "DROP TABLE child",
    "DROP TABLE IF EXISTS child, parts_2",
    "DROP MATERIALIZED VIEW m",
    "TRUNCATE child",
    "TRUNCATE TABLE t, child",
    "CREATE INDEX ON t (a)",
    "CREATE UNIQUE INDEX x ON public.t USING btree (a) WHERE a > 3",
    "DROP INDEX t_a",
    "REINDEX TABLE t",
    "REINDEX INDEX t_a",
    "INSERT INTO t (id, a) VALUES (1000, 1)",
    "UPDATE t SET u = 'x'",
    "UPDATE t SET u = 'x' WHERE id = 3",
    "DELETE FROM child",
    "LOCK TABLE t IN SHARE ROW EXCLUSIVE MODE",
    "LOCK t",
    "COMMENT ON TABLE t IS 'x'",
    "COMMENT ON COLUMN t.a IS 'x'",
    "CREATE TRIGGER x BEFORE UPDATE ON t FOR EACH ROW EXECUTE FUNCTION trig()",
    "DROP TRIGGER tr ON t",
    "CREATE POLICY x ON t USING (true)",
    "ALTER POLICY p ON t USING (false)",
    "DROP POLICY p ON t",
    "CREATE STATISTICS x ON a, b FROM t",
    "REFRESH MATERIALIZED VIEW m",
    "CLUSTER t USING t_pkey",
    "ANALYZE t",
    "ALTER TABLE t ADD COLUMN x int",
    "ALTER TABLE t ADD x int NOT NULL DEFAULT 3",
    "ALTER TABLE t ADD COLUMN IF NOT EXISTS x timestamptz DEFAULT now()",
    "ALTER TABLE t ADD COLUMN x timestamptz DEFAULT clock_timestamp()",
    "ALTER TABLE t ADD COLUMN x uuid DEFAULT gen_random_uuid()",
    "ALTER TABLE t ADD COLUMN x int GENERATED ALWAYS AS (a * 2) STORED",
    "ALTER TABLE t ADD COLUMN x int GENERATED ALWAYS AS IDENTITY",
    "ALTER TABLE t ADD COLUMN x serial",
    "ALTER TABLE t ADD COLUMN x int REFERENCES parent (id)",
    "ALTER TABLE t ADD COLUMN x int UNIQUE",
    "ALTER TABLE t ADD COLUMN x int CHECK (x > 3)",
    "ALTER TABLE t DROP COLUMN u",
    "ALTER TABLE t DROP u, DROP COLUMN IF EXISTS s",
    "ALTER TABLE t ALTER COLUMN s SET NOT NULL",
    "ALTER TABLE t ALTER a SET NOT NULL",
    "ALTER TABLE t ALTER COLUMN b DROP NOT NULL",
    "ALTER TABLE t ALTER COLUMN b SET DEFAULT 4",
    "ALTER TABLE t ALTER COLUMN b DROP DEFAULT",
    "ALTER TABLE t ALTER COLUMN s TYPE varchar(30)",
    "ALTER TABLE t ALTER COLUMN s TYPE varchar(10)",
    "ALTER TABLE t ALTER COLUMN s SET DATA TYPE text",
    "ALTER TABLE t ALTER COLUMN b TYPE bigint",
    "ALTER TABLE t ALTER COLUMN u TYPE int USING u::int",
    "ALTER TABLE t ALTER COLUMN a SET STATISTICS 500",
    "ALTER TABLE t ALTER COLUMN a SET (n_distinct = 5)",
    "ALTER TABLE t ADD CONSTRAINT x CHECK (b < 1000000)",
    "ALTER TABLE t ADD CHECK (b < 1000000)",
    "ALTER TABLE t ADD CONSTRAINT x CHECK (b < 1000000) NOT VALID",
    "ALTER TABLE t VALIDATE CONSTRAINT c_later",
    "ALTER TABLE t ADD CONSTRAINT x FOREIGN KEY (parent_id) REFERENCES parent (id)",
    "ALTER TABLE t ADD FOREIGN KEY (parent_id) REFERENCES parent NOT VALID",
    "ALTER TABLE t ADD CONSTRAINT x UNIQUE (a)",
    "ALTER TABLE t ADD UNIQUE (a)",
    "ALTER TABLE t ADD CONSTRAINT x UNIQUE USING INDEX t_b",
    "ALTER TABLE t DROP CONSTRAINT c_valid",
    "ALTER TABLE t RENAME COLUMN a TO z",
    "ALTER TABLE t RENAME TO z",
    "ALTER TABLE t ENABLE ROW LEVEL SECURITY",
    "ALTER TABLE t DISABLE TRIGGER tr",
    "ALTER TABLE t SET (fillfactor = 80)",
    "ALTER TABLE t RESET (fillfactor)",
    "ALTER TABLE child SET UNLOGGED",
    "ALTER TABLE t CLUSTER ON t_pkey",
    "ALTER TABLE t OWNER TO postgres",
    "ALTER TABLE parts ATTACH PARTITION parts_2 FOR VALUES FROM ('2026-02-01') TO ('2026-03-01')",
    "ALTER TABLE parts DETACH PARTITION parts_1",
    "ALTER TABLE t ADD COLUMN x int, ADD CONSTRAINT y CHECK (a > 0), ALTER b SET DEFAULT 1",
    "SELECT 1",
    "SET lock_timeout = '3s'",
    "CREATE TYPE mood AS ENUM ('a')",
    "CREATE SEQUENCE seq",
    "CREATE FUNCTION f() RETURNS int LANGUAGE sql RETURN 1",
    "GRANT SELECT ON t TO public",
    "DO $$ BEGIN PERFORM 1; END $$",
]

SCANS_BY_SPI = {
    "ALTER TABLE t ADD CONSTRAINT x FOREIGN KEY (parent_id) REFERENCES parent (id)": {"parent"},
}
"""The server reads the referenced table, too: that is a join, and its lock is no stronger."""


@pytest.fixture
def connection(server: Server, database: str) -> Iterator[psycopg.Connection]:
    with server.connect(database) as connection:
        connection.execute(SETUP)
        connection.execute("ANALYZE")
        yield connection


def tables(connection: psycopg.Connection) -> dict[int, tuple[str, int]]:
    rows = connection.execute(
        "SELECT oid, relname, pg_relation_filenode(oid) FROM pg_class"
        " WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'p', 'm')"
    )
    return {oid: (name, node) for oid, name, node in rows}


def scans(connection: psycopg.Connection) -> dict[str, int]:
    rows = connection.execute("SELECT relname, seq_scan FROM pg_stat_xact_user_tables")
    return dict(rows.fetchall())


def observe(connection: psycopg.Connection, statement: str) -> list[StatementEffect]:
    """Run a statement and see what it did; everything is rolled back."""
    before = tables(connection)
    found = []
    with connection.transaction(force_rollback=True):
        seen_before = scans(connection)
        connection.execute(statement)
        after, seen = tables(connection), scans(connection)
        rows = connection.execute(
            "SELECT relation, replace(regexp_replace(mode, 'Lock$', ''), '', '') FROM pg_locks"
            " WHERE pid = pg_backend_pid() AND locktype = 'relation' AND granted"
        ).fetchall()
        for oid, (name, node) in before.items():
            modes = [mode for relation, mode in rows if relation == oid]
            lock = max((_lock(mode) for mode in modes), default=Lock.NONE)
            renamed = after.get(oid, (name, node))
            scanned = seen.get(renamed[0], 0) > seen_before.get(name, 0)
            found.append(StatementEffect(name, lock, renamed[1] != node, scanned))
    return found


def _lock(mode: str) -> Lock:
    names = {member.name.replace("_", "").lower(): member for member in Lock}
    return names[mode.lower()]


def facts(connection: psycopg.Connection) -> CatalogFacts:
    return LiveTables(connection, "public").facts


@pytest.mark.few(9)
@pytest.mark.parametrize("statement", STATEMENTS)
def test_claims(connection: psycopg.Connection, statement: str) -> None:
    claimed = {
        effect.table.removeprefix("public."): effect
        for effect in effects(statement, facts(connection))
    }
    for real in observe(connection, statement):
        claim = claimed.get(real.table, StatementEffect(real.table, Lock.NONE))
        # The weakest come and go with planning, and block nobody.
        assert claim.lock == real.lock or max(claim.lock, real.lock) < Lock.ROW_EXCLUSIVE, real
        if statement.startswith("TRUNCATE"):
            continue  # it makes new, empty files, and their indexes
        assert claim.rewrites == real.rewrites, real
        by_spi = real.table in SCANS_BY_SPI.get(statement, set())
        if not by_spi and not claim.rewrites and claim.lock > Lock.ROW_EXCLUSIVE:
            assert claim.scans == real.scans, real
