"""Writes docs/output.md and docs/cli.md from the code: `python -m tests.docs.reference`."""

import inspect
import typing
from collections.abc import Iterator
from dataclasses import dataclass, fields, is_dataclass
from enum import Enum
from pathlib import Path
from types import UnionType
from typing import Any

from typer.main import get_command

from leadctl import errors
from leadctl.backup.create import CreatedBackup
from leadctl.backup.inventory import BackupDetails, BackupList, PruneResult
from leadctl.backup.verify import VerifyResult
from leadctl.cleanup.preview import Preview, RuleList
from leadctl.cleanup.results import CleanupResult
from leadctl.cleanup.undo import UnarchiveResult, UndeleteResult
from leadctl.cli.app import app
from leadctl.cli.exit_codes import ExitCode, exit_code
from leadctl.config import EffectiveConfig
from leadctl.db import Destroyed, TargetUrl
from leadctl.health.run import CheckList, Health
from leadctl.history import RunHistory
from leadctl.init.existing_models import InitResult
from leadctl.init.from_database import DatabaseInit
from leadctl.inspect.registry import ReportList
from leadctl.inspect.run import Inspection, ReportFiles
from leadctl.journal.identity import DatabaseIdentity
from leadctl.keys.rotate import RotateResult
from leadctl.keys.status import KeysStatus, NewKey
from leadctl.migrate.adopt import Adopted
from leadctl.migrate.check import Check
from leadctl.migrate.dev import Dev
from leadctl.migrate.diff import Diff
from leadctl.migrate.down import DownResult
from leadctl.migrate.drift import Drift
from leadctl.migrate.history import MigrationHistory
from leadctl.migrate.lint.lint import LintResult
from leadctl.migrate.new import NewRevisions
from leadctl.migrate.plan import Script
from leadctl.migrate.planned import Plan
from leadctl.migrate.push import Push
from leadctl.migrate.rehearse import Rehearsal
from leadctl.migrate.resolve import Resolved
from leadctl.migrate.status import MigrationStatus
from leadctl.migrate.up import MigrateResult
from leadctl.partition import PartitionResult
from leadctl.postgres.embedded import ServerStatus
from leadctl.reset import ResetResult
from leadctl.restore.restore import RestorePlan, RestoreResult
from leadctl.restore.scratch_schema import ScratchTables
from leadctl.restore.tables import RestoredTables
from leadctl.schedule import Schedule
from leadctl.schema.definition import Schema, Validation
from leadctl.schema.read import SchemaDump
from leadctl.seed.bulk.load import BulkResult
from leadctl.seed.export import Exported
from leadctl.seed.seed import SeedResult
from leadctl.stats.overview import Overview
from leadctl.stats.report import ReportResult
from leadctl.studio.record import Relation
from leadctl.studio.rows import Head
from leadctl.studio.session import TableList

DOCS = Path(__file__).parents[2] / "docs"


@dataclass(frozen=True)
class Rows:
    """Rows are written as they come: each is an object of values by column."""

    database: str
    schema: str
    table: str
    columns: tuple[Head, ...]
    rows: tuple[dict[str, Any], ...]
    total: int | None
    more: bool
    after: str | None


@dataclass(frozen=True)
class OneRecord:
    """A record is an object of values by column."""

    database: str
    schema: str
    table: str
    key: str
    record: dict[str, Any]
    relations: tuple[Relation, ...]


RESULTS: dict[str, type] = {
    "init": InitResult,
    "init --from-database": DatabaseInit,
    "migrate, migrate up": MigrateResult,
    "migrate --plan": Plan,
    "migrate --sql": Script,
    "migrate lint": LintResult,
    "migrate resolve": Resolved,
    "migrate status": MigrationStatus,
    "migrate history": MigrationHistory,
    "migrate new": NewRevisions,
    "migrate dev": Dev,
    "migrate check": Check,
    "migrate drift": Drift,
    "migrate diff": Diff,
    "migrate down": DownResult,
    "migrate down --rehearse": Rehearsal,
    "migrate resolve --adopt-drift": Adopted,
    "seed": SeedResult,
    "seed --export": Exported,
    "seed --bulk": BulkResult,
    "reset": ResetResult,
    "backup, backup create": CreatedBackup,
    "backup list": BackupList,
    "backup show, pin": BackupDetails,
    "backup verify": VerifyResult,
    "backup prune": PruneResult,
    "restore": RestoreResult,
    "restore --dry-run": RestorePlan,
    "restore --table": ScratchTables,
    "restore --data-only": RestoredTables,
    "stats": Overview,
    "stats REPORT": ReportResult,
    "studio": TableList,
    "studio TABLE": Rows,
    "studio TABLE ROW": OneRecord,
    "schema show, schema diagram": Schema,
    "schema validate": Validation,
    "schema dump": SchemaDump,
    "health-check": Health,
    "health-check --list": CheckList,
    "inspect": ReportList,
    "inspect REPORT, inspect all": Inspection,
    "inspect REPORT --to DIR": ReportFiles,
    "cleanup": CleanupResult,
    "cleanup --dry-run": Preview,
    "cleanup --list": RuleList,
    "cleanup unarchive": UnarchiveResult,
    "cleanup undelete": UndeleteResult,
    "history": RunHistory,
    "partition": PartitionResult,
    "schedule cron, schedule systemd": Schedule,
    "keys generate": NewKey,
    "keys status": KeysStatus,
    "keys rotate": RotateResult,
    "config": EffectiveConfig,
    "db start, stop, status": ServerStatus,
    "db destroy": Destroyed,
    "db environment": DatabaseIdentity,
    "db url": TargetUrl,
    "db push": Push,
}

EXIT_CODES = {
    ExitCode.DONE: "done",
    ExitCode.NO: 'the answer is "no" (pending, different), or the operation failed',
    ExitCode.USAGE: "the command line makes no sense",
    ExitCode.CONFIGURATION: "a setting, a file or the installation is wrong or missing",
    ExitCode.CONNECTION: "the server cannot be reached, or does not allow it",
    ExitCode.REFUSED: "a guard stopped it to keep data safe",
    ExitCode.LOCKED: "another run holds the lock",
    ExitCode.INTERRUPTED: "interrupted (Ctrl-C)",
    ExitCode.TERMINATED: "terminated (SIGTERM)",
}


def output() -> str:
    """Return docs/output.md."""
    lines = [
        "# Output",
        "",
        "Written from the code; a test keeps it true.",
        "",
        "Standard output is the result and nothing else; narration, progress and errors go to",
        "standard error. With `-o json` the result is one document. Times in it are UTC in ISO 8601,",
        "sizes are bytes. Elsewhere sizes are in kB, MB, GB and TB, which are powers of 1000.",
        "",
        "## Exit codes",
        "",
        "| code | meaning |",
        "|---|---|",
        *(f"| {int(code)} | {meaning} |" for code, meaning in EXIT_CODES.items()),
        "",
        "`health-check` alone speaks Nagios: 0 ok, 1 warning, 2 critical (unreachable, too),",
        "3 unknown (a wrong flag or setting, too).",
        "",
        "## Errors",
        "",
        'With `-o json` an error is one object on standard error: `{"code": …, "message": …,',
        '"hint": …}`. The codes are stable:',
        "",
        "| code | exit | when |",
        "|---|---|---|",
        *(
            f"| `{error.code}` | {int(exit_code(error('')))} | {_first_line(error)} |"
            for error in all_errors()
        ),
        "",
        "## Results",
        "",
        "The keys of each command's document. `?` may be null, `[]` is a list.",
    ]
    for command, result in RESULTS.items():
        lines += ["", f"### {command}", "", *_keys(result)]
    return "\n".join(lines) + "\n"


def cli() -> str:
    """Return docs/cli.md."""
    lines = [
        "# Commands",
        "",
        "Written from the code; a test keeps it true.",
        "",
        "Every option has a variable, too: `--steps` of `leadctl migrate` is `LEADCTL_MIGRATE_STEPS`.",
        "Only consent (`--yes`, `--confirm`, `--reveal`) has none: what stays set is no consent.",
    ]
    for path, command, context in _walk(get_command(app), "leadctl", None):
        text = "\n".join(line.rstrip() for line in command.get_help(context).splitlines())
        lines += ["", f"## {path}", "", "```text", text, "```"]
    return "\n".join(lines) + "\n"


def all_errors() -> list[type[errors.LeadctlError]]:
    """Return every error class, in the order of the file."""
    return [
        found
        for _, found in inspect.getmembers(errors, inspect.isclass)
        if issubclass(found, errors.LeadctlError) and found is not errors.LeadctlError
    ]


def _walk(command: Any, path: str, parent: Any) -> Iterator[tuple[str, Any, Any]]:
    context = command.make_context(
        path.split()[-1], ["--help"], parent=parent, resilient_parsing=True
    )
    context.terminal_width = 90
    yield path, command, context
    for name, subcommand in getattr(command, "commands", {}).items():
        yield from _walk(subcommand, f"{path} {name}", context)


def _first_line(error: type) -> str:
    text = (error.__doc__ or "").strip().splitlines()[0].rstrip(".")
    return text.partition("; exit")[0]


def _keys(result: type, indent: int = 0) -> Iterator[str]:
    hints = typing.get_type_hints(result)
    for field in fields(result):
        kind, inner = _kind(hints[field.name])
        yield f"{'  ' * indent}- `{field.name}` {kind}".rstrip()
        if inner is not None:
            yield from _keys(inner, indent + 1)


def _kind(hint: Any) -> tuple[str, type | None]:
    """Return how a type shows in JSON, and the dataclass in it."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in {typing.Union, UnionType}:
        names = [_kind(argument)[0] for argument in arguments if argument is not type(None)]
        optional = "?" if type(None) in arguments else ""
        inner = next((found for a in arguments if (found := _kind(a)[1])), None)
        return " or ".join(dict.fromkeys(names)) + optional, inner
    if origin is tuple:
        kind, inner = _kind(arguments[0])
        return (f"{kind}[]" if kind else "list[]").replace("list[]", "[]"), inner
    if origin is not None:
        return "object", None
    if is_dataclass(hint) and isinstance(hint, type):
        return "", hint
    if isinstance(hint, type) and issubclass(hint, Enum):
        return " or ".join(f'"{member.value}"' for member in hint), None
    names = {"str": "text", "int": "number", "float": "number", "bool": "true or false"}
    names |= {"datetime": "time", "Path": "path", "UUID": "uuid", "dict": "object"}
    return names.get(getattr(hint, "__name__", ""), "any"), None


if __name__ == "__main__":
    (DOCS / "output.md").write_text(output())
    (DOCS / "cli.md").write_text(cli())
