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
