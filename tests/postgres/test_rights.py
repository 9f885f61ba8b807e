"""What the app's own code does when a superuser touches its rows has its owner's rights only."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from psycopg import sql

from tests.conftest import KEY, Cli, Prepared
from tests.postgres.shadows import LOG, calls_of
from tests.postgres.test_shadows import DUE

OTHER_KEY = "ff" * 32
CODE = """
CREATE FUNCTION saw(what text) RETURNS boolean LANGUAGE plpgsql VOLATILE AS $$
BEGIN PERFORM public.log_shadow(what || ' as ' || current_user); RETURN true; END $$;
CREATE FUNCTION saw_row() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM noted();  -- along the app's path, as an application finds it
    PERFORM saw('trigger of ' || TG_TABLE_NAME);
    IF TG_OP = 'DELETE' THEN RETURN OLD; END IF;
    RETURN NEW;
END $$;
CREATE FUNCTION noted() RETURNS void LANGUAGE sql AS '';
CREATE FUNCTION spelled(lead_status) RETURNS text LANGUAGE plpgsql AS $$
BEGIN PERFORM saw('cast'); RETURN enum_out($1)::pg_catalog.text; END $$;
CREATE CAST (lead_status AS text) WITH FUNCTION spelled(lead_status) AS ASSIGNMENT;
CREATE VIEW seen AS SELECT id, email, saw('view') AS saw FROM users;
ALTER TABLE users ADD deleted_at timestamptz;
"""
OF_TABLE = """
CREATE TRIGGER saw BEFORE INSERT OR UPDATE OR DELETE ON {0} FOR EACH ROW EXECUTE FUNCTION saw_row();
ALTER TABLE {0} ADD CONSTRAINT saw CHECK (saw('check')) NOT VALID;
ALTER TABLE {0} ENABLE ROW LEVEL SECURITY;
CREATE POLICY saw ON {0} USING (saw('policy'));
"""
TABLES = ("users", "pages", "leads", "webhooks", "webhook_deliveries", "page_webhook_configs")
COMMANDS = (
    (("health-check",), ()),
    (("stats",), ()),
    (("stats", "--exact"), ()),
    (("stats", "leads"), ()),
    (("stats", "leads-by-status"), ()),
    (("studio",), ()),
    (("studio", "seen"), ("view",)),
    (("studio", "seen", "-o", "csv"), ("view",)),
    (("studio", "leads"), ("cast",)),
    (("studio", "leads", "due1"), ("cast",)),
    (("studio", "leads", "--where", "status=NEW", "--count", "-o", "jsonl"), ()),
    (("cleanup", "--list"), ()),
    (("cleanup", "--dry-run"), ()),
    (("cleanup", "--archive", "archive", "--confirm", "{database}"), ("trigger of leads", "cast")),
    (("cleanup", "unarchive", "{archive}"), ("trigger of leads",)),
    (("cleanup", "--confirm", "{database}"), ("trigger of leads",)),
    (("cleanup", "undelete", "users", "{user}"), ("trigger of users",)),
    (("keys", "status"), ()),
    (("keys", "rotate"), ("trigger of users",)),
    (("seed",), ("trigger of page_webhook_configs",)),
    (("seed", "--bulk", "20", "--yes"), ("trigger of leads", "check")),
    (("seed", "--export", "users"), ()),
    (("backup",), ()),
    (("restore", "--table", "leads", "--data-only", "--yes"), ()),
    (("migrate", "status"), ()),
    (("schema", "validate"), ()),
)
DRIFTED = {"health-check", "schema"}


@pytest.fixture
def owner(leadconnector: Prepared) -> Iterator[str]:
    """A role that is no superuser, and owns all that the app has; its tables hold code."""
    role = sql.Identifier(name := f"owner_{leadconnector.name}")
    with leadconnector.server.connect(leadconnector.name) as connection:
        connection.execute(sql.SQL("CREATE ROLE {}").format(role))
        connection.execute(DUE + "; " + LOG + CODE)
        for table in TABLES:
            connection.execute(sql.SQL(OF_TABLE).format(sql.Identifier(table)))
        connection.execute(
            sql.SQL(
                "ALTER SCHEMA public OWNER TO {0};"
                "DO $$ DECLARE c record; BEGIN FOR c IN SELECT oid::regclass AS name FROM pg_class"
                " WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'v') LOOP"
                " EXECUTE format('ALTER TABLE %s OWNER TO %I', c.name, {1}); END LOOP; END $$;"
                "ALTER TYPE lead_status OWNER TO {0}"
            ).format(role, sql.Literal(name))
        )
        connection.execute("UPDATE users SET deleted_at = now(); DELETE FROM page_webhook_configs")
    yield name
    drop = sql.SQL("REASSIGN OWNED BY {0} TO postgres; DROP OWNED BY {0}; DROP ROLE {0}")
    leadconnector.query(drop.format(role).as_string())


@pytest.mark.thorough
def test_code_of_rows_runs_as_their_owner(
    leadconnector: Prepared, owner: str, cli: Cli, tmp_path: Path
) -> None:
    with leadconnector.server.connect(leadconnector.name) as connection:
        known = calls_of(connection)
    ((user,),) = leadconnector.query("SELECT min(id) FROM users")
    wrong: list[object] = []
    keys = {"ENCRYPTION_KEYS": f"new:{OTHER_KEY},old:{KEY}", "ENCRYPTION_KEY": ""}
    for line, expected in COMMANDS:
        archive = next(iter(Path("archive").glob("*")), Path("none"))
        names = {"database": leadconnector.name, "user": user, "archive": str(archive)}
        command = [word.format(**names) for word in line]
        environment = {"BACKUP_DIR": str(tmp_path / "backups"), **(keys if "keys" in line else {})}
        outcome = cli(*command, url=leadconnector.url, env=environment)
        with leadconnector.server.connect(leadconnector.name) as connection:
            called = {text.partition(" in ")[0] for text in calls_of(connection) - known}
            known = calls_of(connection)
        if outcome.code != 0 and command[0] not in DRIFTED:
            wrong.append((command, outcome.code, outcome.err))
        wrong += [(command, call) for call in called if not call.endswith(f" as {owner}")]
        wrong += [
            (command, f"no {what}") for what in expected if f"{what} as {owner}" not in called
        ]
    assert not wrong, "\n".join(map(str, wrong))


def test_no_row_is_hidden_from_the_superuser(leadconnector: Prepared, owner: str, cli: Cli) -> None:
    """Where policies hold for the owner, too, they hide nothing from who counts and deletes."""
    leadconnector.query(
        "ALTER TABLE leads SET (autovacuum_enabled = false); ALTER TABLE leads"
        " FORCE ROW LEVEL SECURITY; DROP POLICY saw ON leads;"
        "CREATE POLICY none ON leads USING (false)"
    )
    ((count,),) = leadconnector.query("SELECT count(*) FROM leads")
    assert count >= 20
    found = cli("stats", "--exact", "-o", "json", url=leadconnector.url).json
    assert {each["name"]: each["rows"] for each in found["tables"]}["leads"] == count
    shown = cli("studio", "leads", "-o", "jsonl", url=leadconnector.url)
    assert len(shown.out.splitlines()) == count
    due = cli("cleanup", "--dry-run", "-o", "json", url=leadconnector.url).json
    assert max(rule["due"] for rule in due["rules"]) == 20
    done = cli("cleanup", "--confirm", leadconnector.name, "-o", "json", url=leadconnector.url)
    assert done.code == 0, done.err
    assert leadconnector.query("SELECT count(*) FROM leads") == [(count - 20,)]
