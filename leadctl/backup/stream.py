"""One file of a backup: zstd in the age format, so that `age` and `zstd` read it, too.

What is compressed begins with a skippable frame (RFC 8878, 3.1.2), which zstd passes over: it says
which backup and which file this is, inside the encryption.
"""

import hashlib
import json
import re
import struct
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from io import BufferedReader
from pathlib import Path
from typing import IO, Any, Protocol

from leadctl.errors import BackupDamaged, BackupFailed, InvalidIdentity, InvalidRecipient
from leadctl.files import read_private
from leadctl.redact import remember

_SKIPPABLE = 0x184D2A50
_LABEL_MAX = 4096
AGE = b"age-encryption.org/v1\n"
"""https://github.com/C2SP/C2SP/blob/main/age.md"""
_LEVEL = 2
"""A third less work than level 3, and still smaller than what pg_dump's gzip makes."""
_THREADS = 2
_CHUNK = 1024 * 1024


class Readable(Protocol):
    """What bytes are read from."""

    def read(self, size: int, /) -> bytes:
        """Return at most `size` bytes; none at the end."""


class Writable(Protocol):
    """What bytes are written to."""

    def write(self, data: bytes, /) -> object:
        """Take all of the data."""


class NullSink:
    """Takes bytes, and keeps none."""

    def write(self, data: bytes, /) -> int:
        """Take the data."""
        return len(data)


@dataclass(frozen=True)
class Label:
    """The label inside an encrypted file: which file of which backup it is."""

    backup: str
    file: str


@dataclass(frozen=True)
class PackedFile:
    """A file as it was written: `raw_bytes` before compression, `bytes` on disk."""

    name: str
    bytes: int
    raw_bytes: int
    sha256: str


def pack(
    source: Readable,
    file: IO[bytes],
    label: Label,
    recipients: Sequence[Any],
    tick: Callable[[int], None],
) -> PackedFile:
    """Compress and encrypt a stream into a new file.

    Without recipients it is only compressed.  Memory does not grow with the stream.  `tick` is
    called with the bytes that were read so far.  Raises what reading and writing raise.
    """
    import zstandard

    counted: Any = _Counted(source, tick)
    compressor = zstandard.ZstdCompressor(level=_LEVEL, threads=_THREADS, write_checksum=True)
    sink = _Hashed(file)
    with compressor.stream_reader(counted, read_size=_CHUNK, closefd=False) as compressed:
        packed = _Prefixed(_frame(label), compressed)
        if recipients:
            _encrypt(packed, sink, recipients)
        else:
            while chunk := packed.read(_CHUNK):
                sink.write(chunk)
    return PackedFile(label.file, sink.bytes, counted.bytes, sink.digest.hexdigest())


def unpack(file: IO[bytes], identities: Sequence[Any], label: Label, sink: Writable) -> int:
    """Decrypt and decompress a file of a backup into `sink`; return how many bytes that were.

    Every byte that reaches the sink was authenticated, where the file is encrypted.  Raises
    BackupDamaged where the file is not what was written or belongs to another backup, and
    InvalidIdentity where none of the identities reads it.
    """
    counted = GuardedSink(sink)
    opened = _Opened(_decompressor(counted), label)
    read_into(file, identities, opened, encrypted=is_encrypted(label.file))
    if not opened.labelled:
        raise BackupDamaged(f"{file.name} ends before its label.")
    return counted.bytes


def _decompressor(sink: Any) -> Any:
    import zstandard

    # Chunks of output are bounded, so that much of the same does not fill the memory.
    return zstandard.ZstdDecompressor().stream_writer(sink, write_size=_CHUNK, closefd=False)


def read_into(
    file: IO[bytes], identities: Sequence[Any], sink: "GuardedSink", *, encrypted: bool
) -> None:
    """Write a file, decrypted where it is encrypted, to a sink.  Raises as `unpack` does."""
    import zstandard

    try:
        if encrypted:
            _decrypt(file, sink, identities)
        else:
            while chunk := file.read(_CHUNK):
                sink.write(chunk)
    except zstandard.ZstdError as error:
        raise BackupDamaged(f"{file.name} cannot be decompressed: {error}") from None


def is_encrypted(name: str) -> bool:
    """Whether a file of a backup or archive is encrypted; its name says so."""
    return name.endswith(".age")


def is_packed_as_named(file: BufferedReader, name: str) -> bool:
    """Whether a file of a backup, open at its beginning, begins as its suffixes say."""
    begin = AGE if is_encrypted(name) else struct.pack("<I", _SKIPPABLE)
    return file.peek(len(begin)).startswith(begin)


def sha256_of(file: BufferedReader) -> tuple[int, str]:
    """Return the size and the hash of a file that is open at its beginning."""
    digest = hashlib.file_digest(file, "sha256").hexdigest()
    return file.tell(), digest


def _encrypt(source: "_Prefixed", sink: "_Hashed", recipients: Sequence[Any]) -> None:
    import pyrage

    try:
        pyrage.encrypt_io(source, sink, list(recipients))
    except (pyrage.EncryptError, OSError) as error:
        # pyrage tells of an error in reading or writing as a text only.
        raise source.error or sink.error or BackupFailed(f"Encryption failed: {error}") from None


def _decrypt(file: IO[bytes], sink: "GuardedSink", identities: Sequence[Any]) -> None:
    import pyrage

    try:
        pyrage.decrypt_io(file, sink, list(identities))
    except (pyrage.DecryptError, OSError) as error:
        if sink.error is not None:
            raise sink.error from None
        if "No matching keys" in str(error):
            raise InvalidIdentity(
                f"{file.name} is not encrypted to the key of the identity file.",
                hint="leadctl backup show ID lists the recipients.",
            ) from None
        raise BackupDamaged(f"{file.name} was changed after it was encrypted: {error}") from None


def _frame(label: Label) -> bytes:
    text = json.dumps(asdict(label)).encode()
    return struct.pack("<II", _SKIPPABLE, len(text)) + text


class GuardedSink:
    """Hands on what is written, counts it, and remembers the error that this ended with.

    After an error it takes no more: pyrage writes the same bytes again when it gives up.
    """

    def __init__(self, sink: Writable) -> None:
        self._sink = sink
        self.bytes = 0
        self.error: BaseException | None = None

    def write(self, data: bytes) -> int:
        """Take the data."""
        if self.error is not None:
            raise self.error
        try:
            self._take(data)
        except BaseException as error:
            self.error = error
            raise
        return len(data)

    def _take(self, data: bytes) -> None:
        self._sink.write(data)
        self.bytes += len(data)

    def flush(self) -> None:
        """Do nothing: the file is flushed once, at its end."""


class _Hashed(GuardedSink):
    """A guarded file whose content is hashed."""

    def __init__(self, file: IO[bytes]) -> None:
        super().__init__(file)
        self.digest = hashlib.sha256()

    def _take(self, data: bytes) -> None:
        self.digest.update(data)
        super()._take(data)


class _Counted:
    """A stream whose bytes are counted."""

    def __init__(self, source: Readable, tick: Callable[[int], None]) -> None:
        self._source = source
        self._tick = tick
        self.bytes = 0

    def read(self, size: int = -1) -> bytes:
        chunk = self._source.read(size)
        self.bytes += len(chunk)
        self._tick(self.bytes)
        return chunk


class _Prefixed:
    """A stream after a prefix; the error that reading ended with is remembered."""

    def __init__(self, prefix: bytes, source: Any) -> None:
        self._prefix = prefix
        self._source = source
        self.error: BaseException | None = None

    def read(self, size: int = -1) -> bytes:
        if self._prefix:
            head, self._prefix = self._prefix[:size], self._prefix[size:]
            return head
        try:
            return bytes(self._source.read(size))
        except BaseException as error:
            self.error = error
            raise


class _Opened(GuardedSink):
    """Takes decrypted bytes: checks the label that comes first, and hands on the rest."""

    def __init__(self, sink: Writable, expected: Label) -> None:
        super().__init__(sink)
        self._expected = expected
        self._head = b""
        self.labelled = False

    def _take(self, data: bytes) -> None:
        super()._take(data if self.labelled else self._after_label(data))

    def _after_label(self, data: bytes) -> bytes:
        self._head += data
        if len(self._head) < 8:
            return b""
        magic, size = struct.unpack("<II", self._head[:8])
        if magic != _SKIPPABLE or size > _LABEL_MAX:
            raise BackupDamaged(f"{self._expected.file} does not begin with leadctl's label.")
        if len(self._head) < 8 + size:
            return b""
        self._check(self._head[8 : 8 + size])
        self.labelled = True
        return self._head[8 + size :]

    def _check(self, text: bytes) -> None:
        try:
            found = Label(**json.loads(text))
        except (ValueError, TypeError):
            raise BackupDamaged(f"The label of {self._expected.file} cannot be read.") from None
        if found != self._expected:
            raise BackupDamaged(
                f"This is {found.file} of the backup {found.backup}, not {self._expected.file} "
                f"of {self._expected.backup}: the files of two backups were swapped."
            )


_FINGERPRINT_DIGITS = 16


def split_recipients(text: str | None) -> list[str]:
    """Return the public keys of a setting: separated by commas or lines, `#` begins a comment."""
    without_comments = re.sub(r"(?m)(^|\s)#.*$", "", text or "")
    return [key for part in re.split(r"[,\n]", without_comments) if (key := part.strip())]


def read_recipients(keys: Sequence[str]) -> list[Any]:
    """Return recipients for age.  Raises InvalidRecipient, which names the key that is none."""
    import pyrage

    recipients = []
    for key in keys:
        kind = pyrage.ssh if key.startswith("ssh-") else pyrage.x25519
        if key.upper().startswith("AGE-SECRET-KEY-"):
            remember(key)
            raise InvalidRecipient(
                "BACKUP_RECIPIENTS has a private key, which must not be on the backup host.",
                hint="Give the public key that belongs to it: age-keygen -y FILE prints it.",
            )
        try:
            recipients.append(kind.Recipient.from_str(key))
        except pyrage.RecipientError as error:
            # What does not even begin as a public key may be a secret.
            shown = repr(key) if key.startswith(("age1", "ssh-")) else "What BACKUP_RECIPIENTS has"
            raise InvalidRecipient(
                f"{shown} is not a public key that backups can be encrypted to: {error}.",
                hint="Allowed are age1… (age-keygen makes one) and ssh-ed25519 or ssh-rsa keys.",
            ) from None
    return recipients


def key_fingerprint(key: str) -> str:
    """Return a public key's fingerprint: 16 hexadecimal digits of its SHA-256."""
    return hashlib.sha256(key.encode()).hexdigest()[:_FINGERPRINT_DIGITS]


def read_identities(path: Path) -> list[Any]:
    """Read the private keys of an identity file, of age's or SSH's form.

    Raises InvalidIdentity where it is open to others, or has no key that can be used.
    """
    import pyrage

    hint = "BACKUP_IDENTITY_FILE names the file of the private key."
    text = read_private(path, InvalidIdentity, name="identity file", hint=hint)
    remember(text.strip())
    try:
        if text.startswith("-----BEGIN"):
            return [pyrage.ssh.Identity.from_buffer(text.encode())]
        lines = [line.strip() for line in text.splitlines()]
        keys = [line for line in lines if line and not line.startswith("#")]
        for key in keys:
            remember(key)
        identities = [pyrage.x25519.Identity.from_str(key) for key in keys]
    except pyrage.IdentityError as error:
        raise InvalidIdentity(
            f"The identity file {path} has no private key that can be read: {error}.",
            hint="age-keygen makes one. If it is encrypted with a passphrase, decrypt it first.",
        ) from None
    if not identities:
        raise InvalidIdentity(
            f"The identity file {path} has no key in it.", hint="age-keygen makes one."
        )
    return identities


def new_identity() -> tuple[str, Any]:
    """Return the public and the private key of a new pair, for what ends with this process."""
    import pyrage

    identity = pyrage.x25519.Identity.generate()
    remember(str(identity))
    return str(identity.to_public()), identity
