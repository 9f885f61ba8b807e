"""Paths as people give them, files that appear whole or not at all, and private files.

Whatever leadctl makes, it makes where nothing was: a link that somebody left there is not followed.
"""

import errno
import fcntl
import importlib.machinery
import os
import re
import shutil
import stat
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from io import BufferedReader
from pathlib import Path
from typing import IO
from urllib.parse import quote, unquote

from leadctl.errors import LeadctlError, NotOnThisMachine, UntrustedFile, UsageError

_SCHEMES = ("s3", "gs", "az")
_OTHERS = ("s3a", "s3n", "gcs", "abfs", "abfss", "wasb", "wasbs", "azure", "http", "https", "file")
_URL = re.compile(r"(?P<scheme>[A-Za-z][A-Za-z0-9+.-]*)://(?P<rest>.*)", re.DOTALL)
_MADE_OF_URL = tuple(f"{each}:" for each in (*_SCHEMES, *_OTHERS))
"""What a path begins with that was made of a URL."""


class ObjectUrl(str):
    """A place in object storage: s3://bucket/prefix, gs:// or az://."""

    __slots__ = ()

    @property
    def name(self) -> str:
        """Its last part."""
        return self.rpartition("/")[2]

    @property
    def parent(self) -> "ObjectUrl":
        """What it is in."""
        return ObjectUrl(self.rpartition("/")[0])

    def __truediv__(self, name: str) -> "ObjectUrl":
        """Return a place in it; whatever the name has in it, it is one part of the URL."""
        return ObjectUrl(f"{self.rstrip('/')}/{quote(name, safe='')}")

    def exists(self) -> bool:
        """Say that somebody named it: whether it is there is found when it is used."""
        return True


def object_url(text: str) -> ObjectUrl | None:
    """Return the URL of object storage that a text is; None for what is no URL of it.

    Raises UsageError, which does not repeat it, where it has no bucket, or what the client would
    pass over: credentials, a query, a fragment, or parts that lead elsewhere.
    """
    found = _URL.fullmatch(text)
    if found is None or found["scheme"].lower() not in _SCHEMES:
        return None
    rest = found["rest"].rstrip("/")
    scheme, passed_over = found["scheme"], re.search(r"[?#]|^[^/]*[@:]", rest)
    elsewhere = {"", ".", ".."} & set(map(unquote, rest.split("/")))
    if not scheme.islower() or elsewhere or passed_over:
        raise UsageError(
            f"The URL is not a place in object storage. Write it as {scheme.lower()}://BUCKET/PREFIX.",
            hint="Set credentials in the provider's variables; the URL may not contain ?, #, // "
            "or ..",
        )
    return ObjectUrl(f"{scheme}://{rest}")


def expanded(path: str | Path) -> Path:
    """Return a path in which `~` is a home.  Raises UsageError where there is none.

    Raises NotOnThisMachine for a URL, which would be a folder `s3:` here.
    """
    url = _URL.fullmatch(str(path))
    first = Path(path).parts[0] if Path(path).parts else ""
    if url is not None or first.lower() in _MADE_OF_URL:
        scheme = url["scheme"] if url else first.rstrip(":")
        if scheme not in _SCHEMES:
            raise NotOnThisMachine(
                f"{scheme}:// is not a folder of this machine.",
                hint="Name a folder; backups and archives may also be in s3://, gs:// or az://.",
            )
        plain = re.fullmatch(r"[\w./:-]+", str(path))  # else there may be a secret in it
        shown = path if plain else f"{scheme}://…"
        raise NotOnThisMachine(
            f"{shown} is in object storage: only backups and archives of cleanup are written and "
            "read there (BACKUP_DIR, --to, --from, --archive).",
            hint="Name a folder of this machine; copy it there with your provider's tools, e.g. "
            "aws s3 sync, or rclone.",
        )
    try:
        return Path(path).expanduser()
    except RuntimeError:
        raise UsageError(
            f"The home folder in {path} is not known.", hint="Write the path in full."
        ) from None


_BUFFER = 1024 * 1024
_PARTIAL = ".partial"
_BEGUN_SECONDS = 60
"""In which a file that was made may not be locked yet."""


def absolute(path: str | Path, folder: Path | None = None) -> Path:
    """Return a path from a folder, else from the current one; raises as `expanded` does."""
    return (folder or Path.cwd()) / expanded(path)


def package_folder(location: str, paths: Sequence[str] = ()) -> Path | None:
    """Return the folder that `package:folder` names, without importing the package.

    It is looked for in `paths` first.  None where no such package is there.
    """
    package, *parts = location.split(":")
    top, *below = package.split(".")
    try:
        spec = importlib.machinery.PathFinder.find_spec(top, [*paths, *sys.path])
    except (ImportError, ValueError):
        return None
    if spec is None or not spec.submodule_search_locations:
        return None
    folders = [Path(each).joinpath(*below, *parts) for each in spec.submodule_search_locations]
    return next((each for each in folders if each.is_dir()), folders[0])


def read_private(path: Path, error: type[LeadctlError], *, name: str, hint: str) -> str:
    """Return the text of a file that only its owner may read.

    `name` is what the file is called in messages, `hint` what it is to be.  Raises `error` where
    it cannot be read, or where others could have read it.
    """
    try:
        mode = stat.S_IMODE(path.stat().st_mode)
        if mode & 0o077:
            raise error(
                f"The {name} {path} may be read by others (mode {mode:04o}).",
                hint=f"Run chmod 600 {path} and replace its keys: treat them as compromised.",
            )
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as failure:
        reason = getattr(failure, "strerror", None) or "it is not valid UTF-8"
        raise error(f"Cannot read the {name} {path}: {reason}.", hint=hint) from None


def trusted(path: Path) -> Path:
    """Return a file or folder that nobody else could have written; raise UntrustedFile otherwise.

    It is ours, or root's, or, for root by sudo, that of who called sudo; and neither everybody nor
    a group with others in it may write it.  As git has it for a repository (safe.directory).
    LEADCTL_TRUST in the environment of the process lists files and folders that are trusted anyway.
    """
    reason = _distrust(path.lstat()) or (_distrust(path.stat()) if path.is_symlink() else None)
    return _believed(path, reason)


def not_led_elsewhere(path: Path) -> Path:
    """Return a folder to write to; raise UntrustedFile for a link of another user there.

    Your own may lead to another disk; whose the folder is, and who else may write it, is its own.
    """
    return _believed(path, _distrust(path.lstat()) if path.is_symlink() else None)


def _believed(path: Path, reason: str | None) -> Path:
    if reason is None or _is_listed(path):
        return path
    raise UntrustedFile(
        f"{path} is not used: {reason}.",
        hint=f"If you trust it: export LEADCTL_TRUST={path}",
    )


def _distrust(found: os.stat_result) -> str | None:
    ours = {0, os.geteuid()}
    if os.geteuid() == 0 and os.environ.get("SUDO_UID", "").isdecimal():
        ours.add(int(os.environ["SUDO_UID"]))
    if found.st_uid not in ours:
        return f"it belongs to another user (uid {found.st_uid})"
    if stat.S_ISLNK(found.st_mode):
        return None  # everybody may "write" a link; its folder says who really may
    mode = f"mode {stat.S_IMODE(found.st_mode):04o}"
    if found.st_mode & stat.S_IWOTH:
        return f"everybody may write it ({mode})"
    if found.st_mode & stat.S_IWGRP and not _is_own_group(found.st_uid, found.st_gid):
        return f"the group {found.st_gid} may write it ({mode})"
    return None


def _is_own_group(uid: int, gid: int) -> bool:
    """Whether a group is one user's own: of the same name, with nobody else in it."""
    import grp
    import pwd

    try:
        name, group = pwd.getpwuid(uid).pw_name, grp.getgrgid(gid)
    except KeyError:  # a container's numeric user, which has a group of the same number
        return uid == gid
    return group.gr_name == name and set(group.gr_mem) <= {name}


def _is_listed(path: Path) -> bool:
    listed = {
        os.path.realpath(each) for each in os.environ.get("LEADCTL_TRUST", "").split(":") if each
    }
    real = Path(os.path.realpath(path))
    return not listed.isdisjoint({str(real), *map(str, real.parents)})


def make_file(path: Path, text: str = "") -> None:
    """Make a private file where nothing is; one that exists is left alone.  Raises OSError."""
    with suppress(FileExistsError), private_file(path) as file:
        file.write(text.encode())


def open_regular(path: Path) -> BufferedReader:
    """Open a file for reading that is one itself: no link, pipe or device.  Raises OSError."""
    handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    if not stat.S_ISREG(os.fstat(handle).st_mode):
        os.close(handle)
        raise OSError(errno.EINVAL, "It is not a regular file", str(path))
    return open(path, "rb", opener=lambda *_: handle)  # so that its name is the path


def is_real_folder(path: Path) -> bool:
    """Whether a path is a folder itself, and not a link to one."""
    try:
        return stat.S_ISDIR(path.lstat().st_mode)
    except FileNotFoundError:
        return False


@contextmanager
def temporary_folder(prefix: str) -> Iterator[Path]:
    """Yield a private folder that goes with the block; what killed processes left goes before.

    Theirs have the same prefix, are this user's, and are not locked any more.  Raises OSError.
    """
    for other in Path(tempfile.gettempdir()).glob(f"{prefix}*"):
        if is_real_folder(other) and other.lstat().st_uid == os.geteuid():
            _remove_unlocked(other)
    with tempfile.TemporaryDirectory(prefix=prefix) as folder:
        handle = os.open(folder, os.O_RDONLY)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX)
            yield Path(folder)
        finally:
            os.close(handle)


def write_whole(path: Path, text: str, mode: int) -> None:
    """Write a text file under a name of its own, then rename it; `mode` is less the umask.

    Who writes the same file at the same time has another name, and the last one wins.  What killed
    processes left is removed: their locks ended with them.  Raises OSError.
    """
    begin = f".{path.name}."
    for other in path.parent.iterdir():
        if other.name.startswith(begin) and other.name.endswith(_PARTIAL):
            _remove_unlocked(other)
    partial = path.with_name(f"{begin}{os.urandom(4).hex()}{_PARTIAL}")
    descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            file.write(text)
            file.flush()
            os.fsync(descriptor)
        partial.replace(path)
    except BaseException as error:
        partial.unlink(missing_ok=True)
        if isinstance(error, OSError):
            error.filename = str(path)
        raise


def _remove_unlocked(partial: Path) -> None:
    """Remove a file or folder, unless it was begun just now or a process is at work with it."""
    with suppress(OSError):  # gone, locked, or of somebody else
        if time.time() - partial.lstat().st_mtime < _BEGUN_SECONDS:
            return  # its writer may not have locked it yet
        handle = os.open(partial, os.O_RDONLY | os.O_NOFOLLOW)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if partial.is_dir():
                shutil.rmtree(partial)
            else:
                partial.unlink()
        finally:
            os.close(handle)


@contextmanager
def private_file(path: Path, flag: int = os.O_EXCL) -> Iterator[IO[bytes]]:
    """Open a new file that only its owner may read, and sync it to disk at the block's end.

    With `flag` O_TRUNC one that exists is overwritten, but never what a link points to.  Raises
    OSError.
    """
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | flag, 0o600)
    with os.fdopen(handle, "wb", buffering=_BUFFER) as file:
        yield file
        file.flush()
        os.fsync(file.fileno())


def write_private(path: Path, text: str) -> None:
    """Write a file that only its owner may read, and sync it to disk.  Raises OSError."""
    with private_file(path, os.O_TRUNC) as file:
        file.write(text.encode())


def sync_folder(folder: Path) -> None:
    """Make the names in a folder durable.  Raises OSError."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
