"""Pairs of schemas: what `diff -o sql` writes turns one into the other, by pg_dump's account.

A file of pairs/ has the parts FROM, TO and, where rows matter, ROWS; above them which major version
of the server has what it is about, where not all do.
"""

import re
import subprocess
from pathlib import Path

import pytest

from leadctl.apps.registry import find_app
from leadctl.catalog.definitions import Catalog, read_catalog, with_uses
from leadctl.migrate.ddl.type_replacement import replaced_types
from leadctl.migrate.drafts import compose
from leadctl.migrate.revision_writer import write_drafts
from leadctl.migrate.revisions import read_history
from leadctl.postgres.binaries import client_program
from leadctl.postgres.connect import connect
from leadctl.postgres.target import resolve
from leadctl.settings import load_settings
from tests.conftest import Cli
from tests.servers import Server

PAIRS = sorted((Path(__file__).parent / "pairs").glob("*.sql"))
PARTLY = {"schema_with_an_extension_goes": "DROP EXTENSION citext"}
"""What is not written: it is named, and the exit code is 7."""
REFUSED_BY_THE_SERVER = {
    "key_of_partitioned_table_that_holds_on_no_partition": "is duplicated",
}
"""What rows keep from being done: nothing of it is."""
BESIDE = f"CREATE TABLE beside ({', '.join(f'c{number} int' for number in range(80))});"
"""What does not change: where it is the most, only what a change reaches is tried."""
IN_ANOTHER_ORDER = {"options_in_another_order", "statistics_after_column_added_again"}
"""PostgreSQL lists the columns of a statistics object in the order of the table's, which is none
of its own, and options in the order in which they were set."""


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
        [
            *(client_program("pg_dump"), "-s", "--no-owner", "-d", url),
            *("-N", "leadctl", "-T", "alembic_version"),
        ],
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
        # Some minor versions keep a number of their own at each column, which nobody set.
        lines = [line for line in lines if not re.search(r"^\\|^SET default_|pg_attver=", line)]
        if re.search(r"; Type: (?:TABLE|ACL|DEFAULT ACL|DOMAIN);", head):
            lines.sort()
        objects.append(f"{head.partition('; Owner:')[0]}\n" + "\n".join(lines))
    return sorted(objects)


def rows(url: str, schemas: list[str]) -> dict[str, str]:
    """Return a checksum of the rows of each table, by the server."""
    listed = ", ".join(f"'{each}'" for each in ["public", *schemas])
    script = (
        "SELECT format('SELECT %L, md5(string_agg(t::text, E''\\n'' ORDER BY t::text))"
        " FROM ONLY %s AS t', c.oid::regclass, c.oid::regclass)"
        " FROM pg_class c JOIN pg_namespace n ON n.oid = relnamespace"
        f" WHERE relkind = 'r' AND nspname IN ({listed}) AND relname <> 'alembic_version' \\gexec"
    )
    done = subprocess.run(
        [client_program("psql"), "-qXAt", "-F", "\t", "-d", url, "-f", "-"],
        input=script,
        capture_output=True,
        text=True,
        check=True,
    )
    return dict(line.split("\t") for line in done.stdout.splitlines())


def parts_of(path: Path) -> tuple[dict[str, str], list[str]]:
    """Return the parts of a file of pairs/, and the schemas that it names."""
    text = path.read_text()
    parts = re.findall(r"^-- (FROM|ROWS|TO)\n(.*?)(?=^-- (?:FROM|ROWS|TO)\n|\Z)", text, re.S | re.M)
    return dict(parts), sorted(set(re.findall(r"CREATE SCHEMA (\w+)", text)))


def skip_on_older(path: Path, server: Server) -> None:
    """Skip a pair on a server that has not what it is about."""
    since = re.match(r"-- SINCE (\d+)\n", path.read_text())
    if since and server.major < int(since[1]):
        pytest.skip(f"PostgreSQL has it since {since[1]}")


def declare(folder: Path, schemas: list[str]) -> None:
    """Declare an app without models, with a folder for its revisions."""
    (folder / "leadctl.toml").write_text(
        f'app = "t"\n[apps.t]\nmigrations = "db"\nschemas = {schemas}\n'
    )
    (folder / "db").mkdir()


@pytest.mark.few(3)
@pytest.mark.parametrize("path", PAIRS, ids=lambda path: path.stem)
def test_one_turns_into_the_other(
    path: Path, server: Server, database: str, cli: Cli, tmp_path: Path
) -> None:
    skip_on_older(path, server)
    parts, schemas = parts_of(path)
    other = server.create()
    try:
        url, wanted = server.url(database), server.url(other)
        begin = f"\\set ON_ERROR_STOP on\n{BESIDE}\n"
        assert psql(url, begin + parts["FROM"] + parts.get("ROWS", "")) == ""
        assert psql(wanted, begin + parts["TO"]) == ""
        declare(tmp_path, schemas)
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


@pytest.mark.parametrize(
    ("published", "change"),
    [
        ("t (id, name)", "DROP COLUMN name"),
        ("t WHERE (id > 5)", "ALTER COLUMN id TYPE bigint"),
        ("sales.t (id)", "DROP COLUMN id"),
    ],
)
def test_a_publication_holds_the_columns_that_it_names(
    published: str, change: str, server: Server, database: str, cli: Cli, tmp_path: Path
) -> None:
    """The server refuses a script that drops one, so the script says so before."""
    other = server.create()
    try:
        url, wanted = server.url(database), server.url(other)
        table = published.partition(" ")[0]
        tables = (
            f"CREATE SCHEMA sales; CREATE TABLE {table} (id int, name text, PRIMARY KEY (id, name))"
        )
        assert psql(url, f"{tables}; CREATE PUBLICATION news FOR TABLE {published};") == ""
        assert psql(wanted, f"{tables}; ALTER TABLE {table} {change};") == ""
        declare(tmp_path, ["sales"])
        written = cli("migrate", "diff", "database", wanted, "-o", "sql", url=url)
        assert written.code == 7
        assert "-- Not written: a way there." in written.out
        assert "publication" in written.out.partition("-- Not compared")[0].casefold()
        assert "publication" in psql(url, written.out)
    finally:
        server.drop(other)


NO_WAY_BACK = {
    "column_of_a_views_row_type",
    "enum_value_goes_that_was_the_default",
    "not_null_that_children_do_not_inherit",
}
"""What PostgreSQL can do in one direction only, or one transaction: `down` refuses."""
NEEDS_WHAT_IS_NOT_WRITTEN = {
    "depends_on_an_extension",
    "foreign_table_on_another_server",
    "options_of_a_foreign_table",
}
"""From nothing: a foreign server is none of the schema's, nor an extension."""
NOT_IN_A_REVISION = {
    *PARTLY,
    *REFUSED_BY_THE_SERVER,
    *IN_ANOTHER_ORDER,
    *NEEDS_WHAT_IS_NOT_WRITTEN,
}


@pytest.mark.few(1)
@pytest.mark.parametrize(
    "path",
    [path for path in PAIRS if path.stem not in NOT_IN_A_REVISION],
    ids=lambda path: path.stem,
)
def test_down_and_up_again(path: Path, server: Server, cli: Cli, tmp_path: Path) -> None:
    """What `new` writes, down and up again: pg_dump and the rows' checksums say where it leads."""
    skip_on_older(path, server)
    parts, schemas = parts_of(path)
    databases = [server.create() for _ in range(3)]
    url, start, wanted = map(server.url, databases)
    try:
        assert psql(start, "\\set ON_ERROR_STOP on\n" + parts["FROM"]) == ""
        assert psql(wanted, "\\set ON_ERROR_STOP on\n" + parts["TO"]) == ""
        declare(tmp_path, schemas)
        write(tmp_path, url, Catalog({}), read(start, schemas))
        applied = cli("migrate", url=url)
        assert applied.code == 0, applied.err
        assert psql(url, "\\set ON_ERROR_STOP on\n" + parts.get("ROWS", "")) == ""
        first, filled = dump(url), rows(url, schemas)
        assert first == dump(start)
        loses = write(tmp_path, url, read(start, schemas), read(wanted, schemas))
        there = cli("migrate", url=url)
        assert there.code == 0, there.err
        assert dump(url) == dump(wanted)
        back = cli("migrate", "down", "--yes", url=url)
        if path.stem in NO_WAY_BACK:
            assert back.code != 0
            assert dump(url) == dump(wanted)
            return
        assert back.code == 0, back.err
        assert dump(url) == first
        assert loses or rows(url, schemas) == filled
        assert cli("migrate", url=url).code == 0
        assert dump(url) == dump(wanted)
    finally:
        for each in databases:
            server.drop(each)


def read(url: str, schemas: list[str]) -> Catalog:
    """Read what defines a database's schemas."""
    settings = load_settings({}, environ={"DATABASE_URL": url})
    with connect(resolve(settings, app=None)) as connection:
        found = read_catalog(connection, "public", also=schemas)
        return with_uses(connection, found, "public", schemas)


def write(folder: Path, url: str, before: Catalog, after: Catalog) -> bool:
    """Write revisions as `new` does; return whether rows are lost there or back."""
    settings = load_settings({}, environ={"DATABASE_URL": url}, cwd=folder)
    target, app = resolve(settings, app="t"), find_app(settings)
    drafts = compose(target, before, after)
    write_drafts(app, read_history(app.versions), "step", drafts)
    return any(step.loses for each in drafts for step in (*each.up, *each.down))


def test_what_was_not_recorded_then_is_no_drift() -> None:
    valid = {"of": "table p1", "do": "ALTER TABLE p1 VALIDATE CONSTRAINT positive", "undo": ""}
    stored = {"of": "column p1.v", "do": "ALTER TABLE p1 ALTER v SET STORAGE PLAIN", "undo": ""}
    found = Catalog(
        {"property inherited validity of positive of p1": valid, "property storage of p1.v": stored}
    )
    assert set(found.as_of(3).objects) == {"property storage of p1.v"}
    assert found.as_of(7) is found
    own = dict.fromkeys(("property own NOT NULL of p1.v", "property own fillfactor of i"), valid)
    assert Catalog({**found.objects, **own}).as_of(4) == found
    latest = (
        "property expression of p1.v",
        "grant sequence of t.n to a",
        "namespace to a with grant option",
    )
    both = {**found.objects, **own, **dict.fromkeys(latest, valid)}
    assert Catalog(both).as_of(5) == Catalog({**found.objects, **own})
    assert Catalog({**both, "property unvalidated NOT NULL of p1.v": valid}).as_of(6) == Catalog(
        both
    )


def test_a_collation_in_use_that_ceases_to_be_deterministic_is_replaced() -> None:
    def catalog(**more: object) -> Catalog:
        column = {"type": "text", "nullable": True, "collation": "c"}
        collation = {"provider": "icu", "locale": "und", **more}
        return Catalog({"collation c": collation, "column t.a": column})

    assert replaced_types(catalog(), catalog(deterministic=False)) == ["collation c"]
    assert replaced_types(catalog(), catalog(comment="as people read")) == []
