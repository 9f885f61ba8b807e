"""new: branches joined, questions on a terminal, big and tangled models, what it cannot write."""

import os
import pty
import select
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import KEY, Cli
from tests.history import Project
from tests.processes import environment, start
from tests.servers import Server

HEAD = "from sqlalchemy import *\nmetadata = MetaData()\n"


@pytest.fixture
def models(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The file of an app's models, in an empty project with a leadctl.toml."""
    monkeypatch.setattr(sys, "path", list(sys.path))
    (tmp_path / "migrations").mkdir()
    (tmp_path / "leadctl.toml").write_text(
        'app = "own"\n[apps.own]\nmodels = "own_models:metadata"\n'
    )
    return tmp_path / "own_models.py"


def write(models: Path, text: str) -> None:
    """Change the models; those that were imported are forgotten."""
    for cached in models.parent.glob("__pycache__/own_models*"):
        cached.unlink()
    sys.modules.pop("own_models", None)
    models.write_text(HEAD + text)


def revisions(models: Path) -> str:
    """The text of all revisions."""
    return "".join(path.read_text() for path in sorted(models.parent.glob("migrations/*.py")))


def test_branches_are_joined(project: Project, server: Server, database: str, cli: Cli) -> None:
    url = server.url(database)
    back = '    op.execute("SELECT 1")'
    project.revision("CREATE TABLE unused (id serial PRIMARY KEY)", downgrade=back)
    assert cli("migrate", "new", "--merge", url=url).code == 1
    project.revision("SELECT 1", name="own_ada", down="own_0001", downgrade=back)
    project.revision("SELECT 2", name="own_bob", down="own_0001", downgrade=back)
    refused = cli("migrate", url=url)
    assert refused.code != 0
    assert "leadctl migrate new --merge" in refused.err
    assert cli("migrate", "new", "--merge", "--empty", url=url).code == 2
    joined = cli("migrate", "new", "--merge", "-o", "json", url=url)
    assert joined.code == 0, joined.err
    assert joined.json["revisions"][0]["message"] == "Merge own_ada and own_bob"
    assert cli("migrate", url=url).code == 0
    assert cli("migrate", "check", url=url).code == 0
    rehearsed = cli("migrate", "down", "--rehearse", "-o", "json", url=url)
    assert [each["verdict"] for each in rehearsed.json["revisions"]] == ["reversible"]
    assert cli("migrate", "down", "--steps", "2", "--yes", url=url).code == 0
    assert cli("migrate", url=url).code == 0
    assert cli("migrate", "drift", url=url).code == 0


def test_two_at_once_do_not_write_the_same_revision(
    models: Path, server: Server, database: str, cli: Cli
) -> None:
    url = server.url(database)
    table = 'Table("users", metadata, Column("id", Integer, primary_key=True))\n'
    write(models, table)
    assert cli("migrate", "dev", "-m", "First", url=url).code == 0
    write(models, table.replace("primary_key=True)", 'primary_key=True), Column("a", Text)'))
    variables = {"DATABASE_URL": url, "ENCRYPTION_KEY": KEY}
    processes = [
        start("migrate", "new", "-m", name, env=variables, cwd=models.parent) for name in "abcd"
    ]
    said = [process.communicate(timeout=120)[1] for process in processes]
    codes = [process.returncode for process in processes]
    assert codes.count(0) == 1, said
    assert len(list(models.parent.glob("migrations/*.py"))) == 2
    assert cli("migrate", url=url).code == 0
    assert cli("migrate", "check", url=url).code == 0


@pytest.mark.parametrize(
    ("answer", "said"),
    [("y", "RENAME COLUMN name TO full_name"), ("n", "Loses the column name of users")],
)
def test_a_rename_is_asked_about_on_a_terminal(
    models: Path, server: Server, database: str, cli: Cli, answer: str, said: str
) -> None:
    url = server.url(database)
    table = (
        'Table("users", metadata, Column("id", Integer, primary_key=True), Column("name", Text))\n'
    )
    write(models, table)
    assert cli("migrate", "dev", "-m", "First", url=url).code == 0
    write(models, table.replace('"name"', '"full_name"'))
    controller, terminal = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "leadctl", "migrate", "new", "-m", "Names"],
        env=environment({"DATABASE_URL": url, "ENCRYPTION_KEY": KEY}),
        cwd=models.parent,
        stdin=terminal,
        stdout=subprocess.PIPE,
        stderr=terminal,
    )
    os.close(terminal)
    shown = read_until(controller, "Is users.name renamed to full_name?")
    os.write(controller, f"{answer}\n".encode())
    out, _ = process.communicate(timeout=60)
    os.close(controller)
    assert process.returncode == 0, shown
    assert b"renamed" not in out  # the question is no part of the result
    assert said in revisions(models)


def read_until(descriptor: int, text: str) -> str:
    """Read what a terminal shows until it has a text."""
    shown = ""
    while text not in shown:
        ready, _, _ = select.select([descriptor], [], [], 60)
        assert ready, shown
        shown += os.read(descriptor, 4096).decode()
    return shown


def test_what_models_leave_to_revisions_follows_a_renamed_table(
    models: Path, server: Server, database: str, cli: Cli
) -> None:
    url = server.url(database)
    table = (
        'Table("users", metadata, Column("id", Integer, primary_key=True), Column("name", Text))\n'
    )
    write(models, table)
    assert cli("migrate", "dev", "-m", "First", url=url).code == 0
    (models.parent / "more.sql").write_text(
        "CREATE FUNCTION t() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END';"
        "CREATE TRIGGER t BEFORE UPDATE ON users FOR EACH ROW EXECUTE FUNCTION t();"
        "ALTER TABLE users ENABLE ROW LEVEL SECURITY;"
        "CREATE POLICY p ON users USING (id > 1); GRANT SELECT ON users TO PUBLIC;"
        "CREATE VIEW v AS SELECT name FROM users"
    )
    assert cli("migrate", "new", "-m", "More", "--sql", "more.sql", url=url).code == 0
    assert cli("migrate", url=url).code == 0
    write(models, table.replace('"users"', '"people"'))
    outcome = cli("migrate", "dev", "-m", "Rename", "--rename", "users:people", url=url)
    assert outcome.code == 0, outcome.err
    (rename,) = models.parent.glob("migrations/*_rename.py")
    assert "DROP" not in rename.read_text()
    assert cli("migrate", "check", url=url).code == 0


TANGLED = """
mood = Enum("sad", "ok", name="mood", metadata=metadata)
def others(n): return sorted({(n * 7 + 3) % 200, (n + 1) % 200, n} - {n} | ({n} if n % 5 == 0 else set()))
for n in range(200):
    Table(f"table_{n:03}", metadata, Column("id", BigInteger, primary_key=True),
          Column("mood", mood, server_default="ok", nullable=False), Column("name", Text, index=True),
          Column("at", DateTime(timezone=True), server_default=func.now()),
          CheckConstraint("length(name) < 9", name=f"short_{n}"),
          *(Column(f"to_{o}", BigInteger, ForeignKey(f"table_{o:03}.id", name=f"fk_{n}_{o}", use_alter=True))
            for o in others(n)), comment=f"number {n}")
"""


@pytest.mark.slow
def test_two_hundred_tables_that_refer_to_each_other(
    models: Path, server: Server, database: str, cli: Cli
) -> None:
    url = server.url(database)
    write(models, TANGLED)
    assert cli("migrate", "dev", "-m", "All", url=url).code == 0
    assert revisions(models).count("CREATE TYPE") == 1
    for arguments in (["check"], ["drift"], ["diff"]):
        outcome = cli("migrate", *arguments, url=url)
        assert outcome.code == 0, outcome.out
    write(models, TANGLED.replace('"sad", "ok"', '"ok", "sad"'))
    outcome = cli("migrate", "dev", "-m", "Order", url=url)
    assert outcome.code == 0, outcome.err
    assert cli("migrate", "check", url=url).code == 0


def test_models_that_name_a_schema(models: Path, server: Server, database: str, cli: Cli) -> None:
    url = server.url(database)
    tables = (
        'Table("users", metadata, Column("id", Integer, primary_key=True),'
        ' Column("mood", Enum("sad", name="mood", schema="billing")), schema="billing")\n'
        'Table("posts", metadata, Column("id", ForeignKey("billing.users.id"), primary_key=True),'
        ' schema="billing")\n'
    )
    write(models, tables)
    refused = cli("migrate", "dev", "-m", "First", url=url)
    assert refused.code == 3
    assert "name the schema billing, which the app does not" in refused.err
    assert cli("migrate", "dev", "-m", "First", "--schema", "billing", url=url).code == 0
    assert cli("migrate", "check", "--schema", "billing", url=url).code == 0
    assert "billing" not in revisions(models)


def test_two_schemas_of_one_database(models: Path, server: Server, database: str, cli: Cli) -> None:
    url = server.url(database)
    write(models, TANGLED.replace("range(200)", "range(9)").replace("% 200", "% 9"))
    assert cli("migrate", "dev", "-m", "First", "--schema", "one", url=url).code == 0
    assert cli("migrate", "--schema", "two", url=url).code == 0
    with server.connect(database) as connection:
        connection.execute("ALTER TYPE one.mood ADD VALUE 'glad'")
    assert cli("migrate", "check", "--schema", "two", url=url).code == 0
    drift = cli("migrate", "drift", "--schema", "one", "-o", "json", url=url)
    assert [each["object"] for each in drift.json["differences"]] == ["enum mood"]


OTHERS = (
    "CREATE TEXT SEARCH CONFIGURATION plain (COPY = simple)",
    "CREATE FUNCTION same(a text, b text) RETURNS bool LANGUAGE sql IMMUTABLE AS 'SELECT a = b'",
    "CREATE OPERATOR === (LEFTARG = text, RIGHTARG = text, FUNCTION = same)",
    "CREATE TABLE unused (id serial PRIMARY KEY, doc text)",
    "CREATE INDEX by_doc ON unused USING gin (to_tsvector('plain', doc))",
)


def test_what_is_found_but_not_written(
    project: Project, server: Server, database: str, cli: Cli
) -> None:
    url = server.url(database)
    project.revision(*OTHERS)
    assert cli("migrate", url=url).code == 0
    (project.migrations.parent / "more.sql").write_text("CREATE VIEW v AS SELECT id FROM unused")
    written = cli("migrate", "new", "-m", "A view", "--sql", "more.sql", url=url)
    assert written.code == 0, written.err
    assert cli("migrate", url=url).code == 0
    with server.connect(database) as connection:
        connection.execute("DROP OPERATOR === (text, text)")
        connection.execute(
            "ALTER TEXT SEARCH CONFIGURATION plain DROP MAPPING FOR asciiword, numword"
        )
    drift = cli("migrate", "drift", "-o", "json", url=url)
    assert [(each["change"], each["object"]) for each in drift.json["differences"]] == [
        ("missing", "other operator ===(text,text)"),
        ("changed", "other text search configuration plain"),
    ]
    refused = cli("migrate", "resolve", "--adopt-drift", "-m", "x", url=url)
    assert refused.code == 1
    assert "operator ===(text,text), text search configuration plain" in refused.err
    assert len(list(project.migrations.glob("*.py"))) == 2


def test_health_knows_what_a_name_with_a_dot_belongs_to(
    project: Project, server: Server, database: str, cli: Cli
) -> None:
    url = server.url(database)
    project.revision('CREATE TABLE "odd.name" (id int)', "CREATE VIEW v AS SELECT 1 AS one")
    assert cli("migrate", url=url).code == 0
    assert cli("health-check", "--check", "drift", url=url).code == 0
    with server.connect(database) as connection:
        connection.execute('ALTER TABLE "odd.name" ADD more int')
        connection.execute("GRANT SELECT ON v TO PUBLIC")
        connection.execute("CREATE TABLE not_the_apps (id int)")
    outcome = cli("health-check", "--check", "drift", "-o", "json", url=url)
    assert outcome.code == 1
    evidence = str(outcome.json["checks"][0])
    assert '"odd.name".more is extra' in evidence
    assert "grant view v to PUBLIC is extra" in evidence
    assert "not_the_apps" not in evidence


def test_privileges_that_the_server_grants_by_itself(
    models: Path, server: Server, database: str, cli: Cli
) -> None:
    url = server.url(database)
    with server.connect(database) as connection:
        connection.execute(
            "ALTER DEFAULT PRIVILEGES IN SCHEMA public GRANT SELECT ON TABLES TO PUBLIC"
        )
        connection.execute("ALTER DEFAULT PRIVILEGES GRANT INSERT ON TABLES TO PUBLIC")
    table = 'Table("users", metadata, Column("id", Integer, primary_key=True))\n'
    write(models, table)
    assert cli("migrate", "dev", "-m", "First", url=url).code == 0
    assert "GRANT" not in revisions(models)
    write(models, table + table.replace("users", "more"))
    assert cli("db", "push", url=url).code == 0
    write(models, table)
    assert "Nothing to push" in cli("db", "push", "--yes", url=url).out  # no revision made it
    with server.connect(database) as connection:
        connection.execute("DROP TABLE more")
        assert cli("migrate", "check", url=url).code == 0
        connection.execute("GRANT DELETE ON users TO PUBLIC")
    drift = cli("migrate", "drift", "-o", "json", url=url)
    assert [each["object"] for each in drift.json["differences"]] == ["grant table users to PUBLIC"]
    assert cli("migrate", "resolve", "--adopt-drift", "-m", "Delete", url=url).code == 0
    assert "GRANT DELETE ON TABLE users TO PUBLIC" in revisions(models)
    assert cli("migrate", "check", url=url).code == 0
