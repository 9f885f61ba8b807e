"""`leadctl seed`."""

from pathlib import Path
from typing import Annotated

import typer

from leadctl.cli import complete
from leadctl.cli.options import Confirm, Yes
from leadctl.cli.run import LOCK_TIMEOUT, LOCK_WAIT, Run, command
from leadctl.errors import UsageError

Bulk = Annotated[
    int | None,
    typer.Option(
        "--bulk",
        metavar="ROWS",
        min=1,
        help="Add so many synthetic rows in all, in the app's proportions.",
        show_envvar=False,
    ),
]
RandomSeed = Annotated[
    int | None,
    typer.Option(
        "--random-seed",
        metavar="N",
        help="The same number makes the same rows; 0 where none is given.",
        show_envvar=False,
    ),
]
Scale = Annotated[
    list[str] | None,
    typer.Option(
        "--scale",
        metavar="TABLE=N",
        help="Give a table this many of the rows; may be repeated.",
        show_envvar=False,
    ),
]
Span = Annotated[
    str | None,
    typer.Option(
        "--span",
        metavar="TIME",
        help="The days that the rows were made in: 365d before today, or 2025-01-01..2025-12-31.",
        show_envvar=False,
    ),
]
Export = Annotated[
    str | None,
    typer.Option(
        "--export",
        metavar="TABLE",
        help="Write rows of a table as a seed file instead, secrets masked.",
        show_envvar=False,
        autocompletion=complete.tables,
    ),
]
Where = Annotated[
    str | None,
    typer.Option(
        "--where",
        metavar="SQL",
        help="Only the rows that meet this condition.",
        show_envvar=False,
    ),
]
To = Annotated[
    str | None,
    typer.Option(
        "--to",
        metavar="FILE",
        help="The file, ending in .yaml, .json or .csv; else TABLE.yaml among the seed files.",
        show_envvar=False,
    ),
]


@command(LOCK_WAIT, LOCK_TIMEOUT)
def seed(
    run: Run,
    *,
    bulk: Bulk = None,
    random_seed: RandomSeed = None,
    scale: Scale = None,
    span: Span = None,
    export: Export = None,
    where: Where = None,
    to: To = None,
    yes: Yes = False,
    confirm: Confirm = None,
) -> None:
    r"""Insert the app's fixtures and seed files, or synthetic rows.

    A fixture's row that is there stays as it is; a seed file's is made as the file has it.
    Synthetic rows come all or not at all; a protected database wants its name by --confirm.

    \b
    leadctl seed
    leadctl seed --bulk 1000000
    leadctl seed --export plans --where "price > 0"
    """
    if export is not None:
        _refuse_together(
            bulk=bulk, random_seed=random_seed, scale=scale, span=span, yes=yes, confirm=confirm
        )
        _export(run, export, where, to)
        return
    if where or to:
        raise UsageError("--where and --to go with --export.", hint="See: leadctl seed --help")
    from leadctl.crypto.keyring import keyring_of

    if bulk is None:
        _refuse_without_bulk(
            random_seed=random_seed, scale=scale, span=span, yes=yes, confirm=confirm
        )
        from leadctl.render.views.seed import seed as view
        from leadctl.seed.seed import journaled_seed as operation

        target = run.target(may_create=True)
        run.emit(operation(target, run.app, keyring_of(run.settings), run.narrate), view)
        return

    from leadctl.render.views.seed import bulk as bulk_view
    from leadctl.seed.bulk.load import bulk_seed
    from leadctl.seed.bulk.plan import bulk_options

    options = bulk_options(bulk, random_seed, scale or (), span)
    result = bulk_seed(
        run.target(may_create=True),
        run.app,
        keyring_of(run.settings),
        options,
        run.consent(yes=yes, confirm=confirm),
        timeouts=run.timeouts,
        narrate=run.narrate,
        progress=run.console.progress,
    )
    run.emit(result, bulk_view)


def _refuse_without_bulk(**options: object) -> None:
    """Refuse what only means something beside --bulk, instead of dropping it."""
    for name, value in options.items():
        if value:
            raise UsageError(
                f"--{name.replace('_', '-')} is for synthetic rows.",
                hint="Give it with --bulk ROWS.",
            )


def _refuse_together(**options: object) -> None:
    """Refuse what means nothing beside --export."""
    for name, value in options.items():
        if value:
            raise UsageError(f"--{name.replace('_', '-')} does not go with --export.")


def _export(run: Run, table: str, where: str | None, to: str | None) -> None:
    from leadctl.render.views.seed import exported as view
    from leadctl.seed.export import export as operation

    folder = run.app.seed_files or run.settings.project / "seeds"
    path = Path(to) if to else folder / f"{table}.yaml"
    run.emit(operation(run.target(), run.app, table, where=where, path=path), view)
