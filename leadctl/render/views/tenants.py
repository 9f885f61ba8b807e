"""Views of tenants: the list, and what became of one."""

import shlex
from collections.abc import Iterator
from typing import TYPE_CHECKING

from leadctl.render.blocks import Block, Cell, Column, Grid, Line, Pairs, Value, numbers
from leadctl.text import counted, size

if TYPE_CHECKING:
    from leadctl.tenants.citus import NodeMove
    from leadctl.tenants.create import CreatedTenant
    from leadctl.tenants.drop import DroppedTenant, DropPlan
    from leadctl.tenants.move import MovedTenant, OpenedTenant
    from leadctl.tenants.rename import RenamedTenant
    from leadctl.tenants.schemas import Tenant, TenantList


def listing(result: "TenantList") -> Iterator[Block]:
    """A tenant a row, and how many there are."""
    if not result.tenants:
        which = f" that is called {result.pattern}" if result.pattern else ""
        yield Line(f"{result.database} has no tenant{which} of the app {result.app}.")
        yield Line("Make one with: leadctl tenants create NAME", "dim")
        return
    columns: list[Column | str] = [
        Column("Tenant", key=True), "Revision", "Pending", *numbers("Size"),
        Column("Rows", numbers=True, optional=True), Column("Tables", numbers=True, optional=True),
        Column("Owner", optional=True),
    ]  # fmt: skip
    yield Grid(columns, [_row(each) for each in result.tenants])
    behind = sum(1 for each in result.tenants if each.pending)
    said = f", {behind} of them with pending revisions" if behind else ""
    yield Line(f"{counted(len(result.tenants), 'tenant')}{said}. Rows are estimates.", "dim")


def _row(tenant: "Tenant") -> tuple[Value, ...]:
    if tenant.state != "open":
        pending = Cell(tenant.state, "dim")
    elif tenant.pending is None:
        pending = Cell("unknown", "warn")
    else:
        pending = Cell(f"{tenant.pending}", "warn" if tenant.pending else "good")
    revision = tenant.revision or Cell("unknown" if tenant.pending is None else "none", "dim")
    large = Cell("unknown", "warn") if tenant.bytes is None else size(tenant.bytes)
    return (
        tenant.name, revision, pending, large, tenant.rows, tenant.tables, tenant.owner
    )  # fmt: skip


def created(result: "CreatedTenant") -> Iterator[Block]:
    """What the tenant has."""
    yield Line(
        f"Made the tenant {result.name} of {result.app}: revision {result.revision or 'none'}, "
        f"{counted(result.rows, 'row')} of fixtures, owner {result.owner}.",
        "good",
    )
    if result.like:
        yield Line(f"It has {counted(result.grants, 'grant')}, as {result.like} has.")


def drop_plan(result: "DropPlan") -> Iterator[Block]:
    """What goes."""
    rows = [each.rows for each in result.tables]
    known = sum(each for each in rows if each is not None)
    said = f"{known:,}" if None not in rows else f"at least {known:,}"
    pairs: list[tuple[str, Value]] = [
        ("Tenant", result.name),
        ("Database", result.database),
        ("Revision", result.revision or "none"),
        ("Action", Cell(f"drop {counted(len(result.tables), 'table')}, {said} rows", "warn")),
    ]
    if result.protected:
        pairs.append(("Protected", Cell(result.protected, "warn")))
    yield Pairs(pairs)


def dropped(result: "DroppedTenant") -> Iterator[Block]:
    """What is gone, and how it comes back."""
    database = result.name == result.database
    which = f"database {result.name}" if database else f"tenant {result.name} of {result.database}"
    yield Line(f"Dropped the {which}: {counted(result.tables, 'table')}.")
    if result.backup:
        yield Line(f"The backup {result.backup} has it.")


def renamed(result: "RenamedTenant") -> Iterator[Block]:
    """What it is called, and what leads to it now."""
    yield Line(f"Renamed the tenant {result.previous} to {result.name}.", "good")
    if result.paths:
        yield Line(f"Search paths that lead to it now: {', '.join(result.paths)}.")
    if result.mentions:
        yield Line(
            f"These functions name {result.previous} in their text, and must be changed by hand: "
            f"{', '.join(result.mentions)}.",
            "warn",
        )


def moved(result: "MovedTenant", *, database: bool) -> Iterator[Block]:
    """Where it is, what was compared, and what is kept; a schema, or a `database` of its own."""
    closed = (
        "" if result.closed_seconds is None else f" It was closed for {result.closed_seconds} s."
    )
    yield Line(f"Moved the tenant {result.name} to {result.destination}.{closed}", "good")
    if result.tables:
        yield Line(
            f"Compared by counts and checksums: {counted(result.rows, 'row')} in "
            f"{counted(result.tables, 'table')}, and where sequences are."
        )
    kept = f"database is kept, closed, as {result.kept_as}"
    if not database:
        kept = f"schema is kept, closed, as {result.kept_as} of {result.database}"
    yield Line(f"The old {kept}.")
    more = " --database" if database else ""
    yield Line(
        f"If it is no longer needed: leadctl tenants drop {shlex.quote(result.kept_as)}{more}",
        "dim",
    )


def on_node(result: "NodeMove") -> Iterator[Block]:
    """On which node it is."""
    if result.node == result.previous:
        yield Line(f"Nothing to do: {result.name} is on {result.node}.")
    else:
        yield Line(f"Moved {result.name} from {result.previous} to {result.node}.", "good")


def opened(result: "OpenedTenant") -> Iterator[Block]:
    """What is open again."""
    yield Line(f"The tenant {result.name} of {result.database} is open again.", "good")
