"""A file that somebody made: plain, or compressed and encrypted as its suffixes say."""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from leadctl.backup.stream import is_encrypted, unpack_file
from leadctl.errors import InvalidIdentity

_PACKED = frozenset({".age", ".zst", ".gz"})


@dataclass(frozen=True)
class Packed:
    """A file or folder, and the private keys that read it where it is encrypted."""

    path: Path
    identities: Sequence[Any]

    @property
    def is_plain(self) -> bool:
        """Whether other programs can read it as it is."""
        return self.path.suffix not in _PACKED

    @property
    def made_at(self) -> datetime:
        """When it was last written."""
        return datetime.fromtimestamp(self.path.stat().st_mtime, UTC)

    @property
    def size(self) -> int:
        """Its size, or that of the files in it."""
        files = self.path.iterdir() if self.path.is_dir() else [self.path]
        return sum(file.stat().st_size for file in files)

    def head(self, size: int) -> bytes:
        """Return its first bytes, unpacked.  Raises as `unpack` does."""
        taken = _Head(size)
        with suppress(_EnoughError):
            self.unpack(taken)
        return taken.data

    def tail(self, size: int) -> bytes:
        """Return its last bytes, unpacked.  Raises as `unpack` does."""
        taken = _Tail(size)
        self.unpack(taken)
        return taken.data

    def unpack(self, sink: Any) -> None:
        """Write it, decrypted and decompressed, to a sink.

        Raises BackupDamaged and InvalidIdentity.
        """
        if is_encrypted(self.path) and not self.identities:
            raise InvalidIdentity(
                f"{self.path} is encrypted, and no private key is set here.",
                hint="Set BACKUP_IDENTITY_FILE or --identity to the file of the private key.",
            )
        unpack_file(self.path, self.path, self.identities, sink)


class _EnoughError(Exception):
    """The head is there."""


class _Tail:
    def __init__(self, size: int) -> None:
        self._size = size
        self.data = b""

    def write(self, data: bytes) -> int:
        self.data = (self.data + data)[-self._size :]
        return len(data)


class _Head:
    def __init__(self, size: int) -> None:
        self._size = size
        self.data = b""

    def write(self, data: bytes) -> int:
        self.data = (self.data + data)[: self._size]
        if len(self.data) == self._size:
            raise _EnoughError
        return len(data)
