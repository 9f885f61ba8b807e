"""The text of a revision's file, of statements and of rows to be filled."""

import fcntl
import os
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from textwrap import fill as wrap
from textwrap import indent as indented

from leadctl.apps.registry import App
from leadctl.errors import MigrationsInvalid
from leadctl.files import write_whole
from leadctl.migrate.backfill import escape
from leadctl.migrate.ddl.steps import Step
from leadctl.migrate.revisions import History, read_history
from leadctl.sql.lexer import tokens

_NUMBERED = re.compile(r"(?P<prefix>.*?)(?P<number>\d{4})$")
_WIDTH = 96
_MODE = 0o666  # less the umask, as any source file
_TEMPLATE = '''\
"""{message}.

Revision: {revision}
Follows: {follows}
Created: {created}
"""

{imports}

revision = "{revision}"
down_revision = {down}


def upgrade() -> None:
{upgrade}


def downgrade() -> None:
{downgrade}
'''


def check_writable(app: App) -> None:
    """Raise MigrationsInvalid where no revision can be written."""
    if not os.access(app.migrations if app.migrations.exists() else app.migrations.parent, os.W_OK):
        raise MigrationsInvalid(
            f"The folder {app.migrations} cannot be written to.",
            hint="Make it writable, or declare an app of your own in leadctl.toml.",
        )


@contextmanager
def writing(history: History) -> Iterator[None]:
    """Hold a history's folder while revisions are written behind its heads.

    Raises MigrationsInvalid where another run wrote some since it was read.
    """
    folder = os.open(history.folder, os.O_RDONLY)
    try:
        fcntl.flock(folder, fcntl.LOCK_EX)
        if read_history(history.folder).heads != history.heads:
            raise MigrationsInvalid(
                f"Another run wrote a revision to {history.folder} meanwhile.",
                hint="Look at it, then run this again.",
            )
        yield
    finally:
        os.close(folder)


def next_id(app: App, follows: str | None) -> str:
    """Return the id of the revision after another: its number goes on, where it has one."""
    numbered = _NUMBERED.match(follows or f"{app.name}_0000")
    if numbered is None:
        return os.urandom(6).hex()
    return f"{numbered['prefix']}{int(numbered['number']) + 1:04d}"


def write(
    history: History,
    revision: str,
    follows: str | Sequence[str] | None,
    message: str,
    upgrade: str,
    downgrade: str,
) -> Path:
    """Write a revision's file; return its path.  Raises MigrationsInvalid.

    One that joins branches follows several.
    """
    path = history.folder / file_name(revision, message)
    if path.exists():
        raise MigrationsInvalid(f"{path} is there already.", hint="Move it out of the way.")
    try:
        write_whole(path, text(revision, follows, message, upgrade, downgrade), _MODE)
    except OSError as error:
        raise MigrationsInvalid(
            f"Cannot write {path}: {error.strerror}.", hint="Look into the folder."
        ) from None
    return path


def file_name(revision: str, message: str) -> str:
    """Return what a revision's file is called."""
    slug = re.sub(r"\W+", "_", message.lower()).strip("_")[:40].rstrip("_")
    number = _NUMBERED.match(revision)
    return f"{number['number'] if number else revision}_{slug}.py"


def text(
    revision: str,
    follows: str | Sequence[str] | None,
    message: str,
    upgrade: str,
    downgrade: str,
) -> str:
    """Return what a revision's file says."""
    parents = [follows] if isinstance(follows, str) else list(follows or ())
    imports = "from alembic import op"
    if "fill(" in upgrade:
        imports += "\n\nfrom leadctl import fill"
    return _TEMPLATE.format(
        message=message.replace("\\", "/").replace('"', "'").strip().rstrip("."),
        revision=revision,
        follows=", ".join(parents) or "nothing",
        created=f"{datetime.now(UTC):%Y-%m-%d %H:%M:%S}",
        imports=imports,
        down=_down(parents),
        upgrade=upgrade,
        downgrade=downgrade,
    )


def _down(parents: Sequence[str]) -> str:
    names = ", ".join(f'"{each}"' for each in parents)
    return f"({names})" if len(parents) > 1 else names or "None"


def body(steps: Sequence[Step], *, transactional: bool) -> str:
    """Return the body of `upgrade()` or `downgrade()`."""
    indent = "    " if transactional or not steps else "        "
    parts = [_step(step, indent) for step in steps if step.sql or step.fill]
    if not parts:
        return f"{indent}pass"
    if all(step.fill for step in steps) or transactional:
        return "\n".join(parts)
    return "\n".join(["    with op.get_context().autocommit_block():", *parts])


def refusal(reason: str) -> str:
    """Return the body of a `downgrade()` that cannot be."""
    return f"    raise NotImplementedError({reason!r})"


def _step(step: Step, indent: str) -> str:
    said = [f"Loses {step.loses}."] if step.loses else []
    said += [step.why] if step.why else []
    comment = "".join(
        wrap(line, _WIDTH, initial_indent=f"{indent}# ", subsequent_indent=f"{indent}# ") + "\n"
        for line in said
    )
    if step.fill is not None:
        texts = (step.fill.table, step.fill.assignment, step.fill.where)
        return f"{comment}    fill(op, {', '.join(map(_quoted, texts))})"
    return f"{comment}{indent}op.execute({_literal(step.sql, indent)})"


def _literal(sql: str, indent: str) -> str:
    """Return a statement as a Python literal that text() reads as the statement."""
    escaped = escape(sql)
    if "\n" not in escaped:
        quoted = _quoted(escaped)
        short = len(indent) + len("op.execute()") + len(quoted) <= _WIDTH
        return quoted if short else f"\n{indent}    {quoted}\n{indent}"
    text = escaped.replace("\\", "\\\\").replace('"""', '\\"\\"\\"')
    if not any("\n" in token.text for token in tokens(sql)):  # no text of its own goes on
        text = indented(text, f"{indent}    ")
    return f'"""\n{text}\n{indent}"""'


def _quoted(text: str) -> str:
    """Return a text of one line as a Python literal."""
    return repr(text) if '"' in text else '"' + text.replace("\\", "\\\\") + '"'
