"""Snapshots: a file a command, with a section a format, each compared to the letter.

UPDATE_GOLDEN=1 writes the sections anew; read the difference before it is committed.
"""

import fcntl
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

EXPECTED = Path(__file__).parent / "expected"
HEADING = re.compile(r"(?m)^=== (.+)\n")
VARIANTS = {
    "60 columns": ([], {"COLUMNS": "60"}),
    "80 columns": ([], {"COLUMNS": ""}),
    "json": (["-o", "json"], {"COLUMNS": ""}),
}
"""The sections of a command that has a result: flags and variables."""
ORDER = ["60 columns", "80 columns", "200 columns", "json", "jsonl", "csv"]
"""How the sections of a file follow one another; others come after, by name."""

VOLATILE = [
    (r"\x1b\[[0-9;]*m", ""),
    (r"t_(?:\s*[0-9a-f]){12}", "DATABASE"),
    (r"127\.0\.0\.1:\d+", "HOST:PORT"),
    (r"PostgreSQL \d+[.\d]*", "PostgreSQL VERSION"),
    (r'"(server_version|value)": "\d+\.\d+[^"]*"', r'"\1": "VERSION"'),
    (r"\d{4}-\d\d-\d\dT[\d:.]+Z", "TIME"),
    (r'"day": "\d{4}-\d\d-\d\d"', '"day": "DAY"'),
    (r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\dZ", "TIME"),
    (r'"seconds": [\d.]+', '"seconds": N'),
    (r"\b\d+ (s|min) ago", "AGE"),
    (r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}", "UUID"),
    (r"[0-9a-f]{64}", "SHA256"),
    (r"\b\d{14}_[0-9a-f]{4}", "REVISION"),
    (r"[\w.-]+@[\w.-]+ pid\s+\d+", "WHO"),
    (r"\b[\d,.]+ ms\b", "N ms"),
    (r"\b\d+\.\d s\b", "N s"),
    (r"\b\d+(\.\d)? [kM]B\b", "SIZE"),
    (
        r'"(\w*bytes|duration_ms|latency_ms|connections|cache_hit|dead_rows|id|seconds'
        r'|rows_per_second)": [\d.]+',
        r'"\1": N',
    ),
    (r"[\d.]+ million in \w+", "N million in DATABASE"),
    (r'("name": "(?:latency|connections|\w+-age)",\s+"status": "ok",\s+"value": )[\d.]+', r"\1N"),
    (r"[\d,]+ a second", "N a second"),
    (r"(?m)(?<=\d  )\s*\d\.\d$", "N"),
    (r"\d+ of \d+", "N of N"),
    (r"\d+\.\d%", "N%"),
    (r"/\S*/test_\S+?(?=[\"\s])", "FOLDER"),
    (r" {2,}", "  "),
    (r"─+", "─"),
]


def stable(text: str) -> str:
    for pattern, replacement in VOLATILE:
        text = re.sub(pattern, replacement, text)
    return text


def sections(name: str) -> dict[str, str]:
    """Return what the snapshot file `name` expects, by section."""
    file = EXPECTED / f"{name}.txt"
    parts = HEADING.split(file.read_text())[1:] if file.exists() else []
    # A newline more than was shown ends each section, so that its heading begins a line.
    return {
        section: text.removesuffix("\n")
        for section, text in zip(parts[::2], parts[1::2], strict=True)
    }


def assert_snapshot(name: str, section: str, shown: str) -> None:
    """Compare what was shown with a section of the snapshot file `name`."""
    if os.environ.get("UPDATE_GOLDEN"):
        assert not HEADING.search(shown)
        with _alone():
            _write(name, sections(name) | {section: shown})
    assert sections(name).get(section) == shown


def assert_complete(folder: str, tested: set[tuple[str, str]]) -> None:
    """Compare files and sections of a folder of snapshots with those that tests ask for."""
    files = [file.relative_to(EXPECTED) for file in (EXPECTED / folder).glob("*.txt")]
    names = [str(file.with_suffix("")) for file in files]
    assert {(name, section) for name in names for section in sections(name)} == tested


def _write(name: str, texts: dict[str, str]) -> None:
    known = [section for section in ORDER if section in texts]
    file = EXPECTED / f"{name}.txt"
    file.parent.mkdir(exist_ok=True)
    file.write_text(
        "".join(
            f"=== {section}\n{texts[section]}\n"
            for section in [*known, *sorted(texts.keys() - known)]
        )
    )


@contextmanager
def _alone() -> Iterator[None]:
    """Keep the other processes of a test run from the files."""
    folder = os.open(EXPECTED, os.O_RDONLY)
    try:
        fcntl.flock(folder, fcntl.LOCK_EX)
        yield
    finally:
        os.close(folder)
