"""Paths as people give them, files that appear whole or not at all, and private files."""

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from leadctl.errors import LeadctlError, UsageError


def expanded(path: str | Path) -> Path:
    """Return a path in which `~` is a home.  Raises UsageError where there is none."""
    try:
        return Path(path).expanduser()
    except RuntimeError:
        raise UsageError(
            f"The path {path} has no home folder.", hint="Write the path in full."
        ) from None


_BUFFER = 1024 * 1024


def absolute(path: str | Path, folder: Path | None = None) -> Path:
    """Return a path from a folder, else from the current one, as `expanded` does."""
    return (folder or Path.cwd()) / expanded(path)


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


def write_whole(path: Path, text: str, mode: int) -> None:
    """Write a text file under another name, then rename it; `mode` is less the umask.

    Raises OSError.
    """
    partial = path.with_name(f".{path.name}.partial")
    partial.unlink(missing_ok=True)
    descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(descriptor)
        partial.replace(path)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise


@contextmanager
def private_file(path: Path, flag: int = os.O_EXCL) -> Iterator[IO[bytes]]:
    """Open a new file that only its owner may read, and sync it to disk at the block's end.

    With `flag` O_TRUNC one that is there is overwritten.  Raises OSError.
    """
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | flag, 0o600)
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
