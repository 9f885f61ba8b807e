"""Our own rules: what the live catalog makes of a revision's statements.

A table that is small, or that the plan itself makes, may be locked, scanned and rewritten.
"""

import re
from collections.abc import Iterator, Sequence

from leadctl.migrate.backfill import is_batched
from leadctl.migrate.lint.findings import Finding
from leadctl.migrate.planned import PlannedStatement, TableEffect
from leadctl.sql.statements import Reader

_SMALL_BYTES = 10 * 10**6
"""A table of this size, indexes included, is read or written anew in some tens of milliseconds."""
_OPAQUE = ("DO", "CALL", "SELECT", "WITH", "EXECUTE")
_COUNTS = re.compile(r"SELECT setval\(")
"""What lets a sequence go on behind the rows that are there; it changes no table."""

LOSES_DATA = "loses-data"
UNPLANNABLE = "unplannable"
MIXED = "mixed-transaction"


def findings(statements: Sequence[PlannedStatement]) -> Iterator[Finding]:
    """Yield what our rules find in a revision."""
    yield from _mixed(statements)
    for number, statement in enumerate(statements, 1):
        yield from _explicit(statement, number)
        for effect in statement.effects:
            if effect.loss:
                yield _loses(effect, number)
            if not _may_be_locked(effect):
                yield from _blocks(statement, effect, number)


def _mixed(statements: Sequence[PlannedStatement]) -> Iterator[Finding]:
    if len({statement.transactional for statement in statements}) > 1:
        yield Finding(
            MIXED,
            "It does a part in a transaction and a part outside: stopped in between, it can be "
            "neither run again nor rolled back.",
            "Write a revision for each part.",
        )


def _may_be_locked(effect: TableEffect) -> bool:
    return effect.is_new or (effect.bytes is not None and effect.bytes <= _SMALL_BYTES)


def _blocks(statement: PlannedStatement, effect: TableEffect, number: int) -> Iterator[Finding]:
    size = f" ({effect.rows:,} rows)" if effect.rows is not None else ""
    if effect.rewrites and effect.blocks:
        yield Finding(
            "blocking-rewrite",
            f"It writes {effect.table}{size} anew, and blocks {effect.blocks} meanwhile.",
            "Add a column beside it, fill it in batches, then switch.",
            number,
        )
    elif effect.scans and effect.blocks:
        yield Finding(
            "blocking-scan",
            f"It reads the whole of {effect.table}{size}, and blocks {effect.blocks} meanwhile.",
            _way_around(statement.sql),
            number,
        )
    elif _is_write(statement.sql):
        yield Finding(
            "unbatched-write",
            f"It writes to {effect.table}{size} in one transaction: locks and dead rows pile up.",
            "Do it in batches, in a revision of its own: leadctl.fill().",
            number,
        )


def _is_write(sql: str) -> bool:
    reader = Reader(sql)
    return not is_batched(sql) and (
        reader.accept("UPDATE") or reader.accept("DELETE", "FROM") or reader.accept("MERGE", "INTO")
    )


def _way_around(sql: str) -> str:
    reader = Reader(sql)
    if reader.accept("CREATE"):
        return "CREATE INDEX CONCURRENTLY in an autocommit_block(), in a revision of its own."
    if reader.has("SET", "NOT", "NULL"):
        return (
            "Add CHECK (… IS NOT NULL) NOT VALID, VALIDATE it in the next revision, then SET NOT "
            "NULL reads nothing."
        )
    if reader.has("UNIQUE") or reader.has("PRIMARY", "KEY"):
        return "CREATE UNIQUE INDEX CONCURRENTLY first, then ADD CONSTRAINT … USING INDEX."
    if reader.has("REFERENCES") or reader.has("CHECK"):
        return "Add the constraint NOT VALID, and VALIDATE it in the next revision."
    return "Do it in steps that do not hold the lock while they read."


def _loses(effect: TableEffect, number: int) -> Finding:
    assert effect.loss is not None
    loss = effect.loss
    about = "" if loss.exact else "about "
    rows = "any number of rows" if loss.rows is None else f"{about}{loss.rows:,} rows"
    what = {"table": f"the table {effect.table} with {rows}", "rows": f"{rows} of {effect.table}"}
    column = f"the {loss.what} of {effect.table}, which {rows} have"
    return Finding(
        LOSES_DATA,
        f"It loses {what.get(loss.what, column)}.",
        "Keep a backup, and let nothing use it any more before it goes.",
        number,
    )


def _explicit(statement: PlannedStatement, number: int) -> Iterator[Finding]:
    reader = Reader(statement.sql)
    if reader.accept("LOCK"):
        yield Finding(
            "explicit-lock",
            "It locks a table to the end of the transaction.",
            "Let each statement take the lock that it needs.",
            number,
        )
    elif reader.accept("ALTER", "TABLE") and reader.has("DISABLE", "TRIGGER"):
        yield Finding(
            "disables-trigger",
            "While a trigger is disabled, what it keeps true is not kept.",
            "Change the data so that the trigger may see it.",
            number,
        )
    elif reader.accept("DROP", "SCHEMA") or reader.accept("DROP", "OWNED"):
        yield Finding(
            LOSES_DATA,
            "It may lose every table in there.",
            "Drop what is in there table by table, so that the plan can say what goes.",
            number,
        )
    elif reader.peek().word in _OPAQUE and not _COUNTS.match(statement.sql):
        yield Finding(
            UNPLANNABLE,
            f"What {reader.peek().word} … does to which table cannot be told.",
            "Read it.",
            number,
        )
