"""Checks of the server as a whole: ids, counters, replication, archiving."""

import re
import time

from leadctl.health.check import CheckStatus, Evidence, check, critical, graded, ok, warning
from leadctl.health.facts import Facts, Skip
from leadctl.health.shared_readings import Row
from leadctl.text import listed, size, utc

_MILLION = 1_000_000
_GB = 10**9
_SILENT_SECONDS = 60.0
"""As long as wal_receiver_timeout is where nobody changed it."""
_WATCH_SECONDS = 1.0
_LOOK_SECONDS = 0.1
"""A standby that is behind is watched so long, and looked at so often."""
_SYNCHRONOUS = re.compile(r"\s*(?:(?:FIRST|ANY)\s+)?(\d+)\s*\(", re.IGNORECASE)
"""How many standbys a commit waits for; one where no number is given.
https://www.postgresql.org/docs/current/runtime-config-replication.html
"""


@check(warning=1.3e9, critical=1.4e9, unit="transactions")
def transaction_age(facts: Facts) -> Evidence:
    """No database nears the end of transaction ids, at which the server stops writing."""
    return _oldest(facts, "transaction_age")


@check(warning=1.3e9, critical=1.4e9, unit="multixacts")
def multixact_age(facts: Facts) -> Evidence:
    """No database nears the end of multixact ids, at which the server stops writing."""
    return _oldest(facts, "multixact_age")


@check("database", warning=1, unit="an hour")
def deadlocks(facts: Facts) -> Evidence:
    """Deadlocks are rare."""
    return _rate(facts, "deadlocks", "deadlocks", "Look for them in the server's log.")


@check("database", warning=10 * _GB, unit="B an hour")
def temporary_files(facts: Facts) -> Evidence:
    """Queries seldom sort or hash on disk."""
    return _rate(
        facts,
        "temp_bytes",
        "bytes of temporary files",
        "Raise work_mem for the queries that log_temp_files shows.",
    )


@check("database", critical=1, unit="failures")
def checksums(facts: Facts) -> Evidence:
    """No block was read whose checksum was wrong."""
    database = facts.rows("database")[0]
    if not database["checksums"]:
        raise Skip("the server was made without data checksums")
    failures = database["checksum_failures"] or 0
    return graded(
        failures,
        f"{failures} failures, the last {database['checksum_last_failure']}"
        if failures
        else "no failure",
        "The storage returns other bytes than were written: restore a backup on another disk.",
        doubt=facts.uncounted,
    )


@check("replication", "standby", warning=30, critical=300, unit="s")
def replication(facts: Facts) -> Evidence:
    """Standbys follow; on a standby: it follows its primary."""
    if facts.server.in_recovery:
        return _follows(facts)
    # What a base backup is sent is no standby's.
    rows = [row for row in facts.rows("replication") if row["state"] != "backup"]
    (wanted,) = facts.query_database("synchronous")[0]
    number = _SYNCHRONOUS.match(wanted)
    needed = int(number[1]) if number else int(bool(wanted))
    if sum(row["sync_state"] in {"sync", "quorum", None} for row in rows) < needed:
        return critical(
            f"commits wait for {needed} standbys (synchronous_standby_names = {wanted}), but "
            f"fewer are connected: commits do not return",
            "Start the standby, or: ALTER SYSTEM RESET synchronous_standby_names; "
            "SELECT pg_reload_conf()",
        )
    if not rows:
        raise Skip("no standby is connected to this server")
    if not facts.server.sees_sessions:
        raise Skip(f"the lag cannot be seen; run: GRANT pg_read_all_stats TO {facts.server.role}")
    worst = max(rows, key=lambda row: row["lag_seconds"] or 0.0)
    lag = worst["lag_seconds"] or 0.0
    hint = "See: leadctl inspect replication; look at the standby's load and log."
    message = f"{len(rows)} connected, {worst['name']} is {lag:.1f} s behind"
    # Nobody measures the lag of one that is sent what is old.
    sent = [
        f"{row['name']} by {size(row['behind_bytes'] or 0)}"
        for row in rows
        if row["state"] == "catchup"
    ]
    if sent:
        message += f"; not caught up: {listed(sent)}"
    at_least = CheckStatus.WARNING if sent else CheckStatus.OK
    return graded(round(lag, 1), message, hint, at_least=at_least)


@check("nodes")
def citus_nodes(facts: Facts) -> Evidence:
    """Each node of a Citus cluster is active, and the others reach it."""
    rows = facts.rows("nodes")
    if not rows:
        raise Skip("the database has the extension citus, and no node")
    down = [row["node"] for row in rows if not row["active"] or not row["reached_by"]]
    if down:
        return critical(
            f"down: {listed(down)}, of {len(rows)} nodes; their tables cannot be read",
            "Start the node, or look at its log and network: leadctl inspect nodes",
        )
    partly = [row["node"] for row in rows if row["reached_by"] < row["asked"]]
    if partly:
        return warning(
            f"{listed(partly)} not reached by every other node",
            "Look at the network between the nodes: leadctl inspect nodes",
        )
    return ok(f"{len(rows)} nodes, each reached by all others")


@check("replication-slots", warning=5 * _GB, critical=50 * _GB, unit="B")
def replication_slots(facts: Facts) -> Evidence:
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
        what = f"{', '.join(lost)}: WAL that it still needs was removed, or soon will be"
        return critical(what, hint, retained, "B")
    state = "active" if worst["active"] else "not active"
    message = f"{len(rows)}, {worst['slot']} ({state}) keeps {size(retained)}"
    # What a standby keeps in step with its primary's is active there alone.
    unread = [row["slot"] for row in rows if not row["active"] and not row["synced"]]
    if not unread:
        return graded(retained, message, hint)
    hint = f"Start its reader, or: SELECT pg_drop_replication_slot('{unread[0]}')"
    unread_message = f"no one reads {listed(unread)}; {message}"
    return graded(retained, unread_message, hint, at_least=CheckStatus.WARNING)


@check("archiving", warning=42, unit="segments")
def archiving(facts: Facts) -> Evidence:
    """WAL is archived, and the archiver keeps up."""
    row = facts.rows("archiving")[0]
    if row["archive_mode"] == "off":
        raise Skip("archive_mode is off")
    if facts.server.in_recovery and row["archive_mode"] != "always":
        raise Skip("a standby archives with archive_mode = always only")
    if row["failing"]:
        return critical(
            f"archiving {row['last_failed_wal']} failed {row['failed']} times, last at "
            f"{utc(row['last_failed_time'])}",
            "Run archive_command by hand as the server's user; see the server's log.",
            row["waiting_segments"],
            "segments",
        )
    if not row["configured"]:
        return critical(
            "archive_mode is on without archive_command and archive_library: WAL is kept "
            "until the disk is full",
            "Set archive_command, or archive_mode = off",
            row["waiting_segments"],
            "segments",
        )
    waiting, last = row["waiting_segments"], row["last_archived_time"]
    if waiting is None or last is None:
        ((waiting,),) = facts.query_database("ready")
    if last is None and not waiting:
        raise Skip("nothing was archived yet")
    return graded(
        waiting,
        f"{waiting} segments wait, "
        + (f"the last was archived at {utc(last)}" if last else "none was archived yet"),
        "See: leadctl inspect archiving; look at the archive's speed and free space.",
    )


def _oldest(facts: Facts, column: str) -> Evidence:
    if "citus" in facts.server.extensions:
        found = [row for row in facts.rows("wraparound") if row["kind"] == "database"]
        ages = {f"{row['name']} on {row['node']}": row[column] for row in found}
    else:
        which = ("transaction_age", "multixact_age").index(column)
        ages = {name: both[which] for name, *both in facts.query_database("oldest_ids")}
    worst = max(sorted(ages), key=lambda name: ages[name])
    return graded(
        ages[worst],
        f"{ages[worst] / _MILLION:,.1f} million in {worst}",
        "Run VACUUM (FREEZE) on the oldest tables, after ending old transactions and dropping dead "
        "slots. See: leadctl inspect wraparound",
    )


def _rate(facts: Facts, column: str, what: str, hint: str) -> Evidence:
    """Grade what was counted an hour; where the counters' age is not known, only nothing is ok."""
    count, hours = facts.rows("database")[0][column], facts.counted_hours
    if not count:
        return graded(0, f"no {what} {facts.counted}", doubt=facts.uncounted)
    if hours is None:
        raise Skip(f"{count:,} {what}, since an unknown time; measure again with --interval 5s")
    found = f"{count:,} {what} {facts.counted}"
    return graded(round(count / hours, 1), found, hint, doubt=facts.uncounted)


def _follows(facts: Facts) -> Evidence:
    """Grade how far a standby is behind: by what it received and when, and whether it replays."""
    row = facts.rows("standby")[0]
    hint = "See: leadctl inspect standby; look at the network and the primary."
    if not row["receiving"]:
        if not row["restores"]:
            return critical(
                "a standby that receives no WAL: it has no WAL receiver and no restore_command",
                "Look at the server's log, primary_conninfo, the network and the primary.",
            )
        age = row["lag_at_least_seconds"]
        message = f"a standby without a receiver; what it replays of its archive is {age:.1f} s old"
        return graded(round(age, 1), message, "Look at the server's log and at the archive.")
    silent = row["silent_seconds"] or 0.0
    if silent > max(_SILENT_SECONDS, row["timeout_seconds"]):
        message = f"the WAL receiver has heard nothing for {silent:.0f} s"
        if not row["timeout_seconds"]:
            raise Skip(
                f"{message}: with wal_receiver_timeout = 0 an idle primary cannot be told from a "
                f"lost one"
            )
        return graded(round(silent, 1), message, hint)
    least, most = row["lag_at_least_seconds"], row["lag_at_most_seconds"]
    receiver = row["receiver"] or "not shown"
    if most is not None and most <= _WATCH_SECONDS and not row["paused"]:
        return graded(round(most, 1), f"a standby, {most:.1f} s behind; receiver: {receiver}", hint)
    state, seconds = ("paused", 0.0) if row["paused"] else _watched(facts, row)
    if state == "caught up":
        message = f"a standby, {seconds:.1f} s behind; receiver: {receiver}"
        return graded(round(seconds, 1), message, hint)
    span = f"{least:.0f} s or more" if most is None else f"{least:.0f} to {most:.0f} s"
    message = f"a standby, {span} behind; replay is {state}"
    if state == "going on":
        return graded(round(least, 1), message, hint, doubt=message, up_to=most)
    resume = "Run: SELECT pg_wal_replay_resume()"
    waits = "See what holds it up: leadctl inspect blocking, leadctl inspect transactions"
    return graded(
        round(least, 1),
        message,
        resume if row["paused"] else waits,
        at_least=CheckStatus.WARNING,
    )


def _watched(facts: Facts, row: Row) -> tuple[str, float]:
    """Look for a moment whether what was received is replayed; return how it goes and the seconds.

    The last transaction that was replayed may be old because the primary was idle or works on a
    large one, so its age alone says nothing.
    """
    began = time.monotonic()
    while True:
        caught_up, replayed, lacks = facts.query("replayed", received=row["received"])[0]
        seconds = time.monotonic() - began
        if caught_up:
            return "caught up", seconds
        if seconds > _WATCH_SECONDS:
            stands = replayed == row["replayed"] and not lacks
            return ("standing still" if stands else "going on"), seconds
        time.sleep(_LOOK_SECONDS)
