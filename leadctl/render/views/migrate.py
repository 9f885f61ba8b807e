"""Views of migrate's results: what is applied, what goes, what differs, what was written."""

from collections.abc import Iterator, Sequence
from itertools import groupby
from operator import attrgetter
from typing import TYPE_CHECKING, Any

from leadctl.migrate.revision import AppliedNow, RevisionState, chain_message, in_chains
from leadctl.render.blocks import Block, Cell, Column, Grid, Line, Style, numbers
from leadctl.text import ago, place, restore_command

if TYPE_CHECKING:
    from leadctl.catalog.definitions import Difference
    from leadctl.migrate.dev import Dev, Push
    from leadctl.migrate.diff import Diff, Drift, SchemaCheck
    from leadctl.migrate.down import DownPlan, DownRehearsal, DownResult, RevisionLoss
    from leadctl.migrate.new import NewRevisions
    from leadctl.migrate.resolve import Adopted
    from leadctl.migrate.revision_writer import WrittenRevision
    from leadctl.migrate.status import MigrationHistory, MigrationStatus, RevisionStatus
    from leadctl.migrate.up import MigrateResult

_STYLES: dict[RevisionState, Style] = {
    RevisionState.APPLIED: "good",
    RevisionState.PENDING: "warn",
    RevisionState.FAILED: "bad",
    RevisionState.EDITED: "bad",
    RevisionState.MISSING: "bad",
    RevisionState.UNKNOWN: "bad",
}
_SHOWN = 20
"""Applied revisions that a table of a long history shows."""


def migrate(result: "MigrateResult") -> Iterator[Block]:
    """What was applied, and where the database is now."""
    database = place(result)
    if not result.applied and not result.pending:
        yield Line(f"Nothing to do: {database} is at {result.current or 'the beginning'}.")
        return
    if result.applied:
        yield Grid(
            [Column("Applied", key=True), "Message", *numbers("Time")], _done(result.applied)
        )
    yield Line(f"{database} is at {result.current or 'the beginning'}.")
    if result.pending:
        yield Line(f"Still pending: {', '.join(result.pending)}.", "warn")


def status(result: "MigrationStatus") -> list[Block]:
    """The revisions with their states, and a sentence on what to do.

    Of a long history that is applied the end is shown.
    """
    chains = [
        chain
        for _, alike in groupby(result.revisions, key=lambda each: each.state)
        for chain in in_chains(alike, _message)
    ]
    hidden = max(0, _applied_from_the_beginning(chains) - _SHOWN)
    rows = [
        (
            Cell(chain[-1].state.value, _STYLES[chain[-1].state]),
            chain[-1].revision,
            chain_message([each.message for each in chain]),
            chain[-1].applied_at,
            chain[-1].applied_by,
        )
        for chain in chains[hidden:]
    ]
    earlier = f"; {hidden} earlier ones are applied" if hidden else ""
    database = f"{result.app} on {place(result)}"
    return [
        Line(f"{database}: at {result.current or 'the beginning'}{earlier}"),
        Grid(
            [
                "State",
                Column("Revision", key=True),
                "Message",
                "Applied",
                Column("By", optional=True),
            ],
            rows,
        ),
        _verdict(result),
    ]


def _applied_from_the_beginning(chains: "Sequence[tuple[RevisionStatus, ...]]") -> int:
    states = [chain[0].state is RevisionState.APPLIED for chain in chains]
    return states.index(False) if False in states else len(states)


_message = attrgetter("message")


def _done(steps: Sequence[AppliedNow], *, down: bool = False) -> list[tuple[str, str, str]]:
    """Return the rows of what was applied, or undone: one a chain, by its last revision's name."""
    order = -1 if down else 1
    return [
        (
            chain[-1].revision,
            chain_message([step.message for step in chain]),
            f"{sum(step.duration_ms for step in chain):,} ms",
        )
        for chain in in_chains(steps[::order], _message)[::order]
    ]


def _verdict(result: "MigrationStatus") -> Line:
    if result.ok:
        return Line("Everything is applied.", "good")
    counts = [
        f"{count} {state.value}"
        for state in RevisionState
        if state is not RevisionState.APPLIED and (count := result.count(state))
    ]
    only_pending = result.count(RevisionState.PENDING) == sum(
        revision.state is not RevisionState.APPLIED for revision in result.revisions
    )
    advice = " Apply with: leadctl migrate" if only_pending else ""
    if result.unjoined:
        advice = " Join the branches with: leadctl migrate new --merge"
    return Line(f"{', '.join(counts)}.{advice}", "warn" if only_pending else "bad")


def history(result: "MigrationHistory") -> list[Block]:
    """What was applied, in order."""
    if not result.revisions:
        return [
            Line(
                f"leadctl recorded nothing in {place(result)}, yet. "
                "What is applied: leadctl migrate status"
            )
        ]
    rows = [
        (
            chain[-1].revision,
            chain_message([each.message for each in chain]),
            chain[-1].applied_at,
            chain[-1].applied_by,
            f"{sum(each.duration_ms for each in chain):,} ms",
        )
        for chain in in_chains(result.revisions, _message)
    ]
    return [
        Grid(
            [
                Column("Revision", key=True),
                "Message",
                "Applied",
                Column("By", optional=True),
                *numbers("Time"),
            ],
            rows,
        )
    ]


_VERDICT_STYLES: dict[str, Style] = {"reversible": "good", "lossy": "warn", "irreversible": "bad"}


def plan(result: "DownPlan") -> Iterator[Block]:
    """What is going to be undone, and what data goes with it."""
    database = place(result)
    if not result.revisions:
        yield Line(f"Nothing to undo on {database}.")
        return
    undone = [AppliedNow(*each, 0) for each in zip(result.revisions, result.messages, strict=True)]
    named = [f"{revision} {message}" for revision, message, _ in _done(undone, down=True)]
    yield Line(f"To be undone on {database}: {', '.join(named)}.")
    if result.losses:
        rows = [(each.revision, each.table, each.loss.what, _rows(each)) for each in result.losses]
        yield Grid([Column("Revision", key=True), "Table", "Lost", *numbers("Rows")], rows)
    for revision in result.unknown:
        yield Line(f"What {revision} loses is not known: read its downgrade().", "warn")
    if not result.losses and not result.unknown:
        yield Line("No rows are lost.", "good")
    if result.protected:
        yield Line(f"The database is protected: {result.protected}.", "warn")


def down(result: "DownResult") -> list[Block]:
    """What was undone, and where the database is now."""
    database = place(result)
    if not result.undone:
        return [Line(f"Nothing to undo: {database} is at {result.current or 'the beginning'}.")]
    return [
        Grid(
            [Column("Undone", key=True), "Message", *numbers("Time")],
            _done(result.undone, down=True),
        ),
        Line(f"{database} is at {result.current or 'the beginning'}."),
    ]


def rehearse(result: "DownRehearsal") -> Iterator[Block]:
    """The verdict on each revision."""
    if not result.revisions:
        yield Line("There is nothing to rehearse.")
        return
    rows = [
        (
            each.revision,
            Cell(each.verdict.value, _VERDICT_STYLES[each.verdict.value]),
            each.reason or "; ".join(each.loses),
        )
        for each in result.revisions
    ]
    yield Grid([Column("Revision", key=True), "Verdict", "Loses, or why not"], rows)
    for revision in result.revisions:
        for each in revision.differences:
            yield Line(f"{revision.revision}: {each.change} {each.object}", "bad")


def _rows(loss: "RevisionLoss") -> str:
    if loss.loss.rows is None:
        return "unknown"
    return f"{loss.loss.rows:,}" if loss.loss.exact else f"about {loss.loss.rows:,}"


def new(result: "NewRevisions") -> Iterator[Block]:
    """Where the revisions were written, what they lose, and which got other ids."""
    for each in result.renumbered:
        yield Line(f"{each.was} has the new id {each.revision}, in {each.path.name}.")
    if result.revisions:
        yield from _written(result.revisions)
        write = "Write what it does into upgrade(), then apply it"
        todo = write if result.empty else "Read them, then apply them"
        yield Line(f"{todo} with: leadctl migrate", "dim")
    elif not result.renumbered:
        yield Line("Nothing to write: the migrations make what the models say.")


def dev(result: "Dev") -> Iterator[Block]:
    """What was written, what it says, and what was applied."""
    if result.written:
        yield from _written(result.written)
    else:
        yield Line("Nothing to write: the migrations make what the models say.")
    yield from migrate(result.migrated)


def push(result: "Push") -> list[Block]:
    """The statements that were executed."""
    database = place(result)
    if not result.statements:
        return [Line(f"Nothing to push: {database} is what the models say.")]
    rows = [(number, " ".join(sql.split())) for number, sql in enumerate(result.statements, 1)]
    return [
        Grid([*numbers("#"), "Statement"], rows),
        *(Line(f"Lost {lost}.", "warn") for lost in result.lost),
        Line(f"{database} is what the models say; no revision was written.", "good"),
    ]


def adopt(result: "Adopted") -> list[Block]:
    """The revisions that say what was changed by hand."""
    database = place(result)
    if not result.revisions:
        return [Line(f"Nothing to adopt: nothing of {database} was changed by hand.")]
    return [
        *_written(result.revisions),
        Line(f"They are recorded as applied to {database}.", "good"),
        Line("Now change the models to match; compare with: leadctl migrate check", "dim"),
    ]


def _written(revisions: Sequence["WrittenRevision"]) -> list[Block]:
    rows = [
        (each.revision, each.message, Cell("; ".join(each.loses), "bad"), each.path.name)
        for each in revisions
    ]
    return [
        Line(f"Wrote to {revisions[0].path.parent}"),
        Grid(
            [Column("Revision", key=True), "Message", "Loses", Column("File", optional=True)], rows
        ),
    ]


_LONGEST = 60
_CONTEXT = 20
_CHANGE_STYLES: dict[str, Style] = {"missing": "bad", "extra": "good", "changed": "warn"}


def check(result: "SchemaCheck") -> Iterator[Block]:
    """What is pending, what the models have beyond the migrations, what was changed by hand."""
    if result.pending:
        yield Line(f"Pending: {', '.join(result.pending)}. leadctl migrate", "warn")
    if result.models:
        yield Line("Models and migrations differ. leadctl migrate new -m NAME", "warn")
        yield _grid(result.models, {"missing": "only in migrations", "extra": "only in models"})
    if result.drift:
        yield Line("The database was changed by hand. leadctl migrate drift", "warn")
        yield _grid(result.drift, {"missing": "dropped", "extra": "made"})
    if result.ok:
        database = place(result)
        yield Line(f"Models, migrations and {database} agree.", "good")
    yield _not_compared(result.not_compared)


def _not_compared(kinds: Sequence[str]) -> Line:
    return Line(f"Not compared: {', '.join(kinds)}.", "dim")


def drift(result: "Drift") -> list[Block]:
    """What was changed by hand, and since when it may have been."""
    from leadctl.catalog.definitions import dropped_tables

    database = place(result)
    if result.ok:
        said = Line(f"{database} is as {result.revision} left it.", "good")
        return [said, _not_compared(result.not_compared)]
    since = f", applied {ago(result.since)}" if result.since else ""
    tables = dropped_tables(result.differences)
    back = [Line(f"Bring it back with: {restore_command(tables)}", "warn")] if tables else []
    return [
        Line(f"{database} was changed by hand since {result.revision}{since}:", "warn"),
        _grid(result.differences, {"missing": "dropped", "extra": "made"}),
        *back,
        Line("Make a revision of it with: leadctl migrate resolve --adopt-drift -m NAME", "dim"),
        _not_compared(result.not_compared),
    ]


def diff(result: "Diff") -> list[Block]:
    """What differs, object by object."""
    if result.ok:
        said = Line(f"{result.before} and {result.after} are equal.", "good")
        return [said, _not_compared(result.not_compared)]
    words = {"missing": f"only in {result.before}", "extra": f"only in {result.after}"}
    return [_grid(result.differences, words), _not_compared(result.not_compared)]


def _grid(differences: Sequence["Difference"], words: dict[str, str]) -> Grid:
    return Grid(
        ["Change", "Object", "What"],
        [
            (
                Cell(words.get(each.change, each.change), _CHANGE_STYLES[each.change]),
                each.object,
                "; ".join(_details(each)),
            )
            for each in differences
        ],
    )


def _details(difference: "Difference") -> Iterator[str]:
    before, after = difference.before or {}, difference.after or {}
    for name in difference.attributes:
        old, new = _short(_text(before.get(name)), _text(after.get(name)))
        yield f"{name.replace('_', ' ')}: {old} → {new}"


def _text(value: Any) -> str:
    if value is None:
        return "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, dict):
        value = [f"{key}: {each}" for key, each in value.items()]
    text = ", ".join(map(str, value)) if isinstance(value, list) else str(value)
    return " ".join(text.split())


def _short(old: str, new: str) -> tuple[str, str]:
    """Return two texts, those that are long from shortly before the place where they differ."""
    if max(len(old), len(new)) <= _LONGEST:
        return old, new
    pairs = enumerate(zip(old, new, strict=False))
    differs = next(
        (index for index, (one, other) in pairs if one != other), min(len(old), len(new))
    )
    start = max(0, differs - _CONTEXT)
    return _cut(old, start), _cut(new, start)


def _cut(text: str, start: int) -> str:
    shown = f"…{text[start:]}" if start else text
    return shown if len(shown) <= _LONGEST else f"{shown[: _LONGEST - 1]}…"
