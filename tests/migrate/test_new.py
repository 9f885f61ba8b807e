"""new, dev and push: what is written leads to the models, in its safe form, and says what it loses."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import Cli, Outcome
from tests.servers import Server

MODELS = """\
import enum
from sqlalchemy import *
from sqlalchemy.dialects.postgresql import ARRAY
metadata = MetaData(naming_convention={"pk": "pk_%(table_name)s", "ix": "ix_%(table_name)s_%(column_0_name)s",
    "uq": "uq_%(table_name)s_%(column_0_name)s", "ck": "ck_%(table_name)s_%(constraint_name)s",
    "fk": "fk_%(table_name)s_%(column_0_name)s"})
"""
FIRST = """\
users = Table("users", metadata, Column("id", BigInteger, primary_key=True), Column("name", Text),
    Column("age", Integer), Column("mood", Enum("sad", "happy", name="mood")))
posts = Table("posts", metadata, Column("id", Integer, primary_key=True), Column("author", BigInteger))
"""
STEPS: dict[str, tuple[str, str, list[str], list[str]]] = {
    "index": (
        'Column("age", Integer)',
        'Column("age", Integer, index=True)',
        [],
        ["CREATE INDEX CONCURRENTLY"],
    ),
    "unique": ('Column("name", Text)', 'Column("name", Text, unique=True)', [], ["USING INDEX"]),
    "not null": (
        'Column("name", Text)',
        'Column("name", Text, nullable=False)',
        [],
        [
            "CHECK (name IS NOT NULL) NOT VALID",
            "VALIDATE CONSTRAINT",
            "SET NOT NULL, DROP CONSTRAINT",
        ],
    ),
    "foreign key": (
        'Column("author", BigInteger)',
        'Column("author", BigInteger, ForeignKey("users.id"))',
        [],
        ["NOT VALID", "VALIDATE CONSTRAINT"],
    ),
    "check": (
        'Column("age", Integer)',
        'Column("age", Integer, CheckConstraint("age > 0", name="old"))',
        [],
        ["NOT VALID", "VALIDATE CONSTRAINT"],
    ),
    "partial expression index": (
        '"happy", name="mood")))',
        '"happy", name="mood")),\n'
        '    Index("i", text("lower(name)"), postgresql_where=text("mood = \'sad\'")))',
        [],
        ["WHERE"],
    ),
    "enum value": ('"happy"', '"happy", "calm"', [], ["ADD VALUE 'calm'"]),
    "enum value as default": (
        '"happy", name="mood")',
        '"happy", "calm", name="mood"), server_default="calm"',
        [],
        ["ADD VALUE 'calm'", "SET DEFAULT 'calm'"],
    ),
    "enum value in an array": (
        '"happy", name="mood")',
        '"happy", "calm", name="mood")), Column("moods",'
        ' ARRAY(Enum("sad", "happy", "calm", name="mood")), server_default="{sad,calm}"',
        [],
        ["ADD VALUE 'calm'", "cannot be used in the same transaction", "{sad,calm}"],
    ),
    "enum value removed": ('"sad", ', "", [], ["made anew"]),
    "enum value renamed": ('"sad"', '"blue"', ["mood.sad:blue"], ["RENAME VALUE 'sad' TO 'blue'"]),
    "enum renamed": (
        'name="mood"',
        'name="temper"',
        ["mood:temper"],
        ["ALTER TYPE mood RENAME TO temper"],
    ),
    "comment": (
        'Column("age", Integer)',
        'Column("age", Integer, comment="in : years, 50% \\\\\\\\:x")',
        [],
        ["COMMENT ON"],
    ),
    "column renamed": (
        '"name", Text',
        '"full_name", Text',
        ["users.name:full_name"],
        ["RENAME COLUMN name TO full_name"],
    ),
    "column dropped": ('Column("name", Text),', "", [], ["Loses the column name of users"]),
    "column that is required": (
        'Column("age"',
        'Column("city", Text, nullable=False), Column("age"',
        [],
        ["ADD COLUMN city text", "needs a value", "SET NOT NULL"],
    ),
    "column with a volatile default": (
        'Column("age"',
        'Column("key", Uuid, nullable=False,'
        ' server_default=text("gen_random_uuid()")), Column("age"',
        [],
        ["fill(op, ", "SET NOT NULL"],
    ),
    "type": ('Column("age", Integer)', 'Column("age", Numeric(10, 2))', [], ["TYPE numeric(10,2)"]),
    "table renamed": (
        '"posts"',
        '"articles"',
        ["posts:articles"],
        ["ALTER TABLE posts RENAME TO articles", "RENAME CONSTRAINT"],
    ),
    "table dropped": (
        "posts = Table",
        "_ = lambda: Table",
        [],
        ["Loses the table posts with all rows"],
    ),
}


@pytest.fixture
def own(
    tmp_path: Path, server: Server, database: str, cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., Outcome]:
    """A project with two migrated tables that have rows, and leadctl in it."""
    import sys

    monkeypatch.setattr(sys, "path", list(sys.path))
    (tmp_path / "leadctl.toml").write_text(
        'app = "own"\n[apps.own]\nmodels = "own_models:metadata"\n'
    )
    (tmp_path / "migrations").mkdir()
    models(tmp_path, FIRST)

    def leadctl(*arguments: str, **options: str) -> Outcome:
        sys.modules.pop("own_models", None)
        return cli(*arguments, url=server.url(database), **options)

    assert leadctl("migrate", "dev", "-m", "First").code == 0
    with server.connect(database) as connection:
        connection.execute(
            "INSERT INTO users SELECT n, 'n', n, 'happy' FROM generate_series(1, 9) AS n"
        )
        connection.execute("UPDATE users SET name = name || id")
    return leadctl


def models(folder: Path, text: str) -> None:
    import shutil

    shutil.rmtree(folder / "__pycache__", ignore_errors=True)
    (folder / "own_models.py").write_text(MODELS + text)


@pytest.mark.parametrize("kind", STEPS)
def test_what_is_written_leads_to_the_models_and_back(
    own: Callable[..., Outcome], tmp_path: Path, kind: str, server: Server, database: str
) -> None:
    old, new, renames, said = STEPS[kind]
    assert old in FIRST
    models(tmp_path, FIRST.replace(old, new))
    assert own("migrate", "check").code == 1
    flags = [flag for rename in renames for flag in ("--rename", rename)]
    if renames:
        refused = own("migrate", "new", "-m", "Next")
        assert refused.code == 1 or kind == "enum renamed", refused.out
        for path in (tmp_path / "migrations").glob("000[2-9]*"):
            path.unlink()
    written = own("migrate", "new", "-m", 'Next: it\'s "new"', *flags, "-o", "json")
    assert written.code == 0, written.err
    paths = [Path(each["path"]) for each in written.json["revisions"]]
    text = "".join(path.read_text() for path in paths)
    for words in said:
        assert words in " ".join(text.split()).replace("# ", ""), text
    if "city" in new:
        with server.connect(database) as connection:
            own("migrate", "up", "own_0002")
            connection.execute("UPDATE users SET city = 'x'")
    applied = own("migrate")
    assert applied.code == 0, applied.err + text
    checked = own("migrate", "check")
    assert checked.code == 0, checked.out + text


def test_a_rename_is_never_guessed(own: Callable[..., Outcome], tmp_path: Path) -> None:
    models(tmp_path, FIRST.replace('"name", Text', '"full_name", Text'))
    refused = own("migrate", "new", "-m", "x")
    assert refused.code == 1
    assert "--rename users.name:full_name" in refused.err
    assert own("migrate", "new", "-m", "x", "--rename", "users.nome:y").code == 2
    dropped = own("migrate", "new", "-m", "x", "--rename", "users.name:")
    assert dropped.code == 0
    assert "loses the column name of users" in dropped.err


def test_empty_sql_and_revert(own: Callable[..., Outcome], tmp_path: Path) -> None:
    assert own("migrate", "new", "-m", "x", "--empty").code == 0
    assert own("migrate").code == 0
    (tmp_path / "v.sql").write_text(
        "CREATE VIEW names AS SELECT name FROM users WHERE name <> ' :x';"
    )
    written = own("migrate", "new", "-m", "A view", "--sql", "v.sql", "-o", "json")
    assert written.code == 0, written.err
    assert "DROP VIEW names" in Path(written.json["revisions"][0]["path"]).read_text()
    assert own("migrate").code == 0
    assert own("migrate", "check").code == 0
    reverted = own("migrate", "new", "--revert", "own_0003", "-o", "json")
    assert reverted.code == 0, reverted.err
    assert reverted.json["revisions"][0]["message"] == "Revert A view"
    assert own("migrate").code == 0
    assert "view" not in own("migrate", "diff", "base", "database", "-o", "sql").out.lower()
    assert own("migrate", "new", "--empty").code == 2
    assert own("migrate", "new", "-m", "x", "--sql", "nothing.sql").code == 3
    (tmp_path / "v.sql").write_text("CREATE VIEW names AS SELECT nothing FROM users")
    assert own("migrate", "new", "-m", "x", "--sql", "v.sql").code == 1


def test_push(own: Callable[..., Outcome], tmp_path: Path) -> None:
    assert "Nothing to push" in own("db", "push").out
    models(tmp_path, FIRST.replace('Column("age", Integer)', 'Column("age", Integer, index=True)'))
    assert own("db", "push").code == 0
    assert own("migrate", "diff").code == 0
    models(tmp_path, FIRST.replace('Column("name", Text),', ""))
    refused = own("db", "push")
    assert refused.code == 5
    assert "It loses the column name of users" in refused.err
    pushed = own("db", "push", "--yes", "-o", "json")
    assert pushed.json["lost"] == ["the column name of users"]
    assert own("migrate", "diff").code == 0
    assert own("db", "push", env={"DATABASE_URL": "postgresql://far.example.com/x"}).code == 5
