"""What each command prints, to the letter, per format and width."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import Cli, Prepared
from tests.golden.snapshots import VARIANTS, assert_complete, assert_snapshot, stable

READING = {
    "migrate_status": ["migrate", "status"],
    "migrate_history": ["migrate", "history"],
    "stats": ["stats"],
    "stats_counts": ["stats", "counts"],
    "stats_leads": ["stats", "leads", "--user", "test@example.com"],
    "health": ["health-check"],
    "health_list": ["health-check", "--list"],
    "inspect": ["inspect"],
    "inspect_covered_indexes": ["inspect", "covered-indexes"],
    "history": ["history"],
    "cleanup_list": ["cleanup", "--list"],
    "environment": ["db", "environment"],
    "config": ["config"],
    "error": ["stats", "nothing"],
    "backup_list": ["backup", "list"],
}
WRITING = {
    "migrate_nothing": ["migrate"],
    "seed": ["seed"],
    "seed_bulk": ["seed", "--bulk", "50", "--span", "2025-01-01..2025-12-31"],
    "reset": ["reset", "--yes"],
    "cleanup": ["cleanup"],
    "cleanup_dry_run": ["cleanup", "--dry-run", "--rule", "archived-leads"],
}
"""Commands that change the database or its journal: each run has a database of its own."""
HELP = {
    "help": ["--help"],
    "help_migrate": ["migrate", "--help"],
    "help_reset": ["reset", "--help"],
    "help_backup": ["backup", "--help"],
    "help_restore": ["restore", "--help"],
    "help_cleanup": ["cleanup", "--help"],
}
"""The test runner gives help a width of its own."""

Check = Callable[[Prepared | None, str, list[str], str], None]


@pytest.fixture
def check(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> Check:
    """Run a command on a database, and compare what it shows with a section of its snapshot."""
    monkeypatch.setattr("leadctl.text.ago", lambda _: "1 s ago")  # its length moves columns
    monkeypatch.setattr("leadctl.settings.load.Path.cwd", lambda: Path("/project"))

    def run(database: Prepared | None, name: str, command: list[str], section: str) -> None:
        flags, env = VARIANTS[section]
        outcome = cli(*command, *flags, url=database and database.url, env=env)
        if section == "60 columns":
            assert max(map(len, outcome.out.splitlines() or [""])) <= 60
        shown = stable(f"{outcome.out}--- exit {int(outcome.code)}\n{outcome.err}")
        assert_snapshot(name, section, shown)

    return run


@pytest.mark.parametrize("section", VARIANTS)
@pytest.mark.parametrize("name", READING)
def test_reading(
    prepared_once: Callable[[str], Prepared], check: Check, name: str, section: str
) -> None:
    check(prepared_once("leadconnector"), name, READING[name], section)


@pytest.mark.parametrize("section", VARIANTS)
@pytest.mark.parametrize("name", WRITING)
def test_writing(leadconnector: Prepared, check: Check, name: str, section: str) -> None:
    check(leadconnector, name, WRITING[name], section)


@pytest.mark.parametrize("name", HELP)
def test_help(check: Check, name: str) -> None:
    check(None, name, HELP[name], "80 columns")


def test_nothing_else_is_expected() -> None:
    of_results = {(name, section) for name in {**READING, **WRITING} for section in VARIANTS}
    assert_complete(".", of_results | {(name, "80 columns") for name in HELP})
