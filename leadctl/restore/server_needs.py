"""What the objects of an archive need of a server: it is known before anything is loaded."""

import re
from collections.abc import Sequence
from typing import NamedTuple

import psycopg

from leadctl.backup.contents import SATELLITES, ArchiveEntry
from leadctl.postgres.connect import Connection
from leadctl.postgres.queries import parts_of, written_by_pg_dump
from leadctl.postgres.translate import told
from leadctl.restore.properties import IDENTIFIER

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
