"""What a fresh interpreter must not import: fast commands stay fast."""

import pytest

from tests.conftest import KEY, Prepared
from tests.processes import python

HEAVY = ("sqlalchemy", "alembic", "pydantic")
CODE = """
import sys
from leadctl.cli.commands import app
try:
    app({arguments!r})
except SystemExit as end:
    assert not end.code, end.code
loaded = [name for name in {heavy!r} if name in sys.modules]
assert not loaded, loaded
"""


def run(arguments: list[str], heavy: tuple[str, ...], env: dict[str, str]) -> str:
    return python("-c", CODE.format(arguments=arguments, heavy=heavy), env=env)


def test_help_imports_next_to_nothing() -> None:
    assert "Usage" in run(["--help"], (*HEAVY, "psycopg", "rich"), {})


@pytest.mark.parametrize(
    "arguments",
    [
        ["migrate"],
        ["migrate", "-o", "json"],
        ["migrate", "status"],
        ["health-check"],
        ["health-check", "-o", "nagios"],
        ["health-check", "--list"],
        ["health-check", "-o", "prometheus"],
        ["history"],
        ["inspect"],
        ["inspect", "all"],
        ["stats"],
        ["stats", "counts"],
    ],
)
def test_nothing_pending_needs_no_sqlalchemy(leadconnector: Prepared, arguments: list[str]) -> None:
    run(arguments, HEAVY, {"DATABASE_URL": leadconnector.url, "ENCRYPTION_KEY": KEY})


HOST = """
import sys
import leadctl
db = leadctl.database()
assert not any(name in sys.modules for name in {heavy!r}), "database()"
for verb in (db.config, db.checks, db.status, db.migrate, db.history, db.stats, db.inspect,
             db.health, db.cleanup_rules, db.cleanup_preview, db.identity, db.url, db.backups):
    verb()
    loaded = [name for name in {heavy!r} if name in sys.modules]
    assert not loaded, (verb, loaded)
"""


def test_the_api_imports_what_a_verb_needs(leadconnector: Prepared) -> None:
    code = HOST.format(heavy=("sqlalchemy", "alembic", "typer", "rich"))
    python("-c", code, env={"DATABASE_URL": leadconnector.url, "ENCRYPTION_KEY": KEY})
