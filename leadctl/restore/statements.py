"""The statements of a script, read as psql splits them: what each begins with, and its line.

A script of any size is read once, piece by piece, before it runs: what a statement does to other
databases cannot be taken back, and what ends a transaction keeps nothing from it.
https://www.postgresql.org/docs/current/sql-syntax-lexical.html
"""

import re
from dataclasses import dataclass

_WORDS = 12
"""Words of a statement that say what it is."""
_LOOKAHEAD = 512
"""Bytes that are there before a token is read: names and tags have 63."""
_LINE_START = 4
"""Bytes of a line of rows that say whether it is their end."""
_TOKEN = re.compile(
    rb"(?P<space>\s+)"
    rb"|(?P<line>--|\\)"
    rb"|(?P<block>/\*)"
    rb"|(?P<escaped>[eE]')"
    rb"|(?P<text>')"
    rb'|(?P<name>")'
    rb"|(?P<dollar>\$(?:[A-Za-z_\x80-\xff][\w\x80-\xff]*)?\$)"
    rb"|(?P<word>[A-Za-z_\x80-\xff][\w$\x80-\xff]*)"
    rb"|(?P<number>[\d$][\w.$]*)"
    rb"|(?P<other>.)",
    re.DOTALL,
)
_STOPS = {
    "line": re.compile(rb"\n"),
    "block": re.compile(rb"/\*|\*/"),
    "text": re.compile(rb"'"),
    "escaped": re.compile(rb"''|\\.|'", re.DOTALL),
    "name": re.compile(rb'"'),
    "rows": re.compile(rb"^\\\.\r?$", re.MULTILINE),
}
"""What is looked for within something that is no token: mostly its end.  A quote that is written
twice ends a string and begins it anew."""
_SHARED = frozenset({"DATABASE", "ROLE", "USER", "GROUP", "TABLESPACE", "SYSTEM", "PARAMETER"})

_LARGE_OBJECTS = frozenset({"LO_CREATE", "LO_OPEN", "LOWRITE", "LO_CLOSE", "LO_UNLINK"})
"""What pg_dump calls between a BEGIN and a COMMIT of its own, for large objects."""


@dataclass(frozen=True)
class Statement:
    """A statement that a script must not have, the line that it begins in, and why."""

    line: int
    text: str
    reason: str


class StatementReader:
    """Takes a script; afterwards says how many statements it has, and which reach out of it."""

    def __init__(self) -> None:
        self.number = 0
        self.outside: list[Statement] = []
        self._left = b""
        self._line = 1
        self._within: str | None = None
        self._depth = 0
        self._tag = re.compile(b"")
        self._backslashes = False
        self._large_objects = False
        self._begin()

    def _begin(self) -> None:
        self._words: list[str] = []
        self._begun = False
        self._since = self._line
        self._parentheses = 0
        self._bodies = 0
        self._from_stdin = False
        self._named_on = False

    def write(self, data: bytes) -> int:
        """Take a piece of the script."""
        self._left += data
        self._read(final=False)
        return len(data)

    def close(self) -> None:
        """Take the end: a last statement needs no semicolon."""
        self._read(final=True)
        if self._begun:
            self._end()

    def _read(self, *, final: bool) -> None:
        at, enough = 0, 0 if final else _LOOKAHEAD
        while at < len(self._left) - enough:
            after = self._pass_over(at, final=final) if self._within else self._token(at)
            self._line += self._left.count(b"\n", at, after)
            if after == at:
                break
            at = after
        self._left = self._left[at:]
        if self._within == "rows" and b"\n" not in self._left:
            self._left = self._left[:_LINE_START]

    def _pass_over(self, at: int, *, final: bool) -> int:
        """Read on within a string, a comment or rows; return where the rest begins."""
        data, within = self._left, str(self._within)
        stop = self._tag if within == "dollar" else _STOPS[within]
        found = stop.search(data, at)
        if found is None or (found.end() == len(data) and not final):
            if within == "rows":
                return max(at, data.rfind(b"\n") + 1)
            return len(data) if final else max(at, len(data) - _LOOKAHEAD)
        if found[0] == b"/*":
            self._depth += 1
        elif found[0] == b"*/" and self._depth > 1:
            self._depth -= 1
        elif found[0] != b"''" and not (within == "escaped" and found[0][:1] == b"\\"):
            self._within = None
        return found.end()

    def _token(self, at: int) -> int:
        match = _TOKEN.match(self._left, at)
        assert match is not None
        kind = str(match.lastgroup)
        if kind == "space":
            return match.end()
        if kind in _STOPS or kind == "dollar":
            self._within, self._depth = kind, 1
            self._tag = re.compile(re.escape(match[0]))
            if kind == "text" and self._backslashes:
                self._within = "escaped"
            if kind in {"line", "block"}:  # a comment, or a command of psql's, which it refuses
                return match.end()
        if not self._begun:
            self._begun, self._since = True, self._line
        if kind == "name":
            self._take('"')
        elif kind == "word":
            self._take(match[0].decode(errors="replace").upper())
        elif match[0] in (b"(", b")"):
            self._parentheses = max(0, self._parentheses + (1 if match[0] == b"(" else -1))
        elif match[0] == b";" and not self._parentheses and not self._bodies:
            self._end()
        return match.end()

    def _take(self, word: str) -> None:
        """Take a word, and follow the bodies of functions: a semicolon in one ends nothing."""
        if len(self._words) < _WORDS:
            self._words.append(word)
        self._from_stdin = self._from_stdin or (word == "STDIN" and self._words[0] == "COPY")
        self._named_on = self._named_on or word == "ON"
        routine = self._words[0] == "CREATE" and {"FUNCTION", "PROCEDURE"} & set(self._words[:4])
        if routine and not self._parentheses:
            if word == "BEGIN" or (word == "CASE" and self._bodies):
                self._bodies += 1
            elif word == "END" and self._bodies:
                self._bodies -= 1

    def _end(self) -> None:
        words, reason = self._words, self._reason()
        self.number += 1
        if words[:1] == ["COMMIT"] and self._large_objects:
            reason = None
        self._large_objects = words == ["BEGIN"] or (
            self._large_objects
            and words[:2] == ["SELECT", "PG_CATALOG"]
            and len(words) == len(("SELECT", "PG_CATALOG", "function"))
            and words[2] in _LARGE_OBJECTS
        )
        if reason:
            self.outside.append(Statement(self._since, " ".join(words[:3]).rstrip(), reason))
        if words[:2] == ["SET", "STANDARD_CONFORMING_STRINGS"]:
            self._backslashes = words[2:3] != ["ON"]
        rows = self._from_stdin
        self._begin()
        if rows:
            self._within = "rows"

    def _reason(self) -> str | None:
        """Return why a statement reaches out of the script's transaction and database."""
        words = [*self._words, "", "", ""]
        first, second = words[0], words[1]
        if first in {"COMMIT", "END", "ABORT"} or (first, second) == ("PREPARE", "TRANSACTION"):
            return "ends the transaction that protects the restore"
        if first == "ROLLBACK" and "TO" not in words[1:4]:
            return "ends the transaction that protects the restore"
        made = first in {"CREATE", "ALTER", "DROP"} and second in _SHARED
        told = first in {"COMMENT", "SECURITY"} and self._follows_on(words) in _SHARED
        granted = first in {"GRANT", "REVOKE"} and (
            self._follows_on(words) in _SHARED or not self._named_on
        )
        owned = first in {"REASSIGN", "DROP"} and second == "OWNED"
        if (made and words[2] != "MAPPING") or told or granted or owned:
            return "reaches another database, or roles and settings of the whole server"
        return None

    def _follows_on(self, words: list[str]) -> str:
        return words[words.index("ON") + 1] if "ON" in words[:-1] else ""
