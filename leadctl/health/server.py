"""Checks of the server as a whole: ids, counters, replication, archiving."""

from leadctl.health.check import CheckResult, CheckStatus, Skip, asks
from leadctl.health.facts import Facts, Row
from leadctl.text import size, utc

_MILLION = 1_000_000


@asks("wraparound")
def transaction_age(facts: Facts) -> CheckResult:
    """No database nears the end of transaction ids, where the server stops writing."""
    return _oldest(facts, "transaction-age", "transaction_age")


@asks("wraparound")
def multixact_age(facts: Facts) -> CheckResult:
    """No database nears the end of multixact ids, where the server stops writing."""
    return _oldest(facts, "multixact-age", "multixact_age")


@asks("database")
def deadlocks(facts: Facts) -> CheckResult:
    """Deadlocks are rare."""
    return _rate(facts, "deadlocks", "deadlocks", "deadlocks", "Look for them in the server's log.")


@asks("database")
def temporary_files(facts: Facts) -> CheckResult:
    """Queries seldom sort or hash on disk."""
    return _rate(
        facts,
        "temporary-files",
        "temp_bytes",
        "bytes of temporary files",
        "Raise work_mem for the queries that log_temp_files shows.",
    )


@asks("database")
def checksums(facts: Facts) -> CheckResult:
    """No block was read whose checksum was wrong."""
    database = facts.rows("database")[0]
    if not database["checksums"]:
        raise Skip("the server was made without data checksums")
    failures = database["checksum_failures"] or 0
    return facts.graded(
        "checksums",
        failures,
        f"{failures} failures, the last {database['checksum_last_failure']}"
        if failures
        else "no failure",
        "The storage returns other bytes than were written: restore a backup on another disk.",
    )


@asks("replication", "standby")
def replication(facts: Facts) -> CheckResult:
    """Standbys follow; on a standby: it follows its primary."""
    if facts.powers.in_recovery:
        return _follows(facts, facts.rows("standby")[0])
    rows = facts.rows("replication")
    if not rows:
        raise Skip("no standby is connected to this server")
    if not facts.powers.sees_sessions:
        raise Skip(f"the lag is not shown; it takes GRANT pg_read_all_stats TO {facts.powers.role}")
    worst = max(rows, key=lambda row: row["replay_lag_seconds"] or 0.0)
    lag = worst["replay_lag_seconds"] or 0.0
    return facts.graded(
        "replication",
        round(lag, 1),
        f"{len(rows)} connected, {worst['name']} is {lag:.1f} s behind",
        "See: leadctl inspect replication; look at the standby's load and log.",
    )


@asks("replication-slots")
def replication_slots(facts: Facts) -> CheckResult:
    """No slot keeps too much WAL, or has lost what it needs."""
    rows = facts.rows("replication-slots")
    if not rows:
        raise Skip("there are no replication slots")
    lost = [row["slot"] for row in rows if row["wal_status"] in {"lost", "unreserved"}]
    worst = rows[0]
    retained = worst["retained_bytes"] or 0
    hint = (
        f"Start its reader, or: SELECT pg_drop_replication_slot('{(lost or [worst['slot']])[0]}')"
    )
    if lost:
        return CheckResult(
            "replication-slots",
            CheckStatus.CRITICAL,
            retained,
            "B",
            f"{', '.join(lost)}: the WAL that is needed is gone, or about to go",
            hint,
        )
    state = "active" if worst["active"] else "not active"
    message = f"{len(rows)}, {worst['slot']} ({state}) keeps {size(retained)}"
    return facts.graded("replication-slots", retained, message, hint)


@asks("archiving")
def archiving(facts: Facts) -> CheckResult:
    """WAL is archived, and the archiver keeps up."""
    row = facts.rows("archiving")[0]
    if row["archive_mode"] == "off":
        raise Skip("archive_mode is off")
    if facts.powers.in_recovery and row["archive_mode"] != "always":
        raise Skip("a standby archives with archive_mode = always only")
    if row["failing"]:
        return CheckResult(
            "archiving",
            CheckStatus.CRITICAL,
            row["waiting_segments"],
            "segments",
            f"archiving {row['last_failed_wal']} failed {row['failed']} times, last at "
            f"{utc(row['last_failed_time'])}",
            "Run archive_command by hand as the server's user; see the server's log.",
        )
    if row["waiting_segments"] is None:
        raise Skip("nothing was archived yet")
    return facts.graded(
        "archiving",
        row["waiting_segments"],
        f"{row['waiting_segments']} segments wait, the last was archived at "
        f"{utc(row['last_archived_time'])}",
        "See: leadctl inspect archiving; look at the archive's speed and free space.",
    )


def _oldest(facts: Facts, check: str, column: str) -> CheckResult:
    databases = [row for row in facts.rows("wraparound") if row["kind"] == "database"]
    worst = max(databases, key=lambda row: int(row[column]))
    age = worst[column]
    return facts.graded(
        check,
        age,
        f"{age / _MILLION:,.1f} million in {worst['name']}",
        "Run VACUUM (FREEZE) on the oldest tables, after ending old transactions and dropping dead "
        "slots. See: leadctl inspect wraparound",
    )


def _rate(facts: Facts, check: str, column: str, what: str, hint: str) -> CheckResult:
    """Grade what was counted an hour; where the counters' age is not known, only nothing is ok."""
    count, hours = facts.rows("database")[0][column], facts.counted_hours
    if not count:
        return facts.graded(check, 0, f"no {what} {facts.counted}")
    if hours is None:
        raise Skip(f"{count:,} {what}, nobody knows since when; look twice with --interval 5s")
    return facts.graded(check, round(count / hours, 1), f"{count:,} {what} {facts.counted}", hint)


def _follows(facts: Facts, row: Row) -> CheckResult:
    if row["lag_seconds"] is None:
        raise Skip(
            "a standby that has replayed no transaction since it started: its lag is unknown"
        )
    lag, receiver = row["lag_seconds"], row["receiver"]
    state = "replay is paused" if row["paused"] else f"receiver: {receiver or 'none'}"
    return facts.graded(
        "replication",
        round(lag, 1),
        f"a standby, {lag:.1f} s behind; {state}",
        "Run: SELECT pg_wal_replay_resume()"
        if row["paused"]
        else "See: leadctl inspect standby; look at the network and the primary.",
    )
