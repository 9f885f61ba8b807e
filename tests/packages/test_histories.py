"""Histories that others wrote: packages of PyPI, migrated by leadctl and by their own Alembic.

And the recipes of docs/recipes.md, each with the packages that it names.

Each has an environment of its own, which is kept in `.cache/environments` for the next run.
"""

import fcntl
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import venv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from leadctl.postgres.binaries import server_binaries
from tests.docs.test_docs import CONSOLE, FILE, commands
from tests.processes import ROOT
from tests.servers import Server


@dataclass(frozen=True)
class History:
    """A package whose revisions begin from nothing, or whose own code makes the first tables."""

    requires: tuple[str, ...]
    module: str
    """The package beside whose files its alembic.ini is."""
    scripts: str = ""
    """The folder of its env.py below that, copied; else its revisions are added to in place."""
    models: str = ""
    """What `init` must be told, where its env.py hands over no tables."""
    variable: str | None = None
    """What tells its env.py the URL; else that is `sqlalchemy.url`."""
    make: str = ""
    """Python that makes its tables, where its revisions do not make them all."""
    stamp: str = ""
    """The revision that the database is at then, as its program says by Alembic."""
    alembic: str = "main()"
    """Python that runs Alembic's `main()` as its program does; none where that is no command."""
    env: Mapping[str, str] = field(default_factory=dict)


CREATE_ALL = """\
import sqlalchemy
from {module} import {base}
{base}.metadata.create_all(sqlalchemy.create_engine(url.replace("postgresql:", "postgresql+psycopg:")))
"""
HISTORIES = {
    "optuna": History(("optuna",), "optuna.storages._rdb", "alembic"),
    "prefect": History(
        ("prefect", "asyncpg"),
        "prefect.server.database",
        variable="PREFECT_API_DATABASE_CONNECTION_URL",
        alembic="import os, anyio\nname = 'PREFECT_API_DATABASE_CONNECTION_URL'\n"
        "os.environ[name] = os.environ[name].replace('postgresql:', 'postgresql+asyncpg:')\n"
        "from prefect.utilities.asyncutils import run_sync_in_worker_thread\n"
        "anyio.run(run_sync_in_worker_thread, main)",
    ),
    "arize-phoenix": History(
        ("arize-phoenix", "asyncpg"),
        "phoenix.db",
        "migrations",
        variable="PHOENIX_SQL_DATABASE_URL",
    ),
    "dagster": History(
        ("dagster", "dagster-postgres", "psycopg2-binary"),
        "dagster_postgres.alembic",
        make="from dagster_postgres import *\n"
        "for each in (PostgresRunStorage, PostgresEventLogStorage, PostgresScheduleStorage):\n"
        "    each.create_clean_storage(url)\n",
        alembic="",  # its env.py wants an instance that is being upgraded
    ),
    "mlflow": History(
        ("mlflow",),
        "mlflow.store.db_migrations",
        ".",
        models="mlflow.store.tracking.dbmodels.models:Base",
        make=CREATE_ALL.format(module="mlflow.store.tracking.dbmodels.initial_models", base="Base"),
        stamp="base",
    ),
    "buildbot": History(
        ("buildbot",),
        "buildbot.db.migrations",
        ".",
        make=CREATE_ALL.format(module="buildbot.db.model", base="Model"),
        stamp="heads",
    ),
    "jupyterhub": History(
        ("jupyterhub",),
        "jupyterhub",
        "alembic",
        make=CREATE_ALL.format(module="jupyterhub.orm", base="Base"),
        stamp="heads",
    ),
}


def environment_of(name: str, requires: Sequence[str]) -> Path:
    """Return the folder of programs of an environment of packages, made where it is missing."""
    major = f"{sys.version_info.major}.{sys.version_info.minor}"
    home = ROOT / ".cache" / "environments" / f"{name}-{major}"
    home.parent.mkdir(parents=True, exist_ok=True)
    with (home.parent / f"{home.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (home / "complete").exists():
            shutil.rmtree(home, ignore_errors=True)
            venv.create(home, with_pip=True)
            subprocess.run(
                [home / "bin" / "pip", "install", "--quiet", *requires, "-e", f"{ROOT}[embedded]"],
                check=True,
                capture_output=True,
            )
            (home / "complete").touch()
    return home / "bin"


@pytest.mark.slow
@pytest.mark.parametrize("name", HISTORIES)
def test_from_init_to_a_column_and_back(
    name: str, tmp_path: Path, server: Server, database: str
) -> None:
    history = HISTORIES[name]
    programs = environment_of(name, history.requires)
    url = server.url(database)
    theirs = server.create()
    written: list[Path] = []
    nowhere = "postgresql+asyncpg://nobody@127.0.0.1:1/none"
    scratch = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), **history.env}

    def python(code: str, at: str) -> str:
        done = subprocess.run(
            [programs / "python", "-c", f"url = {at!r}\n{code}"],
            cwd=tmp_path,
            env=scratch,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    def leadctl(*arguments: str, at: str = url, code: int = 0) -> str:
        variables = {history.variable: nowhere} if history.variable else {}
        done = subprocess.run(
            [programs / "python", "-m", "leadctl", *arguments],
            cwd=tmp_path,
            env={**scratch, **variables, "DATABASE_URL": at},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == code, done.stdout + done.stderr
        return done.stdout

    def alembic(*arguments: str, at: str, may_fail: bool = False) -> bool:
        through = at.replace("postgresql://", "postgresql+psycopg://").replace("%", "%%")
        lines = [
            f"sqlalchemy.url = {through}" if line.startswith("sqlalchemy.url") else line
            for line in ini.read_text().splitlines()
        ]
        (tmp_path / "theirs.ini").write_text("\n".join(lines))
        code = f"from alembic.config import main\n{history.alembic}"
        done = subprocess.run(
            [programs / "python", "-c", code, "-c", "theirs.ini", *arguments],
            cwd=tmp_path,
            env={**scratch, **({history.variable: at} if history.variable else {})},
            check=False,
            capture_output=True,
            text=True,
        )
        assert may_fail or done.returncode == 0, done.stdout + done.stderr
        return done.returncode == 0

    try:
        where = f"import importlib.util as u; print(list(u.find_spec({history.module!r})"
        folder = Path(python(f"{where}.submodule_search_locations)[0])", url))
        ini = tmp_path / "alembic.ini"
        text = (folder / "alembic.ini").read_text()
        if history.scripts:
            shutil.copytree(folder / history.scripts, tmp_path / "theirs")
            text = re.sub(r"(?m)^script_location *=.*$", "script_location = theirs", text)
            text = re.sub(r"(?m)^version_locations *=.*$", "", text)
        ini.write_text(re.sub(r"(?m)^hooks *=.*$", "", text))  # they run its developers' programs
        for at in (url, server.url(theirs)) if history.make else ():
            python(history.make, at)
            if history.stamp:
                alembic("stamp", history.stamp, at=at)
        leadctl(
            "init", "--app", "theirs", *(["--models", history.models] if history.models else [])
        )
        leadctl("migrate", "--allow", "mixed-transaction")
        leadctl("migrate", "status")
        if history.alembic:
            alembic("upgrade", "heads", at=server.url(theirs))
            assert dumped(server, database) == dumped(server, theirs)
            leadctl("migrate", "status", at=server.url(theirs))
            is_same = alembic("check", at=server.url(theirs), may_fail=True)
            leadctl("migrate", "check", code=0 if is_same else 1)
        with server.connect(database) as connection:
            table = connection.execute(
                "SELECT relname FROM pg_class WHERE relkind = 'r' AND relnamespace ="
                " 'public'::regnamespace AND relname <> 'alembic_version' ORDER BY 1 LIMIT 1"
            ).fetchone()
        assert table is not None
        before = dumped(server, database)
        (tmp_path / "more.sql").write_text(f"ALTER TABLE {table[0]} ADD more int")
        new = json.loads(leadctl("migrate", "new", "-m", "more", "--sql", "more.sql", "-o", "json"))
        written = [tmp_path / each["path"] for each in new["revisions"]]
        leadctl("migrate")
        assert dumped(server, database) != before
        leadctl("migrate", "down", "--yes")
        assert dumped(server, database) == before
    finally:
        for file in written:
            file.unlink()  # the next run begins without it
        server.drop(theirs)


RECIPES = dict(
    re.findall(r"(?ms)^## ([^\n]+)\n(.*?)(?=^## |\Z)", (ROOT / "docs/recipes.md").read_text())
)
"""By their headings."""


@pytest.mark.slow
@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_does_what_it_shows(
    name: str, tmp_path: Path, server: Server, database: str
) -> None:
    recipe = RECIPES[name]
    requires = [
        each for line in re.findall(r"(?m)^pip install (.*)$", recipe) for each in shlex.split(line)
    ]
    programs = environment_of("recipe-" + re.sub(r"\W+", "-", name).lower(), requires)
    for path, text in FILE.findall(recipe):
        place = tmp_path / path
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(text)
    exported = f"export DATABASE_URL='{server.url(database)}'"
    for command, expected in (
        each for block in CONSOLE.findall(recipe) for each in commands(block)
    ):
        done = subprocess.run(
            ["/bin/sh", "-c", f"{exported}\n{command}"],
            cwd=tmp_path,
            env={"PATH": f"{programs}:{os.environ['PATH']}", "HOME": str(tmp_path)},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.stdout == expected.rstrip("\n") + ("\n" if expected.strip() else ""), (
            f"{command}\n{done.stdout}{done.stderr}"
        )
        exported = "\n".join([exported, *re.findall(r"(export .*?)(?=;|&&|$)", command)])


def dumped(server: Server, database: str) -> list[str]:
    """Return a database's definitions by pg_dump, without leadctl's own."""
    done = subprocess.run(
        [server_binaries().path("pg_dump"), "-s", "-N", "leadctl", server.url(database)],
        capture_output=True,
        text=True,
        check=True,
    )
    return [line for line in done.stdout.splitlines() if not line.startswith(("--", "\\"))]
