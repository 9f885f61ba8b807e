"""What is applied to a database, and whether the files of a history are those that were."""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from itertools import zip_longest

from leadctl.apps.registry import App
from leadctl.errors import (
    ConnectionFailed,
    LeadctlError,
    RevisionEdited,
    RevisionMissing,
    SchemaTaken,
)
from leadctl.journal import records
from leadctl.journal.records import AppliedRevision
from leadctl.migrate.revision import Revision
from leadctl.migrate.revision_files import with_id
from leadctl.migrate.revisions import History, read_history
from leadctl.postgres import exact
from leadctl.postgres.connect import Connection, connect
from leadctl.postgres.target import Target
from leadctl.postgres.translate import missing_extension
from leadctl.redact import scrub
from leadctl.text import place

_OF_ALEMBIC = "SELECT pg_catalog."
"""How Alembic's own question for its table begins, which is recorded with the first revision."""
_LONGEST = 120
"""Characters of a statement that a message shows."""


def read_current(connection: Connection, target: Target, app: App) -> list[str]:
    """Return the revisions that an app is at in the target's schema.

    Raises SchemaTaken for a schema that another app was migrated into.
    """
    return read_applied(connection, target, app)[0]


def read_applied(
    connection: Connection, target: Target, app: App
) -> tuple[list[str], list[AppliedRevision]]:
    """Return the revisions that an app is at in the target's schema, and what was recorded of it.

    Raises SchemaTaken for a schema that another app was migrated into.
    """
    recorded = refuse_other_apps(connection, target, app)
    return records.current_revisions(connection, target.schema, app.version_table) or [], recorded


def refuse_other_apps(connection: Connection, target: Target, app: App) -> list[AppliedRevision]:
    """Return what was recorded of an app, and nothing of others.

    Raises SchemaTaken for a schema that another app was migrated into.
    """
    recorded = records.applied_revisions(connection, target.schema)
    others = sorted({each.app for each in recorded} - {app.name})
    if others:
        tables = exact.execute(
            connection,
            "SELECT string_agg(relname, ', ' ORDER BY relname) FROM pg_class"
            " WHERE relnamespace = to_regnamespace(quote_ident(%s)) AND relkind IN ('r', 'p')",
            (target.schema,),
        ).fetchone()
        raise SchemaTaken(
            f"The schema {target.schema} of {connection.info.dbname} belongs to the app "
            f"{', '.join(others)}; conflicting tables: {tables[0] if tables else ''}.",
            hint=f"Give {app.name} a schema of its own, for example: --schema {app.name}",
        )
    return recorded


def missing_revisions(
    folder: History, current: Sequence[str], recorded: Sequence[AppliedRevision]
) -> list[str]:
    """Return what a database has applied, or is at, and the folder does not have.

    What an applied file follows was applied, too, also where nothing was recorded of it.
    """
    known = [each.revision for each in recorded]
    if folder.gaps:
        known += sorted(folder.ancestors([each for each in current if each in folder]))
    known += current
    return [revision for revision in dict.fromkeys(known) if revision not in folder]


def open_history(target: Target, app: App) -> History:
    """Read the history of an app that a target is to have.

    Where the folder is none, or ends in several places, a file may be missing: the database is
    asked, and what it has applied is said rather than what the rest looks like.  Raises
    RevisionMissing, and MigrationsInvalid as `read_history`; several ends are no error here.
    """
    history = read_history(app.versions, complete=False)
    if history.gaps or history.unjoined:
        refuse_missing(target, app, history)
        history.refuse_gaps()
    return history


def refuse_missing(target: Target, app: App, history: History, *, joined: bool = False) -> None:
    """Raise RevisionMissing for what a database has applied and a folder does not have.

    With `joined` only where a file needs it, or the database has all the ends of the history, too:
    then it may be the revision that joined them.  A database that cannot be reached says nothing.
    """
    try:
        with connect(target, "status", read_only=True) as connection:
            current, recorded = read_applied(connection, target, app)
    except ConnectionFailed:
        return
    if joined and not history.gaps:
        applied = {*current, *(each.revision for each in recorded)}
        if not applied.issuperset(history.heads):
            return
    _refuse_missing(target, history, current, recorded)


def verify(target: Target, app: App, history: History) -> None:
    """Raise as `read_verified`; a database that cannot be reached says nothing."""
    with suppress(ConnectionFailed), connect(target, "status", read_only=True) as connection:
        read_verified(connection, target, app, history)


def read_verified(connection: Connection, target: Target, app: App, history: History) -> list[str]:
    """Return the revisions that an app is at, all of which the folder has as they were applied.

    What was recorded of them is compared with the files: what does not hold for one of them holds
    for nothing that is said of the schema.  Raises SchemaTaken, RevisionEdited and RevisionMissing.
    """
    current, recorded = read_complete(connection, target, app, history)
    applied = history.ancestors(current)
    edited = [
        history.get(each.revision)
        for each in recorded
        if each.revision in applied and not history.get(each.revision).is_recorded_as(each.checksum)
    ]
    if edited:
        moved = _renumbered(history, recorded)
        raise _refusal(connection, target, app, history, edited, moved)
    return current


def read_complete(
    connection: Connection, target: Target, app: App, history: History
) -> tuple[list[str], list[AppliedRevision]]:
    """Return the revisions that an app is at, and what was recorded of it.

    The folder has all that is applied, edited or not.  Raises SchemaTaken and RevisionMissing.
    """
    current, recorded = read_applied(connection, target, app)
    _refuse_missing(target, history, current, recorded)
    return current, recorded


def refuse_missing_extensions(connection: Connection, pending: Sequence[Revision]) -> None:
    """Refuse revisions of which one makes an extension that the server does not have.

    Otherwise those before it would be applied, and the next run fail the same way.
    """
    wanted = {name: each.id for each in reversed(pending) for name in each.extensions}
    if not wanted:
        return
    known = connection.execute(
        "SELECT name FROM pg_catalog.pg_available_extensions UNION ALL"
        " SELECT extname FROM pg_catalog.pg_extension"
    )
    found = {name for (name,) in known}
    for name, revision in wanted.items():
        if name not in found:
            raise missing_extension(name, f"{revision} makes it. Nothing was applied.")


def _renumbered(history: History, recorded: Sequence[AppliedRevision]) -> dict[str, Revision]:
    """Return what was applied under an id and is in the folder under another, by the former.

    `new --merge` in somebody else's clone gave the file that id; and what follows it says so.
    """
    ids = {each.revision for each in recorded}
    others = [each for each in history.revisions if each.id not in ids]
    found: dict[str, Revision] = {}
    for record in recorded:
        own = [history.get(record.revision)] if record.revision in history else []
        if own and own[0].is_recorded_as(record.checksum):
            continue
        for each in [*own, *others]:
            text = with_id(each.text, "revision", each.id, record.revision)
            for old, new in found.items():
                text = with_id(text, "down_revision", new.id, old)
            if replace(each, text=text).is_recorded_as(record.checksum):
                found[record.revision] = each
                break
    return found


def _ways_of(moved: dict[str, Revision]) -> str:
    """Say which commands tell the database the ids that its revisions have now."""
    names = ", ".join(f"{old} is {each.path.name} now" for old, each in moved.items())
    commands = [
        *(f"leadctl migrate resolve --rolled-back {old}" for old in reversed(moved)),
        *(f"leadctl migrate resolve --applied {each.id}" for each in moved.values()),
    ]
    return (
        f"Applied revisions have new ids since two branches were joined: {names}. Record the new "
        f"ids, which runs nothing: {' && '.join(commands)}"
    )


def _refuse_missing(
    target: Target, history: History, current: Sequence[str], recorded: Sequence[AppliedRevision]
) -> None:
    missing = missing_revisions(history, current, recorded)
    if not missing:
        return
    moved = _renumbered(history, recorded)
    followed = [
        f"{each.path.name} follows {name}"
        for name in missing
        for each in history.gaps.get(name, ())
    ]
    raise RevisionMissing(
        f"{place(target)}, {_standing(current, missing)}, which "
        f"{'is' if len(missing) == 1 else 'are'} not in {history.folder}"
        f"{'; ' if followed else ''}{' and '.join(followed)}.",
        hint=_ways_of(moved) if moved else _ways_without(history, missing),
    )


def _standing(current: Sequence[str], missing: Sequence[str]) -> str:
    """Say how a database has what the folder lacks: "is at a and has applied b"."""
    at = [each for each in missing if each in current]
    behind = [each for each in missing if each not in current]
    parts = [f"is at {', '.join(at)}"] if at else []
    parts += [f"has applied {', '.join(behind)}"] if behind else []
    return " and ".join(parts)


def _ways_without(history: History, missing: Sequence[str]) -> str:
    """Say what to do where files of applied revisions are missing."""
    followers = {each.id: each.path.name for name in missing for each in history.gaps.get(name, ())}
    many = len(missing) > 1
    it, its = ("they", "their files") if many else ("it", "its file")
    commands = [f"leadctl migrate resolve --rolled-back {name}" for name in reversed(missing)]
    commands += [f"leadctl migrate resolve --accept-edit {name}" for name in followers]
    edit = ""
    if followers:
        files = " and ".join(followers.values())
        edit = f" let {files} follow what came before, in down_revision, and"
    return (
        f"Check out the code that has {its}, or get {its} back from version control "
        f"(git log --all -- '*{missing[-1]}*'); check --app, --env and --schema. If what {it} "
        f"did was undone by hand, or other revisions do it now,{edit} record "
        f"that: {' && '.join(commands)}"
    )


def _refusal(
    connection: Connection,
    target: Target,
    app: App,
    history: History,
    edited: Sequence[Revision],
    moved: dict[str, Revision],
) -> RevisionEdited:
    names = ", ".join(f"{each.id} ({each.path.name})" for each in edited)
    differs = _difference(connection, target, app, history, edited[0])
    return RevisionEdited(
        f"What was applied to {place(target)}, is not what the folder has as {names}. {differs}",
        hint=_ways_of(moved)
        if moved
        else "Restore the file as it was applied, and write a new revision for the change. If the "
        "edit changes nothing that matters: leadctl migrate resolve --accept-edit "
        f"{edited[0].id}. If another branch's revision has the same id, give this one a new id.",
    )


def _difference(
    connection: Connection, target: Target, app: App, history: History, revision: Revision
) -> str:
    """Say the first statement in which a file differs from what was applied of it."""
    from leadctl.migrate.alembic_runner import Scripts  # loads Alembic

    applied = records.applied_sql(
        connection, app=app.name, schema=target.schema, revision=revision.id
    )
    try:
        statements = Scripts(app, history).statements(revision)
    except LeadctlError:
        return f"What {revision.path.name} does is known only by running it."
    if not applied:
        return f"No SQL of {revision.id} was recorded, so it cannot be compared."
    before = [" ".join(each.split()) for each in applied.split(";\n")]
    before = [each for each in before if not each.startswith(_OF_ALEMBIC)]
    after = [" ".join(each.sql.split()) for each in statements]
    for old, new in zip_longest(before, after):
        if old != new:
            return f"Applied: {_shown(old)}; the file now has: {_shown(new)}."
    return (
        f"The SQL of {revision.id} is the same; its down_revision or its downgrade() was changed."
    )


def _shown(statement: str | None) -> str:
    if statement is None:
        return "nothing more"
    text = scrub(statement)
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 1]}…"
