"""A chunk as the text that COPY reads."""

from collections.abc import Iterable

from leadctl.apps.synthetic.chunk import ColumnPlan, TablePlan, Values, World
from leadctl.crypto import Key, encrypt

_NULL = "\\N"


def chunk_text(world: World, plan: TablePlan, index: int, key: Key | None) -> bytes:
    """Return the rows of a chunk, a line each; what is to be encrypted is, with the key."""
    chunk = world.chunk(plan.name, index)
    columns = [_texts(world, column, chunk[column.name], key) for column in plan.columns]
    lines = map("\t".join, zip(*columns, strict=True))
    return ("\n".join(lines) + "\n").encode()


def _texts(world: World, column: ColumnPlan, values: Values, key: Key | None) -> Iterable[str]:
    if column.context is not None:
        assert key is not None
        return [
            _NULL if value is None else encrypt(str(value), key, column.context) for value in values
        ]
    if column.kind == "time":
        values = world.calendar.texts(values)
    elif column.kind == "date":
        values = world.calendar.dates(values)
    if None in values:
        values = [_NULL if value is None else value for value in values]
    return values if isinstance(values[0], str) and _all_texts(values) else map(str, values)


def _all_texts(values: Values) -> bool:
    """Whether every value is a text: a maker's values are all texts, or all numbers.

    NULL, which is a text by now, tells nothing, so the first other value is looked at.
    """
    return isinstance(next((value for value in values if value != _NULL), _NULL), str)
