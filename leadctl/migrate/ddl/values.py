"""Enum values that are added in place, and when."""

import re
from collections.abc import Sequence

from leadctl.migrate.ddl.literals import literal
from leadctl.migrate.ddl.steps import Phase, Stage, Step
from leadctl.sql.lexer import Kind, tokens

_ADDED = re.compile(r"ALTER TYPE .* ADD VALUE '(?P<value>(?:[^']|'')*)'")


def added(name: str, before: Sequence[str], after: Sequence[str]) -> list[tuple[str, str]] | None:
    """Return each new value with the statement that adds it; None where others go or move."""
    if [value for value in after if value in before] != list(before):
        return None
    statements = []
    for index, value in enumerate(after):
        if value in before:
            continue
        following = [each for each in after[index:] if each in before]
        place = f" BEFORE {literal(following[0])}" if following else ""
        statements.append((value, f"ALTER TYPE {name} ADD VALUE {literal(value)}{place}"))
    return statements


def staged(steps: list[Step]) -> list[Step]:
    """Put an enum's new values into the first stage where another step may use one of them."""
    found = []
    for step in steps:
        added = _ADDED.match(step.sql)
        if added and any(_uses(each, added["value"]) for each in steps):
            why = "A value that was just added cannot be used in the same transaction."
            step = Step(step.sql, step.phase, step.provides, why=why, stage=Stage.VALUES)
        found.append(step)
    return sorted(found, key=lambda step: step.stage)


def _uses(step: Step, value: str) -> bool:
    """Whether a statement has a value in one of its texts: alone, in an array or in a body."""
    if step.phase is Phase.COMMENT or _ADDED.match(step.sql):
        return False
    whole = re.compile(rf"(?<!\w){re.escape(value)}(?!\w)")
    return any(token.kind is Kind.STRING and whole.search(token.text) for token in tokens(step.sql))
