"""The view of a revision that partitions a table."""

from leadctl.partition import PartitionResult
from leadctl.render.blocks import Block, Line


def partition(result: PartitionResult) -> list[Block]:
    """Where the revision is, and what is left to do."""
    key = ", ".join(result.primary_key)
    return [
        Line(f"Wrote {result.revision}: {result.path}", "good"),
        Line(f'In the model: primary key ({key}), and postgresql_partition_by="RANGE '
             f'({result.column})" in __table_args__.'),
        Line("Applying it locks the table while its new primary key is built: leadctl migrate"),
    ]  # fmt: skip
