"""Views of backups: one that was made, the list, one in full, what verify and prune found."""

from collections.abc import Iterator, Sequence

from leadctl.backup.create import CreatedBackup
from leadctl.backup.inventory import (
    BackupCopy,
    BackupDetails,
    BackupList,
    BackupSummary,
    PruneResult,
)
from leadctl.backup.reader import VerifyResult
from leadctl.backup.storage import Verification
from leadctl.render.blocks import Block, Cell, Column, Grid, Line, Pairs, Value, numbers
from leadctl.text import ago, counted, size


def created(result: CreatedBackup) -> Iterator[Block]:
    """What was made, and where."""
    how = "encrypted" if result.encrypted else "NOT ENCRYPTED"
    yield Line(
        f"Backup {result.id} of {result.database}: {counted(result.rows, 'row')} in "
        f"{counted(result.tables, 'table')}, {size(result.bytes)} ({size(result.raw_bytes)} "
        f"before), {how}, {result.duration_ms / 1000:.1f} s.",
        "good" if result.encrypted else "warn",
    )
    yield Line(str(result.path))
    if result.globals_left_out:
        yield Line(f"Without roles: {result.globals_left_out}", "warn")
    if left_out := _left_out(result.excluded, result.excluded_data):
        yield Line(f"Left out: {left_out}", "warn")


def copied(result: BackupCopy) -> Iterator[Block]:
    """Where the copy is, and that it was read again."""
    how = "Copied" if result.made else "There already:"
    yield Line(
        f"{how} {result.id}, {size(result.bytes)}: {result.path}. Every byte was compared.", "good"
    )


def _moments(one_moment: bool | None) -> list[tuple[str, Value]]:
    """Say of a cluster's backup whether all of it is as of that moment."""
    if one_moment is None:
        return []
    told = Cell("all", "good") if one_moment else Cell("each as of a moment of its own", "warn")
    return [("Nodes of then", told)]


def _left_out(tables: Sequence[str], data: Sequence[str]) -> str:
    """Name the tables that a backup does not have, or not the rows of."""
    return ", ".join([*tables, *(f"rows of {name}" for name in data)])


def listing(result: BackupList) -> list[Block]:
    """The newest first."""
    if not result.backups:
        return [Line(f"There is no backup in {result.folder}; make one: leadctl backup")]
    columns: list[Column | str] = [
        "Id",
        "Made",
        *numbers("Size"),
        Column("Rows", numbers=True, optional=True),
        Column("Database", optional=True),
        Column("Revision", optional=True),
        Column("Encrypted", optional=True),
        "Verified",
    ]
    notes = [
        *(f"{b.id} was made by a clock that was ahead." for b in result.backups if b.from_future),
        *(
            f"{b.id} does not have: {_left_out(b.excluded, b.excluded_data)}"
            for b in result.backups
            if b.excluded or b.excluded_data
        ),
    ]
    grid = Grid(columns, [_row(backup) for backup in result.backups])
    return [grid, *(Line(note, "warn") for note in notes)]


def show(result: BackupDetails) -> list[Block]:
    """The manifest for people."""
    manifest = result.manifest
    keys = ", ".join(manifest.recipients)
    pairs: list[tuple[str, Value]] = [
        ("Backup", manifest.id),
        ("Folder", str(result.path)),
        ("Made", manifest.snapshot_at),
        *_moments(manifest.one_moment),
        ("Database", f"{manifest.database}, {size(manifest.database_bytes)}"),
        ("App, revision", f"{manifest.app or 'none'}, {manifest.revision or 'none'}"),
        ("Environment", manifest.environment or "unnamed"),
        ("Server, client", f"{manifest.server_version}, {manifest.client_version}"),
        ("WAL position", manifest.lsn),
        ("Encrypted to", Cell(keys, "good") if keys else Cell("none: it is not encrypted", "warn")),
        ("Extensions", ", ".join(f"{e.name} {e.version}" for e in manifest.extensions)),
        ("Roles", manifest.globals_left_out or "in the backup"),
        ("Needs column keys", ", ".join(manifest.keys) or "none"),
        ("Left out", _left_out(manifest.excluded, manifest.excluded_data) or "nothing"),
        ("Pinned", result.pinned),
        ("Verified", _verified(result.verified)),
    ]
    tables = [(table.name, table.rows, size(table.bytes)) for table in manifest.tables]
    files = [(file.name, size(file.bytes), file.sha256) for file in manifest.files]
    return [
        Pairs(pairs),
        Grid(["Table", *numbers("Rows", "Size then")], tables),
        Grid(["File", *numbers("Size"), Column("SHA-256", optional=True)], files),
    ]


def verify(result: VerifyResult) -> Iterator[Block]:
    """What was looked at, then the verdict."""
    rows = [(check.what, _answer(check.ok), check.message) for check in result.checks]
    yield Grid(["What", "", "Found"], rows)
    if not result.ok:
        yield Line(f"The backup {result.id} is damaged.", "bad")
    elif result.depth == "bytes":
        yield Line(
            f"The bytes of {result.id} match their hashes; nothing else was checked.", "warn"
        )
    else:
        how = "was restored" if result.depth == "restored" else "can be read to its end"
        yield Line(f"The backup {result.id} {how}.", "good")
    if result.not_rehearsed:
        yield Line("It could not be rehearsed here, so the result is unknown.", "warn")
    if not result.recorded:
        yield Line(f"This result could not be stored in {result.path}.", "warn")


def prune(result: PruneResult) -> list[Block]:
    """What stays and why, and what goes."""
    if not result.backups:
        return [Line(f"There is no backup in {result.folder}.")]
    rows = [
        (
            backup.id,
            backup.made_at,
            "" if backup.bytes is None else size(backup.bytes),
            backup.kept_as or Cell("removed" if result.removed else "goes", "warn"),
        )
        for backup in result.backups
    ]
    going = sum(backup.kept_as is None for backup in result.backups)
    if result.left:
        verdict = Line(f"{going} removed. Not removed: {', '.join(result.left)}", "bad")
    elif not going:
        verdict = Line("Nothing is to be removed.", "good")
    elif result.removed:
        verdict = Line(f"{going} removed.", "good")
    else:
        verdict = Line(f"{going} would be removed. Nothing was removed; rerun with --yes.", "warn")
    return [Grid(["Id", "Made", *numbers("Size"), "Stays as"], rows), verdict]


def _row(backup: BackupSummary) -> list[Value]:
    pinned = " (pinned)" if backup.pinned else ""
    if backup.damage:
        damaged = Cell("damaged", "bad")
        return [f"{backup.id}{pinned}", backup.made_at, "", None, "", "", None, damaged]
    return [
        f"{backup.id}{pinned}",
        backup.made_at,
        size(backup.bytes or 0),
        backup.rows,
        backup.database,
        backup.revision,
        Cell("yes", "good") if backup.encrypted else Cell("no", "warn"),
        _verified(backup.verified),
    ]


def _verified(found: Verification | None) -> Cell:
    if found is None:
        return Cell("never", "warn")
    if not found.ok:
        return Cell(f"failed, {ago(found.at)}", "bad")
    return Cell(f"{found.depth}, {ago(found.at)}", "warn" if found.depth == "bytes" else "good")


def _answer(ok: bool | None) -> Cell:
    if ok is None:
        return Cell("unknown", "warn")
    return Cell("ok", "good") if ok else Cell("wrong", "bad")
