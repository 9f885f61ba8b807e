"""Commands that start fast.

Typer 0.29 reads every parameter through a Pydantic adapter, also one that was not given: 90 ms of
imports and adapters before a command begins.  A text needs no adapter, nor does what was not
given, and those are nearly all of ours.
"""

import re
from collections.abc import Callable
from typing import Any, TypeVar

import typer
from typer.core import TyperCommand

_TYPE = re.compile(r" <[a-z ]+>(\.\.\.)?")
_BOUNDS = re.compile(r"(; )?(-?\d+<=)?x[<>]=-?\d+")
Function = TypeVar("Function", bound=Callable[..., Any])


class LightParam:
    """Reads a parameter; builds Typer's own adapter only where there is a value to check."""

    def __init__(self, param: Any) -> None:
        self._param = param

    def coerce(self, value: Any, param: Any, ctx: Any) -> Any:
        """Return the value as the parameter's type."""
        many = param.multiple or param.nargs == -1
        if value is None:
            return () if many else None
        annotation = getattr(getattr(param, "type_descriptor", None), "annotation", None)
        if annotation is str and isinstance(value, str):
            return value
        if isinstance(value, int) and value == param.default:
            return value
        param._runtime_param = None  # noqa: SLF001 - Typer makes it anew
        return param.get_runtime_param().coerce(value, param=param, ctx=ctx)


def lighten(params: list[Any]) -> list[Any]:
    """Give parameters the light way; one that Typer no longer asks for costs time only."""
    for param in params:
        if getattr(param, "_runtime_param", param) is None and hasattr(param, "get_runtime_param"):
            param._runtime_param = LightParam(param)  # noqa: SLF001
    return params


def format_parameters(command: Any, ctx: Any, formatter: Any) -> None:
    """Write arguments and options as users know them: without Typer's names of types."""
    for title, kind in (("Arguments", "argument"), ("Options", "option")):
        params = [param for param in command.get_params(ctx) if param.param_type_name == kind]
        records = [_plain(*found) for param in params if (found := param.get_help_record(ctx))]
        if records:
            with formatter.section(title):
                formatter.write_dl(records)


def _plain(name: str, text: str) -> tuple[str, str]:
    return _TYPE.sub("", name), _BOUNDS.sub("", text).replace("[]", "").rstrip()


class LeadctlCommand(TyperCommand):
    """A command whose parameters are light."""

    def get_params(self, ctx: Any) -> Any:
        """Return the parameters, `--help` among them."""
        return lighten(super().get_params(ctx))

    def format_options(self, ctx: Any, formatter: Any) -> None:
        """Write arguments and options."""
        format_parameters(self, ctx, formatter)


class Tree(typer.Typer):
    """A Typer whose commands are light."""

    def leaf(self, name: str, section: str | None = None) -> Callable[[Function], Function]:
        """Register a command that has no subcommands; help lists it under `section`."""
        return self.command(name, cls=LeadctlCommand, rich_help_panel=section)
