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
