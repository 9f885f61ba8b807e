"""PostgreSQL's lexical rules, as far as statements must be told apart, and reading one statement.

https://www.postgresql.org/docs/current/sql-syntax-lexical.html
"""

import functools
import re
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum

from leadctl.text import quoted, unquoted


class Kind(Enum):
    """What a token is."""

    WORD = "word"
    QUOTED = "quoted identifier"
    STRING = "string"
    NUMBER = "number"
    SYMBOL = "symbol"


@dataclass(frozen=True)
class Token:
    """One token, and where it stands in the text."""

    kind: Kind
    text: str
    start: int

    @property
    def word(self) -> str:
        """The keyword that it may be, in capitals; empty for anything else."""
        return self.text.upper() if self.kind is Kind.WORD else ""

    @property
    def name(self) -> str | None:
        """The name that it is as an identifier, folded as PostgreSQL folds it."""
        if self.kind is Kind.WORD:
            return self.text.lower()
        if self.kind is Kind.QUOTED:
            return unquoted(self.text)
        return None

    @property
    def end(self) -> int:
        """The position behind it."""
        return self.start + len(self.text)


_COMMENT = r"--[^\n\r]*"
_CONTINUED = rf"(?:[^\S\n\r]|{_COMMENT})*[\n\r](?:\s|{_COMMENT}[\n\r])*'"
"""Between the parts of a string: white space with a line break, and what stands in a comment."""
_ESCAPED, _PLAIN = r"(?:[^'\\]|\\.|'')*'", r"(?:[^']|'')*'"
_PATTERNS = (
    (None, rf"\s+|{_COMMENT}"),
    (Kind.STRING, rf"[eE]'{_ESCAPED}(?:{_CONTINUED}{_ESCAPED})*"),
    (Kind.STRING, rf"(?:[bBxXnN]|[uU]&)?'{_PLAIN}(?:{_CONTINUED}{_PLAIN})*"),
    (Kind.QUOTED, r'"(?:[^"]|"")*"'),
    (Kind.NUMBER, r"\d[\d_]*(?:\.\d*)?(?:[eE][+-]?\d+)?|\.\d+"),
    (Kind.WORD, r"[A-Za-z_\x80-\U0010ffff][\w$\x80-\U0010ffff]*"),
    (Kind.SYMBOL, r"::|:=|[^\s]"),
)
_DOLLAR = re.compile(r"\$(?:[A-Za-z_\x80-\U0010ffff][\w\x80-\U0010ffff]*)?\$")


@functools.cache
def _compiled() -> list[tuple[Kind | None, re.Pattern[str]]]:
    """Compile the patterns, once something is read: that takes longer than most imports."""
    return [(kind, re.compile(pattern, re.DOTALL)) for kind, pattern in _PATTERNS]


def tokens(text: str) -> Iterator[Token]:
    """Yield the tokens of a text, comments and white space left out.

    What never ends (a string, a comment) is one token to the end of the text.
    """
    position, patterns = 0, _compiled()
    while position < len(text):
        if text.startswith("/*", position):
            position = _end_of_comment(text, position)
            continue
        dollar = _DOLLAR.match(text, position)
        if dollar:
            closing = text.find(dollar[0], dollar.end())
            end = len(text) if closing < 0 else closing + len(dollar[0])
            yield Token(Kind.STRING, text[position:end], position)
            position = end
            continue
        for kind, pattern in patterns:
            found = pattern.match(text, position)
            if found:
                if kind is not None:
                    yield Token(kind, found[0], position)
                position = found.end()
                break


def split(text: str) -> Iterator[str]:
    """Yield the statements of a text, without the semicolons between them."""
    start, depth = 0, 0
    begun = in_body = False
    previous = ""
    for token in tokens(text):
        word = "" if previous == "." else token.word  # behind a dot stands a name
        if token.text in {"(", "["}:
            depth += 1
        elif token.text in {")", "]"}:
            depth -= 1
        elif word == "ATOMIC" and previous == "BEGIN":
            in_body = True  # of an SQL function: its semicolons are its own
        elif word == "END" and previous in {";", "ATOMIC"}:
            in_body = False  # any other END is that of a CASE, or a column's name
        elif token.text == ";" and depth <= 0 and not in_body:
            if begun:
                yield text[start : token.start].strip()
            start, begun, previous = token.end, False, ""
            continue
        begun = True
        previous = word or token.text
    if begun:
        yield text[start:].strip()


def words_of(text: str) -> set[str]:
    """Return every word of a text that may be a name, those in strings and bodies among them."""
    found: set[str] = set()
    for token in tokens(text):
        if token.kind is Kind.STRING:
            for quoted, bare in _WORD_OR_NAME.findall(token.text):
                found |= {quoted.replace('""', '"')} if quoted else {bare, bare.lower()}
        elif token.name is not None:
            found.add(token.name)
    return found


def parts_of_name(name: str) -> tuple[str, ...]:
    """Return the parts of a name as `Reader.name` writes it, without quotes."""
    return tuple(unquoted(part) for part in _PARTS.findall(name))


def schema_and_name(name: str, schema: str) -> tuple[str, str]:
    """Return the schema and the own name of such a name, which is in `schema` if it names none."""
    *named, own = parts_of_name(name) or ("",)
    return (named[-1] if named else schema), own


def as_name(*parts: str) -> str:
    """Return the name that consists of these parts, as `Reader.name` writes it."""
    return ".".join(_dotless(part) for part in parts)


_WORD_OR_NAME = re.compile(r'"((?:[^"]|"")+)"|([^\W\d][\w$]*)')
_PARTS = re.compile(r'"(?:[^"]|"")*"|[^.]+')


def _dotless(part: str) -> str:
    return quoted(part) if "." in part or part.startswith('"') else part


def _end_of_comment(text: str, position: int) -> int:
    """Return the position behind a comment; PostgreSQL's comments nest."""
    depth = 0
    for found in re.finditer(r"/\*|\*/", text[position:]):
        depth += 1 if found[0] == "/*" else -1
        if not depth:
            return position + found.end()
    return len(text)


class Reader:
    """Reads a statement from left to right."""

    def __init__(self, text: str) -> None:
        self.text = text
        self._tokens = list(tokens(text))
        self._next = 0

    @property
    def done(self) -> bool:
        """Whether nothing is left."""
        return self._next >= len(self._tokens)

    def peek(self, ahead: int = 0) -> Token:
        """Return a token without taking it; an empty symbol at the end."""
        index = self._next + ahead
        return (
            self._tokens[index]
            if index < len(self._tokens)
            else Token(Kind.SYMBOL, "", len(self.text))
        )

    def take(self) -> Token:
        """Take the next token."""
        token = self.peek()
        self._next += 1
        return token

    def accept(self, *words: str) -> bool:
        """Take these words where they are next; say whether they were."""
        if all(
            self.peek(i).word == word or self.peek(i).text == word for i, word in enumerate(words)
        ):
            self._next += len(words)
            return True
        return False

    def skip_if_exists(self) -> None:
        """Go behind IF EXISTS or IF NOT EXISTS."""
        self.accept("IF", "NOT", "EXISTS") or self.accept("IF", "EXISTS")

    def skip_to(self, *words: str) -> bool:
        """Go behind the next of these words outside parentheses; stay where there is none."""
        depth = 0
        for index in range(self._next, len(self._tokens)):
            token = self._tokens[index]
            depth += {"(": 1, ")": -1}.get(token.text, 0)
            if not depth and token.word in words:
                self._next = index + 1
                return True
        return False

    def has(self, *words: str) -> bool:
        """Whether these words stand together anywhere ahead."""
        return any(
            all(self._tokens[index + i].word == word for i, word in enumerate(words))
            for index in range(self._next, len(self._tokens) - len(words) + 1)
        )

    def name(self) -> str:
        """Take a name, qualified or not, and return it as `schema.name` or `name`.

        A part that has a dot itself stands in quotes: `parts_of_name` takes the name apart.
        """
        parts = [self.take().name or ""]
        while self.accept("."):
            parts.append(self.take().name or "")
        return as_name(*parts)

    def table(self) -> str:
        """Take the name of a table; a word ONLY before it is passed over."""
        self.accept("ONLY")
        return self.name()

    def altered_table(self) -> str | None:
        """Take ALTER TABLE with the table's name, and return that; None for another statement."""
        if not self.accept("ALTER", "TABLE"):
            return None
        self.skip_if_exists()
        return self.table()

    def parenthesised(self) -> "Reader | None":
        """Take what stands in the parentheses that are next, and return a reader of it."""
        if not self.accept("("):
            return None
        start, depth = self.peek().start, 1
        while not self.done:
            token = self.take()
            depth += {"(": 1, ")": -1}.get(token.text, 0)
            if not depth:
                return Reader(self.text[start : token.start])
        return Reader(self.text[start:])

    def until_comma(self) -> "Reader":
        """Take what stands before the next comma outside parentheses, and the comma."""
        start, depth = self.peek().start, 0
        while not self.done:
            token = self.take()
            depth += {"(": 1, ")": -1, "[": 1, "]": -1}.get(token.text, 0)
            if token.text == "," and not depth:
                return Reader(self.text[start : token.start])
        return Reader(self.text[start:])

    def until(self, *words: str, before: str = "") -> str:
        """Take what stands before the next of these words, outside parentheses and CASE.

        Only where the word `before` follows it, if that is given.  Everything where there is none.
        """
        start, depth = self.peek().start, 0
        while not self.done:
            token = self.peek()
            depth += {"(": 1, ")": -1, "[": 1, "]": -1}.get(token.text, 0)
            depth += {"CASE": 1, "END": -1}.get(token.word, 0)
            compares = token.word == "FROM" and self._tokens[self._next - 1].word == "DISTINCT"
            follows = not before or self.peek(1).word == before
            if not depth and token.word in words and follows and not compares:
                return self.text[start : token.start].strip()
            self.take()
        return self.text[start:].strip()

    def rest(self) -> str:
        """Return the text from here on."""
        return self.text[self.peek().start :].strip()

    def words(self) -> list[str]:
        """Return the words ahead."""
        return [token.word for token in self._tokens[self._next :] if token.word]

    def called(self) -> list[str]:
        """Return the names ahead that are called as functions, and SQL's parameterless ones."""
        found = []
        for index in range(self._next, len(self._tokens)):
            token = self._tokens[index]
            following = self._tokens[index + 1].text if index + 1 < len(self._tokens) else ""
            if (
                token.name
                and following == "("
                and token.word not in {"VALUES", "IN", "ARRAY", "AND"}
            ):
                found.append(token.name)
        return found
