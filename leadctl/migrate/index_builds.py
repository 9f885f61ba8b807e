"""Progress of a long index build, as the server tells it to a second session."""

import threading
from types import TracebackType
from typing import Self

from leadctl.errors import LeadctlError
from leadctl.postgres.connect import Connection, connect
from leadctl.postgres.queries import beside
from leadctl.postgres.target import Target
from leadctl.progress import Progress

_QUERIES = beside(__file__, "live_tables.sql")
_POLL_SECONDS = 1.0


class IndexBuilds:
    """While it is entered, reports what a session's index builds have done, every second."""

    def __init__(self, target: Target, session: int, progress: Progress) -> None:
        self._target = target
        self._session = session
        self._progress = progress
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._end.set()
        self._thread.join()

    def _watch(self) -> None:
        if self._end.wait(_POLL_SECONDS):
            return  # most runs are over by then, and need no second session
        try:
            with connect(self._target, "progress", statement_timeout=_POLL_SECONDS) as connection:
                self._report(connection)
                while not self._end.wait(_POLL_SECONDS):
                    self._report(connection)
        except LeadctlError:
            return  # no connection is left for it; the build itself goes on

    def _report(self, connection: Connection) -> None:
        row = connection.execute(
            _QUERIES.get("index_build", connection.info.server_version),
            {"session": self._session},
        ).fetchone()
        if row:
            self._progress(*row)
