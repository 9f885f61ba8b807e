"""Writers: what a pipe gets is what a terminal gets, without its width and colour."""

import csv
import io
import subprocess
import sys
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from leadctl.cli.console import _progress_text
from leadctl.render import csv as csv_writer
from leadctl.render import table, terminal
from leadctl.render.blocks import Cell, Column, Grid, Line, Pairs
from leadctl.render.views.stats import bar, sparkline
from tests.conftest import KEY, Prepared
from tests.processes import environment

TEXT = st.text(st.characters(codec="latin-1", min_codepoint=32), max_size=12).map(str.strip)
TITLE = st.text("abc ä", min_size=1, max_size=12).map(str.strip).filter(bool)
VALUES = st.one_of(TEXT, st.integers(-(10**6), 10**6), st.none(), st.booleans(), TEXT.map(Cell))
BLOCKS = st.lists(
    st.one_of(
        TEXT.map(Line),
        st.integers(1, 4).flatmap(
            lambda n: st.builds(
                Grid,
                st.lists(st.builds(Column, TITLE, st.booleans()), min_size=n, max_size=n),
                st.lists(st.lists(VALUES, min_size=n, max_size=n), max_size=4),
            )
        ),
        st.lists(st.tuples(TITLE, VALUES), min_size=1, max_size=4).map(Pairs),
    ),
    max_size=4,
)


@given(BLOCKS)
def test_plain_is_what_a_wide_terminal_shows(blocks: list[object]) -> None:
    rich = terminal.render(blocks, width=10_000, color=False)  # type: ignore[arg-type]
    wide = "".join(f"{line.rstrip()}\n" for line in rich.split("\n")[:-1])
    assert table.dumps(blocks) == wide  # type: ignore[arg-type]


def test_plain_knows_wide_characters_and_lines() -> None:
    grid = Grid(["a", Column("n", numbers=True)], [("日本", 1), ("two\nlines", 22)])
    rich = terminal.render([grid], width=100, color=False)
    assert table.dumps([grid]) == "".join(f"{x.rstrip()}\n" for x in rich.splitlines())


@pytest.mark.parametrize("width", [10, 14, 20, 30, 40, 80])
def test_a_number_is_never_cut(width: int) -> None:
    """One that is means another; where there is no room, its column is left out by name."""
    columns = [Column(each, numbers=True) for each in ("Rows of now", "Size")]
    rows = [("invoices", 1_234_567, "49 kB"), ("customers of a shop", 89, "1,024 MB")]
    shown = terminal.render([Grid(["Table", *columns], rows)], width=width, color=False)
    assert max(map(len, shown.splitlines())) <= width
    left_out = " ".join(shown.split()).partition("are left out: ")[2]
    for title, numbers in {
        "Rows of now": ("1,234,567", "89"),
        "Size": ("49 kB", "1,024 MB"),
    }.items():
        assert (title in left_out) != all(number in shown for number in numbers)


def test_all_columns_that_are_left_out_are_named() -> None:
    columns = ["Table", Column("Rows", numbers=True), Column("Vacuumed", optional=True)]
    columns.append(Column("Size", numbers=True))
    rows = [("invoices", 1_234_567, "2 h ago", "49 kB")]
    shown = " ".join(terminal.render([Grid(columns, rows)], width=20, color=False).split())
    assert shown.endswith("2 of 4 columns are left out: Vacuumed, Size.")


def test_bars() -> None:
    assert bar(10, 10, 4) == "████"
    assert bar(5, 10, 4) == "██"
    assert bar(1, 10_000, 4) == "▏"
    assert bar(0, 10) == bar(1, 0) == ""
    assert bar(20, 10, 4) == "████"


def test_sparklines() -> None:
    assert sparkline([0, 1, 2, 7]) == "▁▂▃█"
    assert sparkline([]) == ""
    assert sparkline([0, 0]) == "▁▁"
    assert len(sparkline(list(range(365)))) == 60


FORMULAS = ["=1+1", "+cmd|' /C calc'!A0", "-2+3", "@SUM(A1)", "\uff1d1+1", '=a,"b"']
TEXTS = ["", "x", "-5", "+3.5e7", "a=b", "1-2", "'=1", "mail@example.com"]


def test_no_cell_is_a_formula_for_a_spreadsheet() -> None:
    rows = [{"a": text, "=b": None} for text in (*FORMULAS, *TEXTS)]
    (header, *lines) = csv.reader(
        io.StringIO(csv_writer.dumps(rows, for_spreadsheet=True), newline="")
    )
    assert header == ["a", "'=b"]
    assert [line[0] for line in lines] == [f"'{text}" for text in FORMULAS] + TEXTS
    # A spreadsheet may tell cells apart by semicolons and tabs, too.
    assert csv_writer.inert("\r=1") == "'\r'=1"
    assert csv_writer.inert("a;=1\t+1") == "a;'=1\t'+1"
    plain = csv.reader(io.StringIO(csv_writer.dumps(rows), newline=""))
    assert [line[0] for line in list(plain)[1:]] == [*FORMULAS, *TEXTS]


def test_csv() -> None:
    moment = datetime(2026, 1, 31, tzinfo=UTC)
    rows = [{"a": 'x,"y"', "b": None, "c": True, "d": moment, "e": {"k": [1]}}]
    (header, row) = csv.reader(io.StringIO(csv_writer.dumps(rows)))
    assert header == ["a", "b", "c", "d", "e"]
    assert row == ['x,"y"', "", "true", "2026-01-31T00:00:00Z", '{"k": [1]}']
    assert csv_writer.dumps([]) == ""


@pytest.mark.few(2)
@pytest.mark.parametrize("encoding", ["cp1252", "ascii", "iso8859-1"])
@pytest.mark.parametrize(
    "arguments",
    [["studio", "users"], ["studio"], ["stats"], ["schema", "show"], ["migrate", "status"],
     ["seed"], ["migrate"], ["health-check", "--check", "server"], ["inspect", "tables"]],
    ids=" ".join,
)  # fmt: skip
def test_any_encoding_shows_what_is_done(
    leadconnector: Prepared, encoding: str, arguments: list[str]
) -> None:
    leadconnector.query("UPDATE users SET name = '株 Ångström …'")
    env = {"DATABASE_URL": leadconnector.url, "ENCRYPTION_KEY": KEY, "PYTHONUTF8": "0"}
    codes, shown = [], []
    for spoken in ("utf-8", encoding):
        process = subprocess.run(
            [sys.executable, "-m", "leadctl", *arguments],
            env=environment({**env, "PYTHONIOENCODING": spoken, "COLUMNS": "100"}),
            capture_output=True,
            check=False,
        )
        codes.append(process.returncode)
        shown.append(process.stdout.decode(spoken))
        assert b"unexpectedly" not in process.stderr
    assert codes[0] == codes[1] == 0
    assert len(shown[0].splitlines()) == len(shown[1].splitlines())


@pytest.mark.parametrize("output", ["csv", "json", "jsonl"])
def test_data_is_utf_8_whatever_the_terminal_is(leadconnector: Prepared, output: str) -> None:
    leadconnector.query("UPDATE users SET name = '株'")
    env = {"DATABASE_URL": leadconnector.url, "PYTHONUTF8": "0", "PYTHONIOENCODING": "cp1252"}
    process = subprocess.run(
        [sys.executable, "-m", "leadctl", "studio", "users", "-o", output],
        env=environment(env),
        capture_output=True,
        check=False,
    )
    assert process.returncode == 0
    assert "株" in process.stdout.decode("utf-8")


def test_a_long_name_does_not_hide_what_is_said_of_it() -> None:
    name = "tenant_" + "x" * 56
    said = "the column does not exist in the table of customers"
    titles = [Column("Target", key=True), Column("State"), Column("What"), Column("Next", key=True)]
    row = (name, "failed", said, f"leadctl migrate --fleet tenants --only {name}")
    for width in (60, 80):
        lines = terminal.render([Grid(titles, [row])], width=width, color=False).splitlines()
        assert max(map(len, lines)) <= width
        assert "failed" in lines[2]
        assert len(lines) < 16, "no column is a letter wide"
    wide = terminal.render([Grid(titles, [row])], width=240, color=False)
    assert f"--only {name}" in wide
    short = (("acme", "failed", said, "leadctl migrate --fleet tenants --only acme"),)
    assert "--only acme" in terminal.render([Grid(titles, short)], width=80, color=False)


@pytest.mark.parametrize(
    ("done", "total", "seconds", "left"),
    [(1, 10_000, 20, None), (200, 10_000, 20, "16:20"), (0, 5, 1, None), (5, 5, 1, None)],
)
def test_time_left_is_told_when_it_can_be_known(
    done: int, total: int, seconds: float, left: str | None
) -> None:
    text = _progress_text(done, total, "targets", seconds)
    assert (f", {left} left" in text) if left else ("left" not in text)
