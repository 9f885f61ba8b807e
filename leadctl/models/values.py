"""Values with rules of their own: phone numbers in E.164, hashes of passwords."""

import importlib
import re
from collections.abc import Callable
from typing import Any

from sqlalchemy import CheckConstraint, Text
from sqlalchemy.types import TypeDecorator

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
            hint="Give it with its country code, as +33 6 12 34 56 78.",
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
            hint="Install it with: pip install 'leadctl[apps]'",
        ) from None
