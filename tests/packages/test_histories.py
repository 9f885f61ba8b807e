"""Histories that others wrote: packages of PyPI, migrated by leadctl and by their own Alembic.

Each has an environment of its own, which is kept in `.cache/environments` for the next run.
"""

import fcntl
import os
import re
import shutil
import subprocess
import sys
import venv
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from leadctl.postgres.binaries import server_binaries
from tests.processes import ROOT
from tests.servers import Server


@dataclass(frozen=True)
class History:
    """A package whose revisions begin from nothing, or whose own code makes the first tables."""

    requires: tuple[str, ...]
    module: str
    """The package beside whose files its alembic.ini is."""
    variable: str | None = None
    """What tells its env.py the URL; else that is `sqlalchemy.url`."""
    make: str = ""
    """Python that makes its tables, where its revisions do not."""
    by_alembic: bool = True
    """Whether the plain `alembic` command runs it."""
    env: Mapping[str, str] = field(default_factory=dict)


HISTORIES = {
    "optuna": History(("optuna",), "optuna.storages._rdb"),
    "prefect": History(
        ("prefect", "asyncpg"),
        "prefect.server.database",
        variable="PREFECT_API_DATABASE_CONNECTION_URL",
        by_alembic=False,  # its env.py wants a worker thread of its own command
    ),
    "arize-phoenix": History(
        ("arize-phoenix", "asyncpg"),
        "phoenix.db",
        variable="PHOENIX_SQL_DATABASE_URL",
    ),
    "dagster": History(
        ("dagster", "dagster-postgres", "psycopg2-binary"),
        "dagster_postgres.alembic",
        make="from dagster_postgres import *\n"
        "for each in (PostgresRunStorage, PostgresEventLogStorage, PostgresScheduleStorage):\n"
        "    each.create_clean_storage(url)\n",
        by_alembic=False,
    ),
}


def environment_of(name: str, history: History) -> Path:
    """Return the folder of programs of a package's environment, made where it is missing."""
    major = f"{sys.version_info.major}.{sys.version_info.minor}"
    home = ROOT / ".cache" / "environments" / f"{name}-{major}"
    home.parent.mkdir(parents=True, exist_ok=True)
    with (home.parent / f"{home.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (home / "complete").exists():
            shutil.rmtree(home, ignore_errors=True)
            venv.create(home, with_pip=True)
            subprocess.run(
                [home / "bin" / "pip", "install", "--quiet", *history.requires, "-e", str(ROOT)],
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
    programs = environment_of(name, history)
    url = server.url(database)
    theirs = server.create()
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

    try:
        where = f"import importlib.util as u; print(list(u.find_spec({history.module!r})"
        folder = Path(python(f"{where}.submodule_search_locations)[0])", url))
        copied = tmp_path / "alembic.ini"
        shutil.copy(folder / "alembic.ini", copied)
        found = re.search(r"^script_location = (\w+)$", copied.read_text(), re.MULTILINE)
        if found:  # beside it, so that a revision may be added
            shutil.copytree(folder / found[1], tmp_path / found[1])
        if history.make:
            python(history.make, url)
        leadctl("init", "--app", "theirs")
        leadctl("migrate", "--allow", "mixed-transaction")
        leadctl("migrate", "status")
        if history.by_alembic:
            at = server.url(theirs)
            through = at.replace("postgresql://", "postgresql+psycopg://").replace("%", "%%")
            lines = [
                f"sqlalchemy.url = {through}" if line.startswith("sqlalchemy.url") else line
                for line in copied.read_text().splitlines()
            ]
            copied.write_text("\n".join(lines))
            subprocess.run(
                [programs / "python", "-m", "alembic", "upgrade", "heads"],
                cwd=tmp_path,
                env={**scratch, **({history.variable: at} if history.variable else {})},
                check=True,
                capture_output=True,
            )
            assert dumped(server, database) == dumped(server, theirs)
            leadctl("migrate", "status", at=server.url(theirs))
        if found:
            with server.connect(database) as connection:
                table = connection.execute(
                    "SELECT relname FROM pg_class WHERE relkind = 'r' AND relnamespace ="
                    " 'public'::regnamespace AND relname <> 'alembic_version' ORDER BY 1 LIMIT 1"
                ).fetchone()
            assert table is not None
            before = dumped(server, database)
            (tmp_path / "more.sql").write_text(f"ALTER TABLE {table[0]} ADD more int")
            leadctl("migrate", "new", "-m", "more", "--sql", "more.sql")
            leadctl("migrate")
            assert dumped(server, database) != before
            leadctl("migrate", "down", "--yes")
            assert dumped(server, database) == before
    finally:
        server.drop(theirs)


def dumped(server: Server, database: str) -> list[str]:
    """Return a database's definitions by pg_dump, without leadctl's own."""
    done = subprocess.run(
        [server_binaries().path("pg_dump"), "-s", "-N", "leadctl", server.url(database)],
        capture_output=True,
        text=True,
        check=True,
    )
    return [line for line in done.stdout.splitlines() if not line.startswith(("--", "\\"))]
