"""A schema `leadctl` that somebody prepared: nothing in it is read, and it is named."""

from collections.abc import Iterator

import pytest
from psycopg import sql

from tests.conftest import Cli, Prepared

LOG = """
CREATE TABLE public.ran (who text, by text);
CREATE FUNCTION leadctl.log(what text) RETURNS boolean LANGUAGE plpgsql VOLATILE AS $$
BEGIN INSERT INTO public.ran VALUES (current_user, what); RETURN false; END $$;
GRANT ALL ON public.ran TO PUBLIC;
GRANT ALL ON SCHEMA leadctl TO PUBLIC;
"""
VIEW = """
CREATE VIEW leadctl.identity AS SELECT true AS only_row, 1 AS state_version, gen_random_uuid() AS id,
    NULL::text AS environment, leadctl.log('view') AS protected, now() AS created_at;
GRANT ALL ON leadctl.identity TO PUBLIC;
"""
TABLE = """
CREATE TABLE leadctl.identity (only_row boolean, state_version int, id uuid DEFAULT gen_random_uuid(),
    environment text, protected boolean, created_at timestamptz DEFAULT now());
INSERT INTO leadctl.identity VALUES (true, 1, gen_random_uuid(), NULL, false);
CREATE POLICY log ON leadctl.identity USING (leadctl.log('policy') IS NOT NULL);
GRANT ALL ON leadctl.identity TO PUBLIC;
"""
JOURNAL = """
CREATE VIEW leadctl.migration AS SELECT leadctl.log('migration')::text AS app, ''::text AS schema;
"""
COMMANDS = (
    ("health-check",),
    ("migrate",),
    ("migrate", "status"),
    ("db", "environment"),
    ("db", "environment", "test", "--unprotect"),
    ("history",),
    ("stats",),
    ("reset", "--yes"),
    ("cleanup",),
    ("seed",),
)


@pytest.fixture
def mallory(leadconnector: Prepared) -> Iterator[str]:
    role = sql.Identifier(name := f"mallory_{leadconnector.name}")
    leadconnector.query(sql.SQL("CREATE ROLE {}").format(role).as_string())
    yield name
    leadconnector.query(
        sql.SQL("DROP OWNED BY {0} CASCADE; DROP ROLE {0}").format(role).as_string()
    )


def prepare(database: Prepared, role: str, script: str) -> None:
    """Let a role that may no more than create make the schema."""
    database.query(
        f'DROP SCHEMA leadctl CASCADE; GRANT CREATE ON DATABASE "{database.name}" TO "{role}";'
        f' GRANT CREATE ON SCHEMA public TO "{role}";'
        f' SET ROLE "{role}"; CREATE SCHEMA leadctl; {LOG} {script}'
    )


@pytest.mark.few(1)
@pytest.mark.parametrize("script", [VIEW, TABLE, JOURNAL + TABLE, JOURNAL])
def test_what_a_stranger_prepared_is_not_read(
    leadconnector: Prepared, cli: Cli, mallory: str, script: str
) -> None:
    prepare(leadconnector, mallory, script)
    for command in COMMANDS:
        outcome = cli(*command, url=leadconnector.url)
        told = outcome.out + outcome.err
        if command not in {("health-check",), ("stats",)}:
            assert outcome.code in {3, 5}, (command, told)
            assert mallory in told, (command, told)
            assert "leadctl" in told
        assert leadconnector.query("SELECT * FROM ran") == [], command


def test_a_part_of_it_is_enough(leadconnector: Prepared, cli: Cli, mallory: str) -> None:
    leadconnector.query(
        "ALTER SCHEMA leadctl RENAME TO was; CREATE SCHEMA leadctl;"
        " ALTER TABLE was.identity SET SCHEMA leadctl; ALTER TABLE was.migration SET SCHEMA leadctl;"
        f' ALTER TABLE was.run SET SCHEMA leadctl; ALTER TABLE leadctl.run OWNER TO "{mallory}"'
    )
    outcome = cli("migrate", url=leadconnector.url)
    assert (outcome.code, "leadctl.run" in outcome.err) == (5, True), outcome.err


def test_what_the_database_owner_made_is_read(
    leadconnector: Prepared, cli: Cli, mallory: str
) -> None:
    owner = f'"{mallory}"'
    leadconnector.query(
        f'ALTER DATABASE "{leadconnector.name}" OWNER TO {owner};'
        f" ALTER SCHEMA leadctl OWNER TO {owner}; ALTER TABLE leadctl.run OWNER TO {owner}"
    )
    assert cli("migrate", url=leadconnector.url).code == 0
    leadconnector.query(
        "CREATE FUNCTION public.f() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END';"
        " CREATE TRIGGER t BEFORE INSERT ON leadctl.run FOR EACH ROW EXECUTE FUNCTION f()"
    )
    outcome = cli("migrate", url=leadconnector.url)
    assert (outcome.code, "leadctl.run" in outcome.err) == (5, True), outcome.err
    leadconnector.query(f'ALTER DATABASE "{leadconnector.name}" OWNER TO postgres')


STRANGERS = {
    "function leadctl.f()": "CREATE FUNCTION leadctl.f() RETURNS int LANGUAGE sql AS 'SELECT 1'",
    "function leadctl.count(text)": "CREATE FUNCTION public.total(int8, text) RETURNS int8"
    " LANGUAGE sql AS 'SELECT 1'; CREATE AGGREGATE leadctl.count(text)"
    " (SFUNC = public.total, STYPE = int8)",
    "type leadctl.mood": "CREATE TYPE leadctl.mood AS ENUM ('ok')",
    "type leadctl.word": "CREATE DOMAIN leadctl.word AS text CHECK (VALUE <> '')",
    "operator leadctl.=(text,integer)": "CREATE FUNCTION public.same(text, int) RETURNS boolean"
    " LANGUAGE sql AS 'SELECT true'; CREATE OPERATOR leadctl.= (LEFTARG = text, RIGHTARG = int,"
    " FUNCTION = public.same)",
    "view leadctl.seen": "CREATE VIEW leadctl.seen AS SELECT 1 AS x",
    "table leadctl.other": "CREATE TABLE leadctl.other (id int)",
    "sequence leadctl.numbers": "CREATE SEQUENCE leadctl.numbers",
    "collation leadctl.c": 'CREATE COLLATION leadctl.c FROM "C"',
}
"""What a role that may create in the schema puts there, and what it is called."""
ODD = {
    "trigger t on table leadctl.run": "CREATE FUNCTION public.f() RETURNS trigger LANGUAGE plpgsql"
    " AS 'BEGIN RETURN NEW; END'; CREATE TRIGGER t BEFORE INSERT ON leadctl.run FOR EACH ROW"
    " EXECUTE FUNCTION public.f()",
    "trigger u on table leadctl.run": "CREATE TRIGGER u BEFORE UPDATE ON leadctl.run FOR EACH ROW"
    " EXECUTE FUNCTION suppress_redundant_updates_trigger()",
    "rule r on table leadctl.run": "CREATE RULE r AS ON INSERT TO leadctl.run DO ALSO SELECT 1",
    "policy p on table leadctl.run": "CREATE POLICY p ON leadctl.run USING (true)",
    "table leadctl.run": "ALTER TABLE leadctl.run ENABLE ROW LEVEL SECURITY",
    "table leadctl.migration": "CREATE TABLE public.heir () INHERITS (leadctl.migration)",
    "constraint c on table leadctl.run": "ALTER TABLE leadctl.run ADD CONSTRAINT c CHECK (id > 0)",
    "column command of table leadctl.run": "CREATE DOMAIN public.d AS text;"
    " ALTER TABLE leadctl.run ALTER command TYPE public.d",
    "column summary of table leadctl.run": "ALTER TABLE leadctl.run ALTER summary TYPE json",
    "column outcome of table leadctl.run": "CREATE FUNCTION public.g() RETURNS text LANGUAGE sql AS"
    " $$SELECT 'x'$$; ALTER TABLE leadctl.run ALTER outcome SET DEFAULT public.g()",
    "column app of table leadctl.migration": "ALTER TABLE leadctl.migration"
    " ALTER app SET DEFAULT lower('X')",
    "column twice of table leadctl.run": "ALTER TABLE leadctl.run"
    " ADD twice bigint GENERATED ALWAYS AS (id * 2) STORED",
    "index leadctl.i": "CREATE INDEX i ON leadctl.run (lower(command))",
    "view leadctl.run": "ALTER TABLE leadctl.run RENAME TO was;"
    " CREATE VIEW leadctl.run AS SELECT * FROM leadctl.was",
    "materialized view leadctl.migration": "ALTER TABLE leadctl.migration RENAME TO was;"
    " CREATE MATERIALIZED VIEW leadctl.migration AS SELECT * FROM leadctl.was",
    "table leadctl.seed_file": "DROP TABLE IF EXISTS leadctl.seed_file;"
    " CREATE TABLE leadctl.seed_file (app text) PARTITION BY LIST (app)",
}
"""What a table of leadctl's is not, whoever made it so, and what that is called."""
REFUSED = (("migrate",), ("migrate", "status"), ("history",), ("reset", "--yes"), ("cleanup",))


@pytest.mark.few(3)
@pytest.mark.parametrize("part", STRANGERS)
def test_what_a_stranger_put_into_it_is_named(
    leadconnector: Prepared, cli: Cli, mallory: str, part: str
) -> None:
    leadconnector.query(
        f'GRANT ALL ON SCHEMA leadctl, public TO "{mallory}"; SET ROLE "{mallory}"; {STRANGERS[part]}'
    )
    for command in REFUSED:
        outcome = cli(*command, url=leadconnector.url)
        assert outcome.code == 5, (command, outcome.err)
        assert part in outcome.err, outcome.err
        assert mallory in outcome.err


@pytest.mark.few(3)
@pytest.mark.parametrize("part", ODD)
def test_what_is_otherwise_in_it_is_named(leadconnector: Prepared, cli: Cli, part: str) -> None:
    with leadconnector.server.connect(leadconnector.name) as connection:
        connection.execute(ODD[part])
    for command in REFUSED:
        outcome = cli(*command, url=leadconnector.url)
        assert (outcome.code, part in outcome.err) == (5, True), (command, outcome.err)


def test_a_newer_leadctl_is_told_from_a_stranger(leadconnector: Prepared, cli: Cli) -> None:
    leadconnector.query(
        "ALTER TABLE leadctl.run ADD host text, ADD tries int NOT NULL DEFAULT 1;"
        " CREATE TABLE leadctl.later (id int); UPDATE leadctl.identity SET state_version = 99"
    )
    outcome = cli("migrate", url=leadconnector.url)
    assert "newer leadctl" in outcome.err, outcome.err
