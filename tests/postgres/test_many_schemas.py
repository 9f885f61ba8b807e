"""What a command asks about one schema costs what it costs where there are no others.

The witness is the server: the pages of the catalog that it looks at, by EXPLAIN.
"""

from typing import Any

import psycopg
import pytest

from leadctl.postgres.connect import connect
from leadctl.postgres.queries import Query
from tests.conftest import Prepared
from tests.postgres.test_queries import BLOCKS, PARAMETERS
from tests.servers import MAJOR

SCHEMAS = 60
MORE = 1.2
SLACK = 60
"""Pages: the catalog's own indexes are a level deeper, and its tables lie on more of them."""
WHOLE = {
    # Of the whole database, by what they are for: a backup, a restore, what is oldest or largest.
    "backup.sql", "restore.sql", "tenants.sql", "fleet.sql", "init.sql",
    "tables.sql wraparound", "stats.sql database", "health.sql kept_by_restores",
    "state.sql moved_identity",  # asked where an identity is missing
    "live_tables.sql invalid_indexes",  # of a statement that names no table
    # Run in a scratch database, or on the tables that a plan is about.
    "trial.sql relations", "trial.sql keys", "trial.sql users_of_type", "trial.sql unreached",
    "trial.sql locks", "trial.sql scans", "trial.sql inherits", "trial.sql row_triggers", "trial.sql code",
    "dependencies.sql uses", "bulk.sql constraints", "studio.sql types",
}  # fmt: skip


def pages(place: Prepared) -> dict[str, int]:
    """Return how many pages of the catalog each block looks at."""
    found: dict[str, int] = {}
    with connect(place.target(), "test") as connection:
        cursor: psycopg.ClientCursor[Any] = psycopg.ClientCursor(connection)
        for file, block in BLOCKS:
            name = f"{file.name} {block.name}"
            if not block.since <= MAJOR <= block.until or {file.name, name} & WHOLE:
                continue
            with connection.transaction(force_rollback=True):
                if (count := _pages(cursor, block)) is not None:
                    found[name] = count
    return found


def _pages(cursor: "psycopg.ClientCursor[Any]", block: Query) -> int | None:
    try:
        cursor.execute(f"EXPLAIN (ANALYZE, BUFFERS, FORMAT json) {block.sql}", PARAMETERS)
    except psycopg.Error:
        return None  # of an extension, or several statements
    ((plan,),) = cursor.fetchall()
    return int(plan[0]["Plan"]["Shared Hit Blocks"] + plan[0]["Plan"]["Shared Read Blocks"])


def add_schemas(place: Prepared, number: int) -> None:
    place.query(
        f"DO $$ BEGIN FOR s IN {number}..{number + SCHEMAS - 1} LOOP"
        " EXECUTE format('CREATE SCHEMA other_%s', s);"
        " FOR t IN 1..12 LOOP EXECUTE format('CREATE TABLE other_%s.t_%s (id int GENERATED ALWAYS"
        " AS IDENTITY PRIMARY KEY, name text UNIQUE, at date NOT NULL)', s, t); END LOOP;"
        " EXECUTE format('CREATE TYPE other_%s.mood AS ENUM (''good'')', s);"
        " COMMIT; END LOOP; END $$"
    )
    place.query("VACUUM (ANALYZE)")


@pytest.mark.thorough
def test_other_schemas_cost_nothing(leadconnector: Prepared) -> None:
    """What searches through all would cost twice as much with twice as many."""
    add_schemas(leadconnector, 0)
    before = pages(leadconnector)
    add_schemas(leadconnector, SCHEMAS)
    after = pages(leadconnector)
    dearer = {
        name: (before[name], count)
        for name, count in after.items()
        if count > before[name] * MORE + SLACK
    }
    assert not dearer
    assert len(after) > 60
