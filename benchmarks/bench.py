"""What a row of the benchmark is, and what its runs are handed."""

import os
import shutil
import sys
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psycopg

from benchmarks.measure import Sample, Side, command
from leadctl.postgres.binaries import client_program
from tests.servers import PASSWORD, Server

ROOT = Path(__file__).parents[1]
SIZES = (100_000, 1_000_000, 3_000_000)
"""Rows in the databases of most rows of the table."""
_MILLION = 1_000_000
KEY = "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff"


@dataclass(frozen=True)
class Sides:
    """The two that are compared; each call is one run, and prepares for itself what it needs."""

    ours: Side
    theirs: Side


@dataclass(frozen=True)
class Row:
    """One line of the table: a command of ours next to its peer.

    `prepare` is handed the bench and a number of rows, and yields the two sides.
    """

    name: str
    peer: str
    goal: float
    """The ratio of times that is to be reached."""
    prepare: "Prepare"
    sizes: tuple[int, ...] = (0,)
    """Rows in the database for a full measurement; several show how the cost grows."""
    quick: int = 0
    """Rows in the database for a quick one."""
    runs: int = 3
    size_goal: float | None = None
    """The ratio of result sizes that is to be reached, where the result is files."""
    small_goal: float | None = None
    """The ratio of times that is to be reached below a million rows, where it is another."""

    def goal_at(self, rows: int) -> float:
        """Return the ratio that is to be reached with so many rows."""
        small = rows < _MILLION and self.small_goal is not None
        return self.small_goal or self.goal if small else self.goal


@dataclass
class Bench:
    """A server, a folder, and ways to run what is compared."""

    server: Server
    folder: Path
    say: Callable[[str], None]
    _templates: dict[tuple[Any, ...], str] = field(default_factory=dict)

    def leadctl(self, database: str, *arguments: str, **options: Any) -> Sample:
        """Run a command of ours on a database."""
        return self.python("-m", "leadctl", *arguments, database=database, **options)

    def python(
        self,
        *arguments: str,
        database: str = "postgres",
        variables: Mapping[str, str] | None = None,
        **options: Any,
    ) -> Sample:
        """Run Python with this checkout; `variables` are added to its environment."""
        return command(
            [sys.executable, *arguments],
            env=self.environment(DATABASE_URL=self.server.url(database), **(variables or {})),
            cwd=self.folder,
            **options,
        )

    def psql(self, database: str, *arguments: str | Path, **options: Any) -> Sample:
        """Run psql, which stops at the first error."""
        return self.program("psql", "-Xq", "-v", "ON_ERROR_STOP=1", *arguments,
                            database=database, **options)  # fmt: skip

    def program(self, name: str, *arguments: str | Path, database: str, **options: Any) -> Sample:
        """Run one of PostgreSQL's own client programs."""
        return command(
            [client_program(name), *arguments],
            env=self.environment(
                PGHOST=self.server.host,
                PGPORT=str(self.server.port),
                PGUSER="postgres",
                PGPASSWORD=PASSWORD,
                PGDATABASE=database,
            ),
            cwd=self.folder,
            **options,
        )

    def environment(self, **variables: str) -> Mapping[str, str]:
        """Return an environment with nothing of the user's but the path."""
        return {
            "PATH": os.environ["PATH"],
            "PYTHONPATH": str(ROOT),
            "ENCRYPTION_KEY": KEY,
            "LEADCTL_APP": "leadconnector",
            **variables,
        }

    def connect(self, database: str) -> psycopg.Connection[Any]:
        """Connect as superuser."""
        return self.server.connect(database)

    def database(self, app: str, rows: int = 0, *, fixtures: bool = True, **scale: int) -> str:
        """Return a database of its own with an app, its fixtures and so many synthetic rows.

        It is a copy of one that was made once; `scale` gives tables rows of their own number.
        """
        key = (app, rows, fixtures, *sorted(scale.items()))
        if key not in self._templates:
            self._templates[key] = self._fill(app, rows, scale, fixtures=fixtures)
        return self.server.create(self._templates[key])

    def drop(self, *databases: str) -> None:
        """Drop databases."""
        for name in databases:
            self.server.drop(name)

    def scratch(self, name: str) -> Path:
        """Return a folder that is new and empty."""
        path = self.folder / name
        shutil.rmtree(path, ignore_errors=True)
        path.mkdir()
        return path

    def _fill(self, app: str, rows: int, scale: Mapping[str, int], *, fixtures: bool) -> str:
        name = self.server.create()
        self.leadctl(name, "migrate", "--app", app)
        if fixtures:
            self.leadctl(name, "seed", "--app", app)
        if rows:
            self.say(f"making a database of {app} with {rows:,} rows")
            scales = [f"--scale={table}={count}" for table, count in scale.items()]
            self.leadctl(name, "seed", "--app", app, "--bulk", str(rows), *scales)
        with self.connect(name) as connection:
            connection.execute("VACUUM (ANALYZE)")
            connection.execute("CHECKPOINT")
        return name


Prepare = Callable[[Bench, int], AbstractContextManager[Sides]]
