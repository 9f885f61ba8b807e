"""`leadctl init`."""

import sys
from collections.abc import Sequence
from typing import Annotated

import typer

from leadctl.cli.command import Effect, Run, command
from leadctl.cli.group import app
from leadctl.cli.options import Text, Texts, flag, only_with, option
from leadctl.errors import UsageError
from leadctl.files import expanded
from leadctl.render import views

_FROM = "--from-database"
Models = Annotated[
    Text,
    option(
        "--models",
        "MODULE:NAME",
        "The declarative base, e.g. shop.models:Base; several with commas.",
    ),
]
Migrations = Annotated[
    Text, option("--migrations", "FOLDER", "Folder of the revisions or of Alembic's env.py.")
]
Alembic = Annotated[
    Text,
    option("--alembic", "FILE[:SECTION]", "Alembic's configuration file, if not in a usual place."),
]
FromDatabase = Annotated[
    bool, flag(_FROM, "Read the database into models and a baseline revision.")
]
Encrypt = Annotated[
    Texts, option("--encrypt", "TABLE.COLUMN", "Declare this column as encrypted (repeatable).")
]
Prisma = Annotated[
    Text, option("--prisma", "FOLDER", "Prisma's migrations folder (default prisma/migrations).")
]
DropHistory = Annotated[
    bool, flag("--drop-history", "Write a revision that drops the former tool's history table.")
]
Starter = Annotated[bool, flag("--starter", "Write two example tables, a seed file and a rule.")]
TakeOver = Annotated[
    bool, flag("--take-over", "Write the revision that takes over another tool's tables.")
]


_OF_EXISTING = ("models", "migrations", "alembic")


@app.leaf("init", "Setup")
@command(
    Effect.ADDS,
    of_app=False,
    excluded={
        "starter": _OF_EXISTING,
        "from_database": (*_OF_EXISTING, "starter"),
        "take_over": ("encrypt",),
    },
)
def init(
    run: Run,
    *,
    starter: Starter = False,
    models: Models = None,
    migrations: Migrations = None,
    alembic: Alembic = None,
    from_database: FromDatabase = False,
    encrypt: Encrypt = None,
    prisma: Prisma = None,
    drop_history: DropHistory = False,
    take_over: TakeOver = False,
) -> None:
    r"""Set up leadctl for the project in this folder.

    leadctl looks for the project's declarative base; --models names it. An existing Alembic
    environment is used in place. No existing file is overwritten.

    \b
    leadctl init
    leadctl init --starter               in an empty folder
    leadctl init --app shop --models shop.models:Base
    leadctl init --from-database --url postgresql://… --app shop
    """
    if not from_database:
        only_with(_FROM, encrypt=encrypt, prisma=prisma, drop_history=drop_history)
        only_with(_FROM, take_over=take_over)
        if starter:
            run.emit(run.project().init_starter(), views.init.init)
            return
        choose = _choose if run.interactive else None
        paths = {"migrations": migrations, "alembic": alembic}
        result = run.project().init(models=models, choose=choose, ask=run.ask, **paths)
        run.emit(result, views.init.init)
        return
    if prisma is not None and not expanded(prisma).is_dir():
        raise UsageError(f"--prisma {prisma}: there is no such folder.")
    database = run.database()
    if take_over:
        found = database.take_over(drop_history=drop_history, prisma=prisma)
    else:
        found = database.init_from_database(
            encrypt=encrypt or (), drop_history=drop_history, prisma=prisma
        )
    run.emit(found, views.init.from_database)


def _choose(question: str, options: Sequence[str]) -> str:
    lines = [f"  {number}. {option}" for number, option in enumerate(options, 1)]
    sys.stderr.write("\n".join([question, *lines]) + "\n")

    def chosen(text: str) -> str:
        if text.isdecimal() and 1 <= int(text) <= len(options):
            return options[int(text) - 1]
        raise typer.BadParameter(f"it is a number from 1 to {len(options)}.")

    return str(typer.prompt("Number", default="1", value_proc=chosen, err=True))
