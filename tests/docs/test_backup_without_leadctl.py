"""The lines of docs/backup.md, run with the real age, zstd and pg_restore."""

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.backups import key_pair, plain_dump
from tests.conftest import Prepared
from tests.processes import ROOT, run
from tests.servers import PASSWORD

DEBIAN = ROOT / ".cache" / "usr" / "bin"
PATH = f"{os.environ['PATH']}:{DEBIAN}"


@pytest.mark.skipif(
    not (shutil.which("age", path=PATH) and shutil.which("zstd", path=PATH)),
    reason="age and zstd are not installed; tests/get_servers.sh gets them",
)
@pytest.mark.parametrize("encrypted", [True, False])
def test_the_lines_of_the_document(
    leadconnector: Prepared, tmp_path: Path, encrypted: bool
) -> None:
    from leadctl.postgres.binaries import dump_programs

    recipient, identity = key_pair(tmp_path)
    env = {
        "DATABASE_URL": leadconnector.url,
        "BACKUP_DIR": str(tmp_path / "backups"),
        "BACKUP_RECIPIENTS": recipient if encrypted else "",
    }
    assert run("backup", env=env).returncode == 0
    (backup,) = (tmp_path / "backups").glob("2*")
    text = (ROOT / "docs" / "backup.md").read_text()
    lines = re.findall(r"```sh\n(age -d .*?)```", text, re.DOTALL)[0]
    if not encrypted:
        lines = lines.replace('age -d -i "$IDENTITY"', "cat").replace(".age", "")
    major = leadconnector.server.major
    programs = dump_programs(major, major)
    newer = programs.major >= 17 > major
    if newer:
        lines = lines.replace("--exit-on-error ", "")
    copy = f"{leadconnector.name}_copy"
    try:
        done = subprocess.run(
            ["/bin/sh", "-ec", lines],
            env={
                "PATH": f"{programs.folder}:{PATH}",
                "IDENTITY": str(identity),
                "BACKUP": str(backup),
                "DATABASE": copy,
                "PGHOST": leadconnector.server.host,
                "PGPORT": str(leadconnector.server.port),
                "PGUSER": "postgres",
                "PGPASSWORD": PASSWORD,
            },
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == (1 if newer else 0), done.stderr
        assert not newer or "errors ignored on restore: 1" in done.stderr
        assert plain_dump(leadconnector.server, copy) == plain_dump(
            leadconnector.server, leadconnector.name
        )
        assert "CREATE ROLE" in (tmp_path / "globals.sql").read_text()
        assert "PASSWORD" not in (tmp_path / "globals.sql").read_text()
    finally:
        leadconnector.server.drop(copy)
