"""How far a statement reaches: whether its text tells all it does, whether it leaves the database.

What is neither known by its text (`unread`) nor seen when it is tried is unknown, and unsafe.  What
reaches servers, roles, files or other databases (`outside`) is never tried.
"""

import re

from leadctl.sql.effects import STATEMENTS
from leadctl.sql.lexer import Kind, Reader, tokens

OPAQUE = frozenset({"DO", "CALL", "SELECT", "WITH", "EXECUTE", "PREPARE", "EXPLAIN", "VALUES"})
"""They may run any function, or anything."""
_OBJECT = (
    "ACCESS METHOD|AGGREGATE|CAST|COLLATION|CONVERSION|DATABASE|EVENT TRIGGER|EXTENSION"
    "|FOREIGN DATA WRAPPER|FUNCTION|GROUP|LANGUAGE|OPERATOR|POLICY|PROCEDURAL LANGUAGE|PROCEDURE"
    "|ROLE|ROUTINE|SERVER|STATISTICS|SUBSCRIPTION|TABLESPACE|TEXT SEARCH|TRANSFORM|USER"
)
_TOUCHES_NO_TABLE = re.compile(
    rf"CREATE (?:OR REPLACE )?(?:TRUSTED )?(?:{_OBJECT}|DOMAIN|TYPE|SEQUENCE|(?:RECURSIVE )?VIEW"
    r"|(?:LOCAL |GLOBAL )?TEMP(?:ORARY)? TABLE|(?:UNIQUE )?INDEX)\b"
    rf"|CREATE SCHEMA\b|DROP (?:{_OBJECT}|DOMAIN|TYPE|SEQUENCE|SCHEMA|OWNED|INDEX|RULE|VIEW)\b"
    rf"|ALTER (?:{_OBJECT}|DEFAULT PRIVILEGES|SCHEMA|SYSTEM|LARGE OBJECT|INDEX|SEQUENCE|VIEW)\b"
    r"|ALTER TYPE (?:\S+ )+(?:ADD VALUE|RENAME|OWNER|SET)\b"
    r"|ALTER DOMAIN (?:\S+ )+(?:(?:SET|DROP) DEFAULT|DROP|RENAME|OWNER|SET SCHEMA)\b"
    r"|(?:GRANT|REVOKE|SET|RESET|SHOW|COMMENT|NOTIFY|LISTEN|UNLISTEN|DISCARD|DEALLOCATE|CHECKPOINT"
    r"|SECURITY|BEGIN|START|COMMIT|END|ROLLBACK|ABORT|SAVEPOINT|RELEASE|CLOSE|FETCH|MOVE|LOAD"
    r"|REASSIGN)\b"
)
"""How a statement begins, words with one space between them, that changes no table's rows."""
_WHOLE = re.compile(
    r"ALTER (?:TABLE|INDEX|MATERIALIZED VIEW) ALL IN"
    r"|REINDEX (?:\( .* \) )?(?:SCHEMA|DATABASE|SYSTEM)\b"
    r"|(?:VACUUM|ANALY[SZ]E|CLUSTER)(?: \( .* \)| FULL| FREEZE| VERBOSE| ANALYZE)*$"
)
_HARMLESS = frozenset({"setval", "max", "coalesce", "greatest", "set_config", "currval", "lastval"})
"""What a SELECT may call that changes no table: a sequence goes on behind the rows that exist."""
_WRITE = {"DELETE", "INSERT", "MERGE", "UPDATE"}
_RESTS = "{} takes along what rests on it, which only the server knows"

_OF_SERVER = re.compile(
    r"(?:CREATE|ALTER|DROP) (?:OR REPLACE )?(?:ROLE|USER|GROUP|DATABASE|TABLESPACE|SUBSCRIPTION"
    r"|SYSTEM|SERVER|FOREIGN DATA WRAPPER|EVENT TRIGGER)\b"
    r"|COMMENT ON (?:ROLE|DATABASE|TABLESPACE)\b"
    r"|(?:GRANT|REVOKE) .*\bON (?:DATABASE|TABLESPACE|PARAMETER|FOREIGN)\b"
    r"|(?:GRANT|REVOKE) (?!.* ON )|SECURITY LABEL|REINDEX (?:\( .* \) )?(?:DATABASE|SYSTEM)\b"
    r"|IMPORT FOREIGN SCHEMA|LOAD\b|CHECKPOINT\b|COPY\b|REASSIGN\b"
)
"""How a statement begins that changes what databases share, or reads and writes files."""
_REACHES_OUT = re.compile(
    r"\b(?:CREATE|ALTER|DROP)\s+(?:ROLE|USER|GROUP|DATABASE|TABLESPACE|SUBSCRIPTION|SYSTEM|SERVER)\b"
    r"|\bPROGRAM\b|\bCOPY\b|\bdblink|\blo_(?:import|export|unlink|put|truncate)\w*|\blowrite\b|\bpg_(?:terminate|cancel|reload|rotate"
    r"|switch|promote|read|ls_|stat_file|file_|create_\w*slot|drop_replication|copy_\w*slot"
    r"|replication|logical_emit|wal|backup|sleep|advisory|try_advisory|stat_reset|notify)\w*"
    r"|\bLANGUAGE\s+c\b|\bplpython|\bplperlu|\bplsh|\bpltclu",
    re.IGNORECASE,
)
"""What in the text of a function would reach further than its database."""

_CONTROL = re.compile(
    r"(?P<begins>(?:BEGIN|START TRANSACTION)(?: (?:WORK|TRANSACTION|ISOLATION|LEVEL|SERIALIZABLE"
    r"|REPEATABLE|READ|COMMITTED|UNCOMMITTED|WRITE|ONLY|NOT|DEFERRABLE|,))*)"
    r"|(?:COMMIT|END|ROLLBACK|ABORT)(?: WORK| TRANSACTION)?(?: AND(?: NO)? CHAIN)?"
    r"|PREPARE TRANSACTION \S+"
)
"""A statement, whole, that begins or ends a transaction: no savepoint, none that is prepared."""

BRANCHES = re.compile(
    r"\b(?:IF|CASE|LOOP|FOR|FOREACH|WHILE|EXCEPTION|EXECUTE|RETURN\s+QUERY)\b", re.IGNORECASE
)
"""What in a body depends on rows, or is put together when it runs."""
WRITES = re.compile(
    r"\b(?:DELETE|TRUNCATE|DROP|ALTER|UPDATE|INSERT|MERGE|EXECUTE|CALL)\b", re.IGNORECASE
)
DESTROYS = re.compile(
    r"\b(?:DELETE|TRUNCATE|DROP|EXECUTE)\b|\bSET\b[^;]*[^:<>!]=\s*NULL\b"
    r"|\bNEW\s*\.\s*\S+\s*:?=\s*NULL\b",
    re.IGNORECASE,
)
DEFINES_CODE = re.compile(
    r"\s*(?:CREATE\s+(?:OR\s+REPLACE\s+)?(?:CONSTRAINT\s+)?(?:FUNCTION|PROCEDURE|TRIGGER|AGGREGATE|CAST"
    r"|OPERATOR|EVENT|RULE|VIEW)|DROP|COMMENT|GRANT|REVOKE|ALTER\s+(?:FUNCTION|PROCEDURE|ROUTINE))\b",
    re.IGNORECASE,
)
"""What names code, and does not run it."""


def unread(sql: str) -> str | None:
    """Return why the text of a statement does not tell what it does to tables; None if it does."""
    text = _plain(sql)
    reader = Reader(sql)
    first = reader.peek().word
    if first == "SELECT" and _only_counts(reader):
        return None
    if first in OPAQUE:
        return f"what {first} … does to which table cannot be told"
    if is_about_all(sql):
        return "which tables it is about cannot be told from its text"
    takes_along = first in {"DROP", "TRUNCATE"} or text.startswith("ALTER TABLE")
    if takes_along and re.search(r"(?<!ON DELETE)(?<!ON UPDATE) CASCADE\b", text):
        return _RESTS.format("CASCADE")
    if _writes_within(sql):
        return "a part of it writes to tables of its own"
    known = any(reader.accept(*words) for words, _ in STATEMENTS)
    if known or _TOUCHES_NO_TABLE.match(text):
        return None
    return "what it does to which table cannot be told from its text"


_LEAVES_ROWS = re.compile(
    r"CREATE (?:UNIQUE )?INDEX\b|COMMENT\b|CREATE (?:CONSTRAINT )?TRIGGER\b|ANALYZE\b"
    r"|CREATE TABLE (?!.*\b(?:AS|PARTITION|INHERITS)\b)"
)
_LEAVES_ROWS_OF = re.compile(
    r"(?:ADD|VALIDATE)\b|ALTER (?:COLUMN )?\S+ (?:SET|DROP) (?:NOT|DEFAULT|STATISTICS|STORAGE)\b"
)
"""An action of ALTER TABLE."""


def leaves_rows(sql: str) -> bool:
    """Whether behind a statement every condition holds for the same rows as before it."""
    reader = Reader(sql)
    if reader.altered_table() is None:
        return _LEAVES_ROWS.match(_plain(sql)) is not None
    while not reader.done:
        if not _LEAVES_ROWS_OF.match(_plain(reader.until_comma().text)):
            return False
    return True


def redefines(sql: str) -> bool:
    """Whether a statement makes or changes code that a condition may call, or where it is found."""
    return DEFINES_CODE.match(sql) is not None or "search_path" in sql.lower()


_DEFINITION = re.compile(
    r"\b(?:DROP|ALTER|REPLACE)\s+(?:TYPE|DOMAIN|FUNCTION|PROCEDURE|ROUTINE|AGGREGATE|EXTENSION"
    r"|COLLATION|OPERATOR|LANGUAGE|SERVER|FOREIGN\s+DATA|TEXT\s+SEARCH|ACCESS\s+METHOD)\b",
    re.IGNORECASE,
)
_SCHEMA = re.compile(r"\bDROP\s+SCHEMA\b|\bREINDEX\s*(?:\([^)]*\))?\s*SCHEMA\b", re.IGNORECASE)


def drops_definitions(sql: str) -> bool:
    """Whether a statement, or its body, drops or changes what tables are made of."""
    return _DEFINITION.search(sql) is not None


def drops_schema(sql: str) -> bool:
    """Whether a statement, or its body, is about all that is in a schema."""
    return _SCHEMA.search(sql) is not None


def is_about_all(sql: str) -> bool:
    """Whether a statement is about every table there is, or those of a place."""
    return _WHOLE.match(_plain(sql)) is not None


def outside(sql: str) -> str | None:
    """Return why a statement must not be tried, not even in a database of its own; else None."""
    text = _plain(sql)
    if _OF_SERVER.match(text):
        return "it changes what is not the database's own"
    if reaches_out(sql):
        return "what it runs may reach out of the database"
    return None


def reaches_out(text: str) -> bool:
    """Whether code, such as a function's body, may act on anything but its database."""
    return _REACHES_OUT.search(text) is not None


def _plain(sql: str) -> str:
    """Return a statement's words and symbols with one space between them, in capitals."""
    return " ".join(token.text.upper() for token in tokens(sql) if token.kind is not Kind.STRING)


def _only_counts(reader: Reader) -> bool:
    """Whether a SELECT calls functions that change no table, and nothing else can be behind it."""
    called = set(reader.called())
    return called <= _HARMLESS and not {"INTO", "FOR"} & set(reader.words()) and bool(called)


def _writes_within(sql: str) -> bool:
    """Whether a statement has another in parentheses that writes: a WITH of its own."""
    found = list(tokens(sql))
    return any(
        before.word in {"AS", "MATERIALIZED", "COPY"} and one.text == "(" and other.word in _WRITE
        for before, one, other in zip(found, found[1:], found[2:], strict=False)
    )


def begins_transaction(statement: str) -> bool | None:
    """Whether a statement begins a transaction (True) or ends one (False); None for any other."""
    found = _CONTROL.fullmatch(" ".join(each.text.upper() for each in tokens(statement)))
    return None if found is None else found["begins"] is not None
