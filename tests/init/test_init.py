"""`leadctl init` in projects with models of their own, of every kind that SQLAlchemy has."""

import json
import os
import pty
import shlex
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from leadctl.apps.metadata import load_metadata
from leadctl.apps.registry import find_app
from leadctl.catalog.definitions import compare, read_catalog
from leadctl.postgres.connect import connect
from leadctl.postgres.engine import run_engine
from leadctl.postgres.target import resolve
from leadctl.settings import load_settings
from tests.conftest import Cli, Outcome
from tests.processes import environment, run
from tests.servers import Server

DECLARATIVE = """\
import enum
from sqlalchemy import ForeignKey
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

class Color(enum.Enum):
    red = "red"
    blue = "blue"

class Base(DeclarativeBase):
    pass

class Cat(Base):
    __tablename__ = "cats"
    id: Mapped[int] = mapped_column(primary_key=True)
    color: Mapped[Color]
    favourite_id: Mapped[int | None] = mapped_column(ForeignKey("toys.id"))

class Toy(Base):
    __tablename__ = "toys"
    id: Mapped[int] = mapped_column(primary_key=True)
    color: Mapped[Color]
    owner_id: Mapped[int | None] = mapped_column(ForeignKey("cats.id"))
"""
DATACLASSES = """\
from sqlalchemy.orm import DeclarativeBase, Mapped, MappedAsDataclass, mapped_column

class Model(MappedAsDataclass, DeclarativeBase):
    pass

class Cat(Model):
    __tablename__ = "cats"
    id: Mapped[int] = mapped_column(primary_key=True, init=False)
    name: Mapped[str]
"""
IMPERATIVE = """\
from dataclasses import dataclass
from sqlalchemy import Column, Integer, Table, Text
from sqlalchemy.orm import registry

mapper = registry()
cats = Table("cats", mapper.metadata, Column("id", Integer, primary_key=True), Column("name", Text))

@dataclass
class Cat:
    name: str

mapper.map_imperatively(Cat, cats)
"""
SQLMODEL = """\
from sqlmodel import Field, SQLModel

class Cat(SQLModel, table=True):
    id: int | None = Field(default=None, primary_key=True)
    name: str = Field(index=True)
"""
SCHEMAS = """\
import enum
from sqlalchemy import Enum, ForeignKey
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

class Base(DeclarativeBase):
    pass

class Cat(Base):
    __tablename__ = "cats"
    id: Mapped[int] = mapped_column(primary_key=True)

class Payment(enum.Enum):
    card = "card"
    cash = "cash"

class Invoice(Base):
    __tablename__ = "invoices"
    __table_args__ = {"schema": "billing"}
    id: Mapped[int] = mapped_column(primary_key=True)
    number: Mapped[str] = mapped_column(index=True, unique=True)
    payment: Mapped[Payment] = mapped_column(Enum(Payment, schema="billing"))
    cat_id: Mapped[int] = mapped_column(ForeignKey("cats.id"))
"""
ONE_SCHEMA = """\
from sqlalchemy import MetaData
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

class Base(DeclarativeBase):
    metadata = MetaData(schema="vet")

class Cat(Base):
    __tablename__ = "cats"
    id: Mapped[int] = mapped_column(primary_key=True)
"""
KINDS = {
    "declarative": (DECLARATIVE, "Base"),
    "dataclasses": (DATACLASSES, "Model"),
    "imperative": (IMPERATIVE, "mapper"),
    "sqlmodel": (SQLMODEL, "SQLModel"),
    "schemas": (SCHEMAS, "Base"),
    "one schema": (ONE_SCHEMA, "Base"),
}
PLACES = {"schemas": {"schemas": ["billing"]}, "one schema": {"schema": "vet"}}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty project; what its modules are called, no other test imports."""
    monkeypatch.setattr(sys, "path", list(sys.path))
    return tmp_path


def module(folder: Path, text: str) -> str:
    """Write a models module under a name of its own; return the name."""
    name = f"models_{folder.name}".replace("-", "_").replace("[", "_").replace("]", "_")
    (folder / f"{name}.py").write_text(text)
    return name


def declared(folder: Path) -> dict[str, str]:
    config = tomllib.loads((folder / "leadctl.toml").read_text())
    (app,) = config["apps"].values()
    return dict(app)


@pytest.mark.few(1)
@pytest.mark.parametrize("kind", KINDS)
def test_a_project_from_nothing_to_a_migrated_database(
    kind: str, folder: Path, server: Server, database: str, cli: Cli
) -> None:
    text, base = KINDS[kind]
    name = module(folder, text)
    url = server.url(database).replace("postgresql://", "postgresql+asyncpg://")
    outcome = cli("init", "--app", "cats", url=url)
    assert outcome.code == 0, outcome.err
    assert declared(folder) == {
        "models": f"{name}:{base}",
        "migrations": "migrations",
        **PLACES.get(kind, {}),
    }
    assert "leadctl migrate new" in outcome.out
    assert cli("migrate", "new", "-m", "first tables", url=url).code == 0
    done = cli("migrate", url=url)
    assert done.code == 0, done.err
    again = cli("migrate", "new", "-m", "again", url=url)
    assert again.out.startswith("Nothing to write"), again.out
    assert cli("migrate", "status", url=url).code == 0
    settings = load_settings({"url": url})
    target = resolve(settings, app="cats")
    fresh = server.create()
    try:
        other = target.on(fresh)
        with run_engine(other, "test").connect() as connection, connection.begin():
            for schema in {"billing", "vet"}:
                connection.exec_driver_sql(f"CREATE SCHEMA {schema}")
            load_metadata(find_app(settings)).create_all(connection)
        with connect(target, rows=True) as ours, connect(other, rows=True) as theirs:
            for each in {target.schema, *find_app(settings).schemas}:
                for connection in (ours, theirs):
                    connection.execute(f"SET search_path = {each}")
                assert compare(read_catalog(ours, each), read_catalog(theirs, each)) == []
    finally:
        server.drop(fresh)


@pytest.mark.thorough
def test_several_schemas_are_one_app(folder: Path, database: str, server: Server, cli: Cli) -> None:
    """The whole life of it: changed, compared, seen when it drifts, dropped and made again."""
    name = module(folder, SCHEMAS)
    url = server.url(database)
    assert cli("init", "--app", "clinic", url=url).code == 0
    assert cli("migrate", "dev", "-m", "first", url=url).code == 0
    file = folder / f"{name}.py"
    file.write_text(
        file.read_text().replace(
            "    number: Mapped[str] = mapped_column(index=True, unique=True)\n",
            "    no: Mapped[str] = mapped_column(index=True, unique=True)\n"
            "    note: Mapped[str | None] = mapped_column(index=True)\n",
        )
    )

    def fresh(*arguments: str) -> subprocess.CompletedProcess[str]:
        return run(*arguments, env={"DATABASE_URL": url}, cwd=folder)

    assert fresh("migrate", "check").returncode == 1
    changed = fresh(
        "migrate", "dev", "-m", "notes", "--rename", "billing.invoices.number:no", "-o", "json"
    )
    assert changed.returncode == 0, changed.stderr
    assert "RENAME COLUMN number TO no" in changed.stderr
    assert fresh("migrate", "check").returncode == 0
    health = fresh("health-check", "--check", "indexes", "--check", "drift")
    assert health.returncode == 0, health.stdout
    bulk = fresh("seed", "--bulk", "10", "--yes")
    assert (bulk.returncode, "billing.invoices" in bulk.stderr) == (1, True)
    with server.connect(database) as connection:
        connection.execute("ALTER TABLE billing.invoices ADD byhand int")
    drift = fresh("migrate", "drift")
    assert (drift.returncode, "billing.invoices.byhand" in drift.stdout) == (1, True)
    with server.connect(database) as connection:
        connection.execute("ALTER TABLE billing.invoices DROP byhand")
    assert fresh("migrate", "down", "--yes").returncode == 0
    again = fresh("reset", "--yes", "-o", "json")
    assert again.returncode == 0, again.stderr
    assert {"schema billing", "table billing.invoices", "enum billing.payment"} <= set(
        json.loads(again.stdout)["dropped"]
    )
    assert fresh("migrate", "check").returncode == 0


def test_a_schema_that_the_app_does_not_name(
    folder: Path, database: str, server: Server, cli: Cli
) -> None:
    name = module(folder, SCHEMAS)
    toml = f'app = "clinic"\n[apps.clinic]\nmodels = "{name}:Base"\n'
    (folder / "leadctl.toml").write_text(toml)
    refused = cli("migrate", "new", "-m", "first", url=server.url(database))
    assert (refused.code, refused.out) == (3, "")
    assert 'schemas = ["billing"]' in refused.err


@pytest.mark.thorough
def test_models_in_several_modules_are_imported_together(folder: Path, cli: Cli) -> None:
    package = folder / "zoo"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "db.py").write_text(
        "from sqlalchemy.orm import DeclarativeBase\nclass Base(DeclarativeBase): pass\n"
    )
    for name in ("cat", "dog"):
        (package / f"{name}s.py").write_text(
            "from sqlalchemy.orm import Mapped, mapped_column\nfrom zoo.db import Base\n"
            f"class {name.title()}(Base):\n"
            f'    __tablename__ = "{name}s"\n'
            "    id: Mapped[int] = mapped_column(primary_key=True)\n"
        )
    outcome = cli("init", "-o", "json", "--app", "zoo_app")
    assert outcome.code == 0, outcome.err
    assert outcome.json["tables"] == ["cats", "dogs"]
    assert declared(folder)["models"] == "leadctl_models:Base"
    tables = subprocess.run(
        [sys.executable, "-c", "import leadctl_models as m; print(*m.Base.metadata.tables)"],
        cwd=folder, capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip
    assert tables.split() == ["cats", "dogs"]


def test_the_first_revision_makes_its_folder(
    folder: Path, server: Server, database: str, cli: Cli
) -> None:
    """As in a clone, since git keeps no empty folder; `migrate` refuses one that is not there."""
    name = module(folder, DECLARATIVE)
    (folder / "leadctl.toml").write_text(
        f'app = "cats"\n[apps.cats]\nmodels = "{name}:Base"\nmigrations = "db/history"\n'
    )
    url = server.url(database)
    assert cli("migrate", url=url).code == 3
    done = cli("migrate", "dev", "-m", "first", url=url)
    assert done.code == 0, done.err
    assert len(list((folder / "db" / "history").glob("*_first.py"))) == 1


def test_nothing_is_overwritten(folder: Path, cli: Cli) -> None:
    module(folder, DECLARATIVE)
    (folder / ".env").write_text("DATABASE_URL=postgresql://localhost/cats")
    (folder / "migrations").mkdir()
    assert cli("init", "--app", "cats").code == 0
    assert (folder / ".env").read_text().startswith("DATABASE_URL=postgresql://localhost/cats\n#")
    assert not list((folder / "migrations").iterdir())
    before = (folder / "leadctl.toml").read_bytes()
    outcome = cli("init", "--app", "cats")
    assert (outcome.code, outcome.out) == (5, "")
    assert "overwrites nothing" in outcome.err
    assert (folder / "leadctl.toml").read_bytes() == before


def test_a_new_env_file_is_closed_to_others(folder: Path, cli: Cli) -> None:
    module(folder, DECLARATIVE)
    assert cli("init", "--app", "cats").code == 0
    assert (folder / ".env").stat().st_mode & 0o777 == 0o600


@pytest.mark.thorough
def test_a_starter_is_a_whole_project(
    folder: Path, server: Server, database: str, cli: Cli
) -> None:
    """From an empty folder to rows, a rule and models that agree with the database."""
    (folder / ".gitignore").write_text("*.pyc\n.env\n")
    url = server.url(database)
    outcome = cli("init", "--starter", "--app", "shop", "-o", "json", url=url)
    assert outcome.code == 0, outcome.err
    assert outcome.json["tables"] == ["sessions", "users"]
    assert (folder / ".gitignore").read_text() == "*.pyc\n.env\n.env.local\n.leadctl/\n"
    assert (folder / ".env").stat().st_mode & 0o777 == 0o600

    def fresh(*arguments: str) -> str:
        done = run(*arguments, env={"DATABASE_URL": url}, cwd=folder)
        assert done.returncode == 0, done.stderr
        return done.stdout

    for line in outcome.json["next"]:
        fresh(*shlex.split(line)[1:])
    fresh("migrate", "check")
    assert "old-sessions" in fresh("cleanup", "--list")
    with server.connect(database) as connection:
        rows = connection.execute(
            "SELECT email, count(s.id) FROM users u LEFT JOIN sessions s ON s.user_id = u.id"
            " GROUP BY email ORDER BY email"
        ).fetchall()
        assert rows == [("ada@example.com", 1), ("grace@example.com", 0)]
        connection.execute("UPDATE sessions SET created_at = now() - interval '91 days'")
    fresh("cleanup", "--confirm", database)
    with server.connect(database) as connection:
        assert connection.execute("SELECT FROM sessions").fetchall() == []


@pytest.mark.parametrize(
    "name",
    ["models.py", "models/__init__.py", "seeds/other.csv", "migrations/0001.py", "leadctl.toml"],
)
def test_a_starter_overwrites_nothing(name: str, folder: Path, cli: Cli) -> None:
    (folder / name).parent.mkdir(exist_ok=True)
    (folder / name).write_text("# mine\n")
    outcome = cli("init", "--starter", "--app", "shop")
    assert (outcome.code, outcome.out) == (5, "")
    assert [file.name for file in folder.rglob("*") if file.is_file()] == [Path(name).name]
    assert (folder / name).read_text() == "# mine\n"


def test_an_empty_folder_is_told_of_it(folder: Path, cli: Cli) -> None:
    assert "leadctl init --starter" in cli("init").err
    refused = cli("init", "--starter", "--models", "a:B")
    assert (refused.code, "--models" in refused.err) == (2, True)


@pytest.mark.parametrize(
    ("ignored", "missing"),
    [
        (None, ".env, .env.local, .leadctl/"),
        ("/.env*\n", ".leadctl/"),
        (".env\n.env.*\n/.leadctl\n", None),
        ("# .env is not here\nvenv/\n", ".env, .env.local, .leadctl/"),
    ],
)
def test_what_git_does_not_ignore_is_named(
    ignored: str | None, missing: str | None, folder: Path, cli: Cli
) -> None:
    """The line that is shown is what mends it: git says so."""
    module(folder, DECLARATIVE)
    subprocess.run(["git", "init", "-q"], cwd=folder, check=True)
    if ignored is not None:
        (folder / ".gitignore").write_text(ignored)
    (note, *_) = [*cli("init", "--app", "cats", "-o", "json").json["notes"], None]
    assert (note is None) == (missing is None)
    if note is not None:
        assert missing is not None
        assert f"lacks {missing}," in note
        subprocess.run(["/bin/sh", "-c", note.partition(": ")[2]], cwd=folder, check=True)
    for name in (".env", ".env.local", ".leadctl/x"):
        asked = ["git", "check-ignore", "-q", name]
        assert subprocess.run(asked, cwd=folder, check=False).returncode == 0, name


def test_a_project_within_a_repository_is_ignored_by_it(folder: Path, cli: Cli) -> None:
    """The file above it counts, and a folder that git does not know yet is told as well."""
    project = folder / "services" / "cats"
    project.mkdir(parents=True)
    module(project, DECLARATIVE)
    os.chdir(project)
    (note,) = cli("init", "--app", "cats", "-o", "json").json["notes"]
    assert "lacks .env, .env.local, .leadctl/," in note
    subprocess.run(["git", "init", "-q"], cwd=folder, check=True)
    (folder / ".gitignore").write_text(".env*\n.leadctl/\n")
    for name in ("leadctl.toml", ".env"):
        (project / name).unlink()
    assert cli("init", "--app", "cats", "-o", "json").json["notes"] == []
    asked = ["git", "check-ignore", "-q", ".leadctl/x"]
    assert subprocess.run(asked, cwd=project, check=False).returncode == 0


_TWICE = """\

class Kitten(Base):
    __tablename__ = "cats"
    id: Mapped[int] = mapped_column(primary_key=True)
"""
BROKEN = {
    "an import error": ("import nothing_of_this_name\n" + DECLARATIVE, 1, "nothing_of_this_name"),
    "a syntax error": ("def broken(:\n", 1, "SyntaxError"),
    "a table twice": (DECLARATIVE + _TWICE, DECLARATIVE.count("\n") + 2, "already defined"),
    "an exit": ("raise SystemExit('bye')\n", 1, "SystemExit: bye"),
}


@pytest.mark.parametrize("fault", BROKEN)
def test_broken_models(fault: str, folder: Path, cli: Cli) -> None:
    text, line, said = BROKEN[fault]
    name = module(folder, text)
    outcome = cli("init", "--app", "cats", "--models", f"{name}:Base")
    assert (outcome.code, outcome.out) == (3, "")
    assert f"{name}.py, line {line}: " in outcome.err
    assert said in outcome.err
    assert not (folder / "leadctl.toml").exists()


def test_models_without_tables_or_metadata(folder: Path, cli: Cli) -> None:
    name = module(folder, "\nfrom sqlalchemy import MetaData\nempty = MetaData()\nother = 3\n")
    outcome = cli("init", "--app", "cats", "--models", f"{name}:empty")
    assert (outcome.code, outcome.out) == (3, "")
    assert f"{name}.py, line 3" in outcome.err
    assert "no tables" in outcome.err
    outcome = cli("init", "--app", "cats", "--models", f"{name}:other")
    assert f"{name}.py, line 4" in outcome.err
    assert "no metadata" in outcome.err
    outcome = cli("init", "--app", "cats")
    assert "stays empty" in outcome.err


def test_what_models_print_is_no_result(folder: Path, cli: Cli) -> None:
    module(folder, 'print("loading models")\n' + DECLARATIVE)
    outcome: Outcome = cli("init", "--app", "cats", "-o", "json")
    assert outcome.json["app"] == "cats"
    assert "loading models" in outcome.err


@pytest.mark.thorough
def test_two_bases_are_a_question(folder: Path, cli: Cli) -> None:
    second = DATACLASSES.replace("cats", "dogs")
    name = module(folder, DECLARATIVE + second)
    outcome = cli("init", "--app", "cats")
    assert outcome.code == 3
    assert f"{name}:Base (2 tables), {name}:Model (1 table)" in outcome.err
    pid, terminal = pty.fork()
    if pid == 0:  # pragma: no cover - the child
        os.execve(
            sys.executable,
            [sys.executable, "-m", "leadctl", "init", "--app", "cats"],
            environment({"TERM": "xterm"}),
        )
    shown = b""
    while b"Number" not in shown:
        shown += os.read(terminal, 4096)
    os.write(terminal, b"2\ny\n")  # the second answer is for .gitignore
    try:
        while part := os.read(terminal, 4096):
            shown += part
    except OSError:
        pass
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0, shown
    os.close(terminal)
    assert declared(folder)["models"] == f"{name}:Model"
    assert ".env\n" in (folder / ".gitignore").read_text()


@pytest.mark.thorough
def test_of_two_bases_the_one_that_env_py_names(folder: Path, cli: Cli) -> None:
    """Also where it imports nothing that has tables, as long as the program does."""
    bases = "from sqlalchemy import MetaData\nours, others = MetaData(), MetaData()\n"
    name = module(folder, bases)
    for which in ("ours", "others"):
        tables = f"from sqlalchemy import Column, Integer, Table\nfrom {name} import {which}\n"
        more = "" if which == "ours" else f'Table("dogs", {which}, Column("id", Integer))\n'
        (folder / f"{name}_{which}.py").write_text(
            f'{tables}Table("cats", {which}, Column("id", Integer, primary_key=True))\n{more}'
        )
    (folder / "alembic.ini").write_text("[alembic]\nscript_location = db\n")
    (folder / "db").mkdir()
    (folder / "db" / "env.py").write_text(
        f"from alembic import context\nfrom {name} import ours\n"
        'context.configure(url="postgresql://", target_metadata=ours)\n'
    )
    outcome = cli("init", "--app", "cats", "-o", "json")
    assert outcome.code == 0, outcome.err
    assert outcome.json["tables"] == ["cats"]
    written = declared(folder)["models"]
    assert written in {f"{name}_ours:ours", "leadctl_models:ours"}


def test_a_name_that_is_taken(folder: Path, cli: Cli) -> None:
    module(folder, DECLARATIVE)
    outcome = cli("init", "--app", "whatsapp")
    assert outcome.code == 5
    assert "built-in" in outcome.err


def test_an_alembic_project_is_used_in_place(folder: Path, cli: Cli) -> None:
    name = module(folder, DECLARATIVE)
    subprocess.run(
        [sys.executable, "-m", "alembic", "init", "db"], cwd=folder, check=True, capture_output=True
    )
    env = folder / "db" / "env.py"
    before = env.read_text().replace(
        "target_metadata = None", f"from {name} import Base\ntarget_metadata = Base.metadata"
    )
    env.write_text(before)
    outcome = cli("init", "--app", "cats")
    assert outcome.code == 0, outcome.err
    assert declared(folder) == {"migrations": "db"}
    assert env.read_text() == before


ENV = """\
from alembic import context
from {module} import Base

context.configure(url="postgresql://", target_metadata=Base.metadata)
"""


@pytest.mark.few(2)
@pytest.mark.parametrize(
    ("files", "found"),
    [
        (
            {"shop/alembic.ini": "[alembic]\nscript_location = %(here)s/db\n", "shop/db/": ""},
            "shop/db",
        ),
        ({"scripts/alembic.ini": "[alembic]\n", "scripts/": ""}, "scripts"),  # Flask-Migrate's
        ({"a/deep/folder/": "", "env.py": "DEBUG = True\n"}, "a/deep/folder"),
        ({"docs/db/": "", "shop/db/": ""}, "shop/db"),
    ],
)
def test_an_environment_that_no_configuration_of_the_folder_names(
    files: dict[str, str], found: str, folder: Path, cli: Cli
) -> None:
    """It is used; an empty history next to it would be another one."""
    name = module(folder, DECLARATIVE)
    for path, text in files.items():
        place = folder / f"{path}env.py" if path.endswith("/") else folder / path
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(text or ENV.format(module=name))
    outcome = cli("init", "--app", "zoo_app", "-o", "json")
    assert outcome.code == 0, outcome.err
    assert outcome.json["tables"] == ["cats", "toys"]
    assert declared(folder) == {"migrations": found}


def test_of_two_environments_one_is_named(folder: Path, cli: Cli) -> None:
    name = module(folder, DECLARATIVE)
    for place in ("one/db", "two/db"):
        (folder / place).mkdir(parents=True)
        (folder / place / "env.py").write_text(ENV.format(module=name))
    refused = cli("init", "--app", "zoo_app")
    assert refused.code == 3
    assert "one/db, two/db" in refused.err
    assert not (folder / "leadctl.toml").exists()
    assert cli("init", "--app", "zoo_app", "--migrations", "two/db").code == 0
    assert declared(folder) == {"migrations": "two/db"}


BASE = "from sqlalchemy.orm import DeclarativeBase\nclass Base(DeclarativeBase): pass\n"


def table_of(base: str, table: str) -> str:
    return (
        f"from sqlalchemy.orm import Mapped, mapped_column\nfrom {base} import Base\n"
        f"class {table.title()}(Base):\n    __tablename__ = '{table}'\n"
        "    id: Mapped[int] = mapped_column(primary_key=True)\n"
    )


def package(folder: Path, files: dict[str, str], *, regular: bool = True) -> str:
    """Write a package under a name that no other test imports; `PKG` in a text stands for it."""
    name = f"pkg_{folder.name}".replace("-", "_").replace("[", "_").replace("]", "_")
    for path, text in files.items():
        place = folder / path.replace("PKG", name)
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(text.replace("PKG", name))
        if regular and place.parent != folder and place.parent.name != "src":
            (place.parent / "__init__.py").touch()
    return name


NAMED_BY_BASE = """\
from sqlalchemy.orm import DeclarativeBase, declared_attr

class Base(DeclarativeBase):
    @declared_attr.directive
    def __tablename__(cls):
        return cls.__name__.lower()
"""


@pytest.mark.few(1)
@pytest.mark.parametrize(
    "text",
    [
        "from sqlalchemy.orm import Mapped, mapped_column\nfrom PKG.base import Base\n"
        "class Cats(Base):\n    id: Mapped[int] = mapped_column(primary_key=True)\n",
        "import sqlalchemy as sa\nfrom PKG.base import Base\n"
        "class Cats(Base):\n    id = sa.Column(sa.Integer, primary_key=True)\n",
        "from sqlalchemy import orm\nfrom PKG.base import Base\nclass Key:\n"
        "    id = orm.mapped_column('id', __import__('sqlalchemy').Integer, primary_key=True)\n"
        "class Cats(Key, Base):\n    name: orm.Mapped[str]\n",
    ],
)
def test_classes_whose_base_names_their_tables(text: str, folder: Path, cli: Cli) -> None:
    """Also in a package that has an env.py which is none of Alembic's."""
    files = {"PKG/base.py": NAMED_BY_BASE, "PKG/env.py": "DEBUG = True\n", "PKG/cats.py": text}
    package(folder, files)
    outcome = cli("init", "--app", "zoo_app", "-o", "json")
    assert outcome.code == 0, outcome.err
    assert outcome.json["tables"] == ["cats"]


@pytest.mark.thorough
def test_a_module_that_cannot_be_imported_is_passed_over_and_named(
    folder: Path, server: Server, database: str, cli: Cli
) -> None:
    name = package(
        folder,
        {
            "PKG/base.py": BASE,
            "PKG/cats.py": table_of("PKG.base", "cats"),
            "PKG/auth/users.py": "import not_installed_here\n" + table_of("PKG.base", "users"),
        },
    )
    outcome = cli("init", "-o", "json", "--app", "zoo_app")
    assert outcome.code == 0, outcome.err
    assert outcome.json["tables"] == ["cats"]
    (said, *_) = outcome.json["notes"]
    assert f"{name}.auth.users" in said
    assert "users.py, line 1: ModuleNotFoundError: No module named 'not_installed_here'" in said
    assert cli("migrate", "dev", "-m", "first", url=server.url(database)).code == 0


def test_nothing_that_can_be_imported_is_the_error_that_stopped_it(folder: Path, cli: Cli) -> None:
    package(folder, {"PKG/cats.py": "import not_installed_here\n" + DECLARATIVE})
    outcome = cli("init", "--app", "zoo_app")
    assert (outcome.code, outcome.out) == (3, "")
    assert "not_installed_here" in outcome.err
    assert not (folder / "leadctl.toml").exists()


@pytest.mark.thorough
@pytest.mark.parametrize(
    ("files", "regular"),
    [
        ({"src/PKG/base.py": BASE, "src/PKG/cats.py": table_of("PKG.base", "cats")}, True),
        ({"PKG/base.py": BASE, "PKG/cats.py": table_of("PKG.base", "cats")}, False),
        ({"src/PKG/a/base.py": BASE, "src/PKG/b/cats.py": table_of("PKG.a.base", "cats")}, False),
    ],
    ids=["src", "namespace", "namespace in src"],
)
def test_packages_lie_where_they_may(
    folder: Path, server: Server, database: str, cli: Cli, files: dict[str, str], *, regular: bool
) -> None:
    package(folder, files, regular=regular)
    assert cli("init", "--app", "zoo_app").code == 0
    done = run(
        "migrate", "dev", "-m", "first", env={"DATABASE_URL": server.url(database)}, cwd=folder
    )
    assert done.returncode == 0, done.stderr
    with server.connect(database) as connection:
        assert connection.execute("SELECT count(*) FROM cats").fetchone() == (0,)


@pytest.mark.thorough
def test_several_bases_are_one_app(folder: Path, server: Server, database: str, cli: Cli) -> None:
    files = {
        "PKG/b.py": BASE + table_of("PKG.b", "dogs").replace("from PKG.b import Base\n", ""),
        "PKG/a.py": BASE + table_of("PKG.a", "cats").replace("from PKG.a import Base\n", ""),
    }
    name = package(folder, files)
    refused = cli("init", "--app", "zoo_app")
    assert refused.code == 3
    both = f"{name}.a:Base,{name}.b:Base"
    assert f"--models {both}" in refused.err
    outcome = cli("init", "-o", "json", "--app", "zoo_app", "--models", both)
    assert outcome.code == 0, outcome.err
    assert outcome.json["tables"] == ["cats", "dogs"]
    assert cli("migrate", "dev", "-m", "first", url=server.url(database)).code == 0
    assert cli("migrate", "check", url=server.url(database)).code == 0
    with server.connect(database) as connection:
        assert connection.execute("SELECT FROM cats, dogs").fetchall() == []


def test_an_environment_without_models_runs_its_revisions(
    folder: Path, server: Server, database: str, cli: Cli
) -> None:
    (folder / "alembic.ini").write_text("[alembic]\nscript_location = db\n")
    versions = folder / "db" / "versions"
    versions.mkdir(parents=True)
    (folder / "db" / "env.py").write_text(
        "from alembic import context\nfrom sqlalchemy import create_engine\n"
        "with create_engine('postgresql://').connect() as connection:\n"
        "    context.configure(connection=connection, target_metadata=None)\n"
        "    with context.begin_transaction():\n        context.run_migrations()\n"
    )
    (versions / "a1.py").write_text(
        'from alembic import op\nrevision = "a1"\ndown_revision = None\n'
        "def upgrade(): op.execute('CREATE TABLE cats (id int)')\n"
        "def downgrade(): op.execute('DROP TABLE cats')\n"
    )
    url = server.url(database)
    outcome = cli("init", "--app", "zoo_app", url=url)
    assert outcome.code == 0, outcome.err
    assert "need `models` in leadctl.toml" in " ".join(outcome.out.split())
    assert cli("migrate", url=url).code == 0
    assert cli("migrate", "status", url=url).code == 0
    compared = cli("migrate", "check", url=url)
    assert (compared.code, "have no metadata" in compared.err) == (3, True)
    assert cli("migrate", "down", "--yes", url=url).code == 0
    with server.connect(database) as connection:
        assert connection.execute("SELECT to_regclass('cats')").fetchone() == (None,)


def test_seed_files_that_lie_there_are_the_app_s(folder: Path, cli: Cli) -> None:
    (folder / "models.py").write_text(
        "from sqlalchemy import *\nmetadata = MetaData()\n"
        'Table("users", metadata, Column("id", Integer, primary_key=True))\n'
    )
    (folder / "seeds").mkdir()
    (folder / "seeds" / "users.yaml").write_text("users:\n  - id: 7\n")
    assert cli("init").code == 0
    app = next(iter(tomllib.loads((folder / "leadctl.toml").read_text())["apps"].values()))
    assert app["seed_files"] == "seeds"
    assert "# seed_files" not in (folder / "leadctl.toml").read_text()
