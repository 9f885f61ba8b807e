"""Commands that are named in hints: what was given to this run is repeated in them.

After `leadctl migrate status --env eu` a bare `leadctl migrate` would reach another database.
"""

import re
import shlex
from collections.abc import Mapping, Sequence
from itertools import pairwise

from leadctl.redact import scrub

GROUPS = {
    "backup": "copy create list pin prune show verify",
    "cleanup": "unarchive undelete",
    "db": "destroy environment kept push shell start status stop url",
    "keys": "generate rotate status",
    "migrate": "check dev diff down drift history lint new resolve status up",
    "pitr": "backup check off rehearse setup status",
    "schedule": "cron systemd",
    "schema": "diagram dump show validate",
    "tenants": "create drop list move open rename",
}
ALONE = (
    "backup cleanup config health-check history init inspect migrate partition reset restore "
    "seed stats studio"
)
"""The commands that do something without a subcommand."""
_PATHS = [*(f"{group} (?:{names.replace(' ', '|')})" for group, names in GROUPS.items())]
# Texts, which `re` compiles when they are first used: most command lines repeat nothing.
_COMMAND = rf"\bleadctl (?:{'|'.join([*_PATHS, *ALONE.split()])})(?![\w-])(?P<rest>[^,;)\n]*)"
_END = r"\.(?=\s|$)|\bleadctl "
_PLACE = ("--env", "--url", "--fleet", "--help")
_EXCLUDED_BY = {
    "--app": ("--app", "--help"),
    "--env": _PLACE,
    "--url": _PLACE,
    "--schema": ("--schema", "--fleet", "--help"),
}
"""What is repeated, and what a command that is named has itself where it is not."""


def given_in(arguments: Sequence[str]) -> dict[str, str]:
    """Return what the command line says about where to work, by flag."""
    given: dict[str, str] = {}
    for argument, after in pairwise([*arguments, ""]):
        if argument == "--":
            break
        flag, equals, value = argument.partition("=")
        if flag in _EXCLUDED_BY and (equals or after):
            given[flag] = value if equals else after
    if "--url" in given and scrub(given["--url"]) != given["--url"]:
        given["--url"] = "URL"
    return given


def repeated(text: str, given: Mapping[str, str]) -> str:
    """Return a text in which each command that is named has what was given, behind its name."""

    def with_given(found: re.Match[str]) -> str:
        rest = found["rest"]
        own = re.split(_END, rest, maxsplit=1)[0]
        added = (
            f" {flag} {shlex.quote(value)}"
            for flag, value in given.items()
            if not any(each in own for each in _EXCLUDED_BY[flag])
        )
        name = found[0].removesuffix(rest)
        return name + "".join(added) + repeated(rest, given)

    return re.sub(_COMMAND, with_given, text) if given else text
