"""Views of statistics."""

from leadctl.operations.stats.overview import Overview, TableStats
from leadctl.operations.stats.report import ReportResult
from leadctl.render.blocks import Block, Column, Grid, Line, Pairs
from leadctl.render.text import size, value_text


def overview(result: Overview) -> list[Block]:
    """The database, then its tables."""
    database = result.database
    hit = "" if database.cache_hit is None else f"{database.cache_hit:.1%}"
    blocks: list[Block] = [
        Pairs(
            [
                ("Database", f"{database.name}, schema {result.schema}"),
                ("Server", f"PostgreSQL {database.server_version}"),
                ("Started", database.started_at),
                ("Size", size(database.size_bytes)),
                ("Connections", f"{database.connections} of {database.max_connections}"),
                ("Cache hit", hit),
            ]
        )
    ]
    if result.tables:
        rows = [
            (table.name, _rows(table), size(table.table_bytes), size(table.index_bytes))
            for table in result.tables
        ]
        blocks.append(
            Grid(
                [
                    "Table",
                    Column("Rows", numbers=True),
                    Column("Size", numbers=True),
                    Column("Indexes", numbers=True),
                ],
                rows,
            )
        )
    if any(not table.exact for table in result.tables):
        blocks.append(Line("~ is the server's estimate; leadctl stats --exact counts.", "dim"))
    if result.reports:
        blocks.append(
            Line(f"Reports: {', '.join(result.reports)}. See: leadctl stats REPORT", "dim")
        )
    return blocks


def report(result: ReportResult) -> list[Block]:
    """One row as pairs, more as a table."""
    title = result.title + (f", of {result.user}" if result.user else "")
    if not result.rows:
        return [Line(title, "strong"), Line("No rows.")]
    names = list(result.rows[0])
    if len(result.rows) == 1:
        return [
            Line(title, "strong"),
            Pairs([(name, value_text(result.rows[0][name])) for name in names]),
        ]
    return [
        Line(title, "strong"),
        Grid(
            [_column(name, result.rows[0][name]) for name in names],
            [[row[name] for name in names] for row in result.rows],
        ),
    ]


def _column(name: str, value: object) -> Column:
    return Column(name, numbers=isinstance(value, int | float) and not isinstance(value, bool))


def _rows(table: TableStats) -> str:
    if table.rows is None:
        return "?"
    return f"{table.rows:,}" if table.exact else f"~{table.rows:,}"
