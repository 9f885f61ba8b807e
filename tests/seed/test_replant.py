"""`seed --replant`: an app's rows go, its fixtures come, and nothing else is touched."""

from pathlib import Path

import pytest

from tests.conftest import Cli, Prepared
from tests.processes import run

ROWS = """
INSERT INTO users (id, email, facebook_id, access_token) VALUES ('u', 'u@x', 'f', 't');
INSERT INTO pages (id, facebook_page_id, name, access_token, user_id)
VALUES ('p', 'p', 'p', 't', 'u')
"""


def test_only_the_fixtures_are_left(leadconnector: Prepared, cli: Cli) -> None:
    before = leadconnector.query("SELECT id, email FROM users")
    made = leadconnector.query("SELECT oid FROM pg_class WHERE relname = 'users'")
    leadconnector.query(ROWS)
    outcome = cli("seed", "--replant", "--yes", "-o", "json", url=leadconnector.url)
    assert outcome.code == 0, outcome.err
    assert {each["unchanged"] for each in outcome.json["tables"]} == {0}
    after = leadconnector.query("SELECT id, email FROM users")
    assert [email for _, email in after] == [email for _, email in before]
    assert after[0][0] != before[0][0]
    assert leadconnector.query("SELECT oid FROM pg_class WHERE relname = 'users'") == made
    assert leadconnector.query("SELECT count(*) FROM pages WHERE id = 'p'") == [(0,)]
    done = leadconnector.query("SELECT command FROM leadctl.run ORDER BY id DESC LIMIT 1")
    assert done == [("seed --replant",)]


def test_it_asks_and_a_protected_database_wants_its_name(leadconnector: Prepared, cli: Cli) -> None:
    leadconnector.query(ROWS)
    assert cli("seed", "--replant", url=leadconnector.url).code == 5
    assert cli("db", "environment", "production", "--protect", url=leadconnector.url).code == 0
    refused = cli("seed", "--replant", "--yes", url=leadconnector.url)
    assert refused.code == 5
    assert "--confirm" in refused.err
    no_variable = cli("seed", url=leadconnector.url, env={"LEADCTL_REPLANT": "1"})
    assert no_variable.code == 0
    assert leadconnector.query("SELECT count(*) FROM users") == [(2,)]
    name = leadconnector.query("SELECT current_database()")[0][0]
    assert cli("seed", "--replant", "--confirm", name, url=leadconnector.url).code == 0
    assert leadconnector.query("SELECT count(*) FROM users") == [(1,)]


def test_rows_of_others_stop_it(leadconnector: Prepared, cli: Cli) -> None:
    leadconnector.query(ROWS)
    leadconnector.query("CREATE TABLE badges (holder text REFERENCES users (id))")
    leadconnector.query("INSERT INTO badges VALUES ('u')")
    outcome = cli("seed", "--replant", "--yes", url=leadconnector.url)
    assert outcome.code == 5
    assert "badges" in outcome.err
    leadconnector.query("ALTER TABLE badges DROP CONSTRAINT badges_holder_fkey")
    leadconnector.query("CREATE TABLE staff () INHERITS (users)")
    leadconnector.query("INSERT INTO staff SELECT * FROM ONLY users WHERE id = 'u'")
    kept = leadconnector.query("SELECT count(*) FROM staff")
    assert cli("seed", "--replant", "--yes", url=leadconnector.url).code == 0
    assert leadconnector.query("SELECT count(*) FROM staff") == kept
    assert leadconnector.query("SELECT count(*) FROM badges") == [(1,)]


def test_a_seed_that_fails_leaves_all_rows(leadconnector: Prepared, cli: Cli) -> None:
    leadconnector.query(ROWS)
    leadconnector.query("ALTER TABLE users ADD CHECK (email = 'u@x') NOT VALID")
    outcome = cli("seed", "--replant", "--yes", url=leadconnector.url)
    assert outcome.code == 1
    assert leadconnector.query("SELECT count(*) FROM users") == [(2,)]


def test_what_it_does_not_go_with(leadconnector: Prepared, cli: Cli) -> None:
    for others in (["--bulk", "10"], ["--span", "3d"], ["--export", "users"]):
        assert cli("seed", "--replant", *others, url=leadconnector.url).code == 2
    assert cli("seed", "--yes", url=leadconnector.url).code == 2


SHOP = """\
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

class Base(DeclarativeBase):
    pass

class Plan(Base):
    __tablename__ = "plans"
    id: Mapped[int] = mapped_column(primary_key=True)
    code: Mapped[str] = mapped_column(unique=True)
"""


@pytest.mark.thorough
def test_seed_files_come_again_and_numbers_begin_again(
    tmp_path: Path, leadconnector: Prepared
) -> None:
    (tmp_path / "replanted.py").write_text(SHOP)
    (tmp_path / "seeds").mkdir()
    (tmp_path / "seeds" / "plans.yaml").write_text("plans:\n- {code: free}\n- {code: pro}\n")
    (tmp_path / "leadctl.toml").write_text(
        '[apps.shop]\nmodels = "replanted:Base"\nmigrations = "migrations"\nseed_files = "seeds"\n'
    )
    env = {"DATABASE_URL": leadconnector.url, "LEADCTL_SCHEMA": "shop"}
    for command in (
        ["migrate", "dev", "-m", "first"],
        ["seed"],
        ["seed", "--replant", "--yes"],
    ):
        done = run(*command, env=env, cwd=tmp_path)
        assert done.returncode == 0, done.stderr
    assert leadconnector.query("SELECT id, code FROM shop.plans ORDER BY id") == [
        (1, "free"),
        (2, "pro"),
    ]
