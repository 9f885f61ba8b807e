"""The embedded server's verbs, and the ways to reach any target with other tools."""

import os
import re
import shutil
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory, gettempdir

from psycopg import sql

from leadctl.errors import ConnectionFailed, LeadctlError
from leadctl.journal import state
from leadctl.journal.guard import Consent, decide, protection
from leadctl.postgres import embedded, exact
from leadctl.postgres.binaries import client_program, server_binaries, server_with
from leadctl.postgres.client import client_environment
from leadctl.postgres.connect import connect
from leadctl.postgres.embedded import Home, ServerStatus
from leadctl.postgres.embedded.temporary_server import rehearsing
from leadctl.postgres.target import DEFAULT_SCHEMA, Target
from leadctl.progress import Narrate
from leadctl.settings.url import DatabaseUrl

_TEMPORARY = "leadctl-temporary-"
"""How the folder of a temporary server begins; the process that made it follows."""


@dataclass(frozen=True)
class TargetUrl:
    """A target's URL for other tools, without the password."""

    url: str
    database: str
    schema: str
    password_left_out: bool


@dataclass(frozen=True)
class ShellCommand:
    """How psql is started for a target: the password is in the environment, never an argument.

    `environment` is the whole of it.
    """

    program: Path
    arguments: tuple[str, ...]
    environment: Mapping[str, str]


def start(project: Path, narrate: Narrate, extensions: Collection[str] = ()) -> ServerStatus:
    """Start the project's embedded server, making it where it is missing, with extensions."""
    return embedded.start(Home.of(project), narrate, extensions)


def stop(project: Path) -> ServerStatus:
    """Stop the project's embedded server."""
    return embedded.stop(Home.of(project))


def status(project: Path) -> ServerStatus:
    """Say whether the project's embedded server exists and runs."""
    return embedded.status(Home.of(project))


@dataclass(frozen=True)
class Destroyed:
    """What was removed."""

    folder: Path
    removed: bool
    """False where there was no embedded server."""


def destroy(project: Path, consent: Consent, narrate: Narrate) -> Destroyed:
    """Remove the project's embedded server with all of its data.

    The server is started to see whether a database in it is protected.  Raises Protected or
    NotConfirmed.
    """
    home = Home.of(project)
    existed = home.exists
    if existed:
        protected = _protected_databases(home, narrate)
        name = ",".join(protected or ()) or project.resolve().name
        if protected is None:
            reason: str | None = "it is not known whether a database in it is protected"
        else:
            reason = "a database in it is protected" if protected else None
        decide(name, reason, "db destroy", consent)
    embedded.destroy(home)
    return Destroyed(project.resolve(), existed)


def _protected_databases(home: Home, narrate: Narrate) -> list[str] | None:
    """Return the databases of which one must say the names; None where they cannot be read."""
    try:
        running = embedded.start(home, narrate)
    except LeadctlError as error:
        narrate(f"The embedded server does not start: {error.message}")
        return None
    maintenance = _maintenance(running)
    with connect(maintenance, "destroy") as connection:
        names = exact.execute(
            connection,
            # Not those that a DROP DATABASE left invalid when it was interrupted.
            "SELECT datname FROM pg_database WHERE datallowconn AND datconnlimit <> -2"
            " AND NOT datistemplate ORDER BY 1",
        ).fetchall()
    return [name for (name,) in names if _is_protected(maintenance.on(name))]


def _is_protected(target: Target) -> bool:
    with connect(target, "destroy", read_only=True) as connection:
        fault = state.find_fault(connection)
        if fault is not None:
            return fault.was_there or state.has_tables(connection)
        return protection(connection, target) is not None


@contextmanager
def rehearsal_target(
    project: Path, extensions: Collection[str], major: int, narrate: Narrate
) -> Iterator[Target]:
    """Yield a target on the project's embedded server, or on one that brings what that lacks.

    Raises MissingExtension where nothing here brings the extensions, and what `start` raises.
    """
    home = Home.of(project)
    own = server_with(extensions, 1, lambda: None)
    if own is not None and own.folder == server_binaries().folder:
        yield _maintenance(embedded.start(home, narrate))
        return
    with rehearsing(home, extensions, major, narrate) as running:
        yield _maintenance(running)


@contextmanager
def temporary_target(extensions: Collection[str], major: int, narrate: Narrate) -> Iterator[Target]:
    """Yield a target on a server of exactly that major version, which goes with the block.

    Raises MissingExtension where no such server is here, and what `start` raises.
    """
    _destroy_left_behind()
    with TemporaryDirectory(prefix=f"{_TEMPORARY}{os.getpid()}-") as folder:
        home = Home.of(Path(folder))
        try:
            with rehearsing(home, extensions, major, narrate, exactly=True) as running:
                yield _maintenance(running)
        finally:
            embedded.destroy(home)


def _destroy_left_behind() -> None:
    """Destroy the temporary servers of this user's whose process was killed."""
    for folder in Path(gettempdir()).glob(f"{_TEMPORARY}*-*"):
        process = folder.name.removeprefix(_TEMPORARY).partition("-")[0]
        if not process.isdecimal() or _is_alive(int(process)):
            continue
        with suppress(OSError, LeadctlError):
            if folder.is_symlink() or folder.stat().st_uid != os.geteuid():
                continue
            home = Home.of(folder)
            embedded.destroy(home)
            shutil.rmtree(folder)


def _is_alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True  # somebody else's
    return True


def _maintenance(running: ServerStatus) -> Target:
    socket = {"host": str(running.socket), "user": embedded.SUPERUSER}
    return Target(
        url=DatabaseUrl(params={**socket, "dbname": "postgres"}),
        schema=DEFAULT_SCHEMA,
        source="embedded server",
        connect_timeout=10,
        embedded=True,
    )


def url(target: Target) -> TargetUrl:
    """Return the target's URL without the password."""
    return TargetUrl(
        url=target.url.without_password(),
        database=target.database,
        schema=target.schema,
        password_left_out=target.url.password is not None,
    )


def shell(target: Target, narrate: Narrate) -> ShellCommand:
    """Return how to start psql on the target, and warn where that is protected.

    Raises MissingClient where there is no psql.
    """
    target = target.fresh()
    with suppress(ConnectionFailed), connect(target, "shell", read_only=True) as connection:
        reason = protection(connection, target)
        if reason:
            narrate(f"Careful: {target.database} is protected: {reason}. psql asks no questions.")
    path = re.sub(r"([\\\s])", r"\\\1", sql.Identifier(target.schema).as_string())
    environment = client_environment(target)
    options = target.url.hidden.get("options")
    given = f"{options.reveal()} " if options else ""
    environment |= {"PGOPTIONS": f"{given}-c search_path={path}", "PGAPPNAME": "leadctl shell"}
    return ShellCommand(client_program("psql"), (target.url.without_password(),), environment)
