"""Options that several commands share, beside the common ones."""

from typing import Annotated

import typer

Yes = Annotated[
    bool,
    # Consent is given by somebody, now: a variable that stays set is no consent.
    typer.Option("--yes", "-y", help="Do not ask.", show_envvar=False, allow_from_autoenv=False),
]
