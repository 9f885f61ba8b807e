"""Models that know nothing of leadctl but its encrypted column."""

import datetime as dt
import decimal
import enum

from sqlalchemy import CheckConstraint, Enum, ForeignKey, Index, Numeric, text
from sqlalchemy.dialects.postgresql import ARRAY, TEXT
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column, relationship

from leadctl.models import EncryptedText


class Base(DeclarativeBase):
    pass


class OrderState(enum.Enum):
    open = "open"
    paid = "paid"
    shipped = "shipped"


class Customer(Base):
    __tablename__ = "customers"

    id: Mapped[int] = mapped_column(primary_key=True)
    email: Mapped[str] = mapped_column(unique=True)
    tags: Mapped[list[str]] = mapped_column(ARRAY(TEXT), server_default=text("'{}'"))
    iban: Mapped[str | None] = mapped_column(EncryptedText(context="shop.customers.iban"))

    orders: Mapped[list["Order"]] = relationship(back_populates="customer")

    __table_args__ = (Index("customers_tags", "tags", postgresql_using="gin"),)


class Order(Base):
    __tablename__ = "orders"

    id: Mapped[int] = mapped_column(primary_key=True)
    customer_id: Mapped[int] = mapped_column(ForeignKey("customers.id", ondelete="CASCADE"), index=True)
    state: Mapped[OrderState] = mapped_column(Enum(OrderState), server_default="open")
    total: Mapped[decimal.Decimal] = mapped_column(Numeric(10, 2))
    placed_at: Mapped[dt.datetime] = mapped_column(server_default=text("now()"))

    customer: Mapped[Customer] = relationship(back_populates="orders")

    __table_args__ = (
        CheckConstraint("total >= 0", name="orders_total_positive"),
        Index("orders_open", "placed_at", postgresql_where=text("state = 'open'")),
    )
