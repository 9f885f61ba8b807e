"""The rules of lint: ours, which know the live tables, and squawk's, which need no catalog.

A table that is small, or that the plan itself makes, may be locked, scanned and rewritten.
"""

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from itertools import dropwhile
from pathlib import Path

from leadctl.child_processes import child_environment
from leadctl.errors import OperationFailed
from leadctl.migrate.backfill import is_batched
from leadctl.migrate.plan import LintFinding, Loss, PlannedStatement, TableEffect
from leadctl.migrate.transaction_rules import between_statements
from leadctl.sql.lexer import Reader
from leadctl.text import counted

SMALL_BYTES = 10 * 10**6
"""A table of this size, indexes included, is read or rewritten in some tens of milliseconds."""

LOSES_DATA = "loses-data"
_OVERWRITES = "overwrites-values"
UNPLANNABLE = "unplannable"
MIXED = "mixed-transaction"
OF_BIG_TABLES = ("blocking-rewrite", "blocking-scan", "unbatched-write")
"""Rules that let a small table pass."""
REQUIRED_FIELD = "adding-required-field"
"""squawk's: old writers cannot fill a new column."""
_SQUAWK_LEFT_OUT = frozenset(
    [
        # Our own rules say these with the catalog's help; squawk would flag safe statements, too.
        "ban-alter-domain-with-add-constraint",
        "ban-concurrent-index-creation-in-transaction",
        "adding-field-with-default",
        "adding-foreign-key-constraint",
        "adding-not-nullable-field",
        "ban-drop-column",
        "ban-drop-table",
        "changing-column-type",
        "constraint-missing-not-valid",
        "disallowed-unique-constraint",
        "require-concurrent-index-creation",
        # leadctl sees to these when it applies a revision.
        "require-lock-timeout",
        "require-statement-timeout",
        "require-timeout-settings",
        # A matter of taste, or of the models, where it is decided.
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
        "require-enum-value-ordering",
        "syntax-error",  # the server knows better
    ]
)


def findings(
    statements: Sequence[PlannedStatement],
    server_version: int | None,
    has_policies: Callable[[str], bool] = lambda _table: False,
) -> Iterator[LintFinding]:
    """Yield what is dangerous in a revision; `server_version` is libpq's, such as 180006.

    `has_policies` tells whether a table has policies now.  Raises OperationFailed where squawk
    fails.
    """
    yield from _mixed(statements)
    of_tables: set[int] = set()
    for number, statement in enumerate(statements, 1):
        found = list(_on_tables(statement))
        of_tables |= {number} if any(each.rule in OF_BIG_TABLES for each in found) else set()
        for finding in (*_explicit(statement), *found):
            yield replace(finding, statement=number)
    yield from between_statements(statements, _is_big, frozenset(of_tables), has_policies)
    for finding in _squawk(statements, server_version):
        touched = statements[(finding.statement or 1) - 1].effects
        if not touched or not all(effect.is_new for effect in touched):
            yield finding


def _mixed(statements: Sequence[PlannedStatement]) -> Iterator[LintFinding]:
    fills_first = dropwhile(lambda each: is_batched(each.sql), statements)
    if len({statement.transactional for statement in fills_first}) > 1:
        yield LintFinding(
            MIXED,
            "It mixes transactional and non-transactional statements: if it stops in between, it "
            "can be neither rerun nor rolled back.",
            "Write a revision for each part. Only leadctl.fill() may be in one, at its beginning.",
        )


def _on_tables(statement: PlannedStatement) -> Iterator[LintFinding]:
    """Yield what is found of tables; what is said of a whole one is not said of its partitions."""
    lost = {effect.table for effect in statement.effects if effect.loss}
    costs = {
        effect.table: list(_blocks(statement, effect)) if _is_big(effect) else []
        for effect in statement.effects
    }
    for effect in statement.effects:
        if effect.loss and effect.part_of not in lost:
            yield _loses(effect, effect.loss)
        if effect.overwrites:
            yield LintFinding(
                _OVERWRITES,
                f"It overwrites {effect.overwrites.what} of {effect.table} in "
                f"{_rows(effect.overwrites)}: the old values cannot be computed from the new ones.",
                "Keep the old values in a column of their own, or a backup, as long as needed.",
            )
        if not costs.get(effect.part_of or ""):
            yield from costs[effect.table]


def _is_big(effect: TableEffect) -> bool:
    """Whether what is done to the whole of a table takes its time; unknown is big."""
    return not (effect.is_new or (effect.bytes is not None and effect.bytes <= SMALL_BYTES))


def _blocks(statement: PlannedStatement, effect: TableEffect) -> Iterator[LintFinding]:
    size = f" ({counted(effect.rows, 'row')})" if effect.rows is not None else ""
    if effect.rewrites and effect.blocks:
        yield LintFinding(
            "blocking-rewrite",
            f"It rewrites {effect.table}{size}, and blocks {effect.blocks} during that time.",
            "Add a second column, fill it in batches, then switch.",
        )
    elif effect.scans and effect.blocks:
        yield LintFinding(
            "blocking-scan",
            f"It reads all of {effect.table}{size}, and blocks {effect.blocks} during that time.",
            _way_around(statement.sql),
        )
    elif _is_write(statement.sql) or (effect.scans and _is_copy(statement.sql)):
        yield LintFinding(
            "unbatched-write",
            f"It writes to {effect.table}{size} in one transaction: locks and dead rows pile up.",
            "Do it in batches, in a revision of its own: leadctl.fill().",
        )


def _is_copy(sql: str) -> bool:
    """Whether a statement writes what it reads: INSERT … SELECT, CREATE TABLE AS."""
    reader = Reader(sql)
    copies = reader.accept("INSERT", "INTO") or reader.accept("CREATE", "TABLE")
    return (copies and reader.has("SELECT")) or (reader.accept("SELECT") and reader.has("INTO"))


def _is_write(sql: str) -> bool:
    reader = Reader(sql)
    return not is_batched(sql) and (
        reader.accept("UPDATE") or reader.accept("DELETE", "FROM") or reader.accept("MERGE", "INTO")
    )


def _way_around(sql: str) -> str:
    reader = Reader(sql)
    if reader.accept("CREATE"):
        return "CREATE INDEX CONCURRENTLY in an autocommit_block(), in a revision of its own."
    if reader.has("SET", "NOT", "NULL"):
        return (
            "Add CHECK (… IS NOT NULL) NOT VALID, VALIDATE it in the next revision, then SET NOT "
            "NULL reads nothing."
        )
    if reader.has("UNIQUE") or reader.has("PRIMARY", "KEY"):
        return "CREATE UNIQUE INDEX CONCURRENTLY first, then ADD CONSTRAINT … USING INDEX."
    if reader.has("REFERENCES") or reader.has("CHECK"):
        return "Add the constraint NOT VALID, and VALIDATE it in the next revision."
    return "Do it in steps that do not hold the lock while they read."


def _loses(effect: TableEffect, loss: Loss) -> LintFinding:
    rows = _rows(loss)
    what = {"table": f"the table {effect.table} with {rows}", "rows": f"{rows} of {effect.table}"}
    column = f"the {loss.what} of {effect.table}, of {rows}"
    return LintFinding(
        LOSES_DATA,
        f"It loses {what.get(loss.what, column)}.",
        "Make a backup, and first make sure that nothing uses it any more.",
    )


def _rows(loss: Loss) -> str:
    if loss.rows is None:
        return "any number of rows"
    return f"{'' if loss.exact else 'about '}{counted(loss.rows, 'row')}"


def _explicit(statement: PlannedStatement) -> Iterator[LintFinding]:
    reader = Reader(statement.sql)
    if reader.accept("LOCK"):
        yield LintFinding(
            "explicit-lock",
            "It locks a table to the end of the transaction.",
            "Let each statement take the lock that it needs.",
        )
    elif reader.accept("ALTER", "TABLE") and reader.has("DISABLE", "TRIGGER"):
        yield LintFinding(
            "disables-trigger",
            "While a trigger is disabled, its rule is not enforced.",
            "Change the data with the trigger enabled.",
        )
    elif reader.accept("DROP", "OWNED") or (
        reader.accept("DROP", "SCHEMA") and not statement.tried
    ):
        yield LintFinding(
            LOSES_DATA,
            "It may drop every table that belongs to it.",
            "Drop the tables one by one, so that the plan can say what is lost.",
        )
    elif reader.accept("DROP", "DATABASE"):
        yield LintFinding(
            LOSES_DATA, "It loses a database.", "If this is intended, drop it by hand."
        )
    if statement.unplannable:
        reason = statement.unplannable
        yield LintFinding(
            UNPLANNABLE,
            f"{reason[0].upper()}{reason[1:]}.",
            "Read the statement: leadctl cannot tell what it loses.",
        )


def find_squawk() -> str | None:
    """Return squawk's path, of this environment first; None where it is not installed."""
    return shutil.which("squawk", path=str(Path(sys.executable).parent)) or shutil.which("squawk")


def _squawk(
    statements: Sequence[PlannedStatement], server_version: int | None
) -> Iterator[LintFinding]:
    binary = find_squawk()
    if binary is None or not statements:
        return
    lines, text = _lines(statements)
    command = [binary, "--reporter", "json", "--stdin-filepath", "revision.sql"]
    if server_version:
        command += ["--pg-version", f"{server_version // 10000}.0"]
    if all(statement.transactional for statement in statements):
        command.append("--assume-in-transaction")
    done = subprocess.run(
        command, input=text, capture_output=True, text=True, check=False, env=child_environment()
    )
    try:
        findings = json.loads(done.stdout or "[]")
    except ValueError:
        raise OperationFailed(
            f"squawk failed: {(done.stderr or done.stdout).strip()[:200]}",
            hint="Try it by hand, or uninstall squawk-cli: leadctl's own rules do not need it.",
        ) from None
    for finding in findings:
        rule = finding["rule_name"]
        statement = lines[finding["line"]]
        taken_over = rule == "ban-drop-constraint" and _not_null_says_it(statements, statement)
        if rule not in _SQUAWK_LEFT_OUT and not taken_over:
            yield LintFinding(rule, finding["message"], finding["help"] or "", statement)


def _not_null_says_it(statements: Sequence[PlannedStatement], number: int) -> bool:
    """Whether a statement drops the CHECK that the NOT NULL just before it made needless.

    Version 0.1 wrote both as one statement.
    """
    if _drops_its_proof(statements[number - 1].sql):
        return True
    before, this = (
        Reader(each.sql) for each in (statements[max(number - 2, 0)], statements[number - 1])
    )
    table = this.altered_table()
    if table is None or before.altered_table() != table:
        return False
    dropped = this.name() if this.accept("DROP", "CONSTRAINT") else ""
    return dropped.endswith("_not_null") and before.has("SET", "NOT", "NULL")


_AT_ONCE = re.compile(
    r"ALTER TABLE \S+ ALTER COLUMN \S+ SET NOT NULL, DROP CONSTRAINT \S+_not_null\"?\Z",
    re.IGNORECASE,
)


def _drops_its_proof(sql: str) -> bool:
    """Whether a statement drops the CHECK that proves its own NOT NULL: then all rows are read."""
    return _AT_ONCE.match(" ".join(sql.split())) is not None


def _lines(statements: Sequence[PlannedStatement]) -> tuple[list[int], str]:
    """Return which statement each line belongs to, and the text."""
    lines: list[int] = []
    texts = []
    for number, statement in enumerate(statements, 1):
        text = f"{statement.sql};\n"
        lines += [number] * text.count("\n")
        texts.append(text)
    return [*lines, len(statements)], "".join(texts)
