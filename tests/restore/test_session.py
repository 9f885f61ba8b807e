"""What a role or database sets for its sessions changes nothing of backup and restore."""

from tests.postgres import PASSWORD
from tests.restore.test_counted import Place, place

__all__ = ["place"]

SLOW = """
CREATE TABLE t (id int PRIMARY KEY, at timestamptz DEFAULT now(), span interval DEFAULT '3 days');
INSERT INTO t SELECT generate_series(1, 10);
CREATE MATERIALIZED VIEW slow AS SELECT count(*), pg_sleep(0.6)::text FROM (SELECT 1) q;
"""
CLOSED = """
CREATE TABLE t (id serial PRIMARY KEY, v text);
INSERT INTO t (v) VALUES ('a');
CREATE MATERIALIZED VIEW m AS SELECT * FROM t;
CREATE FUNCTION closed() RETURNS event_trigger LANGUAGE plpgsql AS
    $$ BEGIN RAISE EXCEPTION 'ddl is closed'; END $$;
CREATE EVENT TRIGGER nd ON ddl_command_start EXECUTE FUNCTION closed();
ALTER EVENT TRIGGER nd ENABLE ALWAYS;
"""


def test_timeouts_and_styles_of_the_role(place: Place) -> None:
    place.query(SLOW)
    settings = {
        "statement_timeout": "300ms",
        "lock_timeout": "300ms",
        "idle_in_transaction_session_timeout": "300ms",
        "DateStyle": "German",
        "IntervalStyle": "sql_standard",
        "extra_float_digits": "-9",
        "bytea_output": "escape",
    }
    if place.server.major >= 17:
        settings["transaction_timeout"] = "400ms"
    role = "DROP ROLE IF EXISTS counted_hasty; CREATE ROLE counted_hasty LOGIN SUPERUSER PASSWORD"
    place.query(f"{role} '{PASSWORD}'")
    url = place.server.url(place.name).replace("//postgres:", "//counted_hasty:")
    try:
        for name, value in settings.items():
            place.query(f"ALTER ROLE counted_hasty SET {name} = '{value}'")
        for arguments in (
            ["backup"],
            ["backup", "verify", "latest", "--restore"],
            ["restore", "latest", "--into", "counted_copy"],
            ["restore", "latest", "--table", "t"],
            ["restore", "latest", "--data-only", "--table", "t", "--yes"],
            ["restore", "latest", "--yes"],
            ["stats"],
        ):
            outcome = place.leadctl(*arguments, "--url", url)
            assert outcome.code == 0, (arguments, outcome.out, outcome.err)
    finally:
        for (name,) in place.query("SELECT datname FROM pg_database WHERE datname ~ '^counted'"):
            place.query("REASSIGN OWNED BY counted_hasty TO postgres", name)
        place.query("DROP ROLE counted_hasty")


def test_an_event_trigger_that_refuses_statements(place: Place) -> None:
    if place.server.major < 17:
        return  # no switch for them
    place.query(CLOSED)
    assert place.leadctl("backup").code == 0
    outcome = place.leadctl("backup", "verify", "latest", "--restore", "-o", "json")
    assert (outcome.code, outcome.json["depth"]) == (0, "restored"), outcome.out
