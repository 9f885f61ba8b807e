"""How what runs tells of itself: to callbacks that it is handed."""

from collections.abc import Callable
from typing import Protocol

Narrate = Callable[[str], None]
"""Called with a sentence for whoever watches."""


class Progress(Protocol):
    """Called now and then with how far an operation is."""

    def __call__(self, done: int, total: int, unit: str) -> None:
        """`done` of `total`, in a unit such as "rows", or "B" for bytes.

        Total is 0 where it is not known.
        """


def unheard(sentence: str) -> None:
    """Narrate to nobody."""


def silent(done: int, total: int, unit: str) -> None:
    """Progress that nobody looks at."""
