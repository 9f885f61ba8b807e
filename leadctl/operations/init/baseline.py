"""The text of revisions that are made of SQL statements, a baseline among them."""

from collections.abc import Iterable, Iterator

from leadctl.operations.init.columns import escape_binds


def revision_text(
    revision: str, follows: str | None, message: str, statements: Iterable[str]
) -> str:
    """Return the file of a revision of SQL statements, which cannot be undone."""
    return "\n".join(_lines(revision, follows, message, statements))


def _lines(
    revision: str, follows: str | None, message: str, statements: Iterable[str]
) -> Iterator[str]:
    yield f'"""{message}.'
    yield ""
    yield f"Revision: {revision}"
    yield f"Follows: {follows or ''}".rstrip()
    yield '"""'
    yield ""
    yield "from alembic import op"
    yield ""
    yield f"revision = {revision!r}"
    yield f"down_revision = {follows!r}"
    yield ""
    yield "STATEMENTS = ("
    for statement in statements:
        yield f"    {quoted(escape_binds(statement))},"
    yield ")"
    yield ""
    yield ""
    yield "def upgrade() -> None:"
    yield "    for statement in STATEMENTS:"
    yield "        op.execute(statement)"
    yield ""
    yield ""
    yield "def downgrade() -> None:"
    yield '    raise NotImplementedError("This cannot be undone by a revision.")'
    yield ""


def quoted(text: str) -> str:
    """Return SQL as a Python literal that keeps its lines where it can."""
    if '"""' in text or text.endswith(('"', "\\")) or "\r" in text:
        return repr(text)
    return f'{"r" if chr(92) in text else ""}"""{text}"""'
