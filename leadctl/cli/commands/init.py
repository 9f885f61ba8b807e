"""`leadctl init`."""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from leadctl.cli.run import Run, command

Models = Annotated[
    str | None,
    typer.Option(
        "--models",
        metavar="MODULE:NAME",
        help="The declarative base or the MetaData, as shop.models:Base.",
        show_envvar=False,
    ),
]
Migrations = Annotated[
    str | None,
    typer.Option(
        "--migrations",
        metavar="FOLDER",
        help="The folder of revisions, or of an Alembic env.py; else migrations.",
        show_envvar=False,
    ),
]


@command()
def init(run: Run, *, models: Models = None, migrations: Migrations = None) -> None:
    r"""Set up leadctl for the project in this folder.

    The project's declarative base is found, or named with --models; an Alembic environment is
    used in place. Nothing that exists is overwritten.

    \b
    leadctl init
    leadctl init --app shop --models shop.models:Base
    """
    from leadctl.operations.init.own import init_own
    from leadctl.render.views.init import init as view

    folder = Path(migrations) if migrations else None
    choose = _choose if sys.stdin.isatty() and sys.stderr.isatty() else None
    result = init_own(run.settings, models=models, migrations=folder, choose=choose)
    run.emit(result, view)


def _choose(question: str, options: Sequence[str]) -> str:
    lines = [f"  {number}. {option}" for number, option in enumerate(options, 1)]
    sys.stderr.write("\n".join([question, *lines]) + "\n")

    def chosen(text: str) -> str:
        if text.isdecimal() and 1 <= int(text) <= len(options):
            return options[int(text) - 1]
        raise typer.BadParameter(f"it is a number from 1 to {len(options)}.")

    return str(typer.prompt("Number", default="1", value_proc=chosen, err=True))
