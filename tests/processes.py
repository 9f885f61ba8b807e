"""Running leadctl as processes of its own, as cron and people do."""

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path

ROOT = Path(__file__).parent.parent


def environment(
    env: Mapping[str, str] | None = None, cwd: Path | None = None, command: str | None = None
) -> dict[str, str]:
    """Return an environment with nothing of ours but what is given, and an app."""
    ours = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), "TMPDIR": tempfile.gettempdir()}
    return {**ours, **an_app(command, cwd), **(env or {})}


def an_app(command: str | None = None, cwd: Path | None = None) -> dict[str, str]:
    """Return what names an app where a test works in a folder without a project.

    Not for the command `init`, which makes one.
    """
    if command == "init":
        return {}
    folder = cwd or Path.cwd()
    projects = [each for each in (folder, *folder.parents) if (each / "leadctl.toml").exists()]
    return {} if projects else {"LEADCTL_APP": "leadconnector"}


def start(
    *arguments: str, env: Mapping[str, str] | None = None, cwd: Path | None = None
) -> subprocess.Popen[str]:
    """Start leadctl."""
    return subprocess.Popen(
        [sys.executable, "-m", "leadctl", *arguments],
        env=environment(env, cwd, next(iter(arguments), None)),
        cwd=cwd,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def run(
    *arguments: str,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    timeout: float = 120,
) -> subprocess.CompletedProcess[str]:
    """Run leadctl to its end."""
    process = start(*arguments, env=env, cwd=cwd)
    try:
        out, err = process.communicate(timeout=timeout)
    except subprocess.TimeoutExpired:
        process.kill()
        process.communicate()
        raise
    return subprocess.CompletedProcess(arguments, process.returncode, out, err)


def python(
    *arguments: str | Path, env: Mapping[str, str] | None = None, cwd: Path | None = None
) -> str:
    """Run Python, which finds our package, to its good end; return what it writes."""
    done = subprocess.run(
        [sys.executable, *arguments],
        env=environment(env, cwd),
        cwd=cwd,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def kill_one_worker(process: subprocess.Popen[str]) -> None:
    """Kill one of the Python processes that a command has started beside itself."""
    children: list[int] = []
    for task in Path(f"/proc/{process.pid}/task").iterdir():
        children += map(int, (task / "children").read_text().split())
    workers = [
        child for child in children if b"spawn_main" in Path(f"/proc/{child}/cmdline").read_bytes()
    ]
    os.kill(workers[0], signal.SIGKILL)


def wait_for(condition: Callable[[], object], seconds: float = 60) -> None:
    """Wait until something is so."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)
