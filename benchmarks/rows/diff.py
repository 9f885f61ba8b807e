"""Comparing two databases of 500 tables, and writing the SQL of one: by CPU, the server's too.

A trial of the SQL runs in the server, so that the time of the client alone would flatter.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from benchmarks.bench import Bench, Row, Sides
from benchmarks.measure import Sample, Side

_TABLE = """
CREATE TABLE t_{n} (
  id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  parent_id bigint REFERENCES t_{parent} ON DELETE CASCADE,
  name text NOT NULL DEFAULT '' CHECK (length(name) < 200),
  amount numeric(12, 2), created_at timestamptz NOT NULL DEFAULT now(),
  tags text[] NOT NULL DEFAULT '{{}}'
);
CREATE INDEX ON t_{n} (parent_id);
CREATE INDEX ON t_{n} (created_at) WHERE amount > 0;
"""
_CHANGED = "ALTER TABLE t_{n} ADD note text; CREATE INDEX ON t_{n} (note)"
_CHANGES = 5


@contextmanager
def compared(bench: Bench, tables: int) -> Iterator[Sides]:
    before, after = _filled(bench, tables), _filled(bench, tables)
    with bench.connect(after) as connection:
        for number in range(_CHANGES):
            connection.execute(_CHANGED.format(n=number))
    yield _sides(bench, before, after)
    bench.drop(before, after)


@contextmanager
def written(bench: Bench, tables: int) -> Iterator[Sides]:
    before, after = bench.server.create(), _filled(bench, tables)
    yield _sides(bench, before, after, "-o", "sql")
    bench.drop(before, after)


def _filled(bench: Bench, tables: int) -> str:
    name = bench.server.create()
    with bench.connect(name) as connection:
        for number in range(tables):
            connection.execute(_TABLE.format(n=number, parent=max(number - 1, 0)))
    return name


def _sides(bench: Bench, before: str, after: str, *options: str) -> Sides:
    diff = ("migrate", "diff", "database", bench.server.url(after), *options)

    def dumped() -> Sample:
        first, second = (bench.program("pg_dump", "-s", database=n) for n in (before, after))
        return replace(first, cpu_seconds=first.cpu_seconds + second.cpu_seconds)

    return Sides(
        _by_cpu(bench, lambda: bench.leadctl(before, *diff, differs=True)),
        _by_cpu(bench, dumped),
    )


def _by_cpu(bench: Bench, side: Side) -> Side:
    def run() -> Sample:
        before = _server_seconds(bench)
        sample = side()
        return replace(sample, seconds=sample.cpu_seconds + _server_seconds(bench) - before)

    return run


def _server_seconds(bench: Bench) -> float:
    """Return the CPU seconds of the server's sessions that have ended: those of its children."""
    with bench.connect("postgres") as connection:
        backend = connection.info.backend_pid
        parent = _process(backend)[1]
        user, system = _process(int(parent))[13:15]
    return (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")


def _process(pid: int) -> list[str]:
    """Return what `proc(5)` says of a process, from its state on."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()


ROWS = (
    Row("migrate diff, by CPU", "pg_dump -s of both", 3.0, compared, sizes=(500,), quick=50),
    Row(
        "migrate diff -o sql from nothing, by CPU",
        "pg_dump -s of both",
        3.0,
        written,
        sizes=(500,),
        quick=50,
    ),
)
