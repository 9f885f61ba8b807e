"""Pairs of schemas: what `diff -o sql` writes turns one into the other, by pg_dump's account.

A file of pairs/ has the parts FROM, TO and, where rows matter, ROWS.
"""

import re
import subprocess
from pathlib import Path

import pytest

from leadctl.postgres.binaries import client_program
from tests.conftest import Cli
from tests.servers import Server

PAIRS = sorted((Path(__file__).parent / "pairs").glob("*.sql"))
PARTLY = {
    "column_moves_to_parent": "its own now",
    "composite_used_by_array_column": "other attributes at once",
    "order_of_attributes": "order of the attributes",
    "order_of_parents": "order of the parents",
    "range_that_a_column_is_of": "range type r",
}
"""What PostgreSQL cannot do in place: it is named, and the exit code is 7."""
REFUSED_BY_THE_SERVER = {
    "key_of_partitioned_table_that_holds_on_no_partition": "is duplicated",
    "schema_with_an_extension_goes": "depends on schema",
}
"""What rows, or what leadctl does not write yet, keep from being done: nothing of it is."""
IN_ANOTHER_ORDER = {"statistics_after_column_added_again"}
"""PostgreSQL lists the columns of a statistics object in the order of the table's, which is none
of its own."""


def psql(url: str, script: str) -> str:
    """Run a script, as a person would; return what the server did not like."""
    done = subprocess.run(
        [client_program("psql"), "-qX", "-d", url, "-f", "-"],
        input=script,
        capture_output=True,
        text=True,
        check=False,
    )
    return "" if done.returncode == 0 else done.stderr


def dump(url: str) -> list[str]:
    """Return the objects of a database as pg_dump has them, columns of a table in any order."""
    text = subprocess.run(
        [client_program("pg_dump"), "-s", "--no-owner", "-d", url],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    objects = []
    for chunk in re.split(r"\n--\n(?=-- Name: )", text)[1:]:
        head, _, body = chunk.partition("\n--\n")
        body = body.partition("--\n-- PostgreSQL database dump complete")[0]
        lines = [line.rstrip(",") for line in body.splitlines() if line.strip()]
        # PostgreSQL 18 names NOT NULL constraints where the name is not its own.
        lines = [re.sub(r' CONSTRAINT ("[^"]+"|\S+) NOT NULL', " NOT NULL", line) for line in lines]
        lines = [line for line in lines if not re.match(r"\\|SET default_", line)]
        if re.search(r"; Type: (?:TABLE|ACL|DEFAULT ACL|DOMAIN);", head):
            lines.sort()
        objects.append(f"{head.partition('; Owner:')[0]}\n" + "\n".join(lines))
    return sorted(objects)


@pytest.mark.few(3)
@pytest.mark.parametrize("path", PAIRS, ids=lambda path: path.stem)
def test_one_turns_into_the_other(
    path: Path, server: Server, database: str, cli: Cli, tmp_path: Path
) -> None:
    text = path.read_text()
    parts = dict(
        re.findall(r"^-- (FROM|ROWS|TO)\n(.*?)(?=^-- (?:FROM|ROWS|TO)\n|\Z)", text, re.S | re.M)
    )
    other = server.create()
    try:
        url, wanted = server.url(database), server.url(other)
        assert psql(url, "\\set ON_ERROR_STOP on\n" + parts["FROM"] + parts.get("ROWS", "")) == ""
        assert psql(wanted, "\\set ON_ERROR_STOP on\n" + parts["TO"]) == ""
        schemas = sorted(set(re.findall(r"CREATE SCHEMA (\w+)", text)))
        (tmp_path / "leadctl.toml").write_text(
            f'app = "t"\n[apps.t]\nmigrations = "db"\nschemas = {schemas}\n'
        )
        (tmp_path / "db").mkdir()
        before = dump(url)
        written = cli("migrate", "diff", "database", wanted, "-o", "sql", url=url)
        if path.stem in PARTLY:
            assert written.code == 7, written.err
            assert PARTLY[path.stem] in written.out
            return
        assert written.code == 1, written.err + written.out
        refused = psql(url, written.out)
        if path.stem in REFUSED_BY_THE_SERVER:
            assert REFUSED_BY_THE_SERVER[path.stem] in refused
            assert dump(url) == before
            return
        assert refused == ""
        assert (dump(url) == dump(wanted)) is (path.stem not in IN_ANOTHER_ORDER)
        again = cli("migrate", "diff", "database", wanted, url=url)
        assert again.code == 0, again.out
    finally:
        server.drop(other)
