"""Databases of many tables: what init, check, new and the reports cost, and whether one can read it."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from sqlalchemy.util import topological

from tests.conftest import KEY, Cli
from tests.rails import structure
from tests.servers import Server

CIRCLE = 250
SECONDS, KILOBYTES = 20, 500_000


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(sys, "path", list(sys.path))
    return tmp_path


@pytest.mark.thorough
def test_a_circle_of_many_references_is_read_and_made_without_going_round_in_it(
    cli: Cli, server: Server, database: str, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with server.connect(database) as connection:
        tables = (
            f"CREATE TABLE t{n:03} (id int PRIMARY KEY, next_id int, name text UNIQUE)"
            for n in range(CIRCLE)
        )
        keys = (
            f"ALTER TABLE t{n:03} ADD FOREIGN KEY (next_id) REFERENCES t{(n + 1) % CIRCLE:03}"
            for n in range(CIRCLE)
        )
        connection.execute(";".join([*tables, *keys]))

    def refused(*_: object) -> None:
        raise AssertionError("SQLAlchemy looks for circles, from each table anew")

    monkeypatch.setattr(topological, "find_cycles", refused)
    url = server.url(database)
    made = cli("init", "--from-database", url=url)
    assert made.code == 0, made.err
    models = (project / f"{project.name}_models.py").read_text()
    assert models.count("ForeignKey(") == CIRCLE
    checked = cli("migrate", "check", url=url)
    assert checked.code == 0, checked.out


@pytest.mark.thorough
def test_what_models_lack_is_counted_where_it_is_much(
    cli: Cli, server: Server, database: str
) -> None:
    count = 60
    with server.connect(database) as connection:
        connection.execute(structure(count))
    url = server.url(database)
    made = cli("init", "--from-database", url=url)
    assert made.code == 0, made.err
    assert f"{count} functions: account_settings_touched(), accounts_touched()" in made.out
    assert len(made.out.splitlines()) < 50
    shown = cli("inspect", "all", url=url)
    assert "more rows: leadctl inspect tables" in shown.out
    whole = cli("inspect", "all", "-o", "json", url=url).json
    sizes = next(each for each in whole["reports"] if each["report"] == "tables")
    assert len(sizes["rows"]) > count
    first = cli("stats", url=url)
    assert "smaller tables" in first.out
    assert " more" in " ".join(cli("studio", url=url).out.split())


@pytest.mark.slow
def test_a_thousand_tables_cost_little(server: Server, database: str, project: Path) -> None:
    with server.connect(database) as connection:
        connection.execute(structure(1000))
    url = server.url(database)

    def run(*words: str) -> str:
        return _measured(words, url, project)

    assert len(run("init", "--from-database").splitlines()) < 60
    assert " agree." in run("migrate", "check")
    models = project / f"{project.name}_models.py"
    column = "    colour: Mapped[str | None] = mapped_column(Text)\n"
    slug = "    slug: Mapped["
    models.write_text(models.read_text().replace(slug, column + slug, 1))
    assert "colour" in run("migrate", "new", "-m", "colour")
    assert len(run("schema", "show").splitlines()) < 1100
    assert len(run("inspect", "all").splitlines()) < 500
    assert len(run("studio").splitlines()) < 1100
    assert len(run("stats").splitlines()) < 100


def _measured(words: tuple[str, ...], url: str, folder: Path) -> str:
    """Run a command in a process of its own; return its output.  Fails for one that costs too much.

    The time is that of the processor, since others may use the machine.
    """
    text = (
        "import json, resource, subprocess, sys\n"
        "done = subprocess.run([sys.executable, '-m', 'leadctl', *json.loads(sys.argv[1])],"
        " capture_output=True, text=True)\n"
        "used = resource.getrusage(resource.RUSAGE_CHILDREN)\n"
        "print(json.dumps([done.returncode, done.stdout, done.stderr,"
        " used.ru_utime + used.ru_stime, used.ru_maxrss]))\n"
    )
    found = subprocess.run(
        [sys.executable, "-c", text, json.dumps(words)],
        cwd=folder,
        env={**os.environ, "DATABASE_URL": url, "ENCRYPTION_KEY": KEY, "COLUMNS": "200"},
        capture_output=True,
        text=True,
        check=True,
    )
    code, out, err, seconds, kilobytes = json.loads(found.stdout)
    assert code == 0, err
    assert seconds < SECONDS, words
    assert kilobytes < KILOBYTES, words
    return str(out)
