"""Rows as files: brought in, changed, skipped, and written from live rows."""

import csv
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from leadctl.journal import state
from leadctl.postgres.connect import connect
from leadctl.postgres.target import resolve
from leadctl.seed.seed import record_files_in
from tests.conftest import KEY, Cli, Prepared
from tests.processes import start
from tests.servers import Server

MODELS = """\
import enum
from datetime import datetime
from decimal import Decimal
from sqlalchemy import ForeignKey, Numeric, UniqueConstraint
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column
from leadctl.models import EncryptedText

class Base(DeclarativeBase):
    pass

class Kind(enum.Enum):
    small = "small"
    big = "big"

class Plan(Base):
    __tablename__ = "plans"
    id: Mapped[int] = mapped_column(primary_key=True)
    code: Mapped[str] = mapped_column(unique=True)
    price: Mapped[Decimal] = mapped_column(Numeric(10, 2))
    kind: Mapped[Kind]
    since: Mapped[datetime | None]
    limits: Mapped[dict | None] = mapped_column(JSONB)

class Customer(Base):
    __tablename__ = "customers"
    id: Mapped[int] = mapped_column(primary_key=True)
    email: Mapped[str] = mapped_column(unique=True)
    plan_id: Mapped[int] = mapped_column(ForeignKey("plans.id"))
    referred_by: Mapped[int | None] = mapped_column(ForeignKey("customers.id"))
    api_token: Mapped[str | None] = mapped_column(EncryptedText(context="files.customers.api_token"))
    password_hash: Mapped[str | None]
"""
CONFIG = """\
[apps.files]
models = "{module}:Base"
migrations = "migrations"
seed_files = "seeds"
[env.staging]
url = "{url}"
"""
CUSTOMERS = """\
customers:
  ada:
    email: ada@example.com
    plan_id: "@pro"
    referred_by: "@grace"
    api_token: secret
  grace:
    email: grace@example.com
    plan_id: {code: free}
"""
PLANS = """\
_name,code,price,kind,since,limits
pro,pro,12.50,big,2026-01-02T03:04:05,"{""leads"": 5}"
,free,0,small,,
"""


@pytest.fixture
def seeds(
    tmp_path: Path, server: Server, database: str, cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> Path:
    """A migrated project with seed files; the folder of the files."""
    monkeypatch.setattr(sys, "path", list(sys.path))
    module = f"seed_models_{tmp_path.name}"
    (tmp_path / f"{module}.py").write_text(MODELS)
    url = server.url(database)
    (tmp_path / "leadctl.toml").write_text(CONFIG.format(module=module, url=url))
    (tmp_path / ".env").write_text(f"DATABASE_URL={url}\n")
    assert cli("migrate", "new", "-m", "first").code == 0
    assert cli("migrate").code == 0
    folder = tmp_path / "seeds"
    folder.mkdir()
    (folder / "1_customers.yaml").write_text(CUSTOMERS)
    (folder / "plans.csv").write_text(PLANS)
    return folder


@pytest.fixture
def rows(server: Server, database: str) -> Prepared:
    return Prepared(database, server.url(database), server)


def test_rows_come_in_the_order_of_their_references(seeds: Path, rows: Prepared, cli: Cli) -> None:
    outcome = cli("seed", "-o", "json")
    assert outcome.code == 0, outcome.err
    assert {each["table"]: each["inserted"] for each in outcome.json["tables"]} == {
        "plans": 2,
        "customers": 2,
    }
    assert rows.query("SELECT code, price, kind::text, limits FROM plans ORDER BY code") == [
        ("free", 0, "small", None),
        ("pro", 12.5, "big", {"leads": 5}),
    ]
    assert rows.query(
        "SELECT c.email, p.code, r.email FROM customers c JOIN plans p ON p.id = c.plan_id"
        " LEFT JOIN customers r ON r.id = c.referred_by ORDER BY 1"
    ) == [("ada@example.com", "pro", "grace@example.com"), ("grace@example.com", "free", None)]
    ((token,),) = rows.query("SELECT api_token FROM customers WHERE api_token IS NOT NULL")
    assert token.startswith("lc1.")


@pytest.mark.thorough
def test_unchanged_files_are_skipped_and_changed_rows_updated(
    seeds: Path, rows: Prepared, cli: Cli
) -> None:
    assert cli("seed").code == 0
    rows.query("UPDATE plans SET price = 99 WHERE code = 'free'")
    again = cli("seed", "-o", "json").json
    assert {each["state"] for each in again["files"]} == {"unchanged"}
    assert again["tables"] == []
    (seeds / "plans.csv").write_text(PLANS.replace("12.50", "13"))
    changed = cli("seed", "-o", "json").json
    assert changed["tables"] == [{"table": "plans", "inserted": 0, "unchanged": 0, "updated": 2}]
    assert rows.query("SELECT price FROM plans ORDER BY code") == [(0,), (13,)]
    # A name in a file that did not change is still one.
    (seeds / "1_customers.yaml").write_text(
        CUSTOMERS + "  eve:\n    email: eve@example.com\n    plan_id: '@pro'\n"
    )
    third = cli("seed", "-o", "json")
    assert third.code == 0, third.err
    (customers,) = third.json["tables"]
    assert customers["inserted"] == 1


def test_an_environment_has_files_of_its_own(seeds: Path, rows: Prepared, cli: Cli) -> None:
    (seeds / "staging").mkdir()
    (seeds / "staging" / "more.json").write_text(
        '{"plans": [{"code": "test", "price": 1, "kind": "small"}]}'
    )
    assert cli("seed").code == 0
    assert rows.query("SELECT count(*) FROM plans") == [(2,)]
    assert cli("seed", "--env", "staging").code == 0
    assert rows.query("SELECT count(*) FROM plans") == [(3,)]


def test_generated_keys_go_on_behind_given_ones(seeds: Path, rows: Prepared, cli: Cli) -> None:
    (seeds / "fixed.yaml").write_text("plans: [{id: 7, code: fixed, price: 1, kind: small}]")
    assert cli("seed").code == 0
    rows.query("INSERT INTO plans (code, price, kind) VALUES ('next', 1, 'small')")
    assert rows.query("SELECT id FROM plans WHERE code = 'next'") == [(8,)]


def test_sql_runs_once_and_all_is_one_transaction(seeds: Path, rows: Prepared, cli: Cli) -> None:
    (seeds / "z.sql").write_text(
        "UPDATE plans SET price = price + 1;\nUPDATE plans SET code = '100%' WHERE code = 'pro';"
    )
    for _ in range(2):
        assert cli("seed").code == 0
    assert rows.query("SELECT code, price FROM plans ORDER BY price") == [
        ("free", 1),
        ("100%", 13.5),
    ]
    (seeds / "plans.csv").write_text(PLANS.replace("free,0", "free,7"))
    (seeds / "z.sql").write_text("SELECT 1;\nSELECT nonsense;")
    outcome = cli("seed")
    assert (outcome.code, outcome.out) == (1, "")
    assert "z.sql, line 2" in outcome.err
    assert rows.query("SELECT price FROM plans WHERE code = 'free'") == [(1,)]


@pytest.mark.thorough
def test_reset_brings_all_in_again(seeds: Path, rows: Prepared, cli: Cli) -> None:
    assert cli("seed").code == 0
    assert cli("reset", "--yes").code == 0
    assert rows.query("SELECT count(*) FROM customers") == [(2,)]


WRONG = {
    "plans: [{code: x, price: 1, kind: small}": "1_customers.yaml, line 1, column 41: while",
    "plans:\n  - {code: y}\n\tprice: 1": "1_customers.yaml, line 3, column 1: while scanning",
    "plans: 3": "not a mapping of tables to rows",
    "plans: [3]": "row 1 of plans is not a mapping",
    "nothing: [{a: 1}]": "a table that the models do not have",
    "plans: [{colour: red}]": "plans has no column colour",
    "plans: [{code: z, price: 1, kind: small}, {price: 1}]": "row 2 of plans has no key to find it",
    "plans: {big: {price: 1}}": "the row big of plans has no key to find it by",
    "plans: [{code: y, price: much, kind: small}]": "cannot be inserted",
    "customers: [{email: x, plan_id: '@nobody'}]": "refers to @nobody",
    "customers: [{email: x, plan_id: {code: none}}]": "of which there is none",
}


@pytest.mark.few(2)
@pytest.mark.parametrize("text", WRONG)
def test_a_file_that_is_wrong(text: str, seeds: Path, rows: Prepared, cli: Cli) -> None:
    (seeds / "1_customers.yaml").write_text(text)
    outcome = cli("seed")
    assert (outcome.code, outcome.out) == (1, "")
    assert "1_customers.yaml" in outcome.err
    assert WRONG[text] in outcome.err
    assert rows.query("SELECT count(*) FROM plans") == [(0,)]


def test_a_table_that_no_migration_made(seeds: Path, rows: Prepared, cli: Cli) -> None:
    """The file is right, so it is not the file that is to be corrected."""
    rows.query("DROP TABLE customers, plans")
    refused = cli("seed")
    assert refused.code == 1
    assert "Apply the migrations first: leadctl migrate" in refused.err
    assert "Correct the file" not in refused.err


def test_a_folder_without_seed_files_seeds_nothing(seeds: Path, rows: Prepared, cli: Cli) -> None:
    for file in seeds.rglob("*"):
        if file.is_file():
            file.unlink()
    (seeds / "notes.txt").write_text("x")
    outcome = cli("seed")
    assert outcome.code == 0
    assert outcome.out.startswith("Nothing to seed:")
    assert "Seeded" not in outcome.out


@pytest.mark.few(1)
@pytest.mark.parametrize("ending", ["yaml", "json", "csv"])
def test_what_is_exported_comes_back(
    ending: str, seeds: Path, rows: Prepared, cli: Cli, tmp_path: Path
) -> None:
    assert cli("seed").code == 0
    rows.query("UPDATE customers SET password_hash = 'x' WHERE email LIKE 'ada%%'")
    file = tmp_path / f"customers.{ending}"
    outcome = cli(
        "seed",
        "--export",
        "customers",
        "--where",
        "email LIKE 'ada%'",
        "--to",
        str(file),
        "-o",
        "json",
    )
    assert outcome.code == 0, outcome.err
    assert outcome.json["rows"] == 1
    assert outcome.json["masked"] == ["api_token", "password_hash"]
    text = file.read_text()
    assert "secret" not in text
    assert "masked-1" in text
    assert "pro" in text
    if ending == "csv":
        assert next(csv.DictReader(text.splitlines()))["email"] == "ada@example.com"
    rows.query("DELETE FROM customers WHERE email LIKE 'ada%%'")
    for old in seeds.iterdir():
        old.unlink()
    file.rename(seeds / file.name)
    back = cli("seed")
    assert back.code == 0, back.err
    assert rows.query("SELECT count(*) FROM customers") == [(2,)]
    assert cli("seed", "--export", "customers", "--to", str(seeds / file.name)).code == 1


@pytest.mark.few(1)
@pytest.mark.parametrize("moment", ["-infinity", "0044-03-15 00:00:00 BC", "infinity"])
def test_moments_that_python_does_not_have(
    moment: str, seeds: Path, rows: Prepared, cli: Cli
) -> None:
    assert cli("seed").code == 0
    rows.query("UPDATE plans SET since = %s", moment)
    for old in seeds.iterdir():
        old.unlink()
    done = cli("seed", "--export", "plans")
    assert done.code == 0, done.err
    assert moment in (seeds / "plans.yaml").read_text()
    rows.query("UPDATE plans SET since = now()")
    back = cli("seed")
    assert back.code == 0, back.err
    assert rows.query("SELECT DISTINCT since::text FROM plans") == [(moment,)]


def test_an_export_for_a_spreadsheet(seeds: Path, rows: Prepared, cli: Cli, tmp_path: Path) -> None:
    assert cli("seed").code == 0
    rows.query("UPDATE customers SET email = '=ada()' WHERE email LIKE 'ada%%'")
    call = ["seed", "--export", "customers", "--where", "email LIKE '%ada%'", "--to"]
    for flags, text in (([], "=ada()"), (["--for-spreadsheet"], "'=ada()")):
        file = tmp_path / f"customers{len(flags)}.csv"
        outcome = cli(*call, str(file), *flags)
        assert outcome.code == 0, outcome.err
        assert next(csv.DictReader(file.read_text().splitlines()))["email"] == text
    refused = cli(*call, str(tmp_path / "customers.yaml"), "--for-spreadsheet")
    assert (refused.code, refused.out) == (2, "")
    assert "Add --to customers.csv" in refused.err
    assert cli("seed", "--for-spreadsheet").code == 2


@pytest.mark.few(1)
@pytest.mark.parametrize(
    "wrong",
    [
        ["--export", "nothing"],
        ["--export", "plans", "--where", "1 = "],
        ["--export", "plans", "--where", "1 = 1); DROP TABLE plans --"],
        ["--export", "plans", "--to", "plans.xml"],
        ["--where", "true"],
    ],
)
def test_an_export_that_is_wrong(wrong: list[str], seeds: Path, rows: Prepared, cli: Cli) -> None:
    outcome = cli("seed", *wrong)
    assert (outcome.code, outcome.out) == (2, "")
    assert rows.query("SELECT to_regclass('plans') IS NOT NULL") == [(True,)]


def test_runs_at_once_seed_once(seeds: Path, rows: Prepared) -> None:
    """As when each copy of a service seeds while it starts: nothing recorded them yet."""
    (seeds / "later.sql").write_text(
        "SELECT pg_sleep(0.5); INSERT INTO plans (code, price, kind)"
        " VALUES (gen_random_uuid(), 1, 'big')"
    )
    environment = {"ENCRYPTION_KEY": KEY}
    runs = [start("seed", env=environment, cwd=seeds.parent) for _ in range(3)]
    ends = [(run.communicate(timeout=60)[1], run.returncode) for run in runs]
    assert {code for _, code in ends} == {0}, ends
    assert rows.query("SELECT count(*) FROM plans") == [(3,)]


def test_tables_of_records_are_made_by_one_at_a_time(rows: Prepared) -> None:
    """Of two schemas that are seeded at once, and for the first time."""
    target = resolve(rows.settings(), app="files")
    with connect(target, "a") as one, connect(target, "b") as two, ThreadPoolExecutor() as pool:
        state.ensure(one, target)
        with one.transaction():
            record_files_in(one)
            other = pool.submit(record_files_in, two)
            rows.wait_for(
                "SELECT 1 FROM pg_stat_activity WHERE datname = current_database()"
                " AND wait_event_type = 'Lock'"
            )
        other.result(timeout=30)
