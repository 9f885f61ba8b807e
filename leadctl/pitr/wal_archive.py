"""The archive: a folder with base backups and WAL of one server, which Barman's programs write.

Barman is run and never imported, and its folders are read where it has no command that answers.
"""

import json
import os
import re
import shutil
import signal
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import Any

from leadctl.child_processes import child_environment
from leadctl.errors import BarmanFailed, MissingProgram, PitrNotSetUp
from leadctl.files import temporary_folder, trusted, write_whole
from leadctl.postgres.binaries import BARMAN_CONFIGURATION, BARMAN_SERVER, Binaries, barman_command
from leadctl.postgres.target import DEFAULT_SCHEMA, Target
from leadctl.redact import scrub
from leadctl.settings.url import DatabaseUrl

_FACTS = "leadctl.json"
_REHEARSAL = "rehearsal.json"
_FORMAT = 1
_SEGMENT = re.compile(r"[0-9A-F]{24}(\.partial)?")
_COMMIT = re.compile(
    r"lsn: (?P<lsn>[0-9A-F]+/[0-9A-F]+), .*desc: (?:COMMIT|ABORT)(?:_PREPARED \d+:)? "
    r"(?P<at>\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d+) UTC"
)
"""https://www.postgresql.org/docs/current/pgwaldump.html"""
_ENDED_WELL = ("DONE", "WAITING_FOR_WALS")
_STOP_SECONDS = 10.0
_SHOWN = 3
_WATCHED = (
    'exec 3<&0; { read _ <&3; kill -TERM 0; } & watch=$!; "$@" </dev/null 3<&-; code=$?; '
    "kill $watch; exit $code"
)
"""A shell ends a program with all that it has started when leadctl is gone, however it went."""


@dataclass(frozen=True)
class ArchivedServer:
    """The server of an archive, as it was when the archive was set up."""

    system_identifier: str
    """By which PostgreSQL itself knows its WAL."""
    major: int
    minor: int
    database: str
    superuser: str
    slot: str
    keep_days: int
    connection: dict[str, str]
    """Parameters of libpq, without a secret."""
    extensions: tuple[str, ...]

    @property
    def address(self) -> str:
        """Where it is, for people."""
        host, port = self.connection.get("host", ""), self.connection.get("port", "5432")
        return f"{host or 'this machine'}:{port}"


@dataclass(frozen=True)
class BaseBackup:
    """A copy of the server's files, from which WAL leads on."""

    id: str
    ended_at: datetime
    """From then on there is a moment to go back to."""
    bytes: int
    whole: bool
    """Whether all the WAL that it needs is there."""


@dataclass(frozen=True)
class Commit:
    """The end of a transaction in the WAL."""

    at: datetime
    lsn: str


@dataclass(frozen=True)
class RehearsalRecord:
    """How the last rehearsal went."""

    at: datetime
    ok: bool
    moment: datetime
    rows: int
    seconds: float


@dataclass(frozen=True)
class WalArchive:
    """A folder of Barman's for one server."""

    folder: Path

    @property
    def configuration(self) -> Path:
        """Barman's configuration file."""
        return self.folder / BARMAN_CONFIGURATION

    @property
    def password_file(self) -> Path:
        """The password of the role that Barman connects as, if it has one."""
        return self.folder / "pgpass"

    @property
    def is_set_up(self) -> bool:
        """Whether there is one."""
        return (self.folder / _FACTS).exists()

    @cached_property
    def server(self) -> ArchivedServer:
        """The server that is archived.  Raises PitrNotSetUp and UntrustedFile."""
        path = self.folder / _FACTS
        if not path.exists():
            raise PitrNotSetUp(
                f"Point-in-time recovery is not set up: there is no archive in {self.folder}.",
                hint="Set PITR_DIR to the archive's folder, or make one with: leadctl pitr setup",
            )
        for each in (self.folder, path, self.configuration):
            if each.exists():
                trusted(each)
        try:
            facts = json.loads(path.read_text(encoding="utf-8"))
            if facts.pop("format") != _FORMAT:
                raise ValueError
            return ArchivedServer(**facts | {"extensions": tuple(facts["extensions"])})
        except (OSError, ValueError, TypeError, KeyError, AttributeError):
            raise PitrNotSetUp(
                f"{path} cannot be read.",
                hint="leadctl pitr setup writes it again; the archive itself is not touched by it.",
            ) from None

    def write(self, server: ArchivedServer) -> None:
        """Write down which server it is of.  Raises OSError."""
        text = json.dumps({"format": _FORMAT, **asdict(server)}, indent=2)
        write_whole(self.folder / _FACTS, text + "\n", 0o600)

    @property
    def target(self) -> Target:
        """The server that is archived, wherever settings lead by now."""
        params = dict(self.server.connection)
        if self.password_file.exists():
            params["passfile"] = str(self.password_file)
        url = DatabaseUrl(params=params)
        return Target(url, DEFAULT_SCHEMA, source=str(self.configuration), connect_timeout=10)

    def run(
        self, *arguments: str, seconds: float | None = None, temporary: Path | None = None
    ) -> str:
        """Run Barman to its end and return what it prints; its temporary files are where you say.

        It ends with leadctl, whatever ends that.  Raises BarmanFailed, with its words, and
        MissingExtra.
        """
        done = self._run(arguments, seconds, temporary)
        if done.returncode:
            raise BarmanFailed(
                f"barman {' '.join(arguments[:1])} failed: {_reason(done)}",
                hint=f"Its log is {self.folder / 'barman.log'}.",
            )
        return done.stdout

    def ask(self, command: str, *arguments: str, seconds: float | None = None) -> Any:
        """Return what Barman says of the server, of its JSON.  Raises as `run` does."""
        done = self._run(("-f", "json", command, BARMAN_SERVER, *arguments), seconds)
        with suppress(ValueError, KeyError, TypeError):  # it failed, and says why
            return json.loads(done.stdout)[BARMAN_SERVER]
        raise BarmanFailed(
            f"barman {command} failed: {_reason(done)}",
            hint=f"Its log is {self.folder / 'barman.log'}.",
        )

    def _run(
        self, arguments: Sequence[str], seconds: float | None, temporary: Path | None = None
    ) -> "subprocess.CompletedProcess[str]":
        self.server  # noqa: B018 - raises where there is no archive
        command = ["/bin/sh", "-c", _WATCHED, "barman", *barman_command(self.folder, *arguments)]
        environment = child_environment(libpq=False) | {"LC_ALL": "C.UTF-8", "TZ": "UTC"}
        if temporary is not None:
            environment["TMPDIR"] = str(temporary)
        with subprocess.Popen(
            command,
            env=environment,
            cwd=self.folder,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        ) as process:
            try:
                # Not communicate(): it would close standard input, which says that leadctl lives.
                out, err = _read_both(process, seconds)
            except BaseException:
                _end(process)
                raise
        return subprocess.CompletedProcess(command, process.returncode, out, err)

    def base_backups(self, seconds: float | None = None) -> tuple[BaseBackup, ...]:
        """Return those that have ended well, the oldest first.

        Raises BarmanFailed, also where Barman does not answer within so many seconds.
        """
        found = [
            BaseBackup(
                id=listed["backup_id"],
                # Whole seconds: of the one that it ended in nobody knows the part before.
                ended_at=datetime.fromtimestamp(int(listed["end_time_timestamp"]) + 1, UTC),
                bytes=int(listed["size_bytes"]),
                whole=listed["status"] == "DONE",
            )
            for listed in self.ask("list-backups", seconds=seconds)
            if listed["status"] in _ENDED_WELL
        ]
        return tuple(sorted(found, key=lambda backup: backup.ended_at))

    def tablespaces(self, base: BaseBackup, seconds: float | None = None) -> dict[int, str]:
        """Return a base backup's tablespaces, by their oids.  Raises BarmanFailed, as above."""
        shown = self.ask("show-backup", base.id, seconds=seconds)
        return {int(space["oid"]): space["name"] for space in shown["tablespaces"]}

    def size(self) -> int:
        """Return the bytes of the folder's files."""
        return sum(
            path.lstat().st_size
            for folder, _, names in os.walk(self.folder)
            for path in (Path(folder, name) for name in names)
            if path.exists()
        )

    def newest_commit(self, programs: Binaries) -> Commit | None:
        """Return the newest transaction's end that is in the archive, be its segment whole or not.

        pg_waldump reads it, of the server's major version.
        """
        for segment in reversed(self._segments()):
            if found := max(_commits(segment, programs), key=lambda c: c.at, default=None):
                return found
        return None

    @property
    def has_wal(self) -> bool:
        """Whether a segment of WAL is archived."""
        return any((self.folder / BARMAN_SERVER / "wals").glob("*/*"))

    def _segments(self) -> list[Path]:
        """Return the files of WAL, the oldest first; Barman may move them meanwhile."""
        own = self.folder / BARMAN_SERVER
        found: dict[str, Path] = {}
        for pattern in ("streaming/*", "wals/*/*"):
            for path in own.glob(pattern):
                if _SEGMENT.fullmatch(path.name):
                    found[path.name[:24]] = path
        return [found[name] for name in sorted(found)]

    @property
    def rehearsal(self) -> RehearsalRecord | None:
        """The last one; None where there was none, or nobody can read how it went."""
        try:
            record = json.loads((self.folder / _REHEARSAL).read_text(encoding="utf-8"))
            times = {name: datetime.fromisoformat(record[name]) for name in ("at", "moment")}
            return RehearsalRecord(**record | times)
        except (OSError, ValueError, TypeError, KeyError):
            return None

    def write_rehearsal(self, record: RehearsalRecord) -> None:
        """Write down how a rehearsal went.  Raises OSError."""
        text = json.dumps(asdict(record), default=lambda at: at.isoformat())
        write_whole(self.folder / _REHEARSAL, text + "\n", 0o600)


def _commits(segment: Path, programs: Binaries) -> Iterator[Commit]:
    """Read the ends of transactions in a segment; one that is not whole ends with an error."""
    with temporary_folder("leadctl-wal-") as folder:
        named = folder / segment.name[:24]
        named.symlink_to(segment)
        done = subprocess.run(
            [programs.path("pg_waldump"), "--rmgr=Transaction", f"--path={folder}", named.name],
            env=child_environment(libpq=False) | {"LC_ALL": "C", "TZ": "UTC"},
            capture_output=True,
            text=True,
            errors="replace",
            check=False,
        )
    for line in done.stdout.splitlines():
        if found := _COMMIT.search(line):
            yield Commit(datetime.fromisoformat(f"{found['at']}+00:00"), found["lsn"])


def require_rsync() -> None:
    """Raise MissingProgram where rsync is missing, which Barman copies with when it restores."""
    if shutil.which("rsync") is None:
        raise MissingProgram(
            "rsync, which Barman restores with, is not installed.",
            hint="Install it from your system's packages, e.g. apt-get install rsync.",
        )


def _read_both(process: "subprocess.Popen[str]", seconds: float | None) -> tuple[str, str]:
    from threading import Thread

    assert process.stdout is not None
    assert process.stderr is not None
    read: dict[str, str] = {}
    streams = {"out": process.stdout, "err": process.stderr}

    def drain(name: str) -> None:
        read[name] = streams[name].read()

    threads = [Thread(target=drain, args=(name,), daemon=True) for name in streams]
    for thread in threads:
        thread.start()
    try:
        process.wait(seconds)
    except subprocess.TimeoutExpired:
        raise BarmanFailed(f"barman did not end within {seconds:g} s.") from None
    for thread in threads:
        thread.join(_STOP_SECONDS)
    return read.get("out", ""), read.get("err", "")


def _end(process: "subprocess.Popen[str]") -> None:
    """End a program and all that it has started."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        with suppress(ProcessLookupError):
            os.killpg(process.pid, number)
        with suppress(subprocess.TimeoutExpired):
            process.wait(_STOP_SECONDS)
            return


def _reason(done: "subprocess.CompletedProcess[str]") -> str:
    """Return why Barman failed: its own errors, else its last words."""
    errors: list[str] = []
    with suppress(ValueError, AttributeError):
        errors = [str(each) for each in json.loads(done.stdout).get("_ERROR", [])]
    lines = [line.strip() for line in (done.stderr + "\n" + done.stdout).splitlines()]
    errors = errors or [line.removeprefix("ERROR: ") for line in lines if "ERROR" in line]
    errors = errors or [line for line in lines if line][-1:]
    return scrub("; ".join(errors[:_SHOWN])) or f"it ended with exit code {done.returncode}"
