"""Options that several commands share, beside the common ones."""

from typing import Annotated

import typer

# Consent is given by somebody, now: a variable that stays set is no consent.
Yes = Annotated[
    bool,
    typer.Option("--yes", "-y", help="Do not ask.", show_envvar=False, allow_from_autoenv=False),
]
Confirm = Annotated[
    str | None,
    typer.Option(
        "--confirm",
        metavar="DATABASE",
        help="Name the database as proof that it is meant; a protected one wants that.",
        show_envvar=False,
        allow_from_autoenv=False,
    ),
]
Backup = Annotated[
    bool,
    typer.Option("--backup", help="Make a backup before anything changes.", show_envvar=False),
]
