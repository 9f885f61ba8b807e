"""A fleet of tenants: next to psql and to django-tenants with the same SQL, to a loop of commands,
and to a time each.
"""

import shlex
import subprocess
import sys
import venv
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks.bench import Bench, Row, Sides
from benchmarks.measure import Sample, command
from leadctl.postgres.binaries import client_program
from leadctl.sql.lexer import split
from tests.servers import CACHE, PASSWORD

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


def _script(bench: Bench, database: str) -> str:
    """Return what `migrate` would run for the tenant t_0."""
    whole = bench.folder / "tenant.sql"
    output = shlex.quote(str(whole))
    program = shlex.join([sys.executable, "-m", "leadctl", "migrate", "--schema", "t_0", "--sql"])
    command(
        ["/bin/sh", "-c", f"{program} > {output}"],
        env=bench.environment(DATABASE_URL=bench.server.url(database)),
        cwd=bench.folder,
    )
    return whole.read_text()


def _scripts(bench: Bench, database: str, tenants: int) -> list[Path]:
    """Write what `migrate` would run for each tenant, in a file for each connection of psql."""
    text = _script(bench, database)
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


_DJANGO = ("Django", "django-tenants", "psycopg[binary]")
_PROJECT = {
    "manage.py": """\
import os, sys
os.environ["DJANGO_SETTINGS_MODULE"] = "settings"
from django.core.management import execute_from_command_line
execute_from_command_line(sys.argv)
""",
    "settings.py": f"""\
import os
SECRET_KEY = "bench"
USE_TZ = True
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
SHARED_APPS = ["django_tenants", "django.contrib.contenttypes", "customers"]
TENANT_APPS = ["tenant"]
INSTALLED_APPS = SHARED_APPS + TENANT_APPS
TENANT_MODEL, TENANT_DOMAIN_MODEL = "customers.Client", "customers.Domain"
DATABASE_ROUTERS = ["django_tenants.routers.TenantSyncRouter"]
TENANT_MULTIPROCESSING_MAX_PROCESSES = {_JOBS}
DATABASES = {{"default": {{
    "ENGINE": "django_tenants.postgresql_backend", "HOST": os.environ["PGHOST"],
    "PORT": os.environ["PGPORT"], "USER": os.environ["PGUSER"],
    "PASSWORD": os.environ["PGPASSWORD"], "NAME": os.environ["PGDATABASE"],
}}}}
""",
    "customers/__init__.py": "",
    "customers/models.py": """\
from django_tenants.models import DomainMixin, TenantMixin
class Client(TenantMixin):
    auto_create_schema = False
class Domain(DomainMixin):
    pass
""",
    "tenant/__init__.py": "",
    "tenant/models.py": "",
    "tenant/migrations/__init__.py": "",
}
"""A Django project with one app of tenants."""


def _django_python() -> Path:
    """Return the Python of an environment with django-tenants, made when it is first needed."""
    folder = CACHE / "django-tenants"
    python = folder / "bin" / "python"
    if not (folder / "made").exists():
        venv.create(folder, with_pip=True, clear=True)
        subprocess.run([python, "-m", "pip", "install", "-q", *_DJANGO], check=True)
        (folder / "made").touch()
    return python


def _django_project(bench: Bench, database: str) -> Path:
    """Write the project, with the SQL of `migrate` as its migrations."""
    folder = bench.scratch("django")
    for name, text in _PROJECT.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    script = _script(bench, database).partition("\n")[2]  # psql's own line
    statements = [
        each
        for each in split(script)
        if "alembic_version" not in each and not each.startswith(("BEGIN", "COMMIT", "SET "))
    ]
    alone = [each for each in statements if "CONCURRENTLY" in each]
    together = [each for each in statements if each not in alone]
    before = "[]"
    for number, (sql, atomic) in enumerate(((together, True), (alone, False)), 1):
        (folder / f"tenant/migrations/m{number}.py").write_text(
            "from django.db import migrations\n"
            "class Migration(migrations.Migration):\n"
            f"    atomic = {atomic}\n"
            f"    dependencies = {before}\n"
            f"    operations = [migrations.RunSQL({(';'.join(sql) if atomic else sql)!r})]\n"
        )
        before = f'[("tenant", "m{number}")]'
    return folder


def _django(bench: Bench, folder: Path, database: str, *arguments: str) -> Sample:
    """Run a command of the project on a database."""
    variables = {
        "PGHOST": bench.server.host, "PGPORT": str(bench.server.port), "PGUSER": "postgres",
        "PGPASSWORD": PASSWORD, "PGDATABASE": database, "PYTHONPATH": "",
    }  # fmt: skip
    program: list[str | Path] = [_django_python(), "manage.py", *arguments]
    return command(program, env=bench.environment(**variables), cwd=folder)


@contextmanager
def django(bench: Bench, tenants: int) -> Iterator[Sides]:
    """Have the fastest executor migrate tenants whose rows and schemas are there already."""
    names: list[str] = []

    def fresh() -> str:
        bench.drop(*names)
        names[:] = [bench.server.create()]
        return names[0]

    folder = _django_project(bench, fresh())
    _django(bench, folder, fresh(), "makemigrations", "-v0", "customers")

    def theirs() -> Sample:
        database = fresh()
        _django(bench, folder, database, "migrate_schemas", "-v0", "--shared")
        with bench.connect(database) as connection:
            connection.execute(
                "INSERT INTO public.customers_client (schema_name)"
                " SELECT 't_' || n FROM generate_series(1, %s) n",
                (tenants,),
            )
            for number in range(1, tenants + 1):
                connection.execute(f"CREATE SCHEMA t_{number}".encode())
        wanted = ("migrate_schemas", "-v0", "--tenant", "--executor=multiprocessing")
        return _django(bench, folder, database, *wanted)

    with _declared(bench, tenants):
        yield Sides(lambda: bench.leadctl(fresh(), "migrate", "-q", *_FLEET), theirs)
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
    Row(
        "… next to Django",
        "django-tenants, multiprocessing",
        0.33,
        django,
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
