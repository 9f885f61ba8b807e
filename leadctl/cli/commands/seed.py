"""`leadctl seed`."""

from pathlib import Path
from typing import Annotated

import typer

from leadctl.cli.run import Run, command
from leadctl.errors import UsageError

Export = Annotated[
    str | None,
    typer.Option(
        "--export",
        metavar="TABLE",
        help="Write rows of a table as a seed file instead, secrets masked.",
        show_envvar=False,
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


@command()
def seed(run: Run, *, export: Export = None, where: Where = None, to: To = None) -> None:
    r"""Insert the app's fixtures where they are missing, and bring in the seed files that changed.

    A fixture's row that is there stays as it is; a seed file's is made as the file has it.

    \b
    leadctl seed
    leadctl seed --export plans --where "price > 0"
    """
    if export is not None:
        _export(run, export, where, to)
        return
    if where or to:
        raise UsageError("--where and --to go with --export.", hint="See: leadctl seed --help")
    from leadctl.crypto.sources import keyring_of
    from leadctl.operations.seed import journaled_seed as operation
    from leadctl.render.views.seed import seed as view

    target = run.target(may_create=True)
    run.emit(operation(target, run.app, keyring_of(run.settings), run.narrate), view)


def _export(run: Run, table: str, where: str | None, to: str | None) -> None:
    from leadctl.operations.seedfiles.export import export as operation
    from leadctl.render.views.seed import exported as view

    folder = run.app.seed_files or run.settings.project / "seeds"
    path = Path(to) if to else folder / f"{table}.yaml"
    run.emit(operation(run.target(), run.app, table, where=where, path=path), view)
