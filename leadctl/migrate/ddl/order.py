"""Putting steps in order: what is named comes before what names it."""

import re
from collections.abc import Sequence

from leadctl.migrate.ddl.steps import Phase, Step
from leadctl.sql.lexer import Kind, tokens

_PART = r'(?:"(?:[^"]|"")*"|[^".(]+)'
_NAME = re.compile(rf"(?:{_PART}\.)?(?P<own>{_PART})")
_WORD = re.compile(r"[\w$]+")


def mentions(text: str, *, bodies: bool = False) -> set[str]:
    """Return the identifiers that a text has, inside its string literals, too.

    `bodies` takes in dollar-quoted ones: a function's body, which is looked at only when it runs.
    """
    found: set[str] = set()
    for token in tokens(text):
        if token.kind is Kind.STRING:
            if bodies or not token.text.startswith("$"):
                found.update(_WORD.findall(token.text))
        elif token.name is not None:
            found.add(token.name)
    return found


def plain(name: str) -> str:
    """Return the name behind a schema and quotes, and before a parameter list."""
    found = _NAME.match(name)
    own = found["own"] if found else name
    return own[1:-1].replace('""', '"') if own.startswith('"') else own


def in_order(steps: Sequence[Step], *, backwards: frozenset[Phase]) -> list[Step]:
    """Sort steps by phase, and within a phase by what they mention.

    In the phases of `backwards` what names others comes first: there it is dropped.
    """
    ordered: list[Step] = []
    for phase in Phase:
        there = [step for step in steps if step.phase is phase]
        found = _by_mention(there)
        ordered += reversed(found) if phase in backwards else found
    return ordered


def _by_mention(steps: list[Step]) -> list[Step]:
    needs: dict[int, set[int]] = {}
    providers: dict[str, list[int]] = {}
    for index, step in enumerate(steps):
        for name in filter(None, (step.provides, step.provides_too)):
            providers.setdefault(name, []).append(index)
    for index, step in enumerate(steps):
        needs[index] = {
            provider
            for name in mentions(step.about or step.sql)
            if name != step.provides
            for provider in providers.get(name, ())
            if provider != index
        }
    done: list[int] = []
    waiting = list(range(len(steps)))
    while waiting:
        # Where they go in a circle the first one gives way: the name meant something else.
        free = next((i for i in waiting if not needs[i] - set(done)), waiting[0])
        waiting.remove(free)
        done.append(free)
    return [steps[index] for index in done]
