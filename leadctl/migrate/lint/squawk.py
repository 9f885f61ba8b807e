"""squawk, for the rules that need no catalog."""

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from leadctl.errors import OperationFailed
from leadctl.migrate.lint.findings import Finding
from leadctl.migrate.script import Statement

_OURS = (
    "adding-field-with-default",
    "adding-foreign-key-constraint",
    "adding-not-nullable-field",
    "ban-drop-column",
    "ban-drop-table",
    "changing-column-type",
    "constraint-missing-not-valid",
    "disallowed-unique-constraint",
    "require-concurrent-index-creation",
)
"""What our own rules say with the catalog's help: these would flag safe statements, too."""
_GIVEN = ("require-lock-timeout", "require-statement-timeout", "require-timeout-settings")
"""What leadctl sees to when it applies a revision."""
_STYLE = (
    "ban-char-field",
    "ban-create-domain-with-constraint",
    "identifier-too-long",
    "prefer-bigint-over-int",
    "prefer-bigint-over-smallint",
    "prefer-identity",
    "prefer-repack",
    "prefer-robust-stmts",
    "prefer-text-field",
    "prefer-timestamp-tz",
)
"""What is a matter of taste, or of the models, where it is decided."""
_SYNTAX = ("syntax-error",)
"""What the server knows better."""
_LEFT_OUT = frozenset(_OURS + _GIVEN + _STYLE + _SYNTAX)


def find_squawk() -> str | None:
    """Return squawk's path, of this environment first; None where it is not installed."""
    return shutil.which("squawk", path=str(Path(sys.executable).parent)) or shutil.which("squawk")


def squawk(
    binary: str, statements: Sequence[Statement], server_version: int | None
) -> Iterator[Finding]:
    """Yield what squawk finds in a revision's statements.

    `server_version` is libpq's, such as 180006.  Raises OperationFailed where squawk fails.
    """
    lines, text = _lines(statements)
    command = [binary, "--reporter", "json", "--stdin-filepath", "revision.sql"]
    if server_version:
        command += ["--pg-version", f"{server_version // 10000}.0"]
    if all(statement.transactional for statement in statements):
        command.append("--assume-in-transaction")
    done = subprocess.run(command, input=text, capture_output=True, text=True, check=False)
    try:
        findings = json.loads(done.stdout or "[]")
    except ValueError:
        raise OperationFailed(
            f"squawk failed: {(done.stderr or done.stdout).strip()[:200]}",
            hint="Try it by hand, or uninstall squawk-cli: leadctl's own rules do not need it.",
        ) from None
    for finding in findings:
        rule = finding["rule_name"]
        if rule not in _LEFT_OUT:
            statement = lines[finding["line"]]
            yield Finding(rule, finding["message"], finding["help"] or "", statement)


def _lines(statements: Sequence[Statement]) -> tuple[list[int], str]:
    """Return which statement each line belongs to, and the text."""
    lines: list[int] = []
    texts = []
    for number, statement in enumerate(statements, 1):
        text = f"{statement.sql};\n"
        lines += [number] * text.count("\n")
        texts.append(text)
    return [*lines, len(statements)], "".join(texts)
