"""Views of what differs between models, migrations and databases."""

from collections.abc import Iterator, Sequence
from typing import Any

from leadctl.catalog.compare import Difference
from leadctl.migrate.diff import Diff, Drift, SchemaCheck
from leadctl.render.blocks import Block, Cell, Grid, Line, Style
from leadctl.text import ago

_LONGEST = 60
_CONTEXT = 20
_STYLES: dict[str, Style] = {"missing": "bad", "extra": "good", "changed": "warn"}


def check(result: SchemaCheck) -> list[Block]:
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
        old, new = _short(_text(before.get(name)), _text(after.get(name)))
        yield f"{name.replace('_', ' ')}: {old} → {new}"


def _text(value: Any) -> str:
    if value is None:
        return "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, dict):
        value = [f"{key}: {each}" for key, each in value.items()]
    text = ", ".join(map(str, value)) if isinstance(value, list) else str(value)
    return " ".join(text.split())


def _short(old: str, new: str) -> tuple[str, str]:
    """Return two texts, those that are long from shortly before the place where they differ."""
    if max(len(old), len(new)) <= _LONGEST:
        return old, new
    pairs = enumerate(zip(old, new, strict=False))
    differs = next(
        (index for index, (one, other) in pairs if one != other), min(len(old), len(new))
    )
    start = max(0, differs - _CONTEXT)
    return _cut(old, start), _cut(new, start)


def _cut(text: str, start: int) -> str:
    shown = f"…{text[start:]}" if start else text
    return shown if len(shown) <= _LONGEST else f"{shown[: _LONGEST - 1]}…"
