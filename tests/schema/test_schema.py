"""Schemas of models and live databases: shown, drawn, checked, dumped."""

import re
import subprocess
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from leadctl.apps.registry import find_app
from leadctl.catalog.definitions import compare, read_catalog
from leadctl.postgres.binaries import client_program
from leadctl.postgres.connect import connect
from leadctl.postgres.target import resolve
from leadctl.render.views.schema import diagram as draw
from leadctl.schema.definition import (
    ColumnDefinition,
    ConstraintDefinition,
    ForeignKey,
    IndexDefinition,
    Schema,
    Table,
    validate,
)
from leadctl.schema.read import Models, read
from leadctl.settings import load_settings
from tests.conftest import Cli, Prepare, Prepared
from tests.servers import Server

APPS = ["leadconnector", "salesagent", "viralmommy", "whatsapp", "cleack"]
PAGES = Path(__file__).parents[2] / "docs" / "apps"


def models(app: str) -> Schema:
    return read(Models(find_app(load_settings({"app": app}, environ={})), "public"))


@pytest.mark.parametrize("app", APPS)
def test_models_and_database_describe_the_same(app: str, prepared: Prepare) -> None:
    described, live = models(app), read(prepared(app).target(app=app))
    assert [table.name for table in described.tables] == [table.name for table in live.tables]
    for one, other in zip(described.tables, live.tables, strict=True):
        types = [(c.name, _plain(c.type), c.nullable) for c in one.columns]
        assert types == [(c.name, _plain(c.type), c.nullable) for c in other.columns]
        assert one.primary_key == other.primary_key
        assert {key.name for key in one.foreign_keys} == {key.name for key in other.foreign_keys}
        assert {(u.name, u.columns) for u in one.uniques} == {
            (u.name, u.columns) for u in other.uniques
        }
        assert {i.name for i in one.indexes} <= {i.name for i in other.indexes}
    assert described.enums == live.enums


def _plain(name: str) -> str:
    return {"float": "double precision"}.get(name, name)


@pytest.mark.parametrize("app", APPS)
def test_the_apps_are_valid(app: str, prepared: Prepare) -> None:
    assert validate(models(app)).ok
    assert validate(read(prepared(app).target(app=app))).ok


@pytest.mark.parametrize("app", APPS)
def test_the_diagrams_in_the_documents_are_those_of_the_models(app: str) -> None:
    assert f"```mermaid\n{draw(models(app))}\n```\n" in (PAGES / f"{app}.md").read_text()


@st.composite
def schemas(draw_: st.DrawFn) -> Schema:
    count = draw_(st.integers(0, 12))
    names = [f"t{i}" for i in range(count)]
    tables = []
    for name in names:
        width = draw_(st.integers(0, 6))
        columns = tuple(ColumnDefinition(f"c{i}", "text", nullable=True) for i in range(width))
        others = draw_(st.lists(st.sampled_from(names), max_size=4)) if width else []
        keys = tuple(
            ForeignKey(f"fk{i}", (f"c{i % width}",), other, ("c0",))
            for i, other in enumerate(others)
        )
        tables.append(Table(name, "table", columns, foreign_keys=keys))
    return Schema("test", "public", tuple(tables), ())


@settings(deadline=None)
@given(schemas())
def test_any_schema_has_a_diagram(schema: Schema) -> None:
    first, *lines = draw(schema).splitlines()
    assert first == "erDiagram"
    entities = [line for line in lines if re.fullmatch(r" {4}\w+ \{", line)]
    columns = [line for line in lines if re.fullmatch(r" {8}text c\d(?: FK)?", line)]
    relations = [line for line in lines if re.fullmatch(r' {4}\w+ \|o--o\{ \w+ : "c\d"', line)]
    ends = lines.count("    }")
    assert len(entities) == ends == len(schema.tables)
    assert len(columns) == sum(len(table.columns) for table in schema.tables)
    assert len(relations) == sum(len(table.foreign_keys) for table in schema.tables)
    assert len(entities) + len(columns) + len(relations) + ends == len(lines)


def test_every_rule_finds_what_breaks_it() -> None:
    long = "x" * 64
    parent = Table("parent", "table", (ColumnDefinition("id", "bigint", nullable=False),), ("id",))
    broken = Table(
        "Broken",
        "table",
        (
            ColumnDefinition("parent_id", "integer", nullable=True),
            ColumnDefinition("at", "timestamp without time zone", nullable=True),
            ColumnDefinition("data", "json", nullable=True),
            ColumnDefinition("code", "character(3)", nullable=True),
            ColumnDefinition(long, "character varying(9)", nullable=True),
        ),
        foreign_keys=(ForeignKey("fk", ("parent_id",), "parent", ("id",)),),
        indexes=(IndexDefinition("one", ("at",)), IndexDefinition("two", ("at", "data"))),
        uniques=(ConstraintDefinition("uq", ("data",)),),
    )
    result = validate(Schema("test", "public", (parent, broken), ()))
    assert not result.ok
    assert [(f.severity, f.rule, f.object) for f in result.findings] == [
        ("error", "fk-index", "Broken.parent_id"),
        ("error", "fk-type", "Broken.parent_id"),
        ("error", "names", f"Broken.{long}"),
        ("error", "primary-key", "Broken"),
        ("error", "time-zone", "Broken.at"),
        ("warning", "char", "Broken.code"),
        ("warning", "duplicate-index", "Broken.one"),
        ("warning", "json", "Broken.data"),
        ("warning", "names", "Broken"),
    ]


def test_a_unique_constraint_without_a_name_is_told_by_its_columns() -> None:
    columns = (
        ColumnDefinition("x", "integer", nullable=False),
        ColumnDefinition("y", "integer", nullable=False),
    )
    table = Table(
        "t", "table", columns, ("y",), indexes=(IndexDefinition("i", ("x",)),),
        uniques=(ConstraintDefinition("", ("x", "y")),),
    )  # fmt: skip
    (found,) = validate(Schema("test", "public", (table,), ())).findings
    assert found.message == "Unique (x, y) begins with the same columns."


def test_validate_ends_with_one_for_errors(server: Server, database: str, cli: Cli) -> None:
    url = server.url(database)
    with server.connect(database) as connection:
        connection.execute("CREATE TABLE bad (at timestamp)")
    outcome = cli("schema", "validate", "--database", "-o", "json", url=url)
    assert outcome.code == 1
    assert {finding["rule"] for finding in outcome.json["findings"]} == {"primary-key", "time-zone"}
    assert cli("schema", "validate", url="postgresql://nowhere.invalid/x").code == 0


def load(server: Server, database: str, text: str) -> None:
    done = subprocess.run(
        [client_program("psql"), "-q", "-v", "ON_ERROR_STOP=1", "-f", "-", server.url(database)],
        input=text,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.few(2)
@pytest.mark.parametrize("app", APPS)
@pytest.mark.parametrize("source", ["database", "models"])
def test_a_dump_makes_the_schema_again(
    app: str,
    source: str,
    prepared: Prepare,
    server: Server,
    database: str,
    cli: Cli,
) -> None:
    original = prepared(app)
    flags = ["--models"] if source == "models" else []
    dumped = cli("schema", "dump", "--app", app, *flags, url=original.url)
    assert dumped.code == 0, dumped.err
    load(server, database, dumped.out)
    again = resolve(load_settings({}, environ={"DATABASE_URL": server.url(database)}), app=app)
    with connect(original.target(app=app), rows=True) as one, connect(again, rows=True) as other:
        before, after = read_catalog(one, "public"), read_catalog(other, "public")
    if source == "database":
        assert compare(before, after) == []
    else:
        assert before.names("table") == after.names("table")
        assert before.names("enum") == after.names("enum")
    assert cli("schema", "dump", "--app", app, *flags, url=original.url).out == dumped.out
    if source == "database":
        assert cli("schema", "dump", "--app", app, url=server.url(database)).out == dumped.out


def test_a_dump_keeps_what_looks_like_settings(server: Server, database: str, cli: Cli) -> None:
    body = "\nBEGIN\n-- a comment\nUPDATE t\nSET x = 1;\n\n\n\nEND\n"
    with server.connect(database) as connection:
        connection.execute("CREATE TABLE t (x int)")
        connection.execute(f"CREATE PROCEDURE p() LANGUAGE plpgsql AS $${body}$$")
    text = cli("schema", "dump", url=server.url(database)).out
    assert "-- a comment" in text
    assert "SET x = 1;" in text
    assert not re.search(r"restrict|Dumped|PostgreSQL \d", text)


def test_an_unknown_table_has_a_hint(leadconnector: Prepared, cli: Cli) -> None:
    outcome = cli("schema", "show", "lead", url=leadconnector.url)
    assert (outcome.code, outcome.out) == (2, "")
    assert "Did you mean leads?" in outcome.err


def test_models_need_no_database(cli: Cli) -> None:
    for command in (["show"], ["show", "leads"], ["diagram"], ["dump"]):
        assert cli("schema", *command, "--models").code == 0


def test_svg_is_refused_naming_what_there_is(cli: Cli) -> None:
    outcome = cli("schema", "diagram", "--models", "-o", "svg")
    assert (outcome.code, outcome.out) == (2, "")
    assert "mermaid" in outcome.err


def test_models_whose_constraints_have_no_names(shop: Path, cli: Cli) -> None:
    """The server chooses them: a project need not have a naming convention."""
    shown = cli("schema", "show", "--models", "-o", "json")
    assert shown.code == 0, shown.err
    keys = [key for table in shown.json["tables"] for key in table["foreign_keys"]]
    assert any(key["name"] == "" for key in keys)
    validated = cli("schema", "validate", "-o", "json")
    assert (validated.code, validated.err) == (int(not validated.json["ok"]), "")


def test_a_dump_does_not_wait_for_ever(
    leadconnector: Prepared, cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("leadctl.schema.read._LOCK_SECONDS", 0.2)
    with leadconnector.server.connect(leadconnector.name) as other, other.transaction():
        other.execute("LOCK TABLE leads IN ACCESS EXCLUSIVE MODE")
        outcome = cli("schema", "dump", url=leadconnector.url)
        other.execute("SELECT FROM leads LIMIT 1")  # it holds it still
    assert (outcome.code, "leadctl inspect locks" in outcome.err) == (1, True), outcome.err


@pytest.mark.parametrize("command", [["stats"], ["studio"], ["schema", "show"]])
def test_a_schema_that_does_not_exist_is_no_empty_one(
    command: list[str], server: Server, database: str, cli: Cli
) -> None:
    with server.connect(database) as connection:
        connection.execute("CREATE SCHEMA empty")
    url = server.url(database)
    assert cli(*command, "--schema", "empty", url=url).code == 0
    outcome = cli(*command, "--schema", "emtpy", url=url)
    assert outcome.code == 3
    assert f"There is no schema emtpy in {database}." in outcome.err
    assert not outcome.out
