"""A team's first weeks as one story: two clones, two branches, one pipeline, filled tables.

Every command is a process of its own, in a clone of its own, as a person or a pipeline runs it.
"""

import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.conftest import KEY
from tests.processes import environment
from tests.servers import Server

MODELS = """\
from sqlalchemy import ForeignKey
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column


class Base(DeclarativeBase):
    pass


class Company(Base):
    __tablename__ = "companies"
    id: Mapped[int] = mapped_column(primary_key=True)
    title: Mapped[str | None]
"""
RENAMED = MODELS.replace("title: Mapped[str | None]", "name: Mapped[str | None]")
REQUIRED = RENAMED.replace("name: Mapped[str | None]", "name: Mapped[str]")
WEBSITE = f"{REQUIRED}    website: Mapped[str]\n"
STAFF = """

class Person(Base):
    __tablename__ = "people"
    id: Mapped[int] = mapped_column(primary_key=True)
    company_id: Mapped[int | None] = mapped_column(ForeignKey("companies.id"), index=True)
"""


@dataclass
class Clone:
    """Somebody's copy of the repository, and the database that its commands are on."""

    folder: Path
    url: str | None
    counted: list[str] = field(default_factory=list)
    """The commands that were run, by a person or a pipeline."""

    def git(self, *arguments: str) -> str:
        """Run git."""
        command = ["git", "-c", "user.name=A", "-c", "user.email=a@example.org", *arguments]
        done = subprocess.run(command, cwd=self.folder, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def models(self, text: str) -> None:
        """Edit the models, the only file that anybody edits."""
        (self.folder / "models.py").write_text(text)

    def run(self, *arguments: str, code: int = 0) -> str:
        """Run leadctl without a terminal; return all that it says."""
        self.counted.append(" ".join(arguments))
        command = arguments[0] if arguments[0] == "init" else None
        database = {"DATABASE_URL": self.url} if self.url else {}
        done = subprocess.run(
            [sys.executable, "-m", "leadctl", *arguments],
            cwd=self.folder,
            env=environment({"ENCRYPTION_KEY": KEY, **database}, self.folder, command),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )
        assert done.returncode == code, (
            f"{arguments}: {done.returncode}\n{done.stdout}{done.stderr}"
        )
        assert "Traceback" not in done.stderr
        return done.stdout + done.stderr


def rows(server: Server, database: str, statement: str) -> list[tuple[object, ...]]:
    with server.connect(database) as connection:
        return connection.execute(statement.encode()).fetchall()


def fill(server: Server, database: str) -> None:
    with server.connect(database) as connection:
        connection.execute(
            "INSERT INTO companies (title) SELECT nullif(i, 51)::text FROM generate_series(1, 51) i"
        )


@pytest.fixture
def databases(server: Server) -> Iterator[dict[str, str]]:
    """The databases of two people and of two environments, by name."""
    made = {name: server.create() for name in ("ada", "bob", "staging", "production")}
    yield made
    for name in made.values():
        server.drop(name)


@pytest.mark.thorough
def test_three_changes_of_filled_rows_are_few_commands(
    tmp_path: Path, server: Server, database: str
) -> None:
    """From an empty folder to the third: at most eight commands, and no file but the models."""
    mine = Clone(tmp_path, server.url(database))
    mine.models(MODELS)
    mine.run("init")
    mine.run("migrate", "dev", "-m", "Companies")
    fill(server, database)
    mine.models(RENAMED)
    mine.run("migrate", "dev", "-m", "Names", "--rename", "companies.title:name")
    mine.models(REQUIRED)
    mine.run("migrate", "dev", "-m", "Name is required", "--fill", "companies.name='none'")
    mine.models(WEBSITE)
    mine.run("migrate", "dev", "-m", "Website", "--fill", "companies.website=name || '.example'")
    mine.run("migrate", "check")
    mine.run("migrate", "lint", "--all")
    assert len(mine.counted) <= 8
    assert rows(server, database, "SELECT name, website FROM companies WHERE id IN (7, 51)") == [
        ("7", "7.example"),
        ("none", "none.example"),
    ]
    mine.url = None  # a pipeline that has none
    assert "Nothing was found" in mine.run("migrate", "lint", "--all")


@pytest.mark.thorough
def test_a_team_and_its_pipeline(tmp_path: Path, server: Server, databases: dict[str, str]) -> None:
    origin = tmp_path / "origin.git"
    subprocess.run(["git", "init", "-q", "--bare", "-b", "main", str(origin)], check=True)
    urls = {name: server.url(database) for name, database in databases.items()}

    def clone(name: str) -> Clone:
        subprocess.run(
            ["git", "clone", "-q", str(origin), name], cwd=tmp_path, check=True, capture_output=True
        )
        return Clone(tmp_path / name, urls.get(name))

    # Ada begins; staging and production get what she has.
    (tmp_path / "ada").mkdir()
    ada = Clone(tmp_path / "ada", urls["ada"])
    ada.git("init", "-q", "-b", "main", ".")
    ada.models(MODELS)
    ada.run("init")
    ada.run("migrate", "dev", "-m", "Companies")
    (ada.folder / ".gitignore").write_text(".env\n.env.local\n.leadctl/\n__pycache__/\n")
    ada.git("add", "-A")
    ada.git("commit", "-qm", "Companies")
    ada.git("remote", "add", "origin", str(origin))
    ada.git("push", "-q", "origin", "main")
    pipeline = clone("pipeline")
    for name in ("staging", "production"):
        pipeline.url = urls[name]
        pipeline.run("migrate")
        fill(server, databases[name])
    pipeline.run("db", "environment", "production", "--protect")
    fill(server, databases["ada"])

    # Two branches on filled tables: Ada makes a column required, Bob adds another and a table.
    ada.git("checkout", "-qb", "names")
    ada.models(MODELS.replace("title: Mapped[str | None]", "title: Mapped[str]"))
    refused = ada.run("migrate", "dev", "-m", "Title is required", code=1)
    assert "1 row of companies has no companies.title" in refused
    ada.run("migrate", "dev", "-m", "Title is required", "--fill", "companies.title='none'")
    ada.git("add", "-A")
    ada.git("commit", "-qm", "Title is required")
    ada.git("push", "-q", "origin", "names")
    bob = clone("bob")
    bob.run("migrate")
    fill(server, databases["bob"])
    bob.git("checkout", "-qb", "staff")
    bob.models(f"{MODELS}    website: Mapped[str]\n{STAFF}")
    bob.run("migrate", "dev", "-m", "Staff", "--fill", "companies.website='w'")
    bob.git("add", "-A")
    bob.git("commit", "-qm", "Staff")
    bob.git("push", "-q", "origin", "staff")

    # Bob's branch is deployed on staging; then Ada's, which does not have his revisions.
    pipeline.url = urls["staging"]
    pipeline.git("fetch", "-q")
    pipeline.git("checkout", "-q", "staff")
    pipeline.run("migrate")
    pipeline.git("checkout", "-q", "names")
    for command in (["migrate"], ["migrate", "--plan"], ["migrate", "check"]):
        assert "are not in" in pipeline.run(*command, code=1)

    # Ada merges: git has no conflict in the revisions, and one command joins the history.
    ada.git("fetch", "-q")
    ada.git("merge", "-q", "-X", "theirs", "origin/staff")
    both = f"{MODELS}    website: Mapped[str]\n{STAFF}".replace(
        "title: Mapped[str | None]", "title: Mapped[str]"
    )
    ada.models(both)
    assert "leadctl migrate new --merge" in ada.run("migrate", code=3)
    ada.run("migrate", "new", "--merge")
    ada.run("migrate")
    ada.run("migrate", "check")
    ada.git("add", "-A")
    ada.git("commit", "-qm", "Both")
    ada.git("push", "-q", "origin", "names:main")
    assert len(re.findall(r"^applied", ada.run("migrate", "status"), re.MULTILINE)) == 4

    # One pipeline: a fresh clone without a database lints, then staging and production follow.
    pipeline.git("fetch", "-q")
    pipeline.git("checkout", "-q", "origin/main")
    pipeline.url = None
    assert "Nothing was found" in pipeline.run("migrate", "lint", "--all")
    pipeline.url = urls["staging"]
    pipeline.run("migrate", "--plan")
    pipeline.run("migrate")
    pipeline.run("migrate", "check")
    pipeline.url = urls["production"]
    for wrong in (
        ["migrate", "dev", "-m", "x"],
        ["db", "push"],
        ["reset", "--yes"],
        ["migrate", "down", "--yes"],
    ):
        pipeline.run(*wrong, code=5)
    pipeline.run("migrate")  # protected: it has no findings, so it proceeds
    pipeline.run("migrate", "status")
    pipeline.run("migrate", "check")
    defined = {
        name: rows(
            server,
            databases[name],
            "SELECT attrelid::regclass::text, attname, attnotnull FROM pg_attribute JOIN pg_class c"
            " ON c.oid = attrelid WHERE relnamespace = 'public'::regnamespace AND attnum > 0"
            " AND relkind = 'r' ORDER BY 1, 2",
        )
        for name in ("ada", "staging", "production")
    }
    assert defined["ada"] == defined["staging"] == defined["production"]
    assert ("companies", "website", True) in defined["production"]
    for name in ("ada", "staging", "production"):
        query = "SELECT count(*), count(title), count(website) FROM companies"
        assert rows(server, databases[name], query) == [(51, 51, 51)]
    bob.git("checkout", "-q", "main")
    bob.git("pull", "-q", "origin", "main")
    bob.run("migrate")
    bob.run("migrate", "check")
