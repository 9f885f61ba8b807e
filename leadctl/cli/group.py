"""The group class of every command group: the error boundary, options given early, a fast start."""

import errno
import os
import re
import signal
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from types import FrameType
from typing import Annotated, Any, TypeVar

import typer
from typer.core import TyperCommand, TyperGroup

from leadctl.cli import exit_codes
from leadctl.cli.console import Console
from leadctl.cli.exit_codes import (
    NAGIOS_CRITICAL,
    ExitCode,
    Terminated,
    exit_code,
    nagios_code,
)
from leadctl.errors import LeadctlError, OperationFailed, UsageError
from leadctl.hints import given_in
from leadctl.redact import scrub
from leadctl.version import __version__

_TYPE = re.compile(r" <[^<>]+>(\.\.\.)?")
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
        if annotation in (str, bool) and type(value) is annotation:
            return value
        if annotation == list[str] and all(isinstance(each, str) for each in value):
            return list(value)
        if isinstance(value, int) and (value == param.default or getattr(param, "count", False)):
            return value
        param._runtime_param = None  # noqa: SLF001 - Typer recreates it
        return param.get_runtime_param().coerce(value, param=param, ctx=ctx)


def _lighten(params: list[Any]) -> list[Any]:
    """Give parameters the light way; one that Typer no longer asks for costs time only."""
    for param in params:
        if getattr(param, "_runtime_param", param) is None and hasattr(param, "get_runtime_param"):
            param._runtime_param = LightParam(param)  # noqa: SLF001
    return params


def _format_parameters(command: Any, ctx: Any, formatter: Any) -> None:
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
        return _lighten(super().get_params(ctx))

    def format_options(self, ctx: Any, formatter: Any) -> None:
        """Write arguments and options."""
        _format_parameters(self, ctx, formatter)


class Tree(typer.Typer):
    """A Typer whose commands are light."""

    def leaf(
        self, name: str, section: str | None = None, *, summary: str | None = None
    ) -> Callable[[Function], Function]:
        """Register a command that has no subcommands; help lists it under `section`.

        `summary` is its help, where that is not the function's docstring.
        """
        return self.command(name, cls=LeadctlCommand, rich_help_panel=section, help=summary)


_SECTIONS = ("Schema", "Rows", "Backups", "State", "Setup", "Commands")
"""The headings of help, in their order."""
_WHOLE = 1000
"""Characters of a first sentence, which a narrow terminal breaks into lines and does not cut."""


_SILENT_SECONDS = 5.0
_AGAIN_SECONDS = 0.01
"""For the server to answer what ends a run in order."""
_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class LeadctlGroup(TyperGroup):
    """A group that hands options given before a subcommand on to it, or refuses them."""

    def get_params(self, ctx: Any) -> Any:
        """Return the parameters, `--help` among them, as light ones."""
        return _lighten(super().get_params(ctx))

    def format_options(self, ctx: Any, formatter: Any) -> None:
        """Write arguments, options and subcommands."""
        _format_parameters(self, ctx, formatter)
        self.format_commands(ctx, formatter)

    def format_commands(self, ctx: Any, formatter: Any) -> None:  # noqa: ARG002
        """Write the commands by name, under the headings that they were registered with."""
        sections: dict[str, list[tuple[str, str]]] = {}
        for name, command in sorted(self.commands.items()):
            section = getattr(command, "rich_help_panel", None) or "Commands"
            text = command.get_short_help_str(_WHOLE)
            sections.setdefault(section, []).append((name, text))
        for title in sorted(sections, key=lambda title: _SECTIONS.index(title)):
            with formatter.section(title):
                formatter.write_dl(sections[title])

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """Find the subcommand; give it the options that stood before it.

        `migrate --env prod down` must not act on another environment than prod.
        """
        name, command, rest = super().resolve_command(ctx, args)
        if command is None or ctx.parent is None or ctx.resilient_parsing:
            return name, command, rest
        given = {
            param.name: ctx.params[param.name]
            for param in self.params
            if param.name in ctx.params and _was_given(ctx, param.name)
        }
        accepted = {param.name for param in command.params}
        for option in given.keys() - accepted:
            ctx.fail(f"--{option.replace('_', '-')} is not an option of {ctx.command_path} {name}.")
        ctx.default_map = {name: given}
        return name, command, rest


class _ReaderGone(Exception):
    """Whoever read standard output has ended; of a BrokenPipeError Typer makes exit code 1."""


class RootGroup(LeadctlGroup):
    """The whole command line: every error becomes a message and an exit code, here only."""

    def invoke(self, ctx: Any) -> Any:
        """Run the command."""
        try:
            return super().invoke(ctx)
        except BrokenPipeError:
            raise _ReaderGone from None

    def get_params(self, ctx: Any) -> Any:
        """Return the parameters; those of Typer itself do not refer to variables."""
        params = super().get_params(ctx)
        for param in params:
            param.show_envvar = param.allow_from_autoenv = False
        return params

    def main(
        self,
        args: Sequence[str] | None = None,
        prog_name: str | None = None,
        complete_var: str | None = None,
        standalone_mode: bool = True,  # noqa: ARG002 - this is the outermost: it always exits
        windows_expand_args: bool = True,
        **extra: Any,
    ) -> Any:
        """Run, and exit with a code of `ExitCode`."""
        extra |= {
            "prog_name": prog_name,
            "complete_var": complete_var,
            "windows_expand_args": windows_expand_args,
        }
        arguments = list(sys.argv[1:] if args is None else args)
        # Typer has no option whose value may be left out.
        arguments = ["--plan-read" if each == "--plan=read" else each for each in arguments]
        console = Console(as_json=_wants(arguments, "json"))
        Console.given = given_in(arguments)
        if _first_word(arguments) == "init":
            Console.given.pop("--app", None)  # the project has it alone, then
        sys.exit(self._run(arguments, console, extra))

    def _run(self, arguments: list[str], console: Console, extra: dict[str, Any]) -> int:
        # Around the reporting of errors, too: a signal may come while one is written.
        try:
            with _listening():
                return self._reporting(arguments, console, extra)
        except (KeyboardInterrupt, Terminated) as ended_by:
            is_terminated = isinstance(ended_by, Terminated)
            with exit_codes.last_words():
                console.finish()
                sys.stderr.write("Terminated.\n" if is_terminated else "Interrupted.\n")
            return ExitCode.TERMINATED if is_terminated else ExitCode.INTERRUPTED

    def _reporting(self, arguments: list[str], console: Console, extra: dict[str, Any]) -> int:
        try:
            _refuse_named_shell(arguments)
            code = super().main(args=arguments, standalone_mode=False, **extra)
            sys.stdout.flush()
            if code == ExitCode.INTERRUPTED:  # Typer has caught the KeyboardInterrupt
                raise KeyboardInterrupt
            return code if isinstance(code, int) else ExitCode.DONE
        except typer.Abort:
            raise KeyboardInterrupt from None
        except (BrokenPipeError, _ReaderGone):
            # The reader has gone, as `head` does; nothing more can be said to it.
            _give_up_output()
            return ExitCode.BROKEN_PIPE
        except Exception as error:  # noqa: BLE001 - the boundary: nobody sees a traceback
            if type(error).__name__ == "NoArgsIsHelpError":
                sys.stderr.write(f"{error}\n")
                return ExitCode.USAGE
            ended_by = _signal_behind(error)
            if ended_by is not None and not isinstance(error, LeadctlError):
                raise ended_by from None  # what a block did on its way out has failed as well
            known = error if isinstance(error, LeadctlError) else _known(error, arguments)
            console.error(known)
            if ended_by is not None:
                raise ended_by from None
            if _first_word(arguments) == "health-check":
                return _nagios(known, arguments)
            return exit_code(known)


def _signal_behind(error: BaseException) -> BaseException | None:
    """Return what a signal raised, where the error came while that went its way."""
    found: BaseException | None = error
    while found is not None and not isinstance(found, KeyboardInterrupt | Terminated):
        found = found.__context__
    return found


def _refuse_named_shell(arguments: list[str]) -> None:
    """Refuse `--install-completion zsh`: Typer installs it for the shell that runs, silently."""
    for flag in ("--install-completion", "--show-completion"):
        if arguments[:1] == [flag] and len(arguments) > 1:
            raise UsageError(
                f"{flag} is for the shell that it is run in, and takes no value.",
                hint=f"Run this in {arguments[1]}: leadctl {flag}",
            )


def _first_word(arguments: list[str]) -> str:
    return next((word for word in arguments if not word.startswith("-")), "")


def _nagios(error: LeadctlError, arguments: list[str]) -> int:
    """Say in Nagios's own way that a check could not be made; exit 2 would read as critical."""
    code = nagios_code(error)
    if _wants(arguments, "nagios"):
        word = "CRITICAL" if code == NAGIOS_CRITICAL else "UNKNOWN"
        sys.stdout.write(f"LEADCTL {word} - {scrub(error.message)}\n")
    return code


def _was_given(ctx: Any, name: str) -> bool:
    source = ctx.get_parameter_source(name)
    return source is not None and source.name in {"COMMANDLINE", "ENVIRONMENT"}


def _wants(arguments: list[str], output: str) -> bool:
    joined = " ".join(arguments)
    flags = (f"-o {output}", f"-o{output}", f"--output {output}", f"--output={output}")
    return any(flag in joined for flag in flags) or os.environ.get("LEADCTL_OUTPUT") == output


def _usage(error: typer.TyperException, arguments: Sequence[str]) -> UsageError:
    from leadctl.cli.other_tools import hint_for

    if type(error).__name__ not in _OF_VALUES and (hint := hint_for(arguments)):
        said = error.format_message().partition(" Did you mean")[0].partition(" (Possible")[0]
        return UsageError(said, hint=hint)
    ctx = getattr(error, "ctx", None)
    path = ctx.command_path if ctx else "leadctl"
    hint = _elsewhere(ctx, _first_word(list(arguments))) or f"See: {path} --help"
    return UsageError(error.format_message(), hint=hint)


def _elsewhere(ctx: Any, word: str) -> str:
    """Say where a word is a command that was not found at the top; empty where it is none."""
    if ctx is None or ctx.parent is not None or word in ctx.command.commands:
        return ""
    paths = [
        f"leadctl {name} {word}"
        for name, group in ctx.command.commands.items()
        if word in getattr(group, "commands", {})
    ]
    return f"Use: {', or '.join(paths)}" if paths else ""


def _give_up_output() -> None:
    """Let what is still to be written go nowhere: Python tries again when the process ends."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _raised_at(error: BaseException) -> tuple[str, int]:
    """Return the file and the line in which an error was raised; empty where nothing knows."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    return (trace.tb_frame.f_code.co_filename, trace.tb_lineno) if trace else ("", 0)


_OF_VALUES = ("BadParameter", "MissingParameter")
"""Errors of a command that is known."""


def _known(error: Exception, arguments: Sequence[str]) -> LeadctlError:
    """Return leadctl's own error for another; what none can be made of is a fault of leadctl."""
    if isinstance(error, typer.TyperException):
        return _usage(error, arguments)
    if isinstance(error, UnicodeEncodeError):
        return UsageError(
            "An argument or a setting has bytes that are not valid UTF-8.",
            hint="Give it in UTF-8.",
        )
    from leadctl.postgres.translate import translate

    translated = translate(error)
    if translated is not None:
        return translated
    file, line = _raised_at(error)
    if isinstance(error, OSError):
        # These rooms write to standard output, and to nothing else.
        on_output = "/leadctl/cli/" in file or "/leadctl/render/" in file
        if on_output:
            _give_up_output()
        where = error.filename or ("standard output" if on_output else "")
        if not where and error.errno in {errno.ENOSPC, errno.EDQUOT}:
            where = tempfile.gettempdir()  # files there have no names
        return OperationFailed(
            f"{where}{': ' if where else ''}{error.strerror or error}",
            hint="Look at the file's path, its permissions and the free space.",
        )
    raised = f" ({file}:{line})" if file else ""
    return OperationFailed(
        f"leadctl failed unexpectedly: {type(error).__name__}: {error}{raised}",
        hint="This is a fault in leadctl; please report it with this message.",
    )


@contextmanager
def _listening() -> Iterator[None]:
    """Let SIGINT, SIGTERM and SIGHUP be exceptions within the block, which ends all in order.

    SIGHUP comes when a terminal is closed; where it is ignored, as under nohup, it stays so.
    """

    def end(number: int, _frame: FrameType | None) -> None:
        # One signal is enough, also where the server or the network has gone silent.
        exit_codes.cut_off(_SILENT_SECONDS)
        raise KeyboardInterrupt if number == signal.SIGINT else Terminated

    def lost(what: "sys.UnraisableHookArgs") -> None:
        # It came amid a destructor or a callback of Python's own, where nothing can be raised.
        if issubclass(what.exc_type, KeyboardInterrupt | Terminated):
            number = signal.SIGINT if what.exc_type is KeyboardInterrupt else signal.SIGTERM
            again = [threading.main_thread().ident, number]
            threading.Timer(_AGAIN_SECONDS, signal.pthread_kill, again).start()
        else:
            others(what)

    if threading.current_thread() is not threading.main_thread():
        yield  # the host application has its own handlers
        return
    before = {number: signal.getsignal(number) for number in _SIGNALS}
    others = sys.unraisablehook
    try:
        if before[signal.SIGINT] is exit_codes.end_process:
            signal.signal(signal.SIGINT, end)
        signal.signal(signal.SIGTERM, end)
        if before[signal.SIGHUP] is not signal.SIG_IGN:
            signal.signal(signal.SIGHUP, end)
        sys.unraisablehook = lost
        yield
    finally:
        sys.unraisablehook = others
        for number, handler in before.items():
            signal.signal(number, handler or signal.SIG_DFL)


app = Tree(
    name="leadctl",
    cls=RootGroup,
    help="Run the PostgreSQL database behind a product.",
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"], "auto_envvar_prefix": "LEADCTL"},
)
"""The command line; each command registers itself with it."""


def subtree(name: str, section: str, about: str | None = None) -> Tree:
    """Register a command with subcommands; one that is told `about` does nothing without them."""
    told = {"help": about, "no_args_is_help": True} if about else {"invoke_without_command": True}
    group = Tree(name=name, cls=LeadctlGroup, **told)
    app.add_typer(group, rich_help_panel=section)
    return group


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"leadctl {__version__}")
        raise typer.Exit


@app.callback()
def root(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_version, is_eager=True, help="Show the version."),
    ] = False,
) -> None:
    """Run the PostgreSQL database behind a product."""
