"""Archives: every value comes back as it was; what is not whole is not put back."""

import json
from pathlib import Path

import pyrage
import pytest
import zstandard

from tests.conftest import Cli, Prepare, Prepared
from tests.leads import fill, ids

RULE = """
[[apps.leadconnector.retention]]
name = "everything"
table = "Odd Table"
age_column = "at"
older_than = "1 day"
archive = true
fuse_rows = 1000
"""


@pytest.fixture
def odd(leadconnector: Prepared) -> Prepared:
    """A table of odd types, and a child that a cascade reaches by two columns."""
    leadconnector.query("CREATE TYPE mood AS ENUM ('so, so', 'o\"k')")
    leadconnector.query("CREATE DOMAIN short AS varchar(9) CHECK (value <> '')")
    leadconnector.query(
        'CREATE TABLE "Odd Table" (a int, b text, at timestamptz NOT NULL, n numeric, f float8,'
        " f4 real, bytes bytea, j json, jb jsonb, iv interval, r tstzrange, texts text[],"
        " ints int[], mood mood, short short, ip inet, bits bit varying(9), ts timestamp,"
        ' d date, t timetz, u uuid, big bigint GENERATED ALWAYS AS IDENTITY, "Sum %%" int GENERATED'
        ' ALWAYS AS (a + 1) STORED, "tab\tin name" text, PRIMARY KEY (a, b))'
    )
    leadconnector.query(
        "CREATE TABLE odd_child (id int PRIMARY KEY, a int, b text, parent int REFERENCES odd_child"
        ' ON DELETE CASCADE, FOREIGN KEY (a, b) REFERENCES "Odd Table" ON DELETE CASCADE)'
    )
    leadconnector.query("CREATE INDEX ON odd_child (b, a)")
    leadconnector.query("CREATE INDEX ON odd_child (parent)")
    values = (
        "E'b\\\\b\"\\n\\t\\r\\u0001é\U0001f600', now() - interval '1 year', 'NaN', 'Infinity', 0.1,"
        " '\\x00ff', E'{\"a\":\\n  1,\"a\":2}', 'null', '1 mon -2 days 03:04:05.678901',"
        " '[\"2020-01-01 00:00Z\",)', ARRAY[NULL, 'NULL', '', 'a\"b'], '{{1,2},{3,4}}',"
        " 'o\"k', 'x', '::1/64', B'101', 'infinity', '0044-03-15 BC', '23:59:60-08',"
        " gen_random_uuid(), 'v'"
    )
    leadconnector.query(
        'INSERT INTO "Odd Table" (a, b, at, n, f, f4, bytes, j, jb, iv, r, texts, ints, mood, short,'
        f' ip, bits, ts, d, t, u, "tab\tin name") VALUES (1, {values}), (2, {values})'
    )
    leadconnector.query(
        "INSERT INTO \"Odd Table\" (a, b, at) VALUES (3, '', '2000-01-01'), (4, 'young', now())"
    )
    leadconnector.query(
        'INSERT INTO odd_child SELECT a, a, b, NULL FROM "Odd Table" UNION ALL'
        " SELECT 10, NULL, NULL, 1 UNION ALL SELECT 11, NULL, NULL, 10 UNION ALL SELECT 12, NULL, NULL, 4"
    )
    leadconnector.query("ANALYZE")
    Path("leadctl.toml").write_text(RULE)
    return leadconnector


def content(database: Prepared) -> list[object]:
    return [
        database.query('SELECT t.*::text FROM "Odd Table" AS t ORDER BY a'),
        database.query("SELECT * FROM odd_child ORDER BY id"),
    ]


def decompressed(data: bytes) -> bytes:
    decompressor = zstandard.ZstdDecompressor()
    return bytes(decompressor.stream_reader(data, read_across_frames=True).read())


def only_archive() -> Path:
    (folder,) = Path("archives").iterdir()
    return folder


def test_every_value_comes_back(odd: Prepared, cli: Cli) -> None:
    before = content(odd)
    flags = ("cleanup", "--rule", "everything", "-o", "json")
    preview = cli(*flags, "--dry-run", url=odd.url).json["rules"][0]
    (rule,) = cli(*flags, url=odd.url).json["rules"]
    assert (rule["rows"], rule["cascaded"]) == (3, {"odd_child": 5})
    assert (preview["due"], preview["cascaded"]) == (3, {"odd_child": 5})
    assert odd.query('SELECT a FROM "Odd Table"') == [(4,)]
    assert odd.query("SELECT id FROM odd_child ORDER BY id") == [(4,), (12,)]
    put_back = cli("cleanup", "unarchive", str(only_archive()), "-o", "json", url=odd.url)
    assert put_back.code == 0, put_back.err
    assert put_back.json["restored"] == {'"Odd Table"': 3, "odd_child": 5}
    assert content(odd) == before
    again = cli(
        "cleanup", "unarchive", str(only_archive() / "manifest.json"), "-o", "json", url=odd.url
    )
    assert again.json["restored"] == {'"Odd Table"': 0, "odd_child": 0}
    assert again.json["there"] == {'"Odd Table"': 3, "odd_child": 5}


def test_what_was_changed_on_disk_is_not_put_back(odd: Prepared, cli: Cli) -> None:
    assert cli("cleanup", "--rule", "everything", url=odd.url).code == 0
    file = only_archive() / "000001.jsonl.zst"
    whole = file.read_bytes()
    for damaged in (whole[:-1], whole[:50] + bytes([whole[50] ^ 1]) + whole[51:], b""):
        file.write_bytes(damaged)
        outcome = cli("cleanup", "unarchive", str(file), url=odd.url)
        assert outcome.code == 1
        assert "hash" in outcome.err
    file.unlink()
    assert cli("cleanup", "unarchive", str(only_archive()), url=odd.url).code == 1
    nothing = cli("cleanup", "unarchive", "archives/nothing", url=odd.url)
    assert (nothing.code, "Errno" in nothing.err) == (1, False)
    assert odd.query('SELECT count(*) FROM "Odd Table"') == [(1,)]


def test_a_schema_that_moved_on(odd: Prepared, cli: Cli) -> None:
    assert cli("cleanup", "--rule", "everything", url=odd.url).code == 0
    odd.query("ALTER TABLE odd_child ADD COLUMN more text DEFAULT 'm'")
    odd.query('ALTER TABLE "Odd Table" ALTER COLUMN n TYPE text')
    folder = str(only_archive())
    assert cli("cleanup", "unarchive", folder, url=odd.url).code == 0
    odd.query('ALTER TABLE "Odd Table" DROP COLUMN n')
    outcome = cli("cleanup", "unarchive", folder, url=odd.url)
    assert outcome.code == 1
    assert "any more: n" in outcome.err


def test_files_are_for_their_owner_alone_and_plain_tools_read_them(odd: Prepared, cli: Cli) -> None:
    assert cli("cleanup", "--rule", "everything", url=odd.url).code == 0
    folder = only_archive()
    assert folder.stat().st_mode & 0o777 == 0o700
    for path in folder.iterdir():
        assert path.stat().st_mode & 0o777 == 0o600
    text = decompressed((folder / "000001.jsonl.zst").read_bytes())
    rows = [json.loads(line) for line in text.splitlines()]
    assert {row["table"] for row in rows} == {'"Odd Table"', "odd_child"}


def test_encrypted_to_the_recipients(odd: Prepared, cli: Cli, tmp_path: Path) -> None:
    mine, other = pyrage.x25519.Identity.generate(), pyrage.x25519.Identity.generate()
    key, wrong = tmp_path / "key", tmp_path / "wrong"
    for path, text in ((key, f"# mine\n{mine}\n"), (wrong, str(other))):
        path.write_text(text)
        path.chmod(0o600)
    before = content(odd)
    env = {"BACKUP_RECIPIENTS": str(mine.to_public())}
    assert cli("cleanup", "--rule", "everything", url=odd.url, env=env).code == 0
    file = only_archive() / "000001.jsonl.zst.age"
    assert b"young" not in file.read_bytes()
    assert b"Odd" in decompressed(pyrage.decrypt(file.read_bytes(), [mine]))
    unarchive = ("cleanup", "unarchive", str(file))
    for identity, code in ((None, 3), (wrong, 3), (key, 0)):
        chosen = {"BACKUP_IDENTITY_FILE": str(identity)} if identity else {}
        outcome = cli(*unarchive, url=odd.url, env=chosen)
        assert outcome.code == code, outcome.err
    assert content(odd) == before
    # As a run that was killed leaves it.
    partial = file.rename(file.with_name(f"{file.name}.7.partial"))
    again = ("cleanup", "unarchive", str(partial))
    assert cli(*again, url=odd.url, env={"BACKUP_IDENTITY_FILE": str(key)}).code == 0
    assert cli("cleanup", url=odd.url, env={"BACKUP_RECIPIENTS": "age1nothing"}).code == 3


def test_no_row_goes_where_the_archive_cannot_be_written(odd: Prepared, cli: Cli) -> None:
    before = content(odd)
    Path("archives").write_text("in the way")
    outcome = cli("cleanup", "--rule", "everything", url=odd.url)
    assert outcome.code == 1
    assert "not deleted" in outcome.err
    assert content(odd) == before


@pytest.mark.parametrize("url", ["s3://bucket/prefix", "gs://bucket", "az://container/x"])
def test_no_row_goes_into_a_folder_that_is_called_like_a_bucket(
    odd: Prepared, cli: Cli, url: str
) -> None:
    before = content(odd)
    for code, arguments, env in (
        (2, ("cleanup", "--archive", url.replace("://", ":/")), {}),
        (2, ("cleanup", "--metrics-file", f"{url}/leadctl.prom"), {}),
        (3, ("cleanup",), {"LEADCTL_ARCHIVE_DIR": url.replace("://", ":/")}),
        (3, ("health-check", "-o", "prometheus", "--to", f"{url}/leadctl.prom"), {}),
        (2, ("inspect", "connections", "--to", url), {}),
    ):
        outcome = cli(*arguments, url=odd.url, env=env)
        assert (outcome.code, "is in object storage" in outcome.err) == (code, True), outcome.err
        assert url.partition("/")[0] in outcome.err
    assert content(odd) == before
    assert not [path for path in Path().iterdir() if path.name.startswith(("s3", "gs", "az"))]


def test_a_full_disk(odd: Prepared, cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    full = Path("/dev/full")
    if not full.exists():
        pytest.skip("there is no /dev/full here")
    before = content(odd)
    real = __import__("os").open
    monkeypatch.setattr(
        "leadctl.files.os.open",
        lambda path, flags, mode=0o777: (
            real(full, 1)
            if str(path).endswith(".partial") and "jsonl" in str(path)
            else real(path, flags, mode)
        ),
    )
    outcome = cli("cleanup", "--rule", "everything", url=odd.url)
    assert outcome.code == 1
    assert "No space left" in outcome.err
    assert content(odd) == before


def test_a_table_without_a_primary_key_cannot_be_archived(odd: Prepared, cli: Cli) -> None:
    odd.query("ALTER TABLE odd_child DROP CONSTRAINT odd_child_pkey CASCADE")
    outcome = cli("cleanup", "--rule", "everything", url=odd.url)
    assert outcome.code == 1
    assert "no primary key" in outcome.err


def test_a_copy_leaves_the_files_of_the_original_alone(
    prepared: Prepare, cli: Cli, tmp_path: Path
) -> None:
    """A transaction id means something in its own database only."""
    database = prepared("leadconnector")
    fill(database, 200, 1)
    rule = ("cleanup", "--rule", "archived-leads", "--archive", "archives")
    assert cli(*rule, url=database.url).code == 0
    folder = only_archive()
    (path,) = folder.glob("*.zst")
    partial = path.rename(path.with_name(f"{path.name}.3.partial"))
    manifest = folder / "manifest.json"
    manifest.write_text(manifest.read_text().replace('"place": "', '"place": "1'))
    assert cli(*rule, url=database.url).code == 0
    assert partial.exists()
    assert len(ids(database, "leads")) < 200
