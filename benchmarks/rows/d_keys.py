"""Rotation beside the same UPDATEs with ciphertext that somebody made beforehand."""

from collections.abc import Iterator
from contextlib import contextmanager

from benchmarks.bench import KEY, Bench, Row, Sides
from benchmarks.measure import Sample

_RING = {"ENCRYPTION_KEYS": f"new:{'ab' * 32},old:{KEY}"}
_BATCH = 5000
"""Rows; the rotation's own."""
_READY = """
CREATE TABLE ready (batch int, id text, old_a text, old_r text, new_a text, new_r text);
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
    new = {}
    with bench.connect(rotated) as connection:
        found = connection.execute("SELECT id, access_token, refresh_token FROM users")
        for key, *tokens in found:
            new[key] = tokens
    with bench.connect(name) as connection, bench.connect(name) as writing:
        connection.execute(_READY)
        old = connection.execute("SELECT id, access_token, refresh_token FROM users ORDER BY id")
        with writing.cursor() as cursor, cursor.copy("COPY ready FROM STDIN") as copy:
            for number, (key, *tokens) in enumerate(old):
                copy.write_row((number // _BATCH, key, *tokens, *new[key]))
        connection.execute("VACUUM (ANALYZE) ready")
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
