"""Files that appear whole or not at all, and stay."""

import os
from pathlib import Path


def write_whole(path: Path, text: str, mode: int) -> None:
    """Write a text file under another name, then rename it.  Raises OSError."""
    partial = path.with_name(f".{path.name}.partial")
    partial.unlink(missing_ok=True)
    descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(text)
    partial.replace(path)


def sync_folder(folder: Path) -> None:
    """Make the names in a folder durable.  Raises OSError."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
