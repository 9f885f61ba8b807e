"""The models file: a mapped class for each table of a database, as a person would write it."""

import re
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

from sqlalchemy import (
    CheckConstraint,
    Column,
    DefaultClause,
    Dialect,
    Index,
    MetaData,
    Table,
    UniqueConstraint,
)
from sqlalchemy.dialects import postgresql

from leadctl.catalog.definitions import Catalog, split_name
from leadctl.init.attributes import (
    LINE_MAX,
    Relationship,
    UsedNames,
    annotation,
    attribute_name,
    call,
    check_arguments,
    class_name,
    constant_name,
    default_arguments,
    foreign_key_options,
    is_serial,
    python_literal,
    relationships,
    sequence_name,
    sorted_keys,
    type_expression,
)
from leadctl.init.definitions import deferred, elements, exclusion
from leadctl.migrate.backfill import escape
from leadctl.migrate.ddl.steps import plain

_APART = frozenset({"partition_of", "foreign", "inherits"})
_FILLED = frozenset({"default", "generated", "identity"})
_INDENT = "    "
_NAMED = re.compile(r"\w+=")
_DIALECT: Dialect = postgresql.dialect()  # type: ignore[no-untyped-call]
_TABLES_HAVE_WITH = "with" in dict(_DIALECT.construct_arguments or ())[Table]
"""Whether SQLAlchemy says storage parameters of tables: 2.0 does not."""
_INDEX_OPTIONS = ("include", "nulls_not_distinct", "using", "where", "with")
_SQL_TYPE = '''\
class SqlType(UserDefinedType[Any]):
    """A type that SQLAlchemy has no class for, under the server's own name."""

    cache_ok = True

    def __init__(self, name: str) -> None:
        self.name = name

    def get_col_spec(self, **_: Any) -> str:
        return self.name'''


class ModelsFile:
    """Writes the models of one app."""

    def __init__(
        self, app: str, metadata: MetaData, catalog: Catalog, *, encrypt: Collection[str]
    ) -> None:
        """`encrypt` are columns, as `table.column`, that become EncryptedText."""
        self._app = app
        self._catalog = catalog
        self._encrypt = encrypt
        facts = catalog.objects
        self._columns = {
            _plain_parts(key.removeprefix("column ")): each
            for key, each in facts.items()
            if key.startswith("column ")
        }
        self._tables = {plain(name): facts[f"table {name}"] for name in catalog.names("table")}
        self._definitions = {
            _plain_parts(name): str(facts[f"constraint {name}"]["definition"])
            for name in catalog.names("constraint")
        }
        self._exclusions: dict[str, list[tuple[str, str]]] = {}
        for (owner, name), definition in sorted(self._definitions.items()):
            if definition.startswith("EXCLUDE "):
                self._exclusions.setdefault(owner, []).append((name, definition))
        self._indexes = {
            plain(name): str(facts[f"index {name}"]["definition"])
            for name in catalog.names("index")
        }
        times = Counter(name for _, name in self._definitions)
        self._shared = {name for name in times if times[name] > 1}
        self.tables = [
            table
            for table in sorted(metadata.tables.values(), key=lambda each: each.name)
            if table.schema is None and not _APART & self._tables.get(table.name, {}).keys()
        ]
        self._here = {table.name for table in self.tables}
        for table in self.tables:
            for column in table.columns:
                if not _FILLED & self._columns[table.name, column.name].keys():
                    column.server_default = None  # what a domain fills in is the domain's
        mapped = [each for each in self.tables if each.primary_key.columns]
        self._classes = _class_names(mapped)
        self._attributes = {table.name: _attributes(table) for table in mapped}
        self._relations = relationships(self.tables, self._classes, self._attributes)
        self._names = UsedNames()

    def text(self) -> str:
        """Return the file."""
        body = [
            "\n".join(self._class(table) if table.name in self._classes else self._table(table))
            for table in self.tables
        ]
        names = self._names
        sequences = [
            f"{names.use('Sequence')}({', '.join([python_literal(plain(name)), *options])}, "
            "metadata=Base.metadata)"
            for name in _needed_sequences(self.tables, self._catalog)
            for options in [_sequence_options(self._catalog.objects[f"sequence {name}"], names)]
        ]
        head = [f'"""The models of {self._app}, read from its database."""\n']
        head += [f"import {module}" for module in sorted(names.modules - {"typing"})]
        if names.named_types or "typing" in names.modules:
            head.append("from typing import Any")
        head += ["", *_import("sqlalchemy", names.sqlalchemy)]
        if names.dialect:
            head += _import("sqlalchemy.dialects.postgresql", names.dialect)
        orm = ["DeclarativeBase"]
        if self._classes:
            orm += ["Mapped", "mapped_column"]
        if any(self._relations.values()):
            orm.append("relationship")
        head += _import("sqlalchemy.orm", orm)
        if names.named_types:
            head.append("from sqlalchemy.types import UserDefinedType")
        if names.encrypted:
            head += ["", "from leadctl.models import EncryptedText"]
        base = f'class Base(DeclarativeBase):\n    """The base of {self._app}\'s models."""'
        parts = ["\n".join(head), *([_SQL_TYPE] if names.named_types else []), base]
        if names.enums:
            parts.append("\n".join(f"{name} = {text}" for name, text in names.enums.items()))
        if sequences:
            parts.append("\n".join(sequences))
        return "\n\n\n".join([*parts, *body]) + "\n"

    def _class(self, table: Table) -> Iterator[str]:
        yield f"class {self._classes[table.name]}(Base):"
        yield f"    __tablename__ = {python_literal(table.name)}"
        arguments = list(self._table_arguments(table))
        options = list(self._options(table, as_dict=True))
        if arguments or options:
            yield "    __table_args__ = ("
            for callee, each in arguments:
                yield from self._argument(callee, each, 2 * _INDENT)
            yield from (f"        {option}," for option in options)
            yield "    )"
        yield ""
        for column in table.columns:
            attribute = self._attributes[table.name][column.name]
            python = annotation(column.type, self._names)
            if self._is_encrypted(column):
                python = "str"
            optional = " | None" if column.nullable else ""
            first = [] if attribute == column.name else [python_literal(column.name)]
            given = [*first, *self._column_arguments(column)]
            mapped = f"{attribute}: Mapped[{python}{optional}] = mapped_column"
            yield from call(mapped, given, _INDENT)
        related = self._relations[table.name]
        if related:
            yield ""
        for relation in related:
            yield from _relationship(relation)

    def _table(self, table: Table) -> Iterator[str]:
        constant = constant_name(table.name, [*self._classes.values(), *self._names.enums])
        yield f"{constant} = {self._names.use('Table')}("
        yield f"    {python_literal(table.name)},"
        yield "    Base.metadata,"
        for column in table.columns:
            arguments = [python_literal(column.name), *self._column_arguments(column)]
            nullable = [] if column.primary_key else [f"nullable={column.nullable}"]
            yield from self._argument("Column", [*arguments, *nullable], _INDENT)
        for callee, given in self._table_arguments(table):
            yield from self._argument(callee, given, _INDENT)
        yield from (f"    {option}," for option in self._options(table, as_dict=False))
        yield ")"

    def _argument(self, callee: str, arguments: Sequence[str], indent: str) -> Iterator[str]:
        if callee not in self._names.dialect:
            self._names.use(callee)
        *lines, last = call(callee, arguments, indent)
        yield from [*lines, f"{last},"]

    def _column_arguments(self, column: Column[Any]) -> list[str]:
        """Return a column's arguments: those without a name first, as Python wants them."""
        return sorted(self._unsorted_arguments(column), key=lambda each: bool(_NAMED.match(each)))

    def _unsorted_arguments(self, column: Column[Any]) -> Iterator[str]:
        if self._is_encrypted(column):
            self._names.encrypted = True
            context = f"{self._app}.{column.table.name}.{column.name}"
            yield f"EncryptedText(context={python_literal(context)})"
        else:
            sql_type = self._columns[column.table.name, column.name]["type"]
            yield type_expression(column.type, sql_type, self._names)
        for key in sorted_keys(column.table):
            if key.column_keys == [column.key] and self._is_here(key.referred_table):
                target = key.elements[0].column
                options = [python_literal(f"{target.table.name}.{target.name}")]
                options += foreign_key_options(key, self._shared)
                yield f"{self._names.use('ForeignKey')}({', '.join(options)})"
        if column.primary_key:
            yield "primary_key=True"
        yield from default_arguments(column, self._names)

    def _table_arguments(self, table: Table) -> Iterator[tuple[str, list[str]]]:
        """Yield what a table has besides columns, each as a callee and its arguments."""
        yield from self._primary_key(table)
        for each in sorted_keys(table):
            if len(each.columns) > 1 and self._is_here(each.referred_table):
                own = [column.name for column in each.columns]
                targets = [f"{e.column.table.name}.{e.column.name}" for e in each.elements]
                options = foreign_key_options(each, self._shared)
                yield "ForeignKeyConstraint", [_listed(own), _listed(targets), *options]
        for constraint in sorted(table.constraints, key=lambda each: str(each.name)):
            if isinstance(constraint, CheckConstraint):
                if not str(constraint.sqltext):  # SQLAlchemy could not read it
                    continue
                yield "CheckConstraint", check_arguments(constraint)
            elif isinstance(constraint, UniqueConstraint):
                yield "UniqueConstraint", self._unique(table, constraint)
        for name, definition in self._exclusions.get(table.name, ()):
            yield "ExcludeConstraint", exclusion(name, definition, self._names)
        for index in sorted(table.indexes, key=lambda each: str(each.name)):
            if (table.name, index.name) not in self._definitions:
                yield "Index", self._index(index)

    def _primary_key(self, table: Table) -> Iterator[tuple[str, list[str]]]:
        """Yield the primary key where its columns alone do not say it: by name, order or time."""
        key = table.primary_key
        ordered = [column.key for column in table.columns if column.primary_key]
        named = key.name not in {None, f"{table.name}_pkey"}
        options = self._deferred(table.name, key.name)
        if key.columns and (named or options or ordered != key.columns.keys()):
            columns = [python_literal(column.name) for column in key.columns]
            name = [f"name={python_literal(key.name)}"] if named else []
            yield "PrimaryKeyConstraint", [*columns, *name, *options]

    def _deferred(self, table: str, name: object) -> list[str]:
        """Return the arguments of a constraint that is checked later."""
        return deferred(self._definitions.get((table, str(name)), ""))

    def _unique(self, table: Table, constraint: UniqueConstraint) -> list[str]:
        arguments = [python_literal(column.name) for column in constraint.columns]
        default = "_".join([table.name, *(each.name for each in constraint.columns), "key"])
        if constraint.name != default or default in self._shared:
            arguments.append(f"name={python_literal(constraint.name)}")
        arguments += self._deferred(table.name, constraint.name)
        return [*arguments, *_dialect_options(constraint.dialect_kwargs, self._names)]

    def _index(self, index: Index) -> list[str]:
        definition = self._indexes[str(index.name)]
        arguments = [python_literal(index.name), *elements(definition, self._names)]
        if index.unique:
            arguments.append("unique=True")
        return [*arguments, *_dialect_options(index.dialect_kwargs, self._names)]

    def _options(self, table: Table, *, as_dict: bool) -> Iterator[str]:
        options: dict[str, Any] = {"comment": table.comment} if table.comment else {}
        facts = self._tables[table.name]
        if facts.get("persistence") == "unlogged":
            options["prefixes"] = ["UNLOGGED"]
        if facts.get("options") and _TABLES_HAVE_WITH:
            options["postgresql_with"] = dict(each.split("=", 1) for each in facts["options"])
        if facts.get("partition_key"):
            options["postgresql_partition_by"] = facts["partition_key"]
        if as_dict and options:
            yield (
                "{"
                + ", ".join(f"{python_literal(k)}: {python_literal(v)}" for k, v in options.items())
                + "}"
            )
        elif options:
            yield from (f"{name}={python_literal(value)}" for name, value in options.items())

    def _is_here(self, table: Table) -> bool:
        return table.name in self._here and table.schema is None

    def _is_encrypted(self, column: Column[Any]) -> bool:
        return f"{column.table.name}.{column.name}" in self._encrypt


def _plain_parts(name: str) -> tuple[str, ...]:
    return tuple(plain(part) for part in split_name(name))


def _needed_sequences(tables: Sequence[Table], catalog: Catalog) -> list[str]:
    """Return the sequences that no model makes by itself."""
    made = {
        sequence_name(table.name, column.name)
        for table in tables
        for column in table.columns
        if is_serial(column)
    }
    return [name for name in catalog.names("sequence") if plain(name) not in made]


_OPTIONS_OF_SEQUENCES = {
    "start": "start",
    "increment": "increment",
    "min": "minvalue",
    "max": "maxvalue",
    "cache": "cache",
    "cycle": "cycle",
}
_SEQUENCE_TYPES = {
    "smallint": ("SmallInteger", 2**15),
    "integer": ("Integer", 2**31),
    "bigint": (None, 2**63),
}


def _sequence_options(facts: Mapping[str, Any], names: UsedNames) -> list[str]:
    """Return the arguments of a sequence that are not those of any."""
    data_type, limit = _SEQUENCE_TYPES[facts["type"]]
    rises = facts["increment"] > 0
    usual = {"increment": 1, "cache": 1, "cycle": False}
    usual |= {"min": 1, "max": limit - 1} if rises else {"min": -limit, "max": -1}
    usual["start"] = facts["min"] if rises else facts["max"]
    options = [
        f"{option}={facts[fact]!r}"
        for fact, option in _OPTIONS_OF_SEQUENCES.items()
        if facts[fact] != usual[fact]
    ]
    return [*options, f"data_type={names.use(data_type)}"] if data_type else options


def _import(module: str, names: Collection[str]) -> list[str]:
    line = f"from {module} import {', '.join(sorted(names))}"
    return (
        [line] if len(line) <= LINE_MAX else list(call(f"from {module} import ", sorted(names), ""))
    )


def _listed(names: Sequence[str]) -> str:
    return f"[{', '.join(map(python_literal, names))}]"


def _relationship(relation: Relationship) -> Iterator[str]:
    other = f'"{relation.other_class}"'
    if relation.many:
        python = f"list[{other}]"
    elif relation.optional:
        python = f'"{relation.other_class} | None"'
    else:
        python = other
    options = [f'back_populates="{relation.back}"', f'foreign_keys="{relation.foreign_key}"']
    if relation.remote:
        options.append(f'remote_side="{relation.remote}"')
    if relation.cascades:
        options.append("passive_deletes=True")
    yield from call(f"{relation.attribute}: Mapped[{python}] = relationship", options, _INDENT)


def _dialect_options(given: Mapping[str, Any], names: UsedNames) -> Iterator[str]:
    for option in _INDEX_OPTIONS:
        value = given.get(f"postgresql_{option}")
        if option == "where" and value is not None:
            text = escape(str(getattr(value, "text", value)))
            yield f"postgresql_where={names.use('text')}({python_literal(text)})"
        elif value and not (option == "using" and value == "btree"):
            yield f"postgresql_{option}={python_literal(value)}"


def _class_names(tables: Sequence[Table]) -> dict[str, str]:
    names: dict[str, str] = {}
    for table in tables:
        names[table.name] = class_name(table.name, names.values())
    return names


def _attributes(table: Table) -> dict[str, str]:
    defaults = [each for each in table.columns if isinstance(each.server_default, DefaultClause)]
    called = {"text"} if any(not is_serial(each) for each in defaults) else set()
    names: dict[str, str] = {}
    for column in table.columns:
        names[column.name] = attribute_name(column.name, {*names.values(), *called})
    return names
