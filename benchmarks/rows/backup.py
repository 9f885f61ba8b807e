"""Encrypted backups next to pg_dump's own, restores next to pg_restore of plain files; buckets."""

import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from functools import partial

import pyrage

from benchmarks.bench import SIZES, Bench, Row, Sides
from benchmarks.bucket import served
from benchmarks.measure import Sample


def _variables(bench: Bench) -> dict[str, str]:
    """Return where backups go and their keys, in a folder that is new."""
    folder = bench.scratch("keys")
    identity = pyrage.x25519.Identity.generate()
    private = folder / "identity.txt"
    private.write_text(str(identity))
    private.chmod(0o600)
    return {
        "BACKUP_DIR": str(bench.scratch("backups")),
        "BACKUP_RECIPIENTS": str(identity.to_public()),
        "BACKUP_IDENTITY_FILE": str(private),
    }


class _Copies:
    """Names of databases that are made one after another and dropped when all is measured.

    Not before: for minutes ext4 gives no new file the inode of one that was just deleted, and
    looks through all of them for each of the 300 files of the next CREATE DATABASE.
    """

    def __init__(self, bench: Bench, name: str) -> None:
        self._bench = bench
        self._name = name
        self.made: list[str] = []

    def new(self) -> str:
        """Return the next name; what was written to the one before is on the disk."""
        self._bench.psql("postgres", "--command", "CHECKPOINT")
        self.made.append(f"{self._name}_copy_{len(self.made)}")
        return self.made[-1]


@contextmanager
def backup(bench: Bench, rows: int) -> Iterator[Sides]:
    name = bench.database("leadconnector", rows)
    variables = _variables(bench)
    folder = bench.folder / "backups"
    dumped = bench.folder / "archive.dump"

    def ours() -> Sample:
        bench.scratch("backups")
        return bench.leadctl(name, "backup", variables=variables, result=folder)

    def theirs() -> Sample:
        dumped.unlink(missing_ok=True)
        arguments = ("--format=custom", f"--file={dumped}")
        return bench.program("pg_dump", *arguments, database=name, result=dumped)

    yield Sides(ours, theirs)
    dumped.unlink(missing_ok=True)
    bench.drop(name)


@contextmanager
def restore(bench: Bench, rows: int, *, whole: bool = False) -> Iterator[Sides]:
    """Restore into a new database; the peer makes it, and brings its statistics, where `whole`."""
    name = bench.database("leadconnector", rows)
    variables = _variables(bench)
    dumped = bench.folder / "dump"
    shutil.rmtree(dumped, ignore_errors=True)
    bench.leadctl(name, "backup", variables=variables)
    statistics = ("--statistics",) if whole else ()
    arguments = ("--format=directory", "--jobs=2", *statistics, f"--file={dumped}")
    bench.program("pg_dump", *arguments, database=name)
    copies = _Copies(bench, name)

    def ours() -> Sample:
        return bench.leadctl(name, "restore", "-q", "--into", copies.new(), variables=variables)

    def theirs() -> Sample:
        copy = copies.new()
        made = bench.psql("postgres", "--command", f"CREATE DATABASE {copy}")
        arguments = ("--jobs=2", f"--dbname={copy}", dumped)
        loaded = bench.program("pg_restore", *arguments, database=copy)
        return replace(loaded, seconds=loaded.seconds + made.seconds) if whole else loaded

    yield Sides(ours, theirs)
    shutil.rmtree(dumped, ignore_errors=True)
    bench.drop(*copies.made, name)


@contextmanager
def to_bucket(bench: Bench, rows: int) -> Iterator[Sides]:
    name = bench.database("leadconnector", rows)
    variables = _variables(bench)
    with served() as bucket:

        def theirs() -> Sample:
            bench.scratch("backups")
            return bench.leadctl(name, "backup", variables=variables)

        yield Sides(
            lambda: bench.leadctl(name, "backup", variables={**variables, **bucket}), theirs
        )
    bench.drop(name)


@contextmanager
def from_bucket(bench: Bench, rows: int) -> Iterator[Sides]:
    name = bench.database("leadconnector", rows)
    copies = _Copies(bench, name)
    on_disk = _variables(bench)
    with served(bench.scratch("objects")) as bucket:
        in_bucket = {**on_disk, **bucket}

        def restored(variables: Mapping[str, str]) -> Sample:
            return bench.leadctl(name, "restore", "-q", "--into", copies.new(), variables=variables)

        for variables in (on_disk, in_bucket):
            bench.leadctl(name, "backup", variables=variables)
        yield Sides(lambda: restored(in_bucket), lambda: restored(on_disk))
    bench.drop(*copies.made, name)


ROWS = (
    Row(
        "backup, encrypted",
        "pg_dump -Fc",
        0.3,
        backup,
        sizes=SIZES,
        quick=50_000,
        size_goal=0.95,
    ),
    Row(
        "restore",
        "pg_restore -j2 of -Fd",
        0.9,
        restore,
        sizes=SIZES,
        quick=50_000,
        small_goal=1.5,
    ),
    Row(
        "restore, the same database",
        "CREATE DATABASE, pg_restore -j2",
        0.9,
        partial(restore, whole=True),
        sizes=SIZES,
        quick=50_000,
        small_goal=1.5,
    ),
    Row(
        "backup to object storage",
        "backup to a disk",
        1.15,
        to_bucket,
        sizes=SIZES[-1:],
        quick=50_000,
    ),
    Row(
        "restore from object storage",
        "restore from a disk",
        1.15,
        from_bucket,
        sizes=SIZES[-1:],
        quick=50_000,
    ),
)
