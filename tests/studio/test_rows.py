"""Rows of any table: pages that fit together, any type and name, flat memory."""

import csv
import io
import json
import random
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from leadctl.apps.registry import find_app
from leadctl.crypto import Keyring
from leadctl.postgres.target import resolve
from leadctl.settings import load_settings
from leadctl.studio import keyset
from leadctl.studio.rows import RowSelection, page_of, read_page
from leadctl.studio.session import Access, read_session
from leadctl.studio.shape import build
from tests.conftest import Cli
from tests.processes import environment
from tests.servers import Server

Execute = Callable[[str], Any]


@pytest.fixture
def execute(server: Server, database: str) -> Execute:
    def run(statement: str) -> Any:
        with server.connect(database) as connection:
            cursor = connection.execute(statement)  # type: ignore[arg-type]
            return cursor.fetchall() if cursor.description else None

    return run


@pytest.fixture
def access(server: Server, database: str) -> Access:
    found = load_settings({}, environ={"DATABASE_URL": server.url(database)})
    return Access(resolve(found, app=found.app), find_app(found), Keyring([]))


COLUMNS = ("id", "many", "few", "word", "moment", "part", '"Group By"')


@pytest.fixture(scope="module")
def paged(server: Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Access]:
    """A table with ties and NULLs in every column but its key."""
    name = server.create()
    with server.connect(name) as connection:
        connection.execute(
            "CREATE TABLE paged (id text, part int, many int, few int NOT NULL, word text,"
            ' moment timestamptz, "Group By" numeric, PRIMARY KEY (part, id))'
        )
        connection.execute(
            "INSERT INTO paged SELECT (i * 7919 % 101)::text, i % 3, nullif(i % 11, 0), i % 2,"
            " nullif(chr(96 + i % 5) || repeat('é', i % 2), '`'), CASE WHEN i % 4 > 0 THEN"
            " timestamptz '2026-01-01' + i % 6 * interval '1 microsecond' END, i % 3 / 10.0"
            " FROM generate_series(1, 120) AS i"
        )
    found = load_settings(
        {}, cwd=tmp_path_factory.mktemp("paged"), environ={"DATABASE_URL": server.url(name)}
    )
    yield Access(resolve(found, app=found.app), find_app(found), Keyring([]))
    server.drop(name)


@settings(
    deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    st.lists(
        st.tuples(st.sampled_from(COLUMNS), st.booleans()), max_size=3, unique_by=lambda key: key[0]
    ),
    st.sampled_from([7, 19, 40, 119, 120]),
    st.booleans(),
)
@pytest.mark.thorough
def test_pages_are_the_whole_in_its_order(
    paged: Access, sort: list[tuple[str, bool]], size: int, filtered: bool
) -> None:
    """Whatever the order, the pages after each other are what ORDER BY alone gives."""
    given_ = ",".join(("-" if down else "") + name.strip('"') for name, down in sort) or None
    where = ("few=1",) if filtered else ()
    down = sort[-1][1] if sort else False
    order = [f"r.{name} {'DESC' if d else ''}" for name, d in sort]
    order += [f"r.{name} {'DESC' if down else ''}" for name in ("part", "id")]
    with read_session(paged) as session:
        shape = session.shape("paged")
        expected = session.connection.execute(
            f"SELECT part::text, id FROM paged AS r WHERE {'few = 1' if filtered else 'true'} "  # type: ignore[arg-type]
            f"ORDER BY {', '.join(order)}"
        ).fetchall()
        found: list[tuple[str | None, ...]] = []
        after = None
        while True:
            selection = RowSelection("part,id", where, given_, size, after=after)
            page = page_of(session, shape, selection)
            found += page.rows
            after = page.after
            if after is None:
                break
        assert found == expected
        second = page_of(session, shape, RowSelection("part,id", where, given_, size, page=2))
        assert list(second.rows) == expected[size : 2 * size]


@pytest.mark.few(2)
@pytest.mark.parametrize("sort", ["id", "-created_at", "status", "processed_at", "-processed_at"])
def test_a_deep_page_reads_no_more_than_the_first(
    execute: Execute, access: Access, sort: str
) -> None:
    execute(
        "CREATE TABLE deep (id int PRIMARY KEY, created_at timestamptz NOT NULL, status text,"
        " processed_at timestamptz)"
    )
    execute(
        "INSERT INTO deep SELECT i, timestamptz '2026-01-01' + i * interval '1 minute',"
        " (ARRAY['NEW', 'DONE', 'FAILED'])[i % 3 + 1],"
        " CASE WHEN i % 3 = 0 THEN timestamptz '2026-01-01' + i * interval '1 minute' END"
        " FROM generate_series(1, 60000) AS i"
    )
    execute("CREATE INDEX ON deep (created_at); CREATE INDEX ON deep (processed_at)")
    execute("CREATE INDEX ON deep (status)")
    execute("ANALYZE deep")

    def rows_read(plan: dict[str, Any]) -> int:
        own = plan["Actual Rows"] + plan.get("Rows Removed by Filter", 0)
        return int(own) + sum(rows_read(each) for each in plan.get("Plans", []))

    with read_session(access) as session:
        shape = session.shape("deep")
        order = keyset.order_of(shape, [sort], None)
        keys = ", ".join(f"{key.column.name}::text" for key in order.keys)
        clause = keyset.everything(order).order.text.as_string()
        ordered = session.connection.execute(
            f"SELECT {keys} FROM deep AS r {clause}"  # type: ignore[arg-type]
        ).fetchall()
        random.seed(1)
        for place in [0, 19_000, 21_000, 40_500, 59_000, *random.sample(range(59_000), 5)]:
            wanted = 20
            for segment in keyset.beyond(session.connection, order, ordered[place]):
                query = build(
                    "EXPLAIN (ANALYZE, FORMAT JSON) SELECT * FROM {} WHERE {} {} LIMIT 20",
                    shape.identifier,
                    segment.condition,
                    segment.order,
                )
                ((plan,),) = query.run(session.connection).fetchall()
                got = plan[0]["Plan"]["Actual Rows"]
                if sort != "status":  # equal keys must be sorted, on the first page, too
                    assert rows_read(plan[0]["Plan"]) < 2000, (place, plan)
                wanted -= got
                if wanted <= 0:
                    break


TYPES = """
CREATE TYPE mood AS ENUM ('sad', 'happy');
CREATE TYPE pair AS (a int, b text);
CREATE DOMAIN email AS text CHECK (value LIKE '%@%');
CREATE TABLE types (
    id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY, nothing text, empty text, says_null text,
    mood mood, moods mood[], pair pair, mail email, matrix int[][], span daterange,
    spans datemultirange, bytes bytea, huge numeric, nan float8, bc timestamptz, forever timestamptz,
    took interval, cash money, bits bit(3), net cidr, mac macaddr, doc json, docs jsonb[],
    search tsvector, path path, oid oid, class regclass, bell text, char "char"
);
INSERT INTO types (nothing, empty, says_null, mood, moods, pair, mail, matrix, span, spans, bytes,
    huge, nan, bc, forever, took, cash, bits, net, mac, doc, docs, search, path, oid, class, bell, char)
VALUES (NULL, '', 'null', 'happy', '{sad,NULL}', ROW(1, 'x,"y'), 'a@b', '{{1,2},{3,4}}',
    '[2026-01-01,infinity)', '{[2026-01-01,2026-01-02)}', '\\x00ff', 1e100 + 0.5, 'NaN',
    '0044-03-15 00:00:00 BC', 'infinity', '1 mon -3 days', 12.5, '101', '10.0.0.0/8',
    '08:00:2b:01:02:03', E'{"a":\\n 1.50}', ARRAY['{"x": null}'::jsonb], 'fat:2 cat:1', '((0,0),(1,1))',
    99, 'types', E'\\x1b[31mred\\x07' || U&'\\202E\\009B', 'c')
"""


@pytest.mark.thorough
def test_every_type_is_shown_and_streamed(
    execute: Execute, server: Server, database: str, cli: Cli
) -> None:
    execute(TYPES)
    url = server.url(database)
    (row,) = cli("studio", "types", "-o", "json", url=url).json["rows"]
    assert (row["nothing"], row["empty"], row["says_null"]) == (None, "", "null")
    assert row["moods"] == ["sad", None]
    assert row["pair"] == {"a": 1, "b": 'x,"y'}
    assert row["bytes"] == "\\x00ff"
    assert (row["nan"], row["forever"]) == ("NaN", "infinity")
    assert row["doc"] == {"a": 1.5}
    jsonl = cli("studio", "types", "-o", "jsonl", url=url)
    assert json.loads(jsonl.out) == row
    assert len(jsonl.out.splitlines()) == 1
    (read,) = csv.DictReader(io.StringIO(cli("studio", "types", "-o", "csv", url=url).out))
    assert read["bc"] == "0044-03-15 00:00:00+00 BC"
    assert read["bytes"] == "\\x00ff"
    assert ',"",null,' in cli("studio", "types", "-o", "csv", url=url).out
    shown = cli("studio", "types", "1", url=url).out
    assert "nothing    null\n" in shown
    assert 'empty      ""\n' in shown
    assert 'says_null  "null"\n' in shown
    for outcome in (jsonl, cli("studio", "types", url=url), cli("studio", "types", "1", url=url)):
        assert not set("\x1b\x07\x9b\u202e") & set(outcome.out)
    for column in row:
        outcome = cli("studio", "types", "--columns", column, "--sort", column, url=url)
        assert outcome.code in {0, 2}, outcome.err


def test_a_null_of_json_is_neither_null_nor_a_text(
    execute: Execute, server: Server, database: str, cli: Cli
) -> None:
    execute(
        "CREATE TABLE docs (id int PRIMARY KEY, a json, b jsonb, c jsonb, d jsonb, e text);"
        "INSERT INTO docs VALUES (1, ' null', 'null', '\"null\"', NULL, 'null')"
    )
    url = server.url(database)
    shown = ["1", "null (JSON)", "null (JSON)", '"null"', "null", '"null"']
    row = cli("studio", "docs", url=url).out.splitlines()[2]
    assert re.split(r"\s{2,}", row.strip()) == shown
    pairs = cli("studio", "docs", "1", url=url).out
    assert [line.split(None, 1)[1] for line in pairs.splitlines()[2:]] == shown


NAMES = ['Größe "x"', "a b", "SELECT", "%s", "naïve;--", "日本語", "a.b", "tab\tnew\nline", "{}"]


@pytest.mark.few(2)
@pytest.mark.parametrize("name", NAMES)
def test_any_name_works(
    execute: Execute, server: Server, database: str, cli: Cli, name: str
) -> None:
    quoted = '"' + name.replace('"', '""') + '"'
    execute(f"CREATE SCHEMA {quoted}")
    execute(
        f"CREATE TABLE {quoted}.{quoted} ({quoted} text PRIMARY KEY, parent text REFERENCES"
        f" {quoted}.{quoted})"
    )
    execute(f"INSERT INTO {quoted}.{quoted} VALUES ('x', NULL), ('a,b', 'x'), ('c', 'a,b')")
    url, schema = server.url(database), ["--schema", name]
    listed = cli("studio", *schema, "-o", "json", url=url).json["tables"]
    assert [table["name"] for table in listed] == [name]
    page = cli(
        *("studio", name, *schema, "--where", f"{quoted}=x", "--sort", quoted, "--count"),
        *("--columns", quoted, "-o", "json"),
        url=url,
    )
    assert page.json["rows"] == [{name: "x"}], page.err
    assert page.json["total"] == 1
    assert cli("studio", name, *schema, "--limit", "1", url=url).code == 0
    second = cli("studio", name, *schema, "--after", "a,b", "--limit=1", "-o", "json", url=url)
    assert second.json["rows"] == [{name: "c", "parent": "a,b"}]
    followed = cli("studio", name, "c", *schema, "--follow", "parent", "-o", "json", url=url)
    assert followed.json["record"] == {name: "a,b", "parent": "x"}
    back = cli("studio", name, "x", *schema, "--follow", name, "-o", "jsonl", url=url)
    assert json.loads(back.out) == {name: "a,b", "parent": "x"}
    for command in (["show", name], ["diagram"], ["dump"]):
        outcome = cli("schema", *command, *schema, url=url)
        assert outcome.code == 0, outcome.err


def test_relations_of_a_key_of_several_columns(
    execute: Execute, server: Server, database: str, cli: Cli
) -> None:
    execute(
        "CREATE TABLE a (x int, y text, PRIMARY KEY (x, y));"
        "CREATE TABLE b (id int PRIMARY KEY, ax int, ay text, bx int, by text,"
        " FOREIGN KEY (ax, ay) REFERENCES a, FOREIGN KEY (bx, by) REFERENCES a);"
        "INSERT INTO a VALUES (1, 'one, two'); INSERT INTO b VALUES (7, 1, 'one, two', NULL, NULL)"
    )
    url = server.url(database)
    record = cli("studio", "a", '1,"one, two"', "-o", "json", url=url).json
    assert [(each["name"], each["rows"]) for each in record["relations"]] == [
        ("b.ax,ay", 1),
        ("b.bx,by", 0),
    ]
    there = cli("studio", "b", "7", "--follow", "ax,ay", "-o", "json", url=url).json
    assert there["key"] == '1,"one, two"'
    nowhere = cli("studio", "b", "7", "--follow", "bx,by", url=url)
    assert (nowhere.code, nowhere.out) == (1, "")
    assert cli("studio", "a", "1", url=url).code == 2


def test_what_has_no_key(execute: Execute, server: Server, database: str, cli: Cli) -> None:
    execute(
        "CREATE TABLE bare (x int); INSERT INTO bare SELECT generate_series(1, 30);"
        "CREATE VIEW seen AS SELECT * FROM bare; CREATE MATERIALIZED VIEW kept AS SELECT * FROM bare;"
        "CREATE MATERIALIZED VIEW empty AS SELECT 1 AS x WITH NO DATA;"
        "CREATE TABLE parts (at date, n int, PRIMARY KEY (at, n)) PARTITION BY RANGE (at);"
        "CREATE TABLE part1 PARTITION OF parts FOR VALUES FROM ('2026-01-01') TO ('2027-01-01');"
        "INSERT INTO parts VALUES ('2026-01-02', 1), ('2026-01-03', 2)"
    )
    url = server.url(database)
    listed = cli("studio", "-o", "json", url=url).json["tables"]
    assert {table["name"]: (table["kind"], table["rows"]) for table in listed} == {
        "bare": ("table", 30),
        "seen": ("view", None),
        "kept": ("materialized view", 30),
        "empty": ("materialized view", None),
        "parts": ("table", 2),
    }
    for name in ("bare", "seen", "kept"):
        page = cli("studio", name, "--page", "2", "--sort", "x", "-o", "json", url=url).json
        assert [row["x"] for row in page["rows"]] == list(range(21, 31))
        assert cli("studio", name, "1", url=url).code == 1
        assert cli("studio", name, "--after", "1", url=url).code == 1
    assert cli("studio", "empty", url=url).code == 1
    after = cli("studio", "parts", "--after", '["2026-01-02","1"]', "-o", "json", url=url).json
    assert [row["n"] for row in after["rows"]] == [2]


def test_wide_rows_and_large_values(
    execute: Execute, server: Server, database: str, cli: Cli
) -> None:
    columns = ", ".join(f"c{i} text DEFAULT 'v{i}'" for i in range(100))
    execute(f"CREATE TABLE wide (id int PRIMARY KEY, {columns}, large text)")
    execute("INSERT INTO wide (id, large) VALUES (1, repeat('x', 10 * 1024 * 1024))")
    url = server.url(database)
    shown = cli("studio", "wide", url=url, env={"COLUMNS": "80"}).out
    assert "columns are left out" in shown
    piped = cli("studio", "wide", url=url, env={"COLUMNS": ""}).out
    assert "c99" in piped
    assert "left out" not in piped
    assert max(map(len, shown.splitlines())) <= 80
    record = cli("studio", "wide", "1", url=url).out
    assert "(10,485,760 characters; all with -o json)" in record
    assert len(record) < 100_000
    whole = cli("studio", "wide", "1", "-o", "json", url=url).json["record"]
    assert len(whole["large"]) == 10 * 1024 * 1024


@pytest.mark.thorough
def test_two_thousand_tables(execute: Execute, server: Server, database: str, cli: Cli) -> None:
    execute(
        "DO $$ BEGIN FOR i IN 1..1000 LOOP EXECUTE format("
        "'CREATE TABLE t%s (id int PRIMARY KEY, o int REFERENCES t1)', i); END LOOP; END $$"
    )
    execute(
        "DO $$ BEGIN FOR i IN 1001..2000 LOOP EXECUTE format("
        "'CREATE TABLE t%s (id int PRIMARY KEY, o int REFERENCES t1)', i); END LOOP; END $$"
    )
    url = server.url(database)
    assert len(cli("studio", "-o", "json", url=url).json["tables"]) == 2000
    assert len(cli("schema", "show", "-o", "json", url=url).json["tables"]) == 2000


def test_a_role_that_may_read_little(
    execute: Execute, server: Server, database: str, cli: Cli
) -> None:
    execute(
        "CREATE TABLE open (id int PRIMARY KEY); CREATE TABLE closed (id int PRIMARY KEY);"
        "CREATE SCHEMA leadctl; CREATE TABLE leadctl.identity ();"
        "CREATE ROLE little LOGIN PASSWORD 'little'; GRANT SELECT ON open TO little"
    )
    url = server.url(database).replace("postgres:correct%20horse%20battery", "little:little")
    try:
        assert cli("studio", url=url).code == 0
        assert cli("studio", "open", url=url).code == 0
        outcome = cli("studio", "closed", url=url)
        assert outcome.code == 4
        assert "permission denied" in outcome.err
    finally:
        execute("DROP OWNED BY little")
        execute("DROP ROLE little")


def test_the_timeout_stops_a_statement(
    execute: Execute, server: Server, database: str, cli: Cli
) -> None:
    execute("CREATE VIEW slow AS SELECT pg_sleep(60)::text AS x")
    outcome = cli("studio", "slow", "--timeout", "200ms", url=server.url(database))
    assert (outcome.code, outcome.out) == (1, "")
    assert "--timeout" in outcome.err


def test_nothing_can_be_written(execute: Execute, server: Server, database: str, cli: Cli) -> None:
    execute(
        "CREATE TABLE log (x int); CREATE FUNCTION leave() RETURNS int LANGUAGE sql AS"
        " 'INSERT INTO log VALUES (1) RETURNING x'; CREATE VIEW sly AS SELECT leave() AS x"
    )
    outcome = cli("studio", "sly", url=server.url(database))
    assert outcome.code == 1
    assert "read-only" in outcome.err
    assert execute("SELECT * FROM log") == []


def test_an_encoding_that_lacks_characters(server: Server, cli: Cli) -> None:
    name = f"{server.create()}_latin"
    with server.connect() as connection:
        connection.execute(
            f"CREATE DATABASE {name} ENCODING LATIN1 LOCALE 'C' TEMPLATE template0"  # type: ignore[arg-type]
        )
    try:
        with server.connect(name) as connection:
            connection.execute("CREATE TABLE t (id text PRIMARY KEY, j jsonb)")
            connection.execute("INSERT INTO t VALUES ('é', '{\"a\": 1}')")
        url = server.url(name)
        for condition in ("id=日本", "id~日本", "j.日本=1", "j.a=日本", "id in é,日本"):
            assert cli("studio", "t", "--where", condition, url=url).code == 2, condition
        assert "é" in cli("studio", "t", "--where", "id=é", url=url).out
    finally:
        server.drop(name)
        server.drop(name.removesuffix("_latin"))


CHILD = """
import resource, sys
from leadctl.cli.commands import app
try:
    app(sys.argv[1:])
except SystemExit:
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, file=sys.stderr)
"""


@pytest.mark.slow
@pytest.mark.parametrize("output", ["csv", "jsonl", "json"])
def test_memory_does_not_grow_with_the_rows(
    execute: Execute, server: Server, database: str, output: str, tmp_path: Path
) -> None:
    execute("CREATE TABLE long (id int PRIMARY KEY, text text)")
    execute("INSERT INTO long SELECT i, repeat('x', 1000) FROM generate_series(1, 100000) AS i")

    def peak(limit: int) -> int:
        arguments = ["studio", "long", "-o", output, "--limit", str(limit)]
        with (tmp_path / "out").open("wb") as file:
            done = subprocess.run(
                [sys.executable, "-c", CHILD, *arguments],
                env=environment({"DATABASE_URL": server.url(database)}),
                cwd=tmp_path,
                stdout=file,
                stderr=subprocess.PIPE,
                text=True,
                check=True,
            )
        return int(done.stderr.split()[-1])

    few, many = peak(1000), peak(100_000)
    assert (tmp_path / "out").stat().st_size > 100_000_000
    assert many - few < 8 * 1024, (few, many)  # kilobytes, for a hundred megabytes more


def test_a_reader_that_leaves_ends_the_stream(
    execute: Execute, server: Server, database: str
) -> None:
    execute("CREATE TABLE long (id int PRIMARY KEY, text text)")
    execute("INSERT INTO long SELECT i, repeat('x', 1000) FROM generate_series(1, 50000) AS i")
    command = f'"{sys.executable}" -m leadctl studio long -o jsonl | head -n 1'
    done = subprocess.run(
        ["/bin/sh", "-c", command],
        env=environment({"DATABASE_URL": server.url(database)}),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert json.loads(done.stdout)["id"] == 1
    assert done.stderr == ""


def test_a_page_is_one_snapshot_of_the_shape(execute: Execute, access: Access) -> None:
    execute("CREATE TABLE t (id int PRIMARY KEY)")
    execute("INSERT INTO t SELECT generate_series(1, 25)")
    page = read_page(access, "t", RowSelection(limit=20, count=True))
    assert (len(page.rows), page.more, page.after, page.total) == (20, True, "20", 25)
