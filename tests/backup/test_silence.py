"""A network that goes silent, without a word to either side: one signal ends the run."""

import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from tests.backup.test_backup_faults import fill
from tests.backups import encrypted_backups, left_by_restores
from tests.conftest import KEY, Prepared
from tests.processes import run, start, wait_for


class Proxy:
    """Passes on what client and server say, until it is told to be silent."""

    def __init__(self, port: int) -> None:
        self._server, self._silent, self.passed = port, threading.Event(), 0
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self._sockets = [self._listener]
        self._threads: list[threading.Thread] = []
        self._run(self._accept)

    def _run(self, target: Callable[..., None], *arguments: socket.socket) -> None:
        self._threads.append(threading.Thread(target=target, args=arguments, daemon=True))
        self._threads[-1].start()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            server = socket.create_connection(("127.0.0.1", self._server))
            self._sockets += [client, server]
            for pair in ((client, server), (server, client)):
                self._run(self._pump, *pair)

    def _pump(self, source: socket.socket, sink: socket.socket) -> None:
        try:
            while data := source.recv(4096):
                while self._silent.is_set():
                    time.sleep(0.1)
                self.passed += len(data)
                sink.sendall(data)
                time.sleep(0.0005)
            sink.shutdown(socket.SHUT_WR)
        except OSError:
            pass

    def be_silent(self) -> None:
        self._silent.set()

    def close(self) -> None:
        for each in self._sockets:
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
        self._silent.clear()
        for each in self._threads:
            each.join()
        for each in self._sockets:
            each.close()


@contextmanager
def proxy(port: int) -> Iterator[Proxy]:
    found = Proxy(port)
    try:
        yield found
    finally:
        found.close()


@pytest.mark.thorough
@pytest.mark.parametrize(
    ("arguments", "number"),
    [
        (("backup",), signal.SIGTERM),
        (("backup",), signal.SIGHUP),
        (("backup",), signal.SIGINT),
        (("restore", "--yes"), signal.SIGTERM),
        (("stats", "--exact"), signal.SIGTERM),
        pytest.param(("cleanup",), signal.SIGTERM, marks=pytest.mark.slow),
    ],
)
def test_one_signal_ends_it(
    leadconnector: Prepared, tmp_path: Path, arguments: tuple[str, ...], number: signal.Signals
) -> None:
    fill(leadconnector, 20_000)
    env = encrypted_backups(tmp_path) | {"ENCRYPTION_KEY": KEY}
    if arguments[0] == "restore":
        made = run("backup", env=env | {"DATABASE_URL": leadconnector.url})
        assert made.returncode == 0, made.stderr
    port = leadconnector.server.port
    with proxy(port) as between:
        url = leadconnector.url.replace(f":{port}/", f":{between.port}/")
        process = start(*arguments, env=env | {"DATABASE_URL": url})
        enough = 10_000 if arguments[0] in {"stats", "cleanup"} else 100_000
        wait_for(lambda: between.passed > enough)
        between.be_silent()
        time.sleep(0.5)
        process.send_signal(number)
        began = time.monotonic()
        try:
            _, said = process.communicate(timeout=45)
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()
            raise
    expected = 130 if number is signal.SIGINT else 143
    assert process.returncode == expected, said
    assert "Traceback" not in said
    assert time.monotonic() - began < (40 if arguments[0] == "cleanup" else 15)
    assert not list((tmp_path / "backups").glob("*.partial"))
    for name in left_by_restores(leadconnector):
        leadconnector.server.drop(name)
