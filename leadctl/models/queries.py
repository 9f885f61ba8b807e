"""Query helpers: pages, soft-delete filters, retried transactions."""

import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from sqlalchemy import Select, func, select
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import InstrumentedAttribute, Session

from leadctl.models.base import SoftDelete

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
