"""What is read of each column, as text: any type has one, and PostgreSQL writes it.

Values are cut in the server, so that a large one costs its size only where it is asked for whole.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass

from leadctl.crypto import Keyring, decrypt
from leadctl.errors import DecryptionFailed, LeadctlError, NotEncrypted
from leadctl.redact import HIDDEN
from leadctl.sql.fragment import Fragment, build, value
from leadctl.studio.masking import Masking
from leadctl.studio.shape import ColumnShape

Decode = Callable[[str], str]
_UTC = '+00:00"'


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
    decode: Decode


def as_text(column: ColumnShape, secrets: Secrets, limit: int | None = None) -> Projection:
    """Read a column as text; `limit` is how many characters of it at most."""
    if secrets.masks(column):
        return Projection(secrets.masking.expression(column), secrets.masking.shown)
    whole = build("{}::text", column.identifier)
    if secrets.opens(column):
        return Projection(whole, lambda stored: secrets.open(column, stored)[:limit])
    if column.base.is_binary:
        return Projection(_hexadecimal(column, limit), str)
    return Projection(
        whole if limit is None else build("left({}, {})", whole, value(limit)), _concealed(secrets)
    )


def as_json(column: ColumnShape, secrets: Secrets) -> Projection:
    """Read a column as JSON on one line."""
    if secrets.masks(column):
        shown = secrets.masking.shown
        return Projection(secrets.masking.expression(column), lambda read: _quoted(shown(read)))
    if secrets.opens(column):
        text = build("{}::text", column.identifier)
        return Projection(text, lambda stored: _quoted(secrets.open(column, stored)))
    if column.base.is_binary:
        return Projection(_hexadecimal(column, None), _quoted)
    expression = build("to_json({})::text", column.identifier)
    if column.base.is_json:
        return Projection(expression, _on_one_line)
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
    return build("'\\x' || encode({}, 'hex')", part)


def _concealed(secrets: Secrets) -> Decode:
    return str if secrets.revealed else secrets.masking.conceal


def _quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)


def _on_one_line(text: str) -> str:
    """Return JSON without line breaks, which stand between its parts and never within a text."""
    return text.replace("\n", " ").replace("\r", " ")


def _utc(text: str) -> str:
    return f'{text.removesuffix(_UTC)}Z"' if text.endswith(_UTC) else text
