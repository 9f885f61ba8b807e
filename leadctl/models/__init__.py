"""The shared model module: base, mixins, column types and query helpers for any app."""

from leadctl.models.base import (
    NAMING_CONVENTION,
    TYPES,
    Base,
    CreatedAt,
    CuidId,
    SoftDelete,
    Timestamps,
    UuidId,
    new_metadata,
    one_of,
)
from leadctl.models.encrypted import EncryptedJSON, EncryptedText
from leadctl.models.queries import Page, only_active, paginate, with_retry
from leadctl.models.values import (
    PhoneNumber,
    hash_password,
    hashed,
    phone_check,
    to_e164,
    verify_password,
)

__all__ = [
    "NAMING_CONVENTION",
    "TYPES",
    "Base",
    "CreatedAt",
    "CuidId",
    "EncryptedJSON",
    "EncryptedText",
    "Page",
    "PhoneNumber",
    "SoftDelete",
    "Timestamps",
    "UuidId",
    "hash_password",
    "hashed",
    "new_metadata",
    "one_of",
    "only_active",
    "paginate",
    "phone_check",
    "to_e164",
    "verify_password",
    "with_retry",
]
