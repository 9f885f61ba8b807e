"""Histories that are wrong, and revisions that fail: what is said, and that nothing is half done."""

from pathlib import Path

import pytest

from tests.conftest import Cli
from tests.history import Project
from tests.servers import Server


def tables(server: Server, database: str) -> set[str]:
    with server.connect(database) as connection:
        rows = connection.execute(
            "SELECT relname FROM pg_class WHERE relkind = 'r' AND relname <> 'alembic_version'"
            " AND relnamespace = 'public'::regnamespace"
        )
        return {name for (name,) in rows}


def states(cli: Cli, url: str) -> list[str]:
    document = cli("migrate", "status", "-o", "json", url=url).json
    return [revision["state"] for revision in document["revisions"]]


def test_sql_that_is_wrong(project: Project, server: Server, database: str, cli: Cli) -> None:
    url = server.url(database)
    project.revision("CREATE TABLE a (id int)")
    path = project.revision("CREATE TABLE b (id int)", "CREATE TABEL c (id int)")
    project.revision("CREATE TABLE d (id int)")
    failed = cli("migrate", url=url)
    assert failed.code == 1
    assert "own_0002" in failed.err
    assert "TABEL" in failed.err
    assert "leadctl migrate" in failed.err
    assert "reset" not in failed.err
    assert tables(server, database) == {"a"}
    assert states(cli, url) == ["applied", "failed", "pending"]
    assert cli("migrate", "status", url=url).code == 1
    path.write_text(path.read_text().replace("TABEL", "TABLE"))
    assert cli("migrate", url=url).code == 0
    assert tables(server, database) == {"a", "b", "c", "d"}
    assert states(cli, url) == ["applied"] * 3


def test_python_that_is_wrong(project: Project, server: Server, database: str, cli: Cli) -> None:
    url = server.url(database)
    project.revision("CREATE TABLE a (id int)")
    path = project.revision(code="    op.no_such_operation()")
    failed = cli("migrate", url=url)
    assert failed.code == 1
    assert "no_such_operation" in failed.err
    assert tables(server, database) in ({"a"}, set())
    path.write_text(path.read_text().replace("    op.no_such_operation()", "    pass pass"))
    failed = cli("migrate", url=url)
    assert failed.code in {1, 3}
    assert path.name in failed.err
    assert "Traceback" not in failed.err


def test_outside_a_transaction_a_failure_is_named_and_can_be_repeated(
    project: Project, server: Server, database: str, cli: Cli
) -> None:
    url = server.url(database)
    project.revision("CREATE TABLE a (id int)", "INSERT INTO a VALUES (1), (1), (2)")
    project.revision(
        "CREATE INDEX CONCURRENTLY IF NOT EXISTS a_first ON a (id)",
        "CREATE UNIQUE INDEX CONCURRENTLY IF NOT EXISTS a_id ON a (id)",
        concurrently=True,
    )
    failed = cli("migrate", url=url)
    assert failed.code == 1
    assert "own_0002" in failed.err
    assert states(cli, url) == ["applied", "failed"]
    with server.connect(database) as connection:
        connection.execute("DELETE FROM a WHERE ctid = (SELECT min(ctid) FROM a)")
    assert cli("migrate", url=url).code == 0
    with server.connect(database) as connection:
        invalid = connection.execute("SELECT count(*) FROM pg_index WHERE NOT indisvalid")
        assert invalid.fetchone() == (0,)
        assert connection.execute("SELECT to_regclass('a_id') IS NOT NULL").fetchone() == (True,)


def test_an_edit_after_the_fact_is_seen(
    project: Project, server: Server, database: str, cli: Cli
) -> None:
    url = server.url(database)
    path = project.revision("CREATE TABLE a (id int)")
    assert cli("migrate", url=url).code == 0
    path.write_text(path.read_text().replace("id int", "id bigint"))
    assert states(cli, url) == ["edited"]
    assert cli("migrate", "status", url=url).code == 1


def test_a_file_that_is_gone_is_seen(
    project: Project, server: Server, database: str, cli: Cli
) -> None:
    url = server.url(database)
    project.revision("CREATE TABLE a (id int)")
    path = project.revision("CREATE TABLE b (id int)")
    assert cli("migrate", url=url).code == 0
    path.unlink()
    assert states(cli, url) == ["applied", "missing"]
    missing = cli("migrate", url=url)
    assert missing.code == 1
    assert "own_0002, which is not in" in missing.err


def test_two_heads(project: Project, server: Server, database: str, cli: Cli) -> None:
    project.revision("CREATE TABLE a (id int)")
    project.revision("CREATE TABLE b (id int)", down="own_0001", name="left")
    project.revision("CREATE TABLE c (id int)", down="own_0001", name="right")
    outcome = cli("migrate", url=server.url(database))
    assert outcome.code == 3
    assert "2 heads: left, right" in outcome.err
    assert tables(server, database) == set()


def test_who_looks_at_two_heads_is_told_to_join_them(
    project: Project, server: Server, database: str, cli: Cli
) -> None:
    url = server.url(database)
    project.revision("CREATE TABLE a (id int)")
    assert cli("migrate", url=url).code == 0
    project.revision("CREATE TABLE b (id int)", down="own_0001", name="left")
    project.revision("CREATE TABLE c (id int)", down="own_0001", name="right")
    status = cli("migrate", "status", url=url)
    assert status.code == 1
    assert "leadctl migrate new --merge" in status.out
    assert "Apply with" not in status.out  # since that is exit 3
    health = cli("health-check", "--check", "migrations", url=url)
    assert (health.code, "Apply with" in health.out) == (2, False)
    document = cli("migrate", "status", "-o", "json", url=url).json
    assert document["unjoined"] == ["left", "right"]
    assert cli("migrate", "new", "--merge", url=url).code == 0
    assert "Apply with: leadctl migrate" in cli("migrate", "status", url=url).out
    assert cli("migrate", url=url).code == 0


def test_a_cycle(project: Project, server: Server, database: str, cli: Cli) -> None:
    project.revision("CREATE TABLE a (id int)", name="one", down="two")
    project.revision("CREATE TABLE b (id int)", name="two", down="one")
    outcome = cli("migrate", url=server.url(database))
    assert outcome.code == 3
    assert "circle" in outcome.err


def test_an_empty_folder_is_nothing_to_do(
    project: Project, server: Server, database: str, cli: Cli
) -> None:
    outcome = cli("migrate", url=server.url(database))
    assert outcome.code == 0
    assert "Nothing to do" in outcome.out


@pytest.mark.parametrize("kind", ["missing", "a file"])
def test_a_folder_that_is_none(
    project: Project, server: Server, database: str, cli: Cli, kind: str
) -> None:
    project.migrations.rmdir()
    if kind == "a file":
        Path(project.migrations).write_text("not a folder")
    outcome = cli("migrate", url=server.url(database))
    assert outcome.code == 3
    assert "migrations" in outcome.err
    assert "Traceback" not in outcome.err


def test_of_a_long_history_the_end_is_shown(
    project: Project, server: Server, database: str, cli: Cli
) -> None:
    url = server.url(database)
    for number in range(30):
        project.revision(f"CREATE TABLE t{number} (id int)")
    assert cli("migrate", "up", "own_0025", url=url).code == 0
    shown = cli("migrate", "status", url=url).out
    assert "5 earlier ones are applied" in shown
    assert "own_0005" not in shown
    assert all(f"own_{number:04d}" in shown for number in range(6, 31))
    assert len(states(cli, url)) == 30
