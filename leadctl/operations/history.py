"""What ran on a database."""

from dataclasses import dataclass

from leadctl.db.connect import connect
from leadctl.db.journal import JournaledRun, read_journal
from leadctl.db.target import Target


@dataclass(frozen=True)
class RunHistory:
    """The newest runs of a database, newest first."""

    database: str
    runs: tuple[JournaledRun, ...]


def history(target: Target, limit: int) -> RunHistory:
    """Read the journal; changes nothing.  Raises what connecting raises."""
    with connect(target, "history", read_only=True) as connection:
        return RunHistory(target.database, tuple(read_journal(connection, limit)))
