"""What somebody meets first: no line that installs a stranger's package, one version, true bounds."""

import re
import tomllib
from collections.abc import Iterator
from pathlib import Path

from leadctl.version import __version__

ROOT = Path(__file__).parents[2]
PAGES = [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), ROOT / ".env.example"]


def texts() -> Iterator[tuple[Path, str]]:
    for path in (*PAGES, *(ROOT / "leadctl").rglob("*.py"), *(ROOT / "migrations").rglob("*.py")):
        yield path, path.read_text()


def test_nothing_installs_a_package_by_our_name() -> None:
    """The name is not ours on any index: a path, a wheel or the names of what is needed."""
    by_name = re.compile(
        r"(?:pip|pipx|uv)[^\n`]* (?:install|add|run)[^\n`]*[ '\"]leadctl\b(?![-/.])"
    )
    found = [f"{path.name}: {hit[0]}" for path, text in texts() for hit in by_name.finditer(text)]
    assert found == []
    assert by_name.search("pip install --upgrade 'leadctl[embedded]'")
    assert not by_name.search("pipx install './dist/leadctl-0.1.0-py3-none-any.whl[embedded]'")


def test_the_pages_name_the_version_that_is() -> None:
    assert f"leadctl-{__version__}-py3-none-any.whl" in (ROOT / "README.md").read_text()
    versions = re.findall(r"^## (\S+)(?: \((.+)\))?$", (ROOT / "CHANGELOG.md").read_text(), re.M)
    assert versions[0] == ("Unreleased", "")
    assert [version for version, date in versions if not date] == ["Unreleased"]
    assert __version__ in [version for version, _ in versions]


def test_every_dependency_has_a_lower_bound_and_is_locked() -> None:
    with (ROOT / "pyproject.toml").open("rb") as file:
        content = tomllib.load(file)
    project, groups = content["project"], content["dependency-groups"]
    extras = project["optional-dependencies"]
    needed = [
        each
        for some in (project["dependencies"], *extras.values(), *groups.values())
        for each in some
    ]
    locked = {
        line.partition("==")[0].lower().replace("_", "-")
        for line in (ROOT / "requirements.lock").read_text().splitlines()
    }
    for each in needed:
        name = re.match(r"[\w-]+", each)
        assert name is not None
        if name[0] != "leadctl":
            assert ">=" in each
            assert name[0].lower() in locked, each
