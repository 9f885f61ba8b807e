"""On a protected database nothing that rows are lost by is applied unless somebody says so."""

import pytest

from leadctl.migrate import lint
from tests.conftest import Cli
from tests.history import Project
from tests.servers import PASSWORD, Server

SETUP = """
CREATE TABLE q (id int PRIMARY KEY, filled text, hollow text);
INSERT INTO q SELECT n, n, NULL FROM generate_series(1, 200) n;
CREATE TABLE child (id int PRIMARY KEY, q_id int REFERENCES q ON DELETE CASCADE);
INSERT INTO child SELECT n, n FROM generate_series(1, 200) n;
CREATE TABLE lonely (id int);
INSERT INTO lonely SELECT generate_series(1, 200);
CREATE TABLE alembic_version_old (v text);
CREATE TABLE "my.dotted" (id int, v text);
INSERT INTO "my.dotted" VALUES (1, 'x');
CREATE SCHEMA ar;
CREATE TABLE ar.lonely (id int);
CREATE TABLE ar.gone (id int);
INSERT INTO ar.gone VALUES (1);
CREATE TABLE gone (id int);
CREATE TYPE mood AS ENUM ('sad');
CREATE TABLE moods (id int, m mood);
INSERT INTO moods VALUES (1, 'sad');
CREATE FUNCTION wipe() RETURNS int LANGUAGE plpgsql AS 'BEGIN DELETE FROM public.lonely; RETURN 1; END';
CREATE SEQUENCE sq;
CREATE TYPE pair AS (x int, y int);
CREATE TABLE pairs (p pair);
INSERT INTO pairs VALUES (ROW(1, 2));
CREATE TABLE wiping (id int);
CREATE FUNCTION on_row() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN DELETE FROM lonely; RETURN NEW; END';
CREATE TRIGGER tr BEFORE INSERT ON wiping FOR EACH ROW EXECUTE FUNCTION on_row();
CREATE TABLE parts (id int) PARTITION BY RANGE (id);
CREATE TABLE parts_1 PARTITION OF parts FOR VALUES FROM (0) TO (10);
INSERT INTO parts VALUES (1);
CREATE VIEW over_q AS SELECT id, filled FROM q;
CREATE VIEW viewed AS SELECT id FROM ar.gone;
CREATE FUNCTION instead() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN DELETE FROM public.lonely; RETURN OLD; END';
CREATE TRIGGER tr INSTEAD OF DELETE ON viewed FOR EACH ROW EXECUTE FUNCTION instead();
"""

LOSING = {
    "the first of two columns is empty": ["ALTER TABLE q DROP COLUMN hollow, DROP COLUMN filled"],
    "the first of two columns does not exist": [
        "ALTER TABLE q DROP COLUMN IF EXISTS nope, DROP filled"
    ],
    "MERGE": [
        "MERGE INTO lonely USING q ON lonely.id = q.id WHEN MATCHED AND q.id > 1 THEN DELETE"
    ],
    "a WITH in CREATE TABLE AS": [
        "CREATE TABLE old AS WITH d AS (DELETE FROM lonely RETURNING *) SELECT * FROM d",
        "DROP TABLE old",
    ],
    "a WITH in INSERT": [
        "INSERT INTO gone WITH d AS MATERIALIZED (DELETE FROM lonely RETURNING *) SELECT * FROM d"
    ],
    "EXPLAIN ANALYZE": ["EXPLAIN (ANALYZE) DELETE FROM lonely"],
    "a prepared statement": ["PREPARE wiping AS DELETE FROM lonely", "EXECUTE wiping"],
    "COPY of a DELETE": ["COPY (DELETE FROM lonely RETURNING id) TO '/dev/null'"],
    "IF NOT EXISTS": ["CREATE TABLE IF NOT EXISTS lonely (id int)", "DROP TABLE lonely"],
    "a dot in a name": ['DROP TABLE "my.dotted"'],
    "a column of a table with a dot": ['ALTER TABLE "my.dotted" DROP COLUMN v'],
    "another name": [
        "ALTER TABLE lonely RENAME TO older",
        "CREATE TABLE lonely (id int)",
        "DROP TABLE older",
    ],
    "moved to another schema": ["ALTER TABLE q SET SCHEMA ar", "DROP TABLE ar.q, child"],
    "another search path": ["SET LOCAL search_path TO ar", "DROP TABLE gone"],
    "a name like the version table's": ["DROP TABLE lonely, alembic_version_old"],
    "a comment that names the version table": ["DROP TABLE lonely -- alembic_version"],
    "TRUNCATE CASCADE": ["TRUNCATE q CASCADE"],
    "TRUNCATE of ONLY a second table": ["TRUNCATE gone, ONLY lonely"],
    "DROP TABLE CASCADE": ["DROP TABLE q CASCADE"],
    "DROP TYPE CASCADE": ["DROP TYPE mood CASCADE"],
    "DROP SCHEMA": ["DROP SCHEMA ar CASCADE"],
    "a foreign key that cascades": ["DELETE FROM q"],
    "a view": ["DELETE FROM over_q"],
    "a function behind setval": ["SELECT setval('sq', wipe())"],
    "an attribute of a type": ["ALTER TYPE pair DROP ATTRIBUTE y"],
    "a large object": ["SELECT lo_unlink(0)"],
    "a WITH": ["WITH d AS (DELETE FROM lonely RETURNING *) INSERT INTO gone SELECT * FROM d"],
    "a trigger of each row": ["INSERT INTO wiping VALUES (1)"],
    "a DO block that is put together": ["DO $$ BEGIN EXECUTE 'DROP TABLE lone' || 'ly'; END $$"],
    "a function of the plan's with branches": [
        "CREATE FUNCTION f() RETURNS void LANGUAGE plpgsql AS"
        " 'BEGIN IF EXISTS (SELECT FROM lonely) THEN DELETE FROM lonely; END IF; END'",
        "ALTER FUNCTION f() RENAME TO g",
        "SELECT g()",
    ],
    "a procedure": ["CREATE PROCEDURE p() LANGUAGE sql AS 'DELETE FROM lonely'", "CALL p()"],
    "detached, then dropped": ["ALTER TABLE parts DETACH PARTITION parts_1", "DROP TABLE parts_1"],
    "a trigger instead of a view's rows": ["DELETE FROM viewed"],
    "a function in a condition": ["DELETE FROM public.q WHERE public.wipe() = 1"],
    "a DO block": ["DO $$ BEGIN DELETE FROM lonely; END $$"],
}
COUNTED = (
    "q",
    "filled of q",
    "child",
    "lonely",
    '"my.dotted"',
    'v of "my.dotted"',
    "ar.gone",
    "m of moods",
)


def counts(server: Server, database: str) -> dict[str, int | None]:
    """The rows, or values of a column, that there are; None for what is gone."""
    found: dict[str, int | None] = {}
    with server.connect(database) as connection:
        for each in COUNTED:
            column, _, table = each.rpartition(" of ")
            there = connection.execute("SELECT to_regclass(%s) IS NOT NULL", (table,)).fetchone()
            try:
                row = connection.execute(f"SELECT count({column or '*'}) FROM {table}").fetchone()
            except Exception:  # noqa: BLE001 - it is gone
                row = None
            found[each] = row[0] if row and there == (True,) else None
    return found


@pytest.fixture
def protected(project: Project, server: Server, database: str, cli: Cli) -> str:
    project.revision(*filter(None, (each.strip() for each in SETUP.split(";\n"))))
    url = server.url(database)
    assert cli("migrate", url=url).code == 0
    assert cli("db", "environment", "production", "--protect", url=url).code == 0
    return url


@pytest.mark.few(2)
@pytest.mark.parametrize("case", LOSING)
def test_is_refused(
    project: Project,
    server: Server,
    database: str,
    protected: str,
    cli: Cli,
    case: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(lint, "find_squawk", lambda: None)  # the extra may be missing
    project.revision(*LOSING[case])
    before = counts(server, database)
    assert cli("migrate", "--plan", url=protected).code == 1
    outcome = cli("migrate", url=protected)
    assert outcome.code == 5, outcome.err
    assert counts(server, database) == before


VERSION_TABLES = {
    "in its name": ("version_table='version'", "DROP TABLE conversions"),
    "the name, in another schema": (
        "version_table='conversions', version_table_schema='ar'",
        "DROP TABLE conversions",
    ),
    "emptied": (
        "version_table='conversions', version_table_schema='ar'",
        "DELETE FROM conversions",
    ),
    "a column of its": (
        "version_table='conversions', version_table_schema='ar'",
        "UPDATE conversions SET version_num = NULL",
    ),
}


@pytest.mark.few(2)
@pytest.mark.parametrize("case", VERSION_TABLES)
def test_version_table_of_another_name(
    project: Project, server: Server, database: str, cli: Cli, case: str
) -> None:
    """A table that only looks like the version table is planned like any other."""
    options, losing = VERSION_TABLES[case]
    with server.connect(database) as connection:
        connection.execute("CREATE SCHEMA ar")
    folder = project.migrations
    (folder / "env.py").write_text(
        "from alembic import context\nfrom sqlalchemy import MetaData\n"
        "if context.is_offline_mode():\n"
        "    context.configure(url='postgresql://', target_metadata=MetaData(),"
        f" {options})\n"
    )
    (folder / "versions").mkdir()
    for number, (down, statements) in enumerate(
        [
            (
                None,
                [
                    "CREATE TABLE conversions (id int, version_num text)",
                    "INSERT INTO conversions VALUES (1, 'x')",
                ],
            ),
            ("r0", [losing]),
        ]
    ):
        calls = "".join(f"    op.execute({each!r})\n" for each in statements)
        text = (
            f'"""x"""\nfrom alembic import op\nrevision = "r{number}"\ndown_revision = {down!r}\n'
        )
        text += f"def upgrade():\n{calls}def downgrade():\n    pass\n"
        (folder / "versions" / f"r{number}.py").write_text(text)
    url = server.url(database)
    assert cli("migrate", "up", "r0", url=url).code == 0
    assert cli("db", "environment", "production", "--protect", url=url).code == 0
    planned = cli("migrate", "--plan", "-o", "json", url=url).json["revisions"][0]
    assert [each["sql"] for each in planned["statements"]] == [losing]
    assert cli("migrate", url=url).code == 5
    with server.connect(database) as connection:
        assert connection.execute("SELECT count(version_num) FROM conversions").fetchone() == (1,)
        recorded = connection.execute("SELECT sql FROM leadctl.migration").fetchall()
    assert "CREATE TABLE conversions" in recorded[0][0]
    assert "INSERT INTO version" not in recorded[0][0]


@pytest.mark.parametrize("forced", [False, True])
@pytest.mark.thorough
def test_rows_that_a_policy_hides(
    project: Project,
    server: Server,
    database: str,
    cli: Cli,
    forced: bool,
) -> None:
    """What the role cannot see may be any number of rows."""
    name = f"owner_of_{database}"
    with server.connect(database) as connection:
        connection.execute(f"CREATE ROLE {name} LOGIN PASSWORD '{PASSWORD}'")
        connection.execute(
            f"GRANT ALL ON DATABASE {database} TO {name}; GRANT ALL ON SCHEMA public TO {name};"
            "CREATE TABLE q (id int); INSERT INTO q SELECT generate_series(1, 200);"
            f"ALTER TABLE q OWNER TO {name}; ALTER TABLE q ENABLE ROW LEVEL SECURITY;"
            "CREATE POLICY own ON q USING (false)"
        )
        if forced:
            connection.execute("ALTER TABLE q FORCE ROW LEVEL SECURITY")
    url = server.url(database).replace("postgres:", f"{name}:")
    assert cli("db", "environment", "production", "--protect", url=url).code == 0
    project.revision("DROP TABLE q")
    outcome = cli("migrate", "--plan", "-o", "json", url=url)
    (statement,) = outcome.json["revisions"][0]["statements"]
    rows = statement["effects"][0]["loss"]["rows"]
    assert rows == (None if forced else 200)
    assert cli("migrate", url=url).code == 5
    with server.connect(database) as connection:
        assert connection.execute("SELECT count(*) FROM q").fetchone() == (200,)
