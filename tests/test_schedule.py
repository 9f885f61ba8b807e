"""Lines and units: what cron and systemd would run really runs."""

import configparser
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import KEY, Cli, Prepared
from tests.processes import ROOT


def line_of(text: str) -> tuple[dict[str, str], str]:
    """Read a crontab as cron does: variables, then the command after five fields."""
    variables, command = {}, ""
    for line in text.splitlines():
        if line.startswith("#") or not line:
            continue
        if command == "" and "=" in line.split()[0]:
            name, _, value = line.partition("=")
            variables[name] = value
        else:
            command = line.split(maxsplit=5)[5]
    return variables, command.replace("\\%", "%")


def test_a_line_of_cron_runs(leadconnector: Prepared, cli: Cli, tmp_path: Path) -> None:
    Path(".env").write_text(f"DATABASE_URL={leadconnector.url}\nENCRYPTION_KEY={KEY}\n")
    printed = cli("schedule", "cron", "cleanup", env={"ENCRYPTION_KEY": ""})
    assert printed.code == 0, printed.err
    variables, command = line_of(printed.out)
    program = tmp_path / "bin" / "leadctl"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\nPYTHONPATH={ROOT} exec {sys.executable} -m leadctl "$@"\n')
    program.chmod(0o755)
    variables["PATH"] = f"{program.parent}:{variables['PATH']}"
    if "-m leadctl" in command:
        variables["PYTHONPATH"] = str(ROOT)
    done = subprocess.run(
        ["/bin/sh", "-c", command], env=variables, cwd="/", capture_output=True, check=False
    )
    log = (tmp_path / "leadctl.log").read_text()
    assert (done.returncode, done.stdout, done.stderr, log) == (0, b"", b"", "")
    assert leadconnector.query("SELECT outcome FROM leadctl.run WHERE command = 'cleanup'") == [
        ("done",)
    ]


def test_units(cli: Cli, tmp_path: Path) -> None:
    printed = cli("schedule", "systemd", "health-check", "--app", "whatsapp", "-o", "json")
    files = printed.json["files"]
    assert list(files) == ["leadctl-health-check.service", "leadctl-health-check.timer"]
    units = {}
    for name, text in files.items():
        units[name] = configparser.ConfigParser(strict=False, interpolation=None)
        units[name].optionxform = str  # type: ignore[assignment,method-assign]
        units[name].read_string(text)
    service = units["leadctl-health-check.service"]["Service"]
    assert service["ExecStart"].endswith("health-check -o nagios --app whatsapp")
    assert service["WorkingDirectory"] == str(tmp_path)
    assert int(service["TimeoutStartSec"]) > 1800
    assert units["leadctl-health-check.timer"]["Timer"]["Persistent"] == "true"
    written = cli("schedule", "systemd", "--write", str(tmp_path))
    assert written.code == 0
    assert (tmp_path / "leadctl-cleanup.timer").exists()


def test_systemd_accepts_the_units(cli: Cli, tmp_path: Path) -> None:
    analyze = shutil.which("systemd-analyze")
    if analyze is None:
        pytest.skip("there is no systemd-analyze here")
    odd = tmp_path / "50% of a 'project'"
    odd.mkdir()
    os.chdir(odd)
    for job in ("cleanup", "backup", "health-check"):
        assert cli("schedule", "systemd", job, "--write", str(tmp_path)).code == 0
    units = sorted([*tmp_path.glob("*.service"), *tmp_path.glob("*.timer")])
    verified = subprocess.run(
        [analyze, "verify", *units], capture_output=True, text=True, check=False
    )
    assert (len(units), verified.returncode, verified.stderr) == (6, 0, "")


@pytest.mark.parametrize("kind", ["cron", "systemd"])
def test_no_secret_and_no_nonsense(kind: str, cli: Cli) -> None:
    secret = "postgresql://u:hush-hush@h/d"
    refused = cli("schedule", kind, "--url", secret)
    assert refused.code == 2
    assert "hush" not in refused.out + refused.err
    shown = cli("schedule", kind, url=secret)
    assert shown.code == 0
    assert "hush" not in shown.out + shown.err
    assert cli("schedule", kind, "nothing").code == 2
