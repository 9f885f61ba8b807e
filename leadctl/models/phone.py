"""Phone numbers in E.164: a plus sign, a country code, at most 15 digits in all."""

import re
from typing import Any

from sqlalchemy import CheckConstraint, Text
from sqlalchemy.types import TypeDecorator

from leadctl.errors import InvalidPhoneNumber
from leadctl.models.extras import imported

E164 = r"^\+[1-9][0-9]{6,14}$"
"""https://www.itu.int/rec/T-REC-E.164; no assigned number has fewer than seven digits."""


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
