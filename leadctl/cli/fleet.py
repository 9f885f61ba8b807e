"""`--fleet NAME`: a command, run for each target of a fleet, and one report of all.

The command's own function is called for each target with a `TargetRun`, which hands it that target
and keeps what it would have written.
"""

import signal
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import typer

from leadctl.cli.console import Console
from leadctl.cli.exit_codes import (
    NAGIOS,
    NAGIOS_CRITICAL,
    NAGIOS_UNKNOWN,
    ExitCode,
    end_process,
    ending_in_order,
    exit_code,
    nagios_code,
)
from leadctl.cli.options import Number, Text, Texts, fleet_names, not_with, only_with, option
from leadctl.cli.run import Run
from leadctl.errors import UsageError
from leadctl.files import expanded
from leadctl.render import views

if TYPE_CHECKING:
    from leadctl.api.database import Database
    from leadctl.api.fleet import FleetMember
    from leadctl.fleet.run import FleetReport, TargetReport
    from leadctl.journal.guard import Consent
    from leadctl.render.blocks import Block

OPTIONS: dict[str, Any] = {
    "fleet": Annotated[
        Text,
        option(
            "--fleet",
            "NAME",
            "Run on each target of [fleet.NAME].",
            names=fleet_names,
            consent=True,
        ),
    ],
    "only": Annotated[
        Texts,
        option("--only", "PATTERN", "With --fleet: only targets with these names.", consent=True),
    ],
    "jobs": Annotated[
        Number, option("--jobs", "N", "With --fleet: targets in parallel (default 4).", min=1)
    ],
    "canary": Annotated[
        Number, option("--canary", "N", "With --fleet: run N targets first, then the rest.", min=1)
    ],
    "max_failures": Annotated[
        Number, option("--max-failures", "N", "With --fleet: stop after N failures.", min=1)
    ],
}
"""The options that a command for fleets has, by the names of their parameters."""


class FleetUse(NamedTuple):
    """How a command is used for a fleet."""

    refuses: Sequence[str] = ()
    """Its options that mean nothing for many targets, by the names of their parameters.

    An argument is in capitals, as it is typed."""
    by_database: bool = False
    """Whether it is about databases, so that one target of each is enough."""
    destroys_with: str | None = None
    """The parameter with which it can lose something."""
    metrics_to: str | None = None
    """The parameter that names a file for Prometheus: it is of the fleet, and not of a target."""


@dataclass(frozen=True, eq=False, repr=False)
class TargetRun(Run):
    """One run of a command for a target of a fleet: what it finds is kept for the report."""

    member: "FleetMember" = field(kw_only=True)
    given: "Consent" = field(kw_only=True)
    """What was consented to for the whole fleet."""
    results: list[Any] = field(default_factory=list, init=False)

    def database(self, *, may_create: bool = False) -> "Database":  # noqa: ARG002 - it is there
        """The target."""
        return self.member

    def consent(self, *, yes: bool = False, confirm: str | None = None) -> "Consent":  # noqa: ARG002
        """The consent that was given for the fleet."""
        return self.given

    def narrate(self, message: str) -> None:
        """Say nothing of one target."""

    def show(self, view: Callable[[Any], "Iterable[Block]"]) -> Callable[[Any], None]:  # noqa: ARG002
        """Show nothing of one target."""
        return lambda _: None

    def emit(
        self,
        result: Any,
        view: Callable[[Any], "Iterable[Block]"],  # noqa: ARG002
        *,
        ok: bool = True,
        **writers: Callable[[Any], str],  # noqa: ARG002
    ) -> None:
        """Keep the result."""
        self.results.append(result)
        if not ok:
            raise typer.Exit(ExitCode.NO)


def taken_from(values: dict[str, Any]) -> dict[str, Any] | None:
    """Take the options of fleets out of those of a command; None where no fleet is named."""
    given = {name: values.pop(name) for name in OPTIONS}
    if given["fleet"] is not None:
        return given
    del given["fleet"]
    only_with("--fleet", **given)
    return None


def run_for_fleet(
    run: Run,
    given: dict[str, Any],
    use: FleetUse,
    verb: str,
    function: Callable[..., None],
    values: dict[str, Any],
    *,
    destroys: bool,
) -> None:
    """Run a command for each target, write the report, and exit with the code of all."""
    from leadctl.api.fleet import Fleet
    from leadctl.fleet.run import FleetBounds, Outcome

    _refuse_unfit(run, use, values)
    metrics_to = values[use.metrics_to] if use.metrics_to else None
    if use.metrics_to:
        values = values | {use.metrics_to: None}
    bounds = FleetBounds(
        given["jobs"] or FleetBounds.jobs, given["canary"] or 0, given["max_failures"]
    )
    fleet = Fleet(
        run.settings, run.narrate, run.console.progress,
        name=given["fleet"], only=tuple(given["only"] or ()), bounds=bounds,
    )  # fmt: skip
    asked = run.consent(yes=bool(values.get("yes")), confirm=values.get("confirm"))
    consent = fleet.consent(verb, asked, destroys=destroys)

    def one(member: "FleetMember") -> "Outcome[Any]":
        part = TargetRun(run.settings, Console(), member=member, given=consent)
        code = 0
        try:
            function(part, **values)
        except typer.Exit as end:
            code = end.exit_code
        return Outcome(part.results[-1] if part.results else None, code)

    signals: list[int] = []

    def end(number: int) -> None:
        signals.append(number)
        bounds.requested.set()
        run.narrate("Stopping after the targets that run now; a second signal stops at once.")

    with ending_in_order(end, at_once=partial(_end_now, run)):
        report = fleet.each(verb, one, by_database=use.by_database)
    if metrics_to is None:
        _write(run, report)
    else:
        from leadctl.render import prometheus

        prometheus.write(expanded(metrics_to), prometheus.fleet(report))
    if report.ended == "interrupted":
        terminated = signals[:1] == [signal.SIGTERM]
        raise typer.Exit(ExitCode.TERMINATED if terminated else ExitCode.INTERRUPTED)
    raise typer.Exit(_nagios(report) if verb == "health-check" else _code(report))


def _end_now(run: Run, number: int) -> None:
    """End the process with what its threads do; what they have not committed is rolled back."""
    from leadctl.postgres.connect import cancel_all

    run.console.finish()
    try:
        cancel_all()
    finally:
        end_process(number, None)


def _refuse_unfit(run: Run, use: FleetUse, values: dict[str, Any]) -> None:
    """Refuse the options and formats that a command has for one target alone."""
    refused = {name.removesuffix("_checks"): values[name.lower()] for name in use.refuses}
    not_with("--fleet", **refused)
    if use.metrics_to and run.settings.output != "prometheus":
        only_with("-o prometheus", **{use.metrics_to: values[use.metrics_to]})
    if run.settings.output == "csv":
        raise UsageError("A fleet has no output format 'csv'.", hint="It has: table, json.")


def _write(run: Run, report: "FleetReport[Any]") -> None:
    def nagios(report: "FleetReport[Any]") -> str:
        from leadctl.render.nagios import fleet

        words = {code: word for word, code in NAGIOS.items()}
        return fleet(report, [words[_nagios_of(each)] for each in report.targets])

    def prometheus(report: "FleetReport[Any]") -> str:
        from leadctl.render.prometheus import fleet

        return fleet(report)

    run.emit(report, views.fleet.report, nagios=nagios, prometheus=prometheus)


def _code(report: "FleetReport[Any]") -> int:
    """Return 0, the one code that all failures share, or 7."""
    codes = {exit_code(each.failure) if each.failure else each.code for each in report.bad}
    if not codes:
        return ExitCode.DONE
    return codes.pop() if len(codes) == 1 else ExitCode.PARTLY


def _nagios_of(each: "TargetReport[Any]") -> int:
    """Return a target's code as Nagios has it; what was not run is unknown."""
    if each.failure is not None:
        return nagios_code(each.failure)
    return NAGIOS_UNKNOWN if each.result is None else each.code


def _nagios(report: "FleetReport[Any]") -> int:
    """Return the most urgent code of all."""
    codes = set(map(_nagios_of, report.targets))
    urgency = (NAGIOS_CRITICAL, NAGIOS["warning"], NAGIOS_UNKNOWN)
    return next((code for code in urgency if code in codes), NAGIOS["ok"])
