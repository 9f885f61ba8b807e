"""Which indexes whatsapp's document asks for beside keys."""

import re

import pytest

from leadctl.catalog.definitions import Catalog, read_catalog
from leadctl.postgres.connect import connect
from tests.conftest import Prepared
from tests.products.whatsapp.document import FOR_QUERY_PATTERNS, TABLES


@pytest.fixture
def catalog(whatsapp: Prepared) -> Catalog:
    with connect(whatsapp.target(app="whatsapp"), rows=True) as connection:
        return read_catalog(connection, "public")


def test_every_plain_index_of_the_document_is_whole(catalog: Catalog) -> None:
    """A partial index on the same column would not serve the document's other queries."""
    plain = {
        (str(catalog.objects[f"index {name}"]["table"]), column.group(1))
        for name in catalog.names("index")
        if (
            column := re.search(
                r"USING \w+ \(([^)]+)\)$", str(catalog.objects[f"index {name}"]["definition"])
            )
        )
    }
    wanted = {(name, column) for name, table in TABLES.items() for column in table.indexes}
    assert wanted <= plain


def test_indexes_of_the_query_patterns(catalog: Catalog) -> None:
    for name, definition in FOR_QUERY_PATTERNS.items():
        found = str(catalog.objects[f"index {name}"]["definition"])
        assert found == f"CREATE INDEX {name} {definition}"
