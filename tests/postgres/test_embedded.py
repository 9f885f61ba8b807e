"""The embedded server survives what happens to servers on developers' machines."""

import os
import shutil
import signal
import stat
import subprocess
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psycopg
import pytest

from leadctl.errors import EmbeddedServerUnusable
from leadctl.postgres import OLDEST_MAJOR
from leadctl.postgres.binaries import server_with
from leadctl.postgres.embedded import Home, destroy, start, status, stop
from tests.processes import run, wait_for


def silent(_: str) -> None:
    pass


@pytest.fixture
def project(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "project"
    folder.mkdir()
    yield folder
    destroy(Home.of(folder))


def query(home: Home, statement: str) -> object:
    with psycopg.connect(host=str(home.sockets), user="postgres", dbname="postgres") as connection:
        row = connection.execute(statement).fetchone()
        return row[0] if row else None


@pytest.mark.thorough
def test_life(project: Path) -> None:
    home = Home.of(project)
    assert not status(home).exists
    assert list(project.iterdir()) == []
    first = start(home, silent)
    assert first.running
    assert start(home, silent) == first
    assert query(home, "SHOW listen_addresses") == ""
    assert query(home, "SHOW max_locks_per_transaction") == "256"
    for folder in (home.data, home.sockets):
        assert stat.S_IMODE(folder.stat().st_mode) & 0o077 == 0
    assert stat.S_IMODE(home.key_file.stat().st_mode) == 0o600
    key = home.key_file.read_text()
    assert not stop(home).running
    assert not stop(home).running
    assert start(home, silent).running
    assert home.key_file.read_text() == key
    destroy(home)
    assert list(project.iterdir()) == []
    assert not home.data.exists()
    destroy(home)


@pytest.mark.thorough
def test_many_commands_start_it_at_once(project: Path) -> None:
    with ThreadPoolExecutor(6) as pool:
        done = list(pool.map(lambda _: run("db", "start", "-o", "json", cwd=project), range(6)))
    assert [process.returncode for process in done] == [0] * 6, [process.stderr for process in done]
    assert len({process.stdout for process in done}) == 1


@pytest.mark.thorough
def test_where_no_app_is_named_the_next_command_names_one(project: Path) -> None:
    start(Home.of(project), silent)
    done = run("studio", cwd=project)
    assert done.returncode == 4
    assert done.stderr.endswith("Hint: Make it with: leadctl migrate --app leadconnector\n")
    assert run("migrate", "--app", "leadconnector", cwd=project).returncode == 0
    assert run("studio", cwd=project).returncode == 0


@pytest.mark.thorough
def test_a_killed_server_starts_again(project: Path) -> None:
    home = Home.of(project)
    pid = start(home, silent).pid
    query(home, "SELECT pg_sleep(0)")
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    deadline = time.monotonic() + 10
    while status(home).running and time.monotonic() < deadline:
        time.sleep(0.01)
    assert (home.data / "postmaster.pid").exists()
    again = start(home, silent)
    assert again.running
    assert again.pid != pid


@pytest.mark.thorough
@pytest.mark.parametrize("holder", ["this process", "another data folder"])
def test_a_stale_pid_file_of_a_living_process(project: Path, holder: str) -> None:
    home = Home.of(project)
    start(home, silent)
    text = (home.data / "postmaster.pid").read_text().splitlines()
    stop(home)
    if holder == "this process":
        text[0] = str(os.getpid())
    else:
        text[1] = "/somewhere/else"
    (home.data / "postmaster.pid").write_text("\n".join(text))
    assert not status(home).running
    assert start(home, silent).running


@pytest.mark.thorough
@pytest.mark.parametrize(
    "name", ["with spaces and 'quotes'", 'comma, and "double"', "x" * 120, "ünïcode-ж"]
)
def test_any_folder(tmp_path: Path, name: str) -> None:
    folder = tmp_path / name
    folder.mkdir()
    home = Home.of(folder)
    try:
        assert start(home, silent).running
        assert query(home, "SELECT 1") == 1
    finally:
        destroy(home)
    assert not home.sockets.exists()


@pytest.mark.thorough
def test_data_of_another_major_version_is_left_alone(project: Path) -> None:
    home = Home.of(project)
    start(home, silent)
    stop(home)
    (home.data / "PG_VERSION").write_text("14\n")
    before = sorted(path.name for path in home.data.iterdir())
    with pytest.raises(EmbeddedServerUnusable, match="PostgreSQL 14") as caught:
        start(home, silent)
    assert "Nothing was changed" in caught.value.message
    assert sorted(path.name for path in home.data.iterdir()) == before
    assert run("migrate", cwd=project).returncode == 3


def test_a_folder_that_cannot_be_written(tmp_path: Path) -> None:
    with pytest.raises(EmbeddedServerUnusable, match=r"\.leadctl"):
        start(Home.of(Path("/proc")), silent)
    (tmp_path / ".leadctl").write_text("a file")
    with pytest.raises(EmbeddedServerUnusable, match=r"\.leadctl"):
        start(Home.of(tmp_path), silent)
    assert (tmp_path / ".leadctl").read_text() == "a file"


@pytest.mark.thorough
def test_folders_that_are_not_ours_keep_their_permissions(project: Path) -> None:
    project.parent.chmod(0o700)
    project.chmod(0o750)
    start(Home.of(project), silent)
    assert stat.S_IMODE(project.parent.stat().st_mode) == 0o700
    assert stat.S_IMODE(project.stat().st_mode) == 0o750


@pytest.mark.thorough
def test_an_interrupted_initdb_is_begun_anew(project: Path) -> None:
    home = Home.of(project)
    home.create()
    (home.root / "data.partial").mkdir()
    (home.root / "data.partial" / "half").touch()
    assert start(home, silent).running


@pytest.mark.thorough
def test_a_copied_project_gets_a_server_of_its_own(project: Path, tmp_path: Path) -> None:
    home = Home.of(project)
    start(home, silent)
    copy = tmp_path / "copy"
    subprocess.run(["cp", "-r", project / ".leadctl", tmp_path / "saved"], check=True)
    copy.mkdir()
    subprocess.run(["cp", "-r", tmp_path / "saved", copy / ".leadctl"], check=True)
    other = Home.of(copy)
    assert other.data != home.data
    destroy(other)
    assert status(home).running


def test_a_pointer_cannot_name_any_folder(project: Path, tmp_path: Path) -> None:
    if os.geteuid() != 0:
        return  # only root's servers have a pointer
    precious = tmp_path / "precious"
    precious.mkdir()
    (precious / "file").touch()
    (project / ".leadctl").mkdir()
    (project / ".leadctl" / "home").write_text(f"{precious}\n{project / '.leadctl'}\n")
    destroy(Home.of(project))
    assert (precious / "file").exists()


@pytest.mark.thorough
@pytest.mark.skipif(os.geteuid() != 0, reason="only root's data lies elsewhere")
@pytest.mark.parametrize("way", [stop, destroy])
def test_a_server_whose_folder_was_cleaned_away_ends(project: Path, way: object) -> None:
    """As `git clean -fdx` does: data and process are still there, elsewhere."""
    home = Home.of(project)
    pid = start(home, silent).pid
    shutil.rmtree(home.folder)
    assert status(Home.of(project)).running
    assert callable(way)
    way(Home.of(project))
    assert not status(Home.of(project)).running
    wait_for(lambda: not Path(f"/proc/{pid}/exe").exists())


@pytest.mark.thorough
def test_destroy_asks(project: Path) -> None:
    start(Home.of(project), silent)
    refused = run("db", "destroy", cwd=project)
    assert refused.returncode == 5
    assert "--yes" in refused.stderr
    assert status(Home.of(project)).running
    assert run("db", "destroy", "--yes", cwd=project).returncode == 0
    assert not status(Home.of(project)).exists


@pytest.mark.thorough
def test_the_whole_first_hour(project: Path) -> None:
    """No settings at all: migrate makes the server, seed finds the key that came with it."""
    assert run("migrate", "status", cwd=project).returncode == 3
    assert list(project.iterdir()) == []
    assert run("migrate", cwd=project).returncode == 0
    assert run("seed", cwd=project).returncode == 0
    assert run("migrate", "status", cwd=project).returncode == 0
    url = run("db", "url", cwd=project).stdout.strip()
    with psycopg.connect(url) as connection:
        assert connection.execute("SELECT email FROM users").fetchone() == ("test@example.com",)
    listed = run("db", "shell", "--", "-Atc", "SELECT count(*) FROM users", cwd=project)
    assert (listed.returncode, listed.stdout) == (0, "1\n")


@pytest.mark.thorough
@pytest.mark.skipif(
    server_with(["pgcrypto", "uuid-ossp"], OLDEST_MAJOR, lambda: None) is None,
    reason="no PostgreSQL on this machine brings pgcrypto and uuid-ossp",
)
def test_a_new_server_has_the_extensions_that_migrations_name(project: Path) -> None:
    versions = project / "migrations" / "versions"
    versions.mkdir(parents=True)
    (project / "leadctl.toml").write_text('app = "own"\n[apps.own]\nmigrations = "migrations"\n')
    (project / "migrations" / "env.py").write_text(
        "from alembic import context\ncontext.configure(dialect_name='postgresql')\n"
    )
    for number, (down, text) in enumerate(
        [
            ("None", 'CREATE EXTENSION IF NOT EXISTS "uuid-ossp"'),
            ("'r0'", "CREATE EXTENSION pgcrypto"),
        ]
    ):
        (versions / f"r{number}.py").write_text(
            f"from alembic import op\nrevision = 'r{number}'\ndown_revision = {down}\n"
            f"def upgrade():\n    op.execute({text!r})\n"
        )
    done = run("migrate", cwd=project)
    assert done.returncode == 0, done.stderr
    assert "has pgcrypto, uuid-ossp" in done.stderr
    home = Home.of(project)
    names = "SELECT string_agg(extname, ' ' ORDER BY extname) FROM pg_extension"
    with psycopg.connect(host=str(home.sockets), user="postgres", dbname="own") as connection:
        assert connection.execute(names).fetchone() == ("pgcrypto plpgsql uuid-ossp",)
        assert connection.execute("SELECT digest('a', 'md5') IS NULL").fetchone() == (False,)
    stop(home)
    assert start(home, silent).running  # with the same programs
    with psycopg.connect(host=str(home.sockets), user="postgres", dbname="own") as connection:
        assert connection.execute("SELECT uuid_generate_v4() IS NULL").fetchone() == (False,)
