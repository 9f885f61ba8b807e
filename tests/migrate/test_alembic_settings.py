"""Alembic projects, each with one setting that real ones have, under Alembic and under leadctl.

Plain `alembic` is the witness: it makes one database and leadctl another, pg_dump says whether they
are the same, and each tool is asked about what the other one made.  Wherever a project's env.py
would connect to under leadctl, there is a trap.
"""

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NoReturn

import pytest

from leadctl.migrate.trial_database import NotTried
from leadctl.postgres.binaries import server_binaries
from tests.conftest import Cli
from tests.migrate.test_running import psql
from tests.servers import Server

ENV = """\
import os

from alembic import context
from sqlalchemy import create_engine{imports}

from {module} import metadata
{before}
with create_engine(os.environ["ZOO_URL"]).connect() as connection:
    {connected}
    context.configure(connection=connection, target_metadata=metadata{call})
    with context.begin_transaction():
        context.run_migrations({run})
"""
MODELS = """\
import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import INET

metadata = sa.MetaData({convention})
sa.Table("animals", metadata, sa.Column("id", sa.Integer, primary_key=True), {animals})
"""
PLANTS = (
    'sa.Table("plants", metadata, sa.Column("id", sa.Integer, primary_key=True),'
    ' sa.Column("name", sa.Text))\n'
)
REVISION = """\
import sqlalchemy as sa
from alembic import op

revision = "{id}"
down_revision = {down}
{more}

def upgrade():
    {up}


def downgrade():
    {undo}
"""


def table(name: str, *columns: str) -> str:
    rest = ", ".join(columns or ['sa.Column("name", sa.Text)'])
    return f'op.create_table("{name}", sa.Column("id", sa.Integer, primary_key=True), {rest})'


@dataclass(frozen=True)
class Revision:
    id: str
    path: str
    up: str
    undo: str
    down: str = "None"
    more: str = ""


ANIMALS = Revision("a1", "db/versions/a1_animals.py", table("animals"), 'op.drop_table("animals")')


def first(up: str) -> tuple[Revision, ...]:
    """Return the revision that makes the animals, alone, of what it does."""
    return (Revision("a1", "db/versions/a1.py", up, ANIMALS.undo),)


def plants(path: str = "db/versions/a2_plants.py", down: str = '"a1"', more: str = "") -> Revision:
    return Revision("a2", path, table("plants"), 'op.drop_table("plants")', down, more)


@dataclass(frozen=True)
class Kind:
    """What a project has beside what every one has."""

    ini: str | None = "script_location = db\nprepend_sys_path = .\n"
    toml: str = ""
    revisions: tuple[Revision, ...] = (ANIMALS,)
    models: str = ""
    animals: str = 'sa.Column("name", sa.Text)'
    convention: str = ""
    call: str = ""
    run: str = ""
    before: str = ""
    imports: str = ""
    connected: str = "pass"
    source: str = "."
    sql: str = ""
    """What a person did in the database before."""
    files: dict[str, str] = field(default_factory=dict)


WITH_SCHEMA: dict[str, Any] = {
    "revisions": (
        ANIMALS,
        Revision(
            "a2", "db/versions/a2.py",
            table("plants").removesuffix(")") + ', schema="app")',
            'op.drop_table("plants", schema="app")', '"a1"',
        ),
    ),
    "imports": ", text",
    "connected": 'connection.execute(text("CREATE SCHEMA IF NOT EXISTS app"))\n'
    "    connection.commit()",
}  # fmt: skip
"""A table of another schema, which env.py makes."""
KINDS = {
    "a package's folder": Kind(
        "script_location = pkg_{n}:db\nprepend_sys_path = .\n",
        revisions=(Revision("a1", "pkg_{n}/db/versions/a1.py", ANIMALS.up, ANIMALS.undo),),
        files={"pkg_{n}/__init__.py": ""},
    ),
    "a subpackage's folder": Kind(
        "script_location = pkg_{n}.store:db\nprepend_sys_path = .\n",
        revisions=(Revision("a1", "pkg_{n}/store/db/versions/a1.py", ANIMALS.up, ANIMALS.undo),),
        files={"pkg_{n}/__init__.py": "", "pkg_{n}/store/__init__.py": ""},
    ),
    "pyproject.toml": Kind(
        None, '[tool.alembic]\nscript_location = "%(here)s/db"\nprepend_sys_path = ["."]\n'
    ),
    "two locations": Kind(
        "script_location = db\nprepend_sys_path = .\n"
        "version_locations = %(here)s/db/versions %(here)s/more/versions\n",
        revisions=(ANIMALS, plants("more/versions/a2.py")),
        models=PLANTS,
    ),
    "locations of os": Kind(
        "script_location = db\nprepend_sys_path = .\npath_separator = os\n"
        f"version_locations = db/versions{os.pathsep}more\n",
        revisions=(ANIMALS, plants("more/a2.py")),
        models=PLANTS,
    ),
    "recursive": Kind(
        "script_location = db\nprepend_sys_path = .\nrecursive_version_locations = true\n",
        revisions=(Revision("a1", "db/versions/2024/05/a1.py", ANIMALS.up, ANIMALS.undo),),
    ),
    "locations set in code": Kind(
        revisions=(Revision("a1", "db/versions/postgresql/a1.py", ANIMALS.up, ANIMALS.undo),),
        before="context.script.version_locations = ['db/versions/postgresql']\n",
    ),
    "a source folder": Kind("script_location = db\nprepend_sys_path = src\n", source="src"),
    "another folder of modules": Kind(
        "script_location = db\nprepend_sys_path = lib\n", source="lib"
    ),
    "a constant's version table": Kind(before='NAME = "zoo_version"\n', call=", version_table=NAME"),
    "options in a dict": Kind(before='OPTIONS = {"version_table": "vt"}\n', call=", **OPTIONS"),
    "a version table elsewhere": Kind(
        call=', version_table_schema="ops"', sql="CREATE SCHEMA ops"
    ),
    "a schema made by env.py": Kind(
        call=', version_table="vt", version_table_schema="ops"',
        imports=", text",
        connected='connection.execute(text("CREATE SCHEMA IF NOT EXISTS ops"))\n'
        "    connection.commit()",
    ),
    "two labelled heads": Kind(
        revisions=(
            Revision("a1", "db/versions/a1.py", ANIMALS.up, ANIMALS.undo, more='branch_labels = ("expand",)\n'),
            plants(down="None", more='branch_labels = ("contract",)\n'),
        ),
        models=PLANTS,
    ),
    "a plug-in's branch": Kind(
        "script_location = db\nprepend_sys_path = .\nversion_locations = db/versions plugin\n",
        revisions=(ANIMALS, plants("plugin/a2.py", "None")),
        models=PLANTS,
    ),
    "depends_on": Kind(
        "script_location = db\nprepend_sys_path = .\nversion_locations = plugin db/versions\n",
        revisions=(
            Revision(
                "0a", "plugin/0a.py",
                table("plants", 'sa.Column("eaten_by", sa.Integer, sa.ForeignKey("animals.id"))'),
                'op.drop_table("plants")', more='depends_on = "a1"\n',
            ),
            ANIMALS,
        ),
        models='sa.Table("plants", metadata, sa.Column("id", sa.Integer, primary_key=True),'
        ' sa.Column("eaten_by", sa.Integer, sa.ForeignKey("animals.id")))\n',
    ),
    "an index left out": Kind(
        call=', include_object=lambda o, name, kind, *_: (kind, name) != ("index", "by_hand")',
        revisions=first(
            f'{ANIMALS.up}\n    op.create_index("by_hand", "animals", ["name"])'
        ),
    ),
    "a table left out, with its numbers and its type": Kind(
        models='sa.Table("plants", metadata, sa.Column("id", sa.Integer, primary_key=True),'
        ' sa.Column("state", sa.Enum("wild", "grown", name="state")), info={"other": True})\n',
        call=", include_object=lambda item, *_: not item.info.get('other')",
    ),
    "a table that models lack left out, with its numbers and its type": Kind(
        revisions=(
            *first(table("animals", 'sa.Column("name", sa.Enum("a", name="kinds"))')),
            Revision("a2", "db/versions/a2.py",
                     table("plants", 'sa.Column("state", sa.Enum("wild", name="states"))'),
                     'op.drop_table("plants"); op.execute("DROP TYPE states")', '"a1"'),
        ),
        animals='sa.Column("name", sa.Enum("a", name="kinds"))',
        call=", include_object=lambda item, name, kind, reflected, other: not "
        "(kind == 'table' and reflected and other is None)",
    ),
    "a table of somebody else's that is referred to": Kind(
        animals='sa.Column("owner", sa.Integer, sa.ForeignKey("owners.id"))',
        models='sa.Table("owners", metadata, sa.Column("id", sa.Integer, primary_key=True))\n',
        revisions=first(
            table("animals", 'sa.Column("owner", sa.Integer, sa.ForeignKey("owners.id"))')
        ),
        call=", include_object=lambda item, name, *_: name != 'owners'",
        sql="CREATE TABLE owners (id serial PRIMARY KEY)",
    ),
    "names that a convention gives later": Kind(
        animals='sa.Column("parent", sa.Integer, sa.ForeignKey("animals.id")),'
        ' sa.Column("n", sa.Integer, sa.CheckConstraint("n > 0", name="few"))',
        convention='naming_convention={"pk": "pk_%(table_name)s", "ck": "ck_%(constraint_name)s",'
        ' "fk": "fk_%(table_name)s_%(column_0_name)s"}',
        revisions=first(
            'op.execute("CREATE TABLE animals (id serial PRIMARY KEY,'
            ' parent int REFERENCES animals, n int CHECK (n > 0))")'
        ),
    ),
    "a column left out": Kind(
        call=', include_object=lambda o, name, kind, *_: (kind, name) != ("column", "old")',
        revisions=first(
            table("animals", 'sa.Column("name", sa.Text)', 'sa.Column("old", sa.Text)')
        ),
    ),
    "an operator class that models do not say": Kind(
        animals='sa.Column("name", sa.Text, index=True), sa.Column("address", INET),'
        ' sa.Index("ix_animals_name", "name"),'
        ' sa.Index("by_address", "address", postgresql_using="gist")',
        convention='naming_convention={"ix": "ix_%(table_name)s_%(column_0_name)s"}',
        revisions=first(
            "from sqlalchemy.dialects.postgresql import INET\n    "
            + table("animals", 'sa.Column("name", sa.Text)', 'sa.Column("address", INET)')
            + '\n    op.create_index("ix_animals_name", "animals", ["name"])'
            '\n    op.execute("CREATE INDEX by_address ON animals USING gist (address inet_ops)")'
        ),
    ),
    "types not compared": Kind(
        animals='sa.Column("name", sa.String(20))', call=", compare_type=False"
    ),
    "types by a function": Kind(
        animals='sa.Column("name", sa.String(20)), sa.Column("size", sa.BigInteger)',
        before="import sqlalchemy as sa\n\n"
        "def same(context, found, model, found_type, model_type):\n"
        "    assert context.opts['compare_type'] is same and found.table.name == 'animals'\n"
        "    assert (found.name, model.table.name) == (model.name, 'animals')\n"
        "    texts = isinstance(found_type, sa.TEXT) and isinstance(model_type, sa.String)\n"
        "    return False if texts or isinstance(model_type, sa.BigInteger) else None\n",
        call=", compare_type=same",
        revisions=first(
            table("animals", 'sa.Column("name", sa.Text)', 'sa.Column("size", sa.Integer)')
        ),
    ),
    "defaults that nobody compares": Kind(
        animals='sa.Column("name", sa.Text), sa.Column("n", sa.Integer, server_default="2")',
        models=PLANTS.replace("primary_key=True", "primary_key=True, autoincrement=False"),
        revisions=(
            Revision(
                "a1", "db/versions/a1.py",
                table("animals", 'sa.Column("name", sa.Text, server_default="x")',
                      'sa.Column("n", sa.Integer, server_default="1")'), ANIMALS.undo,
            ),
            plants(),
        ),
    ),
    "options of many kinds": Kind(
        call=", version_table_pk=False, transaction_per_migration=True, render_as_batch=True,"
        " user_module_prefix='x.', render_item=lambda *_: False, include_schemas=True,"
        " include_name=lambda name, kind, parents: kind != 'schema' or name is None",
        sql="CREATE SCHEMA IF NOT EXISTS {other}; CREATE TABLE {other}.theirs (id int)",
    ),
    "defaults by a function": Kind(
        animals='sa.Column("name", sa.Text, server_default="one"),'
        ' sa.Column("born", sa.DateTime, server_default=sa.func.current_timestamp())',
        before="def same(context, found, model, there, default, said):\n"
        "    assert (there, said) in {(\"'ONE'::text\", 'one'), ('now()', 'CURRENT_TIMESTAMP')}, (there, said)\n"
        "    assert default is model.server_default\n"
        "    return False\n",
        call=", compare_server_default=same",
        revisions=first(
            table("animals", 'sa.Column("name", sa.Text, server_default="ONE")',
                  'sa.Column("born", sa.DateTime, server_default=sa.func.now())')
        ),
    ),
    "constraints left out": Kind(
        animals='sa.Column("name", sa.Text), sa.Column("parent", sa.Integer)',
        call=", include_object=lambda o, name, kind, *_: kind not in"
        ' {"unique_constraint", "foreign_key_constraint"}',
        revisions=first(
            table("animals", 'sa.Column("name", sa.Text)', 'sa.Column("parent", sa.Integer)',
                  'sa.UniqueConstraint("name", name="u")',
                  'sa.ForeignKeyConstraint(["parent"], ["animals.id"], name="f")')
        ),
    ),
    "names that models leave to the server": Kind(
        animals='sa.Column("name", sa.Text, unique=True),'
        ' sa.Column("parent", sa.Integer, sa.ForeignKey("animals.id"))',
        call=", include_object=lambda o, name, kind, reflected, other: not (reflected and not other"
        " and kind != 'table')",
        revisions=first(
            table("animals", 'sa.Column("name", sa.Text)', 'sa.Column("parent", sa.Integer)',
                  'sa.UniqueConstraint("name", name="u of us")',
                  'sa.ForeignKeyConstraint(["parent"], ["animals.id"], name="f")',
                  'sa.ForeignKeyConstraint(["id"], ["animals.id"], name="g")')
        ),
    ),
    "a foreign key that no server makes, left out": Kind(
        animals='sa.Column("name", sa.Text), sa.Column("parent", sa.Text),'
        ' sa.ForeignKeyConstraint(["parent"], ["animals.name"], name="f")',
        call=", include_object=lambda o, name, kind, *_: kind != 'foreign_key_constraint'",
        revisions=first(
            table("animals", 'sa.Column("name", sa.Text)', 'sa.Column("parent", sa.Text)')
        ),
    ),
    "settings of the ini in a revision": Kind(
        "script_location = db\nprepend_sys_path = .\ntenant = acme\n",
        revisions=first(
            "from alembic import context\n"
            '    assert context.config.get_main_option("tenant") == "acme"\n'
            '    assert op.get_context().opts["target_metadata"] is not None\n'
            f"    {ANIMALS.up}"
        ),
    ),
    "a URL that env.py completes": Kind(
        "script_location = db\nprepend_sys_path = .\nsqlalchemy.url = postgresql://%(DB_HOST)s/zoo\n",
        before='section = context.config.config_ini_section\n'
        'context.config.set_section_option(section, "DB_HOST", "localhost")\n'
        'assert context.config.get_section(section)["sqlalchemy.url"].endswith("localhost/zoo")\n',
    ),
    "a naming convention": Kind(
        convention='naming_convention={"uq": "uq_%(table_name)s_%(column_0_name)s"}',
        animals='sa.Column("name", sa.Text), sa.UniqueConstraint("name")',
        revisions=(
            Revision(
                "a1", "db/versions/a1.py",
                table("animals", 'sa.Column("name", sa.Text)', 'sa.UniqueConstraint("name")'),
                ANIMALS.undo,
            ),
            Revision(
                "a2", "db/versions/a2.py",
                'op.drop_constraint("uq_animals_name", "animals")\n'
                '    op.create_unique_constraint("uq_animals_name", "animals", ["name"])',
                'op.execute("SELECT 1")',
                '"a1"',
            ),
        ),
    ),
    "an enum named twice": Kind(
        animals='sa.Column("state", sa.Enum("open", "closed", name="state"))',
        models='sa.Table("plants", metadata, sa.Column("id", sa.Integer, primary_key=True),'
        ' sa.Column("state", sa.Enum("open", "closed", name="state")))\n',
        revisions=(
            Revision(
                "a1", "db/versions/a1.py",
                table("animals", 'sa.Column("state", sa.Enum("open", "closed", name="state"))'),
                ANIMALS.undo,
            ),
            Revision(
                "a2", "db/versions/a2.py",
                table("plants", 'sa.Column("state", sa.Enum("open", "closed", name="state"))'),
                'op.drop_table("plants")', '"a1"',
            ),
        ),
    ),
    "arguments for the revisions": Kind(
        run="tenant=1",
        revisions=(Revision("a1", "db/versions/a1.py", ANIMALS.up, ANIMALS.undo),),
    ),
    "no offline mode": Kind(
        before='if context.is_offline_mode():\n    raise SystemExit("not supported")\n'
    ),
    "several metadata": Kind(
        models="other = sa.MetaData()\n" + PLANTS.replace("metadata", "other"),
        revisions=(ANIMALS, plants()),
        before="from {module} import other\nmetadata = [metadata, other]\n",
    ),
    "a begun transaction": Kind(
        imports=", text", connected='connection.execute(text("SELECT 1"))\n    connection.commit()'
    ),
    "a lock that is polled for, and a computed version table": Kind(
        before='NAME = "zoo_" + "version"\n',
        imports=", text",
        connected='while not connection.execute(text("SELECT pg_try_advisory_xact_lock(7)")).scalar():\n'
        "        pass\n    connection.commit()",
        call=", version_table=NAME",
    ),
    "a path among the options of connecting": Kind(
        sql="CREATE SCHEMA app",
        before="make = create_engine\n\n"
        'create_engine = lambda url: make(url, connect_args={"options": "-csearch_path=app,public"})\n',
    ),
    "a path that a listener sets": Kind(
        sql="CREATE SCHEMA app",
        imports=", event",
        before="make = create_engine\n\ndef create_engine(url):\n    engine = make(url)\n"
        '    @event.listens_for(engine, "connect", insert=True)\n'
        "    def set_path(driver, record):\n"
        "        before, driver.autocommit = driver.autocommit, True\n"
        '        driver.cursor().execute("SET SESSION search_path=\'app\'")\n'
        "        driver.autocommit = before\n"
        "    return engine\n",
    ),
    "a version table in a schema of the models": Kind(
        models='sa.Table("plants", metadata, sa.Column("id", sa.Integer, primary_key=True),'
        ' sa.Column("name", sa.Text), schema="app")\n',
        **WITH_SCHEMA,
        call=', version_table_schema="app", include_schemas=True,'
        " include_name=lambda name, kind, _: kind != 'schema' or name in {None, 'app'}",
    ),
    "a table that is there alone, left out": Kind(
        sql="CREATE TABLE theirs (id serial PRIMARY KEY, name text UNIQUE)",
        call=", include_object=lambda item, name, kind, reflected, other: not "
        "(kind == 'table' and reflected and other is None)",
    ),
    "an engine of the project's": Kind(
        files={"engine_{n}.py": "import os\nimport sqlalchemy\n"
               'engine = sqlalchemy.create_engine(os.environ["ZOO_URL"])\n'},
        before="import engine_{n}\ncreate_engine = lambda _url: engine_{n}.engine\n",
    ),
}  # fmt: skip
"""By what it has."""


DIFFERING = {
    "a default that is compared": Kind(
        animals='sa.Column("name", sa.Text, server_default="x")',
        call=", compare_server_default=True",
    ),
    "a foreign key that no server makes": Kind(
        animals='sa.Column("name", sa.Text), sa.Column("parent", sa.Text),'
        ' sa.ForeignKeyConstraint(["parent"], ["animals.name"])',
        revisions=first(
            table("animals", 'sa.Column("name", sa.Text)', 'sa.Column("parent", sa.Text)')
        ),
    ),
    "a foreign key of another rule": Kind(
        animals='sa.Column("name", sa.Text),'
        ' sa.Column("parent", sa.Integer, sa.ForeignKey("animals.id", ondelete="CASCADE"))',
        revisions=first(
            table("animals", 'sa.Column("name", sa.Text)', 'sa.Column("parent", sa.Integer)',
                  'sa.ForeignKeyConstraint(["parent"], ["animals.id"], name="f")')
        ),
    ),
    "a default of which the function does not know": Kind(
        animals='sa.Column("name", sa.Text, server_default="x")',
        call=", compare_server_default=lambda *_: None",
    ),
    "a type that is compared by default": Kind(animals='sa.Column("name", sa.String(20))'),
    "a type of which the function does not know": Kind(
        animals='sa.Column("name", sa.String(20))', call=", compare_type=lambda *_: None"
    ),
    "a column of a schema that a hook takes alone": Kind(
        models='sa.Table("plants", metadata, sa.Column("id", sa.Integer, primary_key=True),'
        ' sa.Column("name", sa.Text), sa.Column("size", sa.Integer), schema="app")\n',
        **WITH_SCHEMA,
        call=', include_schemas=True, include_object=lambda item, name, kind, *_:'
        " not (kind == 'table' and item.schema != 'app')",
    ),
    "an identity, whatever is said of defaults": Kind(
        animals='sa.Column("name", sa.Text), sa.Column("n", sa.Integer, sa.Identity())',
        revisions=first(
            table("animals", 'sa.Column("name", sa.Text)',
                  'sa.Column("n", sa.Integer, sa.Identity(always=True), nullable=False)')
        ),
    ),
}  # fmt: skip
"""What models and migrations differ in, to Alembic too."""
ONLY_TO_LEADCTL = {"an identity, whatever is said of defaults"}
"""Alembic compared it until 1.16, and leaves it out with the defaults since."""


@pytest.fixture
def trap() -> Iterator[socket.socket]:
    """A port where somebody listens, and nobody should come."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        listening.setblocking(False)
        yield listening


NOWHERE = {"ZOO_URL": "postgresql+psycopg://nobody@127.0.0.1:1/none"}
"""What an env.py of these projects would connect to by itself."""


def enter(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Work in a folder, from which what can be imported is forgotten again."""
    monkeypatch.chdir(folder)
    monkeypatch.setattr(sys, "path", list(sys.path))


def make(kind: Kind, folder: Path, number: int) -> None:
    module, n = f"zoo_{number}_{os.getpid()}", f"{number}_{os.getpid()}"

    def write(path: str, text: str) -> None:
        place = folder / path.replace("{n}", n)
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(text.replace("{n}", n).replace("{module}", module))

    for path, text in kind.files.items():
        write(path, text)
    if kind.ini is not None:
        write("alembic.ini", f"[alembic]\n{kind.ini}")
    write("pyproject.toml", f'[project]\nname = "zoo"\nversion = "1"\n\n{kind.toml}')
    models = MODELS.format(convention=kind.convention, animals=kind.animals)
    write(f"{kind.source}/{module}.py", models + kind.models)
    where = Path(kind.revisions[-1].path).parts
    scripts = "/".join(where[: where.index("db") + 1]) if "db" in where else "db"
    write(
        f"{scripts}/env.py",
        ENV.format(
            imports=kind.imports,
            module=module,
            before=kind.before,
            connected=kind.connected,
            call=kind.call,
            run=kind.run,
        ),
    )
    write(f"{scripts}/script.py.mako", "")
    for each in kind.revisions:
        text = REVISION.format(
            id=each.id, down=each.down, more=each.more, up=each.up, undo=each.undo
        )
        if kind.run:
            text = text.replace("grade()", "grade(tenant)")
        write(each.path, text)


def alembic(folder: Path, url: str, *commands: tuple[str, ...], fails: bool = False) -> str:
    """Run Alembic's own commands in a process; return what it says."""
    calls = "".join(f"main({list(command)!r})\n" for command in commands)
    done = subprocess.run(
        [sys.executable, "-c", f"from alembic.config import main\n{calls}"],
        cwd=folder,
        env={**os.environ, "ZOO_URL": url.replace("postgresql://", "postgresql+psycopg://")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode != 0) == fails, done.stdout + done.stderr
    return done.stdout + done.stderr if fails else done.stdout


def dumped(server: Server, database: str) -> list[str]:
    """Return a database's definitions by pg_dump, without leadctl's own."""
    dump = server_binaries().path("pg_dump")
    text = subprocess.run(
        [str(dump), "-s", "-N", "leadctl", server.url(database)],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    return [line for line in text.splitlines() if not line.startswith(("--", "\\"))]


LITTLE_MORE = {
    "a begun transaction",
    "a subpackage's folder",
    "an engine of the project's",
    "another folder of modules",
    "arguments for the revisions",
    "locations of os",
}


@pytest.mark.few(2)
@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=[pytest.mark.thorough] if name in LITTLE_MORE else [])
        for name in KINDS
    ],
)
def test_leadctl_and_alembic_agree(
    name: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    server: Server,
    database: str,
    cli: Cli,
    trap: socket.socket,
) -> None:
    kind = KINDS[name]
    enter(tmp_path, monkeypatch)
    make(kind, tmp_path, list(KINDS).index(name))
    ours, theirs = server.url(database), server.create()
    nowhere = f"postgresql+psycopg://nobody@127.0.0.1:{trap.getsockname()[1]}/none"

    def leadctl(*arguments: str, url: str) -> None:
        done = cli(*arguments, url=url, env={"ZOO_URL": nowhere})
        assert done.code == 0, f"{' '.join(arguments)}: {done.out}{done.err}"

    try:
        for each in (database, theirs):
            with server.connect(each) as connection:
                if kind.sql:
                    connection.execute(kind.sql.format(other="elsewhere").encode())
        alembic(tmp_path, server.url(theirs), ("upgrade", "heads"))
        leadctl("init", "--app", "zoo", url=ours)
        leadctl("migrate", "--plan", url=ours)
        leadctl("migrate", url=ours)
        assert dumped(server, database) == dumped(server, theirs)
        said = alembic(tmp_path, ours, ("current",), ("check",))
        assert said.split("\n")[0], "alembic finds no revision applied"
        for url in (ours, server.url(theirs)):
            leadctl("migrate", "status", url=url)
            leadctl("migrate", "check", url=url)
            done = cli("migrate", url=url, env={"ZOO_URL": nowhere})
            assert done.out.startswith("Nothing to do"), done.out
        leadctl("migrate", "down", "--steps", str(len(kind.revisions)), "--yes", url=ours)
        with server.connect(database) as connection:
            left = connection.execute(
                "SELECT count(*) FROM pg_class WHERE relname IN ('animals', 'plants')"
            ).fetchone()
        assert left == (0,)
        with pytest.raises(BlockingIOError):
            trap.accept()
    finally:
        server.drop(theirs)


@pytest.mark.few(2)
@pytest.mark.parametrize("name", DIFFERING)
def test_what_differs_to_alembic_differs_to_leadctl(
    name: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    server: Server,
    database: str,
    cli: Cli,
) -> None:
    enter(tmp_path, monkeypatch)
    make(DIFFERING[name], tmp_path, 100 + list(DIFFERING).index(name))
    url = server.url(database)
    assert cli("init", "--app", "zoo", url=url, env=NOWHERE).code == 0
    assert cli("migrate", url=url, env=NOWHERE).code == 0
    if name not in ONLY_TO_LEADCTL:
        assert "New upgrade operations detected" in alembic(tmp_path, url, ("check",), fails=True)
    done = cli("migrate", "check", url=url, env=NOWHERE)
    assert (done.code, "Models and migrations differ" in done.out) == (1, True), done.out + done.err


@pytest.mark.thorough
def test_a_foreign_key_that_no_server_makes_is_named(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    server: Server,
    database: str,
    cli: Cli,
) -> None:
    """What is compared goes on, and what would write it says which table refers to what."""
    enter(tmp_path, monkeypatch)
    make(DIFFERING["a foreign key that no server makes"], tmp_path, 300)
    url = server.url(database)
    assert cli("init", "--app", "zoo", url=url, env=NOWHERE).code == 0
    assert cli("migrate", url=url, env=NOWHERE).code == 0
    done = cli("migrate", "check", url=url, env=NOWHERE)
    assert "foreign key of animals (parent) to animals (name)" in done.err
    assert "animals_parent_fkey" in done.out
    assert "leadctl_lent" not in done.out + done.err
    refused = cli("migrate", "new", "-m", "key", url=url, env=NOWHERE)
    assert (refused.code, "ALTER TABLE animals ADD CONSTRAINT" in refused.err) == (1, True)
    types = 'sa.Column("name", sa.Text), sa.Column("n", sa.Integer, sa.ForeignKey("animals.name"))'
    (module,) = tmp_path.glob("zoo_*.py")
    text = module.read_text()
    module.write_text(text.replace(DIFFERING["a foreign key that no server makes"].animals, types))
    monkeypatch.delitem(sys.modules, module.stem)
    done = cli("migrate", "check", url=url, env=NOWHERE)
    assert (done.code, "foreign key of animals (n) to animals (name)" in done.err) == (1, True)


@pytest.mark.few(1)
@pytest.mark.parametrize(
    "made",
    [
        "there = sa.inspect(op.get_bind())\n"
        '    if not (there.has_table("animals") or "animals" in there.get_table_names()):\n'
        '        op.create_table("animals", sa.Column("id", sa.Integer, primary_key=True))',
        'animals = sa.Table("animals", sa.MetaData(), sa.Column("id", sa.Integer, primary_key=True))'
        "\n    animals.metadata.create_all(op.get_bind())",
    ],
    ids=["one", "several"],
)
def test_what_a_revision_looks_for_is_looked_for_in_the_scratch_schema(
    made: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    server: Server,
    database: str,
    cli: Cli,
) -> None:
    """The live schema is on its path, since it has an extension; what it has is not made twice."""
    looks = (
        'kinds = sa.Enum("a", name="kinds")\n    kinds.create(op.get_bind())\n'
        f"    {made}\n"
        '    op.add_column("animals", sa.Column("name", kinds))'
    )
    animals = 'sa.Column("name", sa.Enum("a", name="kinds"))'
    enter(tmp_path, monkeypatch)
    make(Kind(animals=animals, revisions=first(looks)), tmp_path, 401)
    url = server.url(database)
    with server.connect(database) as connection:
        connection.execute("CREATE EXTENSION citext")
    alembic(tmp_path, url, ("upgrade", "head"), ("check",))
    assert cli("init", "--app", "zoo", url=url, env=NOWHERE).code == 0
    done = cli("migrate", "check", url=url, env=NOWHERE)
    assert (done.code, "cannot be run" in done.err) == (0, False), done.out + done.err


NAMES_PUBLIC = {
    "an added column": 'op.add_column("animals", sa.Column("legs", sa.Integer), schema="public")',
    "text": 'op.execute("ALTER TABLE public.animals ADD COLUMN legs integer")',
    "a block": (
        'op.execute("DO $$ BEGIN EXECUTE \'ALTER TABLE " + "public.animals"'
        ' + " ADD COLUMN legs integer\'; END $$")'
    ),
    "another path": (
        'op.execute("SET LOCAL search_path = public")\n'
        '    op.add_column("animals", sa.Column("legs", sa.Integer))'
    ),
    "what the driver sends": (
        "op.get_bind().connection.cursor().execute("
        '"ALTER TABLE \\"public\\".animals ADD COLUMN legs integer")'
    ),
    "what is looked for": (
        'there = sa.inspect(op.get_bind()).get_columns("animals", schema="public")\n'
        '    if "legs" not in [each["name"] for each in there]:\n'
        '        op.add_column("animals", sa.Column("legs", sa.Integer))'
    ),
    "a failure that is hidden": (
        "try:\n"
        '        op.execute("ALTER TABLE public.animals ADD COLUMN legs integer")\n'
        "    except Exception:\n        pass"
    ),
    "a sequence": (
        "op.execute(\"SELECT setval('public.animals_id_seq', 700)\")\n"
        '    op.add_column("animals", sa.Column("legs", sa.Integer))'
    ),
    "a sequence on a path that is shared": (
        "op.execute(\"SELECT setval('by_hand', 700)\")\n"
        '    op.add_column("animals", sa.Column("legs", sa.Integer))'
    ),
    "a table on a path that is shared": (
        'op.execute("DROP TABLE IF EXISTS left_over")\n'
        '    op.add_column("animals", sa.Column("legs", sa.Integer))'
    ),
}
FOUND_BY_PATH = {"a sequence on a path that is shared", "a table on a path that is shared"}


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=[] if name == "text" else [pytest.mark.thorough])
        for name in NAMES_PUBLIC
    ],
)
def test_a_revision_that_names_the_schema_does_not_reach_it_when_it_is_tried(
    name: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    server: Server,
    database: str,
    cli: Cli,
) -> None:
    """Its table is held by another session all the while, and its sequence stays where it is."""
    enter(tmp_path, monkeypatch)
    legs = Revision("a2", "db/versions/a2_legs.py", NAMES_PUBLIC[name], "pass", down='"a1"')
    animals = 'sa.Column("name", sa.Text), sa.Column("legs", sa.Integer)'
    number = 500 + list(NAMES_PUBLIC).index(name)
    make(Kind(animals=animals, revisions=(ANIMALS, legs)), tmp_path, number)
    url = server.url(database)
    with server.connect(database) as held:
        held.execute("CREATE SEQUENCE by_hand" if name in FOUND_BY_PATH else "SELECT")
        if name in FOUND_BY_PATH:
            held.execute("CREATE EXTENSION citext")
        alembic(tmp_path, url, ("upgrade", "head"), ("check",))
        held.execute("CREATE TABLE left_over ()" if name in FOUND_BY_PATH else "SELECT")
        held.execute("INSERT INTO animals (name) VALUES ('cat'), ('dog')")
        held.execute("SELECT setval('animals_id_seq', 5)")
        held.execute("BEGIN")
        held.execute("LOCK TABLE animals IN ACCESS SHARE MODE")
        if name in FOUND_BY_PATH:
            held.execute("LOCK TABLE left_over IN ACCESS SHARE MODE")
        if name == "a sequence on a path that is shared":
            held.execute("SELECT setval('by_hand', 6)")
        assert cli("init", "--app", "zoo", url=url, env=NOWHERE).code == 0
        done = cli("migrate", "check", url=url, env=NOWHERE)
        assert done.code == (1 if name in FOUND_BY_PATH else 0), done.out + done.err
        assert "lock" not in done.err
        rows = held.execute("SELECT count(*), (SELECT last_value FROM animals_id_seq) FROM animals")
        assert rows.fetchone() == (2, 5)
        if name == "a sequence on a path that is shared":
            assert held.execute("SELECT last_value FROM by_hand").fetchone() == (6,)


_SAYS = "connection.execute(text({!r}))"
_IF_THERE = "DO $$ BEGIN IF to_regclass('{0}animals') IS NOT NULL THEN {1}; END IF; END $$"
_ROWS = _SAYS.format(_IF_THERE.format("public.", "UPDATE public.animals SET name = 'x'"))
_NUMBER = "PERFORM setval('animals_id_seq', 700)"
ENDS = {
    "text": 'op.execute("COMMIT")',
    "text with more": 'op.execute("COMMIT; SELECT 1; BEGIN")',
    "the driver": "op.get_bind().connection.commit()",
    "the driver, undoing": "op.get_bind().connection.rollback()",
    "text that undoes": 'op.execute("ROLLBACK")',
}


@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=[] if name == "text" else [pytest.mark.thorough]) for name in ENDS],
)
def test_a_revision_that_ends_its_transaction_leaves_nothing_of_a_scratch(
    name: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    server: Server,
    database: str,
    cli: Cli,
) -> None:
    """The live schemas stand aside in it, under other names: a commit would leave them so."""
    kind = KINDS["a version table in a schema of the models"]
    ends = Revision(
        "a3",
        "db/versions/a3.py",
        f'{ENDS[name]}\n    op.add_column("animals", sa.Column("legs", sa.Integer))',
        'op.drop_column("animals", "legs")',
        '"a2"',
    )
    legs = f'{kind.animals}, sa.Column("legs", sa.Integer)'
    enter(tmp_path, monkeypatch)
    number = 900 + list(ENDS).index(name)
    make(replace(kind, animals=legs, revisions=(*kind.revisions, ends)), tmp_path, number)
    url = server.url(database)
    with server.connect(database) as connection:
        alembic(tmp_path, url, ("upgrade", "a2"))
        connection.execute("ALTER TABLE animals ADD COLUMN legs integer")
        connection.execute("UPDATE app.alembic_version SET version_num = 'a3'")
    before = dumped(server, database)
    assert cli("init", "--app", "zoo", url=url, env=NOWHERE).code == 0
    done = cli("migrate", "check", url=url, env=NOWHERE)
    assert dumped(server, database) == before
    undoes = "undo" in name
    assert ("A revision rolls back" in done.out + done.err) == undoes, done.out + done.err
    assert done.code == 0, done.out + done.err


ENV_NAMES_PUBLIC = {
    "rows": _ROWS,
    "a sequence by a path": "\n    ".join(
        (
            _SAYS.format("CREATE SCHEMA IF NOT EXISTS public"),
            _SAYS.format("SET search_path TO public"),
            _SAYS.format(_IF_THERE.format("", _NUMBER)),
        )
    ),
    "a sequence by a path that is selected": "\n    ".join(
        (
            _SAYS.format("SELECT set_config('search_path', 'public', false)"),
            _SAYS.format(_IF_THERE.format("", _NUMBER)),
        )
    ),
    "several at once": _SAYS.format(f"SET search_path TO public; {_IF_THERE.format('', _NUMBER)}"),
    "what is hidden": f"try:\n        {_ROWS}\n    except Exception:\n        pass",
}


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=[] if name == "rows" else [pytest.mark.thorough])
        for name in ENV_NAMES_PUBLIC
    ],
)
def test_what_env_py_itself_says_does_not_reach_the_schema_when_a_history_is_tried(
    name: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    server: Server,
    database: str,
    cli: Cli,
) -> None:
    """Its table is held by another session all the while, and its sequence stays where it is."""
    enter(tmp_path, monkeypatch)
    number = 700 + list(ENV_NAMES_PUBLIC).index(name)
    connected = f"{ENV_NAMES_PUBLIC[name]}\n    connection.commit()"
    make(Kind(imports=", text", connected=connected), tmp_path, number)
    url = server.url(database)
    alembic(tmp_path, url, ("upgrade", "head"))
    with server.connect(database) as held:
        held.execute("INSERT INTO animals (name) VALUES ('cat')")
        held.execute("SELECT setval('animals_id_seq', 5)")
        assert cli("init", "--app", "zoo", url=url, env=NOWHERE).code == 0
        held.execute("BEGIN")
        held.execute("LOCK TABLE animals IN EXCLUSIVE MODE")
        done = cli("migrate", "check", url=url, env=NOWHERE)
        assert (done.code, "lock" in done.err) == (0, False), done.out + done.err
        rows = held.execute("SELECT name, (SELECT last_value FROM animals_id_seq) FROM animals")
        assert rows.fetchall() == [("cat", 5)]


@pytest.mark.thorough
def test_a_value_that_is_the_schema_s_name_needs_no_database(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    server: Server,
    database: str,
    cli: Cli,
) -> None:
    """Where no database can be made, it is a value; what means the schema says what it wants."""

    def none(*_: object) -> NoReturn:
        raise NotTried("the role may make none")

    monkeypatch.setattr("leadctl.migrate.scratch_models.empty_database", none)
    enter(tmp_path, monkeypatch)
    kinds = 'sa.Column("name", sa.Enum("public", "private", name="kinds"), server_default="public")'
    up = f"{table('animals', kinds)}\n    op.execute(\"UPDATE animals SET name = 'public'\")"
    make(Kind(animals=kinds, revisions=first(up)), tmp_path, 460)
    url = server.url(database)
    alembic(tmp_path, url, ("upgrade", "head"), ("check",))
    assert cli("init", "--app", "zoo", url=url, env=NOWHERE).code == 0
    done = cli("migrate", "check", url=url, env=NOWHERE)
    assert (done.code, "cannot be run" in done.err) == (0, False), done.out + done.err
    (file,) = tmp_path.glob("db/versions/*.py")
    text = file.read_text()
    looks = 'sa.inspect(op.get_bind()).has_table("plants", schema="public")'
    for other in (
        text.replace("UPDATE animals", "UPDATE public.animals"),
        text.replace("op.execute(", f"{looks}\n    op.execute("),
    ):
        assert other != text
        file.write_text(other)
        done = cli("migrate", "check", url=url, env=NOWHERE)
        assert "CREATEDB" in done.out + done.err, done.out + done.err


def stones(name: str, down: str) -> Revision:
    return Revision(name, f"db/versions/{name}.py", table(f"stones_{name}"), "pass", down)


FOR_PSQL = {
    "branches that are merged": (
        ANIMALS,
        stones("b1", '"a1"'),
        stones("c1", '"a1"'),
        Revision("m1", "db/versions/m1.py", "pass", "pass", '("b1", "c1")'),
    ),
    "a dependency that goes on": (
        ANIMALS,
        stones("a2", '"a1"'),
        Revision(
            "0p",
            "db/versions/0p.py",
            table("plants"),
            "pass",
            more='branch_labels = ("p",)\ndepends_on = "a1"\n',
        ),
    ),
    "heads of their own": KINDS["two labelled heads"].revisions,
    "long ids": (ANIMALS, stones("b" * 50, '"a1"'), stones("c" * 40, f"{'b' * 50!r}")),
}


@pytest.mark.thorough
@pytest.mark.parametrize(
    "before", [(), (("upgrade", "a1"),), (("upgrade", "a1"), ("downgrade", "base"))]
)
@pytest.mark.parametrize("name", FOR_PSQL)
def test_what_psql_applies_is_recorded_as_alembic_does(
    name: str,
    before: tuple[tuple[str, ...], ...],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    server: Server,
    database: str,
    cli: Cli,
) -> None:
    """Of branches, each statement of the record meets the row that is there."""
    enter(tmp_path, monkeypatch)
    number = 500 + 10 * list(FOR_PSQL).index(name) + len(before)
    make(Kind(revisions=FOR_PSQL[name]), tmp_path, number)
    theirs = server.create()
    try:
        for each in (database, theirs):
            with server.connect(each) as connection:
                connection.execute(
                    "CREATE TABLE alembic_version (version_num varchar(99) PRIMARY KEY)"
                    if name == "long ids"
                    else "SELECT"
                )
            alembic(tmp_path, server.url(each), *before)
        alembic(tmp_path, server.url(theirs), ("upgrade", "heads"))
        assert cli("init", "--app", "zoo", url=server.url(database), env=NOWHERE).code == 0
        script = cli("migrate", "--sql", url=server.url(database), env=NOWHERE)
        assert script.code == 0, script.err
        psql(server, database, script.out)
        assert dumped(server, database) == dumped(server, theirs)
        with server.connect(database) as ours, server.connect(theirs) as witness:
            recorded, expected = (
                each.execute("SELECT version_num FROM alembic_version ORDER BY 1").fetchall()
                for each in (ours, witness)
            )
        assert recorded == expected
    finally:
        server.drop(theirs)


@pytest.mark.thorough
def test_bare_heads_that_are_applied_are_compared(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    server: Server,
    database: str,
    cli: Cli,
) -> None:
    """Nothing tells them apart, so `upgrade head` refuses them; what both made is compared."""
    bare = (ANIMALS, plants(down="None"))
    enter(tmp_path, monkeypatch)
    make(Kind(revisions=bare, models=PLANTS), tmp_path, 400)
    url = server.url(database)
    assert cli("init", "--app", "zoo", url=url, env=NOWHERE).code == 0
    for apply in (
        lambda: alembic(tmp_path, url, ("upgrade", "heads")),
        lambda: cli("migrate", "up", "heads", url=url, env=NOWHERE),
    ):
        apply()
        assert "No new upgrade operations" in alembic(tmp_path, url, ("check",))
        done = cli("migrate", "check", url=url, env=NOWHERE)
        assert done.code == 0, done.out + done.err
        alembic(tmp_path, url, ("upgrade", "head"), fails=True)
        assert cli("migrate", url=url, env=NOWHERE).code == 3
        alembic(tmp_path, url, ("downgrade", "base"))
    alembic(tmp_path, url, ("upgrade", "a1"))
    assert "not up to date" in alembic(tmp_path, url, ("check",), fails=True)
    done = cli("migrate", "check", url=url, env=NOWHERE)
    assert (done.code, "2 heads" in done.err) == (3, True)


@pytest.mark.thorough
def test_a_merge_that_also_changes_something_is_rehearsed(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    server: Server,
    database: str,
    cli: Cli,
) -> None:
    """Alembic applied it, of which leadctl has no record; it is undone as it was rehearsed."""
    legs = 'op.add_column("plants", sa.Column("legs", sa.Integer))'
    merge = Revision(
        "a3", "db/versions/a3.py", legs, 'op.drop_column("plants", "legs")', '["a1", "a2"]'
    )
    more = PLANTS.replace('"name", sa.Text)', '"name", sa.Text), sa.Column("legs", sa.Integer)')
    enter(tmp_path, monkeypatch)
    make(Kind(revisions=(ANIMALS, plants(down="None"), merge), models=more), tmp_path, 450)
    url = server.url(database)
    alembic(tmp_path, url, ("upgrade", "head"), ("check",))
    assert cli("init", "--app", "zoo", url=url, env=NOWHERE).code == 0
    unknown = cli("migrate", "history", url=url, env=NOWHERE)
    assert (unknown.code, "recorded nothing" in unknown.out) == (0, True), unknown.out
    back = ("migrate", "down", "--rehearse", "-o", "json")
    rehearsed = cli(*back, url=url, env=NOWHERE)
    (told,) = rehearsed.json["revisions"]
    assert (told["revision"], told["verdict"], told["loses"]) == (
        "a3",
        "lossy",
        ["the column legs of plants"],
    )
    alembic(tmp_path, url, ("downgrade", "a1"))
    assert "legs" not in "\n".join(dumped(server, database))


CANNOT_BE_MADE = ['"other"', '"address", unique=True', 'sa.text("upper(name)")']


@pytest.mark.few(1)
@pytest.mark.parametrize("now", CANNOT_BE_MADE)
def test_an_index_that_cannot_be_made_is_no_other(
    now: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    server: Server,
    database: str,
    cli: Cli,
) -> None:
    name = "an operator class that models do not say"
    kind = replace(
        KINDS[name],
        animals='sa.Column("name", sa.Text), sa.Column("address", INET),'
        f' sa.Column("other", INET), sa.Index("by_address", {now}, postgresql_using="gist")',
    )
    enter(tmp_path, monkeypatch)
    make(kind, tmp_path, 200 + CANNOT_BE_MADE.index(now))
    url = server.url(database)
    assert cli("init", "--app", "zoo", url=url, env=NOWHERE).code == 0
    assert cli("migrate", url=url, env=NOWHERE).code == 0
    done = cli("migrate", "check", url=url, env=NOWHERE)
    assert done.code == 1
    assert "The index by_address of the models cannot be made" in done.err


def test_tenants_do_not_share_a_version_table(
    server: Server, database: str, cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is applied to one tenant would count as applied to all, whose schemas stay empty."""
    url = server.url(database)
    make(KINDS["a version table elsewhere"], tmp_path, 900)
    (tmp_path / "leadctl.toml").write_text(
        'app = "zoo"\n[apps.zoo]\nmigrations = "db"\n[fleet.tenants]\nschemas = "t_*"\n'
    )
    monkeypatch.setenv("ZOO_URL", url)
    with server.connect(database) as connection:
        connection.execute("CREATE SCHEMA ops; CREATE SCHEMA t_1; CREATE SCHEMA t_2")
    for command in (
        ("migrate", "--fleet", "tenants"),
        ("migrate", "status", "--fleet", "tenants"),
        ("tenants", "create", "t_3", "--yes"),
    ):
        refused = cli(*command, url=url)
        assert (refused.code, "ops.alembic_version" in refused.err) == (3, True), refused.err
    with server.connect(database) as connection:
        rows = connection.execute(
            "SELECT nspname FROM pg_namespace WHERE nspname ~ '^t_|^leadctl$'"
        )
        assert {name for (name,) in rows} == {"t_1", "t_2"}
