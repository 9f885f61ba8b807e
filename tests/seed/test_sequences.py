"""Rows that the app adds after a seed: no number is drawn twice, and no sequence is set back."""

import sys
from pathlib import Path

import psycopg
import pytest
import sqlalchemy as sa

from tests.conftest import Cli
from tests.servers import Server

MODELS = """\
from sqlalchemy import Column, Identity, Integer, MetaData, Sequence, Table, Text
metadata = MetaData()
free, shared = (Sequence(name, metadata=metadata) for name in ("free ones", "shared"))
def table(name, *numbered):
    return Table(name, metadata, *numbered, Column("name", Text, unique=True, nullable=False))
table("by default", Column("id", Integer, server_default=free.next_value(), primary_key=True))
table("by app", Column("id", Integer, Sequence("by the app", metadata=metadata), primary_key=True))
table("first", Column("id", Integer, server_default=shared.next_value(), primary_key=True))
table("second", Column("id", Integer, server_default=shared.next_value(), primary_key=True))
table("late", Column("id", Integer, Identity(start=5000, minvalue=1000), primary_key=True))
table("restarted", Column("id", Integer, primary_key=True))
table("down", Column("id", Integer, Identity(start=-1, increment=-1), primary_key=True))
table("beside", Column("id", Integer, primary_key=True), Column("no", Integer, free,
    server_default=free.next_value(), nullable=False))
"""
TABLES = ("by default", "by app", "first", "second", "late", "restarted", "down", "beside")


@pytest.fixture
def url(
    tmp_path: Path, server: Server, database: str, cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> str:
    """A migrated project, where a revision has told one sequence to begin anew."""
    monkeypatch.setattr(sys, "path", list(sys.path))
    module = f"numbered_{tmp_path.name.replace('-', '_')}"
    (tmp_path / f"{module}.py").write_text(MODELS)
    (tmp_path / "leadctl.toml").write_text(
        f'[apps.numbered]\nmodels = "{module}:metadata"\nmigrations = "migrations"\n'
        'seed_files = "seeds"\n'
    )
    (tmp_path / "migrations").mkdir()
    (tmp_path / "seeds").mkdir()
    found = server.url(database)
    assert cli("migrate", "dev", "-m", "first", url=found).code == 0
    with psycopg.connect(found) as connection:
        connection.execute("ALTER SEQUENCE restarted_id_seq RESTART WITH 9000")
    return found


def _drawn(url: str) -> dict[str, int]:
    """Add a row to each table as an app does, twice; return the second one's number."""
    metadata = sa.MetaData()
    found, names = {}, iter(range(10**6))
    exec(MODELS.replace("metadata = MetaData()", ""), {"metadata": metadata})
    engine = sa.create_engine(url.replace("postgresql:", "postgresql+psycopg:", 1))
    with engine.begin() as connection:
        for name in TABLES * 2:
            table = metadata.tables[name]
            number = next(names)
            row = {"name": f"app {number}"} | ({"id": -number} if name == "beside" else {})
            found[name] = connection.execute(table.insert(), row).inserted_primary_key[0]
    engine.dispose()
    return found


@pytest.mark.parametrize("bulk", [False, True])
def test_the_next_number_is_free(url: str, cli: Cli, tmp_path: Path, bulk: bool) -> None:
    for name in TABLES:
        (tmp_path / "seeds" / f"{name}.csv").write_text("id,name\n3,three\n1,one\n")
    assert cli("seed", url=url).code == 0
    if bulk:
        assert cli("seed", "--bulk", "800", "--yes", url=url).code == 0
    drawn = _drawn(url)
    assert (drawn["late"] > 5000, drawn["restarted"] > 9000, drawn["down"]) == (True, True, -2)
