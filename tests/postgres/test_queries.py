"""Every named SQL block says what it answers, and runs on the servers it is for."""

from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg
import pytest

from leadctl.journal import state
from leadctl.postgres.connect import connect
from leadctl.postgres.queries import Queries, Query
from tests.conftest import Prepared
from tests.servers import Server

PACKAGE = Path(__file__).parents[2] / "leadctl"
FILES = sorted(path for path in PACKAGE.rglob("*.sql") if path.name != "from_prisma.sql")
"""All but the take-over from Prisma, which is one script."""
BLOCKS = [
    (file, block)
    for file in FILES
    if not file.is_relative_to(PACKAGE / "products")  # those are run by the products' own tests
    for block in Queries(file).blocks
]

PARAMETERS = {
    "schema": "public",
    "ignore": ["alembic_version"],
    "prefix": "",
    "home": "public",
    "schemas": ["public"],
    "app": "leadconnector",
    "revision": "leadconnector_0001",
    "checksum": "x",
    "sql": "SELECT 1",
    "who": "me",
    "duration_ms": 1,
    "made": ["table users"],
    "revisions": ["leadconnector_0001"],
    "fingerprint": "{}",
    "environment": "test",
    "protected": False,
    "read_environment": None,
    "read_protected": False,
    "command": "test",
    "outcome": "done",
    "facts": "{}",
    "id": 1,
    "limit": 10,
    "summary": None,
    "as": "public",
    "path": "public",
    "lock_class": 1,
    "lock_key": 2,
    "rules": ["archived-leads"],
    "pattern": "_ccnew",
    "success": ["done"],
    "user": None,
    "table": "leads",
    "oid": 1259,
    "oids": [1259],
    "classes": [1259],
    "role": None,
    "data": [1259],
    "extensions": ["citext"],
    "versions": ["1.0"],
    "column": "created_at",
    "columns": ["created_at"],
    "copy": "leads",
    "live": "users",
    "back": ["leads"],
    "now": "2026-01-31 00:00Z",
    "months": 1,
    "days": 2,
    "seconds": 3,
    "name": "leads",
    "xid": "3",
    "cutoff": "2026-01-31 00:00Z",
    "mark": "x",
    "names": ["users"],
    "kinds": ["FUNCTION"],
    "tags": ["f()"],
    "routine": 1,
    "routines": [1],
    "received": "0/0",
    "session": 1,
    "words": ["leads"],
    "held": ["citext"],
    "timeout": "5s",
    "whole": False,
    "everything": False,
    "writes": True,
    "empties": False,
    "among": None,
    "lock": 1,
    "type": 1259,
    "work": "x",
    "after_key": ["1"],
    "rows": 1,
    "file": "plans.yaml",
    "tables": ["leads"],
    "state_version": 1,
    "recorded": ["public"],
    "shared": ["public"],
    "tenant": None,
    "phase": "closed",
    "other": "x",
    "place": "x",
    "held_as": "x",
    "grants": "[]",
    "pid": 0,
    "record": '{"app": "a", "schema": "s", "revision": "r", "checksum": "c", "sql": "", "made": [],'
    ' "applied_at": "2026-01-31", "applied_by": "me", "duration_ms": 1, "file": "f",'
    ' "seeded_at": "2026-01-31"}',
    "version_table": "alembic_version",
    "like": "public",
    "new": "other",
    "identity": "00000000-0000-0000-0000-000000000000",
    "created_at": "2026-01-31 00:00Z",
    "slot": "leadctl_pitr",
    "was": "acme",
    "pids": [0],
    "kind": "FUNCTION",
    "tag": "f()",
    "version": "0.1.0",
    "statements": ["SELECT 1"],
    "transactional": True,
}
OF_BLOCK = {
    "dumps_on_node": {"session": "leadctl"},
    "scripts": {"revisions": ["r"]},
    "record_script": {"recorded": "x"},
}
"""Values of another type than other blocks have by the name."""
RECORDS = {
    PACKAGE / "migrate" / "backfill.sql": "create",
    PACKAGE / "seed" / "seed_files.sql": "create_seed_files",
    PACKAGE / "tenants" / "move.sql": "create_moves",
    PACKAGE / "journal" / "state.sql": "create_kept",
    PACKAGE / "fleet" / "fleet.sql": "create_scripts",
}
"""Tables of records that are made when they are first needed."""


@pytest.fixture(scope="module")
def leads(server: Server, template: Callable[[str], str]) -> Iterator[Prepared]:
    """A database with an app, for all blocks: what each does is rolled back."""
    name = server.create(template("leadconnector"))
    yield Prepared(name, server.url(name), server)
    server.drop(name)


@pytest.mark.parametrize(
    ("file", "block"),
    BLOCKS,
    ids=[f"{file.stem}-{block.name}-{block.since}" for file, block in BLOCKS],
)
def test_block(leads: Prepared, file: Path, block: Query) -> None:
    assert block.what.endswith((".", "?", "!")), block.what
    if not block.since <= leads.server.major <= block.until:
        return
    with (
        connect(leads.target(), rows=True) as connection,
        connection.transaction(force_rollback=True),
    ):
        if (file.stem, block.name) == ("state", "create"):
            connection.execute("DROP SCHEMA leadctl CASCADE")
            state._execute_all(connection, "create", PARAMETERS)
            return
        if block.needs and not _create_extension(connection, block.needs):
            return
        for path, create in RECORDS.items():
            if file.stem in {path.stem, "tenants", "backup"}:
                connection.execute(Queries(path).get(create, 180000))
        # Without its library preloaded an extension's view is there, and cannot be read.
        explain = "EXPLAIN " if block.needs else ""
        parameters = PARAMETERS | OF_BLOCK.get(block.name, {})
        connection.execute(explain + block.sql, parameters)


def _create_extension(connection: psycopg.Connection, name: str) -> bool:
    """Create an extension that the server has; one as Citus' it may have to load first, too."""
    row = connection.execute(
        "SELECT 1 FROM pg_available_extensions WHERE name = %s", (name,)
    ).fetchone()
    if row is None:
        return False
    create = psycopg.sql.SQL("CREATE EXTENSION {}").format(psycopg.sql.Identifier(name))
    try:
        with connection.transaction():
            connection.execute(create)
    except psycopg.errors.InternalError_ as error:
        if "shared_preload_libraries" not in str(error):
            raise
        return False
    return True


def test_every_statement_in_the_files_belongs_to_a_block() -> None:
    for file in FILES:
        names = [line for line in file.read_text().splitlines() if line.startswith("-- name:")]
        assert len(names) == len(Queries(file).blocks), file


def test_versions_of_a_block_do_not_overlap_and_leave_no_gap() -> None:
    for file in FILES:
        queries = Queries(file)
        for name in {block.name for block in queries.blocks}:
            for major in (15, 16, 17, 18, 19):
                matching = [
                    b for b in queries.blocks if b.name == name and b.since <= major <= b.until
                ]
                assert len(matching) == 1, (file, name, major)
    with pytest.raises(KeyError):
        Queries(FILES[0]).get("nothing", 180000)


def test_app_reports_run(leadconnector: Prepared) -> None:
    from leadctl.products.leadconnector.reports import REPORTS

    with connect(leadconnector.target(), read_only=True, rows=True) as connection:
        for report in REPORTS.reports:
            assert isinstance(
                connection.execute(report.sql, {"user": None, "since": None}), psycopg.Cursor
            )
