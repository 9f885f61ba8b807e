"""Writes docs/output.md, docs/cli.md, the table of docs/python.md and the layers of architecture.md.

Run it as `python -m tests.docs.reference`.
"""

import ast
import inspect
import re
import sys
import tomllib
import typing
from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields, is_dataclass
from enum import Enum
from functools import cache
from pathlib import Path
from types import UnionType
from typing import Any

from typer.main import get_command

from leadctl import errors
from leadctl.api.database import Database
from leadctl.api.project import Project
from leadctl.api.studio import Studio
from leadctl.api.tenants import Tenants
from leadctl.cli.commands import app
from leadctl.cli.exit_codes import ExitCode, exit_code
from leadctl.fleet.run import FleetReport
from leadctl.migrate.diff import Diff
from leadctl.studio.record import RelatedRows
from leadctl.studio.rows import ColumnHead

DOCS = Path(__file__).parents[2] / "docs"


@dataclass(frozen=True)
class Rows:
    """Rows are written as they come: each is an object of values by column."""

    database: str
    schema: str
    table: str
    columns: tuple[ColumnHead, ...]
    rows: tuple[dict[str, Any], ...]
    total: int | None
    more: bool
    after: str | None


@dataclass(frozen=True)
class OneRecord:
    """A record is an object of values by column."""

    database: str
    schema: str
    table: str
    key: str
    record: dict[str, Any]
    relations: tuple[RelatedRows, ...]


API = (Project, Database, Studio, Tenants)
BESIDE: dict[str, type] = {
    "… --fleet NAME": FleetReport,
    "migrate diff": Diff,
    "studio TABLE": Rows,
    "studio TABLE ROW": OneRecord,
}
"""Documents that are made of a result, or of a part of it."""

EXIT_CODES = {
    ExitCode.DONE: "done",
    ExitCode.NO: 'the answer is "no" (pending, different), or the operation failed',
    ExitCode.USAGE: "the command line is not valid",
    ExitCode.CONFIGURATION: "a setting, a file or the installation is wrong or missing",
    ExitCode.CONNECTION: "the server cannot be reached, or does not allow it",
    ExitCode.REFUSED: "a guard stopped it to keep data safe",
    ExitCode.LOCKED: "another run holds the lock",
    ExitCode.PARTLY: "done in part; what was left is named",
    ExitCode.INTERRUPTED: "interrupted (Ctrl-C)",
    ExitCode.BROKEN_PIPE: "the program that reads the output ended early, such as `head`",
    ExitCode.TERMINATED: "terminated (SIGTERM)",
}


def output() -> str:
    """Return docs/output.md."""
    lines = [
        "# Output",
        "",
        "Written from the code; a test keeps it true.",
        "",
        "Standard output is the result and nothing else; narration, progress and errors go to",
        "standard error. With `-o json` the result is one document. Times in it are UTC in ISO 8601,",
        "sizes are bytes. Elsewhere sizes are in kB, MB, GB and TB, which are powers of 1000.",
        "",
        "## Exit codes",
        "",
        "| code | meaning |",
        "|---|---|",
        *(f"| {int(code)} | {meaning} |" for code, meaning in EXIT_CODES.items()),
        "",
        "`health-check` alone speaks Nagios: 0 ok, 1 warning, 2 critical (unreachable, too),",
        "3 unknown (a wrong flag or setting, too).",
        "",
        "## Errors",
        "",
        'With `-o json` an error is one object on standard error: `{"code": …, "message": …,',
        '"hint": …}`. The codes are stable:',
        "",
        "| code | exit | when |",
        "|---|---|---|",
        *(
            f"| `{error.code}` | {int(exit_code(error('')))} | {_first_line(error)} |"
            for error in all_errors()
        ),
        "",
        "## Results",
        "",
        "The keys of each command's document, each with its type: `text?` may be null, `text[]` is a list",
        "of texts, `[]` a list of objects. Keys that are indented belong to the key above them.",
    ]
    for command, result in results().items():
        lines += ["", f"### {command}", "", *_keys(result)]
    return "\n".join(lines) + "\n"


def results() -> dict[str, type]:
    """Return what each command writes: the methods of the API say which command they are."""
    found: dict[type, list[str]] = {}
    for method in methods():
        if command := re.search(r"as `leadctl ([^`]+)`", method.__doc__ or ""):
            found.setdefault(_returned(method), []).append(command[1])
    for other in [result for result in found if not _is_record(result)]:
        del found[other]  # it is written by no command
    named = {", ".join(_shortest(commands)): result for result, commands in found.items()}
    return dict(sorted({**named, **BESIDE}.items()))


def _shortest(commands: list[str]) -> list[str]:
    """Return commands without those that are another one with options."""
    names = dict.fromkeys(commands)
    return [name for name in names if not any(name.startswith(f"{other} ") for other in names)]


def methods(*kinds: type) -> Iterator[Callable[..., Any]]:
    """Return the methods of the API."""
    for kind in kinds or API:
        for name, method in vars(kind).items():
            if inspect.isfunction(method) and name == method.__name__ and name[0] != "_":
                yield method


def _returned(method: Callable[..., Any]) -> type:
    """Return the type that a method returns; its module imports it for type checkers only."""
    declared = method.__annotations__["return"]
    found: type = (
        eval(declared, _imported(method.__module__)) if isinstance(declared, str) else declared
    )
    return found


@cache
def _imported(module: str) -> dict[str, Any]:
    namespace: dict[str, Any] = {}
    for node in ast.parse(Path(str(sys.modules[module].__file__)).read_text()).body:
        if isinstance(node, ast.If):
            exec(compile(ast.Module(node.body, []), module, "exec"), namespace)
    return vars(sys.modules[module]) | namespace


def python() -> str:
    """Return docs/python.md with the table of the API's methods."""
    lines = ["| method | what it does | as |", "|---|---|---|"]
    for method in methods(*API):
        doc = " ".join((method.__doc__ or "").split("\n\n")[0].split())
        found = re.search(r"(?:, as|:) `leadctl ([^`]+)`", doc)
        told = (doc.replace(found[0], "") if found else doc).partition(". Raises")[0]
        command = f"`{found[1]}`" if found else ""
        lines.append(f"| `{_called(method)}` | {told.removesuffix('.')} | {command} |")
    text = (DOCS / "python.md").read_text()
    return re.sub(
        r"(?s)(<!-- methods -->\n).*(<!-- end -->)",
        lambda found: f"{found[1]}{chr(10).join(lines)}\n{found[2]}",
        text,
    )


def _called(method: Callable[..., Any]) -> str:
    """Return a method as it is called: what may be left out by name has an equals sign."""
    parameters = list(inspect.signature(method).parameters.values())[1:]
    named = inspect.Parameter.KEYWORD_ONLY
    shown = [f"{each.name}=" if each.kind is named else each.name for each in parameters]
    return f"{method.__name__}({', '.join(shown)})"


def architecture() -> str:
    """Return docs/architecture.md with the layers that the import contracts enforce."""
    with (DOCS.parent / "pyproject.toml").open("rb") as file:
        contracts = tomllib.load(file)["tool"]["importlinter"]["contracts"]
    layers = next(each["layers"] for each in contracts if each["type"] == "layers")
    before, after = (DOCS / "architecture.md").read_text().split(f"    {layers[0]}\n")
    drawn = "".join(f"    {layer}\n" for layer in layers)
    return before + drawn + re.sub(r"\A(    .+\n)+", "", after)


def cli() -> str:
    """Return docs/cli.md."""
    lines = [
        "# Commands",
        "",
        "Written from the code; a test keeps it true.",
        "",
        "Every option has a variable, too: `--steps` of `leadctl migrate` is `LEADCTL_MIGRATE_STEPS`.",
        "Only consent (`--yes`, `--confirm`, `--reveal`) has none, nor have `--fleet` and `--only`:",
        "what stays set is no consent.",
    ]
    for path, command, context in _walk(get_command(app), "leadctl", None):
        text = "\n".join(line.rstrip() for line in command.get_help(context).splitlines())
        lines += ["", f"## {path}", "", "```text", text, "```"]
    return "\n".join(lines) + "\n"


def all_errors() -> list[type[errors.LeadctlError]]:
    """Return every error class, in the order of the file."""
    return [
        found
        for _, found in inspect.getmembers(errors, inspect.isclass)
        if issubclass(found, errors.LeadctlError) and found is not errors.LeadctlError
    ]


def _walk(command: Any, path: str, parent: Any) -> Iterator[tuple[str, Any, Any]]:
    context = command.make_context(
        path.split()[-1], ["--help"], parent=parent, resilient_parsing=True
    )
    context.terminal_width = 90
    yield path, command, context
    for name, subcommand in sorted(getattr(command, "commands", {}).items()):
        yield from _walk(subcommand, f"{path} {name}", context)


def _first_line(error: type) -> str:
    text = (error.__doc__ or "").strip().splitlines()[0].rstrip(".")
    return text.partition("; exit")[0]


def _keys(result: type, indent: int = 0) -> Iterator[str]:
    hints = typing.get_type_hints(result)
    hidden = {
        field.name
        for field in (fields(result) if is_dataclass(result) else ())
        if not field.metadata.get("json", True)
    }
    for name in [name for name in hints if name not in hidden]:
        kind, inner = _kind(hints[name])
        yield f"{'  ' * indent}- `{name}` {kind}".rstrip()
        if inner is not None:
            yield from _keys(inner, indent + 1)


def _is_record(kind: Any) -> bool:
    """Whether it is written as an object: a named tuple or a dataclass."""
    return isinstance(kind, type) and (hasattr(kind, "_asdict") or is_dataclass(kind))


def _kind(hint: Any) -> tuple[str, type | None]:
    """Return how a type shows in JSON, and the record in it."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in {typing.Union, UnionType}:
        names = [_kind(argument)[0] for argument in arguments if argument is not type(None)]
        optional = "?" if type(None) in arguments else ""
        inner = next((found for a in arguments if (found := _kind(a)[1])), None)
        return " or ".join(dict.fromkeys(names)) + optional, inner
    if origin is tuple:
        kind, inner = _kind(arguments[0])
        return (f"{kind}[]" if kind else "list[]").replace("list[]", "[]"), inner
    if _is_record(origin):
        return "", origin
    if origin is not None:
        return "object", None
    if _is_record(hint):
        return "", hint
    if isinstance(hint, type) and issubclass(hint, Enum):
        return " or ".join(f'"{member.value}"' for member in hint), None
    names = {"str": "text", "int": "number", "float": "number", "bool": "true or false"}
    names |= {"datetime": "time", "Path": "path", "UUID": "uuid", "dict": "object"}
    return names.get(getattr(hint, "__name__", ""), "any"), None


if __name__ == "__main__":
    for page in (output, cli, python, architecture):
        (DOCS / f"{page.__name__}.md").write_text(page())
