"""What the writing half of migrate prints and writes, to the letter, per format and width."""

import re
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.conftest import Cli
from tests.golden.snapshots import VARIANTS, assert_complete, assert_snapshot, sections, stable
from tests.processes import run
from tests.servers import Server

FIRST = """\
from sqlalchemy import *
metadata = MetaData()
mood = Enum("sad", "happy", name="mood", metadata=metadata)
Table("users", metadata, Column("id", Integer, primary_key=True), Column("name", Text),
      Column("mood", mood), Column("age", Integer), Column("tel", Text))
Table("posts", metadata, Column("id", BigInteger, Identity(), primary_key=True),
      Column("author", ForeignKey("users.id", ondelete="CASCADE"), index=True),
      Column("title", Text, nullable=False, unique=True), comment="What was said")
"""
SECOND = (
    FIRST.replace('"name"', '"full_name"')
    .replace('"happy"', '"happy", "calm"')
    .replace('Column("mood", mood)', 'Column("mood", mood, server_default="calm")')
    .replace('Column("age", Integer)', 'Column("age", Integer, CheckConstraint("age > 0"))')
    .replace(
        ', Column("tel", Text))',
        ', Column("key", Uuid, nullable=False, unique=True,'
        ' server_default=text("gen_random_uuid()")))',
    )
)
BY_HAND = (
    "ALTER TABLE users ALTER age TYPE bigint",
    "DROP INDEX ix_posts_author",
    "ALTER TYPE mood ADD VALUE 'late'",
    "CREATE VIEW titles AS SELECT title FROM posts",
)
NEXT = ["migrate", "new", "-m", "Moods", "--rename", "users.name:full_name"]

COMMANDS = {
    "check_agreed": ["migrate", "check"],
    "drift_none": ["migrate", "drift"],
    "new_nothing": ["migrate", "new", "-m", "Nothing"],
    "down_refused": ["migrate", "down"],
    "rehearse": ["migrate", "down", "--rehearse"],
    "merge_nothing": ["migrate", "new", "--merge"],
}
CHANGED = {
    "check_models": ["migrate", "check"],
    "diff": ["migrate", "diff"],
    "new_refused": ["migrate", "new", "-m", "Moods"],
    "new": NEXT,
    "dev": ["migrate", "dev", *NEXT[2:]],
    "push_refused": ["db", "push"],
    "push": ["db", "push", "--yes"],
}
DRIFTED = {
    "drift": ["migrate", "drift"],
    "adopt": ["migrate", "resolve", "--adopt-drift", "-m", "By hand"],
}
SCENARIOS = {**COMMANDS, **CHANGED, **DRIFTED}


class Migrated(NamedTuple):
    """A project whose first models are migrated."""

    folder: Path
    database: str


@pytest.fixture(scope="module")
def migrated(server: Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Migrated]:
    """A project and a database with the first models migrated, made once, to be copied."""
    folder, database = tmp_path_factory.mktemp("migrated"), server.create()
    (folder / "leadctl.toml").write_text(
        'app = "own"\n[apps.own]\nmodels = "own_models:metadata"\n'
    )
    (folder / "migrations").mkdir()
    models(folder, FIRST)
    done = run(
        "migrate", "dev", "-m", "First", env={"DATABASE_URL": server.url(database)}, cwd=folder
    )
    assert done.returncode == 0, done.stderr
    yield Migrated(folder, database)
    server.drop(database)


@pytest.fixture
def database(server: Server, migrated: Migrated) -> Iterator[str]:
    """The name of a copy of that database."""
    name = server.create(migrated.database)
    yield name
    server.drop(name)


@pytest.fixture
def url(
    tmp_path: Path,
    server: Server,
    database: str,
    migrated: Migrated,
    monkeypatch: pytest.MonkeyPatch,
) -> str:
    """The address of the copy; the project's is the current folder."""
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setattr("leadctl.text.ago", lambda _: "1 s ago")
    shutil.copytree(migrated.folder, tmp_path, dirs_exist_ok=True)
    models(tmp_path, FIRST)
    return server.url(database)


def models(folder: Path, text: str) -> None:
    for cached in folder.glob("__pycache__/own_models*"):
        cached.unlink()
    sys.modules.pop("own_models", None)
    (folder / "own_models.py").write_text(text)


def check(name: str, section: str, shown: str) -> None:
    shown = re.sub(r"Created: [\d: -]+", "Created: TIME", shown)
    assert_snapshot(f"writing/{name}", section, with_stable_ids(shown))


def with_stable_ids(text: str, among: str = "") -> str:
    """Count the revisions of a text, or of a longer one: their ids are of this run."""
    ids = sorted(set(re.findall(r"\b\d{14}_[0-9a-f]{4}", among or text)))
    for number, each in enumerate(ids, 1):
        text = text.replace(each, f"202601010000{number:02}_0000")
    return text


@pytest.mark.few(19)
@pytest.mark.parametrize("section", VARIANTS)
@pytest.mark.parametrize("name", SCENARIOS)
def test_output(
    url: str, server: Server, database: str, cli: Cli, tmp_path: Path, name: str, section: str
) -> None:
    if name in CHANGED:
        models(tmp_path, SECOND)
    if name in DRIFTED:
        with server.connect(database) as connection:
            for statement in BY_HAND:
                connection.execute(statement)
    flags, env = VARIANTS[section]
    outcome = cli(*SCENARIOS[name], *flags, url=url, env=env)
    if section == "60 columns":
        # A path is one word, which is never broken.
        assert all(len(line) <= 60 or " " not in line for line in outcome.out.splitlines())
    shown = stable(f"{outcome.out}--- exit {int(outcome.code)}\n{outcome.err}")
    check(name, section, shown)


def test_the_files_that_are_written(url: str, cli: Cli, tmp_path: Path) -> None:
    models(tmp_path, SECOND)
    assert cli(*NEXT, url=url).code == 0
    written = sorted((tmp_path / "migrations").glob("*.py"))
    names = "\n".join(path.name for path in written)
    for path in written:
        name, text = (with_stable_ids(each, names) for each in (path.name, path.read_text()))
        check("revisions", name, text)
    assert with_stable_ids(names).split("\n") == sorted(sections("writing/revisions"))


def test_sql_that_turns_one_into_the_other(url: str, cli: Cli, tmp_path: Path) -> None:
    models(tmp_path, SECOND)
    check("diff", "sql", cli("migrate", "diff", "-o", "sql", url=url).out)


def test_nothing_else_is_expected() -> None:
    tested = {(name, section) for name in SCENARIOS for section in VARIANTS}
    tested |= {("diff", "sql"), *(("revisions", name) for name in sections("writing/revisions"))}
    assert_complete("writing", {(f"writing/{name}", section) for name, section in tested})
