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


@pytest.mark.thorough
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


@pytest.mark.thorough
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


def on_a_terminal(models: Path, url: str, arguments: list[str], talk: dict[str, str]) -> int:
    """Run a subcommand of migrate on a terminal, and answer what it asks; return the exit code."""
    controller, terminal = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "leadctl", "migrate", *arguments],
        env=environment({"DATABASE_URL": url, "ENCRYPTION_KEY": KEY}),
        cwd=models.parent,
        stdin=terminal,
        stdout=subprocess.PIPE,
        stderr=terminal,
    )
    os.close(terminal)
    for question, answer in talk.items():
        read_until(controller, question)
        os.write(controller, f"{answer}\n".encode())
    out, _ = process.communicate(timeout=60)
    os.close(controller)
    assert b"renamed" not in out  # a question is no part of the result
    return process.returncode


USERS = 'Table("users", metadata, Column("id", Integer, primary_key=True), Column("name", Text))\n'


@pytest.fixture
def filled(models: Path, server: Server, database: str, cli: Cli) -> str:
    """The URL of a database whose users have 500 names, of 501 rows."""
    url = server.url(database)
    write(models, USERS)
    assert cli("migrate", "dev", "-m", "First", url=url).code == 0
    with server.connect(database) as connection:
        connection.execute(
            "INSERT INTO users (name) SELECT nullif(i, 501)::text FROM generate_series(1, 501) i"
        )
    return url


def count(server: Server, database: str, what: str) -> int:
    with server.connect(database) as connection:
        row = connection.execute(f"SELECT count({what}) FROM users").fetchone()  # type: ignore[arg-type]
    assert row is not None
    return int(row[0])


@pytest.mark.few(1)
@pytest.mark.parametrize(
    ("answer", "code", "said"),
    [
        ("y", 0, "RENAME COLUMN name TO full_name"),
        ("r", 0, "RENAME COLUMN name TO full_name"),
        ("n", 0, "Loses the column name of users"),
        ("drop", 0, "Loses the column name of users"),
        ("", 5, ""),
        ("what?", 5, ""),
    ],
)
def test_a_rename_is_asked_about_on_a_terminal(
    models: Path, filled: str, answer: str, code: int, said: str
) -> None:
    write(models, USERS.replace('"name"', '"full_name"'))
    question = "Is users.name renamed to full_name?"
    assert on_a_terminal(models, filled, ["new", "-m", "Names"], {question: answer}) == code
    assert said in revisions(models)
    assert len(list(models.parent.glob("migrations/*.py"))) == (2 if said else 1)


@pytest.mark.few(1)
@pytest.mark.parametrize(
    ("talk", "code", "names"),
    [
        ({"full_name?": "r"}, 0, 500),
        ({"full_name?": ""}, 5, 500),
        ({"full_name?": "d", "500 rows": ""}, 5, 500),
        ({"full_name?": "d", "500 rows": "n"}, 5, 500),
        ({"full_name?": "d", "500 rows": "y"}, 0, 0),
    ],
)
def test_dev_loses_nothing_by_enter(
    models: Path, filled: str, server: Server, database: str, talk: dict[str, str], code: int,
    names: int,
) -> None:  # fmt: skip
    write(models, USERS.replace('"name"', '"full_name"'))
    assert on_a_terminal(models, filled, ["dev", "-m", "Names"], talk) == code
    assert count(server, database, "full_name" if code == 0 else "name") == names
    assert len(list(models.parent.glob("migrations/*.py"))) == (1 if code else 2)


@pytest.mark.few(1)
@pytest.mark.parametrize(
    "change",
    [
        ('Column("name", Text)', "", "the column name of users: that of 500 rows"),
        (USERS, "", "the table users"),
        ('Column("name", Text)', 'Column("name", Integer)', "what integer cannot hold"),
    ],
)
def test_dev_wants_consent_to_lose_rows(
    models: Path, filled: str, server: Server, database: str, cli: Cli, change: tuple[str, str, str]
) -> None:
    old, new, said = change
    other = 'Table("others", metadata, Column("id", Integer, primary_key=True))\n'
    write(models, USERS.replace(old, new) + other)
    refused = cli("migrate", "dev", "-m", "x", url=filled)
    assert refused.code == 5
    assert f"It loses {said}" in refused.err
    assert len(list(models.parent.glob("migrations/*.py"))) == 1
    assert count(server, database, "name") == 500
    with server.connect(database) as connection:
        connection.execute("UPDATE users SET name = '7'")
    allowed = cli("migrate", "dev", "-m", "x", "--yes", url=filled)
    assert allowed.code == 0, allowed.err


def test_dev_asks_nobody_for_what_no_row_has(
    models: Path, filled: str, server: Server, database: str, cli: Cli
) -> None:
    with server.connect(database) as connection:
        connection.execute("UPDATE users SET name = NULL")
    write(models, USERS.replace('Column("name", Text)', ""))
    assert cli("migrate", "dev", "-m", "x", url=filled).code == 0


WEBSITE = USERS.replace("Text))", 'Text), Column("website", Text, nullable=False))')
REQUIRED = USERS.replace("Text))", "Text, nullable=False))")


@pytest.mark.thorough
@pytest.mark.parametrize(
    ("changed", "column", "rows", "value"),
    [
        (WEBSITE, "website", "501 rows of users have no users.website", "'x'"),
        (WEBSITE, "website", "501 rows of users have no users.website", "coalesce(name, 'none')"),
        (REQUIRED, "name", "1 row of users has no users.name", "'user ' || id"),
    ],
)
def test_dev_counts_the_rows_that_lack_what_becomes_required(
    models: Path, filled: str, server: Server, database: str, cli: Cli, changed: str, column: str,
    rows: str, value: str,
) -> None:  # fmt: skip
    write(models, changed)
    refused = cli("migrate", "dev", "-m", "x", url=filled)
    assert refused.code == 1
    assert rows in refused.err
    assert f"--fill \"users.{column}='…'\"" in refused.err
    for wrong, code in ((f"users.{column}=nothing", 2), ("users.id=1", 2), ("users=1", 2)):
        assert cli("migrate", "dev", "-m", "x", "--fill", wrong, url=filled).code == code
    assert len(list(models.parent.glob("migrations/*.py"))) == 1
    filling = f"users.{column}={value}"
    done = cli("migrate", "dev", "-m", "x", "--fill", filling, url=filled)
    assert done.code == 0, done.err
    assert count(server, database, column) == 501
    assert cli("migrate", "check", url=filled).code == 0
    with server.connect(database) as connection:
        row = connection.execute(
            "SELECT attnotnull FROM pg_attribute WHERE attrelid = 'users'::regclass"
            " AND attname = %s",
            (column,),
        ).fetchone()
    assert row == (True,)


@pytest.mark.thorough
@pytest.mark.parametrize(
    ("answer", "code", "value"),
    [("", 1, None), ("unknown", 0, "unknown"), ("it's", 0, "it's"), ("'a' || 'b'", 0, "ab")],
)
def test_a_value_or_sql_is_asked_for(
    models: Path, filled: str, server: Server, database: str, answer: str, code: int,
    value: str | None,
) -> None:  # fmt: skip
    write(models, WEBSITE)
    question = "501 rows of users have no users.website"
    assert on_a_terminal(models, filled, ["dev", "-m", "x"], {question: answer}) == code
    if value is not None:
        with server.connect(database) as connection:
            rows = connection.execute("SELECT DISTINCT website FROM users").fetchall()
        assert rows == [(value,)]


def read_until(descriptor: int, text: str) -> str:
    """Read what a terminal shows until it has a text."""
    shown = ""
    while text not in shown:
        ready, _, _ = select.select([descriptor], [], [], 60)
        assert ready, shown
        shown += os.read(descriptor, 4096).decode()
    return shown


@pytest.mark.thorough
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


TWO = """
mood = Enum("sad", "ok", name="mood", metadata=metadata)
Table("others", metadata, Column("id", Integer, primary_key=True))
Table("users", metadata, Column("id", Integer, primary_key=True), Column("name", Text),
      Column("mood", mood), Column("other_id", Integer))
"""
SAFE = {
    "index": ('Column("name", Text)', 'Column("name", Text, index=True)'),
    "unique": ('Column("name", Text)', 'Column("name", Text, unique=True)'),
    "foreign key": ('"other_id", Integer', '"other_id", ForeignKey("others.id")'),
    "check": ('Column("name", Text)', 'Column("name", Text), CheckConstraint("id > 0", name="c")'),
    "not null": ('Column("name", Text)', 'Column("name", Text, nullable=False)'),
    "required, quoted": (
        'Column("mood", mood)',
        'Column("mood", mood), Column("Order", Text, nullable=False)',
    ),
    "required": ('Column("name", Text)', 'Column("name", Text), Column("a", Text, nullable=False)'),
    "required, with a default": (
        'Column("name", Text)',
        'Column("name", Text), Column("a", Text, nullable=False, server_default="x")',
    ),
    "default that differs": (
        'Column("name", Text)',
        'Column("name", Text), Column("a", UUID, nullable=False,'
        ' server_default=text("gen_random_uuid()"))',
    ),
    "enum value that is used": (
        '"ok", name="mood", metadata=metadata)',
        '"ok", "new", name="mood", metadata=metadata)',
    ),
}
"""Every row of the table of safe forms in docs/migrate.md."""


@pytest.mark.few(1)
@pytest.mark.parametrize("change", SAFE)
def test_lint_passes_what_new_writes(
    models: Path, server: Server, database: str, cli: Cli, change: str
) -> None:
    url = server.url(database)
    old, new = SAFE[change]
    write(models, TWO)
    assert cli("migrate", "dev", "-m", "First", url=url).code == 0
    used = 'Column("mood", mood, server_default="new")' if "enum" in change else ""
    changed = TWO.replace(old, new)
    write(models, changed.replace('Column("mood", mood)', used) if used else changed)
    assert cli("migrate", "new", "-m", "Next", url=url).code == 0
    for lint in (["--all"], [sorted(models.parent.glob("migrations/*.py"))[-1].name[:19]]):
        found = cli("migrate", "lint", *lint, "-o", "json")
        assert found.code == 0, found.out
        assert found.json["database"] is None
    with server.connect(database) as connection:
        connection.execute(
            "INSERT INTO users SELECT n, repeat('x', 100) FROM generate_series(1, 100000) n"
        )
        connection.execute("ANALYZE")
    assert cli("migrate", "--plan", url=url).code == 0
    for lint in ([], ["--all"]):
        found = cli("migrate", "lint", *lint, "-o", "json", url=url)
        assert found.code == 0, found.out
        assert found.json["database"] is not None


@pytest.mark.parametrize(
    "check",
    ["CHECK (name IS NOT NULL OR id > 1)", "CHECK ((name IS NOT NULL) OR id > 1)",
     "CHECK (mood IS NOT NULL)", "CHECK (name IS NOT NULL) NOT VALID"],
)  # fmt: skip
def test_lint_is_not_deceived(models: Path, server: Server, cli: Cli, check: str) -> None:
    path = models.parent / "migrations" / "0001_first.py"
    path.write_text(
        '"""First."""\nfrom alembic import op\nrevision = "own_0001"\ndown_revision = None\n'
        f"def upgrade():\n    op.execute({f'ALTER TABLE users ADD CONSTRAINT c {check}'!r})\n"
        '    op.execute("ALTER TABLE users ALTER name SET NOT NULL")\n'
    )
    found = cli("migrate", "lint", "--all", "-o", "json")
    assert "blocking-scan" in [
        each["rule"] for each in found.json["revisions"][0]["findings"] if each["statement"] == 2
    ]


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
    assert "use the schema billing, which the app does not declare" in refused.err
    assert cli("migrate", "dev", "-m", "First", "--schema", "billing", url=url).code == 0
    assert cli("migrate", "check", "--schema", "billing", url=url).code == 0
    assert "billing" not in revisions(models)


@pytest.mark.thorough
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


@pytest.mark.thorough
def test_operators_and_text_search_are_adopted(
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
    adopted = cli("migrate", "resolve", "--adopt-drift", "-m", "x", url=url)
    assert adopted.code == 0, adopted.err
    assert len(list(project.migrations.glob("*.py"))) == 4  # the index in one of its own
    assert cli("migrate", "drift", url=url).code == 0
    assert cli("migrate", "down", "--yes", url=url).code == 0
    with server.connect(database) as connection:
        assert connection.execute("SELECT 'a' OPERATOR(public.===) 'a'::text").fetchone() == (True,)


def test_a_base_type_is_found_but_not_written(
    project: Project, server: Server, database: str, cli: Cli
) -> None:
    url = server.url(database)
    project.revision("CREATE TABLE unused (id int)")
    assert cli("migrate", url=url).code == 0
    with server.connect(database) as connection:
        for statement in (
            "CREATE TYPE odd",
            "CREATE FUNCTION odd_in(cstring) RETURNS odd LANGUAGE internal IMMUTABLE STRICT AS 'int4in'",
            "CREATE FUNCTION odd_out(odd) RETURNS cstring LANGUAGE internal IMMUTABLE STRICT AS 'int4out'",
            "CREATE TYPE odd (INPUT = odd_in, OUTPUT = odd_out, LIKE = int4)",
        ):
            connection.execute(statement)
    refused = cli("migrate", "resolve", "--adopt-drift", "-m", "x", url=url)
    assert refused.code == 1
    assert "These objects differ, but leadctl cannot write them: type odd" in refused.err
    assert len(list(project.migrations.glob("*.py"))) == 1


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


@pytest.mark.thorough
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


def test_lint_passes_what_version_0_1_wrote(models: Path, cli: Cli) -> None:
    """Its NOT NULL dropped the CHECK in the same statement; such files lie in histories."""
    check = "ALTER TABLE t ADD CONSTRAINT t_a_not_null CHECK (a IS NOT NULL) NOT VALID"
    steps = [
        "CREATE TABLE t (id int PRIMARY KEY, a text)",
        check,
        "ALTER TABLE t VALIDATE CONSTRAINT t_a_not_null",
        "ALTER TABLE t ALTER COLUMN a SET NOT NULL, DROP CONSTRAINT t_a_not_null",
    ]

    def write_history(statements: list[str]) -> None:
        for number, statement in enumerate(statements, 1):
            down = f'"own_{number - 1:04}"' if number > 1 else None
            (models.parent / "migrations" / f"{number:04}_x.py").write_text(
                f'"""Step {number}."""\nfrom alembic import op\nrevision = "own_{number:04}"\n'
                f"down_revision = {down}\ndef upgrade():\n    op.execute({statement!r})\n"
            )

    write_history(steps)
    found = cli("migrate", "lint", "--all", "-o", "json")
    assert found.code == 0, found.out
    assert found.json["database"] is None
    write_history([*steps[:2], "SELECT 1", steps[3].replace("t_a_not_null", "other_check")])
    assert cli("migrate", "lint", "--all").code == 1


def test_what_a_change_does_not_reach_is_not_made(
    server: Server, database: str, cli: Cli, tmp_path: Path
) -> None:
    """The server counts each table that is made, for good: a sequence is not rolled back."""
    with server.connect(database) as connection:
        for number in range(60):
            refers = f", other int REFERENCES t{number - 1}" if number else ""
            connection.execute(f"CREATE TABLE t{number} (id int PRIMARY KEY, a int{refers})")
    other = server.create(database)
    try:
        with server.connect(other) as connection:
            connection.execute("ALTER TABLE t30 ALTER COLUMN a TYPE bigint")
        with server.connect(database) as connection:
            connection.execute(
                "CREATE SCHEMA seen; CREATE SEQUENCE seen.tables;"
                " CREATE FUNCTION seen.count() RETURNS event_trigger LANGUAGE plpgsql AS"
                " $$BEGIN PERFORM nextval('seen.tables'); END$$;"
                " CREATE EVENT TRIGGER count_tables ON ddl_command_end WHEN TAG IN ('CREATE TABLE')"
                " EXECUTE FUNCTION seen.count()"
            )
        (tmp_path / "leadctl.toml").write_text('app = "own"\n[apps.own]\nmigrations = "."\n')
        url = server.url(database)
        written = cli("migrate", "diff", "database", server.url(other), "-o", "sql", url=url)
        assert written.code == 1, written.err
        assert "ALTER TABLE t30" in written.out
        assert "Not tried" not in written.out
        with server.connect(database) as connection:
            (made,) = connection.execute("SELECT last_value FROM seen.tables").fetchone() or (0,)
        assert 2 <= made <= 4  # t30, what it refers to, and what its key needs
    finally:
        server.drop(other)
