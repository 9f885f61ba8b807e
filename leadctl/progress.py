"""How operations report progress: to a callback that they are handed."""

from typing import Protocol


class Progress(Protocol):
    """Called now and then with how far an operation is."""

    def __call__(self, done: int, total: int, unit: str) -> None:
        """`done` of `total`, in a unit such as "rows"; total is 0 where it is not known."""
