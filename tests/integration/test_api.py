"""leadctl as a host application uses it."""

import subprocess
import sys
from pathlib import Path

import pytest

import leadctl
from leadctl.errors import Protected, UnknownReport
from tests.conftest import KEY, Prepared
from tests.postgres import Server


def test_from_an_empty_database_to_a_healthy_one(
    server: Server, database: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    monkeypatch.setenv("ENCRYPTION_KEY", KEY)
    said: list[str] = []
    db = leadctl.database(server.url(database), app="leadconnector", narrate=said.append)
    assert not db.status().ok
    assert [step.revision for step in db.migrate().applied][-1] == "leadconnector_0002"
    assert db.migrate().applied == ()
    assert db.status().ok
    assert db.seed().inserted == 4
    assert db.seed().inserted == 0
    assert db.health().status == "ok"
    assert {table.name for table in db.stats(exact=True).tables} >= {"users", "leads"}
    assert db.report("leads").rows
    assert db.keys().ok
    assert db.export("pages", tmp_path / "pages.yaml").masked == ("access_token",)
    assert [run.command for run in db.history().runs][-1] == "migrate"
    assert any("Applying leadconnector_0001" in sentence for sentence in said)
    with pytest.raises(UnknownReport):
        db.report("nothing")
    assert db.reset(confirm=database).applied
    assert capfd.readouterr() == ("", "")


def test_a_guard_is_an_exception(leadconnector: Prepared, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ENCRYPTION_KEY", KEY)
    leadconnector.query("UPDATE leadctl.identity SET protected = true")
    db = leadctl.database(leadconnector.url)
    with pytest.raises(Protected) as refused:
        db.reset(confirm="wrong")
    assert isinstance(refused.value, leadctl.LeadctlError)
    assert refused.value.hint


def test_the_import_costs_nothing() -> None:
    code = "import leadctl, sys; print('sqlalchemy' in sys.modules, 'psycopg' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "False"]
    assert leadctl.__version__
    with pytest.raises(AttributeError):
        _ = leadctl.nothing
