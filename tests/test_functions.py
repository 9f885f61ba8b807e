"""Functions are short enough to be read as one step."""

import ast
import io
import tokenize
from pathlib import Path

import leadctl

ROOT = Path(leadctl.__file__).parent
LONGEST = 50
"""Lines with code, the parameters counted, docstrings, comments and blank lines not."""
NO_CODE = {
    tokenize.COMMENT,
    tokenize.DEDENT,
    tokenize.ENDMARKER,
    tokenize.INDENT,
    tokenize.NEWLINE,
    tokenize.NL,
}


def lengths(source: str) -> dict[str, int]:
    """Return how many lines of code each function has."""
    tree = ast.parse(source)
    lines = {
        line
        for token in tokenize.generate_tokens(io.StringIO(source).readline)
        if token.type not in NO_CODE
        for line in range(token.start[0], token.end[0] + 1)
    }
    functions = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)]
    for node in functions:
        if ast.get_docstring(node, clean=False) is not None:
            lines -= set(range(node.body[0].lineno, (node.body[0].end_lineno or 0) + 1))
    return {
        f"{node.name}, line {node.lineno}": len(
            lines & set(range(node.lineno, (node.end_lineno or 0) + 1))
        )
        for node in functions
    }


def test_a_function_is_short() -> None:
    assert {
        f"{path.relative_to(ROOT)}: {name}": length
        for path in sorted(ROOT.rglob("*.py"))
        for name, length in lengths(path.read_text()).items()
        if length > LONGEST
    } == {}


def test_what_is_counted() -> None:
    source = (
        'def f(\n    a,\n):\n    """Say.\n\n    More."""\n\n    # why\n    return """x\n    y"""\n'
    )
    assert lengths(source) == {"f, line 1": 5}
