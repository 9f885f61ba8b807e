"""The check of retention: once cleanup has run somewhere, it must go on running."""

from datetime import UTC, datetime, timedelta

from leadctl.cleanup.results import read_past_runs
from leadctl.health.check import CheckResult, CheckStatus, Skip
from leadctl.health.facts import Facts

_STALE = timedelta(days=2)
"""A daily run that was missed once."""


def cleanup(facts: Facts) -> CheckResult:
    """Every rule of the newest run succeeded lately; shows how many due rows they left.

    Raises Skip where cleanup never ran: nobody expects it there.
    """
    past = read_past_runs(facts.connection, facts.app.name, facts.target.schema)
    if not past.runs:
        raise Skip("cleanup never ran here")
    rules = past.runs[0].rules
    backlog = sum(past.backlog(rule) or 0 for rule in rules)
    successes = {rule: past.last_success(rule) for rule in rules}
    late = [
        rule
        for rule, at in successes.items()
        if at is None or datetime.now(UTC) - at.astimezone(UTC) > _STALE
    ]
    latest = max((at for at in successes.values() if at), default=None)
    when = "never" if latest is None else f"{latest.astimezone(UTC):%Y-%m-%d %H:%M}Z"
    message = f"last success {when}, {backlog:,} due rows were left"
    if late:
        return CheckResult(
            "cleanup",
            CheckStatus.WARNING,
            backlog,
            "rows",
            f"{message}; no success lately of {', '.join(late)}",
            "See why with: leadctl history; is it still scheduled?",
        )
    return CheckResult("cleanup", CheckStatus.OK, backlog, "rows", message)
