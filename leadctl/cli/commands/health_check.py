"""`leadctl health-check`."""

from functools import partial
from typing import Annotated, Any

import typer

from leadctl.cli.command import Effect, Run, command
from leadctl.cli.exit_codes import NAGIOS
from leadctl.cli.fleet import FleetUse
from leadctl.cli.group import app
from leadctl.cli.options import Text, Texts, Yes, check_names, flag, only_with, option, seconds
from leadctl.errors import UsageError
from leadctl.files import expanded
from leadctl.render import views

Fix = Annotated[
    bool, flag("--fix", "Apply fixes that lose no data; ask before each one.", consent=True)
]
To = Annotated[
    Text, option("--to", "FILE", "With -o prometheus: replace this file with the metrics.")
]


@app.leaf("health-check", "State")
@command(
    Effect.READS,
    outputs=("table", "json", "nagios", "prometheus"),
    fleet=FleetUse(refuses=("list_checks", "fix"), metrics_to="to"),
)
def health_check(
    run: Run,
    *,
    check: Annotated[
        Texts, option("--check", "NAME", "Run only this check (repeatable).", names=check_names)
    ] = None,
    skip: Annotated[
        Texts, option("--skip", "NAME", "Leave this check out (repeatable).", names=check_names)
    ] = None,
    list_checks: Annotated[bool, flag("--list", "List the checks and thresholds.")] = False,
    to: To = None,
    wait: Annotated[
        str, option("--wait", "TIME", "How long to keep trying to reach the server.")
    ] = "0s",
    timeout: Annotated[
        str, option("--timeout", "TIME", "Time limit for all checks together.")
    ] = "20s",
    everything: Annotated[bool, flag("--all", "Show passed and skipped checks, too.")] = False,
    fix: Fix = False,
    yes: Yes = False,
    interval: Annotated[
        str, option("--interval", "TIME", "Read the counters twice, this far apart, e.g. 5s.")
    ] = "0s",
) -> None:
    """Check the database, each check with evidence and next step.

    The exit codes are those of Nagios: 0 ok, 1 warning, 2 critical, 3 unknown. Wrong flags or
    settings are unknown; a server that cannot be reached is critical.
    """
    if run.settings.output != "prometheus":
        only_with("-o prometheus", to=to)
    only, skipped = check or (), skip or ()
    if list_checks:
        run.emit(run.project().checks(only, skip=skipped), views.health_check.listing)
        return
    waits, most = seconds("--wait", wait), seconds("--timeout", timeout)
    apart = seconds("--interval", interval)
    if apart >= most:
        raise UsageError("--timeout is not longer than --interval.", hint="Allow more time.")
    database, consent = run.database(), run.consent(yes=yes)
    fixes = database.fix(only, skip=skipped, confirm=consent) if fix else ()
    found = database.health(only, skip=skipped, wait=waits, timeout=most, interval=apart)
    result = found._replace(fixes=fixes)
    if to is not None:
        from leadctl.render import prometheus

        prometheus.write(expanded(to), prometheus.health(result))
    else:
        view = partial(views.health_check.health, everything=everything or bool(only))
        run.emit(result, view, nagios=_nagios, prometheus=_prometheus)
    raise typer.Exit(NAGIOS[result.status])


def _nagios(result: Any) -> str:
    from leadctl.render.nagios import line

    return line(result)


def _prometheus(result: Any) -> str:
    from leadctl.render.prometheus import health

    return health(result)
