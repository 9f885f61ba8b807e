"""`leadctl cleanup` and its subcommands."""

import signal
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Annotated

import typer

from leadctl.cli.command import Effect, Run, command
from leadctl.cli.exit_codes import ExitCode, ending_in_order
from leadctl.cli.fleet import FleetUse
from leadctl.cli.group import subtree
from leadctl.cli.options import (
    Confirm,
    Number,
    Text,
    Texts,
    argument,
    exclusive,
    flag,
    option,
    rule_names,
    table_names,
)
from leadctl.files import absolute
from leadctl.render import views

if TYPE_CHECKING:
    from leadctl.cleanup.context import Bounds

group = subtree("cleanup", "Rows")
ListRules = Annotated[bool, flag("--list", "List the rules, and how many rows each would delete.")]
DryRun = Annotated[bool, flag("--dry-run", "Count the rows that would be deleted; change nothing.")]
OneRule = Annotated[
    Texts, option("--rule", "RULE", "Run only this rule (repeatable).", names=rule_names)
]
Days = Annotated[Number, option("--days", "N", "Override the rule's age, in days.", min=1)]
MaxSeconds = Annotated[Number, option("--max-seconds", "N", "Stop after N seconds.", min=1)]
MaxRows = Annotated[Number, option("--max-rows", "N", "Stop after N deleted rows.", min=1)]
Archive = Annotated[
    Text,
    option("--archive", "PLACE", "Archive each row here first: a folder, s3://, gs://, az://."),
]
MetricsFile = Annotated[Text, option("--metrics-file", "PATH", "Write metrics for Prometheus.")]

_BATCH_SECONDS = 30.0
"""For the batch that is at work when a signal comes; one that takes longer is rolled back, since
nothing tells it from that of a server that has gone silent.
"""
_EXITS = {"interrupted": ExitCode.INTERRUPTED, "terminated": ExitCode.TERMINATED}


@group.callback()
@command(Effect.BY_RULE, fleet=FleetUse(refuses=("metrics_file",)))
def cleanup(
    run: Run,
    *,
    list_rules: ListRules = False,
    dry_run: DryRun = False,
    rule: OneRule = None,
    days: Days = None,
    max_seconds: MaxSeconds = None,
    max_rows: MaxRows = None,
    archive: Archive = None,
    metrics_file: MetricsFile = None,
    confirm: Confirm = None,
) -> None:
    r"""Delete the rows that are due by the app's retention rules.

    Rows are deleted in short transactions, within --max-seconds and --max-rows; the next run
    continues where this one stopped, so it suits cron. A rule that would delete far more rows than
    usual deletes none, unless --confirm gives the database's name.

    \b
    leadctl cleanup --list
    leadctl cleanup --dry-run --days 90
    leadctl cleanup -q --max-seconds 600 --metrics-file /var/lib/node_exporter/leadctl.prom
    """
    from leadctl.cleanup.context import Bounds
    from leadctl.render import prometheus

    exclusive(list=list_rules, dry_run=dry_run)
    database, rules = run.database(), rule or ()
    if list_rules or dry_run:
        ask = database.cleanup_rules if list_rules else database.cleanup_preview
        found = ask(rules, days=days)
        run.emit(found, views.cleanup.rules if list_rules else views.cleanup.preview)
        if found.error is not None:
            raise found.error
        return
    metrics_path = absolute(metrics_file) if metrics_file is not None else None
    bounds, confirmed = Bounds(max_seconds, max_rows), run.consent(confirm=confirm)
    with _stopping(bounds):
        result = database.cleanup(
            rules, days=days, archive=archive, confirm=confirmed, bounds=bounds
        )
    if not (run.console.quiet and result.ok and run.settings.output == "table"):
        run.emit(result, views.cleanup.cleanup)
    if metrics_path is not None:
        metrics = prometheus.cleanup(result, database.past_cleanups())
        prometheus.write(metrics_path, metrics)
    if result.error is not None:
        raise result.error
    if result.stopped is not None and result.stopped.value in _EXITS:
        raise typer.Exit(_EXITS[result.stopped.value])
    if not result.ok:
        raise typer.Exit(ExitCode.PARTLY)


def _stopping(bounds: "Bounds") -> AbstractContextManager[None]:
    """Let the first SIGINT or SIGTERM end the run after its batch; a second one ends it at once."""
    from leadctl.cleanup.results import Reason

    reasons = {signal.SIGINT: Reason.INTERRUPTED, signal.SIGTERM: Reason.TERMINATED}
    return ending_in_order(
        lambda number: bounds.request(reasons[signal.Signals(number)]), _BATCH_SECONDS
    )


@group.leaf("unarchive")
@command(Effect.ADDS)
def unarchive(
    run: Run, *, file: Annotated[str, argument("FILE", "The archive: its folder or a file in it.")]
) -> None:
    """Insert the rows of an archive again.

    Existing rows are not changed, so the command can be repeated.
    """
    run.emit(run.database().unarchive(file), views.cleanup.unarchive)


@group.leaf("undelete")
@command(Effect.ADDS)
def undelete(
    run: Run,
    *,
    table: Annotated[str, argument("TABLE", "Table of the row.", names=table_names)],
    key: Annotated[str, argument("KEY", "Primary key of the row.")],
) -> None:
    """Restore a soft-deleted row, if no rule has purged it."""
    run.emit(run.database().undelete(table, key), views.cleanup.undelete)
