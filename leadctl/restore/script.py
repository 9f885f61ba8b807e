"""Running a script of pg_dump's through psql, in one transaction where it can."""

import re
import secrets
from contextlib import suppress
from typing import IO

from psycopg import sql

from leadctl.errors import BackupDamaged, LeadctlError, MissingClient, RestoreFailed
from leadctl.postgres.binaries import client_program
from leadctl.postgres.client import ClientProgram, running
from leadctl.postgres.connect import connect
from leadctl.postgres.target import Target
from leadctl.restore.dump_file import Packed
from leadctl.restore.restorable import Loading

_HELD_BACK = 8 * 1024
"""Bytes at either end of a script in which pg_dump's own lines are looked for."""
_BEGINS = b"-- PostgreSQL database dump\n"
_ENDS = b"-- PostgreSQL database dump complete\n"
_RESTRICT = re.compile(rb"^\\restrict [0-9A-Za-z]+$", re.MULTILINE)
_UNRESTRICT = re.compile(rb"^\\unrestrict [0-9A-Za-z]+$", re.MULTILINE)
_TRANSACTION_TIMEOUT = re.compile(rb"^SET transaction_timeout = 0;$", re.MULTILINE)
_TRANSACTION_TIMEOUT_SINCE = 17


def load_script(target: Target, script: Packed, loading: Loading) -> None:
    """Run a script on the target's database, which is empty, up to the first error.

    psql's own commands are refused in it: they could act on another database, or on this machine.
    Raises RestoreFailed, BackupDamaged where its end is missing, and MissingClient.
    """
    try:
        _run(target, script, loading, ["--single-transaction"])
    except _NeedsNoTransactionError as error:
        # Nothing of it was committed, so it can run again.
        loading.narrate(f"It cannot run in one transaction ({error}); running it without.")
        _run(target, script, loading, [])


class _NeedsNoTransactionError(Exception):
    """A statement of the script cannot run inside a transaction."""


def _run(target: Target, script: Packed, loading: Loading, transaction: list[str]) -> None:
    with connect(target, "restore") as connection:
        major = connection.info.server_version // 10000
        role = sql.SQL("SET ROLE {}").format(sql.Identifier(target.role or ""))
        as_role = [f"--command={role.as_string(connection)}"] if target.role else []
    arguments = [
        "--no-psqlrc",
        "--quiet",
        "--set=ON_ERROR_STOP=1",
        *transaction,
        *as_role,
        # Its counterpart is known to nobody but this run, so nothing in the script lifts it.
        f"--command=\\restrict {secrets.token_hex(16)}",
        "--file=-",
    ]
    loading.narrate("Running the script.")
    with running(target, client_program("psql"), arguments, stdin=True) as program:
        with suppress(BrokenPipeError):  # psql ended early, and says why
            sink = _Ends(program.stdin, loading, older=major < _TRANSACTION_TIMEOUT_SINCE)
            script.unpack(sink)
            # Before its input ends: then psql would commit what is half.
            if not sink.close():
                raise BackupDamaged(f"{script.path} is cut short: pg_dump's last line is missing.")
            program.stdin.close()
        if program.wait() != 0:
            raise _failure(program, target)


def _failure(program: ClientProgram, target: Target) -> LeadctlError:
    text = "; ".join(program.errors())
    other = "DATABASE cannot run inside" in text or "restricted" in text
    if "invalid command \\restrict" in text:
        return MissingClient(
            "psql is too old to keep a script from running commands on this machine.",
            hint="Install it with: pip install --upgrade 'leadctl[embedded]', or update your "
            "system's packages.",
        )
    if "cannot run inside a transaction block" in text and not other:
        raise _NeedsNoTransactionError(text)
    failure = program.failure(target, RestoreFailed)
    if other:
        failure.hint = (
            "It would make or change another database, or run commands of psql: dump a single "
            "database, without --create."
        )
    return failure


class _Ends:
    """Hands a script on, without the lines at its ends that mean something to psql alone."""

    def __init__(self, pipe: IO[bytes], loading: Loading, *, older: bool) -> None:
        self._pipe = pipe
        self._loading = loading
        self._older = older
        self._head: bytes | None = b""
        self._tail = b""
        self._is_dump = False
        self._bytes = 0

    def write(self, data: bytes) -> int:
        """Take a piece of the script."""
        self._bytes += len(data)
        self._loading.loaded(self._bytes)
        if self._head is not None:
            self._head += data
            if len(self._head) < _HELD_BACK:
                return len(data)
            data_on = self._without_preamble()
        else:
            data_on = data
        whole = self._tail + data_on
        self._tail = whole[-_HELD_BACK:]
        self._pipe.write(whole[:-_HELD_BACK])
        return len(data)

    def close(self) -> bool:
        """Hand on the rest; return whether the script has its end, as far as one can know."""
        if self._head is not None:
            self._tail = self._without_preamble()
        if self._is_dump and _ENDS not in self._tail:
            return False
        self._pipe.write(_UNRESTRICT.sub(b"", self._tail))
        return True

    def _without_preamble(self) -> bytes:
        head, self._head = self._head or b"", None
        self._is_dump = _BEGINS in head
        # Only once: further down it could be somebody's data.
        head = _RESTRICT.sub(b"", head, count=1) if self._is_dump else head
        return _TRANSACTION_TIMEOUT.sub(b"", head, count=1) if self._older else head
