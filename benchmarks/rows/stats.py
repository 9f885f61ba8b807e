"""What is shown of a database, besides its own SQL in psql."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from benchmarks.bench import SIZES, Bench, Row, Sides
from benchmarks.rows.seed import TABLES
from leadctl import stats as stats_room
from leadctl.postgres.queries import queries_of
from leadctl.products.leadconnector.reports import REPORTS


def _sides(bench: Bench, name: str, arguments: Sequence[str], statements: Sequence[str]) -> Sides:
    script = bench.scratch("sql") / "stats.sql"
    text = ";\n".join(statements) + ";\n"
    for parameter, value in (
        ("%(schema)s", "'public'"), ("%(user)s", "NULL"), ("%(since)s", "NULL"), ("%%", "%"),
    ):  # fmt: skip
        text = text.replace(parameter, value)
    script.write_text(text)
    return Sides(lambda: bench.leadctl(name, *arguments), lambda: bench.psql(name, "-f", script))


@contextmanager
def stats(bench: Bench, rows: int) -> Iterator[Sides]:
    name = bench.database("leadconnector", rows)
    counts = [f"SELECT count(*) FROM {table}" for table in TABLES]
    blocks = queries_of(stats_room.__file__, "stats.sql").blocks
    yield _sides(bench, name, ["stats", "--exact"], [*(block.sql for block in blocks), *counts])
    bench.drop(name)


@contextmanager
def report(bench: Bench, rows: int) -> Iterator[Sides]:
    name = bench.database("leadconnector", rows)
    (by_day,) = [each for each in REPORTS.reports if each.name == "leads-by-day"]
    yield _sides(bench, name, ["stats", by_day.name], [by_day.sql])
    bench.drop(name)


ROWS = (
    Row("stats --exact", "its SQL in psql", 1.5, stats, sizes=SIZES, quick=100_000, runs=5),
    Row("stats leads-by-day", "its SQL in psql", 1.5, report, sizes=SIZES, quick=100_000, runs=5),
)
