"""Retention next to the same DELETEs, and what a writer feels of either."""

import random
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from statistics import quantiles

from benchmarks.bench import Bench, Row, Sides
from benchmarks.measure import Sample

_DELETES = """
DELETE FROM leads WHERE status = 'ARCHIVED' AND created_at < now() - interval '90 days';
DELETE FROM webhook_deliveries WHERE status IN ('SUCCESS', 'FAILED')
    AND created_at < now() - interval '90 days';
"""
_VACUUM = "VACUUM (ANALYZE) leads; VACUUM (ANALYZE) webhook_deliveries;\n"
_WRITE = """
WITH lead AS (
    INSERT INTO leads (id, facebook_lead_id, page_id, form_id, form_name, lead_data)
    SELECT %(id)s, %(id)s, id, 'form', 'Form', '{"field_data": []}' FROM pages LIMIT 1 RETURNING id)
INSERT INTO webhook_deliveries (id, webhook_id, lead_id)
SELECT %(id)s, (SELECT id FROM webhooks LIMIT 1), id FROM lead
"""
_WRITES_A_SECOND = 100
_IDLE_SECONDS = 10.0

Deletion = Callable[[str], Sample]


def _deletions(bench: Bench, script: str) -> tuple[Deletion, Deletion]:
    """Return our deletion of a database's due rows, and the peer's, by a script."""
    path = bench.scratch("sql") / "delete.sql"
    path.write_text(script)

    def ours(name: str) -> Sample:
        return bench.leadctl(name, "cleanup", "-q", "--confirm", name)

    def theirs(name: str) -> Sample:
        return bench.psql(name, "-f", path)

    return ours, theirs


def _without_vacuum(bench: Bench, name: str, deletion: Deletion) -> Sample:
    """Return what our deletion cost, less what its journal says that VACUUM took of it."""
    sample = deletion(name)
    with bench.connect(name) as connection:
        ((took,),) = connection.execute(
            "SELECT coalesce(summary ->> 'vacuum_seconds', '0')"
            " FROM leadctl.run ORDER BY id DESC LIMIT 1"
        ).fetchall()
    return replace(sample, seconds=sample.seconds - float(took))


_SCATTER = """
CREATE INDEX scattered ON {0} (md5(id)); CLUSTER {0} USING scattered; DROP INDEX scattered;
VACUUM (ANALYZE) {0};
"""


def _on_a_copy(
    bench: Bench, rows: int, deletion: Deletion, *, is_scattered: bool = False
) -> Sample:
    """Return what a deletion cost; rows lie in the order of their ages, or in none."""
    name = bench.database("leadconnector", rows)
    try:
        if is_scattered:
            path = bench.scratch("scatter") / "scatter.sql"
            path.write_text(_SCATTER.format("leads") + _SCATTER.format("webhook_deliveries"))
            bench.psql(name, "-f", path)
            bench.psql(name, "-c", "CHECKPOINT")
        return deletion(name)
    finally:
        bench.drop(name)


@contextmanager
def cleanup(bench: Bench, rows: int) -> Iterator[Sides]:
    ours, theirs = _deletions(bench, _DELETES)
    yield Sides(
        lambda: _on_a_copy(bench, rows, lambda name: _without_vacuum(bench, name, ours)),
        lambda: _on_a_copy(bench, rows, theirs),
    )


@contextmanager
def cleanup_of_scattered_rows(bench: Bench, rows: int) -> Iterator[Sides]:
    ours, theirs = _deletions(bench, _DELETES)

    def without_vacuum(name: str) -> Sample:
        return _without_vacuum(bench, name, ours)

    yield Sides(
        lambda: _on_a_copy(bench, rows, without_vacuum, is_scattered=True),
        lambda: _on_a_copy(bench, rows, theirs, is_scattered=True),
    )


@contextmanager
def cleanup_with_vacuum(bench: Bench, rows: int) -> Iterator[Sides]:
    ours, theirs = _deletions(bench, _DELETES + _VACUUM)
    yield Sides(lambda: _on_a_copy(bench, rows, ours), lambda: _on_a_copy(bench, rows, theirs))


@contextmanager
def writer_beside_cleanup(bench: Bench, rows: int) -> Iterator[Sides]:
    ours, _ = _deletions(bench, _DELETES + _VACUUM)
    yield _felt(bench, rows, ours)


@contextmanager
def writer_beside_deletes(bench: Bench, rows: int) -> Iterator[Sides]:
    _, theirs = _deletions(bench, _DELETES + _VACUUM)
    yield _felt(bench, rows, theirs)


def _felt(bench: Bench, rows: int, deletion: Deletion) -> Sides:
    """Compare a writer's 99th percentile next to a deletion with that of the same writer alone."""

    def alone(_name: str) -> Sample:
        time.sleep(_IDLE_SECONDS)
        return Sample(0)

    return Sides(
        lambda: _on_a_copy(bench, rows, lambda name: _writer_beside(bench, name, deletion)),
        lambda: _on_a_copy(bench, rows, lambda name: _writer_beside(bench, name, alone)),
    )


def _writer_beside(bench: Bench, name: str, deletion: Deletion) -> Sample:
    """Return a writer's 99th percentile, as seconds, with the deletion's memory."""
    latencies: list[float] = []
    stop = threading.Event()

    def write() -> None:
        numbers = random.Random(0)
        with bench.connect(name) as connection:
            while not stop.is_set():
                began = time.perf_counter()
                connection.execute(_WRITE, {"id": f"w{numbers.getrandbits(96):024x}"})
                latencies.append(time.perf_counter() - began)
                stop.wait(1 / _WRITES_A_SECOND)

    writer = threading.Thread(target=write)
    writer.start()
    try:
        sample = deletion(name)
    finally:
        stop.set()
        writer.join()
    return Sample(quantiles(latencies, n=100)[-1], sample.peak_bytes)


_SIZES = (1_000_000, 3_000_000)
_GOAL, _GOAL_OF_WRITER = 1.3, 1.5
_RUNS = 7
"""What waits for the disk varies, and a 99th percentile is a few of a run's thousand writes."""

ROWS = (
    Row(
        "cleanup, without its VACUUM",
        "the same DELETEs",
        _GOAL,
        cleanup,
        sizes=_SIZES,
        quick=100_000,
        runs=_RUNS,
    ),
    Row(
        "cleanup, without its VACUUM, rows scattered",
        "the same DELETEs",
        _GOAL,
        cleanup_of_scattered_rows,
        sizes=_SIZES,
        quick=100_000,
        runs=_RUNS,
    ),
    Row(
        "cleanup, with its VACUUM",
        "the DELETEs and VACUUM",
        _GOAL,
        cleanup_with_vacuum,
        sizes=_SIZES,
        quick=100_000,
    ),
    Row(
        "p99 of a writer, beside cleanup",
        "the writer alone",
        _GOAL_OF_WRITER,
        writer_beside_cleanup,
        sizes=_SIZES,
        quick=100_000,
        runs=_RUNS,
    ),
    Row(
        "p99 of a writer, beside DELETEs",
        "the writer alone",
        _GOAL_OF_WRITER,
        writer_beside_deletes,
        sizes=_SIZES,
        quick=100_000,
        runs=_RUNS,
    ),
)
