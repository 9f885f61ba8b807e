"""`leadctl keys`: making, counting, rotating; and what the health check says of it."""

import base64
import hmac
import json
import subprocess
from pathlib import Path

import bcrypt
import pytest
from cryptography.fernet import Fernet

from leadctl.crypto import Key, Keyring, decrypt, encrypt
from tests.conftest import KEY, Cli, Prepared
from tests.crypto.test_vectors import NODE_KEY, NODE_VALUES
from tests.processes import run
from tests.servers import Server

NEW = "ab" * 32
OLD_KEY, NEW_KEY = Key.from_hex("old", KEY), Key.from_hex("new", NEW)
BOTH = {"ENCRYPTION_KEY": "", "ENCRYPTION_KEYS": f"new:{NEW},old:{KEY}"}
NODE_VALUE, NODE_TEXT = next(iter(NODE_VALUES.items()))


def users(database: Prepared, count: int) -> None:
    for number in range(count):
        value = encrypt(f"token {number}", OLD_KEY, "leadconnector.users.access_token")
        database.query(
            "INSERT INTO users (id, email, facebook_id, access_token) VALUES (%s, %s, %s, %s)",
            f"u{number}",
            f"{number}@example.com",
            f"f{number}",
            value,
        )


def tokens(database: Prepared) -> dict[str, str]:
    ring = Keyring([NEW_KEY, OLD_KEY])
    return {
        key: decrypt(value, ring, "leadconnector.users.access_token")
        for key, value in database.query("SELECT id, access_token FROM users WHERE id LIKE 'u_'")
    }


def test_generate(cli: Cli) -> None:
    outcome = cli("keys", "generate")
    digits = outcome.out.strip()
    assert len(bytes.fromhex(digits)) == 32
    assert "ENCRYPTION_KEYS" in outcome.err
    assert digits not in outcome.err
    assert cli("keys", "generate", "-q").out.strip() != digits
    made = cli("keys", "generate", "-o", "json").json
    assert made["fingerprint"] == Key.from_hex("x", made["key"]).fingerprint


def test_rotate_moves_everything_to_the_primary_key(leadconnector: Prepared, cli: Cli) -> None:
    users(leadconnector, 9)
    before = tokens(leadconnector)
    dry = cli("keys", "rotate", "--dry-run", "-o", "json", url=leadconnector.url, env=BOTH).json
    assert (dry["rows"], dry["dry_run"]) == (11, True)
    found = cli("keys", "status", "-o", "json", url=leadconnector.url, env=BOTH).json
    assert found["columns"][0]["under"] == {OLD_KEY.fingerprint: 10}
    outcome = cli("keys", "rotate", "-o", "json", url=leadconnector.url, env=BOTH)
    assert outcome.code == 0, outcome.err
    assert (outcome.json["rows"], outcome.json["unreadable"]) == (11, 0)
    for column in outcome.json["status"]["columns"]:
        assert set(column["under"]) == {NEW_KEY.fingerprint}
    assert tokens(leadconnector) == before
    only_new = {"ENCRYPTION_KEY": NEW}
    assert cli("keys", "status", url=leadconnector.url, env=only_new).code == 0
    again = cli("keys", "rotate", "-o", "json", url=leadconnector.url, env=BOTH).json
    assert again["rows"] == 0


def test_a_missing_key_stops_rotate_before_it_writes(leadconnector: Prepared, cli: Cli) -> None:
    before = leadconnector.query("SELECT access_token FROM users")
    outcome = cli("keys", "rotate", url=leadconnector.url, env={"ENCRYPTION_KEY": ""})
    assert outcome.code == 3
    assert "leadctl keys generate" in outcome.err
    assert leadconnector.query("SELECT access_token FROM users") == before


def test_values_under_an_unknown_key_are_left_and_named(leadconnector: Prepared, cli: Cli) -> None:
    users(leadconnector, 2)
    env = {"ENCRYPTION_KEY": NEW}
    outcome = cli("keys", "rotate", "-o", "json", url=leadconnector.url, env=env)
    assert outcome.code == 1
    assert outcome.json["unreadable"] == 5
    assert {example["reason"] for example in outcome.json["examples"]} == {"unknown_key"}
    runs = leadconnector.query("SELECT outcome FROM leadctl.run ORDER BY id DESC LIMIT 1")
    assert runs == [("failed",)]  # of its 5 values, it could read none
    told = cli("keys", "status", url=leadconnector.url, env=env).out
    assert "under keys that are missing here" in told
    assert "--encrypt-plaintext" not in told
    assert tokens(leadconnector) == {"u0": "token 0", "u1": "token 1"}
    status = cli("keys", "status", "-o", "json", url=leadconnector.url, env=env)
    assert status.code == 1
    assert sum(column["unknown"] for column in status.json["columns"]) == 5


def test_a_value_of_another_column_is_not_done(leadconnector: Prepared, cli: Cli) -> None:
    """Its key is known, so `status` counts it; only who decrypts it sees that it is not its own."""
    users(leadconnector, 2)
    moved = encrypt("x", OLD_KEY, "leadconnector.pages.access_token")
    leadconnector.query("UPDATE users SET access_token = %s WHERE id = 'u1'", moved)
    outcome = cli("keys", "rotate", "-o", "json", url=leadconnector.url, env=BOTH)
    assert (outcome.code, outcome.json["unreadable"]) == (1, 1)
    assert cli("keys", "rotate", url=leadconnector.url, env=BOTH).code == 1
    assert leadconnector.query("SELECT access_token FROM users WHERE id = 'u1'") == [(moved,)]


@pytest.mark.thorough
def test_plaintext_legacy_and_malformed_values(leadconnector: Prepared, cli: Cli) -> None:
    users(leadconnector, 5)
    moved = encrypt("x", OLD_KEY, "leadconnector.pages.access_token")
    for key, value in (
        ("u1", "EAAG plaintext"),
        ("u2", NODE_VALUE),
        ("u3", "lc1.cut short"),
        ("u4", moved),
    ):
        leadconnector.query("UPDATE users SET access_token = %s WHERE id = %s", value, key)

    def column(*command: str, **env: str) -> dict[str, int]:
        document = cli(*command, "-o", "json", url=leadconnector.url, env=env).json
        document = document.get("status", document) if "rotate" in command else document
        (found,) = [
            c for c in document["columns"] if (c["table"], c["column"]) == ("users", "access_token")
        ]
        return {name: found[name] for name in ("plaintext", "legacy", "malformed", "unknown")}

    assert column("keys", "status") == {"plaintext": 1, "legacy": 1, "malformed": 1, "unknown": 0}
    with_node = f"new:{NEW},old:{KEY},legacy/node:{NODE_KEY}"
    env = {"ENCRYPTION_KEY": "", "ENCRYPTION_KEYS": with_node}
    outcome = cli("keys", "rotate", "-o", "json", url=leadconnector.url, env=env)
    assert outcome.code == 1  # plaintext and a malformed value are left
    reasons = {example["key"]: example["reason"] for example in outcome.json["examples"]}
    assert reasons == {"u3": "decryption_failed", "u4": "decryption_failed"}
    assert column("keys", "status", **env)["plaintext"] == 1
    assert column("keys", "status", **env)["legacy"] == 0
    cli("keys", "rotate", "--encrypt-plaintext", url=leadconnector.url, env=env)
    assert column("keys", "status", **env)["plaintext"] == 0
    leadconnector.query("UPDATE users SET access_token = 'gone' WHERE id IN ('u3', 'u4')")
    cli("keys", "rotate", "--encrypt-plaintext", url=leadconnector.url, env=env)
    found = tokens(leadconnector)
    assert (found["u1"], found["u2"]) == ("EAAG plaintext", NODE_TEXT)
    assert cli("keys", "status", url=leadconnector.url, env=env).code == 0


def test_what_node_wrote_is_no_plaintext(leadconnector: Prepared, cli: Cli) -> None:
    """Without its key it is left, not encrypted once more."""
    leadconnector.query("UPDATE users SET access_token = %s", NODE_VALUE)
    command = ("keys", "rotate", "--encrypt-plaintext", "-o", "json")
    rotated = cli(*command, url=leadconnector.url)
    assert rotated.code == 1
    examples = rotated.json["examples"]
    assert [example["reason"] for example in examples] == ["unknown_key"]
    assert leadconnector.query("SELECT access_token FROM users") == [(NODE_VALUE,)]


def openssl(*arguments: str) -> str:
    done = subprocess.run(
        ["openssl", *arguments], input="secret", capture_output=True, text=True, check=True
    )
    return done.stdout.strip()


def base64url(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


def foreign_values(database: Prepared) -> dict[str, str]:
    """Return what other tools make, by what it is; most of it made by the tool itself."""
    ((scram,),) = database.query("SELECT rolpassword FROM pg_authid WHERE rolname = current_user")
    head, body = (base64url(json.dumps(part).encode()) for part in ({"alg": "HS256"}, {"sub": 1}))
    signature = base64url(hmac.digest(b"key", f"{head}.{body}".encode(), "sha256"))
    armour = "hQEMA9Q1N1QGuFyZAQf/Yd0Bx6FtWmnV3x0Qq6ZrQm1tTzB5\n=njUN"
    return {
        "Fernet": Fernet(Fernet.generate_key()).encrypt(b"secret").decode(),
        "bcrypt": bcrypt.hashpw(b"secret", bcrypt.gensalt(4)).decode(),
        "OpenSSL": openssl("enc", "-aes-256-cbc", "-pbkdf2", "-a", "-k", "key"),
        "crypt": openssl("passwd", "-6", "-stdin"),
        "SCRAM": scram,
        "JWT": f"{head}.{body}.{signature}",
        "Rails": '{"p":"n7J0/ol+a7DRMeaE","h":{"iv":"DXZMDWUKfp3bg/Yu","at":"X1/YjMHbHD4talgF9dt61A=="}}',
        "JSON of ciphertext": '{"ct": "n7J0ol", "iv": "a1b2", "s": "00"}',
        "PEM or PGP": f"-----BEGIN PGP MESSAGE-----\n\n{armour}\n-----END PGP MESSAGE-----",
        "PGP": "jA0ECQMCqvRTHDbPIbf/0kQBWXk5SZ2XvGk6",
        "binary": "\\xc30d04070302a5b1f05a4d3d2b0f7cd23701",
        "argon2": "$argon2id$v=19$m=65536,t=2,p=1$c29tZXNhbHQ$RdescudvJCsgt3ub+b7dWRWJTmaaa0",
        "PASETO": "v4.local.AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA",
        "PBKDF2": "pbkdf2_sha256$600000$salt$W2k0f6mT1oUqG5mD2yLxTn1f7H8=",
        "Vault": "vault:v1:8SDd3WHDOjf7mq69CyCqYjBXAiQQAVZRkFM13ok481zoCmHnSeDX9vyf7w==",
        "Prisma": "v1.aesgcm256.710bb0ef.a0tWb2F4cVJmS2l4.rV4tqvUkT1mZ0c5s9fL3Q2d1bXBpbmc=",
        "Defuse": f"def50200{'5f7c1e9a' * 12}",
        "AWS": "AYADeH" + base64.b64encode(bytes(60)).decode(),
        "Halite": "MUIFAPH" + base64url(bytes(range(60))) + "<ENC>",
        "hexadecimal parts": f"{'5f7c1e9a' * 4}:{'00ff' * 16}",
        "Laravel": base64.b64encode(b'{"iv":"c2VjcmV0","value":"eA==","mac":"00"}').decode(),
        "base64 parts": ":".join(base64.b64encode(bytes(size)).decode() for size in (12, 16, 5)),
        "Google": "CiQA" + base64.b64encode(bytes(60)).decode(),
        "ASP.NET": "CfDJ8" + base64url(bytes(range(60))),
        "Cloak": base64.b64encode(b"\x01\x0aAES.GCM.V1" + bytes(40)).decode(),
        "ENC": f"ENC({base64.b64encode(bytes(32)).decode()})",
        "Spring": f"{{cipher}}{'5f7c1e9a' * 8}",
        "Django": "sha1$a1B2$5baa61e4c9b93f3f0682250b6cf8331b7ee68fd8",
        "Phoenix": f"QTEyOEdDTQ.{base64url(bytes(range(32)))}.{base64url(bytes(range(12)))}",
        "Identity": base64.b64encode(b"\x01\0\0\0\x01\0\0\x27\x10\0\0\0\x10" + bytes(48)).decode(),
        "DPAPI": base64.b64encode(bytes.fromhex("01000000d08c9ddf01") + bytes(40)).decode(),
        "Nextcloud": f"{'5f7c' * 9}|{'00ff' * 8}|{'0f1e' * 32}|3",
        "Magento": "0:3:" + base64.b64encode(bytes(range(40))).decode(),
        "Bitwarden": "2."
        + "|".join(base64.b64encode(bytes(size)).decode() for size in (16, 32, 32)),
        "Kubernetes": "k8s:enc:aescbc:v1:key1:" + base64.b64encode(bytes(40)).decode(),
    }


def test_what_other_tools_made_is_no_plaintext(leadconnector: Prepared, cli: Cli) -> None:
    """It is told from plaintext, named, and encrypted only where somebody says so."""
    values = foreign_values(leadconnector)
    users(leadconnector, len(values) + 2)
    tokens = ["EAAB plain {token} $2 v2.x -- \\x", f"ya29.a0--{'AfB_byC9x' * 5}--{'kQ7Zp_x' * 4}"]
    values["Google"] += "\n"
    texts = [*values.values(), *tokens]
    for number, text in enumerate(texts):
        key = f"u{number}"
        leadconnector.query("UPDATE users SET access_token = %s WHERE id = %s", text, key)

    def counted(*command: str, code: int) -> tuple[dict[str, int], int]:
        done = cli("keys", *command, "-o", "json", url=leadconnector.url)
        assert done.code == code, done.err
        columns = done.json.get("status", done.json)["columns"]
        (found,) = [c for c in columns if (c["table"], c["column"]) == ("users", "access_token")]
        return found["foreign"], found["plaintext"]

    each = dict.fromkeys(values, 1)
    assert counted("status", code=1) == (each, 2)
    assert counted("rotate", "--encrypt-plaintext", code=1) == (each, 0)
    ring, context = Keyring([OLD_KEY]), "leadconnector.users.access_token"
    read = "SELECT access_token FROM users WHERE id ~ '^u[0-9]+$' ORDER BY substr(id, 2)::int"
    there = [value for (value,) in leadconnector.query(read)]
    assert there[:-2] == texts[:-2]
    assert [decrypt(value, ring, context) for value in there[-2:]] == tokens
    said = cli("keys", "status", url=leadconnector.url).out
    assert "look like bcrypt" in said
    assert "--encrypt-foreign" in said
    assert counted("rotate", "--encrypt-foreign", code=0) == ({}, 0)
    there = [value for (value,) in leadconnector.query(read)]
    assert [decrypt(value, ring, context) for value in there] == texts


@pytest.mark.parametrize(
    ("change", "kind"),
    [
        ("overlay(access_token PLACING 'g' FROM 8)", "malformed"),  # the fingerprint
        ("overlay(access_token PLACING '.' FROM 30)", "malformed"),  # the nonce
        ("overlay(access_token PLACING '.' FROM 50)", "malformed"),
        ("overlay(access_token PLACING '/' FROM 50)", "malformed"),
        ("access_token || '.'", "malformed"),
        ("left(access_token, 59)", "malformed"),
        ("overlay(access_token PLACING '0000000000000000' FROM 5)", "unknown"),
        ("' ' || access_token", "plaintext"),
        ("''", "plaintext"),
    ],
)
def test_what_a_value_counts_as(leadconnector: Prepared, cli: Cli, change: str, kind: str) -> None:
    leadconnector.query(f"UPDATE users SET access_token = {change}")
    columns = cli("keys", "status", "-o", "json", url=leadconnector.url).json["columns"]
    (column,) = [c for c in columns if (c["table"], c["column"]) == ("users", "access_token")]
    assert {k: column[k] for k in ("malformed", "unknown", "plaintext") if column[k]} == {kind: 1}


def test_a_row_is_written_only_if_it_is_what_was_read(leadconnector: Prepared) -> None:
    from leadctl.catalog.relations import read_table
    from leadctl.keys.encrypted_values import DueRows, encrypted_table
    from leadctl.postgres.connect import connect

    users(leadconnector, 3)
    with connect(leadconnector.target(), rows=True) as connection:
        relation = read_table(connection, "public", "users")
        assert relation is not None
        table = encrypted_table(relation, {"access_token": "x"})
        batches = DueRows(connection, table, NEW_KEY.fingerprint)
        rows = batches.read(None)
        leadconnector.query("UPDATE users SET access_token = 'written meanwhile' WHERE id = 'u1'")
        changes = [(key, xmin, f"new {key}") for key, xmin, _ in rows if str(key) < "u9"]
        assert batches.replace(changes) == len(changes) - 1
        with leadconnector.server.connect(leadconnector.name) as blocker, blocker.transaction():
            blocker.execute("SELECT 1 FROM users WHERE id = 'u0' FOR UPDATE")
            found = [row for row in batches.read(None) if row[0] in {"u0", "u2"}]
            again = [(key, xmin, f"again {key}") for key, xmin, _ in found]
            assert batches.replace(again) == 1  # the free one, without waiting for the other
    assert leadconnector.query(
        "SELECT access_token FROM users WHERE id IN ('u0', 'u1', 'u2') ORDER BY id"
    ) == [("new u0",), ("written meanwhile",), ("again u2",)]


def test_teams_own_models(shop: Path, server: Server, database: str, cli: Cli) -> None:
    (shop / "shop" / "seed.py").write_text("FIXTURES = ()\n")
    url = server.url(database)
    assert cli("migrate", url=url).code == 0
    with server.connect(database) as connection:
        connection.execute(
            "INSERT INTO customers (email, iban)"
            " SELECT n || '@example.com', CASE WHEN n % 3 > 0 THEN 'IBAN ' || n END"
            " FROM generate_series(1, 12000) n"
        )
        outcome = cli("keys", "rotate", "--encrypt-plaintext", "-o", "json", url=url)
        assert outcome.code == 0, outcome.err
        assert outcome.json["rows"] == 8000
        rows = connection.execute(
            "SELECT id, iban FROM customers WHERE iban IS NOT NULL"
        ).fetchall()
        ring = Keyring([OLD_KEY])
        assert all(
            decrypt(value, ring, "shop.customers.iban") == f"IBAN {key}" for key, value in rows
        )
        connection.execute("ALTER TABLE orders DROP CONSTRAINT orders_customer_id_fkey")
        connection.execute("ALTER TABLE customers DROP CONSTRAINT customers_pkey")
    outcome = cli("keys", "rotate", url=url)
    assert (outcome.code, "customers" in outcome.err) == (1, True)


def test_keys_show_nowhere(leadconnector: Prepared, cli: Cli) -> None:
    users(leadconnector, 2)
    for arguments in (
        ["keys", "status"],
        ["keys", "rotate", "-vv"],
        ["keys", "status", "-o", "json"],
        ["config"],
        ["config", "-o", "json"],
        ["history", "-o", "json"],
        ["health-check", "-o", "json"],
    ):
        outcome = cli(*arguments, url=leadconnector.url, env=BOTH)
        for digits in (KEY, NEW):
            assert digits not in outcome.out + outcome.err, arguments
    journal = str(leadconnector.query("SELECT * FROM leadctl.run"))
    assert KEY not in journal
    assert NEW not in journal
    broken = cli("keys", "status", url=leadconnector.url, env={"ENCRYPTION_KEY": KEY[:-1] + "x"})
    assert (broken.code, KEY[:-1] in broken.err) == (3, False)


def test_other_commands_work_without_keys(leadconnector: Prepared, cli: Cli) -> None:
    env = {"ENCRYPTION_KEY": ""}
    for arguments in (
        ["stats"],
        ["migrate"],
        ["migrate", "status"],
        ["history"],
        ["keys", "status"],
    ):
        outcome = cli(*arguments, url=leadconnector.url, env=env)
        assert outcome.code == (1 if arguments == ["keys", "status"] else 0), outcome.err


HEALTH = [
    ("UPDATE users SET access_token = 'plain'", "critical", "of plaintext"),
    ("UPDATE users SET access_token = 'lc1.broken'", "critical", "malformed"),
    (
        "UPDATE users SET access_token = 'lc1.0123456789abcdef.' || split_part(access_token, '.', 3)"
        " || '.' || split_part(access_token, '.', 4)",
        "critical",
        "under unknown keys",
    ),
    (
        "UPDATE users SET access_token = refresh_token",
        "critical",
        "users.access_token: decryption_failed",
    ),
    (f"UPDATE users SET access_token = '{NODE_VALUE}'", "warning", "Node helper"),
]


@pytest.mark.few(2)
@pytest.mark.parametrize(("fault", "status", "said"), HEALTH)
def test_health(leadconnector: Prepared, cli: Cli, fault: str, status: str, said: str) -> None:
    def check(**env: str) -> dict[str, str]:
        outcome = cli("health-check", "-o", "json", url=leadconnector.url, env=env)
        (found,) = [c for c in outcome.json["checks"] if c["name"] == "encryption"]
        return found  # type: ignore[no-any-return]

    assert check()["status"] == "ok"
    leadconnector.query("CREATE TABLE saved AS TABLE users")
    leadconnector.query(fault)
    found = check()
    assert (found["status"], said in found["message"]) == (status, True), found
    assert check(ENCRYPTION_KEY="")["status"] == "warning"
    leadconnector.query("UPDATE users u SET access_token = s.access_token FROM saved s")
    assert check()["status"] == "ok"
    leadconnector.query("TRUNCATE users CASCADE")
    assert check(ENCRYPTION_KEY="")["status"] == "skipped"


def test_the_process_list_shows_no_key(leadconnector: Prepared) -> None:
    done = run("keys", "rotate", "-o", "json", env={"DATABASE_URL": leadconnector.url, **BOTH})
    assert done.returncode == 0
    assert NEW not in json.dumps(done.args)
