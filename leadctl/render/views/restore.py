"""Views of a restore: what it would do, and what it did."""

import shlex
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from leadctl.render.blocks import Block, Cell, Grid, Line, Pairs, Style, Value, numbers
from leadctl.text import counted, listed, size

if TYPE_CHECKING:
    from leadctl.restore.copied_tables import TableRestore
    from leadctl.restore.foreign_keys import Orphans
    from leadctl.restore.preflight import RestorePlan
    from leadctl.restore.restorable import LeftOutEntry
    from leadctl.restore.restore import RestoreResult
    from leadctl.restore.tables import RestoredTables
    from leadctl.tenants.restore import RestoredTenant


def plan(result: "RestorePlan") -> list[Block]:
    """Which backup becomes which database, and what is in the way."""
    if result.replaces:
        what = Cell("replace (the old database is kept under another name)", "warn")
    else:
        what = Cell("create (there are no tables yet)", "good")
    pairs: list[tuple[str, Value]] = [
        ("Backup", result.backup),
        ("Made", result.made_at),
        ("Of", f"{result.source_database or 'unknown'}, {result.revision or 'no revision'}"),
        ("Rows", "unknown until it is loaded" if result.rows is None else result.rows),
        ("Space needed", size(result.bytes)),
        ("Free space", "unknown" if result.free_bytes is None else size(result.free_bytes)),
        ("Server", f"PostgreSQL {result.server} (backup: {result.made_on or 'unknown'})"),
        ("Database", result.database),
        ("Action", what),
    ]
    default = ": all goes to the default one" if result.missing_tablespaces else ""
    pairs += [
        *_pair("Protected", result.protected, "warn"),
        *_pair("Missing extensions", ", ".join(result.missing_extensions), "bad"),
        *_pair("Not the default version", ", ".join(result.same_versions), "dim"),
        *_pair("Other version", ", ".join(result.other_versions), "warn"),
        *_pair("Missing roles", ", ".join(result.missing_roles), "warn"),
        *_pair("Owners it cannot set", ", ".join(result.other_owners), "warn"),
        *(("Cannot be made", Cell(each, "bad")) for each in result.missing_locales),
        *_pair("Without rows of", ", ".join(result.without_rows_of), "warn"),
        *_pair("Missing tablespaces", f"{', '.join(result.missing_tablespaces)}{default}", "warn"),
        *_pair("This role", result.missing_privilege, "bad"),
        *(("In the way", Cell(each.obstacle, "bad")) for each in result.obstacles),
    ]
    return [Pairs(pairs)]


def _pair(title: str, value: str | None, style: Style) -> list[tuple[str, Value]]:
    return [(title, Cell(value, style))] if value else []


def tenant(result: "RestoredTenant") -> Iterator[Block]:
    """What the tenant is now, where its old schema is, and what is left to do."""
    done = "Would restore" if result.dry_run else "Restored"
    yield Line(
        f"{done} the tenant {result.tenant} of {result.database} from {result.backup}: "
        f"{counted(result.rows, 'row')} in {counted(result.tables, 'table')}, revision "
        f"{result.revision or 'none'}. Rows were counted, and are as in the backup.",
        "good" if result.ok else "warn",
    )
    if result.kept_as and not result.dry_run:
        yield Line(f"The old schema is kept as {result.kept_as}.")
        yield Line(
            f"If it is no longer needed: leadctl tenants drop {shlex.quote(result.kept_as)}", "dim"
        )
    yield from (Line(_orphans(each), "warn") for each in result.orphans)
    for left in result.left_out:
        yield Line(f"Left out: {left.entry}: {left.reason}", "bad")
    yield from _changed(result.changed)
    yield from (Line(line, command=True) for line in result.lines)


def restored(result: "RestoreResult") -> Iterator[Block]:
    """What is there now, and where the old one is."""
    how = "Restored" if result.complete else "Restored IN PART"
    yield Line(
        f"{how} {result.backup} as {result.database}: {counted(result.rows, 'row')} in "
        f"{counted(result.tables, 'table')}, revision {result.revision or 'none'}, "
        f"{result.duration_ms / 1000:.1f} s.",
        "good" if result.complete else "bad",
    )
    yield from _left_out(result.left_out)
    if result.incomplete:
        rows = [(each.table, each.rows, each.restored) for each in result.incomplete]
        yield Grid(["Incomplete table", *numbers("Rows in the backup", "Restored")], rows)
    for check in result.checks:
        if check.ok is None:
            yield Line(f"Not compared: {check.what}: {check.message}.", "warn")
    if result.previous:
        drop = shlex.join(["leadctl", "db", "kept", "--drop", result.previous])
        yield Line(f"The old database is kept. Drop it when it is no longer needed: {drop}")


def by_name(result: "TableRestore") -> Iterator[Block]:
    """Where the rows are; what came back with them, and what is left to do."""
    rows = [(t.table, t.scratch or "the table itself", t.rows) for t in result.tables]
    yield Grid(["Table", "Its rows are in", *numbers("Rows")], rows)
    if result.made:
        yield Line(f"Made again: {listed(result.made, 40)}.")
    for each in result.orphans:
        yield Line(_orphans(each), "warn")
    yield from _left_out(result.left_out)
    yield from _changed(result.changed)
    if result.dry_run:
        yield Line("Nothing was changed.", "warn")
        return
    if result.schema:
        yield Line("Existing tables were not changed.", "good")
    if result.lines:
        yield Line("Then run:" if result.orphans else "Next, run:")
        yield from map(Line, result.lines)


def _orphans(orphans: "Orphans") -> str:
    rows = counted(orphans.rows, "row")
    what = (
        f"{rows} of {orphans.table} would violate {orphans.constraint}: the referenced row "
        f"does not exist"
    )
    if orphans.moved:
        return f"{what}: moved to {orphans.kept_in}."
    return (
        f"{what}. They are still there, and copied to {orphans.kept_in}. Correct or delete them in "
        f"{orphans.table}: until then the constraint is NOT VALID."
    )


def _left_out(entries: "Sequence[LeftOutEntry]") -> Iterator[Block]:
    """What is not back, and why."""
    for each in entries:
        yield Line(f"NOT restored: {each.entry}: {each.reason}.", "bad")


def _changed(entries: "Sequence[LeftOutEntry]") -> Iterator[Block]:
    """What is not as it was, and may let the tables hold other values, or refuse others."""
    for each in entries:
        yield Line(
            f"NOT as in the backup: {each.entry}: {each.reason}. What the restored tables compute "
            "or check by it may differ.",
            "warn",
        )


def merged(result: "RestoredTables") -> list[Block]:
    """How many rows came back to each table."""
    counts = numbers("In the backup", "Brought back", "Changed back")
    rows = [(t.table, t.rows, t.inserted, t.updated) for t in result.tables]
    if result.dry_run:
        verdict = Line("Nothing was changed.", "warn")
    else:
        verdict = Line("Rows that are newer than the backup stay as they are.", "good")
    told = f"Not restored, because they are no longer partitions: {', '.join(result.gone)}."
    return [
        Grid(["Table", *counts], rows),
        verdict,
        *([Line(told, "warn")] if result.gone else []),
    ]
