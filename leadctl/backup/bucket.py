"""Backups in object storage: S3, Google Cloud Storage, Azure, and what speaks as they do.

A backup is the same files as in a folder, below its id; one that is larger than a part is several
objects, `NAME.part-00001` and so on, each written at once: so nothing unfinished is left in the
storage that only its own API could find, and `cat` makes the file of them.  The manifest comes
last, and only where there is none: what has no manifest is no backup.
https://developmentseed.org/obstore/
"""

import errno
import io
import json
import os
import re
import socket
from collections.abc import Collection, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cached_property
from io import BufferedReader
from pathlib import Path
from typing import IO, Any, Literal

from leadctl.backup.manifest import NAME
from leadctl.backup.storage import (
    OWN,
    PINNED,
    VERIFIED,
    BackupFolder,
    NewBackup,
    StoredBackup,
    Verification,
    is_id,
    new_id,
)
from leadctl.errors import BackupFolderUnusable, MissingExtra
from leadctl.files import ObjectUrl

PART_BYTES = 8 * 2**20
"""Bytes of an object at most: two are in memory, one that is filled and one that is sent."""
_CHUNK = 2**20
_PART = re.compile(r"(?P<name>.+)\.part-(?P<number>\d{5,})")
_RUN = "run.json"
"""Says which process writes a backup, until its manifest is there."""
_FOREIGN_RUN = timedelta(days=1)
"""After this long a backup without a manifest, of another machine, is abandoned."""
_CONNECT, _REQUEST, _QUICK = "10s", "120s", "4s"
_RETRY_FOR = timedelta(seconds=90)
_NO_ACCESS = (
    "Look at the credentials (AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_REGION, "
    "AWS_ENDPOINT_URL, or your cloud's own) and at what they allow: list, get, put and delete."
)
_HINTS = {
    "RequestTimeTooSkewed": "The storage refuses it because this machine's clock is wrong: set it.",
    "NoSuchBucket": "Create the bucket with the provider's tools; leadctl creates none.",
    "ContainerNotFound": "Create the container with the provider's tools; leadctl creates none.",
}


class BucketBackup(StoredBackup):
    """A whole backup in object storage; `path` is its URL."""

    def __init__(self, path: ObjectUrl, bucket: "BackupBucket", objects: Mapping[str, int]) -> None:
        """`objects` are those below its id, with their bytes."""
        super().__init__(path)  # type: ignore[arg-type]  # a URL goes where a path goes
        object.__setattr__(self, "_bucket", bucket)
        object.__setattr__(self, "_objects", dict(objects))

    _bucket: "BackupBucket"
    _objects: dict[str, int]

    def open(self, name: str) -> BufferedReader:
        """Open a file of the backup for reading.  Raises OSError."""
        return self._bucket.open(self.id, self._objects, name)

    def size_of(self, name: str) -> int | None:
        """Return the bytes of a file of the backup; None where it, or a part, is missing."""
        names = _objects_of(self._objects, name)
        return sum(self._objects[each] for each in names) if names else None

    @property
    def pinned(self) -> bool:
        """Whether prune keeps the backup whatever its age."""
        return PINNED in self._objects

    @contextmanager
    def held(self) -> Iterator[None]:
        """Do nothing: object storage has no locks; a prune would end the reading with an error."""
        yield

    def record(self, verification: Verification) -> None:
        """Keep how the backup was verified.  Raises OSError."""
        data = verification.render().encode()
        try:
            self._bucket.put(f"{self.id}/{VERIFIED}", data)
        except BackupFolderUnusable as error:
            raise OSError(errno.EACCES, error.message) from None
        self._objects[VERIFIED] = len(data)

    def pin(self, *, pinned: bool) -> None:
        """Pin the backup, or let go of it.  Raises BackupFolderUnusable."""
        if pinned:
            self._bucket.put(f"{self.id}/{PINNED}", b"")
        elif PINNED in self._objects:
            self._bucket.delete([f"{self.id}/{PINNED}"])

    @property
    def names(self) -> list[str]:
        """The objects that are leadctl's, the manifest first."""
        own = (each for each in self._objects if _is_own(each))
        return sorted(own, key=lambda each: each != NAME)


class NewBucketBackup(NewBackup):
    """A backup that is being uploaded."""

    def __init__(self, name: str, bucket: "BackupBucket") -> None:
        super().__init__(name, bucket.path / name)  # type: ignore[arg-type]
        object.__setattr__(self, "_bucket", bucket)

    _bucket: "BackupBucket"

    @contextmanager
    def create(self, name: str) -> Iterator[IO[bytes]]:
        """Open a new file of the backup, which is all there at the block's end.

        Raises BackupFolderUnusable.
        """
        with ThreadPoolExecutor(1) as thread:
            writer = _ObjectWriter(self._bucket, f"{self.id}/{name}", thread)
            yield writer  # type: ignore[misc]
            writer.finish(only_new=name == NAME)

    def discard(self, name: str) -> None:
        """Remove a file again, where it was begun."""
        found = self._bucket.objects(f"{self.id}/")
        self._bucket.delete(
            [each for each in found if each.removeprefix(f"{self.id}/").startswith(name)]
        )


@dataclass(frozen=True)
class BackupBucket(BackupFolder):
    """Backups below a URL such as s3://bucket/prefix."""

    path: ObjectUrl  # type: ignore[assignment]
    patient: bool = True
    """Whether it goes on trying for a while; else it is for a quick look."""

    @cached_property
    def store(self) -> Any:
        """The client, with the credentials of the provider's usual variables and roles.

        Raises MissingExtra, and BackupFolderUnusable where the URL or a variable is wrong.
        """
        try:
            from obstore.store import from_url
        except ImportError:
            raise MissingExtra(
                f"{self.path} is object storage, and obstore is not installed.",
                hint="It belongs to the extra cloud. Install it with: pip install obstore",
            ) from None
        plain = any(
            os.environ.get(name, "").startswith("http://")
            for name in (
                "AWS_ENDPOINT_URL",
                "AWS_ENDPOINT_URL_S3",
                "AWS_ENDPOINT",
                "AZURE_ENDPOINT",
            )
        )
        # A bucket with object lock takes nothing without a checksum.
        checked: Any = {"checksum_algorithm": "SHA256"} if str(self.path).startswith("s3:") else {}
        with self._usable():
            return from_url(
                str(self.path),
                config=checked,
                client_options={
                    "connect_timeout": _CONNECT if self.patient else _QUICK,
                    "timeout": _REQUEST if self.patient else _QUICK,
                    "allow_http": plain,
                },
                retry_config={
                    "max_retries": 8 if self.patient else 1,
                    "retry_timeout": _RETRY_FOR,
                },
            )

    def backups(self) -> list[StoredBackup]:
        """Return the whole backups, the newest first.  Raises BackupFolderUnusable."""
        found: dict[str, dict[str, int]] = {}
        for path, size in self.objects().items():
            name, _, rest = path.partition("/")
            if is_id(name) and rest:
                found.setdefault(name, {})[rest] = size
        return [
            BucketBackup(self.path / name, self, objects)
            for name, objects in sorted(found.items(), reverse=True)
            if NAME in objects
        ]

    @contextmanager
    def begin(self, name: str | None = None) -> Iterator[NewBackup]:
        """Yield a new backup, which is one when its manifest is there.

        `name` is its id, where it is a copy's.  What killed runs of this machine left is removed
        before.  Raises BackupFolderUnusable.
        """
        self._clean()
        run = json.dumps(_this_process()).encode()
        if name:
            self.put(f"{name}/{_RUN}", run)
        else:
            name = self._new_name(run)
        try:
            yield NewBucketBackup(name, self)
        except BaseException:
            with suppress(BackupFolderUnusable):
                left = self.objects(f"{name}/")
                if f"{name}/{NAME}" not in left:  # else somebody else's copy is whole
                    self.delete(left)
            raise
        with suppress(BackupFolderUnusable):  # may only write: it is whole all the same
            self.delete([f"{name}/{_RUN}"])

    def _new_name(self, run: bytes) -> str:
        """Return an id that no other host began a backup with in the same millisecond."""
        import obstore

        while True:
            name = new_id()
            path = f"{name}/{_RUN}"
            with self._usable(), suppress(obstore.exceptions.AlreadyExistsError):
                obstore.put(self.store, path, run, mode="create", use_multipart=False)
                return name

    def remove(self, backup: StoredBackup) -> str | None:
        """Remove a backup, the manifest first; return why it is still there, None if it is gone."""
        assert isinstance(backup, BucketBackup)
        try:
            self.delete([f"{backup.id}/{name}" for name in backup.names])
            return "it has objects of others" if self.objects(f"{backup.id}/") else None
        except BackupFolderUnusable as error:
            return error.message.removeprefix(f"{self.path} cannot be used: ").rstrip(".")

    def objects(self, prefix: str = "") -> dict[str, int]:
        """Return the objects and their bytes.  Raises BackupFolderUnusable."""
        import obstore

        with self._usable():
            try:
                listed = [*obstore.list(self.store, prefix=prefix or None)]
            except obstore.exceptions.InvalidPathError:
                # One of others, such as a//b, which obstore cannot name: it hides no backup.
                found = obstore.list_with_delimiter(self.store, prefix or None)
                listed = [found["objects"]]
                for name in filter(is_id, found["common_prefixes"]):
                    with suppress(obstore.exceptions.InvalidPathError):
                        below = obstore.list_with_delimiter(self.store, f"{name}/")
                        listed.append(below["objects"])
            return {each["path"]: each["size"] for batch in listed for each in batch}

    def beginning(self, text: str) -> Iterator[str]:
        """Yield the objects whose paths begin so.  Raises BackupFolderUnusable."""
        import obstore

        with self._usable():
            for batch in obstore.list(self.store, offset=text):
                for each in batch:
                    if each["path"].startswith(text):
                        yield each["path"]
                    elif each["path"] > text:
                        return

    def open(self, folder: str, objects: Mapping[str, int], name: str) -> BufferedReader:
        """Open a file of a folder, which has these objects with so many bytes.  Raises OSError."""
        names = _objects_of(objects, name)
        if not names:
            raise FileNotFoundError(errno.ENOENT, "The object is missing or incomplete", name)
        found = [(f"{folder}/{each}", objects[each]) for each in names]
        return BufferedReader(_ObjectReader(self, found), _CHUNK)

    def copy(self, path: str, to: str) -> None:
        """Copy an object within the storage, over what is there.  Raises BackupFolderUnusable."""
        import obstore

        with self._usable():
            obstore.copy(self.store, path, to)

    def put(self, path: str, data: bytes, *, only_new: bool = False) -> None:
        """Write an object at once; with `only_new` where there is none.

        Raises BackupFolderUnusable.
        """
        import obstore

        with self._usable():
            try:
                how: Literal["create", "overwrite"] = "create" if only_new else "overwrite"
                obstore.put(self.store, path, data, mode=how, use_multipart=False)
            except obstore.exceptions.AlreadyExistsError:
                # It may be ours, where the answer to a first try was lost.
                if bytes(obstore.get(self.store, path).bytes()) != data:
                    raise

    def delete(self, paths: "Iterator[str] | list[str] | Mapping[str, int]") -> None:
        """Delete objects, one after the other.  Raises BackupFolderUnusable."""
        import obstore

        with self._usable():
            for path in paths:
                with suppress(FileNotFoundError):
                    obstore.delete(self.store, path)

    def chunks(self, path: str) -> Iterator[bytes]:
        """Read an object; no range of it, which some servers do not know.  Raises OSError."""
        import obstore

        try:
            with self._usable():
                for chunk in obstore.get(self.store, path).stream(min_chunk_size=_CHUNK):
                    yield bytes(chunk)
        except BackupFolderUnusable as error:
            raise OSError(errno.EIO, error.message, path) from None

    def _clean(self) -> None:
        """Remove what was begun and is nobody's any more."""
        found: dict[str, list[str]] = {}
        for path in self.objects():
            found.setdefault(path.partition("/")[0], []).append(path)
        for name, paths in found.items():
            if is_id(name) and f"{name}/{NAME}" not in paths and self._is_abandoned(name, paths):
                own = [path for path in paths if _is_own(path.removeprefix(f"{name}/"))]
                self.delete(own)

    def _is_abandoned(self, name: str, paths: list[str]) -> bool:
        run = f"{name}/{_RUN}"
        told: dict[str, Any] = {}
        if run in paths:
            with suppress(OSError, ValueError):
                told = json.loads(b"".join(self.chunks(run)))
        if isinstance(told, dict) and told.get("machine") == _machine():
            return not _runs(told)
        began = BucketBackup(self.path / name, self, {}).made_at
        return datetime.now(UTC) - began > _FOREIGN_RUN

    @contextmanager
    def _usable(self) -> Iterator[None]:
        """Translate what the storage answers.  Raises BackupFolderUnusable."""
        from obstore.exceptions import BaseError, InvalidPathError

        try:
            yield
        except InvalidPathError as error:
            what = str(error).partition("\n\nDebug source")[0].partition(": ")[2]
            raise BackupFolderUnusable(
                f"{self.path} cannot be used: the storage has an object that cannot be listed: "
                f"{what}.",
                hint="Rename or delete it with the provider's tools, or use another prefix.",
            ) from None
        except (BaseError, FileNotFoundError, ValueError) as error:
            what = str(error).partition("\n\nDebug source")[0].replace("\n", " ")
            code = re.search(r"<Code>(\w+)</Code>", what)
            status = re.search(r"\b([45]\d\d) [A-Z][A-Za-z ]+", what)
            told = [status[0] if status else "", code[1] if code else ""]
            reason = " ".join(each.strip() for each in told if each)
            raise BackupFolderUnusable(
                f"{self.path} cannot be used: {reason or _first(what)}.",
                hint=_HINTS.get(code[1] if code else "", _NO_ACCESS),
            ) from None


def _first(text: str) -> str:
    """Return what an error says, without the addresses that may have credentials in them."""
    return re.sub(r"\w+://\S+", "…", text).partition(" - ")[2] or text.partition(":")[0]


class _ObjectReader(io.RawIOBase):
    """The bytes of objects, one after the other."""

    def __init__(self, bucket: BackupBucket, objects: list[tuple[str, int]]) -> None:
        super().__init__()
        self._bucket = bucket
        self._objects = objects
        self.name = objects[0][0]
        self._begin()

    def _begin(self) -> None:
        self._at = 0
        self._left = b""
        self._coming = self._chunks()

    def _chunks(self) -> Iterator[bytes]:
        """Read all objects.  Raises OSError, also where one is cut short."""
        for path, size in self._objects:
            for chunk in self._bucket.chunks(path):
                size -= len(chunk)
                yield chunk
            if size:
                raise OSError(errno.EIO, "Its size differs from the size in the listing", path)

    def readable(self) -> bool:
        """Say that it can be read."""
        return True

    def seekable(self) -> bool:
        """Say that it can be read again from its beginning."""
        return True

    def tell(self) -> int:
        """Return the byte that is read next."""
        return self._at

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Go back to the beginning, or stay.  Raises io.UnsupportedOperation elsewhere."""
        if (offset, whence) == (0, os.SEEK_SET) and self._at:
            self._begin()
        elif (offset, whence) not in {(0, os.SEEK_CUR), (self._at, os.SEEK_SET)}:
            raise io.UnsupportedOperation("A file in object storage is read from its beginning")
        return self._at

    def readinto(self, buffer: Any) -> int:
        """Read what there is at once.  Raises OSError."""
        while not self._left:
            if (chunk := next(self._coming, None)) is None:
                return 0
            self._left = chunk
        taken = self._left[: len(buffer)]
        buffer[: len(taken)] = taken
        self._left = self._left[len(taken) :]
        self._at += len(taken)
        return len(taken)


class _ObjectWriter:
    """Takes a file, and writes it in parts: one is sent while the next is filled."""

    def __init__(self, bucket: BackupBucket, path: str, thread: ThreadPoolExecutor) -> None:
        self._bucket = bucket
        self._path = path
        self._thread = thread
        self._data = bytearray()
        self._number = 0
        self._sending: Future[None] | None = None

    def write(self, data: bytes) -> int:
        """Take a piece.  Raises BackupFolderUnusable."""
        self._data += data
        while len(self._data) > PART_BYTES:
            part = bytes(self._data[:PART_BYTES])
            del self._data[:PART_BYTES]
            self._send(part)
        return len(data)

    def flush(self) -> None:
        """Do nothing: a part is sent when it is full."""

    def finish(self, *, only_new: bool) -> None:
        """Send the rest, and wait for it.  Raises BackupFolderUnusable."""
        if self._number:
            self._send(bytes(self._data))
            self._wait()
        else:
            self._bucket.put(self._path, bytes(self._data), only_new=only_new)

    def _send(self, part: bytes) -> None:
        self._wait()
        self._number += 1
        path = f"{self._path}.part-{self._number:05}"
        self._sending = self._thread.submit(self._bucket.put, path, part)

    def _wait(self) -> None:
        if self._sending:
            self._sending.result()


def _objects_of(objects: Collection[str], name: str) -> list[str]:
    """Return the objects that a file consists of, in order; none where one is missing."""
    if name in objects:
        return [name]
    parts = sorted(
        (int(found["number"]), each)
        for each in objects
        if (found := _PART.fullmatch(each)) and found["name"] == name
    )
    whole = [number for number, _ in parts] == list(range(1, len(parts) + 1))
    return [each for _, each in parts] if whole else []


def file_of(name: str) -> str:
    """Return the name of the file that an object is, or is a part of."""
    part = _PART.fullmatch(name)
    return part["name"] if part else name


def _is_own(name: str) -> bool:
    """Whether an object of a backup is leadctl's."""
    return name == _RUN or OWN.fullmatch(file_of(name)) is not None


def _machine() -> str:
    with suppress(OSError):
        return Path("/etc/machine-id").read_text().strip() + socket.gethostname()
    return socket.gethostname()


def _this_process() -> dict[str, Any]:
    """Return what tells this process from any other."""
    return {"machine": _machine(), "pid": os.getpid(), "began": _began(os.getpid())}


def _began(pid: int) -> str | None:
    """Return when a process of this machine began, by its kernel's account; None without one."""
    with suppress(OSError, IndexError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]
    return None


def _runs(told: Mapping[str, Any]) -> bool:
    """Whether the process that said who it is still runs on this machine."""
    pid = told.get("pid")
    if not isinstance(pid, int):
        return False
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return _began(pid) == told.get("began")
