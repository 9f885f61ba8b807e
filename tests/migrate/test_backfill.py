"""Filling rows in batches: whole, resumed after a kill, throttled, and as SQL."""

import signal
import time
from pathlib import Path

import pytest

from tests.conftest import KEY, Cli
from tests.history import Project
from tests.processes import run, start
from tests.servers import Server

FILL = """\
    from leadctl import fill
    fill(op, "people", "name = 'n' || id || ' :x 10%'", "name IS NULL"{more})"""


@pytest.fixture
def people(project: Project, server: Server, database: str, cli: Cli) -> str:
    project.revision("CREATE TABLE people (a int, id int, name text, PRIMARY KEY (a, id))")
    assert cli("migrate", url=server.url(database)).code == 0
    with server.connect(database) as connection:
        connection.execute("INSERT INTO people SELECT n % 7, n FROM generate_series(1, 30000) AS n")
    return server.url(database)


def test_every_row_is_filled(
    people: str, project: Project, server: Server, database: str, cli: Cli
) -> None:
    project.revision(code=FILL.format(more=", load=1.0"))
    assert "UPDATE people SET" in cli("migrate", "--sql", url=people).out
    assert cli("migrate", "lint", url=people).code == 0
    outcome = cli("migrate", url=people)
    assert outcome.code == 0, outcome.err
    with server.connect(database) as connection:
        assert connection.execute(
            "SELECT count(*) FROM people WHERE name = 'n' || id || ' :x 10%'"
        ).fetchone() == (30000,)
        assert connection.execute("SELECT count(*) FROM leadctl.backfill").fetchone() == (0,)


@pytest.mark.thorough
def test_what_was_killed_goes_on(
    people: str, project: Project, server: Server, database: str, tmp_path: Path
) -> None:
    project.revision(code=FILL.format(more=", load=0.02"))
    variables = {"DATABASE_URL": people, "ENCRYPTION_KEY": KEY}
    process = start("migrate", env=variables, cwd=tmp_path)
    with server.connect(database) as connection:

        def rows() -> int:
            if connection.execute("SELECT to_regclass('leadctl.backfill')").fetchone() == (None,):
                return 0
            row = connection.execute("SELECT rows FROM leadctl.backfill").fetchone()
            return row[0] if row else 0

        deadline = time.monotonic() + 60
        while not rows() and time.monotonic() < deadline:
            time.sleep(0.02)
        process.send_signal(signal.SIGKILL)
        process.communicate()
        while connection.execute(
            "SELECT count(*) FROM pg_stat_activity WHERE datname = %s AND pid <> pg_backend_pid()",
            (database,),
        ).fetchone() != (0,):
            time.sleep(0.05)
        done = rows()
        assert 0 < done < 30000
        assert connection.execute(
            "SELECT count(*) FROM people WHERE name IS NOT NULL"
        ).fetchone() == (done,)
        (project.migrations / "own_0002.py").write_text(
            (project.migrations / "own_0002.py").read_text().replace("load=0.02", "load=1.0")
        )
        again = run("migrate", env=variables, cwd=tmp_path)
        assert again.returncode == 0, again.stderr
        assert connection.execute("SELECT count(*) FROM people WHERE name IS NULL").fetchone() == (
            0,
        )


def test_a_table_without_a_key_is_refused(
    people: str, project: Project, cli: Cli, server: Server, database: str
) -> None:
    with server.connect(database) as connection:
        connection.execute("ALTER TABLE people DROP CONSTRAINT people_pkey")
    project.revision(code=FILL.format(more=""))
    outcome = cli("migrate", url=people)
    assert outcome.code == 1
    assert "no primary key" in outcome.err


CHECK = (
    '    op.execute("ALTER TABLE people ADD CONSTRAINT named CHECK (name IS NOT NULL) NOT VALID")\n'
)
VALIDATE = '\n    op.execute("ALTER TABLE people VALIDATE CONSTRAINT named")'
UPDATE = "\n    op.execute(\"UPDATE people SET name = upper(name) WHERE name LIKE 'n%'\")"


@pytest.mark.thorough
def test_what_stands_behind_a_fill_comes_when_rows_are_filled(
    people: str, project: Project, server: Server, database: str, cli: Cli
) -> None:
    """A revision that failed behind its fill is run again: filled is filled, the rest is whole."""
    project.revision(code=CHECK)
    assert cli("migrate", url=people).code == 0
    fill = FILL.format(more="").replace("name IS NULL", "name IS NULL AND id < 29999")
    path = project.revision(code=fill + UPDATE + VALIDATE)
    failed = cli("migrate", url=people)
    assert failed.code == 1
    assert "violated by some row" in failed.err
    with server.connect(database) as connection:
        upper = "SELECT count(name), count(*) FILTER (WHERE name LIKE 'N%') FROM people"
        assert connection.execute(upper).fetchone() == (29998, 0)
    path.write_text(path.read_text().replace(" AND id < 29999", ""))
    assert cli("migrate", url=people).code == 0
    with server.connect(database) as connection:
        assert connection.execute(upper).fetchone() == (30000, 30000)


@pytest.mark.thorough
def test_an_update_beside_validate_is_judged_by_size(
    people: str, project: Project, server: Server, database: str, cli: Cli
) -> None:
    project.revision(code=CHECK)
    assert cli("migrate", url=people).code == 0
    project.revision(code=FILL.format(more="") + UPDATE + VALIDATE)
    assert cli("migrate", "lint", url=people).code == 0
    assert cli("migrate", "--plan", url=people).code == 0
    with server.connect(database) as connection:
        connection.execute("INSERT INTO people SELECT 7, n, 'n' FROM generate_series(1, 300000) n")
        connection.execute("ANALYZE people")
    found = cli("migrate", "lint", "-o", "json", url=people).json["revisions"][0]["findings"]
    assert [(each["rule"], each["statement"]) for each in found] == [("unbatched-write", 2)]


@pytest.mark.thorough
def test_what_stands_before_a_fill_is_a_mix(people: str, project: Project, cli: Cli) -> None:
    """It would be committed by the first batch: stopped then, the revision could not be run."""
    project.revision(code=CHECK + FILL.format(more="") + VALIDATE)
    for command in (["migrate", "lint"], ["migrate", "--plan"], ["migrate"]):
        refused = cli(*command, url=people)
        assert refused.code == 1
        assert "mixed-transaction" in refused.out + refused.err
    assert "named" not in cli("migrate", "diff", "base", "database", "-o", "sql", url=people).out
