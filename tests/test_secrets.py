"""Nothing secret is shown: passwords in every form, keys in the wrong place, values of rows."""

import json
import re
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from leadctl.errors import InvalidUrl
from leadctl.redact import HIDDEN, Secret, scrub, without_values
from leadctl.settings.url import parse_url
from tests.conftest import Cli, Prepared

SECRET = "s3cretPart"
AGE_KEY = "AGE-SECRET-KEY-1QQPQQPQQPQQPQQPQQPQQPQQPQQPQQPQQPQQPQQPQQPQQPQQPQQPQQPQQPQ"
PEM = "-----BEGIN OPENSSH PRIVATE KEY-----\nb3BlbnNzaC1rZXkt\n-----END OPENSSH PRIVATE KEY-----"

URLS = [
    f"postgresql://u:12/{SECRET}@h.invalid/d",
    f"postgresql://u:12/34/{SECRET}@h.invalid:5432/d?sslmode=require",
    f"postgresql://u:12,13/{SECRET}@h.invalid/d",
    f"postgresql://u:/{SECRET}@h.invalid/d",
    f"postgresql://u:1@2/{SECRET}@h.invalid/d",
    f"postgresql://u:a@{SECRET}@h.invalid/d",
    f"postgresql://u:a?{SECRET}@h.invalid/d",
    f"postgresql://u:a?{SECRET}=x@h.invalid/d",
    f"postgresql://u:12?{SECRET}=x@h.invalid/d",
    f"postgresql://u:{SECRET}@h.invalid/d",
    f"postgresql://u:a%2F{SECRET}%40@h.invalid/d",
    f"postgresql://u:%zz{SECRET}@h.invalid/d",
    f"postgresql+psycopg://u:12/{SECRET}@h.invalid/d",
    f"postgresql://u@h.invalid/d?password={SECRET}",
    f"postgresql://u@h.invalid/d?password=a@{SECRET}",
    f"postgresql://u@h.invalid/d?sslpassword={SECRET}",
    f"postgresql://u@h.invalid/d?oauth_client_secret={SECRET}",
    f"postgresql://u@h.invalid/d?options=-c%20app.token%3D{SECRET}",
    f"postgresql://u@h.invalid/d?scram_client_key={SECRET}",
    f"host=h.invalid password={SECRET} dbname=d",
    f"host=h.invalid password='a {SECRET}' dbname=d",
    f"host=h.invalid password=a {SECRET}=x dbname=d",
    f"host=h.invalid sslpassword={SECRET} dbname=d",
    f"mysql://u:{SECRET}@h.invalid/d",
    SECRET,
]


@pytest.mark.parametrize("url", URLS)
def test_urls_are_shown_without_secrets(url: str, cli: Cli) -> None:
    env = {"LEADCTL_CONNECT_TIMEOUT": "1"}
    lines = [["config"], ["config", "-o", "json"], ["db", "url"], ["health-check"], ["stats"]]
    for line in lines:
        outcome = cli(*line, url=url, env=env)
        assert SECRET not in outcome.out + outcome.err, line
        assert "Traceback" not in outcome.err


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://u:p%40s@h/d%40x",
        "postgresql://u:p@h/d?host=@socket",
        "postgresql://u:p@h/d?user=me@tenant",
        "postgresql://me%40tenant:p@h/d",
        "postgresql://u:p@h/d?password=a@b",
    ],
)
def test_what_looks_similar_and_is_valid(url: str) -> None:
    assert parse_url(url).password is not None


@given(st.text(st.characters(codec="ascii", exclude_characters="\0 \n\r\t"), min_size=8))
@example("1/2@3?4=5@6")
@example("12/secretsecret")
@example("0000%800")
def test_no_password_is_shown(tail: str) -> None:
    password = f"12{tail}"
    url = f"postgresql://user:{password}@h.invalid/database?sslmode=disable"
    try:
        shown = parse_url(url).redacted()
    except InvalidUrl as error:
        shown = f"{error.message}{error.hint}"
    for length in range(6, len(tail) + 1):
        part = tail[-length:]
        assert part not in shown or part in "postgresql://user:@h.invalid/database?sslmode=disable"


@pytest.mark.parametrize("secret", [AGE_KEY, PEM, "f0" * 32])
@pytest.mark.parametrize(
    "variable",
    [
        "BACKUP_RECIPIENTS",
        "BACKUP_DIR",
        "BACKUP_IDENTITY_FILE",
        "BACKUP_ON_SUCCESS",
        "DATABASE_URL",
        "ENCRYPTION_KEY_COMMAND",
        "LEADCTL_APP",
        "LEADCTL_ENV",
        "LEADCTL_SCHEMA",
        "LEADCTL_OUTPUT",
        "LEADCTL_LOCK_WAIT",
        "DATABASE_POOL_MIN",
    ],
)
def test_a_private_key_in_the_wrong_variable(variable: str, secret: str, cli: Cli) -> None:
    if secret.startswith("f0") and variable in {"BACKUP_DIR", "BACKUP_IDENTITY_FILE"}:
        pytest.skip("a path of hexadecimal digits is a path")
    for line in (["config"], ["config", "-o", "json"]):
        outcome = cli(*line, env={variable: secret})
        shown = re.sub(r"\s", "", outcome.out + outcome.err)
        assert re.sub(r"\s", "", secret)[-24:] not in shown
        assert "b3BlbnNzaC1r" not in shown


@pytest.mark.parametrize(
    "command",
    [
        ("restore", "latest", "--into", "{}"),
        ("db", "environment", "{}"),
        ("tenants", "create", "{}"),
        ("migrate", "--schema", "{}"),
        ("backup", "--to", "{}"),
        ("migrate", "new", "--empty", "-m", "{}"),
        ("migrate", "--allow", "{}"),
        ("migrate", "--schema", "{}", "status"),
        ("health-check", "--check", "server", "--check", "{}"),
    ],
    ids=" ".join,
)
@pytest.mark.few(3)
def test_no_name_is_a_url(
    leadconnector: Prepared, cli: Cli, tmp_path: Path, command: tuple[str, ...]
) -> None:
    url = "PostgreSQL+psycopg://ada:s3cret-pw@host/shop"
    outcome = cli(*(each.format(url) for each in command), url=leadconnector.url)
    assert outcome.code == (3 if command[0] == "health-check" else 2), outcome.err
    assert "cannot take the URL of a database" in outcome.err
    assert "s3cret-pw" not in outcome.out + outcome.err
    assert not [path for path in tmp_path.rglob("*") if "s3cret" in path.name]
    with leadconnector.server.connect("postgres") as connection:
        (named,) = connection.execute(
            "SELECT count(*) FROM pg_database WHERE datname LIKE '%s3cret%'"
        ).fetchone() or (None,)
    assert named == 0
    found = cli("studio", "leads", url, url=leadconnector.url)  # a key may be anything
    assert (found.code, "s3cret-pw" in found.err) == (1, False)


def test_public_settings_are_shown(cli: Cli) -> None:
    key = "age1ql3z7hjy54pw3hyww5ayyfg7zqgvc7w3j2elw8zmrj2kg5sfn9aqmcac8p"
    env = {"BACKUP_RECIPIENTS": key, "BACKUP_ON_SUCCESS": "curl -H 'Bearer s3cret' h"}
    env |= {"DATABASE_URL": "postgresql://u:p@h/d?sslmode=require"}
    found = {
        each["variable"]: each["value"]
        for each in cli("config", "-o", "json", env=env).json["settings"]
    }
    assert found["BACKUP_RECIPIENTS"] == key
    assert found["BACKUP_ON_SUCCESS"] == "curl …"
    assert found["DATABASE_URL"] == f"postgresql://u:{HIDDEN}@h/d?sslmode=require"
    hidden = parse_url("postgresql://u@h/d?sslpassword=x&options=-c%20app.x%3Dy")
    assert hidden.redacted() == f"postgresql://u@h/d?sslpassword={HIDDEN}&options={HIDDEN}"
    assert hidden.without_password() == "postgresql://u@h/d"


@pytest.mark.parametrize(
    "url", ["postgresql://u@h.example:5432/d", "postgresql:///d", "host=h.example dbname=d"]
)
def test_an_address_without_a_password_is_no_secret(url: str) -> None:
    Secret(url)
    assert scrub(f"Cannot connect to {url}: no") == f"Cannot connect to {url}: no"


@pytest.mark.parametrize(
    ("message", "shown"),
    [
        (
            'invalid input syntax for type integer: "4111"',
            f"invalid input syntax for type integer: {HIDDEN}",
        ),
        ('column "a" of relation "t" does not exist', 'column "a" of relation "t" does not exist'),
        (
            'invalid input value for enum status: "x"',
            f"invalid input value for enum status: {HIDDEN}",
        ),
        ('role "supabase_admin" does not exist', 'role "supabase_admin" does not exist'),
        ('syntax error at or near "4111"', f"syntax error at or near {HIDDEN}"),
        ('malformed array literal: "{4111"', f"malformed array literal: {HIDDEN}"),
        ("Key (email)=(a@b, (c)) already exists.", f"Key (email)=({HIDDEN}) already exists."),
        ("Failing row contains (1, a@b, null).", f"Failing row contains ({HIDDEN})."),
        ('unterminated "quote', 'unterminated "quote'),
        (
            'COPY failed for table "t": ERROR:  date/time field value out of range: "4111"',
            f'COPY failed for table "t": ERROR:  date/time field value out of range: {HIDDEN}',
        ),
    ],
)
def test_names_are_shown_and_values_are_not(message: str, shown: str) -> None:
    assert without_values(message) == shown


def test_values_of_rows_in_a_restored_file(leadconnector: Prepared, cli: Cli) -> None:
    Path("bad.sql").write_text(
        "CREATE TABLE cards (n integer);\nCOPY cards FROM stdin;\nsecret-card-4111\n\\.\n"
    )
    outcome = cli(
        "restore", "./bad.sql", "--into", f"{leadconnector.name}_x", url=leadconnector.url
    )
    assert outcome.code == 1
    assert "4111" not in outcome.out + outcome.err
    assert "invalid input syntax for type integer" in outcome.err
    told = cli("restore", "./bad.sql", "--into", "x", "-o", "json", url=leadconnector.url).err
    assert "4111" not in told
    assert json.loads(told.splitlines()[-1])["code"]


def test_values_of_rows_in_a_statement_of_ours(leadconnector: Prepared, cli: Cli) -> None:
    Path("seeds").mkdir()
    Path("revision.sql").write_text("INSERT INTO users SELECT * FROM users;")
    leadconnector.query(
        "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN"
        " RAISE check_violation USING DETAIL = 'Failing row contains (' || NEW.email || ')';"
        " END $$"
    )
    leadconnector.query(
        "CREATE TRIGGER refuse BEFORE INSERT ON users FOR EACH ROW EXECUTE FUNCTION refuse()"
    )
    outcome = cli("seed", "--bulk", "10", url=leadconnector.url)
    assert outcome.code == 1
    assert "Failing row contains (" not in outcome.err or HIDDEN in outcome.err
    journal = leadconnector.query("SELECT summary::text FROM leadctl.run ORDER BY id DESC LIMIT 1")
    assert "Failing row contains (" not in journal[0][0] or HIDDEN in journal[0][0]


@pytest.mark.parametrize(
    "message",
    [
        'invalid input syntax for type integer: "4"111 1111"',
        'invalid input value for enum status: "x" or "4111"',
        "ungültige Eingabesyntax für Typ integer: »4111«",
        "ungültige Eingabesyntax für Typ integer: »4« 111«",
        "syntaxe en entrée invalide pour le type integer : « 4111 »",
        "nieprawidłowa składnia dla typu integer: „4111”",
        "无效的类型 integer 输入语法: “4111”",
        'Ogiltig indatasyntax för typen integer: "4111"',
    ],
)
def test_values_are_hidden_in_any_language(message: str) -> None:
    assert "111" not in without_values(message)


def test_names_that_are_known_are_shown_in_any_language() -> None:
    said = "doppelter Schlüsselwert verletzt »q_key« bei »4111«"
    assert (
        without_values(said, {"q_key"}) == f"doppelter Schlüsselwert verletzt »q_key« bei {HIDDEN}"
    )
    detail = "Fehlgeschlagene Zeile enthält (1, 4111 (b))."
    assert without_values(detail, detail=True) == f"Fehlgeschlagene Zeile enthält ({HIDDEN})."


@pytest.mark.few(2)
@pytest.mark.parametrize(
    "verb", ["seed --bulk 20 --yes", "keys rotate --encrypt-plaintext", "seed"]
)
def test_values_of_rows_are_not_in_what_fails(leadconnector: Prepared, cli: Cli, verb: str) -> None:
    """Not where it is said, and not in the journal, where it stays."""
    leadconnector.query(
        "UPDATE users SET name = 'Ada 4111-1111', access_token = 'plain';"
        " CREATE FUNCTION fails() RETURNS trigger LANGUAGE plpgsql AS $$ DECLARE other text; BEGIN"
        " SELECT name INTO other FROM users LIMIT 1; IF NEW.email LIKE '%.%' THEN"
        " PERFORM other::int; END IF; RETURN NEW; END $$; DELETE FROM pages;"
        " CREATE TRIGGER fails BEFORE INSERT OR UPDATE ON users FOR EACH ROW EXECUTE FUNCTION fails()"
    )
    if verb == "seed":
        leadconnector.query(
            "CREATE TRIGGER fails BEFORE INSERT ON pages FOR EACH ROW EXECUTE FUNCTION fails();"
            " CREATE OR REPLACE FUNCTION fails() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN"
            " RAISE 'refused' USING DETAIL = 'Key (name)=(Ada 4111-1111) exists.'; END $$"
        )
    outcome = cli(*verb.split(), url=leadconnector.url)
    assert outcome.code == 1, outcome.err
    assert "invalid input syntax" in outcome.err or "refused" in outcome.err
    shown = outcome.out + outcome.err + cli("history", "-o", "json", url=leadconnector.url).out
    journal = str(leadconnector.query("SELECT * FROM leadctl.run"))
    assert "4111" not in shown + journal
