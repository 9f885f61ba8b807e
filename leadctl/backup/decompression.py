"""What a file was before it was compressed and encrypted: its first bytes say how, not its name."""

import bz2
import lzma
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import IO, Any

from leadctl.backup.stream import AGE, GuardedSink, Writable, read_into
from leadctl.errors import BackupDamaged, UnreadableDump

_SLICE = 16 * 1024
"""What is decompressed at once of a file whose maker is not known."""
_HEAD = 16
_LAYERS = 3
"""Compressions inside each other that are undone; more are an accident or an attack."""


def _zstd() -> Any:
    import zstandard

    return zstandard.ZstdDecompressor().decompressobj()


_COMPRESSED: tuple[tuple[bytes, str, Callable[[], Any]], ...] = (
    (b"\x1f\x8b", "gzip", lambda: zlib.decompressobj(wbits=zlib.MAX_WBITS | 16)),
    (b"\xfd7zXZ\0", "xz", lzma.LZMADecompressor),
    (b"BZh", "bzip2", bz2.BZ2Decompressor),
    (b"\x28\xb5\x2f\xfd", "zstd", _zstd),
    *((bytes([skip]) + b"\x2a\x4d\x18", "zstd", _zstd) for skip in range(0x50, 0x60)),
)
_REFUSED = (
    (b"PK", "a zip archive", "unzip it first"),
    (b"7z\xbc\xaf", "a 7-Zip archive", "unpack it first"),
    (b"\xff\xfe\0\0", "UTF-32 text", "convert it: iconv -f UTF-32 -t UTF-8"),
    (b"\0\0\xfe\xff", "UTF-32 text", "convert it: iconv -f UTF-32 -t UTF-8"),
    (b"\xff\xfe", "UTF-16 text", "convert it: iconv -f UTF-16 -t UTF-8"),
    (b"\xfe\xff", "UTF-16 text", "convert it: iconv -f UTF-16 -t UTF-8"),
    (b"-----BEGIN AGE", "an armored age file", "decode it: age --decrypt"),
    (b"-----BEGIN PGP", "encrypted by PGP", "decrypt it: gpg --decrypt"),
    (b"Salted__", "encrypted by OpenSSL", "decrypt it: openssl enc -d"),
    (b"Rar!", "a RAR archive", "unpack it first"),
    (b"\x04\x22\x4d\x18", "compressed by lz4", "unpack it: lz4 -d"),
    (b"\x1f\x9d", "compressed by compress", "unpack it: gzip -d"),
    (b"]\0\0", "compressed by lzma", "unpack it: xz --format=lzma -d"),
    (b"SQLite format 3", "a database of SQLite", "convert it to PostgreSQL's SQL"),
    (b"-- MySQL dump", "a dump of MySQL", "convert it to PostgreSQL's SQL"),
    (b"-- MariaDB dump", "a dump of MariaDB", "convert it to PostgreSQL's SQL"),
)


def begins_encrypted(path: Path) -> bool:
    """Whether a file is encrypted by age.  Raises OSError."""
    with path.open("rb") as file:
        return file.read(len(AGE)) == AGE


def begins_packed(path: Path) -> bool:
    """Whether a file is compressed or encrypted.  Raises OSError."""
    with path.open("rb") as file:
        head = file.read(len(AGE))
    return head == AGE or any(head.startswith(magic) for magic, _, _ in _COMPRESSED)


def unpack_file(path: Path, identities: Sequence[Any], sink: Writable) -> None:
    """Write a file, decrypted and decompressed, to a sink; its first bytes say what it is.

    Raises BackupDamaged where it is not whole, UnreadableDump where it is of a kind that is not
    read, and InvalidIdentity where none of the identities reads it.
    """
    with path.open("rb") as file:
        unpack_opened(file, path, identities, sink, encrypted=begins_encrypted(path))


def unpack_opened(
    file: IO[bytes], path: Path | str, identities: Sequence[Any], sink: Writable, *, encrypted: bool
) -> None:
    """Write a file that was opened, of that path, to a sink.  Raises as `unpack_file` does."""
    found = _Layer(sink, path, _LAYERS)
    read_into(file, identities, GuardedSink(found), encrypted=encrypted)
    found.close()


class _Layer:
    """Takes what may be compressed, and hands on what it was."""

    def __init__(self, sink: Writable, path: Path | str, layers: int) -> None:
        self._sink = sink
        self._path = path
        self._layers = layers
        self._head: bytes | None = b""
        self._begin: Callable[[], Any] | None = None
        self._member: Any = None
        self._inner: _Layer | None = None

    def write(self, data: bytes) -> int:
        """Take a piece."""
        if self._head is not None:
            self._head += data
            if len(self._head) >= _HEAD:
                self._take(self._opened())
        else:
            self._take(data)
        return len(data)

    def close(self) -> None:
        """Take the end.  Raises BackupDamaged where it comes too early."""
        if self._head is not None:
            self._take(self._opened())
        if self._member is not None and not self._member.eof:
            raise BackupDamaged(f"{self._path} is cut short: its compressed data does not end.")
        if self._inner:
            self._inner.close()

    def _opened(self) -> bytes:
        """Look at the first bytes, and return them."""
        head, self._head = self._head or b"", None
        for magic, what, hint in _REFUSED:
            if head.startswith(magic):
                raise UnreadableDump(
                    f"{self._path} is {what}, which leadctl does not read.",
                    hint=f"Before you restore it, {hint}.",
                )
        for magic, _, begin in _COMPRESSED if self._layers else ():
            if head.startswith(magic):
                self._begin, self._member = begin, begin()
                self._inner = _Layer(self._sink, self._path, self._layers - 1)
        return head

    def _take(self, data: bytes) -> None:
        if self._inner is None:
            self._sink.write(data)
            return
        # In pieces, so that much of the same does not fill the memory.
        for start in range(0, len(data), _SLICE):
            left = data[start : start + _SLICE]
            while left:
                if self._member.eof:
                    left = left.lstrip(b"\0")  # files are padded by them
                    if not left:
                        break
                    self._member = self._begin() if self._begin else None
                self._inner.write(self._decompressed(left))
                left = self._member.unused_data

    def _decompressed(self, data: bytes) -> bytes:
        import zstandard

        try:
            return bytes(self._member.decompress(data))
        except (zstandard.ZstdError, zlib.error, lzma.LZMAError, OSError, EOFError) as error:
            raise BackupDamaged(f"{self._path} cannot be decompressed: {error}") from None
