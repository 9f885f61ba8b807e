"""The types that a host application's checker sees: a wrong name is an error there, too."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
RIGHT = """
import leadctl
from leadctl import Database, fill

shop: Database = leadctl.database("postgresql://localhost/shop")
applied: list[str] = [step.revision for step in shop.migrate().applied]
rows: int = fill(None, "orders", "total = 0", "total IS NULL")
release: str = leadctl.__version__
"""
WRONG = """
import leadctl
from leadctl import databse, fill

leadctl.migrate_everything()
leadctl.database().migrat()
fill("orders")
"""


def checked(text: str, folder: Path) -> list[str]:
    """Return the lines that mypy says of a program."""
    (folder / "host.py").write_text(text)
    done = subprocess.run(
        [sys.executable, "-m", "mypy", "--strict", "--no-error-summary", "--follow-imports=silent", "--cache-dir",
         ROOT / ".mypy_cache", "host.py"],
        cwd=folder, env={"MYPYPATH": str(ROOT), "PATH": ""}, capture_output=True, text=True,
        check=False,
    )  # fmt: skip
    assert done.stderr == ""
    return done.stdout.splitlines()


@pytest.mark.thorough
def test_each_misspelt_name_is_found(tmp_path: Path) -> None:
    assert checked(RIGHT, tmp_path) == []
    found = checked(WRONG, tmp_path)
    for line, name in ((3, "databse"), (5, "migrate_everything"), (6, "migrat"), (7, "fill")):
        assert any(f"host.py:{line}: error" in said and name in said for said in found), found
