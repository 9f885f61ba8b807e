"""A standby is promoted in the middle of a run: one message, and the next run continues there."""

import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.conftest import KEY
from tests.fleet.test_fleet_migrate import APPLIED, declare
from tests.history import Project
from tests.processes import run, start, wait_for
from tests.servers import MAJOR, PASSWORD, RunningServer

SLEEPS = "SELECT pg_sleep(CASE WHEN EXISTS (SELECT FROM public.slow) THEN 120 ELSE 0 END)"


class Pair:
    """A primary and its standby, behind one URL that leads to whichever may be written to."""

    def __init__(self, primary: RunningServer, standby: RunningServer) -> None:
        self.primary = primary
        self.standby = standby
        password = PASSWORD.replace(" ", "%20")
        hosts = ",".join(f"{s.info.host}:{s.info.port}" for s in (standby, primary))
        self.url = (
            f"postgresql://postgres:{password}@{hosts}/postgres?target_session_attrs=read-write"
        )
        self.env = {"DATABASE_URL": self.url, "ENCRYPTION_KEY": KEY}

    def query(self, statement: str, *, on_standby: bool = False) -> list[tuple[object, ...]]:
        server = self.standby if on_standby else self.primary
        with server.info.connect() as connection:
            cursor = connection.execute(statement)
            return cursor.fetchall() if cursor.description else []

    def fail_over(self) -> None:
        """Let the standby have all, end the primary as a crash does, and promote the standby."""
        # A commit: else WAL may be flushed up to the middle of a record, which nobody replays.
        self.query("SELECT pg_logical_emit_message(true, '', '')")
        wait_for(
            lambda: self.query(
                "SELECT 1 FROM pg_stat_replication WHERE replay_lsn >= pg_current_wal_flush_lsn()"
            )
        )
        self.primary.program("pg_ctl", "stop", "-D", self.primary.data, "-m", "immediate")
        self.query("SELECT pg_promote()", on_standby=True)
        self.query("DELETE FROM public.slow", on_standby=True)

    def sleeps(self) -> list[tuple[object, ...]]:
        return self.query(
            "SELECT 1 FROM pg_stat_activity WHERE wait_event IN ('PgSleep', 'relation')"
        )


@pytest.fixture
def pair() -> Iterator[Pair]:
    """A pair of servers, and a table that makes what looks into it slow."""
    with RunningServer(MAJOR) as primary, RunningServer(MAJOR, standby_of=primary) as standby:
        made = Pair(primary, standby)
        made.query("CREATE TABLE public.slow (n int)")
        made.query("INSERT INTO public.slow VALUES (1)")
        yield made


def ends_with_one_message(
    process: "subprocess.Popen[str]", is_there: Callable[[], object], pair: Pair
) -> None:
    wait_for(is_there)
    pair.fail_over()
    _, err = process.communicate(timeout=90)
    assert process.returncode in {1, 4}, err
    assert err.count("Error:") == 1, err
    assert "Traceback" not in err
    assert PASSWORD not in err


@pytest.mark.thorough
def test_in_the_middle_of_migrate(pair: Pair, project: Project, tmp_path: Path) -> None:
    project.revision("CREATE TABLE first (n int)")
    project.revision("CREATE TABLE second (n int)", SLEEPS)
    process = start("migrate", env=pair.env, cwd=tmp_path)
    ends_with_one_message(process, pair.sleeps, pair)
    done = run("migrate", env=pair.env, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    found = pair.query("SELECT version_num FROM public.alembic_version", on_standby=True)
    assert found == [("own_0002",)]
    revisions = pair.query("SELECT count(*) FROM leadctl.migration", on_standby=True)
    assert revisions == [(2,)]


@pytest.mark.thorough
def test_in_the_middle_of_cleanup(pair: Pair, tmp_path: Path) -> None:
    env = {**pair.env, "LEADCTL_APP": "leadconnector"}
    for command in (["migrate"], ["seed"], ["seed", "--bulk", "500"]):
        done = run(*command, env=env, cwd=tmp_path)
        assert done.returncode == 0, done.stderr
    pair.query(
        "UPDATE webhook_deliveries SET status = 'SUCCESS', created_at = now() - interval '9 years'"
    )
    pair.query(
        "CREATE FUNCTION wait() RETURNS trigger LANGUAGE plpgsql AS"
        f" $$ BEGIN PERFORM {SLEEPS.removeprefix('SELECT ')}; RETURN OLD; END $$"
    )
    pair.query(
        "CREATE TRIGGER wait BEFORE DELETE ON webhook_deliveries FOR EACH STATEMENT"
        " EXECUTE FUNCTION wait()"
    )
    rows = pair.query("SELECT count(*) FROM webhook_deliveries")
    process = start("cleanup", "--confirm", "postgres", env=env, cwd=tmp_path)
    ends_with_one_message(process, pair.sleeps, pair)
    assert pair.query("SELECT count(*) FROM webhook_deliveries", on_standby=True) == rows
    done = run("cleanup", "--confirm", "postgres", env=env, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert pair.query("SELECT count(*) FROM webhook_deliveries", on_standby=True) == [(0,)]


@pytest.mark.thorough
def test_in_the_middle_of_a_backup(pair: Pair, tmp_path: Path) -> None:
    env = {**pair.env, "BACKUP_DIR": str(tmp_path / "backups")}
    holder = pair.primary.info.connect()
    holder.execute("BEGIN")
    holder.execute("LOCK TABLE public.slow")
    process = start("backup", "--lock-wait", "100s", env=env, cwd=tmp_path)
    ends_with_one_message(process, pair.sleeps, pair)
    holder.close()
    assert not [each for each in (tmp_path / "backups").glob("2*") if each.suffix != ".partial"]
    done = run("backup", env=env, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert run("backup", "verify", "latest", env=env, cwd=tmp_path).returncode == 0


@pytest.mark.thorough
def test_in_the_middle_of_a_fleet(pair: Pair, tmp_path: Path) -> None:
    declare(tmp_path, 30)
    process = start("migrate", "--fleet", "tenants", "-o", "json", env=pair.env, cwd=tmp_path)
    wait_for(lambda: pair.query("SELECT 1 FROM pg_namespace WHERE nspname = 't_4'"))
    pair.fail_over()
    out, err = process.communicate(timeout=120)
    assert "Traceback" not in err + out
    time.sleep(0.1)
    done = run("migrate", "--fleet", "tenants", env=pair.env, cwd=tmp_path)
    assert done.returncode == 0, (done.stdout, done.stderr)
    found = pair.query(
        "SELECT schema, array_agg(revision ORDER BY revision) FROM leadctl.migration GROUP BY 1",
        on_standby=True,
    )
    assert {revisions == APPLIED for _, revisions in found} == {True}
    assert len(found) == 30


@pytest.mark.thorough
def test_every_verb_finds_the_server_that_may_be_written_to(pair: Pair, tmp_path: Path) -> None:
    env = {**pair.env, "LEADCTL_APP": "leadconnector", "BACKUP_DIR": str(tmp_path / "backups")}
    for command in (
        "migrate", "migrate status", "migrate check", "migrate drift", "seed", "stats",
        "health-check --check server", "inspect tables", "cleanup --dry-run", "keys status",
        "history", "backup", "db url", "config", "schema show", "studio users",
    ):  # fmt: skip
        done = run(*command.split(), env=env, cwd=tmp_path)
        assert done.returncode == 0, (command, done.stderr)


@pytest.mark.thorough
@pytest.mark.parametrize("verb", ["restore", "restore --tenant acme", "tenants move acme"])
def test_in_the_middle_of_what_loads_rows(pair: Pair, tmp_path: Path, verb: str) -> None:
    """What is there stays as it is, and the next run does all of it."""
    url = pair.url.replace("/postgres?", "/{}?")
    env = {**pair.env, "LEADCTL_APP": "leadconnector", "BACKUP_DIR": str(tmp_path / "backups")}
    env["DATABASE_URL"] = url.format("shop")
    for name in ("shop", "there"):
        pair.query(f"CREATE DATABASE {name}")
    there = ["--to", url.format("there")] if "move" in verb else []
    assert run("tenants", "create", "acme", env=env, cwd=tmp_path).returncode == 0
    with pair.primary.info.connect("shop") as shop:
        # It is slow for programs that have a name, while there is a standby, so not afterwards.
        shop.execute(
            "CREATE MATERIALIZED VIEW acme.slow AS SELECT count(*), max(pg_sleep("
            "CASE current_setting('application_name') WHEN '' THEN 0 ELSE 30 END)::text)"
            " FROM pg_stat_replication"
        )
    if not there:
        assert run("backup", *verb.split()[1:], env=env, cwd=tmp_path).returncode == 0
    process = start(*verb.split(), *there, "--yes", env=env, cwd=tmp_path)
    ends_with_one_message(process, pair.sleeps, pair)
    done = run(*verb.split(), *there, "--yes", env=env, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    counted = "SELECT count(*) FROM acme.users"
    with pair.standby.info.connect("there" if there else "shop") as found:
        assert found.execute(counted).fetchone() == (1,)
    names = "SELECT datname FROM pg_database WHERE datname ~ '^(shop|there)' ORDER BY 1"
    kept = [name for (name,) in pair.query(names, on_standby=True)]
    assert [kept[0], kept[-1]] == ["shop", "there"]
    assert len(kept) == (3 if verb == "restore" else 2)
    if there:
        with pair.standby.info.connect("shop") as shop:
            schemas = "SELECT nspname FROM pg_namespace WHERE starts_with(nspname, 'acme')"
            assert [name.startswith("acme_moved_") for (name,) in shop.execute(schemas)] == [True]
