"""The declarative base: a naming convention, PostgreSQL's types, enums by value."""

import enum
import re
import uuid
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from sqlalchemy import DateTime, Enum, MetaData, Text, Uuid
from sqlalchemy.dialects.postgresql import ARRAY, JSONB
from sqlalchemy.orm import DeclarativeBase

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
