"""A key is replaced while hosts run: in the order of the pages, each host reads what each writes.

A host is a process of its own, with the settings that it was started with.
"""

import json
import re
import subprocess
import sys
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.conftest import KEY, Prepared
from tests.processes import ROOT, environment, run

NEW = "ab" * 32
HOST = """
import json, sys
import leadctl
from leadctl.products.leadconnector.models import User
from sqlalchemy.orm import Session
engine = leadctl.database().engine()
for line in sys.stdin:
    name, text = json.loads(line)
    try:
        with Session(engine) as session, session.begin():
            user = session.get(User, name)
            if text is not None:
                user.access_token = text
            found = user.access_token
    except leadctl.LeadctlError as error:
        found = {"code": error.code}
    print(json.dumps(found), flush=True)  # after the commit
"""
Host = Callable[[str, str | None], object]
PAGES = {"production.md": "## Rotate keys", "encryption.md": "## Replacing a key"}


def steps(page: str) -> list[str]:
    """Return what a page lets ENCRYPTION_KEYS be, deploy after deploy."""
    text = (ROOT / "docs" / page).read_text()
    section = text.partition(PAGES[page])[2].partition("\n## ")[0]
    return re.findall(r"`ENCRYPTION_KEYS=([a-zA-Z:,]+)`", section)


@pytest.fixture
def host(leadconnector: Prepared) -> Callable[[ExitStack, str], Host]:
    """Start a host with keys; what it returns writes a token where there is one, and reads it."""

    def started(stack: ExitStack, keys: str) -> Host:
        given = keys.replace("old:HEX", f"old:{KEY}").replace("new:HEX", f"new:{NEW}")
        process = stack.enter_context(
            subprocess.Popen(
                [sys.executable, "-c", HOST],
                env=environment({"DATABASE_URL": leadconnector.url, "ENCRYPTION_KEYS": given}),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
            )
        )
        assert process.stdin is not None
        stack.callback(process.stdin.close)

        def ask(name: str, text: str | None) -> object:
            assert process.stdin is not None
            assert process.stdout is not None
            process.stdin.write(json.dumps([name, text]) + "\n")
            process.stdin.flush()
            return json.loads(process.stdout.readline())

        return ask

    for name in ("h0", "h1"):
        leadconnector.query(
            "INSERT INTO users (id, email, facebook_id, access_token)"
            " SELECT %s, %s, %s, access_token FROM users LIMIT 1",
            name, f"{name}@example.com", name,
        )  # fmt: skip
    return started


def unread(hosts: list[Host]) -> list[object]:
    """Let each host write a token, and return what another one cannot read of it."""
    wrong = []
    for number, write in enumerate(hosts):
        text = f"by host {number}"
        assert write(f"h{number}", text) == text
        wrong += [found for read in hosts if (found := read(f"h{number}", None)) != text]
    return wrong


@pytest.mark.parametrize("page", PAGES)
def test_the_pages_name_one_order(page: str) -> None:
    assert steps(page) == ["old:HEX,new:HEX", "new:HEX,old:HEX"]


@pytest.mark.thorough
def test_two_hosts_go_on_while_a_key_is_replaced(
    leadconnector: Prepared, host: Callable[[ExitStack, str], Host], tmp_path: Path
) -> None:
    with ExitStack() as stack:
        hosts = [host(stack, "old:HEX"), host(stack, "old:HEX")]
        assert unread(hosts) == []
        for keys in steps("production.md"):
            for number in range(len(hosts)):  # one host after another
                hosts[number] = host(stack, keys)
                assert unread(hosts) == [], (keys, number)
        env = {"DATABASE_URL": leadconnector.url, "ENCRYPTION_KEYS": f"new:{NEW},old:{KEY}"}
        assert run("keys", "rotate", env=env, cwd=tmp_path).returncode == 0
        status = run("keys", "status", "-o", "json", env=env, cwd=tmp_path)
        assert status.returncode == 0, status.stderr
        values = leadconnector.query(
            "SELECT access_token FROM users WHERE access_token IS NOT NULL"
        )
        assert len({value.split(".")[1] for (value,) in values}) == 1
        for number in range(len(hosts)):
            hosts[number] = host(stack, "new:HEX")
            assert unread(hosts) == []


@pytest.mark.thorough
def test_a_new_key_that_comes_first_is_not_read_by_old_hosts(
    host: Callable[[ExitStack, str], Host],
) -> None:
    """Why the pages have two deploys."""
    with ExitStack() as stack:
        assert unread([host(stack, "old:HEX"), host(stack, "new:HEX,old:HEX")]) == [
            {"code": "unknown_key"}
        ]
