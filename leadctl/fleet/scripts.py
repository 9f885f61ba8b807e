"""The SQL of revisions that does the same wherever it is run: what may be sent again as it is.

A revision is code: what it sends may depend on what it reads.  The first target runs it through
Alembic.  What was sent there is compared with what the revision says without a database; if both
are one, it has asked nothing, and the text may be sent to every other target.

Where the revision's file alone says what it does, that is recorded in the database, for the runs to
come.  What is recorded there is run by this role: so it is read where nobody else may write it.
"""

import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

import psycopg

from leadctl.apps.registry import App
from leadctl.errors import LeadctlError
from leadctl.fleet.standings import QUERIES
from leadctl.migrate.concurrently import is_concurrent
from leadctl.migrate.revision import Revision
from leadctl.migrate.revisions import History
from leadctl.postgres.connect import Connection
from leadctl.sql.lexer import Reader, split
from leadctl.version import __version__

if TYPE_CHECKING:
    from leadctl.migrate.alembic_runner import RevisionStatement

_OF_ALEMBIC = "SELECT pg_catalog.pg_class.relname"
"""How Alembic asks for its own table before the first revision; it is recorded with that."""
_FIRST_WORDS = frozenset({
    "ALTER", "COMMENT", "CREATE", "DELETE", "DROP", "GRANT", "INSERT", "REVOKE", "TRUNCATE",
    "UPDATE",
})  # fmt: skip
"""Of statements that leave the session as it was."""
_MAY_SET = frozenset({"DO", "SELECT", "WITH"})
"""Of those that do, unless they say SET."""
_SETS = re.compile(r"\bset\b|set_config", re.IGNORECASE)
_LONE_PERCENT = re.compile(r"(?<!%)(?:%%)*%(?!%)")


@dataclass(frozen=True)
class RevisionScript:
    """A revision and the statements that it consists of, wherever it is applied."""

    revision: Revision
    statements: tuple[str, ...]
    transactional: bool
    """Whether all is one transaction; else each statement can be run again by itself."""
    recorded: str
    """What is recorded of it: what it sent."""

    @property
    def makes_the_same(self) -> bool:
        """Whether it makes of two schemas that are the same two that are: no code in it runs."""
        return all(Reader(each).peek().word in _FIRST_WORDS for each in self.statements)


def proven_scripts(
    connection: Connection, schema: str, app: App, history: History, revisions: Sequence[Revision]
) -> dict[str, RevisionScript]:
    """Return the scripts of revisions, just applied to a schema, that do the same everywhere."""
    from leadctl.migrate.alembic_runner import Scripts  # loads Alembic

    wanted = [revision.id for revision in revisions]
    sent = dict(
        QUERIES.rows(connection, "applied_sql", schema=schema, app=app.name, revisions=wanted)
    )
    scripts, found = Scripts(app, history), {}
    for revision in revisions:
        try:
            rendered = scripts.statements(revision)
        except LeadctlError:
            continue
        text = sent.get(revision.id)
        if text is None or not _is_one(text, rendered, first=not revision.down):
            continue
        if (script := _script(revision, rendered, text)) is not None:
            found[revision.id] = script
    return found


def recorded_scripts(
    connection: Connection, app: App, revisions: Sequence[Revision]
) -> dict[str, RevisionScript | None]:
    """Return what `record_scripts` recorded of revisions, where only this role may have done so."""
    if not QUERIES.value(connection, "has_scripts"):
        return {}
    by_id = {each.id: each for each in revisions if each.stands_alone}
    return {
        name: RevisionScript(by_id[name], tuple(statements), transactional, recorded)
        if statements is not None
        else None
        for name, checksum, statements, transactional, recorded in QUERIES.rows(
            connection, "scripts", app=app.name, revisions=list(by_id), version=__version__
        )
        if by_id[name].is_recorded_as(checksum)
    }


def record_scripts(
    connection: Connection, app: App, scripts: Mapping[Revision, RevisionScript | None]
) -> None:
    """Record the scripts of revisions, which all stand alone, if this role may."""
    with suppress(psycopg.Error), connection.transaction():
        QUERIES.run(connection, "create_scripts")
        for revision, script in scripts.items():
            QUERIES.run(
                connection,
                "record_script",
                app=app.name,
                revision=revision.id,
                checksum=revision.checksum,
                version=__version__,
                statements=list(script.statements) if script else None,
                transactional=script.transactional if script else None,
                recorded=script.recorded if script else None,
            )


def _is_one(sent: str, rendered: Sequence["RevisionStatement"], *, first: bool) -> bool:
    """Whether what was sent is what the revision says without a database."""
    before = [_on_the_wire(" ".join(each.split())) for each in split(sent)]
    if first and before and before[0].startswith(_OF_ALEMBIC):
        del before[0]
    return before == [" ".join(each.sql.split()) for each in rendered]


def _on_the_wire(text: str) -> str:
    """Return a statement as the server got it: a percent sign may be doubled for the driver."""
    return text if _LONE_PERCENT.search(text) else text.replace("%%", "%")


def _script(
    revision: Revision, rendered: Sequence["RevisionStatement"], sent: str
) -> RevisionScript | None:
    """Return a script whose statements leave the session as it is, and can be run as they are."""
    statements = tuple(each.sql for each in rendered)
    if not all(map(_leaves_session, statements)):
        return None
    transactional = all(each.transactional for each in rendered)
    if not transactional:
        alone = not any(each.transactional for each in rendered)
        if not (alone and all(is_concurrent(each) and _repeats(each) for each in statements)):
            return None
    recorded = sent.partition(";\n")[2] if sent.startswith(_OF_ALEMBIC) else sent
    return RevisionScript(revision, statements, transactional, recorded)


def _leaves_session(statement: str) -> bool:
    word = Reader(statement).peek().word
    return word in _FIRST_WORDS or (word in _MAY_SET and not _SETS.search(statement))


def _repeats(statement: str) -> bool:
    """Whether a statement can be run again when it has been run."""
    reader = Reader(statement)
    return reader.has("IF", "EXISTS") or reader.has("IF", "NOT", "EXISTS")
