"""`tenants move`: never two open copies, and a kill at any moment leaves what the next run ends."""

import random
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
import pytest

from leadctl.render.views.tenants import moved
from leadctl.tenants.move import MovedTenant
from tests.processes import start, wait_for
from tests.servers import Server
from tests.tenants.conftest import ROLE, Tenants


class Places:
    """The tenants' database, and another one that they may be moved to."""

    def __init__(self, tenants: Tenants, other: str) -> None:
        self.tenants, self.other = tenants, other
        self.to = tenants.server.url(other)

    def there(self, statement: str) -> list[tuple[Any, ...]]:
        return self.tenants.query(statement, name=self.other)

    def move(self, *more: str) -> Any:
        return self.tenants.done("tenants", "move", "acme", "--to", self.to, *(more or ["--yes"]))

    def begin(self) -> "subprocess.Popen[str]":
        folder = str(self.tenants.folder)  # what a killed run leaves goes with it
        env = {"DATABASE_URL": self.tenants.url, "TMPDIR": folder, **self.tenants.env}
        return start("tenants", "move", "acme", "--to", self.to, "--yes", env=env)

    def open_in(self) -> list[str]:
        """Return the databases in which the app's role may write to the tenant, by its name."""
        found = []
        for name in (self.tenants.name, self.other):
            url = self.tenants.server.url(name).replace("//postgres:", f"//{ROLE}:")
            try:
                with psycopg.connect(url) as app:
                    app.execute("UPDATE acme.customers SET name = name WHERE false")
                    app.rollback()
            except psycopg.Error:
                continue
            found.append(name)
        return found

    def wait_until_gone(self) -> None:
        """Wait until the sessions of a killed run have ended."""
        wait_for(lambda: not self.tenants.query(
            "SELECT 1 FROM pg_stat_activity WHERE application_name LIKE 'leadctl tenants%%'"
            " OR (application_name = 'pg_dump' AND datname = current_database())"))  # fmt: skip


@pytest.fixture
def places(tenants: Tenants, server: Server) -> Iterator[Places]:
    tenants.done("tenants", "create", "acme")
    tenants.done("tenants", "create", "other")
    tenants.fill("acme", 200)
    tenants.query(
        f"GRANT USAGE ON SCHEMA acme TO {ROLE}; GRANT ALL ON ALL TABLES IN SCHEMA acme TO {ROLE};"
        f"GRANT ALL ON ALL SEQUENCES IN SCHEMA acme TO {ROLE}; REVOKE ALL ON acme.orders FROM {ROLE};"
        f"GRANT INSERT (customer), UPDATE (plan) ON acme.orders TO {ROLE} WITH GRANT OPTION;"
        f"GRANT SELECT, DELETE ON acme.orders TO PUBLIC"
    )
    other = server.create()
    with server.connect(other) as connection:
        connection.execute("CREATE TABLE public.plans (id int PRIMARY KEY)")
        connection.execute("INSERT INTO public.plans VALUES (1)")
    try:
        yield Places(tenants, other)
    finally:
        server.drop(other)


@pytest.mark.thorough
def test_a_moved_tenant_is_the_same_there(places: Places) -> None:
    tenants = places.tenants
    before, other = tenants.dump("acme"), tenants.dump("other")
    records = tenants.query(
        "SELECT * FROM leadctl.migration WHERE schema = 'acme' ORDER BY revision"
    )
    moved = places.move()
    assert (moved["rows"], moved["tables"]) == (401, 3)
    assert moved["closed_seconds"] > 0  # so its window was counted
    assert tenants.dump("acme", name=places.other) == before
    assert (
        places.there("SELECT * FROM leadctl.migration WHERE schema = 'acme' ORDER BY revision")
        == records
    )
    assert places.open_in() == [places.other]
    kept = moved["kept_as"]
    assert tenants.schemas() == [kept, "other"]
    assert tenants.schemas(places.other) == ["acme"]
    with tenants.as_app() as app, pytest.raises(psycopg.errors.InsufficientPrivilege):
        app.execute(f"INSERT INTO {kept}.customers (name) VALUES ('late')")
    assert tenants.dump("other") == other
    for name in (tenants.name, places.other):
        assert tenants.query("SELECT * FROM leadctl.tenant_move", name=name) == []
    assert tenants.leadctl("tenants", "move", "acme", "--to", places.to, "--yes").code == 1
    tenants.done("tenants", "drop", kept, "--yes")


@pytest.mark.thorough
def test_writers_never_lose_a_row_that_was_committed(places: Places) -> None:
    """A writer with the app's role, and one in a long transaction whose session is ended."""
    tenants, stop, committed = places.tenants, threading.Event(), list[int]()

    def write() -> None:
        with tenants.as_app() as session:
            while not stop.is_set():
                try:
                    row = session.execute(
                        "INSERT INTO acme.customers (name) VALUES ('during') RETURNING id"
                    ).fetchone()
                    committed.append(row[0])
                except psycopg.Error:
                    return

    writer = threading.Thread(target=write)
    writer.start()
    with tenants.server.connect(tenants.name) as long:
        long.execute("BEGIN")
        long.execute("INSERT INTO acme.customers (name) VALUES ('never committed')")
        wait_for(lambda: committed)
        try:
            places.move()
        finally:
            stop.set()
            writer.join()
        with pytest.raises(psycopg.Error):
            long.execute("COMMIT")
    assert places.there("SELECT count(*) FROM acme.customers WHERE name = 'during'") == [
        (len(committed),)
    ]
    assert places.there("SELECT count(*) FROM acme.customers WHERE name = 'never committed'") == [
        (0,)
    ]


@pytest.mark.few(2)
@pytest.mark.parametrize(
    "why", ["role", "shared table", "shared row", "taken", "window", "superuser"]
)
def test_a_failure_opens_it_again(places: Places, why: str) -> None:
    tenants = places.tenants
    before, more = tenants.dump("acme"), list[str]()
    if why == "role":
        tenants.query(
            f"DROP ROLE IF EXISTS {ROLE}_x; CREATE ROLE {ROLE}_x; ALTER TABLE acme.orders OWNER TO {ROLE}_x"
        )
        before = tenants.dump("acme")
        places.to = "postgresql://nobody@127.0.0.1:1/x"
    if why == "shared table":
        places.there("DROP TABLE public.plans")
    if why == "shared row":
        places.there("DELETE FROM public.plans")
    if why == "taken":
        places.there("CREATE SCHEMA acme")
    if why == "window":
        more = ["--window", "1s"]
    try:
        with busy(places, why):
            outcome = tenants.leadctl("tenants", "move", "acme", "--to", places.to, "--yes", *more)
        assert outcome.code in {1, 4, 5}, outcome.err
        assert outcome.code != 0
        if why == "superuser":
            tenants.query("DELETE FROM acme.customers WHERE name = 'superuser'")
            tenants.query("SELECT setval('acme.customers_id_seq', 200)")
        assert tenants.dump("acme") == before
        assert places.open_in() == [tenants.name]
        assert [s for s in tenants.schemas(places.other) if s != "acme" or why != "taken"] == []
    finally:
        if why == "role":
            tenants.query(f"REASSIGN OWNED BY {ROLE}_x TO postgres; DROP ROLE {ROLE}_x")


@contextmanager
def busy(places: Places, why: str) -> Iterator[None]:
    """Hold the destination up for longer than the window, or write meanwhile as a superuser."""
    if why not in {"window", "superuser"}:
        yield
        return
    held, over = threading.Event(), threading.Event()

    def hold() -> None:
        with places.tenants.server.connect(places.other) as session, session.transaction():
            session.execute("LOCK TABLE public.plans IN ACCESS EXCLUSIVE MODE")
            held.set()
            if why == "window":
                over.wait()
            else:
                wait_for(lambda: waits(places, places.other))
                places.tenants.query("INSERT INTO acme.customers (name) VALUES ('superuser')")

    thread = threading.Thread(target=hold)
    thread.start()
    held.wait()
    try:
        yield
    finally:
        over.set()
        thread.join()


@contextmanager
def copying(places: Places) -> Iterator["subprocess.Popen[str]"]:
    """Begin a move that, within the block, waits for a table of the other database."""
    with places.tenants.server.connect(places.other) as session, session.transaction():
        session.execute("LOCK TABLE public.plans IN ACCESS EXCLUSIVE MODE")
        process = places.begin()
        wait_for(lambda: waits(places, places.other))
        yield process


@contextmanager
def handing_over(places: Places) -> Iterator["subprocess.Popen[str]"]:
    """Begin a move that, within the block, has copied all and waits for a writer."""
    with places.tenants.server.connect(places.tenants.name) as writer:
        with copying(places) as process:
            writer.execute("BEGIN; LOCK TABLE acme.orders IN ROW EXCLUSIVE MODE")
        wait_for(lambda: waits(places, places.tenants.name))
        yield process


@contextmanager
def opening(places: Places) -> Iterator["subprocess.Popen[str]"]:
    """Begin a move that, within the block, has handed over and waits to open there."""
    with places.tenants.server.connect(places.other) as blocker:
        with handing_over(places) as process:
            blocker.execute(BLOCKS)
        wait_for(lambda: places.tenants.query(
            "SELECT 1 FROM pg_locks WHERE NOT granted AND locktype = 'transactionid'"))  # fmt: skip
        yield process


BLOCKS = "BEGIN; SELECT * FROM leadctl.tenant_move FOR UPDATE"


def stopped_while_copying(places: Places) -> None:
    with copying(places) as process:
        kill(process)


def stopped_before_the_handover(places: Places) -> None:
    with handing_over(places) as process:
        kill(process)


def stopped_before_the_opening(places: Places) -> None:
    with opening(places) as process:
        kill(process)


def stopped_before_the_end(places: Places) -> None:
    with places.tenants.server.connect(places.tenants.name) as holder:
        with opening(places) as process:
            holder.execute(BLOCKS)
        wait_for(lambda: places.open_in())
        kill(process)


def waits(places: Places, database: str) -> object:
    return places.tenants.query(
        "SELECT 1 FROM pg_locks l JOIN pg_database d ON d.oid = l.database"
        f" WHERE datname = '{database}' AND NOT granted AND locktype = 'relation'"
    )


def kill(process: "subprocess.Popen[str]") -> None:
    process.kill()
    process.communicate()


MOMENTS: dict[str, tuple[Callable[[Places], None], str]] = {
    "while it is copied": (stopped_while_copying, "none"),
    "before the handover": (stopped_before_the_handover, "none"),
    "before it is opened": (stopped_before_the_opening, "none"),
    "before the move is ended": (stopped_before_the_end, "there"),
}


@pytest.mark.thorough
@pytest.mark.parametrize("moment", MOMENTS)
@pytest.mark.parametrize("ending", ["move", "open"])
def test_a_kill_leaves_what_the_next_run_ends(places: Places, moment: str, ending: str) -> None:
    tenants, (stop, opened) = places.tenants, MOMENTS[moment]
    before = tenants.dump("acme")
    stop(places)
    places.wait_until_gone()
    assert places.open_in() == ([places.other] if opened == "there" else [])
    if ending == "open":
        outcome = tenants.leadctl("tenants", "open", "acme", "--yes")
        if moment in {"before it is opened", "before the move is ended"}:
            # The server may have done the killed run's last statement: then nothing is closed.
            left = tenants.query("SELECT 1 FROM leadctl.tenant_move")
            assert outcome.code == (5 if left else 1), outcome.err
        else:
            assert outcome.code == 0, outcome.err
            assert places.open_in() == [tenants.name]
            assert tenants.dump("acme") == before
    if tenants.query("SELECT 1 FROM leadctl.tenant_move") or opened != "there":
        places.move()
    else:  # the server has done the killed run's last statement
        again = tenants.leadctl("tenants", "move", "acme", "--to", places.to, "--yes")
        assert (again.code, "has it" in again.err) == (1, True), again.err
    assert places.open_in() == [places.other]
    assert tenants.dump("acme", name=places.other) == before
    kept, other = tenants.schemas()
    assert (kept.startswith("acme_moved_"), other) == (True, "other")
    assert tenants.schemas(places.other) == ["acme"]
    for name in (tenants.name, places.other):
        assert tenants.query("SELECT * FROM leadctl.tenant_move", name=name) == []


@pytest.mark.slow
def test_kills_at_random(places: Places) -> None:
    tenants, before = places.tenants, places.tenants.dump("acme")
    for _ in range(15):
        process = places.begin()
        time.sleep(random.uniform(0.2, 3))
        kill(process)
        places.wait_until_gone()
        assert len(places.open_in()) <= 1
        if tenants.query("SELECT 1 FROM pg_namespace WHERE nspname = 'acme'", name=places.other):
            break
    if places.open_in() != [places.other] or tenants.query("SELECT * FROM leadctl.tenant_move"):
        places.move()
    assert places.open_in() == [places.other]
    assert tenants.dump("acme", name=places.other) == before


@pytest.mark.thorough
def test_a_copy_that_is_gone_is_taken_back(places: Places) -> None:
    tenants, before = places.tenants, places.tenants.dump("acme")
    stopped_before_the_opening(places)
    places.wait_until_gone()
    assert tenants.leadctl("tenants", "open", "acme", "--handed-over").code == 5
    ((arriving,),) = places.there("SELECT held_as FROM leadctl.tenant_move")
    places.there(f"DROP SCHEMA {arriving} CASCADE; DELETE FROM leadctl.tenant_move")
    refused = tenants.leadctl("tenants", "move", "acme", "--to", places.to, "--yes")
    assert (refused.code, "--handed-over" in refused.err) == (1, True), refused.err
    tenants.done("tenants", "open", "acme", "--handed-over", "--yes")
    assert places.open_in() == [tenants.name]
    assert tenants.dump("acme") == before


def test_the_same_database_and_a_guard(places: Places) -> None:
    tenants = places.tenants
    same = tenants.leadctl("tenants", "move", "acme", "--to", tenants.url, "--yes")
    assert same.code == 2, same.err
    assert tenants.leadctl("tenants", "move", "acme", "--to", places.to).code == 5
    tenants.done("db", "environment", "production", "--protect")
    assert tenants.leadctl("tenants", "move", "acme", "--to", places.to, "--yes").code == 5
    assert places.open_in() == [tenants.name]
    places.move("--confirm", tenants.name)


def test_a_schema_that_is_called_as_its_database_is_told_as_a_schema() -> None:
    result = MovedTenant("acme", "acme", "there", 1, 1, "acme_moved_20261130t010000z", 0.1)
    lines = [line.text for line in moved(result, database=False)]
    assert lines[-1].endswith("leadctl tenants drop acme_moved_20261130t010000z")
