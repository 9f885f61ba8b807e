"""Revisions that leadctl writes into a team's own Alembic project, as `alembic revision` would.

The witness is Alembic: it reads the files, runs them in a database of its own, and writes the same
kind of file beside it, with the same settings.
"""

import os
import py_compile
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import Cli
from tests.history import alembic_init
from tests.servers import Server

MODELS = """\
import sqlalchemy as sa

metadata = sa.MetaData()
sa.Table("birds", metadata, sa.Column("id", sa.Integer, primary_key=True), sa.Column("name", sa.Text))
"""
ENV = """\
import os

from alembic import context
from sqlalchemy import create_engine

from {module} import metadata

config = context.config
{before}

def run_migrations_offline():
    context.configure(url="postgresql://", target_metadata=metadata, literal_binds=True{call})
    with context.begin_transaction():
        context.run_migrations()


def run_migrations_online():
    with create_engine(os.environ["ZOO_URL"]).connect() as connection:
        context.configure(connection=connection, target_metadata=metadata{call})
        with context.begin_transaction():
            context.run_migrations()


if context.is_offline_mode():
    run_migrations_offline()
else:
    run_migrations_online()
"""
NOWHERE = "postgresql+psycopg://nobody@127.0.0.1:1/none"


class Zoo:
    """A project of Alembic's, with a command line of both tools."""

    def __init__(self, folder: Path, cli: Cli, server: Server, database: str) -> None:
        self.folder = folder
        self.module = f"birds_{os.getpid()}_{folder.name.replace('-', '_')}"
        self._cli = cli
        self.url = server.url(database)
        alembic_init()
        (folder / f"{self.module}.py").write_text(MODELS)
        self.ini("")
        self.env()
        (folder / "leadctl.toml").write_text('app = "zoo"\n[apps.zoo]\nmigrations = "db"\n')

    @property
    def versions(self) -> Path:
        return self.folder / "db" / "versions"

    def files(self) -> list[Path]:
        return sorted(self.versions.rglob("*.py"), key=lambda path: path.stat().st_mtime_ns)

    def ini(self, more: str, sections: str = "") -> None:
        text = f"[alembic]\nscript_location = db\nprepend_sys_path = .\npath_separator = os\n{more}\n{sections}"
        (self.folder / "alembic.ini").write_text(text)

    def env(self, before: str = "", call: str = "") -> None:
        text = ENV.format(module=self.module, before=before, call=call)
        (self.folder / "db" / "env.py").write_text(text)

    def table(self, name: str) -> None:
        """Add a table to the models."""
        path = self.folder / f"{self.module}.py"
        path.write_text(
            f'{path.read_text()}sa.Table("{name}", metadata,'
            ' sa.Column("id", sa.Integer, primary_key=True))\n'
        )
        sys.modules.pop(self.module, None)

    def leadctl(self, *arguments: str, code: int = 0) -> str:
        done = self._cli(*arguments, url=self.url, env={"ZOO_URL": NOWHERE})
        assert done.code == code, f"{' '.join(arguments)}: {done.out}{done.err}"
        return done.out + done.err

    def alembic(self, *arguments: str, code: int = 0) -> str:
        done = subprocess.run(
            [sys.executable, "-m", "alembic", *arguments],
            cwd=self.folder,
            env={**os.environ, "ZOO_URL": self.url.replace("postgresql:", "postgresql+psycopg:")},
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == code, done.stdout + done.stderr
        return done.stdout


@pytest.fixture
def zoo(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cli: Cli, server: Server, database: str
) -> Zoo:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    return Zoo(tmp_path, cli, server, database)


@pytest.mark.thorough
def test_a_file_is_alembic_s_own_but_for_what_it_does(zoo: Zoo) -> None:
    zoo.leadctl("migrate", "new", "-m", "Birds: first")
    (ours,) = zoo.files()
    zoo.leadctl("migrate")
    zoo.alembic("check")
    zoo.alembic("revision", "-m", "Birds: first")
    theirs = zoo.files()[-1]

    def frame(path: Path) -> str:
        """Return what a file says besides ids, times and what its functions do."""
        varies = r"'?[0-9a-f]{12}'?|\d{4}-\d\d-\d\d [\d:.]+|Revises:.*|None"
        text = re.sub(varies, "?", path.read_text())
        return re.sub(r"(schema\.\"{3}\n).*?(\n\n\n|\n*\Z)", r"\1\2", text, flags=re.DOTALL)

    assert frame(ours).strip() == frame(theirs).strip()
    assert ours.name[12:] == theirs.name[12:]
    assert "auto generated" not in ours.read_text()


@pytest.mark.thorough
def test_names_templates_and_hooks_of_the_configuration(zoo: Zoo) -> None:
    (zoo.folder / "stamp.py").write_text(
        "import sys\nfrom pathlib import Path\n"
        "path = Path(sys.argv[1])\npath.write_text(path.read_text() + '# stamped\\n')\n"
        "print('a hook speaks')\n"
    )
    zoo.ini(
        "file_template = %%(year)d/%%(month).2d/v_%%(slug)s_%%(rev)s\n"
        "recursive_version_locations = true\ntruncate_slug_length = 6\ntimezone = Asia/Tokyo\n",
        f"[post_write_hooks]\nhooks = stamp\nstamp.type = exec\n"
        f"stamp.executable = {sys.executable}\nstamp.options = stamp.py REVISION_SCRIPT_FILENAME\n",
    )
    template = zoo.folder / "db" / "script.py.mako"
    template.write_text("# Copyright Zoo\n" + template.read_text())
    done = zoo.leadctl("migrate", "new", "-m", "Feathered friends", "-o", "json")
    assert done.strip().startswith("{")  # what a hook prints is no result
    (path,) = zoo.files()
    assert re.fullmatch(
        r"\d{4}/\d\d/v_feathe__[0-9a-f]{12}\.py", str(path.relative_to(zoo.versions))
    )
    text = path.read_text()
    assert text.startswith("# Copyright Zoo\n")
    assert text.endswith("# stamped\n")
    assert re.search(r"Create Date: .*\+09:00", text)
    zoo.leadctl("migrate")
    zoo.alembic("check")


DIRECTIVES = """
def change(context, revision, directives):
    assert context.opts["target_metadata"] is metadata
    (script,) = directives
    {change}

"""


@pytest.mark.thorough
@pytest.mark.parametrize(
    ("change", "expected"),
    [
        # Alembic's documentation: nothing is written where nothing is found.
        ("if script.upgrade_ops.is_empty(): directives[:] = []", r"[0-9a-f]{12}_birds\.py"),
        (
            "if config.cmd_opts.autogenerate: script.message = 'by env: ' + script.message",
            r"[0-9a-f]{12}_by_env_birds\.py",
        ),
        # and numbers that count.
        (
            "from alembic.script import ScriptDirectory\n"
            "    head = ScriptDirectory.from_config(context.config).get_current_head()\n"
            "    script.rev_id = f'{int(head or 0) + 1:04}'",
            r"0001_birds\.py",
        ),
        (
            "from alembic.operations import ops\n"
            "    script.upgrade_ops.ops.append(ops.ExecuteSQLOp('CREATE VIEW v AS SELECT 1 AS one'))\n"
            "    script.downgrade_ops.ops.insert(0, ops.ExecuteSQLOp('DROP VIEW v'))",
            r"[0-9a-f]{12}_birds\.py",
        ),
    ],
)
def test_env_py_has_a_say_in_what_is_written(zoo: Zoo, change: str, expected: str) -> None:
    zoo.env(DIRECTIVES.format(change=change), ", process_revision_directives=change")
    zoo.leadctl("migrate", "new", "-m", "Birds")
    (path,) = zoo.files()
    assert re.fullmatch(expected, path.name)
    zoo.leadctl("migrate")
    assert "(head)" in zoo.alembic("current")
    assert path.read_text().count("VIEW v") == change.count("VIEW v")
    zoo.leadctl("migrate", "check")
    if "VIEW" not in change:
        zoo.table("feathers")
        zoo.leadctl("migrate", "dev", "-m", "Feathers")
    zoo.leadctl("migrate", "down", "base", "--yes")
    zoo.alembic("upgrade", "head")


def test_a_hook_that_fails_after_the_file_was_written_is_told_as_that(zoo: Zoo) -> None:
    """Alembic leaves the file, and the next run would apply it."""
    zoo.ini("", "[post_write_hooks]\nhooks = f\nf.type = console_scripts\nf.entrypoint = nothing\n")
    said = zoo.leadctl("migrate", "new", "-m", "Birds", code=3)
    (path,) = zoo.files()
    assert f"{path.name} was written, then Alembic failed: Could not find entrypoint" in said
    zoo.leadctl("migrate", "new", "--empty", "-m", "No", "--head", "nothing", code=1)
    assert zoo.files() == [path]


@pytest.mark.thorough
def test_what_refers_to_a_table_that_a_hook_leaves_out_is_written(
    zoo: Zoo, server: Server, database: str
) -> None:
    """Another service made it, with its type: both count as there, as they do to Alembic."""
    with server.connect(database) as connection:
        connection.execute(
            "CREATE TYPE role AS ENUM ('vet'); CREATE TABLE owners (id serial PRIMARY KEY, role role)"
        )
    zoo.env("", ", include_object=lambda item, name, *_: name != 'owners'")
    path = zoo.folder / f"{zoo.module}.py"
    path.write_text(
        f'{path.read_text()}role = sa.Enum("vet", name="role")\n'
        'sa.Table("owners", metadata, sa.Column("id", sa.Integer, primary_key=True),'
        ' sa.Column("role", role))\n'
        'sa.Table("cages", metadata, sa.Column("id", sa.Integer, primary_key=True),'
        ' sa.Column("role", role), sa.Column("owner", sa.ForeignKey("owners.id")))\n'
    )
    zoo.leadctl("migrate", "new", "-m", "Cages")
    (written,) = zoo.files()
    assert ("CREATE TYPE" in written.read_text(), "TABLE owners" in written.read_text()) == (
        False,
        False,
    )
    zoo.leadctl("migrate")
    zoo.leadctl("migrate", "check")
    assert "No new upgrade operations" in zoo.alembic("check")
    zoo.table("feathers")
    zoo.leadctl("migrate", "dev", "-m", "Feathers")
    zoo.leadctl("migrate", "down", "base", "--yes")
    with server.connect(database) as connection:
        names = connection.execute(
            "SELECT relname FROM pg_class WHERE relkind = 'r' AND relnamespace ="
            " 'public'::regnamespace"
        )
        assert {name for (name,) in names} == {"owners", "alembic_version"}
    zoo.alembic("upgrade", "head")


def test_a_hook_that_drops_a_revision_is_named(zoo: Zoo) -> None:
    change = DIRECTIVES.format(change="directives[:] = []")
    zoo.env(change, ", process_revision_directives=change")
    said = zoo.leadctl("migrate", "new", "-m", "Birds", code=1)
    assert "process_revision_directives left 1 of 1 revisions unwritten" in said
    assert zoo.files() == []
    zoo.env(
        DIRECTIVES.format(change="raise LookupError('no')"), ", process_revision_directives=change"
    )
    said = zoo.leadctl("migrate", "new", "-m", "Birds", code=3)
    assert "process_revision_directives failed: LookupError: no" in said


@pytest.mark.thorough
def test_a_chain_of_files_and_a_merge(zoo: Zoo, server: Server, database: str) -> None:
    zoo.ini("file_template = %%(slug)s_%%(rev)s\n")
    zoo.leadctl("migrate", "new", "-m", "Birds")
    zoo.leadctl("migrate")
    with server.connect(database) as connection:
        connection.execute("INSERT INTO birds SELECT n, 'x' || n FROM generate_series(1, 9) AS n")
    path = zoo.folder / f"{zoo.module}.py"
    path.write_text(
        path.read_text().replace('"name", sa.Text', '"name", sa.Text, nullable=False, unique=True')
    )
    sys.modules.pop(zoo.module, None)
    zoo.leadctl("migrate", "new", "-m", 'Names "must" be')
    chain = zoo.files()[1:]
    assert len(chain) > 2
    assert all(
        "autocommit_block" not in each.read_text() or "CONCURRENTLY" in each.read_text()
        for each in chain
    )
    assert "1 revision" not in zoo.leadctl("migrate", "status", code=1)
    zoo.leadctl("migrate", "lint", "--all")
    zoo.leadctl("migrate")
    zoo.alembic("check")
    head = zoo.alembic("heads").split()[0]
    for name in ("left", "right"):
        zoo.alembic("revision", "-m", name, "--head", head, "--splice")
    zoo.leadctl("migrate", "new", "--merge")
    assert len(zoo.alembic("heads").split()) == 2  # an id and (head)
    zoo.leadctl("migrate")
    zoo.leadctl("migrate", "down", "base", "--yes")
    zoo.alembic("upgrade", "head")
    zoo.alembic("check")


@pytest.mark.thorough
def test_tokens_prefixes_and_variables_of_the_template(zoo: Zoo) -> None:
    template = zoo.folder / "db" / "script.py.mako"
    text = template.read_text()
    for name in ("upgrades", "downgrades"):
        text = text.replace(name, f"our_{name}")
    template.write_text(text.replace('"""${message}', '"""${message} (${team})'))
    zoo.ini("revision_environment = true\n")
    call = ', upgrade_token="our_upgrades", downgrade_token="our_downgrades"'
    zoo.env(call=f'{call}, template_args={{"team": "birds & co"}}')
    zoo.leadctl("migrate", "new", "-m", "Birds")
    zoo.leadctl("migrate")
    zoo.leadctl("migrate", "new", "--empty", "-m", "By hand")
    assert [path.read_text().splitlines()[0] for path in zoo.files()] == [
        '"""Birds (birds & co)',
        '"""By hand (birds & co)',
    ]
    zoo.leadctl("migrate")
    zoo.alembic("check")


FLASK = """\
from contextlib import contextmanager


class App:
    name = None

    @contextmanager
    def app_context(self):
        before, self.name = self.name, "birds of flask"
        yield
        self.name = before


current_app = App()
"""
FLASK_CLI = """\
from flask import current_app


class NoAppException(Exception):
    pass


class ScriptInfo:
    def __init__(self, named):
        self.load_app = lambda: current_app


def load_dotenv():
    pass
"""


@pytest.mark.thorough
def test_a_template_may_ask_flask_as_env_py_does(zoo: Zoo, monkeypatch: pytest.MonkeyPatch) -> None:
    """What Flask-Migrate writes for several databases asks in both, and loops over them in env.py."""
    for name in ("flask", "flask.cli"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    (zoo.folder / "flask").mkdir()
    (zoo.folder / "flask" / "__init__.py").write_text(FLASK)
    (zoo.folder / "flask" / "cli.py").write_text(FLASK_CLI)
    zoo.env(before="from flask import current_app\nassert current_app.name")
    environment = zoo.folder / "db" / "env.py"
    text = environment.read_text()
    inner = "            context.run_migrations()\n\n\nif"
    assert inner in text
    loop = '            for each in ["only"]:\n                context.run_migrations()\n\n\nif'
    environment.write_text(text.replace(inner, loop))
    template = zoo.folder / "db" / "script.py.mako"
    asks = '<% from flask import current_app %>"""${current_app.name}'
    template.write_text(template.read_text().replace('"""${message}', asks))
    zoo.leadctl("migrate", "new", "-m", "Birds")
    zoo.leadctl("migrate")
    (path,) = zoo.files()
    assert path.read_text().startswith('"""birds of flask')
    zoo.leadctl("migrate", "check")


@pytest.mark.thorough
def test_a_project_without_a_template_has_alembic_s(zoo: Zoo) -> None:
    (zoo.folder / "db" / "script.py.mako").unlink()
    zoo.leadctl("migrate", "new", "-m", "Birds")
    zoo.leadctl("migrate")
    zoo.alembic("check")


@pytest.mark.thorough
def test_branches_are_made_and_walked_as_with_alembic(
    zoo: Zoo, server: Server, database: str
) -> None:
    (zoo.folder / "plugin").mkdir()
    zoo.ini(f"version_locations = db/versions{os.pathsep}plugin\n")
    zoo.leadctl("migrate", "new", "-m", "Birds", "--version-path", "db/versions", "--rev-id", "b1")
    zoo.leadctl("migrate")
    at = ("--version-path", "plugin", "--branch-label", "plugin")
    zoo.leadctl(
        "migrate", "new", "--empty", "-m", "Plug-in", "--head", "base", *at, "--rev-id", "p1"
    )
    zoo.table("feathers")
    zoo.leadctl("migrate")
    said = zoo.leadctl("migrate", "new", "-m", "Feathers", code=3)
    assert "for a new revision, name the one that it follows with --head" in said
    zoo.leadctl("migrate", "new", "-m", "Feathers", "--head", "plugin", "--rev-id", "p2",
                "--depends-on", "b1")  # fmt: skip
    (path,) = (zoo.folder / "plugin").glob("p2*.py")
    assert "depends_on: Union[str, Sequence[str], None] = 'b1'" in path.read_text()
    assert sorted(zoo.alembic("heads").split()[::2]) == ["b1", "p2"] or "p2" in zoo.alembic("heads")
    zoo.leadctl("migrate", "new", "--empty", "-m", "Eggs", "--head", "b1", "--rev-id", "b2")
    zoo.leadctl("migrate", "new", "--empty", "-m", "x", "--head", "b1", code=2)
    zoo.leadctl("migrate", "new", "--empty", "-m", "x", "--head", "b1", "--rev-id", "b2", code=2)
    zoo.leadctl("migrate", "new", "--empty", "-m", "x", "--head", "nothing", code=1)
    zoo.leadctl(
        "migrate", "new", "--empty", "-m", "x", "--head", "b2", "--version-path", ".", code=2
    )
    zoo.leadctl("migrate", "new", "--merge", "--head", "b2", code=2)

    def applied() -> set[str]:
        with server.connect(database) as connection:
            rows = connection.execute("SELECT version_num FROM alembic_version").fetchall()
        return {name for (name,) in rows}

    def both(ours: list[str], theirs: list[str]) -> None:
        """Go one step with leadctl, back to where it was, and the same with Alembic."""
        before = applied()
        zoo.leadctl("migrate", *ours, *(["--yes"] if ours[0] == "down" else []))
        reached = applied()
        zoo.alembic("downgrade", "base")
        for each in sorted(before):
            zoo.alembic("upgrade", each)
        assert applied() == before
        zoo.alembic(*theirs)
        assert applied() == reached

    assert applied() == {"b1", "p1"}
    both(["up", "plugin@+1"], ["upgrade", "plugin@+1"])
    both(["up", "b1+1"], ["upgrade", "b1+1"])
    both(["up", "heads"], ["upgrade", "heads"])
    both(["down", "plugin@-1"], ["downgrade", "plugin@-1"])
    zoo.leadctl("migrate", "up", "heads")
    both(["down", "p1"], ["downgrade", "p1"])
    zoo.leadctl("migrate", "up", "heads")
    both(["down", "b1"], ["downgrade", "b1"])
    zoo.leadctl("migrate", "up", "heads")
    both(["down", "plugin@base"], ["downgrade", "plugin@base"])
    assert "0 revisions of the branch plugin" in zoo.leadctl("migrate", "down", "plugin@-1", code=1)
    zoo.leadctl("migrate", "up", "+1")
    zoo.leadctl("migrate", "up", "+9", code=1)


def test_compiled_revisions_are_not_taken_for_none(zoo: Zoo) -> None:
    zoo.leadctl("migrate", "new", "-m", "Birds")
    (path,) = zoo.files()
    py_compile.compile(str(path), cfile=str(path.with_suffix(".pyc")))
    zoo.ini("sourceless = true\n")
    zoo.leadctl("migrate", "lint")
    path.unlink()
    for verb in ("status", "up", "check"):
        assert "is a compiled revision without its source" in zoo.leadctl("migrate", verb, code=3)
