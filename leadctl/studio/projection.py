"""What is read of each column, as text: any type has one, and PostgreSQL writes it.

Values are cut in the server, so that a large one costs its size only where it is asked for whole.
A column is masked because its values are encrypted, or because its name looks like a secret.  The
value of a masked column stays in the server: what leaves it is whether there is one, and the
fingerprint of its key.
"""

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import pairwise

import psycopg

from leadctl.apps.metadata import load_metadata
from leadctl.apps.registry import App
from leadctl.crypto import FORM, VERSION, Keyring, decrypt
from leadctl.errors import DecryptionFailed, LeadctlError, ModelsNotImportable, NotEncrypted
from leadctl.journal import records
from leadctl.postgres.connect import Connection
from leadctl.redact import HIDDEN
from leadctl.studio.shape import ColumnShape, Fragment, TableShape, build, value

_Decode = Callable[[str], str]
_UTC = '+00:00"'
_WORDS = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+")
_SECRET = re.compile(
    "passwords?|passwd|pwd|passphrase|passcode|secrets?|tokens?|hash|hashes|digest|salt|otp|totp"
    "|pin|cvv|cvc|credentials?|apikey|jwt"
)
_PAIR = re.compile(
    "(api|private|secret|access|encryption|signing|auth|master|ssh) keys?|auth config"
    "|(recovery|backup) codes"
)
_HARMLESS = re.compile(
    "at|on|by|ids?|expiry|expires|expiration|count|type|kind|status|state|hint|name|label|version"
    "|algorithm|used|limit|length"
)
"""What a secret's own attributes end with: token_expiry, password_changed_at."""
_SHORT_NUMBER = re.compile("pin|otp|cvv|cvc")
_CIPHERTEXT = re.compile(rf"{VERSION}\.([0-9a-f]{{16}})\.[A-Za-z0-9_-]{{16}}\.[A-Za-z0-9_-]+…?\Z")
_FINGERPRINT = len(VERSION) + 1 + 16
"""Characters of a value up to the end of its key's fingerprint."""


@dataclass(frozen=True)
class Masking:
    """What is masked in one table: the contexts of encrypted columns, and secrets by name."""

    contexts: Mapping[str, str]
    secrets: frozenset[str]
    labels: Mapping[str, str]
    """Fingerprint → label of the keys that exist."""

    def covers(self, column: str) -> bool:
        """Whether a column is masked."""
        return column in self.contexts or column in self.secrets

    def expression(self, column: ColumnShape) -> Fragment:
        """Compose what is read in place of a masked column's value."""
        if column.name not in self.contexts:
            return build("CASE WHEN {} IS NOT NULL THEN '' END", column.identifier)
        text = build("{}::pg_catalog.text", column.identifier)
        return build(
            "CASE WHEN {} OPERATOR(pg_catalog.~) {} THEN pg_catalog.left({}, {})"
            " WHEN {} IS NOT NULL THEN '' END",
            text,
            value(FORM),
            text,
            value(_FINGERPRINT),
            column.identifier,
        )

    def shown(self, read: str) -> str:
        """Return what shows for what `expression` read."""
        return self._with_key(read.removeprefix(f"{VERSION}.")) if read else HIDDEN

    def conceal(self, text: str) -> str:
        """Return the text, or what shows for it where it is ciphertext that no model declares."""
        found = _CIPHERTEXT.match(text)
        return self._with_key(found[1]) if found else text

    def _with_key(self, fingerprint: str) -> str:
        return f"{HIDDEN} ({self.labels.get(fingerprint, fingerprint)})"


def masking_of(
    app: App, shape: TableShape, keyring: Keyring, encrypted: Mapping[str, str] | None
) -> Masking:
    """Say what is masked in a table; `encrypted` is what `recorded_contexts` found."""
    return Masking(
        contexts=_declared(app, shape) if encrypted is None else _recorded(shape, encrypted),
        secrets=frozenset(c.name for c in shape.columns if looks_secret(c)),
        labels={key.fingerprint: key.label for key in keyring.keys},
    )


def looks_secret(column: ColumnShape) -> bool:
    """Whether a column's name and type say that it holds passwords, tokens, hashes or the like."""
    words = [word.lower() for word in _WORDS.findall(column.name)]
    if not words or _HARMLESS.fullmatch(words[-1]):
        return False
    pairs = [" ".join(pair) for pair in pairwise(words)]
    if not any(map(_SECRET.fullmatch, words)) and not any(map(_PAIR.fullmatch, pairs)):
        return False
    kind = (column.base.element or column.base).category
    return kind in {"S", "U"} or (kind == "N" and any(map(_SHORT_NUMBER.fullmatch, words)))


def recorded_contexts(connection: Connection, app: App, schema: str) -> Mapping[str, str] | None:
    """Return the encrypted columns, as `table.column`, with their contexts.

    They were recorded when the schema was migrated, so no models need to be imported; None where
    nothing was, or may not be read.
    """
    try:
        with connection.transaction():
            recorded = records.fingerprint(connection, app.name, schema)
    except psycopg.errors.InsufficientPrivilege:
        return None
    if recorded is None:
        return None
    encrypted: Mapping[str, str] = recorded.get("encrypted", {})
    return encrypted


def _recorded(shape: TableShape, encrypted: Mapping[str, str]) -> dict[str, str]:
    own = {f"{shape.name}.{column.name}": column.name for column in shape.columns}
    return {own[name]: context for name, context in encrypted.items() if name in own}


def _declared(app: App, shape: TableShape) -> dict[str, str]:
    if not app.name:
        return {}
    try:
        metadata = load_metadata(app)
    except ModelsNotImportable:
        return {}
    from leadctl.models.values import encrypted_columns

    names = {column.name for column in shape.columns}
    return {
        column.name: context
        for column, context in encrypted_columns(metadata)
        if column.table.name == shape.name and column.name in names
    }


@dataclass(frozen=True)
class Secrets:
    """How secrets are read: masked, or with the keyring where the user had them revealed."""

    masking: Masking
    keyring: Keyring
    revealed: bool

    @property
    def mask(self) -> Masking | None:
        """The masking that is in force."""
        return None if self.revealed else self.masking

    def masks(self, column: ColumnShape) -> bool:
        """Whether a column's values are hidden."""
        return not self.revealed and self.masking.covers(column.name)

    def opens(self, column: ColumnShape) -> bool:
        """Whether a column's values are decrypted."""
        return self.revealed and column.name in self.masking.contexts

    def open(self, column: ColumnShape, stored: str) -> str:
        """Decrypt a value; say what hinders where that cannot be done."""
        try:
            return decrypt(stored, self.keyring, self.masking.contexts[column.name])
        except NotEncrypted:
            return stored
        except DecryptionFailed:
            return f"{HIDDEN} (cannot be decrypted)"
        except LeadctlError:
            return self.masking.conceal(stored)


@dataclass(frozen=True)
class Projection:
    """The expression that is selected for a column, and how what it gives becomes what shows."""

    expression: Fragment
    decode: _Decode


def as_text(column: ColumnShape, secrets: Secrets, limit: int | None = None) -> Projection:
    """Read a column as text; `limit` is how many characters of it at most."""
    if secrets.masks(column):
        return Projection(secrets.masking.expression(column), secrets.masking.shown)
    text = build("{}::pg_catalog.text", column.identifier)
    if secrets.opens(column):
        return Projection(text, lambda stored: secrets.open(column, stored)[:limit])
    if column.base.is_binary:
        return Projection(_hexadecimal(column, limit), str)
    if limit is not None:
        text = build("pg_catalog.left({}, {})", text, value(limit))
    return Projection(text, _concealed(secrets))


def as_json(column: ColumnShape, secrets: Secrets) -> Projection:
    """Read a column as JSON on one line."""
    if secrets.masks(column):
        shown = secrets.masking.shown
        return Projection(secrets.masking.expression(column), lambda read: _quoted(shown(read)))
    if secrets.opens(column):
        text = build("{}::pg_catalog.text", column.identifier)
        return Projection(text, lambda stored: _quoted(secrets.open(column, stored)))
    if column.base.is_binary:
        return Projection(_hexadecimal(column, None), _quoted)
    expression = build("pg_catalog.to_json({})::pg_catalog.text", column.identifier)
    if column.base.is_json:
        return Projection(expression, lambda text: text.replace("\n", " ").replace("\r", " "))
    if column.base.category == "D":
        return Projection(expression, _utc)
    conceal = _concealed(secrets)
    if column.base.category == "S":
        return Projection(expression, lambda text: f'"{conceal(text[1:-1])}"')
    return Projection(expression, str)


def _hexadecimal(column: ColumnShape, limit: int | None) -> Fragment:
    part = column.identifier
    if limit is not None:
        part = build("substring({} FROM 1 FOR {})", part, value(limit))
    return build("'\\x' OPERATOR(pg_catalog.||) pg_catalog.encode({}, 'hex')", part)


def _concealed(secrets: Secrets) -> _Decode:
    return str if secrets.revealed else secrets.masking.conceal


def _quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)


def _utc(text: str) -> str:
    return f'{text.removesuffix(_UTC)}Z"' if text.endswith(_UTC) else text
