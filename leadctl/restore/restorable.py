"""What can be restored: a backup, or an archive or script of anyone's pg_dump; what it needs."""

import re
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import NamedTuple, Protocol

import psycopg

from leadctl.backup.contents import SATELLITES, ArchiveEntry
from leadctl.backup.manifest import Distributed
from leadctl.backup.reader import VerifyCheck
from leadctl.postgres.connect import Connection
from leadctl.postgres.queries import parts_of, written_by_pg_dump
from leadctl.postgres.target import Target
from leadctl.postgres.translate import told
from leadctl.progress import Narrate, Progress
from leadctl.restore.properties import IDENTIFIER, DatabaseProperties

_NAME = rf"{IDENTIFIER}\.{IDENTIFIER}"
_POLICY = re.compile(
    rf"CREATE POLICY {IDENTIFIER} ON {_NAME}(?: AS RESTRICTIVE)?(?: FOR [A-Z]+)?"
    rf" TO (?P<roles>{IDENTIFIER}(?:, {IDENTIFIER})*)"
)
USER_MAPPING = re.compile(
    rf"CREATE USER MAPPING FOR (?P<roles>{IDENTIFIER}) SERVER (?P<server>{IDENTIFIER})"
)
_COLLATED = re.compile(rf"COLLATE pg_catalog\.({IDENTIFIER})")
_HAS_COLUMNS = frozenset({"TABLE", "FOREIGN TABLE", "INDEX", "DOMAIN", "TYPE", "CONSTRAINT"})
_INDEXES = frozenset({"INDEX", "CONSTRAINT"})
_OTHER_INDEX = re.compile(r" USING (?!btree\b)")
_TRIED = re.compile(
    rf"CREATE (?:COLLATION|TEXT SEARCH DICTIONARY) (?P<name>{_NAME})"
    r" \((?:\s+TEMPLATE = pg_catalog\.|provider = )"
)
"""What needs nothing of the database but files and libraries of the server."""
_FOR_SUPERUSERS = frozenset(
    {
        "ACCESS METHOD",
        "FOREIGN DATA WRAPPER",
        "OPERATOR CLASS",
        "OPERATOR FAMILY",
        "PUBLICATION TABLES IN SCHEMA",
        "TEXT SEARCH PARSER",
        "TEXT SEARCH TEMPLATE",
    }
)
_BY_SUPERUSERS = {
    "CAST": re.compile(r" WITHOUT FUNCTION"),
    "FUNCTION": re.compile(r"^    LANGUAGE (?:(?:c|internal)\b|[^\n]*? LEAKPROOF)", re.MULTILINE),
    "PUBLICATION": re.compile(r" FOR ALL TABLES"),
    "TYPE": re.compile(r"^    INTERNALLENGTH = ", re.MULTILINE),
}
"""What a superuser alone makes, by its kind and what its statement has in it."""
_SAYS_NOTHING = ("08", "25", "42501", "53", "57")
"""SQLSTATEs, or their classes, of trials that failed of the session, and not of the server."""


class ServerNeeds(NamedTuple):
    """What an archive needs of a server, besides extensions, owners and tablespaces."""

    superuser: tuple[str, ...] = ()
    """What a superuser alone makes, as pg_restore lists it."""
    roles: tuple[str, ...] = ()
    """Roles that policies and user mappings name."""
    collations: tuple[str, ...] = ()
    """Collations of the server's own."""
    owners: tuple[str, ...] = ()
    """Roles that what it makes is given to."""
    trials: tuple[tuple[str, str], ...] = ()
    """Statements that can be tried anywhere, and what pg_restore lists of each."""
    b_trees: bool = False
    """Whether all its indexes are B-trees."""


def needs_of(entries: Sequence[ArchiveEntry]) -> ServerNeeds:
    """Return what the entries of an archive need."""
    superuser, roles, collations, trials = [], set[str](), set[str](), []
    owners = {e.owner for e in entries if e.kind not in SATELLITES and not e.is_of_database} - {""}
    for entry in entries:
        text = entry.definition
        said = _BY_SUPERUSERS.get(entry.kind)
        if entry.kind in _FOR_SUPERUSERS or (said and said.search(text)):
            superuser.append(entry.label)
        if found := _POLICY.match(text) or USER_MAPPING.match(text):
            roles |= {parts_of(name)[0] for name in re.findall(IDENTIFIER, found["roles"])}
        if entry.kind in _HAS_COLUMNS:
            collations |= {parts_of(name)[0] for name in _COLLATED.findall(text)}
        if tried := _TRIED.match(text):
            name = slice(tried.start("name"), tried.end("name"))
            trial = f"{text[: name.start]}pg_temp.leadctl_tried{text[name.stop :]}"
            trials.append((entry.label, trial))
    return ServerNeeds(
        tuple(superuser),
        tuple(sorted(roles)),
        tuple(collations),
        tuple(sorted(owners)),
        tuple(trials),
        not any(_OTHER_INDEX.search(e.definition) for e in entries if e.kind in _INDEXES),
    )


def try_all(connection: Connection, needs: ServerNeeds) -> dict[str, str]:
    """Return what the server cannot make, and why: each is made where nobody sees it.

    Of libc's collations nothing is known where the connection's database has another encoding.
    """
    found = {}
    utf8 = connection.info.parameter_status("server_encoding") == "UTF8"
    for label, statement in needs.trials if utf8 else ():
        try:
            with connection.transaction(force_rollback=True):
                # By the extended protocol, which runs one statement alone: a forged one has more.
                connection.execute(written_by_pg_dump(statement), binary=True)
        except psycopg.Error as error:
            if not (error.sqlstate or "08").startswith(_SAYS_NOTHING):
                found[label] = told(error)
    return found


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
