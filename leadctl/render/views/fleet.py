"""Views of a fleet's report: counts by state, what failed first, each with its next command."""

import shlex
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

from leadctl.fleet.run import FleetReport, TargetReport, TargetState
from leadctl.hints import repeated
from leadctl.migrate.revision import RevisionState
from leadctl.render.blocks import Block, Cell, Column, Grid, Line, Style
from leadctl.text import ago, counted, estimated, size

_STYLES: dict[TargetState, Style] = {
    TargetState.DONE: "good",
    TargetState.NO: "warn",
    TargetState.FAILED: "bad",
    TargetState.NOT_RUN: "dim",
}
_ENDED = {
    "canary": "a canary failed",
    "max failures": "--max-failures was reached",
    "interrupted": "the run was interrupted",
}
_SHOWN = 50
"""Targets that a table shows."""


def report(result: FleetReport[Any]) -> Iterator[Block]:
    """What came of the fleet in a line, then the targets that failed, with their next command."""
    counts = ", ".join(f"{count:,} {state}" for state, count in result.counts.items() if count)
    yield Line(
        f"{result.verb} on the fleet {result.fleet}: {counts} "
        f"({counted(result.total, 'target')}, {result.seconds:,.1f} s, run {result.run})",
        "good" if result.ok else "warn",
    )
    shown = result.bad or result.targets
    if shown:
        rows = [_row(result, each) for each in shown[:_SHOWN]]
        columns = [Column("Target", key=True), Column("State"), Column("What")]
        if result.bad:
            columns.append(Column("Next", key=True))
        yield Grid(columns, [row[: len(columns)] for row in rows])
    if len(shown) > _SHOWN:
        yield Line(f"… and {len(shown) - _SHOWN:,} more; -o json has all.", "dim")
    if result.ended:
        left = result.counts[TargetState.NOT_RUN.value]
        yield Line(
            f"{counted(left, 'target')} not run: {_ENDED[result.ended]}. "
            "Run the same command again for the rest.",
            "warn",
        )


def _row(result: FleetReport[Any], each: TargetReport[Any]) -> tuple[Cell | str, ...]:
    what = each.message or _summary(each.result)
    if each.hint:
        flags = {"--env": each.env, "--schema": each.schema}
        given = {flag: value for flag, value in flags.items() if value is not None}
        what += f"\n{repeated(each.hint, given)}"
    # Alone, so that the command is in one line, from which it can be copied.
    command = _next_command(result, each) if each.state is not TargetState.DONE else ""
    return each.target, Cell(each.state.value, _STYLES[each.state]), what, command


def _next_command(result: FleetReport[Any], each: TargetReport[Any]) -> str:
    """Return the command to type next for a target that failed, or whose answer is "no"."""
    pattern = "".join(f"[{letter}]" if letter in "*?[" else letter for letter in each.target)
    verb = _NEXT.get(result.verb, result.verb) if each.failure is None else result.verb
    own_database = each.schema is None and each.env is None  # of the one database of the fleet
    only = [] if own_database else ["--only", pattern]
    verb = {"backup verify": "backup verify latest"}.get(verb, verb)
    return shlex.join(["leadctl", *verb.split(), "--fleet", result.fleet, *only])


_NEXT = {"migrate status": "migrate"}
"""What is done about the answer "no", where it is not the same verb again."""


def _summary(result: Any) -> str:
    """Return what a target's result says, in a few words; empty where there is nothing to say."""
    told = _SUMMARIES.get(type(result).__name__)
    return told(result) if told else ""


def _status(result: Any) -> str:
    states = (state for state in RevisionState if state is not RevisionState.APPLIED)
    counts = [(state.value, result.count(state)) for state in states]
    return ", ".join(f"{count} {state}" for state, count in counts if count)


def _check(result: Any) -> str:
    counts = {
        "pending": result.pending, "not in a revision": result.models, "by hand": result.drift
    }  # fmt: skip
    return ", ".join(f"{len(found)} {what}" for what, found in counts.items() if found) or "equal"


def _keys(result: Any) -> str:
    under = sum(sum(each.under.values()) for each in result.columns)
    unread = sum(
        each.unknown + each.malformed + each.plaintext + sum(each.foreign.values())
        for each in result.columns
    )
    return f"{under:,} encrypted" + (f", {unread:,} that no key reads" if unread else "")


def _rotated(result: Any) -> str:
    done = f"{result.rows:,} {'to re-encrypt' if result.dry_run else 're-encrypted'}"
    return done + (f", {result.unreadable:,} that no key reads" if result.unreadable else "")


def _rehearsed(result: Any) -> str:
    counts = Counter(each.verdict.value for each in result.revisions)
    return ", ".join(f"{count} {verdict}" for verdict, count in counts.items()) or "nothing to undo"


def _due(result: Any) -> str:
    skipped = f", {counted(len(result.skipped), 'rule')} skipped" if result.skipped else ""
    return f"{counted(sum(each.due for each in result.rules), 'row')} due{skipped}"


def _tenants(result: Any) -> str:
    if not result.tenants:
        return "nothing of the app is in it"
    (each,) = result.tenants
    pending = "unknown" if each.pending is None else each.pending
    state = f"{pending} pending" if each.state == "open" else each.state
    large = "unknown size" if each.bytes is None else size(each.bytes)
    return f"{each.revision or 'nothing applied'}, {state}, {large}, {each.owner}"


def _health(result: Any) -> str:
    bad = [each for each in result.by_urgency if each.status.value in {"critical", "warning"}]
    more = f" and {len(bad) - 1} more" if len(bad) > 1 else ""
    first = f": {bad[0].name}, {bad[0].message}{more}" if bad else ""
    return f"{result.status}{first}"


def _stats(result: Any) -> str:
    rows = [table.rows for table in result.tables]
    known = None if rows and not any(row is not None for row in rows) else sum(filter(None, rows))
    exact = all(table.exact for table in result.tables)
    large = [table.table_bytes + table.index_bytes for table in result.tables
             if table.table_bytes is not None]  # fmt: skip
    return (
        f"{counted(len(result.tables), 'table')}, {estimated(known, exact=exact)} rows, "
        f"{size(sum(large)) if large or not rows else 'unknown size'}"
        + (f"; {counted(len(result.skipped), 'part')} skipped" if result.skipped else "")
    )


def _history(result: Any) -> str:
    last = result.runs[0] if result.runs else None
    return f"{last.command} {last.outcome}, {ago(last.started_at)}" if last else "no runs"


_SUMMARIES: dict[str, Callable[[Any], str]] = {
    "MigrateResult": lambda r: (
        f"{len(r.applied)} applied, at {r.current}" if r.applied else "nothing to do"
    ),
    "MigrationStatus": _status,
    "MigrationPlan": lambda r: ", ".join(each.revision for each in r.revisions) or "nothing to do",
    "SchemaCheck": _check,
    "TenantList": _tenants,
    "Drift": lambda r: counted(len(r.differences), "difference"),
    "DownResult": lambda r: f"{len(r.undone)} undone, at {r.current or 'the beginning'}",
    "DownRehearsal": _rehearsed,
    "Health": _health,
    "Overview": _stats,
    "ReportResult": lambda r: counted(len(r.rows), "row"),
    "SeedResult": lambda r: f"{r.inserted:,} inserted",
    "BulkResult": lambda r: f"{r.rows:,} inserted",
    "ResetResult": lambda r: f"{len(r.applied)} applied",
    "KeysStatus": _keys,
    "RotateResult": _rotated,
    "CleanupResult": lambda r: f"{counted(r.rows, 'row')} deleted, {r.cascaded:,} by cascade",
    "Preview": _due,
    "RuleList": _due,
    "CreatedBackup": lambda r: f"{r.id}, {size(r.bytes)}",
    "VerifyResult": lambda r: f"{r.id}: {r.depth}",
    "Inspection": lambda r: counted(sum(len(each.rows) for each in r.reports), "row"),
    "RunHistory": _history,
}
