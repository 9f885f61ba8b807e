"""Signals at any moment: an exit code and a word, never a traceback."""

import contextlib
import os
import random
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import psycopg
import pytest

from leadctl.cli.exit_codes import Terminated, ending_in_order
from leadctl.journal.runs import journaled
from leadctl.postgres.connect import connect
from tests.conftest import Cli, Prepared
from tests.processes import environment

FIRST = "import time:"


class _ItsOwn(Exception):
    """What a run fails with, whatever became of the journal."""


@pytest.mark.thorough
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_while_modules_are_loaded(number: signal.Signals, leadconnector: Prepared) -> None:
    ended = 0
    for attempt in range(12):
        process = subprocess.Popen(
            [sys.executable, "-X", "importtime", "-m", "leadctl", "stats"],
            env=environment({"DATABASE_URL": leadconnector.url}),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert process.stderr is not None
        for line in process.stderr:
            if line.rstrip().endswith("leadctl.cli.exit_codes"):
                break
        time.sleep(random.Random(attempt).uniform(0.005, 0.4))
        process.send_signal(number)
        _, err = process.communicate(timeout=60)
        said = [line for line in err.splitlines() if not line.startswith(FIRST)]
        assert "Traceback" not in err, err
        # A shell says 128 + number for a process that the signal itself ended, too.
        assert process.returncode in {0, 128 + number, -number}, said
        if process.returncode > 0:  # else it had done its work, and Python was leaving
            ended += 1
            assert said[-1] in {"Interrupted.", "Terminated."}
    assert ended


AMID_A_CALLBACK = """
import os, time, weakref

class Thing: ...

def called(_):
    os.kill(os.getpid(), {number})
    time.sleep(0.1)

thing = Thing()
kept = weakref.ref(thing, called)
del thing
time.sleep(30)
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_amid_a_callback_of_pythons_own(number: signal.Signals, tmp_path: Path) -> None:
    """Nothing can be raised there: the signal was lost, and a traceback shown."""
    (tmp_path / "leadctl.toml").write_text('[apps.mine]\nmodels = "slow:Base"\n')
    (tmp_path / "slow.py").write_text(AMID_A_CALLBACK.format(number=int(number)))
    ended = subprocess.run(
        [sys.executable, "-m", "leadctl", "schema", "diagram", "--models", "--app", "mine"],
        env=environment({}),
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=25,
    )
    said = "Interrupted.\n" if number == signal.SIGINT else "Terminated.\n"
    assert (ended.returncode, ended.stderr) == (128 + number, said)


def test_a_signal_that_is_ignored_stays_so(leadconnector: Prepared) -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "leadctl", "migrate", "status"],
        env=environment({"DATABASE_URL": leadconnector.url}),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_IGN),
    )
    for _ in range(10):
        time.sleep(0.05)
        process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 0, err


def test_a_session_that_the_server_ended(leadconnector: Prepared) -> None:
    """The journal's session is ended in the middle: the run's own error is what is told."""
    with contextlib.suppress(_ItsOwn), journaled(leadconnector.target(), "test", "x") as entry:
        leadconnector.query(
            "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity"
            " WHERE application_name LIKE 'leadctl test%' AND datname = current_database()"
        )
        entry.note(noticed=True)
        entry.end("failed")
        raise _ItsOwn
    assert leadconnector.query("SELECT outcome FROM leadctl.run WHERE command = 'test'") == [
        (None,)
    ]


def test_an_error_on_the_way_out_hides_no_signal(
    cli: Cli, leadconnector: Prepared, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A block that ends with an error of its own, since a signal came amid a statement."""

    def interrupted(*_: object, **__: object) -> None:
        try:
            raise KeyboardInterrupt
        finally:
            raise psycopg.OperationalError("another command is already in progress")

    monkeypatch.setattr("leadctl.stats.overview", interrupted)
    outcome = cli("stats", url=leadconnector.url)
    assert (outcome.code, outcome.err) == (130, "Interrupted.\n")


def test_what_is_to_end_in_order_is_cut_off_where_it_does_not(leadconnector: Prepared) -> None:
    asked: list[int] = []
    with connect(leadconnector.target(), "test") as connection:
        before = threading.Timer(0.5, os.kill, (os.getpid(), signal.SIGTERM))
        before.start()
        began = time.monotonic()
        with pytest.raises(Terminated), ending_in_order(asked.append, 0.5):
            connection.execute("SELECT pg_catalog.pg_sleep(60)")
        before.join()
    assert asked == [signal.SIGTERM]
    assert time.monotonic() - began < 30

    def fail() -> None:
        os.kill(os.getpid(), signal.SIGTERM)
        raise _ItsOwn

    # What fails of itself before its time is over is told as what it is.
    with pytest.raises(_ItsOwn), ending_in_order(asked.append, 10):
        fail()
