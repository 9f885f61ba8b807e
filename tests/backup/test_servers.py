"""Backups with few privileges, from a standby, of much, and with the programs that are there."""

import json
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from leadctl.errors import MissingClient
from leadctl.postgres import binaries
from leadctl.postgres.binaries import Binaries, dump_programs
from tests.backup.test_backup_faults import fill
from tests.backups import encrypted_backups
from tests.conftest import KEY, Prepared
from tests.processes import run, start
from tests.servers import MAJOR, PASSWORD, RunningServer

MEMORY_MAX_KIB = 150 * 1024


@pytest.fixture
def env(tmp_path: Path) -> dict[str, str]:
    return encrypted_backups(tmp_path) | {"ENCRYPTION_KEY": KEY}


@pytest.fixture
def reader(leadconnector: Prepared) -> Iterator[str]:
    """The URL of a role that may read everything, and nothing else."""
    name = f"reader_{leadconnector.name}"
    leadconnector.query(f"CREATE ROLE {name} LOGIN PASSWORD '{PASSWORD}' IN ROLE pg_read_all_data")
    yield leadconnector.url.replace("//postgres:", f"//{name}:")
    leadconnector.query(f"DROP OWNED BY {name}; DROP ROLE {name}")


@pytest.mark.thorough
def test_a_role_that_may_only_read(reader: str, env: dict[str, str]) -> None:
    done = run("backup", "-o", "json", env=env | {"DATABASE_URL": reader})
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["rows"] > 0
    assert run("backup", "verify", "latest", env=env).returncode == 0
    refused = run("backup", "verify", "latest", "--restore", env=env | {"DATABASE_URL": reader})
    assert refused.returncode == 1
    assert "could not be rehearsed here" in refused.stdout
    assert "may not create databases" in refused.stdout


def test_rows_that_are_hidden_from_the_role_stop_the_backup(
    leadconnector: Prepared, reader: str, env: dict[str, str]
) -> None:
    leadconnector.query("ALTER TABLE leads ENABLE ROW LEVEL SECURITY")
    done = run("backup", env=env | {"DATABASE_URL": reader})
    assert done.returncode == 4, done.stderr
    assert "leads" in done.stderr
    assert not list(Path(env["BACKUP_DIR"]).glob("2*"))


@pytest.mark.thorough
def test_from_a_standby(env: dict[str, str]) -> None:
    with RunningServer(MAJOR, hot_standby="on") as server:
        with server.info.connect() as connection:
            connection.execute("CREATE TABLE things AS SELECT generate_series(1, 1000) n")
            connection.execute("CREATE UNLOGGED TABLE volatile (n int)")
        server.shut_down()
        (server._data / "standby.signal").touch()
        server.launch()
        url = server.info.url("postgres")
        done = run("backup", "-o", "json", env=env | {"DATABASE_URL": url})
        assert done.returncode == 0, done.stderr
        assert json.loads(done.stdout)["rows"] == 1000
        assert run("backup", "verify", "latest", env=env).returncode == 0


def _peak(pid: int) -> int:
    """Return the most memory that a process has had, in KiB.  Raises OSError, IndexError."""
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0])


@pytest.mark.slow
def test_memory_does_not_grow_with_the_database(
    leadconnector: Prepared, env: dict[str, str]
) -> None:
    fill(leadconnector, 1_500_000)
    env["DATABASE_URL"] = leadconnector.url
    peaks = {}
    for arguments in (["backup"], ["backup", "verify", "latest"], ["restore", "--yes"]):
        peaks[" ".join(arguments)] = 0
        with start(*arguments, env=env) as process:
            # Not getrusage: that of a child begins with what this process has.
            while process.poll() is None:
                with suppress(OSError, IndexError):
                    peaks[" ".join(arguments)] = _peak(process.pid)
                time.sleep(0.05)
            assert process.returncode == 0, process.communicate()
    assert 0 < min(peaks.values()) <= max(peaks.values()) < MEMORY_MAX_KIB, peaks
    with leadconnector.server.connect() as connection:
        for (name,) in connection.execute(
            "SELECT datname FROM pg_database WHERE datname LIKE %s", (f"{leadconnector.name}_b%",)
        ).fetchall():
            leadconnector.server.drop(name)


def test_which_programs_are_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    known = [Binaries(Path(f"/{m}.{n}"), m, n) for m, n in ((18, 6), (17, 2), (17, 10), (15, 18))]
    monkeypatch.setattr(binaries, "_wheel", lambda: known[0])
    monkeypatch.setattr(binaries, "_system", lambda _: known[1:])

    def taken(at_least: int, preferred: int) -> str:
        found = dump_programs(at_least, preferred)
        return f"{found.major}.{found.minor}"

    assert [taken(m, m) for m in (15, 16, 17, 18)] == ["15.18", "17.10", "17.10", "18.6"]
    assert taken(15, 19) == "18.6"
    with pytest.raises(MissingClient, match=r"PostgreSQL 19 or newer.*15\.18"):
        dump_programs(19, 19)


def test_a_connection_string_without_a_password_says_so(
    leadconnector: Prepared, env: dict[str, str]
) -> None:
    url = leadconnector.url.replace(":" + PASSWORD.replace(" ", "%20"), "")
    done = run("backup", env=env | {"DATABASE_URL": url})
    assert (done.returncode, "password" in done.stderr) == (4, True)
