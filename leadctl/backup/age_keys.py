"""The keys of age: whom backups and archives are encrypted to, and who reads them."""

import hashlib
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from leadctl.errors import InvalidIdentity, InvalidRecipient
from leadctl.files import read_private
from leadctl.redact import remember

_FINGERPRINT_DIGITS = 16


def split_recipients(text: str | None) -> list[str]:
    """Return the public keys of a setting: separated by commas or lines, `#` begins a comment."""
    without_comments = re.sub(r"(?m)(^|\s)#.*$", "", text or "")
    return [key for part in re.split(r"[,\n]", without_comments) if (key := part.strip())]


def read_recipients(keys: Sequence[str]) -> list[Any]:
    """Return recipients for age.  Raises InvalidRecipient, which names the key that is none."""
    import pyrage

    recipients = []
    for key in keys:
        kind = pyrage.ssh if key.startswith("ssh-") else pyrage.x25519
        if key.upper().startswith("AGE-SECRET-KEY-"):
            remember(key)
            raise InvalidRecipient(
                "BACKUP_RECIPIENTS has a private key, which must not be on the backup host.",
                hint="Give the public key that belongs to it: age-keygen -y FILE prints it.",
            )
        try:
            recipients.append(kind.Recipient.from_str(key))
        except pyrage.RecipientError as error:
            # What does not even begin as a public key may be a secret.
            shown = repr(key) if key.startswith(("age1", "ssh-")) else "What BACKUP_RECIPIENTS has"
            raise InvalidRecipient(
                f"{shown} is not a public key that backups can be encrypted to: {error}.",
                hint="Allowed are age1… (age-keygen makes one) and ssh-ed25519 or ssh-rsa keys.",
            ) from None
    return recipients


def key_fingerprint(key: str) -> str:
    """Return a public key's fingerprint: 16 hexadecimal digits of its SHA-256."""
    return hashlib.sha256(key.encode()).hexdigest()[:_FINGERPRINT_DIGITS]


def read_identities(path: Path) -> list[Any]:
    """Read the private keys of an identity file, of age's or SSH's form.

    Raises InvalidIdentity where it is open to others, or has no key that can be used.
    """
    import pyrage

    hint = "BACKUP_IDENTITY_FILE names the file of the private key."
    text = read_private(path, InvalidIdentity, name="identity file", hint=hint)
    remember(text.strip())
    try:
        if text.startswith("-----BEGIN"):
            return [pyrage.ssh.Identity.from_buffer(text.encode())]
        lines = [line.strip() for line in text.splitlines()]
        keys = [line for line in lines if line and not line.startswith("#")]
        for key in keys:
            remember(key)
        identities = [pyrage.x25519.Identity.from_str(key) for key in keys]
    except pyrage.IdentityError as error:
        raise InvalidIdentity(
            f"The identity file {path} has no private key that can be read: {error}.",
            hint="age-keygen makes one. If it is encrypted with a passphrase, decrypt it first.",
        ) from None
    if not identities:
        raise InvalidIdentity(
            f"The identity file {path} has no key in it.", hint="age-keygen makes one."
        )
    return identities


def new_identity() -> tuple[str, Any]:
    """Return the public and the private key of a new pair, for what ends with this process."""
    import pyrage

    identity = pyrage.x25519.Identity.generate()
    remember(str(identity))
    return str(identity.to_public()), identity
