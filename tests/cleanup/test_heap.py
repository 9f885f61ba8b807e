"""cleanup block by block: where rows do not lie in the order of their ages, and all else holds."""

import hashlib
import itertools
import threading
from pathlib import Path

import pytest
from psycopg import sql

from tests.conftest import Cli, Prepared
from tests.leads import due_leads, ids, scatter, slow
from tests.processes import wait_for

RULE = ("cleanup", "--rule", "archived-leads", "-o", "json")


@pytest.fixture
def scattered(filled: Prepared) -> Prepared:
    scatter(filled)
    return filled


@pytest.fixture
def small_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("_FIRST", "_FEWEST", "_MOST"):
        monkeypatch.setattr(f"leadctl.cleanup.ranges.{name}", 40)


def correlation(database: Prepared) -> float:
    ((found,),) = database.query(
        "SELECT correlation FROM pg_stats WHERE tablename = 'leads' AND attname = 'created_at'"
    )
    return abs(found)


def statements(database: Prepared, cli: Cli, *options: str) -> str:
    done = cli(*RULE, "--dry-run", *options, url=database.url)
    assert done.code == 0, done.err
    return " ".join(done.json["rules"][0]["statements"])


def test_the_order_is_chosen_by_how_ages_lie_and_how_much_is_due(
    filled: Prepared, cli: Cli
) -> None:
    assert correlation(filled) > 0.99
    assert "ctid >=" in statements(filled, cli)  # more than half of the rows are as old
    assert "ctid >=" not in statements(filled, cli, "--days", "150")
    scatter(filled)
    assert correlation(filled) < 0.2
    assert "ctid >=" in statements(filled, cli, "--days", "150")
    assert "ctid >=" not in statements(filled, cli, "--days", "199")
    filled.query(f"ALTER DATABASE {filled.name} SET random_page_cost = 0.1")
    assert "ctid >=" in statements(filled, cli, "--days", "150")  # whatever the settings are


@pytest.mark.usefixtures("small_batches")
@pytest.mark.parametrize("archived", [False, True])
def test_what_is_due_goes_in_many_batches(
    scattered: Prepared, cli: Cli, tmp_path: Path, *, archived: bool
) -> None:
    due, before = due_leads(scattered), ids(scattered, "leads")
    options = ("--archive", str(tmp_path)) if archived else ()
    done = cli(*RULE, *options, url=scattered.url)
    assert done.code == 0, done.err
    (rule,) = done.json["rules"]
    assert (rule["rows"], rule["status"]) == (len(due), "done")
    assert rule["cascaded"] == {"webhook_deliveries": 2 * len(due)}
    assert rule["batches"] > 10
    assert ids(scattered, "leads") == before - due
    if archived:
        back = cli("cleanup", "unarchive", rule["archive"], url=scattered.url)
        assert back.code == 0, back.err
        assert ids(scattered, "leads") == before


def test_where_only_some_may_go_the_oldest_go(scattered: Prepared, cli: Cli) -> None:
    oldest = scattered.query(
        "SELECT id FROM leads WHERE status = 'ARCHIVED' ORDER BY created_at LIMIT 100"
    )
    done = cli(*RULE, "--max-rows", "100", url=scattered.url)
    assert done.json["rows"] == 100
    assert not {row[0] for row in oldest} & ids(scattered, "leads")


@pytest.mark.thorough
def test_the_next_run_goes_on_at_the_block_where_this_one_stopped(
    scattered: Prepared, cli: Cli
) -> None:
    scattered.query("CREATE TABLE gone (n int GENERATED ALWAYS AS IDENTITY, lead text, block int)")
    scattered.query(
        "CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN"
        " INSERT INTO gone (lead, block) VALUES (old.id, (old.ctid::text::point)[0]);"
        " RETURN old; END $$"
    )
    scattered.query(
        "CREATE TRIGGER note BEFORE DELETE ON leads FOR EACH ROW EXECUTE FUNCTION note()"
    )
    slow(scattered, 0.01)
    first = cli(*RULE, "--max-seconds", "1", url=scattered.url)
    assert first.json["stopped"] == "max_seconds"
    ((last, blocks),) = scattered.query(
        "SELECT (SELECT block FROM gone ORDER BY n DESC LIMIT 1),"
        " pg_relation_size('leads') / current_setting('block_size')::int"
    )
    assert 0 < last < blocks - 1
    scattered.query("DROP TRIGGER slow ON leads; TRUNCATE gone")

    def a_row_is_due_before(block: int) -> bool:
        """Rows stay in their block where it has room: no ANALYZE of the server's holds it up."""
        scattered.query("VACUUM leads")
        scattered.query(
            "UPDATE leads SET status = 'ARCHIVED', created_at = '2001-01-01'"
            " WHERE (ctid::text::point)[0] = 0"
        )
        return bool(
            scattered.query(
                "SELECT 1 FROM leads WHERE status = 'ARCHIVED' AND created_at = '2001-01-01'"
                " AND (ctid::text::point)[0] < %s",
                block,
            )
        )

    wait_for(lambda: a_row_is_due_before(last))
    due = due_leads(scattered)
    second = cli(*RULE, url=scattered.url)
    assert (second.code, second.json["rows"]) == (0, len(due))
    assert due_leads(scattered) == set()
    found = [block for (block,) in scattered.query("SELECT block FROM gone ORDER BY n")]
    assert found[0] > 0
    assert any(later < earlier for earlier, later in itertools.pairwise(found))
    third = cli(*RULE, url=scattered.url)
    assert (third.code, third.json["rows"]) == (0, 0)


@pytest.mark.thorough
def test_a_row_that_a_writer_moves_behind_the_batches(scattered: Prepared, cli: Cli) -> None:
    """It is due as before, and lies where the run has been already."""
    keys = sorted(due_leads(scattered))
    last = scattered.query("SELECT id FROM leads WHERE id = ANY (%s) ORDER BY ctid DESC", keys)[0][
        0
    ]
    scattered.query("DELETE FROM leads WHERE (ctid::text::point)[0] < 2")
    ((archived,),) = scattered.query("SELECT count(*) FROM leads WHERE status = 'ARCHIVED'")
    scattered.query("VACUUM leads")  # new versions of rows find room in the first blocks
    slow(scattered, 0.008)
    moved: list[str] = []

    def move() -> None:
        scattered.wait_for(
            f"SELECT 1 FROM leads HAVING count(*) FILTER (WHERE status = 'ARCHIVED') < {archived}"
        )
        moved.extend(
            row[0]
            for row in scattered.query(
                "UPDATE leads SET form_name = repeat('x', 900) WHERE id = %s"
                " RETURNING (ctid::text::point)[0]::int",
                last,
            )
        )

    writer = threading.Thread(target=move)
    writer.start()
    done = cli(*RULE, url=scattered.url)
    writer.join()
    assert done.code == 0, done.err
    assert moved
    assert due_leads(scattered) == set()
    assert done.json["rules"][0]["backlog"] == 0


@pytest.mark.thorough
@pytest.mark.usefixtures("small_batches")
@pytest.mark.parametrize("what", ["leads", "webhook_deliveries"])
def test_what_somebody_holds_is_left_and_the_rest_goes(
    scattered: Prepared, cli: Cli, what: str
) -> None:
    held = sorted(due_leads(scattered))[3]
    column = "id" if what == "leads" else "lead_id"
    with scattered.server.connect(scattered.name) as connection, connection.transaction():
        lock = sql.SQL("SELECT FROM {} WHERE {} = {} FOR UPDATE")
        connection.execute(lock.format(sql.Identifier(what), sql.Identifier(column), held))
        done = cli(*RULE, url=scattered.url)
    assert done.code == 0, done.err
    (rule,) = done.json["rules"]
    assert (rule["status"], rule["reason"]) == ("stopped", "rows_locked")
    assert due_leads(scattered) == {held}


def test_row_security_hides_and_keeps(scattered: Prepared, cli: Cli) -> None:
    """What the role does not see is not touched; what it may not delete is named."""
    role = f"sweeper_of_{scattered.name}"
    scattered.query(f"CREATE ROLE {role} LOGIN PASSWORD 'sweeps'")
    try:
        scattered.query(f"GRANT USAGE, CREATE ON SCHEMA public TO {role}")
        scattered.query("GRANT CREATE ON DATABASE " + scattered.name + f" TO {role}")
        scattered.query(f"GRANT ALL ON ALL TABLES IN SCHEMA public TO {role}")
        scattered.query(f"GRANT ALL ON SCHEMA leadctl TO {role}")
        scattered.query(f"GRANT ALL ON ALL TABLES IN SCHEMA leadctl TO {role}")
        scattered.query("ALTER TABLE leads ENABLE ROW LEVEL SECURITY")
        scattered.query("CREATE POLICY sees ON leads FOR SELECT USING (md5(id) NOT LIKE '1%')")
        scattered.query("CREATE POLICY locks ON leads FOR UPDATE USING (md5(id) NOT LIKE '2%')")
        scattered.query("CREATE POLICY goes ON leads FOR DELETE USING (md5(id) NOT LIKE '3%')")
        due = {hashlib.md5(key.encode()).hexdigest()[0]: key for key in due_leads(scattered)}
        url = scattered.url.replace("postgres:correct%20horse%20battery", f"{role}:sweeps")
        done = cli(*RULE, "--confirm", scattered.name, url=url)
        assert done.code == 7, done.err
        (rule,) = done.json["rules"]
        left = [hashlib.md5(key.encode()).hexdigest()[0] for key in due_leads(scattered)]
        assert set(left) == {"1", "3"} < due.keys()
        assert rule["refused"] == len(left) - left.count("1")
        assert any("Row security" in text for text in rule["warnings"])
    finally:
        scattered.query(f"DROP OWNED BY {role}; DROP ROLE {role}")


def test_a_partitioned_table_under_row_security_is_refused(
    leadconnector: Prepared, cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its policies would not hold for the partitions, which are gone through one by one."""
    role = f"sweeper_of_{leadconnector.name}"
    leadconnector.query(
        "CREATE TABLE posts (id int, at timestamptz, tenant int) PARTITION BY HASH (id);"
        "CREATE TABLE posts_0 PARTITION OF posts FOR VALUES WITH (MODULUS 1, REMAINDER 0);"
        "INSERT INTO posts SELECT n, '2020-01-01', n % 2 FROM generate_series(1, 20) n;"
        f"CREATE ROLE {role} LOGIN PASSWORD 'sweeps'; GRANT ALL ON posts, posts_0 TO {role};"
        f"GRANT ALL ON SCHEMA leadctl TO {role}; GRANT ALL ON ALL TABLES IN SCHEMA leadctl TO {role};"
        "ALTER TABLE posts ENABLE ROW LEVEL SECURITY; CREATE POLICY own ON posts USING (tenant = 1)"
    )
    (tmp_path / "leadctl.toml").write_text(
        '[[apps.leadconnector.retention]]\nname = "posts"\ntable = "posts"\nage_column = "at"\n'
        'older_than = "1d"\n'
    )
    monkeypatch.chdir(tmp_path)
    try:
        url = leadconnector.url.replace("postgres:correct%20horse%20battery", f"{role}:sweeps")
        for more in ("--dry-run", "-q"):
            done = cli("cleanup", "--rule", "posts", more, "-o", "json", url=url)
            assert done.code == 3, done.err
            assert "Row security" in done.err
        assert leadconnector.query("SELECT count(*) FROM posts") == [(20,)]
    finally:
        leadconnector.query(f"DROP OWNED BY {role}; DROP ROLE {role}")
