"""Files that appear whole: whoever else writes them, whatever was killed before."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from leadctl.files import write_whole
from tests.processes import environment, wait_for

WRITES = """
import sys
from pathlib import Path
from leadctl.files import write_whole
for number in range(200):
    write_whole(Path(sys.argv[1]), sys.argv[2] * 5000, 0o600)
"""
HANGS = """
import os, sys, time
from pathlib import Path
from leadctl.files import write_whole
os.fsync = lambda _: time.sleep(60)
write_whole(Path(sys.argv[1]), "half", 0o600)
"""


def test_processes_that_write_the_same_file(tmp_path: Path) -> None:
    path = tmp_path / "facts.prom"
    writers = [
        subprocess.Popen([sys.executable, "-c", WRITES, path, letter], env=environment())
        for letter in "abc"
    ]
    while any(writer.poll() is None for writer in writers):
        if path.exists():
            assert path.read_text() in {letter * 5000 for letter in "abc"}
    assert [writer.wait() for writer in writers] == [0, 0, 0]
    assert [each.name for each in tmp_path.iterdir()] == ["facts.prom"]


def test_what_a_killed_process_left_is_removed(tmp_path: Path) -> None:
    path = tmp_path / "facts.prom"
    writer = subprocess.Popen([sys.executable, "-c", HANGS, path], env=environment())
    wait_for(lambda: list(tmp_path.glob(".facts.prom.*.partial")))
    (left,) = tmp_path.glob(".facts.prom.*.partial")
    wait_for(lambda: left.stat().st_size > 0)
    an_hour_ago = time.time() - 3600
    os.utime(left, (an_hour_ago, an_hour_ago))
    write_whole(path, "another", 0o600)
    assert left.exists()  # its writer lives
    writer.send_signal(signal.SIGKILL)
    writer.wait()
    write_whole(path, "again", 0o600)
    assert [(each.name, each.read_text()) for each in tmp_path.iterdir()] == [
        ("facts.prom", "again")
    ]
