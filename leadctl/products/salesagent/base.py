"""What the tables of salesagent have in common: id, times, organisation, and kinds of rules."""

from typing import TYPE_CHECKING, Any

from sqlalchemy import CheckConstraint, ForeignKey, ForeignKeyConstraint, Index, text
from sqlalchemy.orm import DeclarativeBase, Mapped, declared_attr, mapped_column, relationship

from leadctl.models import TYPES, CuidId, SoftDelete, Timestamps, new_metadata, one_of
from leadctl.products.salesagent.enums import ENUMS

if TYPE_CHECKING:
    from leadctl.products.salesagent.accounts import Organisation

_ENUM_TYPES: dict[Any, Any] = {values: one_of(values) for values in ENUMS}


class Base(DeclarativeBase):
    """The base of salesagent's models; an enum's annotation is its column's type."""

    metadata = new_metadata()
    type_annotation_map = TYPES | _ENUM_TYPES


class Record(CuidId, Timestamps, SoftDelete, Base):
    """What every table has."""

    __abstract__ = True


class OrganisationRecord(Record):
    """What every table has whose rows belong to an organisation, and go with it."""

    __abstract__ = True

    organisation_id: Mapped[str] = mapped_column(
        ForeignKey("organisations.id", ondelete="CASCADE"), sort_order=-50
    )

    @declared_attr
    def organisation(cls) -> Mapped["Organisation"]:  # noqa: N805 - declared on the class
        """The organisation that the row belongs to."""
        return relationship("Organisation")


def owned(column: str, table: str) -> ForeignKeyConstraint:
    """Return the foreign key of a row that goes with another of the same organisation.

    The organisation is part of the key: no row can refer to one of another organisation.
    """
    return _within_organisation(column, table, "CASCADE")


def linked(column: str, table: str) -> ForeignKeyConstraint:
    """Return the foreign key of a row that stays without another of the same organisation."""
    return _within_organisation(column, table, f"SET NULL ({column})")


def _within_organisation(column: str, table: str, ondelete: str) -> ForeignKeyConstraint:
    return ForeignKeyConstraint(
        ["organisation_id", column],
        [f"{table}.organisation_id", f"{table}.id"],
        ondelete=ondelete,
    )


def unique_while_live(name: str, *columns: str, where: str = "") -> Index:
    """Return the rule that rows which are not marked as deleted differ in some columns.

    A column may be an expression.  What a deleted row has is free again.
    """
    live = "deleted_at IS NULL" + (f" AND {where}" if where else "")
    return Index(
        name, *(text(column) for column in columns), unique=True, postgresql_where=text(live)
    )


def deleted_rows() -> Index:
    """Return the index that finds the deleted rows when they are due; others cost it nothing."""
    return Index(None, "deleted_at", postgresql_where=text("deleted_at IS NOT NULL"))


def address_check(column: str) -> CheckConstraint:
    """Return the rule that a column has an email address: one @ with something on both sides."""
    return CheckConstraint(rf"{column} ~ '^[^@\s]+@[^@\s]+$'", name=f"{column}_address")


def domain_check(column: str) -> CheckConstraint:
    """Return the rule that a column has a domain, and not an address or a URL."""
    return CheckConstraint(rf"{column} ~ '^[^@/\s]+$'", name=f"{column}_name")


def object_check(column: str) -> CheckConstraint:
    """Return the rule that a JSON column has an object, and not a list or a single value."""
    return CheckConstraint(f"jsonb_typeof({column}) = 'object'", name=f"{column}_object")


def score_check(column: str) -> CheckConstraint:
    """Return the rule that a score is from 0 to 100."""
    return CheckConstraint(f"{column} BETWEEN 0 AND 100", name=f"{column}_range")
