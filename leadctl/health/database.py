"""The checks, in the order in which they are shown."""

import time
from collections.abc import Mapping, Sequence
from statistics import median
from typing import Any

from psycopg import sql
from psycopg.errors import UndefinedColumn, UndefinedTable

from leadctl.catalog.definitions import owner, split_name
from leadctl.health import activity, objects
from leadctl.health import server as whole_server
from leadctl.health.backups import backups
from leadctl.health.check import Check, CheckResult, CheckStatus
from leadctl.health.cleanup import cleanup
from leadctl.health.data import encryption
from leadctl.health.drift import drift
from leadctl.health.facts import QUERIES, Facts
from leadctl.journal import state
from leadctl.migrate.revisions import read_history
from leadctl.postgres.connect import Connection

_OK, _WARNING, _CRITICAL, _SKIPPED = CheckStatus


def server(facts: Facts) -> CheckResult:
    """The server answers, and is of a version that leadctl supports: else there are no facts."""
    reported = facts.connection.info.parameter_status("server_version") or ""
    version = reported.partition(" ")[0]  # Debian's has the package's version behind it
    return CheckResult("server", _OK, version, message=f"PostgreSQL {version}")


def latency(facts: Facts) -> CheckResult:
    """How long a round trip takes: the median of three."""
    times = []
    for _ in range(3):
        began = time.perf_counter()
        facts.connection.execute("SELECT 1")
        times.append((time.perf_counter() - began) * 1000)
    found = round(median(times), 2)
    return facts.graded(
        "latency",
        found,
        f"{found:g} ms a round trip",
        "Look at the network and at the server's load.",
    )


def connections(facts: Facts) -> CheckResult:
    """How many of the server's connections are used."""
    used, limit = facts.query("connections")[0]
    return facts.graded(
        "connections",
        round(100 * used / limit, 1),
        f"{used} of {limit} used",
        "End idle sessions, use a pooler, or raise max_connections. "
        "See: leadctl inspect connections",
    )


def schema(facts: Facts) -> CheckResult:
    """The schema is there, with tables in it."""
    name = facts.target.schema
    hint = f"Make it with: leadctl migrate --app {facts.app.name}"
    if not facts.query("schema")[0][0]:
        return CheckResult("schema", _CRITICAL, 0, "tables", f"there is no schema {name}", hint)
    if not facts.tables:
        return CheckResult("schema", _CRITICAL, 0, "tables", f"{name} has no tables", hint)
    return CheckResult("schema", _OK, facts.tables, "tables", f"{name}, {facts.tables} tables")


def migrations(facts: Facts) -> CheckResult:
    """Everything in the folder is applied, and nothing that the folder lacks."""
    if facts.is_stranger:
        return _skipped("migrations", "never migrated by leadctl; name an app with --app")
    history = read_history(facts.app.migrations)
    current = facts.current or []
    unknown = [revision for revision in current if revision not in history]
    if unknown:
        return CheckResult(
            "migrations",
            _CRITICAL,
            message=f"the database is at {', '.join(unknown)}, which the folder does not have",
            hint="Deploy the code that belongs to it. See: leadctl migrate status",
        )
    pending = history.pending(current)
    if pending:
        return CheckResult(
            "migrations",
            _CRITICAL,
            len(pending),
            "pending",
            f"{len(pending)} pending: {', '.join(revision.id for revision in pending[:3])}"
            + (", …" if len(pending) > 3 else ""),
            f"Apply with: leadctl migrate --app {facts.app.name}",
        )
    recorded = state.applied_revisions(facts.connection, facts.target.schema)
    edited = [
        entry.revision
        for entry in recorded
        if entry.revision in history and history.get(entry.revision).checksum != entry.checksum
    ]
    if edited:
        return CheckResult(
            "migrations",
            _WARNING,
            0,
            "pending",
            f"edited since applied: {', '.join(edited)}",
            "See: leadctl migrate status",
        )
    return CheckResult(
        "migrations", _OK, 0, "pending", f"at {', '.join(current) or 'the beginning'}"
    )


def seed(facts: Facts) -> CheckResult:
    """The fixtures are there; nobody expects them on a protected database."""
    if facts.target.protected or _identity_is_protected(facts):
        return _skipped("seed", "the database is protected")
    fixtures = (facts.fingerprint or {}).get("fixtures", [])
    if not fixtures:
        return _skipped("seed", "no fixtures are recorded for this schema")
    missing = [fixture["table"] for fixture in fixtures if not _is_there(facts, fixture)]
    if missing:
        return CheckResult(
            "seed",
            _WARNING,
            len(missing),
            "missing",
            f"{len(missing)} of {len(fixtures)} fixtures are missing, in "
            f"{', '.join(dict.fromkeys(missing))}",
            f"Insert them with: leadctl seed --app {facts.app.name}",
        )
    return CheckResult("seed", _OK, 0, "missing", f"{len(fixtures)} fixtures")


def indexes(facts: Facts) -> CheckResult:
    """Every index that was recorded when the schema was migrated is there, and valid."""
    if facts.fingerprint is None:
        return _skipped("indexes", "no fingerprint is recorded for this schema")
    recorded = _recorded_indexes(facts.fingerprint)
    found = {
        name: (valid, being_built)
        for name, valid, being_built in facts.query("indexes", schemas=list(facts.app.schemas))
    }
    missing = sorted(recorded - found.keys())
    invalid = sorted(name for name in recorded & found.keys() if found[name] == (False, False))
    if missing or invalid:
        what = [f"missing: {', '.join(missing)}"] if missing else []
        what += [f"invalid: {', '.join(invalid)}"] if invalid else []
        return CheckResult(
            "indexes",
            _CRITICAL,
            len(missing) + len(invalid),
            "bad",
            "; ".join(what),
            "Build them with: leadctl health-check --fix; a constraint's as its revision says.",
        )
    return CheckResult("indexes", _OK, 0, "bad", f"{len(recorded)} recorded, all valid")


CHECKS: tuple[Check, ...] = (
    server,
    latency,
    connections,
    schema,
    migrations,
    drift,
    seed,
    indexes,
    encryption,
    cleanup,
    objects.invalid_indexes,
    objects.duplicate_indexes,
    objects.missing_indexes,
    objects.unvalidated_constraints,
    objects.sequences,
    objects.vacuum,
    objects.statistics,
    objects.bloat,
    objects.cache_hit,
    objects.index_usage,
    activity.blocking,
    activity.idle_in_transaction,
    activity.long_queries,
    activity.prepared_transactions,
    activity.slow_queries,
    whole_server.transaction_age,
    whole_server.multixact_age,
    whole_server.deadlocks,
    whole_server.temporary_files,
    whole_server.checksums,
    whole_server.replication,
    whole_server.replication_slots,
    whole_server.archiving,
    backups,
)


def _skipped(name: str, why: str) -> CheckResult:
    return CheckResult(name, _SKIPPED, message=why)


def _identity_is_protected(facts: Facts) -> bool:
    identity = state.read_identity(facts.connection)
    return identity is not None and identity.protected


def missing_recorded(
    connection: Connection, schema: str, also: Sequence[str], fingerprint: Mapping[str, Any]
) -> list[str]:
    """Return the definitions of recorded indexes that are not there, but not of constraints'."""
    block = QUERIES.get("indexes", connection.info.server_version)
    parameters = {"schema": schema, "schemas": list(also)}
    found = {row[0] for row in connection.execute(block, parameters)}
    objects: Mapping[str, Mapping[str, Any]] = fingerprint.get("objects", {})
    own = {key.removeprefix("table ") for key in fingerprint.get("own", objects)}
    return [
        str(attributes["definition"])
        for key, attributes in objects.items()
        if key.startswith("index ")
        and attributes["table"] in own
        and key.removeprefix("index ") not in found
    ]


def _recorded_indexes(fingerprint: Mapping[str, Any]) -> set[str]:
    """Return the names of the indexes of the app's own tables, those of constraints too."""
    objects: Mapping[str, Mapping[str, Any]] = fingerprint["objects"]
    own = {key.removeprefix("table ") for key in fingerprint.get("own", objects)}
    names = set()
    for key, attributes in objects.items():
        kind, _, name = key.partition(" ")
        if kind == "index" and attributes["table"] in own:
            names.add(name)
        elif kind == "constraint" and owner(key, attributes) in own and _has_index(attributes):
            *table, constraint = split_name(name)
            names.add(".".join([*split_name(table[0])[:-1], constraint]))
    return names


def _has_index(constraint: Mapping[str, Any]) -> bool:
    return str(constraint["definition"]).startswith(("PRIMARY KEY", "UNIQUE", "EXCLUDE"))


def _is_there(facts: Facts, fixture: Mapping[str, Any]) -> bool:
    query = sql.SQL("SELECT EXISTS ({})").format(_select(fixture, sql.SQL("")))
    try:
        with facts.connection.transaction():
            row = facts.connection.execute(query).fetchone()
    except (UndefinedTable, UndefinedColumn):
        return False
    return bool(row and row[0])


def _select(fixture: Mapping[str, Any], column: sql.Composable) -> sql.Composed:
    """Compose the query for a fixture's row; a key that refers to another fixture is a subquery."""
    conditions = [
        sql.SQL("{} = {}").format(sql.Identifier(name), _value(value))
        for name, value in fixture["key"].items()
    ]
    return sql.SQL("SELECT {} FROM {} WHERE {}").format(
        column, sql.Identifier(fixture["table"]), sql.SQL(" AND ").join(conditions)
    )


def _value(value: Any) -> sql.Composable:
    if isinstance(value, Mapping):
        inner = _select(value["ref"], sql.Identifier(value["column"]))
        return sql.SQL("({})").format(inner)
    return sql.Literal(str(value))  # the server reads the text as the column's type
