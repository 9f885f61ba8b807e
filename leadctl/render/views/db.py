"""Views of db: the embedded server, the identity and URL of a database."""

from leadctl.db import Destroyed, TargetUrl
from leadctl.journal.guard import DatabaseIdentity
from leadctl.postgres.embedded import ServerStatus
from leadctl.render.blocks import Block, Cell, Grid, Line, Pairs, numbers
from leadctl.restore.kept import KeptDropped, KeptList
from leadctl.text import ago, size


def server(result: ServerStatus) -> list[Block]:
    """Whether the server runs, and where it lives."""
    if not result.exists:
        return [Line(f"There is no embedded server in {result.folder.parent}.")]
    state = Cell("running", "good") if result.running else Cell("stopped", "warn")
    pairs: list[tuple[str, str | Cell]] = [
        ("State", state),
        ("PostgreSQL", result.version or ""),
        ("Data", str(result.data)),
        ("Socket", str(result.socket)),
    ]
    if result.pid:
        pairs.append(("Process", str(result.pid)))
    return [Pairs(pairs)]


def destroyed(result: Destroyed) -> list[Block]:
    """What was removed."""
    if not result.removed:
        return [Line(f"There is no embedded server in {result.folder}.")]
    return [Line(f"Removed the embedded server of {result.folder} with all of its data.")]


def kept(result: KeptList) -> list[Block]:
    """What restores left, the oldest first, and how it goes."""
    if not result.kept:
        return [Line(f"No database or schema was kept by restores of {result.database}.")]
    rows = [
        (
            each.name,
            each.kind,
            ago(each.since),
            "unknown" if each.bytes is None else size(each.bytes),
        )
        for each in result.kept
    ]
    grid = Grid(["Name", "Kind", "Since", *numbers("Size")], rows)
    return [grid, Line("If it is no longer needed: leadctl db kept --drop NAME", "dim")]


def dropped(result: KeptDropped) -> list[Block]:
    """What is gone now."""
    return [Line(f"Dropped the {each.kind} {each.name}.") for each in result.dropped]


def url(result: TargetUrl) -> list[Block]:
    """The URL, alone on its line."""
    return [Line(result.url)]


def identity(result: DatabaseIdentity) -> list[Block]:
    """What the database says of itself."""
    protected = Cell("yes", "good") if result.protected else Cell("no", "warn")
    return [
        Pairs(
            [
                ("Database", result.database),
                ("Id", str(result.id) if result.id else "none: leadctl never wrote to it"),
                ("Environment", result.environment or "unnamed"),
                ("Protected", protected),
            ]
        )
    ]
