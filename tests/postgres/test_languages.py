"""A server that answers in another language: what happens is known by SQLSTATE, never by words."""

import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import Cli
from tests.history import Project
from tests.servers import RunningServer, Server

pytestmark = pytest.mark.skipif(
    not Path("/usr/share/locale/de/LC_MESSAGES/postgres-15.mo").exists()
    or not Path("/usr/share/i18n/locales/de_DE").exists()
    or shutil.which("localedef") is None,
    reason="no server here has its messages in German",
)


@pytest.fixture(scope="module")
def german() -> Iterator[Server]:
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        subprocess.run(
            ["localedef", "-i", "de_DE", "-f", "UTF-8", folder / "de_DE.UTF-8"],
            check=True,
            capture_output=True,
        )
        folder.chmod(0o755)  # the server's user reads it
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("LOCPATH", str(folder))
            running = RunningServer(15, lc_messages="de_DE.UTF-8")
        with running:
            yield running.info


def test_it_answers_in_german(german: Server) -> None:
    with german.connect() as connection, pytest.raises(Exception, match="existiert nicht"):
        connection.execute("SELECT * FROM nothing")


def test_a_missing_database(german: Server, project: Project, cli: Cli) -> None:
    project.revision("CREATE TABLE q (id int)", "INSERT INTO q VALUES (1)")
    url = german.url("made_in_german")
    assert cli("migrate", "status", url=url).code == 1
    planned = cli("migrate", "--plan", "-o", "json", url=url)
    assert planned.json["current"] is None
    assert cli("health-check", url=url).code == 2
    assert cli("migrate", url=url).code == 0
    with german.connect("made_in_german") as connection:
        assert connection.execute("SELECT count(*) FROM q").fetchone() == (1,)


def test_who_may_not_connect(german: Server, project: Project, cli: Cli) -> None:
    project.revision("CREATE TABLE q (id int)")
    for url in (
        german.url("made_nowhere").replace("postgres:", "nobody_there:"),
        german.url("postgres").replace("horse", "donkey"),
    ):
        outcome = cli("migrate", url=url)
        assert outcome.code == 4
        assert "does not exist" not in outcome.err
    with german.connect() as connection:
        rows = connection.execute("SELECT FROM pg_database WHERE datname = 'made_nowhere'")
        assert rows.fetchone() is None


def test_what_revisions_meet(german: Server, project: Project, cli: Cli) -> None:
    """Rewrites, scans and losses of the plan; a notice; an index over duplicates."""
    database = german.create()
    url = german.url(database)
    project.revision(
        "CREATE TABLE parent (id int PRIMARY KEY)",
        "CREATE TABLE q (id int, v text, p int)",
        "INSERT INTO q SELECT n % 9, 'v', NULL FROM generate_series(1, 200) n",
        "DO $$ BEGIN RAISE NOTICE 'so weit'; END $$",
    )
    outcome = cli("migrate", url=url)
    assert outcome.code == 0
    assert "NOTICE: so weit" in outcome.err
    project.revision("ALTER TABLE q ALTER id TYPE bigint")
    project.revision("ALTER TABLE q ADD FOREIGN KEY (p) REFERENCES parent")
    project.revision("ALTER TABLE q DROP COLUMN v")
    found = cli("migrate", "--plan", "-o", "json", url=url).json["revisions"]
    effects = [{each["table"]: each for each in one["statements"][0]["effects"]} for one in found]
    assert effects[0]["q"]["rewrites"]
    assert effects[1]["q"]["scans"]
    assert effects[1]["parent"]["scans"]
    assert effects[2]["q"]["loss"] == {"what": "column v", "rows": 200, "exact": True}
    assert cli("migrate", url=url).code == 0
    project.revision("CREATE UNIQUE INDEX CONCURRENTLY x ON q (id)", concurrently=True)
    assert cli("migrate", url=url).code == 1
    with german.connect(database) as connection:
        rows = connection.execute("SELECT FROM pg_index WHERE NOT indisvalid").fetchall()
        assert rows == []
