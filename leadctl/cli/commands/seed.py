"""`leadctl seed`."""

from typing import Annotated

from leadctl.cli.command import Effect, Run, command
from leadctl.cli.fleet import FleetUse
from leadctl.cli.group import app
from leadctl.cli.options import (
    LOCK_TIMEOUT,
    LOCK_WAIT,
    Confirm,
    ForSpreadsheet,
    Number,
    Text,
    Texts,
    Yes,
    flag,
    not_with,
    only_with,
    option,
    table_names,
)
from leadctl.render import views

Bulk = Annotated[
    Number,
    option("--bulk", "ROWS", "Add this many synthetic rows, in the app's proportions.", min=1),
]
RandomSeed = Annotated[
    Number, option("--random-seed", "N", "The same number gives the same rows (default 0).")
]
Scale = Annotated[
    Texts, option("--scale", "TABLE=N", "Give this table N of the rows (repeatable).")
]
Span = Annotated[
    Text,
    option(
        "--span",
        "TIME",
        "The period that the rows' times cover. E.g. 365d, or 2025-01-01..2025-12-31.",
    ),
]
Replant = Annotated[
    bool, flag("--replant", "Empty the app's tables first: all rows in them go.", consent=True)
]
Export = Annotated[
    Text,
    option(
        "--export",
        "TABLE",
        "Write rows of a table as a seed file, secrets masked.",
        names=table_names,
    ),
]
Where = Annotated[Text, option("--where", "SQL", "Export only rows that meet this SQL condition.")]
To = Annotated[
    Text,
    option(
        "--to",
        "FILE",
        "The file to write (.yaml, .json or .csv). Default: TABLE.yaml among the seed files.",
    ),
]


@app.leaf("seed", "Rows")
@command(
    Effect.ADDS,
    LOCK_WAIT,
    LOCK_TIMEOUT,
    fleet=FleetUse(refuses=("export",), destroys_with="replant"),
)
def seed(
    run: Run,
    *,
    bulk: Bulk = None,
    random_seed: RandomSeed = None,
    scale: Scale = None,
    span: Span = None,
    replant: Replant = False,
    export: Export = None,
    where: Where = None,
    to: To = None,
    for_spreadsheet: ForSpreadsheet = False,
    yes: Yes = False,
    confirm: Confirm = None,
) -> None:
    r"""Insert the app's fixtures and seed files, or synthetic rows.

    An existing row of a fixture is not changed; an existing row of a seed file gets the values of
    the file. Synthetic rows are inserted all or none. With --replant all rows go first, also those
    that revisions inserted, or none where it ends early. A protected database needs --confirm with
    its name for --bulk and --replant.

    \b
    leadctl seed
    leadctl seed --bulk 1000000
    leadctl seed --replant
    leadctl seed --export plans --where "price > 0"
    """
    of_bulk = {"random_seed": random_seed, "scale": scale, "span": span}
    if export is not None:
        not_with("--export", bulk=bulk, **of_bulk, replant=replant, yes=yes, confirm=confirm)
        result = run.database().export(export, to, where=where, for_spreadsheet=for_spreadsheet)
        run.emit(result, views.seed.exported)
        return
    only_with("--export", where=where, to=to, for_spreadsheet=for_spreadsheet)
    database = run.database(may_create=True)
    consent = run.consent(yes=yes, confirm=confirm)
    if replant:
        not_with("--replant", bulk=bulk, **of_bulk)
        show = run.show(views.seed.replant_plan)
        run.emit(database.replant(confirm=consent, show=show), views.seed.seed)
        return
    if bulk is None:
        only_with("--bulk", **of_bulk)
        only_with("--bulk or --replant", yes=yes, confirm=confirm)
        run.emit(database.seed(), views.seed.seed)
        return
    added = database.bulk_seed(
        bulk, random_seed=random_seed, scale=scale or (), span=span, confirm=consent
    )
    run.emit(added, views.seed.bulk)
