"""A team's code that writes to standard output: the result stays the only thing there."""

import json
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from leadctl.apps.loading import user_code
from tests.processes import environment, run
from tests.servers import Server

CHATTER = """\
import ctypes, os, subprocess, sys

def chatter(what):
    print("printed by", what)
    os.write(1, f"written by {what}\\n".encode())
    ctypes.CDLL(None).printf(f"C library of {what}\\n".encode())
    subprocess.run(["echo", "child of", what])
    sys.__stdout__.write(f"kept handle of {what}\\n")
"""
MODELS = """\
from chatter import chatter
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

chatter("models")

class Base(DeclarativeBase):
    pass

class Cat(Base):
    __tablename__ = "cats"
    id: Mapped[int] = mapped_column(primary_key=True)

def fill(session):
    chatter("seed")
    session.add(Cat(id=1))
"""
WAYS = ("printed by", "written by", "C library of", "child of", "kept handle of")


@pytest.mark.thorough
def test_every_way_to_write(server: Server, database: str, tmp_path: Path) -> None:
    env = {"DATABASE_URL": server.url(database)}
    (tmp_path / "chatter.py").write_text(CHATTER)
    (tmp_path / "cats.py").write_text(MODELS)

    def leadctl(*arguments: str, says: str) -> object:
        done = run(*arguments, "-o", "json", cwd=tmp_path, env=env)
        assert done.returncode == 0, done.stderr
        for way in WAYS:
            assert f"{way} {says}\n" in done.stderr
        return json.loads(done.stdout)

    leadctl("init", "--app", "meow", says="models")
    leadctl("migrate", "new", "-m", "first", says="models")
    (revision,) = (tmp_path / "migrations").glob("*.py")
    text = revision.read_text().replace("from alembic", "from chatter import chatter\nfrom alembic")
    revision.write_text(
        text.replace("upgrade() -> None:\n", "upgrade() -> None:\n    chatter('it')\n")
    )
    leadctl("migrate", "--plan", says="it")
    leadctl("migrate", says="it")
    leadctl("migrate", "check", says="models")
    config = tmp_path / "leadctl.toml"
    config.write_text(
        config.read_text().replace("[apps.meow]\n", '[apps.meow]\nseed = "cats:fill"\n')
    )
    leadctl("seed", says="seed")


def test_the_last_thread_restores_it(capfd: pytest.CaptureFixture[str]) -> None:
    inside, leave = threading.Event(), threading.Event()

    def other() -> None:
        with user_code():
            inside.set()
            leave.wait()

    thread = threading.Thread(target=other)
    with user_code():
        thread.start()
        inside.wait()
    os.write(1, b"one\n")
    leave.set()
    thread.join()
    os.write(1, b"two\n")
    assert capfd.readouterr() == ("two\n", "one\n")


def test_standard_output_that_is_closed(tmp_path: Path) -> None:
    code = "import os; os.close(1)\nfrom leadctl.apps.loading import user_code\nwith user_code(): print(1)"
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, env=environment(), capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "1\n")
