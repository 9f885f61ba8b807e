"""A relation as PostgreSQL has it, against what others say of it.

The witnesses are information_schema, pg_dump, psql, the planner and the files on disk.
"""

import csv
import io
import re
import subprocess
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg.rows import dict_row

from leadctl.catalog.relations import (
    QUERIES,
    Relation,
    read_named,
    read_numbered,
    read_schema,
    read_table,
    read_tables,
    relation_names,
)
from leadctl.postgres.binaries import client_program, dump_programs
from leadctl.postgres.connect import Connection, connect
from leadctl.postgres.target import Target, resolve
from leadctl.settings import load_settings
from tests.backups import EVERYTHING
from tests.servers import Server

DATA = Path(__file__).parents[1] / "data"
MORE = """
CREATE TABLE readings (at timestamptz NOT NULL, place int NOT NULL, v int, PRIMARY KEY (at, place))
    PARTITION BY RANGE (at);
CREATE TABLE readings_2025 PARTITION OF readings FOR VALUES FROM (MINVALUE) TO ('2026-01-01')
    PARTITION BY LIST (place);
CREATE TABLE readings_2025_1 PARTITION OF readings_2025 FOR VALUES IN (1);
CREATE TABLE readings_2025_2 PARTITION OF readings_2025 FOR VALUES IN (2, NULL);
CREATE TABLE readings_rest PARTITION OF readings DEFAULT;
CREATE TABLE remarks (at timestamptz, place int, text text,
    FOREIGN KEY (at, place) REFERENCES readings ON DELETE CASCADE);
CREATE INDEX ON remarks (place, at);
CREATE TABLE trees (id int PRIMARY KEY);
CREATE TABLE oaks (acorns int) INHERITS (trees);
CREATE TABLE leaves (id int PRIMARY KEY, tree int REFERENCES trees ON DELETE RESTRICT,
    other int CONSTRAINT other_tree REFERENCES trees ON DELETE SET DEFAULT DEFERRABLE, third int);
CREATE INDEX only_known ON leaves (tree) WHERE tree IS NOT NULL;
CREATE INDEX only_some ON leaves (other) WHERE other > 3;
ALTER TABLE leaves ADD CONSTRAINT third_tree FOREIGN KEY (third) REFERENCES trees NOT VALID;
INSERT INTO readings SELECT '2025-06-01'::timestamptz + n * '1 day'::interval, n % 2 + 1, n
    FROM generate_series(1, 500) AS n;
INSERT INTO leaves SELECT n FROM generate_series(1, 3000) AS n;
ANALYZE;
"""
SOURCES = {
    "everything": EVERYTHING + MORE,
    "extensions": (DATA / "extensions.sql").read_text(),
    "chinook": (DATA / "chinook" / "chinook.sql").read_text(),
}
ACTIONS = {"a": "NO ACTION", "r": "RESTRICT", "c": "CASCADE", "n": "SET NULL", "d": "SET DEFAULT"}
YES = {True: "YES", False: "NO"}


class Witness:
    """A database, and what others say of it."""

    def __init__(self, server: Server, name: str) -> None:
        self.server, self.name = server, name
        settings = load_settings({}, environ={"DATABASE_URL": server.url(name)})
        self.target: Target = resolve(settings, app=settings.app)
        with server.connect(name) as connection, connection.cursor(row_factory=dict_row) as cursor:
            self.schema: dict[str, list[dict[str, Any]]] = {
                view: cursor.execute(f"SELECT * FROM information_schema.{view}").fetchall()
                for view in (
                    "tables",
                    "columns",
                    "table_constraints",
                    "key_column_usage",
                )
            }
        self.dump = subprocess.run(
            [
                dump_programs(server.major, server.major).path("pg_dump"),
                "--schema-only",
                f"--dbname={server.url(name)}",
            ],
            check=True,
            capture_output=True,
            text=True,
        ).stdout

    def of(self, view: str, relation: Relation) -> list[dict[str, Any]]:
        """Return what information_schema says of a relation."""
        return [
            row
            for row in self.schema[view]
            if (row["table_schema"], row["table_name"]) == (relation.schema, relation.name)
        ]

    def describes(self, relation: Relation) -> list[dict[str, str]]:
        r"""Return the columns as psql's \d shows them."""
        commands = rf"\d {relation.qualified}"
        done = subprocess.run(
            [client_program("psql"), "-X", "--csv", "-c", commands, self.server.url(self.name)],
            check=True,
            capture_output=True,
            text=True,
        )
        return list(csv.DictReader(io.StringIO(done.stdout)))

    def found(self, pattern: str) -> list[tuple[str, ...]]:
        """Return what a pattern finds in the dump."""
        return [found.groups() for found in re.finditer(pattern, self.dump, re.MULTILINE)]


@pytest.fixture(scope="module", params=list(SOURCES))
def witness(request: pytest.FixtureRequest, server: Server) -> Iterator[Witness]:
    name = server.create()
    with server.connect(name) as connection:
        try:
            connection.execute(SOURCES[request.param])
        except psycopg.errors.FeatureNotSupported as error:
            server.drop(name)
            pytest.skip(f"This server lacks an extension: {error.diag.message_primary}")
    yield Witness(server, name)
    server.drop(name)


@pytest.fixture
def backup(server: Server, database: str) -> Witness:
    with server.connect(database) as connection:
        connection.execute(SOURCES["everything"])
    return Witness(server, database)


@pytest.fixture
def connection(witness: Witness) -> Iterator[Connection]:
    with connect(witness.target, rows=True) as connection:
        yield connection


@pytest.fixture
def everything(witness: Witness, connection: Connection) -> list[Relation]:
    """Every relation of the database, partitions too."""
    names = [
        f'"{row["table_schema"]}"."{row["table_name"].replace(chr(34), chr(34) * 2)}"'
        for row in witness.schema["tables"]
        if row["table_schema"] in {"public", "odd Schema"}
    ]
    found = read_named(connection, names)
    assert set(found) == set(names)
    return list(found.values())


def test_the_relations_of_a_schema(witness: Witness, connection: Connection) -> None:
    found = {each.name: each for each in read_schema(connection, "public")}
    materialized = {name for (name,) in witness.found(r"^CREATE MATERIALIZED VIEW public\.(\w+) ")}
    partitions = {name for (name,) in witness.found(r" ATTACH PARTITION public\.(\w+) ")}
    tables = {
        row["table_name"]: row["table_type"]
        for row in witness.schema["tables"]
        if row["table_schema"] == "public"
    }
    assert found.keys() == (tables.keys() | materialized) - partitions
    assert set(relation_names(connection, "public")) == tables.keys() | materialized
    assert {name for name, each in found.items() if each.kind == "m"} == materialized
    assert {name for name, each in found.items() if each.kind == "v"} == {
        name for name, kind in tables.items() if kind == "VIEW"
    }
    assert {name for name, each in found.items() if each.kind == "p"} == {
        name for (name,) in witness.found(r"^CREATE TABLE public\.(\w+) \([^;]*\)\nPARTITION BY ")
    } - partitions


def test_what_a_relation_is(witness: Witness, everything: list[Relation]) -> None:
    for each in everything:
        owners = witness.found(
            rf"^ALTER (?:TABLE|VIEW) {re.escape(each.qualified)} OWNER TO (\w+);"
        )
        assert owners == [(each.owner,)]
        assert each.owned
        comments = witness.found(
            rf"^COMMENT ON (?:TABLE|VIEW) {re.escape(each.qualified)} IS '(.*)';"
        )
        assert [(each.comment,)] == [*comments, (None,)][:1]
        secured = witness.found(rf"^(ALTER TABLE {re.escape(each.qualified)} ENABLE ROW LEVEL)")
        assert each.row_security is bool(secured)


def test_columns(witness: Witness, everything: list[Relation]) -> None:
    for relation in everything:
        rows = sorted(witness.of("columns", relation), key=lambda row: row["ordinal_position"])
        shown = witness.describes(relation)
        assert [column.name for column in relation.columns] == [row["column_name"] for row in rows]
        for column, row, line in zip(relation.columns, rows, shown, strict=True):
            assert (column.name, column.type) == (line["Column"], line["Type"])
            assert column.domain is (row["domain_name"] is not None)
            if row["data_type"] not in {"ARRAY", "USER-DEFINED"}:
                assert column.base == row["data_type"]
            assert YES[not column.not_null] == row["is_nullable"]
            assert column.not_null is (line["Nullable"] == "not null")
            assert {"a": "ALWAYS", "d": "BY DEFAULT", None: None}[column.identity] == (
                row["identity_generation"]
            )
            assert (column.generated is not None) is (row["is_generated"] == "ALWAYS")
            assert column.written is (column.generated is None)
            expression = row["column_default"] or row["generation_expression"]
            assert relation.expression(column) == expression
            assert column.has_expression is (expression is not None)
    comments = {
        (each.qualified, column.name): column.comment
        for each in everything
        for column in each.columns
        if column.comment is not None
    }
    assert len(comments) == len(witness.found(r"^(COMMENT ON COLUMN) "))


def test_sequences(witness: Witness, everything: list[Relation]) -> None:
    owned = {
        (table, column.strip('"'), sequence)
        for sequence, table, column in witness.found(
            r"^ALTER SEQUENCE (.+) OWNED BY (.+)\.([^.]+);$"
        )
    } | {
        (table, column.strip('"'), sequence)
        for table, column, sequence in witness.found(
            r"^ALTER TABLE (.+) ALTER COLUMN (.+) ADD GENERATED .*\n    SEQUENCE NAME (.+)$"
        )
    }
    found = {
        (each.qualified, column, sequence.as_string().replace('"', ""))
        for each in everything
        for column, sequence in each.sequences.items()
    }
    by_default = witness.found(r"^    (no) .*DEFAULT nextval\('(.+)'::regclass\)")
    numbered = {*owned, *(("public.orders", *each) for each in by_default)}
    assert found == {(*named, sequence.replace('"', "")) for *named, sequence in numbered}


def test_indexes(witness: Witness, everything: list[Relation]) -> None:
    written: dict[str, dict[str, Any]] = defaultdict(dict)
    for unique, name, table, method, rest in witness.found(
        r'^CREATE (UNIQUE )?INDEX ("[^"]+"|\w+) ON (?:ONLY )?(.+?) USING (\w+) (\(.*);$'
    ):
        written[table][name.strip('"')] = (bool(unique), method, rest)
    for relation in everything:
        plain = {index.name: index for index in relation.indexes if index.constraint is None}
        assert plain.keys() == written[relation.qualified].keys()
        for name, (unique, method, rest) in written[relation.qualified].items():
            index = plain[name]
            assert (index.unique, index.method, index.valid) == (unique, method, True)
            assert index.partial is (" WHERE " in rest)
            where = relation.predicate(index)
            assert where is None if not index.partial else f"WHERE ({where})" in rest
            for key, column in zip(relation.key_of(index), index.columns, strict=True):
                assert key in rest
                assert column is None or key == column


def test_keys(witness: Witness, everything: list[Relation]) -> None:
    for relation in everything:
        columns = _columns(witness.of("key_column_usage", relation))
        said = {
            (row["constraint_name"], row["constraint_type"])
            for row in witness.of("table_constraints", relation)
            if row["constraint_type"] != "FOREIGN KEY"
            and not row["constraint_name"].endswith("_not_null")
        }
        names = {"p": "PRIMARY KEY", "u": "UNIQUE", "c": "CHECK"}
        found = {
            (each.name, names[each.kind]): each
            for each in relation.constraints
            if each.kind in names
        }
        assert found.keys() == said
        for key, each in found.items():
            assert each.kind == "c" or list(each.columns) == columns[each.name]
            assert relation.definition(each).startswith(key[1])
            assert each.validated is not relation.definition(each).endswith(" NOT VALID")
        primary = [each for each in relation.constraints if each.kind == "p"]
        assert relation.primary_key == (primary[0].columns if primary else ())
        exclusions = witness.found(
            rf"^ALTER TABLE ONLY {re.escape(relation.qualified)}\n"
            r"    ADD CONSTRAINT (\w+) EXCLUDE "
        )
        assert exclusions == [(each.name,) for each in relation.constraints if each.kind == "x"]


def test_references_both_ways(witness: Witness, everything: list[Relation]) -> None:
    """pg_dump knows a foreign key to a partitioned table once, and none of partitions."""
    written = witness.found(
        r"^ALTER TABLE (?:ONLY )?(.+)\n    ADD CONSTRAINT (.+) FOREIGN KEY \((.+?)\)"
        r" REFERENCES (.+?)\((.+?)\)(.*);$"
    )
    whole = {each.oid: each for each in everything if not each.is_partition}
    outgoing = {key for each in whole.values() for key in each.references}
    incoming = {key for each in everything for key in each.referrers}
    said = set()
    for table, name, columns, referring, referred, rest in written:
        rule = re.search(r" ON DELETE (RESTRICT|CASCADE|SET NULL|SET DEFAULT)", rest)
        action = rule[1] if rule else "NO ACTION"
        plain = name.strip('"').replace('""', '"')
        said.add((table, plain, columns, referring, referred, action))
    for keys in (outgoing, incoming):
        assert said == {
            (
                whole[key.child].qualified,
                key.name,
                ", ".join(map(_quoted, key.columns)),
                whole[key.parent].qualified,
                ", ".join(map(_quoted, key.referred)),
                ACTIONS[key.on_delete],
            )
            for key in keys
        }
    for key in outgoing:
        child, parent = whole[key.child], whole[key.parent]
        assert (key.child_schema, key.child_table) == (child.schema, child.name)
        assert (key.parent_schema, key.parent_table) == (parent.schema, parent.name)
        assert (key.child_quoted, key.parent_quoted) == (child.quoted, parent.quoted)


def _quoted(name: str) -> str:
    return name if re.fullmatch("[a-z_][a-z0-9_]*", name) else f'"{name}"'


def _columns(rows: list[dict[str, Any]]) -> dict[str, list[str]]:
    found = defaultdict(list)
    for row in sorted(rows, key=lambda row: row["ordinal_position"]):
        found[row["constraint_name"]].append(row["column_name"])
    return found


def test_whether_an_index_serves_a_foreign_key(witness: Witness, connection: Connection) -> None:
    """What the planner does with the sequential scan forbidden says it, too."""
    connection.execute("SET enable_seqscan = off")
    for relation in read_schema(connection, "public"):
        for key in relation.references:
            condition = psycopg.sql.SQL(" AND ").join(
                psycopg.sql.SQL("{} = (SELECT NULL::text)::{}").format(
                    psycopg.sql.Identifier(name),
                    psycopg.sql.SQL(column.type if (column := relation.column(name)) else ""),
                )
                for name in key.columns
            )
            plan = connection.execute(
                psycopg.sql.SQL("EXPLAIN (FORMAT JSON) SELECT FROM {} WHERE {}").format(
                    relation.identifier, condition
                )
            ).fetchone()
            assert plan is not None
            assert relation.is_served(key.columns) is ("Index Cond" in str(plan[0])), key


def test_partitions_and_inheritance(witness: Witness, connection: Connection) -> None:
    attached = {
        (parent, child): bound
        for parent, child, bound in witness.found(
            r"^ALTER TABLE ONLY (\S+) ATTACH PARTITION (\S+) (.+);$"
        )
    }
    inherits = {
        (parent, child)
        for child, parent in witness.found(r"^CREATE TABLE (\S+) \([^;]*\)\nINHERITS \((\S+)\);$")
    }
    strategies = {
        name: word[0].lower()
        for name, word in witness.found(
            r"^CREATE TABLE (\S+) \([^;]*\)\nPARTITION BY (RANGE|LIST|HASH) "
        )
    }
    roots = read_schema(connection, "public")
    names = {each.oid: each.qualified for each in roots}
    names |= {below.oid: below.qualified for each in roots for below in each.descendants}
    found = {
        (names[below.parent], below.qualified): below.bound
        for each in roots
        for below in each.descendants
    }
    assert found == attached | dict.fromkeys(inherits)
    for below in (below for each in roots for below in each.descendants):
        assert below.is_partition is (below.bound is not None)
        assert not below.detaching
    whole = read_numbered(connection, names)
    assert strategies == {
        each.qualified: each.strategy for each in whole.values() if each.strategy is not None
    }
    for each in whole.values():
        assert each.is_partition is (each.qualified in {child for _, child in attached})
        assert {(names[parent], each.qualified) for parent in each.parents} == {
            pair for pair in {*attached, *inherits} if pair[1] == each.qualified
        }
        key = ", ".join(name or "?" for name in each.partition_key)
        assert not key or f" ({key});" in witness.dump


def test_leaves_hold_the_rows(backup: Witness) -> None:
    with connect(backup.target, rows=True) as connection:
        readings = read_table(connection, "public", "readings")
        assert readings is not None
        assert [leaf.qualified for leaf in readings.leaves] == [
            "public.readings_2025_1",
            "public.readings_2025_2",
            "public.readings_rest",
        ]
        assert {each.quoted for each in readings.partitions} == {"readings_2025", "readings_rest"}
        trees = read_table(connection, "public", "trees")
        assert trees is not None
        assert [leaf.quoted for leaf in trees.leaves] == ["trees"]
        moods = read_table(connection, "public", "moods")
        assert moods is not None
        assert moods.leaves == ()


def test_triggers(witness: Witness, everything: list[Relation]) -> None:
    written = {
        (table, name): "INSERT" in when
        for name, when, table in witness.found(r"^CREATE TRIGGER (\w+) (.+) ON (.+?) FOR EACH ")
    }
    found = {
        (each.qualified, trigger.name): trigger.on_insert
        for each in everything
        for trigger in each.triggers
        if trigger.enabled == "O"
    }
    assert found == written


def test_sizes(backup: Witness) -> None:
    with connect(backup.target, rows=True) as connection:
        connection.execute("VACUUM ANALYZE")
        folder = Path(backup.server.socket) / "data"
        for relation in read_schema(connection, "public", "sizes"):
            if relation.kind not in {"r", "p"}:
                continue
            parts = [leaf.qualified for leaf in relation.leaves]
            paths = connection.execute(
                "SELECT pg_relation_filepath(name) FROM unnest(%s::text[]) AS name", (parts,)
            )
            heap = sum((folder / path).stat().st_size for (path,) in paths)
            assert relation.size.heap_bytes == heap
            assert relation.size.pages == heap // 8192
            (rows,) = connection.execute(
                psycopg.sql.SQL("SELECT count(*) FROM {}{}").format(
                    psycopg.sql.SQL("ONLY " if relation.kind == "r" else ""), relation.identifier
                )
            ).fetchone() or (None,)
            assert relation.size.rows == relation.size.known_rows == rows
            assert relation.size.dense_rows == rows
            assert relation.size.last_vacuum is not None
            whole = connection.execute(
                "SELECT sum(pg_total_relation_size(name::regclass))::bigint"
                " FROM unnest(%s::text[]) AS name",
                (parts,),
            ).fetchone()
            assert whole == (relation.size.total_bytes,)


def test_what_was_never_analysed_is_unknown(server: Server, database: str) -> None:
    with server.connect(database) as connection:
        connection.execute("CREATE TABLE t (a int)")
        connection.execute("INSERT INTO t SELECT generate_series(1, 1000)")
        table = read_table(connection, "public", "t")
        assert table is not None
        assert (table.size.rows, table.size.known_rows, table.size.last_vacuum) == (
            None,
            None,
            None,
        )
        assert table.size.dense_rows > 0


def test_nobody_waits_for_a_locked_table(backup: Witness) -> None:
    with (
        connect(backup.target, autocommit=False, rows=True) as other,
        connect(backup.target, rows=True) as connection,
    ):
        other.execute("LOCK TABLE leaves IN ACCESS EXCLUSIVE MODE")
        connection.execute("SET lock_timeout = '1s'")
        found = {each.name: each for each in read_schema(connection, "public", "sizes")}
        assert {name for name, each in found.items() if each.size.locked} == {"leaves"}
        assert found["leaves"].size.rows == 3000
        read_schema(
            connection,
            "public",
            "columns",
            "sequences",
            "indexes",
            "constraints",
            "references",
            "triggers",
        )


def test_a_facet_is_read_once_and_only_if_it_is_asked_for(backup: Witness) -> None:
    with connect(backup.target, rows=True) as connection:
        tables = read_tables(connection, "public", ["people", "trees", "nothing"], "columns")
        assert set(tables) == {"people", "trees"}
        assert tables["trees"].primary_key == ("id",)
    assert [column.name for column in tables["trees"].columns] == ["id"]
    assert tables["people"].primary_key == ("id",)
    with pytest.raises(psycopg.OperationalError):
        _ = tables["people"].triggers


def test_names_are_as_sql_has_them_or_as_they_are(backup: Witness) -> None:
    odd = 'Tä"ble'
    with connect(backup.target, rows=True) as connection:
        table = read_table(connection, "odd Schema", odd)
        assert table is not None
        assert (table.schema, table.name) == ("odd Schema", odd)
        assert table.quoted == table.qualified == '"odd Schema"."Tä""ble"'
        connection.execute('SET search_path = "odd Schema"')
        found = read_named(connection, [odd, '"Tä""ble"', "public.people", "people", "public.x"])
        assert set(found) == {odd, '"Tä""ble"', "public.people"}
        assert found[odd].quoted == '"Tä""ble"'
        assert found["public.people"].quoted == "public.people"


def test_a_schema_that_does_not_exist_has_nothing(witness: Witness, connection: Connection) -> None:
    assert read_schema(connection, "nowhere") == []
    assert relation_names(connection, "nowhere") == []
    assert read_table(connection, "nowhere", "people") is None
    assert read_numbered(connection, [1]) == {}


@pytest.mark.few(7)
@pytest.mark.parametrize("block", [block.name for block in QUERIES.blocks])
def test_a_block_costs_what_the_relations_have(backup: Witness, block: str) -> None:
    """Every block reads the catalog through indexes alone, however many tables there are."""
    values = {"schema": "public", "names": ["people"], "name": "people", "oids": [1]}
    with connect(backup.target, rows=True) as connection:
        connection.execute("SET enable_seqscan = off")
        statement = QUERIES.get(block, connection.info.server_version)
        plan = connection.execute(f"EXPLAIN {statement}", values).fetchall()
        assert not [line for (line,) in plan if "Seq Scan" in line]
