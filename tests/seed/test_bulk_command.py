"""`leadctl seed --bulk` as a stranger would call it."""

import pytest

from tests.conftest import KEY, Cli, Prepared
from tests.processes import run, start
from tests.servers import Server


def test_json_is_one_document(leadconnector: Prepared, cli: Cli) -> None:
    outcome = cli("seed", "--bulk", "300", "-o", "json", url=leadconnector.url)
    assert outcome.json["rows"] == 300
    assert outcome.json["random_seed"] == 0


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--bulk", "0"], "--bulk"),
        (["--bulk", "many"], "--bulk"),
        (["--bulk", "3"], "too few"),
        (["--bulk", "100", "--scale", "nothing=3"], "nothing"),
        (["--bulk", "100", "--scale", "leads=100"], "too few"),
        (["--bulk", "100", "--span", "yesterday"], "--span"),
        (["--random-seed", "3"], "--random-seed"),
        (["--scale", "leads=3"], "--scale"),
        (["--span", "3d"], "--span"),
        (["--yes"], "--yes"),
    ],
)
def test_what_makes_no_sense_is_said(
    leadconnector: Prepared, cli: Cli, flags: list[str], said: str
) -> None:
    outcome = cli("seed", *flags, url=leadconnector.url)
    assert outcome.code == 2
    assert said in outcome.err
    assert outcome.out == ""
    assert leadconnector.query("SELECT count(*) FROM leads") == [(0,)]


def test_before_the_migrations(cli: Cli, server: Server, database: str) -> None:
    outcome = cli("seed", "--bulk", "100", url=server.url(database))
    assert outcome.code == 1
    assert "leadctl migrate" in outcome.err


def test_a_protected_database(leadconnector: Prepared, cli: Cli) -> None:
    cli("db", "environment", "production", "--protect", url=leadconnector.url)
    command = ("seed", "--bulk", "100")
    for flags in ([], ["--yes"], ["--confirm", "wrong"]):
        assert cli(*command, *flags, url=leadconnector.url).code == 5
    assert leadconnector.query("SELECT count(*) FROM leads") == [(0,)]
    assert cli(*command, "--confirm", leadconnector.name, url=leadconnector.url).code == 0


@pytest.mark.thorough
def test_two_at_once(leadconnector: Prepared) -> None:
    env = {"DATABASE_URL": leadconnector.url, "ENCRYPTION_KEY": KEY}
    first = start("seed", "--bulk", "300000", env=env)
    leadconnector.wait_for(
        "SELECT 1 FROM pg_stat_activity WHERE query LIKE 'COPY %%' AND datname = current_database()"
    )
    second = run("seed", "--bulk", "100", "--lock-wait", "0", env=env)
    assert second.returncode == 6
    assert "seed --bulk" in second.stderr
    first.terminate()
    _, err = first.communicate(timeout=60)
    assert first.returncode == 143
    assert "Traceback" not in err
    assert leadconnector.query("SELECT count(*) FROM leads") == [(0,)]


def test_without_a_key(leadconnector: Prepared, cli: Cli) -> None:
    outcome = cli("seed", "--bulk", "100", url=leadconnector.url, env={"ENCRYPTION_KEY": ""})
    assert outcome.code == 3
    assert "leadctl keys generate" in outcome.err


@pytest.mark.thorough
def test_another_schema(leadconnector: Prepared, cli: Cli) -> None:
    flags = ("--schema", "Other One")
    assert cli("migrate", *flags, url=leadconnector.url).code == 0
    assert cli("seed", "--bulk", "30000", *flags, url=leadconnector.url).code == 0
    assert leadconnector.query('SELECT count(*) FROM "Other One".leads')[0][0] > 10_000
    assert leadconnector.query("SELECT count(*) FROM leads") == [(0,)]
