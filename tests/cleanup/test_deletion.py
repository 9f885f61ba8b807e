"""What a batch's deletion says of itself, and how it is committed."""

from pathlib import Path

import pytest
from psycopg import sql

from leadctl.apps.registry import find_app
from leadctl.cleanup.batches import Deleted, Deleter
from leadctl.cleanup.ranges import BatchSize
from leadctl.cleanup.rules import rule_table, rules_of
from leadctl.postgres.connect import Connection, connect
from tests.conftest import Cli, Prepared
from tests.leads import due_leads, ids


def delete(connection: Connection, deleter: Deleter, keys: list[str]) -> Deleted:
    with connection.pipeline():
        deletion = deleter.send(
            sql.SQL("DELETE FROM leads WHERE id = ANY (%(keys)s)").format(), {"keys": keys}, None
        )
    return deletion()


def test_it_counts_and_shows_that_others_write(filled: Prepared) -> None:
    settings = filled.settings()
    (rule,) = rules_of(find_app(settings), settings, only=["archived-leads"])
    keys = sorted(due_leads(filled))
    deliveries = len(ids(filled, "webhook_deliveries"))
    with connect(filled.target(), "cleanup", rows=True) as connection:
        table = rule_table(connection, "public", rule)
        deleter = Deleter(connection, table)
        nothing = delete(connection, deleter, [])
        first = delete(connection, deleter, keys[:10])
        filled.query("CREATE TABLE others_write ()")
        second = delete(connection, deleter, keys[10:])
    assert (nothing.rows, nothing.cascaded, nothing.transaction) == (0, {}, None)
    assert (first.rows, second.rows) == (10, len(keys) - 10)
    (child,) = set(table.tables) - {table.oid}
    cascaded = first.cascaded.get(child, 0) + second.cascaded.get(child, 0)
    assert cascaded == deliveries - len(ids(filled, "webhook_deliveries")) > 0
    assert first.seconds > 0
    assert first.transaction is not None
    assert second.transaction is not None
    assert second.transaction > first.transaction + 1


@pytest.mark.parametrize(
    ("is_alone", "archived", "waits"),
    [(False, False, "on"), (True, False, "off"), (False, True, "on"), (True, True, "on")],
)
def test_an_archived_batch_waits_for_its_wal_and_one_beside_writers(
    filled: Prepared,
    cli: Cli,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    is_alone: bool,
    archived: bool,
    waits: str,
) -> None:
    filled.query(f"ALTER DATABASE {filled.name} SET synchronous_commit = off")
    filled.query("CREATE TABLE seen (setting text)")
    filled.query(
        "CREATE FUNCTION see() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN"
        " INSERT INTO seen VALUES (current_setting('synchronous_commit')); RETURN old; END $$"
    )
    filled.query("CREATE TRIGGER see BEFORE DELETE ON leads FOR EACH ROW EXECUTE FUNCTION see()")
    monkeypatch.setattr(BatchSize, "is_alone", is_alone)
    options = ["--archive", str(tmp_path)] if archived else []
    done = cli("cleanup", "--rule", "archived-leads", *options, url=filled.url)
    assert done.code == 0, done.err
    assert filled.query("SELECT DISTINCT setting FROM seen") == [(waits,)]
