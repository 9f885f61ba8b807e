"""A scratch for an app of several schemas: what it sets aside is there for everybody else."""

import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from sqlalchemy import Column, Integer, MetaData, Table

from leadctl.catalog.definitions import Catalog
from leadctl.errors import LeadctlError, OperationFailed
from leadctl.migrate.scratch import scratch
from leadctl.migrate.scratch_models import model_scratch
from leadctl.postgres.connect import connect
from leadctl.postgres.target import Target, resolve
from leadctl.settings import load_settings
from tests.conftest import Prepared
from tests.servers import MAJOR, RunningServer

_TABLES = 'CREATE SCHEMA billing; CREATE TABLE billing.invoices (id int); CREATE SCHEMA "Odd one"'
_SCHEMAS = ["billing", "Odd one", "missing"]


def test_nobody_sees_or_waits_for_what_is_set_aside(leadconnector: Prepared) -> None:
    leadconnector.query(_TABLES)
    target: Target = leadconnector.target()
    with scratch(target, "test", _SCHEMAS) as made, connect(target, rows=True) as other:
        assert not made.read().names("schema")
        made.execute(["CREATE SCHEMA billing", "CREATE TABLE billing.invoices (no text)"])
        assert "column billing.invoices.no" in made.read().objects
        other.execute("SET lock_timeout = '1s'")
        other.execute("INSERT INTO billing.invoices VALUES (1)")
        other.execute('CREATE TABLE billing.payments (id int); CREATE TABLE "Odd one".t (id int)')
    assert leadconnector.query("SELECT id FROM billing.invoices") == [(1,)]
    assert leadconnector.query("SELECT to_regclass('\"Odd one\".t') IS NOT NULL") == [(True,)]


@pytest.mark.thorough
def test_a_server_with_room_for_few_locks_says_which_setting() -> None:
    """Its own words are only that it is out of shared memory."""
    few = {"max_locks_per_transaction": "10", "max_connections": "10"}
    with RunningServer(MAJOR, **few) as running:
        url = running.info.url("postgres")
        target = resolve(load_settings({}, environ={"DATABASE_URL": url}), app=None)
        tables = (f"CREATE TABLE t{n} (id int PRIMARY KEY, v text)" for n in range(5000))
        with (
            pytest.raises(OperationFailed) as refused,
            scratch(target, "test") as made,
        ):
            made.execute(tables)
        metadata = MetaData()
        for number in range(2000):
            Table(f"t{number}", metadata, Column("id", Integer, primary_key=True))
        with (
            pytest.raises(LeadctlError) as refused_models,
            model_scratch(target, "test") as models,
        ):
            models.create_tables(metadata, "zoo", Catalog({}))
    for each in (refused, refused_models):
        assert "max_locks_per_transaction" in each.value.hint


def test_a_second_one_waits_for_the_first(leadconnector: Prepared) -> None:
    leadconnector.query(_TABLES)
    target = leadconnector.target()

    def second() -> list[str]:
        with scratch(target, "second", _SCHEMAS) as made:
            return made.read().names("schema")

    waits = (
        "SELECT count(*) FROM pg_stat_activity WHERE datname = %s AND application_name LIKE "
        "'%%second%%' AND wait_event_type = 'Lock'"
    )
    with ThreadPoolExecutor() as pool:
        with scratch(target, "first", _SCHEMAS) as made:
            made.execute(["CREATE SCHEMA billing"])
            waiting = pool.submit(second)
            while not waiting.done() and leadconnector.query(waits, leadconnector.name) == [(0,)]:
                time.sleep(0.02)
        assert waiting.result() == []
    assert leadconnector.query("SELECT count(*) FROM billing.invoices") == [(0,)]


@pytest.mark.parametrize(
    "rejected",
    [
        "CREATE TABEL t (a int)",
        "CREATE TABLE t (a missing)",
        "DROP TABLE missing",
        "DO 'begin raise exception $$no$$; end'",
        "SELECT 1 / (SELECT count(*) FROM ö0)",
    ],
)
def test_the_statement_that_is_rejected_is_named(leadconnector: Prepared, rejected: str) -> None:
    """Many go in one round trip; the server says which only by a place in the text, if at all."""
    others = [f"CREATE TABLE ö{number} (a int) -- {number}" for number in range(150)]
    for place in (1, 99, 100, 150):
        statements = [*others[:place], rejected, *others[place:]]
        with (
            pytest.raises(OperationFailed) as refused,
            scratch(leadconnector.target(), "test") as made,
        ):
            made.execute(statements)
        assert refused.value.message.endswith(f": {rejected}")


def test_the_object_of_a_rejected_statement_is_named(leadconnector: Prepared) -> None:
    """The statement is shown, so what the server quotes of it is not hidden."""
    with (
        pytest.raises(OperationFailed, match='"plain" is not partitioned'),
        scratch(leadconnector.target(), "test") as made,
    ):
        made.execute(["CREATE TABLE plain (a int)", "CREATE TABLE part PARTITION OF plain DEFAULT"])
