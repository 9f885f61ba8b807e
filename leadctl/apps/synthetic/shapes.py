"""What an app's factory declares: how often, in which layout, and what its columns hold.

What is not declared is inferred from types, constraints and foreign keys.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from leadctl.apps.synthetic.chunk import Maker


@dataclass(frozen=True)
class Shape:
    """One table.

    `share` is its proportion of all rows; 0 is a table that something else fills.  `owner` is the
    table that its rows belong to, where it is not the one that inference would take.
    """

    table: str
    share: float
    columns: Mapping[str, Maker | None] = field(default_factory=dict)
    """Makers by column; None leaves the column to the server's default."""
    owner: str | None = None
    event: bool = False
    """Whether the rows are in the order of time as a whole, as what happens is."""
    even: bool = False
    """Whether every owner has the same number of rows."""
    at_most: float | None = None
    """The most rows that an owner may have, on average."""


@dataclass(frozen=True)
class Factory:
    """The shapes of an app's tables."""

    shapes: tuple[Shape, ...] = ()

    def shape(self, table: str) -> Shape | None:
        """Return the shape of a table, if it is declared."""
        return next((shape for shape in self.shapes if shape.table == table), None)
