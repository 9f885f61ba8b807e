"""The page for containers: its entrypoint does what it says, its files are what they claim to be."""

import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from tests.processes import environment, run
from tests.servers import Server

pytestmark = pytest.mark.thorough

PAGE = (Path(__file__).parents[2] / "docs" / "docker.md").read_text()
UNREACHABLE = "postgresql://127.0.0.1:1/nowhere"


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", PAGE, re.DOTALL)


class Container:
    """Starts the entrypoint as an image would: with leadctl on its path, and a command."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.started: list[subprocess.Popen[str]] = []
        (script,) = blocks("bash")
        self._program("entrypoint.sh", script)
        self._program("leadctl", f'#!/bin/sh\nexec "{sys.executable}" -m leadctl "$@"\n')

    def start(self, url: str, wait: int = 60, *command: str) -> subprocess.Popen[str]:
        env = environment({"DATABASE_URL": url, "DATABASE_WAIT": str(wait)})
        env["PATH"] = f"{self.folder}:{env['PATH']}"
        process = subprocess.Popen(
            [self.folder / "entrypoint.sh", *(command or ("echo", "started"))],
            cwd=self.folder,
            env=env,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.started.append(process)
        return process

    def _program(self, name: str, text: str) -> None:
        (self.folder / name).write_text(text)
        (self.folder / name).chmod(0o755)


@pytest.fixture
def container(tmp_path: Path) -> Iterator[Container]:
    container = Container(tmp_path)
    yield container
    for process in container.started:
        process.kill()
        process.communicate()


def ended(process: subprocess.Popen[str]) -> tuple[int, str]:
    out, err = process.communicate(timeout=120)
    assert "Traceback" not in err
    return process.returncode, out


def test_it_migrates_and_becomes_the_application(
    container: Container, server: Server, database: str
) -> None:
    url = server.url(database)
    process = container.start(url, 60, "sh", "-c", "echo $$")
    assert ended(process) == (0, f"{process.pid}\n")
    with server.connect(database) as connection:
        assert connection.execute("SELECT count(*) FROM leads").fetchone() == (0,)
    assert ended(container.start(url)) == (0, "started\n")


def test_two_at_once(container: Container, server: Server, database: str) -> None:
    both = [container.start(server.url(database)) for _ in range(2)]
    assert [ended(each) for each in both] == [(0, "started\n")] * 2
    with server.connect(database) as connection:
        runs = connection.execute("SELECT revision FROM leadctl.migration ORDER BY 1").fetchall()
    assert runs == [("leadconnector_0001",), ("leadconnector_0002",)]


def test_a_server_that_never_comes(container: Container) -> None:
    assert ended(container.start(UNREACHABLE, 1)) == (4, "")


def test_what_is_wrong_is_not_waited_for(container: Container) -> None:
    assert ended(container.start("postgresql://localhost/shop?nonsense=1", 600)) == (3, "")


@pytest.mark.slow
def test_a_server_that_comes_late(container: Container, tmp_path: Path) -> None:
    folder = tmp_path / "late"
    folder.mkdir()
    try:
        assert run("db", "start", cwd=folder).returncode == 0
        url = run("db", "url", cwd=folder).stdout.strip()
        assert run("db", "stop", cwd=folder).returncode == 0
        process = container.start(url)
        assert process.stderr is not None
        assert process.stderr.readline().startswith("Error: ")  # it has looked once
        assert run("db", "start", cwd=folder).returncode == 0
        assert ended(process) == (0, "started\n")
    finally:
        run("db", "destroy", "--yes", cwd=folder)


def test_sigterm_while_it_waits_for_a_server(container: Container) -> None:
    process = container.start(UNREACHABLE, 600)
    assert process.stderr is not None
    assert process.stderr.readline().startswith("Error: ")
    process.send_signal(signal.SIGTERM)
    assert ended(process) == (143, "")


def test_sigterm_while_it_migrates(container: Container, server: Server, database: str) -> None:
    url = server.url(database)
    waiting = (
        "SELECT count(*) FROM pg_stat_activity"
        " WHERE datname = current_database() AND wait_event_type = 'Lock'"
    )
    with server.connect(database) as holder, server.connect(database) as watcher:
        with holder.transaction():
            # The name that the first revision takes is taken, and not yet for good.
            holder.execute("CREATE TABLE users (id int)")
            process = container.start(url)
            while watcher.execute(waiting).fetchone() != (1,):
                assert process.poll() is None
            process.send_signal(signal.SIGTERM)
            assert ended(process) == (143, "")
        holder.execute("DROP TABLE users")
    assert ended(container.start(url)) == (0, "started\n")


def test_the_files_are_what_they_claim_to_be() -> None:
    documents = [yaml.safe_load(text) for text in blocks("yaml")]
    compose = next(each for each in documents if "services" in each)
    assert set(compose["services"]["app"]["depends_on"]) < set(compose["services"])
    for job in (each for each in documents if "kind" in each):
        spec = job["spec"].get("jobTemplate", job)["spec"]
        (pod,) = spec["template"]["spec"]["containers"]
        assert pod["command"][0] == "leadctl"
        assert run(*pod["command"][1:], "--help").returncode == 0
    (dockerfile,) = blocks("dockerfile")
    (entrypoint,) = re.findall(r'^ENTRYPOINT \["(.*)"\]$', dockerfile, re.MULTILINE)
    assert f"COPY --chmod=755 {entrypoint} /usr/local/bin/" in dockerfile


def test_the_startup_probe(container: Container, server: Server, database: str) -> None:
    (probe,) = (
        each["startupProbe"]
        for each in map(yaml.safe_load, blocks("yaml"))
        if "startupProbe" in each
    )
    env = environment({"DATABASE_URL": server.url(database)})
    env["PATH"] = f"{container.folder}:{env['PATH']}"

    def answer() -> int:
        return subprocess.run(
            probe["exec"]["command"],
            cwd=container.folder,
            env=env,
            capture_output=True,
            check=False,
        ).returncode

    assert answer() != 0
    assert ended(container.start(server.url(database)))[0] == 0
    assert answer() == 0
