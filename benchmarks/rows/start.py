"""What a command costs before it does anything: help, a probe, and nothing to migrate."""

from collections.abc import Iterator
from contextlib import contextmanager

from benchmarks.bench import ROOT, Bench, Row, Sides

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

_SIZES = (100_000, 1_000_000, 3_000_000)


def _alembic(bench: Bench) -> str:
    folder = bench.scratch("alembic")
    (folder / "env.py").write_text(ENV)
    (folder / "alembic.ini").write_text(
        f"[alembic]\nscript_location = {folder}\npath_separator = os\n"
        f"version_locations = {ROOT / 'migrations' / 'leadconnector'}\n"
    )
    return str(folder / "alembic.ini")


@contextmanager
def help_(bench: Bench, _rows: int) -> Iterator[Sides]:
    yield Sides(
        lambda: bench.python("-m", "leadctl", "--help"),
        lambda: bench.python("-c", "import typer"),
    )


@contextmanager
def health_check(bench: Bench, rows: int) -> Iterator[Sides]:
    ini, name = _alembic(bench), bench.database("leadconnector", rows)
    yield Sides(
        lambda: bench.leadctl(name, "health-check"),
        lambda: bench.python("-m", "alembic", "-c", ini, "current", database=name),
    )
    bench.drop(name)


@contextmanager
def migrate(bench: Bench, rows: int) -> Iterator[Sides]:
    ini, name = _alembic(bench), bench.database("leadconnector", rows)
    yield Sides(
        lambda: bench.leadctl(name, "migrate"),
        lambda: bench.python("-m", "alembic", "-c", ini, "upgrade", "head", database=name),
    )
    bench.drop(name)


ROWS = (
    Row("--help", 'python -c "import typer"', 2.0, help_, runs=9),
    Row("health-check", "alembic current", 0.4, health_check, _SIZES, runs=9),
    Row("migrate, nothing pending", "alembic upgrade head", 0.4, migrate, _SIZES, runs=9),
)
