"""Values with rules of their own: phone numbers, hashes of passwords, and what is encrypted.

An encrypted value is encrypted before it leaves the process.
"""

import importlib
import json
import re
from collections.abc import Callable, Iterator
from typing import Any

from sqlalchemy import CheckConstraint, Column, MetaData, Text
from sqlalchemy.types import TypeDecorator

from leadctl.crypto import current, decrypt, encrypt
from leadctl.errors import InvalidPhoneNumber, MissingExtra

E164 = r"^\+[1-9][0-9]{6,14}$"
"""https://www.itu.int/rec/T-REC-E.164; no assigned number has fewer than seven digits."""
COST = 12
"""2 to the power of it is the number of rounds; the documents ask for 10 or more."""
HASH_PATTERN = r"^\$2[aby]\$1[0-9]\$[./A-Za-z0-9]{53}$"
"""What a bcrypt hash of cost 10 to 19 looks like."""


def hash_password(password: str) -> str:
    """Hash a password of at most 72 bytes, bcrypt's limit; a longer one raises ValueError.

    Raises MissingExtra where the package bcrypt is missing.
    """
    return str(_bcrypt().hashpw(password.encode(), _bcrypt().gensalt(COST)).decode())


def verify_password(password: str, hashed: str) -> bool:
    """Whether a password is the one that was hashed."""
    return bool(_bcrypt().checkpw(password.encode(), hashed.encode()))


def hashed(password: str) -> Callable[[], str]:
    """Return a fixture's value: the hash is made when the row is inserted."""
    return lambda: hash_password(password)


def _bcrypt() -> Any:
    return imported("bcrypt", "Hashing passwords")


class PhoneNumber(TypeDecorator[str]):
    """Text that is a phone number in E.164; anything else raises InvalidPhoneNumber when bound."""

    impl = Text
    cache_ok = True

    def process_bind_param(self, value: str | None, dialect: Any) -> str | None:  # noqa: ARG002
        """Check the number before it is sent."""
        if value is not None and not re.fullmatch(E164, value):
            raise InvalidPhoneNumber(
                f"{value!r} is not a phone number in E.164.",
                hint="Write it as +<country code><number>; leadctl.models.to_e164 converts others.",
            )
        return value


def phone_check(column: str) -> CheckConstraint:
    """Return the constraint that keeps a column in E.164, whoever writes to it."""
    return CheckConstraint(f"{column} ~ '{E164}'", name=f"{column}_e164")


def to_e164(text: str, region: str | None = None) -> str:
    """Convert a number as people write it; `region` (as "FR") is for one without country code.

    Raises InvalidPhoneNumber, and MissingExtra where the package phonenumbers is missing.
    """
    phonenumbers = imported("phonenumbers", "Converting phone numbers")
    try:
        number = phonenumbers.parse(text, region)
    except phonenumbers.NumberParseException:
        number = None
    if number is None or not phonenumbers.is_possible_number(number):
        raise InvalidPhoneNumber(
            f"{text!r} is not a phone number.",
            hint="Give it with its country code, e.g. +33 6 12 34 56 78.",
        )
    return str(phonenumbers.format_number(number, phonenumbers.PhoneNumberFormat.E164))


def imported(package: str, purpose: str) -> Any:
    """Import a package of the extra `apps`; `purpose` begins the message, as "Hashing passwords".

    Raises MissingExtra where it is missing.
    """
    try:
        return importlib.import_module(package)
    except ImportError:
        raise MissingExtra(
            f"{purpose} needs the package {package}.",
            hint=f"It belongs to the extra apps. Install it with: pip install {package}",
        ) from None


class _NotComparable(TypeDecorator.Comparator[Any]):
    """Only IS NULL has a meaning in SQL: the same value never encrypts to the same text."""

    def operate(self, op: Any, *other: Any, **options: Any) -> Any:
        """Refuse every comparison but that with NULL."""
        if getattr(op, "__name__", "") in {"eq", "ne", "is_", "is_not"} and other == (None,):
            return super().operate(op, *other, **options)
        raise TypeError(f"An encrypted column cannot be compared in SQL ({op.__name__}).")


class _Encrypted(TypeDecorator[Any]):
    """What is stored as AES-256-GCM ciphertext, in a column of type text."""

    impl = Text
    cache_ok = True
    comparator_factory = _NotComparable

    def __init__(self, *, context: str) -> None:
        super().__init__()
        self.context = context

    def process_bind_param(self, value: Any, dialect: Any) -> str | None:  # noqa: ARG002
        """Encrypt with the primary key."""
        if value is None:
            return None
        return encrypt(self.to_text(value), current().primary, self.context)

    def process_result_value(self, value: str | None, dialect: Any) -> Any:  # noqa: ARG002
        """Decrypt with the key whose fingerprint the value carries."""
        return None if value is None else self.from_text(decrypt(value, current(), self.context))

    def to_text(self, value: Any) -> str:
        """Return the text that is encrypted."""
        return str(value)

    def from_text(self, text: str) -> Any:
        """Return the value of a decrypted text."""
        return text


class EncryptedText(_Encrypted):
    """Text that is stored as AES-256-GCM ciphertext.

    `context` is a fixed text that names the column for good, such as "shop.users.access_token":
    it is part of what is authenticated, so a value that was moved from another column does not
    decrypt, and it stays when table or column are renamed.

    Reading raises what `leadctl.crypto.decrypt` raises; ciphertext is never returned as text.
    """

    cache_ok = True


class EncryptedJSON(_Encrypted):
    """Any JSON value that is stored as AES-256-GCM ciphertext, as `EncryptedText` is.

    The database sees text: no part of it can be queried or indexed.
    """

    cache_ok = True

    def to_text(self, value: Any) -> str:
        """Return the value as JSON."""
        return json.dumps(value, ensure_ascii=False, separators=(",", ":"))

    def from_text(self, text: str) -> Any:
        """Return the value that JSON says."""
        return json.loads(text)


def encrypted_columns(metadata: MetaData) -> Iterator[tuple[Column[Any], str]]:
    """Yield the encrypted columns of some models, with their context."""
    for table in metadata.tables.values():
        for column in table.columns:
            if isinstance(column.type, _Encrypted):
                yield column, column.type.context
