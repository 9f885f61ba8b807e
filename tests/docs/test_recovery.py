"""The lines of docs/recovery.md, each in the misfortune that it is for."""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from leadctl.postgres.binaries import client_program, dump_programs
from tests.backups import key_pair, left_by_restores
from tests.conftest import KEY, Prepared
from tests.processes import ROOT, environment, run
from tests.servers import MAJOR, RunningServer

pytestmark = pytest.mark.thorough

DEBIAN = ROOT / ".cache" / "usr" / "bin"
PAGE = (ROOT / "docs" / "recovery.md").read_text()
needs_age = pytest.mark.skipif(
    not all(shutil.which(p, path=f"{os.environ['PATH']}:{DEBIAN}") for p in ("age", "zstd")),
    reason="age and zstd are not installed; tests/get_servers.sh gets them",
)
Shell = Callable[..., "subprocess.CompletedProcess[str]"]


def lines(section: str, number: int = 0) -> str:
    """Return the lines of a section of the page, without what they are said to do."""
    body = PAGE.split(f"\n## {section}\n")[1].split("\n## ")[0]
    return re.findall(r"```sh\n(.*?)```", body, re.DOTALL)[number]


@pytest.fixture
def shell(leadconnector: Prepared, tmp_path: Path) -> Iterator[Shell]:
    """Run lines as somebody would type them, with the variables of that night."""
    recipient, identity = key_pair(tmp_path)
    programs = tmp_path / "bin"
    programs.mkdir()
    (programs / "leadctl").write_text(f'#!/bin/sh\nexec "{sys.executable}" -m leadctl "$@"\n')
    (programs / "leadctl").chmod(0o755)
    clients = dump_programs(MAJOR, MAJOR).folder
    psql = client_program("psql").parent
    env = environment() | {
        "PATH": f"{programs}:{clients}:{psql}:{os.environ['PATH']}:{DEBIAN}",
        "DATABASE_URL": leadconnector.url,
        "BACKUP_DIR": str(tmp_path / "backups"),
        "BACKUP_RECIPIENTS": recipient,
        "BACKUP_IDENTITY_FILE": str(identity),
        "ENCRYPTION_KEY": KEY,
    }
    done = run("backup", env=env)
    assert done.returncode == 0, done.stderr

    def in_shell(script: str, *, code: int = 0, **more: str) -> "subprocess.CompletedProcess[str]":
        done = subprocess.run(
            ["/bin/sh", "-ec", script],
            env=env | more,
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )
        assert done.returncode == code, done.stdout + done.stderr
        return done

    yield in_shell
    for name in left_by_restores(leadconnector):
        leadconnector.server.drop(name)


def ids(tmp_path: Path) -> list[str]:
    return sorted(path.name for path in (tmp_path / "backups").glob("2*"))


def users(database: Prepared) -> int:
    return int(database.query("SELECT count(*) FROM users")[0][0])


def test_looking_first(shell: Shell, leadconnector: Prepared) -> None:
    first = re.findall(r"```sh\n(.*?)```", PAGE.split("\n## ")[0], re.DOTALL)[0]
    shell(first)
    assert users(leadconnector) == 1


def test_the_database_is_gone(shell: Shell, leadconnector: Prepared) -> None:
    leadconnector.server.drop(leadconnector.name)
    shell(lines("The database is gone"))
    shell(lines("Afterwards"))
    assert users(leadconnector) == 1


def test_the_machine_is_lost(
    shell: Shell, leadconnector: Prepared, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("obstore", reason="needs the extra cloud")
    server = pytest.importorskip("moto.server", reason="needs the group cloud").ThreadedMotoServer(
        ip_address="127.0.0.1", port=0, verbose=False
    )
    server.start()
    try:
        host, port = server.get_host_and_port()
        bucket = {
            "AWS_ENDPOINT_URL": f"http://{host}:{port}",
            "AWS_ACCESS_KEY_ID": "a",
            "AWS_SECRET_ACCESS_KEY": "b",
            "AWS_REGION": "us-east-1",
            "BUCKET": "s3://copies/shop",
        }
        import boto3

        boto3.client(
            "s3",
            endpoint_url=bucket["AWS_ENDPOINT_URL"],
            aws_access_key_id="a",
            aws_secret_access_key="b",
            region_name="us-east-1",
        ).create_bucket(Bucket="copies")
        shell('leadctl backup copy latest --to "$BUCKET"', **bucket)
        shutil.rmtree(tmp_path / "backups")
        leadconnector.server.drop(leadconnector.name)
        shell(lines("The machine is lost, with its disk"), **bucket)
        assert users(leadconnector) == 1
    finally:
        server.stop()


def test_rows_were_deleted(shell: Shell, leadconnector: Prepared) -> None:
    section = "A table was dropped, or rows were deleted"
    leadconnector.query("DELETE FROM users")
    shell(lines(section))
    assert users(leadconnector) == 1
    shell(lines(section, 1))
    assert users(leadconnector) == 1


def test_a_table_was_dropped(shell: Shell, leadconnector: Prepared) -> None:
    section = "A table was dropped, or rows were deleted"
    before = leadconnector.query("SELECT count(*) FROM leads")
    indexes = "SELECT count(*) FROM pg_indexes WHERE tablename = 'leads'"
    indexed = leadconnector.query(indexes)
    leadconnector.query("DROP TABLE leads CASCADE")
    shell(lines(section, 2))
    assert leadconnector.query("SELECT count(*) FROM leads") == before
    assert leadconnector.query(indexes) == indexed


def test_a_bad_migration(shell: Shell, leadconnector: Prepared, tmp_path: Path) -> None:
    leadconnector.query("ALTER TABLE users DROP COLUMN email; DELETE FROM users")
    shell(lines("A bad migration"), BACKUP_ID=ids(tmp_path)[0])
    assert leadconnector.query("SELECT count(email) FROM users") == [(1,)]
    assert len(left_by_restores(leadconnector)) == 1


def test_the_backup_is_damaged(shell: Shell, leadconnector: Prepared, tmp_path: Path) -> None:
    shell("leadctl backup")
    older, newer = ids(tmp_path)
    archive = tmp_path / "backups" / newer / "archive.dump.zst.age"
    archive.write_bytes(archive.read_bytes()[:-1])
    leadconnector.query("DELETE FROM users")
    verify, rest = lines("The backup is damaged").split("\n", 1)
    shell(verify, code=1)
    shell("leadctl restore --yes", code=1)
    assert users(leadconnector) == 0
    shell(rest, OLDER_ID=older)
    assert users(leadconnector) == 1


@needs_age
def test_the_key_is_lost(shell: Shell, leadconnector: Prepared) -> None:
    stranger = shell("age-keygen -o other.txt; chmod 600 other.txt")
    assert stranger.returncode == 0
    done = shell("leadctl restore --yes", code=3, BACKUP_IDENTITY_FILE="other.txt")
    assert "not encrypted to the key" in done.stderr
    assert left_by_restores(leadconnector) == []
    shell(lines("The private key is lost"))


@needs_age
@pytest.mark.parametrize("number", [0, 1])
def test_another_machine(
    shell: Shell, leadconnector: Prepared, tmp_path: Path, number: int
) -> None:
    role = f"owner_{leadconnector.name}"
    leadconnector.query(f"CREATE ROLE {role}; ALTER TABLE users OWNER TO {role}")
    shell("leadctl backup")
    leadconnector.query(f"ALTER TABLE users OWNER TO postgres; DROP ROLE {role}")
    copy = tmp_path / "elsewhere" / ids(tmp_path)[-1]
    shutil.copytree(tmp_path / "backups" / copy.name, copy)
    with RunningServer(MAJOR) as other:
        urls = {
            "DATABASE_URL": other.info.url("shop"),
            "SERVER_URL": other.info.url("postgres"),
            "BACKUP_DIR": str(tmp_path / "none"),
            "BACKUP": str(copy),
        }
        assert role in shell("leadctl restore $BACKUP --yes", code=1, **urls).stderr
        shell(lines("Another machine", number), **urls)
        with other.info.connect("shop") as connection:
            query = "SELECT tableowner FROM pg_tables WHERE tablename = 'users'"
            owner = connection.execute(query).fetchone()
        assert owner == (role if number == 0 else "postgres",)


def test_a_file_of_pg_dump(shell: Shell, leadconnector: Prepared) -> None:
    rescue = f"rescue_{leadconnector.name}"
    shell('pg_dump "$DATABASE_URL" | gzip > nightly.sql.gz')
    shell('pg_dump -Fc "$DATABASE_URL" > nightly.dump')
    leadconnector.query("DELETE FROM users")
    section = lines("There is only a file of pg_dump's")
    try:
        shell(section.replace("rescue ", f"{rescue} "))
    finally:
        leadconnector.server.drop(rescue)
    assert users(leadconnector) == 1


def test_every_section_is_tried() -> None:
    nights = Path(__file__).parents[1] / "pitr" / "test_nights.py"
    tried = Path(__file__).read_text() + nights.read_text()
    for section in re.findall(r"^## (.+)$", PAGE, re.MULTILINE):
        assert f'"{section}"' in tried, section
