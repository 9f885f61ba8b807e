"""The forms of ALTER TABLE: https://www.postgresql.org/docs/current/sql-altertable.html."""

from collections.abc import Callable, Iterator

from leadctl.sql.effects import Effect, Facts, Lock
from leadctl.sql.statements import Reader

Read = Callable[[Reader, str, Facts], Iterator[Effect]]

_SERIAL = {"SERIAL", "BIGSERIAL", "SMALLSERIAL", "SERIAL4", "SERIAL8", "SERIAL2"}


def alter_table(reader: Reader, table: str, facts: Facts) -> Iterator[Effect]:
    """Yield what each action of an ALTER TABLE does; an empty table stands for the altered one."""
    if reader.accept("ATTACH", "PARTITION"):
        yield Effect("", Lock.SHARE_UPDATE_EXCLUSIVE)
        yield Effect(reader.name(), Lock.ACCESS_EXCLUSIVE, scans=True)
        return
    if reader.accept("DETACH", "PARTITION"):
        child = reader.name()
        lock = Lock.SHARE_UPDATE_EXCLUSIVE if reader.has("CONCURRENTLY") else Lock.ACCESS_EXCLUSIVE
        yield Effect("", lock)
        yield Effect(child, Lock.ACCESS_EXCLUSIVE)
        return
    while not reader.done:
        yield from _action(reader.until_comma(), table, facts)


def _action(action: Reader, table: str, facts: Facts) -> Iterator[Effect]:
    for words, read in _ACTIONS:
        if action.accept(*words):
            yield from read(action, table, facts)
            return
    yield Effect("", Lock.ACCESS_EXCLUSIVE)


def _add_constraint(action: Reader, table: str, facts: Facts) -> Iterator[Effect]:  # noqa: ARG001
    """Read a constraint from its kind on; before it stands its name, if it has one."""
    if action.accept("CONSTRAINT"):
        action.name()
    scans = not action.has("NOT", "VALID")
    if action.accept("FOREIGN", "KEY"):
        yield Effect("", Lock.SHARE_ROW_EXCLUSIVE, scans=scans)
        if action.skip_to("REFERENCES"):
            yield Effect(action.name(), Lock.SHARE_ROW_EXCLUSIVE)
        return
    if not (action.accept("CHECK") or action.accept("NOT", "NULL")):
        # PRIMARY KEY, UNIQUE, EXCLUDE: an index is built, unless one is taken over.
        scans = not action.has("USING", "INDEX")
    yield Effect("", Lock.ACCESS_EXCLUSIVE, scans=scans)


def _add(action: Reader, table: str, facts: Facts) -> Iterator[Effect]:
    constraint = action.peek().word in {
        "CONSTRAINT",
        "FOREIGN",
        "PRIMARY",
        "UNIQUE",
        "CHECK",
        "EXCLUDE",
    }
    yield from (_add_constraint if constraint else _add_column)(action, table, facts)


def _add_column(action: Reader, table: str, facts: Facts) -> Iterator[Effect]:  # noqa: ARG001
    action.accept("IF", "NOT", "EXISTS")
    action.name()
    words = set(action.words())
    stored = action.has("STORED")
    volatile = any(facts.is_volatile(name) for name in action.called())
    generated = action.has("GENERATED") and not action.has("VIRTUAL")
    identity = action.has("AS", "IDENTITY")
    rewrites = stored or identity or bool(words & _SERIAL) or (volatile and not generated)
    index = "PRIMARY" in words or "UNIQUE" in words
    scans = index or "CHECK" in words
    yield Effect("", Lock.ACCESS_EXCLUSIVE, rewrites=rewrites, scans=scans)
    if action.skip_to("REFERENCES"):
        yield Effect(action.name(), Lock.SHARE_ROW_EXCLUSIVE)


def _drop_column(action: Reader, table: str, facts: Facts) -> Iterator[Effect]:  # noqa: ARG001
    action.accept("IF", "EXISTS")
    yield Effect("", Lock.ACCESS_EXCLUSIVE, drops=f"column {action.name()}")


def _alter_column(action: Reader, table: str, facts: Facts) -> Iterator[Effect]:
    column = action.name()
    if action.accept("SET", "NOT", "NULL"):
        scans = not facts.has_not_null_check(table, column)
        yield Effect("", Lock.ACCESS_EXCLUSIVE, scans=scans)
    elif action.accept("SET", "STATISTICS") or action.peek(1).text == "(":
        yield Effect("", Lock.SHARE_UPDATE_EXCLUSIVE)
    elif action.accept("TYPE") or action.accept("SET", "DATA", "TYPE"):
        kind = action.rest()
        using = action.has("USING")
        rewrites = using or facts.type_change_rewrites(table, column, kind)
        yield Effect("", Lock.ACCESS_EXCLUSIVE, rewrites=rewrites)
    else:
        yield Effect("", Lock.ACCESS_EXCLUSIVE)


def _lock(lock: Lock, *, rewrites: bool = False, scans: bool = False) -> Read:
    def read(action: Reader, table: str, facts: Facts) -> Iterator[Effect]:  # noqa: ARG001
        yield Effect("", lock, rewrites=rewrites, scans=scans)

    return read


def _set(action: Reader, table: str, facts: Facts) -> Iterator[Effect]:  # noqa: ARG001
    if action.peek().text == "(" or action.accept("WITHOUT", "CLUSTER"):
        yield Effect("", Lock.SHARE_UPDATE_EXCLUSIVE)
        return
    copies = action.peek().word in {"LOGGED", "UNLOGGED", "ACCESS", "TABLESPACE"}
    yield Effect("", Lock.ACCESS_EXCLUSIVE, rewrites=copies)


_ACTIONS: tuple[tuple[tuple[str, ...], Read], ...] = (
    (("ADD", "COLUMN"), _add_column),
    (("ADD",), _add),
    (("DROP", "CONSTRAINT"), _lock(Lock.ACCESS_EXCLUSIVE)),
    (("DROP", "COLUMN"), _drop_column),
    (("DROP",), _drop_column),
    (("ALTER", "CONSTRAINT"), _lock(Lock.SHARE_ROW_EXCLUSIVE)),
    (("ALTER", "COLUMN"), _alter_column),
    (("ALTER",), _alter_column),
    (("VALIDATE", "CONSTRAINT"), _lock(Lock.SHARE_UPDATE_EXCLUSIVE, scans=True)),
    (("ENABLE", "ROW"), _lock(Lock.ACCESS_EXCLUSIVE)),
    (("DISABLE", "ROW"), _lock(Lock.ACCESS_EXCLUSIVE)),
    (("ENABLE", "RULE"), _lock(Lock.ACCESS_EXCLUSIVE)),
    (("DISABLE", "RULE"), _lock(Lock.ACCESS_EXCLUSIVE)),
    (("ENABLE",), _lock(Lock.SHARE_ROW_EXCLUSIVE)),
    (("DISABLE",), _lock(Lock.SHARE_ROW_EXCLUSIVE)),
    (("CLUSTER", "ON"), _lock(Lock.SHARE_UPDATE_EXCLUSIVE)),
    (("RESET",), _lock(Lock.SHARE_UPDATE_EXCLUSIVE)),
    (("SET",), _set),
)
