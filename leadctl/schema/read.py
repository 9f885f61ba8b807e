"""Reading a schema from a live database or from models, and writing it as SQL."""

import re
import subprocess
from dataclasses import dataclass, replace

from psycopg import sql

from leadctl.apps.registry import App
from leadctl.catalog import facets
from leadctl.catalog.facets import Reference
from leadctl.catalog.relations import Relation, read_schema
from leadctl.errors import OperationFailed, UnknownTable
from leadctl.journal.records import VERSION_TABLE
from leadctl.postgres.binaries import client_program
from leadctl.postgres.client import client_environment
from leadctl.postgres.connect import connect
from leadctl.postgres.provision import require_schema
from leadctl.postgres.queries import queries_of
from leadctl.postgres.target import Target
from leadctl.redact import without_values
from leadctl.schema.definition import (
    ColumnDefinition,
    ConstraintDefinition,
    Enumeration,
    ForeignKey,
    IndexDefinition,
    Schema,
    Table,
)
from leadctl.text import did_you_mean

_QUERIES = queries_of(__file__, "schema.sql")
_STATEMENT_SECONDS = 30.0
_LOCK_SECONDS = 5
_IDENTITY = {"a": "always as identity", "d": "by default as identity"}
_ON_DELETE = {"a": "", "r": "RESTRICT", "c": "CASCADE", "n": "SET NULL", "d": "SET DEFAULT"}
_DUMP = ("--schema-only", "--no-owner", "--no-privileges", "--no-security-labels")
_FIRST = "--\n-- Name: "
_END = "--\n-- PostgreSQL database dump complete"
_SESSION = re.compile(r"^SET default_(?:tablespace|table_access_method) = .*;\n+", re.MULTILINE)
_PREFACE = "SET check_function_bodies = false;\n\n"
"""A function may refer to what is made after it."""


@dataclass(frozen=True)
class Models:
    """The models of an app, as a place to read a schema from."""

    app: App
    schema: str


def read(source: Target | Models) -> Schema:
    """Read a schema from a live database or from models."""
    if isinstance(source, Target):
        return _read_database(source)
    from leadctl.schema.models import read_models

    return read_models(source.app, source.schema)


def only(schema: Schema, name: str) -> Schema:
    """Return the schema with one table only.  Raises UnknownTable."""
    table = schema.table(name)
    if table is None:
        names = [each.name for each in schema.tables]
        raise UnknownTable(
            f"There is no table {name!r} in the {schema.source}, schema {schema.name}.",
            hint=did_you_mean(name, names, "See: leadctl schema show"),
        )
    types = {column.type for column in table.columns}
    enums = tuple(each for each in schema.enums if {each.name, f"{each.name}[]"} & types)
    return replace(schema, tables=(table,), enums=enums)


def _read_database(target: Target) -> Schema:
    """Read the target's schema in two queries, whatever its size."""
    with connect(
        target, "schema", read_only=True, statement_timeout=_STATEMENT_SECONDS
    ) as connection:
        found = read_schema(
            connection,
            target.schema,
            "columns",
            "indexes",
            "constraints",
            "references",
            "expressions",
        )
        if not found:
            require_schema(connection, target.schema)
        enums = _QUERIES.rows(connection, "enums", schema=target.schema)
        return Schema(
            source=f"database {connection.info.dbname}",
            name=target.schema,
            tables=tuple(
                _table(each)
                for each in found
                if not each.of_extension and each.name != VERSION_TABLE
            ),
            enums=tuple(Enumeration(name, tuple(values)) for name, values in enums),
        )


def _table(relation: Relation) -> Table:
    constraints = relation.constraints
    return Table(
        name=relation.name,
        kind=relation.label,
        columns=tuple(_column(relation, column) for column in relation.columns),
        primary_key=relation.primary_key,
        uniques=tuple(
            ConstraintDefinition(each.name, each.columns)
            for each in constraints
            if each.kind == "u"
        ),
        checks=tuple(
            ConstraintDefinition(each.name, definition=relation.definition(each))
            for each in constraints
            if each.kind in {"c", "x"}
        ),
        foreign_keys=tuple(
            sorted(map(_foreign_key, relation.references), key=lambda key: key.name)
        ),
        indexes=tuple(
            IndexDefinition(
                name=each.name,
                columns=tuple(relation.key_of(each)),
                unique=each.unique,
                method=each.method,
                where=relation.predicate(each),
            )
            for each in sorted(relation.indexes, key=lambda index: index.name)
            if not each.constraint
        ),
        comment=relation.comment,
    )


def _column(relation: Relation, column: facets.Column) -> ColumnDefinition:
    expression = relation.expression(column)
    return ColumnDefinition(
        name=column.name,
        type=column.type,
        nullable=not column.not_null,
        default=None if column.generated else expression,
        generated=expression if column.generated else _IDENTITY.get(column.identity or ""),
        comment=column.comment,
    )


def _foreign_key(key: Reference) -> ForeignKey:
    return ForeignKey(
        name=key.name,
        columns=key.columns,
        table=key.parent_table if key.parent_schema == key.child_schema else key.parent_quoted,
        referred=key.referred,
        on_delete=_ON_DELETE[key.on_delete],
    )


@dataclass(frozen=True)
class SchemaDump:
    """A schema as SQL."""

    source: str
    schema: str
    sql: str


def dump(source: Target | Models) -> SchemaDump:
    """Return a schema as SQL: of a live database by pg_dump, of models by SQLAlchemy.

    Raises MissingExtra where there is no pg_dump, OperationFailed where it fails.
    """
    if isinstance(source, Models):
        from leadctl.schema.models import create_statements

        text = "".join(f"{statement};\n\n" for statement in create_statements(source.app))
        return SchemaDump(f"models of {source.app.name}", source.schema, text.rstrip())
    connect(source, "schema").close()
    return SchemaDump(f"database {source.database}", source.schema, _tidy(_pg_dump(source)))


def _pg_dump(target: Target) -> str:
    target = target.fresh()
    schema, versions = sql.Identifier(target.schema), sql.Identifier(target.schema, VERSION_TABLE)
    arguments = [
        *_DUMP,
        f"--lock-wait-timeout={round(_LOCK_SECONDS * 1000)}",
        f"--schema={schema.as_string()}",
        f"--exclude-table={versions.as_string()}",
        *([f"--role={target.role}"] if target.role else []),
        f"--dbname={target.url.without_password()}",
    ]
    done = subprocess.run(
        [client_program("pg_dump"), *arguments],
        env=client_environment(target),
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        # The statement that failed, in any language; where no node of Citus is why.
        if "LOCK TABLE" in done.stderr and "remote node" not in done.stderr:
            raise OperationFailed(
                f"Another session holds a lock on a table of the schema {target.schema}, and did "
                f"not "
                f"release it within {_LOCK_SECONDS} s.",
                hint="See which: leadctl inspect locks",
            )
        raise OperationFailed(
            f"pg_dump failed: {without_values(' '.join(done.stderr.split()))}",
            hint="It must be as new as the server; leadctl db shell shows whether it connects.",
        )
    return done.stdout


def _tidy(text: str) -> str:
    """Leave away what is of this run and not of the schema: versions, settings, keys of psql."""
    begin = text.find(_FIRST)
    if begin < 0:
        return ""
    body = _SESSION.sub("", text[begin : text.rindex(_END)])
    body = re.sub("^CREATE SCHEMA ", "CREATE SCHEMA IF NOT EXISTS ", body, count=1, flags=re.M)
    return _PREFACE + re.sub(r"\n{3,}", "\n\n", body).rstrip()
