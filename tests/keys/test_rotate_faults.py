"""Rotation killed at random moments, with writers at work: every value readable, none lost."""

import random
import threading
import time

import pytest

from leadctl.crypto import Key, Keyring, decrypt, encrypt
from tests.conftest import KEY, Prepared
from tests.processes import kill_one_worker, run, start

NEW = "ab" * 32
OLD_KEY, NEW_KEY = Key.from_hex("old", KEY), Key.from_hex("new", NEW)
CONTEXT = "leadconnector.users.access_token"
ENV = {"ENCRYPTION_KEYS": f"new:{NEW},old:{KEY}"}
BACK = {"ENCRYPTION_KEYS": f"old:{KEY},new:{NEW}"}
USERS, WRITERS = 45_000, 4
"""Users enough for more than one process."""


class Writer(threading.Thread):
    """An application that still encrypts with the old key, and remembers what it wrote last."""

    def __init__(self, database: Prepared, number: int) -> None:
        super().__init__()
        self.database = database
        self.number = number
        self.last: dict[str, str] = {}
        self.stopped = threading.Event()

    def run(self) -> None:
        rng = random.Random(self.number)
        with self.database.server.connect(self.database.name) as connection:
            count = 0
            while not self.stopped.is_set():
                key = f"u{rng.randrange(self.number, USERS, WRITERS)}"
                count += 1
                token = f"writer {self.number}, {count}"
                connection.execute(
                    "UPDATE users SET access_token = %s WHERE id = %s",
                    (encrypt(token, OLD_KEY, CONTEXT), key),
                )
                self.last[key] = token
                time.sleep(0.0005)


def fill(database: Prepared) -> dict[str, str]:
    with (
        database.server.connect(database.name) as connection,
        connection.cursor() as cursor,
        cursor.copy("COPY users (id, email, facebook_id, access_token) FROM STDIN") as copy,
    ):
        for n in range(USERS):
            value = encrypt(f"token {n}", OLD_KEY, CONTEXT)
            copy.write_row((f"u{n}", f"{n}@example.com", f"f{n}", value))
    return {f"u{n}": f"token {n}" for n in range(USERS)}


@pytest.mark.parametrize(
    "kills",
    [
        pytest.param(8, marks=pytest.mark.thorough),
        pytest.param(50, marks=pytest.mark.slow),
    ],
)
def test_kills_and_writers(leadconnector: Prepared, kills: int) -> None:
    expected = fill(leadconnector)
    url = {"DATABASE_URL": leadconnector.url}
    writers = [Writer(leadconnector, number) for number in range(WRITERS)]
    for writer in writers:
        writer.start()
    rng = random.Random(kills)
    try:
        for number in range(kills):  # there and back again, so that there is always work
            process = start("keys", "rotate", env=url | (BACK if number % 2 else ENV))
            time.sleep(rng.uniform(0.3, 3))
            process.kill()
            process.communicate()
    finally:
        for writer in writers:
            writer.stopped.set()
        for writer in writers:
            writer.join()
    for writer in writers:
        expected |= writer.last
    done = run("keys", "rotate", env=url | ENV)
    assert done.returncode == 0, done.stderr
    ring = Keyring([NEW_KEY])
    rows = leadconnector.query("SELECT id, access_token FROM users WHERE id LIKE 'u%'")
    found = {key: decrypt(value, ring, CONTEXT) for key, value in rows if key in expected}
    assert found == expected


@pytest.mark.thorough
def test_a_process_that_is_killed(leadconnector: Prepared) -> None:
    expected = fill(leadconnector)
    url = {"DATABASE_URL": leadconnector.url}
    process = start("keys", "rotate", env=url | ENV)
    sessions = (
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()"
        " AND query LIKE 'UPDATE%%'"
    )
    while leadconnector.query(sessions) == [(0,)]:
        assert process.poll() is None
    kill_one_worker(process)
    _, said = process.communicate()
    assert (process.returncode, "run it again" in said) == (1, True), said
    assert run("keys", "rotate", env=url | ENV).returncode == 0
    rows = leadconnector.query("SELECT id, access_token FROM users WHERE id LIKE 'u%'")
    ring = Keyring([NEW_KEY])
    found = {key: decrypt(value, ring, CONTEXT) for key, value in rows if key in expected}
    assert found == expected
