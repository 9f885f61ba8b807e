"""Random pairs of schemas: what is written turns one into the other, and loses no rows unsaid."""

from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from psycopg import errors

from leadctl.catalog.definitions import Catalog, compare, read_catalog, split_name, with_uses
from leadctl.migrate.ddl.autodetector import changes
from leadctl.migrate.ddl.renames import type_renames
from leadctl.migrate.ddl.steps import Step
from leadctl.migrate.ddl.table_copies import set_aside
from leadctl.migrate.ddl.tables import inherited_column
from leadctl.postgres.connect import Connection, connect
from leadctl.postgres.target import resolve
from leadctl.settings import load_settings
from tests.servers import MAJOR, Server

NAMES = ("a", "b", "Odd name")
TYPES = (
    "integer",
    "bigint",
    "text",
    "character varying(20)",
    "numeric(8,2)",
    "mood",
    "timestamptz",
    "text[]",
    "feeling",
    "pair",
    "mood[]",
    "pair[]",
    "span",
)
PAIRS = ("n int, m mood", "n bigint, m mood", "m mood, n int", "m mood, n bigint, more text")
DEFAULTS = {
    "integer": "7",
    "text": "'it''s: x'",
    "mood": "'ok'",
    "timestamptz": "now()",
    "text[]": "'{a}'",
    "feeling": "'ok'",
}


@st.composite
def columns(draw: st.DrawFn) -> dict[str, str]:
    found = {"id": "bigint NOT NULL"}
    identity = draw(st.sampled_from(("", "", "ALWAYS", "BY DEFAULT")))
    if identity:
        found["id"] += f" GENERATED {identity} AS IDENTITY"
    for name in draw(st.sets(st.sampled_from(NAMES))):
        kind = draw(st.sampled_from(TYPES))
        parts = [kind]
        if kind in DEFAULTS and draw(st.booleans()):
            parts.append(f"DEFAULT {DEFAULTS[kind]}")
        if draw(st.booleans()):
            parts.append("NOT NULL")
        found[name] = " ".join(parts)
    if draw(st.booleans()):
        rule = draw(st.sampled_from(("id + 1", "id * 2")))
        found["made"] = f"bigint GENERATED ALWAYS AS ({rule}) STORED"
    return found


@st.composite
def parts(draw: st.DrawFn, table: str, name: str, kind: str) -> list[str]:
    """What a column has beside its type."""
    is_mood = kind.partition(" ")[0] == "mood"
    checked = f"\"{name}\" <> 'ok'" if is_mood else f'"{name}" IS NOT NULL'
    return draw(
        st.sampled_from(
            [
                [],
                [],
                [f'CREATE INDEX "{table}_{name}" ON "{table}" ("{name}", id)'],
                [f'CREATE INDEX "{table}_{name}" ON "{table}" (id DESC) WHERE "{name}" IS NULL'],
                [f'ALTER TABLE "{table}" ADD CONSTRAINT "{table}_{name}_c" CHECK ({checked})'],
                [f'ALTER TABLE "{table}" ADD CONSTRAINT "{table}_{name}_u" UNIQUE ("{name}")'],
                [f'COMMENT ON COLUMN "{table}"."{name}" IS \'about {kind[:3]}\''],
            ]
        )
    )


@st.composite
def tables(draw: st.DrawFn) -> dict[str, list[str]]:
    """Tables, each as the statements that make it."""
    found = {}
    for table in sorted(draw(st.sets(st.sampled_from(("people", "pets", "Log"))))):
        its = draw(columns())
        lines = ", ".join(f'"{name}" {kind}' for name, kind in its.items())
        found[table] = [f'CREATE TABLE "{table}" ({lines})']
        for name, kind in its.items():
            found[table] += draw(parts(table, name, kind))
    return found


@st.composite
def trees(draw: st.DrawFn) -> list[str]:
    """Tables that are partitioned, plain or have parents, by the same names."""
    until = draw(st.sampled_from(("2026-06-01", "2026-05-20")))
    more = draw(st.sampled_from(("", ", more text DEFAULT 'x'")))
    made = draw(
        st.sampled_from(
            (
                [f"CREATE TABLE days (day date NOT NULL, n int{more})"],
                [
                    f"CREATE TABLE days (day date NOT NULL, n int{more}) PARTITION BY RANGE (day)",
                    f"CREATE TABLE may PARTITION OF days FOR VALUES FROM ('2026-05-01') TO ('{until}')",
                    "CREATE TABLE rest PARTITION OF days DEFAULT",
                ],
                [
                    f"CREATE TABLE days (day date NOT NULL, n int{more}) PARTITION BY LIST (n)",
                    "CREATE TABLE may PARTITION OF days FOR VALUES IN (5) PARTITION BY HASH (day)",
                    "CREATE TABLE rest PARTITION OF days DEFAULT",
                ],
                [
                    "CREATE TABLE may (day date NOT NULL, n int)",
                    f"CREATE TABLE days (day date NOT NULL, n int{more})",
                ],
            )
        )
    )
    parents = draw(st.sampled_from(("one, two", "two, one", "one")))
    heirs = ["CREATE TABLE one (a int)", "CREATE TABLE two (b int)"]
    heirs += [f"CREATE TABLE heir (c int) INHERITS ({parents})"]
    return [
        *made,
        *draw(st.sampled_from(([], ["CREATE INDEX days_n ON days (n)"]))),
        *draw(st.sampled_from(([], ["CREATE VIEW of_days AS SELECT n FROM days"]))),
        *draw(st.sampled_from(([], heirs))),
    ]


@st.composite
def operators(draw: st.DrawFn) -> list[str]:
    """An operator, what it calls, and a view that has it."""
    function = draw(st.sampled_from(("alike", "same")))
    return [
        f"CREATE FUNCTION {function}(int, int) RETURNS bool LANGUAGE sql IMMUTABLE RETURN $1 = $2",
        f"CREATE OPERATOR === (LEFTARG = int, RIGHTARG = int, FUNCTION = {function})",
        *draw(st.sampled_from(([], ["CREATE VIEW told AS SELECT 1 === 2 AS said"]))),
    ]


KEEPER = "CREATE TABLE keeper (n int, s text, CONSTRAINT keeper_n UNIQUE (n))"
ELDER = ["CREATE TABLE elder (a int, b int)", "CREATE TABLE younger () INHERITS (elder)"]
KINDS = [
    [["CREATE SEQUENCE num"], ["CREATE SEQUENCE num AS int INCREMENT 2 OWNED BY keeper.n"]],
    [
        ["CREATE VIEW shown AS SELECT n, s FROM keeper", "COMMENT ON COLUMN shown.s IS 'x'"],
        ["CREATE VIEW shown AS SELECT s FROM keeper", "ALTER VIEW shown ALTER s SET DEFAULT 'y'"],
        ["CREATE MATERIALIZED VIEW shown AS SELECT n FROM keeper", "CREATE INDEX sn ON shown (n)"],
        ["CREATE TABLE shown (n int)"],
    ],
    [
        [f"CREATE COLLATION sorted (PROVIDER = libc, LOCALE = '{name}')", *more]
        for name in ("C", "POSIX")
        for more in (
            ["CREATE DOMAIN words AS text COLLATE sorted"],
            ["CREATE TABLE lines (l text COLLATE sorted)", "CREATE INDEX li ON lines (l)"],
        )
    ],
    [
        [f"CREATE AGGREGATE most(int) (SFUNC = int4larger, STYPE = int{more})"]
        for more in ("", ", PARALLEL = SAFE, COMBINEFUNC = int4larger", ", INITCOND = '0'")
    ],
    [
        [
            "CREATE TYPE weight AS (g int)",
            "CREATE FUNCTION grams(weight) RETURNS int LANGUAGE sql IMMUTABLE AS 'SELECT $1.g'",
            f"CREATE CAST (weight AS int) WITH FUNCTION grams(weight){when}",
        ]
        for when in ("", " AS ASSIGNMENT")
    ],
    [["CREATE STATISTICS st ON n, s FROM keeper"], ["CREATE STATISTICS st (mcv) ON n, s FROM keeper"]],
    [
        ["CREATE TEXT SEARCH DICTIONARY d (TEMPLATE = simple)"],
        ["CREATE TEXT SEARCH DICTIONARY d (TEMPLATE = simple, ACCEPT = false)"],
    ],
    [
        ["ALTER TABLE keeper ALTER s SET STORAGE EXTERNAL", "ALTER INDEX keeper_n SET (fillfactor = 70)"],
        ["ALTER TABLE keeper ALTER n SET (n_distinct = -0.5)", "ALTER TABLE keeper CLUSTER ON keeper_n"],
        ["ALTER TABLE keeper REPLICA IDENTITY FULL", "ALTER TABLE keeper FORCE ROW LEVEL SECURITY"],
        ["COMMENT ON CONSTRAINT keeper_n ON keeper IS 'x'", "COMMENT ON INDEX keeper_n IS 'y'"],
    ],
    [
        ELDER,
        [*ELDER, "ALTER TABLE younger ALTER a SET NOT NULL", "ALTER TABLE younger ALTER b SET DEFAULT 4"],
        [*ELDER, "ALTER TABLE elder ALTER a SET NOT NULL", "ALTER TABLE elder ALTER b SET DEFAULT 5"],
        [*ELDER, "ALTER TABLE younger ADD CONSTRAINT k CHECK (a > 0)", "GRANT SELECT (a) ON younger TO PUBLIC"],
        [*ELDER, "ALTER TABLE elder ADD CONSTRAINT k CHECK (a > 0)", "ALTER TABLE elder ADD c text"],
        ["CREATE TABLE elder (a bigint)", "CREATE TABLE younger (b int)"],
        ["CREATE TABLE elder (a bigint)", "CREATE TABLE younger (b int) INHERITS (elder)"],
    ],
    [
        ["CREATE TABLE tree (k int, v int) PARTITION BY LIST (k)", "CREATE TABLE leaf (k int, v int)"],
        *(
            [
                f"CREATE TABLE tree (k int, v {kind}, PRIMARY KEY (k)) PARTITION BY RANGE (k)",
                f"CREATE TABLE leaf PARTITION OF tree FOR VALUES FROM (0) TO ({end})",
                *more,
            ]
            for kind, end in (("int", 9), ("bigint", 99))
            for more in (
                [],
                ["CREATE INDEX own ON leaf (v)", "ALTER TABLE leaf ALTER v SET NOT NULL"],
                ["CREATE INDEX all_v ON tree (v)", "ALTER TABLE leaf ALTER v SET DEFAULT 3"],
            )
        ),
    ],
    [
        [
            "CREATE PROCEDURE note(t text) LANGUAGE plpgsql AS 'BEGIN END'",
            f"GRANT EXECUTE ON PROCEDURE note(text) TO CURRENT_USER{more}",
        ]
        for more in ("", " WITH GRANT OPTION")
    ],
]  # fmt: skip
"""Kinds that are there in one of some ways, or not at all."""
if MAJOR >= 18:
    KINDS.append(
        [
            ["CREATE TABLE newer (n int, d int GENERATED ALWAYS AS (n * 2) VIRTUAL)"],
            ["CREATE TABLE newer (n int CONSTRAINT is_there NOT NULL NO INHERIT, d int)"],
            ["CREATE TABLE newer (n int, d int, CONSTRAINT c CHECK (n > 0) NOT ENFORCED)"],
        ]
    )


@st.composite
def further(draw: st.DrawFn) -> list[str]:
    """All other kinds."""
    made = [draw(st.sampled_from([[], *ways])) for ways in KINDS]
    return [KEEPER, *(each for way in made for each in way)]


@st.composite
def schemas(draw: st.DrawFn) -> list[str]:
    """A schema as statements."""
    values = draw(st.sampled_from(("'sad', 'ok'", "'ok', 'sad'", "'sad', 'ok', 'glad'", "'ok'")))
    made = draw(tables())
    statements = [
        f"CREATE TYPE mood AS ENUM ({values})",
        f"CREATE DOMAIN feeling AS mood{draw(st.sampled_from(('', ' NOT NULL')))}",
        f"CREATE TYPE pair AS ({draw(st.sampled_from(PAIRS))})",
        f"CREATE TYPE span AS RANGE (SUBTYPE = {draw(st.sampled_from(('int', 'bigint')))})",
        *(each for its in made.values() for each in its),
    ]
    body = draw(st.sampled_from(("n + 1", "n + 2")))
    function = f"CREATE FUNCTION next(n int) RETURNS int LANGUAGE sql IMMUTABLE RETURN {body}"
    key = "ALTER TABLE people ADD CONSTRAINT people_key PRIMARY KEY (id)"
    reference = "ALTER TABLE pets ADD CONSTRAINT pets_fk FOREIGN KEY (id) REFERENCES people"
    more = [
        ({"people"}, [key]),
        ({"people", "pets"}, [key, reference]),
        (
            {"people"},
            [
                "CREATE VIEW seen AS SELECT * FROM people",
                "CREATE VIEW twice AS SELECT id FROM seen",
            ],
        ),
        (set(), [function]),
        ({"pets"}, [function, "CREATE INDEX pets_next ON pets (next(id::int))"]),
        (
            {"people"},
            [
                "CREATE FUNCTION t() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END'",
                "CREATE TRIGGER t BEFORE UPDATE OF id ON people FOR EACH ROW EXECUTE FUNCTION t()",
            ],
        ),
        ({"pets"}, ["GRANT SELECT ON pets TO PUBLIC", "GRANT UPDATE (id) ON pets TO PUBLIC"]),
        ({"pets"}, ["CREATE RULE kept AS ON DELETE TO pets WHERE old.id = 1 DO INSTEAD NOTHING"]),
        (set(), draw(trees())),
        (set(), draw(operators())),
        (set(), draw(further())),
        (
            {"Log"},
            [
                'ALTER TABLE "Log" ENABLE ROW LEVEL SECURITY',
                'CREATE POLICY p ON "Log" USING (id > 1)',
            ],
        ),
    ]
    for needs, extra in more:
        if needs <= made.keys() and draw(st.booleans()):
            statements += [each for each in extra if each not in statements]
    return statements


@pytest.fixture(scope="module")
def connection(server: Server) -> Iterator[Connection]:
    name = server.create()
    found = load_settings({}, environ={"DATABASE_URL": server.url(name)})
    with connect(resolve(found, app="leadconnector"), rows=True) as opened:
        yield opened
    server.drop(name)


def make(connection: Connection, schema: str, statements: list[str]) -> Catalog:
    connection.execute(f"DROP SCHEMA IF EXISTS {schema} CASCADE".encode())
    connection.execute(f"CREATE SCHEMA {schema}".encode())
    connection.execute(f"SET search_path TO {schema}".encode())
    for statement in statements:
        connection.execute(statement.encode())
    return read(connection, schema)


def read(connection: Connection, schema: str) -> Catalog:
    return with_uses(connection, read_catalog(connection, schema), schema)


def way(connection: Connection, before: Catalog, after: Catalog, *, online: bool) -> list[Step]:
    """Return the steps from one schema to the other; the first of them are done."""
    aside = set_aside(before, after)
    first = [*type_renames(before, after), *aside.steps]
    for step in first:
        connection.execute(step.sql.encode())
    ready = read(connection, "before") if first else before
    return changes(ready, after, online=online, copies=aside.copies)


def columns_of(catalog: Catalog) -> set[str]:
    """Return the tables and columns that hold what nothing else says, partitions left out."""
    return {
        key
        for key, attributes in catalog.objects.items()
        if key.startswith(("column ", "table "))
        and not {"generated", "partition_of"} & attributes.keys()  # its rows are its parent's
    }


def is_of_a_tree(key: str, catalog: Catalog) -> bool:
    """Whether a table is there as a partition, or a column as one of a parent's."""
    kind, _, name = key.partition(" ")
    if kind == "table":
        return key in catalog.objects
    return inherited_column(catalog, *split_name(name)) is not None


@pytest.mark.slow
@pytest.mark.parametrize("online", [False, True], ids=["at once", "online"])
@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
@given(old=schemas(), new=schemas())
def test_any_schema_becomes_any_other(
    connection: Connection, online: bool, old: list[str], new: list[str]
) -> None:
    after = make(connection, "after", new)
    before = make(connection, "before", old)
    steps = way(connection, before, after, online=online)
    for step in steps:
        connection.execute(step.sql.encode())
    assert compare(read(connection, "before"), after) == []
    lost = {key for key in columns_of(before) - columns_of(after) if not is_of_a_tree(key, after)}
    said = " ".join(step.loses for step in steps)
    for key in lost:
        table = key.partition(" ")[2].partition(".")[0]
        assert table in said, key


@pytest.mark.slow
@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
@given(old=schemas(), new=schemas())
def test_no_row_goes_unsaid(connection: Connection, old: list[str], new: list[str]) -> None:
    after = make(connection, "after", new)
    before = make(connection, "before", old)
    filled = {}
    for table in before.names("table"):
        rows = _fill(connection, table)
        filled[table] = rows
    steps: list[Step] = []
    try:
        with connection.transaction():
            steps = way(connection, before, after, online=False)
            for step in steps:
                connection.execute(step.sql.encode())
    except (
        errors.IntegrityError,
        errors.DataError,
        errors.ProgrammingError,
        errors.OperationalError,
    ):
        return  # the rows are in the way: it was refused, and nothing went
    said = " ".join(step.loses for step in steps)
    for table, rows in filled.items():
        if f"table {table}" in after.objects:
            row = connection.execute(f"SELECT count(*) FROM {table}".encode()).fetchone()
            assert row == (rows,)
        elif "partition_of" not in before.objects[f"table {table}"]:  # its rows are its parent's
            assert table in said


def _fill(connection: Connection, table: str) -> int:
    try:
        connection.execute(
            f"INSERT INTO {table} (id) OVERRIDING SYSTEM VALUE SELECT n FROM generate_series(2, 4) AS n".encode()
        )
    except (errors.IntegrityError, errors.UndefinedColumn):
        return 0
    return 3
