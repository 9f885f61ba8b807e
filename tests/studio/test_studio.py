"""The studio's command line: secrets, consent, journal, flags, output."""

import json
import os
import pty
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from leadctl.studio.projection import looks_secret
from leadctl.studio.shape import ColumnShape, Type
from tests.conftest import KEY, Cli, Prepare, Prepared
from tests.processes import environment, start
from tests.servers import Server

TEXT = Type("pg_catalog", "text", "S", (), None)
OTHERS = {"B": "bool", "D": "timestamptz", "N": "int4", "E": "mood", "U": "jsonb"}


@pytest.mark.parametrize(
    "name",
    [
        "password",
        "password_hash",
        "hashed_password",
        "passwordHash",
        "API_KEY",
        "apiKey",
        "api_key",
        "access_token",
        "refreshToken",
        "verification_token",
        "token_hash",
        "client_secret",
        "secret",
        "salt",
        "otp_code",
        "auth_config",
        "private_key",
        "certificate_hash",
        "credentials",
        "recovery_codes",
        "encryption_key",
    ],
)
def test_names_that_look_secret(name: str) -> None:
    assert looks_secret(ColumnShape(name, "text", TEXT, not_null=False))


@pytest.mark.parametrize(
    ("name", "category"),
    [
        *((name, "S") for name in ("email", "secretary", "key", "r2_key", "hashtags", "pinned")),
        *((name, "S") for name in ("password_hint", "token_type", "", "_", "auth_type")),
        ("token_expires_at", "D"),
        ("tokens_used", "N"),
        ("tokens", "N"),
        ("has_password", "B"),
        ("secret", "E"),
    ],
)
def test_names_that_do_not(name: str, category: str) -> None:
    kind = TEXT if category == "S" else Type("pg_catalog", OTHERS[category], category, (), None)
    assert not looks_secret(ColumnShape(name, "x", kind, not_null=False))


@pytest.fixture(autouse=True)
def unbounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let tables be whole: the width of a terminal is the golden tests' matter."""
    monkeypatch.setenv("COLUMNS", "")


SECRETS = ("test_access_token", "lc1.", "$2b$")


@pytest.mark.thorough
def test_secrets_are_masked_in_every_format(leadconnector: Prepared, cli: Cli) -> None:
    ((user,),) = leadconnector.query("SELECT id FROM users")
    for arguments in (
        ["users"],
        ["users", user],
        ["users", "--limit", "1"],
        ["pages", "--columns", "access_token"],
        ["pages", "--where", "access_token is not null"],
        ["users", user, "--follow", "pages"],
    ):
        for output in ("table", "json", "csv", "jsonl"):
            outcome = cli("studio", *arguments, "-o", output, url=leadconnector.url)
            assert outcome.code == 0, outcome.err
            assert "•••• (ENCRYPTION_KEY)" in outcome.out
            assert not any(secret in outcome.out for secret in SECRETS)


def test_secrets_do_not_leave_the_server(leadconnector: Prepared, cli: Cli) -> None:
    outcome = cli("studio", "users", "-vv", url=leadconnector.url)
    assert "left(" in outcome.err
    for words in (["--where", "access_token~x"], ["--where", "refresh_token=x"]):
        assert cli("studio", "users", *words, url=leadconnector.url).code == 2
    assert cli("studio", "users", "--sort", "access_token", url=leadconnector.url).code == 2


def test_a_key_that_is_not_there_shows_its_fingerprint(leadconnector: Prepared, cli: Cli) -> None:
    shown = cli("studio", "users", url=leadconnector.url, env={"ENCRYPTION_KEY": "ab" * 32}).out
    ((stored,),) = leadconnector.query("SELECT access_token FROM users")
    assert f"•••• ({stored.split('.')[1]})" in shown


def test_ciphertext_that_nobody_declared_is_masked(leadconnector: Prepared, cli: Cli) -> None:
    leadconnector.query("UPDATE users SET name = access_token")
    for output in ("table", "json", "csv"):
        out = cli("studio", "users", "--columns", "name", "-o", output, url=leadconnector.url).out
        assert "•••• (ENCRYPTION_KEY)" in out
        assert "lc1." not in out


def test_hashes_are_masked_by_rule(prepared: Prepare, cli: Cli) -> None:
    database = prepared("salesagent")
    out = cli("studio", "users", "--app", "salesagent", "-o", "json", url=database.url)
    assert [row["password_hash"] for row in out.json["rows"]] == ["••••", "••••"]
    assert "$2b$" not in out.out


@pytest.mark.thorough
def test_reveal_decrypts_and_is_journaled(leadconnector: Prepared, cli: Cli) -> None:
    ((user,),) = leadconnector.query("SELECT id FROM users")
    for arguments in (["users"], ["users", user], ["users", "--where", "access_token~lc1"]):
        for output in ("table", "json", "csv", "jsonl"):
            outcome = cli("studio", *arguments, "--reveal", "-o", output, url=leadconnector.url)
            assert outcome.code == 0, outcome.err
            assert "test_access_token" in outcome.out
            assert "lc1." not in outcome.out
    runs = cli("history", "-o", "json", url=leadconnector.url).json["runs"]
    revealed = [run for run in runs if run["command"] == "studio --reveal"]
    assert len(revealed) == 12
    assert revealed[0]["summary"]["table"] == "users"
    assert not any("lc1" in json.dumps(run) for run in revealed)


def test_reveal_says_what_it_cannot_read(leadconnector: Prepared, cli: Cli) -> None:
    leadconnector.query("UPDATE users SET refresh_token = access_token")
    row = cli("studio", "users", "--reveal", "-o", "json", url=leadconnector.url).json["rows"][0]
    assert row["access_token"] == "test_access_token"
    assert row["refresh_token"] == "•••• (cannot be decrypted)"
    unknown = {"ENCRYPTION_KEY": "ab" * 32}
    outcome = cli("studio", "users", "--reveal", "-o", "json", url=leadconnector.url, env=unknown)
    assert outcome.json["rows"][0]["access_token"].startswith("•••• (")


def test_reveal_on_a_protected_database_wants_its_name(leadconnector: Prepared, cli: Cli) -> None:
    url = leadconnector.url
    assert cli("db", "environment", "production", "--protect", url=url).code == 0
    for consent in ([], ["--confirm", "wrong"]):
        refused = cli("studio", "users", "--reveal", *consent, url=url)
        assert (refused.code, refused.out) == (5, "")
    by_variable = {"LEADCTL_STUDIO_REVEAL": "1", "LEADCTL_STUDIO_CONFIRM": leadconnector.name}
    assert "test_access_token" not in cli("studio", "users", url=url, env=by_variable).out
    allowed = cli("studio", "users", "--reveal", "--confirm", leadconnector.name, url=url)
    assert "test_access_token" in allowed.out
    runs = cli("history", "-o", "json", url=url).json["runs"]
    assert sum(run["command"] == "studio --reveal" for run in runs) == 1


def test_without_reveal_nothing_is_written(server: Server, database: str, cli: Cli) -> None:
    with server.connect(database) as connection:
        connection.execute("CREATE TABLE t (id int PRIMARY KEY, token text)")
        connection.execute("INSERT INTO t VALUES (1, 'secret!')")
    url = server.url(database)
    assert "secret!" not in cli("studio", "t", url=url).out
    assert cli("studio", "t", "1", url=url).code == 0
    with server.connect(database) as connection:
        assert connection.execute("SELECT to_regnamespace('leadctl')").fetchone() == (None,)
    assert "secret!" in cli("studio", "t", "--reveal", url=url).out
    with server.connect(database) as connection:
        assert connection.execute("SELECT count(*) FROM leadctl.run").fetchone() == (1,)


def test_the_page_ends_with_the_command_for_the_next(leadconnector: Prepared, cli: Cli) -> None:
    leadconnector.query(
        "INSERT INTO leads SELECT 'l' || i, 'f' || i, (SELECT id FROM pages), 'a', 'b', NULL, NULL,"
        " NULL, NULL, NULL, NULL, '{}', 'NEW', now() - i * interval '1 h', NULL"
        " FROM generate_series(1, 45) AS i"
    )
    arguments = ["studio", "leads", "--where", "status=NEW", "--sort", "-created_at"]
    seen: list[str] = []
    for _ in range(3):
        arguments += ["--app", "leadconnector"] if "--app" not in arguments else []
        out = cli(*arguments, url=leadconnector.url, env={"COLUMNS": ""}).out
        seen += [line.split()[0] for line in out.splitlines() if line.startswith("l")]
        following = next((line for line in out.splitlines() if line.startswith("Next: ")), None)
        if following:
            import shlex

            arguments = shlex.split(following)[2:]
    assert seen == [f"l{i}" for i in range(1, 46)]
    assert following is None


@pytest.mark.parametrize(
    "arguments",
    [
        ["--limit", "5"],
        ["users", "--limit", "0"],
        ["users", "--page", "0"],
        ["users", "--follow", "pages"],
        ["users", "x", "--where", "id=x"],
        ["users", "--after", "x", "--page", "2"],
        ["users", "--sort", "-created_at", "--after", "x"],
        ["users", "--sort", "-created_at", "--after", '["soon","x"]'],
        ["users", "--sort", "-created_at", "--after", "[1,2]"],
        ["users", "--sort", "nothing"],
        ["users", "--columns", ""],
        ["nothing"],
        ["users", "--timeout", "soon"],
        ["-o", "csv"],
        ["users", "-o", "xml"],
        ["webhooks", "--sort", "headers.x"],
    ],
)
def test_wrong_flags_are_usage_errors(
    leadconnector: Prepared, cli: Cli, arguments: list[str]
) -> None:
    outcome = cli("studio", *arguments, url=leadconnector.url)
    assert (outcome.code, outcome.out) == (2, ""), outcome.err
    assert "Hint" in outcome.err


def test_an_error_in_json(leadconnector: Prepared, cli: Cli) -> None:
    outcome = cli("studio", "user", "-o", "json", url=leadconnector.url)
    error = json.loads(outcome.err)
    assert (error["code"], error["hint"]) == ("unknown_table", "Did you mean users?")


def test_ctrl_c_ends_a_stream(server: Server, database: str, tmp_path: Path) -> None:
    with server.connect(database) as connection:
        connection.execute(
            "CREATE TABLE long AS SELECT i, repeat('x', 500) AS t"
            " FROM generate_series(1, 200000) AS i"
        )
    process = start("studio", "long", "-o", "jsonl", env={"DATABASE_URL": server.url(database)})
    assert process.stdout
    process.stdout.readline()
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "Traceback" not in err


@pytest.mark.thorough
def test_on_a_terminal_nothing_in_the_data_acts(server: Server, database: str) -> None:
    with server.connect(database) as connection:
        connection.execute("CREATE TABLE t (id int PRIMARY KEY, x text)")
        connection.execute(r"INSERT INTO t VALUES (1, E'\x1b]0;owned\x07[bold]x[/bold]\r\n')")
    for output in ("table", "csv", "json", "jsonl"):
        shown = on_a_terminal(server.url(database), "studio", "t", "-o", output)
        assert "\x1b]0" not in shown
        assert "\x07" not in shown
        assert "[bold]x[/bold]" in shown


PAGER = """\
import os, sys
text = sys.stdin.read()
print("PAGED", len(text.splitlines()), os.environ["LESS"], "DATABASE_URL" in os.environ)
print(text)
"""


@pytest.fixture
def long(server: Server, database: str) -> str:
    with server.connect(database) as connection:
        columns = ", ".join(f"c{number} text DEFAULT 'value'" for number in range(60))
        connection.execute(f"CREATE TABLE t (id int PRIMARY KEY, {columns})".encode())
        connection.execute("INSERT INTO t VALUES (1)")
    return server.url(database)


@pytest.mark.thorough
def test_what_is_longer_than_the_terminal_is_paged(long: str, tmp_path: Path) -> None:
    (tmp_path / "pager.py").write_text(PAGER)
    pager = f"{sys.executable} {tmp_path / 'pager.py'}"
    record = on_a_terminal(long, "studio", "t", "1", PAGER=pager)
    assert "PAGED 63 FRX False" in record
    assert "c59" in record
    wide = on_a_terminal(long, "studio", "t", "--wide", PAGER=pager)
    assert "FRXS" in wide
    short = on_a_terminal(long, "studio", "t", "1", "--columns", "c1", PAGER=pager)
    assert "PAGED" not in short
    for none in ({"PAGER": ""}, {"PAGER": "cat"}, {"PAGER": "'"}, {"PAGER": "no-such-program"}):
        assert "c59" in on_a_terminal(long, "studio", "t", "1", **none)
    assert "PAGED" not in on_a_terminal(long, "studio", "t", "1", PAGER=pager, TERM="dumb")
    assert "PAGED" not in on_a_terminal(long, "studio", "t", "1", "-o", "json", PAGER=pager)


def test_nothing_is_paged_in_a_pipe(long: str, cli: Cli) -> None:
    outcome = cli("studio", "t", "1", url=long, env={"PAGER": "false", "TERM": "xterm"})
    assert "c59" in outcome.out


@pytest.mark.thorough
def test_a_reader_holds_no_transaction_open(long: str, tmp_path: Path) -> None:
    """Whoever reads a page for an hour keeps no VACUUM from its work."""
    ask = (
        "import psycopg, sys; sys.stdin.read(); print('OPEN', psycopg.connect(sys.argv[1]).execute("
        "\"SELECT count(*) FROM pg_stat_activity WHERE application_name LIKE 'leadctl%'"
        ' AND datname = current_database()").fetchone()[0])'
    )
    (tmp_path / "pager.py").write_text(ask)
    pager = f"{sys.executable} {tmp_path / 'pager.py'} '{long}'"
    for line in (["1"], ["--wide"]):
        assert "OPEN 0" in on_a_terminal(long, "studio", "t", *line, PAGER=pager)


def on_a_terminal(url: str, *arguments: str, **variables: str) -> str:
    master, terminal = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "leadctl", *arguments],
        env=environment({"DATABASE_URL": url, "TERM": "xterm", "ENCRYPTION_KEY": KEY, **variables}),
        stdin=subprocess.DEVNULL,
        stdout=terminal,
        stderr=subprocess.DEVNULL,
    )
    os.close(terminal)
    shown = b""
    while True:
        try:
            part = os.read(master, 4096)
        except OSError:
            break
        if not part:
            break
        shown += part
    os.close(master)
    assert process.wait(60) == 0
    return shown.decode()


@pytest.mark.thorough
def test_a_table_that_somebody_holds_is_not_waited_for(leadconnector: Prepared, cli: Cli) -> None:
    """It says who holds it, soon; the other tables are shown, and the list has an estimate."""
    url = leadconnector.url
    with leadconnector.server.connect(leadconnector.name) as blocker, blocker.transaction():
        blocker.execute("LOCK TABLE users, pages")
        began = time.monotonic()
        for arguments in (["users"], ["pages", "--where", "id=x"]):
            outcome = cli("studio", *arguments, url=url)
            assert outcome.code == 1
            assert f"users (pid {blocker.info.backend_pid})" in outcome.err
            assert "leadctl inspect locks" in outcome.err
        listed = cli("studio", "-o", "json", url=url).json["tables"]
        assert {table["name"]: table["exact"] for table in listed}["users"] is False
        assert time.monotonic() - began < 15


def test_a_csv_for_a_spreadsheet_has_no_formula(leadconnector: Prepared, cli: Cli) -> None:
    leadconnector.query('UPDATE users SET name = \'=HYPERLINK("http://x","y")\'')
    line = ["studio", "users", "--columns", "name", "-o", "csv"]
    plain = cli(*line, url=leadconnector.url).out.splitlines()
    safe = cli(*line, "--for-spreadsheet", url=leadconnector.url).out.splitlines()
    assert plain[1].startswith('"=HYPERLINK')
    assert safe[1].startswith("\"'=HYPERLINK")
    refused = cli("studio", "users", "--for-spreadsheet", url=leadconnector.url)
    assert (refused.code, "-o csv" in refused.err) == (2, True)
    for report in ("stats", "inspect"):
        outcome = cli(report, "-o", "csv", "--for-spreadsheet", url=leadconnector.url)
        assert outcome.code == 0, outcome.err
