"""The hazards of docs/lint.md, each with the statements that are in it: what lint says of them."""

import re
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest
from psycopg.errors import DuplicateObject

from leadctl.migrate.lint import find_squawk
from leadctl.migrate.planner import Planner
from leadctl.migrate.preview import lint
from leadctl.migrate.revisions import read_history
from leadctl.postgres.connect import connect
from tests.migrate.test_trial import DATA, at
from tests.servers import Server

PAGE = Path(__file__).parents[2] / "docs" / "lint.md"
_ROW = re.compile(r"\| (?P<hazard>[^|]+) \| [^|]+ \| (?P<with>[^|]*) \|(?P<without>[^|]*)\|")
HAZARDS = [
    [part.strip() for part in line.split(" | ")]
    for line in (DATA / "hazards.txt").read_text().splitlines()[1:]
]
"""Each with what is dangerous, and mostly a safe form."""
BY_THE_CATALOG = {
    "SET NOT NULL without proof", "SET NOT NULL, validated in the same revision",
    "identity column", "type change that rewrites", "varchar → text / no limit",
    "numeric precision", "timestamp → timestamptz in UTC",
    "text → citext (indexed / not indexed)", "collation of an indexed column",
    "drop column with rows", "drop several columns, the first empty", "drop table with rows",
    "backfill in one statement", "DELETE of a big table",
    "index on a partitioned table", "SET LOGGED / UNLOGGED", "SET TABLESPACE",
    "domain with a new CHECK",
}  # fmt: skip
"""Hazards of which only the catalog tells the safe form."""

pytestmark = pytest.mark.skipif(find_squawk() is None, reason="squawk is not installed")


def revisions(folder: Path, form: int) -> Iterator[str]:
    """Write a revision of each hazard, in a chain; yield what is written."""
    before = None
    for number, hazard in enumerate(HAZARDS):
        text = hazard[form] if len(hazard) > form else ""
        outside = text.startswith("X ")
        indent = "        " if outside else "    "
        body = [f"{indent}op.execute({each!r})" for each in text.removeprefix("X ").split(" ; ")]
        if outside:
            body.insert(0, "    with op.get_context().autocommit_block():")
        (folder / f"r{number:03}.py").write_text(
            f"from alembic import op\nrevision = 'r{number:03}'\ndown_revision = {before!r}\n"
            "def upgrade():\n" + "\n".join(body if text else ["    pass"]) + "\n"
        )
        before = f"r{number:03}"
        yield before


def of_page(column: str) -> dict[str, list[str]]:
    """The rules that the page has of each hazard; none where it is left out."""
    rows = filter(None, map(_ROW.match, PAGE.read_text().splitlines()))
    said = {row["hazard"]: row[column] for row in rows if row["hazard"] != "hazard"}
    return {
        hazard: [] if text.startswith("left out") else sorted(re.findall(r"`([\w-]+)`", text))
        for hazard, text in said.items()
    }


def found_offline(folder: Path, form: int) -> dict[str, list[str]]:
    _, app = at("postgresql://nowhere/x", folder)
    list(revisions(folder, form))
    result = lint(None, app, [], everything=True, narrate=lambda _: None)
    rules = [sorted({each.rule for each in one.findings}) for one in result.revisions]
    return {hazard[0]: found for hazard, found in zip(HAZARDS, rules, strict=True)}


def test_the_page_has_every_hazard() -> None:
    assert list(of_page("with")) == [hazard for hazard, *_ in HAZARDS]


@pytest.mark.thorough
def test_what_is_said_without_a_database(tmp_path: Path) -> None:
    page, told = of_page("with"), of_page("without")
    unseen = re.findall(r"^\| ([^|]+) \|.*\| unseen \|$", PAGE.read_text(), re.MULTILINE)
    said = {hazard: [] if hazard in unseen else told[hazard] or page[hazard] for hazard in page}
    assert found_offline(tmp_path, 1) == said


@pytest.mark.thorough
def test_safe_forms_without_a_database(tmp_path: Path) -> None:
    flagged = {hazard for hazard, rules in found_offline(tmp_path, 2).items() if rules}
    assert flagged == BY_THE_CATALOG


@pytest.mark.slow
@pytest.mark.parametrize("form", [1, 2])
def test_what_is_said_of_a_database(
    server: Server, database: str, tmp_path: Path, form: int
) -> None:
    with server.connect(database) as connection:
        available = connection.execute(
            "SELECT count(*) FROM pg_available_extensions WHERE name IN ('citext', 'btree_gist')"
        )
        if available.fetchone() != (2,) or server.major < 18:
            pytest.skip("this server has no contrib, or not the syntax of 18")
        connection.execute("SET allow_in_place_tablespaces = on")
        with suppress(DuplicateObject):  # the corpus has it, too
            connection.execute("CREATE TABLESPACE plan_ts LOCATION ''")
        connection.execute((DATA / "hazards.sql").read_text().encode())
    target, app = at(server.url(database), tmp_path)
    list(revisions(tmp_path, form))
    history, page = read_history(app.versions), of_page("with")
    for hazard, revision in zip(HAZARDS, history.revisions, strict=True):
        if len(hazard) <= form:
            continue
        with ExitStack() as stack:
            source = stack.enter_context(connect(target, "plan", rows=True, read_only=True))
            planner = Planner(app, history, source, target.schema)
            stack.enter_context(planner.trying(target, [revision]))
            found = sorted({each.rule for each in planner.revision(revision).findings})
        small = ["overwrites-values"] if "UPDATE small" in hazard[form] else []
        assert found == sorted([*(page[hazard[0]] if form == 1 else []), *small]), hazard
