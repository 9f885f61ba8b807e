"""What works with libpq works here: PG variables, services, password files."""

from pathlib import Path

import pytest

from tests.conftest import Prepared
from tests.processes import run
from tests.servers import PASSWORD


@pytest.fixture
def place(leadconnector: Prepared) -> dict[str, str]:
    server = leadconnector.server
    return {"PGHOST": server.host, "PGPORT": str(server.port), "PGUSER": "postgres"}


def test_variables(leadconnector: Prepared, place: dict[str, str]) -> None:
    env = {**place, "PGDATABASE": leadconnector.name, "PGPASSWORD": PASSWORD}
    done = run("migrate", env=env)
    assert done.returncode == 0, done.stderr
    assert leadconnector.name in done.stdout


def test_variables_of_a_file(
    leadconnector: Prepared, place: dict[str, str], tmp_path: Path
) -> None:
    lines = {**place, "PGDATABASE": leadconnector.name, "PGPASSWORD": f"'{PASSWORD}'"}
    (tmp_path / ".env").write_text("".join(f"{key}={value}\n" for key, value in lines.items()))
    done = run("migrate", "status", cwd=tmp_path)
    assert done.returncode == 0, done.stderr


def test_a_password_file(leadconnector: Prepared, place: dict[str, str], tmp_path: Path) -> None:
    file = tmp_path / "pgpass"
    file.write_text(f"*:*:*:postgres:{PASSWORD}\n")
    file.chmod(0o600)
    url = f"postgresql://postgres@{place['PGHOST']}:{place['PGPORT']}/{leadconnector.name}"
    done = run("migrate", env={"DATABASE_URL": url, "PGPASSFILE": str(file)})
    assert done.returncode == 0, done.stderr


@pytest.mark.thorough
@pytest.mark.parametrize("how", ["variable", "url"])
def test_a_service(
    leadconnector: Prepared, place: dict[str, str], tmp_path: Path, how: str
) -> None:
    file = tmp_path / "services"
    file.write_text(
        f"[shop]\nhost={place['PGHOST']}\nport={place['PGPORT']}\nuser=postgres\n"
        f"dbname={leadconnector.name}\n"
    )
    env = {"PGSERVICEFILE": str(file), "PGPASSWORD": PASSWORD}
    env |= {"PGSERVICE": "shop"} if how == "variable" else {"DATABASE_URL": "service=shop"}
    done = run("migrate", env=env)
    assert done.returncode == 0, done.stderr
    assert leadconnector.name in done.stdout
    assert run("migrate", env={**env, "LEADCTL_SCHEMA": "elsewhere"}).returncode == 0
