"""A run of cleanup: the rules one after another, until a bound is reached; then VACUUM."""

import time
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from datetime import UTC, datetime

import psycopg
from psycopg import sql

from leadctl.apps.registry import App
from leadctl.apps.retention import Rule
from leadctl.catalog.relations import read_numbered
from leadctl.cleanup import QUERIES
from leadctl.cleanup.batches import LOCK_TIMEOUT
from leadctl.cleanup.context import ArchiveDestination, Bounds, RunContext
from leadctl.cleanup.results import CleanupResult, RuleResult, RuleStatus, runs_in_journal
from leadctl.cleanup.rule_run import RuleRun
from leadctl.cleanup.rules import require_keys, rule_table, server_time
from leadctl.cleanup.statements import statements_of
from leadctl.errors import ClockSkew, LeadctlError
from leadctl.journal.guard import Consent, permit
from leadctl.journal.runs import journaled
from leadctl.postgres.connect import as_timeout, connect, set_session
from leadctl.postgres.queries import identifier
from leadctl.postgres.target import Target
from leadctl.postgres.translate import translate
from leadctl.progress import Narrate, Progress
from leadctl.text import utc

_SKEW_SECONDS = 300.0
_VACUUM_FROM_ROWS = 10_000
"""Fewer deletions of a table are not worth a VACUUM."""
_VACUUM_PACE = {"vacuum_cost_delay": "0.2ms", "vacuum_cost_limit": "100"}
"""Five times as fast as autovacuum by default: at full speed, with parallel workers or in longer
steps its WAL is what commits of others wait for.
https://www.postgresql.org/docs/current/runtime-config-vacuum.html#RUNTIME-CONFIG-RESOURCE-VACUUM-COST
"""


def cleanup(
    target: Target,
    app: App,
    rules: Sequence[Rule],
    *,
    lenient: Collection[str] = (),
    bounds: Bounds,
    consent: Consent,
    archive: ArchiveDestination,
    narrate: Narrate,
    progress: Progress,
) -> CleanupResult:
    """Delete what the rules say is due; return what happened, with the first error of a rule.

    `lenient` are those whose age is longer in this run than they say.

    All rules are checked before the first one runs: raises InvalidRule, UnindexedForeignKey,
    NoPrimaryKey and ClockSkew, and Protected where another database's name was given as consent.
    """
    with connect(target, "cleanup", rows=True) as connection:
        set_session(connection, {"lock_timeout": LOCK_TIMEOUT})
        if consent.confirm is not None:
            permit(connection, target, "cleanup past its fuse", consent)
        now = server_time(connection)
        _refuse_skew(now)
        tables = [rule_table(connection, target.schema, rule) for rule in rules]
        statements = [statements_of(connection, table, now) for table in tables]
        for table in tables:
            if table.rule.archive:
                require_keys(connection, table)
        with journaled(target, "cleanup", app.name) as entry:
            run = RunContext(
                connection=connection,
                target=target,
                app=app.name,
                bounds=bounds,
                consented=consent.confirm is not None,
                archive=archive,
                past=runs_in_journal(
                    connection, app.name, target.schema, [rule.name for rule in rules]
                ),
                entry=entry,
                narrate=narrate,
                progress=progress,
                lenient=lenient,
            )
            result = _run_rules(run, [RuleRun(run, each) for each in statements])
            if not result.ok:
                entry.outcome = "partly" if result.rows else "failed"
        return result


def _run_rules(run: RunContext, rule_runs: Sequence[RuleRun]) -> CleanupResult:
    """Run the rules one by one, then vacuum what they deleted from."""
    with run.bounds.enforcing(run.connection):
        results = [each.execute() for each in rule_runs]
    errors = [each.error for each in rule_runs]
    began = time.monotonic()
    try:
        _vacuum(run, sum((each.lost for each in rule_runs), Counter[int]()))
    except psycopg.Error as error:
        errors.append(translate(error))
    vacuum_seconds = round(time.monotonic() - began, 3)
    if vacuum_seconds:
        run.entry.note(vacuum_seconds=vacuum_seconds)
    return _result(run, results, vacuum_seconds, next(filter(None, errors), None))


def _result(
    run: RunContext,
    results: Sequence[RuleResult],
    vacuum_seconds: float,
    error: LeadctlError | None,
) -> CleanupResult:
    bad = {RuleStatus.REFUSED, RuleStatus.FAILED, RuleStatus.PARTLY}
    return CleanupResult(
        app=run.app,
        database=run.target.database,
        schema=run.target.schema,
        ok=not any(found.status in bad for found in results),
        rows=sum(found.rows for found in results),
        cascaded=sum(rows for found in results for rows in (found.cascaded or {}).values()),
        seconds=round(time.monotonic() - run.bounds.began, 3),
        vacuum_seconds=vacuum_seconds,
        stopped=next((found.reason for found in results if found.reason), None),
        rules=tuple(results),
        error=error,
    )


def _refuse_skew(server: datetime) -> None:
    skew = (server - datetime.now(UTC)).total_seconds()
    if abs(skew) > _SKEW_SECONDS:
        raise ClockSkew(
            f"The server's clock says {utc(server)}, which is {abs(skew):,.0f} s "
            f"{'ahead of' if skew > 0 else 'behind'} this machine's. Nothing was changed.",
            hint="Synchronise both clocks (NTP); row ages cannot be trusted.",
        )


def _vacuum(run: RunContext, lost: Mapping[int, int]) -> None:
    """Vacuum the tables that lost many rows, by oid, within the time of the run.

    So scans do not wade through what is gone.  Where so many are dead that autovacuum comes by
    itself, it is left to that, which is gentler to others.
    """
    large = [oid for oid, rows in lost.items() if rows >= _VACUUM_FROM_ROWS]
    if not large:
        return
    QUERIES.run(run.connection, "flush")
    tables = read_numbered(run.connection, large, "descendants").values()
    leaves = [leaf.oid for each in tables for leaf in each.leaves]
    for name, is_autovacuum_due in QUERIES.rows(run.connection, "with_dead_rows", oids=leaves):
        if is_autovacuum_due:
            run.narrate(f"Autovacuum is due for {name}, so cleanup does not vacuum it.")
        elif run.bounds.reached is None:
            _vacuum_table(run, name)


def _vacuum_table(run: RunContext, name: str) -> None:
    """Vacuum a table; its file is not truncated, which would need a lock that stops everybody."""
    run.narrate(f"Vacuuming {name}")
    connection = run.connection
    timeout = as_timeout(run.bounds.seconds_left)
    set_session(connection, _VACUUM_PACE | {"statement_timeout": timeout})
    try:
        with run.bounds.cancelling(connection):
            statement = sql.SQL("VACUUM (ANALYZE, SKIP_LOCKED, TRUNCATE false, PARALLEL 0) {}")
            connection.execute(statement.format(identifier(name)))
    except psycopg.errors.QueryCanceled:
        run.narrate(f"Vacuuming {name} was left to autovacuum.")
    finally:
        connection.execute("SET statement_timeout = 0")
