"""Views of what a migrate would do, of lint, and of corrections.

Apart from `migrate`, which has nothing to do most of the time and then imports no Alembic.
"""

from collections.abc import Iterator

from leadctl.migrate.plan import (
    LintFinding,
    LintResult,
    MigrationPlan,
    PlannedRevision,
    PlannedStatement,
    TableEffect,
)
from leadctl.migrate.resolve import Resolution, Resolved
from leadctl.render.blocks import Block, Cell, Column, Grid, Line, numbers
from leadctl.text import counted, estimated, place, size

_STATEMENT_LENGTH = 60


def plan(result: MigrationPlan) -> Iterator[Block]:
    """Each revision: its statements, what each does to which table, and what was found."""
    database = place(result)
    if not result.revisions:
        yield Line(f"Nothing to do: {database} is at {result.current or 'the beginning'}.")
        return
    for revision in result.revisions:
        yield from _revision(revision)
    yield Line(f"{database} is at {result.current or 'the beginning'}.")
    if result.not_tried:
        yield Line(f"Judged by reading, without a trial on the server: {result.not_tried}.", "dim")
    count = sum(len(revision.blocking) for revision in result.revisions)
    yield Line("Nothing was found.", "good") if result.ok else Line(_found(count), "warn")


def _revision(revision: PlannedRevision) -> Iterator[Block]:
    way_back = "" if revision.reversible else " (irreversible)"
    yield Line(f"{revision.revision}: {revision.message}{way_back}", "strong")
    if revision.cannot_be_planned:
        yield Line("It cannot be planned.", "bad")
    if revision.statements:
        yield Grid(
            [
                *numbers("#"),
                "Statement",
                "Table",
                "Lock",
                "Does",
                *numbers("Rows"),
                Column("Size", numbers=True, optional=True),
            ],
            [
                row
                for number, each in enumerate(revision.statements, 1)
                for row in _rows(each, number)
            ],
        )
    yield from _findings(revision.findings)
    effects = [effect for each in revision.statements for effect in each.effects]
    for holder in sorted({f"{each.table}: {who}" for each in effects for who in each.waits_for}):
        yield Line(f"Blocked now by: {holder}", "warn")


def _rows(statement: PlannedStatement, number: int) -> Iterator[list[str | int | Cell | None]]:
    text = " ".join(statement.sql.split())
    short = text if len(text) <= _STATEMENT_LENGTH else f"{text[: _STATEMENT_LENGTH - 1]}…"
    if not statement.effects:
        yield [number, short, None, None, None, None, None]
    told = {effect.table for effect in statement.effects}
    roots = [effect for effect in statement.effects if effect.part_of not in told]
    for index, effect in enumerate(roots):
        yield [
            None if index else number,
            "" if index else short,
            _named(effect, statement),
            Cell(effect.lock, "warn" if effect.blocks and not effect.is_new else ""),
            _does(effect),
            None if effect.rows is None else estimated(effect.rows, exact=False),
            None if effect.bytes is None else size(effect.bytes),
        ]


def _named(effect: TableEffect, statement: PlannedStatement) -> str:
    parts = sum(each.part_of == effect.table for each in statement.effects)
    return f"{effect.table} (and {counted(parts, 'partition')})" if parts else effect.table


def _does(effect: TableEffect) -> str:
    if effect.is_new:
        return "new table"
    parts = []
    if effect.rewrites:
        parts.append("rewrites")
    if effect.scans:
        parts.append("scans")
    if effect.blocks:
        parts.append(f"blocks {effect.blocks}")
    if effect.loss:
        parts.append(f"drops {effect.loss.what}")
    if effect.overwrites:
        parts.append(f"overwrites {effect.overwrites.what}")
    return ", ".join(parts)


def _findings(findings: tuple[LintFinding, ...]) -> Iterator[Block]:
    if findings:
        yield Grid(
            [*numbers("#"), "Rule", "Found", "Instead"],
            [
                (
                    finding.statement,
                    Cell(finding.rule, "dim" if finding.allowed else "bad"),
                    finding.message,
                    f"allowed: {finding.allowed}" if finding.allowed else finding.hint,
                )
                for finding in findings
            ],
        )


def _found(count: int) -> str:
    return f"{counted(count, 'finding')}."


def lint(result: LintResult) -> Iterator[Block]:
    """What was found in each revision."""
    left = 0
    for revision in result.revisions:
        if revision.findings:
            yield Line(f"{revision.revision} ({revision.path.name})", "strong")
            yield from _findings(revision.findings)
            left += sum(finding.allowed is None for finding in revision.findings)
    read = f"{counted(len(result.revisions), 'revision')} read."
    if result.ok:
        yield Line(f"{read} Nothing was found.", "good")
    else:
        yield Line(f"{read} {_found(left)}", "warn")


def resolve(result: Resolved) -> list[Block]:
    """What was corrected."""
    now = f"{place(result)}, is at {result.current or 'the beginning'}."
    if not result.revisions:
        return [Line(f"Nothing to correct. {now}")]
    said = {
        Resolution.ACCEPT_EDIT: "The files as they are now are recorded as applied",
        Resolution.APPLIED: "Recorded as applied",
        Resolution.ROLLED_BACK: "Pending again",
    }
    return [Line(f"{said[result.resolution]}: {', '.join(result.revisions)}. {now}")]
