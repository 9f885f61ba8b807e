"""`leadctl partition`."""

from typing import Annotated

from leadctl.cli.command import Effect, Run, command
from leadctl.cli.group import app
from leadctl.cli.options import Text, argument, option, table_names
from leadctl.render import views


@app.leaf("partition", "Schema")
@command(Effect.ADDS)
def partition(
    run: Run,
    *,
    table: Annotated[str, argument("TABLE", "The table to partition.", names=table_names)],
    by: Annotated[str, option("--by", "PERIOD", "month, week or day.")] = "month",
    column: Annotated[
        Text, option("--column", "NAME", "Override the age column of the retention rule.")
    ] = None,
) -> None:
    """Write the revision that partitions a table by time.

    The table becomes the first partition, so no row is copied; `leadctl cleanup` then drops whole
    partitions and creates the next ones in time. A table whose keys do not allow it is refused,
    with the reason.
    """
    run.emit(run.database().partition(table, by=by, column=column), views.partition.partition)
