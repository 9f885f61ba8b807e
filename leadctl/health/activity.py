"""Checks of what goes on now: sessions, locks, queries."""

from leadctl.health.check import Evidence, Facts, Row, Skip, check, graded, joined

_MOST_WAITING = 1000
"""As many as the report has at most."""
_SLOW_MS = 20.0
_CALLS = 100
_COUNTED_MS = 60_000.0
"""A statement counts as slow from this mean on, after so many calls; below a minute in all,
shares of the time say nothing.
"""


@check("blocking", warning=1, critical=120, unit="s")
def blocking(facts: Facts) -> Evidence:
    """Nobody waits long for a lock."""
    rows = facts.rows("blocking")
    waiting = [row for row in rows if row["blocked_by"] is not None]
    if not waiting:
        return graded(0, "nobody waits")
    longest = max(row["waiting_seconds"] or 0.0 for row in waiting)
    holders = [row["session"] for row in rows if row["blocked_by"] is None]
    return graded(
        round(longest, 1),
        f"{_many(waiting)} for {joined(holders) or 'each other'}, {longest:.0f} s",
        f"See: leadctl inspect blocking; {_end_of(holders)}",
    )


def _end_of(holders: list[str]) -> str:
    """Return how the first holder's transaction is ended; one that is prepared has no session."""
    if not holders:
        return "the server ends one of them after deadlock_timeout"
    if not holders[0].isdigit():
        return (
            "end what is prepared: COMMIT PREPARED or ROLLBACK PREPARED with its gid, by: "
            "leadctl inspect prepared-transactions"
        )
    return f"end the holder: SELECT pg_terminate_backend({holders[0]})"


@check("idle-in-transaction", warning=60, critical=300, unit="s")
def idle_in_transaction(facts: Facts) -> Evidence:
    """No session holds a transaction open and does nothing in it."""
    return _longest(facts, "idle-in-transaction", "idle_seconds", "is idle in a transaction")


@check("long-queries", warning=60, unit="s")
def long_queries(facts: Facts) -> Evidence:
    """No statement runs long."""
    return _longest(facts, "long-queries", "seconds", "runs a statement")


@check("prepared-transactions", warning=1, unit="s")
def prepared_transactions(facts: Facts) -> Evidence:
    """No prepared transaction waits for its second phase."""
    rows = facts.rows("prepared-transactions")
    if not rows:
        return graded(0, "none is prepared")
    oldest = rows[0]
    return graded(
        round(oldest["seconds"], 1),
        f"{len(rows)} prepared, {oldest['gid']} for {oldest['seconds']:.0f} s",
        f"Run COMMIT PREPARED or ROLLBACK PREPARED '{oldest['gid']}'.",
    )


@check(warning=33, unit="%")
def slow_queries(facts: Facts) -> Evidence:
    """No slow statement takes a large share of the server's time."""
    rows = facts.rows("slow-queries")
    total = sum(row["total_ms"] for row in rows)
    if total < _COUNTED_MS:
        raise Skip("pg_stat_statements has counted less than a minute of statements")
    slow = [row for row in rows if row["mean_ms"] >= _SLOW_MS and row["calls"] >= _CALLS]
    if not slow:
        return graded(0, f"no statement is called often and takes {_SLOW_MS:g} ms")
    worst = slow[0]
    return graded(
        worst["time_percent"],
        f"one takes {worst['time_percent']:g} % of all time, {worst['mean_ms']:g} ms a call",
        "See which: leadctl inspect slow-queries",
    )


def _longest(facts: Facts, report: str, column: str, does: str) -> Evidence:
    """Grade the session that a report has first; skip where others' sessions cannot be seen."""
    rows = [row for row in facts.rows(report) if row[column] is not None]
    longest = max(rows, key=lambda row: row[column], default=None)
    seconds = max(0.0, longest[column]) if longest else 0.0
    blind = (
        "of other roles' sessions nothing is seen; it takes "
        f"GRANT pg_read_all_stats TO {facts.server.role}"
    )
    return graded(
        round(seconds, 1),
        f"{longest['application'] or 'a session'} (pid {longest['pid']}, {longest['user']}) {does} "
        f"for {seconds:.0f} s"
        if longest
        else "none",
        f"See: leadctl inspect {report}; end it: SELECT pg_terminate_backend({longest['pid']})"
        if longest
        else "",
        doubt="" if facts.server.sees_sessions else blind,
    )


def _many(rows: list[Row]) -> str:
    if len(rows) >= _MOST_WAITING:
        return f"{_MOST_WAITING:,} sessions or more wait"
    return f"{len(rows)} {'session waits' if len(rows) == 1 else 'sessions wait'}"
