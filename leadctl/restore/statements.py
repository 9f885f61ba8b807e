"""Running a script of others, through psql or statement by statement.

psql goes on after errors, too, but where COPY fails it would run the rows as statements.  And what
cannot be one transaction is looked at statement by statement.
"""

import re
from collections import deque
from collections.abc import Callable
from contextlib import ExitStack, nullcontext
from functools import partial
from itertools import accumulate, pairwise
from pathlib import Path
from typing import Any, Literal

import psycopg

from leadctl.errors import BackupDamaged, OutsideStatement, RestoreFailed
from leadctl.postgres.connect import Connection, connect, pipelined_transaction
from leadctl.postgres.target import Target
from leadctl.postgres.translate import refusal
from leadctl.restore.pg_restore import TRANSACTION_TIMEOUT_SINCE, pg_restore_hint
from leadctl.restore.restorable import LeftOutEntry, Loading
from leadctl.restore.script import (
    COUNT_WRITES,
    NO_ROLE,
    REFUSE_SHARED_WRITES,
    RUN_DEFERRED,
    SETS_ROLE,
    NeedsNoTransactionError,
    ScriptFilter,
    StatementReader,
    load_script,
    refuse_written,
)
from leadctl.sql.lexer import tokens

_LAST_WORDS = 3
_SHOWN = 4
_END_OF_ROWS = re.compile(rb"\\\.\r?\Z")
_OWNERS = (
    ("GRANT",),
    ("REVOKE",),
    ("ALTER", "DEFAULT", "PRIVILEGES"),
    ("REASSIGN", "OWNED"),
    ("RESET", "SESSION", "AUTHORIZATION"),
    ("RESET", "ROLE"),
    *map(tuple, SETS_ROLE),
)
"""How statements begin that pg_restore leaves out with --no-owner and --no-privileges."""


_BLOCK = frozenset({"BEGIN", "START", "COMMIT", "END"})
_Looked = Literal["never", "at the end", "after each"]
"""When the server is asked what the statements wrote to."""


def run_script(
    target: Target,
    path: Path,
    unpack: Callable[[Any], None],
    loading: Loading,
    server_major: int,
    *,
    commits: bool,
    trusted: bool,
) -> None:
    """Run the script that `unpack` writes on the target's database, which is empty.

    It is one transaction, even if it `commits` large objects by itself, unless it goes on after
    errors or cannot be one: then each statement is one, and of those that fail `loading` is told.
    Raises RestoreFailed, BackupDamaged where its end is missing, MissingClient, and unless it is
    `trusted` OutsideStatement where something that it calls wrote to a catalog of the whole server;
    nothing of that is kept.
    """
    run = partial(_run_statements, target, path, unpack, loading, server_major)
    each: _Looked = "never" if trusted else "after each"
    try:
        if loading.keep_going:
            run(alone=True, looked=each)
        elif loading.owners and (trusted or not commits):
            load_script(target, path, unpack, loading, server_major, watched=not trusted)
        else:
            run(alone=False, looked="never" if trusted else "at the end")
    except NeedsNoTransactionError as error:
        # Nothing of it was committed, so it can run again.
        loading.narrate(f"It cannot run in one transaction ({error}); running it without.")
        run(alone=True, looked=each)
    except OutsideStatement as refused:
        if loading.keep_going:
            raise
        loading.narrate("It reaches out of its database: looking for the line.")
        try:
            run(alone=False, looked=each)
        except (RestoreFailed, NeedsNoTransactionError):
            raise refused from None


def _run_statements(
    target: Target,
    path: Path,
    unpack: Callable[[Any], None],
    loading: Loading,
    server_major: int,
    *,
    alone: bool,
    looked: _Looked,
) -> None:
    """Run each statement as a transaction, or all as one."""
    older = server_major < TRANSACTION_TIMEOUT_SINCE
    loading.narrate("Running the script.")
    with connect(target, "restore", like_pg_dump=True) as connection:
        # What its author saw: the settings of the role and the database.
        connection.execute("RESET ALL")
        connection.execute("SET client_encoding = 'UTF8'")
        connection.execute(COUNT_WRITES)
        runner = _StatementRunner(connection, loading, path, alone=alone, looked=looked)
        with nullcontext() if alone else connection.transaction():
            sink = ScriptFilter(runner, loading, older=older)
            unpack(sink)
            if not sink.close():
                raise BackupDamaged(f"{path} is cut short: pg_dump's last line is missing.")
            runner.close()


class _StatementRunner(StatementReader):
    """Runs each statement when it is whole; rows go into its COPY as they come."""

    _keeps_rows = True

    def __init__(
        self,
        connection: Connection,
        loading: Loading,
        path: Path,
        *,
        alone: bool,
        looked: _Looked,
    ) -> None:
        super().__init__()
        self._connection = connection
        self._loading = loading
        self._path = path
        self._alone = alone
        self._looked = looked
        self._looks = False
        """Whether it made something that can hide what it does."""
        self._scope = ExitStack()
        self._text = b""
        self._ended: tuple[int, list[str], list[str]] | None = None
        self._copy: Any = None
        self._begins = False

    def _begin(self) -> None:
        super()._begin()
        self._last_words: deque[str] = deque(maxlen=_LAST_WORDS)

    def _take(self, word: str) -> None:
        super()._take(word)
        self._last_words.append(word)

    def _end(self) -> None:
        words = self._words
        hides = self._is_routine or words[:1] == ["DO"] or words[:2] == ["CREATE", "EXTENSION"]
        self._looks = self._looks or (hides and self._looked == "after each")
        self._ended = (self._since, self._words, list(self._last_words))
        super()._end()

    def close(self) -> None:
        """Take the end; a last statement needs no semicolon."""
        super().close()
        self._consume(b"", rows=False)
        self._end_copy()
        if not self._alone:
            self._statement = f"line {self._line}: the end"
            try:
                self._connection.execute(RUN_DEFERRED)
                if self._looked != "never":
                    self._connection.execute(REFUSE_SHARED_WRITES)
            except psycopg.Error as error:
                self._fail(error)

    def _consume(self, data: bytes, *, rows: bool) -> None:
        if rows:
            if self._begins:  # on the line behind the statement
                _, newline, data = data.partition(b"\n")
                self._begins = not newline
            ended = self._within != "rows"
            if self._copy is not None:
                self._write_rows(_END_OF_ROWS.sub(b"", data) if ended else data)
            if ended:
                self._end_copy()
            return
        self._text += data
        if self._ended is not None:
            text, (line, words, last) = self._text, self._ended
            self._text, self._ended = b"", None
            if not self._loading.owners and words[:2] == ["CREATE", "SCHEMA"]:
                text = _without_owner(text)
            ends_ours = not self._alone and self._looked != "never" and _is_block(words)
            left_out = not self._loading.owners and _is_about_owners(text, words, last)
            if not (ends_ours or left_out):
                self._run(text, line, words)

    def _run(self, text: bytes, line: int, words: list[str]) -> None:
        self._statement = f"line {line}: {' '.join(words[:_SHOWN])}"
        try:
            if self._within == "rows":
                self._begins = True
                with ExitStack() as scope:
                    if self._alone and self._looks:
                        scope.enter_context(self._connection.transaction())
                    copy = self._connection.cursor().copy(text)
                    self._rows = copy.__enter__()
                    self._copy, self._scope = copy, scope.pop_all()
            else:
                self._execute(text.rstrip().rstrip(b";"), words)
        except psycopg.Error as error:
            self._fail(error)

    def _execute(self, statement: bytes, words: list[str]) -> None:
        # Binary, so that the server takes no more than one statement at once.
        run = partial(self._connection.execute, statement, binary=True)
        block = _is_block(words) or self._connection.info.transaction_status
        if self._alone and self._looks and not block:
            try:
                with pipelined_transaction(self._connection):
                    run()
                    self._look()
            except psycopg.errors.ActiveSqlTransaction:
                run()  # VACUUM and the like
        else:
            run()
            self._look()

    def _look(self) -> None:
        """Raise what REFUSE_SHARED_WRITES does, where a statement may have written something."""
        if self._looks:
            if self._alone:
                self._connection.execute(RUN_DEFERRED)
            self._connection.execute(REFUSE_SHARED_WRITES)

    def _write_rows(self, data: bytes) -> None:
        try:
            self._rows.write(data)
        except psycopg.Error:  # the end says why
            return

    def _end_copy(self) -> None:
        copy, self._copy = self._copy, None
        if copy is not None:
            try:
                with self._scope.pop_all():
                    copy.__exit__(None, None, None)
                    self._look()
            except psycopg.Error as error:
                self._fail(error)

    def _fail(self, error: psycopg.Error) -> None:
        reason = refusal(error)
        refuse_written(self._path, f", {self._statement}", reason)
        if isinstance(error, psycopg.errors.ActiveSqlTransaction) and not self._alone:
            raise NeedsNoTransactionError(reason)
        if not self._loading.keep_going:
            raise RestoreFailed(
                f"{self._statement} failed: {reason}. Nothing of the script was kept.",
                hint=pg_restore_hint(reason),
            ) from None
        self._loading.left_out.append(LeftOutEntry(self._statement, reason))


def _is_block(words: list[str]) -> bool:
    """Whether a statement begins or ends a transaction."""
    return bool(_BLOCK.intersection(words[:1]))


def _without_owner(text: bytes) -> bytes:
    """Return a CREATE SCHEMA without its owner, whose name it takes where it has no other."""
    statement = text.decode("utf-8", "surrogateescape")
    found = [*tokens(statement)]
    words = [token.word for token in found]
    if "AUTHORIZATION" not in words[:-1]:
        return text
    at = words.index("AUTHORIZATION")
    before, owner = words[2:at], found[at + 1]
    if before not in ([], ["IF", "NOT", "EXISTS"]):
        rest = owner.end
    elif owner.word in NO_ROLE:
        return text
    else:
        rest = owner.start
    return (statement[: found[at].start] + statement[rest:]).encode("utf-8", "surrogateescape")


def _is_about_owners(text: bytes, words: list[str], last: list[str]) -> bool:
    if any(tuple(words[: len(each)]) == each for each in _OWNERS):
        return True
    if words[:1] != ["ALTER"] or last[:2] != ["OWNER", "TO"]:
        return False
    # Of several changes it is one; and what is renamed may be called so.
    found = [token.text.upper() for token in tokens(text.decode(errors="replace"))]
    inside = list(accumulate((each == "(") - (each == ")") for each in found))
    several = any(each == "," and not depth for each, depth in zip(found, inside, strict=True))
    renames = any(each == "RENAME" and before != "." for before, each in pairwise(found[2:]))
    return not (several or renames)
