"""A compressed file, encrypted where there are recipients: `age -d FILE | zstd -d` reads it, too.

The one place of cleanup that knows the formats.
"""

import hashlib
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from leadctl.errors import ArchiveDamaged, ArchiveFailed, InvalidIdentity, InvalidRecipient

_LEVEL = 3
_CHUNK = 1024 * 1024


@dataclass(frozen=True)
class Sealed:
    """A file as it was written."""

    bytes: int
    sha256: str


def extension(recipients: Sequence[Any]) -> str:
    """Return how the name of a file ends."""
    return ".zst.age" if recipients else ".zst"


def recipients_of(text: str | None) -> tuple[Any, ...]:
    """Read the age and SSH public keys of a setting.  Raises InvalidRecipient."""
    import pyrage

    found = []
    for key in (part.strip() for part in (text or "").split(",")):
        if not key:
            continue
        kind = pyrage.ssh if key.startswith("ssh-") else pyrage.x25519
        try:
            found.append(kind.Recipient.from_str(key))
        except pyrage.RecipientError:
            raise InvalidRecipient(
                f"BACKUP_RECIPIENTS has a key that is none: {key[:20]}…",
                hint="An age public key begins with age1, an SSH one with ssh-ed25519 or ssh-rsa.",
            ) from None
    return tuple(found)


def identities_of(path: str | None) -> tuple[Any, ...]:
    """Read the age private keys of a file; none where no file is named.  Raises InvalidIdentity."""
    import pyrage

    if path is None:
        return ()
    lines = Path(path).read_text(encoding="utf-8").splitlines()
    try:
        return tuple(
            pyrage.x25519.Identity.from_str(line.strip())
            for line in lines
            if line.strip() and not line.startswith("#")
        )
    except pyrage.IdentityError:
        raise InvalidIdentity(
            f"{path} is not a file of age private keys.", hint="Make one with: age-keygen -o FILE"
        ) from None


def seal(source: Any, path: Path, recipients: Sequence[Any]) -> Sealed:
    """Write what `source.read` returns into a new file, for its owner alone, and sync it.

    What was written is read again: raises ArchiveFailed where it is not what was meant.
    """
    import zstandard

    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(handle, "wb", buffering=_CHUNK) as file:
        sink = _Hashed(file)
        compressor = zstandard.ZstdCompressor(level=_LEVEL, write_checksum=True)
        guarded = _Guarded(compressor.stream_reader(source, closefd=False))
        if recipients:
            _encrypt(guarded, sink, recipients)
        else:
            while chunk := guarded.read(_CHUNK):
                sink.write(chunk)
        file.flush()
        os.fsync(file.fileno())
    if hash_of(path) != sink.digest.hexdigest():
        raise ArchiveFailed(f"{path} does not read as it was written.", hint="Check the disk.")
    return Sealed(sink.bytes, sink.digest.hexdigest())


def unseal(path: Path, identities: Sequence[Any], sink: Any) -> None:
    """Hand the content of a file to `sink.write`.  Raises ArchiveDamaged and InvalidIdentity."""
    import zstandard

    try:
        with zstandard.ZstdDecompressor().stream_writer(sink, closefd=False) as writer:
            if path.suffix != ".age":
                with path.open("rb") as file:
                    while chunk := file.read(_CHUNK):
                        writer.write(chunk)
            else:
                _decrypt(path, identities, writer)
    except zstandard.ZstdError as error:
        raise ArchiveDamaged(f"{path} cannot be decompressed: {error}.") from None


def hash_of(path: Path) -> str:
    """Return the SHA-256 of a file, as hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def sync_folder(folder: Path) -> None:
    """Make the names in a folder durable."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _encrypt(source: "_Guarded", sink: "_Hashed", recipients: Sequence[Any]) -> None:
    import pyrage

    try:
        pyrage.encrypt_io(source, sink, list(recipients))
    except Exception as error:  # noqa: BLE001 - pyrage has no class for it
        # pyrage tells of an error in reading or writing as a text only.
        cause = source.error or sink.error
        raise cause or ArchiveFailed(f"Encryption failed: {error}.") from None


def _decrypt(path: Path, identities: Sequence[Any], sink: Any) -> None:
    import pyrage

    if not identities:
        raise InvalidIdentity(
            f"{path} is encrypted, and no private key is there to read it.",
            hint="Set BACKUP_IDENTITY_FILE to the file of the private key.",
        )
    guarded = _Guarded(sink)
    try:
        with path.open("rb") as file:
            pyrage.decrypt_io(file, guarded, list(identities))
    except Exception as error:  # noqa: BLE001 - pyrage has no class for it
        if guarded.error is not None:
            raise guarded.error from None
        if "No matching keys" in str(error):
            raise InvalidIdentity(
                f"{path} is not encrypted to the key of the identity file.",
                hint="Set BACKUP_IDENTITY_FILE to the private key of one of its recipients.",
            ) from None
        raise ArchiveDamaged(f"{path} is not what was encrypted: {error}.") from None


class _Guarded:
    """Hands on reads and writes, and remembers the error that one ended with."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream
        self.error: BaseException | None = None

    def read(self, size: int = -1) -> bytes:
        try:
            return bytes(self._stream.read(size))
        except BaseException as error:
            self.error = error
            raise

    def write(self, data: bytes) -> int:
        try:
            self._stream.write(data)
        except BaseException as error:
            self.error = error
            raise
        return len(data)

    def flush(self) -> None:
        """Do nothing: a file is flushed once, at its end."""


class _Hashed(_Guarded):
    """A file whose content is counted and hashed while it is written."""

    def __init__(self, file: IO[bytes]) -> None:
        super().__init__(file)
        self.digest = hashlib.sha256()
        self.bytes = 0

    def write(self, data: bytes) -> int:
        self.digest.update(data)
        self.bytes += len(data)
        return super().write(data)
