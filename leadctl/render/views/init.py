"""The views of init's results."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from leadctl.init.discovery import PrismaState
from leadctl.init.existing_models import InitResult
from leadctl.init.from_database import DatabaseInit, Unrepresented
from leadctl.init.project_files import WrittenFile
from leadctl.render.blocks import Block, Cell, Grid, Line, Style
from leadctl.text import counted, listed

_PRISMA_STYLE: Mapping[PrismaState, Style] = {
    PrismaState.APPLIED: "good",
    PrismaState.UNCHECKED: "",
    PrismaState.PENDING: "warn",
    PrismaState.ROLLED_BACK: "warn",
}


_LISTED, _NAMED = 20, 3
"""Up to so many objects of a kind have a line each; of more, so many are named."""


def init(result: InitResult) -> Iterator[Block]:
    """What was found and written, what to look at, what to run next."""
    source = result.models or "the env.py"
    yield Line(f"{result.app}: {counted(len(result.tables), 'table')} from {source}.")
    yield _files(result.files)
    yield from _guesses(result)


def from_database(result: DatabaseInit) -> Iterator[Block]:
    """What was read and written, what the models cannot say, what to look at, what to run next."""
    yield Line(
        f"{result.app}: {counted(len(result.tables), 'table')} of {result.database}, schema "
        f"{result.schema}; {result.revision} is recorded as applied."
    )
    yield _files(result.files)
    if result.unrepresented:
        yield Line(
            "The baseline creates these as they are; the models lack them or differ. leadctl.toml "
            "lists as `unmanaged` those that a revision would change:"
        )
        yield _unrepresented(result.unrepresented)
    for history in result.histories:
        kept = ", ".join(history.tables)
        yield Line(f"The history of {history.tool} is not changed: {kept}.")
    if result.prisma:
        migrations = [
            (each.name, Cell(each.state.value, _PRISMA_STYLE.get(each.state, "bad")))
            for each in result.prisma
        ]
        yield Grid(["Prisma's migration", "State"], migrations)
    yield from _guesses(result)


def _unrepresented(found: Sequence[Unrepresented]) -> Grid:
    """What the models lack: of a kind that there is a lot of the number, and a few."""
    kinds: dict[tuple[str, str], list[str]] = {}
    for each in found:
        kinds.setdefault((each.object.partition(" ")[0], each.change), []).append(each.object)
    rows: list[tuple[str, str]] = []
    for (kind, change), names in kinds.items():
        if len(names) <= _LISTED:
            rows += [(name, change) for name in names]
        else:
            own = [name.partition(" ")[2] for name in names]
            rows.append((f"{counted(len(names), kind)}: {listed(own, _NAMED)}", change))
    return Grid(["Object", "In the models"], rows)


def _files(files: Sequence[WrittenFile]) -> Grid:
    return Grid(
        ["File", "", "What"], [(_shown(file.path), file.state, file.what) for file in files]
    )


def _guesses(result: InitResult | DatabaseInit) -> Iterator[Block]:
    if result.encrypted:
        yield Line(
            "These columns look as if they held secrets, and the models do not encrypt them:"
        )
        yield Grid(["Column", "Reason"], [(each.column, each.why) for each in result.encrypted])
    if result.retention:
        named = listed([each.table for each in result.retention], _LISTED)
        yield Line(f"Rules suggested in leadctl.toml, as comments: {named}.")
    yield from map(Line, result.notes)
    yield Line("Next:")
    yield from (Line(f"  {command}") for command in result.next)


def _shown(path: Path) -> str:
    return str(path.relative_to(Path.cwd())) if path.is_relative_to(Path.cwd()) else str(path)
