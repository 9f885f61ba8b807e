"""What is read from the messages of PostgreSQL's client programs."""

import io
import subprocess
from typing import cast
from unittest.mock import Mock

import pytest

from leadctl.errors import NoSpace, RestoreFailed
from leadctl.postgres.client import ClientProgram
from leadctl.postgres.target import Target

FULL = 'could not write to file "base/pgsql_tmp/1.0": No space left on device'


def program(name: str, messages: str) -> ClientProgram:
    process = cast("subprocess.Popen[bytes]", Mock(args=[f"/usr/bin/{name}"]))
    return ClientProgram(process, io.BytesIO(messages.encode()))


@pytest.mark.parametrize(
    ("name", "messages", "errors"),
    [
        ("psql", "psql:<stdin>:7: ERROR:  no\nDETAIL:  Key (a)=(secret)\n", ["no"]),
        (
            "pg_dump",
            'pg_dump: error: connection to server at "h" failed\n',
            ["connection to server"],
        ),
        ("pg_restore", "pg_restore: warning: errors ignored on restore: 1\n", []),
        ("pg_restore", 'CONTEXT:  COPY t, line 1: "\nerror: secret"\n', []),
        # Two workers at once, as was seen.
        (
            "pg_restore",
            f"pg_restore:pg_restore:  error: error: could not execute query: ERROR:  {FULL}\n"
            f"could not execute query: ERROR:  {FULL}\n"
            "pg_restore: error: a worker process died unexpectedly\n",
            ["could not execute query: ERROR:", "a worker process died"],
        ),
        ("pg_restore", f"pg_restore: error: pg_restore: error: {FULL}\n", ["could not write"]),
    ],
)
def test_errors_are_found_and_rows_are_not(name: str, messages: str, errors: list[str]) -> None:
    found = program(name, messages).errors()
    assert len(found) == len(errors)
    assert all(error.startswith(start) for error, start in zip(found, errors, strict=True))
    assert "secret" not in str(found)


@pytest.mark.parametrize(
    "text", [FULL, 'could not extend file "base/1/2": wrote only 4096 of 8192 bytes at block 7']
)
def test_a_full_disk_is_named(text: str) -> None:
    failed = program("pg_restore", f"pg_restore: error: could not execute query: ERROR:  {text}\n")
    error = failed.failure(cast(Target, Mock()), RestoreFailed)
    assert isinstance(error, NoSpace)
    assert text in error.message


def test_why_the_server_sent_no_more_is_told() -> None:
    messages = (
        'pg_dump: error: Dumping the contents of table "h" failed: PQgetResult() failed.\n'
        "pg_dump: detail: Error message from server: ERROR:  out of memory\n"
        "DETAIL:  Cannot enlarge string buffer holding secret-card.\n"
        "pg_dump: detail: Command was: COPY public.h (v) TO stdout;\n"
    )
    assert program("pg_dump", messages).errors() == [
        'Dumping the contents of table "h" failed: PQgetResult() failed. out of memory'
    ]
