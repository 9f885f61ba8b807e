"""A team's own app, outside the package, through every command that exists."""

from pathlib import Path

import pytest

from tests.conftest import Cli
from tests.servers import Server


@pytest.mark.thorough
def test_every_command(shop: Path, server: Server, database: str, cli: Cli) -> None:
    url = server.url(database)

    def leadctl(*arguments: str) -> str:
        outcome = cli(*arguments, url=url)
        assert outcome.code == 0, (arguments, outcome.err)
        return outcome.out

    assert "Apps          " in leadctl("config")
    assert "shop_0001" in leadctl("migrate")
    assert "Everything is applied" in leadctl("migrate", "status")
    assert "shop_0001" in leadctl("migrate", "history")
    assert "Nothing to write" in leadctl("migrate", "new", "-m", "nothing")
    assert "customers" in leadctl("seed")
    assert "orders" in leadctl("stats")
    (row,) = cli("stats", "orders", "-o", "json", url=url).json["rows"]
    assert row == {"state": "open", "orders": 1, "total": 12}
    assert "1 recorded" not in leadctl("health-check")
    assert "seed" in leadctl("history")
    assert "2 rows inserted" in leadctl("reset", "--yes")
    assert "no" in leadctl("db", "environment")
    assert database in leadctl("db", "url")
    with server.connect(database) as connection:
        ((iban,),) = connection.execute("SELECT iban FROM customers").fetchall()
    assert iban.startswith("lc1.")


def test_a_seed_function(shop: Path, server: Server, database: str, cli: Cli) -> None:
    (shop / "shop" / "functions.py").write_text(
        "from shop.models import Customer\n"
        "def fill(session):\n"
        "    if not session.query(Customer).count():\n"
        "        session.add(Customer(email='f@example.com', iban='X'))\n"
    )
    config = shop / "leadctl.toml"
    config.write_text(config.read_text().replace("shop.seed:FIXTURES", "shop.functions:fill"))
    url = server.url(database)
    assert cli("migrate", url=url).code == 0
    for _ in range(2):
        assert cli("seed", url=url).code == 0
    with server.connect(database) as connection:
        assert connection.execute("SELECT email FROM customers").fetchall() == [("f@example.com",)]


def test_broken_models_name_file_and_line(
    shop: Path, server: Server, database: str, cli: Cli
) -> None:
    (shop / "shop" / "broken.py").write_text("print('chatter')\nimport nothing_like_this\n")
    config = shop / "leadctl.toml"
    url = server.url(database)
    for models, said in (
        ("shop.broken:Base", "broken.py, line 2: ModuleNotFoundError"),
        ("shop.models:Bose", "no 'Bose'"),
        ("shop.models", "names no object"),
        ("shop.seed:ADA", "no metadata"),
        ("nowhere:Base", "No module named 'nowhere'"),
    ):
        config.write_text(f'[apps.shop]\nmodels = "{models}"\nmigrations = "migrations"\n')
        outcome = cli("migrate", url=url)
        assert (outcome.code, outcome.out) == (3, ""), outcome.err
        assert said in outcome.err
    with server.connect(database) as connection:
        assert connection.execute("SELECT to_regclass('customers')").fetchone() == (None,)
