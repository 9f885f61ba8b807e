"""Writing a project's files: each is new, or it stays as it is."""

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from leadctl.errors import AlreadyDeclared


@dataclass(frozen=True)
class WrittenFile:
    """A file of the project."""

    path: Path
    state: str
    """ "written", "extended" or "kept"."""
    what: str


@dataclass
class Files:
    """What an init writes; nothing is written before everything is known to be possible."""

    root: Path
    _planned: list[tuple[Path, str, str]] = field(default_factory=list)
    _kept: list[WrittenFile] = field(default_factory=list)
    _extended: list[tuple[Path, str, str]] = field(default_factory=list)

    def new(self, path: Path, content: str, what: str) -> None:
        """Plan a file.  Raises AlreadyDeclared where it exists."""
        if path.exists():
            raise AlreadyDeclared(
                f"{path} exists, and init overwrites nothing.",
                hint="Move it away, or declare the app in leadctl.toml by hand.",
            )
        self._planned.append((path, content, what))

    def keep(self, path: Path, what: str) -> None:
        """Say that a file or folder is used as it is."""
        self._kept.append(WrittenFile(path, "kept", what))

    def extend(self, path: Path, lines: Sequence[str], what: str) -> None:
        """Plan lines for the end of a file, which may be missing."""
        if lines:
            self._extended.append((path, "".join(f"{line}\n" for line in lines), what))

    def write(self) -> list[WrittenFile]:
        """Write what was planned, and return all files in order."""
        written = list(self._kept)
        for path, content, what in self._planned:
            path.parent.mkdir(parents=True, exist_ok=True)
            with path.open("x", encoding="utf-8") as file:
                file.write(content)
            written.append(WrittenFile(path, "written", what))
        for path, content, what in self._extended:
            existed = path.exists()
            if not existed:  # it is for secrets, or will be
                os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
            before = path.read_text(encoding="utf-8")
            gap = "\n" if before and not before.endswith("\n") else ""
            with path.open("a", encoding="utf-8") as file:
                file.write(gap + content)
            written.append(WrittenFile(path, "extended" if existed else "written", what))
        return written


def join(lines: Iterable[str]) -> str:
    """Return lines as a file's content."""
    return "".join(f"{line}\n" for line in lines)
