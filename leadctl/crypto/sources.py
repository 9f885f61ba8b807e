"""Where keys come from: variables, a file that only its owner may read, or a command.

They all have the same form: `label:hex` or just the digits, separated by commas or lines, `#`
begins a comment.  `legacy/label:hex` is a key that the older Node helper used.
"""

import re
import stat
import subprocess
from collections.abc import Iterator
from pathlib import Path

from leadctl.crypto.keyring import Key, Keyring
from leadctl.errors import InvalidKey, KeyCommandFailed
from leadctl.redact import remember
from leadctl.settings import Settings

_EMBEDDED_KEY = Path(".leadctl") / "encryption.key"
_LEGACY = "legacy/"
_COMMAND_SECONDS = 60


def keyring_of(settings: Settings) -> Keyring:
    """Read the keyring of the settings; the first key found encrypts.

    The order is ENCRYPTION_KEYS, ENCRYPTION_KEY, ENCRYPTION_KEY_FILE, ENCRYPTION_KEY_COMMAND; the
    embedded server's own key serves where none of them is set.  Raises InvalidKey and
    KeyCommandFailed, which never show a key.
    """
    keys = {(key.fingerprint, key.legacy): key for key in reversed([*_keys(settings)])}
    return Keyring(list(reversed(keys.values())))


def parse_keys(text: str, unnamed: str) -> list[Key]:
    """Read keys in their common form; a key without a label is called `unnamed`."""
    without_comments = re.sub(r"#.*", "", text)
    entries = [entry.strip() for entry in re.split(r"[,\n]", without_comments)]
    return [_parse(entry, unnamed) for entry in entries if entry]


def _keys(settings: Settings) -> Iterator[Key]:
    if settings.encryption_keys:
        yield from parse_keys(settings.encryption_keys.reveal(), "ENCRYPTION_KEYS")
    if settings.encryption_key:
        yield from parse_keys(settings.encryption_key.reveal(), "ENCRYPTION_KEY")
    if settings.encryption_key_file:
        path = settings.project / settings.encryption_key_file
        yield from parse_keys(_read_private(path), path.name)
    if settings.encryption_key_command:
        yield from parse_keys(_run(settings), "ENCRYPTION_KEY_COMMAND")
    embedded = settings.project / _EMBEDDED_KEY
    nothing_set = not any(
        (
            settings.encryption_keys,
            settings.encryption_key,
            settings.encryption_key_file,
            settings.encryption_key_command,
        )
    )
    if nothing_set and settings.embedded and embedded.exists():
        yield from parse_keys(_read_private(embedded), "embedded")


def _parse(entry: str, unnamed: str) -> Key:
    legacy = entry.startswith(_LEGACY)
    label, colon, digits = entry.removeprefix(_LEGACY).partition(":")
    if not colon:
        label, digits = unnamed, label
    return Key.from_hex(label.strip() or unnamed, digits, legacy=legacy)


def _read_private(path: Path) -> str:
    try:
        mode = path.stat().st_mode
        if stat.S_IMODE(mode) & 0o077:
            raise InvalidKey(
                f"The key file {path} may be read by others (mode {stat.S_IMODE(mode):04o}).",
                hint=f"Close it with: chmod 600 {path}; and think of its keys as known.",
            )
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not a text file"
        raise InvalidKey(
            f"Cannot read the key file {path}: {reason}.",
            hint="ENCRYPTION_KEY_FILE names a file of keys, one a line.",
        ) from None


def _run(settings: Settings) -> str:
    command = settings.encryption_key_command or ""
    try:
        done = subprocess.run(
            ["/bin/sh", "-c", command],
            capture_output=True,
            text=True,
            timeout=_COMMAND_SECONDS,
            cwd=settings.project,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise KeyCommandFailed(
            f"ENCRYPTION_KEY_COMMAND did not end within {_COMMAND_SECONDS} s.",
            hint="Run it by hand to see what it waits for.",
        ) from None
    remember(done.stdout.strip())
    if done.returncode or not done.stdout.strip():
        what = f"failed with exit code {done.returncode}" if done.returncode else "printed nothing"
        raise KeyCommandFailed(
            f"ENCRYPTION_KEY_COMMAND {what}.",
            hint="Run it by hand; it must print keys, one a line, and nothing else.",
        )
    return done.stdout
