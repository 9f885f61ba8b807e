"""Plain international English: no word of the dialect, helps that no column cuts."""

import ast
import io
import re
import tokenize
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.main import get_command

from leadctl.cli.commands import app

ROOT = Path(__file__).parents[2]
SOURCES = sorted((ROOT / "leadctl").rglob("*.py"))
PAGES = [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")]
EVERYWHERE = {
    r"\bmend(s|ed|ing)?\b": "fix",
    r"\banew\b": "again",
    r"\bone's own\b": "its own, your own",
    r"\bthat (is|are) there\b(?! to| for| when)": "existing",
    r"\bcome what may\b|\bworst night\b": "nothing: it muses",
    r"\b(speaks?|spoken|speaking) of\b": "refer to",
    r"\b(cannot|can|to|could) be had\b|\bhad from\b": "is available",
    r"\bstumbl\w+": "fail on",
    r"\b[Bb]eforehand\b": "before, in advance",
    r"\b(thereof|therein|whereby|whereof|hereby)\b": "plain words",
}
"""What is written nowhere, and what is written instead."""
IN_MESSAGES = {
    **EVERYWHERE,
    r"(?<!there )\b(is|are) no (?!longer\b|more\b|other\b)\w+": "is not a",
    r"\b[Bb]eside\b": "with, next to, besides",
    r"\b[Nn]obody\b": "no session, none, not known",
    r"\b[Bb]ears?\b": "allow, tolerate",
    r"\bgo(es)? on\b": "continue, resume",
    r"\bmeanwhile\b": "during that time",
    r"\bas \d+(s|m|d|h)?\b": "e.g.",
    r"\bsuch as\b": "e.g.",
    r"\b[Ww]here (that is|it is|you|this is)\b": "if",
    r"\btaken? for\b": "assume, mistake for",
}
"""What a person does not read in a message, a hint or a help, beside that."""
PRAISE = re.compile(r"\b(simply|blazing|amazing|of course|obviously|easily|just works?)\b", re.I)
SQL = re.compile(r"\s*(SELECT|WITH|CREATE|ALTER|INSERT|UPDATE|DELETE|DROP|GRANT)\b")
MOST = 60
"""Characters of a help's first sentence."""


def found(text: str, words: dict[str, str]) -> list[str]:
    flat = " ".join(text.split())
    return [
        f"{hit[0]!r} ({instead})"
        for word, instead in words.items()
        if (hit := re.search(word, flat, re.IGNORECASE))
    ]


def is_help(node: ast.AST, path: Path) -> bool:
    """Whether a docstring is what a command's help or a health check's description says."""
    decorators = [ast.unparse(each) for each in getattr(node, "decorator_list", [])]
    return path.parent.name in {"commands", "health"} and any(
        name.startswith(("command(", "check(")) for name in decorators
    )


def literals(path: Path) -> Iterator[tuple[int, str, bool]]:
    """Yield the texts of a module: where, what, and whether a person may read it as a message."""
    tree = ast.parse(path.read_text())
    docstrings, parts = set(), set()
    for node in ast.walk(tree):
        body = getattr(node, "body", None)
        for child in body if isinstance(body, list) else []:
            is_docstring = isinstance(child, ast.Expr) and isinstance(child.value, ast.Constant)
            if is_docstring and not is_help(node, path):
                docstrings.add(id(child.value))
        if isinstance(node, ast.JoinedStr):
            parts |= {id(value) for value in node.values}
    for node in ast.walk(tree):
        if id(node) in parts:
            continue
        if isinstance(node, ast.JoinedStr):
            text = "".join(
                str(v.value) if isinstance(v, ast.Constant) else "X" for v in node.values
            )
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            text = node.value
        else:
            continue
        is_message = id(node) not in docstrings and " " in text.strip() and not SQL.match(text)
        yield node.lineno, text, is_message


def comments(path: Path) -> Iterator[tuple[int, str]]:
    for token in tokenize.generate_tokens(io.StringIO(path.read_text()).readline):
        if token.type == tokenize.COMMENT:
            yield token.start[0], token.string


def test_no_message_is_in_the_dialect() -> None:
    wrong = [
        f"{path.relative_to(ROOT)}:{line}: {', '.join(hits)}: {' '.join(text.split())[:90]}"
        for path in SOURCES
        for line, text, is_message in literals(path)
        if (hits := found(text, IN_MESSAGES if is_message else EVERYWHERE))
    ]
    assert not wrong, "\n".join(wrong)


def test_no_comment_and_no_page_is() -> None:
    wrong = [
        f"{path.relative_to(ROOT)}:{line}: {', '.join(hits)}"
        for path in SOURCES
        for line, text in comments(path)
        if (hits := found(text, EVERYWHERE))
    ]
    for page in (*PAGES, *(ROOT / "leadctl").rglob("*.sql")):
        for number, line in enumerate(page.read_text().splitlines(), 1):
            if hits := found(line, EVERYWHERE):
                wrong.append(f"{page.relative_to(ROOT)}:{number}: {', '.join(hits)}")
    assert not wrong, "\n".join(wrong)


def test_no_page_praises() -> None:
    wrong = [
        f"{page.name}: {hit[0]}" for page in PAGES for hit in PRAISE.finditer(page.read_text())
    ]
    assert not wrong


def helps() -> Iterator[tuple[str, str]]:
    """Yield every help: of what, and its text."""

    def walk(command: Any, path: str) -> Iterator[tuple[str, str]]:
        yield path, command.help or ""
        for param in command.params:
            if param.name not in {"install_completion", "show_completion"}:  # Typer's own
                yield f"{path} {param.opts[-1]}", getattr(param, "help", None) or ""
        for name, child in (getattr(command, "commands", None) or {}).items():
            yield from walk(child, f"{path} {name}")

    return walk(get_command(app), "leadctl")


def test_no_column_cuts_a_help() -> None:
    long = []
    for what, text in helps():
        first = re.split(r"(?<=\.)\s|\n\n", text.strip())[0].replace("\n", " ")
        if len(first) > MOST:
            long.append(f"{len(first)} {what}: {first}")
    assert not long, "\n".join(long)


def test_no_help_names_a_type_of_python() -> None:
    assert not re.findall(
        r"<(?:str|int|float|list|path)\b.*", (ROOT / "docs" / "cli.md").read_text()
    )


@pytest.mark.parametrize(
    "text", ["Mend it.", "It is no name.", "It is written anew.", "Nobody is there.", "It goes on."]
)
def test_the_dialect_is_seen(text: str) -> None:
    assert found(text, IN_MESSAGES)
