"""Correcting the record of what is applied."""

from pathlib import Path

import pytest

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


@pytest.mark.thorough
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
        assert "is at own_0003 and has applied own_0002, which are not in" in refused.err
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


SHAPES = [
    ("own_0001",),
    ("left",),
    ("right",),
    ("join",),
    ("own_0005",),
    ("own_0001", "left"),
    ("left", "right"),
    ("own_0001", "own_0005"),
    ("join", "own_0005"),
    ("left", "right", "join"),
]
"""What is missing of a history that parts in two and is joined."""


def _parted(project: Project) -> dict[str, Path]:
    return {
        path.stem: path
        for path in (
            project.revision("CREATE TABLE t (id int)", name="own_0001"),
            project.revision("CREATE TABLE l (id int)", name="left", down="own_0001"),
            project.revision("CREATE TABLE r (id int)", name="right", down="own_0001"),
            project.revision(name="join", down=("left", "right")),
            project.revision("CREATE TABLE z (id int)", name="own_0005"),
        )
    }


@pytest.mark.few(2)
@pytest.mark.parametrize("gone", SHAPES, ids="+".join)
def test_what_is_applied_and_has_no_file_is_named_wherever_it_was(
    project: Project, server: Server, database: str, cli: Cli, gone: tuple[str, ...]
) -> None:
    url = server.url(database)
    files = _parted(project)
    assert cli("migrate", url=url).code == 0
    for name in gone:
        files[name].unlink()
    there = sorted(path.name for path in project.migrations.iterdir())
    merge = [["new", "--merge"]] if "join" in gone or set(gone) & {"left", "right"} else []
    for arguments in (
        [],
        ["--plan"],
        ["--sql"],
        ["check"],
        ["new", "-m", "x"],
        ["new", "--empty", "-m", "x"],
        ["new", "--sql", "-", "-m", "x"],
        ["dev", "-m", "x"],
        ["down", "base", "--yes"],
        *merge,
    ):
        refused = cli("migrate", *arguments, url=url)
        assert refused.code == 1, (arguments, refused.err)
        said = " ".join(refused.err.split())
        for name in gone:
            assert name in said, arguments
            assert f"resolve --rolled-back {name}" in said, arguments
        assert "not in" in said, arguments
        assert "head" not in said, arguments
        assert "git log" in said, arguments
    assert sorted(path.name for path in project.migrations.iterdir()) == there
    status = cli("migrate", "status", "-o", "json", url=url)
    assert status.code == 1
    found = {each["revision"]: each["state"] for each in status.json["revisions"]}
    assert found == {name: "missing" if name in gone else "applied" for name in files}
    health = cli("health-check", "--check", "migrations", "-o", "json", url=url)
    assert health.code == (2 if "own_0005" in gone else 1)
    (evidence,) = health.json["checks"]
    assert all(
        name in evidence["message"] for name in gone if name == "own_0005" or health.code == 1
    )
    assert "pending" not in evidence["message"]


def test_a_file_that_is_missing_and_not_applied_is_the_folder_s_fault(
    project: Project, server: Server, database: str, cli: Cli
) -> None:
    url = server.url(database)
    files = _parted(project)
    assert cli("migrate", "up", "own_0001", url=url).code == 0
    files["left"].unlink()
    for arguments in ([], ["--plan"], ["check"], ["status"], ["new", "--merge"]):
        refused = cli("migrate", *arguments, url=url)
        assert refused.code == 3, (arguments, refused.err)
        assert "join.py follows the revision left, which is not in" in refused.err


def test_the_ways_out_of_a_gap_lead_out(
    project: Project, server: Server, database: str, cli: Cli
) -> None:
    url = server.url(database)
    project.revision("CREATE TABLE t (id int)")
    project.revision("CREATE TABLE u (id int)").unlink()
    last = project.revision("CREATE TABLE v (id int)", name="own_0003")
    text = last.read_text()
    project.revision("CREATE TABLE u (id int)", name="own_0002", down="own_0001")
    assert cli("migrate", url=url).code == 0
    (project.migrations / "own_0002.py").unlink()
    refused = cli("migrate", url=url)
    assert refused.code == 1
    last.write_text(text.replace("own_0002", "own_0001"))  # it follows what came before
    commands = " ".join(refused.err.split()).partition("record that: ")[2].split(" && ")
    assert len(commands) == 2
    for command in commands:
        done = cli(*command.split()[1:], url=url)
        assert done.code == 0, done.err
    assert states(cli, url) == ["applied", "applied"]
    assert "Nothing to do" in cli("migrate", url=url).out


def test_it_wants_one_thing(project: Project, server: Server, database: str, cli: Cli) -> None:
    project.revision("CREATE TABLE t (id int)")
    url = server.url(database)
    assert cli("migrate", "resolve", url=url).code == 2
    twice = ("--applied", "own_0001", "--rolled-back", "own_0001")
    assert cli("migrate", "resolve", *twice, url=url).code == 2
    assert cli("migrate", "resolve", "--applied", "nothing", url=url).code == 1
    assert cli("migrate", "resolve", "--accept-edit", "own_0001", url=url).code == 1
