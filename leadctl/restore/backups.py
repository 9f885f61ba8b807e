"""Restoring a backup of leadctl's own, which is compared with its manifest; rehearsing it."""

import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property, partial
from pathlib import Path

import psycopg
from psycopg import sql

from leadctl.backup.contents import ArchiveEntry
from leadctl.backup.manifest import SCHEMA, BackupManifest
from leadctl.backup.reader import RESTORE, BackupReader, VerifyCheck
from leadctl.backup.snapshot import count_extension_tables, count_rows, not_valid, revision
from leadctl.db import rehearsal_target
from leadctl.errors import (
    BackupDamaged,
    InsufficientPrivilege,
    InvalidIdentity,
    MissingExtension,
    MissingLocale,
    NoSpace,
    OlderServer,
    RestoreFailed,
)
from leadctl.postgres import exact
from leadctl.postgres.connect import Connection, connect
from leadctl.postgres.queries import queries_of
from leadctl.postgres.target import Target
from leadctl.postgres.translate import told
from leadctl.progress import Narrate, Progress
from leadctl.restore.database import (
    all_rows_seen,
    drop_database,
    maintenance,
    scratch_database,
    settings_for_loading,
)
from leadctl.restore.dump_archive import pg_restore_output
from leadctl.restore.load import load, unpacked_ahead
from leadctl.restore.pg_restore import FOUND_BY_PATH, FOUND_BY_PATH_HINT
from leadctl.restore.preflight import check_plan, plan, without_missing
from leadctl.restore.properties import NO_OWNERS, DatabaseProperties, text_of
from leadctl.restore.restorable import (
    IncompleteTable,
    Load,
    LoadComparison,
    Loading,
    Origin,
    ServerNeeds,
    needs_of,
)
from leadctl.text import counted

_QUERIES = queries_of(__file__, "restore.sql")
_SHOWN = 5
_ON_EMBEDDED = "Rehearse on the embedded server: --embedded; or as a superuser."
_IN_ITS_DATABASE = "Rehearse it where it belongs: leadctl restore --tenant NAME ID --dry-run"
"""A tenant may need what is in schemas that it shares with others."""
_ON_ONE_LIKE_IT = "Rehearse on a server like the one that was backed up: --url."
_UPDATE = f"{_ON_ONE_LIKE_IT} Or run ALTER EXTENSION … UPDATE in the database, and back up again."
_MEND = (
    "Correct this in the database and back up again. Until then, restore --keep-going loads "
    "everything else."
)
_COPY_FAILED = "COPY failed for table"
"""What pg_restore says where the server rejects rows; it is run with LC_ALL=C."""
_NOT_HERE = {
    "0A000": f"An extension or collation is not available. {_ON_ONE_LIKE_IT}",
    "22023": f"A locale or a provider of security labels is not available. {_ON_ONE_LIKE_IT}",
    "42501": _ON_EMBEDDED,
    "42704": f"Make the role, language, collation or setting; or: {_ON_ONE_LIKE_IT}",
    "42883": FOUND_BY_PATH_HINT,
    "42P01": FOUND_BY_PATH_HINT,
    "58P01": f"A library is not there. {_ON_ONE_LIKE_IT}",
}
"""By the SQLSTATE: where a server lacks something, or does not allow it; and what to do."""
_QUALIFIED = re.compile(r"[^\W\d][\w$]*\"?\.\"?[^\W\d]")
"""A name with its schema, which no search path would find."""


@dataclass(frozen=True)
class RestorableBackup(BackupReader):
    """A backup of leadctl's, and the private keys that read it."""

    def origin(self) -> Origin:
        """Return what the manifest says.  Raises BackupDamaged."""
        manifest = self.manifest
        return Origin(
            name=manifest.id,
            made_at=manifest.snapshot_at,
            bytes=manifest.database_bytes,
            database=manifest.database,
            schema=manifest.schema,
            revision=manifest.revision,
            server_major=manifest.server_major,
            rows=manifest.rows,
            extensions=tuple(extension.name for extension in manifest.extensions),
            versions=tuple(extension.version for extension in manifest.extensions),
            roles=(manifest.settings.owner, *manifest.roles),
            event_triggers=manifest.event_triggers,
            subscriptions=manifest.subscriptions,
            tablespaces=manifest.tablespaces,
            tenant=manifest.tenant,
            needs=self._needs,
            left_out=manifest.left_out,
            distribution=manifest.distribution,
        )

    @property
    def _needs(self) -> ServerNeeds:
        """What its objects need of a server; nothing where it cannot be read: `check` says so."""
        try:
            return needs_of(self.entries)
        except (BackupDamaged, InvalidIdentity):
            return ServerNeeds()

    @cached_property
    def entries(self) -> list[ArchiveEntry]:
        """What the archive of the schema has.  Raises BackupDamaged and InvalidIdentity."""
        return list(self.contents_of(SCHEMA).entries)

    def properties(self, *, owners: bool) -> DatabaseProperties:
        """Return what the archive says of the database itself."""
        arguments = ["--create", "--file=-", *([] if owners else NO_OWNERS)]
        script = pg_restore_output(
            self.backup.programs().path("pg_restore"),
            arguments,
            partial(self.unpack, SCHEMA),
            [entry.id for entry in self.entries if entry.is_of_database],
        )
        return DatabaseProperties.parse(text_of(script))

    @contextmanager
    def loader(self, loading: Loading) -> Iterator[Load]:
        """Yield what loads the backup; a small archive is unpacked meanwhile."""
        with unpacked_ahead(self, loading) as (thread, archive):

            def load_into(target: Target, major: int, loading: Loading) -> Callable[[], None]:
                return load(self, self.entries, loading, thread, archive, target, major)

            yield load_into

    def compare(self, connection: Connection, *, rows: bool) -> LoadComparison:
        """Compare rows, large objects, validity and revision with the manifest."""
        manifest = self.manifest
        incomplete: list[IncompleteTable] = []
        checks = tuple(_compared(connection, manifest, rows=rows, incomplete=incomplete))
        roots = _roots(connection) if incomplete else {}
        leaves = dict[str, dict[tuple[str, ...], int]]()
        for table in manifest.tables if incomplete else ():
            found = leaves.setdefault(roots.get(table.parts, table.name), {})
            found[table.parts] = table.rows
        lost = sum(table.rows - table.restored for table in incomplete)
        return LoadComparison(
            rows=manifest.rows - lost if rows else 0,
            tables=len(manifest.tables),
            revision=manifest.revision,
            checks=checks,
            incomplete=tuple(incomplete),
            leaves=leaves,
        )


def rehearse(
    reader: BackupReader, target: Target, narrate: Narrate, progress: Progress
) -> list[VerifyCheck]:
    """Restore a backup into a scratch database and compare that with its manifest.

    The scratch database is on the target's server, and named after the backup, so that the next
    rehearsal removes what a killed one left.  What that server lacks says nothing about the backup:
    the check `restore` is then neither good nor bad.  Raises what connecting raises.
    """
    manifest = reader.manifest
    name = f"leadctl_verify_{manifest.id}"
    scratch = replace(target.on(name), schema=manifest.schema)
    source = RestorableBackup(reader.backup, reader.identities)
    loading = Loading(narrate, progress, owners=False, subscriptions=False)
    refused: VerifyCheck | None = None
    other_versions = ""
    try:
        found = plan(scratch, source, rehearsal=True)
        check_plan(found, owners=False)
        other_versions = ", ".join(found.other_versions)
        loading = without_missing(loading, found)
        properties = source.properties(owners=False)
        settings = settings_for_loading(source.origin())
        with (
            maintenance(target) as connection,
            source.loader(loading) as load_into,
            scratch_database(target, connection, name, properties, narrate, settings),
        ):
            try:
                load_into(scratch, found.server, loading)()
            except RestoreFailed as error:
                refused = _refused(scratch, error)
                raise
            with connect(scratch, "verify", like_pg_dump=True) as restored:
                with all_rows_seen(restored):
                    compared = [*_compared(restored, manifest, rows=True)]
                checks = [
                    VerifyCheck(RESTORE, True, "restored without an error"),
                    *compared,
                    _check_indexes(restored),
                ]
            drop_database(target, connection, name)
    except InsufficientPrivilege as error:
        return [_not_here(error.message, _ON_EMBEDDED)]
    except (OlderServer, MissingExtension, MissingLocale, NoSpace) as error:
        own = "" if target.embedded else " Or on a server of leadctl's own: --embedded."
        return [_not_here(error.message, f"{error.hint}{own}")]
    except RestoreFailed as error:
        if manifest.tenant:
            return [_not_here(error.message, _IN_ITS_DATABASE)]
        if other_versions:
            return [_not_here(f"{error.message}. This server has {other_versions}.", _UPDATE)]
        return [refused or VerifyCheck(RESTORE, False, error.message)]
    except BackupDamaged as error:
        return [VerifyCheck(RESTORE, False, error.message)]
    return checks


def rehearse_embedded(
    reader: BackupReader, project: Path, narrate: Narrate, progress: Progress
) -> list[VerifyCheck]:
    """Rehearse on a server of leadctl's own that has the extensions, as `rehearse` does."""
    manifest = reader.manifest
    extensions = {extension.name for extension in manifest.extensions}
    major = manifest.server_major
    try:
        with rehearsal_target(project, extensions, major, narrate) as target:
            return rehearse(reader, target, narrate, progress)
    except MissingExtension as error:
        return [_not_here(error.message, error.hint)]


def _not_here(message: str, hint: str) -> VerifyCheck:
    told = f"could not be rehearsed here, which says nothing about the backup: {message} {hint}"
    return VerifyCheck(RESTORE, None, told.strip())


def _refused(scratch: Target, failed: RestoreFailed) -> VerifyCheck | None:
    """Return the check where the server rejects what is loaded; None for a fault of the backup.

    pg_restore tells no SQLSTATE, and the words may be in any language: the statement is asked again
    where it failed, and rolled back.  Rows that could not be copied have none.
    """
    if not failed.command:
        if FOUND_BY_PATH.search(failed.message):
            return _not_here(failed.message, FOUND_BY_PATH_HINT)
        return _not_loadable(failed.message) if _COPY_FAILED in failed.message else None
    with connect(scratch, "verify", autocommit=False, like_pg_dump=True) as connection:
        connection.execute("SET check_function_bodies = off")
        try:
            connection.execute(failed.command.encode())
        except psycopg.Error as error:
            hint = _NOT_HERE.get(error.sqlstate or "", "")
            by_path = hint == FOUND_BY_PATH_HINT
            if by_path and _QUALIFIED.search(error.diag.message_primary or ""):
                return None
            if hint:
                return _not_here(failed.message, hint)
        finally:
            connection.rollback()
    return _not_loadable(failed.message)


def _not_loadable(message: str) -> VerifyCheck:
    """Every byte was compared and read before: what the database holds does not load again."""
    told = f"could not be restored, although its files are as they were written: {message}"
    return VerifyCheck(RESTORE, None, f"{told.rstrip('.')}. {_MEND}")


def _compared(
    connection: Connection,
    manifest: BackupManifest,
    *,
    rows: bool,
    incomplete: list[IncompleteTable] | None = None,
) -> Iterator[VerifyCheck]:
    """Compare rows, large objects, validity and revision with the manifest.

    Without `rows` only the schema is compared.  `incomplete` is told the tables with other rows.
    """
    new = sorted(set(not_valid(connection)) - set(manifest.not_valid))
    message = f"not valid: {', '.join(new)}" if new else "valid"
    yield VerifyCheck("constraints and indexes", not new, message)
    here = dict(exact.execute(connection, "SELECT extname, extversion FROM pg_extension"))
    other = [e for e in manifest.extensions if here.get(e.name, e.version) != e.version]
    if other:
        told = ", ".join(f"{e.name} {here[e.name]} (backup: {e.version})" for e in other)
        yield VerifyCheck("versions", None, f"what these extensions compute may differ: {told}")
    if not rows:
        return
    different = _different_tables(connection, manifest)
    if incomplete is not None:
        incomplete += different
    yield _rows(manifest, different)
    if manifest.extension_tables:
        yield _extension_rows(connection, manifest)
    ((objects,),) = exact.execute(connection, "SELECT count(*) FROM pg_largeobject_metadata")
    yield VerifyCheck(
        "large objects",
        objects == manifest.large_objects,
        f"{objects:,} of {manifest.large_objects:,}",
    )
    found = revision(connection, manifest.schema, manifest.versions)
    yield VerifyCheck(
        "revision",
        found == manifest.revision,
        f"{found or 'none'}, and the manifest says {manifest.revision or 'none'}",
    )


def _roots(connection: Connection) -> dict[tuple[str, ...], str]:
    """Return of each partition the root of its tree, as SQL has it."""
    return {
        (schema, name): sql.Identifier(*root).as_string(connection)
        for schema, name, *root in _QUERIES.rows(connection, "partition_roots")
    }


def _different_tables(connection: Connection, manifest: BackupManifest) -> list[IncompleteTable]:
    """Return the tables with other rows than in the manifest; partitions as the root of their tree.

    pg_dump may load a tree through its root, and then which partition a row belongs to is decided
    again: the hash of an enum depends on OIDs.
    """
    roots = _roots(connection)
    expected: Counter[str] = Counter()
    missing: set[str] = set()
    found: Counter[str] = Counter()
    for table in manifest.tables:
        label = roots.get(table.parts, table.name)
        expected[label] += table.rows
        try:
            found[label] += count_rows(connection, table.name)
        except psycopg.errors.UndefinedTable:
            missing.add(label)
    return [
        IncompleteTable(label, rows, found[label])
        for label, rows in expected.items()
        if found[label] != rows or label in missing
    ]


def _rows(manifest: BackupManifest, different: Sequence[IncompleteTable]) -> VerifyCheck:
    wrong = [f"{each.table} {each.restored:,} of {each.rows:,}" for each in different]
    if wrong:
        more = f", and {len(wrong) - _SHOWN} more" if len(wrong) > _SHOWN else ""
        return VerifyCheck("rows", False, ", ".join(wrong[:_SHOWN]) + more)
    tables = counted(len(manifest.tables), "table")
    message = f"{counted(manifest.rows, 'row')} in {tables}, as in the manifest"
    return VerifyCheck("rows", True, message)


def _extension_rows(connection: Connection, manifest: BackupManifest) -> VerifyCheck:
    """Compare the rows in tables of extensions, which may put more of their own there."""
    what = "rows of extensions"
    try:
        found = count_extension_tables(connection)
    except psycopg.Error as error:
        return VerifyCheck(what, None, told(error))
    different = [
        IncompleteTable(table.name, table.rows, found.get(table.parts, 0))
        for table in manifest.extension_tables
        if found.get(table.parts, 0) != table.rows
    ]
    wrong = [each for each in different if each.restored < each.rows]
    names = [f"{each.table} {each.restored:,} of {each.rows:,}" for each in wrong or different]
    message = ", ".join(names) or "as in the manifest"
    return VerifyCheck(what, not wrong and (None if different else True), message)


def _check_indexes(connection: Connection) -> VerifyCheck:
    """Check every B-tree index against its table with amcheck, where that is available."""
    what = "amcheck"
    if not _QUERIES.value(connection, "amcheck_available"):
        return VerifyCheck(what, None, "the server does not have the extension amcheck")
    try:
        connection.execute("CREATE SCHEMA leadctl_amcheck")
        connection.execute("CREATE EXTENSION IF NOT EXISTS amcheck SCHEMA leadctl_amcheck")
        names = _QUERIES.column(connection, "btree_indexes")
        for name in names:
            exact.execute(
                connection,
                "SELECT leadctl_amcheck.bt_index_check(%s::text::regclass, true)",
                (name,),
            )
    except psycopg.errors.InsufficientPrivilege as error:
        return VerifyCheck(what, None, told(error))
    except psycopg.errors.IndexCorrupted as error:
        return VerifyCheck(what, False, told(error))
    return VerifyCheck(what, True, f"{len(names)} indexes agree with their tables")
