"""Lines and units: what cron and systemd would run really runs."""

import configparser
import os
import pwd
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from tests.conftest import KEY, Cli, Prepared
from tests.processes import ROOT
from tests.servers import server_account


def line_of(text: str) -> str:
    """Read a crontab as cron does: one line, the command after five fields."""
    (line,) = text.splitlines()
    command, escaped = "", False
    for letter in line.split(maxsplit=5)[5]:
        if letter == "%" and not escaped:
            break  # what follows is the command's standard input
        command = command[:-1] + letter if letter == "%" else command + letter
        escaped = letter == "\\" and not escaped
    return command


def program(folder: Path, script: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "leadctl"
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return path


@pytest.fixture(autouse=True)
def own_project(tmp_path: Path) -> None:
    """A job is a project's."""
    (tmp_path / "leadctl.toml").write_text('app = "leadconnector"\n')


def test_a_line_of_cron_runs(leadconnector: Prepared, cli: Cli, tmp_path: Path) -> None:
    Path(".env").write_text(f"DATABASE_URL={leadconnector.url}\nENCRYPTION_KEY={KEY}\n")
    printed = cli("schedule", "cron", "cleanup", env={"ENCRYPTION_KEY": ""})
    assert printed.code == 0, printed.err
    program(tmp_path / "bin", f'PYTHONPATH={ROOT} exec {sys.executable} -m leadctl "$@"')
    command = line_of(printed.out).replace("PATH=", f"PATH={tmp_path / 'bin'}:", 1)
    done = subprocess.run(
        ["/bin/sh", "-c", command],
        env={"PYTHONPATH": str(ROOT)},
        cwd="/",
        capture_output=True,
        check=False,
    )
    log = (tmp_path / "leadctl.log").read_text()
    assert (done.returncode, done.stdout, done.stderr, log) == (0, b"", b"", "")
    assert leadconnector.query("SELECT outcome FROM leadctl.run WHERE command = 'cleanup'") == [
        ("done",)
    ]


def test_units(cli: Cli, tmp_path: Path) -> None:
    printed = cli("schedule", "systemd", "health-check", "--app", "whatsapp", "-o", "json")
    files = printed.json["files"]
    unit = f"leadctl-{tmp_path.name}-whatsapp-health-check"
    assert list(files) == [f"{unit}.service", f"{unit}.timer"]
    units = {}
    for name, text in files.items():
        units[name] = configparser.ConfigParser(strict=False, interpolation=None)
        units[name].optionxform = str  # type: ignore[assignment,method-assign]
        units[name].read_string(text)
    service = units[f"{unit}.service"]["Service"]
    assert service["ExecStart"].endswith("health-check -o nagios --app whatsapp")
    assert service["WorkingDirectory"] == str(tmp_path)
    assert int(service["TimeoutStartSec"]) >= 1800
    assert units[f"{unit}.timer"]["Timer"]["Persistent"] == "true"
    written = cli("schedule", "systemd", "--write", str(tmp_path))
    assert written.code == 0
    assert (tmp_path / f"leadctl-{tmp_path.name}-cleanup.timer").exists()


def test_systemd_accepts_the_units(cli: Cli, tmp_path: Path) -> None:
    analyze = shutil.which("systemd-analyze")
    if analyze is None:
        pytest.skip("there is no systemd-analyze here")
    odd = tmp_path / "50% of a 'project'"
    odd.mkdir()
    os.chdir(odd)
    for job in ("cleanup", "backup", "health-check"):
        told = ("--on-failure", "mail -s \"50% 'failed' $MONITOR_UNIT\" ops@x <\\dev")
        assert cli("schedule", "systemd", job, *told, "--write", str(tmp_path)).code == 0
    units = sorted([*tmp_path.glob("*.service"), *tmp_path.glob("*.timer")])
    verified = subprocess.run(
        [analyze, "verify", *units], capture_output=True, text=True, check=False
    )
    assert (len(units), verified.returncode, verified.stderr) == (9, 0, "")


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


@pytest.mark.parametrize("kind", ["cron", "systemd"])
def test_a_job_of_an_app_that_is_not_there(kind: str, cli: Cli) -> None:
    key = f"AGE-SECRET-KEY-1{'Q' * 58}"
    refused = cli("schedule", kind, "cleanup", env={"LEADCTL_APP": key})
    assert (refused.code, refused.out) == (3, "")
    assert "There is no app" in refused.err
    assert key not in refused.err
    assert cli("schedule", kind, "cleanup", "--app", "leadconector").code == 3


def test_a_backup_has_its_own_limit_and_prunes(cli: Cli, tmp_path: Path) -> None:
    cron = line_of(cli("schedule", "cron", "backup").out)
    assert cron.index("timeout -k 60 21600") < cron.index(" backup -q && timeout")
    assert "backup prune -q --yes" in cron
    assert "timeout -k 60 7200 " in line_of(
        cli("schedule", "cron", "backup", "--timeout", "2h").out
    )
    cli("schedule", "systemd", "backup", "--timeout", "10h", "--write", str(tmp_path))
    service = (tmp_path / f"leadctl-{tmp_path.name}-backup.service").read_text().splitlines()
    starts = [line for line in service if line.startswith("ExecStart=")]
    assert [start.partition(" backup")[2] for start in starts] == [" -q", " prune -q --yes"]
    assert "TimeoutStartSec=36000" in service
    assert cli("schedule", "cron", "backup", "--timeout", "soon").code == 2
    assert cli("schedule", "cron", "backup", "--on-failure", "a\nb").code == 2


@pytest.mark.parametrize("kind", ["cron", "systemd"])
@pytest.mark.parametrize("hook", ["", " "])
def test_a_hook_that_tells_nobody(cli: Cli, kind: str, hook: str) -> None:
    """As of a variable that is not set: nobody would be told, and cron would not mail."""
    refused = cli("schedule", kind, "backup", "--on-failure", hook)
    assert (refused.code, refused.out) == (2, "")


@pytest.mark.parametrize("fails", ["none", "backup", "prune", "hangs"])
def test_who_is_told(cli: Cli, tmp_path: Path, fails: str) -> None:
    log = tmp_path / "calls"
    does = {"hangs": "sleep 60", "backup": "exit 1", "prune": '[ "$2" != prune ]', "none": "true"}
    program(tmp_path / "bin", f'echo "$@" >> {log}; {does[fails]}')
    hook = f"echo \"told of $LEADCTL_JOB, 100%\" >> '{log}' # it is"
    limit = ("--timeout", "1s") if fails == "hangs" else ()
    printed = cli("schedule", "cron", "backup", *limit, "--on-failure", hook)
    command = line_of(printed.out)
    for found in {word for word in command.split() if word.endswith("bin/leadctl")}:
        command = command.replace(found, "leadctl")
    command = command.replace(f"{sys.executable} -m leadctl", "leadctl")
    command = command.replace("PATH=", f"PATH={tmp_path / 'bin'}:", 1)
    subprocess.run(["/bin/sh", "-c", command], env={}, cwd="/", check=False, timeout=30)
    expected = ["backup -q", *(["backup prune -q --yes"] if fails in {"none", "prune"} else [])]
    told = [] if fails == "none" else ["told of backup, 100%"]
    assert log.read_text().splitlines() == [*expected, *told]


def test_a_line_that_crontab_takes(cli: Cli, tmp_path: Path) -> None:
    """Debian's, which is asked where it is installed, takes 998 bytes of a command."""
    shortest = cli("schedule", "cron", "backup", "--on-failure", "x").out.rstrip("\n")
    room = 998 - len(shortest.split(maxsplit=5)[5].encode())
    longest = cli("schedule", "cron", "backup", "--on-failure", "x" * (room + 1))
    assert longest.code == 0, longest.err
    (tmp_path / "table").write_text(longest.out)
    refused = cli("schedule", "cron", "backup", "--on-failure", "x" * (room + 2))
    assert (refused.code, "would have 999 bytes" in refused.err) == (2, True), refused.err
    if crontab := shutil.which("crontab"):
        found = subprocess.run(
            [crontab, "-n", tmp_path / "table"], capture_output=True, check=False
        )
        assert b"too long" not in found.stderr


def test_without_a_hook_cron_mails_a_line(cli: Cli, tmp_path: Path) -> None:
    program(tmp_path / "bin", "echo all the news; exit 2")
    for job in ("backup", "health-check"):
        command = line_of(cli("schedule", "cron", job).out)
        for found in {word for word in command.split() if word.endswith("bin/leadctl")}:
            command = command.replace(found, "leadctl")
        command = command.replace(f"{sys.executable} -m leadctl", "leadctl")
        command = command.replace("PATH=", f"PATH={tmp_path / 'bin'}:", 1)
        done = subprocess.run(
            ["/bin/sh", "-c", command], env={}, cwd="/", capture_output=True, text=True, check=False
        )
        assert done.stdout.startswith(f"leadctl {job} failed, see "), done
    assert (tmp_path / "leadctl.log").read_text() == "all the news\n" * 2


@pytest.mark.thorough
def test_units_run_as_the_owner_of_the_project(cli: Cli, tmp_path: Path) -> None:
    """Whoever puts them in place is root, and nobody's backups should be."""
    owner = server_account() if os.geteuid() == 0 else pwd.getpwuid(os.geteuid())
    env = {"PITR_DIR": str(tmp_path / "archive")}
    for name in ("of root", "of another"):
        folder = tmp_path / name
        folder.mkdir()
        (folder / "leadctl.toml").write_text('app = "leadconnector"\n')
        os.chdir(folder)
        if name == "of another":
            os.chown(folder, owner.pw_uid, owner.pw_gid)
        for job in ("pitr", "backup"):
            found = cli("schedule", "systemd", job, "--on-failure", "x", "-o", "json", env=env).json
            services = [text for file, text in found["files"].items() if ".service" in file]
            users = {line for text in services for line in text.splitlines() if "User=" in line}
            is_roots = folder.stat().st_uid == 0
            assert users == (set() if is_roots else {f"User={owner.pw_name}"})
            assert all(text.count("User=") == (not is_roots) for text in services)


@pytest.mark.thorough
def test_installed_twice_is_once(cli: Cli, tmp_path: Path) -> None:
    """With a `crontab` of our own, which keeps the table in a file."""
    table = tmp_path / "table"
    table.write_text("0 0 * * * others\n")
    programs = tmp_path / "bin"
    program(programs, f'PYTHONPATH={ROOT} exec {sys.executable} -m leadctl "$@"')
    (programs / "crontab").write_text(
        f'#!/bin/sh\nif [ "$1" = -l ]; then cat {table}; else cat > {table}.new; '
        f"mv {table}.new {table}; fi\n"
    )
    (programs / "crontab").chmod(0o755)
    env = {"PATH": f"{programs}:/usr/bin:/bin"}
    for name in ("50% of it", "50% of it too"):
        folder = tmp_path / name
        folder.mkdir()
        (folder / "leadctl.toml").write_text('app = "leadconnector"\n')
        os.chdir(folder)
        for job in ("backup", "backup", "cleanup", "backup"):
            found = cli("schedule", "cron", job, "--on-failure", "page 'me' 5%", "-o", "json").json
            (install,) = found["install"]
            subprocess.run(["/bin/sh", "-c", install], env=env, cwd=folder, check=True)
    lines = table.read_text().splitlines()
    assert len(lines) == 5, lines
    table.write_text("")  # the first line of all, in a script that stops at an error
    subprocess.run(["/bin/sh", "-ec", install], env=env, cwd=folder, check=True)
    (line,) = table.read_text().splitlines()
    assert line in lines
    table.write_text("\n".join(lines) + "\n")
    program(programs, "exit 1")  # it went, or its settings are wrong
    subprocess.run(["/bin/sh", "-c", install], env=env, cwd=folder, check=False)
    assert table.read_text().splitlines() == lines
    assert all(line.count("[leadctl ") == 1 for line in lines[1:])


def test_units_of_two_projects_of_one_name(cli: Cli, tmp_path: Path) -> None:
    units = tmp_path / "units"
    units.mkdir()
    for place in ("a", "b"):
        folder = tmp_path / place / "shop"
        folder.mkdir(parents=True)
        (folder / "leadctl.toml").write_text('app = "leadconnector"\n')
        os.chdir(folder)
        codes = [
            cli("schedule", "systemd", "backup", *more, "--write", str(units))
            for more in ((), (), ("--app", "whatsapp"))
        ]
        if place == "b":
            assert [each.code for each in codes] == [5, 5, 5]
            assert str(tmp_path / "a" / "shop") in codes[0].err
        else:
            assert [each.code for each in codes] == [0, 0, 0]
    assert sorted(path.name for path in units.iterdir()) == [
        "leadctl-shop-backup.service",
        "leadctl-shop-backup.timer",
        "leadctl-shop-whatsapp-backup.service",
        "leadctl-shop-whatsapp-backup.timer",
    ]


HOOKS = (
    r"printf '%s\n' 'a\%b' \% \\% '%' > {out}",
    r"""echo "$LEADCTL_JOB" 'it'\''s' 100% > {out} # 5%""",
    r"printf 'x%%\%%\\%%y' > {out}",
)


@pytest.mark.parametrize("hook", HOOKS)
def test_a_hook_is_run_as_it_was_written(cli: Cli, tmp_path: Path, hook: str) -> None:
    """Percent signs end a command of cron's, and backslashes before them end that again."""
    program(tmp_path / "bin", "exit 1")
    outs = {name: tmp_path / name for name in ("shell", "cron")}
    meant = hook.format(out=outs["shell"])
    subprocess.run(["/bin/sh", "-c", meant], env={"LEADCTL_JOB": "backup"}, check=True)
    printed = cli("schedule", "cron", "backup", "--on-failure", hook.format(out=outs["cron"]))
    command = line_of(printed.out).replace("PATH=", f"PATH={tmp_path / 'bin'}:", 1)
    command = command.replace(f"{sys.executable} -m leadctl", "leadctl")
    for found in {word for word in command.split() if word.endswith("bin/leadctl")}:
        command = command.replace(found, "leadctl")
    subprocess.run(["/bin/sh", "-c", command], env={}, cwd="/", check=True, timeout=30)
    assert outs["cron"].read_bytes() == outs["shell"].read_bytes()


def test_folders_with_odd_names(cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The units of each are ones that systemd takes; what no unit can name is refused."""
    short = tempfile.TemporaryDirectory()  # of which five are in a line of a crontab
    odd = Path(short.name) / 'it\'s 100% "mine" \\% $HOME é'
    odd.mkdir()
    (odd / "leadctl.toml").write_text('app = "leadconnector"\n')
    monkeypatch.chdir(odd)
    monkeypatch.setattr(sys, "executable", str(odd / "bin" / "python"))
    monkeypatch.setenv("PATH", os.environ["PATH"])
    written = cli(
        *("schedule", "systemd", "backup", "--on-failure", "a %; $B", "--write", str(tmp_path))
    )
    assert written.code == 0, written.err
    (service,) = tmp_path.glob("*-backup.service")
    text = service.read_text().splitlines()
    (path,) = (line for line in text if line.startswith("Environment=") and "PATH=" in line)
    assert path.startswith('Environment="PATH=')
    assert path.endswith(':/usr/bin:/bin"')
    if analyze := shutil.which("systemd-analyze"):
        service.write_text(
            "\n".join(x for x in text if not x.startswith("ExecStart=")) + "\nExecStart=/bin/true"
        )
        found = subprocess.run([analyze, "verify", service], capture_output=True, check=False)
        said = [line for line in found.stderr.decode().splitlines() if service.name in line]
        assert not [line for line in said if "ignoring" in line.lower()], said
    line = line_of(cli("schedule", "cron", "backup").out)
    start = line.partition(" && ")[0] + " && pwd"
    done = subprocess.run(["/bin/sh", "-c", start], capture_output=True, check=True)
    assert done.stdout.decode().rstrip("\n") == str(odd)
    broken = tmp_path / "line\nbreak"
    broken.mkdir()
    (broken / "leadctl.toml").write_text('app = "leadconnector"\n')
    monkeypatch.chdir(broken)
    assert [cli("schedule", kind, "backup").code for kind in ("cron", "systemd")] == [2, 2]
    assert cli("schedule", "cron", "backup", "--timeout", "0s").code == 2
    short.cleanup()


@pytest.mark.skipif(
    shutil.which("barman", path=str(Path(sys.executable).parent)) is None, reason="barman is needed"
)
def test_the_receiver_of_point_in_time(cli: Cli, tmp_path: Path) -> None:
    """Barman runs on the configuration that setup writes; a receiver that ends is started again."""
    env = {"PITR_DIR": str(tmp_path / "ar chive")}
    units = cli("schedule", "systemd", "pitr", "--write", str(tmp_path), "-o", "json", env=env).json
    names = sorted(units["files"])
    assert [name.rpartition("-pitr")[2] for name in names] == [
        "-receiver.service",
        ".service",
        ".timer",
    ]
    receiver = configparser.ConfigParser(interpolation=None, strict=False)
    receiver.read(tmp_path / names[0])
    configuration = tmp_path / "ar chive" / "barman.conf"
    command = receiver["Service"]["ExecStart"]
    assert command.endswith(f'barman -c "{configuration}" receive-wal leadctl')
    assert receiver["Service"]["Restart"] == "always"
    line = line_of(cli("schedule", "cron", "pitr", env=env).out)
    assert f"barman -c '{configuration}' -q cron" in line
    for job in ("pitr-backup", "pitr-rehearse"):
        line = line_of(cli("schedule", "cron", job, env=env).out)
        assert f"leadctl pitr {job[5:]} -q --dir '{configuration.parent}'" in line
        assert "--dir" not in line_of(cli("schedule", "cron", job).out)
    if (analyze := shutil.which("systemd-analyze")) is not None:
        done = subprocess.run(
            [analyze, "verify", *(tmp_path / name for name in names)],
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
