"""A schema as SQL that makes it again, in an order that is the same every time."""

import os
import re
import subprocess
from dataclasses import dataclass

from psycopg import sql

from leadctl.errors import OperationFailed
from leadctl.journal.state import VERSION_TABLE
from leadctl.postgres.binaries import client_program
from leadctl.postgres.connect import connect
from leadctl.postgres.target import Target
from leadctl.redact import scrub
from leadctl.schema.read import Models

_DUMP = ("--schema-only", "--no-owner", "--no-privileges", "--no-security-labels")
_FIRST = "--\n-- Name: "
_END = "--\n-- PostgreSQL database dump complete"
_SESSION = re.compile(r"^SET default_(?:tablespace|table_access_method) = .*;\n+", re.MULTILINE)
_PREFACE = "SET check_function_bodies = false;\n\n"
"""A function may speak of what is made after it."""


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
    environment = dict(os.environ)
    if target.url.password:
        environment["PGPASSWORD"] = target.url.password.reveal()
    schema, versions = sql.Identifier(target.schema), sql.Identifier(target.schema, VERSION_TABLE)
    arguments = [
        *_DUMP,
        f"--schema={schema.as_string()}",
        f"--exclude-table={versions.as_string()}",
        *([f"--role={target.role}"] if target.role else []),
        f"--dbname={target.url.without_password()}",
    ]
    done = subprocess.run(
        [client_program("pg_dump"), *arguments],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise OperationFailed(
            f"pg_dump failed: {scrub(' '.join(done.stderr.split()))}",
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
