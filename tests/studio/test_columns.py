"""Which columns a page shows where not all fit: the key, what was asked for, what tells most."""

import pytest

from tests.conftest import Cli, Prepared
from tests.servers import Server

WIDE = """
CREATE TYPE stage AS ENUM ('new', 'won');
CREATE TABLE deals (
    id uuid PRIMARY KEY, company_id uuid, external_key text, payload jsonb, tags text[], note text,
    region text, amount numeric, created_at timestamptz, stage stage, title text
);
INSERT INTO deals VALUES
    ('a03b0000-0000-0000-0000-000000000001', 'a03b0000-0000-0000-0000-000000000002', repeat('k', 40),
     '{"a": [1, 2, 3, 4, 5, 6, 7, 8, 9]}', '{one,two,three,four}', repeat('long ', 20),
     'north', 12.5, '2026-01-31 10:00+00', 'won', 'Solar roof');
"""


def shown(cli: Cli, url: str, *arguments: str, width: int = 80) -> tuple[list[str], str]:
    """Return the heads of what is shown, and all of it."""
    outcome = cli("studio", "deals", *arguments, url=url, env={"COLUMNS": str(width)})
    assert outcome.code == 0, outcome.err
    assert (
        all(len(line) <= width or line.startswith("Next:") for line in outcome.out.splitlines())
        or "--wide" in arguments
    )
    return outcome.out.splitlines()[0].split(), outcome.out


@pytest.fixture
def deals(server: Server, database: str) -> str:
    with server.connect(database) as connection:
        connection.execute(WIDE.encode())
    return server.url(database)


def test_what_tells_most_is_shown(deals: str, cli: Cli) -> None:
    heads, out = shown(cli, deals, width=60)
    assert heads == ["id", "amount", "created_at", "stage", "title"]
    assert "6 of 11 columns are left out: company_id, external_key" in out
    heads, _ = shown(cli, deals, width=32)
    assert heads == ["id", "stage", "title"]


def test_one_of_each_kind_comes_before_a_second(server: Server, database: str, cli: Cli) -> None:
    """Four columns of names leave out neither the state nor the time."""
    with server.connect(database) as connection:
        connection.execute(
            "CREATE TABLE deals (id int PRIMARY KEY, form_name text, campaign_name text,"
            " ad_name text, name text, seen_at timestamptz, created_at timestamptz, status text)"
        )
        connection.execute("INSERT INTO deals VALUES (1, 'a', 'b', 'c', 'd', now(), now(), 'NEW')")
    heads, _ = shown(cli, server.url(database), width=40)
    assert heads == ["id", "name", "created_at", "status"]


@pytest.mark.parametrize(
    "asked",
    [("--where", "region=north"), ("--where", "not region=x"), ("--sort", "-region")],
)
def test_what_is_asked_for_is_shown(asked: tuple[str, str], deals: str, cli: Cli) -> None:
    if asked[1].startswith("not"):
        asked = (asked[0], "region!=x")
    heads, _ = shown(cli, deals, *asked, width=72)
    assert "region" in heads
    assert heads[0] == "id"


def test_columns_that_are_named_keep_their_order(deals: str, cli: Cli) -> None:
    heads, _ = shown(cli, deals, "--columns", "note,external_key,title,stage,id", width=60)
    assert heads[:2] == ["note", "external_key"]


def test_wide_shows_all(deals: str, cli: Cli) -> None:
    heads, out = shown(cli, deals, "--wide", width=60)
    assert len(heads) == 11
    assert "left out" not in out
    assert "long long long" in out
    assert cli("studio", "deals", "--wide", "-o", "csv", url=deals).code == 2


def test_a_command_is_never_broken(deals: str, server: Server, database: str, cli: Cli) -> None:
    with server.connect(database) as connection:
        connection.execute(
            "INSERT INTO deals (id) SELECT gen_random_uuid() FROM generate_series(1, 30)"
        )
    condition = "note!=" + "x" * 70
    _, out = shown(cli, deals, "--where", condition, width=60)
    (line,) = [line for line in out.splitlines() if line.startswith("Next: ")]
    arguments = line.removeprefix("Next: leadctl ").replace("'", "").split()
    assert cli(*arguments, url=deals).code == 0


def test_who_refers_to_a_table_is_shown_on_80_columns(leadconnector: Prepared, cli: Cli) -> None:
    outcome = cli("studio", url=leadconnector.url, env={"COLUMNS": "80"})
    assert "Referred to by" in outcome.out
    assert all(len(line) <= 80 for line in outcome.out.splitlines())
