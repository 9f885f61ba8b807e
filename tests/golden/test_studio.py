"""What studio and schema look like at three widths, to the letter, with wide characters and emoji."""

import re
from collections.abc import Iterator

import pytest
from rich.cells import cell_len

from tests.conftest import Cli
from tests.golden.snapshots import assert_complete, assert_snapshot
from tests.servers import Server

SETUP = """
CREATE TYPE status AS ENUM ('NEW', 'FAILED');
CREATE TABLE customers (
    id bigint PRIMARY KEY, name text NOT NULL, email text, password_hash text, notes text,
    tags text[], profile jsonb, balance numeric(10, 2) DEFAULT 0, created_at timestamptz NOT NULL
);
COMMENT ON TABLE customers IS 'Who buys — 顧客';
COMMENT ON COLUMN customers.email IS 'may be missing';
CREATE INDEX ix_customers_created_at ON customers (created_at DESC) WHERE email IS NOT NULL;
CREATE TABLE orders (
    "Order No" int PRIMARY KEY, customer_id bigint REFERENCES customers ON DELETE CASCADE,
    status status NOT NULL DEFAULT 'NEW', total numeric CHECK (total >= 0), at timestamp
);
CREATE VIEW recent AS SELECT * FROM orders;
INSERT INTO customers VALUES
    (1, '山田 太郎', 'yamada@example.jp', 'x', E'erste Zeile\\nzweite\\tZeile', '{vip,"a b"}',
     '{"address": {"city": "東京", "zip": 1000001}, "likes": ["🍣", "音楽"]}', 12.5, '2026-01-02 03:04:05.678Z'),
    (2, 'Ana 👩‍💻 Souza 🇧🇷', NULL, NULL, '', NULL, NULL, 1234567.89, '2026-01-03 00:00:00Z'),
    (3, E'\\x1b[31mred\\x1b[0m [bold]markup[/bold]', 'a long address that has no end@example.com', 'y',
     'null', '{}', '[]', NULL, '1999-12-31 23:59:59Z'),
    (40000000001, 'Zoë Ångström e\u0301', 'zoe@example.com', 'z', repeat('lang ', 60), '{x}', '{}', 0, '2026-01-04 00:00:00Z');
INSERT INTO orders VALUES (1, 1, 'NEW', 10, '2026-01-01'), (2, 1, 'FAILED', 20.5, NULL), (3, NULL, 'NEW', 0, NULL);
ANALYZE;
"""

COMMANDS = {
    "tables": ["studio"],
    "rows": ["studio", "customers"],
    "some": ["studio", "customers", "--columns", "id,name,notes", "--where", "name~o", "--count"],
    "next": ["studio", "customers", "--sort=-created_at", "--limit=2", "--columns=id,created_at"],
    "record": ["studio", "customers", "1"],
    "nothing": ["studio", "customers", "2"],
    "followed": ["studio", "customers", "1", "--follow", "orders"],
    "none": ["studio", "orders", "--where", "total>99"],
    "error": ["studio", "orders", "--where", "status=DONE"],
    "schema": ["schema", "show"],
    "schema_table": ["schema", "show", "customers"],
    "schema_orders": ["schema", "show", "orders"],
    "validate": ["schema", "validate", "--database"],
}
FORMATS = {
    ("rows", "json"): ["studio", "customers", "-o", "json"],
    ("rows", "jsonl"): ["studio", "customers", "-o", "jsonl"],
    ("rows", "csv"): ["studio", "customers", "-o", "csv"],
    ("record", "json"): ["studio", "customers", "1", "-o", "json"],
    ("tables", "json"): ["studio", "-o", "json"],
    ("schema", "json"): ["schema", "show", "-o", "json"],
    ("diagram", "mermaid"): ["schema", "diagram"],
    ("dump", "sql"): ["schema", "dump"],
}
WIDTHS = [60, 80, 200]


@pytest.fixture(scope="module")
def url(server: Server) -> Iterator[str]:
    name = server.create()
    with server.connect(name) as connection:
        connection.execute(SETUP)
    yield server.url(name)
    server.drop(name)


def check(name: str, section: str, shown: str) -> None:
    assert_snapshot(f"studio/{name}", section, re.sub("t_[0-9a-f]{12}", "t_of_this_run_", shown))


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("command", COMMANDS)
def test_output(url: str, cli: Cli, command: str, width: int) -> None:
    outcome = cli(*COMMANDS[command], url=url, env={"COLUMNS": str(width)})
    shown = outcome.out + outcome.err
    lines = [line for line in outcome.out.splitlines() if " leadctl studio " not in line]
    assert max(map(cell_len, lines or [""])) <= width  # but what is to be copied
    assert "\x1b" not in shown
    check(command, f"{width} columns", shown)


@pytest.mark.parametrize(("name", "section"), FORMATS)
def test_formats(url: str, cli: Cli, name: str, section: str) -> None:
    outcome = cli(*FORMATS[name, section], url=url)
    assert outcome.code == 0, outcome.err
    check(name, section, outcome.out)


def test_nothing_else_is_expected() -> None:
    tested = {(command, f"{width} columns") for command in COMMANDS for width in WIDTHS}
    assert_complete(
        "studio", {(f"studio/{name}", section) for name, section in tested | FORMATS.keys()}
    )
