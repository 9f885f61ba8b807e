"""Writing reports to a folder, for a ticket."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from leadctl.files import write_whole
from leadctl.inspect.run import Inspection, InspectReport

_MODE = 0o600
SUFFIXES = {"table": "txt", "json": "json", "csv": "csv"}


@dataclass(frozen=True)
class Written:
    """The files that reports were written to; `skipped` are the reports that could not be asked."""

    folder: Path
    files: tuple[str, ...]
    skipped: tuple[str, ...]


def write(
    inspection: Inspection, folder: Path, suffix: str, text_of: Callable[[InspectReport], str]
) -> Written:
    """Write each report to a file of its own that only its owner may read: queries hold data.

    Replaces files of an earlier run.  Raises OSError.
    """
    folder.mkdir(parents=True, exist_ok=True)
    files = []
    for report in inspection.reports:
        name = f"{report.report}.{suffix}"
        write_whole(folder / name, text_of(report), _MODE)
        files.append(name)
    return Written(
        folder=folder,
        files=tuple(files),
        skipped=tuple(report.report for report in inspection.reports if report.skipped),
    )
