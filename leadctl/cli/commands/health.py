"""`leadctl health-check`."""

from typing import Annotated

import typer

from leadctl.cli.exit_codes import NAGIOS
from leadctl.cli.run import Run, command
from leadctl.settings.duration import parse_seconds


@command(outputs=("table", "json", "nagios"))
def health_check(
    run: Run,
    *,
    wait: Annotated[
        str,
        typer.Option(
            "--wait",
            metavar="TIME",
            help="Try that long to reach the server, as 30s.",
            show_default=False,
            show_envvar=False,
        ),
    ] = "0",
) -> None:
    """Check the database, each check with evidence and next step.

    Exit 0 ok, 1 warning, 2 critical, 3 unknown, as Nagios has it; wrong flags and settings are
    unknown, a server that cannot be reached is critical.
    """
    from leadctl.crypto.sources import keyring_of
    from leadctl.operations.backup.configured import known_folder
    from leadctl.operations.health.health import health
    from leadctl.render import nagios
    from leadctl.render.views.health import health as view

    try:
        seconds = parse_seconds(wait)
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="--wait") from None
    result = health(
        run.target(),
        run.app,
        lambda: keyring_of(run.settings),
        app_was_named=run.settings.source("app") != "default",
        wait=seconds,
        narrate=run.narrate,
        backups=known_folder(run.settings),
    )
    run.emit(result, view, nagios=nagios.line)
    raise typer.Exit(NAGIOS[result.status])
