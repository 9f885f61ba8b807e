"""The fence before a scratch: no statement reaches the schema that the scratch stands for.

It stands at the driver's cursor, since a revision may run SQL by any way that ends there.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, ClassVar, NoReturn, Self

import psycopg
from psycopg import sql
from psycopg.pq import TransactionStatus
from psycopg.rows import tuple_row

from leadctl.errors import OperationFailed, RevisionFailed
from leadctl.postgres.connect import Connection
from leadctl.postgres.queries import queries_of, version_of
from leadctl.sql.lexer import Kind, Reader, split, tokens, words_of
from leadctl.sql.reach import begins_transaction

_RELATIONS = {"table", "view", "sequence", "index"}
_BEFORE_NAME = {"if", "not", "exists", "concurrently"}
_MAY_CONTROL = re.compile(r"\b(?:ABORT|BEGIN|COMMIT|END|PREPARE|ROLLBACK|START)\b", re.IGNORECASE)
_UNDO = {"ABORT", "ROLLBACK"}
_QUERIES = queries_of(__file__, "scratch.sql")


class NamesTarget(OperationFailed):
    """What is tried names the very schema that a scratch stands for: it has another name there."""

    is_certain = True
    """Else a word of it is the name of something there, and may mean something else."""


@dataclass(eq=False)
class _Fence:
    """Keeps statements of a scratch from the schema that it stands for; fields as in `fenced`."""

    driver: Connection
    scratch: str
    target: str
    shares_path: bool
    asks_words: bool
    env_py: Callable[[], bool] | None
    reached: bool = field(init=False, default=False)
    _by_word: bool = field(init=False, default=False)

    def __post_init__(self) -> None:
        self._locked = self._locks()
        self._path = self._ask("path")

    def in_transaction(self, statement: Any) -> Any:
        """Return a statement without what would end the transaction that is rolled back at last.

        Raises RevisionFailed for what undoes statements before it.
        """
        text = _text(statement, self.driver)
        if not _MAY_CONTROL.search(text):
            return statement
        parts = list(split(text))
        left = [each for each in parts if begins_transaction(each) is None]
        if any(Reader(each).peek().word in _UNDO for each in parts if each not in left):
            self.refuse_rollback()
        return statement if len(left) == len(parts) else ";\n".join(left) or "SELECT"

    def refuse_rollback(self) -> NoReturn:
        """Refuse what undoes what was done before it: the scratch itself."""
        raise RevisionFailed(
            "A revision rolls back what is before it, so it cannot be tried in one transaction."
        )

    def before(self, statement: object, values: Any) -> None:
        """Refuse a statement that names the target; and all that follow one."""
        if self._is_passed():
            return
        text = _text(statement, self.driver)
        if self.env_py and _prepares_only(text):
            return
        given = values.values() if isinstance(values, dict) else values
        texts = [each for each in given if isinstance(each, str)] if given else []
        self.reached |= _names_schema(text, self.target)
        self.reached |= any(_says(each, self.target) for each in texts)
        if not self.reached:
            is_value = self._has_value(text, texts)
            self.reached = is_value and _asks_catalog(text)
            if not self.reached and self.asks_words:
                self.reached = self._by_word = is_value or self._leads_there(text)
        self.refuse()

    def _has_value(self, text: str, texts: Sequence[str]) -> bool:
        """Whether a value is the schema's name."""
        strings = [each.text for each in tokens(text) if each.kind is Kind.STRING]
        alone = re.compile(rf"""(?:^|['"]){re.escape(self.target)}(?:['"]|$)""")
        return any(alone.search(each) for each in (*strings, *texts))

    def _leads_there(self, text: str) -> bool:
        """Whether a word may lead to the target by a path that is shared."""
        if not self.shares_path:
            return False
        words = words_of(text) - _made(text)
        found = self._ask(
            "found_there", schema=self.target, words=sorted(words), other=self.scratch
        )
        return bool(found)

    def after(self) -> None:
        """Refuse what found something of the target by a name without a schema."""
        if self._is_passed():
            return
        if self.env_py:  # whatever path it set, what it says next must not lead there
            self._ask("go_back", path=self._path[0][0])
        self.reached |= not self._locks() <= self._locked
        self.refuse()

    def refuse(self) -> None:
        """Raise NamesTarget where something named it."""
        if self.reached:
            refused = NamesTarget(
                f"It names the schema {self.target} itself, so it cannot be tried in a schema of "
                "another name."
            )
            refused.is_certain = not self._by_word
            raise refused

    def _is_passed(self) -> bool:
        return self.env_py is not None and not self.env_py()

    def _locks(self) -> set[tuple[int]]:
        return set(self._ask("locked_there", schema=self.target)) if self.shares_path else set()

    def _ask(self, name: str, **values: Any) -> list[Any]:
        if self.driver.info.transaction_status != TransactionStatus.INTRANS:
            return []
        cursor = psycopg.Cursor(self.driver, row_factory=tuple_row)  # the path is anybody's here
        query = _QUERIES.statement(name, version_of(self.driver))
        return cursor.execute(query, values).fetchall()


class _FencedCursor(psycopg.Cursor[Any]):
    """A cursor that a fence stands before."""

    fence: ClassVar[_Fence]
    plain: ClassVar[type[psycopg.Cursor[Any]]]
    """The cursor that the connection has without any fence."""

    def execute(self, query: Any, params: Any = None, **options: Any) -> Self:
        """Execute what the fence lets through."""
        query = self.fence.in_transaction(query)
        self.fence.before(query, params)
        done = super().execute(query, params, **options)
        self.fence.after()
        return done

    def executemany(self, query: Any, params_seq: Iterable[Any], **options: Any) -> None:
        """Execute what the fence lets through."""
        every = list(params_seq)
        for params in every or [None]:
            self.fence.before(query, params)
        super().executemany(query, every, **options)
        self.fence.after()

    def copy(self, statement: Any, params: Any = None, **options: Any) -> Any:
        """Copy what the fence lets through."""
        self.fence.before(statement, params)
        return super().copy(statement, params, **options)


def _names_schema(statement: str, schema: str) -> bool:
    """Whether a statement names a schema: before a dot, as a schema, or in a text."""
    found = list(tokens(statement))
    is_about_path = any(each.name == "search_path" for each in found)
    runs_text = Reader(statement).peek().word == "DO"
    for number, each in enumerate(found):
        if each.kind is Kind.STRING:
            if _says(each.text, schema) or (runs_text and schema in words_of(each.text)):
                return True
        elif each.name == schema:
            behind = found[number + 1].text if number + 1 < len(found) else ""
            near = {token.word for token in found[max(number - 4, 0) : number]}
            if behind == "." or is_about_path or "SCHEMA" in near:
                return True
    return False


def _asks_catalog(statement: str) -> bool:
    """Whether a statement asks what there is: a value in it that is a schema's name means that."""
    return any(
        word == "information_schema" or word.startswith(("pg_", "to_reg"))
        for word in words_of(statement)
    )


def _says(text: str, schema: str) -> bool:
    """Whether a text in a statement names a schema: before a dot, or where schemas are meant."""
    name = re.escape(schema)
    if re.search(rf'(?<![\w$.])"?{name}"?\.(?=["\w%])', text, re.IGNORECASE):
        return True
    about = "search_path" in text or "SCHEMA" in text.upper()
    return about and re.search(rf"(?<![\w$]){name}(?![\w$])", text, re.IGNORECASE) is not None


def _prepares_only(statement: str) -> bool:
    """Whether a statement of an env.py only sets a path, or makes a schema if it is missing."""
    said = [token.word for token in tokens(statement)]
    if not said or len(list(split(statement))) != 1:
        return False
    sets = said[0] in {"RESET", "SET"} or (said[0] == "SELECT" and "FROM" not in said)
    return (sets and "search_path" in statement.lower()) or said[:3] == ["CREATE", "SCHEMA", "IF"]


def _made(statement: str) -> set[str]:
    """Return the name of the relation that a statement makes, if it makes one."""
    reader = Reader(statement)
    if not reader.accept("CREATE"):
        return set()
    words = [token.name for token in tokens(statement)]
    number = next((n for n, word in enumerate(words) if word in _RELATIONS), len(words))
    named = [word for word in words[number + 1 :] if word not in _BEFORE_NAME]
    return {word for word in named[:1] if word}


def _text(statement: object, driver: Connection) -> str:
    if isinstance(statement, bytes):
        return statement.decode()
    return statement.as_string(driver) if isinstance(statement, sql.Composable) else str(statement)


@contextmanager
def fenced(
    driver: Connection,
    scratch: str,
    target: str,
    *,
    shares_path: bool,
    asks_words: bool,
    env_py: Callable[[], bool] | None,
) -> Iterator[None]:
    """Let no statement of the block that runs in a scratch reach the target's schema.

    Where the target's schema is on the path, too (`shares_path`), what a name without a schema
    finds there is refused as well; `asks_words` also refuses words and values that may mean it.
    `env_py` tells whether a statement is an env.py's own, and then only those are meant: it may set
    a path, which is set back, and make the schema where it is missing.

    Raises NamesTarget, at once and again at the end, since a revision may hide it.
    """
    fence = _Fence(driver, scratch, target, shares_path, asks_words, env_py)
    before = driver.cursor_factory
    plain = getattr(before, "plain", before)
    made = type("Fenced", (_FencedCursor, plain), {"fence": fence, "plain": plain})
    driver.cursor_factory = made
    ends = driver.commit, driver.rollback
    driver.commit = lambda: None  # type: ignore[method-assign]
    if env_py is None:
        driver.rollback = fence.refuse_rollback  # type: ignore[method-assign]
    try:
        yield
    finally:
        driver.commit, driver.rollback = ends  # type: ignore[method-assign]
        driver.cursor_factory = before
        fence.refuse()
