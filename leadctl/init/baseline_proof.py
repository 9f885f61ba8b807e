"""Proof of a baseline and of models: both are made in a scratch schema and compared."""

from collections.abc import Callable

from sqlalchemy import MetaData

from leadctl.catalog.compare import Difference, compare
from leadctl.catalog.definitions import Catalog
from leadctl.errors import OperationFailed
from leadctl.init.existing_schema import Read
from leadctl.migrate.ddl.autodetector import changes
from leadctl.migrate.ddl.steps import Phase, Step
from leadctl.migrate.scratch import scratch
from leadctl.postgres.target import Target


def proven_baseline(target: Target, read: Read, narrate: Callable[[str], None]) -> list[Step]:
    """Return the steps that make what a database has.

    Raises OperationFailed where the server rejects one, and where they do not lead there.
    """
    extensions = [
        Step(f'CREATE EXTENSION IF NOT EXISTS "{name}"', Phase.DEFINE) for name in read.extensions
    ]
    baseline = [*extensions, *changes(Catalog({}), read.catalog)]
    with scratch(target, "init") as made:
        made.execute(step.sql for step in baseline)
        different = compare(read.catalog, made.read())
    if different:
        listed = ", ".join(f"{each.object} ({each.change})" for each in different)
        raise OperationFailed(
            f"The baseline would not make what {target.database} has: {listed}.",
            hint="Nothing was written. This is beyond what init reads; please report it.",
        )
    narrate("The baseline, made in a scratch schema and undone, equals the database.")
    return baseline


def models_differ(target: Target, read: Read, metadata: MetaData, owner: str) -> list[Difference]:
    """Return how what the models of the app `owner` make differs from the database."""
    with scratch(target, "init") as made:
        made.create_tables(metadata, owner)
        return compare(read.catalog, made.read())
