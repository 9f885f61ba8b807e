"""cleanup while others are at work."""

import json
import random
import threading
import time

import psycopg
import pytest

from tests.conftest import Cli, Prepared
from tests.leads import due_leads, ids, slow
from tests.processes import start, wait_for

CLEANUP = ("cleanup", "-o", "json", "--rule", "archived-leads")


@pytest.mark.thorough
def test_two_runs(filled: Prepared, cli: Cli) -> None:
    due = due_leads(filled)
    slow(filled, 0.02)
    first = start(*CLEANUP, env={"DATABASE_URL": filled.url})
    wait_for(
        lambda: (
            filled.query(
                "SELECT 1 FROM pg_locks WHERE locktype = 'advisory' AND objsubid = 2"
                " AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"
            )
            != []
        )
    )
    second = cli(*CLEANUP, url=filled.url)
    out, err = first.communicate(timeout=60)
    assert (first.returncode, second.code) == (0, 0), err + second.err
    (rule_of_second,) = second.json["rules"]
    assert (rule_of_second["status"], rule_of_second["rows"]) == ("overlap", 0)
    assert json.loads(out)["rows"] == len(due)


def test_a_writer_that_makes_due_rows_not_due(filled: Prepared, cli: Cli) -> None:
    slow(filled)
    saved: set[str] = set()
    due = sorted(due_leads(filled))
    stop = threading.Event()

    def save() -> None:
        with filled.server.connect(filled.name) as connection:
            for number, key in enumerate(reversed(due)):
                if stop.is_set():
                    break
                row = connection.execute(
                    "UPDATE leads SET status = 'NEW' WHERE id = %s AND status = 'ARCHIVED'"
                    " RETURNING id",
                    (key,),
                ).fetchone()
                if row:
                    saved.add(key)
                if number % 3 == 0:
                    time.sleep(0.001)

    writer = threading.Thread(target=save)
    writer.start()
    try:
        done = cli(*CLEANUP, url=filled.url)
    finally:
        stop.set()
        writer.join()
    assert done.code == 0, done.err
    left = ids(filled, "leads")
    assert saved <= left
    assert {key for key in due if key not in left}.isdisjoint(saved)
    assert saved


@pytest.mark.thorough
def test_writers_of_several_rows_never_lose_a_deadlock(filled: Prepared, cli: Cli) -> None:
    """They lock in another order than a deletion does; it is cleanup that gives way."""
    due, stop = sorted(due_leads(filled)), threading.Event()
    written, failed = [0, 0], list[Exception]()

    def write(writer: int) -> None:
        chance = random.Random(writer)
        with filled.server.connect(filled.name) as connection:
            connection.execute("SET deadlock_timeout = '300ms'")
            while not stop.is_set():
                chosen = sorted(chance.sample(due, 4))
                try:
                    with connection.transaction():
                        for key in chosen:
                            connection.execute(
                                "UPDATE webhook_deliveries SET error = 'x' WHERE lead_id = %s",
                                (key,),
                            )
                            connection.execute(
                                "UPDATE leads SET form_name = 'x' WHERE id = %s", (key,)
                            )
                            time.sleep(0.002)
                    written[writer] += 1
                except psycopg.Error as error:
                    failed.append(error)

    writers = [threading.Thread(target=write, args=(number,)) for number in range(2)]
    for thread in writers:
        thread.start()
    try:
        wait_for(lambda: min(written) > 5)
        done = cli(*CLEANUP, url=filled.url)
    finally:
        stop.set()
        for thread in writers:
            thread.join()
    assert done.code == 0, done.err
    assert failed == []
    (rule,) = done.json["rules"]
    assert rule["rows"] == len(due) - len(due_leads(filled)) > 0
    assert rule["cascaded"] == {"webhook_deliveries": 2 * rule["rows"]}


def test_a_row_that_somebody_holds_is_left(filled: Prepared, cli: Cli) -> None:
    held = sorted(due_leads(filled))[0]
    with filled.server.connect(filled.name) as connection, connection.transaction():
        connection.execute("SELECT FROM leads WHERE id = %s FOR UPDATE", (held,))
        done = cli(*CLEANUP, url=filled.url)
        assert done.code == 0, done.err
    assert due_leads(filled) == {held}
    assert cli(*CLEANUP, url=filled.url).json["rows"] == 1


@pytest.mark.thorough
def test_a_child_that_somebody_holds_is_left(filled: Prepared, cli: Cli) -> None:
    held = sorted(due_leads(filled))[0]
    with filled.server.connect(filled.name) as connection, connection.transaction():
        connection.execute("SELECT FROM webhook_deliveries WHERE lead_id = %s FOR UPDATE", (held,))
        done = cli(*CLEANUP, url=filled.url)
        assert done.code == 0, done.err
    (rule,) = done.json["rules"]
    assert (rule["status"], rule["reason"]) == ("stopped", "rows_locked")
    assert due_leads(filled) == {held}


@pytest.mark.thorough
def test_beside_migrate(filled: Prepared, cli: Cli) -> None:
    filled.query("DELETE FROM alembic_version")
    filled.query("INSERT INTO alembic_version VALUES ('leadconnector_0001')")
    filled.query("DROP INDEX idx_leads_form_id, idx_leads_page_status")
    slow(filled, 0.001)
    due = due_leads(filled)
    process = start(*CLEANUP, env={"DATABASE_URL": filled.url})
    migrated = cli("migrate", url=filled.url)
    out, err = process.communicate(timeout=60)
    assert migrated.code == 0, migrated.err
    assert process.returncode == 0, err
    assert json.loads(out)["rows"] == len(due)
    assert not due_leads(filled)


@pytest.mark.thorough
def test_a_table_that_is_locked_all_the_time(filled: Prepared, cli: Cli) -> None:
    before = ids(filled, "leads")
    with filled.server.connect(filled.name) as connection, connection.transaction():
        connection.execute("LOCK TABLE webhook_deliveries IN SHARE MODE")
        done = cli(*CLEANUP, url=filled.url)
    assert done.code == 0, done.err
    (rule,) = done.json["rules"]
    assert (rule["status"], rule["reason"]) == ("stopped", "table_locked")
    assert ids(filled, "leads") == before


def test_a_table_that_is_locked_for_all_stops_its_rule_only(filled: Prepared, cli: Cli) -> None:
    """Somebody alters or rewrites it: nothing of it can be read, not even by EXPLAIN."""
    rows = "SELECT count(*) FROM webhook_deliveries"
    ((before,),) = filled.query(rows)
    with filled.server.connect(filled.name) as other, other.transaction():
        other.execute("LOCK TABLE leads IN ACCESS EXCLUSIVE MODE")
        outcome = cli("cleanup", "-o", "json", url=filled.url)
        assert outcome.code == 0, outcome.err
        other.execute("SELECT FROM leads LIMIT 1")  # it holds it still
    rules = {rule["table"]: rule for rule in outcome.json["rules"]}
    assert (rules["leads"]["reason"], rules["leads"]["rows"]) == ("table_locked", 0)
    gone = rules["webhook_deliveries"]["rows"]
    assert gone > 0
    assert filled.query(rows) == [(before - gone,)]
