"""A team's own Alembic project, as `alembic init` makes it, under leadctl."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import Cli
from tests.servers import Server

MODELS = """\
from sqlalchemy import MetaData, Table, Column, Integer, Text
metadata = MetaData()
Table("things", metadata, Column("id", Integer, primary_key=True), Column("name", Text))
"""


@pytest.fixture
def alembic_project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project that knows nothing of leadctl but for two lines."""
    subprocess.run(
        [sys.executable, "-m", "alembic", "init", "-t", "generic", "db"],
        cwd=tmp_path,
        check=True,
        capture_output=True,
    )
    (tmp_path / "things_models.py").write_text(MODELS)
    environment = tmp_path / "db" / "env.py"
    text = environment.read_text().replace(
        "target_metadata = None", "from things_models import metadata as target_metadata"
    )
    environment.write_text(
        text.replace(
            "target_metadata=target_metadata",
            'target_metadata=target_metadata, version_table="our_versions", transactional_ddl=True',
        )
    )
    (tmp_path / "leadctl.toml").write_text('app = "own"\n[apps.own]\nmigrations = "db"\n')
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.delitem(sys.modules, "things_models", raising=False)
    return tmp_path


def test_everything_holds_there_too(
    alembic_project: Path, server: Server, database: str, cli: Cli
) -> None:
    url = server.url(database)
    new = cli("migrate", "new", "-m", "first", url=url)
    assert new.code == 0, new.err
    assert list((alembic_project / "db" / "versions").glob("*.py"))
    plan = cli("migrate", "--plan", "-o", "json", url=url)
    statements = [each["sql"] for each in plan.json["revisions"][0]["statements"]]
    assert any(sql.startswith("CREATE TABLE things") for sql in statements)
    done = cli("migrate", url=url)
    assert done.code == 0, done.err
    assert "Left out: transactional_ddl" in done.err
    with server.connect(database) as connection:
        tables = connection.execute(
            "SELECT relname FROM pg_class WHERE relkind = 'r' AND"
            " relnamespace = 'public'::regnamespace ORDER BY 1"
        ).fetchall()
        assert tables == [("our_versions",), ("things",)]
        assert connection.execute("SELECT count(*) FROM leadctl.migration").fetchone() == (1,)
    assert cli("migrate", "status", url=url).code == 0
    assert cli("health-check", url=url).code == 0
    assert "Nothing to write" in cli("migrate", "new", "-m", "second", url=url).out
    assert cli("migrate", url=url).out.startswith("Nothing to do")
    assert cli("reset", "--yes", url=url).code == 0
    assert cli("migrate", "status", url=url).code == 0


def test_a_history_that_alembic_applied_is_taken_over(
    alembic_project: Path, server: Server, database: str, cli: Cli
) -> None:
    url = server.url(database)
    assert cli("migrate", "new", "-m", "first", url=url).code == 0
    ini = alembic_project / "alembic.ini"
    address = url.replace("postgresql://", "postgresql+psycopg://").replace("%", "%%")
    lines = [
        f"sqlalchemy.url = {address}" if line.startswith("sqlalchemy.url") else line
        for line in ini.read_text().splitlines()
    ]
    ini.write_text("\n".join(lines))
    subprocess.run(
        [sys.executable, "-m", "alembic", "upgrade", "head"],
        cwd=alembic_project,
        check=True,
        capture_output=True,
    )
    assert cli("migrate", url=url).out.startswith("Nothing to do")
    assert cli("migrate", "status", url=url).code == 0
    # Nothing of leadctl's has written there yet, so nobody knows what the database is.
    assert cli("reset", "--yes", url=url).code == 5
    assert cli("db", "environment", "test", "--unprotect", url=url).code == 0
    assert cli("reset", "--yes", url=url).code == 0


@pytest.mark.parametrize(
    ("line", "code", "said"),
    [
        ("raise RuntimeError('no configuration')", 3, "RuntimeError: no configuration"),
        ("context.configure(version_table=str(1))", 3, "have no metadata"),
        ("def f(:", 3, "env.py"),
    ],
)
def test_an_environment_that_is_wrong(
    alembic_project: Path, server: Server, database: str, cli: Cli, line: str, code: int, said: str
) -> None:
    assert cli("migrate", "new", "-m", "first", url=server.url(database)).code == 0
    environment = alembic_project / "db" / "env.py"
    environment.write_text(f"from alembic import context\n{line}\n")
    outcome = cli("migrate", url=server.url(database))
    assert outcome.code == code
    assert said in outcome.err
