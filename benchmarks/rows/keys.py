"""Rotation next to the same UPDATEs with ciphertext that somebody made in advance."""

from collections.abc import Iterator
from contextlib import contextmanager

from benchmarks.bench import KEY, Bench, Row, Sides
from benchmarks.measure import Sample

_RING = {"ENCRYPTION_KEYS": f"new:{'ab' * 32},old:{KEY}"}
_BATCH = 5000
"""Rows; the rotation's own."""
_TOKENS = "SELECT id, access_token, refresh_token FROM users"
_ROTATED = "CREATE TABLE rotated (id text, access_token text, refresh_token text)"
_READY = f"""
CREATE TABLE ready AS
SELECT (row_number() OVER (ORDER BY id) - 1) / {_BATCH} AS batch, id,
    o.access_token AS old_a, o.refresh_token AS old_r,
    n.access_token AS new_a, n.refresh_token AS new_r
FROM users o JOIN rotated n USING (id);
DROP TABLE rotated;
CREATE INDEX ON ready (batch);
"""
_UPDATE = """
UPDATE users t SET access_token = new_a, refresh_token = new_r FROM ready
WHERE batch = {} AND t.id = ready.id
  AND t.access_token = old_a AND t.refresh_token IS NOT DISTINCT FROM old_r;
"""


def _ready(bench: Bench, users: int) -> str:
    """Return a database whose table `ready` has each user's tokens before and after a rotation."""
    rotated, name = _fresh(bench, users), _fresh(bench, users)
    bench.leadctl(rotated, "keys", "rotate", variables=_RING)
    # Streamed: what this process holds would count as the memory of those that it starts.
    with bench.connect(rotated) as source, bench.connect(name) as sink:
        sink.execute(_ROTATED)
        with (
            source.cursor().copy(f"COPY ({_TOKENS}) TO STDOUT") as tokens,
            sink.cursor().copy("COPY rotated FROM STDIN") as copy,
        ):
            for block in tokens:
                copy.write(block)
        sink.execute(_READY)
        sink.execute("VACUUM (ANALYZE) ready")
    bench.drop(rotated)
    return name


def _fresh(bench: Bench, users: int) -> str:
    return bench.database("leadconnector", users + 1000, fixtures=False, users=users)


@contextmanager
def rotate(bench: Bench, users: int) -> Iterator[Sides]:
    template = _ready(bench, users)
    script = bench.scratch("sql") / "updates.sql"
    script.write_text("".join(_UPDATE.format(batch) for batch in range(-(-users // _BATCH))))

    def ours() -> Sample:
        name = bench.server.create(template)
        sample = bench.leadctl(name, "keys", "rotate", variables=_RING)
        bench.drop(name)
        return sample

    def theirs() -> Sample:
        name = bench.server.create(template)
        sample = bench.psql(name, "-f", script)
        bench.drop(name)
        return sample

    yield Sides(ours, theirs)
    bench.drop(template)


ROWS = (
    Row(
        "keys rotate (rows of users)",
        "the same UPDATEs, ready",
        1.5,
        rotate,
        sizes=(60_000, 200_000, 600_000),
        quick=20_000,
    ),
)
