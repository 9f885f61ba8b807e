"""Writing revisions: drafts, and SQL of people, to files with names of their own."""

import fcntl
import os
import re
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from textwrap import fill as wrap
from textwrap import indent as indented
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from leadctl.apps.registry import App
from leadctl.errors import MigrationsInvalid
from leadctl.files import write_whole
from leadctl.migrate.backfill import escape
from leadctl.migrate.ddl.steps import Stage, Step, losses
from leadctl.migrate.drafts import Draft
from leadctl.migrate.revision import RevisionText, part_of
from leadctl.migrate.revisions import HERE, History, RevisionPlacement, read_history
from leadctl.sql.lexer import tokens

_TIMED = re.compile(r"(?P<time>\d{14})_[0-9a-f]{4}")
_TIME = "%Y%m%d%H%M%S"
_COUNTED = re.compile(r"(?P<prefix>.*?)(?P<number>\d{4})(?P<mark>_[0-9a-f]{4})?")
_OF_ALEMBIC = re.compile(r"[0-9a-f]{12}")
_SLUG = 40
_WIDTH = 96
FILE_MODE = 0o666
"""Less the umask, as any source file."""
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
_RENAMES = {0: "renaming-object", 2: "renaming-table", 3: "renaming-column"}
"""squawk's rules, by the parts of `Step.renamed`."""
_ROWS_STAY = "    return  # the rows may stay as they are"
_NO_WAY_BACK = "    pass  # it has no way back, and migrate down refuses it"
_SUFFIXES = {
    Stage.VALUES: "enum values",
    Stage.FILL: "fill rows",
    Stage.INDEX: "indexes",
    Stage.CONSTRAINT: "constraints",
    Stage.VALIDATE: "validate",
}


@dataclass(frozen=True)
class WrittenRevision:
    """One revision that was written."""

    revision: str
    message: str
    path: Path
    loses: tuple[str, ...]
    """What of the rows it loses when it is applied."""


def check_writable(app: App) -> None:
    """Raise MigrationsInvalid where no revision can be written."""
    folder = app.versions.folders[0]
    while not folder.exists():
        folder = folder.parent
    if not os.access(folder, os.W_OK):
        raise MigrationsInvalid(
            f"The folder {folder} cannot be written to.",
            hint="Make it writable, or declare an app of your own in leadctl.toml.",
        )


def write_drafts(
    app: App,
    history: History,
    message: str,
    drafts: Sequence[Draft],
    placement: RevisionPlacement = HERE,
) -> list[WrittenRevision]:
    """Write revisions behind the head of a history: several are a chain, and say which part."""
    texts = [
        RevisionText(
            _part_message(message, each.stage, number, len(drafts)),
            body(each.up, transactional=each.stage.transactional),
            body(each.down, transactional=each.stage.transactional)
            if each.down
            else _NO_WAY_BACK
            if each.no_way_back
            else _ROWS_STAY,
            tuple(losses(each.up)),
            each.safe,
            tuple(sorted({_RENAMES[len(step.renamed)] for step in each.up if step.back})),
        )
        for number, each in enumerate(drafts, 1)
    ]
    return write_revisions(app, history, texts, history.followed(placement), placement)


def _part_message(message: str, stage: Stage, number: int, count: int) -> str:
    if count == 1:
        return message
    line, newline, more = message.partition("\n")
    what = f": {_SUFFIXES[stage]}" if stage in _SUFFIXES else ""
    return f"{line.strip().rstrip('.')} ({number} of {count}{what}){newline}{more}"


def write_revisions(
    app: App,
    history: History,
    texts: Sequence[RevisionText],
    follows: Sequence[str],
    placement: RevisionPlacement = HERE,
) -> list[WrittenRevision]:
    """Write revisions, one behind the other; the first one follows `follows`.

    The history's folder is held meanwhile.  An app with an Alembic environment has them as that
    writes them: a hook there may write none, or more.  Raises MigrationsInvalid where another run
    wrote some since it was read, and where a file cannot be written.
    """
    written = []
    folder = os.open(history.folder, os.O_RDONLY)
    try:
        fcntl.flock(folder, fcntl.LOCK_EX)
        if read_history(app.versions).heads != history.heads:
            raise MigrationsInvalid(
                f"Another run has just written a revision to {history.folder}.",
                hint="Look at it, then run this again.",
            )
        for text in texts:
            revision = placement.rev_id or next_id(follows, alembic=app.environment is not None)
            if app.environment is not None:
                from leadctl.migrate.alembic_writer import write_revision  # loads Alembic

                environment, folders = app.alembic_environment, app.versions.folders
                made = write_revision(environment, folders, text, revision, follows, placement)
            else:
                about = text.message if len(follows) < 2 else "merge"
                path = history.place_behind(follows, placement) / file_name(app, revision, about)
                _write_new(path, file_text(revision, follows, text, placement))
                made = [(revision, path)]
            written += [WrittenRevision(own, text.message, path, text.loses) for own, path in made]
            follows = [written[-1].revision] if made else follows
            placement = placement.behind()
    finally:
        os.close(folder)
    return written


def _write_new(path: Path, text: str) -> None:
    if path.exists():
        raise MigrationsInvalid(f"{path} exists already.", hint="Move it out of the way.")
    try:
        write_whole(path, text, FILE_MODE)
    except OSError as error:
        raise MigrationsInvalid(
            f"Cannot write {path}: {error.strerror}.",
            hint="Check the permissions and the free space of the folder.",
        ) from None


def next_id(follows: Sequence[str] = (), *, alembic: bool = False) -> str:
    """Return the id of a revision after others, which nobody else makes on another branch.

    It is the time, to the second and later than what it follows, and four random digits.  A
    history that counts goes on counting, with such digits, and one with Alembic's ids has its own.
    """
    last = max(follows, default="")
    timed, counted = _TIMED.fullmatch(last), _COUNTED.fullmatch(last)
    if _OF_ALEMBIC.fullmatch(last) or (alembic and not (timed or counted)):
        return os.urandom(6).hex()
    mark = os.urandom(2).hex()
    if counted and not timed:
        return f"{counted['prefix']}{int(counted['number']) + 1:04d}_{mark}"
    now = datetime.now(UTC).replace(tzinfo=None)
    if timed:
        with suppress(ValueError, OverflowError):  # fourteen digits that are no time
            now = max(now, datetime.strptime(timed["time"], _TIME) + timedelta(seconds=1))
    return f"{now.strftime(_TIME)}_{mark}"


def file_name(app: App | None, revision: str, message: str) -> str:
    """Return what a revision's file is called: as Alembic's configuration has it, if the app's."""
    config = app.configuration if app and app.environment else None
    length = int((config and config.option("truncate_slug_length")) or _SLUG)
    part = part_of(message)
    about = part.about if part else message
    slug = re.sub(r"\W+", "_", about.lower()).strip("_")[:length].rstrip("_")
    slug += f"_{part.number}of{part.of}" if part else ""
    template = config and config.option("file_template")
    if config and template:
        zone = config.option("timezone")
        now = datetime.now(_zone(zone)) if zone else datetime.now()
        parts = ("year", "month", "day", "hour", "minute", "second")
        values = {part: getattr(now, part) for part in parts} | {"epoch": int(now.timestamp())}
        return f"{template % {**values, 'rev': revision, 'slug': slug}}.py"
    own_way = _TIMED.fullmatch(revision) or _OF_ALEMBIC.fullmatch(revision)
    counted = None if own_way else _COUNTED.fullmatch(revision)
    own = f"{counted['number']}{counted['mark'] or ''}" if counted else revision
    return f"{own}_{slug}.py"


def _zone(name: str) -> ZoneInfo:
    """Return a time zone, also of a name that is not written as the zone's file, as Alembic does.

    Raises MigrationsInvalid.
    """
    for each in (name, name.upper(), name.title()):
        with suppress(ZoneInfoNotFoundError, ValueError):
            return ZoneInfo(each)
    raise MigrationsInvalid(
        f"There is no time zone {name!r}, which Alembic's configuration names.",
        hint="Correct `timezone`, or install the package tzdata.",
    )


def file_text(
    revision: str, follows: Sequence[str], text: RevisionText, placement: RevisionPlacement = HERE
) -> str:
    """Return what a revision's file says.  One that joins branches follows several."""
    names = ", ".join(f'"{each}"' for each in follows)
    comments = [line for line in text.head_lines if line.startswith("#")]
    imports = [line for line in text.head_lines if not line.startswith("#")]
    parts = [*(["\n".join(comments)] if comments else []), "from alembic import op", *imports]
    more = ""
    if placement.branch_label:
        more += f"\nbranch_labels = ({_quoted(placement.branch_label)},)"
    if placement.depends_on:
        more += f"\ndepends_on = ({' '.join(f'{_quoted(each)},' for each in placement.depends_on)})"
    return _TEMPLATE.format(
        message=text.title,
        revision=revision,
        follows=", ".join(follows) or "nothing",
        created=f"{datetime.now(UTC):%Y-%m-%d %H:%M:%S}",
        imports="\n\n".join(parts),
        down=(f"({names})" if len(follows) > 1 else names or "None") + more,
        upgrade=text.upgrade,
        downgrade=text.downgrade,
    )


def body(steps: Sequence[Step], *, transactional: bool) -> str:
    """Return the body of `upgrade()` or `downgrade()`."""
    indent = "    " if transactional or not steps else "        "
    parts = [_step(step, indent) for step in steps if step.sql or step.fill]
    if not parts:
        return f"{indent}pass"
    if all(step.fill for step in steps) or transactional:
        return "\n".join(parts)
    return "\n".join(["    with op.get_context().autocommit_block():", *parts])


def _step(step: Step, indent: str) -> str:
    comment = "".join(
        wrap(line, _WIDTH, initial_indent=f"{indent}# ", subsequent_indent=f"{indent}# ") + "\n"
        for line in step.comments
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
