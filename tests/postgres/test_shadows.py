"""No command as a superuser runs what somebody put into the app's schema under a server's name."""

from pathlib import Path

import pytest

from tests.conftest import KEY, Cli, Prepared
from tests.postgres.shadows import calls_of, make_shadows

Commands = tuple[tuple[str, ...], ...]
FIND_DRIFT = {("health-check",), ("migrate", "check"), ("migrate", "drift")}
"""What finds the shadows themselves: the schema is not what it was."""
QUICK: Commands = (
    ("health-check",),
    ("stats",),
    ("inspect", "all"),
    ("migrate", "status"),
    ("migrate",),
    ("history",),
    ("studio", "leads"),
    ("schema", "show", "leads"),
    ("cleanup", "--dry-run"),
    ("db", "environment"),
)
SLOW: Commands = (
    ("migrate", "check"),
    ("migrate", "drift"),
    ("schema", "dump"),
    ("schema", "validate"),
    ("studio",),
    ("keys", "status"),
    ("backup",),
    ("backup", "list"),
    ("restore", "--data-only", "--table", "users", "--yes"),
    ("seed", "--bulk", "10", "--yes"),
    ("cleanup",),
)


def run_all(database: Prepared, cli: Cli, commands: Commands, folder: Path) -> list[object]:
    """Run commands one after the other; return what ran that should not, and what failed."""
    wrong: list[object] = []
    with database.server.connect(database.name) as connection:
        known = calls_of(connection)
    for command in commands:
        environment = {"BACKUP_DIR": str(folder), "ENCRYPTION_KEY": KEY}
        outcome = cli(*command, url=database.url, env=environment)
        with database.server.connect(database.name) as connection:
            called = calls_of(connection) - known
        if called:
            wrong.append((command, called))
        known |= called
        if outcome.code != 0 and command[:2] not in FIND_DRIFT:
            wrong.append((command, outcome.code, outcome.err))
    return wrong


@pytest.mark.parametrize(
    ("commands", "at_most"),
    [(QUICK, 4), pytest.param(QUICK + SLOW, 40, marks=pytest.mark.slow)],
)
def test_nothing_runs_by_its_name(
    leadconnector: Prepared,
    cli: Cli,
    tmp_path: Path,
    commands: Commands,
    at_most: int,
) -> None:
    with leadconnector.server.connect(leadconnector.name) as connection:
        assert make_shadows(connection, at_most=at_most) > 100
        # The net holds: a call of a name that fits a shadow better is written down.
        connection.execute("SELECT quote_ident('a'::name)")
        assert len(calls_of(connection)) == 1
    assert run_all(leadconnector, cli, commands, tmp_path) == []
