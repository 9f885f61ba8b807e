"""`.env.example` lists every variable, with a comment."""

import re
from dataclasses import fields
from pathlib import Path

from leadctl.settings import Settings

LINES = (Path(__file__).parents[2] / ".env.example").read_text().splitlines()


def test_every_variable_is_listed_once_with_a_comment() -> None:
    listed = [
        (number, found[1])
        for number, line in enumerate(LINES)
        if (found := re.match(r"# ([A-Z_]+)=", line))
    ]
    declared = [field.metadata["variable"] for field in fields(Settings) if field.metadata]
    assert sorted(name for _, name in listed) == sorted(declared)
    for number, _ in listed:
        above = LINES[number - 1]
        assert above.startswith("# "), above
