"""The decorator that gives a command its options, and hands it its run."""

import functools
import inspect
import logging
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from enum import Enum
from typing import Annotated, Any

import typer

from leadctl.cli.console import Console, let_write
from leadctl.cli.fleet import OPTIONS, FleetUse, run_for_fleet, taken_from
from leadctl.cli.options import (
    COMMON,
    ForSpreadsheet,
    Quiet,
    Text,
    Verbose,
    exclusive,
    not_with,
    one_of,
    only_with,
    option,
)
from leadctl.cli.run import Run
from leadctl.errors import UsageError

__all__ = ["Effect", "Run", "command"]

_LOG_SQL_AT = 2
_is_url = re.compile(r"postgres(?:ql)?(?:\+\w+)?://", re.IGNORECASE).match
_MAY_BE_URL = frozenset({"url", "before", "after", "move to", "row", "key"})
"""Parameters: of `migrate diff` and `tenants move` they name databases, a row's key is any text."""


class Effect(Enum):
    """How a command affects data; tests check the promise of each kind."""

    READS = "reads"
    """It changes nothing."""
    ADDS = "adds"
    """It changes something, and loses nothing."""
    BY_RULE = "by rule"
    """It loses only what a rule allows."""
    LOCAL = "local"
    """It is for a developer's own database: a protected one is refused, whoever consents."""
    DESTROYS = "destroys"
    """It can lose something: the guard comes first."""


def command(
    effect: Effect,
    *options: tuple[str, Any],
    outputs: Sequence[str] = ("table", "json"),
    of_app: bool | None = None,
    fleet: FleetUse | None = None,
    excluded: Mapping[str, Sequence[str]] | None = None,
) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Give a command the common options, and hand it a `Run` made of them as first argument.

    `options` are more settings that the command takes as flags, such as `LOCK_WAIT`.  What is
    `of_app` wants to know which app is meant: what writes, unless it says otherwise.  What has a
    use for a `fleet` takes --fleet: then it is run for each of its targets.  What is `excluded` by
    a parameter that is given is refused.
    """
    formats = f"Format of the result: {', '.join(outputs)}."
    output = Annotated[Text, option("--output -o", "FORMAT", formats, names=one_of(outputs))]
    flags = {**dict(COMMON), **dict(options), "output": output}

    def decorate(function: Callable[..., None]) -> Callable[..., None]:
        @functools.wraps(function)
        def wrapper(ctx: typer.Context, **values: Any) -> None:
            if ctx.invoked_subcommand is not None:
                return
            _refuse_urls(ctx)
            _refuse_excluded(excluded or {}, values)
            given = {name: values.pop(name) for name in flags}
            _refuse_contradiction(ctx, given)
            many = taken_from(values) if fleet else None
            if many is not None:
                _refuse_contradiction(ctx, many)
            run = _run(given, outputs, quiet=values.pop("quiet"), verbose=values.pop("verbose"))
            if of_app if of_app is not None else effect is not Effect.READS:
                run.of_app()
            if "csv" in outputs:
                run = replace(run, for_spreadsheet=values.pop("for_spreadsheet"))
                if run.settings.output != "csv":
                    only_with("-o csv", for_spreadsheet=run.for_spreadsheet)
            if fleet is None or many is None:
                function(run, **values)
                return
            destroys = effect is Effect.DESTROYS or bool(values.get(fleet.destroys_with or ""))
            run_for_fleet(run, many, fleet, _verb(ctx), function, values, destroys=destroys)

        fleets = OPTIONS if fleet else {}
        signature = _signature(function, {**flags, **fleets}, with_csv="csv" in outputs)
        # A docstring cannot hold the character by which Click leaves lines as they are.
        wrapper.__doc__ = (function.__doc__ or "").replace("\\b\n", "\b\n")
        wrapper.__signature__ = signature  # type: ignore[attr-defined]
        wrapper.__annotations__ = {
            name: parameter.annotation for name, parameter in signature.parameters.items()
        }
        wrapper.effect = effect  # type: ignore[attr-defined]
        return wrapper

    return decorate


def _refuse_excluded(excluded: Mapping[str, Sequence[str]], values: Mapping[str, Any]) -> None:
    for kind, others in excluded.items():
        if values[kind]:
            not_with(f"--{kind.replace('_', '-')}", **{name: values[name] for name in others})


def _verb(ctx: Any) -> str:
    """Return what a command is called, behind the program's own name: "migrate status"."""
    before = "" if ctx.parent is None or ctx.parent.parent is None else f"{_verb(ctx.parent)} "
    return f"{before}{ctx.info_name}"


def _signature(
    function: Callable[..., None], flags: dict[str, Any], *, with_csv: bool
) -> inspect.Signature:
    """Return the signature that Typer sees: the command's own parameters, then the common ones."""
    keyword = inspect.Parameter.KEYWORD_ONLY
    own = [
        parameter.replace(kind=keyword)
        for name, parameter in inspect.signature(function).parameters.items()
        if name != "run"
    ]
    common: dict[str, tuple[Any, Any]] = {
        name: (annotation, None) for name, annotation in flags.items()
    }
    if with_csv:
        common["for_spreadsheet"] = (ForSpreadsheet, False)
    common |= {"quiet": (Quiet, False), "verbose": (Verbose, 0)}
    return inspect.Signature(
        [
            inspect.Parameter("ctx", keyword, annotation=typer.Context),
            *own,
            *(
                inspect.Parameter(name, keyword, annotation=annotation, default=default)
                for name, (annotation, default) in common.items()
            ),
        ]
    )


def _run(given: dict[str, Any], outputs: Sequence[str], *, quiet: bool, verbose: int) -> Run:
    from leadctl.settings import load_settings

    exclusive(url=given["url"], env=given["env"])
    if given["output"] is not None and given["output"] not in outputs:
        raise _no_format(given["output"], "", outputs)
    settings = load_settings(given | ({"log_sql": "1"} if verbose >= _LOG_SQL_AT else {}))
    if not settings.is_set("output"):
        settings = replace(settings, output=outputs[0])
    if settings.output not in outputs:
        raise _no_format(settings.output, f" (from {settings.source('output')})", outputs)
    let_write(settings.output)
    if settings.log_sql:
        _log_sql()
    return Run(settings, Console(quiet=quiet, as_json=settings.output == "json"))


def _no_format(name: str, source: str, outputs: Sequence[str]) -> UsageError:
    return UsageError(
        f"This command has no output format {name!r}{source}.",
        hint=f"It has: {', '.join(outputs)}.",
    )


def _refuse_urls(ctx: typer.Context) -> None:
    """Refuse a database's URL where a name belongs: its password would become part of the name."""
    context: Any = ctx
    while context is not None:
        for parameter in context.command.params:
            given = context.params.get(parameter.name)
            texts = given if isinstance(given, (list, tuple)) else [given]
            urls = [each for each in texts if isinstance(each, str) and _is_url(each)]
            names = {parameter.name, f"{context.command.name} {parameter.name}"}
            if urls and names.isdisjoint(_MAY_BE_URL):
                raise UsageError(
                    f"{_shown(parameter)} cannot take the URL of a database.",
                    hint="Give it by --url, DATABASE_URL or an [env.NAME] of leadctl.toml.",
                )
        context = context.parent


def _shown(parameter: Any) -> str:
    """Return what people call a parameter: --to for an option, NAME for an argument."""
    return str(parameter.opts[0] if parameter.opts[0].startswith("-") else parameter.metavar)


def _refuse_contradiction(ctx: typer.Context, given: dict[str, Any]) -> None:
    """Refuse an option that was given differently before and after the subcommand."""
    parent = ctx.parent
    while parent is not None:
        for name, value in given.items():
            early = parent.params.get(name)
            if early not in (None, ()) and early != value:
                raise UsageError(
                    f"--{name.replace('_', '-')} is given twice: {early} and {value}.",
                    hint="Give it once.",
                )
        parent = parent.parent


class _StandardError(logging.Handler):
    """Writes to what is standard error at that moment: a program may have put another one there."""

    def emit(self, record: logging.LogRecord) -> None:
        sys.stderr.write(f"{self.format(record)}\n")


def _log_sql() -> None:
    logger = logging.getLogger("leadctl.sql")
    if not logger.handlers:
        handler = _StandardError()
        handler.setFormatter(logging.Formatter("SQL %(message)s"))
        logger.addHandler(handler)
    logger.setLevel(logging.INFO)
