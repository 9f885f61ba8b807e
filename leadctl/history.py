"""What ran on a database."""

from dataclasses import dataclass

from leadctl.journal.runs import JournaledRun, read_journal
from leadctl.postgres.connect import connect
from leadctl.postgres.target import Target


@dataclass(frozen=True)
class RunHistory:
    """The newest runs of a database, newest first."""

    database: str
    runs: tuple[JournaledRun, ...]


def history(target: Target, limit: int) -> RunHistory:
    """Read the journal; changes nothing.  Raises what connecting raises."""
    with connect(target, "history", read_only=True) as connection:
        return RunHistory(target.database, tuple(read_journal(connection, limit)))
