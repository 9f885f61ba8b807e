"""`leadctl init`."""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from leadctl.cli.run import Run, command
from leadctl.errors import UsageError

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


FromDatabase = Annotated[
    bool,
    typer.Option(
        "--from-database",
        help="Read the database into models and a baseline, recorded as applied.",
        show_envvar=False,
    ),
]
Encrypt = Annotated[
    list[str] | None,
    typer.Option(
        "--encrypt",
        metavar="TABLE.COLUMN",
        help="Make this column an encrypted one; may be given several times.",
        show_envvar=False,
    ),
]
Prisma = Annotated[
    str | None,
    typer.Option(
        "--prisma",
        metavar="FOLDER",
        help="Prisma's migrations, to check what was applied; else prisma/migrations.",
        show_envvar=False,
    ),
]
DropHistory = Annotated[
    bool,
    typer.Option(
        "--drop-history",
        help="Write a revision that drops the history table of the former tool.",
        show_envvar=False,
    ),
]

TakeOver = Annotated[
    bool,
    typer.Option(
        "--take-over",
        help="Write the revision that makes another tool's tables an app's.",
        show_envvar=False,
    ),
]


@command()
def init(
    run: Run,
    *,
    models: Models = None,
    migrations: Migrations = None,
    from_database: FromDatabase = False,
    encrypt: Encrypt = None,
    prisma: Prisma = None,
    drop_history: DropHistory = False,
    take_over: TakeOver = False,
) -> None:
    r"""Set up leadctl for the project in this folder.

    The project's declarative base is found, or named with --models; an Alembic environment is
    used in place. Nothing that exists is overwritten.

    \b
    leadctl init
    leadctl init --app shop --models shop.models:Base
    leadctl init --from-database --url postgresql://… --app shop
    """
    if from_database:
        _refuse("with --from-database", models=models, migrations=migrations)
        if take_over:
            _refuse("with --take-over", encrypt=encrypt)
        _from_database(run, encrypt or [], prisma, drop_history=drop_history, take_over=take_over)
        return
    options = {"encrypt": encrypt, "prisma": prisma, "drop_history": drop_history}
    _refuse("without --from-database", take_over=take_over, **options)
    from leadctl.init.existing_models import init_own
    from leadctl.render.views.init import init as view

    folder = Path(migrations) if migrations else None
    choose = _choose if sys.stdin.isatty() and sys.stderr.isatty() else None
    result = init_own(run.settings, models=models, migrations=folder, choose=choose)
    run.emit(result, view)


def _from_database(
    run: Run, encrypt: list[str], prisma: str | None, *, drop_history: bool, take_over: bool
) -> None:
    from leadctl.init import from_database as database
    from leadctl.postgres.target import resolve
    from leadctl.render.views.init import from_database as view

    settings = run.settings
    beside = settings.project / "prisma" / "migrations"
    folder = Path(prisma) if prisma else beside if beside.is_dir() else None
    if folder is not None and not folder.is_dir():
        raise UsageError(f"--prisma {folder}: there is no such folder.")
    target = resolve(settings, app=settings.app, narrate=run.narrate)
    if take_over:
        result = database.take_over(
            settings, target, drop_history=drop_history, prisma=folder, narrate=run.narrate
        )
    else:
        result = database.init_from_database(
            settings,
            target,
            encrypt=encrypt,
            drop_history=drop_history,
            prisma=folder,
            narrate=run.narrate,
        )
    run.emit(result, view)


def _refuse(where: str, **options: object) -> None:
    """Refuse what means nothing here, instead of dropping it."""
    for name, value in options.items():
        if value:
            raise UsageError(f"--{name.replace('_', '-')} means nothing {where}.")


def _choose(question: str, options: Sequence[str]) -> str:
    lines = [f"  {number}. {option}" for number, option in enumerate(options, 1)]
    sys.stderr.write("\n".join([question, *lines]) + "\n")

    def chosen(text: str) -> str:
        if text.isdecimal() and 1 <= int(text) <= len(options):
            return options[int(text) - 1]
        raise typer.BadParameter(f"it is a number from 1 to {len(options)}.")

    return str(typer.prompt("Number", default="1", value_proc=chosen, err=True))
