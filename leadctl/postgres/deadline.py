"""An end to waiting for a server that does not answer."""

import os
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from leadctl.postgres.connect import Connection


@contextmanager
def cut_after(connection: Connection, seconds: float) -> Iterator[None]:
    """Cut a connection off when the block takes longer than `seconds`.

    statement_timeout is kept by the server; this holds where the server itself hangs.  The
    statement that waits then fails with psycopg.OperationalError.
    """
    handle = os.dup(connection.pgconn.socket)

    def cut() -> None:
        with suppress(OSError), socket.socket(fileno=os.dup(handle)) as wire:
            wire.shutdown(socket.SHUT_RDWR)

    timer = threading.Timer(seconds, cut)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
        timer.join()
        os.close(handle)
