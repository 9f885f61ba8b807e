"""What a statement does: which lock on which table, does it rewrite or scan, what does it lose.

The locks are those of https://www.postgresql.org/docs/current/explicit-locking.html and of the
commands' own pages; a test holds them against what real servers take.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from enum import IntEnum

from leadctl.sql.statements import Reader


class Lock(IntEnum):
    """Table-level lock modes, the weakest first."""

    NONE = 0
    ACCESS_SHARE = 1
    ROW_SHARE = 2
    ROW_EXCLUSIVE = 3
    SHARE_UPDATE_EXCLUSIVE = 4
    SHARE = 5
    SHARE_ROW_EXCLUSIVE = 6
    EXCLUSIVE = 7
    ACCESS_EXCLUSIVE = 8

    @property
    def words(self) -> str:
        """The mode as PostgreSQL's manual writes it."""
        return self.name.replace("_", " ")

    @property
    def blocks(self) -> str:
        """What others cannot do on the table meanwhile."""
        if self is Lock.ACCESS_EXCLUSIVE:
            return "reads and writes"
        return "writes" if self >= Lock.SHARE else ""

    def conflicts(self, other: "Lock") -> bool:
        """Whether it waits for another session's lock; table 13.2 of the manual's page."""
        if self is other is Lock.SHARE:
            return False
        return other >= _WEAKEST_IN_CONFLICT[self]


_WEAKEST_IN_CONFLICT = {
    Lock.NONE: 9,
    Lock.ACCESS_SHARE: Lock.ACCESS_EXCLUSIVE,
    Lock.ROW_SHARE: Lock.EXCLUSIVE,
    Lock.ROW_EXCLUSIVE: Lock.SHARE,
    Lock.SHARE_UPDATE_EXCLUSIVE: Lock.SHARE_UPDATE_EXCLUSIVE,
    Lock.SHARE: Lock.ROW_EXCLUSIVE,
    Lock.SHARE_ROW_EXCLUSIVE: Lock.ROW_EXCLUSIVE,
    Lock.EXCLUSIVE: Lock.ROW_SHARE,
    Lock.ACCESS_EXCLUSIVE: Lock.ACCESS_SHARE,
}


@dataclass(frozen=True)
class Effect:
    """What a statement does to one table."""

    table: str
    lock: Lock
    rewrites: bool = False
    scans: bool = False
    """Whether it reads the whole table while it holds the lock."""
    drops: str = ""
    """What of the table is lost: "table", "rows", or "column NAME"."""


VOLATILE = frozenset(
    {
        "clock_timestamp",
        "gen_random_uuid",
        "nextval",
        "random",
        "timeofday",
        "uuid_generate_v1",
        "uuid_generate_v4",
        "uuidv4",
        "uuidv7",
    }
)
"""Functions whose result may differ at each call, for where no catalog can be asked."""


@dataclass(frozen=True)
class Facts:
    """What the live catalog knows, for what the text alone does not say.

    The defaults are what one must assume without a catalog.
    """

    is_volatile: Callable[[str], bool] = lambda name: name.rpartition(".")[2] in VOLATILE
    """Whether a function may return something else at each call."""
    type_change_rewrites: Callable[[str, str, str], bool] = lambda _table, _column, _type: True
    """Whether a change of (table, column, new type) writes every row anew."""
    has_not_null_check: Callable[[str, str], bool] = lambda _table, _column: False
    """Whether a validated CHECK (column IS NOT NULL) spares SET NOT NULL the scan."""
    table_of_index: Callable[[str], str | None] = lambda _index: None
    referencing: Callable[[str], list[str]] = lambda _table: []
    """The tables that a table's foreign keys refer to: dropping it locks them, too."""


def effects(sql: str, facts: Facts | None = None) -> list[Effect]:
    """Return what one statement does to existing tables; nothing for what touches none."""
    reader = Reader(sql)
    found = list(_dispatch(reader, facts or Facts()))
    merged: dict[str, Effect] = {}
    for effect in found:
        other = merged.get(effect.table)
        merged[effect.table] = effect if other is None else _both(other, effect)
    return [effect for effect in merged.values() if effect.table]


def made_by(sql: str) -> tuple[str, str | None] | None:
    """Return the table that a statement makes, and the one that it was before, if it was one."""
    reader = Reader(sql)
    if reader.accept("ALTER", "TABLE"):
        _skip_if_exists(reader)
        reader.accept("ONLY")
        before = reader.name()
        return (reader.name(), before) if reader.accept("RENAME", "TO") else None
    for words in (("TABLE",), ("UNLOGGED", "TABLE"), ("MATERIALIZED", "VIEW")):
        if reader.accept("CREATE", *words):
            _skip_if_exists(reader)
            return reader.name(), None
    return None


def _both(one: Effect, other: Effect) -> Effect:
    return Effect(
        one.table,
        max(one.lock, other.lock),
        one.rewrites or other.rewrites,
        one.scans or other.scans,
        ", ".join(filter(None, (one.drops, other.drops))),
    )


def _dispatch(reader: Reader, facts: Facts) -> Iterator[Effect]:
    for words, read in _STATEMENTS:
        if reader.accept(*words):
            yield from read(reader, facts)
            return


def _skip_if_exists(reader: Reader) -> None:
    reader.accept("IF", "NOT", "EXISTS") or reader.accept("IF", "EXISTS")


def _create_table(reader: Reader, facts: Facts) -> Iterator[Effect]:  # noqa: ARG001
    _skip_if_exists(reader)
    name = reader.name()
    if reader.accept("PARTITION", "OF"):
        yield Effect(reader.name(), Lock.ACCESS_EXCLUSIVE)
        return
    body = reader.parenthesised()
    while body is not None and not body.done:
        part = body.until_comma()
        if part.accept("LIKE"):
            yield Effect(part.name(), Lock.ACCESS_SHARE)
        elif part.skip_to("REFERENCES"):
            referenced = part.name()
            if referenced != name:
                yield Effect(referenced, Lock.SHARE_ROW_EXCLUSIVE)
    if reader.accept("INHERITS") and (parents := reader.parenthesised()):
        while not parents.done:
            yield Effect(parents.until_comma().name(), Lock.SHARE_UPDATE_EXCLUSIVE)


def _drop_table(reader: Reader, facts: Facts) -> Iterator[Effect]:
    _skip_if_exists(reader)
    while not reader.done:
        table = reader.until_comma().name()
        yield Effect(table, Lock.ACCESS_EXCLUSIVE, drops="table")
        for other in facts.referencing(table):
            yield Effect(other, Lock.ACCESS_EXCLUSIVE)


def _truncate(reader: Reader, facts: Facts) -> Iterator[Effect]:  # noqa: ARG001
    reader.accept("TABLE")
    reader.accept("ONLY")
    while not reader.done:
        yield Effect(reader.until_comma().name(), Lock.ACCESS_EXCLUSIVE, drops="rows")


def _create_index(reader: Reader, facts: Facts) -> Iterator[Effect]:  # noqa: ARG001
    concurrently = reader.accept("CONCURRENTLY")
    if reader.skip_to("ON"):
        reader.accept("ONLY")
        lock = Lock.SHARE_UPDATE_EXCLUSIVE if concurrently else Lock.SHARE
        yield Effect(reader.name(), lock, scans=True)


def _drop_index(reader: Reader, facts: Facts) -> Iterator[Effect]:
    lock = Lock.SHARE_UPDATE_EXCLUSIVE if reader.accept("CONCURRENTLY") else Lock.ACCESS_EXCLUSIVE
    _skip_if_exists(reader)
    while not reader.done:
        table = facts.table_of_index(reader.until_comma().name())
        if table:
            yield Effect(table, lock)


def _reindex(reader: Reader, facts: Facts) -> Iterator[Effect]:
    kind = reader.take().word
    lock = Lock.SHARE_UPDATE_EXCLUSIVE if reader.accept("CONCURRENTLY") else Lock.SHARE
    name = reader.name()
    table = name if kind == "TABLE" else facts.table_of_index(name)
    if table and kind in {"TABLE", "INDEX"}:
        yield Effect(table, lock, scans=True)


def _write(reader: Reader, facts: Facts) -> Iterator[Effect]:  # noqa: ARG001
    reader.accept("ONLY")
    yield Effect(reader.name(), Lock.ROW_EXCLUSIVE)


def _update(reader: Reader, facts: Facts) -> Iterator[Effect]:  # noqa: ARG001
    reader.accept("ONLY")
    table = reader.name()
    yield Effect(table, Lock.ROW_EXCLUSIVE, scans=not reader.has("WHERE"))


def _delete(reader: Reader, facts: Facts) -> Iterator[Effect]:  # noqa: ARG001
    reader.accept("ONLY")
    yield Effect(reader.name(), Lock.ROW_EXCLUSIVE, drops="rows")


def _lock(reader: Reader, facts: Facts) -> Iterator[Effect]:  # noqa: ARG001
    reader.accept("TABLE")
    reader.accept("ONLY")
    table = reader.name()
    mode = Lock.ACCESS_EXCLUSIVE
    if reader.accept("IN"):
        named = "_".join(word for word in reader.words() if word not in {"MODE", "NOWAIT"})
        mode = Lock[named] if named in Lock.__members__ else mode
    yield Effect(table, mode)


def _comment(reader: Reader, facts: Facts) -> Iterator[Effect]:  # noqa: ARG001
    if reader.accept("TABLE"):
        yield Effect(reader.name(), Lock.SHARE_UPDATE_EXCLUSIVE)
    elif reader.accept("COLUMN"):
        table = reader.name().rpartition(".")[0]
        yield Effect(table, Lock.SHARE_UPDATE_EXCLUSIVE)
    elif reader.accept("CONSTRAINT") and reader.skip_to("ON") and not reader.accept("DOMAIN"):
        yield Effect(reader.name(), Lock.ACCESS_SHARE)


def _on_table(lock: Lock) -> Callable[[Reader, Facts], Iterator[Effect]]:
    """Return the reader of a statement that names its table behind ON."""

    def read(reader: Reader, facts: Facts) -> Iterator[Effect]:  # noqa: ARG001
        if reader.skip_to("ON"):
            yield Effect(reader.name(), lock)

    return read


def _refresh(reader: Reader, facts: Facts) -> Iterator[Effect]:  # noqa: ARG001
    lock = Lock.EXCLUSIVE if reader.accept("CONCURRENTLY") else Lock.ACCESS_EXCLUSIVE
    yield Effect(reader.name(), lock, rewrites=True)


def _vacuum(reader: Reader, facts: Facts) -> Iterator[Effect]:  # noqa: ARG001
    full, analyzes = reader.has("FULL"), reader.text.upper().startswith("ANALYZE")
    if reader.peek().text == "(":
        reader.parenthesised()
    while reader.peek().word in {"FULL", "FREEZE", "VERBOSE", "ANALYZE"}:
        reader.take()
    if not reader.done:
        lock = Lock.ACCESS_EXCLUSIVE if full else Lock.SHARE_UPDATE_EXCLUSIVE
        yield Effect(reader.name(), lock, rewrites=full, scans=not analyzes)


def _create_statistics(reader: Reader, facts: Facts) -> Iterator[Effect]:  # noqa: ARG001
    if reader.skip_to("FROM"):
        yield Effect(reader.name(), Lock.SHARE_UPDATE_EXCLUSIVE)


def _cluster(reader: Reader, facts: Facts) -> Iterator[Effect]:  # noqa: ARG001
    reader.accept("VERBOSE")
    if not reader.done:
        yield Effect(reader.name(), Lock.ACCESS_EXCLUSIVE, rewrites=True)


def _alter_table(reader: Reader, facts: Facts) -> Iterator[Effect]:
    from leadctl.sql.alter import alter_table

    _skip_if_exists(reader)
    reader.accept("ONLY")
    table = reader.name()
    for effect in alter_table(reader, table, facts):
        yield replace(effect, table=effect.table or table)


_STATEMENTS: tuple[tuple[tuple[str, ...], Callable[[Reader, Facts], Iterator[Effect]]], ...] = (
    (("CREATE", "TABLE"), _create_table),
    (("CREATE", "UNLOGGED", "TABLE"), _create_table),
    (("DROP", "TABLE"), _drop_table),
    (("DROP", "MATERIALIZED", "VIEW"), _drop_table),
    (("TRUNCATE",), _truncate),
    (("CREATE", "INDEX"), _create_index),
    (("CREATE", "UNIQUE", "INDEX"), _create_index),
    (("DROP", "INDEX"), _drop_index),
    (("REINDEX",), _reindex),
    (("INSERT", "INTO"), _write),
    (("COPY",), _write),
    (("MERGE", "INTO"), _write),
    (("UPDATE",), _update),
    (("DELETE", "FROM"), _delete),
    (("LOCK",), _lock),
    (("COMMENT", "ON"), _comment),
    (("CREATE", "TRIGGER"), _on_table(Lock.SHARE_ROW_EXCLUSIVE)),
    (("CREATE", "OR", "REPLACE", "TRIGGER"), _on_table(Lock.SHARE_ROW_EXCLUSIVE)),
    (("CREATE", "CONSTRAINT", "TRIGGER"), _on_table(Lock.SHARE_ROW_EXCLUSIVE)),
    (("DROP", "TRIGGER"), _on_table(Lock.ACCESS_EXCLUSIVE)),
    (("CREATE", "POLICY"), _on_table(Lock.ACCESS_EXCLUSIVE)),
    (("ALTER", "POLICY"), _on_table(Lock.ACCESS_EXCLUSIVE)),
    (("DROP", "POLICY"), _on_table(Lock.ACCESS_EXCLUSIVE)),
    (("CREATE", "STATISTICS"), _create_statistics),
    (("REFRESH", "MATERIALIZED", "VIEW"), _refresh),
    (("CLUSTER",), _cluster),
    (("VACUUM",), _vacuum),
    (("ANALYZE",), _vacuum),
    (("ALTER", "TABLE"), _alter_table),
)
