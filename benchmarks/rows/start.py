"""What a command costs before it does anything: help, a probe, and nothing to migrate."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from benchmarks.bench import ROOT, SIZES, Bench, Prepare, Row, Sides

ENV = """
from alembic import context
from sqlalchemy import create_engine
from leadctl.products.leadconnector.models import Base
import os
url = os.environ["DATABASE_URL"].replace("postgresql:", "postgresql+psycopg:")
with create_engine(url).connect() as connection:
    context.configure(connection=connection, target_metadata=Base.metadata)
    with context.begin_transaction():
        context.run_migrations()
"""
"""What `alembic init` writes, cut down to what runs online, with the models imported."""

_SELECT_1 = """
import os, psycopg, typer
with psycopg.connect(os.environ["DATABASE_URL"]) as connection:
    connection.execute("SELECT 1")
"""
"""The floor: what no command that asks the server can be quicker than."""


@contextmanager
def help_(bench: Bench, _rows: int) -> Iterator[Sides]:
    yield Sides(
        lambda: bench.python("-m", "leadctl", "--help"),
        lambda: bench.python("-c", "import typer"),
    )


def _floor(_bench: Bench) -> Sequence[str]:
    return "-c", _SELECT_1


def _alembic(bench: Bench, *arguments: str) -> Sequence[str]:
    folder = bench.scratch("alembic")
    (folder / "env.py").write_text(ENV)
    (folder / "alembic.ini").write_text(
        f"[alembic]\nscript_location = {folder}\npath_separator = os\n"
        f"version_locations = {ROOT / 'migrations' / 'leadconnector'}\n"
    )
    return "-m", "alembic", "-c", str(folder / "alembic.ini"), *arguments


def _current(bench: Bench) -> Sequence[str]:
    return _alembic(bench, "current")


def _upgrade(bench: Bench) -> Sequence[str]:
    return _alembic(bench, "upgrade", "head")


def _beside(command: str, peer: Callable[[Bench], Sequence[str]]) -> Prepare:
    """Return what prepares a command of ours, and Python with the arguments of its peer.

    The benchmark's server has no autovacuum, of which health-check would warn.
    """

    @contextmanager
    def prepare(bench: Bench, rows: int) -> Iterator[Sides]:
        name, arguments = bench.database("leadconnector", rows), peer(bench)
        yield Sides(
            lambda: bench.leadctl(name, *command.split()),
            lambda: bench.python(*arguments, database=name),
        )
        bench.drop(name)

    return prepare


_FLOOR = "the floor"
"""Its name in the table; benchmarks.md says what it is."""

ROWS = (
    Row("--help", 'python -c "import typer"', 1.4, help_, runs=9),
    Row("health-check", _FLOOR, 1.6, _beside("health-check --skip vacuum", _floor), runs=9),
    Row("migrate, nothing pending", _FLOOR, 1.1, _beside("migrate", _floor), runs=9),
    Row(
        "health-check",
        "alembic current",
        0.4,
        _beside("health-check --skip vacuum", _current),
        SIZES,
        runs=9,
    ),
    Row(
        "migrate, nothing pending",
        "alembic upgrade head",
        0.3,
        _beside("migrate", _upgrade),
        SIZES,
        runs=9,
    ),
)
