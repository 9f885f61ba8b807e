"""Changes that need several files are one line; small tables may have one file; rows come first."""

import re
import sys
from pathlib import Path

import pytest

from tests.conftest import Cli, Outcome
from tests.migrate.test_writing import SAFE, TWO
from tests.servers import Server

HEAD = "from sqlalchemy import *\nmetadata = MetaData()\n"
USERS = (
    'Table("users", metadata, Column("id", BigInteger, primary_key=True), Column("name", Text),'
    ' Column("code", Text))\n'
    'Table("posts", metadata, Column("id", BigInteger, primary_key=True), Column("author", BigInteger))\n'
)
WEBSITE = USERS.replace('"code", Text)', '"code", Text), Column("website", Text, nullable=False)')


class Shop:
    """A project of an app `own`, on a database whose 51 users have 50 names."""

    def __init__(self, folder: Path, server: Server, database: str, cli: Cli) -> None:
        self.folder, self.server, self.database, self.cli = folder, server, database, cli

    def models(self, text: str) -> None:
        """Change the models; those that were imported are forgotten."""
        for cached in self.folder.glob("__pycache__/own_models*"):
            cached.unlink()
        sys.modules.pop("own_models", None)
        (self.folder / "own_models.py").write_text(HEAD + text)

    def run(self, *arguments: str) -> Outcome:
        """Run a subcommand of `leadctl migrate`."""
        return self.cli("migrate", *arguments, url=self.server.url(self.database))

    def files(self) -> list[Path]:
        """The revisions behind the first one, in order."""
        return sorted(self.folder.glob("migrations/*.py"))[1:]

    def query(self, statement: str) -> list[tuple[object, ...]]:
        """Run a statement; return its rows, if it has any."""
        with self.server.connect(self.database) as connection:
            cursor = connection.execute(statement.encode())
            return cursor.fetchall() if cursor.description else []


@pytest.fixture
def shop(
    tmp_path: Path, server: Server, database: str, cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> Shop:
    """A project with one applied revision and rows."""
    monkeypatch.setattr(sys, "path", list(sys.path))
    (tmp_path / "migrations").mkdir()
    (tmp_path / "leadctl.toml").write_text(
        'app = "own"\n[apps.own]\nmodels = "own_models:metadata"\n'
    )
    made = Shop(tmp_path, server, database, cli)
    made.models(USERS)
    assert made.run("dev", "-m", "First").code == 0
    made.query("INSERT INTO users SELECT n, nullif(n, 51)::text, 'x' FROM generate_series(1, 51) n")
    made.query("INSERT INTO posts SELECT n, n FROM generate_series(40, 60) n")
    return made


def lines_of(text: str, word: str) -> list[str]:
    return [line for line in text.splitlines() if line.startswith(word)]


@pytest.mark.thorough
def test_a_chain_has_one_slug_and_is_one_line(shop: Shop) -> None:
    shop.models(WEBSITE)
    done = shop.run("dev", "-m", "Add website.", "--fill", "users.website='x'")
    assert done.code == 0, done.err
    names = [path.name[20:] for path in shop.files()]
    assert names == [f"add_website_{n}of4.py" for n in (1, 2, 3, 4)]
    last = shop.files()[-1].name[:19]
    whole = f"{last}   Add website (4 files)"
    assert len(lines_of(done.out, whole)) == 1
    status = shop.run("status")
    assert len(lines_of(status.out, "applied")) == 2
    assert len(lines_of(status.out, f"applied   {whole}")) == 1
    history = shop.run("history")
    assert len(lines_of(history.out, "20")) == 2
    assert len(lines_of(history.out, whole)) == 1
    assert len(shop.run("history", "-o", "json").json["revisions"]) == 5


@pytest.mark.thorough
def test_down_undoes_a_chain_as_one(shop: Shop) -> None:
    before = shop.run("diff", "base", "database", "-o", "sql").out
    shop.models(WEBSITE)
    assert shop.run("dev", "-m", "Website", "--fill", "users.website='x'").code == 0
    undone = shop.run("down", "--yes")
    assert undone.code == 0, undone.err
    assert "Website (4 files)" in undone.out
    assert len(lines_of(undone.out, "20")) == 1
    assert shop.run("diff", "base", "database", "-o", "sql").out == before
    assert shop.query("SELECT count(*) FROM alembic_version") == [(1,)]
    assert shop.run().code == 0
    assert len(shop.run("down", "--steps", "2", "--yes", "-o", "json").json["undone"]) == 5


@pytest.mark.thorough
def test_half_a_chain_is_undone_and_shown_as_that(shop: Shop) -> None:
    shop.models(WEBSITE)
    assert shop.run("new", "-m", "Website").code == 0
    failed = shop.run()
    assert failed.code == 1
    status = shop.run("status")
    assert len(lines_of(status.out, "applied")) == 2
    assert "Website (1 to 2 of 3)" in status.out
    assert "Website (3 of 3: validate)" in status.out
    assert shop.run("down", "--yes").code == 0
    assert shop.query("SELECT 1 FROM pg_attribute WHERE attname = 'website'") == []


def test_the_chains_of_two_branches_do_not_mix(shop: Shop) -> None:
    first = sorted(shop.folder.glob("migrations/*.py"))[0].name[:19]
    for number in (1, 2, 3):
        for branch in "ab":
            down = first if number == 1 else f"{branch}{number - 1}"
            (shop.folder / f"migrations/{number}_{branch}.py").write_text(
                f'"""{branch} ({number} of 3)."""\nrevision = "{branch}{number}"\n'
                f'down_revision = "{down}"\ndef upgrade(): pass\ndef downgrade(): return 1\n'
            )
    assert shop.run("new", "--merge").code == 0
    assert shop.run().code == 0
    status = shop.run("status")
    assert "a (3 files)" in status.out
    assert "b (3 files)" in status.out
    assert shop.run("down", "--steps", "2", "--yes", "-o", "json").json["current"] == "a3"


@pytest.mark.thorough
@pytest.mark.parametrize("change", SAFE)
def test_plain_is_one_file_that_does_the_same(shop: Shop, cli: Cli, change: str) -> None:
    old, new = SAFE[change]
    shop.query("DROP TABLE users, posts, alembic_version; DELETE FROM leadctl.migration")
    for path in shop.folder.glob("migrations/*.py"):
        path.unlink()
    shop.models(TWO)
    assert shop.run("dev", "-m", "First").code == 0
    used = 'Column("mood", mood, server_default="new")' if "enum" in change else ""
    changed = TWO.replace(old, new)
    shop.models(changed.replace('Column("mood", mood)', used) if used else changed)
    fill = ["--fill", "users.a='x'"] if change == "required" else []
    if fill:
        shop.query("INSERT INTO users (id) VALUES (1)")
    done = shop.run("dev", "-m", "Next", "--plain", *fill)
    assert done.code == 0, done.err
    count = 2 if "enum" in change else 1  # a new value cannot be used in its own transaction
    assert len(shop.files()) == count
    text = "".join(path.read_text() for path in shop.files())
    assert not re.search(r"CONCURRENTLY|NOT VALID|fill\(", text)
    assert shop.run("check").code == 0
    offline = cli("migrate", "lint", "--all", "-o", "json")
    assert offline.code == 0, offline.out
    assert shop.run("down", "--yes").code == 0
    assert shop.run().code == 0


@pytest.mark.thorough
def test_plain_is_not_for_a_big_table(shop: Shop, cli: Cli) -> None:
    shop.models(USERS.replace('"name", Text', '"name", Text, index=True'))
    assert shop.run("new", "-m", "Index", "--plain").code == 0
    shop.query("INSERT INTO users SELECT n, repeat('x', 90) FROM generate_series(100, 100000) n")
    shop.query("ANALYZE")
    planned = shop.run("--plan", "-o", "json")
    assert planned.code == 1  # where a table is big the file is told what it is
    assert "blocking-scan" in planned.out
    shop.files()[0].unlink()
    for verb in ("new", "dev"):
        refused = shop.run(verb, "-m", "Index", "--plain")
        assert refused.code == 1
        assert "--plain is for tables below 10 MB, and not for: users" in refused.err
    assert shop.files() == []
    safe = shop.run("new", "-m", "Index")
    assert "--plain" not in safe.err
    assert "CONCURRENTLY" in shop.files()[0].read_text()


def test_plain_is_offered_where_tables_are_small(shop: Shop) -> None:
    shop.models(USERS.replace('"name", Text', '"name", Text, nullable=False'))
    assert "--plain writes fewer files" in shop.run("new", "-m", "x").err


def test_plain_is_not_for_a_history_of_others(shop: Shop, cli: Cli) -> None:
    url = shop.server.url(shop.database)
    assert cli("db", "environment", "production", "--protect", url=url).code == 0
    shop.models(USERS.replace('"name", Text', '"name", Text, index=True'))
    assert shop.run("new", "-m", "Index", "--plain").code == 5
    assert shop.files() == []


CLASHES: dict[str, tuple[str, str, list[str], str]] = {
    "orphans": (
        '"author", BigInteger',
        '"author", BigInteger, ForeignKey("users.id")',
        [],
        "violates foreign key",
    ),
    "twice": ('"code", Text', '"code", Text, unique=True', [], "could not create unique index"),
    "check": (
        '"code", Text)',
        '"code", Text), CheckConstraint("code <> \'x\'", name="c")',
        [],
        "violated by some row",
    ),
    "cast": ('"code", Text', '"code", Integer', ["--yes"], "invalid input syntax"),
    "fill of another type": (
        '"code", Text)',
        '"code", Text), Column("n", Integer, nullable=False)',
        ["--fill", "users.n=coalesce(name, 'none')"],
        "is of type integer",
    ),
    "fill that cannot be cast": (
        '"code", Text)',
        '"code", Text), Column("n", Integer, nullable=False)',
        ["--fill", "users.n=code::integer"],
        "invalid input syntax",
    ),
    "one value in a unique column": (
        '"code", Text)',
        '"code", Text), Column("n", Integer, nullable=False, unique=True)',
        ["--fill", "users.n=1"],
        "could not create unique index",
    ),
    "fill that is empty": (
        '"code", Text)',
        '"code", Text), Column("n", Text, nullable=False)',
        ["--fill", "users.n=name"],
        "name is empty for 1 row of users that have no users.n",
    ),
}


@pytest.mark.few(2)
@pytest.mark.parametrize("plain", [[], ["--plain"]])
@pytest.mark.parametrize("clash", CLASHES)
def test_dev_tries_on_the_rows_before_it_writes(shop: Shop, clash: str, plain: list[str]) -> None:
    old, new, flags, said = CLASHES[clash]
    before = shop.query("SELECT oid, relname FROM pg_class ORDER BY 1")
    assert old in USERS
    shop.models(USERS.replace(old, new))
    refused = shop.run("dev", "-m", "Next", *flags, *plain)
    assert refused.code == 1, refused.err
    assert said in refused.err
    assert "Nothing was written" in refused.err
    assert shop.files() == []
    assert shop.query("SELECT oid, relname FROM pg_class ORDER BY 1") == before
    assert shop.run("status").code == 0


@pytest.mark.thorough
@pytest.mark.parametrize("plain", [[], ["--plain"]])
def test_new_writes_a_fill_as_dev_does(shop: Shop, plain: list[str]) -> None:
    """Also where no row here needs it: rows elsewhere may."""
    shop.models(WEBSITE)
    told = shop.run("new", "-m", "Website", *plain)
    assert told.code == 0, told.err
    assert "51 rows of users have no users.website" in told.err
    for path in shop.files():
        path.unlink()
    for rows in (51, 0):
        if not rows:
            shop.query("DELETE FROM posts")
            shop.query("DELETE FROM users")
        fill = ["--fill", "users.website='at ' || id"]
        made = shop.run("new", "-m", "Website", *plain, *fill)
        assert made.code == 0, made.err
        assert "have no" not in made.err
        assert any("'at ' || id" in path.read_text() for path in shop.files())
        for path in shop.files() if rows else ():
            path.unlink()
    shop.query("INSERT INTO users SELECT n, 'n', 'x' FROM generate_series(1, 9) n")
    applied = shop.run()
    assert applied.code == 0, applied.err
    assert shop.query("SELECT website FROM users WHERE id = 7") == [("at 7",)]
    assert shop.run("check").code == 0


@pytest.mark.few(1)
@pytest.mark.parametrize(
    ("line", "code"),
    [
        (["--fill", "users.nothing=1"], 2),
        (["--fill", "users.website=nothing"], 2),
        (["--fill", "website"], 2),
        (["--fill", "users.website=name"], 1),
        (["--empty", "--fill", "users.website='x'"], 2),
    ],
)
def test_a_fill_that_new_cannot_write_is_refused(shop: Shop, line: list[str], code: int) -> None:
    shop.models(WEBSITE)
    refused = shop.run("new", "-m", "Website", *line)
    assert refused.code == code, refused.err
    assert shop.files() == []


@pytest.mark.thorough
@pytest.mark.parametrize("plain", [[], ["--plain"]])
def test_renamed_and_required_at_once(shop: Shop, plain: list[str]) -> None:
    """Rows are counted under the names that they have now."""
    shop.models(
        USERS.replace('"name", Text', '"full_name", Text, nullable=False').replace(
            '"users"', '"people"'
        )
    )
    renames = ["--rename", "users:people", "--rename", "users.name:full_name"]
    refused = shop.run("dev", "-m", "Names", *renames, *plain)
    assert refused.code == 1
    assert "1 row of users has no people.full_name" in refused.err
    done = shop.run("dev", "-m", "Names", *renames, *plain, "--fill", "people.full_name='none'")
    assert done.code == 0, done.err
    assert shop.query("SELECT count(*), count(full_name) FROM people") == [(51, 51)]
    assert shop.query("SELECT full_name FROM people WHERE id = 7") == [("7",)]
    assert shop.run("check").code == 0


@pytest.mark.thorough
@pytest.mark.parametrize(
    ("old", "new", "rename"),
    [
        ('"name", Text', '"full_name", Text', "users.name:full_name"),
        ('"users"', '"people"', "users:people"),
    ],
)
def test_lint_passes_a_rename_that_was_asked_for(
    shop: Shop, cli: Cli, old: str, new: str, rename: str
) -> None:
    shop.models(USERS.replace(old, new))
    assert shop.run("new", "-m", "Names", "--rename", rename).code == 0
    for lint in (shop.run("lint", "-o", "json"), cli("migrate", "lint", "--all", "-o", "json")):
        assert lint.code == 0, lint.out
        found = [each for revision in lint.json["revisions"] for each in revision["findings"]]
        assert {each["rule"].partition("-")[0] for each in found} == {"renaming"}
        assert all("asked for" in each["allowed"] for each in found)
    assert shop.run("--plan").code == 0
    path = shop.files()[0]
    path.write_text(re.sub(r"# leadctl: allow.*\n", "", path.read_text()))
    assert shop.run("lint").code == 1  # what people write by hand is found
