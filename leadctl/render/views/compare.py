"""Views of what differs between models, migrations and databases."""

from collections.abc import Iterator, Sequence
from typing import Any

from leadctl.db.catalog import Difference
from leadctl.operations.migrate.check import Check
from leadctl.operations.migrate.diff import Diff
from leadctl.operations.migrate.drift import Drift
from leadctl.render.blocks import Block, Cell, Grid, Line, Style
from leadctl.render.text import ago

_LONGEST = 60
_STYLES: dict[str, Style] = {"missing": "bad", "extra": "good", "changed": "warn"}


def check(result: Check) -> list[Block]:
    """What is pending, what the models have beyond the migrations, what was changed by hand."""
    blocks: list[Block] = []
    if result.pending:
        blocks.append(Line(f"Pending: {', '.join(result.pending)}. leadctl migrate", "warn"))
    if result.models:
        blocks.append(Line("Models and migrations differ. leadctl migrate new -m NAME", "warn"))
        blocks.append(
            _grid(result.models, {"missing": "only in migrations", "extra": "only in models"})
        )
    if result.drift:
        blocks.append(Line("The database was changed by hand. leadctl migrate drift", "warn"))
        blocks.append(_grid(result.drift, {"missing": "dropped", "extra": "made"}))
    if result.ok:
        place = f"{result.database}, schema {result.schema}"
        blocks.append(Line(f"Models, migrations and {place} agree.", "good"))
    return blocks


def drift(result: Drift) -> list[Block]:
    """What was changed by hand, and since when it may have been."""
    place = f"{result.database}, schema {result.schema}"
    if result.ok:
        return [Line(f"{place} is as {result.revision} left it.", "good")]
    since = f", applied {ago(result.since)}" if result.since else ""
    return [
        Line(f"{place} was changed by hand since {result.revision}{since}:", "warn"),
        _grid(result.differences, {"missing": "dropped", "extra": "made"}),
        Line("Make a revision of it with: leadctl migrate resolve --adopt-drift -m NAME", "dim"),
    ]


def diff(result: Diff) -> list[Block]:
    """What differs, object by object."""
    if result.ok:
        return [Line(f"{result.before} and {result.after} are equal.", "good")]
    words = {"missing": f"only in {result.before}", "extra": f"only in {result.after}"}
    return [_grid(result.differences, words)]


def _grid(differences: Sequence[Difference], words: dict[str, str]) -> Grid:
    return Grid(
        ["Change", "Object", "What"],
        [
            (
                Cell(words.get(each.change, each.change), _STYLES[each.change]),
                each.object,
                "; ".join(_details(each)),
            )
            for each in differences
        ],
    )


def _details(difference: Difference) -> Iterator[str]:
    before, after = difference.before or {}, difference.after or {}
    for name in difference.attributes:
        yield f"{name.replace('_', ' ')}: {_short(before.get(name))} → {_short(after.get(name))}"


def _short(value: Any) -> str:
    if value is None:
        return "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    text = ", ".join(map(str, value)) if isinstance(value, list) else str(value)
    text = " ".join(text.split())
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 1]}…"
