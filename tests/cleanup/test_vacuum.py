"""cleanup: the VACUUM after large deletions, and when it is left to autovacuum."""

import pytest

from tests.conftest import Cli, Prepared
from tests.leads import LEADS

VACUUMED = "SELECT relname FROM pg_stat_user_tables WHERE last_vacuum IS NOT NULL ORDER BY 1"


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """A few hundred rows are many."""
    monkeypatch.setattr("leadctl.cleanup.run._VACUUM_FROM_ROWS", 300)


def test_tables_with_dead_rows_are_vacuumed_once(filled: Prepared, cli: Cli) -> None:
    outcome = cli("cleanup", "--rule", "archived-leads", url=filled.url)
    assert outcome.code == 0
    assert filled.query(VACUUMED) == [("leads",), ("webhook_deliveries",)]
    assert outcome.err.count("Vacuuming leads") == 1
    dead = "SELECT pg_stat_get_dead_tuples('leads'::regclass)"
    assert filled.query(dead) == [(0,)]
    assert filled.query("SELECT reltuples FROM pg_class WHERE relname = 'leads'") == [
        (LEADS - 440,)
    ]


def test_few_rows_are_not_worth_it(filled: Prepared, cli: Cli) -> None:
    flags = ("cleanup", "--rule", "archived-leads", "--max-rows", "100")
    assert cli(*flags, url=filled.url).code == 0
    assert filled.query(VACUUMED) == []


def test_autovacuum_is_trusted_where_it_is_due(filled: Prepared, cli: Cli) -> None:
    filled.query("ALTER TABLE leads SET (autovacuum_vacuum_scale_factor = 0.01)")
    outcome = cli("cleanup", "--rule", "archived-leads", url=filled.url)
    assert "Autovacuum is due for leads" in outcome.err
    assert filled.query(VACUUMED) == [("webhook_deliveries",)]


@pytest.mark.parametrize(
    "option", ["autovacuum_enabled = no", "autovacuum_vacuum_threshold = 9999"]
)
def test_where_it_will_not_come_nobody_waits_for_it(
    option: str, filled: Prepared, cli: Cli
) -> None:
    filled.query(f"ALTER TABLE leads SET (autovacuum_vacuum_scale_factor = 0.01, {option})")
    assert cli("cleanup", "--rule", "archived-leads", url=filled.url).code == 0
    assert ("leads",) in filled.query(VACUUMED)
