"""Running a script of pg_dump's through psql, in one transaction where it can."""

import re
import secrets
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import IO, Any

from psycopg import sql

from leadctl.errors import BackupDamaged, LeadctlError, MissingClient, RestoreFailed
from leadctl.postgres.binaries import client_program
from leadctl.postgres.client import ClientProgram, running
from leadctl.postgres.target import Target
from leadctl.restore.pg_restore import TRANSACTION_TIMEOUT_SINCE, major_of
from leadctl.restore.restorable import Loading

_HELD_BACK = 8 * 1024
"""Bytes at either end of a script in which pg_dump's own lines are looked for."""
_BEGINS = re.compile(rb"^-- PostgreSQL database dump\r?$", re.MULTILINE)
_ENDS = re.compile(rb"^-- PostgreSQL database dump complete\r?$", re.MULTILINE)
_RESTRICT = re.compile(rb"^\\restrict [0-9A-Za-z]+\r?$", re.MULTILINE)
_UNRESTRICT = re.compile(rb"^\\unrestrict [0-9A-Za-z]+\r?$", re.MULTILINE)
_TRANSACTION_TIMEOUT = re.compile(rb"^SET transaction_timeout = 0;\r?$", re.MULTILINE)


def load_script(
    target: Target, path: Path, unpack: Callable[[Any], None], loading: Loading
) -> None:
    """Run the script that `unpack` writes on the target's database, which is empty.

    It runs up to the first error; `path` is the file, for messages.
    psql's own commands are refused in it: they could act on another database, or on this machine.
    Raises RestoreFailed, BackupDamaged where its end is missing, and MissingClient.
    """
    try:
        _run(target, path, unpack, loading, ["--single-transaction"])
    except _NeedsNoTransactionError as error:
        # Nothing of it was committed, so it can run again.
        loading.narrate(f"It cannot run in one transaction ({error}); running it without.")
        _run(target, path, unpack, loading, [])


class _NeedsNoTransactionError(Exception):
    """A statement of the script cannot run inside a transaction."""


def _run(
    target: Target,
    path: Path,
    unpack: Callable[[Any], None],
    loading: Loading,
    transaction: list[str],
) -> None:
    role = sql.SQL("SET ROLE {}").format(sql.Identifier(target.role or "")).as_string(None)
    as_role = [f"--command={role}"] if target.role else []
    older = major_of(target) < TRANSACTION_TIMEOUT_SINCE
    arguments = [
        "--no-psqlrc",
        "--quiet",
        "--set=ON_ERROR_STOP=1",
        *transaction,
        *as_role,
        # Its counterpart is known to nobody but this run, so nothing in the script lifts it.
        # What its statements were read by before: another setting would end strings elsewhere.
        "--command=SET standard_conforming_strings = on",
        f"--command=\\restrict {secrets.token_hex(16)}",
        "--file=-",
    ]
    loading.narrate("Running the script.")
    with running(target, client_program("psql"), arguments, stdin=True) as program:
        with suppress(BrokenPipeError):  # psql ended early, and says why
            sink = _ScriptFilter(program.stdin, loading, older=older)
            unpack(sink)
            # Before its input ends: then psql would commit what is half.
            if not sink.close():
                raise BackupDamaged(f"{path} is cut short: pg_dump's last line is missing.")
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
            "It would run commands of psql, such as one that connects to another database: dump a "
            "single database, without --create."
        )
    return failure


class _ScriptFilter:
    """Hands a script on, without the lines at its ends that mean something to psql alone."""

    def __init__(self, pipe: IO[bytes], loading: Loading, *, older: bool) -> None:
        self._pipe = pipe
        self._report = loading.loaded
        self._older = older
        self._head: bytes | None = b""
        self._tail = b""
        self._is_dump = False
        self._bytes = 0

    def write(self, data: bytes) -> int:
        """Take a piece of the script."""
        self._bytes += len(data)
        self._report(self._bytes)
        whole = self._tail + data
        if self._head is not None:
            self._head += data
            if len(self._head) < _HELD_BACK:
                return len(data)
            whole = self._without_preamble()
        self._tail = whole[-_HELD_BACK:]
        self._pipe.write(whole[:-_HELD_BACK])
        return len(data)

    def close(self) -> bool:
        """Hand on the rest; return whether the script has its end, as far as one can know."""
        if self._head is not None:
            self._tail = self._without_preamble()
        if self._is_dump and not _ENDS.search(self._tail):
            return False
        self._pipe.write(_UNRESTRICT.sub(b"", self._tail))
        return True

    def _without_preamble(self) -> bytes:
        head, self._head = self._head or b"", None
        self._is_dump = bool(_BEGINS.search(head))
        # Only once: further down it could be somebody's data.
        head = _RESTRICT.sub(b"", head, count=1) if self._is_dump else head
        return _TRANSACTION_TIMEOUT.sub(b"", head, count=1) if self._older else head
