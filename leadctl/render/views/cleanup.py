"""Views of cleanup: the rules, what they would do, what they did."""

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime

from leadctl.cleanup.preview import Preview, RuleList, RulePreview, SkippedRule
from leadctl.cleanup.results import CleanupResult, RuleResult, RuleStatus
from leadctl.cleanup.undo import UnarchiveResult, UndeleteResult
from leadctl.render.blocks import Block, Cell, Column, Grid, Line, Pairs, Style, Value, numbers
from leadctl.text import counted, utc

_STYLES: dict[RuleStatus, Style] = {
    RuleStatus.DONE: "good",
    RuleStatus.STOPPED: "warn",
    RuleStatus.PARTLY: "warn",
    RuleStatus.OVERLAP: "dim",
    RuleStatus.REFUSED: "bad",
    RuleStatus.FAILED: "bad",
}
_BAD = {RuleStatus.REFUSED, RuleStatus.FAILED}
_REASONS = {
    "max_seconds": "time limit reached",
    "max_rows": "row limit reached",
    "interrupted": "interrupted",
    "terminated": "terminated",
    "replica_lag": "a replica is behind",
    "wal_archiving": "WAL waits to be archived",
    "vacuum": "the table is being vacuumed",
    "table_locked": "the table was locked",
    "rows_locked": "some rows were locked",
    "rows_refused": "too many rows cannot be deleted",
}


def cleanup(result: CleanupResult) -> Iterator[Block]:
    """One line a rule, then the sum.

    Why the first rule failed is the command's error, and so is not said here, too.
    """
    failed = [found for found in result.rules if found.status in _BAD]
    for found in result.rules:
        text = _failure(found) if found in failed[:1] else _sentence(found)
        yield Line(text, _STYLES[found.status])
    for found in result.rules:
        for row in found.refusals:
            yield Line(f"{found.rule}: {row.key} cannot be deleted: {row.reason}", "warn")
    for found in result.rules:
        yield from (Line(f"Warning: {warning}", "warn") for warning in found.warnings)
    if not result.rules:
        yield Line(f"{result.app} has no retention rules.")
    elif len(result.rules) > 1:
        yield Line(f"Deleted {_count(result.rows, result.cascaded)} in {result.seconds:.1f} s")


def rules(result: RuleList) -> list[Block]:
    """The rules, and what each would take now."""
    if not result.rules and not result.skipped:
        return [Line(f"{result.app} has no retention rules.")]
    rows = [
        (
            found.rule,
            found.table,
            f"{found.age_column}, {found.older_than}",
            Cell(found.condition or "", "dim"),
            found.archive,
            found.due,
            found.last_success or "never",
        )
        for found in result.rules
    ]
    columns: list[Column | str] = [
        "Rule",
        "Table",
        "Older than",
        Column("Condition", optional=True),
        Column("Archive", optional=True),
        *numbers("Due now"),
        Column("Last success", optional=True),
    ]
    return [*([Grid(columns, rows)] if rows else []), *_skipped(result.skipped)]


def preview(result: Preview) -> list[Block]:
    """What each rule would do."""
    if not result.rules and not result.skipped:
        return [Line(f"{result.app} has no retention rules.")]
    skipped = _skipped(result.skipped)
    return [*map(_previewed, result.rules), *skipped, Line("Nothing was changed.")]


def _skipped(rules: Sequence[SkippedRule]) -> list[Line]:
    """Which rules nothing can be said of; why of the first one is the command's error."""
    return [
        Line(f"{each.rule}: skipped" + (f": {each.reason}" if number else ""), "warn")
        for number, each in enumerate(rules)
    ]


def unarchive(result: UnarchiveResult) -> list[Block]:
    """How many rows were put back, by table."""
    rows = [(table, result.restored[table], result.there[table]) for table in result.restored]
    return [Grid(["Table", *numbers("Put back", "Already there")], rows)]


def undelete(result: UndeleteResult) -> list[Block]:
    """Which row is back."""
    deleted = f"it was deleted at {utc(result.deleted_at)}"
    return [Line(f"{result.table} {result.key} is back; {deleted}.", "good")]


def _previewed(found: RulePreview) -> Block:
    pairs: list[tuple[str, Value]] = [
        ("Rule", Cell(found.rule, "strong")),
        ("Rows", f"{found.due:,} of {found.table}, older than {_moment(found.cutoff)}"),
    ]
    if found.due:
        pairs.append(("Ages", f"{_moment(found.oldest)} to {_moment(found.newest)}"))
    pairs += [("Goes along", f"{rows:,} of {table}") for table, rows in found.cascaded.items()]
    if found.archive:
        pairs.append(("Archive", "yes"))
    if found.needs_consent:
        pairs.append(("Fuse", Cell(f"{found.needs_consent}: it needs --confirm", "warn")))
    pairs += [("Statement", Cell(statement, "dim")) for statement in found.statements]
    pairs += [("Warning", Cell(warning, "warn")) for warning in found.warnings]
    return Pairs(pairs)


def _moment(moment: object) -> str:
    if isinstance(moment, datetime):
        zoned = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
        return utc(zoned)
    return str(moment)


def _failure(found: RuleResult) -> str:
    done = f" ({_count(found.rows, 0)} before that)" if found.rows else ""
    return f"{found.rule}: {found.status.value}{done}"


def _sentence(found: RuleResult) -> str:
    if found.status is RuleStatus.REFUSED:  # its message names the rule
        return found.message
    if found.status in {RuleStatus.OVERLAP, RuleStatus.FAILED}:
        done = f" ({_count(found.rows, 0)} before that)" if found.rows else ""
        return f"{found.rule}: {found.message}{done}"
    text = f"{found.rule}: {counted(found.rows, 'row')} of {found.table}"
    text += "".join(f", {rows:,} of {table}" for table, rows in (found.cascaded or {}).items())
    if found.partitions:
        text += f", as partitions {', '.join(found.partitions)}"
    text += f" in {found.seconds:.1f} s"
    if found.reason is not None:
        text += f"; stopped: {_REASONS[found.reason.value]}"
    if found.refused:
        text += f"; partly: {found.refused:,} cannot be deleted"
    if found.backlog and found.backlog > found.refused:
        text += f"; {counted(found.backlog, 'row')} still due"
    if found.archive:
        text += f"; archived in {found.archive}"
    return text


def _count(rows: int, cascaded: int) -> str:
    along = f" (plus {cascaded:,} by cascade)" if cascaded else ""
    return f"{counted(rows, 'row')}{along}"
