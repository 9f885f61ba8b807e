"""leadctl as a host application uses it."""

import re
from pathlib import Path

import pytest

import leadctl
from leadctl.errors import Protected, UnknownBackup, UnknownReport, UnknownRule
from tests.backups import key_pair
from tests.conftest import KEY, Prepared
from tests.processes import python
from tests.servers import Server


@pytest.mark.thorough
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
    assert leadctl.database(server.url(database), project=str(tmp_path)).status().ok
    assert db.reset(confirm=database).applied
    assert capfd.readouterr() == ("", "")


@pytest.mark.thorough
def test_what_a_scheduler_calls(
    leadconnector: Prepared,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
) -> None:
    recipient, identity = key_pair(tmp_path)
    monkeypatch.setenv("BACKUP_DIR", str(tmp_path / "backups"))
    monkeypatch.setenv("BACKUP_RECIPIENTS", recipient)
    monkeypatch.setenv("BACKUP_IDENTITY_FILE", str(identity))
    monkeypatch.setenv("ENCRYPTION_KEYS", f"new:{'ab' * 32},old:{KEY}")
    db = leadctl.database(leadconnector.url)
    assert db.check().ok
    assert db.drift().ok

    rotated = db.rotate_keys()
    assert (rotated.unreadable, rotated.status.ok) == (0, True)
    assert db.rotate_keys().rows == 0

    leadconnector.query("UPDATE leads SET created_at = now() - interval '3 years'")
    due = sum(rule.due for rule in db.cleanup_preview().rules)
    cleaned = db.cleanup(max_seconds=60, confirm=leadconnector.name)
    assert (cleaned.ok, cleaned.rows) == (True, due)
    with pytest.raises(UnknownRule):
        db.cleanup(["nothing"])

    made = db.backup()
    assert made.encrypted
    assert [backup.id for backup in db.backups().backups] == [made.id]
    assert db.verify_backup().ok
    with pytest.raises(UnknownBackup):
        db.restore("nothing", confirm=leadconnector.name)
    leadconnector.query("DELETE FROM users")
    with pytest.raises(leadctl.LeadctlError) as refused:
        db.restore()
    assert refused.value.code == "not_confirmed"
    beside = db.restore(into=f"{leadconnector.name}_beside")
    back = db.restore(confirm=leadconnector.name)
    assert beside.rows == back.rows == made.rows
    assert leadconnector.query("SELECT count(*) FROM users") == [(1,)]
    assert back.previous is not None
    for name in (beside.database, back.previous):
        leadconnector.server.drop(name)
    assert capfd.readouterr() == ("", "")


@pytest.mark.thorough
def test_the_examples_of_the_document(server: Server, database: str, shop: Path) -> None:
    document = (Path(__file__).parents[2] / "docs" / "python.md").read_text()
    text = "\n".join(re.findall(r"```python\n(.*?)```", document, re.DOTALL))
    text = text.replace("postgresql://localhost/shop", server.url(database))
    assert python("-c", text, env={"ENCRYPTION_KEY": KEY}, cwd=shop).startswith("['shop_0001'")


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
    assert python("-c", code).split() == ["False", "False"]
    assert leadctl.__version__
    with pytest.raises(AttributeError):
        _ = leadctl.nothing
