"""What role, database and environment set for sessions changes no verb's outcome."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import KEY, Cli, Prepared
from tests.leads import fill
from tests.servers import PASSWORD

SETTINGS = {
    "DateStyle": "German, DMY",
    "IntervalStyle": "sql_standard",
    "TimeZone": "Asia/Kathmandu",
    "extra_float_digits": "-9",
    "bytea_output": "escape",
    "row_security": "off",
    "search_path": "nowhere",
    "quote_all_identifiers": "on",
    "standard_conforming_strings": "off",
    "client_encoding": "latin1",
    "xmlbinary": "hex",
    "xmloption": "document",
    "array_nulls": "off",
    "transform_null_equals": "on",
    "session_replication_role": "replica",
    "default_transaction_isolation": "serializable",
    "lc_messages": "C",
    "statement_timeout": "20s",
    "idle_in_transaction_session_timeout": "20s",
    "lock_timeout": "20s",
}
VERBS = (
    ("stats", "-o", "json"),
    ("stats", "--exact", "-o", "json"),
    ("health-check", "-o", "json"),
    ("migrate", "status", "-o", "json"),
    ("migrate", "--plan", "-o", "json"),
    ("migrate", "drift", "-o", "json"),
    ("migrate", "check", "-o", "json"),
    ("migrate", "history", "-o", "json"),
    ("migrate", "-o", "json"),
    ("inspect", "-o", "json"),
    ("inspect", "bloat", "-o", "json"),
    ("cleanup", "--dry-run", "-o", "json"),
    ("history", "-o", "json"),
    ("studio", "users", "-o", "json"),
    ("schema", "show", "-o", "json"),
    ("keys", "status", "-o", "json"),
    ("backup", "-o", "json"),
    ("backup", "verify", "latest", "--restore", "-o", "json"),
    ("db", "environment", "-o", "json"),
)


@pytest.fixture
def url(leadconnector: Prepared) -> Iterator[str]:
    role = f"hasty_{leadconnector.name}"
    leadconnector.query(f"CREATE ROLE {role} LOGIN SUPERUSER PASSWORD '{PASSWORD}'")
    yield leadconnector.url.replace("//postgres:", f"//{role}:")
    leadconnector.query(f"REASSIGN OWNED BY {role} TO postgres; DROP ROLE {role}")


@pytest.mark.thorough
@pytest.mark.parametrize("where", ["role", "database", "environment", "url"])
def test_settings_of_sessions(
    leadconnector: Prepared, url: str, cli: Cli, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    env = {"ENCRYPTION_KEY": KEY}

    def outcomes() -> dict[tuple[str, ...], tuple[object, ...]]:
        found = {}
        for verb in VERBS:
            outcome = cli(*verb, url=url, env=env)
            assert "unexpectedly" not in outcome.err, (verb, outcome.err)
            assert outcome.code not in {2, 3, 4}, (verb, outcome.err)
            said = outcome.json if outcome.out else re.findall(r'"code": ?"\w+"', outcome.err)
            found[verb] = (outcome.code, sorted(said) if isinstance(said, dict) else said)
        return found

    before = outcomes()
    name = leadconnector.name
    options = " ".join(f"-c {key}={value.replace(' ', '')}" for key, value in SETTINGS.items())
    for key, value in SETTINGS.items():
        shown = value if key == "search_path" else f"'{value}'"
        if where == "role":
            leadconnector.query(f"ALTER ROLE hasty_{name} SET {key} = {shown}")
        elif where == "database":
            leadconnector.query(f"ALTER DATABASE {name} SET {key} = {shown}")
    if where == "environment":
        monkeypatch.setenv("PGOPTIONS", options)
        monkeypatch.setenv("PGDATESTYLE", "SQL, DMY")
        monkeypatch.setenv("PGTZ", "America/St_Johns")
        monkeypatch.setenv("PGCLIENTENCODING", "LATIN1")
    elif where == "url":
        url += f"?options={options.replace(' ', '%20').replace('=', '%3D')}"
    assert outcomes() == before


def test_rows_are_deleted_with_what_refers_to_them_and_come_back_whole(
    leadconnector: Prepared, url: str, cli: Cli
) -> None:
    role = url.split("//")[1].split(":")[0]
    for key, value in SETTINGS.items():
        if key not in {"client_encoding"}:
            leadconnector.query(f"ALTER ROLE {role} SET {key} = '{value}'")
    fill(leadconnector, 200)
    leadconnector.query(
        "ALTER TABLE leads ADD list text[];"
        """UPDATE leads SET list = ARRAY['a', NULL, E'\\\\x'],"""
        " status = 'ARCHIVED', created_at = now() - interval '1 year'"
    )
    whole = "SELECT array_agg(leads::text ORDER BY id), (SELECT count(*) FROM webhook_deliveries)"
    before = leadconnector.query(f"{whole} FROM leads")
    assert before[0][1] > 0
    consent = ("--archive", "archive", "--confirm", leadconnector.name)
    done = cli("cleanup", "--rule", "archived-leads", *consent, url=url)
    assert done.code == 0, done.err
    orphans = "SELECT count(*) FROM webhook_deliveries d WHERE NOT EXISTS (SELECT FROM leads l WHERE l.id = d.lead_id)"
    assert leadconnector.query(orphans) == [(0,)]
    assert leadconnector.query("SELECT count(*) FROM leads") == [(0,)]
    back = cli("cleanup", "unarchive", str(next(Path("archive").iterdir())), url=url)
    assert back.code == 0, back.err
    assert leadconnector.query(f"{whole} FROM leads") == before


def test_triggers_that_a_role_may_not_switch_on(leadconnector: Prepared, cli: Cli) -> None:
    """A superuser set it for an ordinary role: what changes rows is refused, what reads them is not."""
    role = f"replica_{leadconnector.name}"
    leadconnector.query(
        f"CREATE ROLE {role} LOGIN PASSWORD '{PASSWORD}' IN ROLE pg_read_all_data, pg_write_all_data;"
        f"ALTER ROLE {role} SET session_replication_role = replica"
    )
    url = leadconnector.url.replace("//postgres:", f"//{role}:")
    try:
        for line in (("stats", "-o", "json"), ("studio", "users", "-o", "json")):
            found = cli(*line, url=url)
            assert found.code == 0, found.err
        refused = cli("cleanup", "--days", "9", url=url)
        assert (refused.code, "RESET session_replication_role" in refused.err) == (4, True), (
            refused.err
        )
        assert "Cannot connect" not in refused.err
    finally:
        leadconnector.query(f"DROP OWNED BY {role}; DROP ROLE {role}")
