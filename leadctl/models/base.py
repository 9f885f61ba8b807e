"""The declarative base and mixins: names of constraints, types, enums by value, ids, times."""

import enum
import re
import uuid
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import DateTime, Enum, MetaData, Text, Uuid, func, text
from sqlalchemy.dialects.postgresql import ARRAY, JSONB
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from leadctl.models.values import imported

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
    """Return metadata with the naming convention, for a base of one's own."""
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
