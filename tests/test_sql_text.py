"""No text becomes SQL but by the few functions that say whose text it is."""

import ast
from collections.abc import Iterator
from pathlib import Path

import leadctl

ROOT = Path(leadctl.__file__).parent
MAKES_SQL = {
    # A block of our own .sql files; the server's text; the author's of a revision or a rule; what
    # pg_restore would run in any other restore.
    # Of the app's own author, and of SQLAlchemy; blocks of our own, as parts of a statement.
    "postgres/exact.py": {"fetch", "declare", "fetch_each"},
    "postgres/queries.py": {
        "statement",
        "written_by_server",
        "written_by_user",
        "written_by_pg_dump",
    },
    "studio/shape.py": {"build", "join"},
    "partition.py": {"_sql"},
}
TEMPLATES = {"SQL", "build", "join"}
"""What makes SQL of its first argument anywhere, so that it must be a literal of the code."""


def is_literal(node: ast.expr) -> bool:
    """Whether an expression is a text of the code itself, or a choice of such texts."""
    if isinstance(node, ast.IfExp):
        return is_literal(node.body) and is_literal(node.orelse)
    if isinstance(node, ast.Name):
        return node.id.isupper()  # a constant of the module
    return isinstance(node, ast.Constant)


def made_of_text(source: str, makers: set[str]) -> Iterator[str]:
    """Return the calls that make SQL of anything but a literal."""

    def visit(node: ast.AST, function: str) -> Iterator[str]:
        if isinstance(node, ast.FunctionDef):
            function = node.name
        if isinstance(node, ast.Call) and function not in makers and node.args:
            called = node.func
            name = called.attr if isinstance(called, ast.Attribute) else getattr(called, "id", "")
            is_method = isinstance(called, ast.Attribute) and name != "SQL"
            if (
                name in TEMPLATES | ({"_sql"} & makers)
                and not is_method
                and not is_literal(node.args[0])
            ):
                yield f"line {node.lineno}: {ast.unparse(node)}"
        for child in ast.iter_child_nodes(node):
            yield from visit(child, function)

    yield from visit(ast.parse(source), "")


def test_no_text_becomes_sql() -> None:
    found = {
        name: calls
        for path in sorted(ROOT.rglob("*.py"))
        if not (name := str(path.relative_to(ROOT))).startswith("_migrations")
        if (calls := list(made_of_text(path.read_text(), MAKES_SQL.get(name, set()))))
    }
    assert found == {}


def test_what_the_lint_finds() -> None:
    wrong = ["sql.SQL(name)", "SQL(f'{x}')", "psycopg.sql.SQL('a' + b)", "build(text, part)"]
    assert all(list(made_of_text(line, set())) for line in wrong)
    right = [
        "sql.SQL('SELECT')",
        "sql.SQL('a' if b else 'c')",
        "', '.join(x)",
        "sql.SQL(', ').join(x)",
    ]
    assert not any(list(made_of_text(line, set())) for line in right)


def test_the_servers_version_is_asked_in_one_place() -> None:
    """libpq says 0 of a session that was ended, so whoever asks must be told that instead.

    What opens a session asks by itself.
    """
    askers = {
        str(path.relative_to(ROOT))
        for path in ROOT.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Attribute)
        and node.attr == "server_version"
        and ast.unparse(node.value).endswith(".info")
    }
    assert askers == {"postgres/connect.py", "postgres/queries.py"}


def test_what_the_server_says_is_read_in_one_place() -> None:
    """Its messages quote values of rows, which `told` hides.

    A value that was typed is told to who typed it; an observation and a notice do so themselves,
    and a rehearsal only looks for a name in it.
    """
    readers = {
        str(path.relative_to(ROOT))
        for path in ROOT.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Attribute) and node.attr == "message_primary"
    }
    assert readers == {
        "migrate/executor.py",
        "migrate/observation.py",
        "migrate/required_columns.py",
        "postgres/translate.py",
        "restore/backups.py",
        "studio/conditions.py",
    }
