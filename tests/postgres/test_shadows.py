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
    ("stats", "leads"),
    ("inspect", "all"),
    ("migrate", "status"),
    ("migrate",),
    ("history",),
    ("studio", "leads", "--where", "status=NEW", "--where", "form_name~x", "--count"),
    ("schema", "show", "leads"),
    ("cleanup", "--dry-run"),
    ("cleanup",),
    ("keys", "status"),
    ("seed",),
    ("seed", "--bulk", "10", "--yes"),
    ("db", "environment"),
)
SLOW: Commands = (
    ("migrate", "check"),
    ("migrate", "drift"),
    ("schema", "dump"),
    ("schema", "validate"),
    ("studio",),
    ("studio", "users", "--sort", "-email", "-o", "csv"),
    ("stats", "--exact"),
    *(("stats", name) for name in ("counts", "webhooks", "leads-by-status", "leads-by-day")),
    ("cleanup", "--list"),
    ("cleanup", "--archive", "archive"),
    ("keys", "rotate"),
    ("backup",),
    ("backup", "list"),
    ("restore", "--table", "leads", "--data-only", "--yes"),
    ("restore", "--table", "leads"),
    ("restore", "--data-only", "--table", "users", "--yes"),
    ("seed", "--export", "users"),
    ("migrate", "--plan"),
    ("migrate", "lint"),
    ("migrate", "diff", "models", "database"),
    ("migrate", "history"),
    ("migrate", "down", "--rehearse"),
    ("backup", "verify", "latest", "--restore"),
    ("restore", "--yes"),
    ("reset", "--yes"),
)

DUE = (
    "INSERT INTO leads (id, facebook_lead_id, page_id, form_id, form_name, lead_data, status, created_at)"
    " SELECT 'due' || n, 'due' || n, (SELECT min(id) FROM pages), 'f', 'f', '{}', 'ARCHIVED',"
    " now() - interval '3 years' FROM generate_series(1, 20) n"
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
        connection.execute(DUE)
        assert make_shadows(connection, at_most=at_most) > 100
        # The net holds: a call of a name that fits a shadow better is written down.
        connection.execute("SELECT quote_ident('a'::name)")
        assert len(calls_of(connection)) == 1
    wrong = run_all(leadconnector, cli, commands, tmp_path)
    assert not wrong, "\n".join(map(str, wrong))
