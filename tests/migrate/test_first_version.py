"""What version 0.1.0 made goes on: its database, leadctl.toml, history and backups."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from leadctl.postgres.binaries import client_program
from tests.conftest import Cli
from tests.migrate.test_pairs import psql
from tests.servers import Server

COMMIT = "5754244"
"""The last one before records say how much was read."""
ROOT = Path(__file__).parents[2]
CONFIG = """\
app = "shop"

[apps.shop]
models = "old_shop:Base"
migrations = "migrations"
"""
MODELS = """\
from datetime import date

from sqlalchemy import ForeignKey
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column


class Base(DeclarativeBase):
    pass


class Customer(Base):
    __tablename__ = "customers"
    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str]


class Order(Base):
    __tablename__ = "orders"
    id: Mapped[int] = mapped_column(primary_key=True)
    customer_id: Mapped[int] = mapped_column(ForeignKey("customers.id"))
    note: Mapped[str | None]
"""
DAYS = """

class Day(Base):
    __tablename__ = "days"
    __table_args__ = {"postgresql_partition_by": "RANGE (day)"}
    day: Mapped[date] = mapped_column(primary_key=True)
    n: Mapped[int | None] = mapped_column(server_default="1")
"""
MORE = '''\
"""More than models say."""

from alembic import op

revision = "shop_0002"
down_revision = "shop_0001"

STATEMENTS = """
CREATE VIEW told AS SELECT note FROM orders;
CREATE FUNCTION same(text, text) RETURNS bool IMMUTABLE LANGUAGE sql AS 'SELECT $1 = $2';
CREATE OPERATOR === (LEFTARG = text, RIGHTARG = text, FUNCTION = same);
COMMENT ON OPERATOR === (text, text) IS 'not read then';
CREATE TABLE may PARTITION OF days FOR VALUES FROM ('2026-05-01') TO ('2026-06-01');
ALTER TABLE ONLY may ALTER n SET DEFAULT 5;
CREATE DOMAIN code AS text COLLATE "C";
ALTER TABLE orders ALTER note SET STATISTICS 500
"""


def upgrade():
    for statement in STATEMENTS.split(";\\n"):
        op.execute(statement)


def downgrade():
    pass
'''


@pytest.fixture(scope="module")
def first(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The package as it was then."""
    folder = tmp_path_factory.mktemp("first")
    packed = subprocess.run(
        ["git", "-C", str(ROOT), "archive", COMMIT, "leadctl", "migrations", "pyproject.toml"],
        capture_output=True,
        check=False,
    )
    if packed.returncode != 0:
        pytest.skip(f"the history with {COMMIT} is not here")
    subprocess.run(["tar", "-x", "-C", str(folder)], input=packed.stdout, check=True)
    return folder


def dump(url: str, *options: str) -> str:
    """Return a database as pg_dump has it, without what leadctl and Alembic keep there."""
    text = subprocess.run(
        [client_program("pg_dump"), "--no-owner", "-N", "leadctl", *options, "-d", url],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    return re.sub(r"^\\(?:un)?restrict .*$", "", text, flags=re.M)


@pytest.mark.thorough
def test_it_goes_on(
    first: Path,
    server: Server,
    database: str,
    cli: Cli,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.delitem(sys.modules, "old_shop", raising=False)
    (tmp_path / "migrations").mkdir()
    (tmp_path / "leadctl.toml").write_text(CONFIG)
    (tmp_path / "old_shop.py").write_text(MODELS + DAYS)
    url = server.url(database)

    def then(*line: str) -> None:
        variables = {**os.environ, "PYTHONPATH": str(first), "DATABASE_URL": url}
        variables["PATH"] = f"{Path(client_program('psql')).parent}:{os.environ['PATH']}"
        done = subprocess.run(
            [sys.executable, "-m", "leadctl", *line],
            env=variables,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr + done.stdout

    then("migrate", "new", "-m", "Orders")
    then("migrate")
    (tmp_path / "migrations" / "0002_more.py").write_text(MORE)
    then("migrate")
    rows = "INSERT INTO customers (name) VALUES ('a'); INSERT INTO orders (customer_id) VALUES (1);"
    assert psql(url, rows) == ""
    then("backup")
    (kept,) = (each.name for each in (tmp_path / "backups").iterdir() if each.is_dir())
    whole, schema = dump(url), dump(url, "-s")

    for line in (("drift",), ("check",), ("status",), ("diff", "record", "database")):
        outcome = cli("migrate", *line, url=url)
        assert outcome.code == 0, outcome.out + outcome.err
    assert psql(url, "COMMENT ON OPERATOR === (text, text) IS NULL; DROP VIEW told") == ""
    by_hand = cli("migrate", "drift", "-o", "json", url=url)
    assert [each["object"] for each in by_hand.json["differences"]] == ["view told"]

    back = cli("restore", kept, "--yes", "--confirm", database, url=url)
    assert back.code == 0, back.err
    assert dump(url) == whole
    assert cli("migrate", "drift", url=url).code == 0

    grown = f"{MODELS}    paid: Mapped[bool | None]\n{DAYS}"
    (tmp_path / "old_shop.py").write_text(grown)
    monkeypatch.delitem(sys.modules, "old_shop", raising=False)
    written = cli("migrate", "new", "-m", "Paid", url=url)
    assert written.code == 0, written.err
    (name,) = (each.name for each in (tmp_path / "migrations").rglob("*_paid.py"))
    assert name.startswith("0003_")  # a history that counts goes on counting
    applied = cli("migrate", url=url)
    assert applied.code == 0, applied.err
    assert "paid boolean" in dump(url, "-s")
    for line in (("drift",), ("check",)):
        assert cli("migrate", *line, url=url).code == 0
    down = cli("migrate", "down", "--yes", url=url)
    assert down.code == 0, down.err
    assert dump(url, "-s") == schema
