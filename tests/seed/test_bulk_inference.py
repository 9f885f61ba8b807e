"""Bulk seed of models that nobody wrote a factory for."""

import re
import sys
from collections import Counter
from collections.abc import Callable
from datetime import date
from pathlib import Path

import psycopg
import pytest
from sqlalchemy import create_engine, func, inspect, select
from sqlalchemy.orm import Session

from leadctl.apps.metadata import load_metadata
from leadctl.apps.registry import App
from leadctl.apps.synthetic.layout import Calendar
from leadctl.crypto import Key, Keyring
from leadctl.errors import CannotInfer, InvalidFlag, LeadctlError
from leadctl.journal import state
from leadctl.journal.guard import Consent
from leadctl.postgres.connect import Timeouts, connect
from leadctl.postgres.target import resolve
from leadctl.seed.bulk.load import BulkResult, bulk_seed
from leadctl.seed.bulk.plan import BulkOptions
from leadctl.settings import load_settings
from tests.conftest import KEY
from tests.servers import Server

HEAD = """
import enum, uuid
import sqlalchemy as sa
from sqlalchemy import (ARRAY, BigInteger, Boolean, CheckConstraint, Column, Computed, Date,
    DateTime, Enum, Float, ForeignKey, ForeignKeyConstraint, Identity, Index, Integer, Interval,
    JSON, LargeBinary, MetaData, Numeric, SmallInteger, String, Table, Text, Time,
    UniqueConstraint, Uuid, text)
from sqlalchemy.dialects.postgresql import (BIT, BYTEA, CIDR, INET, INT4RANGE, JSONB, MACADDR,
    TSTZRANGE, TSVECTOR)
from leadctl.apps.synthetic.makers import Pick, Unique
from leadctl.apps.synthetic.shapes import Factory, Shape
from leadctl.models import EncryptedJSON, EncryptedText
metadata = MetaData()
def table(name, *items): return Table(name, metadata, *items)
def id_(): return Column("id", Integer, primary_key=True)
"""

TYPES = """
table("things", Column("id", BigInteger, Identity(always=True), primary_key=True),
    Column("small", SmallInteger, nullable=False), Column("big", BigInteger, nullable=False),
    Column("ratio", Float, nullable=False), Column("price", Numeric(6, 2), nullable=False),
    Column("tiny", Numeric(2, 2), nullable=False), Column("any", Numeric, nullable=False),
    Column("short", String(3), nullable=False), Column("code", String(12), unique=True),
    Column("letter", String(6), unique=True), Column("email", String(255), unique=True),
    Column("flag", Boolean, nullable=False), Column("born", Date, nullable=False),
    Column("at", DateTime, nullable=False), Column("clock", Time, nullable=False),
    Column("lasts", Interval, nullable=False), Column("token", Uuid, nullable=False),
    Column("data", JSON, nullable=False), Column("blob", LargeBinary, nullable=False),
    Column("kind", Enum("a", "b", name="kind"), nullable=False),
    Column("kinds", ARRAY(Enum("a", "b", name="kind")), nullable=False),
    Column("words", ARRAY(Text), nullable=False), Column("counts", ARRAY(Integer), nullable=False),
    Column("ip", INET, nullable=False), Column("net", CIDR, nullable=False),
    Column("mac", MACADDR, nullable=False), Column("bits", BIT(5), nullable=False),
    Column("numbers", INT4RANGE, nullable=False), Column("during", TSTZRANGE),
    Column("search", TSVECTOR, nullable=False), Column("raw", BYTEA, nullable=False),
    Column("twice", Integer, Computed("small * 2", persisted=True)), Column("made", DateTime(timezone=True),
    server_default=text("now()"), nullable=False), Column("gone_deleted_at", DateTime),
    Column("Mixed Case", Text, nullable=False),
    Column("secret", EncryptedText(context="t.secret"), nullable=False),
    Column("secrets", EncryptedJSON(context="t.secrets"), nullable=False))
"""

CHECKS = """
table("goods", id_(), Column("stars", Integer, CheckConstraint("stars BETWEEN 1 AND 5"), nullable=False),
    Column("size", String(9), CheckConstraint("size IN ('s', 'm', 'it''s')"), nullable=False),
    Column("price", Numeric(10, 2), CheckConstraint("price > 0 AND price < 20"), nullable=False),
    Column("items", JSONB, CheckConstraint("jsonb_typeof(items) = 'array'"), nullable=False),
    Column("phone", Text, CheckConstraint("phone ~ '^\\\\+[1-9][0-9]{6,14}$'"), nullable=False),
    Column("starts_at", DateTime, nullable=False), Column("ends_at", DateTime),
    Column("name", Text, CheckConstraint("char_length(name) <= 7"), nullable=False),
    CheckConstraint("ends_at >= starts_at"))
"""

KEYS = """
table("people", id_(), Column("boss_id", ForeignKey("people.id")),
    Column("mentor_id", ForeignKey("people.id"), nullable=False),
    Column("handle", Text, nullable=False))
table("tags", Column("name", String(30), primary_key=True))
table("likes", Column("person_id", ForeignKey("people.id"), primary_key=True),
    Column("tag", ForeignKey("tags.name"), primary_key=True))
table("profiles", Column("person_id", ForeignKey("people.id"), primary_key=True), Column("bio", Text))
table("seats", id_(), Column("person_id", ForeignKey("people.id"), nullable=False),
    Column("kind", Enum("x", "y", "z", name="seat"), nullable=False),
    Column("number", Integer, nullable=False),
    UniqueConstraint("person_id", "kind"))
table("visits", id_(), Column("person_id", ForeignKey("people.id"), nullable=False),
    Column("number", Integer, nullable=False), UniqueConstraint("person_id", "number"))
table("days", Column("day", Date, primary_key=True), Column("count", Integer))
Index("people_handle", sa.func.lower(metadata.tables["people"].c.handle), unique=True)
table("tenants", Column("id", Uuid, primary_key=True))
table("docs", Column("tenant_id", ForeignKey("tenants.id"), primary_key=True),
    Column("id", Uuid, primary_key=True))
table("pages", Column("tenant_id", Uuid, nullable=False), Column("id", Integer, primary_key=True),
    Column("doc_id", Uuid, nullable=False), Column("other_id", Uuid),
    ForeignKeyConstraint(["tenant_id", "doc_id"], ["docs.tenant_id", "docs.id"]),
    ForeignKeyConstraint(["tenant_id", "other_id"], ["docs.tenant_id", "docs.id"]))
"""


@pytest.fixture
def fill(
    server: Server, database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., BulkResult]:
    def make(models: str, rows: int = 5000, *, factory: str | None = None) -> BulkResult:
        module = f"models_{database}"
        (tmp_path / f"{module}.py").write_text(HEAD + models)
        monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
        app = App(
            name="own",
            root=tmp_path,
            migrations=tmp_path,
            models=f"{module}:metadata",
            factory=factory and f"{module}:{factory}",
        )
        settings = load_settings({}, environ={"DATABASE_URL": server.url(database)})
        target = resolve(settings, app="own")
        with connect(target, rows=True) as connection:
            state.ensure(connection, target)  # as leadctl migrate does
        engine = create_engine(server.url(database).replace("postgresql", "postgresql+psycopg"))
        load_metadata(app).create_all(engine)
        engine.dispose()
        return bulk_seed(
            target,
            app,
            Keyring([Key.from_hex("test", KEY)]),
            BulkOptions(rows, 0, {}, Calendar(date(2026, 1, 1), 90)),
            Consent(),
            timeouts=Timeouts(5, 5),
            narrate=lambda _: None,
            progress=lambda *_: None,
        )

    return make


@pytest.mark.few(1)
@pytest.mark.parametrize("models", [TYPES, CHECKS, KEYS], ids=["types", "checks", "keys"])
def test_rows_of_unknown_models(fill: Callable[..., BulkResult], models: str) -> None:
    assert fill(models).rows == 5000


@pytest.mark.thorough
def test_twice(fill: Callable[..., BulkResult]) -> None:
    assert fill(TYPES).series == 0
    assert fill(TYPES, 200).series == 1


def test_unique_names_can_be_read(
    fill: Callable[..., BulkResult], server: Server, database: str
) -> None:
    """Two words and what makes them different; where a CHECK wants another form, that."""
    models = """
table("firms", Column("name", Text, primary_key=True), Column("short_name", String(20), unique=True),
    Column("title", Text, CheckConstraint("title ~ '^[a-z0-9]{3,}$'"), unique=True))
"""
    assert fill(models, 300).rows == 300
    with psycopg.connect(server.url(database)) as connection:
        rows = connection.execute("SELECT name, title FROM firms").fetchall()
    assert len({name for name, _ in rows}) == 300
    assert all(re.fullmatch(r"\w+ [\w-]+ [a-z0-9]{10}", name) for name, _ in rows), rows[:3]


@pytest.mark.parametrize(("first", "second"), [("a", "b"), ("b", "a")])
def test_a_circle_is_broken_where_it_may_be_empty(
    fill: Callable[..., BulkResult], first: str, second: str
) -> None:
    models = f"""
table("{first}", id_(), Column("to_id", ForeignKey("{second}.id", use_alter=True, name="fk_circle")))
table("{second}", id_(), Column("to_id", ForeignKey("{first}.id"), nullable=False))
"""
    assert fill(models, 300).rows == 300


CLASSES = """
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column
class Base(DeclarativeBase): metadata = metadata
class Kind(enum.Enum):
    cat = "C"
    dog = "D"
class Boss(Base):
    __tablename__ = "boss"
    id: Mapped[int] = mapped_column(primary_key=True)
class Person(Base):
    __tablename__ = "person"
    id: Mapped[int] = mapped_column(primary_key=True)
    kind: Mapped[str]
    boss_id: Mapped[int] = mapped_column(ForeignKey("boss.id"))
    chief_id: Mapped[int | None] = mapped_column(ForeignKey("chief.id"))
    __mapper_args__ = {"polymorphic_on": "kind", "polymorphic_abstract": True}
class Worker(Person):
    __tablename__ = "a_worker"
    boss_id2: Mapped[int] = mapped_column(ForeignKey("boss.id"))
    id: Mapped[int] = mapped_column(ForeignKey("person.id"), primary_key=True)
    __mapper_args__ = {"polymorphic_identity": "it's a\\\\worker"}
class Foreman(Worker):
    __tablename__ = "foreman"
    id: Mapped[int] = mapped_column(ForeignKey("a_worker.id"), primary_key=True)
    __mapper_args__ = {"polymorphic_identity": "foreman"}
class Chief(Person):
    __tablename__ = "chief"
    id: Mapped[int] = mapped_column(ForeignKey("person.id"), primary_key=True)
    __mapper_args__ = {"polymorphic_identity": "chief", "inherit_condition": id == Person.id}
class Guest(Person):
    __mapper_args__ = {"polymorphic_identity": "guest"}
class Animal(Base):
    __tablename__ = "animal"
    id: Mapped[int] = mapped_column(primary_key=True)
    kind: Mapped[Kind]
    lives: Mapped[int | None]
    __table_args__ = (CheckConstraint("(kind = 'cat') = (lives IS NOT NULL)"),)
    __mapper_args__ = {"polymorphic_on": "kind", "polymorphic_abstract": True}
class Cat(Animal): __mapper_args__ = {"polymorphic_identity": Kind.cat}
class Dog(Animal): __mapper_args__ = {"polymorphic_identity": Kind.dog}
class Tool(Base):
    __tablename__ = "tool"
    id: Mapped[int] = mapped_column(primary_key=True)
    worker_id: Mapped[int] = mapped_column(ForeignKey("a_worker.id"))
"""
SEVERAL = """
class Other(DeclarativeBase): pass
class Event(Other):
    __tablename__ = "event"
    id: Mapped[int] = mapped_column(primary_key=True)
    number: Mapped[int]
    __mapper_args__ = {"polymorphic_on": "number", "polymorphic_identity": 7}
class Paid(Event): __mapper_args__ = {"polymorphic_identity": 8}
metadata = [Base, Other]
"""


@pytest.mark.thorough
@pytest.mark.parametrize(("more", "rows"), [("", 40), (SEVERAL, 1001)], ids=["one base", "two"])
def test_every_row_is_of_a_class_that_the_orm_knows(
    fill: Callable[..., BulkResult], server: Server, database: str, more: str, rows: int
) -> None:
    """Each row has an identity, and rows in the tables of its class and in no others."""
    fill(CLASSES + more, rows)
    assert fill(CLASSES + more, rows).rows == rows
    module = sys.modules[f"models_{database}"]
    engine = create_engine(server.url(database).replace("postgresql", "postgresql+psycopg"))
    bases = [module.Base, *([module.Other] if more else [])]
    with Session(engine) as session:
        for mapper in (each for base in bases for each in base.registry.mappers):
            for each in session.scalars(select(mapper.class_)):
                for attribute in inspect(each).mapper.column_attrs:
                    getattr(each, attribute.key)
        classes = Counter(type(each).__name__ for each in session.scalars(select(module.Person)))
        parts = {
            table: session.scalar(
                select(func.count()).select_from(module.Base.metadata.tables[table])
            )
            for table in ("person", "a_worker", "foreman", "chief")
        }
        worker_kinds = session.scalars(
            select(module.Person.kind).where(module.Person.id.in_(select(module.Tool.worker_id)))
        )
        assert {*worker_kinds} <= {"it's a\\worker", "foreman"}
    engine.dispose()
    assert parts == {
        "person": classes.total(),
        "a_worker": classes["Worker"] + classes["Foreman"],
        "foreman": classes["Foreman"],
        "chief": classes["Chief"],
    }


def test_too_few_rows_for_each_class(fill: Callable[..., BulkResult]) -> None:
    with pytest.raises(InvalidFlag, match="each of 4 more tables needs one of each class, 11 in"):
        fill(CLASSES, 5)


def test_tables_that_draw_from_one_sequence_have_numbers_of_their_own(
    fill: Callable[..., BulkResult], server: Server, database: str
) -> None:
    models = """
def drawn(name): return table(name, Column("id", BigInteger, primary_key=True,
    server_default=text("nextval('numbers')")), Column("label", Text))
numbers = sa.Sequence("numbers", metadata=metadata)
drawn("cars"); drawn("ships")
"""
    fill(models, 300)
    assert fill(models, 100).rows == 100
    with server.connect(database) as connection:
        query = (
            "SELECT count(DISTINCT id), max(id) = (SELECT last_value FROM numbers) FROM ({}) AS t"
        )
        both = "SELECT id FROM cars UNION ALL SELECT id FROM ships"
        assert connection.execute(query.format(both)).fetchone() == (400, True)


@pytest.mark.parametrize(
    ("models", "error", "named"),
    [
        (
            "class Point(sa.types.UserDefinedType):\n"
            "    def get_col_spec(self, **_): return 'point'\n"
            'table("t", id_(), Column("where", Point, nullable=False))',
            CannotInfer,
            "t.where",
        ),
        (
            'table("t", id_(), Column("odd", Integer, CheckConstraint("md5(odd::text) = \'x\'"),'
            " nullable=False))",
            CannotInfer,
            "t_odd_check of t",
        ),
    ],
)
def test_what_cannot_be_known_is_named(
    fill: Callable[..., BulkResult], models: str, error: type[LeadctlError], named: str
) -> None:
    with pytest.raises(error, match=named) as caught:
        fill(models, 100)
    assert "factory" in caught.value.hint


def test_a_factory_of_ones_own(
    fill: Callable[..., BulkResult], server: Server, database: str
) -> None:
    models = """
def odd(chunk): return [row * 1000 + 999 for row in chunk.rows]
table("t", id_(), Column("odd", Integer, CheckConstraint("odd % 1000 = 999"), nullable=False),
    Column("state", Text, server_default="new", nullable=False))
table("skipped", id_())
FACTORY = Factory((Shape("t", 1, {"odd": odd, "state": None}), Shape("skipped", 0)))
"""
    assert fill(models, 100, factory="FACTORY").rows == 100
    with server.connect(database) as connection:
        row = connection.execute(
            "SELECT count(*), min(state), max(state), (SELECT count(*) FROM skipped) FROM t"
        ).fetchone()
    assert row == (100, "new", "new", 0)


def test_a_negative_scale(fill: Callable[..., BulkResult]) -> None:
    models = """
table("t", id_(), Column("hundreds", Numeric(10, -2), nullable=False),
    Column("few", Numeric(6, -2), CheckConstraint("few BETWEEN 100 AND 900"), nullable=False))
"""
    assert fill(models, 200).rows == 200


def test_short_keys_last_for_several_runs(fill: Callable[..., BulkResult]) -> None:
    models = """
table("countries", Column("code", String(2), primary_key=True))
table("grades", Column("letter", String(1), primary_key=True))
table("cities", id_(), Column("country", ForeignKey("countries.code"), nullable=False))
"""
    for _ in range(4):
        assert fill(models, 300).rows == 300
