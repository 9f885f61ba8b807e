"""The one translator of driver errors into leadctl's own."""

import re
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from leadctl import errors
from leadctl.redact import HIDDEN, scrub, without_values

if TYPE_CHECKING:
    from leadctl.postgres.target import Target

_NO_DATABASE = "Create it with leadctl migrate, or check the database's name in the URL."
_BY_MESSAGE: tuple[tuple[str, type[errors.ConnectionFailed], str], ...] = (
    (
        r"failed to resolve host|could not translate host name",
        errors.UnknownHost,
        "Check the spelling of the host, and whether this machine can resolve it.",
    ),
    (
        r"timeout expired|[Cc]onnection timed out",
        errors.ConnectionTimeout,
        "Check host, port and firewall; LEADCTL_CONNECT_TIMEOUT is how long leadctl waits.",
    ),
    (
        r"Connection refused|No such file or directory|Network is unreachable|No route to host",
        errors.ConnectionRefused,
        "Check that the server runs and listens there: host and port of the URL.",
    ),
    (
        r"password authentication failed|no password supplied|authentication failed|pg_hba\.conf",
        errors.AuthenticationFailed,
        "Check user and password of the URL, PGPASSWORD or ~/.pgpass.",
    ),
    (
        r'database ".*" does not exist',
        errors.UnknownDatabase,
        _NO_DATABASE,
    ),
    (r'role ".*" does not exist', errors.AuthenticationFailed, "Check the user of the URL."),
    (
        r"starting up|shutting down|in recovery mode|not yet accepting",
        errors.ServerNotReady,
        "Try again in a moment.",
    ),
    (
        r'too many connections for (role|database) "(.*)"',
        errors.TooManyConnections,
        'End idle sessions, use a pooler, or raise the limit: ALTER {0} "{1}" CONNECTION LIMIT N.',
    ),
    (
        r"too many (clients|connections)|remaining connection slots",
        errors.TooManyConnections,
        "End idle sessions, use a pooler, or raise max_connections.",
    ),
    (
        r"SSL|TLS|certificate",
        errors.TlsFailed,
        "Check sslmode and sslrootcert of the URL, and whether the server supports TLS.",
    ),
    (
        r"permission denied",
        errors.InsufficientPrivilege,
        "Ask the database's owner for the privilege, or connect as another role.",
    ),
)
"""libpq reports a failed connection as text only, so the text must be read."""

_LOST = (
    r"server closed the connection|terminating connection|connection (?:was )?lost"
    r"|connection is closed|SSL SYSCALL|Broken pipe|Connection reset|consuming input failed"
)

_INVALID = re.compile(r'(invalid [\w -]*:? )"[^"]*"')
"""libpq quotes what a parameter must not be; it may be a piece of a password."""

_OF_EXTENSIONS = "parse_extension_control_file"
"""The server's function that misses one: in any language its message quotes the name first."""
_FIRST_QUOTED = re.compile(r"[\"\u00bb\u00ab\u201e\u201c\u300c]\s?([\w.-]+)")

_FULL = r"No space left on device|could not extend file .*: wrote only"
"""The server says the second where half a page went in."""


@contextmanager
def connecting(target: "Target") -> Iterator[None]:
    """Turn psycopg's errors of a connection attempt into a ConnectionFailed with a hint."""
    import psycopg

    try:
        yield
    except psycopg.Error as error:
        raise _connection_error(error, target) from None


def _connection_error(error: Exception, target: "Target") -> errors.ConnectionFailed:
    """Return the ConnectionFailed that says why the target cannot be reached."""
    text = _one_line(str(error))
    return _by_message(text, target) or errors.ConnectionFailed(
        f"Cannot connect to {target.describe()}: {text}",
        hint="Check the URL with: leadctl config",
    )


def unknown_database(message: str, target: "Target") -> errors.UnknownDatabase:
    """Return the error of a connection to a database that is not there."""
    hint = _NO_DATABASE
    if target.embedded:  # it has a database of each app's name, and none where no app is named
        hint = f"Make it with: leadctl migrate --app {target.database}"
    return errors.UnknownDatabase(message, hint=hint)


def client_error(text: str, target: "Target") -> errors.LeadctlError | None:
    """Return what a client program says of the connection or a full disk; None for others."""
    text = _one_line(text)
    if re.search(_FULL, text):
        return _no_space(text)
    # A snapshot is gone when the session that exported it is.
    if re.search(rf'{_LOST}|snapshot "[^"]*" does not exist', text):
        return _lost(text)
    if "connection to server" in text:
        return _by_message(text, target)
    if "permission denied" in text or "row-level security" in text:
        return errors.InsufficientPrivilege(
            f"The server does not allow it on {target.describe()}: {text}",
            hint="Ask the owner for the privilege, or connect as another role.",
        )
    return None


def _by_message(text: str, target: "Target") -> errors.ConnectionFailed | None:
    for pattern, kind, hint in _BY_MESSAGE:
        if found := re.search(pattern, text):
            names = (group and group.replace('"', '""') for group in found.groups())
            message = f"Cannot connect to {target.describe()}: {text}"
            if kind is errors.UnknownDatabase:
                return unknown_database(message, target)
            return kind(message, hint=hint.format(*names))
    return None


_OTHER_NODE = "connection to the remote node "
"""How Citus says that another node than the coordinator does not answer."""


def _lost(text: str) -> errors.ConnectionLost:
    if _OTHER_NODE in text:
        return errors.ConnectionLost(
            f"A node of the Citus cluster does not answer: {text}",
            hint="See which: leadctl inspect nodes. When it answers, run it again. An index that "
            "was made or dropped CONCURRENTLY may be left invalid.",
        )
    return errors.ConnectionLost(
        f"The connection to the server was lost: {text}",
        hint="Nothing half done was committed. Look at the server's log, then run it again.",
    )


_LOCKS = "max_locks_per_transaction"
MORE_LOCKS = (
    "One transaction locks every table, index and sequence that it makes: raise "
    f"{_LOCKS}, and restart the server."
)


def _no_space(text: str) -> errors.NoSpace:
    return errors.NoSpace(f"A disk is full: {text}", hint="Free space there, then run it again.")


def _no_room(error: Any, text: str) -> errors.LeadctlError:
    """Return the error of a disk that is full, or of memory that is."""
    if error.sqlstate == "53100":
        return _no_space(text)
    is_for_locks = _LOCKS in (error.diag.message_hint or "")
    return errors.StatementFailed(
        f"The server has no memory left{' for locks' if is_for_locks else ''}: {text}",
        hint=MORE_LOCKS if is_for_locks else "",
    )


def translate(error: BaseException) -> errors.LeadctlError | None:
    """Return leadctl's error for a driver's, a SQLAlchemy or an Alembic error; None for others."""
    original = getattr(error, "orig", None) or error
    if isinstance(original, errors.LeadctlError):
        return original  # what a column's type or default raised
    module = type(original).__module__.partition(".")[0]
    if module in {"psycopg", "psycopg_binary"}:
        return _from_psycopg(original)
    if module in {"sqlalchemy", "alembic"}:
        return errors.OperationFailed(scrub(_one_line(str(original))))
    return None


def _from_psycopg(error: BaseException) -> errors.LeadctlError:
    import psycopg

    state = getattr(error, "sqlstate", None) or ""
    text = told(error, detail=True) if state else _one_line(str(error))
    if state == "42501":
        return errors.InsufficientPrivilege(
            f"The server does not allow it: {text}",
            hint="Ask the database's owner for the privilege, or connect as another role.",
        )
    if state.startswith(("08", "57P")) or re.search(_LOST, text):
        return _lost(text)
    if state == "25006":
        return errors.ReadOnly(
            f"The server takes no changes: {text}",
            hint="It is a standby, or default_transaction_read_only is on for the role or the "
            "database: connect to the primary, or ALTER DATABASE … RESET "
            "default_transaction_read_only.",
        )
    if state == "53300":
        return errors.TooManyConnections(
            f"The server has no connection left: {text}", hint="End idle sessions, or use a pooler."
        )
    if state in {"53100", "53200"}:
        return _no_room(error, text)
    diag = error.diag if isinstance(error, psycopg.Error) else None
    if (
        state == "0A000"
        and diag is not None
        and diag.source_function == _OF_EXTENSIONS
        and (found := _FIRST_QUOTED.search(diag.message_primary or ""))
    ):
        return missing_extension(found[1], text)
    if state == "55P03":
        return errors.StatementFailed(
            f"Another session holds a lock that is needed: {text}",
            hint="See which: leadctl inspect blocking, leadctl inspect locks",
        )
    if state == "57014":
        return errors.StatementFailed(f"A statement was cancelled: {text}", hint="")
    if isinstance(error, psycopg.OperationalError) and not state:
        return errors.ConnectionFailed(text, hint="Check the server and the network between.")
    return errors.StatementFailed(
        f"The server rejected a statement: {text}" + (f" (SQLSTATE {state})" if state else "")
    )


def missing_extension(name: str, text: str) -> errors.MissingExtension:
    """Return the error of an extension that the server's programs do not bring."""
    return errors.MissingExtension(
        f"The server does not have the extension {name}: {text}",
        hint=f"Install {name} where the server runs (Debian: the package "
        "postgresql-contrib or that of the extension; a managed service lists what it allows), "
        "or set DATABASE_URL to a server that has it. The embedded PostgreSQL of a wheel lacks "
        "some, e.g. pgcrypto and uuid-ossp: where the system's PostgreSQL has them, leadctl db "
        "destroy and the next leadctl migrate make a new server with that.",
    )


def told(error: Any, *, detail: bool = False, known: Collection[str] = ()) -> str:
    """Return what a server says, on one line, without what that quotes of rows and statements.

    `known` are names that are shown anyway.
    """
    diag = error.diag
    found = (diag.schema_name, diag.table_name, diag.column_name, diag.datatype_name,
        diag.constraint_name)  # fmt: skip
    names = {*known, *filter(None, found)}
    said = [without_values(_joined(diag.message_primary or str(error)), names)]
    if detail and diag.message_detail:
        said.append(without_values(_joined(diag.message_detail), names, detail=True))
    return " ".join(said)


def refusal(error: Any) -> str:
    """Return why the server refuses a statement, as `told`.

    Raises the error itself where it is no refusal, but the connection is lost.
    """
    if error.sqlstate is None:
        raise error
    return told(error)


@contextmanager
def needs_privileges(cannot: str, hint: str) -> Iterator[None]:
    """Say what cannot be done, and why, where the role lacks a privilege for the block."""
    import psycopg

    try:
        yield
    except psycopg.errors.InsufficientPrivilege as error:
        raise errors.InsufficientPrivilege(f"{cannot}: {told(error)}.", hint=hint) from None


def _one_line(text: str) -> str:
    """Return a driver's message without its prefixes, line breaks, values and secrets."""
    text = re.sub(r"^(?:connection (?:failed|is bad): )+", "", text.strip())
    text = re.sub(r"\s+Is the server running [^?]*\?", "", text)  # the hint says it
    text = _INVALID.sub(rf"\1{HIDDEN}", _joined(text))
    return scrub(text)


def _joined(text: str) -> str:
    return re.sub(r"\s*\n\s*", " ", text.strip())
