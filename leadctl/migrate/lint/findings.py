"""A finding, and the comments of a revision that silence a rule."""

import re
from dataclasses import dataclass
from pathlib import Path

_ALLOW = re.compile(
    r"^[ \t]*#[ \t]*leadctl:[ \t]*allow[ \t]+(?P<rule>[\w-]+)[ \t]+(?P<reason>\S.*)$", re.MULTILINE
)


@dataclass(frozen=True)
class Finding:
    """Something dangerous in a revision."""

    rule: str
    message: str
    hint: str
    statement: int | None = None
    """Which statement of the revision, counted from 1; None for the revision as a whole."""
    allowed: str | None = None
    """The reason why it is allowed, where it is."""


def allowances(path: Path) -> dict[str, str]:
    """Return the rules that a revision's file silences, with the reasons.

    It does so by a line of its own, `# leadctl: allow RULE the reason`; one without a reason
    silences nothing.
    """
    text = path.read_text(encoding="utf-8")
    return {found["rule"]: found["reason"].strip() for found in _ALLOW.finditer(text)}
