"""Lines for cron and units for systemd: with environment, log and time limit."""

import os
import shlex
import shutil
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from leadctl.errors import UsageError
from leadctl.settings import Settings

LIMIT_SECONDS = 1800
"""How long a run may take: cleanup stops itself in time, and what hangs is ended a minute later."""
_GRACE_SECONDS = 60


@dataclass(frozen=True)
class Job:
    """Something to run again and again."""

    name: str
    arguments: tuple[str, ...]
    cron: str
    calendar: str
    """The same times, as systemd has them."""


JOBS = {
    "cleanup": Job(
        "cleanup",
        ("cleanup", "-q", "--max-seconds", str(LIMIT_SECONDS)),
        "17 * * * *",
        "*-*-* *:17:00",
    ),
    "backup": Job("backup", ("backup", "-q"), "41 2 * * *", "*-*-* 02:41:00"),
    "health-check": Job(
        "health-check", ("health-check", "-o", "nagios"), "*/5 * * * *", "*-*-* *:00/5:00"
    ),
}


@dataclass(frozen=True)
class Schedule:
    """What goes where: the text of each file by its name."""

    kind: str
    job: str
    files: Mapping[str, str]
    install: tuple[str, ...]
    """What to run to put it in place."""


def cron(settings: Settings, job: str) -> Schedule:
    """Return the line for a crontab, and how to put it there.  Raises UsageError."""
    found = _find(job)
    limit = LIMIT_SECONDS + _GRACE_SECONDS
    log = settings.project / "leadctl.log"
    # In a crontab a percent sign ends the command.
    command = (
        f"cd {shlex.quote(str(settings.project))} && timeout -k {_GRACE_SECONDS} {limit}"
        f" {shlex.join(_command(settings, found))} >> {shlex.quote(str(log))} 2>&1"
    ).replace("%", "\\%")
    lines = [
        f"# leadctl {found.name}: the environment is that of {settings.project}/.env",
        *(f"{name}={value}" for name, value in _environment().items()),
        f"{found.cron} {command}",
    ]
    install = ("(crontab -l 2>/dev/null; leadctl schedule cron " + found.name + ") | crontab -",)
    return Schedule("cron", found.name, {"crontab": "\n".join(lines)}, install)


def systemd(settings: Settings, job: str) -> Schedule:
    """Return a service and its timer, and how to put them in place.  Raises UsageError."""
    found = _find(job)
    unit = f"leadctl-{found.name}"
    environment = "\n".join(f"Environment={name}={value}" for name, value in _environment().items())
    command = " ".join(_systemd_quoted(word) for word in _command(settings, found))
    service = f"""[Unit]
Description=leadctl {found.name}
Wants=network-online.target
After=network-online.target

[Service]
Type=oneshot
WorkingDirectory={_escaped(str(settings.project))}
{environment}
ExecStart={command}
TimeoutStartSec={LIMIT_SECONDS + _GRACE_SECONDS}
TimeoutStopSec={_GRACE_SECONDS}
Nice=10
IOSchedulingClass=idle
UMask=0077
NoNewPrivileges=true"""
    timer = f"""[Unit]
Description=When to run leadctl {found.name}

[Timer]
OnCalendar={found.calendar}
RandomizedDelaySec=60
Persistent=true

[Install]
WantedBy=timers.target"""
    files = {f"{unit}.service": service, f"{unit}.timer": timer}
    install = (
        f"leadctl schedule systemd {found.name} --write /etc/systemd/system",
        "systemctl daemon-reload",
        f"systemctl enable --now {unit}.timer",
    )
    return Schedule("systemd", found.name, files, install)


def write_files(schedule: Schedule, folder: Path) -> None:
    """Write the files of a schedule into a folder."""
    for name, text in schedule.files.items():
        (folder / name).write_text(text + "\n", encoding="utf-8")


def _find(job: str) -> Job:
    if job not in JOBS:
        raise UsageError(
            f"There is nothing to schedule that is named {job!r}.",
            hint=f"There are: {', '.join(JOBS)}.",
        )
    return JOBS[job]


def _command(settings: Settings, job: Job) -> list[str]:
    """Return the command, with what this call was told by flags; secrets stay where they are."""
    program = shutil.which("leadctl")
    start = [program] if program else [sys.executable, "-m", "leadctl"]
    flags = [
        part
        for name in ("app", "env", "schema")
        if settings.is_flag(name)
        for part in (f"--{name}", str(getattr(settings, name)))
    ]
    if settings.is_flag("url"):
        raise UsageError(
            "A URL does not belong into a crontab or a unit, where everybody can read it.",
            hint="Set DATABASE_URL in the project's .env, or name an environment by --env.",
        )
    return [*start, *job.arguments, *flags]


def _environment() -> dict[str, str]:
    """Return what cron and systemd leave out: where programs are, and a locale that has Unicode."""
    path = os.pathsep.join(dict.fromkeys([str(Path(sys.executable).parent), "/usr/bin", "/bin"]))
    return {"PATH": path, "LANG": "C.UTF-8"}


def _escaped(text: str) -> str:
    """Return a path as a unit has it: percent signs are specifiers there."""
    return text.replace("%", "%%")


def _systemd_quoted(word: str) -> str:
    plain = _escaped(word).replace("\\", "\\\\").replace('"', '\\"').replace("$", "$$")
    return f'"{plain}"' if any(letter.isspace() for letter in plain) else plain
