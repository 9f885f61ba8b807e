"""`make bench`: measures every row, shows the table, writes JSON and docs/benchmarks.md."""

import argparse
import os
import platform
import shutil
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path

from benchmarks import report
from benchmarks.bench import ROOT, Bench, Row
from benchmarks.measure import alternate
from benchmarks.report import Machine, Measurement
from benchmarks.rows import all_rows
from tests.servers import RunningServer

QUICK = ROOT / ".cache" / "benchmarks.json"
FULL = ROOT / "benchmarks" / "results.json"
_QUICK_RUNS = 3
_SETTINGS = {
    # As a server is run in earnest: durable, and with memory worth the name.
    "fsync": "on",
    "full_page_writes": "on",
    "synchronous_commit": "on",
    "shared_buffers": "1GB",
    "maintenance_work_mem": "256MB",
    "max_wal_size": "4GB",
    "autovacuum": "off",  # the copies are vacuumed; its chance visits would be measured
}


def main() -> None:
    arguments = _arguments()
    rows = [row for row in all_rows() if not arguments.only or arguments.only in row.name]
    if not rows:
        sys.exit(f"No row has {arguments.only!r} in its name.")
    path = QUICK if arguments.quick else FULL
    machine = _machine(arguments.server, quick=arguments.quick)
    running = RunningServer(arguments.server, standby_of=None, **_SETTINGS)
    folder = Path(tempfile.mkdtemp(prefix="leadctl-bench-"))
    began = time.monotonic()
    try:
        bench = Bench(running.info, folder, _say)
        for row in rows:
            sizes = (row.quick,) if arguments.quick else row.sizes
            # Written at once, so that a benchmark that is stopped keeps what it has measured.
            for rows_there in sizes:
                report.store(path, machine, [_measure(bench, row, rows_there)])
    finally:
        running.stop()
        shutil.rmtree(folder)
    results = report.load(path)
    print(report.table(results))
    if not arguments.quick:
        (ROOT / "docs" / "benchmarks.md").write_text(report.document(results))
    _say(f"{time.monotonic() - began:.0f} s; written to {path.relative_to(ROOT)}")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="small databases, in about a minute")
    parser.add_argument("--only", metavar="TEXT", help="rows with this text in their name")
    parser.add_argument("--server", type=int, default=18, metavar="MAJOR", help="PostgreSQL's")
    return parser.parse_args()


def _measure(bench: Bench, row: Row, rows: int) -> Measurement:
    _say(f"{row.name}" + (f", {rows:,} rows" if rows else ""))
    runs = min(row.runs, _QUICK_RUNS) if rows == row.quick and row.quick else row.runs
    with row.prepare(bench, rows) as sides:
        ours, theirs = alternate(sides.ours, sides.theirs, runs)
    return Measurement(row.name, row.peer, rows, row.goal_at(rows), row.size_goal, ours, theirs)


def _machine(major: int, *, quick: bool) -> Machine:
    return Machine(
        measured=f"{datetime.now(UTC):%Y-%m-%d}",
        cores=os.cpu_count() or 1,
        memory_bytes=os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        system=f"{platform.system()} {platform.machine()}",
        python=platform.python_version(),
        server=major,
        load=os.getloadavg()[0],
        quick=quick,
    )


def _say(message: str) -> None:
    print(f"# {message}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
