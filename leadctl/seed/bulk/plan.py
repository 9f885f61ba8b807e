"""What a bulk seed is going to make: the tables in order, their columns, rows and layout."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from functools import partial

import sqlalchemy as sa
from psycopg import sql

from leadctl.apps.metadata import keys_in_circles_apart, load_metadata
from leadctl.apps.registry import App, load_object
from leadctl.apps.synthetic.chunk import TablePlan, World
from leadctl.apps.synthetic.layout import Calendar, Layout, Placement
from leadctl.apps.synthetic.makers import Serial
from leadctl.apps.synthetic.shapes import Factory
from leadctl.catalog.relations import Facet, Relation, advance_sequence, next_number, read_tables
from leadctl.errors import InvalidFlag, SeedFailed
from leadctl.postgres.connect import Connection
from leadctl.postgres.queries import queries_of
from leadctl.seed.bulk.allocation import allocate
from leadctl.seed.bulk.conditions import read_conditions, spans_apart
from leadctl.seed.bulk.fitting import fit
from leadctl.seed.bulk.infer import column_plans, infer
from leadctl.seed.bulk.inheritance import read_inheritance
from leadctl.seed.bulk.unique import numbered
from leadctl.seed.upsert import drawn_sequences
from leadctl.settings.durations import DURATION, parse_seconds

_QUERIES = queries_of(__file__, "bulk.sql")
_FACETS: tuple[Facet, ...] = (
    "columns",
    "sequences",
    "indexes",
    "constraints",
    "expressions",
    "triggers",
)


@dataclass(frozen=True)
class BulkOptions:
    """What was asked for."""

    rows: int
    """Rows in all."""
    seed: int
    scale: Mapping[str, int]
    calendar: Calendar
    suspend_from: int = 20_000
    """Rows from which building indexes afterwards is quicker."""
    rows_a_process: int = 50_000
    """Rows that take about as long as it takes to start a process."""


@dataclass(frozen=True)
class BulkPlan:
    """The rows of a run, table by table."""

    options: BulkOptions
    world: World
    relations: Mapping[str, Relation]
    sequences: Mapping[str, Mapping[str, sql.Identifier]]
    """Those that number columns, by table and column."""

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
    factory: Factory = load_object(app, app.factory, "factory") if app.factory else Factory()
    metadata = load_metadata(app)
    tables, relations = _tables(connection, app, metadata, schema)
    inheritance = read_inheritance(
        metadata,
        [each.name for each in tables if (s := factory.shape(each.name)) is None or s.share],
        factory,
    )
    conditions = read_conditions(connection, relations)
    sequences = {
        table.name: {**drawn_sequences(table, schema), **relations[table.name].sequences}
        for table in tables
    }
    planned = infer(
        tables,
        relations,
        factory,
        _first_numbers(connection, tables, relations, sequences),
        conditions,
        inheritance,
        partial(spans_apart, connection, options.calendar),
    )
    counts = allocate(planned, options.rows, options.scale, inheritance)
    layout = Layout(
        {
            name: Placement(
                name,
                counts[name],
                table.owner,
                table.shape.event,
                table.even,
                inheritance.chosen.get(name),
            )
            for name, table in planned.items()
        }
    )
    plans = {
        name: TablePlan(name, counts[name], column_plans(table)) for name, table in planned.items()
    }
    plans = _numbered_apart(plans, sequences)
    # How many runs have filled these tables before.
    series = _QUERIES.value(connection, "series", app=app.name, schema=schema)
    world = World(options.seed, series, layout, options.calendar, plans)
    declared = {name: frozenset(table.shape.columns) for name, table in planned.items()}
    world = fit(connection, world, relations, conditions, declared, inheritance)
    return BulkPlan(options, world, {name: relations[name] for name in plans}, sequences)


def _tables(
    connection: Connection, app: App, metadata: sa.MetaData, schema: str
) -> tuple[list[sa.Table], Mapping[str, Relation]]:
    """Return the tables that get rows, what others refer to first, and as the database has them."""
    with keys_in_circles_apart(metadata):
        tables = [table for table in metadata.sorted_tables if not table.info.get("is_view")]
    elsewhere = [table.fullname for table in tables if table.schema not in {None, schema}]
    if elsewhere:
        raise SeedFailed(
            f"Synthetic rows go into the schema {schema} alone, and the models have "
            f"{', '.join(elsewhere)}.",
            hint="Write seed files or a seed function for them.",
        )
    relations = read_tables(connection, schema, [table.name for table in tables], *_FACETS)
    missing = [
        table.name
        for table in tables
        if table.name not in relations or not relations[table.name].is_table
    ]
    if missing:
        raise SeedFailed(
            f"The database lacks the table {missing[0]}.",
            hint=f"Apply the migrations first: leadctl migrate --app {app.name}",
        )
    oids = {relation.oid for relation in relations.values()}
    parts = {
        name for name, each in relations.items() if each.is_partition and oids & {*each.parents}
    }
    tables = [table for table in tables if table.name not in parts]  # they have rows of the whole
    return tables, {name: each for name, each in relations.items() if name not in parts}


def _numbered_apart(
    plans: Mapping[str, TablePlan], sequences: Mapping[str, Mapping[str, sql.Identifier]]
) -> dict[str, TablePlan]:
    """Return tables whose numbers differ from those of others that draw from the same sequence."""
    drawn = [
        (name, place, column.maker.first, own.as_string())
        for name, plan in plans.items()
        for place, column in enumerate(plan.columns)
        if isinstance(column.maker, Serial) and (own := sequences[name].get(column.name))
    ]
    free = dict[str, int]()
    for _, _, first, sequence in drawn:
        free[sequence] = max(free.get(sequence, 1), first)
    columns = {name: list(plan.columns) for name, plan in plans.items()}
    for name, place, _, sequence in drawn:
        columns[name][place] = replace(columns[name][place], maker=Serial(free[sequence]))
        free[sequence] += plans[name].rows
    return {name: replace(plan, columns=tuple(columns[name])) for name, plan in plans.items()}


def reserve_numbers(connection: Connection, plan: BulkPlan) -> None:
    """Let the sequences go on after the rows of a plan, so that nobody draws their numbers."""
    for table in plan.tables:
        for column in table.columns:
            sequence = plan.sequences[table.name].get(column.name)
            if sequence and table.rows and isinstance(column.maker, Serial):
                first = column.maker.first
                advance_sequence(connection, sequence, (first, first + table.rows - 1))


def _first_numbers(
    connection: Connection,
    tables: Sequence[sa.Table],
    relations: Mapping[str, Relation],
    sequences: Mapping[str, Mapping[str, sql.Identifier]],
) -> dict[str, dict[str, int]]:
    """Return where the numbers begin that differ in every row: after those that exist."""
    found: dict[str, dict[str, int]] = {table.name: {} for table in tables}
    for table in tables:
        relation = relations[table.name]
        for column in numbered(table, relation):
            query = sql.SQL(
                "SELECT pg_catalog.floor(pg_catalog.max({}))::pg_catalog.int8 FROM {}"
            ).format(sql.Identifier(column), relation.identifier)
            (highest,) = connection.execute(query).fetchone() or (None,)
            free = next_number(connection, sequences[table.name].get(column))
            found[table.name][column] = max(free, (highest or 0) + 1)
    return found


_DAYS = 365
_DAY = 86_400
_MOST_DAYS = 36_525
_SEED_MAX = 2**63


def bulk_options(
    rows: int,
    random_seed: int | None,
    scale: Iterable[str] = (),
    span: str | None = None,
    today: date | None = None,
) -> BulkOptions:
    """Return the options of a run; times end with the midnight (UTC) that began today.

    `span` is a duration of whole days, or two dates with `..` between them, the last included.
    Raises InvalidFlag.
    """
    if random_seed is not None and not -_SEED_MAX <= random_seed < _SEED_MAX:
        raise InvalidFlag("--random-seed does not fit into 64 bits.", hint="Give a smaller one.")
    end = today or datetime.now(UTC).date()
    return BulkOptions(rows, random_seed or 0, _scales(scale), _calendar(span, end))


def _scales(texts: Iterable[str]) -> dict[str, int]:
    scales: dict[str, int] = {}
    for text in texts:
        table, equals, number = text.partition("=")
        if not (table and equals and number.isascii() and number.isdecimal() and int(number)):
            raise InvalidFlag(
                f"--scale {text!r} is not a table and a number of rows.",
                hint="Write it as --scale leads=500000",
            )
        if table in scales:
            raise InvalidFlag(f"--scale names {table} twice.", hint="Give it once.")
        scales[table] = int(number)
    return scales


def _calendar(span: str | None, today: date) -> Calendar:
    if span is None:
        return Calendar(today, _DAYS)
    try:
        if ".." in span:
            first, last = map(date.fromisoformat, span.split("..", 1))
            end, days = last + timedelta(days=1), (last - first).days + 1
        else:
            end, days = today, int(parse_seconds(span) // _DAY)
    except (ValueError, OverflowError):
        raise InvalidFlag(
            f"--span {span!r} is not a span of days.",
            hint=f"Give {DURATION}, of at least a day, or two dates, e.g. 2025-01-01..2025-12-31.",
        ) from None
    if not 1 <= days <= _MOST_DAYS:
        raise InvalidFlag(
            f"--span {span!r} is {max(days, 0)} days.", hint="Allowed are a day to a hundred years."
        )
    return Calendar(end, days)
