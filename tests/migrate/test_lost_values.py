"""Values that go while their rows stay: what the plan says, and what a protected database refuses."""

from typing import Any

import psycopg
import pytest

from leadctl.migrate import lint
from tests.conftest import Cli
from tests.history import Project
from tests.servers import Server

SETUP = """
CREATE TYPE mood AS ENUM ('sad', 'ok');
CREATE TABLE q (id int PRIMARY KEY, filled text, hollow text, half text, num int, price numeric(8,2), at timestamptz,
  day timestamp, doc jsonb, js json, m mood, tags text[], kind text, score float8);
INSERT INTO q SELECT n, 'V' || n, NULL, CASE WHEN n % 2 = 0 THEN 'x' END, n, n + 0.25, '2026-01-01 10:30+00',
  '2026-01-01 10:30', jsonb_build_object('a', n, 'b', 1), '{"a":   1}', 'ok', ARRAY['a', 'b'],
  CASE WHEN n < 100 THEN 'old' ELSE 'other' END, n + 1e-17 FROM generate_series(1, 200) n;
CREATE TABLE f (id int PRIMARY KEY, v text);
INSERT INTO f SELECT n, 'f' FROM generate_series(1, 50) n;
CREATE TABLE code (code text PRIMARY KEY, name text);
INSERT INTO code VALUES ('a', 'A');
CREATE TABLE uses (id int, code text REFERENCES code ON UPDATE CASCADE, also text REFERENCES code ON UPDATE SET NULL);
INSERT INTO uses VALUES (1, 'a', 'a');
CREATE TABLE seen (id int, filled text);
INSERT INTO seen SELECT n, n FROM generate_series(1, 200) n;
CREATE VIEW over_seen AS SELECT id, filled FROM seen;
CREATE TABLE parts (id int, v text) PARTITION BY RANGE (id);
CREATE TABLE parts_1 PARTITION OF parts FOR VALUES FROM (0) TO (10);
INSERT INTO parts VALUES (1, 'v');
CREATE TABLE base (id int, v text);
CREATE TABLE derived () INHERITS (base);
INSERT INTO derived VALUES (1, 'v');
CREATE FUNCTION wipe() RETURNS void LANGUAGE sql AS 'UPDATE q SET filled = NULL';
CREATE TABLE log (id int);
CREATE FUNCTION on_log() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN UPDATE q SET filled = NULL; RETURN NULL; END';
CREATE TRIGGER tr AFTER INSERT ON log FOR EACH STATEMENT EXECUTE FUNCTION on_log();
CREATE TABLE row_log (id int);
CREATE TRIGGER tr AFTER INSERT ON row_log FOR EACH ROW EXECUTE FUNCTION on_log();
CREATE TYPE pair AS (x numeric(6,2), y int);
CREATE TABLE typed OF pair;
INSERT INTO typed VALUES (1.25, 2);
"""

# The statement, the rule, what is lost, and of how many rows; None where it is not counted.
LOST: list[tuple[str, str, str, int | None]] = [
    ("UPDATE q SET filled = NULL", "loses-data", "values of column filled", 200),
    ("UPDATE q SET half = NULL WHERE true", "loses-data", "values of column half", 100),
    ("UPDATE q SET filled = NULL WHERE id < 11", "loses-data", "values of column filled", 10),
    ("UPDATE q SET filled = (NULL)::text, num = 1 WHERE id < 11", "loses-data", "values of column filled", 10),
    ("UPDATE q SET filled = nullif(filled, 'V1')", "loses-data", "values of column filled", 1),
    ("UPDATE q SET filled = CASE WHEN id > 190 THEN NULL ELSE filled END", "loses-data", "values of column filled", 10),
    ("UPDATE q SET filled = 'x'", "overwrites-values", "column filled", 200),
    ("UPDATE q SET filled = ''", "overwrites-values", "column filled", 200),
    ("UPDATE q SET num = 2", "overwrites-values", "column num", 199),
    ("UPDATE q SET (num, filled) = (SELECT 1, 'x')", "overwrites-values", "column num, column filled", 200),
    ("UPDATE q SET (num, filled) = ROW(1, 'x')", "overwrites-values", "column num, column filled", 200),
    ("UPDATE q SET num = DEFAULT", "loses-data", "values of column num", 200),
    ("UPDATE q SET filled = hollow", "loses-data", "values of column filled", 200),
    ("UPDATE q SET filled = num::text", "overwrites-values", "column filled", 200),
    ("UPDATE q AS z SET num = 2 FROM f WHERE f.id = z.id", "overwrites-values", "column num", 49),
    ("UPDATE ONLY q SET filled = f.v FROM f WHERE f.id = q.id", "overwrites-values", "column filled", 50),
    ("UPDATE q SET filled = (SELECT filled FROM (SELECT v AS filled FROM f LIMIT 1) s)", "overwrites-values", "column filled", 200),
    ("WITH x AS (SELECT 1 AS one) UPDATE q SET num = one FROM x", "overwrites-values", "column num", 199),
    ("UPDATE q SET filled = left(filled, 2)", "overwrites-values", "column filled", 191),
    ("UPDATE q SET doc = doc - 'a'", "overwrites-values", "column doc", 200),
    ("UPDATE q SET tags = tags[1:1]", "overwrites-values", "column tags", 200),
    ("UPDATE q SET tags[1] = 'z'", "overwrites-values", "column tags", 200),
    ("UPDATE q SET num = num / 10", "overwrites-values", "column num", 200),
    ("UPDATE q SET at = date_trunc('day', at) WHERE id < 3", "overwrites-values", "column at", 2),
    ("UPDATE q SET kind = 'other' WHERE kind = 'old'", "overwrites-values", "column kind", 99),
    ("UPDATE q SET kind = 'new' WHERE kind IN ('old', 'other')", "overwrites-values", "column kind", 200),
    ("UPDATE q SET kind = 'new' WHERE kind = 'old' OR id > 1", "overwrites-values", "column kind", 200),
    ("UPDATE over_seen SET filled = NULL", "loses-data", "values of column filled", 200),
    ("UPDATE parts SET v = NULL", "loses-data", "values of column v", 1),
    ("UPDATE base SET v = NULL", "loses-data", "values of column v", 1),
    ("UPDATE code SET code = 'b'", "loses-data", "values of column also", 1),
    ("WITH u AS (UPDATE q SET filled = NULL RETURNING id) SELECT count(*) FROM u", "overwrites-values", "values", None),
    ("INSERT INTO f VALUES (1, 'f') ON CONFLICT (id) DO UPDATE SET v = NULL", "loses-data", "values of column v", None),
    ("INSERT INTO f (id, v) VALUES (1, 'g'), (2, 'f'), (900, 'x') ON CONFLICT (id) DO UPDATE SET v = excluded.v", "overwrites-values", "column v", 1),
    ("INSERT INTO f AS a (id, v) SELECT id, NULL FROM q ON CONFLICT (id) DO UPDATE SET v = excluded.v WHERE a.id > 10", "loses-data", "values of column v", 40),
    ("INSERT INTO f (id, v) VALUES (1, 'g') ON CONFLICT ON CONSTRAINT f_pkey DO UPDATE SET v = excluded.v", "overwrites-values", "column v", None),
    ("MERGE INTO f USING q ON f.id = q.id WHEN MATCHED AND q.id < 6 THEN UPDATE SET v = q.filled WHEN NOT MATCHED THEN INSERT VALUES (q.id, 'x')", "overwrites-values", "column v", 5),
    ("MERGE INTO f AS t USING (SELECT id FROM q) s ON t.id = s.id WHEN MATCHED THEN UPDATE SET v = NULL", "loses-data", "values of column v", 50),
    ("DO $$ BEGIN UPDATE q SET filled = NULL; END $$", "overwrites-values", "values", None),
    ("SELECT wipe()", "overwrites-values", "values", None),
    ("INSERT INTO log VALUES (1)", "overwrites-values", "values", None),
    ("INSERT INTO row_log VALUES (1)", "unplannable", "", None),
    ("ALTER TABLE q ALTER filled TYPE int USING NULL", "loses-data", "values of column filled", 200),
    ("ALTER TABLE q ALTER COLUMN filled SET DATA TYPE varchar(2) USING filled::varchar(2)", "overwrites-values", "column filled", 191),
    ("ALTER TABLE q ALTER price TYPE numeric(8,1)", "overwrites-values", "column price", 200),
    ("ALTER TABLE q ALTER price TYPE int", "overwrites-values", "column price", 200),
    ("ALTER TABLE q ALTER at TYPE date", "overwrites-values", "column at", 200),
    ("ALTER TABLE q ALTER at TYPE timestamptz(0) USING at - interval '1 s'", "overwrites-values", "column at", 200),
    ("ALTER TABLE q ALTER doc TYPE int USING (doc->>'a')::int", "overwrites-values", "column doc", 200),
    ("ALTER TABLE q ALTER tags TYPE text USING tags[1]", "overwrites-values", "column tags", 200),
    ("ALTER TABLE q ALTER num TYPE bool USING num::bool", "overwrites-values", "column num", 199),
    ("ALTER TABLE q ALTER num TYPE int USING 5", "overwrites-values", "column num", 199),
    ("ALTER TABLE q ALTER m TYPE text USING 'ok', ALTER filled TYPE text USING left(filled, 2)", "overwrites-values", "column filled", 191),
    ("ALTER TYPE pair ALTER ATTRIBUTE x TYPE numeric(6,1) CASCADE", "overwrites-values", "column x", 1),
    ("ALTER TABLE q DROP COLUMN filled, ADD COLUMN filled text", "loses-data", "column filled", 200),
    ("CREATE FUNCTION f() RETURNS text LANGUAGE sql AS 'SELECT NULL::text' ;; UPDATE q SET filled = f()", "overwrites-values", "column filled", 200),
    ("ALTER TABLE q RENAME filled TO hollow2 ;; ALTER TABLE q RENAME hollow TO filled ;; UPDATE q SET hollow2 = NULL", "loses-data", "values of column filled", 200),
]  # fmt: skip
SPARED = [
    "UPDATE q SET hollow = 'x'",
    "UPDATE q SET half = 'y' WHERE half IS NULL",
    "UPDATE q AS z SET half = 'y', hollow = 'z' WHERE z.half IS NULL AND id > 0",
    "UPDATE q SET half = coalesce(half, 'y')",
    "UPDATE q SET num = num + 1, price = price * 2",
    "UPDATE q SET filled = lower(filled)",
    "UPDATE q SET filled = filled || '!'",
    "UPDATE q SET filled = 'V1' WHERE id = 1",
    "UPDATE q SET kind = 'new' WHERE kind = 'old'",
    "UPDATE q SET kind = 'new' WHERE q.kind = 'old' AND id > 0",
    "UPDATE q SET filled = NULL WHERE false",
    "UPDATE q SET doc = doc || '{\"c\": 1}'",
    "UPDATE q SET num = 5 WHERE num IS NULL AND (half = 'a' OR half = 'b')",
    "ALTER TABLE q ADD COLUMN fresh int ;; UPDATE q SET fresh = 1",
    "ALTER TABLE q ADD COLUMN fresh text ;; UPDATE q SET half = 'y' WHERE half IS NULL",
    "ALTER TABLE q ADD COLUMN fresh text ;; UPDATE q SET filled = lower(filled)",
    "INSERT INTO f VALUES (1, 'f') ON CONFLICT DO NOTHING",
    "INSERT INTO f (id, v) VALUES (1, 'f'), (900, 'x') ON CONFLICT (id) DO UPDATE SET v = excluded.v",
    "MERGE INTO f USING q ON f.id = q.id WHEN NOT MATCHED THEN INSERT VALUES (q.id, 'x')",
    "ALTER TABLE q ALTER num TYPE bigint",
    "ALTER TABLE q ALTER num TYPE text",
    "ALTER TABLE q ALTER price TYPE numeric(10,3)",
    "ALTER TABLE q ALTER day TYPE timestamptz USING day AT TIME ZONE 'Europe/Berlin'",
    "ALTER TABLE q ALTER at TYPE timestamp",
    "ALTER TABLE q ALTER js TYPE jsonb",
    "ALTER TABLE q ALTER js TYPE jsonb USING js::jsonb",
    "ALTER TABLE q ALTER hollow TYPE int USING length(hollow)",
    "ALTER TABLE q ALTER filled TYPE varchar(10)",
    "ALTER TYPE mood RENAME TO mood_old ;; CREATE TYPE mood AS ENUM ('ok', 'glad') ;;"
    " ALTER TABLE q ALTER m TYPE mood USING m::text::mood ;; DROP TYPE mood_old",
    "CREATE TABLE made (id int, v text) ;; INSERT INTO made VALUES (1, 'x') ;; UPDATE made SET v = NULL",
]


@pytest.fixture
def url(
    project: Project, server: Server, database: str, cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> str:
    monkeypatch.setattr(lint, "find_squawk", lambda: None)
    project.revision(*filter(None, (each.strip() for each in SETUP.split(";\n"))))
    url = server.url(database)
    assert cli("migrate", url=url).code == 0
    assert cli("db", "environment", "production", "--protect", url=url).code == 0
    return url


def values(connection: psycopg.Connection[Any]) -> dict[tuple[str, str], int]:
    """How many values each column of each table has."""
    found = {}
    columns = connection.execute(
        "SELECT c.relname, a.attname, a.attnum FROM pg_class c JOIN pg_attribute a ON attrelid = c.oid"
        " WHERE c.relnamespace = 'public'::regnamespace AND relkind IN ('r', 'p') AND attnum > 0"
        " AND NOT attisdropped"
    ).fetchall()
    for table, column, number in columns:
        row = connection.execute(f'SELECT count("{column}") FROM {table}').fetchone()
        found[table, number] = row[0] if row else 0
    return found


def nulled(server: Server, database: str, statement: str) -> bool:
    """Whether values of columns become NULL, or go with their column, when it is really run."""
    with server.connect(database) as connection, connection.transaction(force_rollback=True):
        before = values(connection)
        connection.execute(statement.replace(";;", ";").encode())
        after = values(connection)
    return any(after.get(column, 0) < count for column, count in before.items())


def findings(cli: Cli, url: str) -> tuple[dict[str, Any], list[str]]:
    """The pending revision's findings by rule, and what it loses and overwrites."""
    (revision,) = cli("migrate", "--plan", "-o", "json", url=url).json["revisions"]
    return revision, [each["rule"] for each in revision["findings"]]


@pytest.mark.few(4)
@pytest.mark.parametrize("case", LOST, ids=lambda case: case[0][:60])
def test_is_said_and_refused(
    project: Project,
    server: Server,
    database: str,
    url: str,
    cli: Cli,
    case: tuple[str, str, str, int | None],
) -> None:
    statement, rule, what, rows = case
    project.revision(*statement.split(" ;; "))
    revision, rules = findings(cli, url)
    assert rule in rules
    if what:
        kind = "loss" if rule == "loses-data" else "overwrites"
        effects = [each for one in revision["statements"] for each in one["effects"] if each[kind]]
        (found,) = [each[kind] for each in effects if each["part_of"] is None]
        assert (found["what"], found["rows"]) == (what, rows)
    assert cli("migrate", url=url).code == 5
    with server.connect(database) as connection:
        assert connection.execute("SELECT count(filled), count(half) FROM q").fetchone() == (
            200,
            100,
        )


@pytest.mark.few(3)
@pytest.mark.parametrize("statement", SPARED, ids=lambda statement: statement[:60])
def test_is_not_taken_for_a_loss(
    project: Project, server: Server, database: str, url: str, cli: Cli, statement: str
) -> None:
    project.revision(*(each.strip() for each in statement.split(";;")))
    assert not nulled(server, database, statement)
    _, rules = findings(cli, url)
    assert rules == []
    assert cli("migrate", url=url).code == 0
