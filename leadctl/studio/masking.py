"""Which columns hold secrets, and what shows in their place.

A column is masked because its values are encrypted, or because its name looks like a secret.  The
value of a masked column stays in the server: what leaves it is whether there is one, and the
fingerprint of its key.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise

import psycopg

from leadctl.apps.registry import App, load_metadata
from leadctl.crypto import Keyring
from leadctl.crypto.cipher import FORM, VERSION
from leadctl.errors import ModelsNotImportable
from leadctl.journal import state
from leadctl.postgres.connect import Connection
from leadctl.redact import HIDDEN
from leadctl.sql.fragment import Fragment, build, value
from leadctl.studio.shape import ColumnShape, Shape

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
    """Fingerprint → label of the keys that are there."""

    def covers(self, column: str) -> bool:
        """Whether a column is masked."""
        return column in self.contexts or column in self.secrets

    def expression(self, column: ColumnShape) -> Fragment:
        """Compose what is read in place of a masked column's value."""
        if column.name not in self.contexts:
            return build("CASE WHEN {} IS NOT NULL THEN '' END", column.identifier)
        text = build("{}::text", column.identifier)
        return build(
            "CASE WHEN {} ~ {} THEN left({}, {}) WHEN {} IS NOT NULL THEN '' END",
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


def masking_of(connection: Connection, app: App, shape: Shape, keyring: Keyring) -> Masking:
    """Say what is masked in a table."""
    return Masking(
        contexts=_contexts(connection, app, shape),
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


def _contexts(connection: Connection, app: App, shape: Shape) -> dict[str, str]:
    """Return the encrypted columns with their contexts: as recorded, else as the models have them.

    Recorded is what was encrypted when the schema was migrated; it needs no models to be imported.
    """
    try:
        with connection.transaction():
            recorded = state.fingerprint(connection, app.name, shape.schema)
    except psycopg.errors.InsufficientPrivilege:
        recorded = None
    if recorded is None:
        return _declared(app, shape)
    places = {f"{shape.name}.{column.name}": column.name for column in shape.columns}
    encrypted: Mapping[str, str] = recorded.get("encrypted", {})
    return {places[place]: context for place, context in encrypted.items() if place in places}


def _declared(app: App, shape: Shape) -> dict[str, str]:
    try:
        metadata = load_metadata(app)
    except ModelsNotImportable:
        return {}
    from leadctl.models.encrypted import encrypted_columns

    names = {column.name for column in shape.columns}
    return {
        column.name: context
        for column, context in encrypted_columns(metadata)
        if column.table.name == shape.name and column.name in names
    }
