"""How many rows a batch takes: as many as the server works on for a short time."""

_FIRST, _FEWEST, _MOST = 200, 50, 50_000
_GROWTH = 2.0


class Pace:
    """Aims at batches of `shortest` seconds of work.

    Where the way to the server and the commit take longer than that, the work is to take as long as
    they do, so that they are half of a run at most; up to `longest` seconds.
    """

    def __init__(self, shortest: float, longest: float) -> None:
        self._shortest = shortest
        self._longest = longest
        # The shortest that was seen: a large batch's commit takes long because the batch is large.
        self._way = longest
        self.rows = _FIRST
        """What the next batch takes."""

    def took(self, elapsed: float, worked: float) -> None:
        """Learn from a batch: how many seconds it took in all, and the work on it."""
        self._way = min(self._way, elapsed - worked)
        factor = max(self._shortest, self._way) / max(worked, 0.0001)
        grown = round(self.rows * min(_GROWTH, max(1 / _GROWTH, factor)))
        self.rows = max(_FEWEST, min(_MOST, grown))
