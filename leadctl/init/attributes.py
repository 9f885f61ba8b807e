"""The attributes of mapped classes as Python: columns and relationships."""

import enum
import keyword
import re
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import (
    ARRAY,
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    Computed,
    Date,
    DateTime,
    DefaultClause,
    Double,
    Enum,
    ForeignKeyConstraint,
    Identity,
    Integer,
    LargeBinary,
    Numeric,
    SmallInteger,
    String,
    Table,
    Text,
    UniqueConstraint,
    Uuid,
)
from sqlalchemy.dialects import postgresql
from sqlalchemy.types import NullType, TypeEngine

from leadctl.init.project_files import snake_case
from leadctl.migrate.backfill import escape
from leadctl.postgres import LONGEST_NAME

LINE_MAX = 100
_RESERVED = frozenset({
    "metadata", "registry", "type_annotation_map", "mapped_column", "relationship", "list", "str",
    "int", "float", "bool", "bytes", "datetime", "decimal", "uuid",
})  # fmt: skip
"""Attributes that no class may have: SQLAlchemy's own, and names that its lines need."""
_RESERVED_CLASSES = frozenset({
    "Any", "Base", "BigInteger", "Boolean", "CheckConstraint", "Column", "Computed", "Date",
    "DateTime", "DeclarativeBase", "Double", "EncryptedText", "Enum", "ExcludeConstraint", "Float",
    "ForeignKey", "ForeignKeyConstraint", "Identity", "Index", "Integer", "Interval", "LargeBinary",
    "Mapped", "Numeric", "PrimaryKeyConstraint", "Sequence", "SmallInteger", "SqlType", "String",
    "Table", "Text", "Time", "UniqueConstraint", "UserDefinedType", "Uuid",
})  # fmt: skip
"""What the file imports or defines in the case of a class."""
_PLAIN: tuple[tuple[type[TypeEngine[Any]], str], ...] = (
    (BigInteger, "BigInteger"),
    (SmallInteger, "SmallInteger"),
    (Integer, "Integer"),
    (Boolean, "Boolean"),
    (Date, "Date"),
    (LargeBinary, "LargeBinary"),
    (Uuid, "Uuid"),
)


@dataclass
class UsedNames:
    """What a models file uses: imports, the enums it defines, its own types."""

    sqlalchemy: set[str] = field(default_factory=set)
    dialect: set[str] = field(default_factory=set)
    modules: set[str] = field(default_factory=set)
    enums: dict[str, str] = field(default_factory=dict)
    """The expression of each enum, by the constant that it gets."""
    named_types: bool = False
    """Whether a type is needed that SQLAlchemy does not know."""
    encrypted: bool = False

    def use(self, name: str) -> str:
        """Import a name of SQLAlchemy and return it."""
        self.sqlalchemy.add(name)
        return name


def python_literal(value: Any) -> str:
    """Return a value as Python, a text in double quotes where that needs no escapes."""
    text = repr(value)
    plain = isinstance(value, str) and text[0] == "'" and not {'"', "\\"} & set(text)
    return f'"{value}"' if plain else text


def call(before: str, arguments: Iterable[str], indent: str) -> Iterator[str]:
    """Yield a call's lines: one where it fits, else an argument a line."""
    given = list(arguments)
    line = f"{indent}{before}({', '.join(given)})"
    if len(line) <= LINE_MAX:
        yield line
        return
    yield f"{indent}{before}("
    yield from (f"{indent}    {argument}," for argument in given)
    yield f"{indent})"


def attribute_name(column: str, taken: Collection[str]) -> str:
    """Return the attribute of a column: its name in snake_case, where Python allows it."""
    name = snake_case(column) or "column"
    if name[0].isdigit():
        name = f"n{name}"
    if not name.isidentifier():
        name = "column"
    while keyword.iskeyword(name) or name in _RESERVED or name in taken:
        name += "_"
    return name


def constant_name(name: str, taken: Collection[str]) -> str:
    """Return the constant of an enum, or of a table without a class."""
    constant = attribute_name(name, ()).upper()
    while constant in postgresql.__all__ or constant in taken:
        constant += "_"
    return constant


def type_expression(type_: TypeEngine[Any], sql_type: str, names: UsedNames) -> str:
    """Return a type as Python; `sql_type` is what the server calls it."""
    if isinstance(type_, NullType | postgresql.DOMAIN) or getattr(type_, "schema", None):
        names.named_types = True
        return f"SqlType({python_literal(sql_type)})"
    if isinstance(type_, Enum):
        values = ", ".join(python_literal(value) for value in type_.enums)
        expression = f"{names.use('Enum')}({values}, name={python_literal(type_.name)})"
        others = [name for name, given in names.enums.items() if given != expression]
        constant = constant_name(type_.name or "enum", others)
        names.enums[constant] = expression
        return constant
    if isinstance(type_, ARRAY):
        item = type_expression(type_.item_type, sql_type.removesuffix("[]"), names)
        names.dialect.add("ARRAY")
        return f"ARRAY({item})"
    simple = _simple(type_, names)
    if simple is not None:
        return simple
    expression = repr(type_)
    if type(type_).__module__.startswith("sqlalchemy.dialects.postgresql"):
        names.dialect.add(type(type_).__name__)
        if isinstance(type_, postgresql.JSONB | postgresql.JSON):
            return f"{type(type_).__name__}"
        return expression
    names.use(type(type_).__name__)
    return expression


def _simple(type_: TypeEngine[Any], names: UsedNames) -> str | None:
    """Return a type as people write it; None for one that has no short form."""
    if isinstance(type_, String):
        if type_.collation or type(type_).__name__ not in {"VARCHAR", "TEXT", "String", "Text"}:
            return None
        if isinstance(type_, Text):
            return names.use("Text")
        return names.use("String") + (f"({type_.length})" if type_.length else "")
    if isinstance(type_, DateTime) and getattr(type_, "precision", None) is None:
        return names.use("DateTime") + ("(timezone=True)" if type_.timezone else "")
    if isinstance(type_, Double):
        return names.use("Double")
    if isinstance(type_, Numeric) and type(type_).__name__ in {"NUMERIC", "Numeric"}:
        digits = [str(n) for n in (type_.precision, type_.scale) if n is not None]
        return names.use("Numeric") + (f"({', '.join(digits)})" if digits else "")
    return next((names.use(name) for plain, name in _PLAIN if isinstance(type_, plain)), None)


def annotation(type_: TypeEngine[Any], names: UsedNames) -> str:
    """Return what a column's values are in Python."""
    try:
        found = type_.python_type
    except NotImplementedError:
        found = object
    if isinstance(type_, Enum) or issubclass(found, enum.Enum):
        return "str"
    if found.__module__ == "builtins" and found in {str, int, float, bool, bytes}:
        return found.__name__
    if found.__module__ in {"datetime", "decimal", "uuid"}:
        names.modules.add(found.__module__)
        return f"{found.__module__}.{found.__name__}"
    names.modules.add("typing")
    return "Any"


def default_arguments(column: Column[Any], names: UsedNames) -> Iterator[str]:
    """Yield the arguments for what the server fills a column with."""
    default = column.server_default
    if isinstance(default, Identity):
        yield f"{names.use('Identity')}({', '.join(_identity_options(default))})"
    elif isinstance(default, Computed):
        text = python_literal(escape(str(default.sqltext)))
        yield f"{names.use('Computed')}({text}, persisted={default.persisted is not False})"
    elif isinstance(default, DefaultClause) and not is_serial(column):
        yield f"server_default={names.use('text')}({python_literal(escape(_default_text(column)))})"
    plain = not is_serial(column) and not isinstance(default, Identity)
    if column.primary_key and plain and isinstance(column.type, Integer):
        yield "autoincrement=False"
    if column.comment:
        yield f"comment={python_literal(column.comment)}"


def _identity_options(identity: Identity) -> Iterator[str]:
    if identity.always:
        yield "always=True"
    for option, usual in (("start", 1), ("increment", 1), ("cache", 1), ("cycle", False)):
        value = getattr(identity, option)
        if value is not None and value != usual:
            yield f"{option}={value}"


def _default_text(column: Column[Any]) -> str:
    """Return the SQL of a column's default; "" where it has none."""
    default = column.server_default
    if not isinstance(default, DefaultClause):
        return ""
    return str(getattr(default.arg, "text", default.arg))


def sequence_name(table: str, column: str) -> str:
    """Return what PostgreSQL calls the sequence of a `serial`: the longer part is cut to fit.

    As makeObjectName() in src/backend/commands/indexcmds.c does, for names of ASCII.
    """
    one, other = len(table), len(column)
    while one + other > LONGEST_NAME - len("__seq"):
        one, other = (one - 1, other) if one > other else (one, other - 1)
    return f"{table[:one]}_{column[:other]}_seq"


def is_serial(column: Column[Any]) -> bool:
    """Whether a column is what SQLAlchemy makes of an integer key: a `serial`."""
    table = column.table
    name = sequence_name(table.name, column.name)
    alone = table.primary_key.columns.keys() == [column.key]
    quoted = {f"nextval('{name}'::regclass)", f"nextval('\"{name}\"'::regclass)"}
    return alone and isinstance(column.type, Integer) and _default_text(column) in quoted


def foreign_key_options(constraint: ForeignKeyConstraint, shared: Collection[str]) -> Iterator[str]:
    """Yield the arguments of a foreign key, besides its columns.

    Its name is among them where the server would take another: `shared` names are taken twice.
    """
    default = "_".join([constraint.table.name, *constraint.column_keys, "fkey"])
    if constraint.name and (constraint.name != default or default in shared):
        yield f"name={python_literal(constraint.name)}"
    for option in ("ondelete", "onupdate", "deferrable", "initially", "match"):
        value = getattr(constraint, option)
        if value:
            yield f"{option}={python_literal(value)}"


def check_arguments(constraint: CheckConstraint) -> list[str]:
    """Return the arguments of a check."""
    text = escape(str(constraint.sqltext))
    return [python_literal(text), f"name={python_literal(constraint.name)}"]


_ES = ("sses", "xes", "ches", "shes", "zes")
_NO_PLURAL = ("ss", "us", "is", "ics", "news", "series", "species")


@dataclass(frozen=True)
class Relationship:
    """One side of a relationship."""

    attribute: str
    other_class: str
    back: str
    """The attribute of the other side."""
    foreign_key: str
    """`Class.attribute` of the column."""
    many: bool
    optional: bool = False
    remote: str | None = None
    """`Class.attribute` of the referred column, where a table refers to itself."""
    cascades: bool = False


def class_name(table: str, taken: Collection[str]) -> str:
    """Return the class of a table: its name's singular in CapWords, where Python allows it."""
    words = [word for word in _singular(snake_case(table)).split("_") if word]
    name = "".join(word[0].upper() + word[1:] for word in words) or "Table"
    if not name.isidentifier():
        name = f"T{name}" if f"T{name}".isidentifier() else "Table"
    while name in _RESERVED_CLASSES or name in taken or keyword.iskeyword(name):
        name += "_"
    return name


def _singular(name: str) -> str:
    """Return the singular of an English plural, as far as its ending tells."""
    if name.endswith(_NO_PLURAL):
        return name
    if name.endswith("ies"):
        return f"{name[:-3]}y"
    if name.endswith(_ES):
        return name[:-2]
    return name.removesuffix("s")


def _plural(table: str) -> str:
    """Return the plural of a table's name, in snake_case."""
    name = snake_case(table)
    if _singular(name) != name or name.endswith(_NO_PLURAL[3:]):
        return name
    if re.search(r"[^aeiou]y$", name):
        return f"{name[:-1]}ies"
    return f"{name}es" if re.search(r"(s|x|z|ch|sh)$", name) else f"{name}s"


def relationships(
    tables: Sequence[Table],
    classes: Mapping[str, str],
    attributes: Mapping[str, Mapping[str, str]],
) -> dict[str, list[Relationship]]:
    """Return the relationships by table.

    `classes` has the class of each mapped table, `attributes` the attribute of each column.
    """
    found: dict[str, list[Relationship]] = {name: [] for name in classes}
    taken = {name: set(attributes[name].values()) for name in classes}
    for table in [each for each in tables if each.name in classes]:
        simple = [each for each in sorted_keys(table) if _is_simple(each, classes)]
        referred = Counter(each.referred_table.name for each in simple)
        for key in simple:
            parent = key.referred_table.name
            column, target = key.columns[0], key.elements[0].column
            own = attributes[table.name][column.name]
            stem = re.sub(r"_(id|uuid|key|fk)$", "", own)
            name = stem if stem != own else f"{own}_{_singular(snake_case(parent))}"
            name = _free(name, taken[table.name])
            several = referred[parent] > 1 or parent == table.name
            back = _free(_plural(table.name) + (f"_by_{name}" if several else ""), taken[parent])
            foreign_key = f"{classes[table.name]}.{own}"
            itself = parent == table.name
            remote = f"{classes[parent]}.{attributes[parent][target.name]}" if itself else None
            nullable = bool(column.nullable)
            found[table.name].append(
                Relationship(name, classes[parent], back, foreign_key, False, nullable, remote)
            )
            unique = _is_unique(table, column.name)
            found[parent].append(
                Relationship(
                    back,
                    classes[table.name],
                    name,
                    foreign_key,
                    many=not unique,
                    optional=unique,
                    cascades=bool(key.ondelete),
                )
            )
    return found


def sorted_keys(table: Table) -> list[ForeignKeyConstraint]:
    """Return a table's foreign keys by name, without those to other schemas."""
    here = [
        key
        for key in table.foreign_key_constraints
        if key.elements[0].target_fullname.rpartition(".")[0] in table.metadata.tables
    ]
    return sorted(here, key=lambda each: str(each.name))


def _is_simple(key: ForeignKeyConstraint, classes: Mapping[str, str]) -> bool:
    referred = key.referred_table
    return len(key.columns) == 1 and referred.schema is None and referred.name in classes


def _is_unique(table: Table, column: str) -> bool:
    unique = [each.columns.keys() for each in table.indexes if each.unique]
    unique += [
        each.columns.keys() for each in table.constraints if isinstance(each, UniqueConstraint)
    ]
    return [column] in [list(each) for each in [*unique, table.primary_key.columns.keys()]]


def _free(name: str, taken: set[str]) -> str:
    name = attribute_name(name, taken)
    taken.add(name)
    return name
