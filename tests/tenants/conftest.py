"""A database with tenants of a small app: tables, a type, a function, a view, in each schema."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg import sql

from tests.backups import encrypted_backups, plain_dump
from tests.conftest import Cli, Outcome
from tests.history import Project
from tests.servers import PASSWORD, Server

ROLE = f"tenants_app_{os.getpid()}"


class Tenants:
    """A project, a database with some of its tenants, and what looks into it from outside."""

    def __init__(self, server: Server, name: str, cli: Cli, folder: Path) -> None:
        self.server, self.name, self._cli, self.folder = server, name, cli, folder
        self.url = server.url(name)
        self.env = encrypted_backups(folder)

    def leadctl(self, *arguments: str) -> Outcome:
        return self._cli(*arguments, url=self.url, env=self.env)

    def done(self, *arguments: str) -> Any:
        """Run a command that must end well; return its result."""
        outcome = self.leadctl(*arguments, "-o", "json")
        assert outcome.code == 0, outcome.err
        return outcome.json

    def query(self, statement: str, *params: Any, name: str = "") -> list[tuple[Any, ...]]:
        with self.server.connect(name or self.name) as connection:
            cursor = connection.execute(statement, params or None)
            return cursor.fetchall() if cursor.description else []

    def schemas(self, name: str = "") -> list[str]:
        rows = self.query(
            "SELECT nspname FROM pg_namespace WHERE nspname !~ '^(pg_|information_schema|leadctl$)'"
            " ORDER BY 1", name=name
        )  # fmt: skip
        return [schema for (schema,) in rows if schema != "public"]

    def dump(self, schema: str, *options: str, name: str = "") -> list[str]:
        """Return what pg_dump says of a schema."""
        quoted = sql.Identifier(schema).as_string()
        return plain_dump(self.server, name or self.name, None, f"--schema={quoted}", *options)

    def fill(self, schema: str, rows: int) -> None:
        path = sql.Identifier(schema).as_string()
        self.query(
            f"SET search_path = {path}; INSERT INTO customers (name, mood)"
            f" SELECT 'c' || i, 'happy' FROM generate_series(1, {rows}) i;"
            f"INSERT INTO orders (customer, plan) SELECT id, 1 FROM customers"
        )

    def as_app(self) -> psycopg.Connection[Any]:
        """Connect as the app's role."""
        url = self.url.replace("//postgres:", f"//{ROLE}:")
        return psycopg.connect(url, autocommit=True)


@pytest.fixture
def tenants(server: Server, cli: Cli, project: Project) -> Iterator[Tenants]:
    project.revision(
        "CREATE TYPE mood AS ENUM ('happy', 'sad')",
        "CREATE TABLE customers (id serial PRIMARY KEY, name text NOT NULL, mood mood)",
        "CREATE TABLE orders (id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY,"
        " customer int NOT NULL REFERENCES customers, plan int REFERENCES public.plans)",
        "CREATE INDEX orders_customer ON orders (customer)",
    )
    project.revision(
        "CREATE FUNCTION lowered(text) RETURNS text LANGUAGE sql IMMUTABLE AS 'SELECT lower($1)'",
        "CREATE VIEW busy AS SELECT customer, count(*) FROM orders GROUP BY 1",
    )
    name = server.create()
    with server.connect(name) as connection:
        connection.execute(
            f"DROP ROLE IF EXISTS {ROLE}; CREATE ROLE {ROLE} LOGIN PASSWORD '{PASSWORD}'"
        )
        connection.execute(
            "CREATE TABLE public.plans (id int PRIMARY KEY); INSERT INTO public.plans VALUES (1)"
        )
    found = Tenants(server, name, cli, Path.cwd())
    assert found.leadctl("db", "environment", "dev", "--unprotect").code == 0
    try:
        yield found
    finally:
        server.drop(name)
        with server.connect() as connection:
            connection.execute(f"DROP ROLE IF EXISTS {ROLE}")
