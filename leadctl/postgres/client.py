"""Running PostgreSQL's own client programs: no secret in their arguments."""

import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from psycopg.conninfo import make_conninfo

from leadctl.child_processes import child_environment
from leadctl.errors import BackupDamaged, LeadctlError, NoSpace
from leadctl.postgres.connect import KEEPALIVES, options_of_programs
from leadctl.postgres.target import Target
from leadctl.postgres.translate import client_error
from leadctl.redact import without_values

_PIPE_BYTES = 1024 * 1024
_ERRORS_SHOWN = 3
_LINE_MAX = 400
_STOP_SECONDS = 5.0
_NO_SPACE = "No space left on device"
_LITTLE = 64 * 1024
_FROM_ENTRY = re.compile(r"pg_restore: from TOC entry (\d+); ")
_ENTRY_ERROR = re.compile(
    r"pg_restore: error: (?:could not execute query: |COPY failed for table .*?: )?"
    r"(?:[^\W\d_]+:  +)?(.*)"
)
_OF_PSQL = re.compile(
    r"(?:psql:<stdin>:\d+:\s*[^:]+:\s+|[^:\s]+:  )(?P<state>[0-9A-Z]{5}): (?P<text>.*)"
)
"""With VERBOSITY=verbose; the word for an error is in the server's language.  Of a command, and of
COMMIT, it says no line."""
_NO_ERRORS = ("00", "01", "02")
"""Classes of SQLSTATE."""
_WENT_ON = re.compile(r"pg_restore: warning: errors ignored on restore")


class ClientProgram:
    """A client program that runs, with what it writes to standard error."""

    def __init__(self, process: "subprocess.Popen[bytes]", messages: IO[bytes]) -> None:
        self._process = process
        self._messages = messages
        self._seen = 0
        self.name = Path(str(process.args[0])).name  # type: ignore[index]

    @property
    def stdin(self) -> IO[bytes]:
        """The program's standard input, where one was asked for."""
        assert self._process.stdin is not None
        return self._process.stdin

    @property
    def stdout(self) -> IO[bytes]:
        """The program's standard output, where one was asked for."""
        assert self._process.stdout is not None
        return self._process.stdout

    def wait(self) -> int:
        """Wait for the program's end and return its exit code."""
        return self._process.wait()

    def stop(self) -> None:
        """End the program, whatever it does; nothing where it has ended."""
        if self._process.poll() is None:
            self._process.terminate()
            try:
                self._process.wait(_STOP_SECONDS)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()

    def errors(self, but: str | None = None) -> list[str]:
        """Return the errors that the program reported, without the rows that they may quote.

        Those of the command `but` are left out: what failed is told by it, in any language.
        """
        self._messages.seek(0)
        # A message begins with the program's name; DETAIL and CONTEXT lines may quote rows, but for
        # the one in which pg_dump says why the server sent no more.
        name = re.escape(self.name)
        # Workers of one program that fail at once mix the beginnings of their lines.
        error = re.compile(
            rf"(?:{name}:(?:<stdin>:\d+:)?\s*)+(?:error|fatal):\s+(?:{name}:\s*|error:\s+)*(.*)",
            re.IGNORECASE,
        )
        reason = re.compile(rf"{name}: detail: Error message from server: (?:ERROR:\s*)?(.*)")
        errors: list[str] = []
        for line in (line.decode(errors="replace") for line in self._messages):
            if found := _OF_PSQL.match(line):
                if not found["state"].startswith(_NO_ERRORS):
                    errors.append(without_values(found["text"].strip()))
            elif errors and line.rstrip() == f"Command was: {but}":
                errors.pop()
            elif found := error.match(line):
                errors.append(without_values(found[1].strip()))
            elif errors and (found := reason.match(line)):
                errors[-1] += f" {without_values(found[1].strip())}"
        return errors

    def failed_command(self) -> str:
        """Return the statement of the error that pg_restore ended with; "" where it tells none."""
        self._messages.seek(0)
        said = self._messages.read().decode(errors="replace")
        _, told, command = said.rpartition("\nCommand was: ")
        return command.partition(f"\n{self.name}: ")[0] if told else ""

    def sqlstates(self) -> set[str]:
        """Return the SQLSTATEs that psql reported, where its VERBOSITY is verbose."""
        self._messages.seek(0)
        lines = (line.decode(errors="replace") for line in self._messages)
        return {found["state"] for line in lines if (found := _OF_PSQL.match(line))}

    def failed_entries(self, but: str) -> list[tuple[str, str]]:
        """Return the ids of what pg_restore could not load, and why, without quoting rows.

        Those of the command `but` are left out.  It says them with --verbose.  Empty where it did
        not go on to the archive's end.
        """
        self._messages.seek(0)
        entry, failed = "", list[tuple[str, str]]()
        for line in (line.decode(errors="replace").rstrip("\n") for line in self._messages):
            if found := _FROM_ENTRY.match(line):
                entry = found[1]
            elif failed and line == f"Command was: {but}":
                failed.pop()
            elif found := _ENTRY_ERROR.match(line):
                failed.append((entry, without_values(found[1].strip())))
            elif _WENT_ON.match(line):
                return failed
        return []

    def first_message(self) -> str:
        """Return the first line that the program wrote to standard error, else its exit code."""
        self._messages.seek(0)
        first = self._messages.readline(_LINE_MAX).decode(errors="replace").rstrip("\n")
        return without_values(first) or f"exit code {self.wait()}"

    def new_messages(self) -> list[str]:
        """Return the whole lines that the program wrote to standard error since the last call."""
        size = os.fstat(self._messages.fileno()).st_size
        found = os.pread(self._messages.fileno(), size - self._seen, self._seen)
        lines = found[: found.rfind(b"\n") + 1]
        self._seen += len(lines)
        return lines.decode(errors="replace").splitlines()

    def failure(
        self, target: Target, otherwise: type[LeadctlError], errors: Sequence[str] | None = None
    ) -> LeadctlError:
        """Return the error that says why the program failed: the connection's, or `otherwise`.

        `errors` are those that matter, where not all do.
        """
        text = "; ".join((self.errors() if errors is None else errors)[:_ERRORS_SHOWN])
        full = None if text else _full_folder(text)
        return (
            full
            or client_error(text, target)
            or otherwise(
                f"{self.name} on {target.describe()} failed: "
                f"{text or f'it ended with exit code {self._process.returncode}'}"
            )
        )


@contextmanager
def running(
    target: Target | None,
    program: Path,
    arguments: Sequence[str],
    *,
    stdin: bool = False,
    stdout: bool | IO[bytes] = False,
    keep: Sequence[int] = (),
) -> Iterator[ClientProgram]:
    """Run a client program, on the target where one is given, and end it with the block.

    `stdin` and `stdout` ask for pipes; `stdout` may be a file that is written to; `keep` are open
    files that the program reads, too.
    """
    target = target.fresh() if target else None
    on_target = [f"--dbname={_conninfo(target)}", "--no-password"] if target else []
    pipes = {True: subprocess.PIPE, False: subprocess.DEVNULL}
    with tempfile.TemporaryFile() as messages:
        process = subprocess.Popen(
            [program, *on_target, *arguments],
            env=client_environment(target) | {"LC_ALL": "C"},  # messages are read
            stdin=pipes[stdin],
            stdout=pipes[stdout] if isinstance(stdout, bool) else stdout,
            stderr=messages,
            pass_fds=keep,
            pipesize=_PIPE_BYTES if stdin or stdout else -1,
        )
        client = ClientProgram(process, messages)
        try:
            yield client
        finally:
            client.stop()
            for pipe in (process.stdin, process.stdout):
                if pipe is not None:
                    _close(pipe)


@contextmanager
def feeding(
    pg_restore: Path,
    arguments: Sequence[str],
    what: str,
    output: IO[bytes] | None = None,
    keep: Sequence[int] = (),
) -> Iterator[IO[bytes]]:
    """Run pg_restore, on no database, on the archive that the block writes to what is yielded.

    `output` is where its own goes, `keep` are open files that it reads, too.  Raises BackupDamaged
    with the block's end where pg_restore cannot read the archive, which messages call `what`.
    """
    to = output or False
    with running(None, pg_restore, arguments, stdin=True, stdout=to, keep=keep) as program:
        with suppress(BrokenPipeError):  # it ended early, and says why, or has what it needs
            yield program.stdin
            program.stdin.close()
        if program.wait() != 0:
            said = "; ".join(program.errors()[:_ERRORS_SHOWN])
            if full := _full_folder(said):
                raise full
            raise BackupDamaged(f"pg_restore cannot read {what}: {said or program.first_message()}")


def _full_folder(said: str) -> NoSpace | None:
    """Return the error of a full folder for temporary files, which keeps messages out, too."""
    folder = tempfile.gettempdir()
    if _NO_SPACE not in said and (said or shutil.disk_usage(folder).free > _LITTLE):
        return None
    return NoSpace(
        f"The disk of {folder} is full.",
        hint="Free space there, or let TMPDIR name another folder. Then run it again.",
    )


def _close(pipe: IO[bytes]) -> None:
    with suppress(BrokenPipeError):  # what was still buffered for a program that has ended
        pipe.close()


def _conninfo(target: Target) -> str:
    return make_conninfo(**{**KEEPALIVES, **target.url.params, "dbname": target.database})


def client_environment(target: Target | None) -> dict[str, str]:
    """Return the environment of PostgreSQL's programs: the target's password is in it, if any."""
    kept = child_environment(libpq=not (target and target.embedded)) | {"PGAPPNAME": "leadctl"}
    if target:
        kept["PGCONNECT_TIMEOUT"] = str(max(2, round(target.connect_timeout)))
        if "options" in target.url.hidden:
            kept["PGOPTIONS"] = target.url.hidden["options"].reveal()
        if options := options_of_programs(target):
            # pg_dump and pg_restore have no SQLSTATE for what failed.
            kept["PGOPTIONS"] = f"{kept.get('PGOPTIONS', '')} {options}".lstrip()
        if target.url.password:
            kept["PGPASSWORD"] = target.url.password.reveal()
    return kept
