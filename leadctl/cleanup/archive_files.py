"""The manifest of an archive: which files it has, what is in them, and where it came from."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from leadctl.errors import ArchiveDamaged
from leadctl.files import sync_folder, write_private

NAME = "manifest.json"
_FORMAT = "leadctl archive 1"


@dataclass(frozen=True)
class Segment:
    """One file: the rows of one batch, by table."""

    file: str
    bytes: int
    sha256: str
    rows: Mapping[str, int]


@dataclass(frozen=True)
class Manifest:
    """What one run of a rule archived."""

    app: str
    database: str
    schema: str
    rule: str
    table: str
    cutoff: str
    place: str
    """The database, so that the transaction ids in the names of files mean something."""
    columns: Mapping[str, Mapping[str, str]]
    """The types of the columns, by table."""
    segments: tuple[Segment, ...] = ()
    format: str = field(default=_FORMAT)

    def with_segment(self, segment: Segment) -> "Manifest":
        """Return it with one more file."""
        return replace(self, segments=(*self.segments, segment))

    def without(self, file: str) -> "Manifest":
        """Return it without a file."""
        kept = tuple(segment for segment in self.segments if segment.file != file)
        return replace(self, segments=kept)

    def write(self, folder: Path) -> None:
        """Write it in place of the one that is there, so that there is always a whole one."""
        partial = folder / f"{NAME}.partial"
        write_private(partial, json.dumps(asdict(self), indent=1, ensure_ascii=False))
        partial.replace(folder / NAME)
        sync_folder(folder)


def read_manifest(folder: Path) -> Manifest:
    """Read the manifest of a folder.  Raises ArchiveDamaged where there is none to be read."""
    path = folder / NAME
    try:
        values: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        segments = tuple(Segment(**segment) for segment in values.pop("segments"))
        found = Manifest(**values, segments=segments)
    except FileNotFoundError:
        raise ArchiveDamaged(
            f"{folder} is no folder of an archive: it has no {NAME}.",
            hint="Name the folder that cleanup said, its manifest or one of its files.",
        ) from None
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise ArchiveDamaged(
            f"{path} is not the manifest of an archive: {error}.",
            hint="Name the manifest, the folder or a file of an archive that cleanup made.",
        ) from None
    if found.format != _FORMAT:
        raise ArchiveDamaged(
            f"{path} is of the format {found.format!r}; this leadctl reads {_FORMAT!r}.",
            hint="Update leadctl: pip install --upgrade leadctl",
        )
    return found
