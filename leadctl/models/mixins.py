"""Mixins: ids, timestamps, soft delete."""

import uuid
from datetime import UTC, datetime

from sqlalchemy import func, text
from sqlalchemy.orm import Mapped, mapped_column

from leadctl.models.extras import imported

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
