"""Checks of rows and backups: values can be read, due rows go on going, a backup is recent."""

import shlex
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from itertools import chain, islice
from typing import TYPE_CHECKING

from psycopg import sql

from leadctl.cleanup.results import read_past_runs
from leadctl.crypto import VERSION, Keyring, decrypt
from leadctl.errors import LeadctlError, PitrFolderTaken
from leadctl.health.check import CheckStatus, Evidence, check, critical, graded, ok, warning
from leadctl.health.facts import Facts, Skip
from leadctl.keys.encrypted_values import ColumnKeys, EncryptedTable, count_values, sample
from leadctl.postgres import exact
from leadctl.restore.kept import read_kept
from leadctl.text import counted, listed, size

if TYPE_CHECKING:
    from leadctl.backup.storage import DatabaseId, StoredBackup
    from leadctl.pitr.wal_archive import WalArchive


_SAMPLE_BYTES = 1024 * 1024
"""A larger table is looked at in part: a probe is to be quick at any size.

Some thousand rows: what is wrong with one value in a thousand shows; `keys status` counts all.
"""
_STALE = timedelta(days=2)
"""The age of a daily run of cleanup that was missed once."""
_NEVER = datetime.min.replace(tzinfo=UTC)


@check()
def encryption(facts: Facts) -> Evidence:
    """Keys are there, the primary one reads a sample, no plaintext, no unknown key."""
    sizes = _tables(facts)
    if not sizes:
        raise Skip("no encrypted columns are recorded here")
    keyring = facts.keyring()
    columns = [
        column
        for table, size in sizes.items()
        for column in count_values(facts.connection, table, keyring, percent=_percent(size))
    ]
    values = sum(column.values for column in columns)
    if not keyring.keys:
        if not values:
            raise Skip("no keys are set, and nothing is encrypted")
        return warning(
            f"no key is set here to read {counted(values, 'encrypted value')}",
            "Set ENCRYPTION_KEY if this host must read them.",
            values,
            "values",
        )
    problems = [*_bad(columns), *_unreadable_samples(facts, sizes, keyring)]
    if problems:
        return critical("; ".join(problems), "See: leadctl keys status", len(problems), "bad")
    legacy = sum(column.legacy for column in columns)
    if legacy:
        return warning(
            f"{counted(legacy, 'value')} of the Node helper",
            "Re-encrypt them with: leadctl keys rotate",
            legacy,
            "legacy",
        )
    partly = " of a sample" if any(map(_percent, sizes.values())) else ""
    return ok(f"{counted(values, 'value')}{partly} under known keys", 0, "bad")


@check()
def cleanup(facts: Facts) -> Evidence:
    """Every rule succeeded lately, each by its own last run; shows how many due rows they left.

    Raises Skip if none of them ever ran here.
    """
    if not facts.app.name:
        raise Skip("no project is found and no app is named, so its rules are not known")
    rules = list(facts.rules())
    past = read_past_runs(facts.connection, facts.app.name, facts.target.schema, rules)
    if not past.rules:
        raise Skip("none of the rules ever ran here" if rules else "the app has no rules")
    known = {rule: past.last(rule)["backlog"] for rule in rules if "backlog" in past.last(rule)}
    backlog = sum(known.values())
    left = f"{backlog:,} due rows remain"
    if unknown := [rule for rule in rules if rule not in known]:
        left += f", those of {', '.join(unknown)} not counted"
    since = datetime.now(UTC) - _STALE
    succeeded = {rule: past.last_success(rule) or _NEVER for rule in rules}
    late = [rule for rule in rules if succeeded[rule] < since]
    if late:
        return warning(
            f"no recent success of {', '.join(late)}; {left}",
            "See why with: leadctl history; is it still scheduled?",
            backlog,
            "rows",
        )
    refused = {rule: number for rule in rules if (number := past.refused(rule))}
    if refused:
        shown = ", ".join(f"{number:,} of {rule}" for rule, number in refused.items())
        return warning(
            f"due rows that cannot be deleted: {shown}; {left}",
            f"See which and why with: leadctl cleanup --rule {shlex.quote(next(iter(refused)))}",
            backlog,
            "rows",
        )
    first = min(succeeded.values()).astimezone(UTC)
    return ok(f"each rule succeeded since {first:%Y-%m-%d %H:%M}Z, {left}", backlog, "rows")


def _tables(facts: Facts) -> dict[EncryptedTable, int]:
    """Return the recorded tables with encrypted columns that exist, with their bytes."""
    contexts: dict[str, dict[str, str]] = {}
    for name, context in (facts.fingerprint or {}).get("encrypted", {}).items():
        table, _, column = name.rpartition(".")
        contexts.setdefault(table, {})[column] = context
    relations = {name: facts.relations[name] for name in contexts if name in facts.relations}
    return {
        EncryptedTable(
            each.schema, each.name, contexts[each.name], touched_as=each.touched_as
        ): each.size.heap_bytes
        for each in relations.values()
    }


def _percent(size: int) -> float | None:
    return None if size <= _SAMPLE_BYTES else 100 * _SAMPLE_BYTES / size


def _bad(columns: list[ColumnKeys]) -> Iterator[str]:
    for column in columns:
        for number, what in (
            (column.plaintext, "of plaintext"),
            (sum(column.foreign.values()), f"that look like {', '.join(column.foreign)}"),
            (column.unknown, "under unknown keys"),
            (column.malformed, "malformed"),
        ):
            if number:
                yield f"{column.table}.{column.column}: {counted(number, 'value')} {what}"


def _unreadable_samples(
    facts: Facts, sizes: dict[EncryptedTable, int], keyring: Keyring
) -> Iterator[str]:
    """Decrypt one value of each column that the primary key encrypted."""
    begins = f"{VERSION}.{keyring.primary.fingerprint}.%"
    for table, rows in sizes.items():
        values = [
            sql.SQL(
                "(SELECT {c} FROM {t} {sample} WHERE {c} OPERATOR(pg_catalog.~~) {begins} LIMIT 1)"
            ).format(
                c=sql.Identifier(column), t=table.identifier, sample=sample(_percent(rows)),
                begins=begins,
            )
            for column in table.contexts
        ]  # fmt: skip
        query = sql.SQL("SELECT {}").format(sql.SQL(", ").join(values))
        with exact.as_owner(facts.connection, table.touched_as):
            found = facts.connection.execute(query).fetchone() or ()
        for (column, context), value in zip(table.contexts.items(), found, strict=True):
            try:
                if value is not None:
                    decrypt(value, keyring, context)
            except LeadctlError as error:
                yield f"{table.name}.{column}: {error.code}"


_AGE = (timedelta(hours=26), timedelta(hours=50))
"""Warning and critical, for backups that are made daily: one late, one missing."""
_VERIFIED_AGE = timedelta(days=8)
"""For a backup that is verified weekly."""
_SMALL = 0.5
"""Share of the usual size, which is the median of those before."""
_LOOKED_AT = 20


@check(warning=14, critical=365, unit="days")
def kept_by_restores(facts: Facts) -> Evidence:
    """Databases and schemas that restores left are not forgotten."""
    kept = facts.shared.once("kept", lambda: read_kept(facts.connection))
    if not kept:
        return ok("restores left nothing", 0, "days")
    days = (datetime.now(UTC) - kept[0].since).days
    total = sum(each.bytes or 0 for each in kept)
    return graded(
        days,
        f"{listed([each.name for each in kept])} of {size(total)}, since {days} days",
        "See: leadctl db kept; if no longer needed: leadctl db kept --drop NAME",
    )


@check()
def backups(facts: Facts) -> Evidence:
    """Count once a backup folder is set or there, or the database is protected."""
    identity = facts.identity
    protected = facts.target.protected or bool(identity and identity.protected)
    if facts.backups is None:
        if not protected:
            raise Skip("no backup folder is set")
        return warning(
            "the database is protected, and no backup folder is set here",
            "Set BACKUP_DIR, and make one with: leadctl backup",
        )
    database = _id_of(facts)
    there = facts.backups.backups()
    candidates = (each for each in there if not each.from_future and each.is_of(database))
    own = list(islice(candidates, _LOOKED_AT))
    good = [backup for backup in own if _is_good(backup)]
    if not good:
        return critical(
            f"there is no good backup of this database in {facts.backups.path}",
            "Make one with: leadctl backup",
        )
    future = [backup for backup in there if backup.from_future]
    older = chain(good[1:], filter(_is_good, candidates))
    return _judged(own, good, older, future, _elsewhere(facts))


def _judged(
    own: Sequence["StoredBackup"],
    good: Sequence["StoredBackup"],
    older: Iterable["StoredBackup"],
    future: Sequence["StoredBackup"],
    elsewhere: Mapping[str, str],
) -> Evidence:
    """Judge the backups, the newest first, of which at least one is good.

    `older` are the good ones before the last, also further back.
    """
    now = datetime.now(UTC)
    age = now - good[0].made_at
    warnings = {}
    if age >= _AGE[0]:
        warnings["the last good backup is old"] = "leadctl backup"
    if own[0] != good[0]:
        warnings[f"the newest, {own[0].id}, is damaged"] = f"leadctl backup verify {own[0].id}"
    if future:
        warnings[f"{future[0].id} is from the future: a clock was wrong"] = "leadctl backup list"
    without = good[0].manifest.left_out
    whole = next((each for each in older if not {*without} & {*each.manifest.left_out}), None)
    if whole and now - whole.made_at >= _AGE[0]:
        warnings[f"the last with them is {whole.id}"] = "leadctl backup"
    from statistics import median

    usual = [backup.manifest.bytes for backup in good[1:8]]
    if usual and good[0].manifest.bytes < _SMALL * median(usual):
        warnings["the last backup is much smaller than usual"] = f"leadctl backup show {good[0].id}"
    verified = [backup for backup in good if backup.verification]
    if not verified or now - verified[0].made_at > _VERIFIED_AGE:
        what = "the last verified backup is old" if verified else "none was verified"
        warnings[what] = "leadctl backup verify latest --restore"
    warnings |= elsewhere
    status = CheckStatus.WARNING if warnings else CheckStatus.OK
    hours = age.total_seconds() / 3600
    lacks = f" and without {listed(without)}" if without else ""
    return Evidence(
        "; ".join([f"{len(good)} good, the last {hours:.1f} h old{lacks}", *warnings]),
        f"Run: {next(iter(warnings.values()))}" if warnings else "",
        round(hours, 1),
        "h",
        CheckStatus.CRITICAL if age >= _AGE[1] else status,
    )


def _elsewhere(facts: Facts) -> dict[str, str]:
    """Return what is wrong with the copies in BACKUP_COPY_TO, and the command that helps."""
    if facts.copies is None:
        return {}
    from leadctl.backup.inventory import newest_copy

    folder = facts.copies.path
    copying = f"leadctl backup copy latest --to {folder}"
    try:
        newest = newest_copy(facts.copies, _id_of(facts))
    except LeadctlError as error:
        seen = f"leadctl backup list --from {folder}"
        return {f"the copies cannot be read: {error.message}": seen}
    if newest is None:
        return {f"there is no copy of them in {folder}": copying}
    age = datetime.now(UTC) - newest.made_at
    if age < _AGE[0]:
        return {}
    return {f"the newest copy in {folder} is {age.total_seconds() / 3600:.0f} h old": copying}


def _id_of(facts: Facts) -> "DatabaseId":
    from leadctl.backup.storage import DatabaseId

    identity = facts.identity
    return DatabaseId(facts.connection.info.dbname, str(identity.id) if identity else None)


def _is_good(backup: "StoredBackup") -> bool:
    return backup.damage is None and (backup.verification is None or backup.verification.ok)


_GB = 10**9
_SILENT_SECONDS = 120
"""A receiver says something every ten seconds."""
_BARMAN_SECONDS = 10
_SLOT = "Make it again: leadctl pitr setup. If it is off for good, move the archive away"
_RECEIVER = "Start the receiver (leadctl schedule cron pitr); see: leadctl pitr check"


@check(warning=2 * _GB, critical=20 * _GB, unit="B")
def pitr_archive(facts: Facts) -> Evidence:
    """The archive for point in time gets all WAL; the server keeps little for it."""
    archive = _archive(facts)
    from leadctl.pitr.setup import problem_of, require_archived, slot_state

    try:
        require_archived(facts.connection, archive)
    except PitrFolderTaken:
        raise Skip(f"{archive.folder} is the archive of another server") from None
    state = slot_state(facts.connection, archive.server.slot)
    problem = problem_of(state, archive.server.slot)
    retained = state.retained_bytes if state else None
    if problem is None and state and (state.silent_seconds or 0) > _SILENT_SECONDS:
        problem = f"the receiver has not reported for {state.silent_seconds:.0f} s"
    if problem is not None or state is None:
        kept = f"; the server keeps {size(retained)} for it" if retained else ""
        hint = _RECEIVER if state else _SLOT
        return critical(f"{problem}{kept}", hint, retained, "B")
    behind = "" if state.lag_bytes is None else f"the receiver is {size(state.lag_bytes)} behind, "
    message = f"{behind}the server keeps {size(retained or 0)} for it"
    return graded(retained or 0, message, _RECEIVER)


@check(warning=35, critical=100, unit="days")
def pitr_rehearsal(facts: Facts) -> Evidence:
    """The archive for point in time has a base backup, and a rehearsal of it went well."""
    archive = _archive(facts)
    from leadctl.pitr.setup import new_tablespaces

    hint, make = "Run: leadctl pitr rehearse", "Make one: leadctl pitr backup"
    backups = archive.base_backups(seconds=_BARMAN_SECONDS)
    whole = [backup for backup in backups if backup.whole]
    if not whole:
        return critical(
            f"there is no base backup in {archive.folder}: nothing can be restored from it", make
        )
    if problem := new_tablespaces(facts.connection, archive, whole[-1], _BARMAN_SECONDS):
        return critical(f"{problem}: later changes cannot be restored", make)
    last = archive.rehearsal
    if last is None:
        return warning("no recovery was rehearsed yet", hint)
    days = (datetime.now(UTC) - last.at).total_seconds() / 86400
    if not last.ok:
        return critical(
            f"the last rehearsal, {days:.0f} days ago, failed", hint, round(days, 1), "days"
        )
    return graded(
        round(days, 1), f"{counted(last.rows, 'row')} came back {days:.0f} days ago", hint
    )


def _archive(facts: Facts) -> "WalArchive":
    """Return the archive.  Raises Skip where none is kept here, and PitrNotSetUp."""
    if facts.archive is None:
        raise Skip("point-in-time recovery is not set up here")
    return facts.archive
