"""A team's own Alembic project, as `alembic init` makes it, under leadctl."""

import copy
import os
import subprocess
import sys
from pathlib import Path

import pytest
from alembic.autogenerate import comparators

from tests.conftest import Cli
from tests.history import alembic_init
from tests.processes import environment
from tests.servers import Server

MODELS = """\
from sqlalchemy import MetaData, Table, Column, Integer, Text
metadata = MetaData()
Table("things", metadata, Column("id", Integer, primary_key=True), Column("name", Text))
"""


@pytest.fixture
def alembic_project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project that knows nothing of leadctl but for two lines."""
    alembic_init()
    (tmp_path / "things_models.py").write_text(MODELS)
    environment = tmp_path / "db" / "env.py"
    text = environment.read_text().replace(
        "target_metadata = None", "from things_models import metadata as target_metadata"
    )
    environment.write_text(
        text.replace(
            "target_metadata=target_metadata",
            'target_metadata=target_metadata, version_table="our_versions", transactional_ddl=True',
        )
    )
    (tmp_path / "leadctl.toml").write_text('app = "own"\n[apps.own]\nmigrations = "db"\n')
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.delitem(sys.modules, "things_models", raising=False)
    return tmp_path


@pytest.mark.thorough
def test_a_file_missing_from_what_alembic_applied_is_named(
    alembic_project: Path, server: Server, database: str, cli: Cli
) -> None:
    url = server.url(database)
    ini = alembic_project / "alembic.ini"
    lines = [
        f"sqlalchemy.url = {url.replace('postgresql:', 'postgresql+psycopg:').replace('%', '%%')}"
        if line.startswith("sqlalchemy.url")
        else line
        for line in ini.read_text().splitlines()
    ]
    ini.write_text("\n".join(lines) + "\n")
    files = {}
    for down, name in ((None, "aaa"), ("aaa", "bbb"), ("bbb", "ccc")):
        files[name] = alembic_project / "db" / "versions" / f"{name}_x.py"
        files[name].write_text(
            f'"""{name}"""\nfrom alembic import op\n\nrevision = "{name}"\n'
            f"down_revision = {down!r}\n\n\ndef upgrade():\n"
            f'    op.execute("CREATE TABLE {name} ()")\n\n\ndef downgrade():\n    pass\n'
        )
    command = [sys.executable, "-m", "alembic", "upgrade", "head"]
    done = subprocess.run(command, cwd=alembic_project, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    files["bbb"].unlink()
    for arguments in ([], ["--plan"], ["check"], ["new", "-m", "x"], ["dev", "-m", "x"]):
        refused = cli("migrate", *arguments, url=url)
        assert refused.code == 1, (arguments, refused.err)
        assert "has applied bbb, which is not in" in refused.err
        assert "ccc_x.py follows bbb" in " ".join(refused.err.split())
    status = cli("migrate", "status", "-o", "json", url=url)
    found = {each["revision"]: each["state"] for each in status.json["revisions"]}
    assert (status.code, found) == (1, {"aaa": "unknown", "bbb": "unknown", "ccc": "applied"})
    health = cli("health-check", "--check", "migrations", "-o", "json", url=url)
    assert "bbb" in health.json["checks"][0]["message"]
    assert health.code == 1


@pytest.mark.thorough
def test_everything_holds_there_too(
    alembic_project: Path, server: Server, database: str, cli: Cli
) -> None:
    url = server.url(database)
    new = cli("migrate", "new", "-m", "first", url=url)
    assert new.code == 0, new.err
    assert list((alembic_project / "db" / "versions").glob("*.py"))
    plan = cli("migrate", "--plan", "-o", "json", url=url)
    statements = [each["sql"] for each in plan.json["revisions"][0]["statements"]]
    assert any(sql.startswith("CREATE TABLE things") for sql in statements)
    done = cli("migrate", url=url)
    assert done.code == 0, done.err
    assert "Left out: transactional_ddl" in done.err
    with server.connect(database) as connection:
        tables = connection.execute(
            "SELECT relname FROM pg_class WHERE relkind = 'r' AND"
            " relnamespace = 'public'::regnamespace ORDER BY 1"
        ).fetchall()
        assert tables == [("our_versions",), ("things",)]
        assert connection.execute("SELECT count(*) FROM leadctl.migration").fetchone() == (1,)
    assert cli("migrate", "status", url=url).code == 0
    assert cli("health-check", url=url).code == 0
    assert "Nothing to write" in cli("migrate", "new", "-m", "second", url=url).out
    assert cli("migrate", url=url).out.startswith("Nothing to do")
    assert cli("reset", "--yes", url=url).code == 0
    assert cli("migrate", "status", url=url).code == 0


@pytest.mark.thorough
def test_a_history_that_alembic_applied_is_taken_over(
    alembic_project: Path, server: Server, database: str, cli: Cli
) -> None:
    url = server.url(database)
    assert cli("migrate", "new", "-m", "first", url=url).code == 0
    ini = alembic_project / "alembic.ini"
    address = url.replace("postgresql://", "postgresql+psycopg://").replace("%", "%%")
    lines = [
        f"sqlalchemy.url = {address}" if line.startswith("sqlalchemy.url") else line
        for line in ini.read_text().splitlines()
    ]
    ini.write_text("\n".join(lines))
    subprocess.run(
        [sys.executable, "-m", "alembic", "upgrade", "head"],
        cwd=alembic_project,
        check=True,
        capture_output=True,
    )
    assert cli("migrate", url=url).out.startswith("Nothing to do")
    assert cli("migrate", "status", url=url).code == 0
    # Nothing of leadctl's has written there yet, so nobody knows what the database is.
    assert cli("reset", "--yes", url=url).code == 5
    assert cli("db", "environment", "test", "--unprotect", url=url).code == 0
    assert cli("reset", "--yes", url=url).code == 0


@pytest.mark.parametrize(
    ("line", "code", "said"),
    [
        ("raise RuntimeError('no configuration')", 3, "RuntimeError: no configuration"),
        ("def f(:", 3, "env.py"),
    ],
)
def test_an_environment_that_is_wrong(
    alembic_project: Path, server: Server, database: str, cli: Cli, line: str, code: int, said: str
) -> None:
    assert cli("migrate", "new", "-m", "first", url=server.url(database)).code == 0
    environment = alembic_project / "db" / "env.py"
    environment.write_text(f"from alembic import context\n{line}\n")
    outcome = cli("migrate", url=server.url(database))
    assert outcome.code == code
    assert said in outcome.err


CONFIGURES = (
    "from alembic import context\nfrom sqlalchemy import create_engine, text\n"
    "from things_models import metadata\n{before}\n"
    'with create_engine("{url}").{connect}() as connection:\n'
    "    {inside}\n"
    "    context.configure(connection=connection, target_metadata=metadata{call})\n"
    "    with context.begin_transaction():\n        context.run_migrations()\n{after}\n"
)


@pytest.fixture
def plain_project(alembic_project: Path, server: Server, database: str, cli: Cli) -> Path:
    """One with a first revision and an env.py that a test writes anew."""
    environment = alembic_project / "db" / "env.py"
    environment.write_text(_env())
    assert cli("migrate", "new", "-m", "first", url=server.url(database)).code == 0
    return environment


def _env(before: str = "", inside: str = "pass", after: str = "", **other: str) -> str:
    values = {
        "call": "",
        "connect": "connect",
        "url": "postgresql+psycopg://127.0.0.1:1/none",
        **other,
    }
    return CONFIGURES.format(before=before, inside=inside, after=after, **values)


@pytest.mark.few(2)
@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            _env(before="import psycopg\npsycopg.connect('host=127.0.0.1 port=1')"),
            "env.py, line 5 cannot be run: ConnectionRefusedError: it opens its own connection",
        ),
        (
            "from alembic import context\nfrom things_models import metadata\n"
            "for name in ('a', 'b'):\n    context.configure(\n"
            "        dialect_name='postgresql', target_metadata=metadata)\n"
            "    context.run_migrations()\n",
            "env.py, line 3: it runs the revisions in a loop",
        ),
        (
            "from alembic import context\nfrom things_models import metadata\n"
            "def one(name):\n    context.configure(\n"
            "        dialect_name='postgresql', target_metadata=metadata)\n"
            "    context.run_migrations()\n"
            "for name in ('a', 'b'):\n    one(name)\n",
            "env.py, line 7: it runs the revisions in a loop",
        ),
        (
            _env(inside="connection.execute(text('SET search_path TO elsewhere'))"),
            "env.py sets the search path to elsewhere, and the target is the schema public",
        ),
        (
            _env(call=", version_table_schema='ops'"),
            "Create the schema that version_table_schema names",
        ),
        (_env(before="raise SystemExit('no')"), "env.py, line 4 cannot be run: SystemExit: no"),
        (_env(before="import nothing_like_it"), "ModuleNotFoundError"),
        (
            _env(
                before="TABLE = 'our_' + 'versions'",
                inside="while connection.execute(text('SELECT 1 WHERE :given <> :given'),"
                " {'given': 'hidden'}).scalar() is None: pass",
                call=", version_table=TABLE",
            ),
            "it repeats SELECT 1 WHERE %(given)s <> %(given)s, which has no other answer here",
        ),
    ],
)
def test_what_env_py_may_not_do(
    plain_project: Path, server: Server, database: str, cli: Cli, text: str, said: str
) -> None:
    plain_project.write_text(text)
    outcome = cli("migrate", url=server.url(database))
    assert (outcome.code in {1, 3}, said in outcome.err) == (True, True), outcome.err
    assert "hidden" not in outcome.err
    with server.connect(database) as connection:
        found = connection.execute("SELECT to_regclass('things'), to_regclass('our_versions')")
        assert found.fetchone() == (None, None)


@pytest.mark.few(2)
@pytest.mark.parametrize(
    "text",
    [
        _env(url="postgresql://127.0.0.1:1/none"),  # whose driver is not installed here
        _env(url="driver://user:pass@localhost/dbname"),
        _env(url="sqlite://"),
        "from alembic import context\nfrom things_models import metadata\n"
        "context.configure(connection=context.config.attributes['connection'],"
        " target_metadata=[metadata])\n"
        "with context.begin_transaction():\n    context.run_migrations()\n",
        _env(connect="begin", inside="connection.execute(text('SELECT 1'))"),
        _env(
            before="from sqlalchemy import Engine, event\nmake = create_engine\n"
            "def refuse(driver, record):\n    raise LookupError('another driver')\n"
            "def create_engine(url):\n    engine = make(url)\n"
            "    event.listen(engine, 'connect', refuse)\n    return engine\n"
        ),
        _env(
            connect="begin",
            inside="nested = connection.begin_nested()",
            after="    nested.commit()",
        ),
        _env().replace(
            "        context.run", "        for each in ['only']:\n            context.run"
        ),
        _env(inside="connection = connection.execution_options(isolation_level='AUTOCOMMIT')"),
        _env(inside="connection.execute(text(\"SET search_path TO 'public', 'pg_temp'\"))"),
        _env(
            before="from pathlib import Path\n"
            "def write(**applied):\n    Path('applied').write_text(str(applied['step']))",
            call=", on_version_apply=write",
            after="assert Path('applied').read_text()",
        ),
    ],
)
def test_what_env_py_may_do(
    plain_project: Path, server: Server, database: str, cli: Cli, text: str
) -> None:
    plain_project.write_text(text)
    outcome = cli("migrate", url=server.url(database))
    assert outcome.code == 0, outcome.err
    assert cli("migrate", "check", url=server.url(database)).code == 0


def test_env_py_finds_the_variable_that_leadctl_has_from_a_file(
    plain_project: Path, server: Server, database: str, cli: Cli
) -> None:
    """`init` writes a .env for it; an engine that env.py makes of it is given leadctl's connection."""
    before = "import os\nURL = os.environ['DATABASE_URL']\n"
    text = _env(before=f"{before}assert {database!r} not in URL").replace(
        '"postgresql+psycopg://127.0.0.1:1/none"', "URL, pool_size=5"
    )
    assert "create_engine(URL, pool_size=5)" in text
    plain_project.write_text(text)
    (plain_project.parents[1] / ".env").write_text(f'DATABASE_URL="{server.url(database)}"\n')
    outcome = cli("migrate")
    assert outcome.code == 0, outcome.err
    assert cli("migrate", "check").code == 0
    assert "DATABASE_URL" not in os.environ
    with server.connect(database) as connection:
        assert connection.execute("SELECT to_regclass('things') IS NOT NULL").fetchone() == (True,)


ASYNC = """\
import asyncio
from alembic import context
from sqlalchemy import text
from sqlalchemy.ext.asyncio import create_async_engine
from things_models import metadata

def migrate(connection):
    context.configure(connection=connection, target_metadata=metadata,
                      version_table_schema="things_records")
    with context.begin_transaction():
        context.run_migrations()

async def connect():
    engine = create_async_engine("postgresql+psycopg_async://nobody@127.0.0.1:1/none")
    async with engine.connect() as connection:
        await connection.execute(text("CREATE SCHEMA IF NOT EXISTS things_records"))
        assert await connection.scalar(text("SELECT count(*) FROM pg_class WHERE false")) in (0, None)
        await connection.commit()
        await connection.run_sync(migrate)

if context.is_offline_mode():
    context.configure(url="postgresql://", target_metadata=metadata)
    with context.begin_transaction():
        context.run_migrations()
else:
    asyncio.run(connect())
"""
AWAITED = """
    async def fill(connection, name):
        await connection.execute(sa.text("INSERT INTO things (name) VALUES (:name)"), {"name": name})
        assert (await connection.execute(sa.text("SELECT name FROM things"))).all() == [(name,)]
    op.run_async(fill, "one")
"""


def test_what_env_py_and_a_revision_await_is_done(
    plain_project: Path, server: Server, database: str, cli: Cli
) -> None:
    """By leadctl's connection, which does not wait: SQLAlchemy takes that for a mistake."""
    pytest.importorskip("greenlet")
    plain_project.write_text(
        ASYNC.replace("await connection.commit()", "raise ValueError('this half')")
    )
    assert (
        "this half. Its offline half is run instead."
        in cli("migrate", url=server.url(database)).err
    )
    with server.connect(database) as connection:
        connection.execute("DROP SCHEMA leadctl CASCADE; DROP TABLE things, alembic_version")
    plain_project.write_text(ASYNC)
    (revision,) = plain_project.parent.glob("versions/*.py")
    lines = revision.read_text().split("def downgrade")
    revision.write_text(lines[0].rstrip() + AWAITED + "\n\ndef downgrade" + lines[1])
    url = server.url(database)
    done = cli("migrate", url=url)
    assert done.code == 0, done.err
    with server.connect(database) as connection:
        found = connection.execute(
            "SELECT name, (SELECT count(*) FROM things_records.alembic_version) FROM things"
        )
        assert found.fetchall() == [("one", 1)]
    for command in ("status", "check"):
        done = cli("migrate", command, url=url)
        assert done.code == 0, done.out + done.err


def test_one_that_cannot_be_asynchronous_is_run_as_it_is(
    plain_project: Path, server: Server, database: str
) -> None:
    """SQLAlchemy needs greenlet for asyncio only, and is often installed without."""
    plain_project.write_text(_env(before="assert not context.config.attributes\nassert 1 == 2"))
    start = "import sys; sys.modules['greenlet'] = None; from leadctl.__main__ import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", start, "migrate"],
        cwd=plain_project.parents[1],
        env=environment({"DATABASE_URL": server.url(database)}, plain_project.parents[1]),
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, "env.py, line 5 cannot be run: AssertionError" in done.stderr) == (
        3,
        True,
    ), done.stderr


def test_a_list_of_metadata_names_what_is_none(
    plain_project: Path, server: Server, database: str, cli: Cli
) -> None:
    text = _env(before="class Storage: pass")
    plain_project.write_text(text.replace("=metadata)", "=[metadata, Storage])"))
    url = server.url(database)
    assert cli("migrate", url=url).code == 0
    outcome = cli("migrate", "check", url=url)
    assert (outcome.code, "Storage, one of 2, is none" in outcome.err) == (3, True), outcome.err


def test_what_env_py_does_after_its_revisions_is_said(
    plain_project: Path, server: Server, database: str, cli: Cli
) -> None:
    plain_project.write_text(_env(after="raise ValueError('too late')"))
    outcome = cli("migrate", url=server.url(database))
    assert outcome.code == 3
    assert "failed after its revisions: ValueError: too late" in outcome.err
    assert cli("migrate", "status", url=server.url(database)).code == 0


def test_what_env_py_looks_for_after_its_revisions_is_not_there_where_they_are_printed(
    plain_project: Path, server: Server, database: str, cli: Cli
) -> None:
    looks = "    import sqlalchemy\n    assert sqlalchemy.inspect(connection).has_table('alembic_version')"
    plain_project.write_text(_env(after=looks))
    url = server.url(database)
    for command in (["--plan"], [], ["check"], ["down", "--yes"]):
        done = cli("migrate", *command, url=url)
        assert done.code == 0, done.out + done.err


@pytest.mark.few(2)
@pytest.mark.parametrize(
    "how",
    [
        "connection.execute(text('SET ROLE {role}')); connection.commit()",
        "connect_args",
    ],
)
def test_the_role_that_env_py_sets_owns_what_revisions_make(
    plain_project: Path, server: Server, database: str, cli: Cli, how: str
) -> None:
    """As with Alembic, whose table is that role's, too; leadctl's own records are not."""
    role, url = f"owns_{database}", server.url(database)
    options = f", connect_args={{'options': '-c role={role}'}}"
    text = _env(inside=how.format(role=role)) if "{" in how else _env()
    made = 'none")' if "{" in how else f'none"{options})'
    plain_project.write_text(text.replace('none")', made))
    with server.connect(database) as connection:
        connection.execute(f"CREATE ROLE {role}; GRANT ALL ON SCHEMA public TO {role}")
        try:
            for command in (["up"], ["check"], ["down", "--yes"], ["up"], ["drift"]):
                done = cli("migrate", *command, url=url)
                assert done.code == 0, done.out + done.err
            owners = connection.execute(
                "SELECT relname, relowner::regrole::text = %s FROM pg_class"
                " WHERE relname IN ('things', 'alembic_version', 'migration') ORDER BY 1",
                (role,),
            ).fetchall()
            assert owners == [("alembic_version", True), ("migration", False), ("things", True)]
        finally:
            connection.execute(f"DROP OWNED BY {role}; DROP ROLE {role}")


def test_an_error_that_env_py_hides_is_said(
    plain_project: Path, server: Server, database: str, cli: Cli
) -> None:
    text = _env().replace("        context.run_migrations()\n", "        run()\n")
    hides = "def run():\n    try:\n        context.run_migrations()\n    except Exception: pass\n"
    plain_project.write_text(text.replace("with create", f"{hides}\nwith create"))
    with server.connect(database) as connection:
        connection.execute("CREATE TYPE things AS ENUM ('in the way')")
    outcome = cli("migrate", url=server.url(database))
    assert (outcome.code, "failed and was not applied" in outcome.err) == (1, True), outcome.err


def test_config_says_whose_env_py_is_run(
    plain_project: Path, server: Server, database: str, cli: Cli
) -> None:
    assert cli("config", "-o", "json").json["computed"] == []
    text = plain_project.read_text().replace("=metadata)", "=metadata, **{})")
    plain_project.write_text(text)
    assert cli("config", "-o", "json").json["computed"] == ["own"]


@pytest.mark.few(1)
@pytest.mark.parametrize("name", ["alembic.ini", "conf/tenants.ini:tenants", "pyproject.toml"])
def test_init_finds_the_configuration_or_is_told_where_it_is(
    plain_project: Path, server: Server, database: str, cli: Cli, name: str
) -> None:
    folder = plain_project.parents[1]
    (folder / "leadctl.toml").unlink()
    (folder / "alembic.ini").unlink()
    file, _, section = name.partition(":")
    place = folder / file
    place.parent.mkdir(exist_ok=True)
    if place.suffix == ".toml":
        place.write_text('[tool.alembic]\nscript_location = "db"\n')
    else:
        place.write_text(f"[{section or 'alembic'}]\nscript_location = db\ntenant = one\n")
    given = ("--alembic", name) if section else ()
    done = cli("init", "--app", "own", *given, url=server.url(database))
    assert done.code == 0, done.err
    plain_project.write_text(
        _env(before=f"assert context.config.config_ini_section == {section or 'alembic'!r}")
    )
    outcome = cli("migrate", url=server.url(database))
    assert outcome.code == 0, outcome.err


def test_percent_signs_are_those_of_psycopg2_and_asyncpg(
    plain_project: Path, server: Server, database: str, cli: Cli
) -> None:
    (path,) = (plain_project.parent / "versions").glob("*.py")
    path.write_text(
        path.read_text().replace(
            "def downgrade",
            "    bind = op.get_bind()\n"
            "    bind.exec_driver_sql(\"DO $$ BEGIN EXECUTE format('COMMENT ON TABLE %I IS %L',"
            " 'things', '50% of a 100%%'); END $$\")\n\n\ndef downgrade",
        )
    )
    url = server.url(database)
    done = cli("migrate", url=url)
    assert done.code == 0, done.err
    assert cli("migrate", "down", "--yes", "--rehearse", url=url).code == 0
    with server.connect(database) as connection:
        found = connection.execute("SELECT obj_description('things'::regclass)").fetchone()
    assert found == ("50% of a 100%%",)


def test_a_version_table_elsewhere_says_that_tables_are_known(
    plain_project: Path, server: Server, database: str, cli: Cli
) -> None:
    (path,) = (plain_project.parent / "versions").glob("*.py")
    text = path.read_text()
    body = "op.execute('ALTER TABLE things ADD name text')"
    path.write_text(f"{text[: text.index('def upgrade')]}def upgrade():\n    {body}\n")
    plain_project.write_text(_env(call=", version_table='vt', version_table_schema='ops'"))
    url = server.url(database)
    with server.connect(database) as connection:
        connection.execute("CREATE TABLE things (id serial PRIMARY KEY); CREATE SCHEMA ops")
    refused = cli("migrate", url=url)
    assert (refused.code, "alembic stamp base" in refused.err) == (5, True), refused.err
    with server.connect(database) as connection:  # as `alembic stamp base` leaves it
        connection.execute("CREATE TABLE ops.vt (version_num varchar(32) PRIMARY KEY)")
    done = cli("migrate", url=url)
    assert done.code == 0, done.err


@pytest.mark.thorough
def test_a_history_whose_first_tables_something_else_made(
    plain_project: Path, server: Server, database: str, cli: Cli
) -> None:
    """As applications have it that create all tables, and run Alembic for what came later."""
    (path,) = (plain_project.parent / "versions").glob("*.py")
    text = path.read_text()
    head = text[: text.index("def upgrade")]
    body = "op.add_column('things', __import__('sqlalchemy').Column('name', __import__('sqlalchemy').Text))"
    path.write_text(
        f"{head}def upgrade():\n    {body}\n\n\ndef downgrade():\n"
        "    op.drop_column('things', 'name')\n"
    )
    url = server.url(database)
    with server.connect(database) as connection:
        connection.execute("CREATE TABLE things (id serial PRIMARY KEY)")
    refused = cli("migrate", url=url)
    assert (refused.code, "alembic stamp base" in refused.err) == (5, True), refused.err
    ini = plain_project.parents[1] / "alembic.ini"
    stamp = [sys.executable, "-m", "alembic", "-c", str(ini), "stamp", "base"]
    address = url.replace("postgresql://", "postgresql+psycopg://")
    plain_project.write_text(_env(url=address))
    subprocess.run(stamp, cwd=ini.parent, check=True, capture_output=True)
    plain_project.write_text(_env())
    assert cli("migrate", url=url).code == 0
    assert cli("migrate", "check", url=url).code == 0
    with server.connect(database) as connection:
        connection.execute("DROP TABLE things, alembic_version; DROP SCHEMA leadctl CASCADE")
    with server.connect(database) as connection:
        connection.execute("CREATE TABLE things (id serial PRIMARY KEY, name text)")
        connection.execute(
            "CREATE TABLE alembic_version (version_num varchar(32) PRIMARY KEY);"
            f"INSERT INTO alembic_version VALUES ('{path.stem.split('_')[0]}')"
        )
    assert cli("migrate", url=url).out.startswith("Nothing to do")
    checked = cli("migrate", "check", url=url)
    assert checked.code == 0, checked.out + checked.err
    assert "cannot be run up to" in checked.err
    assert "what was changed by hand" in checked.out
    assert cli("migrate", "drift", url=url).code == 1
    with server.connect(database) as connection:
        connection.execute("ALTER TABLE things ADD more int")
    differs = cli("migrate", "check", url=url)
    assert (differs.code, "column things.more" in differs.out) == (1, True)


def test_what_a_package_adds_to_alembic_s_comparison_is_not_compared(
    plain_project: Path, server: Server, database: str, cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As alembic_utils does with functions: `alembic check` finds them, so it is said."""
    monkeypatch.setattr(comparators, "_registry", copy.copy(comparators._registry))
    plain_project.write_text(
        _env(
            before="from alembic.autogenerate import comparators\n"
            "def functions(context, operations, schemas): pass\n"
            "functions.__module__ = 'utilities.compare'\n"
            "comparators.dispatch_for('schema')(functions)"
        )
    )
    assert cli("migrate", url=server.url(database)).code == 0
    done = cli("migrate", "check", url=server.url(database))
    assert done.code == 0, done.err
    assert "what utilities adds to Alembic's comparison" in done.out


MULTIDB = """\
import sqlalchemy as sa
from alembic import op

revision = "m1"
down_revision = None


def upgrade(engine_name):
    globals()[f"upgrade_{engine_name}"]()


def downgrade(engine_name):
    op.drop_table(engine_name)


def upgrade_orders():
    op.create_table("orders", sa.Column("id", sa.Integer, primary_key=True))


def upgrade_stock():
    op.create_table("stock", sa.Column("id", sa.Integer, primary_key=True))
"""


@pytest.mark.thorough
def test_one_of_several_databases_is_named_by_a_configuration_of_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, server: Server, database: str, cli: Cli
) -> None:
    """Alembic's template goes through what `databases` names: an app for each names one."""
    initialised = [sys.executable, "-m", "alembic", "init", "-t", "multidb", "db"]
    subprocess.run(initialised, cwd=tmp_path, check=True, capture_output=True)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    (tmp_path / "db/versions/m1.py").write_text(MULTIDB)
    config = "[alembic]\nscript_location = db\ndatabases = {}\n[orders]\n[stock]\n"
    (tmp_path / "alembic.ini").write_text(config.format("orders, stock"))
    apps = ""
    for name in ("both", "orders", "stock"):
        (tmp_path / f"{name}.ini").write_text(config.format(name))
        apps += f'[apps.{name}]\nmigrations = "db"\nalembic = "{name}.ini"\n'
    (tmp_path / "leadctl.toml").write_text(apps.replace("both.ini", "alembic.ini"))
    url = server.url(database)
    refused = cli("migrate", "--app", "both", url=url)
    assert (refused.code, 'alembic = "FILE"' in refused.err) == (3, True), refused.err
    assert cli("migrate", "--app", "stock", url=url).code == 0
    with server.connect(database) as connection:
        found = connection.execute("SELECT to_regclass('orders'), to_regclass('stock')::text")
        assert found.fetchone() == (None, "stock")
    assert cli("migrate", "status", "--app", "stock", url=url).code == 0
    assert cli("migrate", "down", "--yes", "--app", "stock", url=url).code == 0
