"""The statement log of `-vv` and LEADCTL_LOG_SQL: every statement and its time, no parameters."""

import logging
import time
from collections.abc import Iterable
from typing import Any, Self

import psycopg

from leadctl.redact import scrub

LOGGER = logging.getLogger("leadctl.sql")


class LoggingCursor(psycopg.Cursor[Any]):
    """A cursor that logs what it executes."""

    def execute(self, query: Any, params: Any = None, **options: Any) -> Self:
        """Execute and log one statement."""
        started = time.perf_counter()
        try:
            return super().execute(query, params, **options)
        finally:
            self._log(query, started)

    def executemany(self, query: Any, params_seq: Iterable[Any], **options: Any) -> None:
        """Execute and log a statement for many parameters, as one."""
        started = time.perf_counter()
        try:
            super().executemany(query, params_seq, **options)
        finally:
            self._log(query, started)

    def _log(self, query: Any, started: float) -> None:
        milliseconds = (time.perf_counter() - started) * 1000
        text = query if isinstance(query, str) else psycopg.sql.SQL("{}").format(query)
        plain = text if isinstance(text, str) else text.as_string(self)
        LOGGER.info("%.1f ms  %s", milliseconds, scrub(" ".join(plain.split())))
