"""From two catalogs to revisions: each stage in a file of its own, tried before it is written."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from pathlib import Path

from leadctl.apps.registry import App
from leadctl.catalog.compare import compare, without_grants
from leadctl.catalog.definitions import Catalog
from leadctl.errors import OperationFailed
from leadctl.migrate import writer
from leadctl.migrate.ddl.autodetector import changes
from leadctl.migrate.ddl.renames import Rename, implied
from leadctl.migrate.ddl.steps import Phase, Stage, Step, losses, plain
from leadctl.migrate.revisions import History
from leadctl.migrate.scratch import Scratch, scratch
from leadctl.postgres.target import Target

_SUFFIXES = {
    Stage.VALUES: "enum values",
    Stage.FILL: "fill rows",
    Stage.INDEX: "indexes",
    Stage.CONSTRAINT: "constraints",
    Stage.VALIDATE: "validate",
    Stage.NOT_NULL: "not null",
}


@dataclass(frozen=True)
class Written:
    """One revision that was written."""

    revision: str
    message: str
    path: Path
    loses: tuple[str, ...]
    """What of the rows it loses when it is applied."""


@dataclass(frozen=True)
class Draft:
    """One revision to be: the way there and the way back."""

    stage: Stage
    up: Sequence[Step]
    down: Sequence[Step]


def compose(
    target: Target,
    before: Catalog,
    after: Catalog,
    renames: Sequence[Rename] = (),
    *,
    online: bool = True,
) -> list[Draft]:
    """Return the revisions that turn one schema into another, in order.

    They are tried in a scratch schema, and each way back is read off there.  Raises
    OperationFailed for what cannot be written, and where they would not lead there.
    """
    _refuse_unwritable(before, after)
    after = after.without("other")
    with scratch(target, "new", _schemas(before, after)) as made:
        made.create(before)
        renamed = list(_rename(made, renames))
        renamed += _rename(made, implied(made.read(), after))
        start = made.read()
        steps = changes(start, after, online=online)
        stage = Stage.VALUES if steps and steps[0].stage is Stage.VALUES else Stage.MAIN
        steps = [*(replace(step, stage=stage) for step in renamed), *steps]
        drafts = []
        for stage, group in groupby(steps, key=lambda step: step.stage):
            up = list(group)
            made.execute(step.sql for step in up if step.phase is not Phase.RENAME and step.sql)
            end = made.read()
            down = changes(end, start, online=stage is Stage.INDEX)
            down += [step.back for step in reversed(up) if step.back]
            drafts.append(Draft(stage, up, down))
            start = end
        left = without_grants(compare(made.read(), after))
    if left:
        raise OperationFailed(
            "What would be written does not lead there; left would be: "
            f"{', '.join(f'{each.change} {each.object}' for each in left)}.",
            hint="Write that by hand: leadctl migrate new --empty -m NAME",
        )
    return drafts


def renamed(target: Target, before: Catalog, renames: Sequence[Rename]) -> Catalog:
    """Return a schema as it is after renames."""
    if not renames:
        return before
    with scratch(target, "new", _schemas(before)) as made:
        made.create(before)
        made.execute(rename.sql for rename in renames)
        others = before.only("other").objects
        return Catalog({**made.read().objects, **others})


def _schemas(*catalogs: Catalog) -> list[str]:
    return sorted({plain(name) for each in catalogs for name in each.names("schema")})


def _refuse_unwritable(before: Catalog, after: Catalog) -> None:
    others = compare(before.only("other"), after.only("other"))
    if others:
        named = ", ".join(each.object.removeprefix("other ") for each in others)
        raise OperationFailed(
            f"What leadctl does not write differs: {named}.",
            hint="Write that by hand: leadctl migrate new --empty -m NAME",
        )


def _rename(made: Scratch, renames: Iterable[Rename]) -> Iterator[Step]:
    for rename in renames:
        made.execute([rename.sql])
        back = Step(rename.back, Phase.RENAME)
        yield Step(rename.sql, Phase.RENAME, why=rename.why, back=back)


def write_drafts(
    app: App, history: History, message: str, drafts: Sequence[Draft]
) -> list[Written]:
    """Write revisions behind the head of a history.

    One that is not the message's own says in its name what it is for.
    """
    follows = history.head
    main = Stage.MAIN if any(each.stage is Stage.MAIN for each in drafts) else drafts[0].stage
    written = []
    with writer.writing(history):
        for draft in drafts:
            written.append(_write(app, history, follows, message, draft, main))
            follows = written[-1].revision
    return written


def _write(
    app: App, history: History, follows: str | None, message: str, draft: Draft, main: Stage
) -> Written:
    revision = writer.next_id(app, follows)
    said = message if draft.stage is main else f"{message}: {_SUFFIXES[draft.stage]}"
    transactional = draft.stage.transactional
    if draft.down:
        downgrade = writer.body(draft.down, transactional=transactional)
    else:
        downgrade = "    return  # the rows may stay as they are"
    upgrade = writer.body(draft.up, transactional=transactional)
    path = writer.write(history, revision, follows, said, upgrade, downgrade)
    return Written(revision, said, path, tuple(losses(draft.up)))
