"""A tenant with a kind of everything that a schema can have, through all that can be done with one."""

from collections.abc import Iterator

import psycopg
import pytest

from tests.restore.test_dropped import SHOP
from tests.restore.test_in_place import MORE
from tests.servers import Server
from tests.tenants.conftest import ROLE, Tenants

RICH = """
CREATE TABLE events (id int, at date, PRIMARY KEY (id, at)) PARTITION BY RANGE (at);
CREATE TABLE events_2026 PARTITION OF events FOR VALUES FROM ('2026-01-01') TO ('2027-01-01')
    PARTITION BY HASH (id);
CREATE TABLE events_2026_0 PARTITION OF events_2026 FOR VALUES WITH (MODULUS 2, REMAINDER 0);
CREATE TABLE events_2026_1 PARTITION OF events_2026 FOR VALUES WITH (MODULUS 2, REMAINDER 1);
INSERT INTO events SELECT i, '2026-03-01' FROM generate_series(1, 100) i;
CREATE TABLE base (id int); CREATE TABLE derived (more text) INHERITS (base);
INSERT INTO derived VALUES (1, 'x'), (2, E'tab\\tand\\nline');
CREATE TABLE "odd ""name" ("a b" int PRIMARY KEY, t text COLLATE "C", b bytea, j jsonb, r int4range, f float8);
INSERT INTO "odd ""name" VALUES (1, 'é', '\\x00ff', '{"a": [1, null]}', '[1,5)', 'NaN'), (2, NULL, NULL, NULL, 'empty', 1e-300);
CREATE UNLOGGED TABLE scratch (id int); INSERT INTO scratch VALUES (1);
CREATE TABLE later (id int UNIQUE DEFERRABLE INITIALLY DEFERRED, o int REFERENCES orders DEFERRABLE);
CREATE AGGREGATE joined(text) (SFUNC = textcat, STYPE = text, INITCOND = '');
CREATE COLLATION ours (provider = libc, locale = 'C');
CREATE FUNCTION atomic() RETURNS bigint LANGUAGE sql BEGIN ATOMIC SELECT count(*) FROM items; END;
CREATE TABLE nothing ();
"""


@pytest.fixture
def rich(tenants: Tenants) -> Tenants:
    tenants.query("CREATE SCHEMA rich; SET search_path = rich;"
                  "CREATE TABLE alembic_version (version_num varchar(32) PRIMARY KEY);"
                  "INSERT INTO alembic_version VALUES ('own_0002');" + SHOP + MORE + RICH)  # fmt: skip
    return tenants


@pytest.fixture
def elsewhere(server: Server) -> Iterator[str]:
    name = server.create()
    yield name
    server.drop(name)


@pytest.mark.thorough
def test_it_is_the_same_after_all_of_it(rich: Tenants, elsewhere: str) -> None:
    before = rich.dump("rich")
    rich.done("backup", "--tenant", "rich")
    rich.query(
        "DROP TABLE rich.items CASCADE; DELETE FROM rich.events; DROP AGGREGATE rich.joined(text)"
    )
    back = rich.done("restore", "--tenant", "rich", "--yes")
    assert rich.dump("rich") == before
    rich.done("tenants", "drop", back["kept_as"], "--yes")
    rich.done("tenants", "rename", "rich", "Other", "--yes")
    rich.done("tenants", "rename", "Other", "rich", "--yes")
    assert rich.dump("rich") == before
    moved = rich.done("tenants", "move", "rich", "--to", rich.server.url(elsewhere), "--yes")
    assert rich.dump("rich", name=elsewhere) == before
    rich.done("tenants", "drop", moved["kept_as"], "--yes")
    assert rich.schemas() == []


@pytest.mark.thorough
def test_an_owner_who_is_no_superuser_does_all_of_it(tenants: Tenants, server: Server) -> None:
    """The usual role of an app, which owns its databases, and nothing else."""
    here, there = server.create(), server.create()
    try:
        for name in (here, there):
            with server.connect(name) as connection:
                connection.execute(f"ALTER DATABASE {name} OWNER TO {ROLE}")
                connection.execute(
                    f"CREATE TABLE public.plans (id int PRIMARY KEY); INSERT INTO plans VALUES (1);"
                    f"ALTER TABLE plans OWNER TO {ROLE}"
                )
        urls = {
            name: server.url(name).replace("//postgres:", f"//{ROLE}:") for name in (here, there)
        }
        tenants.name, tenants.url = here, urls[here]
        tenants.done("db", "environment", "dev", "--unprotect")
        tenants.done("tenants", "create", "acme")
        tenants.fill("acme", 20)
        before = tenants.dump("acme")
        tenants.done("backup", "--tenant", "acme")
        back = tenants.done("restore", "--tenant", "acme", "--yes")
        assert tenants.dump("acme") == before
        tenants.done("tenants", "drop", back["kept_as"], "--yes")
        tenants.done("tenants", "rename", "acme", "beta", "--yes")
        tenants.done("tenants", "rename", "beta", "acme", "--yes")
        moved = tenants.done("tenants", "move", "acme", "--to", urls[there], "--yes")
        assert tenants.dump("acme", name=there) == before
        with (
            psycopg.connect(urls[here]) as session,
            pytest.raises(psycopg.errors.InsufficientPrivilege),
        ):
            session.execute(f"UPDATE {moved['kept_as']}.customers SET name = name")
        with psycopg.connect(urls[there]) as session:
            session.execute("UPDATE acme.customers SET name = name")
        tenants.done("tenants", "drop", moved["kept_as"], "--yes")
    finally:
        server.drop(here)
        server.drop(there)
