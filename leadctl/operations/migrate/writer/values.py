"""Enum values that are added in place."""

from collections.abc import Sequence

from leadctl.operations.migrate.writer.literals import literal


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
