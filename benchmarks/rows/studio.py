"""A page deep in a table next to the table's first page."""

import json
from collections.abc import Iterator
from contextlib import contextmanager

from benchmarks.bench import SIZES, Bench, Row, Sides

_DEPTH = 0.9
"""The share of the table's rows that come before the page."""


@contextmanager
def page(bench: Bench, rows: int) -> Iterator[Sides]:
    name = bench.database("leadconnector", rows)
    with bench.connect(name) as connection:
        ((leads,),) = connection.execute("SELECT count(*) FROM leads").fetchall()
        found = connection.execute(
            "SELECT id FROM leads ORDER BY id OFFSET %s LIMIT 1", (int(leads * _DEPTH),)
        )
        place = json.dumps(found.fetchone())
    yield Sides(
        lambda: bench.leadctl(name, "studio", "leads", "--after", place),
        lambda: bench.leadctl(name, "studio", "leads"),
    )
    bench.drop(name)


ROWS = (
    Row(
        "studio, a page behind 90 % of the rows",
        "its first page",
        1.5,
        page,
        sizes=SIZES,
        runs=5,
    ),
)
