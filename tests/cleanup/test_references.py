"""cleanup of rows that refer to each other: what may go is found by the server, not by trying."""

from pathlib import Path

import pytest

from tests.conftest import Cli, Prepared
from tests.processes import wait_for

RULE = """
[[apps.leadconnector.retention]]
name = "posts"
table = "posts"
age_column = "at"
older_than = "1d"
"""
POSTS = """
CREATE TABLE posts (id int PRIMARY KEY, up int {}, at timestamptz NOT NULL);
CREATE INDEX ON posts (up);
CREATE INDEX ON posts (at);
INSERT INTO posts SELECT n, {}, CASE WHEN {} THEN now()
    ELSE timestamptz '2020-01-01' + n * interval '1 min' END FROM generate_series(1, 3000) AS n;
"""
KEEPS = {
    "no action": "REFERENCES posts",
    "restrict": "REFERENCES posts ON DELETE RESTRICT",
    "deferred": "REFERENCES posts DEFERRABLE INITIALLY DEFERRED",
}
TREES = {
    "a tree": "CASE WHEN n > 1 THEN (hashint4(n)::bigint & 2147483647) % (n - 1) + 1 END",
    "one thread": "nullif(n - 1, 0)",
    "threads": "CASE WHEN n % 50 <> 1 THEN n - 1 END",
    "threads of older rows": "CASE WHEN n % 50 <> 0 THEN n + 1 END",
    "circles": "CASE WHEN n % 50 <> 0 THEN n + 1 ELSE n - 49 END",
}
STAYS = """
WITH RECURSIVE stays (id) AS (
    SELECT id FROM posts WHERE at > now() - interval '1 day'
    UNION SELECT up FROM stays JOIN posts USING (id) WHERE up IS NOT NULL)
SELECT id FROM stays
"""
MUTUAL = """
CREATE TABLE posts (id int PRIMARY KEY, last int, at timestamptz NOT NULL);
CREATE TABLE replies (id int PRIMARY KEY, post int NOT NULL REFERENCES posts ON DELETE CASCADE);
CREATE INDEX ON posts (at); CREATE INDEX ON posts (last); CREATE INDEX ON replies (post);
INSERT INTO posts SELECT n, n, CASE WHEN n % 100 = 0 THEN now()
    ELSE timestamptz '2020-01-01' + n * interval '1 min' END FROM generate_series(1, 3000) AS n;
INSERT INTO replies SELECT n, n FROM generate_series(1, 3000) AS n;
UPDATE posts SET last = id - 1 WHERE id % 25 <> 1;
ALTER TABLE posts ADD FOREIGN KEY (last) REFERENCES replies;
"""


def ids(database: Prepared) -> set[int]:
    return {key for (key,) in database.query("SELECT id FROM posts")}


def transactions(database: Prepared) -> int:
    """How many transactions there were in the database, when all other sessions have ended."""
    others = "SELECT FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
    wait_for(lambda: not database.query(others))
    ((count,),) = database.query(
        "SELECT xact_commit + xact_rollback FROM pg_stat_database WHERE datname = current_database()"
    )
    return int(count)


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "leadctl.toml").write_text(RULE)
    monkeypatch.chdir(tmp_path)


def command(database: Prepared, *more: str) -> tuple[str, ...]:
    return ("cleanup", "--rule", "posts", "-o", "json", "--confirm", database.name, *more)


@pytest.mark.usefixtures("project")
@pytest.mark.few(4)
@pytest.mark.parametrize("tree", TREES)
@pytest.mark.parametrize("keeps", KEEPS)
def test_rows_that_stay_keep_what_they_refer_to(
    leadconnector: Prepared, cli: Cli, keeps: str, tree: str
) -> None:
    leadconnector.query(POSTS.format(KEEPS[keeps], TREES[tree], "n % 100 = 60"))
    stays = {key for (key,) in leadconnector.query(STAYS)}
    before = transactions(leadconnector)
    done = cli(*command(leadconnector), url=leadconnector.url)
    assert done.code == 7, done.err
    (rule,) = done.json["rules"]
    assert ids(leadconnector) == stays
    assert (rule["rows"], rule["refused"]) == (3000 - len(stays), len(stays) - 30)
    assert "posts_up_fkey" in rule["refusals"][0]["reason"]
    assert transactions(leadconnector) - before < 250  # halving takes one for each row that stays


@pytest.mark.usefixtures("project")
def test_rows_that_stay_are_not_in_an_archive(
    leadconnector: Prepared, cli: Cli, tmp_path: Path
) -> None:
    leadconnector.query(POSTS.format(KEEPS["no action"], TREES["a tree"], "n % 100 = 60"))
    before = ids(leadconnector)
    stays = {key for (key,) in leadconnector.query(STAYS)}
    done = cli(*command(leadconnector, "--archive", str(tmp_path)), url=leadconnector.url)
    assert (done.code, ids(leadconnector)) == (7, stays), done.err
    (folder,) = {path.parent for path in tmp_path.glob("*/manifest.json")}
    back = cli("cleanup", "unarchive", str(folder), url=leadconnector.url)
    assert (back.code, ids(leadconnector)) == (0, before), back.err


@pytest.mark.usefixtures("project")
@pytest.mark.parametrize(("action", "left"), [("SET NULL", 30), ("CASCADE", 0)])
def test_keys_that_keep_nothing(leadconnector: Prepared, cli: Cli, action: str, left: int) -> None:
    leadconnector.query(
        POSTS.format(f"REFERENCES posts ON DELETE {action}", TREES["one thread"], "n % 100 = 60")
    )
    done = cli(*command(leadconnector), url=leadconnector.url)
    assert (done.code, len(ids(leadconnector))) == (0, left), done.err


@pytest.mark.usefixtures("project")
def test_two_tables_that_refer_to_each_other(leadconnector: Prepared, cli: Cli) -> None:
    """A post's replies go with it, and so must the post whose last reply is one of them."""
    leadconnector.query(MUTUAL)
    ((stays,),) = leadconnector.query(
        "WITH RECURSIVE stays (id) AS (SELECT id FROM posts WHERE at > now() - interval '1 day'"
        " UNION SELECT post FROM stays JOIN posts USING (id) JOIN replies r ON r.id = posts.last)"
        " SELECT array_agg(id) FROM stays"
    )
    before = transactions(leadconnector)
    done = cli(*command(leadconnector), url=leadconnector.url)
    assert done.code == 7, done.err
    (rule,) = done.json["rules"]
    assert ids(leadconnector) == set(stays)
    assert (rule["rows"], rule["refused"]) == (3000 - len(stays), len(stays) - 30)
    assert transactions(leadconnector) - before < 250


@pytest.mark.usefixtures("project")
def test_rows_to_which_many_others_refer(leadconnector: Prepared, cli: Cli) -> None:
    leadconnector.query(POSTS.format("", "NULL", "false"))
    leadconnector.query("CREATE TABLE held (post int REFERENCES posts)")
    leadconnector.query("CREATE INDEX ON held (post)")
    leadconnector.query("INSERT INTO held SELECT id FROM posts WHERE id % 3 = 0")
    before = transactions(leadconnector)
    done = cli(*command(leadconnector), url=leadconnector.url)
    assert done.code == 7, done.err
    assert ids(leadconnector) == set(range(3, 3001, 3))
    assert done.json["rules"][0]["refused"] == 1000
    assert transactions(leadconnector) - before < 250


@pytest.mark.usefixtures("project")
def test_rows_to_which_a_table_refers_that_may_not_be_read(
    leadconnector: Prepared, cli: Cli
) -> None:
    """The owner, as whom rows are touched, may not; the server looks all the same."""
    leadconnector.query(POSTS.format("", "NULL", "false"))
    leadconnector.query("CREATE TABLE held (post int REFERENCES posts)")
    leadconnector.query("CREATE INDEX ON held (post)")
    leadconnector.query("INSERT INTO held VALUES (7), (2000)")
    owner = f"owner_of_{leadconnector.name}"
    leadconnector.query(f"CREATE ROLE {owner}")
    try:
        leadconnector.query(f"ALTER TABLE posts OWNER TO {owner}")
        done = cli(*command(leadconnector), url=leadconnector.url)
        assert done.code == 7, done.err
        assert ids(leadconnector) == {7, 2000}
    finally:
        leadconnector.query(f"ALTER TABLE posts OWNER TO CURRENT_USER; DROP ROLE {owner}")


TAKES_ANSWERS = """
CREATE FUNCTION take_answers() RETURNS trigger LANGUAGE plpgsql AS
    $$ BEGIN DELETE FROM posts WHERE up = old.id AND at > now() - interval '1 day'; RETURN old; END $$
"""


@pytest.mark.thorough
@pytest.mark.usefixtures("project")
def test_a_trigger_may_take_what_refers(leadconnector: Prepared, cli: Cli) -> None:
    """Then the server says which rows go."""
    threads = "CASE WHEN n % 10 <> 1 THEN n - 1 END"
    leadconnector.query(POSTS.format(KEEPS["no action"], threads, "n % 100 = 60"))
    leadconnector.query(TAKES_ANSWERS)
    leadconnector.query(
        "CREATE TRIGGER take_answers BEFORE DELETE ON posts FOR EACH ROW"
        " WHEN (old.id % 200 = 59) EXECUTE FUNCTION take_answers()"
    )
    done = cli(*command(leadconnector), url=leadconnector.url)
    assert done.code == 7, done.err
    kept = {n for n in range(1, 3001) if (n - 1) % 200 in range(150, 160)}
    assert ids(leadconnector) == kept


@pytest.mark.usefixtures("project")
def test_a_key_that_is_not_enforced_keeps_and_takes_nothing(
    leadconnector: Prepared, cli: Cli
) -> None:
    if leadconnector.server.major < 18:
        pytest.skip("NOT ENFORCED foreign keys are of PostgreSQL 18")
    leadconnector.query(POSTS.format("", TREES["one thread"], "n % 100 = 60"))
    leadconnector.query(
        "CREATE TABLE held (post int REFERENCES posts ON DELETE CASCADE NOT ENFORCED)"
    )
    leadconnector.query("ALTER TABLE posts ADD FOREIGN KEY (up) REFERENCES posts NOT ENFORCED")
    leadconnector.query("INSERT INTO held SELECT id FROM posts")
    done = cli(*command(leadconnector), url=leadconnector.url)
    assert (done.code, len(ids(leadconnector))) == (0, 30), done.err
    assert done.json["rules"][0]["cascaded"] == {}
