"""The documents are true: references are what the code says, examples do what they show."""

import ast
import os
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.main import get_command

from benchmarks import report
from leadctl.cli.commands import app
from leadctl.crypto import Key, Keyring, decrypt
from tests.docs import reference
from tests.golden.snapshots import stable
from tests.processes import environment, run

ROOT = Path(__file__).parents[2]
DOCUMENTS = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
FILE = re.compile(r"```\w+\n(?:#|--) ([\w./]*\.\w+)\n(.*?)```", re.DOTALL)
"""A block that begins with a file's name is that file."""
CONSOLE = re.compile(r"```console\n(.*?)```", re.DOTALL)


@pytest.mark.parametrize("name", ["output", "cli", "python", "architecture"])
def test_references_are_what_the_code_says(name: str) -> None:
    assert (ROOT / "docs" / f"{name}.md").read_text() == getattr(reference, name)()


def test_figures_are_those_that_were_measured() -> None:
    found = report.load(ROOT / "benchmarks" / "results.json")
    assert (ROOT / "docs" / "benchmarks.md").read_text() == report.document(found)


def commands(block: str) -> Iterator[tuple[str, str]]:
    for part in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
        command, _, expected = part.partition("\n")
        yield command, expected


@pytest.mark.thorough
@pytest.mark.parametrize("document", DOCUMENTS, ids=[document.name for document in DOCUMENTS])
def test_examples_do_what_they_show(document: Path, tmp_path: Path) -> None:
    blocks = CONSOLE.findall(document.read_text())
    if not blocks or document.name == "recipes.md":  # which tests/packages runs, with its packages
        return
    programs = tmp_path / "bin"
    programs.mkdir()
    program = programs / "leadctl"
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m leadctl "$@"\n')
    program.chmod(0o755)
    folder = tmp_path / "project"
    folder.mkdir()
    for name, content in FILE.findall(document.read_text()):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(content)
    makes_one = "init" if any("leadctl init" in block for block in blocks) else None
    try:
        for block in blocks:
            for command, expected in commands(block):
                env = environment(cwd=folder, command=makes_one)
                env["PATH"] = f"{programs}:{env['PATH']}"
                done = subprocess.run(
                    ["/bin/sh", "-c", command],
                    cwd=folder,
                    env=env,
                    capture_output=True,
                    text=True,
                    check=False,
                )
                assert stable(done.stdout) == stable(expected), f"{command}\n{done.stderr}"
    finally:
        run("db", "destroy", "--yes", cwd=folder)


@pytest.mark.parametrize("document", DOCUMENTS, ids=[document.name for document in DOCUMENTS])
def test_links_lead_somewhere(document: Path) -> None:
    for target in re.findall(r"\]\((?!https?:)([^)#]+)", document.read_text()):
        assert (document.parent / target).exists(), target


def test_the_test_vector() -> None:
    text = (ROOT / "docs" / "encryption.md").read_text()
    vector = dict(re.findall(r"\| (key|context|text|value) \| `([^`]+)` \|", text))
    keyring = Keyring([Key.from_hex("vector", vector["key"])])
    assert decrypt(vector["value"], keyring, vector["context"]) == vector["text"]


def test_every_command_of_the_readme_exists() -> None:
    text = (ROOT / "README.md").read_text()
    listed = set(re.findall(r"`leadctl ((?:[a-z][a-z-]* ?)+)", text))
    known = set(re.findall(r"^## leadctl (.+)$", reference.cli(), re.MULTILINE))
    for command in listed:
        words = command.split()
        assert any(" ".join(words[:n]) in known for n in (1, 2)), command


PAGES = [*sorted((ROOT / "docs").rglob("*.md")), *sorted(ROOT.glob("*.md"))]
SOURCES = sorted((ROOT / "leadctl").rglob("*.py"))


def unknown(typed: str) -> list[str]:
    """Return what of a command line there is not: options, or the subcommand of a group."""
    command: Any = get_command(app)
    ours, *_ = typed.split(" -- ")  # what follows is another program's
    words = [word.rstrip(".,") or word for word in ours.split()]
    if words[0] not in command.commands:
        return []  # a sentence that begins with the program's name
    known = {"--help", "-h", "--"}
    while words and words[0] in getattr(command, "commands", {}):
        command = command.commands[words.pop(0)]
        known |= {name for each in command.params for name in each.opts + each.secondary_opts}
    options = {found[0] for word in words if (found := re.match(r"--?[a-z][a-z-]*", word))}
    wrong = sorted(option for option in options if len(option) < 3 or option.startswith("--"))
    needs_one = not getattr(command, "invoke_without_command", True)
    named = [word for word in words[:1] if needs_one and re.fullmatch("[a-z-]+", word)]
    return [name for name in wrong if name not in known] + named


@pytest.mark.thorough
def test_every_command_that_is_named_exists() -> None:
    """On every page, and in every hint: somebody types it as it stands there."""
    wrong = {}
    for file in [*PAGES, *SOURCES]:
        text = file.read_text().replace("\\\n", " ")
        if file.suffix == ".py":
            text = re.sub(r"\"\n\s*f?\"", "", text)  # a text on several lines
        typed = re.findall(r"\bleadctl ([a-z][^#|;&()`>\"'\n:]*)", text)
        wrong |= {(file.name, line): found for line in typed if (found := unknown(line))}
    assert wrong == {}


def test_the_project_speaks_of_itself_alone() -> None:
    listed = subprocess.run(
        ["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=False
    ).stdout.split()
    assert os.fspath(ROOT) not in "".join(
        (ROOT / name).read_text(errors="replace") for name in listed if (ROOT / name).is_file()
    )


MAPS = ("architecture", "decisions")


def named_in(source: str) -> set[str]:
    """Return what a file names of modules: imported, as a module's attribute, or in a text."""
    nodes = list(ast.walk(ast.parse(source)))
    imported: dict[str, set[str]] = {}
    for node in nodes:
        if isinstance(node, ast.ImportFrom):
            for each in node.names:
                name = f"{node.module}.{each.name}"
                imported.setdefault(each.asname or each.name, set()).add(name)
    attributes = {
        f"{name}{ast.unparse(node).removeprefix(ast.unparse(node).partition('.')[0])}"
        for node in nodes
        if isinstance(node, ast.Attribute)
        for name in imported.get(ast.unparse(node.value).partition(".")[0], ())
    }
    return attributes.union(*imported.values(), re.findall(r"leadctl(?:\.\w+)+", source))


def public_functions(path: Path, module: str) -> Iterator[str]:
    for node in ast.parse(path.read_text()).body:
        if isinstance(node, ast.FunctionDef) and not node.name.startswith("_"):
            decorators = " ".join(map(ast.unparse, node.decorator_list))
            if "check" not in decorators and "callback" not in decorators:
                yield f"{module}.{node.name}"


def test_what_is_public_is_used_by_another_file() -> None:
    """A function that only its own file calls is private; products and models are a user's, too."""
    named = {path: named_in(path.read_text())
             for folder in ("leadctl", "tests", "migrations", "benchmarks")
             for path in (ROOT / folder).rglob("*.py") if path != Path(__file__)}  # fmt: skip
    times = Counter(name for names in named.values() for name in names)
    alone = []
    for path in sorted((ROOT / "leadctl").rglob("*.py")):
        parts = path.relative_to(ROOT).with_suffix("").parts
        if not {"products", "models", "commands"} & set(parts):
            module = ".".join(parts).removesuffix(".__init__")
            found = public_functions(path, module)
            alone += [name for name in found if times[name] == (name in named[path])]
    assert alone == [
        "leadctl.__main__.main",
        "leadctl.postgres.connect.cut_off_all",  # exit_codes calls it where that is loaded
        "leadctl.settings.model.setting",
    ]


def test_the_maps_name_files_that_exist() -> None:
    page = "".join((ROOT / "docs" / f"{name}.md").read_text() for name in MAPS)
    named = set(re.findall(r"`([a-z_]+/[a-z_/]*(?:\.py|\.sql|\.toml)?)`", page))
    folders = [ROOT / "leadctl", ROOT, ROOT / "tests"]
    missing = [n for n in sorted(named) if not any((folder / n).exists() for folder in folders)]
    assert not missing, missing
