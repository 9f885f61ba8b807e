"""What a fresh interpreter must not import: fast commands stay fast.

A budget of names, not of times: what a machine takes differs, what is loaded does not.
"""

import pytest

from tests.conftest import KEY, Prepared
from tests.processes import python

HEAVY = ("sqlalchemy", "alembic", "pydantic")
CODE = """
import sys
import typer, psycopg  # what any such program would load
before = set(sys.modules)
sys.argv = ["leadctl", *{arguments!r}]
from leadctl.__main__ import main
try:
    main()
except SystemExit as end:
    assert not end.code, end.code
finally:
    print("LOADED", *sorted(set(sys.modules) - before))
"""
ROOMS = {
    "migrate": {
        "api.database", "api.project",
        "apps.alembic_config", "apps.loading", "apps.registry", "apps.retention",
        "cli.command", "cli.commands", "cli.commands.migrate", "cli.commands.migrate_write",
        "cli.console", "cli.exit_codes", "cli.fleet", "cli.group", "cli.late_imports", "cli.options", "cli.run",
        "errors", "files", "hints", "progress", "redact", "child_processes", "text", "version",
        "journal.guard", "journal.lock", "journal.records", "journal.state",
        "migrate.integrity", "migrate.revision", "migrate.revision_files", "migrate.revisions", "migrate.up",
        "postgres.connect", "postgres.exact", "postgres.provision", "postgres.queries",
        "postgres.sessions", "postgres.target", "postgres.translate",
        "render.blocks", "render.table", "render.views", "render.views.migrate",
        "settings", "settings.durations", "settings.load", "settings.model", "settings.sources",
        "settings.url",
    },
    "health-check": {
        "backup.storage", "catalog.", "cleanup.results", "cleanup.rules", "crypto", "health.",
        "inspect.run", "keys.encrypted_values", "products.", "postgres.replica", "restore.kept", "journal.kept_names", "journal.runs", "migrate.status",
        "cli.commands.health_check", "render.views.health_check",
    },
    "--help": {"cli.", "errors", "files", "hints", "redact", "render.views", "text", "version"},
}  # fmt: skip
"""What each may load of ours; health-check may load what `migrate` may, too."""
OTHERS = {
    "migrate": {"_blake2", "_hashlib", "gc", "getpass", "graphlib", "hashlib",
                "shlex", "termios", "tomllib", "unicodedata"},
    "health-check": {"_cffi_backend", "concurrent", "cryptography", "_openssl"},
    "--help": {"gc", "shlex"},
}  # fmt: skip
"""What each may load beside that and what typer and psycopg load."""


def run(arguments: list[str], env: dict[str, str]) -> tuple[str, list[str]]:
    """Run a command in an interpreter of its own; return what it says, and what it loads."""
    out, _, loaded = python("-c", CODE.format(arguments=arguments), env=env).rpartition("LOADED ")
    return out, loaded.split()


def beyond(loaded: list[str], ours: set[str], others: set[str]) -> list[str]:
    """Return what was loaded, and is in no list."""

    def is_allowed(name: str) -> bool:
        package, _, rest = name.partition(".")
        if package != "leadctl":
            return package in others | {"typer"}
        return any(  # a module of the list, in a room of it, or the package of one
            rest == each
            or each.startswith(f"{rest}.")
            or (each[-1] == "." and rest.startswith(each))
            for each in ours
        )

    return [
        name
        for name in loaded
        if name not in {"leadctl", "leadctl.__main__"} and not is_allowed(name)
    ]


def test_help_imports_next_to_nothing() -> None:
    out, loaded = run(["--help"], {})
    assert "Usage" in out
    commands = [name for name in loaded if name.startswith("leadctl.cli.commands.")]
    assert len(commands) > 15  # all of them are listed
    assert not beyond(loaded, ROOMS["--help"], OTHERS["--help"])


def test_the_help_of_a_command_reads_no_other() -> None:
    out, loaded = run(["restore", "--help"], {})
    assert "Usage: leadctl restore" in out
    commands = [name for name in loaded if name.startswith("leadctl.cli.commands.")]
    assert commands == ["leadctl.cli.commands.restore"]


def test_migrate_with_nothing_to_do_loads_what_it_runs(leadconnector: Prepared) -> None:
    out, loaded = run(
        ["migrate", "-v", "--allow", "x"],
        {"DATABASE_URL": leadconnector.url, "ENCRYPTION_KEY": KEY},
    )
    assert "Nothing to do" in out
    assert not beyond(loaded, ROOMS["migrate"], OTHERS["migrate"])


def test_a_health_check_loads_what_it_runs(leadconnector: Prepared) -> None:
    env = {"DATABASE_URL": leadconnector.url, "ENCRYPTION_KEY": KEY}
    out, loaded = run(["health-check", "--skip", "statistics", "--all"], env)
    assert "leadconnector" in out
    ours = ROOMS["migrate"] | ROOMS["health-check"]
    assert not beyond(loaded, ours, OTHERS["migrate"] | OTHERS["health-check"])


@pytest.mark.few(5)
@pytest.mark.parametrize(
    "arguments",
    [
        ["migrate", "-o", "json"],
        ["migrate", "status"],
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
    _, loaded = run(arguments, {"DATABASE_URL": leadconnector.url, "ENCRYPTION_KEY": KEY})
    assert "leadctl.cli.commands" in loaded
    assert not set(HEAVY) & set(loaded)


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


def test_nothing_is_loaded_before_ctrl_c_is_heard() -> None:
    """Its handler is set by the entry point, when that and the package are loaded."""
    code = (
        "import sys; before = set(sys.modules); import leadctl.__main__;"
        "print(*set(sys.modules) - before)"
    )
    loaded = set(python("-c", code).split())
    assert loaded <= {"leadctl", "leadctl.__main__", "leadctl.version", "_signal", "gc"}
