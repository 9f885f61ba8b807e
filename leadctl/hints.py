"""Commands that are named in hints: what was given to this run is repeated in them.

After `leadctl migrate status --env eu` a bare `leadctl migrate` would reach another database.
"""

import re
import shlex
from collections.abc import Mapping, Sequence
from functools import cache
from itertools import pairwise
from pathlib import Path

from leadctl.redact import scrub

_COMMANDS = Path(__file__).parent / "cli" / "commands"
# A text, which `re` compiles when it is first used: most command lines repeat nothing.
_LEAF = r'(?m)^@?(app|group)\.leaf\("([\w-]+)"'
_END = r"\.(?=\s|$)|\bleadctl "
_PLACE = ("--env", "--url", "--fleet", "--help")
_EXCLUDED_BY = {
    "--app": ("--app", "--help"),
    "--env": _PLACE,
    "--url": _PLACE,
    "--schema": ("--schema", "--fleet", "--help"),
    "--from": ("--from", "--help"),
    "--to": ("--to", "--help"),
    "--identity": ("--identity", "--help"),
    "--tenant": ("--tenant", "--help"),
}
"""What is repeated, and what a command that is named has itself where it is not."""
_OF_BACKUPS = {
    "--from": r"leadctl (?:restore|backup (?!create).+)",
    "--to": r"leadctl backup(?: create)?",
    "--identity": r"leadctl (?:restore|backup verify)",
    "--tenant": r"leadctl backup.*",
}
"""Where backups are, and which: the commands that what was given to another is repeated in."""


def given_in(arguments: Sequence[str]) -> dict[str, str]:
    """Return what the command line says about where to work, by flag."""
    given: dict[str, str] = {}
    other = set(_OF_BACKUPS)
    if "backup" in arguments:
        other = {"--to"} if "copy" in arguments else set()
    elif "restore" in arguments:
        other = {"--to", "--tenant"}
    for argument, after in pairwise([*arguments, ""]):
        if argument == "--":
            break
        flag, equals, value = argument.partition("=")
        if flag in _EXCLUDED_BY and flag not in other and (equals or after):
            given[flag] = value if equals else after
    if folder := given.get("--from") or given.get("--to"):
        given |= {"--from": folder, "--to": folder}
    if "--url" in given and scrub(given["--url"]) != given["--url"]:
        given["--url"] = "URL"
    return given


def commands() -> list[str]:
    """Return what does something when it is typed: `restore`, `migrate`, `migrate status`.

    The files are read and not imported: a run has loaded the one command that it is.
    """
    found, first = [], "-"
    for file in sorted(_COMMANDS.glob("[!_]*.py")):
        text, name = file.read_text("utf-8"), file.stem.replace("_", "-")
        first = first if name.startswith(f"{first}-") else name  # one may continue another
        leaves = re.findall(_LEAF, text)
        found += [leaf if tree == "app" else f"{first} {leaf}" for tree, leaf in leaves]
        if "@group.callback()" in text:
            found.append(first)
    return found


@cache
def _command() -> re.Pattern[str]:
    names = "|".join(sorted(commands(), key=len, reverse=True))
    return re.compile(rf"\bleadctl (?:{names})(?![\w-])(?P<rest>[^,;)\n]*)")


def repeated(text: str, given: Mapping[str, str]) -> str:
    """Return a text in which each command that is named has what was given, behind its name."""

    def with_given(found: re.Match[str]) -> str:
        rest = found["rest"]
        own = re.split(_END, rest, maxsplit=1)[0]
        name = found[0].removesuffix(rest)
        added = (
            f" {flag} {shlex.quote(value)}"
            for flag, value in given.items()
            if not any(each in own for each in _EXCLUDED_BY[flag])
            and (flag not in _OF_BACKUPS or re.fullmatch(_OF_BACKUPS[flag], name))
        )
        return name + "".join(added) + repeated(rest, given)

    return _command().sub(with_given, text) if given and "leadctl " in text else text
