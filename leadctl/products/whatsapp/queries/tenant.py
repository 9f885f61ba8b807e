"""Narrowing a query to one tenant."""

import uuid
from typing import Any

from sqlalchemy import ColumnElement, true
from sqlalchemy.orm import InstrumentedAttribute


def of_user(column: InstrumentedAttribute[Any], user_id: uuid.UUID | None) -> ColumnElement[bool]:
    """Return the condition that a row is the user's; None is every user."""
    return true() if user_id is None else column == user_id
