"""Backups in object storage: two servers of the protocol, and a proxy that breaks what passes by."""

import json
import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from datetime import timedelta
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import count
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote

import pyrage
import pytest
import zstandard

from leadctl.backup.stream import read_identities
from tests.backups import Place, create, plain_dump
from tests.conftest import Cli, Outcome
from tests.processes import run, start, wait_for
from tests.servers import Server, free_port

pytest.importorskip("obstore", reason="needs the extra cloud")
pytest.importorskip("moto.server", reason="needs the group cloud")

SCRIPT = """
CREATE TABLE t (id int PRIMARY KEY, note text);
INSERT INTO t SELECT i, md5(i::text) FROM generate_series(1, 5000) i;
"""
BUCKET = "backups-of-tests"
RCLONE = shutil.which("rclone", path=str(Path(sys.executable).parent))
KEY, SECRET = "access", "secret-of-tests"


@pytest.fixture(scope="module", params=["moto", pytest.param("rclone", marks=pytest.mark.thorough)])
def storage_name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def storage(storage_name: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A server of S3's protocol."""
    with _moto() if storage_name == "moto" else _rclone(tmp_path_factory.mktemp("s3")) as url:
        yield url


@contextmanager
def _moto() -> Iterator[str]:
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@contextmanager
def _rclone(folder: Path) -> Iterator[str]:
    """One that knows neither parts of objects nor conditions, over a folder."""
    if RCLONE is None:
        pytest.skip("needs rclone, of the group cloud")
    address = f"127.0.0.1:{free_port()}"
    command = [RCLONE, "serve", "s3", "--auth-key", f"{KEY},{SECRET}", "--addr", address, folder]
    with _running(command, address):
        yield f"http://{address}"


@contextmanager
def _running(command: list[Any], address: str) -> Iterator[None]:
    with subprocess.Popen(command, stderr=subprocess.DEVNULL) as process:
        try:
            wait_for(lambda: _answers(address))
            yield
        finally:
            process.terminate()


def _answers(address: str) -> bool:
    with suppress(OSError), closing(HTTPConnection(address)) as connection:
        connection.request("GET", "/")
        return bool(connection.getresponse().status)
    return False


@pytest.fixture
def client(storage: str) -> Any:
    """A client that leadctl does not use, and an empty bucket."""
    import boto3

    found = boto3.client(
        "s3",
        endpoint_url=storage,
        aws_access_key_id=KEY,
        aws_secret_access_key=SECRET,
        region_name="us-east-1",
    )
    if BUCKET not in {each["Name"] for each in found.list_buckets()["Buckets"]}:
        found.create_bucket(Bucket=BUCKET)
    for each in found.list_objects_v2(Bucket=BUCKET).get("Contents", []):
        found.delete_object(Bucket=BUCKET, Key=each["Key"])
    return found


def keys(client: Any) -> list[str]:
    return [each["Key"] for each in client.list_objects_v2(Bucket=BUCKET).get("Contents", [])]


class InBucket(Place):
    """A database whose backups are in a bucket."""

    def __init__(self, server: Server, name: str, cli: Cli, folder: Path, storage: str) -> None:
        super().__init__(server, name, cli, folder)
        self.place = f"s3://{BUCKET}/some prefix/of"
        self.env = {
            **self._env,
            "BACKUP_DIR": self.place,
            "AWS_ACCESS_KEY_ID": KEY,
            "AWS_SECRET_ACCESS_KEY": SECRET,
            "AWS_REGION": "us-east-1",
            "AWS_ENDPOINT_URL": storage,
            "DATABASE_URL": self.url,
        }

    def leadctl(self, *arguments: str, **more: str) -> Outcome:
        return self._cli(*arguments, url=self.url, env={**self.env, **more})


@pytest.fixture
def place(
    server: Server,
    cli: Cli,
    tmp_path: Path,
    storage: str,
    client: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[InBucket]:
    name = create(server, f"bucket_{os.getpid()}", SCRIPT)
    found = InBucket(server, name, cli, tmp_path, storage)
    yield found
    server.drop(name)
    server.drop(f"{name}_copy")


@pytest.fixture
def small_parts(monkeypatch: pytest.MonkeyPatch) -> int:
    monkeypatch.setattr("leadctl.backup.bucket.PART_BYTES", 20_000)
    return 20_000


def test_there_and_back_without_a_copy_on_disk(
    place: InBucket, client: Any, small_parts: int, tmp_path: Path
) -> None:
    made = place.leadctl("backup", "-o", "json")
    assert made.code == 0, made.err
    backup = made.json["id"]
    found = client.list_objects_v2(Bucket=BUCKET)["Contents"]
    assert max(each["Size"] for each in found) <= small_parts
    parts = [each["Key"] for each in found if ".part-" in each["Key"]]
    assert len(parts) > 3, "it is large enough for several"
    assert not [each for each in found if each["Key"].endswith("run.json")]
    listed = place.leadctl("backup", "list", "-o", "json").json["backups"]
    assert [(each["id"], each["damage"]) for each in listed] == [(backup, None)]
    verified = place.leadctl("backup", "verify", "latest", "-o", "json")
    assert (verified.code, verified.json["depth"]) == (0, "content"), verified.err
    place.query("DELETE FROM t WHERE id > 10")
    dump = plain_dump(place.server, place.name)
    restored = place.leadctl("restore", "latest", "--into", f"{place.name}_copy")
    assert restored.code == 0, restored.err
    assert place.query("SELECT count(*) FROM t", f"{place.name}_copy") == [(5000,)]
    assert plain_dump(place.server, place.name) == dump
    tables = place.leadctl("restore", "latest", "--table", "t", "--data-only", "--yes")
    assert tables.code in {0, 5}, tables.err
    assert not any(tmp_path.rglob("*.age"))
    # Without leadctl: what is there are the bytes of the file, one part after the other.
    whole = b"".join(
        client.get_object(Bucket=BUCKET, Key=key)["Body"].read()
        for key in sorted(key for key in parts if "archive.dump" in key)
    )
    assert whole.startswith(b"age-encryption.org/v1\n")


def test_pinned_pruned_and_what_is_others(place: InBucket, client: Any) -> None:
    ids = [place.leadctl("backup", "-o", "json").json["id"] for _ in range(3)]
    assert place.leadctl("backup", "pin", ids[0]).code == 0
    client.put_object(Bucket=BUCKET, Key="some prefix/of/README", Body=b"x")
    client.put_object(Bucket=BUCKET, Key=f"some prefix/of/{ids[1]}/notes.txt", Body=b"x")
    keeps = {"BACKUP_KEEP_MINIMUM": "1", "BACKUP_KEEP_DAILY": "1", "BACKUP_KEEP_WEEKLY": "0"}
    pruned = place.leadctl("backup", "prune", "--yes", "-o", "json", **keeps)
    assert (pruned.code, pruned.json["left"]) == (1, [ids[1]]), pruned.err
    assert sorted({key.split("/")[2] for key in keys(client)}) == [*sorted(ids), "README"]
    assert [key for key in keys(client) if ids[1] in key] == [f"some prefix/of/{ids[1]}/notes.txt"]
    listed = place.leadctl("backup", "list", "-o", "json").json["backups"]
    assert [(each["id"], each["pinned"]) for each in listed] == [(ids[2], False), (ids[0], True)]


@pytest.mark.parametrize("storage_name", ["moto"], indirect=True)
def test_an_object_that_no_path_can_name(place: InBucket, client: Any) -> None:
    """Tools that join a prefix and a name make a//b: it hides no backup, nor keeps one."""
    made = [place.leadctl("backup", "-o", "json").json["id"] for _ in range(2)]
    prefix = "some prefix/of"
    for key in (f"{made[0]}/a//b", "20260101T000000-000Z/../x", "others/a//b"):
        client.put_object(Bucket=BUCKET, Key=f"{prefix}/{key}", Body=b"theirs")
    listed = place.leadctl("backup", "list", "-o", "json").json["backups"]
    assert [(each["id"], each["damage"]) for each in listed] == [
        (name, None) for name in made[::-1]
    ]
    verified = place.leadctl("backup", "verify", "latest")
    assert verified.code == 0, verified.err
    keep = ["--keep-daily", "1", "--keep-weekly", "0", "--keep-monthly", "0", "--keep-minimum", "1"]
    pruned = place.leadctl("backup", "prune", "--yes", *keep)
    assert (pruned.code, place.leadctl("backup").code) == (0, 0), pruned.err
    left = {key.removeprefix(f"{prefix}/{made[0]}/") for key in keys(client) if made[0] in key}
    assert left == {"a//b"}
    client.put_object(Bucket=BUCKET, Key=f"{prefix}//x", Body=b"theirs")
    refused = place.leadctl("backup", "list")
    assert (refused.code, 'Path "some prefix/of//"' in refused.err) == (3, True), refused.err


def test_two_hosts_begin_in_the_same_millisecond(
    place: InBucket, client: Any, storage_name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each has an id of its own: the files of one do not go over those of the other."""
    if storage_name != "moto":
        pytest.skip("it knows no conditions")
    ids = ["20260131T030000-000Z", "20260131T030000-001Z"]
    others = f"some prefix/of/{ids[0]}/run.json"
    client.put_object(Bucket=BUCKET, Key=others, Body=b'{"machine": "another"}')
    names = iter(ids)
    monkeypatch.setattr("leadctl.backup.bucket.new_id", lambda: next(names))
    monkeypatch.setattr("leadctl.backup.bucket._FOREIGN_RUN", timedelta(days=10_000))
    assert place.leadctl("backup", "-o", "json").json["id"] == ids[1]
    assert client.get_object(Bucket=BUCKET, Key=others)["Body"].read() == b'{"machine": "another"}'


def test_copied_elsewhere_and_compared(
    place: InBucket, client: Any, small_parts: int, tmp_path: Path
) -> None:
    local = {"BACKUP_DIR": str(tmp_path / "local")}
    made = place.leadctl("backup", "-o", "json", BACKUP_COPY_TO=place.place, **local)
    assert made.code == 0, made.err
    backup = made.json["id"]
    assert "compared every byte" in made.err
    again = place.leadctl("backup", "copy", "latest", "--to", place.place, "-o", "json", **local)
    assert (again.code, again.json["made"]) == (0, False), again.err
    back = place.leadctl("backup", "copy", backup, "--to", str(tmp_path / "back"), "-o", "json")
    assert (back.code, back.json["made"]) == (0, True), back.err
    files = {path.name: path.read_bytes() for path in (tmp_path / "local" / backup).iterdir()}
    copy = {path.name: path.read_bytes() for path in (tmp_path / "back" / backup).iterdir()}
    assert copy == files
    (key,) = (key for key in keys(client) if key.endswith("archive.dump.zst.age.part-00002"))
    body = client.get_object(Bucket=BUCKET, Key=key)["Body"].read()
    client.put_object(Bucket=BUCKET, Key=key, Body=body[:-1] + b"\0")
    broken = place.leadctl("backup", "copy", "latest", "--to", place.place, **local)
    assert (broken.code, "its hash differs" in broken.err) == (1, True), broken.err
    assert place.leadctl("backup", "verify", "latest").code == 1


def test_a_part_that_is_missing(place: InBucket, client: Any, small_parts: int) -> None:
    place.leadctl("backup")
    (key,) = (key for key in keys(client) if key.endswith("archive.dump.zst.age.part-00002"))
    client.delete_object(Bucket=BUCKET, Key=key)
    verified = place.leadctl("backup", "verify", "latest")
    assert (verified.code, "missing or" in verified.out) == (1, True), verified.out
    assert place.leadctl("restore", "latest", "--into", f"{place.name}_copy").code == 1


@pytest.mark.thorough
@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"BACKUP_DIR": "s3://no-such-bucket-here/x"}, "NoSuchBucket"),
        ({"AWS_ENDPOINT_URL": "http://127.0.0.1:1"}, "cannot be used"),
    ],
)
def test_what_cannot_be_used_is_no_empty_list(
    place: InBucket, change: dict[str, str], says: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("leadctl.backup.bucket._RETRY_FOR", timedelta(seconds=1))
    for command in (["backup", "list"], ["backup"], ["restore", "latest", "--into", "x"]):
        outcome = place.leadctl(*command, **change)
        assert (outcome.code, says in outcome.err) == (3, True), outcome.err
        assert "127.0.0.1:1/" not in outcome.err


@pytest.mark.thorough
@pytest.mark.parametrize(
    "kills",
    [
        3,
        pytest.param(20, marks=pytest.mark.thorough),
        pytest.param(200, marks=pytest.mark.slow),
    ],
)
def test_killed_while_it_uploads(place: InBucket, client: Any, kills: int) -> None:
    """Nothing of it is listed, and the next run removes it all."""
    place.query("INSERT INTO t SELECT i, md5(i::text) FROM generate_series(5001, 400000) i")
    left = 0
    for number in range(kills):
        seconds = 0.7 * number / kills
        before = set(keys(client))
        process = start("backup", "-q", env=place.env)
        while process.poll() is None and set(keys(client)) <= before:
            time.sleep(0.05)
        time.sleep(seconds)
        process.kill()
        process.communicate(timeout=60)
        listed = place.leadctl("backup", "list", "-o", "json").json["backups"]
        manifests = [key for key in keys(client) if key.endswith("manifest.json")]
        assert len(listed) == len(manifests)
        left += bool({key.split("/")[2] for key in keys(client)} - {b["id"] for b in listed})
    assert left, "at least one was ended amid its files"
    assert place.leadctl("backup", "-q").code == 0
    whole = {b["id"] for b in place.leadctl("backup", "list", "-o", "json").json["backups"]}
    assert {key.split("/")[2] for key in keys(client)} == whole
    with suppress(client.exceptions.NoSuchUpload):  # as rclone says it
        assert "Uploads" not in client.list_multipart_uploads(Bucket=BUCKET)


_SIGNED = (
    f"AWS4-HMAC-SHA256 Credential={KEY}/20260101/us-east-1/s3/aws4_request, "
    "SignedHeaders=host, Signature=0"
)
"""In the place of Google's token; moto looks at nothing but the account."""


class _Passing(BaseHTTPRequestHandler):
    """Hands a request on, or does to it what the proxy says."""

    proxy: "Breaking"
    storage: str
    protocol_version = "HTTP/1.1"

    def _serve(self) -> None:
        length = int(self.headers.get("Content-Length") or 0)
        self.proxy.requests.append((self.command, self.path))
        if self.command == "PUT":
            self.proxy.checked.append("x-amz-checksum-sha256" in self.headers)
        told = self.proxy.answer(self.command, self.path)
        if told == "cut":
            self.rfile.read(length // 2)
            self.connection.close()
            self.close_connection = True
            return
        body = self.rfile.read(length)
        if told is not None and told not in {"half", "slow"}:
            status = 503 if told == "SlowDown" else 403
            self._reply(status, [], f"<Error><Code>{told}</Code></Error>".encode())
            return
        if told == "slow":
            time.sleep(0.3)
        connection = HTTPConnection(self.storage.removeprefix("http://"), timeout=30)
        headers = {n: v for n, v in self.headers.items() if n.lower() != "connection"}
        if self.proxy.for_moto and "x-amz-checksum-sha256" in headers:
            # moto looks for the SDK's name of it; others refuse what is not signed.
            headers["x-amz-sdk-checksum-algorithm"] = "SHA256"
        path = self.path
        if self.proxy.for_google:
            where, _, asked = path.partition("?")
            path = f"{quote(unquote(where))}?{asked}"  # moto does not read a bucket's %2D
            headers = {n: v for n, v in headers.items() if n.lower() != "authorization"}
            headers["Authorization"] = _SIGNED
            if headers.pop("x-goog-if-generation-match", None) == "0":  # there is none
                headers["If-None-Match"] = "*"
        with closing(connection):
            connection.request(self.command, path, body, headers)
            answered = connection.getresponse()
            data = answered.read()
        if told == "half":
            data = data[: len(data) // 2]
        with suppress(ConnectionError):  # who asked was killed
            self._reply(answered.status, answered.getheaders(), data, answered.length)

    do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = _serve  # noqa: N815

    def _reply(
        self, status: int, headers: list[tuple[str, str]], data: bytes, _: object = None
    ) -> None:
        self.send_response(status)
        named = dict(headers)
        for name, value in named.items():
            if name.lower() not in {"connection", "transfer-encoding", "content-length"}:
                self.send_header(name, value)
        length = named.get("Content-Length", str(len(data)))
        self.send_header("Content-Length", length)
        self.end_headers()
        self.wfile.write(data)
        if int(length) != len(data) and self.command != "HEAD":
            self.close_connection = True

    def log_message(self, *_: object) -> None:
        """Say nothing."""


class Breaking:
    """A proxy before the storage: `answer` says what becomes of a request instead, if anything."""

    def __init__(self, storage: str, *, for_moto: bool) -> None:
        self.for_moto = for_moto
        self.for_google = False
        self.answer: Callable[[str, str], str | None] = lambda _method, _path: None
        self.requests: list[tuple[str, str]] = []
        self.checked: list[bool] = []
        self._server = ThreadingHTTPServer(
            ("127.0.0.1", 0), type("Handler", (_Passing,), {"proxy": self, "storage": storage})
        )
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture
def proxy(place: InBucket, storage: str, storage_name: str) -> Iterator[Breaking]:
    found = Breaking(storage, for_moto=storage_name == "moto")
    place.env["AWS_ENDPOINT_URL"] = found.url
    yield found
    found.stop()


def every(number: int, told: str, method: str) -> Callable[[str, str], str | None]:
    """Break every so manieth request of a method."""
    counter = count(1)
    return lambda m, _: told if m == method and next(counter) % number == 0 else None


@pytest.mark.thorough
@pytest.mark.parametrize(
    ("told", "method"),
    [
        ("SlowDown", "PUT"),
        ("cut", "PUT"),
        ("slow", "PUT"),
        ("SlowDown", "GET"),
        ("half", "GET"),
        ("slow", "GET"),
    ],
)
def test_faults_that_pass_are_tried_again(
    place: InBucket, proxy: Breaking, small_parts: int, told: str, method: str
) -> None:
    proxy.answer = every(4, told, method)
    made = place.leadctl("backup", "-q", "-o", "json")
    assert made.code == 0, made.err
    verified = place.leadctl("backup", "verify", "latest")
    assert verified.code == 0, verified.err + verified.out
    restored = place.leadctl("restore", "latest", "--into", f"{place.name}_copy")
    assert restored.code == 0, restored.err
    assert place.query("SELECT count(*) FROM t", f"{place.name}_copy") == [(5000,)]
    assert len(proxy.requests) > 8


@pytest.mark.thorough
def test_a_network_that_ends_amid_a_backup(
    place: InBucket, proxy: Breaking, client: Any, small_parts: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("leadctl.backup.bucket._RETRY_FOR", timedelta(seconds=1))
    puts = count()
    proxy.answer = lambda m, _: (
        "cut" if (m == "PUT" and next(puts) > 3) or m in {"DELETE", "POST"} else None
    )
    broken = place.leadctl("backup")
    assert (broken.code, "cannot be used" in broken.err) == (3, True), broken.err
    assert keys(client), "some of it is there"
    proxy.answer = lambda _method, _path: None
    assert place.leadctl("backup", "list", "-o", "json").json["backups"] == []
    # This process is the one that began it, and it still runs: another one removes it.
    process = start("backup", "-q", env=place.env)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 0, err


@pytest.mark.thorough
def test_what_may_not_be_done_is_said(
    place: InBucket, proxy: Breaking, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("leadctl.backup.bucket._RETRY_FOR", timedelta(seconds=1))
    ids = [place.leadctl("backup", "-o", "json").json["id"] for _ in range(2)]
    proxy.answer = lambda method, _: "AccessDenied" if method in {"DELETE", "POST"} else None
    keeps = {"BACKUP_KEEP_MINIMUM": "1", "BACKUP_KEEP_DAILY": "0", "BACKUP_KEEP_WEEKLY": "0"}
    pruned = place.leadctl(
        "backup", "prune", "--yes", "-o", "json", BACKUP_KEEP_MONTHLY="0", **keeps
    )
    assert (pruned.code, pruned.json["left"]) == (1, [ids[0]]), pruned.err
    kept_as = {each["id"]: each["kept_as"] for each in pruned.json["backups"]}
    assert "AccessDenied" in kept_as[ids[0]]
    listed = place.leadctl("backup", "list", "-o", "json").json["backups"]
    assert {each["id"] for each in listed} == set(ids)
    for reason, hint in (("ExpiredToken", "credentials"), ("RequestTimeTooSkewed", "clock")):
        proxy.answer = lambda _method, _path, reason=reason: reason
        for command in (["backup", "list"], ["backup"]):
            refused = place.leadctl(*command)
            assert (refused.code, reason in refused.err) == (3, True), refused.err
            assert hint in refused.err


@pytest.mark.thorough
def test_a_bucket_with_versions_and_a_lock(
    place: InBucket, client: Any, proxy: Breaking, storage_name: str
) -> None:
    """Every object is sent with a checksum, and what prune removes is there for the bucket."""
    if storage_name != "moto":
        pytest.skip("knows no versions")
    locked = f"{BUCKET}-locked"
    client.create_bucket(Bucket=locked, ObjectLockEnabledForBucket=True)
    rule = {"DefaultRetention": {"Mode": "GOVERNANCE", "Days": 1}}
    client.put_object_lock_configuration(
        Bucket=locked, ObjectLockConfiguration={"ObjectLockEnabled": "Enabled", "Rule": rule}
    )
    there = {"BACKUP_DIR": f"s3://{locked}/shop", "BACKUP_KEEP_MINIMUM": "1"}
    ids = [place.leadctl("backup", "-o", "json", **there).json["id"] for _ in range(2)]
    assert proxy.checked
    assert all(proxy.checked)
    assert place.leadctl("backup", "verify", "latest", **there).code == 0
    pruned = place.leadctl("backup", "prune", "--yes", "-o", "json", **there)
    assert (pruned.code, pruned.json["left"]) == (0, []), pruned.err
    listed = place.leadctl("backup", "list", "-o", "json", **there).json["backups"]
    assert [each["id"] for each in listed] == [ids[1]]
    versions = client.list_object_versions(Bucket=locked, Prefix=f"shop/{ids[0]}/")["Versions"]
    assert {each["Key"].split("/")[2] for each in versions} >= {"manifest.json"}


def test_health_looks_at_the_copies(place: InBucket, tmp_path: Path) -> None:
    local = {"BACKUP_DIR": str(tmp_path / "local"), "BACKUP_COPY_TO": place.place}
    check = ("health-check", "--check", "backups", "-o", "json")
    assert place.leadctl("backup", BACKUP_DIR=local["BACKUP_DIR"]).code == 0
    assert place.leadctl("backup", "verify", "latest", BACKUP_DIR=local["BACKUP_DIR"]).code == 0
    without = place.leadctl(*check, **local)
    assert (without.code, "no copy of them" in without.out) == (1, True), without.out
    assert place.leadctl("backup", "copy", "latest", "--to", place.place, **local).code == 0
    assert place.leadctl(*check, **local).code == 0
    gone = place.leadctl(*check, AWS_ENDPOINT_URL="http://127.0.0.1:1", **local)
    assert (gone.code, "the copies cannot be read" in gone.out) == (1, True), gone.out


RULE = """
[[apps.leadconnector.retention]]
name = "old"
table = "t"
age_column = "at"
older_than = "1 day"
archive = true
fuse_rows = 100000
"""
_UNTRIED = "leadctl.backup.bucket._RETRY_FOR"


class Archiving:
    """A rule whose rows go into the bucket before they are deleted."""

    def __init__(self, place: InBucket) -> None:
        self.place = place
        self.url = f"{place.place}/archives"
        place.env["LEADCTL_ARCHIVE_DIR"] = self.url
        Path("leadctl.toml").write_text(RULE)
        place.query("ALTER TABLE t ADD COLUMN at timestamptz NOT NULL DEFAULT '2020-01-01'")
        place.query("UPDATE t SET at = now() WHERE id > 4000")
        place.query("ANALYZE")

    def cleanup(self, *arguments: str, **more: str) -> Outcome:
        return self.place.leadctl("cleanup", "--rule", "old", *arguments, **more)

    @property
    def left(self) -> set[int]:
        return {row for (row,) in self.place.query("SELECT id FROM t")}

    def archived(self, client: Any) -> list[int]:
        """Return the ids in the files whose names are final, read with age and zstd alone."""
        there = keys(client)
        found: list[int] = []
        for key in sorted({key.partition(".part-")[0] for key in there if "jsonl" in key}):
            if ".partial" in key:
                continue
            parts = [each for each in sorted(there) if each.startswith(key)]
            data = b"".join(
                client.get_object(Bucket=BUCKET, Key=each)["Body"].read()
                for each in parts
                if ".partial" not in each
            )
            packed = pyrage.decrypt(data, read_identities(self.place.identity))
            text = zstandard.ZstdDecompressor().stream_reader(packed, read_across_frames=True)
            found += [int(json.loads(line)["row"]["id"]) for line in text.read().splitlines()]
        return found


@pytest.fixture
def archiving(place: InBucket, monkeypatch: pytest.MonkeyPatch) -> Archiving:
    """One whose files are several objects, however few rows a batch has."""
    monkeypatch.setattr("leadctl.backup.bucket.PART_BYTES", 2000)
    return Archiving(place)


@pytest.mark.thorough
def test_rows_are_archived_in_a_bucket_and_put_back(
    archiving: Archiving, client: Any, tmp_path: Path
) -> None:
    before = plain_dump(archiving.place.server, archiving.place.name, None, "--schema=public")
    done = archiving.cleanup("-o", "json")
    assert done.code == 0, done.err
    (rule,) = done.json["rules"]
    assert rule["rows"] == 4000
    assert rule["archive"].startswith(f"{archiving.url}/")
    assert not [key for key in keys(client) if ".partial" in key]
    assert [key for key in keys(client) if key.endswith(".part-00002")], "it has parts"
    assert sorted(archiving.archived(client)) == list(range(1, 4001))
    assert archiving.left == set(range(4001, 5001))
    assert not list(Path().rglob("*.jsonl*"))
    archive = rule["archive"]
    for name in (archive, f"{archive}/manifest.json", f"{archive}/000001.jsonl.zst.age"):
        back = archiving.place.leadctl("cleanup", "unarchive", name, "-o", "json")
        assert back.code == 0, back.err
    assert back.json["restored"] == {"t": 0}
    after = plain_dump(archiving.place.server, archiving.place.name, None, "--schema=public")
    assert after == before
    for wrong in (archiving.url, f"{archive}/000009.jsonl.zst.age", f"{archiving.url}/no/such"):
        refused = archiving.place.leadctl("cleanup", "unarchive", wrong)
        assert (refused.code, "archive" in refused.err) == (1, True), refused.err


@pytest.mark.thorough
def test_what_is_changed_or_missing_in_the_bucket_is_not_put_back(
    archiving: Archiving, client: Any
) -> None:
    archive = archiving.cleanup("-o", "json").json["rules"][0]["archive"]
    (key,) = (key for key in keys(client) if key.endswith("000001.jsonl.zst.age.part-00002"))
    body = client.get_object(Bucket=BUCKET, Key=key)["Body"].read()
    for change in ({"Body": body[:-1] + b"\0"}, {"Body": body[:-1]}, None):
        if change:
            client.put_object(Bucket=BUCKET, Key=key, **change)
        else:
            client.delete_object(Bucket=BUCKET, Key=key)
        refused = archiving.place.leadctl("cleanup", "unarchive", archive)
        assert refused.code == 1
        assert "hash" in refused.err or "missing" in refused.err
    assert archiving.left == set(range(4001, 5001))


@pytest.mark.thorough
@pytest.mark.parametrize("method", ["PUT", "GET"])
def test_no_row_goes_where_the_bucket_does_not_take_it(
    archiving: Archiving, proxy: Breaking, method: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_UNTRIED, timedelta(seconds=1))
    proxy.answer = lambda m, path: "AccessDenied" if m == method and "jsonl" in path else None
    denied = archiving.cleanup()
    assert (denied.code, "they were not deleted" in denied.err) == (1, True), denied.err
    assert len(archiving.left) == 5000
    proxy.answer = lambda _method, _path: None
    assert archiving.cleanup().code == 0
    assert archiving.left == set(range(4001, 5001))


@pytest.mark.thorough
def test_an_archive_in_a_bucket_whose_name_could_not_be_given(
    archiving: Archiving, client: Any, proxy: Breaking
) -> None:
    """As after a kill between the commit and the copy: it can be put back, and is finished."""
    copied = count()
    proxy.answer = lambda m, path: (
        "AccessDenied" if m in {"DELETE", "POST"} or (m == "PUT" and "partial" not in path
        and "jsonl" in path and next(copied) > 1) else None
    )  # fmt: skip
    done = archiving.cleanup("-o", "json")
    assert (done.code, "the next run" in done.err) == (0, True), done.err + done.out
    archive = done.json["rules"][0]["archive"]
    assert archiving.left == set(range(4001, 5001))
    assert [key for key in keys(client) if ".partial" in key]
    proxy.answer = lambda _method, _path: None
    back = archiving.place.leadctl("cleanup", "unarchive", archive, "-o", "json")
    assert back.code == 0, back.err
    assert back.json["restored"] == {"t": 4000}
    archiving.place.query("DELETE FROM t WHERE id <= 4000")
    again = archiving.cleanup()
    assert (again.code, "Finishing" in again.err) == (0, True), again.err
    assert not [key for key in keys(client) if ".partial" in key]
    assert sorted(archiving.archived(client)) == list(range(1, 4001))


@pytest.mark.thorough
def test_what_was_rolled_back_is_in_no_archive(archiving: Archiving, client: Any) -> None:
    archiving.place.query("CREATE TABLE child (t int PRIMARY KEY REFERENCES t)")
    archiving.place.query("INSERT INTO child SELECT 100 * n FROM generate_series(1, 40) n")
    done = archiving.cleanup("-o", "json")
    assert done.code == 7, done.err
    kept = {100 * number for number in range(1, 41)}
    assert archiving.left == kept | set(range(4001, 5001))
    assert sorted(archiving.archived(client)) == sorted(set(range(1, 4001)) - kept)
    assert not [key for key in keys(client) if ".partial" in key]
    archive = done.json["rules"][0]["archive"]
    assert archiving.place.leadctl("cleanup", "unarchive", archive).code == 0
    assert archiving.left == set(range(1, 5001))


@pytest.mark.thorough
def test_another_database_leaves_what_one_archives_in_the_same_bucket(
    archiving: Archiving, client: Any
) -> None:
    """A transaction id means something in its own database only."""
    archive = archiving.cleanup("-o", "json").json["rules"][0]["archive"]
    folder = f"some prefix/of/archives/{unquote(archive.rpartition('/')[2])}"
    manifest = client.get_object(Bucket=BUCKET, Key=f"{folder}/manifest.json")["Body"].read()
    other = manifest.replace(b'"place": "', b'"place": "1')
    client.put_object(Bucket=BUCKET, Key=f"{folder}/manifest.json", Body=other)
    with archiving.place.connect(archiving.place.name) as connection:
        connection.execute("BEGIN")
        ((xid,),) = connection.execute("SELECT pg_current_xact_id()::text").fetchall()
        connection.execute("ROLLBACK")
    left = f"{folder}/000009.jsonl.zst.age.{xid}.partial"
    client.put_object(Bucket=BUCKET, Key=left, Body=b"x")
    begun = f"{folder}9/manifest.json"
    client.put_object(Bucket=BUCKET, Key=begun, Body=other)
    assert archiving.cleanup().code == 0
    assert {left, begun} <= set(keys(client))
    client.put_object(Bucket=BUCKET, Key=f"{folder}/manifest.json", Body=manifest)
    client.put_object(Bucket=BUCKET, Key=begun, Body=manifest)
    assert archiving.cleanup().code == 0
    assert not {left, begun} & set(keys(client))


@pytest.mark.thorough
@pytest.mark.parametrize(
    "kills",
    [
        2,
        pytest.param(20, marks=pytest.mark.thorough),
        pytest.param(100, marks=pytest.mark.slow),
    ],
)
def test_killed_while_it_archives_in_a_bucket(
    archiving: Archiving, client: Any, proxy: Breaking, kills: int
) -> None:
    """No row is lost, and none is in the table and in an archive whose name is final."""
    place = archiving.place
    rows = 5000 + 400 * kills
    place.query(
        f"INSERT INTO t SELECT i, md5(i::text), '2020-01-01' FROM generate_series(5001, {rows}) i"
    )
    place.query("ANALYZE t")
    proxy.answer = lambda _method, _path: "slow"
    bounded = ("--rule", "old", "--max-rows", "400", "-q")
    whole = set(range(1, rows + 1))
    for number in range(kills):
        process = start("cleanup", *bounded, env=place.env)
        puts = len(proxy.requests)
        while process.poll() is None and len(proxy.requests) < puts + 2 + number % 9:
            time.sleep(0.01)
        process.kill()
        process.communicate(timeout=60)
        if number % 10 == 0:
            gone = archiving.archived(client)
            assert len(gone) == len(set(gone))
            assert not archiving.left & set(gone)
    proxy.answer = lambda _method, _path: None
    done = run("cleanup", "--rule", "old", "--confirm", place.name, env=place.env)
    assert done.returncode == 0, done.stderr
    assert not [key for key in keys(client) if ".partial" in key]
    gone = archiving.archived(client)
    assert len(gone) == len(set(gone))
    assert not archiving.left & set(gone)
    assert archiving.left | set(gone) == whole
    listed = {
        f"{key.rpartition('/')[0]}/{segment['file']}"
        for key in keys(client)
        if key.endswith("manifest.json")
        for segment in json.loads(client.get_object(Bucket=BUCKET, Key=key)["Body"].read())[
            "segments"
        ]
    }
    assert listed == {key.partition(".part-")[0] for key in keys(client) if "jsonl" in key}


ACCOUNT = "devstoreaccount1"  # Azurite's own, with its key, which every copy of it has
ACCOUNT_KEY = (
    "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="
)


@pytest.fixture
def azure(server: Server, cli: Cli, tmp_path: Path) -> Iterator[InBucket]:
    """A database whose backups are in a container of Azure's emulator, made by rclone."""
    program = Path(__file__).parents[2] / ".cache/azurite/node_modules/.bin/azurite-blob"
    if not program.exists() or RCLONE is None:
        pytest.skip("needs Azurite (tests/get_servers.sh), and rclone of the group cloud")
    port = free_port()
    command = [program, "--inMemoryPersistence", "--silent", "--skipApiVersionCheck"]
    command += ["--disableTelemetry", "--blobPort", str(port)]
    with _running(command, f"127.0.0.1:{port}"):
        name = create(server, f"azure_{os.getpid()}", SCRIPT)
        found = InBucket(server, name, cli, tmp_path, "")
        endpoint = f"http://127.0.0.1:{port}/{ACCOUNT}"
        found.env |= {
            "BACKUP_DIR": "az://backups/some/prefix",
            "AZURE_STORAGE_ACCOUNT_NAME": ACCOUNT,
            "AZURE_STORAGE_ACCOUNT_KEY": ACCOUNT_KEY,
            "AZURE_ENDPOINT": endpoint,
            "RCLONE_AZUREBLOB_ACCOUNT": ACCOUNT,
            "RCLONE_AZUREBLOB_KEY": ACCOUNT_KEY,
            "RCLONE_AZUREBLOB_ENDPOINT": endpoint,
        }
        _rclone_says(found, "mkdir", ":azureblob:backups")
        yield found
        server.drop(name)
        server.drop(f"{name}_copy")


def _rclone_says(place: InBucket, *arguments: str) -> list[str]:
    assert RCLONE
    env = {**os.environ, **place.env}
    done = subprocess.run([RCLONE, *arguments], env=env, check=True, capture_output=True)
    return done.stdout.decode().splitlines()


@pytest.mark.thorough
def test_in_azure(azure: InBucket, small_parts: int) -> None:
    ids = [azure.leadctl("backup", "-o", "json").json["id"] for _ in range(2)]
    there = _rclone_says(azure, "lsf", "-R", "--files-only", ":azureblob:backups/some/prefix")
    assert {each.split("/")[0] for each in there} == set(ids)
    assert any(".part-00002" in each for each in there)
    assert azure.leadctl("backup", "verify", "latest").code == 0
    assert azure.leadctl("restore", "latest", "--into", f"{azure.name}_copy").code == 0
    assert azure.query("SELECT count(*) FROM t", f"{azure.name}_copy") == [(5000,)]
    archiving = Archiving(azure)
    azure.env["LEADCTL_ARCHIVE_DIR"] = archive = "az://backups/archives"
    assert archiving.cleanup().code == 0
    assert archiving.left == set(range(4001, 5001))
    (archive,) = _rclone_says(azure, "lsf", "--dirs-only", ":azureblob:backups/archives")
    files = _rclone_says(azure, "lsf", f":azureblob:backups/archives/{archive}")
    assert {"manifest.json", "000001.jsonl.zst.age"} <= {
        each.partition(".part-")[0] for each in files
    }
    assert not [name for name in files if ".partial" in name]
    url = f"az://backups/archives/{quote(archive.rstrip('/'))}"
    assert azure.leadctl("cleanup", "unarchive", url).code == 0
    assert len(archiving.left) == 5000
    _rclone_says(azure, "purge", ":azureblob:backups/archives")
    keeps = {"BACKUP_KEEP_MINIMUM": "1", "BACKUP_KEEP_DAILY": "1"}
    assert azure.leadctl("backup", "prune", "--yes", **keeps).code == 0
    there = _rclone_says(azure, "lsf", "-R", "--files-only", ":azureblob:backups")
    assert {each.split("/")[2] for each in there} == {ids[1]}
    missing = azure.leadctl("backup", "list", BACKUP_DIR="az://no-such-container/x")
    assert (missing.code, "ContainerNotFound" in missing.err) == (3, True), missing.err
    assert ACCOUNT_KEY not in missing.err


@pytest.mark.thorough
def test_in_google(
    place: InBucket, proxy: Breaking, client: Any, small_parts: int, storage_name: str
) -> None:
    """Google's XML API is S3's with other headers, by the client that leadctl uses for it.

    https://cloud.google.com/storage/docs/xml-api/overview
    """
    if storage_name != "moto":
        pytest.skip("it knows no conditions")
    proxy.for_google = True
    account = place.backups.parent / "service-account.json"
    keys_of = {"client_email": "", "private_key": "", "private_key_id": ""}
    account.write_text(json.dumps({"gcs_base_url": proxy.url, "disable_oauth": True, **keys_of}))
    place.env |= {
        "BACKUP_DIR": f"gs://{BUCKET}/some prefix/of",
        "GOOGLE_SERVICE_ACCOUNT": str(account),
        "AWS_ACCESS_KEY_ID": "",
    }
    made = place.leadctl("backup", "-o", "json")
    assert made.code == 0, made.err
    backup = made.json["id"]
    names = {key.rpartition("/")[2] for key in keys(client)}
    assert {"manifest.json", "archive.dump.zst.age.part-00002"} <= names, names
    assert "run.json" not in names
    again = place.leadctl("backup", "copy", backup, "--to", str(place.backups), "-o", "json")
    assert again.code == 0, again.err
    back = ("backup", "copy", backup, "--to", place.env["BACKUP_DIR"], "-o", "json")
    there = place.leadctl(*back, BACKUP_DIR=str(place.backups))
    assert (there.code, there.json["made"]) == (0, False), there.err
    restored = place.leadctl("restore", "latest", "--into", f"{place.name}_copy")
    assert restored.code == 0, restored.err
    assert place.query("SELECT count(*) FROM t", f"{place.name}_copy") == [(5000,)]
    archiving = Archiving(place)
    assert archiving.cleanup().code == 0
    assert archiving.left == set(range(4001, 5001))
    assert sorted(archiving.archived(client)) == list(range(1, 4001))
    (archive,) = {key.split("/")[3] for key in keys(client) if "/archives/" in key}
    assert place.leadctl("cleanup", "unarchive", f"{archiving.url}/{archive}").code == 0
    assert len(archiving.left) == 5000
    for key in keys(client):
        if "/archives/" in key:
            client.delete_object(Bucket=BUCKET, Key=key)
    proxy.answer = lambda method, _path: "AccessDenied" if method == "PUT" else None
    denied = place.leadctl("backup")
    assert (denied.code, "AccessDenied" in denied.err) == (3, True), denied.err
    proxy.answer = lambda _method, _path: None
    place.leadctl("backup", "-q")
    keeps = {"BACKUP_KEEP_MINIMUM": "1", "BACKUP_KEEP_DAILY": "1", "BACKUP_KEEP_WEEKLY": "0"}
    pruned = place.leadctl("backup", "prune", "--yes", "-o", "json", **keeps)
    assert pruned.code == 0, pruned.err
    assert backup not in {key.split("/")[2] for key in keys(client)}
