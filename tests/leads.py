"""Leads and deliveries of every age and status, for tests of cleanup."""

from tests.conftest import Prepared

LEADS = 4000
"""How many the fixture `filled` has."""


def fill(database: Prepared, leads: int = 4000, deliveries: int = 2) -> None:
    """Insert leads of ages up to 200 days, each status alike, with deliveries of any status."""
    database.query(
        "INSERT INTO leads (id, facebook_lead_id, page_id, form_id, form_name, lead_data, status,"
        " created_at) SELECT 'l' || n, 'f' || n, (SELECT id FROM pages LIMIT 1), 'form', 'Form',"
        " jsonb_build_object('n', n, 'text', E'a\\\\b\"c\\nd'),"
        " (enum_range(NULL::lead_status))[mod(n, 5) + 1],"
        " now() - make_interval(secs => n * 86400.0 * 200 / %s)"
        " FROM generate_series(1, %s) AS n",
        leads,
        leads,
    )
    database.query(
        "INSERT INTO webhook_deliveries (id, webhook_id, lead_id, status, created_at)"
        " SELECT 'd' || n || '-' || k, (SELECT id FROM webhooks LIMIT 1), 'l' || n,"
        " (enum_range(NULL::delivery_status))[mod(n + k, 4) + 1],"
        " now() - make_interval(secs => n * 86400.0 * 200 / %s)"
        " FROM generate_series(1, %s) AS n, generate_series(1, %s) AS k",
        leads,
        leads,
        deliveries,
    )
    database.query("ANALYZE leads")
    database.query("ANALYZE webhook_deliveries")


def scatter(database: Prepared) -> None:
    """Lay the leads in the heap in an order that has nothing to do with their ages."""
    database.query("CREATE INDEX scattered ON leads (md5(id))")
    database.query("CLUSTER leads USING scattered")
    database.query("DROP INDEX scattered")
    database.query("VACUUM ANALYZE leads")


def ids(database: Prepared, table: str) -> set[str]:
    """Return the ids of a table's rows."""
    return {row[0] for row in database.query(f"SELECT id FROM {table}")}


def due_leads(database: Prepared, days: int = 90) -> set[str]:
    """Return the ids of the leads that are due."""
    return {
        row[0]
        for row in database.query(
            "SELECT id FROM leads WHERE status = 'ARCHIVED' AND created_at < now() - make_interval(days => %s)",
            days,
        )
    }


def slow(database: Prepared, seconds: float = 0.0005) -> None:
    """Make each deletion of a lead slow, so that a run can be met at work."""
    database.query(
        "CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS"
        f" $$ BEGIN PERFORM pg_sleep({seconds}); RETURN old; END $$"
    )
    database.query(
        "CREATE TRIGGER slow BEFORE DELETE ON leads FOR EACH ROW EXECUTE FUNCTION slow()"
    )
