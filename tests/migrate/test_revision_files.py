"""Which revisions a folder has is what Alembic finds there, however they are written."""

from pathlib import Path

import pytest
from alembic.config import Config
from alembic.runtime.environment import EnvironmentContext
from alembic.script import ScriptDirectory
from sqlalchemy import create_engine

from leadctl.apps.alembic_config import VersionLocations
from leadctl.apps.registry import builtin_migrations
from leadctl.errors import MigrationsInvalid
from leadctl.migrate import revision_files
from leadctl.migrate.revision import Revision
from leadctl.migrate.revisions import read_history
from tests.conftest import Cli
from tests.history import Project
from tests.servers import Server

BODY = "\n\ndef upgrade():\n    pass\n\n\ndef downgrade():\n    pass\n"
FORMS = {
    "plain": 'revision = "r1"\ndown_revision = None',
    "typed": "from typing import Union\nrevision: str = 'r1'\ndown_revision: Union[str, None] = None",
    "a BOM": '\ufeffrevision = "r1"\ndown_revision = None',
    "a BOM and CRLF": '\ufeffrevision = "r1"\r\ndown_revision = None',
    "parentheses": 'revision = ("r1")\ndown_revision = (None)',
    "a name": 'REV = "r1"\nrevision = REV\ndown_revision = None',
    "an f-string": 'N = "1"\nrevision = f"r{N}"\ndown_revision = None',
    "joined": 'revision = "r" + "1"\ndown_revision = None',
    "two lines": 'revision = (\n    "r"\n    "1"\n)\ndown_revision = None',
    "at once": 'revision, down_revision = "r1", None',
    "chained": 'id = revision = "r1"\ndown_revision = None',
    "an escape": 'revision = "r\\x31"\ndown_revision = None',
    "twice": 'revision = "r0"\nrevision = "r1"\ndown_revision = None',
    "in a docstring first": '"""Revision\nrevision = "other"\n"""\nrevision = "r1"\ndown_revision = None',
    "computed": 'revision = "1r"[::-1]\ndown_revision = None',
    "computed by its name": "from pathlib import Path\nrevision = Path(__file__).stem\ndown_revision = None",
    "a condition": 'if True:\n    revision = "r1"\n    down_revision = None',
    "grown": 'revision = "r"\nrevision += "1"\ndown_revision = None',
    "put right by a condition": 'revision = "r1"\ndown_revision = "gone"\nif True:\n    down_revision = None',
    "in a docstring only": '"""\nrevision = "other"\n"""\nif True:\n    revision = "r1"\n    down_revision = None',
    "a loop": 'revision = "r0"\nfor revision in ["r1"]:\n    down_revision = None',
    "by its dictionary": 'revision = "r0"\nglobals()["revision"] = "r1"\ndown_revision = None',
    "of another module": "from {shared} import *",
    "a function's": 'revision = "r0"\ndef name():\n    global revision\n    revision = "r1"\nname()\ndown_revision = None',
    "an old encoding": '# -*- coding: latin-1 -*-\nAUTHOR = "J\xf6rg"\nrevision = "r1"\ndown_revision = None',
}  # fmt: skip


def alembic(folder: Path) -> ScriptDirectory:
    return ScriptDirectory(str(builtin_migrations()), version_locations=[str(folder)])


@pytest.mark.parametrize("form", FORMS)
def test_every_form_is_read(
    tmp_path: Path,
    form: str,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    path = tmp_path / "r1.py"
    text, shared = FORMS[form] + BODY, tmp_path_factory.mktemp("shared")
    if "{shared}" in text:
        monkeypatch.syspath_prepend(shared)
        (shared / f"{shared.name}.py").write_text(FORMS["plain"] + BODY)
        text = FORMS[form].format(shared=shared.name)
    path.write_bytes(text.encode("latin-1" if "latin-1" in text else "utf-8"))
    (witness,) = alembic(tmp_path).walk_revisions()
    (found,) = read_history(VersionLocations((tmp_path,))).revisions
    assert (found.id, found.down) == (witness.revision, ()) == ("r1", ())


@pytest.mark.parametrize(
    "text",
    ['import not_there\nrevision = f"{not_there.x}"', "revision = 1 / 0", "revision = None", ""],
)
def test_what_cannot_be_read_is_never_passed_over(tmp_path: Path, text: str) -> None:
    (tmp_path / "r1.py").write_text(text + BODY)
    with pytest.raises(MigrationsInvalid, match=r"r1\.py"):
        read_history(VersionLocations((tmp_path,)))


@pytest.mark.parametrize(
    "text",
    ['revision = "r1"', 'revision = "r" + "1"', 'revision = "r1"\ndown_revision: str',
     'revision = "r1"\n# down_revision = None', '"""down_revision = None"""\nrevision = "r1"'],
)  # fmt: skip
def test_what_a_file_follows_is_not_guessed(tmp_path: Path, text: str) -> None:
    """As a first revision it would begin a second history."""
    (tmp_path / "r1.py").write_text(text + BODY)
    with pytest.raises(AttributeError, match="down_revision"):
        list(alembic(tmp_path).walk_revisions())
    with pytest.raises(MigrationsInvalid, match=r"r1\.py does not say which"):
        read_history(VersionLocations((tmp_path,)))


def test_a_file_that_is_no_revision_is_passed_over(tmp_path: Path) -> None:
    (tmp_path / "helpers.py").write_text("def helper():\n    pass\n")
    assert read_history(VersionLocations((tmp_path,))).revisions == []


@pytest.mark.parametrize("recursive", [False, True])
def test_what_alembic_does_not_look_at(tmp_path: Path, recursive: bool) -> None:
    """Packages, what Python caches, and the lock that an editor lays beside a file."""
    for name in ["r1", "__init__", "__init___r2", "__pycache__/r3", ".#r4", "_r5", "~r6"]:
        path = tmp_path / f"{name}.py"
        path.parent.mkdir(exist_ok=True)
        path.write_text(f'revision = "{path.stem}"\ndown_revision = None' + BODY)
    (tmp_path / ".#r7.py").symlink_to("me@host.4711")
    witness = ScriptDirectory(
        str(builtin_migrations()),
        version_locations=[str(tmp_path)],
        recursive_version_locations=recursive,
    )
    ids = {each.revision for each in witness.walk_revisions()}
    found = read_history(VersionLocations((tmp_path,), recursive=recursive)).revisions
    assert {each.id for each in found} == ids == {"r1", "_r5", "~r6"}


def test_plain_files_are_not_parsed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing pending is found out quickly, of hundreds of files."""
    monkeypatch.setattr(revision_files, "_by_syntax", None)
    text = FORMS["typed"] + "\nbranch_labels: Union[str, None] = None\ndepends_on = None  # none"
    (tmp_path / "r1.py").write_text(text + BODY)
    assert [each.id for each in read_history(VersionLocations((tmp_path,))).revisions] == ["r1"]


def write(folder: Path, name: str, down: object, statement: str, **more: object) -> None:
    lines = [f"{key} = {value!r}" for key, value in {"down_revision": down, **more}.items()]
    (folder / f"{name.split('/')[0]}.py").write_text(
        f'"""x"""\nfrom alembic import op\nrevision = "{name.split("/")[-1]}"\n'
        + "\n".join(lines)
        + f"\n\n\ndef upgrade():\n    op.execute({statement!r})\n\n\ndef downgrade():\n    pass\n"
    )


def between_roots(folder: Path) -> None:
    write(folder, "0_b1/b1", None, "CREATE TABLE b (id int)", depends_on="a1", branch_labels=("b",))
    write(folder, "a1", None, "CREATE TABLE a (id int)")


def by_label(folder: Path) -> None:
    write(folder, "0_b1/b1", None, "ALTER TABLE a ADD x int", depends_on=("first",))
    write(folder, "a1", None, "CREATE TABLE a (id int)", branch_labels="first")


def across_branches(folder: Path) -> None:
    write(folder, "a1", None, "CREATE TABLE a (id int)")
    write(folder, "1_a2/a2", "a1", "ALTER TABLE b ADD x int", depends_on="b1")
    write(folder, "9_b1/b1", "a1", "CREATE TABLE b (id int)")
    write(folder, "m1", ("a2", "b1"), "CREATE TABLE m (id int)")


def then_one_more(folder: Path) -> None:
    across_branches(folder)
    write(folder, "z1", "m1", "CREATE TABLE z (id int)", depends_on="a1")


@pytest.mark.few(2)
@pytest.mark.parametrize("history", [between_roots, by_label, across_branches, then_one_more])
def test_what_others_depend_on(
    history: object, project: Project, server: Server, database: str, cli: Cli
) -> None:
    """It is applied and recorded once, and the database is where plain Alembic ends."""
    assert callable(history)
    folder = project.migrations
    history(folder)
    url = server.url(database)
    planned = cli("migrate", "--plan", "-o", "json", url=url).json["revisions"]
    outcome = cli("migrate", "-o", "json", url=url)
    assert outcome.code == 0, outcome.err
    applied = [each["revision"] for each in outcome.json["applied"]]
    assert applied == [each["revision"] for each in planned]
    assert len(applied) == len(set(applied)) == len(list(folder.glob("*.py")))
    assert cli("migrate", "status", url=url).code == 0
    assert cli("migrate", "-o", "json", url=url).json["applied"] == []

    other = server.create()
    engine = create_engine(server.url(other).replace("postgresql:", "postgresql+psycopg:"))
    script = alembic(folder)
    with (
        engine.begin() as connection,
        EnvironmentContext(
            Config(), script, fn=lambda at, _: script._upgrade_revs("heads", at)
        ) as environment,
    ):
        environment.configure(connection=connection)
        environment.run_migrations()
    engine.dispose()
    with server.connect(other) as ours, server.connect(database) as theirs:
        query = "SELECT version_num FROM alembic_version ORDER BY 1"
        assert theirs.execute(query).fetchall() == ours.execute(query).fetchall()
    server.drop(other)


ALONE = """
from typing import Sequence, Union
from collections.abc import Iterable

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql as pg


def upgrade():
    with op.get_context().autocommit_block():
        op.execute(sa.text("SELECT 1"))
"""


@pytest.mark.parametrize(
    ("line", "alone"),
    [
        ("", True),
        ("import os", False),
        ("import sqlalchemy, datetime", False),
        ("from . import helper", False),
        ("from .helper import text", False),
        ("from app.models import Base", False),
        ("from alembic import context", False),
        ("import alembic", False),
        ("from alembic import op, context", False),
        ("import sqlalchemy_utils", False),
        ("text = open('x.sql').read()", False),
        ("__import__('os')", False),
        ("getattr(op, 'get_' + 'bind')", False),
        ("here = __file__", False),
        ("op.get_context().config.get_main_option('x')", False),
        ("sa.create_engine('postgresql:///other')", False),
        ("def broken(", False),
    ],
)
def test_a_file_that_alone_says_what_it_does(line: str, alone: bool) -> None:
    revision = Revision("r1", (), "", Path("r1.py"), f"{ALONE}\n{line}\n")
    assert revision.stands_alone is alone
