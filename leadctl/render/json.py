"""The JSON writer: one document, the result's own field names as keys."""

import json
from collections.abc import Mapping, Set
from dataclasses import fields, is_dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from enum import Enum
from typing import Any


def to_jsonable(value: Any) -> Any:
    """Return a result as JSON has it: fields as keys, times in UTC, what JSON lacks as text."""
    if is_dataclass(value) and not isinstance(value, type):
        return {field.name: to_jsonable(getattr(value, field.name)) for field in fields(value)}
    if isinstance(value, Mapping):
        return {str(key): to_jsonable(item) for key, item in value.items()}
    if isinstance(value, list | tuple | Set):
        return [to_jsonable(item) for item in value]
    return _scalar(value)


def _scalar(value: Any) -> Any:
    if value is None or isinstance(value, str | bool | int | float):
        return value
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat().replace("+00:00", "Z")
    if isinstance(value, timedelta):
        return value.total_seconds()
    if isinstance(value, Decimal):
        return int(value) if value == value.to_integral_value() else float(value)
    if isinstance(value, bytes):
        return f"\\x{value.hex()}"
    return str(value)


def dumps(value: Any) -> str:
    """Return a result as an indented JSON document."""
    return json.dumps(to_jsonable(value), indent=2, ensure_ascii=False)


def dumps_line(value: Any) -> str:
    """Return a value as JSON on one line."""
    return json.dumps(to_jsonable(value), ensure_ascii=False)
