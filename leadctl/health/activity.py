"""Checks of what goes on now: sessions, locks, queries."""

from collections.abc import Mapping

from leadctl.health.check import Evidence, check, graded
from leadctl.health.facts import Facts, Skip
from leadctl.health.shared_readings import Row
from leadctl.text import counted, listed

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
    """No session waits long for a lock."""
    rows = facts.rows("blocking")
    waiting = [row for row in rows if row["blocked_by"] is not None]
    if not waiting:
        return graded(0, "no session waits")
    longest = max(row["waiting_seconds"] or 0.0 for row in waiting)
    holders = [row["session"] for row in rows if row["blocked_by"] is None]
    return graded(
        round(longest, 1),
        f"{_many(waiting)} for {listed(holders) or 'each other'}, {longest:.0f} s",
        f"See: leadctl inspect blocking; {_end_of(holders)}",
    )


def _end_of(holders: list[str]) -> str:
    """Return how the first holder's transaction is ended; one that is prepared has no session."""
    if not holders:
        return "the server ends one of them after deadlock_timeout"
    if not holders[0].isdigit():
        return (
            "end the prepared transaction: COMMIT PREPARED or ROLLBACK PREPARED with its gid; "
            "see: leadctl inspect prepared-transactions"
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


@check("transactions", warning=3600, unit="s")
def long_transactions(facts: Facts) -> Evidence:
    """No transaction is open for long, even one of many small statements."""
    return _longest(facts, "transactions", "transaction_seconds", "has a transaction open")


@check("transactions", warning=10_000_000, critical=200_000_000, unit="transactions")
def oldest_xmin(facts: Facts) -> Evidence:
    """Nothing keeps VACUUM from removing rows that died long ago."""
    rows = [row for row in facts.rows("transactions") if row["age"] is not None]
    oldest = max(rows, key=lambda row: row["age"], default=None)
    if oldest is None:
        return graded(0, "nothing holds back VACUUM", doubt=_blindness(facts))
    name = str(oldest["pid"] or oldest["name"])
    return graded(
        oldest["age"],
        f"{oldest['kind']} {name} holds back VACUUM by {oldest['age']:,} transactions",
        _LET_GO[oldest["kind"]].format(name.replace("'", "''")),
        doubt=_blindness(facts),
    )


_LET_GO: Mapping[str, str] = {
    "session": "See: leadctl inspect transactions; end it: SELECT pg_terminate_backend({})",
    "standby": "End long queries of the standby, or set hot_standby_feedback = off there. "
    "See: leadctl inspect transactions",
    "slot": "Start its reader, or: SELECT pg_drop_replication_slot('{}')",
    "prepared": "Run COMMIT PREPARED or ROLLBACK PREPARED '{}'.",
}


@check("prepared-transactions", warning=1, unit="s")
def prepared_transactions(facts: Facts) -> Evidence:
    """No prepared transaction waits for its second phase."""
    rows = facts.rows("prepared-transactions")
    if facts.server.in_recovery:
        raise Skip("a standby does not show the prepared transactions of its primary")
    if not rows:
        return graded(0, "none is prepared")
    oldest = max(rows, key=lambda row: row["seconds"])
    where = f" on {oldest['node']}" if "node" in oldest else ""
    return graded(
        round(oldest["seconds"], 1),
        f"{len(rows)} prepared, {oldest['gid']} for {oldest['seconds']:.0f} s{where}",
        _LET_GO["prepared"].format(oldest["gid"].replace("'", "''")),
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
        return graded(0, f"no frequent statement takes {_SLOW_MS:g} ms")
    worst = slow[0]
    return graded(
        worst["time_percent"],
        f"one statement takes {worst['time_percent']:g} % of all time, {worst['mean_ms']:g} ms a "
        f"call",
        "See which: leadctl inspect slow-queries",
    )


def _longest(facts: Facts, report: str, column: str, does: str) -> Evidence:
    """Grade the session that is longest at it; skip where others' sessions cannot be seen."""
    rows = [
        row
        for row in facts.rows(report)
        if row[column] is not None and row.get("kind", "session") == "session"
    ]
    longest = max(rows, key=lambda row: row[column], default=None)
    if longest is None:
        return graded(0, "none", doubt=_blindness(facts))
    seconds = max(0.0, longest[column])
    pid = longest["pid"]
    return graded(
        round(seconds, 1),
        f"{longest['application'] or 'a session'} (pid {pid}, {longest['user']}) {does} "
        f"for {seconds:.0f} s",
        f"See: leadctl inspect {report}; end it: SELECT pg_terminate_backend({pid})",
        doubt=_blindness(facts),
    )


def _blindness(facts: Facts) -> str:
    """Return why nobody knows of others' sessions; nothing where the role sees them."""
    if facts.server.untracked:
        sessions = counted(facts.server.untracked, "session")
        return f"{sessions} cannot be seen: track_activities is off"
    if facts.server.sees_sessions:
        return ""
    return (
        f"sessions of other roles cannot be seen; run: GRANT pg_read_all_stats TO "
        f"{facts.server.role}"
    )


def _many(rows: list[Row]) -> str:
    if len(rows) >= _MOST_WAITING:
        return f"{_MOST_WAITING:,} sessions or more wait"
    return f"{len(rows)} {'session waits' if len(rows) == 1 else 'sessions wait'}"
