"""Two people, two branches: ids that do not collide, and what becomes of those that do."""

import re
import subprocess
import sys
from dataclasses import dataclass
from datetime import datetime
from hashlib import sha256
from itertools import pairwise
from pathlib import Path

import pytest

from tests.conftest import Cli, Outcome
from tests.servers import Server

HEAD = """\
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

class Base(DeclarativeBase):
    pass

class P(Base):
    __tablename__ = "p"
    id: Mapped[int] = mapped_column(primary_key=True)
"""
TIMED = r"\d{14}_[0-9a-f]{4}"


@dataclass
class Team:
    """A project of an app `c` in a git repository, and a database."""

    folder: Path
    url: str
    server: Server
    cli: Cli

    def git(self, *arguments: str) -> str:
        """Run git in the project."""
        command = ["git", "-c", "user.name=A", "-c", "user.email=a@example.org", *arguments]
        done = subprocess.run(command, cwd=self.folder, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    def commit(self, message: str) -> str:
        """Commit everything; return the commit."""
        self.git("add", "-A")
        self.git("commit", "-q", "-m", message)
        return self.git("rev-parse", "HEAD")

    def models(self, *columns: str) -> None:
        """Say which columns, all of text, the models' one table has."""
        for cached in self.folder.glob("__pycache__/team_models*"):
            cached.unlink()
        sys.modules.pop("team_models", None)
        lines = [f"    {column}: Mapped[str | None]\n" for column in columns]
        (self.folder / "team_models.py").write_text(HEAD + "".join(lines))

    def run(self, *arguments: str, url: str = "") -> Outcome:
        """Run a subcommand of `leadctl migrate`."""
        return self.cli("migrate", *arguments, url=url or self.url)

    def revision(self, name: str, down: str | None, sql: str, file: str = "") -> Path:
        """Write a revision by hand."""
        path = self.folder / "migrations" / f"{file or name}.py"
        path.write_text(
            f'"""{file or name}.\n\nRevision: {name}\nFollows: {down or "nothing"}\n"""\n\n'
            f'from alembic import op\n\nrevision = "{name}"\ndown_revision = {down!r}\n\n\n'
            f"def upgrade() -> None:\n    op.execute({sql!r})\n\n\n"
            "def downgrade() -> None:\n    pass\n"
        )
        return path

    def files(self) -> list[str]:
        """The names of the revisions' files, in order."""
        return sorted(path.name for path in self.folder.glob("migrations/*.py"))

    def columns(self, url: str = "") -> set[str]:
        """The columns of the table, as the server has them."""
        with self.server.connect((url or self.url).rpartition("/")[2].partition("?")[0]) as found:
            rows = found.execute(
                "SELECT attname FROM pg_attribute WHERE attrelid = 'p'::regclass AND attnum > 0"
                " AND NOT attisdropped"
            ).fetchall()
        return {name for (name,) in rows} - {"id"}


@pytest.fixture
def team(
    tmp_path: Path, server: Server, database: str, cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> Team:
    """A project with its first commit: no revision yet."""
    monkeypatch.setattr(sys, "path", list(sys.path))
    (tmp_path / "migrations").mkdir()
    (tmp_path / "leadctl.toml").write_text(
        'app = "c"\n[apps.c]\nmodels = "team_models:Base"\nmigrations = "migrations"\n'
    )
    (tmp_path / ".gitignore").write_text("__pycache__/\n.leadctl/\n")
    made = Team(tmp_path, server.url(database), server, cli)
    made.models()
    made.git("init", "-q", "-b", "main", ".")
    made.commit("Begin")
    return made


@pytest.mark.thorough
def test_ids_are_the_time_and_go_on_behind_what_they_follow(team: Team) -> None:
    assert team.run("dev", "-m", "First").code == 0
    team.models("a")
    assert team.run("dev", "-m", "Add website").code == 0
    first, second = team.files()
    assert re.fullmatch(rf"{TIMED}_first\.py", first)
    assert re.fullmatch(rf"{TIMED}_add_website\.py", second)
    assert first[:14] < second[:14]
    assert len(team.run("status", "-o", "json").json["current"]) == 19


@pytest.mark.thorough
def test_a_chain_that_is_written_at_once_counts_its_seconds(team: Team) -> None:
    assert team.run("dev", "-m", "First").code == 0
    models = team.folder / "team_models.py"
    team.models("a")
    assert team.run("dev", "-m", "A").code == 0
    team.models()
    models.write_text(models.read_text() + "    a: Mapped[str]\n")
    assert team.run("new", "-m", "A is required").code == 0
    times = [datetime.strptime(name[:14], "%Y%m%d%H%M%S") for name in team.files()]
    assert len(times) == 4
    assert [(b - a).seconds for a, b in pairwise(times[2:])] == [1]
    history = team.run("status", "-o", "json").json["revisions"]
    assert [each["revision"] for each in history] == [name[:19] for name in team.files()]


@pytest.mark.thorough
def test_two_branches_do_not_make_one_id(team: Team, server: Server) -> None:
    assert team.run("dev", "-m", "First").code == 0
    base = team.commit("First")
    other = server.create()
    try:
        theirs = server.url(other)
        assert team.run(url=theirs).code == 0
        team.git("checkout", "-q", "-b", "one")
        team.models("a")
        assert team.run("dev", "-m", "Add a").code == 0
        team.commit("a")
        team.git("checkout", "-q", "-b", "two", base)
        team.models("b")
        assert team.run("dev", "-m", "Add b", url=theirs).code == 0
        team.commit("b")
        team.git("checkout", "-q", "main")
        team.git("merge", "-q", "one")
        team.git("merge", "-q", "-X", "theirs", "two")
        team.models("a", "b")
        assert "2 heads" in team.run(url=theirs).err
        assert team.run("new", "--merge", url=theirs).code == 0
        assert re.fullmatch(rf"{TIMED}_merge\.py", team.files()[-1])
        for url in (team.url, theirs):
            assert team.run(url=url).code == 0
            assert team.columns(url) == {"a", "b"}
            assert team.run("check", url=url).code == 0
    finally:
        server.drop(other)


@pytest.mark.parametrize(
    ("last", "following"),
    [
        ("c_0007", r"c_0008_[0-9a-f]{4} 0008_[0-9a-f]{4}_x\.py"),
        ("c_0007_12ef", r"c_0008_[0-9a-f]{4} 0008_[0-9a-f]{4}_x\.py"),
        ("0007", r"0008_[0-9a-f]{4} 0008_[0-9a-f]{4}_x\.py"),
        ("ae1027a61234", r"[0-9a-f]{12} [0-9a-f]{12}_x\.py"),
        ("by_hand", rf"{TIMED} {TIMED}_x\.py"),
        ("29991231235959_00ff", r"30000101000000_\w{4} 30000101000000_\w{4}_x\.py"),
    ],
)
def test_a_history_goes_on_as_it_began(team: Team, last: str, following: str) -> None:
    team.revision(last, None, "SELECT 1")
    assert team.run("new", "--empty", "-m", "x").code == 0
    (path,) = [path for path in team.folder.glob("migrations/*.py") if path.stem != last]
    found = re.search(r'^revision = "(.*)"', path.read_text(), re.MULTILINE)
    assert found
    assert found[1] != last
    assert re.fullmatch(following, f"{found[1]} {path.name}"), path.name


def test_a_team_s_file_template_is_kept(team: Team) -> None:
    (team.folder / "migrations" / "versions").mkdir()
    (team.folder / "migrations" / "env.py").write_text(
        "from alembic import context\nfrom team_models import Base\n"
        "context.configure(target_metadata=Base.metadata)\n"
    )
    (team.folder / "alembic.ini").write_text(
        "[alembic]\nscript_location = migrations\n"
        "file_template = %%(year)d-%%(month).2d-%%(day).2d_%%(rev)s-%%(slug)s\n"
    )
    assert team.run("new", "--empty", "-m", "Add the Website").code == 0
    (path,) = (team.folder / "migrations" / "versions").glob("*.py")
    assert re.fullmatch(r"\d{4}-\d\d-\d\d_[0-9a-f]{12}-add_the_website\.py", path.name)


def collide(team: Team) -> None:
    """Make two branches as version 0.1 did, and merge them: c_0002 and c_0003 are there twice."""
    team.revision("c_0001", None, "CREATE TABLE p (id int PRIMARY KEY)")
    team.commit("First")
    for branch, letters in (("one", "ab"), ("two", "xy")):
        team.git("checkout", "-q", "-b", branch, "main")
        first, second = letters
        team.revision("c_0002", "c_0001", f"ALTER TABLE p ADD {first} text", f"0002_{first}")
        team.commit(first)
        team.revision("c_0003", "c_0002", f"ALTER TABLE p ADD {second} text", f"0003_{second}")
        team.revision(f"c_{branch}", "c_0003", f"COMMENT ON TABLE p IS '{branch}'")
        team.commit(second)
    team.git("checkout", "-q", "main")
    for branch in ("one", "two"):
        team.git("merge", "-q", "--no-edit", branch)


@pytest.mark.few(1)
@pytest.mark.parametrize("squashed", [False, True])
def test_what_is_not_applied_gets_ids_of_its_own(team: Team, squashed: bool) -> None:
    collide(team)
    team.git("checkout", "-q", "one")
    assert team.run().code == 0
    if squashed:
        team.git("merge", "-q", "--squash", "two")
        team.commit("two, squashed")
    else:
        team.git("checkout", "-q", "main")
    refused = team.run()
    assert refused.code == 3
    assert "leadctl migrate new --merge" in refused.err
    merged = team.run("new", "--merge", "-o", "json")
    assert merged.code == 0, merged.err
    assert [each["was"] for each in merged.json["renumbered"]] == ["c_0002", "c_0003"]
    assert {"0002_a.py", "0003_b.py", "c_one.py", "c_two.py"} < set(team.files())
    assert not {"0002_x.py", "0003_y.py"} & set(team.files())
    assert team.run().code == 0
    assert team.columns() == {"a", "b", "x", "y"}
    assert team.run("status").code == 0
    assert team.run("check", "-o", "json").json["pending"] == []


def test_without_a_database_the_file_is_named(team: Team, server: Server) -> None:
    collide(team)
    nowhere = re.sub(r":\d+/", ":1/", team.url)
    before = team.files()
    refused = team.run("new", "--merge", url=nowhere)
    assert refused.code == 3
    assert "--renumber" in refused.err
    assert team.files() == before
    wrong = team.run("new", "--merge", "--renumber", "c_one.py", url=nowhere)
    assert (wrong.code, "0002_x.py" in wrong.err) == (2, True)
    assert team.run("new", "--renumber", "0002_x.py", "-m", "x", url=nowhere).code == 2
    done = team.run("new", "--merge", "--renumber", "migrations/0002_x.py", url=nowhere)
    assert done.code == 0, done.err
    assert team.run().code == 0
    assert team.columns() == {"a", "b", "x", "y"}
    (moved,) = [name for name in team.files() if name.endswith("_x.py")]
    assert "0002_x" not in team.git("ls-files", "--deleted", "--others", moved)


def test_what_is_applied_is_renumbered_in_the_database_too(team: Team) -> None:
    collide(team)
    team.git("checkout", "-q", "two")
    assert team.run().code == 0
    team.git("checkout", "-q", "main")
    named = ("--renumber", "0002_x.py", "--renumber", "0003_y.py")
    done = team.run("new", "--merge", *named, "-o", "json")
    assert done.code == 0, done.err
    assert all(each["applied"] for each in done.json["renumbered"])
    assert team.run().code == 0
    assert team.columns() == {"a", "b", "x", "y"}
    assert team.run("status").code == 0


@pytest.mark.thorough
@pytest.mark.parametrize("at_its_end", [False, True])
def test_a_database_of_the_renumbered_branch_learns_the_new_ids(
    team: Team, server: Server, at_its_end: bool
) -> None:
    """The teammate whose files were renumbered elsewhere is told which commands say so."""
    collide(team)
    name = server.create()
    theirs = server.url(name)
    try:
        team.git("checkout", "-q", "two")
        assert team.run(*([] if at_its_end else ["up", "c_0003"]), url=theirs).code == 0
        team.git("checkout", "-q", "one")
        assert team.run().code == 0
        team.git("checkout", "-q", "main")
        assert team.run("new", "--merge").code == 0
        refused = team.run(url=theirs)
        assert refused.code == 1
        assert "new ids since two branches were joined" in refused.err
        told = refused.err.partition("which runs nothing: ")[2].strip().split(" && ")
        assert len(told) == (6 if at_its_end else 4)
        for each in told:
            done = team.run(*each.split()[2:], url=theirs)
            assert done.code == 0, done.err
        assert team.run(url=theirs).code == 0
        assert team.run("status", url=theirs).code == 0
        assert team.run("check", "-o", "json", url=theirs).json["pending"] == []
        with server.connect(name) as connection:
            columns = connection.execute(
                "SELECT attname FROM pg_attribute WHERE attrelid = 'p'::regclass AND attnum > 1"
            ).fetchall()
        assert {column for (column,) in columns} == {"a", "b", "x", "y"}
    finally:
        server.drop(name)


def test_another_branch_s_revision_is_never_nothing_to_do(team: Team, server: Server) -> None:
    team.revision("c_0001", None, "CREATE TABLE p (id int PRIMARY KEY)")
    ours = team.revision("c_0002", "c_0001", "ALTER TABLE p ADD a text", "0002_a")
    assert team.run().code == 0
    ours.unlink()
    theirs = team.revision("c_0002", "c_0001", "ALTER TABLE p ADD b text", "0002_b")
    team.models("b")
    for arguments in (
        [], ["--plan"], ["--sql"], ["up", "c_0001"], ["new", "-m", "x"], ["dev", "-m", "x"],
        ["check"], ["resolve", "--adopt-drift", "-m", "x"],
    ):  # fmt: skip
        refused = team.run(*arguments, "-o", "json")
        assert (refused.code, refused.out) == (1, ""), arguments
        for said in ("revision_edited", "c_0002", theirs.name, "ADD a text", "ADD b text"):
            assert said in refused.err, refused.err
        assert "resolve --accept-edit c_0002" in refused.err
    assert team.files() == ["0002_b.py", "c_0001.py"]
    assert team.columns() == {"a"}
    assert team.run("status").code == 1
    health = team.cli("health-check", "--check", "migrations", "-o", "json", url=team.url)
    assert health.code == 1
    assert "c_0002" in health.out


HAND = '''"""First."""

import sqlalchemy as sa
from alembic import op

revision = "c_0001"
down_revision = None


def upgrade():
    op.execute("CREATE TABLE p (id int PRIMARY KEY)")
    op.add_column('p', sa.Column('a', sa.Text()))


def downgrade():
    """Nobody goes back."""
    pass
'''


@pytest.mark.few(4)
@pytest.mark.parametrize(
    ("old", "new", "same"),
    [
        ('"""First."""', "# A comment\n", True),
        ("'p'", '"p"', True),
        ("\n    pass", "", True),
        ("import sqlalchemy as sa\nfrom alembic import op", "from alembic import op\nimport sqlalchemy as sa", True),
        ('op.execute("CREATE TABLE p (id int PRIMARY KEY)")', 'op.execute(\n        "CREATE TABLE p "\n        "(id int PRIMARY KEY)",\n    )', True),
        ("\n", "\r\n", True),
        ("id int", "id  int", False),
        ("sa.Text()", "sa.Text(1)", False),
        ("    pass", "    op.drop_table('p')", False),
        ("down_revision = None", "down_revision = ()", False),
        ("revision = \"c_0001\"", "revision = \"c_0001\"\nlimit = 1", False),
    ],
)  # fmt: skip
def test_a_formatter_stops_no_deploy(team: Team, old: str, new: str, same: bool) -> None:
    path = team.folder / "migrations" / "0001_first.py"
    path.write_text(HAND)
    assert team.run().code == 0
    path.write_bytes(HAND.replace(old, new).encode())
    state = team.run("status", "-o", "json").json["revisions"][0]["state"]
    assert state == ("applied" if same else "edited")
    assert team.run().code == (0 if same else 1)


def test_a_checksum_of_version_0_1_is_of_the_bytes(team: Team) -> None:
    path = team.folder / "migrations" / "0001_first.py"
    path.write_text(HAND)
    assert team.run().code == 0
    with team.server.connect(team.url.rpartition("/")[2].partition("?")[0]) as connection:
        connection.execute(
            "UPDATE leadctl.migration SET checksum = %s", (sha256(HAND.encode()).hexdigest(),)
        )
    assert team.run().code == 0
    path.write_text(f"{HAND}# said later")
    assert team.run().code == 1
    assert team.run("resolve", "--accept-edit", "c_0001").code == 0
    path.write_text(HAND)
    assert team.run().code == 0


def test_nothing_is_called_seeded_that_was_not_there(team: Team) -> None:
    assert team.run("dev", "-m", "First").code == 0
    seed = team.cli("seed", url=team.url)
    assert (seed.code, seed.out) == (0, "Nothing to seed: c has no fixtures.\n")
    (team.folder / "seeds").mkdir()
    told = " ".join(team.cli("seed", url=team.url).out.split())
    assert 'seed_files = "seeds" in leadctl.toml' in told
