"""Checks of the rows: every encrypted value can be read, and due rows go on being deleted."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

from psycopg import sql

from leadctl.cleanup.results import read_past_runs
from leadctl.crypto import Keyring, decrypt
from leadctl.crypto.cipher import VERSION
from leadctl.errors import LeadctlError
from leadctl.health.check import Evidence, Facts, Skip, check, critical, ok, warning
from leadctl.keys.encrypted_values import ColumnKeys, EncryptedTable, count_values, sample
from leadctl.postgres import exact

_SAMPLE_BYTES = 1024 * 1024
"""A larger table is looked at in part: a probe is to be quick at any size.

Some thousand rows: what is wrong with one value in a thousand shows; `keys status` counts all.
"""
_STALE = timedelta(days=2)
"""The age of a daily run of cleanup that was missed once."""


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
    values = sum(sum(c.under.values()) + c.legacy + c.malformed + c.plaintext for c in columns)
    if not keyring.keys:
        if not values:
            raise Skip("no keys are set, and nothing is encrypted")
        return warning(
            f"{values:,} values are encrypted, and no key is set here to read them",
            "Set ENCRYPTION_KEY where the values must be read.",
            values,
            "values",
        )
    problems = [*_bad(columns), *_unreadable_samples(facts, sizes, keyring)]
    if problems:
        return critical("; ".join(problems), "See: leadctl keys status", len(problems), "bad")
    legacy = sum(column.legacy for column in columns)
    if legacy:
        return warning(
            f"{legacy:,} values of the Node helper",
            "Re-encrypt them with: leadctl keys rotate",
            legacy,
            "legacy",
        )
    partly = " of a sample" if any(map(_percent, sizes.values())) else ""
    return ok(f"{values:,} values{partly} under known keys", 0, "bad")


@check()
def cleanup(facts: Facts) -> Evidence:
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
        return warning(
            f"{message}; no success lately of {', '.join(late)}",
            "See why with: leadctl history; is it still scheduled?",
            backlog,
            "rows",
        )
    return ok(message, backlog, "rows")


def _tables(facts: Facts) -> dict[EncryptedTable, int]:
    """Return the recorded tables with encrypted columns that are there, with their bytes."""
    contexts: dict[str, dict[str, str]] = {}
    for name, context in (facts.fingerprint or {}).get("encrypted", {}).items():
        table, _, column = name.rpartition(".")
        contexts.setdefault(table, {})[column] = context
    found = {}
    for name, columns in contexts.items():
        table = EncryptedTable(facts.target.schema, name, columns)
        regclass = table.identifier.as_string(facts.connection)
        row = exact.execute(
            facts.connection, "SELECT pg_relation_size(to_regclass(%s))", (regclass,)
        ).fetchone()
        if row and row[0] is not None:
            found[table] = int(row[0])
    return found


def _percent(size: int) -> float | None:
    return None if size <= _SAMPLE_BYTES else 100 * _SAMPLE_BYTES / size


def _bad(columns: list[ColumnKeys]) -> Iterator[str]:
    for column in columns:
        for number, what in (
            (column.plaintext, "of plaintext"),
            (column.unknown, "under unknown keys"),
            (column.malformed, "malformed"),
        ):
            if number:
                yield f"{column.table}.{column.column}: {number:,} values {what}"


def _unreadable_samples(
    facts: Facts, sizes: dict[EncryptedTable, int], keyring: Keyring
) -> Iterator[str]:
    """Decrypt one value of each column that the primary key encrypted."""
    begins = f"{VERSION}.{keyring.primary.fingerprint}.%"
    for table, size in sizes.items():
        for column, context in table.contexts.items():
            query = sql.SQL("SELECT {c} FROM {t} {sample} WHERE {c} LIKE %s LIMIT 1").format(
                c=sql.Identifier(column), t=table.identifier, sample=sample(_percent(size))
            )
            row = facts.connection.execute(query, (begins,)).fetchone()
            try:
                if row:
                    decrypt(row[0], keyring, context)
            except LeadctlError as error:
                yield f"{table.name}.{column}: {error.code}"
