"""Restores that are killed or disturbed: the database is the old one or the new one, never half."""

import random
import signal
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from leadctl.postgres.binaries import dump_programs
from leadctl.postgres.target import resolve
from leadctl.restore.pg_restore import PgRestore, ProgramPool
from leadctl.restore.restorable import Loading
from leadctl.settings import load_settings
from tests.backup.test_backup_faults import fill
from tests.backups import left_by_restores
from tests.conftest import KEY, Cli, Prepared
from tests.processes import run, start
from tests.servers import MAJOR

ROWS = 60_000


@pytest.fixture
def env(leadconnector: Prepared, tmp_path: Path) -> Iterator[dict[str, str]]:
    variables = {
        "DATABASE_URL": leadconnector.url,
        "BACKUP_DIR": str(tmp_path / "backups"),
        "ENCRYPTION_KEY": KEY,
    }
    fill(leadconnector, ROWS)
    done = run("backup", env=variables)
    assert done.returncode == 0, done.stderr
    leadconnector.query("DELETE FROM leads WHERE id > 'x5'")
    yield variables
    for name in left_by_restores(leadconnector):
        leadconnector.server.drop(name)


def leads(database: Prepared) -> int:
    return int(database.query("SELECT count(*) FROM leads WHERE id LIKE 'x%%'")[0][0])


def half_made(database: Prepared) -> list[str]:
    return [name for name in left_by_restores(database) if name.startswith("leadctl_restore")]


@pytest.mark.parametrize(
    "kills",
    [
        pytest.param(6, marks=pytest.mark.thorough),
        pytest.param(50, marks=pytest.mark.slow),
    ],
)
def test_killed_at_any_moment(leadconnector: Prepared, env: dict[str, str], kills: int) -> None:
    before = leads(leadconnector)
    assert 0 < before < ROWS
    rng = random.Random(kills)
    for _ in range(kills):
        process = start("restore", "--yes", env=env)
        time.sleep(rng.uniform(0.2, 2.5))
        process.kill()
        process.communicate()
        assert leads(leadconnector) in {before, ROWS}
    done = run("restore", "--yes", env=env)
    assert done.returncode == 0, done.stderr
    assert leads(leadconnector) == ROWS
    assert not half_made(leadconnector)


@pytest.mark.thorough
def test_two_at_once(leadconnector: Prepared, env: dict[str, str]) -> None:
    processes = [start("restore", "--yes", env=env) for _ in range(2)]
    for process in processes:
        process.communicate(timeout=60)
    codes = sorted(process.returncode for process in processes)
    assert codes in ([0, 6], [0, 0])
    assert leads(leadconnector) == ROWS


@pytest.mark.thorough
def test_an_application_that_connects_again_and_again(
    leadconnector: Prepared, env: dict[str, str]
) -> None:
    stop = threading.Event()
    answers: list[int] = []

    def application() -> None:
        while not stop.is_set():
            try:
                with leadconnector.server.connect(leadconnector.name) as connection:
                    for _ in range(50):
                        row = connection.execute("SELECT count(*) FROM leads").fetchone()
                        answers.append(row[0] if row else -1)
            except psycopg.Error:
                time.sleep(0.01)

    threads = [threading.Thread(target=application) for _ in range(3)]
    for thread in threads:
        thread.start()
    try:
        done = run("restore", "--yes", env=env)
    finally:
        time.sleep(0.3)
        stop.set()
        for thread in threads:
            thread.join()
    assert done.returncode == 0, done.stderr
    assert len(set(answers)) == 2  # as it was, or as it is; never half
    assert answers[-1] == max(answers)


@pytest.mark.thorough
def test_a_migration_keeps_its_lock(leadconnector: Prepared, env: dict[str, str]) -> None:
    from leadctl.journal.lock import schema_lock

    before = leads(leadconnector)
    with schema_lock(leadconnector.target(), "migrate", 5, lambda _: None):
        done = run("restore", "--yes", "--lock-wait", "0.5s", env=env)
    assert done.returncode == 6, done.stderr
    assert leads(leadconnector) == before


@pytest.mark.thorough
def test_interrupted_leaves_nothing_for_long(leadconnector: Prepared, env: dict[str, str]) -> None:
    for sent, code in ((signal.SIGINT, 130), (signal.SIGTERM, 143)):
        process = start("restore", "--yes", env=env)
        while process.poll() is None and not half_made(leadconnector):
            time.sleep(0.02)
        time.sleep(0.4)
        process.send_signal(sent)
        _, err = process.communicate(timeout=30)
        if process.returncode not in (0, -sent):  # else it was done, or just ending
            assert process.returncode == code, err
        # A session that was being opened may have kept the new database; the next run drops it.
        assert run("restore", "--yes", env=env).returncode == 0
        assert not half_made(leadconnector)


def test_ended_while_the_old_one_is_dropped(
    leadconnector: Prepared, cli: Cli, env: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is said that the database is another one by then, and which was the old one."""

    def ended(*_arguments: object, **_more: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("leadctl.restore.restore._drop", ended)
    outcome = cli("restore", "--yes", "--drop-old", url=leadconnector.url, env=env)
    (kept,) = left_by_restores(leadconnector)
    said = f"Replaced {leadconnector.name}. The old database is {kept}."
    assert (outcome.code, said in outcome.err) == (130, True), outcome.err
    assert leads(leadconnector) == ROWS


def test_what_loads_beside_the_counting_ends_with_the_run() -> None:
    """The server says nothing, and only a signal ends pg_restore before its connection's end."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"postgresql://nobody@127.0.0.1:{silent.getsockname()[1]}/nothing"
        target = resolve(load_settings({}, environ={"DATABASE_URL": url}), app="leadconnector")
        restore = PgRestore(target, dump_programs(MAJOR, MAJOR), MAJOR, Loading(print, print))

        def loads() -> None:
            with restore.running(None) as program, pool.running(program):
                began.set()
                program.wait()
                ended.append(program.first_message())

        began, ended = threading.Event(), list[str]()
        with ProgramPool(1) as pool:
            pool.submit(loads)
            assert began.wait(60)
    assert ended == ["exit code -15"]
