"""What a bulk seed is going to make: the tables in order, their columns, rows and layout."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import sqlalchemy as sa
from psycopg import sql

from leadctl.apps.registry import App, load_metadata, load_object
from leadctl.apps.synthetic.calendar import Calendar
from leadctl.apps.synthetic.chunk import TablePlan, World
from leadctl.apps.synthetic.layout import Layout, Placement
from leadctl.apps.synthetic.makers import Serial
from leadctl.apps.synthetic.shapes import Factory
from leadctl.errors import SeedFailed
from leadctl.postgres.connect import Connection
from leadctl.seed.bulk.counts import allocate
from leadctl.seed.bulk.facts import TableFacts, read_facts, read_series
from leadctl.seed.bulk.infer import column_plans, infer, numbered


@dataclass(frozen=True)
class BulkOptions:
    """What was asked for."""

    rows: int
    """Rows in all."""
    seed: int
    scale: Mapping[str, int]
    calendar: Calendar


@dataclass(frozen=True)
class BulkPlan:
    """The rows of a run, table by table."""

    world: World
    facts: Mapping[str, TableFacts]

    @property
    def tables(self) -> list[TablePlan]:
        """The tables, each after those that it refers to."""
        return list(self.world.tables.values())

    @property
    def encrypted(self) -> bool:
        """Whether there is a column to encrypt."""
        return any(column.context for table in self.tables for column in table.columns)


def make_plan(connection: Connection, app: App, schema: str, options: BulkOptions) -> BulkPlan:
    """Plan a run on what is there now.

    Raises SeedFailed where a table does not exist or is in another schema, CannotInfer, and
    InvalidFlag.
    """
    metadata = load_metadata(app)
    factory: Factory = load_object(app, app.factory, "factory") if app.factory else Factory()
    tables = _in_order(metadata)
    elsewhere = [table.fullname for table in tables if table.schema not in {None, schema}]
    if elsewhere:
        raise SeedFailed(
            f"Synthetic rows go into the schema {schema} alone, and the models have "
            f"{', '.join(elsewhere)}.",
            hint="Write seed files or a seed function for them.",
        )
    facts = read_facts(connection, schema, [table.name for table in tables])
    missing = [table.name for table in tables if table.name not in facts]
    if missing:
        raise SeedFailed(
            f"The database lacks the table {missing[0]}.",
            hint=f"Apply the migrations first: leadctl migrate --app {app.name}",
        )
    planned = infer(tables, facts, factory, _first_numbers(connection, tables, facts))
    counts = allocate(planned, options.rows, options.scale)
    layout = Layout(
        {
            name: Placement(name, counts[name], table.owner, table.shape.event, table.even)
            for name, table in planned.items()
        }
    )
    plans = {
        name: TablePlan(name, counts[name], column_plans(table)) for name, table in planned.items()
    }
    series = read_series(connection, app.name, schema)
    world = World(options.seed, series, layout, options.calendar, plans)
    return BulkPlan(world, {name: facts[name] for name in plans})


def reserve_numbers(connection: Connection, plan: BulkPlan) -> None:
    """Let the sequences go on after the rows of a plan, so that nobody draws their numbers."""
    for table in plan.tables:
        for column in table.columns:
            sequence = plan.facts[table.name].columns[column.name].sequence
            if sequence and isinstance(column.maker, Serial):
                last = column.maker.first + table.rows - 1
                connection.execute("SELECT setval(%s, %s)", (sequence, last))


def _in_order(metadata: sa.MetaData) -> list[sa.Table]:
    return [table for table in metadata.sorted_tables if not table.info.get("is_view")]


def _first_numbers(
    connection: Connection, tables: Sequence[sa.Table], facts: Mapping[str, TableFacts]
) -> dict[tuple[str, str], int]:
    """Return where the numbers begin that differ in every row: after those that are there."""
    found = {}
    for table in tables:
        for column in numbered(table, facts[table.name]):
            query = sql.SQL(
                "SELECT greatest(floor(max({}))::bigint, pg_sequence_last_value(%s::regclass), 0)"
                " + 1 FROM {}"
            ).format(sql.Identifier(column.name), sql.Identifier(table.name))
            row = connection.execute(query, (column.sequence,)).fetchone()
            assert row is not None
            found[table.name, column.name] = row[0]
    return found
