"""Ctrl-C on a terminal reaches every process of the command; one of them answers."""

import os
import pty
import re
import select
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import KEY, Prepared
from tests.processes import environment, wait_for


def on_a_terminal(database: Prepared, *arguments: str) -> tuple[subprocess.Popen[bytes], int]:
    """Start leadctl as the foreground job of a terminal of its own."""
    controller, terminal = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "leadctl", *arguments],
        env=environment({"DATABASE_URL": database.url, "ENCRYPTION_KEY": KEY, "TERM": "xterm"}),
        stdin=terminal,
        stdout=terminal,
        stderr=terminal,
        start_new_session=True,
        preexec_fn=lambda: os.close(os.open(os.ttyname(0), os.O_RDWR)),  # its controlling one
    )
    os.close(terminal)
    return process, controller


def rest(controller: int) -> str:
    """Read what a terminal shows until nobody has it open any more."""
    shown = b""
    while True:
        ready, _, _ = select.select([controller], [], [], 60)
        assert ready, shown
        try:
            part = os.read(controller, 65536)
        except OSError:  # EIO: the last process is gone
            return shown.decode()
        if not part:
            return shown.decode()
        shown += part


COPYING = (
    "SELECT 1 FROM pg_stat_activity WHERE query LIKE 'COPY %' AND datname = current_database()"
)
STARTING = (
    "SELECT 1 FROM pg_stat_activity WHERE application_name LIKE 'leadctl%'"
    " AND datname = current_database()"
)


@pytest.mark.few(2)
@pytest.mark.parametrize("times", [1, 2])
@pytest.mark.parametrize("moment", [STARTING, COPYING], ids=["starting", "copying"])
def test_workers_leave_ctrl_c_to_the_command(
    leadconnector: Prepared, moment: str, times: int
) -> None:
    before = leadconnector.query("SELECT count(*) FROM leads")
    process, controller = on_a_terminal(leadconnector, "seed", "--bulk", "2000000")
    leadconnector.wait_for(moment)
    group = re.findall(r"\d+", Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text())
    for _ in range(times):
        os.write(controller, b"\x03")
    shown = rest(controller)
    assert process.wait(timeout=60) == 130
    assert "Traceback" not in shown, shown
    assert "KeyboardInterrupt" not in shown, shown
    assert shown.count("Interrupted.") == 1, shown
    line = re.split(r"\r\x1b\[K|\n", shown.partition("Interrupted.")[0])[-1]
    assert not line.replace("^C", ""), shown  # no progress stands before it
    assert leadconnector.query("SELECT count(*) FROM leads") == before
    wait_for(lambda: not any(map(is_running, group)))


TWICE = """
import atexit, os, signal
from leadctl.cli import commands, exit_codes, group

def interrupted(*_):
    raise KeyboardInterrupt

exit_codes.quit_quietly()
atexit.register(os.kill, os.getpid(), signal.SIGINT)
group.RootGroup._reporting = interrupted
commands.app_for(["status"])()
"""


def test_a_second_signal_between_the_last_words_and_the_end_is_silent() -> None:
    done = subprocess.run(
        [sys.executable, "-c", TWICE], capture_output=True, text=True, check=False, timeout=60
    )
    assert (done.returncode, done.stderr) == (130, "Interrupted.\n")


def is_running(pid: str) -> bool:
    """Whether a process is there, and not only its entry that nobody has read."""
    try:
        return Path("/proc", pid, "stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False
