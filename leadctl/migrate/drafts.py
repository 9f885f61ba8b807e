"""Drafts of revisions: what leads from one schema to another and back, tried in a scratch."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import groupby

from leadctl.catalog.definitions import (
    Catalog,
    compare,
    differing,
    is_unwritten,
    named,
    without_grants,
)
from leadctl.errors import OperationFailed
from leadctl.migrate.ddl.autodetector import changes
from leadctl.migrate.ddl.dependencies import narrowed
from leadctl.migrate.ddl.renames import implied_renames, type_renames
from leadctl.migrate.ddl.steps import Stage, Step, plain, refuse_values_at_once
from leadctl.migrate.ddl.table_copies import Copy, SetAside, set_aside
from leadctl.migrate.scratch import Scratch, scratch
from leadctl.postgres.target import Target


@dataclass(frozen=True)
class Draft:
    """One revision to be: the way there and the way back."""

    stage: Stage
    up: Sequence[Step]
    down: Sequence[Step]
    safe: bool = True
    """Whether it has the forms that let others write to a big table meanwhile."""
    no_way_back: str = ""
    """Why `down` is empty, where it should not be."""


def compose(
    target: Target,
    before: Catalog,
    after: Catalog,
    renames: Sequence[Step] = (),
    *,
    safe: bool = True,
) -> list[Draft]:
    """Return the revisions that turn one schema into another, in order.

    Unless they are to be `safe`, they have the short forms, for small tables.  They are tried in a
    scratch schema, and each way back is read off and tried there.  Raises OperationFailed for what
    cannot be written, and where they would not lead there.
    """
    _refuse_unwritable(before, after)
    renamed_ones = {" ".join(("table", step.renamed[0])) for step in renames if step.renamed}
    before, after = narrowed(differing(before, after) | renamed_ones, before, after)
    after = after.written()  # nothing else differs
    with scratch(target, "new", schemas_of(before, after)) as made:
        made.create(before)
        starts = [original := made.read()]
        renamed = _after(made, renames, original)
        first = _first_renames(renamed.written(), after)
        renamed = _after(made, first.steps, renamed)
        implied, _ = implied_renames(renamed.written(), after)
        start = _as_set_on(before, _after(made, implied, renamed))
        steps = changes(start, after, online=safe, copies=first.copies)
        back = [each.back for each in first.copies]
        stage = Stage.VALUES if steps and steps[0].stage is Stage.VALUES else Stage.MAIN
        before_all = (*renames, *first.steps, *implied)
        steps = [*(replace(step, stage=stage) for step in before_all), *steps]
        drafts = []
        for stage, group in groupby(steps, key=lambda step: step.stage.of_revision):
            up = list(group)
            made.execute(step.sql for step in up if step.sql and step.back is None)
            end = _as_set_on(before if stage < Stage.MAIN else after, made.read())
            draft = Draft(stage, up, (), safe)
            try:
                down = _down(made, end, start, back, online=stage is Stage.INDEX)
                refuse_values_at_once(down)
                down += [step.back for step in reversed(up) if step.back]
                drafts.append(replace(draft, down=down))
            except OperationFailed as error:
                drafts.append(replace(draft, no_way_back=error.message))
            starts.append(start := end)
        left = without_grants(compare(start, after))
        if not left:
            drafts = _tried_back(made, drafts, starts)
    if left:
        raise OperationFailed(
            f"The written SQL would not reach the goal. These differences would remain: "
            f"{named(left)}.",
            hint="Write that by hand: leadctl migrate new --empty -m NAME",
        )
    return drafts


def _down(
    made: Scratch, end: Catalog, start: Catalog, copies: Sequence[Copy], *, online: bool
) -> list[Step]:
    """Return what leads back; tables are set aside, and their rows copied, where nothing else does.

    Raises OperationFailed for what cannot be written.
    """
    try:
        return changes(end, start, online=online, copies=copies)
    except OperationFailed:
        aside = set_aside(end, start)
        if not aside.steps:
            raise
    made.execute(step.sql for step in aside.steps)
    now = _as_set_on(end, made.read())
    made.execute(step.back.sql for step in reversed(aside.steps) if step.back)
    return [*aside.steps, *changes(now, start, copies=(*copies, *aside.copies))]


def _after(made: Scratch, steps: Sequence[Step], before: Catalog) -> Catalog:
    """Return the schema after steps were executed."""
    if not steps:
        return before
    made.execute(step.sql for step in steps)
    return made.read()


def _as_set_on(schema: Catalog, made: Catalog) -> Catalog:
    """Return what was made, with what is set on the schema itself: a scratch schema is another."""
    own = schema.only("namespace").objects
    return Catalog({**made.written().without("namespace").objects, **own})


def _tried_back(made: Scratch, drafts: list[Draft], starts: Sequence[Catalog]) -> list[Draft]:
    """Return drafts of which each way back leads to its start, or one of which says why not."""
    found = list(drafts)
    for index, draft in reversed(list(enumerate(drafts))):
        if draft.no_way_back:
            break
        reason = made.why_not((step.sql for step in draft.down), starts[index])
        if reason:
            found[index] = replace(draft, down=(), no_way_back=reason)
            break
    return found


def way_back(
    made: Scratch, end: Catalog, start: Catalog, *, online: bool
) -> tuple[Sequence[Step], str]:
    """Return what leads from where a scratch schema is back to a start, or why nothing does."""
    try:
        aside = _first_renames(end.written(), start.written())
        made.execute(step.sql for step in aside.steps)
        now = made.read() if aside.steps else end
        steps = changes(now, start, online=online, copies=aside.copies)
        refuse_values_at_once(steps)
    except OperationFailed as error:
        return (), error.message.rstrip(".")
    reason = made.why_not((step.sql for step in steps), start)
    return ((), reason) if reason else ((*aside.steps, *steps), "")


def renamed_schema(target: Target, before: Catalog, renames: Sequence[Step]) -> Catalog:
    """Return a schema as it is after renames."""
    if not renames:
        return before
    with scratch(target, "new", schemas_of(before)) as made:
        made.create(before)
        made.execute(rename.sql for rename in renames)
        return _with_unwritten(made.read(), before)


def _with_unwritten(made: Catalog, before: Catalog) -> Catalog:
    others = {key: each for key, each in before.objects.items() if is_unwritten(key, each)}
    return Catalog({**made.objects, **others})


@dataclass(frozen=True)
class Prepared:
    """A schema as it is after what comes before all else."""

    schema: Catalog
    steps: tuple[Step, ...] = ()
    """The renames that were named, those of types, and those that set tables aside."""
    copies: tuple[Copy, ...] = ()


def prepared(target: Target, before: Catalog, after: Catalog, renames: Sequence[Step]) -> Prepared:
    """Return a schema after renames, and after what follows from them.

    Raises OperationFailed where that cannot be tried.
    """
    if not (renames or _first_renames(before, after).steps):
        return Prepared(before)
    with scratch(target, "diff", schemas_of(before, after)) as made:
        made.create(before)
        made.execute(rename.sql for rename in renames)
        renamed = made.read()
        first = _first_renames(renamed, after)
        made.execute(step.sql for step in first.steps)
        schema = _with_unwritten(_as_set_on(before, made.read()), before)
        return Prepared(schema, (*renames, *first.steps), first.copies)


def _first_renames(before: Catalog, after: Catalog) -> SetAside:
    """Return the renames of types, and those that set tables aside, with the copies that follow."""
    aside = set_aside(before, after)
    return SetAside((*type_renames(before, after), *aside.steps), aside.copies)


def schemas_of(*catalogs: Catalog) -> list[str]:
    """Return the schemas that catalogs have beside the app's own."""
    return sorted({plain(name) for each in catalogs for name in each.names("schema")})


def _refuse_unwritable(before: Catalog, after: Catalog) -> None:
    others = [
        each
        for each in compare(before, after)
        if is_unwritten(each.object, each.after or each.before)
    ]
    if others:
        named = ", ".join(each.object.removeprefix("other ") for each in others)
        raise OperationFailed(
            f"These objects differ, but leadctl cannot write them: {named}.",
            hint="Write that by hand: leadctl migrate new --empty -m NAME",
        )
