"""The manifest of a backup: what is in it, from where, and the hash of every file.

It is evidence only as far as it can prove: every value is of the type that its field has, or the
manifest is refused.
"""

import hashlib
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import MISSING, asdict, dataclass, fields, is_dataclass
from datetime import UTC, datetime
from types import NoneType, UnionType
from typing import Any, TypeVar, get_args, get_origin, get_type_hints

from leadctl.backup.stream import PackedFile
from leadctl.errors import BackupDamaged, TableNotInBackup
from leadctl.journal.records import VersionTable
from leadctl.postgres.queries import parts_of
from leadctl.text import did_you_mean

_T = TypeVar("_T")


def read_document(kind: type[_T], document: object) -> _T:
    """Return what a JSON document says, as a dataclass; keys without a field are passed over.

    A field that may be missing has a default: older versions did not write it.  Times have a time
    zone, and numbers are not negative.  Raises ValueError.
    """
    if not isinstance(document, Mapping):
        raise ValueError(f"{document!r} is not an object")
    types = get_type_hints(kind)
    values = {}
    for field in fields(kind):  # type: ignore[arg-type]
        if field.name in document:
            values[field.name] = _read(types[field.name], document[field.name], field.name)
        elif field.default is MISSING:
            raise ValueError(f"it has no {field.name}")
    return kind(**values)


def _read(kind: Any, value: Any, name: str) -> Any:
    """Return a value as the type of its field wants it."""
    if isinstance(kind, UnionType):
        others = [each for each in get_args(kind) if each is not NoneType]
        return None if value is None else _read(others[0], value, name)
    if get_origin(kind) is tuple and isinstance(value, list):
        return tuple(_read(get_args(kind)[0], each, name) for each in value)
    if is_dataclass(kind) and isinstance(kind, type):
        return read_document(kind, value)
    if kind is datetime and isinstance(value, str):
        at = datetime.fromisoformat(value)
        if at.tzinfo is not None:
            return at
    elif type(value) is kind and not (kind is int and value < 0):
        return value
    raise ValueError(f"{name} is {value!r}")


FORMAT = 1
NAME = "manifest.json"
ARCHIVE, SCHEMA, GLOBALS = "archive.dump", "schema.dump", "globals.sql"
RECORDS = "records.jsonl"
"""The files of a backup, without the suffixes that say how they are packed.

The last is a tenant's: what leadctl has recorded of it, which is in no schema of its own.
"""

_STEMS = "|".join(map(re.escape, (ARCHIVE, SCHEMA, GLOBALS, RECORDS)))
_FILE = re.compile(rf"(?P<stem>{_STEMS})\.zst(?P<age>\.age)?")
_SHA256 = re.compile(r"[0-9a-f]{64}")
_VERSION = re.compile(r"(\d{1,4})(?:[.\s]|$|devel|beta|rc)")


@dataclass(frozen=True)
class DumpedTable:
    """A table as of the snapshot; `bytes` with its indexes and TOAST, when the backup was made."""

    name: str
    """Schema and name, quoted as the server had it: where that is needed, or always."""
    rows: int
    bytes: int

    @property
    def parts(self) -> tuple[str, ...]:
        """Schema and name without quotes, which are what tables are compared by."""
        return parts_of(self.name)


@dataclass(frozen=True)
class ExtensionFacts:
    """An extension of the database."""

    name: str
    version: str
    schema: str


@dataclass(frozen=True)
class Distributed:
    """A schema, table or function that a Citus cluster distributes, and how."""

    kind: str
    """schema, table, reference, local or function; else what cannot be made again."""
    name: str
    """Quoted as the server had it."""
    column: str | None
    """The column, or the parameter, by which it is distributed."""
    shards: int
    copies: int
    """How many nodes have each shard."""
    group: int
    """What is of one group is on the same node."""


@dataclass(frozen=True)
class DatabaseFacts:
    """Facts of the database that a dump does not hold."""

    owner: str
    encoding: str
    locale_provider: str
    collate: str
    ctype: str
    locale: str | None
    settings: tuple[str, ...]
    """`name=value`, of ALTER DATABASE SET."""
    role_settings: tuple[str, ...]
    """`role: name=value`, of ALTER ROLE IN DATABASE SET."""
    grants: tuple[str, ...]
    """`privilege: role` of others than the owner; none where nobody ever granted or revoked."""
    comment: str | None


@dataclass(frozen=True)
class BackupManifest:
    """The contents and the origin of a backup."""

    format: int
    id: str
    app: str | None
    """The app that the schema was migrated with; None where it was not."""
    schema: str
    version_table: str
    revision: str | None
    database: str
    identity: str | None
    environment: str | None
    system_identifier: str | None
    server_version: str
    client_version: str
    leadctl_version: str
    snapshot_at: datetime
    lsn: str | None
    duration_ms: int
    database_bytes: int
    tables: tuple[DumpedTable, ...]
    materialized_views: tuple[str, ...]
    """Those that had rows."""
    large_objects: int
    not_valid: tuple[str, ...]
    """Constraints that were not validated and indexes that were not valid."""
    extensions: tuple[ExtensionFacts, ...]
    roles: tuple[str, ...]
    """The roles that own something or were granted something."""
    keys: tuple[str, ...]
    """Fingerprints of the keys that encrypted columns need."""
    settings: DatabaseFacts
    recipients: tuple[str, ...]
    """Fingerprints of the public keys; none where the backup is plain."""
    globals_left_out: str | None
    """Why roles and tablespaces are not in the backup; None where they are."""
    files: tuple[PackedFile, ...]
    excluded: tuple[str, ...] = ()
    """Tables that were left out, quoted as those of `tables`, partitions among them."""
    excluded_data: tuple[str, ...] = ()
    """Tables whose rows were left out."""
    event_triggers: tuple[str, ...] = ()
    subscriptions: tuple[str, ...] = ()
    tablespaces: tuple[str, ...] = ()
    """Those of the database or of something in it, but for the default one."""
    version_schema: str | None = None
    """The schema of the version table, where it is another one."""
    tenant: str | None = None
    """The schema that alone is in the backup; None where all of the database is."""
    distribution: tuple[Distributed, ...] | None = None
    """What a Citus cluster distributes; None where nothing is known of that."""
    one_moment: bool | None = None
    """Whether all its nodes were dumped as of one moment; None for rows of one node."""
    extension_tables: tuple[DumpedTable, ...] = ()
    """Tables that extensions make, and whose rows a dump has; of some that is a part of them."""

    @property
    def all_tables(self) -> tuple[DumpedTable, ...]:
        """The tables that the archive has rows of, those of extensions among them."""
        return (*self.tables, *self.extension_tables)

    @property
    def versions(self) -> VersionTable:
        """Alembic's table."""
        return VersionTable(self.version_table, self.version_schema)

    @property
    def bytes(self) -> int:
        """The size of all files."""
        return sum(file.bytes for file in self.files)

    @property
    def rows(self) -> int:
        """The rows of all tables."""
        return sum(table.rows for table in self.tables)

    @property
    def left_out(self) -> tuple[str, ...]:
        """Tables that the backup does not have, or not the rows of."""
        return (*self.excluded, *self.excluded_data)

    @property
    def server_major(self) -> int:
        """The major version of the server that was backed up."""
        return _major(self.server_version)

    @property
    def client_major(self) -> int:
        """The major version of the pg_dump that made the backup."""
        return _major(self.client_version)

    def require_rows(self, wanted: Callable[[tuple[str, ...]], bool]) -> None:
        """Raise TableNotInBackup where the rows of a wanted table were left out.

        A table is asked for by its schema and name.
        """
        left_out = map(parts_of, self.left_out)
        if without := sorted(filter(wanted, left_out)):
            raise TableNotInBackup(
                f"The rows of {', '.join(map('.'.join, without))} were left out of the backup "
                f"{self.id}.",
                hint="Choose another backup: leadctl backup list",
            )

    def table_hint(self, name: str) -> str:
        """Return the hint for the name of a table that is not in the backup."""
        known = {each for table in self.tables for each in (table.name, table.parts[-1])}
        return did_you_mean(name, known, f"Its tables: leadctl backup show {self.id}")

    def file(self, stem: str) -> PackedFile | None:
        """Return a file by its name without suffixes; None where the backup lacks it."""
        return next((file for file in self.files if file.name.startswith(f"{stem}.")), None)


def render(manifest: BackupManifest) -> str:
    """Return the manifest's text, whose last key is the hash of all the others."""
    document = asdict(manifest)
    document["snapshot_at"] = manifest.snapshot_at.astimezone(UTC).isoformat()
    return _text(json.loads(json.dumps(document)))


def parse(text: str) -> BackupManifest:
    """Read a manifest.  Raises BackupDamaged where it was changed, or says what cannot be.

    Its hash proves that nothing was lost, and not who wrote it: names, types and files are looked
    at, too.  Keys that a newer leadctl has added are passed over.
    """
    try:
        document = json.loads(text)
        claimed, version = document.pop("sha256"), document["format"]
        fits = _hash(document) == claimed
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise BackupDamaged("the manifest cannot be read") from None
    if not fits:
        raise BackupDamaged("the manifest was changed: it does not match its own hash")
    if version != FORMAT:
        raise BackupDamaged(f"the manifest has format {version}, of another version of leadctl")
    try:
        manifest = read_document(BackupManifest, document)
    except ValueError as error:
        raise BackupDamaged(f"the manifest is not valid: {error}") from None
    _check_names(manifest)
    _check_files(manifest)
    return manifest


def _major(version: str) -> int:
    found = _VERSION.match(version)
    if found is None:
        raise BackupDamaged(f"the manifest has {version!r} as a version of PostgreSQL")
    return int(found[1])


def _check_names(manifest: BackupManifest) -> None:
    """Refuse what would not be a name in a statement: its hash keeps nobody from writing one."""
    tables = (table.name for table in manifest.all_tables)
    for name in (*tables, *manifest.materialized_views, *manifest.left_out):
        try:
            parts = parts_of(name)
        except ValueError:
            raise BackupDamaged(f"the manifest names {name!r}, which is not a table") from None
        if len(parts) != len(("schema", "table")):
            raise BackupDamaged(f"the manifest names {name!r} without a schema")
    manifest.server_major  # noqa: B018 - raises where it is none
    manifest.client_major  # noqa: B018


def _check_files(manifest: BackupManifest) -> None:
    """Refuse files that leadctl does not make, and a part that is plain among encrypted ones."""
    found = {name: _FILE.fullmatch(name) for name in (file.name for file in manifest.files)}
    stems = [match["stem"] if match else None for match in found.values()]
    for file in manifest.files:
        match = found[file.name]
        if match is None or not _SHA256.fullmatch(file.sha256):
            raise BackupDamaged(
                f"the manifest lists {file.name!r}, which is not a file of a backup"
            )
        if bool(match["age"]) != bool(manifest.recipients):
            state = "encrypted" if manifest.recipients else "plain"
            raise BackupDamaged(f"the backup is {state} by its manifest, and {file.name} is not")
    if len(set(stems)) != len(manifest.files):
        raise BackupDamaged("the manifest lists a file twice")
    for stem in (ARCHIVE, SCHEMA):
        if stem not in stems:
            raise BackupDamaged(f"the manifest lists no {stem}")


def _text(document: Mapping[str, Any]) -> str:
    whole = {**document, "sha256": _hash(document)}
    return json.dumps(whole, indent=1, ensure_ascii=False) + "\n"


def _hash(document: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(document, ensure_ascii=False).encode()).hexdigest()
