"""The table writer: as wide as the terminal, or whole when piped."""

import os
from collections.abc import Sequence
from typing import TextIO

from leadctl.render import plain
from leadctl.render.blocks import Block, Line
from leadctl.text import folded, value_text

_UNBOUNDED = 10_000
"""Columns; wide enough that nothing is wrapped in a pipe."""
_FALLBACK = 80


def write(blocks: Sequence[Block], stream: TextIO) -> None:
    """Write blocks to a stream; colour only on a terminal, and not with NO_COLOR."""
    width = _width(stream)
    lines = [block for block in blocks if isinstance(block, Line)]
    if not stream.isatty() and len(lines) == len(blocks):
        stream.writelines(f"{folded(value_text(line.text), width)}\n" for line in lines)
        return
    if not stream.isatty() and width == _UNBOUNDED:
        stream.write(dumps(blocks))
        return
    from leadctl.render.terminal import render  # 30 ms for Rich that a pipe need not pay

    color = stream.isatty() and not os.environ.get("NO_COLOR")
    rendered = render(blocks, width=width, color=color)
    stream.writelines(f"{line.rstrip()}\n" for line in rendered.splitlines())


def dumps(blocks: Sequence[Block]) -> str:
    """Return blocks as text, without colour and as wide as they are."""
    return plain.render(blocks)


def _width(stream: TextIO) -> int:
    columns = os.environ.get("COLUMNS", "")
    if columns.isdigit() and int(columns) > 0:
        return int(columns)
    if not stream.isatty():
        return _UNBOUNDED
    return os.get_terminal_size(stream.fileno()).columns or _FALLBACK
