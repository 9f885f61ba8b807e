"""Whether a revision can be taken back, as its file says it."""

import ast
from pathlib import Path


def is_reversible(path: Path) -> bool:
    """Whether `downgrade()` does something: not where it is missing, empty or only raises."""
    try:
        module = ast.parse(path.read_text(encoding="utf-8"))
    except SyntaxError:
        return False
    for node in module.body:
        if isinstance(node, ast.FunctionDef) and node.name == "downgrade":
            return any(
                not isinstance(statement, ast.Pass | ast.Raise | ast.Import | ast.ImportFrom)
                and not (
                    isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant)
                )
                for statement in node.body
            )
    return False
