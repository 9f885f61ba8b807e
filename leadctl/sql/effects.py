"""Which lock a statement takes on which table, whether it rewrites or scans it, what it loses.

The locks are those of https://www.postgresql.org/docs/current/explicit-locking.html and of the
commands' own pages; a test holds them against what real servers take.
"""

from collections.abc import Callable, Iterator

from leadctl.sql.lexer import Reader
from leadctl.sql.lock_modes import CatalogFacts, Lock, StatementEffect

_SERIAL = {"SERIAL", "BIGSERIAL", "SMALLSERIAL", "SERIAL4", "SERIAL8", "SERIAL2"}


def effects(sql: str, facts: CatalogFacts | None = None) -> list[StatementEffect]:
    """Return what one statement does to existing tables; nothing for what touches none."""
    merged: dict[str, StatementEffect] = {}
    for effect in _Statement(Reader(sql), facts or CatalogFacts()).effects():
        other = merged.get(effect.table)
        merged[effect.table] = effect if other is None else _both(other, effect)
    return [effect for effect in merged.values() if effect.table]


def created_by(sql: str) -> tuple[str, str | None] | None:
    """Return the table that a statement makes, and the one that it was before, if it was one."""
    reader = Reader(sql)
    if (before := reader.altered_table()) is not None:
        return (reader.name(), before) if reader.accept("RENAME", "TO") else None
    for words in (("TABLE",), ("UNLOGGED", "TABLE"), ("MATERIALIZED", "VIEW")):
        if reader.accept("CREATE", *words):
            reader.skip_if_exists()
            return reader.name(), None
    return None


def _both(one: StatementEffect, other: StatementEffect) -> StatementEffect:
    return StatementEffect(
        one.table,
        max(one.lock, other.lock),
        one.rewrites or other.rewrites,
        one.scans or other.scans,
        tuple(dict.fromkeys((*one.drops, *other.drops))),
    )


class _Statement:
    """Reads one statement, or one action of an ALTER TABLE on `table`, from left to right."""

    def __init__(self, reader: Reader, facts: CatalogFacts, table: str = "") -> None:
        self.reader = reader
        self.facts = facts
        self.table = table

    def effects(self) -> Iterator[StatementEffect]:
        for words, read in STATEMENTS:
            if self.reader.accept(*words):
                yield from read(self)
                return

    def _name(self) -> str:
        self.reader.accept("TABLE")
        return self.reader.table()

    def _listed(self) -> Iterator[str]:
        while not self.reader.done:
            yield self.reader.until_comma().table()

    def create_table(self) -> Iterator[StatementEffect]:
        self.reader.skip_if_exists()
        name = self.reader.name()
        if self.reader.accept("PARTITION", "OF"):
            yield StatementEffect(self.reader.name(), Lock.ACCESS_EXCLUSIVE)
            return
        yield from self._copied()
        body = self.reader.parenthesised()
        while body is not None and not body.done:
            part = body.until_comma()
            if part.accept("LIKE"):
                yield StatementEffect(part.name(), Lock.ACCESS_SHARE)
            elif part.skip_to("REFERENCES") and (referenced := part.name()) != name:
                yield StatementEffect(referenced, Lock.SHARE_ROW_EXCLUSIVE)
        if self.reader.accept("INHERITS") and (parents := self.reader.parenthesised()):
            while not parents.done:
                yield StatementEffect(parents.until_comma().name(), Lock.SHARE_UPDATE_EXCLUSIVE)

    def drop_table(self) -> Iterator[StatementEffect]:
        self.reader.skip_if_exists()
        for table in self._listed():
            yield StatementEffect(table, Lock.ACCESS_EXCLUSIVE, drops=("table",))
            for other in self.facts.referencing(table):
                yield StatementEffect(other, Lock.ACCESS_EXCLUSIVE)

    def truncate(self) -> Iterator[StatementEffect]:
        self.reader.accept("TABLE")
        for table in self._listed():
            yield StatementEffect(table, Lock.ACCESS_EXCLUSIVE, drops=("rows",))

    def create_index(self) -> Iterator[StatementEffect]:
        concurrently = self.reader.accept("CONCURRENTLY")
        if self.reader.skip_to("ON"):
            lock = Lock.SHARE_UPDATE_EXCLUSIVE if concurrently else Lock.SHARE
            yield StatementEffect(self._name(), lock, scans=True)

    def drop_index(self) -> Iterator[StatementEffect]:
        concurrently = self.reader.accept("CONCURRENTLY")
        self.reader.skip_if_exists()
        for index in self._listed():
            table = self.facts.table_of_index(index)
            if table:
                lock = Lock.SHARE_UPDATE_EXCLUSIVE if concurrently else Lock.ACCESS_EXCLUSIVE
                yield StatementEffect(table, lock)

    def reindex(self) -> Iterator[StatementEffect]:
        options = self.reader.parenthesised()
        kind = self.reader.take().word
        lock = Lock.SHARE
        if self.reader.accept("CONCURRENTLY") or (options and options.has("CONCURRENTLY")):
            lock = Lock.SHARE_UPDATE_EXCLUSIVE
        name = self.reader.name()
        table = name if kind == "TABLE" else self.facts.table_of_index(name)
        if table and kind in {"TABLE", "INDEX"}:
            yield StatementEffect(table, lock, scans=True)

    def write(self) -> Iterator[StatementEffect]:
        yield StatementEffect(self._name(), Lock.ROW_EXCLUSIVE)
        yield from self._copied()

    def _copied(self) -> Iterator[StatementEffect]:
        """Yield the tables that a SELECT without a condition reads."""
        if any(map(self.reader.has, ("WHERE", "LIMIT", "FETCH"))) or not self.reader.has("SELECT"):
            return
        while self.reader.skip_to("FROM", "JOIN"):
            self.reader.accept("ONLY")
            if self.reader.peek().name is not None:
                table = self.reader.name()
                if self.reader.peek().text != "(":  # a function
                    yield StatementEffect(table, Lock.ACCESS_SHARE, scans=True)

    def copy(self) -> Iterator[StatementEffect]:
        if self.reader.peek().text != "(":
            table = self._name()
            self.reader.parenthesised()
            if self.reader.accept("FROM"):
                yield StatementEffect(table, Lock.ROW_EXCLUSIVE)

    def update(self) -> Iterator[StatementEffect]:
        table = self._name()
        yield StatementEffect(table, Lock.ROW_EXCLUSIVE, scans=not self.reader.has("WHERE"))

    def delete(self) -> Iterator[StatementEffect]:
        yield StatementEffect(self._name(), Lock.ROW_EXCLUSIVE, drops=("rows",))

    def merge(self) -> Iterator[StatementEffect]:
        table = self._name()
        drops = ("rows",) if self.reader.has("THEN", "DELETE") else ()
        yield StatementEffect(table, Lock.ROW_EXCLUSIVE, drops=drops)

    def lock(self) -> Iterator[StatementEffect]:
        self.reader.accept("TABLE")
        tables, mode = [], Lock.ACCESS_EXCLUSIVE
        while True:
            tables.append(self.reader.table())
            if not self.reader.accept(","):
                break
        if self.reader.accept("IN"):
            words = self.reader.words()
            named = "_".join(word for word in words if word not in {"MODE", "NOWAIT"})
            mode = Lock[named] if named in Lock.__members__ else mode
        yield from (StatementEffect(table, mode) for table in tables)

    def comment(self) -> Iterator[StatementEffect]:
        if self.reader.accept("TABLE"):
            yield StatementEffect(self.reader.name(), Lock.SHARE_UPDATE_EXCLUSIVE)
        elif self.reader.accept("COLUMN"):
            table = self.reader.name().rpartition(".")[0]
            yield StatementEffect(table, Lock.SHARE_UPDATE_EXCLUSIVE)
        elif (
            self.reader.accept("CONSTRAINT")
            and self.reader.skip_to("ON")
            and not self.reader.accept("DOMAIN")
        ):
            yield StatementEffect(self.reader.name(), Lock.ACCESS_SHARE)

    def refresh(self) -> Iterator[StatementEffect]:
        concurrently = self.reader.accept("CONCURRENTLY")
        lock = Lock.EXCLUSIVE if concurrently else Lock.ACCESS_EXCLUSIVE
        yield StatementEffect(self.reader.name(), lock, rewrites=not concurrently)

    def vacuum(self) -> Iterator[StatementEffect]:
        options = self.reader.parenthesised()
        full = options is not None and _is_on(options, "FULL")
        full = full or self.reader.peek().word == "FULL"
        while self.reader.peek().word in {"FULL", "FREEZE", "VERBOSE", "ANALYZE"}:
            self.reader.take()
        if not self.reader.done:
            lock = Lock.ACCESS_EXCLUSIVE if full else Lock.SHARE_UPDATE_EXCLUSIVE
            analyzes = self.reader.text.upper().startswith("ANALY")
            for table in self._listed():
                yield StatementEffect(table, lock, rewrites=full, scans=not analyzes)

    def cluster(self) -> Iterator[StatementEffect]:
        self.reader.parenthesised()
        self.reader.accept("VERBOSE")
        if not self.reader.done:
            table = self.reader.name()
            table = self.reader.name() if self.reader.accept("ON") else table
            yield StatementEffect(table, Lock.ACCESS_EXCLUSIVE, rewrites=True)

    # ALTER TABLE: https://www.postgresql.org/docs/current/sql-altertable.html

    def alter_table(self) -> Iterator[StatementEffect]:
        self.reader.skip_if_exists()
        self.table = self._name()
        if self.reader.accept("ATTACH", "PARTITION"):
            yield self.altered(Lock.SHARE_UPDATE_EXCLUSIVE)
            yield StatementEffect(self.reader.name(), Lock.ACCESS_EXCLUSIVE, scans=True)
        elif self.reader.accept("DETACH", "PARTITION"):
            part = self.reader.name()
            concurrently = self.reader.has("CONCURRENTLY")
            lock = Lock.SHARE_UPDATE_EXCLUSIVE if concurrently else Lock.ACCESS_EXCLUSIVE
            yield self.altered(lock)
            yield StatementEffect(part, Lock.ACCESS_EXCLUSIVE)
        else:
            while not self.reader.done:
                part_of = _Statement(self.reader.until_comma(), self.facts, self.table)
                yield from part_of.action()

    def action(self) -> Iterator[StatementEffect]:
        for words, read in _ACTIONS:
            if self.reader.accept(*words):
                yield from read(self)
                return
        yield self.altered(Lock.ACCESS_EXCLUSIVE)

    def altered(
        self,
        lock: Lock,
        *,
        rewrites: bool = False,
        scans: bool = False,
        drops: tuple[str, ...] = (),
    ) -> StatementEffect:
        return StatementEffect(self.table, lock, rewrites, scans, drops)

    def add(self) -> Iterator[StatementEffect]:
        kinds = {"CONSTRAINT", "FOREIGN", "PRIMARY", "UNIQUE", "CHECK", "EXCLUDE", "NOT"}
        constraint = self.reader.peek().word in kinds
        yield from self.add_constraint() if constraint else self.add_column()

    def add_constraint(self) -> Iterator[StatementEffect]:
        if self.reader.accept("CONSTRAINT"):
            self.reader.name()
        scans = not self.reader.has("NOT", "VALID")
        if self.reader.accept("FOREIGN", "KEY"):
            yield self.altered(Lock.SHARE_ROW_EXCLUSIVE, scans=scans)
            yield from self._referenced()
            return
        if not (self.reader.accept("CHECK") or self.reader.accept("NOT", "NULL")):
            # PRIMARY KEY, UNIQUE, EXCLUDE: an index is built, unless one is taken over.
            scans = not self.reader.has("USING", "INDEX")
        yield self.altered(Lock.ACCESS_EXCLUSIVE, scans=scans)

    def _referenced(self, *, scans: bool = False) -> Iterator[StatementEffect]:
        if self.reader.skip_to("REFERENCES"):
            yield StatementEffect(self.reader.name(), Lock.SHARE_ROW_EXCLUSIVE, scans=scans)

    def add_column(self) -> Iterator[StatementEffect]:
        self.reader.skip_if_exists()
        self.reader.name()
        words, has = set(self.reader.words()), self.reader.has
        volatile = any(self.facts.is_volatile(name) for name in self.reader.called())
        generated = has("GENERATED") and not has("VIRTUAL")
        filled = has("STORED") or has("AS", "IDENTITY") or bool(words & _SERIAL)
        refers = "REFERENCES" in words and "DEFAULT" in words and not has("DEFAULT", "NULL")
        yield self.altered(
            Lock.ACCESS_EXCLUSIVE,
            rewrites=filled or (volatile and not generated),
            scans=refers or bool(words & {"PRIMARY", "UNIQUE", "CHECK"}),
        )
        yield from self._referenced(scans=refers)

    def drop_column(self) -> Iterator[StatementEffect]:
        self.reader.skip_if_exists()
        yield self.altered(Lock.ACCESS_EXCLUSIVE, drops=(f"column {self.reader.name()}",))

    def alter_column(self) -> Iterator[StatementEffect]:
        reader, column = self.reader, self.reader.name()
        if reader.accept("SET", "NOT", "NULL"):
            scans = not self.facts.has_not_null_check(self.table, column)
            yield self.altered(Lock.ACCESS_EXCLUSIVE, scans=scans)
        elif reader.accept("SET", "STATISTICS") or reader.peek(1).text == "(":
            yield self.altered(Lock.SHARE_UPDATE_EXCLUSIVE)
        elif reader.accept("TYPE") or reader.accept("SET", "DATA", "TYPE"):
            rewrites = reader.has("USING") or self.facts.type_change_rewrites(
                self.table, column, reader.rest()
            )
            yield self.altered(Lock.ACCESS_EXCLUSIVE, rewrites=rewrites)
        else:
            yield self.altered(Lock.ACCESS_EXCLUSIVE)

    def set(self) -> Iterator[StatementEffect]:
        options = self.reader.parenthesised()
        catalog_table = options is not None and options.has("USER_CATALOG_TABLE")
        if (options and not catalog_table) or self.reader.accept("WITHOUT", "CLUSTER"):
            yield self.altered(Lock.SHARE_UPDATE_EXCLUSIVE)
            return
        copies = self.reader.peek().word in {"LOGGED", "UNLOGGED", "ACCESS", "TABLESPACE"}
        yield self.altered(Lock.ACCESS_EXCLUSIVE, rewrites=copies)


def _is_on(options: Reader, name: str) -> bool:
    """Whether an option of a list is on, as it is where no value follows."""
    while not options.done:
        option = options.until_comma()
        if option.accept(name):
            return option.done or option.take().text.strip("'").upper() in {"ON", "TRUE", "1"}
    return False


_Read = Callable[[_Statement], Iterator[StatementEffect]]


def _behind(word: str, lock: Lock) -> _Read:
    """Return the reader of a statement that names its table behind a word."""

    def read(statement: _Statement) -> Iterator[StatementEffect]:
        if statement.reader.skip_to(word):
            yield StatementEffect(statement.reader.name(), lock)

    return read


def _lock(lock: Lock, *, scans: bool = False) -> _Read:
    """Return the reader of an action that takes a lock, whatever follows."""
    return lambda action: iter([action.altered(lock, scans=scans)])


STATEMENTS: tuple[tuple[tuple[str, ...], _Read], ...] = (
    (("CREATE", "TABLE"), _Statement.create_table),
    (("CREATE", "UNLOGGED", "TABLE"), _Statement.create_table),
    (("DROP", "TABLE"), _Statement.drop_table),
    (("DROP", "MATERIALIZED", "VIEW"), _Statement.drop_table),
    (("TRUNCATE",), _Statement.truncate),
    (("CREATE", "INDEX"), _Statement.create_index),
    (("CREATE", "UNIQUE", "INDEX"), _Statement.create_index),
    (("DROP", "INDEX"), _Statement.drop_index),
    (("REINDEX",), _Statement.reindex),
    (("INSERT", "INTO"), _Statement.write),
    (("COPY",), _Statement.copy),
    (("MERGE", "INTO"), _Statement.merge),
    (("UPDATE",), _Statement.update),
    (("DELETE", "FROM"), _Statement.delete),
    (("LOCK",), _Statement.lock),
    (("COMMENT", "ON"), _Statement.comment),
    (("CREATE", "TRIGGER"), _behind("ON", Lock.SHARE_ROW_EXCLUSIVE)),
    (("CREATE", "OR", "REPLACE", "TRIGGER"), _behind("ON", Lock.SHARE_ROW_EXCLUSIVE)),
    (("CREATE", "CONSTRAINT", "TRIGGER"), _behind("ON", Lock.SHARE_ROW_EXCLUSIVE)),
    (("DROP", "TRIGGER"), _behind("ON", Lock.ACCESS_EXCLUSIVE)),
    (("CREATE", "POLICY"), _behind("ON", Lock.ACCESS_EXCLUSIVE)),
    (("ALTER", "POLICY"), _behind("ON", Lock.ACCESS_EXCLUSIVE)),
    (("DROP", "POLICY"), _behind("ON", Lock.ACCESS_EXCLUSIVE)),
    (("CREATE", "STATISTICS"), _behind("FROM", Lock.SHARE_UPDATE_EXCLUSIVE)),
    (("REFRESH", "MATERIALIZED", "VIEW"), _Statement.refresh),
    (("CLUSTER",), _Statement.cluster),
    (("VACUUM",), _Statement.vacuum),
    (("ANALYZE",), _Statement.vacuum),
    (("ANALYSE",), _Statement.vacuum),
    (("ALTER", "TABLE"), _Statement.alter_table),
)
_ACTIONS: tuple[tuple[tuple[str, ...], _Read], ...] = (
    (("ADD", "COLUMN"), _Statement.add_column),
    (("ADD",), _Statement.add),
    (("DROP", "CONSTRAINT"), _lock(Lock.ACCESS_EXCLUSIVE)),
    (("DROP", "COLUMN"), _Statement.drop_column),
    (("DROP",), _Statement.drop_column),
    (("ALTER", "CONSTRAINT"), _lock(Lock.ACCESS_EXCLUSIVE)),
    (("ALTER", "COLUMN"), _Statement.alter_column),
    (("ALTER",), _Statement.alter_column),
    (("VALIDATE", "CONSTRAINT"), _lock(Lock.SHARE_UPDATE_EXCLUSIVE, scans=True)),
    (("ENABLE", "ROW"), _lock(Lock.ACCESS_EXCLUSIVE)),
    (("DISABLE", "ROW"), _lock(Lock.ACCESS_EXCLUSIVE)),
    (("ENABLE", "RULE"), _lock(Lock.ACCESS_EXCLUSIVE)),
    (("DISABLE", "RULE"), _lock(Lock.ACCESS_EXCLUSIVE)),
    (("ENABLE",), _lock(Lock.SHARE_ROW_EXCLUSIVE)),
    (("DISABLE",), _lock(Lock.SHARE_ROW_EXCLUSIVE)),
    (("CLUSTER", "ON"), _lock(Lock.SHARE_UPDATE_EXCLUSIVE)),
    (("RESET",), _lock(Lock.SHARE_UPDATE_EXCLUSIVE)),
    (("SET",), _Statement.set),
)
