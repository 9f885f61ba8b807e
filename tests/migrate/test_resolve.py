"""Correcting the record of what is applied."""

from tests.conftest import Cli
from tests.history import Project
from tests.servers import Server


def states(cli: Cli, url: str) -> list[str]:
    document = cli("migrate", "status", "-o", "json", url=url).json
    return [revision["state"] for revision in document["revisions"]]


def test_an_edit_is_accepted(project: Project, server: Server, database: str, cli: Cli) -> None:
    path = project.revision("CREATE TABLE t (id int)")
    url = server.url(database)
    assert cli("migrate", url=url).code == 0
    path.write_text(path.read_text().replace("id int", "id bigint"))
    assert states(cli, url) == ["edited"]
    assert cli("migrate", "status", url=url).code == 1
    assert cli("migrate", "resolve", "--accept-edit", "own_0001", url=url).code == 0
    assert states(cli, url) == ["applied"]
    again = cli("migrate", "resolve", "--accept-edit", "own_0001", url=url)
    assert (again.code, again.out.startswith("Nothing to correct")) == (0, True)


def test_what_was_done_by_hand_counts_as_applied(
    project: Project, server: Server, database: str, cli: Cli
) -> None:
    project.revision("CREATE TABLE unused (id int PRIMARY KEY)")
    project.revision("CREATE TABLE u (id int)")
    project.revision("CREATE TABLE v (id int)")
    url = server.url(database)
    with server.connect(database) as connection:
        connection.execute("CREATE TABLE unused (id int PRIMARY KEY); CREATE TABLE u (id int)")
    assert cli("migrate", url=url).code != 0
    done = cli("migrate", "resolve", "--applied", "own_0002", "-o", "json", url=url)
    assert done.code == 0, done.err
    assert done.json["revisions"] == ["own_0001", "own_0002"]
    assert states(cli, url) == ["applied", "applied", "pending"]
    assert cli("migrate", url=url).code == 0
    assert cli("health-check", url=url).code == 0
    reset = cli("reset", "--yes", url=url)
    assert reset.code != 0  # `u` is not named by the models, so it is not ours to drop
    assert "u" in reset.err


def test_what_was_undone_by_hand_is_pending_again(
    project: Project, server: Server, database: str, cli: Cli
) -> None:
    project.revision("CREATE TABLE t (id int)")
    project.revision("CREATE TABLE u (id int)")
    url = server.url(database)
    assert cli("migrate", url=url).code == 0
    refused = cli("migrate", "resolve", "--rolled-back", "own_0001", url=url)
    assert refused.code == 1
    assert "own_0002" in refused.err
    with server.connect(database) as connection:
        connection.execute("DROP TABLE u")
    assert cli("migrate", "resolve", "--rolled-back", "own_0002", url=url).code == 0
    assert states(cli, url) == ["applied", "pending"]
    assert cli("migrate", url=url).code == 0
    assert states(cli, url) == ["applied", "applied"]


def test_a_revision_that_is_gone_is_forgotten(
    project: Project, server: Server, database: str, cli: Cli
) -> None:
    url = server.url(database)
    project.revision("CREATE TABLE t (id int)")
    gone = [project.revision(f"CREATE TABLE {name} (id int)") for name in "uv"]
    assert cli("migrate", url=url).code == 0
    for path in gone:
        path.unlink()
    for arguments in ([], ["--plan"], ["check"], ["new", "--sql", "-", "-m", "x"]):
        refused = cli("migrate", *arguments, "-o", "json", url=url)
        assert refused.code == 1
        assert "own_0003, which is not in" in refused.err
        assert "--rolled-back own_0003" in refused.err
    assert cli("migrate", "resolve", "--rolled-back", "own_0003", url=url).code == 0
    assert cli("migrate", url=url).code == 1  # the other one is missing, too
    assert cli("migrate", "resolve", "--rolled-back", "own_0002", url=url).code == 0
    assert states(cli, url) == ["applied"]
    with server.connect(database) as connection:
        rows = connection.execute(
            "SELECT 'current', version_num FROM alembic_version"
            " UNION ALL SELECT 'recorded', revision FROM leadctl.migration"
        ).fetchall()
    assert sorted(rows) == [("current", "own_0001"), ("recorded", "own_0001")]
    assert cli("migrate", url=url).code == 0


def test_it_wants_one_thing(project: Project, server: Server, database: str, cli: Cli) -> None:
    project.revision("CREATE TABLE t (id int)")
    url = server.url(database)
    assert cli("migrate", "resolve", url=url).code == 2
    twice = ("--applied", "own_0001", "--rolled-back", "own_0001")
    assert cli("migrate", "resolve", *twice, url=url).code == 2
    assert cli("migrate", "resolve", "--applied", "nothing", url=url).code == 1
    assert cli("migrate", "resolve", "--accept-edit", "own_0001", url=url).code == 1
