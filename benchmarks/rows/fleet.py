"""A fleet of tenants: next to psql with the same SQL, to a loop of commands, and to a time each."""

import shlex
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks.bench import Bench, Row, Sides
from benchmarks.measure import Sample, command
from leadctl.postgres.binaries import client_program
from tests.servers import PASSWORD

_JOBS = 4
"""Connections that psql has: as many targets as `--fleet` has in flight by itself."""
_LOOPED = 10
"""Tenants that the loop of commands is measured with; all would take as long as they are many."""
_FLEET = ("--fleet", "tenants")


@contextmanager
def _declared(bench: Bench, tenants: int) -> Iterator[None]:
    """Declare the fleet in the folder where commands run."""
    file = bench.folder / "leadctl.toml"
    query = f"SELECT 't_' || n FROM generate_series(1, {tenants}) n"
    file.write_text(f'app = "leadconnector"\n[fleet.tenants]\nquery = "{query}"\n')
    try:
        yield
    finally:
        file.unlink()


def _scripts(bench: Bench, database: str, tenants: int) -> list[Path]:
    """Write what `migrate` would run for each tenant, in a file for each connection of psql."""
    whole = bench.folder / "tenant.sql"
    output = shlex.quote(str(whole))
    program = shlex.join([sys.executable, "-m", "leadctl", "migrate", "--schema", "t_0", "--sql"])
    command(
        ["/bin/sh", "-c", f"{program} > {output}"],
        env=bench.environment(DATABASE_URL=bench.server.url(database)),
        cwd=bench.folder,
    )
    text = whole.read_text()
    files = []
    for job in range(_JOBS):
        files.append(bench.folder / f"tenants_{job}.sql")
        files[-1].write_text(
            "".join(
                f"CREATE SCHEMA t_{number};\n" + text.replace('"t_0"', f'"t_{number}"')
                for number in range(1 + job, tenants + 1, _JOBS)
            )
        )
    return files


def _psql_at_once(bench: Bench, database: str, files: list[Path]) -> Sample:
    """Run psql with each file, all at once."""
    runs = [
        shlex.join([str(client_program("psql")), "-Xq", "-v", "ON_ERROR_STOP=1", "-f", str(file)])
        for file in files
    ]
    begun = "\n".join(f"{run} > /dev/null & pids+=($!)" for run in runs)
    variables = {
        "PGHOST": bench.server.host, "PGPORT": str(bench.server.port), "PGUSER": "postgres",
        "PGPASSWORD": PASSWORD, "PGDATABASE": database,
    }  # fmt: skip
    return command(
        ["/bin/bash", "-ec", f'{begun}\nfor pid in "${{pids[@]}}"; do wait "$pid"; done'],
        env=bench.environment(**variables),
        cwd=bench.folder,
    )


@contextmanager
def first(bench: Bench, tenants: int) -> Iterator[Sides]:
    names: list[str] = []

    def fresh() -> str:
        bench.drop(*names)
        names[:] = [bench.server.create()]
        return names[0]

    with _declared(bench, tenants):
        files = _scripts(bench, fresh(), tenants)
        yield Sides(
            lambda: bench.leadctl(fresh(), "migrate", "-q", *_FLEET),
            lambda: _psql_at_once(bench, fresh(), files),
        )
    bench.drop(*names)


@contextmanager
def _migrated(bench: Bench, tenants: int) -> Iterator[str]:
    with _declared(bench, tenants):
        name = bench.server.create()
        bench.leadctl(name, "migrate", "-q", *_FLEET)
        bench.leadctl(name, "seed", "-q", *_FLEET)
        with bench.connect(name) as connection:
            connection.execute("VACUUM (ANALYZE)")
        yield name
    bench.drop(name)


@contextmanager
def nothing_pending(bench: Bench, tenants: int) -> Iterator[Sides]:
    with _migrated(bench, tenants) as name:
        yield Sides(
            lambda: bench.leadctl(name, "migrate", "-q", *_FLEET),
            lambda: Sample(tenants * 0.010),
        )


@contextmanager
def looped(bench: Bench, tenants: int) -> Iterator[Sides]:
    def loop() -> Sample:
        runs = [
            bench.leadctl(name, "migrate", "-q", "--schema", f"t_{number}")
            for number in range(1, _LOOPED + 1)
        ]
        return Sample(sum(run.seconds for run in runs) * tenants / _LOOPED, runs[0].peak_bytes)

    with _migrated(bench, tenants) as name:
        yield Sides(lambda: bench.leadctl(name, "migrate", "-q", *_FLEET), loop)


@contextmanager
def health(bench: Bench, tenants: int) -> Iterator[Sides]:
    # The server's autovacuum is off, which is worth a warning.
    with _migrated(bench, tenants) as name:
        yield Sides(
            lambda: bench.leadctl(name, "health-check", "-q", *_FLEET, "--skip", "vacuum"),
            lambda: Sample(tenants * 0.030),
        )


ROWS = (
    Row(
        "migrate --fleet",
        "psql, the same SQL on 4 connections",
        1.3,
        first,
        sizes=(1000,),
        quick=50,
    ),
    Row("… nothing pending", "10 ms a tenant", 1.0, nothing_pending, sizes=(1000,), quick=50),
    Row(
        "… nothing pending, in a loop",
        "a shell loop of leadctl",
        0.05,
        looped,
        sizes=(1000,),
        quick=50,
    ),
    Row("health-check --fleet", "30 ms a tenant", 1.0, health, sizes=(1000,), quick=50),
)
