"""Password hashes: bcrypt."""

from collections.abc import Callable
from typing import Any

from leadctl.models.extras import imported

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
