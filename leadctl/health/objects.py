"""Checks of the schema's tables, indexes, constraints and sequences."""

from leadctl.health.check import CheckStatus, Evidence, check, graded
from leadctl.health.facts import Facts, Skip
from leadctl.health.shared_readings import Row
from leadctl.text import listed, size

_BLOAT_BYTES = 150 * 10**6
"""Less wasted space than this is not worth a word, whatever its share."""
_DEAD_ROWS = 10_000
"""Fewer dead rows come and go between two rounds of autovacuum."""
_BLOCKS = 100_000
_SCANS = 100
_ROWS = 10_000
"""Fewer blocks or scans, or a smaller table, say nothing."""


@check("invalid-indexes", warning=1, unit="indexes")
def invalid_indexes(facts: Facts) -> Evidence:
    """No index is invalid, as a cancelled concurrent build leaves one."""
    rows = facts.rows_of_schema("invalid-indexes")
    invalid = [row for row in rows if row["being_built"] is False]
    unknown = [row for row in rows if row["being_built"] is None]
    left = [row for row in invalid if row["partitioned"] or row["of_toast"]]
    if len(left) < len(invalid):
        hint = "Drop them with: leadctl health-check --fix"
    elif left and left[0]["partitioned"]:
        attach = f"ALTER INDEX {left[0]['index']} ATTACH PARTITION"
        hint = f"Build it on each partition, then: {attach}"
    else:
        hint = f"Run: DROP INDEX CONCURRENTLY {left[0]['index']}" if left else ""
    return graded(
        len(invalid),
        _listed(invalid, "index") or "none is invalid",
        hint,
        doubt=f"{_listed(unknown, 'index')} may be invalid or being built; to see which, run: "
        f"GRANT pg_read_all_stats TO {facts.server.role}"
        if unknown
        else "",
    )


@check("duplicate-indexes", warning=1, unit="indexes")
def duplicate_indexes(facts: Facts) -> Evidence:
    """No index is exactly like another one."""
    rows = facts.rows_of_schema("duplicate-indexes")
    pairs = [f"{row['index']} = {row['same_as']}" for row in rows]
    return graded(
        len(rows),
        listed(pairs) or "no two indexes are alike",
        f"Drop one of each in a revision: {rows[0]['remedy']}" if rows else "",
    )


@check("missing-indexes", warning=1, unit="foreign keys")
def missing_indexes(facts: Facts) -> Evidence:
    """Every foreign key has an index on its columns."""
    rows = facts.rows_of_schema("missing-indexes")
    names = [f"{row['table']}.{row['constraint']}" for row in rows]
    return graded(
        len(rows),
        listed(names) or "every foreign key has an index",
        f"Write a revision with: {rows[0]['remedy']}" if rows else "",
    )


@check("unvalidated-constraints", warning=1, unit="constraints")
def unvalidated_constraints(facts: Facts) -> Evidence:
    """Every constraint was checked against all rows."""
    rows = facts.rows_of_schema("unvalidated-constraints")
    names = [f"{row['table']}.{row['constraint']}" for row in rows]
    return graded(
        len(rows),
        listed(names) or "all are validated",
        f"Run: ALTER DOMAIN {rows[0]['table']} VALIDATE CONSTRAINT {rows[0]['constraint']}"
        if rows and all(row["of_domain"] for row in rows)
        else "Validate them with: leadctl health-check --fix",
    )


@check("narrow-foreign-keys", warning=1, unit="foreign keys")
def narrow_foreign_keys(facts: Facts) -> Evidence:
    """No foreign key is an int where the key that it refers to is a bigint."""
    rows = facts.rows_of_schema("narrow-foreign-keys")
    names = [
        f"{row['table']}.{row['column']} ({row['type']}) to "
        f"{row['references']}.{row['referenced_column']} ({row['referenced_type']})"
        for row in rows
    ]
    return graded(
        len(rows),
        listed(names) or "every foreign key is as wide as its key",
        f"Make {rows[0]['table']}.{rows[0]['column']} a {rows[0]['referenced_type']} in a revision."
        if rows
        else "",
    )


@check("sequences", warning=85, critical=95, unit="%")
def sequences(facts: Facts) -> Evidence:
    """No sequence is near the end of what its column can hold."""
    rows = facts.rows_of_schema("sequences")
    if not rows:
        raise Skip("the schema has no sequences")
    fullest = max(rows, key=lambda row: row["used_percent"] or 0)
    used = fullest["used_percent"] or 0.0
    unreadable = sum(not row["readable"] for row in rows)
    return graded(
        used,
        f"{fullest['sequence']} has used {used:g} % of {fullest['last_possible']:,}",
        _more_numbers(fullest),
        doubt=f"{facts.server.role} may not read {unreadable} of {len(rows)} sequences"
        if unreadable
        else "",
    )


def _more_numbers(row: Row) -> str:
    """Return what gives a sequence more numbers, by what ends it."""
    name, filled = row["sequence"], row["column"] or "the columns that it fills"
    if row["ended_by"] == "sequence":
        end = "MINVALUE" if row["last_possible"] < 0 else "MAXVALUE"
        return f"If this limit is not intended: ALTER SEQUENCE {name} NO {end}"
    if row["ended_by"] == "sequence type":
        return f"ALTER SEQUENCE {name} AS bigint"
    if row["type"] == "bigint":
        return (
            f"No integer is wider than a bigint: make {filled} a uuid or a numeric in a revision, "
            f"or continue where numbers are free: ALTER SEQUENCE {name} RESTART WITH N"
        )
    if row["type"].startswith("numeric"):
        return f"Give {filled}, a {row['type']}, more digits in a revision."
    return f"Make {filled} and the sequence a bigint."


@check("vacuum", warning=200, unit="%")
def vacuum(facts: Facts) -> Evidence:
    """Autovacuum keeps up: no table has far more dead rows than start it."""
    rows = _counted_rows(facts)
    many = [row for row in rows if row["dead_rows"] >= _DEAD_ROWS]
    off = [
        row
        for row in rows
        if not row["autovacuum"]
        and max(row["dead_rows"], row["changed_since_analyze"]) >= _DEAD_ROWS
    ]
    if not facts.server.in_recovery and not facts.counts[0]:
        off_for, turn_on = "the whole server", "ALTER SYSTEM SET autovacuum = on"
        turn_on += "; SELECT pg_reload_conf()"
    elif off:
        off_for = _listed(off, "table")
        turn_on = f"ALTER TABLE {off[0]['table']} RESET (autovacuum_enabled)"
    else:
        off_for = turn_on = ""
    found = [f"autovacuum is off for {off_for}"] if off_for else []
    hints = [turn_on] if off_for else []
    worst = max(many, key=lambda row: row["threshold_percent"], default=None)
    if worst:
        found.append(
            f"{_part(worst)} has {worst['dead_rows']:,} dead rows, autovacuum starts at "
            f"{worst['threshold_rows']:,}"
        )
        hints.append(f"VACUUM (ANALYZE) {worst['table']}")
    return graded(
        worst["threshold_percent"] if worst else 0,
        "; ".join(found) or f"no table has {_DEAD_ROWS:,} dead rows",
        f"Run: {'; '.join(hints)}. See: leadctl inspect vacuum",
        doubt=facts.uncounted or _lost(rows),
        at_least=CheckStatus.WARNING if off_for else CheckStatus.OK,
    )


@check("vacuum", warning=1, unit="tables")
def statistics(facts: Facts) -> Evidence:
    """The planner has statistics of every table of size."""
    rows = [row for row in _counted_rows(facts) if max(row["live_rows"], row["rows_then"]) >= _ROWS]
    never = [row for row in rows if row["analysed"] is False]
    unknown = [row for row in rows if row["analysed"] is None]
    return graded(
        len(never),
        f"never analysed: {_listed(never, 'table')}" if never else "every large table was analysed",
        "Analyse them with: leadctl health-check --fix",
        doubt=facts.uncounted
        or (f"{facts.server.role} may not read {_listed(unknown, 'table')}" if unknown else ""),
    )


def _counted_rows(facts: Facts) -> list[Row]:
    """Return what is counted of the tables.  Raises Skip where the server does not count."""
    rows = facts.rows_of_schema("vacuum")
    if facts.server.in_recovery:
        raise Skip("a standby does not count rows: run this check on its primary")
    if not facts.counts[1]:
        raise Skip(facts.uncounted)
    return rows


def _lost(rows: list[Row]) -> str:
    """Say which tables' dead rows nobody knows, since their counters were lost."""
    lost = [row for row in rows if not row["counted"] and row["rows_then"] >= _DEAD_ROWS]
    if not lost:
        return ""
    return f"the counters of {_listed(lost, 'table')} were lost; ANALYZE counts its rows again"


@check(warning=20, unit="%")
def bloat(facts: Facts) -> Evidence:
    """No table or index of size is mostly empty space, by estimate."""
    if not facts.tables:
        raise Skip(f"the schema {facts.target.schema} has no tables")
    small = facts.query("largest", schemas=list(facts.app.schemas))[0][0] < _BLOAT_BYTES
    if small and not facts.distributed:
        return graded(0, f"no table or index is large enough to waste {size(_BLOAT_BYTES)}")
    rows = facts.rows("bloat")
    unknown = [row for row in rows if row["wasted_bytes"] is None and row["bytes"] >= _BLOAT_BYTES]
    large = [row for row in rows if (row["wasted_bytes"] or 0) >= _BLOAT_BYTES]
    if not large:
        if unknown:
            names = listed([_relation(row) for row in unknown])
            raise Skip(f"the statistics of {names} are missing, old or not readable")
        return graded(0, f"nothing wastes {size(_BLOAT_BYTES)}")
    worst = max(large, key=lambda row: row["wasted_percent"])
    return graded(
        worst["wasted_percent"],
        f"{_relation(worst)}: about {size(worst['wasted_bytes'])} of "
        f"{size(worst['bytes'])} are empty",
        f"Run: REINDEX INDEX CONCURRENTLY {worst['name']}"
        if worst["kind"] == "index"
        else f"Rewrite {worst['name']} with pg_repack, or VACUUM FULL if it may be locked.",
    )


@check("cache-hit", warning=99, critical=94, unit="%", below=True)
def cache_hit(facts: Facts) -> Evidence:
    """Nearly all blocks that are read are in memory already."""
    rows = facts.rows_of_schema("cache-hit")
    hits, reads = sum(row["hits"] for row in rows), sum(row["reads"] for row in rows)
    if hits + reads < _BLOCKS:
        raise Skip(f"fewer than {_BLOCKS:,} blocks were read {facts.counted}")
    percent = round(100 * hits / (hits + reads), 2)
    return graded(
        percent,
        f"{percent:g} % of {hits + reads:,} blocks {facts.counted}",
        "See which tables are read from disk: leadctl inspect cache-hit",
        doubt=facts.uncounted,
    )


@check("index-usage", warning=95, unit="%", below=True)
def index_usage(facts: Facts) -> Evidence:
    """Large tables are read through indexes."""
    percents = [
        (
            round(100 * row["index_scans"] / (row["index_scans"] + row["sequential_scans"]), 1),
            row["table"],
        )
        for row in facts.rows_of_schema("index-usage")
        if row["rows"] >= _ROWS and row["index_scans"] + row["sequential_scans"] >= _SCANS
    ]
    if not percents:
        raise Skip(f"no table of {_ROWS:,} rows was read {_SCANS} times {facts.counted}")
    percent, table = min(percents)
    return graded(
        percent,
        f"{table} is read through an index {percent:g} % of the time {facts.counted}",
        "See: leadctl inspect index-usage, leadctl inspect slow-queries",
        doubt=facts.uncounted,
    )


def _part(row: Row) -> str:
    return f"the TOAST of {row['table']}" if row["part"] == "TOAST" else str(row["table"])


def _relation(row: Row) -> str:
    return f"{'the TOAST of' if row['kind'] == 'TOAST' else row['kind']} {row['name']}"


def _listed(rows: list[Row], column: str) -> str:
    return listed([row[column] for row in rows])
