"""The statements of a change, in order: when each comes, what it loses, in which revision."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from enum import IntEnum
from hashlib import sha256
from itertools import groupby

from psycopg import sql

from leadctl.catalog.definitions import split_name
from leadctl.errors import OperationFailed
from leadctl.postgres import LONGEST_NAME
from leadctl.sql.lexer import Kind, tokens
from leadctl.text import unquoted

_PART = r'(?:"(?:[^"]|"")*"|[^".(]+)'
_NAME = re.compile(rf"(?:{_PART}\.)?(?P<own>{_PART})")
_WORD = re.compile(r"[\w$]+")
_QUOTED = re.compile(r'"((?:[^"]|"")+)"')
_ADDED_VALUE = re.compile(r"ALTER TYPE .* ADD VALUE '(?P<value>(?:[^']|'')*)'")


UNCHECKED_BODIES = "SET LOCAL check_function_bodies = off"
"""Lets a function's text name what is made after it, as pg_dump's scripts do."""


class Phase(IntEnum):
    """The order within a revision, where what uses what leaves it open."""

    RENAME = 0
    DROP_DEPENDENT = 1
    """Views, policies, triggers, foreign keys: what rests on keys."""
    DROP_KEY = 2
    """Keys, checks, indexes, and functions that are recreated."""
    DEFINE = 3
    """Types, functions, sequences, tables, columns."""
    DROP = 4
    """Columns and tables."""
    KEY = 5
    """Primary keys, uniques, exclusions: what foreign keys and views rest on."""
    INDEX = 6
    CONSTRAINT = 7
    """Foreign keys and checks."""
    DEPENDENT = 8
    """Views, policies, triggers, statistics."""
    DROP_DEFINITION = 9
    """Sequences, functions, types."""
    COMMENT = 10


class Stage(IntEnum):
    """The revision that a statement belongs in, where one transaction would not do."""

    VALUES = 0
    """Enum values that the next stage uses: PostgreSQL refuses both in one transaction."""
    MAIN = 1
    FILL = 2
    """Rows, in batches that commit by themselves."""
    INDEX = 3
    """Indexes, built CONCURRENTLY, outside a transaction."""
    CONSTRAINT = 4
    """Constraints that rest on those indexes or those rows."""
    VALIDATE = 5
    """What was added NOT VALID is held against the rows, while others write."""
    NOT_NULL = 6
    """NOT NULL, which a validated CHECK spares the scan; at the end of the same transaction."""

    @property
    def of_revision(self) -> "Stage":
        """The stage that names the revision: two that fit one transaction at any size share it."""
        return Stage.VALIDATE if self is Stage.NOT_NULL else self

    @property
    def transactional(self) -> bool:
        """Whether it runs in the revision's transaction."""
        return self not in {Stage.FILL, Stage.INDEX}


@dataclass(frozen=True)
class Fill:
    """Rows to be filled in batches: `assignment` is set where `where` holds."""

    table: str
    assignment: str
    where: str


@dataclass(frozen=True)
class Step:
    """One statement."""

    sql: str
    phase: Phase
    makes: tuple[str, ...] = ()
    """The keys of what is as it should be once this is done."""
    ends: tuple[str, ...] = ()
    """The keys of what is no longer as it was."""
    needs: tuple[str, ...] = ()
    """The keys of what must be made before, besides what it uses."""
    loses: str = ""
    """What of the rows goes, in words."""
    why: str = ""
    """Why it is written like that, or what to look at first."""
    stage: Stage = Stage.MAIN
    fill: Fill | None = None
    """Instead of a statement: rows to be filled by the helper for that."""
    requires: tuple[str, str] | None = None
    """The table and the column of it that must have a value in each row, once this is done."""
    nullable: str = ""
    """The statement that makes a required column without that, for rows to be filled first."""
    renamed: tuple[str, ...] = ()
    """A table and its new name, or a table, a column of it and that one's new name."""
    back: "Step | None" = None
    """The way back of a rename, which no comparison could tell."""

    @property
    def comments(self) -> list[str]:
        """What people should read before they run it."""
        return [*([f"Loses {self.loses}."] if self.loses else []), *filter(None, [self.why])]


BACKWARDS = {Phase.DROP_DEPENDENT, Phase.DROP_KEY, Phase.DROP, Phase.DROP_DEFINITION}
"""Phases that drop: what comes last by name goes first."""


def values_first(steps: Sequence[Step]) -> Iterator[Step]:
    """Put an enum's new values into the first stage if another step may use one of them."""
    for step in steps:
        added = _ADDED_VALUE.match(step.sql)
        if added and any(_uses_value(each, added["value"]) for each in steps):
            why = "A value that was just added cannot be used in the same transaction."
            step = replace(step, why=why, stage=Stage.VALUES)
        yield step


def refuse_values_at_once(steps: Sequence[Step]) -> None:
    """Raise OperationFailed where one transaction would add a value of an enum, and use it.

    A scratch schema does not tell: there the type is new itself.
    """
    for step in steps:
        added = step.stage is Stage.VALUES and _ADDED_VALUE.match(step.sql)
        if added and any(_uses_value(each, added["value"]) for each in steps if not _code(each)):
            raise OperationFailed(
                f"{step.sql} and what uses the value cannot be one transaction.",
                hint="Write them in two revisions.",
            )


def _code(step: Step) -> bool:
    return step.sql.startswith(("CREATE OR REPLACE FUNCTION", "CREATE OR REPLACE PROCEDURE"))


def _uses_value(step: Step, value: str) -> bool:
    """Whether a statement has a value in one of its texts: alone, in an array or in a body."""
    if step.phase is Phase.COMMENT or _ADDED_VALUE.match(step.sql):
        return False
    word = re.compile(rf"(?<!\w){re.escape(value)}(?!\w)")
    return any(token.kind is Kind.STRING and word.search(token.text) for token in tokens(step.sql))


def as_script(steps: Sequence[Step]) -> str:
    """Return steps as a script for psql, with comments; it ends at the first error.

    Each stage is a transaction, where it may be one.
    """
    lines = ["\\set ON_ERROR_STOP on"]
    for stage, group in groupby(steps, key=lambda step: step.stage):
        inside = map(_as_lines, group)
        lines += ["BEGIN;", *inside, "COMMIT;"] if stage.transactional else inside
    return "\n".join(lines) if steps else ""


def _as_lines(step: Step) -> str:
    comments = "".join(f"-- {line}\n" for line in step.comments)
    if step.fill is None:
        return f"{comments}{step.sql};"
    once = f"UPDATE {step.fill.table} SET {step.fill.assignment} WHERE {step.fill.where};"  # noqa: S608
    return f"{comments}-- At once; a revision of leadctl migrate new does it in batches.\n{once}"


def losses(steps: Sequence[Step]) -> list[str]:
    """Return what the steps lose, in words."""
    return [step.loses for step in steps if step.loses]


def mentions(text: str) -> set[str]:
    """Return the identifiers that a text has, inside its string literals, too.

    Not those in dollar quotes: a function's body is looked at only when it runs.
    """
    found: set[str] = set()
    for token in tokens(text):
        if token.kind is Kind.STRING and not token.text.startswith("$"):
            found.update(_WORD.findall(token.text))
            found.update(each.replace('""', '"') for each in _QUOTED.findall(token.text))
        elif token.name is not None:
            found.add(token.name)
    return found


def plain(name: str) -> str:
    """Return the name behind a schema and quotes, and before a parameter list."""
    found = _NAME.match(name)
    return unquoted(found["own"] if found else name)


def literal(value: str) -> str:
    """Return a text as an SQL literal."""
    return sql.Literal(value).as_string(None).strip()


def suffixed(name: str, suffix: str) -> str:
    """Return another name for something, as SQL has it: the name with a suffix, cut to length.

    What is cut is told by a digest, so that two long names stay two.
    """
    own = split_name(name)[-1]
    short = plain(own).encode()
    if len(short) > LONGEST_NAME - len(suffix):
        mark = f"_{sha256(short).hexdigest()[:8]}"
        short = short[: LONGEST_NAME - len(suffix) - len(mark)] + mark.encode()
    return f"{name.removesuffix(own)}{identifier(short.decode(errors='ignore') + suffix)}"


def aside(name: str) -> str:
    """Return the name that something has until it is dropped, since another takes its own."""
    return suffixed(name, "__old")


def identifier(name: str) -> str:
    """Return a name as an SQL identifier, without quotes where it needs none."""
    plainly = name.isidentifier() and name == name.lower() and name.isascii()
    return name if plainly else sql.Identifier(name).as_string(None)
