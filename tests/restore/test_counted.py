"""A restore says that it is done where every row was counted, and at no other time."""

import io
import threading
import zlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from itertools import cycle
from pathlib import Path

import pytest
from psycopg import sql

from leadctl.backup.manifest import ARCHIVE, ExtensionFacts, parse, render
from leadctl.backup.reader import BackupReader
from leadctl.backup.storage import BackupFolder
from leadctl.backup.stream import read_identities
from tests.backups import Place, alone, create
from tests.conftest import Cli
from tests.servers import PASSWORD, Server

BY_ENUM = """
CREATE TYPE colour AS ENUM ('red', 'green', 'blue', 'black');
CREATE TABLE item (c colour NOT NULL, id int, note text, PRIMARY KEY (c, id))
    PARTITION BY HASH (c);
CREATE TABLE item_0 PARTITION OF item FOR VALUES WITH (MODULUS 2, REMAINDER 0);
CREATE TABLE item_1 PARTITION OF item FOR VALUES WITH (MODULUS 2, REMAINDER 1);
INSERT INTO item SELECT (enum_range(NULL::colour))[1 + i % 4], i, 'n' FROM generate_series(1, 40) i;
CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS
    $$ BEGIN RAISE EXCEPTION 'no new items'; END $$;
CREATE TRIGGER closed BEFORE INSERT ON item FOR EACH ROW EXECUTE FUNCTION refuse();
CREATE TRIGGER shut BEFORE INSERT ON item FOR EACH STATEMENT EXECUTE FUNCTION refuse();
ALTER TABLE ONLY item_1 DISABLE TRIGGER closed;
"""
"""pg_dump loads it through its root: which partition a row belongs to depends on OIDs."""
DATA_ONLY = ("restore", "latest", "--data-only", "--yes", "-o", "json")


@pytest.fixture
def place(server: Server, cli: Cli, tmp_path: Path) -> Iterator[Place]:
    with alone(server, "counted"):
        name = create(server, "counted", "")
        found = Place(server, name, cli, tmp_path)
        try:
            assert found.leadctl("db", "environment", "development").code == 0
            yield found
        finally:
            made = [f"leadctl_verify_{backup.name}" for backup in found.backups.glob("2*")]
            made += [
                f"leadctl_restore_{zlib.crc32(each):08x}" for each in (b"counted", b"counted_copy")
            ]
            with server.connect() as connection:
                rows = connection.execute(
                    "SELECT datname FROM pg_database WHERE datname ~ '^counted' OR datname = ANY (%s)",
                    (made,),
                ).fetchall()
                for (each,) in rows:
                    plain = sql.SQL("ALTER DATABASE {} IS_TEMPLATE false")
                    connection.execute(plain.format(sql.Identifier(each)))
            for (each,) in rows:
                server.drop(each)


RULED = """
CREATE TABLE log (id int PRIMARY KEY, note text); INSERT INTO log VALUES (1, 'was');
CREATE TABLE kept (id int PRIMARY KEY) PARTITION BY RANGE (id);
CREATE TABLE kept_1 PARTITION OF kept FOR VALUES FROM (0) TO (100);
INSERT INTO kept VALUES (1), (2);
"""


@pytest.mark.few(1)
@pytest.mark.parametrize(
    "rule",
    [
        "ON INSERT TO kept_1 DO ALSO INSERT INTO log VALUES (100 + new.id, 'by the rule')",
        "ON INSERT TO kept_1 DO INSTEAD NOTHING",
        "ON UPDATE TO kept DO INSTEAD NOTHING",
    ],
)
def test_a_rule_writes_nothing_of_its_own_into_what_comes_back(place: Place, rule: str) -> None:
    place.query(RULED)
    place.query(f"CREATE RULE r AS {rule}")
    assert place.leadctl("backup").code == 0
    place.query("DELETE FROM kept")
    table = rule.split()[3]
    outcome = place.leadctl(*DATA_ONLY, "--table", "kept_1")
    assert (outcome.code, f"{table} has rules" in outcome.err) == (1, True), outcome.err
    assert place.query("SELECT (SELECT count(*) FROM kept), (SELECT count(*) FROM log)") == [(0, 1)]
    place.query(f"ALTER TABLE {table} DISABLE RULE r")
    outcome = place.leadctl(*DATA_ONLY, "--table", "kept_1")
    assert outcome.code == 0, outcome.err
    assert place.query("SELECT (SELECT count(*) FROM kept), (SELECT count(*) FROM log)") == [(2, 1)]


@pytest.mark.few(1)
@pytest.mark.parametrize("options", [(), ("--table", "item"), ("--table", "item_0")])
def test_rows_of_partitions_by_the_hash_of_an_enum(place: Place, options: tuple[str, ...]) -> None:
    place.query(BY_ENUM)
    rows = "SELECT * FROM item ORDER BY id"
    states = "SELECT tgrelid::regclass, tgname, tgenabled FROM pg_trigger ORDER BY 1, 2"
    before, enabled = place.query(rows), place.query(states)
    ((of_first,),) = place.query("SELECT count(*) FROM item_0")
    expected = of_first if "item_0" in options else 40
    assert place.leadctl("backup").code == 0
    place.query("DELETE FROM item")
    outcome = place.leadctl(*DATA_ONLY, *options)
    assert outcome.code == 0, outcome.err
    assert [(t["rows"], t["inserted"]) for t in outcome.json["tables"]] == [(expected, expected)]
    assert place.query("SELECT count(*) FROM item") == [(expected,)]
    if expected == 40:
        assert place.query(rows) == before
    assert place.query(states) == enabled


def test_partitions_by_the_hash_of_an_enum_beside(place: Place) -> None:
    place.query(BY_ENUM)
    before = place.query("SELECT * FROM item ORDER BY id")
    assert place.leadctl("backup").code == 0
    place.query("DELETE FROM item; ALTER TABLE item DISABLE TRIGGER ALL")
    outcome = place.leadctl("restore", "--table", "item", "-o", "json")
    assert outcome.code == 0, outcome.err
    assert sum(table["rows"] for table in outcome.json["tables"]) == 40
    for line in outcome.json["lines"]:
        place.query(line)
    assert place.query("SELECT * FROM item ORDER BY id") == before


@pytest.mark.parametrize("when", ["always", "at backup", "at restore"])
def test_names_that_the_server_quotes(place: Place, when: str) -> None:
    place.query("CREATE TABLE t (id int PRIMARY KEY); INSERT INTO t VALUES (1), (2)")
    on, off = (
        f"ALTER DATABASE {place.name} SET quote_all_identifiers = {state}"
        for state in ("on", "off")
    )
    place.query(off if when == "at restore" else on)
    assert place.leadctl("backup").code == 0
    place.query(off if when == "at backup" else on)
    place.query("DELETE FROM t")
    beside = place.leadctl("restore", "--table", "t", "-o", "json")
    assert (beside.code, beside.json["tables"][0]["rows"]) == (0, 2), beside.err
    outcome = place.leadctl(*DATA_ONLY)
    assert outcome.code == 0, outcome.err
    assert place.query("SELECT count(*) FROM t") == [(2,)]


@pytest.mark.parametrize("options", [("--data-only", "--yes"), ("--table", "t")])
@pytest.mark.parametrize("claimed", [3, 0])
def test_rows_that_the_archive_lacks(place: Place, options: tuple[str, ...], claimed: int) -> None:
    place.query("CREATE TABLE t (id int PRIMARY KEY); INSERT INTO t VALUES (1), (2)")
    path = Path(place.leadctl("backup", "-o", "json").json["path"]) / "manifest.json"
    manifest = parse(path.read_text())
    tables = tuple(
        replace(t, rows=claimed) if t.name.endswith(".t") else t for t in manifest.tables
    )
    path.write_text(render(replace(manifest, tables=tables)))
    outcome = place.leadctl("restore", *options)
    assert outcome.code == 1, outcome.out
    assert "has 2 rows of public.t, and the manifest" in outcome.err
    assert f"says {claimed}" in outcome.err
    assert place.query("SELECT nspname FROM pg_namespace WHERE nspname ~ '^restored'") == []


def test_partitions_by_the_hash_of_an_enum_in_whole(place: Place) -> None:
    place.query(BY_ENUM + "ALTER TABLE item DISABLE TRIGGER ALL;")
    before = place.query("SELECT * FROM item ORDER BY id")
    assert place.leadctl("backup").code == 0
    rehearsed = place.leadctl("backup", "verify", "latest", "--restore", "-o", "json")
    assert (rehearsed.code, rehearsed.json["depth"]) == (0, "restored"), rehearsed.out
    outcome = place.leadctl("restore", "--into", "counted_copy", "-o", "json")
    assert outcome.code == 0, outcome.err
    assert place.query("SELECT * FROM item ORDER BY id", "counted_copy") == before


READS_A_TABLE = """
CREATE TABLE lim (k text PRIMARY KEY, v int);
INSERT INTO lim VALUES ('max', 100);
CREATE FUNCTION ok(i int) RETURNS bool LANGUAGE plpgsql AS
    $$ BEGIN RETURN i <= (SELECT v FROM lim WHERE k = 'max'); END $$;
CREATE TABLE a_val (i int CHECK (ok(i)));
INSERT INTO a_val SELECT generate_series(1, 10);
"""
NESTED = """
CREATE FUNCTION f(t text) RETURNS text LANGUAGE sql IMMUTABLE AS 'SELECT upper(t)';
CREATE FUNCTION g(t text) RETURNS text LANGUAGE sql IMMUTABLE AS 'SELECT f(t)';
CREATE TABLE z (t text, u text GENERATED ALWAYS AS (g(t)) STORED);
INSERT INTO z (t) SELECT 'x' || i FROM generate_series(1, 10) i;
"""


@pytest.mark.parametrize("script", [READS_A_TABLE, NESTED])
def test_a_function_that_needs_search_path_is_no_damage(place: Place, script: str) -> None:
    place.query(script)
    assert place.leadctl("backup").code == 0
    not_rehearsed(place, "SET search_path")


OF_OTHER_ROWS = """
CREATE TABLE lim (v int);
INSERT INTO lim VALUES (100);
CREATE FUNCTION most(i int) RETURNS int LANGUAGE plpgsql IMMUTABLE AS
    $$ DECLARE found int; BEGIN SELECT v INTO STRICT found FROM public.lim; RETURN found; END $$;
CREATE TABLE z (i int);
INSERT INTO z VALUES (7);
"""


@pytest.mark.few(1)
@pytest.mark.parametrize(
    ("script", "says"),
    [
        ("ALTER TABLE z ADD CHECK (i < most(i))", "no rows"),
        ("CREATE INDEX by_most ON z (most(i))", "no rows"),
        ("CREATE MATERIALIZED VIEW m AS SELECT i / v AS n FROM lim, z", "public.m"),
    ],
)
def test_what_the_database_itself_would_reject_is_no_damage(
    place: Place, script: str, says: str
) -> None:
    """Rows were changed since: pg_dump's archive does not load whole anywhere, and is as written."""
    changed = "UPDATE lim SET v = 0" if "VIEW" in script else "DELETE FROM lim"
    place.query(OF_OTHER_ROWS + script)
    place.query(changed)
    assert place.leadctl("backup").code == 0
    not_rehearsed(place, says)
    failed = place.leadctl("restore", "--into", "counted_copy")
    assert (failed.code, "--keep-going" in failed.err) == (1, True), failed.err
    outcome = place.leadctl("restore", "--into", "counted_copy", "--keep-going")
    assert (outcome.code, "IN PART" in outcome.out) == (7, True), outcome.out + outcome.err


def test_an_extension_that_the_server_lacks_is_no_damage(place: Place) -> None:
    place.query("CREATE TABLE t (id int)")
    path = Path(place.leadctl("backup", "-o", "json").json["path"]) / "manifest.json"
    manifest = parse(path.read_text())
    path.write_text(
        render(replace(manifest, extensions=(ExtensionFacts("not_here", "1", "public"),)))
    )
    not_rehearsed(place, "not_here")


def not_rehearsed(place: Place, says: str) -> None:
    outcome = place.leadctl("backup", "verify", "latest", "--restore", "-o", "json")
    assert (outcome.code, outcome.json["ok"], outcome.json["depth"]) == (1, True, "content")
    assert says in outcome.json["not_rehearsed"]
    kept = place.leadctl("backup", "list", "-o", "json").json["backups"][0]["verified"]
    assert (kept["ok"], kept["depth"]) == (True, "content")
    verified = f"leadctl_verify_{outcome.json['id']}"
    assert place.query(f"SELECT FROM pg_database WHERE datname = '{verified}'") == []


def test_a_table_that_may_not_be_read_is_named(place: Place) -> None:
    place.query("DROP ROLE IF EXISTS counted_reader; CREATE TABLE secret (id int)")
    place.query(f"CREATE ROLE counted_reader LOGIN PASSWORD '{PASSWORD}'")
    place.query("GRANT USAGE ON SCHEMA leadctl TO counted_reader")
    place.query("GRANT SELECT ON ALL TABLES IN SCHEMA leadctl TO counted_reader")
    url = place.server.url(place.name).replace("//postgres:", "//counted_reader:")
    try:
        outcome = place.leadctl("backup", "--url", url)
        assert outcome.code == 4, outcome.err
        assert ("secret" in outcome.err, "Cannot connect" in outcome.err) == (True, False), (
            outcome.err
        )
    finally:
        place.query("DROP OWNED BY counted_reader; DROP ROLE counted_reader")


MONTHS = """
CREATE TABLE event (at date NOT NULL, id int, PRIMARY KEY (at, id)) PARTITION BY RANGE (at);
CREATE TABLE event_1 PARTITION OF event FOR VALUES FROM ('2026-01-01') TO ('2026-02-01');
CREATE TABLE event_2 PARTITION OF event FOR VALUES FROM ('2026-02-01') TO ('2026-03-01')
    PARTITION BY RANGE (id);
CREATE TABLE event_2_a PARTITION OF event_2 FOR VALUES FROM (0) TO (1000);
INSERT INTO event SELECT date '2026-01-01' + i, i FROM generate_series(0, 40) i;
"""


@pytest.mark.parametrize("options", [(), ("--table", "event")])
def test_partitions_that_are_newer_than_the_backup(place: Place, options: tuple[str, ...]) -> None:
    place.query(MONTHS)
    assert place.leadctl("backup").code == 0
    place.query(
        "DELETE FROM event; CREATE TABLE event_3 PARTITION OF event"
        " FOR VALUES FROM ('2026-03-01') TO ('2026-04-01'); INSERT INTO event_3 VALUES ('2026-03-05', 1)"
    )
    outcome = place.leadctl(*DATA_ONLY, *options)
    assert outcome.code == 0, outcome.err
    assert outcome.json["gone"] == []
    assert place.query("SELECT count(*), count(*) FILTER (WHERE at = '2026-03-05') FROM event") == [
        (42, 1)
    ]


@pytest.mark.parametrize("options", [(), ("--table", "event")])
@pytest.mark.parametrize(
    "change", ["DROP TABLE event_2", "ALTER TABLE event_2 DETACH PARTITION event_2_a"]
)
def test_partitions_that_are_gone_are_named(
    place: Place, options: tuple[str, ...], change: str
) -> None:
    place.query(MONTHS)
    assert place.leadctl("backup").code == 0
    place.query(f"DELETE FROM event; {change}")
    outcome = place.leadctl(*DATA_ONLY, *options)
    detached_by_its_own_name = not options and "DETACH" in change
    if detached_by_its_own_name:
        assert (outcome.code, outcome.json["gone"]) == (0, []), outcome.err
        assert place.query("SELECT count(*) FROM event_2_a") == [(10,)]
    else:
        assert (outcome.code, outcome.json["gone"]) == (7, ["public.event_2_a"]), outcome.err
    assert place.query("SELECT count(*) FROM event") == [(31,)]


def test_a_second_table_beside(place: Place) -> None:
    place.query("CREATE TABLE one AS SELECT 1 AS id; CREATE TABLE two AS SELECT 2 AS id")
    assert place.leadctl("backup").code == 0
    for name in ("one", "two"):
        outcome = place.leadctl("restore", "--table", name, "-o", "json")
        assert outcome.code == 0, outcome.err
    schema = outcome.json["schema"]
    rows = f"SELECT one.id, two.id FROM {schema}.one, {schema}.two"
    assert place.query(rows) == [(1, 2)]
    again = place.leadctl("restore", "--table", "two")
    assert (again.code, "two" in again.err) == (5, True), again.err
    place.query(
        f"DROP SCHEMA {schema} CASCADE; CREATE ROLE counted_other;"
        f"CREATE SCHEMA {schema} AUTHORIZATION counted_other"
    )
    try:
        prepared = place.leadctl("restore", "--table", "two")
        assert (prepared.code, "another role" in prepared.err) == (5, True), prepared.err
    finally:
        place.query(f"DROP SCHEMA {schema}; DROP ROLE counted_other")


def test_a_shallow_look_leaves_a_deeper_one_on_record(place: Place) -> None:
    place.query("CREATE TABLE t AS SELECT 1 AS id")

    def on_record() -> tuple[str, bool]:
        (backup,) = place.leadctl("backup", "list", "-o", "json").json["backups"]
        return backup["verified"]["depth"], backup["verified"]["ok"]

    path = Path(place.leadctl("backup", "-o", "json").json["path"])
    shallow = ("backup", "verify", "latest")
    assert place.leadctl(*shallow).code == 0
    assert on_record() == ("content", True)
    assert place.leadctl(*shallow, "--restore").code == 0
    assert place.leadctl(*shallow).code == 0
    assert on_record() == ("restored", True)
    text = (path / "manifest.json").read_text()
    manifest = parse(text)
    (path / "manifest.json").write_text(render(replace(manifest, large_objects=1)))
    assert place.leadctl(*shallow, "--restore").code == 1
    assert place.leadctl(*shallow).code == 0
    assert on_record() == ("restored", False)
    archive = next(path.glob("archive.*"))
    archive.write_bytes(archive.read_bytes()[:-1])
    assert place.leadctl(*shallow).code == 1
    assert on_record() == ("bytes", False)


ENCODINGS = {
    "SQL_ASCII": rb"caf\351 \303\251 \200",
    "LATIN1": rb"caf\351 \303\251",
    "EUC_JP": rb"\244\242\244\244",
}


@pytest.mark.few(2)
@pytest.mark.parametrize("encoding", ENCODINGS)
def test_rows_of_other_encodings(place: Place, encoding: str) -> None:
    place.server.drop(place.name)
    place.query(
        f"CREATE DATABASE {place.name} TEMPLATE template0 ENCODING '{encoding}' LOCALE 'C'",
        "postgres",
    )
    assert place.leadctl("db", "environment", "development").code == 0
    value = ENCODINGS[encoding].decode()
    place.query("CREATE TABLE t (id int PRIMARY KEY, v text)")
    place.query(f"INSERT INTO t VALUES (1, convert_from('{value}'::bytea, '{encoding}'))")
    raw = f"SELECT encode(convert_to(v, '{encoding}'), 'hex') FROM t"
    before = place.query(raw)
    assert place.leadctl("backup").code == 0
    place.query("DELETE FROM t")
    outcome = place.leadctl(*DATA_ONLY)
    assert outcome.code == 0, outcome.err
    assert place.query(raw) == before
    beside = place.leadctl("restore", "--table", "t", "-o", "json")
    assert beside.code == 0, beside.err
    assert place.query(f"{raw.replace('FROM t', '')} FROM {beside.json['schema']}.t") == before


@pytest.mark.parametrize("of", ["DATABASE counted", "ROLE counted_latin"])
def test_rows_where_sessions_have_another_encoding(place: Place, of: str) -> None:
    """By a role of the test's own: what is set for postgres, other tests have, too."""
    place.query(
        "DROP ROLE IF EXISTS counted_latin;"
        f"CREATE ROLE counted_latin SUPERUSER LOGIN PASSWORD '{PASSWORD}'"
    )
    place.url = place.url.replace("//postgres:", "//counted_latin:")
    place.query("CREATE TABLE t (id int PRIMARY KEY, v text); INSERT INTO t VALUES (1, 'Ã© é')")
    place.query(f"ALTER {of} SET client_encoding = 'latin1'")
    try:
        assert place.leadctl("backup").code == 0
        place.query("DELETE FROM t")
        outcome = place.leadctl(*DATA_ONLY)
        assert outcome.code == 0, outcome.err
        raw = "SELECT encode(convert_to(v, 'utf8'), 'hex') FROM t"
        assert place.query(raw) == [("Ã© é".encode().hex(),)]
    finally:
        place.query(f"ALTER {of} RESET client_encoding")
        place.query("REASSIGN OWNED BY counted_latin TO postgres; DROP OWNED BY counted_latin")
        place.query("DROP ROLE counted_latin")


STATISTICS = """
CREATE TABLE seen (id int PRIMARY KEY, kind text, part int);
INSERT INTO seen SELECT i, 'kind ' || i % 7, i % 5 FROM generate_series(1, 3000) i;
CREATE INDEX ON seen ((lower(kind)));
CREATE STATISTICS together (dependencies) ON kind, part FROM seen;
CREATE TABLE plain (id int, "odd "" name" text); INSERT INTO plain SELECT i, i % 3 FROM generate_series(1, 99) i;
CREATE TABLE halved (id int, at int) PARTITION BY RANGE (at);
CREATE TABLE halved_1 PARTITION OF halved FOR VALUES FROM (0) TO (50);
INSERT INTO halved SELECT i, i FROM generate_series(0, 49) i;
CREATE MATERIALIZED VIEW counted_view AS SELECT kind, count(*) FROM seen GROUP BY 1;
ANALYZE;
CREATE TABLE unseen (id int, note text); INSERT INTO unseen SELECT i, 'n' FROM generate_series(1, 50) i;
"""


def test_statistics_come_back_or_are_gathered(place: Place) -> None:
    place.query(STATISTICS)
    known = (
        "SELECT tablename, attname, inherited, null_frac, avg_width, n_distinct, most_common_vals::text,"
        " histogram_bounds::text FROM pg_stats WHERE schemaname = 'public' ORDER BY 1, 2, 3"
    )
    before = place.query(known)
    assert {row[0] for row in before} >= {"seen", "plain", "halved", "halved_1", "counted_view"}
    assert place.leadctl("backup").code == 0
    assert place.leadctl("restore", "latest", "--into", "counted_copy").code == 0
    after = place.query(known, "counted_copy")
    assert [row for row in after if row[0] != "unseen"] == before
    assert len([row for row in after if row[0] == "unseen"]) == 2
    extended = "SELECT statistics_name FROM pg_stats_ext"
    assert place.query(extended, "counted_copy") == [("together",)]
    rows = "SELECT relname, reltuples FROM pg_class WHERE relname IN ('seen', 'plain', 'unseen') ORDER BY 1"
    assert place.query(rows, "counted_copy") == [("plain", 99), ("seen", 3000), ("unseen", 50)]


def test_statistics_do_not_quote_rows_that_are_left_out(place: Place) -> None:
    place.query(
        "CREATE TABLE secret (card text); INSERT INTO secret SELECT '4111-1111' FROM"
        " generate_series(1, 99); ANALYZE secret"
    )
    made = place.leadctl("backup", "--exclude-data", "secret", "-o", "json")
    reader = BackupReader(
        BackupFolder(place.backups).find("latest"), read_identities(place.identity)
    )
    taken = io.BytesIO()
    reader.unpack(ARCHIVE, taken)
    assert b"secret" in taken.getvalue(), made.err
    assert b"4111-1111" not in taken.getvalue()


@pytest.mark.thorough
def test_a_backup_beside_a_job_that_fills_tables_anew(place: Place) -> None:
    """Older snapshots see a TRUNCATE, too: a count beside pg_dump is of another moment."""
    tables = [f"filled_{number}" for number in range(40)]
    for table in tables:
        place.query(f"CREATE TABLE {table} AS SELECT generate_series(1, 500) AS id")
    ended = threading.Event()

    def fill() -> None:
        with place.connect(place.name) as connection:
            for number, table in enumerate(cycle(tables)):
                if ended.is_set():
                    return
                with connection.transaction():
                    connection.execute(f"TRUNCATE {table}")
                    connection.execute(
                        f"INSERT INTO {table} SELECT generate_series(1, {600 + number})"
                    )

    with ThreadPoolExecutor(1) as thread:
        filling = thread.submit(fill)
        try:
            made = [place.leadctl("backup", "-o", "json") for _ in range(2)]
        finally:
            ended.set()
        filling.result()
    for each in made:
        assert each.code == 0, each.err
        assert place.leadctl("backup", "verify", each.json["id"]).code == 0
    restored = place.leadctl("restore", made[-1].json["id"], "--into", "counted_copy")
    assert restored.code == 0, restored.err
    shown = place.leadctl("backup", "show", made[-1].json["id"], "-o", "json").json["manifest"]
    for table in (each for each in shown["tables"] if each["name"].startswith("public.")):
        found = place.query(f"SELECT count(*) FROM {table['name']}", "counted_copy")
        assert found == [(table["rows"],)]
    place.server.drop("counted_copy")
