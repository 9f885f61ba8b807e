"""Writing revisions: what the models say and the migrations lack, SQL by hand, or a way back."""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field, replace

from leadctl.apps.registry import App
from leadctl.catalog.definitions import Catalog, definition
from leadctl.errors import NotConfirmed, OperationFailed, Protected
from leadctl.journal.guard import protection
from leadctl.migrate.alembic_runner import RevisionStatement
from leadctl.migrate.collisions import Renumbered, settle_collisions
from leadctl.migrate.ddl.autodetector import writable_changes
from leadctl.migrate.ddl.renames import named_renames, possible_renames
from leadctl.migrate.ddl.steps import Phase, Stage, Step
from leadctl.migrate.diff import migrated
from leadctl.migrate.drafts import Draft, compose, renamed_schema, way_back
from leadctl.migrate.integrity import open_history, read_verified, refuse_missing, verify
from leadctl.migrate.lint import SMALL_BYTES
from leadctl.migrate.planner import Planner
from leadctl.migrate.revision import RevisionText
from leadctl.migrate.revision_writer import (
    WrittenRevision,
    check_writable,
    write_drafts,
    write_revisions,
)
from leadctl.migrate.revisions import HERE, History, RevisionPlacement, read_history
from leadctl.migrate.schema_sources import (
    desired_schema,
    history_schema,
    models_schema,
    with_others,
)
from leadctl.migrate.scratch_models import ModelScratch, in_scratch
from leadctl.postgres.connect import connect
from leadctl.postgres.provision import connect_or_create
from leadctl.postgres.target import Target
from leadctl.progress import Narrate
from leadctl.sql.lexer import split
from leadctl.text import counted, size

Ask = Callable[[str], str]
"""A way to ask somebody who is there; what is returned is what was typed."""
Ready = Callable[[Sequence[Draft]], Sequence[Draft]]
"""What looks at revisions before they are written: it may add to them, or raise."""

_TO_WRITE = """\
    # op.execute("…") runs SQL; rows of a big table are filled in batches by leadctl.fill.
    pass"""


@dataclass(frozen=True)
class NewRevisions:
    """The revisions that were written; none where there was nothing to write."""

    app: str
    follows: str | None
    revisions: tuple[WrittenRevision, ...]
    renumbered: tuple[Renumbered, ...] = ()
    """Revisions that got an id of their own, since two files had one."""
    empty: bool = field(default=False, metadata={"json": False})
    """Whether what they do is still to be written."""


def new(
    target: Target,
    app: App,
    message: str,
    *,
    renames: Sequence[str] = (),
    safe: bool = True,
    ask: Ask | None = None,
    ready: Ready = tuple,
    placement: RevisionPlacement = HERE,
    narrate: Narrate,
) -> NewRevisions:
    """Write the revisions that take the migrations to the models.

    What goes while something alike comes is asked about, or must be among `renames` ("old:new";
    "old:" for what really goes).  What would block a big table is written in its `safe` form, else
    all that fits one transaction is one file.  Raises OperationFailed where revisions are pending,
    where a rename is left open, for what cannot be written, and for a big table that is not safe.
    """
    history = _open(app, target)
    history.followed(placement)
    before, own = _migrations(target, app, history, narrate)
    models = models_schema(target, app, narrate, before)
    before = with_others(app, models, before)
    found = _renames(before, desired_schema(target, app, models, before, own), renames, ask)
    after = desired_schema(target, app, models, renamed_schema(target, before, found), own)
    drafts = ready(compose(target, before, after, found, safe=safe))
    if drafts and not safe:
        _refuse_plain(target, _big_tables(target, app, history, drafts))
    elif len(drafts) > 1 and not _big_tables(target, app, history, drafts):
        narrate(
            "Its tables are small: --plain writes fewer files, for a history that is applied "
            "nowhere else."
        )
    return _write_drafts(app, history, message, drafts, narrate, placement)


def new_empty(
    target: Target | None, app: App, message: str, placement: RevisionPlacement = HERE
) -> NewRevisions:
    """Write a revision without operations.

    A target that can be reached is to have what it would follow.  Raises RevisionEdited and
    RevisionMissing.
    """
    history = _open(app, target)
    if target is not None:
        verify(target, app, history)
    text = RevisionText(message, upgrade=_TO_WRITE, operates=False)
    written = _write(app, history, text, history.followed(placement), placement)
    return replace(written, empty=True)


def new_merge(
    target: Target | None,
    app: App,
    message: str | None,
    *,
    renumber: Sequence[str],
    lock_wait: float,
    narrate: Narrate,
) -> NewRevisions:
    """Write a revision that joins the heads of a history, and does nothing else.

    Files that share an id get their own first: those named in `renumber`, or those that the
    target's database has not applied.  Raises CollidingRevisions where nothing tells which,
    OperationFailed where there is nothing to join, and RevisionMissing where what joined them may
    be applied.
    """
    check_writable(app)
    renumbered = settle_collisions(target, app, renumber, lock_wait, narrate)
    history = read_history(app.versions, complete=False)
    if target is not None:
        refuse_missing(target, app, history, joined=True)
    heads = history.heads
    if len(heads) < 2 and not renumbered:
        raise OperationFailed(
            f"The history in {history.folder} has one head, so there is nothing to join.",
            hint="See: leadctl migrate history",
        )
    if len(heads) < 2:
        return NewRevisions(app.name, None, (), renumbered)
    said = message or f"Merge {' and '.join(heads)}"
    undo = "    return  # the branches part again"
    written = _write(app, history, RevisionText(said, downgrade=undo, operates=False), heads)
    return replace(written, renumbered=renumbered)


def _write(
    app: App,
    history: History,
    text: RevisionText,
    follows: Sequence[str],
    placement: RevisionPlacement = HERE,
) -> NewRevisions:
    written = write_revisions(app, history, [text], follows, placement)
    return NewRevisions(app.name, ", ".join(follows) or None, tuple(written))


def new_sql(
    target: Target,
    app: App,
    message: str,
    text: str,
    narrate: Narrate,
    placement: RevisionPlacement = HERE,
) -> NewRevisions:
    """Write a revision of SQL statements; the way back is read off what they change.

    They are tried in a scratch schema.  Raises OperationFailed where the server rejects them.
    """
    history = _open(app, target)
    history.followed(placement)
    before, _ = _migrations(target, app, history, narrate)
    statements = list(split(text))
    outside = [sql for sql in statements if "CONCURRENTLY" in sql.upper()]
    if not statements:
        raise OperationFailed("No statement was given.", hint="Give at least one, or --empty.")
    if outside and len(outside) < len(statements):
        raise OperationFailed(
            "Some statements must run outside a transaction (CONCURRENTLY), and others inside one.",
            hint="Write a revision for each part.",
        )
    stage = Stage.INDEX if outside else Stage.MAIN
    steps = [Step(sql, Phase.DEFINE, stage=stage) for sql in statements]

    def tried(made: ModelScratch) -> tuple[Catalog, Catalog, Sequence[Step], str]:
        made.create(before)
        start = made.read()
        with made.fenced():
            made.execute(statements)
        end = made.read()
        return start, end, *way_back(made, end, start, online=bool(outside))

    start, end, down, reason = in_scratch(target, "new", app.schemas, tried)
    draft = Draft(stage, steps, down, no_way_back=reason)
    lost = [step.loses for step in writable_changes(start, end)[0] if step.loses]
    steps[0] = replace(steps[0], loses="; ".join(lost))
    if not draft.down and not draft.no_way_back:
        narrate("No schema change detected, so downgrade() is empty. Fill it in if needed.")
    return _write_drafts(app, history, message, [replace(draft, up=steps)], narrate, placement)


def new_revert(
    target: Target, app: App, message: str | None, name: str, narrate: Narrate
) -> NewRevisions:
    """Write a revision that undoes another: its definitions, not what it did to rows.

    Raises OperationFailed where a later revision changed the same object again.
    """
    history = _open(app, target)
    revision = history.get(name)
    if len(revision.down) > 1:
        raise OperationFailed(
            f"{revision.id} joins two branches, and there is nothing to undo in it.",
            hint="Revert the revisions of a branch one by one.",
        )
    before = history_schema(target, app, revision.down[0] if revision.down else None)
    after = history_schema(target, app, revision.id)
    now, _ = _migrations(target, app, history, narrate)
    wanted = _undone(revision.id, before, after, now)
    drafts = compose(target, now, wanted)
    narrate(f"Changes of rows by {revision.id}, if any, are not undone.")
    return _write_drafts(app, history, message or f"Revert {revision.message}", drafts, narrate)


def _undone(revision: str, before: Catalog, after: Catalog, now: Catalog) -> Catalog:
    wanted = dict(now.objects)
    for key in before.objects.keys() | after.objects.keys():
        old, new = definition(before.objects.get(key)), definition(after.objects.get(key))
        if old == new:
            continue
        if definition(now.objects.get(key)) != new:
            raise OperationFailed(
                f"{key} was changed again since {revision}.",
                hint="Revert what changed it first, or write the way back: "
                "leadctl migrate new --empty -m NAME",
            )
        wanted.pop(key, None)
        if key in before.objects:
            wanted[key] = before.objects[key]
    return Catalog(wanted)


def _open(app: App, target: Target | None) -> History:
    check_writable(app)
    app.versions.folders[0].mkdir(parents=True, exist_ok=True)
    return open_history(target, app) if target else read_history(app.versions)


def _migrations(
    target: Target, app: App, history: History, narrate: Narrate
) -> tuple[Catalog, Collection[str]]:
    """Return what the whole history makes, and what of it is the app's own, where it is known.

    Tells of drift, which a revision would not hold.  A database that is missing is created, since
    the first revision comes before it.
    """
    with connect_or_create(target, "new", narrate, read_only=True) as connection:
        current = read_verified(connection, target, app, history)
        pending = history.pending(current)
        if pending:
            raise OperationFailed(
                f"{target.database} is behind the revision that the new one would follow. Pending: "
                f"{', '.join(revision.id for revision in pending)}.",
                hint="Apply them first with: leadctl migrate",
            )
        made = migrated(connection, target, app, current, pending, narrate)
        if made.drift:
            narrate(
                f"The database was changed by hand in {counted(len(made.drift), 'place')}, which "
                f"no revision contains. See them with: leadctl migrate drift; write a revision of "
                f"them with: "
                "leadctl migrate resolve --adopt-drift -m NAME"
            )
        return made.catalog, made.own


def _refuse_plain(target: Target, big: Sequence[str]) -> None:
    hint = "Leave --plain out: leadctl then writes what is safe for big tables."
    if big:
        raise OperationFailed(
            f"--plain is for tables below {size(SMALL_BYTES)}, and not for: {', '.join(big)}.",
            hint=hint,
        )
    with connect(target, "new", read_only=True) as connection:
        reason = protection(connection, target)
    if reason:
        raise Protected(
            f"--plain is for a history that is applied nowhere else, and {target.database} is "
            f"protected: {reason}.",
            hint=hint,
        )


def _big_tables(target: Target, app: App, history: History, drafts: Sequence[Draft]) -> list[str]:
    """Return the tables that revisions touch and that lint does not call small, with their size."""
    with connect(target, "new", rows=True, read_only=True) as connection:
        planner = Planner(app, history, connection, target.schema)
        statements = [
            planner.statement(RevisionStatement(step.sql, transactional=True))
            for draft in drafts
            for step in draft.up
            if step.sql
        ]
    return sorted(
        {
            f"{effect.table} ({size(effect.bytes)})"
            for statement in statements
            for effect in statement.effects
            if effect.bytes is not None and effect.bytes > SMALL_BYTES
        }
    )


def _renames(before: Catalog, after: Catalog, given: Sequence[str], ask: Ask | None) -> list[Step]:
    """Return the renames that were named or that the user says yes to."""
    texts = list(given)
    named_renames(texts, before)
    known = {text.rpartition(":")[0] for text in given}
    taken = {text.rpartition(":")[2] for text in given}
    for old, new in possible_renames(before, after):
        if old in known or new in taken:
            continue
        if ask is None:
            raise OperationFailed(
                f"{old} was removed and {new} was added. Is this a rename?",
                hint=f"If so, add --rename {old}:{new}; if it is to be dropped, --rename {old}:",
            )
        answer = ask(f"Is {old} renamed to {new}? [r]ename, [d]rop {old}, Enter stops").lower()
        if answer in {"r", "rename", "y", "yes"}:
            texts.append(f"{old}:{new}")
            known.add(old)
            taken.add(new)
        elif answer in {"d", "drop"}:
            known.add(old)
        elif answer not in {"n", "no"}:
            raise NotConfirmed(
                f"It is not known whether {old} was renamed to {new}. Nothing was written.",
                hint=f"If so, add --rename {old}:{new}; if it is to be dropped, --rename {old}:",
            )
    return named_renames(texts, before)


def _write_drafts(
    app: App,
    history: History,
    message: str,
    drafts: Sequence[Draft],
    narrate: Narrate,
    placement: RevisionPlacement = HERE,
) -> NewRevisions:
    written = write_drafts(app, history, message, drafts, placement) if drafts else []
    for each, draft in zip(written, drafts, strict=False):
        for lost in each.loses:
            narrate(f"{each.revision} loses {lost}.")
        if draft.no_way_back:
            narrate(f"{each.revision} cannot be undone: {draft.no_way_back}.")
    if len(written) < len(drafts):
        raise OperationFailed(
            f"{app.environment}: its process_revision_directives left "
            f"{len(drafts) - len(written)} of {len(drafts)} revisions unwritten.",
            hint="See what is to be written with: leadctl migrate check",
        )
    follows = ", ".join(history.followed(placement)) or None
    return NewRevisions(app.name, follows, tuple(written))
