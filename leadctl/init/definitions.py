"""The arguments of indexes and constraints, out of their definitions as the server writes them.

SQLAlchemy's reflection loses operator classes of expressions, collations, orders, exclusions and
what is deferred; the server's text has all of it.
"""

import re
from collections.abc import Iterator

from leadctl.init.attributes import UsedNames, python_literal
from leadctl.migrate.backfill import escape
from leadctl.migrate.ddl.steps import plain
from leadctl.sql.lexer import tokens

_COLUMN = re.compile(r'\w+|"(?:[^"]|"")+"')
_DEFERRED = re.compile(r"\)(?: [A-Z ]+?)?? DEFERRABLE(?P<late> INITIALLY DEFERRED)?$")
_USING = re.compile(r" USING (?P<method>\w+) \(")


def elements(definition: str, names: UsedNames) -> Iterator[str]:
    """Yield what an index is on: a column by its name, anything else as SQL."""
    for element in _parts(definition)[0]:
        if _COLUMN.fullmatch(element):
            yield python_literal(plain(element))
        else:
            yield f"{names.use('text')}({python_literal(escape(element))})"


def exclusion(name: str, definition: str, names: UsedNames) -> list[str]:
    """Return the arguments of an exclusion constraint."""
    names.dialect.add("ExcludeConstraint")
    found, rest = _parts(definition)
    arguments = []
    for each in found:
        element, _, operator = each.rpartition(" WITH ")
        sql = f"{names.use('text')}({python_literal(escape(element))})"
        arguments.append(f"({sql}, {python_literal(operator)})")
    arguments.append(f"name={python_literal(name)}")
    method = _USING.search(definition)
    if method:
        arguments.append(f"using={python_literal(method['method'])}")
    where = re.match(r" WHERE \((?P<sql>.*)\)(?= DEFERRABLE|$)", rest)
    if where:
        text = python_literal(escape(where["sql"]))
        arguments.append(f"where={names.use('text')}({text})")
    return [*arguments, *deferred(definition)]


def deferred(definition: str) -> list[str]:
    """Return the arguments of a constraint that may be, or is, checked at the transaction's end."""
    found = _DEFERRED.search(definition)
    if found is None:
        return []
    return ["deferrable=True", *(['initially="DEFERRED"'] if found["late"] else [])]


def _parts(definition: str) -> tuple[list[str], str]:
    """Return the elements within the first parentheses after USING, and what follows those."""
    opening = _USING.search(definition)
    assert opening is not None
    text = definition[opening.end() :]
    found, depth, start = [], 0, 0
    for token in tokens(text):
        if token.text == "(":
            depth += 1
        elif token.text == ")" and depth:
            depth -= 1
        elif token.text in {",", ")"} and not depth:
            found.append(text[start : token.start].strip())
            start = token.start + 1
            if token.text == ")":
                return found, text[start:]
    raise AssertionError(definition)
