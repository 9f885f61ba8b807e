"""Lock modes and what they block; what a statement does to a table; what only a catalog knows.

Which statement takes which lock says `effects`.
"""

from collections.abc import Callable
from dataclasses import dataclass
from enum import IntEnum


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
        """What other sessions cannot do on the table during that time."""
        if self is Lock.ACCESS_EXCLUSIVE:
            return "reads and writes"
        return "writes" if self >= Lock.SHARE else ""

    def conflicts(self, other: "Lock") -> bool:
        """Whether it waits for another session's lock; table 13.2 of the manual's page."""
        if self is other is Lock.SHARE:
            return False
        return other >= _WEAKEST_IN_CONFLICT[self]


LOCKS = {f"{mode.name.title().replace('_', '')}Lock": mode for mode in Lock}
"""By what pg_locks calls them."""
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
class StatementEffect:
    """The effect of a statement on one table."""

    table: str
    lock: Lock
    rewrites: bool = False
    scans: bool = False
    """Whether it reads the whole table while it holds the lock."""
    drops: tuple[str, ...] = ()
    """What of the table is lost: "table", "rows", "column NAME" each."""


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
class CatalogFacts:
    """Facts from the live catalog that the text alone does not tell.

    The defaults are what one must assume without a catalog.
    """

    is_volatile: Callable[[str], bool] = lambda name: name.rpartition(".")[2] in VOLATILE
    """Whether a function may return something else at each call."""
    type_change_rewrites: Callable[[str, str, str], bool] = lambda _table, _column, _type: True
    """Whether a change of (table, column, new type) writes every row again."""
    has_not_null_check: Callable[[str, str], bool] = lambda _table, _column: False
    """Whether a validated CHECK (column IS NOT NULL) spares SET NOT NULL the scan."""
    table_of_index: Callable[[str], str | None] = lambda _index: None
    referencing: Callable[[str], list[str]] = lambda _table: []
    """The tables that a table's foreign keys refer to: dropping it locks them, too."""
