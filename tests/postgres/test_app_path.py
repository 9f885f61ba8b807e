"""Code of the app's that names things without a schema works for leadctl as it does for the app."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from psycopg import sql

from leadctl.postgres import exact
from tests.conftest import Cli, Prepared
from tests.postgres.test_shadows import DUE

CODE = """
CREATE TABLE switches (name text PRIMARY KEY, state text);
INSERT INTO switches VALUES ('on', 'yes');
CREATE SEQUENCE codes;
CREATE FUNCTION on_now() RETURNS boolean LANGUAGE plpgsql STABLE AS $$
BEGIN RETURN (SELECT state = 'yes' FROM switches) AND KNOWN; END $$;
CREATE FUNCTION next_code() RETURNS text LANGUAGE plpgsql VOLATILE AS $$
BEGIN RETURN (SELECT state FROM switches) || nextval('codes'); END $$;
CREATE FUNCTION louder(text) RETURNS text LANGUAGE plpgsql IMMUTABLE AS $$
BEGIN RETURN upper($1); END $$;
CREATE FUNCTION loud(text) RETURNS text LANGUAGE plpgsql IMMUTABLE AS $$
BEGIN RETURN louder($1); END $$;
CREATE FUNCTION old_enough(leads) RETURNS boolean LANGUAGE plpgsql STABLE AS $$
BEGIN RETURN on_now(); END $$;
CREATE FUNCTION noticed() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NOT on_now() THEN RAISE EXCEPTION 'off'; END IF;
    RETURN CASE TG_OP WHEN 'DELETE' THEN OLD ELSE NEW END;
END $$;
CREATE DOMAIN word AS text CHECK (loud(VALUE) <> '');
ALTER TABLE leads ADD code text DEFAULT next_code(), ADD note word DEFAULT 'x',
    ADD shout text GENERATED ALWAYS AS (loud(form_name)) STORED, ADD CHECK (loud(form_name) <> '');
CREATE VIEW seen AS SELECT id, form_name, on_now() AS seen FROM leads WHERE on_now();
CREATE TRIGGER first BEFORE INSERT OR UPDATE OR DELETE ON leads
    FOR EACH ROW EXECUTE FUNCTION noticed();
CREATE CONSTRAINT TRIGGER last AFTER DELETE ON leads DEFERRABLE INITIALLY DEFERRED
    FOR EACH ROW EXECUTE FUNCTION noticed();
ALTER TABLE leads ENABLE ROW LEVEL SECURITY;
CREATE POLICY here ON leads USING (on_now()) WITH CHECK (on_now());
"""
ROLES = {
    "superuser": "",
    "owner": "ALTER TABLE leads FORCE ROW LEVEL SECURITY",
    "member": "GRANT ALL ON ALL TABLES IN SCHEMA public TO {0};"
    " GRANT ALL ON ALL SEQUENCES IN SCHEMA public TO {0}",
}
RULE = """\
app = "leadconnector"
[[apps.leadconnector.retention]]
name = "by-function"
table = "leads"
age_column = "created_at"
older_than = "1000d"
condition = "public.old_enough(leads)"
"""
COMMANDS = (
    ("studio", "leads"),
    ("studio", "leads", "due1"),
    ("studio", "seen", "-o", "csv"),
    ("studio", "leads", "--where", "form_name~f", "--count"),
    ("stats", "--exact"),
    ("stats", "leads"),
    ("seed", "--export", "leads", "--where", "public.on_now()"),
    ("seed", "--export", "leads", "--to", "leads.json"),
    ("cleanup", "--list"),
    ("cleanup", "--dry-run"),
    ("cleanup", "--rule", "by-function", "--archive", "archive", "--confirm", "{database}"),
    ("cleanup", "unarchive", "{archive}"),
    ("cleanup", "--rule", "by-function", "--confirm", "{database}"),
    ("keys", "status"),
    ("health-check", "--check", "cleanup"),
    ("seed",),
)


@pytest.fixture(params=ROLES)
def url(request: pytest.FixtureRequest, leadconnector: Prepared) -> Iterator[str]:
    """The address of a role on a database in which everything of the app's runs code."""
    name = f"{request.param}_{leadconnector.name}"
    role = sql.Identifier(name)
    with leadconnector.server.connect(leadconnector.name) as connection:
        found = "SELECT FROM pg_available_extensions WHERE name = 'pg_trgm'"
        has_extension = connection.execute(found).fetchone() is not None
        if has_extension:
            connection.execute(
                "CREATE SCHEMA extensions; CREATE EXTENSION pg_trgm SCHEMA extensions;"
                "GRANT USAGE ON SCHEMA extensions TO PUBLIC"
            )
        known = "similarity('a', 'a') = 1" if has_extension else "true"
        connection.execute(DUE + "; " + CODE.replace("KNOWN", known))
        connection.execute(
            sql.SQL(
                "CREATE ROLE {0} LOGIN PASSWORD 'owner' {1}; GRANT CREATE ON DATABASE {2} TO {0};"
                "ALTER SCHEMA public OWNER TO {0}; ALTER SCHEMA leadctl OWNER TO {0};"
            ).format(
                role,
                sql.SQL("SUPERUSER" if request.param == "superuser" else ""),
                sql.Identifier(leadconnector.name),
            )
        )
        whose = "leadctl" if request.param == "member" else "public', 'leadctl"
        connection.execute(
            "DO $$ DECLARE c record; BEGIN FOR c IN SELECT oid::regclass AS name FROM pg_class"
            f" WHERE relnamespace::regnamespace::text IN ('{whose}') AND relkind IN ('r', 'v') LOOP"
            f" EXECUTE format('ALTER TABLE %s OWNER TO %I', c.name, '{name}'); END LOOP; END $$;"
        )
        connection.execute(sql.SQL(ROLES[request.param]).format(role))
    yield leadconnector.url.replace("postgres:correct%20horse%20battery", f"{name}:owner")
    drop = sql.SQL("REASSIGN OWNED BY {0} TO postgres; DROP OWNED BY {0}; DROP ROLE {0}")
    leadconnector.query(drop.format(role).as_string())


@pytest.mark.few(1)
def test_what_names_things_without_a_schema(
    leadconnector: Prepared, url: str, cli: Cli, tmp_path: Path
) -> None:
    Path("leadctl.toml").write_text(RULE)
    wrong = []
    ((all_rows,),) = leadconnector.query("SELECT count(*) FROM leads")
    left = {}
    for line in COMMANDS:
        archive = next(iter(Path("archive").glob("*")), Path("none"))
        command = [word.format(database=leadconnector.name, archive=archive) for word in line]
        outcome = cli(*command, url=url)
        if outcome.code > (command[0] == "health-check"):  # there are other rules
            wrong.append((command, outcome.code, outcome.err))
        ((left[command[-1]],),) = leadconnector.query("SELECT count(*) FROM leads")
    assert not wrong, "\n".join(map(str, wrong))
    assert left[str(archive)] == left["--dry-run"] == all_rows
    assert left[leadconnector.name] == left["cleanup"] == all_rows - 20
    bulk = cli("seed", "--bulk", "20", "--yes", url=url)
    if "superuser" in url:
        assert bulk.code == 0, bulk.err
    else:
        assert bulk.code == 1
        assert "Row security restricts this role on leads; nothing was added." in bulk.err
    exported = json.loads(Path("leads.json").read_text())["leads"]
    assert len(exported) == all_rows


def test_a_session_that_leadctl_did_not_open(leadconnector: Prepared) -> None:
    """A team's own env.py opens one; names are written as that session sees them."""
    with leadconnector.server.connect(leadconnector.name) as connection:
        for path, name in (("public", "leads"), ("pg_temp", "public.leads")):
            connection.execute(f"SET search_path TO {path}")
            found = exact.execute(connection, "SELECT 'public.leads'::regclass::text").fetchone()
            assert found == (name,)
            assert connection.execute("SHOW search_path").fetchone() == (path,)
