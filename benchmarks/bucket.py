"""As much of S3's protocol as leadctl speaks, quick enough not to be what is measured.

https://docs.aws.amazon.com/AmazonS3/latest/API/API_Operations_Amazon_Simple_Storage_Service.html
"""

import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, unquote, urlsplit
from xml.sax.saxutils import escape, unescape

_CHUNK = 2**20
_MADE = "2026-01-01T00:00:00.000Z"


class Objects(ThreadingHTTPServer):
    """The objects of one bucket: in a folder, or without one their sizes alone."""

    daemon_threads = True

    def __init__(self, folder: Path | None) -> None:
        super().__init__(("127.0.0.1", 0), _Request)
        self.folder = folder
        self.sizes: dict[str, int] = {}

    def file(self, key: str) -> Path | None:
        """Return where the bytes of an object are."""
        return self.folder / key.replace("/", "_") if self.folder else None


@contextmanager
def served(folder: Path | None = None) -> Iterator[dict[str, str]]:
    """Serve a bucket within the block; yields the variables by which leadctl backs up to it.

    With a folder it serves what was written; without one it reads what comes and forgets it.
    """
    with Objects(folder) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield {
            "BACKUP_DIR": "s3://bucket/backups",
            "AWS_ENDPOINT_URL": f"http://127.0.0.1:{server.server_port}",
            "AWS_ACCESS_KEY_ID": "key",
            "AWS_SECRET_ACCESS_KEY": "secret",
            "AWS_REGION": "us-east-1",
        }
        server.shutdown()


class _Request(BaseHTTPRequestHandler):
    """One connection; who signs a request is not looked at."""

    server: Objects
    protocol_version = "HTTP/1.1"

    def do_PUT(self) -> None:
        key, left = self._key, int(self.headers["Content-Length"])
        size, path = left, self.server.file(key)
        with path.open("wb") if path else _Nothing() as file:
            while left:
                data = self.rfile.read(min(left, _CHUNK))
                file.write(data)
                left -= len(data)
        taken = self.headers.get("If-None-Match") == "*" and key in self.server.sizes
        if not taken:
            self.server.sizes[key] = size
        self._answer(HTTPStatus.PRECONDITION_FAILED if taken else HTTPStatus.OK)

    def do_GET(self) -> None:
        key = self._key
        if not key:
            self._answer(HTTPStatus.OK, self._list())
        elif key not in self.server.sizes or (path := self.server.file(key)) is None:
            self._answer(HTTPStatus.NOT_FOUND)
        else:
            self._answer(HTTPStatus.OK, size=self.server.sizes[key])
            with path.open("rb") as file:
                self.connection.sendfile(file)

    def do_POST(self) -> None:
        """Delete objects, which is all that is asked so."""
        asked = self.rfile.read(int(self.headers["Content-Length"])).decode()
        for key in re.findall("<Key>(.*?)</Key>", asked):
            self.server.sizes.pop(unescape(key), None)
        self._answer(HTTPStatus.OK, b"<DeleteResult></DeleteResult>")

    @property
    def _key(self) -> str:
        return unquote(urlsplit(self.path).path).partition("/")[2].partition("/")[2]

    def _list(self) -> bytes:
        prefix = parse_qs(urlsplit(self.path).query).get("prefix", [""])[0]
        found = "".join(
            f"<Contents><Key>{escape(key)}</Key><Size>{size}</Size>"
            f"<LastModified>{_MADE}</LastModified><ETag>none</ETag></Contents>"
            for key, size in sorted(self.server.sizes.items())
            if key.startswith(prefix)
        )
        name = f"<Name>bucket</Name><Prefix>{escape(prefix)}</Prefix>"
        return f"<ListBucketResult>{name}{found}</ListBucketResult>".encode()

    def _answer(self, status: HTTPStatus, body: bytes = b"", size: int = 0) -> None:
        self.send_response(status)
        self.send_header("ETag", '"none"')
        self.send_header("Last-Modified", "Thu, 01 Jan 2026 00:00:00 GMT")
        self.send_header("Content-Length", str(size or len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


class _Nothing:
    """Forgets what is written to it."""

    def __enter__(self) -> "_Nothing":
        return self

    def __exit__(self, *_: object) -> None:
        """Do nothing."""

    def write(self, data: bytes) -> int:
        """Take the data."""
        return len(data)
