"""The declarative base and mixins: names of constraints, types, enums by value, ids, times.

And helpers for queries: pages, filters of what was deleted softly, transactions tried again.
"""

import enum
import random
import re
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Generic, TypeVar

from sqlalchemy import DateTime, Enum, MetaData, Select, Text, Uuid, func, select, text
from sqlalchemy.dialects.postgresql import ARRAY, JSONB
from sqlalchemy.engine import CursorResult
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import (
    DeclarativeBase,
    InstrumentedAttribute,
    Mapped,
    MappedColumn,
    Relationship,
    Session,
    mapped_column,
    relationship,
)
from sqlalchemy.sql.dml import UpdateBase

from leadctl.models.values import EncryptedText, imported

NAMING_CONVENTION: Mapping[str, str] = {
    "pk": "pk_%(table_name)s",
    "fk": "fk_%(table_name)s_%(column_0_N_name)s_%(referred_table_name)s",
    "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    "ck": "ck_%(table_name)s_%(constraint_name)s",
}
"""Every constraint has a name of its own, so that a revision can name it."""

TYPES: dict[Any, Any] = {
    str: Text,
    datetime: DateTime(timezone=True),
    uuid.UUID: Uuid,
    dict[str, Any]: JSONB(none_as_null=True),
    list[str]: ARRAY(Text),
}
"""What an annotation becomes: text without a length, times with a zone, JSON as JSONB."""


def new_metadata() -> MetaData:
    """Return metadata with the naming convention, for a base of its own."""
    return MetaData(naming_convention=NAMING_CONVENTION)


class Base(DeclarativeBase):
    """A base for the models of one app.

    Two apps in one process need two bases: derive each from DeclarativeBase with `metadata =
    new_metadata()` and `type_annotation_map = TYPES`, as the built-in apps do.
    """

    metadata = new_metadata()
    type_annotation_map = TYPES


def one_of(values: type[enum.Enum]) -> Enum:
    """Return the PostgreSQL enum of a Python enum: its values, under its name in snake_case."""
    name = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", values.__name__).lower()
    return Enum(values, name=name, values_callable=lambda e: [member.value for member in e])


def enum_column(default: enum.Enum, **options: Any) -> MappedColumn[Any]:
    """Return a column of one of an enum's values, and of this one where none is given."""
    return mapped_column(one_of(type(default)), server_default=default.value, **options)


def encrypted(context: str) -> MappedColumn[Any]:
    """Return a column of text that is encrypted, as `EncryptedText` has it."""
    return mapped_column(EncryptedText(context=context))


def children(parent: str) -> Relationship[Any]:
    """Return the rows that refer to this one by their attribute `parent`, and go with it."""
    return relationship(back_populates=parent, passive_deletes=True)


_FIRST, _LAST = -100, 100
"""Where a mixin's column stands among a model's own."""


def new_cuid() -> str:
    """Return a new CUID2.  Raises MissingExtra where the package cuid2 is missing."""
    return str(imported("cuid2", "Making a CUID2").create_id())


class CuidId:
    """A primary key that the application makes: a CUID2, text of 24 letters and digits."""

    id: Mapped[str] = mapped_column(primary_key=True, default=new_cuid, sort_order=_FIRST)


class UuidId:
    """A primary key that the application or the server makes: a random UUID."""

    id: Mapped[uuid.UUID] = mapped_column(
        primary_key=True,
        default=uuid.uuid4,
        server_default=text("gen_random_uuid()"),
        sort_order=_FIRST,
    )


class CreatedAt:
    """When the row was made."""

    created_at: Mapped[datetime] = mapped_column(server_default=func.now(), sort_order=_LAST)


class Timestamps(CreatedAt):
    """When the row was made, and when the application last changed it."""

    updated_at: Mapped[datetime] = mapped_column(
        server_default=func.now(), onupdate=func.now(), sort_order=_LAST + 1
    )


class SoftDelete:
    """A row that is marked as deleted instead of deleted, and can come back."""

    deleted_at: Mapped[datetime | None] = mapped_column(sort_order=_LAST + 2)

    @property
    def is_deleted(self) -> bool:
        """Whether the row is marked as deleted."""
        return self.deleted_at is not None

    def soft_delete(self) -> None:
        """Mark the row as deleted, now; one that is already keeps its time."""
        self.deleted_at = self.deleted_at or datetime.now(UTC)

    def restore(self) -> None:
        """Take the mark away."""
        self.deleted_at = None


T = TypeVar("T")

MAX_PAGE_SIZE = 100
_RETRYABLE = {"40001", "40P01"}
"""serialization_failure and deadlock_detected,
https://www.postgresql.org/docs/current/mvcc-serialization-failure-handling.html
"""


@dataclass(frozen=True)
class Page(Generic[T]):
    """One page of rows, counted from 1."""

    data: Sequence[T]
    total: int
    page: int
    limit: int

    @property
    def pages(self) -> int:
        """How many pages there are."""
        return -(-self.total // self.limit)

    @property
    def has_next(self) -> bool:
        """Whether a page follows."""
        return self.page < self.pages

    @property
    def has_previous(self) -> bool:
        """Whether a page comes before."""
        return self.page > 1


def paginate(
    session: Session,
    query: Select[T],
    *,
    page: int = 1,
    limit: int = 20,
    sort_by: InstrumentedAttribute[Any] | None = None,
    descending: bool = False,
) -> Page[T]:
    """Run a query for one page of at most `MAX_PAGE_SIZE` rows, and count all of its rows.

    Rows that sort alike are ordered by primary key, so that no row is on two pages.  A page
    below 1 is the first.
    """
    page, limit = max(1, page), min(max(1, limit), MAX_PAGE_SIZE)
    total = session.scalar(select(func.count()).select_from(query.order_by(None).subquery())) or 0
    if sort_by is not None:
        query = query.order_by(sort_by.desc() if descending else sort_by.asc())
    entity = query.column_descriptions[0]["entity"]
    if entity is not None:
        query = query.order_by(*entity.__table__.primary_key.columns)
    rows = session.scalars(query.limit(limit).offset((page - 1) * limit)).all()
    return Page(rows, total, page, limit)


def only_active(query: Select[T]) -> Select[T]:
    """Leave out the rows that are marked as deleted, of every model in the query that can be."""
    for description in query.column_descriptions:
        entity = description["entity"]
        if isinstance(entity, type) and issubclass(entity, SoftDelete):
            query = query.where(entity.deleted_at.is_(None))
    return query


def rows_changed(session: Session, statement: UpdateBase, **options: Any) -> int:
    """Execute an UPDATE or DELETE with execution options; return how many rows it was."""
    result = session.execute(statement, execution_options=options)
    assert isinstance(result, CursorResult)
    return result.rowcount


def with_retry(
    sessions: Callable[[], Session],
    work: Callable[[Session], T],
    *,
    attempts: int = 3,
    delay: float = 0.1,
) -> T:
    """Run `work` in a transaction and commit; run it again where the server asked for that.

    Only a serialization failure or a deadlock is retried, `attempts` times in all, after a pause
    of `delay` seconds that doubles and is jittered.  Each attempt has a new session, so `work`
    must not keep objects from an earlier one.  The last error is raised.
    """
    for attempt in range(1, attempts + 1):
        try:
            with sessions() as session, session.begin():
                return work(session)
        except DBAPIError as error:
            state = getattr(error.orig, "sqlstate", None)
            if state not in _RETRYABLE or attempt == attempts:
                raise
            time.sleep(delay * 2 ** (attempt - 1) * random.uniform(0.5, 1.5))  # noqa: S311
    raise ValueError("attempts must be at least 1")
