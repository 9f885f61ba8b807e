"""The views of init's results."""

from pathlib import Path

from leadctl.operations.init.own import InitResult
from leadctl.render.blocks import Block, Grid, Line


def init(result: InitResult) -> list[Block]:
    """What was found and written, what to look at, what to run next."""
    source = result.models or "the env.py"
    blocks: list[Block] = [
        Line(f"{result.app}: {len(result.tables)} tables from {source}."),
        Grid(
            ["File", "", "What"],
            [(_shown(file.path), file.state, file.what) for file in result.files],
        ),
    ]
    if result.encrypted:
        blocks += [
            Line("These columns look as if they held secrets, and are not encrypted:"),
            Grid(["Column", "Because of"], [(each.column, each.why) for each in result.encrypted]),
        ]
    if result.retention:
        named = ", ".join(each.table for each in result.retention)
        blocks += [Line(f"Rules suggested in leadctl.toml, as comments: {named}.")]
    blocks += [Line(note) for note in result.notes]
    blocks += [Line("Next:"), *(Line(f"  {command}") for command in result.next)]
    return blocks


def _shown(path: Path) -> str:
    return str(path.relative_to(Path.cwd())) if path.is_relative_to(Path.cwd()) else str(path)
