"""Which rows go together with others, and which cannot go, by the foreign keys between them.

A row that goes takes along what refers to it by a cascade.  What refers to it otherwise must go in
the same transaction; rows of the rule's table do that if they are due.  Any other row stays, and so
does every row that cannot go without it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import psycopg
from psycopg import sql

from leadctl.catalog.facets import Reference
from leadctl.cleanup import QUERIES
from leadctl.cleanup.results import RowsKept
from leadctl.cleanup.rules import RuleTable
from leadctl.cleanup.statements import Statements
from leadctl.postgres import exact
from leadctl.postgres.connect import Connection
from leadctl.postgres.queries import escaped, identifier, written_by_server

_LOOKS = 10
"""How often the rows that go along are locked and looked at, until no more turn up."""
COUNT_CASCADED = sql.SQL("SELECT tab::bigint, pg_catalog.count(*) FROM leadctl_gone GROUP BY tab")
_ROWS_BY_RELATION = sql.SQL(
    "SELECT tab::bigint, rel::bigint, rel::pg_catalog.regclass::pg_catalog.text,"
    " pg_catalog.array_agg(tid ORDER BY tid)::pg_catalog.text"
    " FROM leadctl_gone GROUP BY tab, rel ORDER BY 1, 2"
)


def with_cascaded(
    statements: Statements, start: sql.Composable, result: sql.Composable
) -> sql.Composed:
    """Select `result` of leadctl_gone (tab, rel, tid): rows of `start`, and what cascades take.

    `tab` is the oid of a table, `rel` of the partition that has the row, if it has any.
    """
    steps = [
        sql.SQL("SELECT {}::pg_catalog.oid, rel, tid FROM ({}) AS child").format(
            key.child, _children(key)
        )
        for key in statements.table.cascades
    ]
    return sql.SQL(
        "WITH RECURSIVE leadctl_gone (tab, rel, tid) AS ("
        "SELECT {tab}::pg_catalog.oid, {rel}::pg_catalog.oid, tid FROM ({start}) AS start (tid)"
        " {steps}) {result}"
    ).format(
        tab=statements.table.oid,
        rel=statements.heap,
        start=start,
        steps=_recursive(sql.SQL("leadctl_gone AS this"), steps),
        result=result,
    )


def keeps_below(connection: Connection, table: RuleTable) -> bool:
    """Whether a trigger or a rule may keep a row, without an error, that a cascade is to take.

    It would be left without the row that it refers to, as after any DELETE.
    """
    oids = list({key.child for key in table.cascades})
    return bool(oids) and bool(QUERIES.value(connection, "keeps_silently", oids=oids))


def lock_all(
    connection: Connection, statements: Statements, values: Mapping[str, Any]
) -> list[tuple[int, str, str]]:
    """Return the rows that go as (table, relation, ctids), all of them locked.

    Rows that others add or move meanwhile need a lock on a row that is locked already; so the
    look that finds nothing new has found everything.
    """
    table = statements.table
    if not table.cascades:
        ((tids,),) = connection.execute(
            sql.SQL(
                "SELECT pg_catalog.array_agg(ctid ORDER BY ctid)::pg_catalog.text FROM ({}) AS due"
            ).format(statements.still_due),
            values,
        ).fetchall()
        return [(table.oid, statements.qualified, tids)]
    closure = with_cascaded(statements, statements.still_due, _ROWS_BY_RELATION)
    before: list[Any] = []
    for _ in range(_LOOKS):
        found = connection.execute(closure, values).fetchall()
        if found == before:
            # The rule's own rows first: the others refer to them.
            ordered = sorted(found, key=lambda row: list(table.tables).index(row[0]))
            return [(tab, _named(statements, tab, name), tids) for tab, _, name, tids in ordered]
        for tab, _, name, tids in found:
            lock = sql.SQL("SELECT FROM ONLY {} WHERE {} FOR UPDATE")
            named = identifier(_named(statements, tab, name))
            connection.execute(lock.format(named, is_one_of(tids)))
        before = found
    raise psycopg.errors.LockNotAvailable("rows that would be deleted with it keep changing")


def _named(statements: Statements, tab: int, relation: str) -> str:
    """Return a relation's name; of a shard on another node of Citus that of its table."""
    if not relation.isdigit():
        return relation
    children = {key.child: key for key in statements.table.cascades}
    if tab not in children:
        return statements.qualified
    return sql.Identifier(children[tab].child_schema, children[tab].child_table).as_string()


def require_gone(connection: Connection, rows: Sequence[tuple[int, str, str]]) -> None:
    """Raise RowsKept where one of the rows that `lock_all` returned is still there."""
    for _, name, tids in rows:
        left = sql.SQL("SELECT FROM ONLY {} WHERE {} LIMIT 1")
        if connection.execute(left.format(identifier(name), is_one_of(tids))).rowcount:
            raise RowsKept


def is_one_of(tids: str) -> sql.Composed:
    """Return the condition that a row is one of those that are named in a text."""
    return sql.SQL("ctid OPERATOR(pg_catalog.=) ANY ({}::pg_catalog.tid[])").format(tids)


@dataclass(frozen=True)
class SortedRows:
    """The rows of a batch, by what the foreign keys between them and others say."""

    going: list[str]
    """Rows that can go, with those that must go along; these come before what they refer to."""
    staying: Mapping[str, str] = field(default_factory=dict)
    """Rows that are due and cannot go, and why; they need not be of the batch."""
    is_whole: bool = True
    """Whether all that must go along was found; there may be too many for a transaction."""


class References:
    """Sorts rows of a rule's table into those that can go and those that cannot."""

    def __init__(self, connection: Connection, statements: Statements) -> None:
        self._connection = connection
        self._statements = statements
        table = statements.table
        oids = {oid for key in table.referring for oid in (key.child, key.parent)}
        asked = {"oids": list(oids), "role": statements.reads_as}
        readable = {oid for (oid,) in QUERIES.rows(connection, "readable", **asked)}
        # Which rows a temporal key needs, or one of a table that may not be read, the server says.
        keeps = [
            key for key in table.keeps if {key.child, key.parent} <= readable and not key.period
        ]
        cascades = [key for key in table.cascades if {key.child, key.parent} <= readable]
        self._held_by = [key for key in keeps if key not in table.links]
        self._links = [key for key in keeps if key in table.links]
        self._keys = [*keeps, *_leading_to(cascades, keeps)]

    @property
    def link_rows(self) -> bool:
        """Whether rows of the rule may have to go in one transaction."""
        return bool(self._links)

    @property
    def hold_rows(self) -> bool:
        """Whether there is a foreign key that may keep a row."""
        return bool(self._links or self._held_by)

    def sort(self, tids: list[str], refused: Sequence[str], limit: int) -> SortedRows:
        """Find what must go along with rows that are due, and which of all these cannot go.

        `refused` are rows that stay.  Of more than `limit` rows the rest is not looked at.
        """
        values = {**self._statements.values, "rows": tids, "refused": refused, "limit": limit + 1}
        with exact.as_owner(self._connection, self._statements.reads_as):
            # A prepared plan would compare each row with each that was refused.
            found = self._connection.execute(self._sorting, values, prepare=False).fetchall()
        _, count = found.pop()
        staying = {tid: self._reason(number) for tid, number in found if number is not None}
        going = [tid for tid, number in found if number is None and tid not in staying]
        return SortedRows(going[::-1], staying, is_whole=count <= limit)

    def _reason(self, number: int) -> str:
        key = self._keys[number]
        if key in self._held_by:
            what = f"a row of {key.child_quoted} refers to it"
        elif key in self._links:
            what = f"a row of {key.child_quoted} that is kept refers to it"
        else:
            what = f"a row of {key.child_quoted} that must be kept would be deleted with it"
        return f"{what} (foreign key {key.name})"

    @cached_property
    def _sorting(self) -> sql.Composed:
        """Which rows go with the rows %(rows)s, which stay by which key, and how many were found.

        `goes` says of a row that it is due, or that a cascade takes it.
        """
        table = self._statements.table
        rows = {"tab": table.oid, "rel": self._statements.heap}
        down, up, stay = list[sql.Composable](), list[sql.Composable](), [self._undue]
        for number, key in enumerate(self._keys):
            known = {"number": number, "child": key.child, "parent": key.parent}
            if key in self._held_by:
                held = sql.SQL(
                    "SELECT this.tab, this.rel, this.tid, {number} FROM leadctl_known AS this"
                    " CROSS JOIN LATERAL ({rows} LIMIT 1) AS leadctl_row WHERE this.goes"
                )
                stay.append(held.format(rows=_children(key), **known))
                continue
            goes = sql.SQL("true") if key in table.cascades else self._is_due(key.child)
            down.append(
                sql.SQL(
                    "SELECT {child}::pg_catalog.oid, rel, tid, {goes} FROM ({rows}) AS leadctl_row"
                ).format(rows=_children(key), goes=goes, **known)
            )
            stays = sql.SQL("true") if key.parent != table.oid else self._is_due(key.parent)
            up.append(
                sql.SQL(
                    "SELECT {parent}::pg_catalog.oid, rel, tid, {number}"
                    " FROM ({rows}) AS leadctl_row WHERE {stays}"
                ).format(rows=_parents(key), stays=stays, **known)
            )
        return sql.SQL(
            "WITH RECURSIVE leadctl_gone (tab, rel, tid, goes) AS ("
            "SELECT {tab}::pg_catalog.oid, {rel}::pg_catalog.oid,"
            " pg_catalog.unnest(%(rows)s::pg_catalog.tid[]), true {down}),"
            " leadctl_known AS MATERIALIZED (SELECT * FROM leadctl_gone LIMIT %(limit)s),"
            " leadctl_stays (tab, rel, tid, key) AS (({stay}) {up}) "
            "SELECT tid, NULL FROM leadctl_known"
            " WHERE goes AND rel OPERATOR(pg_catalog.=) {rel}::pg_catalog.oid"
            " UNION ALL (SELECT tid, key FROM leadctl_stays"
            " WHERE key OPERATOR(pg_catalog.>=) 0"
            " AND rel OPERATOR(pg_catalog.=) {rel}::pg_catalog.oid LIMIT %(limit)s)"
            " UNION ALL SELECT NULL, pg_catalog.count(*)::pg_catalog.int4 FROM leadctl_known"
        ).format(
            down=_recursive(sql.SQL("leadctl_gone AS this"), down, sql.SQL(" WHERE this.goes")),
            stay=sql.SQL(" UNION ALL ").join(stay),
            up=_recursive(sql.SQL("leadctl_stays AS this"), up),
            **rows,
        )

    @property
    def _undue(self) -> sql.Composable:
        """Rows that stay since they are not due, unless a cascade may take them all the same."""
        table = self._statements.table
        is_certain = table.oid not in {key.child for key in table.cascades}
        return sql.SQL(
            "SELECT tab, rel, tid, -1 FROM (SELECT tab, rel, tid FROM leadctl_known"
            " WHERE NOT goes AND tab OPERATOR(pg_catalog.=) {tab}::pg_catalog.oid AND {is_certain}"
            " EXCEPT SELECT tab, rel, tid FROM leadctl_known WHERE goes) AS undue"
        ).format(tab=table.oid, is_certain=is_certain)

    def _is_due(self, table: int) -> sql.Composable:
        """Whether `leadctl_row` is a row of the rule's table, or this partition, that may go."""
        if table != self._statements.table.oid:
            return sql.SQL("false")
        # Not EXISTS, for which the planner might read the whole table.
        return sql.SQL(
            "coalesce(({tables}SELECT true FROM {source}"
            " WHERE {heap}::pg_catalog.oid OPERATOR(pg_catalog.=) leadctl_row.rel"
            " AND ctid OPERATOR(pg_catalog.=) leadctl_row.tid AND {due} LIMIT 1), false)"
            " AND leadctl_row.tid OPERATOR(pg_catalog.<>) ALL (%(refused)s::pg_catalog.tid[])"
        ).format(
            tables=self._statements.tables,
            source=self._statements.source,
            heap=self._statements.heap,
            due=self._statements.due,
        )


_EVERY = _NOTHING = sql.SQL("")
_ONLY = sql.SQL("ONLY ")


def _leading_to(cascades: Sequence[Reference], keeps: Sequence[Reference]) -> list[Reference]:
    """Return the cascades that may take a row to which one of the other keys refers."""
    needed, found = {key.parent for key in keeps}, list[Reference]()
    while more := [key for key in cascades if key.child in needed and key not in found]:
        found += more
        needed |= {key.parent for key in more}
    return found


def _recursive(
    this: sql.Composable, steps: Sequence[sql.Composable], where: sql.Composable = _EVERY
) -> sql.Composable:
    if not steps:
        return sql.SQL("")
    return sql.SQL("UNION SELECT found.* FROM {} CROSS JOIN LATERAL ({}) AS found{}").format(
        this, sql.SQL(" UNION ALL ").join(steps), where
    )


def _children(key: Reference) -> sql.Composed:
    """The rows (rel, tid) that refer by a key to the row `this`."""
    return _others(key, this=sql.SQL("parent"), other=sql.SQL("child"))


def _parents(key: Reference) -> sql.Composed:
    """The rows (rel, tid) to which the row `this` refers by a key."""
    return _others(key, this=sql.SQL("child"), other=sql.SQL("parent"))


def _others(key: Reference, *, this: sql.SQL, other: sql.SQL) -> sql.Composed:
    same = sql.SQL(" AND ").join(
        sql.SQL("parent.{} {} child.{}").format(
            escaped(referred),
            written_by_server(f"OPERATOR({operator})".replace("%", "%%")),
            escaped(column),
        )
        for column, referred, operator in zip(key.columns, key.referred, key.equal, strict=True)
    )
    parent = escaped(key.parent_schema, key.parent_table)
    child = escaped(key.child_schema, key.child_table)
    tables = {
        "parent": (key.parent, parent, key.parent_partitioned),
        "child": (key.child, child, key.child_partitioned),
    }
    this_oid, this_table, this_partitioned = tables[this.as_string()]
    other_oid, other_table, other_partitioned = tables[other.as_string()]
    # Where Citus has the rows on another node, its tableoid is another one than ours.
    heap, held = sql.SQL("{}.tableoid"), sql.SQL(" AND {}.tableoid OPERATOR(pg_catalog.=) this.rel")
    # OFFSET 0 keeps the planner from joining the whole tables for the sake of a batch.
    return sql.SQL(
        "SELECT {other}.rel, {other}.ctid AS tid FROM ("
        "SELECT {this}.* FROM {only_this}{this_table} AS {this}"
        " WHERE this.tab OPERATOR(pg_catalog.=) {this_oid}::pg_catalog.oid"
        " AND {this}.ctid OPERATOR(pg_catalog.=) this.tid{held} OFFSET 0) AS {this}"
        " CROSS JOIN LATERAL (SELECT {heap} AS rel, {other}.ctid"
        " FROM {only_other}{other_table} AS {other} WHERE {same} OFFSET 0) AS {other}"
    ).format(
        this=this,
        other=other,
        this_oid=this_oid,
        this_table=this_table,
        other_table=other_table,
        only_this=_NOTHING if this_partitioned else _ONLY,
        only_other=_NOTHING if other_partitioned else _ONLY,
        held=held.format(this) if this_partitioned else _NOTHING,
        heap=heap.format(other)
        if other_partitioned
        else sql.SQL("{}::pg_catalog.oid").format(other_oid),
        same=same,
    )
