"""`leadctl health-check`."""

import functools
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from leadctl.cli.exit_codes import NAGIOS
from leadctl.cli.options import Yes
from leadctl.cli.run import Run, command
from leadctl.settings.durations import parse_seconds

if TYPE_CHECKING:
    from leadctl.health.check import HealthCheck
    from leadctl.health.run import Health


def _time(flag: str, help_text: str) -> Any:
    return typer.Option(flag, metavar="TIME", help=help_text, show_envvar=False)


def _names(flag: str, help_text: str) -> Any:
    return typer.Option(flag, metavar="NAME", help=help_text, show_envvar=False)


@command(outputs=("table", "json", "nagios", "prometheus"))
def health_check(
    run: Run,
    *,
    check: Annotated[
        list[str] | None, _names("--check", "Run this check only; repeatable.")
    ] = None,
    skip: Annotated[list[str] | None, _names("--skip", "Leave this check out; repeatable.")] = None,
    list_checks: Annotated[
        bool, typer.Option("--list", help="List the checks and thresholds.", show_envvar=False)
    ] = False,
    to: Annotated[
        str | None,
        typer.Option(
            "--to",
            metavar="FILE",
            help="With -o prometheus: write there, whole or not at all.",
            show_envvar=False,
        ),
    ] = None,
    wait: Annotated[str, _time("--wait", "Try that long to reach the server.")] = "0s",
    timeout: Annotated[str, _time("--timeout", "End after that long, come what may.")] = "20s",
    fix: Annotated[
        bool,
        typer.Option(
            "--fix",
            help="Mend what can be mended without losing anything; asks before each step.",
            show_envvar=False,
            allow_from_autoenv=False,
        ),
    ] = False,
    yes: Yes = False,
    interval: Annotated[
        str, _time("--interval", "Look at counters twice, so far apart, as 5s.")
    ] = "0s",
) -> None:
    """Check the database, each check with evidence and next step.

    Exit 0 ok, 1 warning, 2 critical, 3 unknown, as Nagios has it; wrong flags and settings are
    unknown, a server that cannot be reached is critical.
    """
    from leadctl.backup.configured import known_folder
    from leadctl.crypto.keyring import keyring_of
    from leadctl.health.run import Timing, health, listing, select
    from leadctl.render import nagios, prometheus
    from leadctl.render.views import health_check as views

    if to is not None and run.settings.output != "prometheus":
        raise typer.BadParameter("it goes with -o prometheus", param_hint="--to")
    checks = select(run.settings, check or (), skip or ())
    if list_checks:
        run.emit(listing(checks), views.listing)
        return
    timing = Timing(
        timeout=_seconds(timeout, "--timeout"),
        interval=_seconds(interval, "--interval"),
        wait=_seconds(wait, "--wait"),
    )
    if timing.interval >= timing.timeout:
        raise typer.BadParameter("it is shorter than --interval", param_hint="--timeout")
    check_all = functools.partial(
        health,
        run.target(),
        run.app,
        lambda: keyring_of(run.settings),
        checks,
        timing,
        app_was_named=run.settings.is_set("app"),
        narrate=run.narrate,
        backups=known_folder(run.settings),
    )
    result = _fixed(run, checks, yes=yes, check_all=check_all) if fix else check_all()
    if to is not None:
        prometheus.write(Path(to), prometheus.health(result))
    else:
        run.emit(result, views.health, nagios=nagios.line, prometheus=prometheus.health)
    raise typer.Exit(NAGIOS[result.status])


def _fixed(
    run: Run, checks: "Sequence[HealthCheck]", *, yes: bool, check_all: Callable[[], "Health"]
) -> "Health":
    """Mend what can be mended, then check."""
    from leadctl.health.fix import Patience
    from leadctl.health.fix import fix as operation

    names = [check.name for check in checks]
    patience = Patience(run.settings.lock_wait, run.settings.lock_timeout)
    fixes = operation(run.target(), run.app, names, run.consent(yes=yes), patience, run.narrate)
    return replace(check_all(), fixes=fixes)


def _seconds(text: str, flag: str) -> float:
    try:
        return parse_seconds(text)
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint=flag) from None
