"""Ways around the guard, walked for real: whatever was done to the identity, nothing is lost."""

import contextlib
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from psycopg import sql

from leadctl.api.database import Database
from leadctl.errors import LeadctlError, NoIdentity, NotConfirmed, Protected
from leadctl.journal.guard import Consent
from leadctl.reset import reset
from tests.conftest import KEY, Cli, Prepared
from tests.processes import ROOT, environment, run
from tests.servers import Server

DAMAGES = {
    "protected": "",
    "row deleted": "DELETE FROM leadctl.identity",
    "table truncated": "TRUNCATE leadctl.identity",
    "table renamed": "ALTER TABLE leadctl.identity RENAME TO who",
    "table dropped": "DROP TABLE leadctl.identity",
    "table moved": "ALTER TABLE leadctl.identity SET SCHEMA public",
    "schema renamed": "ALTER SCHEMA leadctl RENAME TO was_leadctl",
    "schema dropped": "DROP SCHEMA leadctl CASCADE",
    "two rows": "ALTER TABLE leadctl.identity DROP CONSTRAINT identity_pkey;"
    " INSERT INTO leadctl.identity (state_version, protected) VALUES (1, false)",
    "a view": "ALTER TABLE leadctl.identity RENAME TO was; CREATE VIEW leadctl.identity AS"
    " SELECT only_row, state_version, id, environment, false AS protected, created_at"
    " FROM leadctl.was",
    "a materialized view": "ALTER TABLE leadctl.identity RENAME TO was;"
    " CREATE MATERIALIZED VIEW leadctl.identity AS SELECT only_row, state_version, id,"
    " environment, false AS protected, created_at FROM leadctl.was",
    "a table of somebody's": "DROP TABLE leadctl.identity;"
    " CREATE TABLE leadctl.identity (protected boolean);"
    " INSERT INTO leadctl.identity VALUES (false)",
    "no answer": "ALTER TABLE leadctl.identity ALTER protected DROP NOT NULL;"
    " UPDATE leadctl.identity SET protected = NULL",
    "column renamed": "ALTER TABLE leadctl.identity RENAME protected TO was_protected",
}
"""What was done to the identity of a protected database, as SQL."""

LINES = {
    "reset": ["reset", "--yes"],
    "reset confirmed for another": ["reset", "--yes", "--confirm", "other"],
    "reset with a backup": ["reset", "--yes", "--backup"],
    "migrate down": ["migrate", "down", "--yes"],
    "migrate down to the base": ["migrate", "down", "base", "--yes"],
    "bulk seed": ["seed", "--bulk", "50", "--yes"],
    "restore": ["restore", "latest", "--yes"],
    "restore and drop": ["restore", "latest", "--yes", "--drop-old"],
    "restore a file": ["restore", "./dump.sql", "--yes"],
    "restore rows": ["restore", "--data-only", "--yes"],
    "restore rows of a table": ["restore", "--table", "leads", "--data-only", "--yes"],
    "db push": ["db", "push", "--yes"],
    "unprotect": ["db", "environment", "--unprotect"],
    "rename": ["db", "environment", "mine"],
    "cleanup past its fuse": ["cleanup", "--days", "1", "--confirm", "other"],
}


@pytest.fixture
def damaged(request: pytest.FixtureRequest, leadconnector: Prepared, cli: Cli) -> Prepared:
    """A database that was protected, and what was done to its identity."""
    protect = "UPDATE leadctl.identity SET protected = true, environment = 'production'"
    leadconnector.query(protect)
    if request.param:
        with leadconnector.server.connect(leadconnector.name) as connection:
            connection.execute(request.param)
    return leadconnector


def rows(database: Prepared) -> list[tuple[str, int]]:
    """Count the rows of each table of the database, as the server has them."""
    with database.server.connect(database.name) as connection:
        names = connection.execute(
            "SELECT n.nspname, c.relname FROM pg_class c JOIN pg_namespace n"
            " ON n.oid = c.relnamespace WHERE c.relkind = 'r' AND c.oid >= 16384"
            " AND n.nspname !~ '^pg_' ORDER BY 1, 2"
        ).fetchall()
        count = sql.SQL("SELECT count(*) FROM {}")
        return [
            (
                f"{schema}.{name}",
                connection.execute(count.format(sql.Identifier(schema, name))).fetchall()[0][0],
            )
            for schema, name in names
        ]


@pytest.mark.few(1)
@pytest.mark.parametrize("damaged", DAMAGES.values(), ids=DAMAGES, indirect=True)
def test_no_verb_gets_by(damaged: Prepared, cli: Cli) -> None:
    before = rows(damaged)
    Path("dump.sql").write_text("CREATE TABLE other (id int);\n")
    recorded = damaged.query("SELECT to_regnamespace('leadctl')") != [(None,)] or (
        _has(damaged, "was_leadctl.run")
    )
    for way, line in LINES.items():
        if way in {"unprotect", "rename"} and not recorded:
            continue  # that is how one says what a database is that leadctl knows nothing of
        # Without a key, a backup folder or a readable file: the guard comes before them.
        outcome = cli(*line, url=damaged.url, env={"ENCRYPTION_KEY": ""})
        assert outcome.code == 5, (way, outcome.err)
        assert outcome.out == ""
        assert rows(damaged) == before, way
    names = damaged.query(
        "SELECT datname FROM pg_database WHERE datname LIKE %s", f"{damaged.name}%"
    )
    assert names == [(damaged.name,)]


TOML = "[env.dev]\nurl = '{url}'\nprotected = false\n"
WAYS: dict[str, tuple[list[str], dict[str, str]]] = {
    **{way: (line, {}) for way, line in LINES.items()},
    "yes by a variable": (["reset"], {"LEADCTL_YES": "1", "LEADCTL_RESET_YES": "1"}),
    "the name by a variable": (["reset", "--yes"], {"LEADCTL_CONFIRM": "{name}"}),
    "quietly": (["reset", "--yes", "-q"], {}),
    "as JSON": (["reset", "--yes", "-o", "json"], {}),
    "another case": (["reset", "--yes", "--confirm", "{NAME}"], {}),
    "a blank more": (["reset", "--yes", "--confirm", "{name} "], {}),
    "a part of the name": (["reset", "--yes", "--confirm", "t_"], {}),
    "no name": (["reset", "--yes", "--confirm", ""], {}),
    "a wildcard": (["reset", "--yes", "--confirm", "%"], {}),
    "the environment's name": (["reset", "--yes", "--confirm", "production"], {}),
    "an environment that is not protected": (["reset", "--yes", "--env", "dev"], {}),
    "an environment by a variable": (["reset", "--yes"], {"LEADCTL_ENV": "dev"}),
    "a URL as a flag": (["reset", "--yes", "--url", "{url}"], {"DATABASE_URL": ""}),
    "DIRECT_URL": (["reset", "--yes"], {"DIRECT_URL": "{url}"}),
    "another search path": (["reset", "--yes"], {"PGOPTIONS": "-c search_path=evil"}),
    "a path in the URL": (["reset", "--yes", "--url", "{url}?options=-csearch_path%3Devil"], {}),
    "read-only off": (["reset", "--yes"], {"PGOPTIONS": "-c default_transaction_read_only=off"}),
    "another schema of the app": (["reset", "--yes", "--schema", "evil"], {}),
    "down by steps": (["migrate", "down", "--steps", "2", "--yes"], {}),
    "down without waiting": (["migrate", "down", "--yes", "--lock-wait", "0s"], {}),
    "a large bulk seed": (["seed", "--bulk", "100", "--scale", "leads=50", "--yes"], {}),
    "restore without rows": (["restore", "latest", "--schema-only", "--yes"], {}),
    "restore as one's own": (["restore", "latest", "--no-owner", "--yes"], {}),
    "a script that is trusted": (["restore", "./dump.sql", "--trust-script", "--yes"], {}),
    "restore rows for another": (["restore", "--data-only", "--confirm", "other"], {}),
    "unprotect and rename": (["db", "environment", "mine", "--unprotect"], {}),
    "unprotect for another": (["db", "environment", "--unprotect", "--confirm", "other"], {}),
    "develop": (["migrate", "dev", "-m", "x"], {}),
}
"""Forty and some command lines and environments on a protected database, all of them refused."""


@pytest.mark.few(15)
@pytest.mark.parametrize("way", WAYS)
def test_a_way_around(way: str, leadconnector: Prepared, cli: Cli) -> None:
    leadconnector.query(
        "UPDATE leadctl.identity SET protected = true, environment = 'production';"
        "CREATE SCHEMA evil; CREATE TABLE evil.identity AS SELECT * FROM leadctl.identity;"
        "UPDATE evil.identity SET protected = false"
    )
    before = rows(leadconnector)
    Path("dump.sql").write_text("CREATE TABLE other (id int);\n")
    Path("leadctl.toml").write_text('app = "leadconnector"\n' + TOML.format(url=leadconnector.url))
    names = {
        "name": leadconnector.name,
        "NAME": leadconnector.name.upper(),
        "url": leadconnector.url,
    }
    line, variables = WAYS[way]
    env = {"DATABASE_URL": leadconnector.url} | variables
    outcome = cli(
        *(word.format(**names) for word in line),
        env={name: value.format(**names) for name, value in env.items()},
    )
    assert outcome.code == 5, outcome.err
    assert outcome.out == ""
    assert rows(leadconnector) == before


@pytest.mark.few(4)
@pytest.mark.parametrize(
    "damaged", list(DAMAGES.values())[1:], ids=list(DAMAGES)[1:], indirect=True
)
def test_an_identity_is_written_anew(damaged: Prepared, cli: Cli) -> None:
    refused = cli("reset", "--yes", url=damaged.url)
    assert "leadctl db environment NAME" in refused.err
    cli_confirm = ["--confirm", damaged.name, "-o", "json"]
    found = cli("db", "environment", "production", *cli_confirm, url=damaged.url)
    assert found.code == 0, found.err
    assert (found.json["environment"], found.json["protected"]) == ("production", True)
    kind = damaged.query("SELECT relkind FROM pg_class WHERE oid = 'leadctl.identity'::regclass")
    assert kind == [("r",)]
    assert damaged.query("SELECT environment, protected FROM leadctl.identity") == [
        ("production", True)
    ]
    assert cli("reset", "--yes", url=damaged.url).code == 5
    assert cli("db", "environment", "--unprotect", *cli_confirm, url=damaged.url).code == 0
    assert cli("migrate", "down", "--yes", url=damaged.url).code == 0


@pytest.mark.thorough
@pytest.mark.parametrize("damaged", [DAMAGES["protected"], DAMAGES["row deleted"]], indirect=True)
def test_the_python_api_asks_as_well(damaged: Prepared) -> None:
    database = Database(damaged.settings())
    before = rows(damaged)
    calls: list[Callable[[Consent | None], object]] = [
        lambda consent: database.reset(confirm=consent),
        lambda consent: database.down(confirm=consent),
        lambda consent: database.down("base", confirm=consent),
        lambda consent: database.bulk_seed(10, confirm=consent),
        lambda consent: database.restore(confirm=consent),
        lambda consent: database.restore_rows(confirm=consent),
        lambda consent: database.push(consent),
        lambda consent: database.set_identity("mine", protected=False, confirm=consent),
        lambda _: database.set_identity(protected=False, confirm="other"),
    ]
    for call in calls:
        for consent in (None, Consent(yes=True), Consent(yes=True, ask=lambda _: True)):
            with pytest.raises((Protected, NoIdentity, NotConfirmed)):
                call(consent)
    assert rows(damaged) == before


@pytest.mark.thorough
@pytest.mark.parametrize(
    ("damaged", "target"),
    [(DAMAGES["protected"], "base"), (DAMAGES["row deleted"], "-1")],
    indirect=["damaged"],
)
def test_plain_alembic_asks_as_well(target: str, damaged: Prepared) -> None:
    before = rows(damaged)
    ini = ROOT / "migrations" / "leadconnector" / "alembic.ini"
    variables = environment({"DATABASE_URL": damaged.url, "ENCRYPTION_KEY": KEY})

    def alembic(*arguments: str) -> subprocess.CompletedProcess[str]:
        line = [sys.executable, "-m", "alembic", "-c", str(ini), *arguments]
        return subprocess.run(
            line, env=variables, cwd=ROOT, capture_output=True, text=True, check=False
        )

    done = alembic("downgrade", target)
    assert done.returncode != 0
    assert "alembic downgrade is refused" in done.stderr, done.stderr
    assert rows(damaged) == before
    by_program = (
        "from alembic import command; from alembic.config import Config;"
        f"command.downgrade(Config({str(ini)!r}), {target!r})"
    )
    done = subprocess.run(
        [sys.executable, "-c", by_program],
        env=variables,
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert "alembic downgrade is refused" in done.stderr, done.stderr
    assert [each for each in rows(damaged) if not each[0].startswith("leadctl.")] == [
        each for each in before if not each[0].startswith("leadctl.")
    ]
    if damaged.query("SELECT 1 FROM leadctl.identity"):
        done = alembic("-x", f"confirm={damaged.name}", "downgrade", target)
        assert done.returncode == 0, done.stderr


def test_no_number_of_days_gets_by_the_fuse(leadconnector: Prepared, cli: Cli) -> None:
    leadconnector.query(
        "INSERT INTO leads (id, facebook_lead_id, page_id, form_id, form_name, lead_data, status, created_at)"
        " SELECT 'l' || n, 'l' || n, (SELECT min(id) FROM pages), 'f', 'f', '{}', 'ARCHIVED', now() - interval '3 days'"
        " FROM generate_series(1, 3000) n"
    )
    for protected in (True, False):
        leadconnector.query("UPDATE leadctl.identity SET protected = %s", protected)
        for days, code in (("0", 2), ("-1", 2), ("1e9", 2), ("1", 5)):
            outcome = cli("cleanup", "--days", days, url=leadconnector.url)
            assert outcome.code == code, (days, outcome.err)
    assert leadconnector.query("SELECT count(*) FROM leads WHERE id LIKE 'l%'") == [(3000,)]


def _has(database: Prepared, table: str) -> bool:
    return bool(database.query("SELECT to_regclass(%s)", table)[0][0])


def test_undelete_needs_no_consent_and_loses_nothing(leadconnector: Prepared, cli: Cli) -> None:
    leadconnector.query("DELETE FROM leadctl.identity")
    before = rows(leadconnector)
    outcome = cli("cleanup", "undelete", "users", "nobody", url=leadconnector.url)
    assert outcome.code == 1, outcome.err
    assert [table for table in rows(leadconnector) if not table[0].startswith("leadctl.")] == [
        table for table in before if not table[0].startswith("leadctl.")
    ]


def test_what_was_protected_meanwhile_is_refused(leadconnector: Prepared) -> None:
    """Consent is asked for anew in the transaction that drops."""
    database = Database(leadconnector.settings())

    def before() -> None:
        leadconnector.query("UPDATE leadctl.identity SET protected = true")

    with pytest.raises(Protected):
        reset(
            database.target,
            database.app,
            database.keyring,
            Consent(ask=lambda _: True),
            timeouts=database._timeouts,
            narrate=lambda _: None,
            progress=lambda *_: None,
            before=before,
        )
    assert _has(leadconnector, "users")


def test_unprotect_and_protect_at_once(leadconnector: Prepared) -> None:
    """Whoever reads first and writes last does not undo what came between."""
    database = Database(leadconnector.settings())
    results: list[str] = []

    def change(protected: bool) -> None:
        with contextlib.suppress(LeadctlError):
            database.set_identity(protected=protected)
            results.append("protected" if protected else "unprotected")

    for _ in range(5):
        leadconnector.query("UPDATE leadctl.identity SET protected = false")
        results.clear()
        threads = [threading.Thread(target=change, args=(each,)) for each in (True, False)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        if "protected" in results:
            assert leadconnector.query("SELECT protected FROM leadctl.identity") == [(True,)]


def test_a_database_of_others_is_read_and_migrated(
    leadconnector: Prepared, cli: Cli, tmp_path: Path
) -> None:
    leadconnector.query("DROP SCHEMA leadctl CASCADE")
    for line in (["stats"], ["migrate", "status"], ["migrate"], ["schema", "show"], ["backup"]):
        outcome = cli(*line, url=leadconnector.url)
        assert outcome.code == 0, (line, outcome.err)
    assert not _has(leadconnector, "leadctl.identity")
    found = cli("db", "environment", "development", "-o", "json", url=leadconnector.url)
    assert found.code == 0, found.err  # nothing is recorded here, so nobody's word is overruled
    assert found.json["protected"]


@pytest.mark.thorough
def test_an_empty_database_has_nothing_to_lose(server: Server, database: str, cli: Cli) -> None:
    url = server.url(database)
    assert cli("reset", "--yes", url=url).code == 0
    assert cli("reset", "--yes", url=url).code == 0


def test_psql_warns_on_a_protected_database(leadconnector: Prepared) -> None:
    env = {"DATABASE_URL": leadconnector.url}
    quiet = run("db", "shell", "--", "-c", "SELECT 1", env=env)
    assert "protected" not in quiet.stderr
    leadconnector.query("UPDATE leadctl.identity SET protected = true")
    warned = run("db", "shell", "--", "-Atc", "SELECT 'it ran'", env=env)
    assert warned.returncode == 0, warned.stderr
    assert "is protected" in warned.stderr
    assert warned.stdout == "it ran\n"


@pytest.mark.parametrize("how", ["row deleted", "table renamed", "schema renamed", "table moved"])
def test_what_is_journaled_anew_is_protected(how: str, leadconnector: Prepared, cli: Cli) -> None:
    """A run that writes an identity where one was lost does not unprotect the database."""
    with leadconnector.server.connect(leadconnector.name) as connection:
        connection.execute(DAMAGES[how])
    assert cli("seed", url=leadconnector.url).code == 0
    assert leadconnector.query("SELECT protected FROM leadctl.identity") == [(True,)]
    assert cli("reset", "--yes", url=leadconnector.url).code == 5


LOSES_NOTHING = {
    "cleanup": ["cleanup"],
    "seed": ["seed"],
    "a tenant": ["tenants", "create", "zed"],
    "a value that is shown": ["studio", "users", "--reveal", "--yes"],
    "rows beside": ["restore", "latest", "--table", "users"],
}


@pytest.mark.few(2)
@pytest.mark.parametrize("line", LOSES_NOTHING.values(), ids=LOSES_NOTHING)
@pytest.mark.parametrize(
    "damaged", [DAMAGES["schema dropped"], DAMAGES["row deleted"]], indirect=True
)
def test_what_loses_nothing_opens_no_way(damaged: Prepared, cli: Cli, line: list[str]) -> None:
    """Such a run needs no identity, and the one that it writes is not a licence for the next."""
    assert cli("backup", url=damaged.url).code == 0
    assert cli("reset", "--yes", url=damaged.url).code == 5
    done = cli(*line, url=damaged.url)
    assert done.code in {0, 2}, done.err
    before = rows(damaged)
    assert cli("reset", "--yes", url=damaged.url).code == 5
    assert cli("seed", "--bulk", "50", "--yes", url=damaged.url).code == 5
    assert rows(damaged) == before


@pytest.mark.few(2)
@pytest.mark.parametrize(
    "damaged", list(DAMAGES.values())[1:], ids=list(DAMAGES)[1:], indirect=True
)
def test_values_are_rotated_only_where_it_is_known_what_the_database_is(
    damaged: Prepared, cli: Cli
) -> None:
    """What is written is read with the new key alone, which no other run can take back."""
    damaged.query("UPDATE users SET access_token = 'plain text'")
    line = ["keys", "rotate", "--encrypt-plaintext"]
    for env in ({}, {"ENCRYPTION_KEY": ""}):  # before keys are looked at
        refused = cli(*line, url=damaged.url, env=env)
        assert (refused.code, "leadctl db environment NAME" in refused.err) == (5, True)
    assert cli(*line, "--dry-run", url=damaged.url).code == 0
    assert damaged.query("SELECT DISTINCT access_token FROM users") == [("plain text",)]
    named = ["db", "environment", "production", "--confirm", damaged.name]
    assert cli(*named, url=damaged.url).code == 0
    assert cli(*line, url=damaged.url).code in {0, 1}
    assert damaged.query("SELECT count(*) FROM users WHERE access_token = 'plain text'") == [(0,)]
