"""The forms that let others write to a big table meanwhile, each in the revision that it needs.

https://www.postgresql.org/docs/current/sql-altertable.html, "Notes"
"""

import re
from collections.abc import Iterator
from dataclasses import replace
from hashlib import sha256

from leadctl.catalog.definitions import Attributes, split_name
from leadctl.migrate.ddl.steps import Fill, Phase, Stage, Step, identifier, plain
from leadctl.migrate.ddl.tables import column, is_required, require, required
from leadctl.postgres import LONGEST_NAME
from leadctl.sql.lock_modes import VOLATILE

_CONCURRENTLY = "Built while others write, so outside a transaction; it can be run again."
_NOT_VALID = "The rows are held against it in the next revision, while others write."
_CHECKED = "The CHECK spares NOT NULL the scan, if it is dropped by a statement of its own."
_COLUMNS = re.compile(r'\((?:"(?:[^"]|"")*"|[^")])*\)')


def create_index(statement: str) -> Step:
    """Return the step that builds an index while others write."""
    gentle = re.sub(r" INDEX ", " INDEX CONCURRENTLY IF NOT EXISTS ", statement, count=1)
    return Step(gentle, Phase.INDEX, why=_CONCURRENTLY, stage=Stage.INDEX)


def drop_index(name: str) -> Step:
    """Return the step that drops an index while others read and write."""
    return Step(
        f"DROP INDEX CONCURRENTLY IF EXISTS {name}",
        Phase.DROP_DEPENDENT,
        why="Dropped while others use the table, so outside a transaction.",
        stage=Stage.INDEX,
    )


def add_key(name: str, definition: str) -> Iterator[Step]:
    """Yield a unique index that is built while others write, and the key that takes it over."""
    table, own = split_name(name)
    kind = "PRIMARY KEY" if definition.startswith("PRIMARY") else "UNIQUE"
    columns = next(_COLUMNS.finditer(definition))
    nulls = " NULLS NOT DISTINCT" if "NULLS NOT DISTINCT" in definition[: columns.start()] else ""
    include = re.match(rf" INCLUDE {_COLUMNS.pattern}", definition[columns.end() :])
    included = include[0] if include else ""
    behind = definition[columns.end() + len(included) :].rstrip()
    yield Step(
        f"CREATE UNIQUE INDEX CONCURRENTLY IF NOT EXISTS {own} ON {table} "
        f"{columns[0]}{included}{nulls}",
        Phase.INDEX,
        why=_CONCURRENTLY,
        stage=Stage.INDEX,
    )
    yield Step(
        f"ALTER TABLE {table} ADD CONSTRAINT {own} {kind} USING INDEX {own}{behind}",
        Phase.KEY,
        stage=Stage.CONSTRAINT,
    )


def add_constraint(name: str, statement: str, stage: Stage) -> Iterator[Step]:
    """Yield a constraint that is NOT VALID at first, and its validation."""
    if statement.endswith(("NOT VALID", "NOT ENFORCED")):
        yield Step(statement, Phase.CONSTRAINT, stage=stage)
        return
    yield Step(f"{statement} NOT VALID", Phase.CONSTRAINT, why=_NOT_VALID, stage=stage)
    table, own = split_name(name)
    yield Step(
        f"ALTER TABLE {table} VALIDATE CONSTRAINT {own}", Phase.CONSTRAINT, stage=Stage.VALIDATE
    )


_CHECK = "_is_not_null"


def set_not_null(
    table: str, own: str, attributes: Attributes, stage: Stage = Stage.MAIN
) -> Iterator[Step]:
    """Yield NOT NULL by a CHECK that is validated while others write."""
    check = _check_name(table, own)
    yield Step(
        f"ALTER TABLE {table} ADD CONSTRAINT {check} CHECK ({own} IS NOT NULL) NOT VALID",
        Phase.CONSTRAINT,
        why=_NOT_VALID,
        stage=stage,
        requires=(table, own),
    )
    yield Step(
        f"ALTER TABLE {table} VALIDATE CONSTRAINT {check}", Phase.CONSTRAINT, stage=Stage.VALIDATE
    )
    yield Step(
        require(table, own, attributes),
        Phase.CONSTRAINT,
        makes=(required(f"{table}.{own}"),),
        why=_CHECKED,
        stage=Stage.NOT_NULL,
    )
    yield Step(
        f"ALTER TABLE {table} DROP CONSTRAINT {check}", Phase.CONSTRAINT, stage=Stage.NOT_NULL
    )


def _check_name(table: str, own: str) -> str:
    """Return the name of the CHECK of one column: another for each, however long names are.

    It is not the name that the server gives to the column's NOT NULL.
    """
    name = f"{plain(table)}_{plain(own)}{_CHECK}"
    if len(name.encode()) > LONGEST_NAME:
        digest = sha256(name.encode()).hexdigest()[:8]
        short = name.encode()[: LONGEST_NAME - len(f"{_CHECK}_{digest}")]
        name = f"{short.decode(errors='ignore')}{_CHECK}_{digest}"
    return identifier(name)


def add_column(table: str, own: str, new: Attributes) -> Iterator[Step]:
    """Yield a column that old writers can leave out, and that writes no table again.

    A default that is another at each row is set for new rows; the old ones are filled in batches.
    """
    default = str(new.get("default", ""))
    volatile = any(f"{name}(" in default for name in VOLATILE)
    if "generated" in new or "identity" in new or new["type"].endswith("serial"):
        yield Step(
            f"ALTER TABLE {table} ADD COLUMN {column(own, new)}",
            Phase.DEFINE,
            why=f"{table} is rewritten, and locked during that time."
            if not new.get("virtual")
            else "",
        )
        return
    if (default and not volatile) or (not is_required(new) and not default):
        yield Step(f"ALTER TABLE {table} ADD COLUMN {column(own, new)}", Phase.DEFINE)
        return
    empty = {key: value for key, value in new.items() if key != "default"} | {"nullable": True}
    yield Step(f"ALTER TABLE {table} ADD COLUMN {column(own, empty)}", Phase.DEFINE)
    if default:
        yield Step(
            f"ALTER TABLE {table} ALTER COLUMN {own} SET DEFAULT {default}",
            Phase.DROP,
            why="For new rows; the next revision fills the existing ones.",
        )
        yield Step(
            "",
            Phase.DEPENDENT,
            stage=Stage.FILL,
            fill=Fill(table, f"{own} = {default}", f"{own} IS NULL"),
        )
    if is_required(new):
        for step in set_not_null(table, own, new, Stage.CONSTRAINT):
            yield replace(step, requires=None) if default else _filled_first(step, table, own)


def _filled_first(step: Step, table: str, own: str) -> Step:
    if step.stage is not Stage.CONSTRAINT:
        return step
    why = f"Every row of {table} needs a value of {own} before the next revision: see fill()."
    return replace(step, why=why)
