"""Lines for cron and units for systemd: with environment, log and time limit."""

import math
import os
import pwd
import re
import shlex
import shutil
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from leadctl.apps.registry import find_app, require_named_app
from leadctl.errors import UnitTaken, UsageError
from leadctl.postgres.binaries import BARMAN_SERVER, barman_command
from leadctl.settings import Settings
from leadctl.settings.sources import ENVIRONMENT

_LIMIT_SECONDS = 1800
"""How long a cleanup may take: it stops itself in time, and what hangs is ended a minute later."""
_GRACE_SECONDS = 60
_BACKUP_SECONDS = 6 * 3600
"""A dump that is ended each night is no backup: this is for what hangs."""
_ARCHIVE_SECONDS = 600
_CRON_BYTES = 998
"""The longest command of a line that Debian's crontab installs."""


@dataclass(frozen=True)
class Job:
    """Something to run again and again."""

    name: str
    commands: tuple[tuple[str, ...], ...]
    """Arguments of leadctl; each is run where the one before it succeeded."""
    seconds: int
    """How long each may take, where nothing else is said."""
    cron: str
    calendar: str
    """The same times, as systemd has them."""
    chatty: bool = False
    """Whether it prints something where all is well, which is not kept."""
    of_barman: bool = False
    """Whether the arguments are Barman's, for the archive of PITR_DIR."""


_JOBS = {
    "cleanup": Job(
        "cleanup",
        (("cleanup", "-q", "--max-seconds", str(_LIMIT_SECONDS)),),
        _LIMIT_SECONDS + _GRACE_SECONDS,
        "17 * * * *",
        "*-*-* *:17:00",
    ),
    "backup": Job(
        "backup",
        (("backup", "-q"), ("backup", "prune", "-q", "--yes")),
        _BACKUP_SECONDS,
        "41 2 * * *",
        "*-*-* 02:41:00",
    ),
    "health-check": Job(
        "health-check",
        (("health-check", "-o", "nagios"),),
        _LIMIT_SECONDS,
        "*/5 * * * *",
        "*-*-* *:00/5:00",
        chatty=True,
    ),
    "pitr": Job(
        "pitr",
        (("-q", "cron"),),  # it keeps the receiver running, too
        _ARCHIVE_SECONDS,
        "* * * * *",
        "*-*-* *:*:00",
        of_barman=True,
    ),
    "pitr-backup": Job(
        "pitr-backup", (("pitr", "backup", "-q"),), _BACKUP_SECONDS, "11 3 * * 0", "Sun 03:11:00"
    ),
    "pitr-rehearse": Job(
        "pitr-rehearse",
        (("pitr", "rehearse", "-q"),),
        _BACKUP_SECONDS,
        "11 5 1 * *",
        "*-*-01 05:11:00",
    ),
}
_UNITS = "/etc/systemd/system"
_RECEIVES = ("receive-wal", BARMAN_SERVER)
"""Barman's arguments for what runs on and on."""


@dataclass(frozen=True)
class Schedule:
    """What goes where: the text of each file by its name."""

    kind: str
    job: str
    name: str
    """Of the units, or what tells the line in a crontab from those of other projects."""
    files: Mapping[str, str]
    install: tuple[str, ...]
    """What to run to put it in place; again, it replaces what it has put there."""
    tells: bool
    """Whether somebody is told when it fails."""


def cron(
    settings: Settings, job: str, *, seconds: float | None = None, on_failure: str | None = None
) -> Schedule:
    """Return the line for a crontab, and how to put it there.

    `seconds` is how long each command may take, `on_failure` a command that is run where one
    failed; without it cron mails a line.  Raises UsageError and UnknownApp.
    """
    found = _find(settings, job, on_failure)
    project, log = settings.project, "leadctl.log"
    limit = _limit(found, seconds)
    commands = " && ".join(
        f"timeout -k {_GRACE_SECONDS} {limit} {shlex.join(command)}"
        for command in _commands(settings, found)
    )
    if found.chatty:
        kept = f'{{ out=$({commands} 2>&1) || {{ echo "$out" >> {log}; false; }}; }}'
    else:
        kept = f"{{ {commands}; }} >> {log} 2>&1"
    environment = " ".join(f"{name}={shlex.quote(value)}" for name, value in _environment().items())
    told = f"echo leadctl {found.name} failed, see {shlex.quote(str(project / log))}"
    if on_failure is not None:
        told = f"LEADCTL_JOB={found.name} sh -c {shlex.quote(on_failure)}"
    mark = f"[leadctl {' '.join([found.name, *_flags(settings), str(project)])}]"
    line = (
        f"export {environment}; cd {shlex.quote(str(project))} && {kept} || {{ {told}; }} # {mark}"
    )
    line, mark = _in_crontab(line), _in_crontab(mark)
    if (size := len(os.fsencode(line))) > _CRON_BYTES:
        raise UsageError(
            f"The command would have {size} bytes, and cron takes {_CRON_BYTES} at most.",
            hint="Write the command of --on-failure to a script, and name that. Or use systemd: "
            f"leadctl schedule systemd {found.name}",
        )
    printed = shlex.join(_own_command("cron", settings, found, seconds, on_failure))
    others = f"crontab -l 2>/dev/null | grep -vF {shlex.quote(mark)} || :"
    # Where nothing is printed, the line of before stays.  Where no other line is found, grep fails,
    # which is no error: a script that stops at errors goes on.
    install = f"line=$({printed}) && ({others}; printf '%s\\n' \"$line\") | crontab -"
    files = {"crontab": f"{found.cron} {line}"}
    return Schedule("cron", found.name, mark, files, (install,), on_failure is not None)


def systemd(
    settings: Settings, job: str, *, seconds: float | None = None, on_failure: str | None = None
) -> Schedule:
    """Return a service and its timer, and how to put them in place.

    `seconds` is how long all of it may take, `on_failure` a command that a unit of its own runs
    where it failed.  Raises UsageError and UnknownApp.
    """
    found = _find(settings, job, on_failure)
    project = _in_unit(settings.project)
    values = [flag for flag in _flags(settings) if not flag.startswith("--")]
    unit = "-".join(["leadctl", *map(_in_unit_name, [project.name, *values]), found.name])
    whose = _escaped(" ".join([found.name, "of", str(project), *_flags(settings)]))
    directory = _working_directory(project)
    after = "Wants=network-online.target\nAfter=network-online.target"
    if on_failure:
        after += f"\nOnFailure={unit}-failed.service"
    commands = "\n".join(map(_exec_start, _commands(settings, found)))
    files = {
        f"{unit}.service": f"""[Unit]
Description=leadctl {whose}
{after}

[Service]
Type=oneshot
{directory}
{commands}
TimeoutStartSec={_limit(found, seconds)}
TimeoutStopSec={_GRACE_SECONDS}
Nice=10
IOSchedulingClass=idle
UMask=0077
NoNewPrivileges=true""",
        f"{unit}.timer": f"""[Unit]
Description=When to run leadctl {whose}

[Timer]
OnCalendar={found.calendar}
RandomizedDelaySec=60
Persistent=true

[Install]
WantedBy=timers.target""",
    }
    enabled = [f"{unit}.timer"]
    if on_failure:
        files[f"{unit}-failed.service"] = _telling(whose, directory, found.name, on_failure)
    if found.of_barman:
        command = barman_command(settings.pitr_dir, *_RECEIVES)
        files[f"{unit}-receiver.service"] = _receiver(whose, directory, command)
        enabled.append(f"{unit}-receiver.service")
    printed = _own_command("systemd", settings, found, seconds, on_failure)
    install = _installing(printed, list(files), enabled)
    return Schedule("systemd", found.name, unit, files, install, on_failure is not None)


def _telling(whose: str, directory: str, job: str, on_failure: str) -> str:
    """Return the unit that runs a command where a job failed."""
    return f"""[Unit]
Description=Tell that leadctl {whose} failed

[Service]
Type=oneshot
{directory}
Environment=LEADCTL_JOB={job}
ExecStart=/bin/sh -c {_systemd_quoted(on_failure, always=True)}"""


def _receiver(whose: str, directory: str, command: list[str]) -> str:
    """Return the unit of the WAL receiver, which always runs."""
    return f"""[Unit]
Description=The WAL receiver of leadctl {whose}
Wants=network-online.target
After=network-online.target

[Service]
{directory}
{_exec_start(command)}
Restart=always
RestartSec=10
UMask=0077
NoNewPrivileges=true

[Install]
WantedBy=multi-user.target"""


def _installing(printed: list[str], files: list[str], enabled: list[str]) -> tuple[str, ...]:
    """Return the commands that put units in place; `printed` is the one that prints them."""
    started = ["systemctl daemon-reload", f"systemctl enable --now {shlex.join(enabled)}"]
    if os.geteuid() == 0:
        return (shlex.join([*printed, "--write", _UNITS]), *started)
    # Who may not write there, and whose PATH is not root's.
    copied = f"install -m 644 {shlex.join(files)} {_UNITS}"
    as_root = [f"sudo {each}" for each in (copied, *started)]
    return (shlex.join([*printed, "--write", "."]), *as_root)


def _exec_start(command: list[str]) -> str:
    return f"ExecStart={' '.join(map(_systemd_quoted, command))}"


def _working_directory(project: Path) -> str:
    """Return the settings of a unit that say as whom it runs, where, and in which environment."""
    variables = "".join(
        f"\nEnvironment={_systemd_quoted(f'{name}={value}', always=True, dollars='$')}"
        for name, value in _environment().items()
    )
    return f"{_user(project)}WorkingDirectory={_escaped(str(project))}{variables}"


def _user(project: Path) -> str:
    """Return the setting that runs a unit as the owner of the project; none for root.

    What root made there would be closed to the owner; and root takes no settings from others.
    """
    owner = project.stat().st_uid
    if owner == 0:
        return ""
    try:
        name = pwd.getpwuid(owner).pw_name
    except KeyError:
        name = str(owner)
    return f"User={name}\n"


def write_files(schedule: Schedule, folder: Path) -> None:
    """Write the files of a schedule into a folder, over its own of before.

    Raises UnitTaken where one of them is another project's.
    """
    for name, text in schedule.files.items():
        path = folder / name
        there = path.read_text(encoding="utf-8") if path.exists() else text
        if _description(there) != _description(text):
            raise UnitTaken(
                f"{path} exists, and belongs to another project: {_description(there)}.",
                hint="Give one of the two projects' folders another name, or write them elsewhere.",
            )
    for name, text in schedule.files.items():
        (folder / name).write_text(text + "\n", encoding="utf-8")


def _description(unit: str) -> str:
    return next((each for each in unit.splitlines() if each.startswith("Description=")), "none")


def _find(settings: Settings, job: str, on_failure: str | None) -> Job:
    if job == "cleanup":
        require_named_app(settings)
    if settings.is_set("app"):
        find_app(settings)  # else each run would fail
    if job not in _JOBS:
        raise UsageError(
            f"There is no job {job!r} to schedule.",
            hint=f"Available: {', '.join(_JOBS)}.",
        )
    if on_failure is not None and not on_failure.strip():
        raise UsageError(
            "--on-failure is empty, so no command would be run.",
            hint="Name a command, or leave it out.",
        )
    return _JOBS[job]


def _commands(settings: Settings, job: Job) -> list[list[str]]:
    """Return the commands, with what this call was told by flags; secrets stay where they are."""
    if settings.is_flag("url"):
        raise UsageError(
            "A URL does not belong into a crontab or a unit, where everybody can read it.",
            hint="Set DATABASE_URL in the project's .env, or name an environment by --env.",
        )
    if job.of_barman:
        return [barman_command(settings.pitr_dir, *command) for command in job.commands]
    archive = settings.source("pitr_dir") == ENVIRONMENT and job.name.startswith("pitr")
    told = ["--dir", str(settings.pitr_dir)] if archive else []
    return [[*_program(), *command, *told, *_flags(settings)] for command in job.commands]


def _program() -> list[str]:
    program = shutil.which("leadctl")
    return [program] if program else [sys.executable, "-m", "leadctl"]


def _flags(settings: Settings) -> list[str]:
    """Return as flags what was told for this call, by a flag or this shell: cron has neither."""
    return [
        part
        for name in ("app", "env", "schema")
        if settings.is_flag(name) or settings.source(name) == ENVIRONMENT
        for part in (f"--{name}", str(getattr(settings, name)))
    ]


def _limit(job: Job, seconds: float | None) -> int:
    """Return the whole seconds that a run may take.  Raises UsageError."""
    if seconds == 0:
        raise UsageError("--timeout 0 leaves no time for a run.", hint="For example: --timeout 6h")
    return job.seconds if seconds is None else math.ceil(seconds)


def _in_crontab(text: str) -> str:
    """Return text as a line of a crontab has it.  Raises UsageError where it has a line break.

    A percent sign ends the command there, and a backslash before it says that it does not; which
    another backslash before that one takes back, so that quotes of the shell's keep them apart.
    """
    if "\n" in text or "\r" in text:
        raise UsageError(
            "--on-failure or the project's path has a line break, which ends a line of a crontab.",
            hint="Write the commands to a script, and name that.",
        )
    return text.replace("\\%", "\\''%").replace("%", "\\%")


def _in_unit(project: Path) -> Path:
    """Return a project's folder, if a unit can name it.  Raises UsageError."""
    if any(ord(letter) < 32 for letter in str(project)) or str(project).endswith("\\"):
        raise UsageError(
            f"{str(project)!r} has a control character or ends in a backslash, which a unit cannot "
            "name.",
            hint="Rename the folder.",
        )
    return project


def _own_command(
    kind: str, settings: Settings, job: Job, seconds: float | None, on_failure: str | None
) -> list[str]:
    """Return the command that prints this again."""
    limit = ["--timeout", f"{math.ceil(seconds)}s"] if seconds else []
    told = ["--on-failure", on_failure] if on_failure else []
    return ["leadctl", "schedule", kind, job.name, *limit, *told, *_flags(settings)]


def _environment() -> dict[str, str]:
    """Return what cron and systemd leave out: where programs are, and a locale that has Unicode."""
    path = os.pathsep.join(dict.fromkeys([str(Path(sys.executable).parent), "/usr/bin", "/bin"]))
    return {"PATH": path, "LANG": "C.UTF-8"}


def _escaped(text: str) -> str:
    """Return a path as a unit has it: percent signs are specifiers there."""
    return text.replace("%", "%%")


def _systemd_quoted(word: str, *, always: bool = False, dollars: str = "$$") -> str:
    """Return a word of a unit; `dollars` is what stands for a dollar sign there."""
    plain = _escaped(word).replace("\\", "\\\\").replace('"', '\\"').replace("$", dollars)
    plain = plain.replace("\n", "\\n")
    return f'"{plain}"' if always or any(letter in " \t;'" for letter in word) else plain


def _in_unit_name(text: str) -> str:
    """Return a text as a part of a unit's name, which has letters, digits and few signs."""
    return re.sub(r"[^A-Za-z0-9_.]+", "-", text).strip("-") or "project"
