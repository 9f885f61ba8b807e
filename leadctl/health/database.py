"""Checks of the database that the app expects: it answers, is migrated, seeded, as recorded."""

import time
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from typing import Any

from psycopg import sql

from leadctl.catalog.definitions import (
    Catalog,
    Difference,
    compare,
    owner,
    split_name,
)
from leadctl.catalog.relations import Relation, common_role
from leadctl.health.check import Evidence, check, critical, graded, ok, warning
from leadctl.health.facts import QUERIES, Facts, Skip, tables_of
from leadctl.journal import records
from leadctl.migrate.revision import RevisionState
from leadctl.migrate.revisions import read_history
from leadctl.migrate.status import status_of
from leadctl.postgres import exact
from leadctl.postgres.connect import Connection
from leadctl.text import counted, listed, restore_command

_SHOWN = 3


@check()
def server(facts: Facts) -> Evidence:
    """The server answers, is of a version that leadctl supports, and lets roles write."""
    reported = facts.connection.info.parameter_status("server_version") or ""
    version = reported.partition(" ")[0]  # Debian's has the package's version behind it
    if facts.server.read_only:
        name = sql.Identifier(facts.connection.info.dbname).as_string(facts.connection)
        return warning(
            f"PostgreSQL {version}, where transactions may not write: "
            "default_transaction_read_only is on",
            f"To let them: BEGIN READ WRITE; ALTER DATABASE {name} SET "
            "default_transaction_read_only = off; COMMIT",
            version,
        )
    return ok(f"PostgreSQL {version}", version)


@check(warning=100, critical=1000, unit="ms")
def latency(facts: Facts) -> Evidence:
    """How long a round trip takes: the median of three."""
    times = []
    for _ in range(3):
        began = time.perf_counter()
        facts.connection.execute("SELECT 1")
        times.append((time.perf_counter() - began) * 1000)
    found = round(sorted(times)[len(times) // 2], 2)
    return graded(
        found, f"{found:g} ms a round trip", "Look at the network and at the server's load."
    )


@check()
def schema(facts: Facts) -> Evidence:
    """The schema is there, with the tables that were recorded when it was migrated."""
    name = facts.target.schema
    hint = f"Make it with: leadctl migrate{facts.of_app}"
    if not facts.query("schema")[0][0]:
        return critical(f"there is no schema {name}", hint, 0, "tables")
    if not facts.tables:
        return critical(f"{name} has no tables", hint, 0, "tables")
    if facts.missing_tables:
        which = _named(facts.missing_tables)
        return critical(
            f"{which} is missing", _restore(facts.missing_tables), facts.tables, "tables"
        )
    return ok(f"{name}, {counted(facts.tables, 'table')}", facts.tables, "tables")


def _named(tables: Sequence[str]) -> str:
    return f"the table {tables[0]}" if len(tables) == 1 else f"each of the tables {listed(tables)}"


def _restore(tables: Sequence[str]) -> str:
    """Return the next command where tables, or columns of them, are gone with their rows."""
    return f"Restore it from a backup with: {restore_command(tables)}"


@check(warning=90, critical=95, unit="%")
def connections(facts: Facts) -> Evidence:
    """How many of the server's connections are used, or of a role's or a database's."""
    used, limit = facts.query_database("connections")[0]
    message = f"{used} of {limit} used"
    for name, its_used, its_limit in facts.query_database("connection_limits"):
        kind, _, quoted = name.partition(" ")
        if not its_limit:
            return graded(
                100,
                f"the {name} accepts connections of superusers only; {message} of the server",
                f"To accept other connections again: ALTER {kind.upper()} {quoted} CONNECTION "
                f"LIMIT -1",
            )
        if its_used * limit > used * its_limit:
            return graded(
                round(100 * its_used / its_limit, 1),
                f"{its_used} of {its_limit} used of the {name}; {message} of the server",
                "End idle sessions, use a pooler, or raise the limit: "
                f"ALTER {kind.upper()} {quoted} CONNECTION LIMIT {2 * its_limit}",
            )
    return graded(
        round(100 * used / limit, 1),
        message,
        "End idle sessions, use a pooler, or raise max_connections. "
        "See: leadctl inspect connections",
    )


@check()
def migrations(facts: Facts) -> Evidence:
    """Everything in the folder is applied, and nothing that the folder lacks."""
    if facts.expects_no_migrations:
        known = "never migrated by leadctl" if facts.app.name else "no project, and no app is named"
        raise Skip(f"{known}; name an app with --app")
    history = read_history(facts.app.versions, complete=False)
    current = facts.current or []
    everything = records.applied_revisions(facts.connection, facts.target.schema)
    recorded = [entry for entry in everything if entry.app == facts.app.name]
    states: dict[RevisionState, list[str]] = {each: [] for each in RevisionState}
    found = status_of(facts.target, facts.app, history, current, recorded)
    for each in found.revisions:
        states[each.state].append(each.revision)
    missing = [*states[RevisionState.MISSING], *states[RevisionState.UNKNOWN]]
    unknown = [revision for revision in missing if revision in current]
    if unknown:
        return critical(
            f"the database is at {', '.join(unknown)}, which the folder does not have",
            "Deploy the code that has this revision. See: leadctl migrate status",
        )
    wrong = [
        ("edited since applied", states[RevisionState.EDITED]),
        ("applied, and not in the folder", missing),
    ]
    said = [f"{what}: {', '.join(found)}" for what, found in wrong if found]
    pending = states[RevisionState.PENDING]
    if pending:
        shown = ", ".join(pending[:_SHOWN]) + (", …" if len(pending) > _SHOWN else "")
        return critical(
            "; ".join([f"{len(pending)} pending: {shown}", *said]),
            # `migrate` stops at what is wrong.
            "See: leadctl migrate status"
            if said or found.unjoined
            else f"Apply with: leadctl migrate{facts.of_app}",
            len(pending),
            "pending",
        )
    if said:
        return warning("; ".join(said), "See: leadctl migrate status", 0, "pending")
    return ok(f"at {', '.join(current) or 'the beginning'}", 0, "pending")


@check()
def drift(facts: Facts) -> Evidence:
    """The app's own objects are what they were after the last migration."""
    if facts.fingerprint is None:
        raise Skip("no fingerprint is recorded for this schema")
    recorded = Catalog(facts.fingerprint["objects"])
    own = set(facts.fingerprint.get("own", recorded.objects))
    live = facts.definitions.as_of(facts.fingerprint.get("reads", 1))
    differences = [found for found in compare(recorded, live) if _is_own(found, own)]
    if not differences:
        return ok(f"{counted(len(recorded.objects), 'object')} as recorded", 0, "differences")
    differences.sort(key=lambda found: not _lost_rows(found))  # those come first
    shown = [f"{found.object} {_WORDS[found.change]}" for found in differences[:_SHOWN]]
    message = ", ".join(shown) + (", …" if len(differences) > _SHOWN else "")
    lost = [_table_of(found) for found in differences if _lost_rows(found)]
    if lost:
        hint = _restore(list(dict.fromkeys(lost)))
        return critical(message, hint, len(differences), "differences")
    hint = "Write the changes to keep into a revision, and undo the others by hand."
    return warning(message, hint, len(differences), "differences")


def _lost_rows(difference: Difference) -> bool:
    """Whether a table or a column with its values is gone."""
    kind = difference.object.partition(" ")[0]
    return difference.change == "missing" and kind in {"table", "column"}


def _table_of(difference: Difference) -> str:
    kind, _, name = difference.object.partition(" ")
    return name if kind == "table" else split_name(name)[0]


@check()
def seed(facts: Facts) -> Evidence:
    """The fixtures exist; a protected database needs none."""
    if facts.target.protected or (facts.identity and facts.identity.protected):
        raise Skip("the database is protected")
    fixtures = (facts.fingerprint or {}).get("fixtures", [])
    if not fixtures:
        raise Skip("no fixtures are recorded for this schema")
    found = list(
        zip([each["table"] for each in fixtures], _are_there(facts, fixtures), strict=True)
    )
    gone = sum(there is None for _, there in found)
    if gone == len(found):
        raise Skip("the tables of the fixtures are missing")
    missing = [table for table, there in found if there is False]
    if missing:
        tables = ", ".join(dict.fromkeys(missing))
        return warning(
            f"{len(missing)} of {len(fixtures)} fixtures are missing, in {tables}",
            f"Insert them with: leadctl seed{facts.of_app}",
            len(missing),
            "missing",
        )
    rest = f", and the tables of {gone} more fixtures are missing" if gone else ""
    return ok(f"{len(fixtures) - gone} fixtures{rest}", 0, "missing")


@check()
def indexes(facts: Facts) -> Evidence:
    """Every index that was recorded when the schema was migrated is there, and valid."""
    if facts.fingerprint is None:
        raise Skip("no fingerprint is recorded for this schema")
    recorded = _recorded_indexes(facts.fingerprint, facts.missing_tables)
    found = {
        name: (valid, being_built)
        for name, valid, being_built in facts.query("indexes", schemas=list(facts.app.schemas))
    }
    missing = sorted(recorded - found.keys())
    invalid = sorted(name for name in recorded & found.keys() if found[name] == (False, False))
    unfinished = sorted(name for name in recorded & found.keys() if found[name] == (False, True))
    if missing or invalid:
        what = [f"missing: {', '.join(missing)}"] if missing else []
        what += [f"invalid: {', '.join(invalid)}"] if invalid else []
        what += [f"being built: {', '.join(unfinished)}"] if unfinished else []
        return critical(
            "; ".join(what),
            "Build them with: leadctl health-check --fix; a constraint's as its revision says.",
            len(missing) + len(invalid) + len(unfinished),
            "bad",
        )
    if unfinished:
        return warning(
            f"not valid yet, being built: {', '.join(unfinished)}",
            "See how far: leadctl inspect progress",
            len(unfinished),
            "bad",
        )
    return ok(f"{len(recorded)} recorded, all valid", 0, "bad")


_WORDS = {"missing": "is missing", "extra": "is extra", "changed": "is changed"}


def _is_own(difference: Difference, own: Collection[str]) -> bool:
    """Whether a difference is of one of the app's own objects, or of a part of one."""
    attributes = difference.before or difference.after or {}
    key, table = attributes.get("of", difference.object), owner(difference.object, attributes)
    return key in own or f"table {table}" in own or f"view {table}" in own


def missing_recorded(
    connection: Connection, schema: str, also: Sequence[str], fingerprint: Mapping[str, Any]
) -> list[tuple[str, str]]:
    """Return the recorded indexes that are not there, but not constraints': table and definition.

    Those of tables that are gone are left out.
    """
    schemas = list(also)
    found = set(QUERIES.column(connection, "indexes", schema=schema, schemas=schemas))
    tables = set(QUERIES.column(connection, "relations", schema=schema, schemas=schemas))
    objects: Mapping[str, Mapping[str, Any]] = fingerprint.get("objects", {})
    own = {key.removeprefix("table ") for key in fingerprint.get("own", objects)} & tables
    return [
        (str(attributes["table"]), str(attributes["definition"]))
        for key, attributes in objects.items()
        if key.startswith("index ")
        and attributes["table"] in own
        and key.removeprefix("index ") not in found
    ]


def _recorded_indexes(fingerprint: Mapping[str, Any], gone: Sequence[str]) -> set[str]:
    """Return the names of the indexes of the app's own tables, those of constraints too.

    Those of tables that are gone as a whole are left out: they are no news.
    """
    objects: Mapping[str, Mapping[str, Any]] = fingerprint["objects"]
    own = {key.removeprefix("table ") for key in fingerprint.get("own", objects)} - set(gone)
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


def _are_there(facts: Facts, fixtures: Sequence[Mapping[str, Any]]) -> list[bool | None]:
    """Return whether each fixture's row is there; None where a table itself is gone."""
    found: list[bool | None] = []
    asked: dict[str | None, list[tuple[int, sql.Composed]]] = {}
    relations = facts.relations
    for number, fixture in enumerate(fixtures):
        tables = set(tables_of(fixture))
        found.append(False if relations.keys() >= tables else None)
        if found[-1] is None:
            continue
        role = common_role(relations[name] for name in tables)
        with suppress(KeyError):  # a column that is not there
            query = _select(relations, fixture, sql.SQL(""))
            asked.setdefault(role, []).append((number, query))
    for role, queries in asked.items():
        query = sql.SQL("SELECT {}").format(
            sql.SQL(", ").join(sql.SQL("EXISTS ({})").format(each) for _, each in queries)
        )
        with facts.connection.transaction(), exact.as_owner(facts.connection, role):
            row = facts.connection.execute(query).fetchone() or ()
        for (number, _), there in zip(queries, row, strict=True):
            found[number] = bool(there)
    return found


def _select(
    relations: Mapping[str, Relation], fixture: Mapping[str, Any], column: sql.Composable
) -> sql.Composed:
    """Compose the query for a fixture's row; a key that refers to another fixture is a subquery.

    Raises KeyError for a table or column that is not there.
    """
    relation = relations[fixture["table"]]
    columns = {each.name: each for each in relation.columns}
    conditions = [
        sql.SQL("{} {} {}").format(
            sql.Identifier(name), columns[name].compared("="), _value(relations, value)
        )
        for name, value in fixture["key"].items()
    ]
    return sql.SQL("SELECT {} FROM {} WHERE {}").format(
        column, relation.identifier, sql.SQL(" AND ").join(conditions)
    )


def _value(relations: Mapping[str, Relation], value: Any) -> sql.Composable:
    if isinstance(value, Mapping):
        inner = _select(relations, value["ref"], sql.Identifier(value["column"]))
        return sql.SQL("({})").format(inner)
    return sql.Literal(str(value))  # the server reads the text as the column's type
