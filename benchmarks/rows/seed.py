"""Synthetic rows next to psql's copy of the very same rows into the same indexed tables."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from psycopg import sql

from benchmarks.bench import SIZES, Bench, Row, Sides
from benchmarks.measure import Sample

TABLES = ("users", "pages", "webhooks", "leads", "page_webhook_configs", "webhook_deliveries")


def _script(bench: Bench, rows: int) -> Path:
    """Write the rows to files, and return a psql script that copies them in."""
    folder, name = bench.scratch("rows"), bench.database("leadconnector")
    bench.leadctl(name, "seed", "--bulk", str(rows))
    script = folder / "copy.sql"
    with bench.connect(name) as connection, script.open("w") as lines:
        for table in TABLES:
            query = sql.SQL("COPY (SELECT * FROM {}) TO STDOUT").format(sql.Identifier(table))
            with (folder / table).open("wb") as file, connection.cursor().copy(query) as copy:
                file.writelines(copy)
            lines.write(f"\\copy {table} from '{folder / table}'\n")
        lines.write("ANALYZE;\n")
    bench.drop(name)
    return script


@contextmanager
def seed(bench: Bench, rows: int) -> Iterator[Sides]:
    script = _script(bench, rows)

    def ours() -> Sample:
        name = bench.database("leadconnector", fixtures=False)
        sample = bench.leadctl(name, "seed", "--bulk", str(rows))
        bench.drop(name)
        return sample

    def theirs() -> Sample:
        name = bench.database("leadconnector", fixtures=False)
        sample = bench.psql(name, "-f", script)
        bench.drop(name)
        return sample

    yield Sides(ours, theirs)


ROWS = (
    Row(
        "seed --bulk",
        "psql \\copy of the same rows",
        0.7,
        seed,
        sizes=SIZES,
        quick=100_000,
    ),
)
