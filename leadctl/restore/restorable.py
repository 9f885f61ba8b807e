"""What can be restored: a backup of leadctl's own, an archive or a script of anyone's pg_dump."""

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Protocol

from leadctl.backup.manifest import Distributed
from leadctl.backup.reader import VerifyCheck
from leadctl.postgres.connect import Connection
from leadctl.postgres.target import Target
from leadctl.progress import Narrate, Progress
from leadctl.restore.properties import DatabaseProperties
from leadctl.restore.server_needs import ServerNeeds

JOBS = 2
"""Connections that load and make indexes, where nothing else is said."""


def is_dump(path: Path) -> bool:
    """Whether a path is a file, or a folder that pg_dump made."""
    return path.is_file() or (path / "toc.dat").is_file()


@dataclass(frozen=True)
class Origin:
    """The facts of a source that are known before it is loaded; None is unknown."""

    name: str
    """The id of a backup, the path of a file."""
    made_at: datetime
    bytes: int
    """About what it takes on the server; of a file that does not say it, its size."""
    database: str | None = None
    schema: str | None = None
    revision: str | None = None
    server_major: int | None = None
    rows: int | None = None
    extensions: tuple[str, ...] = ()
    versions: tuple[str, ...] = ()
    """Those of the extensions; none where they are not known."""
    roles: tuple[str, ...] = ()
    event_triggers: tuple[str, ...] = ()
    subscriptions: tuple[str, ...] = ()
    tablespaces: tuple[str, ...] = ()
    tenant: str | None = None
    """The schema that alone is in it; None where all of the database is."""
    needs: ServerNeeds = field(default_factory=ServerNeeds)
    left_out: tuple[str, ...] = ()
    """Tables that are not in it, or not their rows, by --exclude and --exclude-data."""
    distribution: tuple[Distributed, ...] | None = None
    """What a Citus cluster distributes; None where nothing is known of that."""


@dataclass(frozen=True)
class LeftOutEntry:
    """Something of a source that is not back, and why."""

    entry: str
    """As pg_restore lists it; of a script the line and the first words of the statement."""
    reason: str


@dataclass(frozen=True)
class IncompleteTable:
    """A table of which not all rows are there; 0 where it is not there itself."""

    table: str
    rows: int
    """As the manifest says."""
    restored: int


@dataclass(frozen=True)
class Loading:
    """How a source is loaded."""

    narrate: Narrate
    progress: Progress
    owners: bool = True
    """Whether owners and grants are set as they were; their roles must exist."""
    rows: bool = True
    """Whether rows are loaded, or the schema alone."""
    subscriptions: bool = True
    """Whether subscriptions are made: a rehearsal must not know other servers."""
    tablespaces: bool = True
    """Whether tables go to their tablespaces; else to the default one."""
    jobs: int = JOBS
    """Connections that load and make indexes."""
    memory_bytes: int = 64 * 2**20
    """Bytes of an archive that is unpacked in memory, where several connections read it."""
    min_connection_bytes: int = 64 * 2**20
    """Bytes of tables that take longer to load than an archive takes to be read once more."""
    min_index_bytes: int = 32 * 2**20
    """Bytes of a table whose index takes longer to make than a program takes to start."""

    keep_going: bool = False
    """Whether what fails is left out, and the rest is loaded."""
    older: tuple[str, ...] = ()
    """Extensions that are made in the version of the backup, not in the server's default one."""
    distribute: Callable[[Target], None] | None = None
    """Distributes what is made of a cluster's database, before the rows are loaded."""
    skip: tuple[str, ...] = ()
    """Entries that are left out, as pg_restore lists them, and what needs them."""
    left_out: list[LeftOutEntry] = field(default_factory=list)
    """Is told what was left out."""

    @property
    def partly(self) -> bool:
        """Whether it may end with less than the source has."""
        return self.keep_going or bool(self.skip)

    def loaded(self, done: int) -> None:
        """Report progress in bytes."""
        self.progress(done, 0, "B")


@dataclass(frozen=True)
class LoadComparison:
    """The loaded rows, and the result of comparing them with the source."""

    rows: int
    tables: int
    revision: str | None
    checks: tuple[VerifyCheck, ...]
    incomplete: tuple[IncompleteTable, ...] = ()
    leaves: Mapping[str, Mapping[tuple[str, ...], int]] = field(default_factory=dict)
    """Of each incomplete table the tables that hold its rows, and how many are in the source."""


Load = Callable[[Target, int, Loading], Callable[[], None]]
"""Loads a source into an empty database, on a server of a major version.

Returns what waits for the rest: nothing that is compared is part of it, but what ANALYZE looks at.
Both raise RestoreFailed and BackupDamaged."""


def nothing_more() -> None:
    """Wait for nothing: all is loaded."""


class Restorable(Protocol):
    """A source that a new database can be made from."""

    def origin(self) -> Origin:
        """Return the facts of the source. Raises BackupDamaged."""

    def properties(self, *, owners: bool) -> DatabaseProperties | None:
        """Return what belongs to its database itself; None where that of a replaced one is kept.

        Without `owners` there are no owners and grants among it.  Raises BackupDamaged.
        """

    def held(self) -> AbstractContextManager[object]:
        """Keep others from removing it within the block."""

    def check(self) -> None:
        """Look at its bytes before anything is made.  Raises BackupDamaged."""

    def loader(self, loading: Loading, /) -> AbstractContextManager[Load]:
        """Yield what loads it; some of it may be read ahead, while the restore is planned.

        What it is loaded with may be another `loading` by then.
        """

    def compare(self, connection: Connection, *, rows: bool) -> LoadComparison:
        """Compare a database that it was loaded into with what it says of itself.

        Without `rows` only the schema was loaded.
        """
