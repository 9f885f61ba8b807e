"""Views of point in time: the archive, its checks, what was recovered from it."""

from collections.abc import Iterator

from leadctl.pitr.setup import PitrOff, PitrSetup
from leadctl.pitr.status import PitrBackup, PitrChecks, PitrRehearsal, PitrStatus
from leadctl.render.blocks import Block, Cell, Grid, Line, Pairs, Value, numbers
from leadctl.text import ago, counted, size


def set_up(result: PitrSetup) -> Iterator[Block]:
    """What was written and made, and what is left to do."""
    yield Line(
        f"The archive of {result.server} (PostgreSQL {result.version}) is set up in "
        f"{result.folder}; it goes back {result.keep_days} days.",
        "good",
    )
    kept = result.keeps_at_most
    yield Line(
        f"From now on the server keeps WAL for the slot {result.slot}, "
        + (f"{kept} at most." if kept else "however much it is, until the receiver has it."),
        "" if kept else "warn",
    )
    if not kept:
        yield Line("A limit keeps its disk from filling up, but may cause a gap in the archive:")
        yield Line("ALTER SYSTEM SET max_slot_wal_keep_size = '50GB'", command=True)
    yield Line("Next, run:")
    yield from (Line(step, command=True) for step in result.steps)


def backed_up(result: PitrBackup) -> Iterator[Block]:
    """The base backup."""
    yield Line(
        f"Base backup {result.id}, {size(result.bytes)}, {result.duration_ms / 1000:.1f} s; every "
        "file is as its manifest says.",
        "good",
    )
    if not result.whole:
        yield Line("Its last WAL has not arrived yet: until then it cannot be restored.", "bad")


def status(result: PitrStatus) -> list[Block]:
    """The window, the receiver, the base backups."""
    state, rehearsed = result.slot_state, result.rehearsal
    keeps: Value = None
    if state is not None:
        keeps = f"{size(state.retained_bytes or 0)} ({state.wal_status})"
    behind = None if state is None or state.lag_bytes is None else size(state.lag_bytes)
    outcome = None
    if rehearsed is not None:
        how = "good" if rehearsed.ok else "FAILED"
        outcome = Cell(f"{how}, {ago(rehearsed.at)}", "good" if rehearsed.ok else "bad")
    pairs: list[tuple[str, Value]] = [
        ("Archive", result.folder),
        ("Server", result.server),
        ("Restores from", result.begins_at),
        ("Restores until", result.ends_at),
        ("Size", size(result.bytes)),
        ("Slot", result.slot),
        ("Receiver is behind", behind),
        ("Server keeps", keeps),
        ("Last rehearsal", outcome or Cell("never: leadctl pitr rehearse", "warn")),
    ]
    rows = [
        (b.id, b.ended_at, size(b.bytes), "yes" if b.whole else "not yet") for b in result.backups
    ]
    grid = Grid(["Base backup", "Ended", *numbers("Size"), "Whole"], rows)
    wrong = [Line(f"Wrong: {result.problem}", "bad")] if result.problem else []
    if result.begins_at is None:
        wrong.append(Line("Nothing can be restored yet: leadctl pitr backup", "bad"))
    return [Pairs(pairs), *([grid] if rows else []), *wrong]


def checks(result: PitrChecks) -> list[Block]:
    """What is wrong first."""
    found = sorted(result.checks, key=lambda each: each.ok)
    rows = [
        (Cell("ok", "good") if c.ok else Cell("FAILED", "bad"), c.check, c.message) for c in found
    ]
    return [Grid(["", "Check", "Found"], rows)]


def rehearsal(result: PitrRehearsal) -> Iterator[Block]:
    """What came back."""
    yield Line(
        f"{result.database} came back as of {result.moment:%Y-%m-%d %H:%M:%S} UTC from the base "
        f"backup {result.base_backup}: {counted(result.rows, 'row')} in "
        f"{counted(result.tables, 'table')}, "
        f"{result.duration_ms / 1000:.1f} s.",
        "good" if result.ok else "",
    )
    found = result.last_commit
    if found is None:
        yield Line("The server did not answer, so the newest commit was not checked.", "warn")
    elif found:
        yield Line("The newest commit is in it.", "good")
    else:
        yield Line("The newest commit is NOT in it.", "bad")


def off(result: PitrOff) -> Iterator[Block]:
    """What is left."""
    dropped = "is dropped" if result.slot_dropped else "was gone already"
    yield Line(f"The receiver is stopped, and the slot {result.slot} {dropped}.")
    yield Line(
        f"{result.folder} has {size(result.bytes_left)} of base backups and WAL left, which "
        "restore as before. Remove the receiver from crontab or systemd."
    )
