"""Every app against its document, and what holds for each of them."""

from types import ModuleType

import pytest

from leadctl.catalog.definitions import read_catalog
from leadctl.postgres.connect import connect
from tests.conftest import Cli, Prepare, Prepared
from tests.products.cleack import document as cleack
from tests.products.leadconnector import document as leadconnector
from tests.products.salesagent import document as salesagent
from tests.products.spec import missing
from tests.products.viralmommy import document as viralmommy
from tests.products.whatsapp import document as whatsapp

DOCUMENTS = {
    "cleack": cleack,
    "leadconnector": leadconnector,
    "salesagent": salesagent,
    "viralmommy": viralmommy,
    "whatsapp": whatsapp,
}

OF_OTHER_ROWS = {
    "salesagent": [("prospects", "lower(company_domain)")],
    "whatsapp": [("campaigns", "scheduled_at"), ("webhook_events", "received_at")],
}
"""Columns or expressions with more than one index, which differ in expression or predicate."""


@pytest.fixture(params=DOCUMENTS)
def app(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def document(app: str) -> ModuleType:
    return DOCUMENTS[app]


@pytest.fixture
def database(prepared_once: Prepare, app: str) -> Prepared:
    return prepared_once(app)


def test_the_document(database: Prepared, app: str, document: ModuleType) -> None:
    with connect(database.target(app=app), rows=True) as connection:
        catalog = read_catalog(connection, "public")
    assert set(catalog.names("table")) == set(document.TABLES)
    tables = document.TABLES.items()
    assert [gap for name, table in tables for gap in missing(catalog, name, table)] == []
    found = {name: catalog.objects[f"enum {name}"]["values"] for name in catalog.names("enum")}
    assert found == document.ENUMS


def test_no_index_is_there_twice(database: Prepared, app: str) -> None:
    def more_than_one(*by: str) -> list[tuple[object, ...]]:
        return database.query(
            "SELECT indrelid::regclass::text, min(pg_get_indexdef(indexrelid, 1, true))"
            " FROM pg_index i JOIN pg_class c ON c.oid = i.indrelid"
            " WHERE c.relnamespace = 'public'::regnamespace"
            f" GROUP BY {', '.join(by)} HAVING count(*) > 1 ORDER BY 1"
        )

    columns = ("indrelid", "indkey")
    assert more_than_one(*columns) == OF_OTHER_ROWS.get(app, [])
    expressions = ("pg_get_expr(indpred, indrelid)", "pg_get_expr(indexprs, indrelid)")
    assert more_than_one(*columns, *expressions) == []


def test_every_foreign_key_has_an_index(database: Prepared) -> None:
    rows = database.query(
        "SELECT k.conrelid::regclass::text, k.conname FROM pg_constraint k"
        " WHERE k.contype = 'f' AND k.connamespace = 'public'::regnamespace AND NOT EXISTS ("
        " SELECT FROM pg_index i WHERE i.indrelid = k.conrelid AND i.indpred IS NULL"
        " AND (i.indkey::int2[])[0:cardinality(k.conkey) - 1] = k.conkey)"
    )
    assert rows == []


def test_seeding_again_changes_nothing(
    prepared: Prepare, app: str, document: ModuleType, cli: Cli
) -> None:
    database = prepared(app)
    rows = " UNION ALL ".join(f"SELECT to_jsonb(t)::text FROM {name} t" for name in document.TABLES)
    before = sorted(database.query(rows))
    outcome = cli("seed", "--app", app, "-o", "json", url=database.url)
    assert outcome.code == 0, outcome.err
    assert {table["inserted"] for table in outcome.json["tables"]} == {0}
    assert sorted(database.query(rows)) == before
