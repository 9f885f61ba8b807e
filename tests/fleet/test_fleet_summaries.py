"""What a fleet's report says of each target."""

import inspect
import re
from typing import Any

from typer.main import get_command

from leadctl.api.database import Database
from leadctl.api.tenants import Tenants
from leadctl.cli.commands import app
from leadctl.render.views.fleet import _SUMMARIES

_NOT_FOR_MANY = re.compile(r" --(sql|export|to|fix)\b|health-check --list")
"""Forms of such commands that --fleet refuses."""


def _of_fleets(command: Any, path: str = "") -> set[str]:
    """Return the commands that take --fleet, as they are typed."""
    own = {path} if any("--fleet" in each.opts for each in command.params) else set()
    below = getattr(command, "commands", {})
    return own.union(*(_of_fleets(each, f"{path} {name}".strip()) for name, each in below.items()))


def _results() -> dict[str, str]:
    """Return the name of the result of each form of a command, as the Python API declares it."""
    return {
        form: inspect.signature(method).return_annotation.strip("'\"").partition("[")[0]
        for kind in (Database, Tenants)
        for method in vars(kind).values()
        if inspect.isfunction(method)
        for form in re.findall(r"`leadctl ([^`]+)`", inspect.getdoc(method) or "")
    }


def test_each_result_for_a_fleet_has_a_summary() -> None:
    commands = {" ".join(path.split()) for path in _of_fleets(get_command(app))}
    results = {
        form: result
        for form, result in _results().items()
        if re.split(r" (?=--|[A-Z])", form)[0] in commands and not _NOT_FOR_MANY.search(form)
    }
    missing = {form: result for form, result in results.items() if result not in _SUMMARIES}
    assert not missing
    assert set(_SUMMARIES) <= set(results.values())
