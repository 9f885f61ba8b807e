"""down: guarded, refuses what cannot be undone, says what data goes, and is rehearsed."""

import pytest

from tests.conftest import Cli, Prepared
from tests.history import Project
from tests.servers import Server


@pytest.mark.thorough
def test_down_and_up_again(leadconnector: Prepared, cli: Cli) -> None:
    url = leadconnector.url
    refused = cli("migrate", "down", url=url)
    assert refused.code == 5
    assert "--yes" in refused.err
    outcome = cli("migrate", "down", "--yes", "-o", "json", url=url)
    assert outcome.code == 0, outcome.err
    assert outcome.json["current"] == "leadconnector_0001"
    assert [each["revision"] for each in outcome.json["undone"]] == ["leadconnector_0002"]
    assert cli("migrate", "drift", url=url).code == 0
    assert (
        cli("migrate", "status", "-o", "json", url=url).json["revisions"][1]["state"] == "pending"
    )
    assert cli("migrate", url=url).code == 0
    assert cli("migrate", "check", url=url).code == 0


def test_what_goes_is_said_first(leadconnector: Prepared, cli: Cli) -> None:
    before = leadconnector.query("SELECT count(*) FROM leads")
    outcome = cli("migrate", "down", "base", url=leadconnector.url)
    assert outcome.code == 5
    assert "users" in outcome.err
    assert str(before[0][0]) in outcome.err
    assert leadconnector.query("SELECT count(*) FROM leads") == before
    assert cli("migrate", "down", "base", "--yes", url=leadconnector.url).code == 0
    assert leadconnector.query("SELECT to_regclass('leads')") == [(None,)]
    assert cli("migrate", "down", "--yes", url=leadconnector.url).code == 1


@pytest.mark.thorough
def test_what_cannot_be_undone(project: Project, server: Server, database: str, cli: Cli) -> None:
    url = server.url(database)
    back = '    op.execute("DROP TABLE a")'
    project.revision("CREATE TABLE a (id int)", downgrade=back)
    project.revision("ALTER TABLE a ADD b int")
    project.revision("ALTER TABLE a ADD c int", downgrade='    op.execute("SELECT 1 / 0")')
    project.revision("ALTER TABLE a ADD d int", downgrade='    op.execute("ALTER TABLE a DROP d")')
    project.revision("ALTER TABLE a ADD e int", downgrade='    op.execute("ANALYZE a")')
    project.revision(
        "CREATE INDEX CONCURRENTLY i ON a (d)",
        concurrently=True,
        downgrade="    with op.get_context().autocommit_block():\n"
        '        op.execute("DROP INDEX CONCURRENTLY i")',
    )
    assert cli("migrate", url=url).code == 0
    outcome = cli("migrate", "down", "base", "--rehearse", "-o", "json", url=url)
    assert outcome.code == 1
    assert {each["revision"][-1]: each["verdict"] for each in outcome.json["revisions"]} == {
        "1": "lossy",
        "2": "irreversible",
        "3": "irreversible",
        "4": "lossy",
        "5": "irreversible",
        "6": "reversible",
    }
    assert cli("migrate", "down", "--rehearse", url=url).code == 0
    refused = cli("migrate", "down", "base", "--yes", url=url)
    assert (refused.code, "own_0002 is irreversible" in refused.err) == (5, True)
    assert cli("migrate", "down", "--steps", "3", "--yes", url=url).code == 0
    failed = cli("migrate", "down", "--yes", url=url)
    assert failed.code == 1
    assert "own_0003 was not undone" in failed.err
    assert cli("migrate", "status", "-o", "json", url=url).json["current"] == "own_0003"
    assert cli("migrate", "down", "own_0001", "--steps", "2", url=url).code == 2
    assert cli("migrate", "down", "own_0006", "--yes", url=url).code == 1
