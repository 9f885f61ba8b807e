"""Several bases of an app as one metadata."""

import pytest
from sqlalchemy import (
    Boolean,
    CheckConstraint,
    Column,
    Enum,
    ForeignKey,
    Integer,
    MetaData,
    String,
    Table,
    create_engine,
)

from leadctl.apps.metadata import joined
from tests.servers import Server

_CONVENTION = {
    "ix": "ix_%(column_0_N_label)s",
    "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    "ck": "ck_%(table_name)s_%(constraint_name)s",
    "fk": "fk_%(table_name)s_%(column_0_name)s_%(referred_table_name)s",
    "pk": "pk_%(table_name)s",
}
_NAMES = """
SELECT conrelid::regclass::text, conname FROM pg_constraint
WHERE connamespace = 'public'::regnamespace
UNION ALL SELECT tablename, indexname FROM pg_indexes WHERE schemaname = 'public' ORDER BY 1, 2
"""


def _tables(metadata: MetaData, name: str) -> None:
    Table(
        name,
        metadata,
        Column("id", Integer, primary_key=True),
        Column("email", String, unique=True),
        Column("age", Integer, CheckConstraint("age > 0", name="positive"), index=True),
        Column("kind", Enum("a", "b", name="kind", native_enum=False, create_constraint=True)),
        Column("flag", Boolean(name="flag", create_constraint=True)),
        Column("parent", ForeignKey(f"{name}.id")),
    )


@pytest.mark.parametrize("second", [None, {"ix": "i_%(column_0_name)s"}])
@pytest.mark.parametrize("order", [1, -1])
def test_each_base_keeps_its_naming_convention(
    server: Server, database: str, order: int, second: dict[str, str] | None
) -> None:
    bases = [MetaData(naming_convention=_CONVENTION), MetaData(naming_convention=second)]
    for metadata, name in zip(bases, ("cats", "dogs"), strict=True):
        _tables(metadata, name)
    engine = create_engine(server.url(database).replace("postgresql", "postgresql+psycopg"))
    names = []
    for made in (bases, [joined(bases[::order])]):
        for each in made:
            each.create_all(engine)
        with engine.begin() as connection:
            names.append(connection.exec_driver_sql(_NAMES).all())
            connection.exec_driver_sql("DROP TABLE cats, dogs")
    engine.dispose()
    assert names[0] == names[1]
    assert ("cats", "uq_cats_email") in names[0]
