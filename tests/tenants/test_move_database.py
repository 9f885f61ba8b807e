"""`tenants move --database`: never two open copies, and a kill leaves what the next run ends."""

import subprocess
from collections.abc import Iterator
from contextlib import suppress
from typing import Any
from uuid import uuid4

import psycopg
import pytest

from tests.backups import plain_dump
from tests.processes import start, wait_for
from tests.servers import MAJOR, RunningServer
from tests.tenants.conftest import ROLE, Tenants

NAME = f"shop_{uuid4().hex[:8]}"


class Places:
    """A tenant that is a database of one server, and another server."""

    def __init__(self, tenants: Tenants, other: RunningServer) -> None:
        self.tenants, self.server, self.other = tenants, tenants.server, other.info
        self.to = self.other.url("postgres")
        self.line = ("tenants", "move", NAME, "--database", "--to", self.to, "--yes")

    def begin(self) -> "subprocess.Popen[str]":
        folder = str(self.tenants.folder)  # what a killed run leaves goes with it
        env = {"DATABASE_URL": self.tenants.url, "TMPDIR": folder, **self.tenants.env}
        return start(*self.line, env=env)

    def here(self, statement: str, name: str = NAME) -> list[tuple[Any, ...]]:
        return self.tenants.query(statement, name=name)

    def there(self, statement: str, name: str = NAME) -> list[tuple[Any, ...]]:
        with self.other.connect(name) as connection:
            cursor = connection.execute(statement)
            return cursor.fetchall() if cursor.description else []

    def databases(self) -> tuple[list[str], list[str]]:
        """Return what there is of the tenant here and there."""
        query = f"SELECT datname FROM pg_database WHERE datname LIKE '{NAME}%' ORDER BY 1"
        return ([name for (name,) in self.here(query, "postgres")],
                [name for (name,) in self.there(query, "postgres")])  # fmt: skip

    def open_in(self) -> list[str]:
        """Return the servers on which the app's role, or a superuser, may write by its name."""
        found = []
        for name, server in (("here", self.server), ("there", self.other)):
            for role in (ROLE, "postgres"):
                url = server.url(NAME).replace("//postgres:", f"//{role}:")
                with suppress(psycopg.Error), psycopg.connect(url) as app:
                    app.execute("UPDATE customers SET name = name WHERE false")
                    app.execute("CREATE TEMP TABLE written ()")
                    app.rollback()
                    found.append(f"{name} {role}")
        return found

    def dump(self, *, there: bool = False, name: str = NAME) -> list[str]:
        return plain_dump(self.other if there else self.server, name, None, "--schema=public")

    def wait_until_gone(self) -> None:
        """Wait until the sessions of a killed run have ended on both servers."""
        query = "SELECT 1 FROM pg_stat_activity WHERE application_name ~ '^(leadctl|pg_dump)'"
        mine = (  # its lock is held by a session in another database, where others have some, too
            f"{query} AND datname LIKE '{NAME}%' UNION ALL SELECT 1 FROM pg_locks"
            " WHERE locktype = 'advisory'"
            f" AND objid::bigint = hashtext('{NAME}')::bigint & 4294967295"
        )
        wait_for(lambda: not self.here(mine, "postgres") and not self.there(query, "postgres"))


HERE, THERE = [["here " + ROLE, "here postgres"], ["there " + ROLE, "there postgres"]]


@pytest.fixture(scope="module")
def other_server() -> Iterator[RunningServer]:
    with RunningServer(MAJOR) as running:
        yield running


@pytest.fixture
def places(tenants: Tenants, other_server: RunningServer) -> Iterator[Places]:
    found = Places(tenants, other_server)
    create = "CREATE TABLE public.plans (id int PRIMARY KEY); INSERT INTO public.plans VALUES (1)"
    tenants.query(f"CREATE DATABASE {NAME}", name="postgres")
    found.there(
        f"DROP ROLE IF EXISTS {ROLE}; CREATE ROLE {ROLE} LOGIN PASSWORD 'correct horse battery'",
        "postgres",
    )
    try:
        found.here(create)
        url = tenants.server.url(NAME)
        outcome = tenants._cli("db", "environment", "dev", "--unprotect", url=url, env=tenants.env)
        assert outcome.code == 0, outcome.err
        assert tenants._cli("migrate", url=url, env=tenants.env).code == 0
        tenants.query(
            "INSERT INTO customers (name, mood) SELECT 'c' || i, 'happy' FROM generate_series(1, 200) i;"
            "INSERT INTO orders (customer, plan) SELECT id, 1 FROM customers;"
            f"GRANT ALL ON ALL TABLES IN SCHEMA public TO {ROLE};"
            f"REVOKE CONNECT ON DATABASE {NAME} FROM PUBLIC; GRANT CONNECT ON DATABASE {NAME} TO {ROLE}",
            name=NAME,
        )
        yield found
    finally:
        for server, names in zip(
            (tenants.server, other_server.info), found.databases(), strict=True
        ):
            for name in names:
                server.drop(name)


@pytest.mark.thorough
def test_a_moved_database_is_the_same_there(places: Places) -> None:
    before, grants = (
        places.dump(),
        (
            "SELECT unnest(datacl)::text FROM pg_database WHERE datname = current_database() ORDER BY 1"
        ),
    )
    acl = places.here(grants)
    with psycopg.connect(places.server.url(NAME), autocommit=True) as session:
        session.execute("SELECT 1")
        moved = places.tenants.done(*places.line)
        with pytest.raises(psycopg.Error):
            session.execute("SELECT 1")
    assert (moved["rows"], moved["tables"], moved["database"]) == (402, 4, NAME)
    assert places.dump(there=True) == before
    assert places.there(grants) == acl
    assert places.open_in() == THERE
    kept = moved["kept_as"]
    assert places.databases() == ([kept], [NAME])
    with pytest.raises(psycopg.Error, match="permission denied"):
        psycopg.connect(places.server.url(kept).replace("//postgres:", f"//{ROLE}:"))
    with pytest.raises(psycopg.errors.ReadOnlySqlTransaction):
        places.here("DELETE FROM orders", kept)
    assert places.dump(name=kept) == before
    for found in (places.here("SELECT * FROM leadctl.tenant_move", kept),
                  places.there("SELECT * FROM leadctl.tenant_move")):  # fmt: skip
        assert found == []
    again = places.tenants.leadctl(*places.line)
    assert (again.code, "has it" in again.err) == (1, True), again.err
    places.tenants.done("tenants", "drop", kept, "--database", "--yes")
    assert places.databases() == ([], [NAME])


@pytest.mark.thorough
@pytest.mark.parametrize("why", ["taken", "role", "window", "same"])
def test_a_failure_leaves_it_open_here(places: Places, why: str) -> None:
    before, more = places.dump(), list[str]()
    if why == "taken":
        places.there(f"CREATE DATABASE {NAME}", "postgres")
    if why == "role":
        places.tenants.query(
            f"CREATE ROLE {NAME}_x; ALTER TABLE orders OWNER TO {NAME}_x", name=NAME
        )
        before = places.dump()
    if why == "window":
        more = ["--window", "100ms"]
    if why == "same":
        places.to = places.server.url("postgres")
    try:
        line = [places.to if part.startswith("postgresql://") else part for part in places.line]
        outcome = places.tenants.leadctl(*line, *more)
        assert outcome.code in {1, 2, 5}, outcome.err
        assert places.open_in() == HERE
        assert places.dump() == before
        here, there = places.databases()
        assert (here, there) == ([NAME], [NAME] if why == "taken" else [])
    finally:
        if why == "role":
            places.tenants.query(
                f"REASSIGN OWNED BY {NAME}_x TO postgres; DROP ROLE {NAME}_x", name=NAME
            )


MOMENTS = {
    "closed": ("here", "SELECT 1 FROM leadctl.tenant_move"),
    "copying": ("there", "SELECT 1 FROM pg_database WHERE datname ~ '^leadctl_restore_'"),
    "copied": ("there", f"SELECT 1 FROM pg_database WHERE datname = '{NAME}'"),
    "renamed": ("here", f"SELECT 1 FROM pg_database WHERE datname ~ '^{NAME}_moved_'"),
}


@pytest.mark.thorough
@pytest.mark.parametrize("moment", MOMENTS)
@pytest.mark.parametrize("ending", ["move", "open"])
def test_a_kill_leaves_what_the_next_run_ends(places: Places, moment: str, ending: str) -> None:
    before, (where, query) = places.dump(), MOMENTS[moment]
    process = places.begin()
    name = NAME if moment == "closed" else "postgres"

    def is_there() -> bool:
        with suppress(psycopg.Error):
            return bool((places.here if where == "here" else places.there)(query, name))
        return False

    wait_for(is_there)
    process.kill()
    process.communicate()
    places.wait_until_gone()
    opened = places.open_in()
    assert opened in ([], THERE), opened
    if opened == [] and ending == "open":
        outcome = places.tenants.leadctl("tenants", "open", NAME, "--database", "--yes")
        if outcome.code == 0:
            assert places.open_in() == HERE
            assert places.dump() == before
        else:
            assert (outcome.code, "was handed over" in outcome.err) == (5, True), outcome.err
    outcome = places.tenants.leadctl(*places.line)
    assert outcome.code == 0 or (opened == THERE and "has it" in outcome.err), outcome.err
    assert places.open_in() == THERE
    assert places.dump(there=True) == before
    here, there = places.databases()
    assert (len(here), there) == (1, [NAME])
    assert here[0].startswith(f"{NAME}_moved_")
    assert places.there("SELECT * FROM leadctl.tenant_move") == []
