"""Databases that Prisma made of a product's first models, for its built-in app to take over.

An app that can do so has a module `from_prisma`.
"""

import importlib
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import Protocol, cast

_PRODUCTS = Path(__file__).parent.parent / "products"


class FromPrisma(Protocol):
    """What an app's module `from_prisma` has."""

    TABLES: Mapping[str, tuple[str, ...]]
    """The columns of each table that Prisma named otherwise."""

    def is_from_prisma(self, columns: Mapping[str, Collection[str]]) -> bool:
        """Whether these are the columns, by table, of the product's first models."""

    def statements(self) -> Iterable[str]:
        """Return what makes of Prisma's tables those of the app."""


def app_of(columns: Mapping[str, Collection[str]]) -> str | None:
    """Return the built-in app whose product Prisma made these tables for."""
    names = sorted(file.parent.name for file in _PRODUCTS.glob("*/from_prisma.py"))
    return next((name for name in names if from_prisma(name).is_from_prisma(columns)), None)


def from_prisma(app: str) -> FromPrisma:
    """Return an app's module."""
    module = importlib.import_module(f"leadctl.products.{app}.from_prisma")
    return cast("FromPrisma", module)
