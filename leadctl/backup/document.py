"""JSON as dataclasses: every value is of the type that its field has, or it is refused."""

from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from datetime import datetime
from types import NoneType, UnionType
from typing import Any, TypeVar, get_args, get_origin, get_type_hints

_T = TypeVar("_T")


def read_document(kind: type[_T], document: object) -> _T:
    """Return what a JSON document says, as a dataclass; keys without a field are passed over.

    Times have a time zone, and numbers are not negative.  Raises ValueError.
    """
    if not isinstance(document, Mapping):
        raise ValueError(f"{document!r} is not an object")
    types = get_type_hints(kind)
    values = {}
    for field in fields(kind):  # type: ignore[arg-type]
        if field.name not in document:
            raise ValueError(f"it has no {field.name}")
        values[field.name] = _read(types[field.name], document[field.name], field.name)
    return kind(**values)


def _read(kind: Any, value: Any, name: str) -> Any:
    """Return a value as the type of its field wants it."""
    if isinstance(kind, UnionType):
        others = [each for each in get_args(kind) if each is not NoneType]
        return None if value is None else _read(others[0], value, name)
    if get_origin(kind) is tuple and isinstance(value, list):
        return tuple(_read(get_args(kind)[0], each, name) for each in value)
    if is_dataclass(kind) and isinstance(kind, type):
        return read_document(kind, value)
    if kind is datetime and isinstance(value, str):
        at = datetime.fromisoformat(value)
        if at.tzinfo is not None:
            return at
    elif type(value) is kind and not (kind is int and value < 0):
        return value
    raise ValueError(f"{name} is {value!r}")
