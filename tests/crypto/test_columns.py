"""Encrypted columns: what is stored, and what happens when a value is not what was stored."""

import string

import pytest
from sqlalchemy import select, text
from sqlalchemy.orm import Session

from leadctl.crypto import Key, Keyring, decrypt, encrypt, using
from leadctl.errors import DecryptionFailed, InvalidKey, MissingKey, NotEncrypted, UnknownKey
from leadctl.postgres.engine import run_engine
from leadctl.products.leadconnector.models import User
from tests.conftest import KEY, Prepared

OURS = Key.from_hex("ours", KEY)
OTHER = Key.from_hex("other", "ff" * 32)
CONTEXT = "leadconnector.users.access_token"


def test_a_value_comes_back_under_its_key_only() -> None:
    value = encrypt("tokën", OURS, CONTEXT)
    assert decrypt(value, Keyring([OURS]), CONTEXT) == "tokën"
    assert decrypt(value, Keyring([OTHER, OURS]), CONTEXT) == "tokën"
    with pytest.raises(UnknownKey, match=OURS.fingerprint):
        decrypt(value, Keyring([OTHER]), CONTEXT)
    with pytest.raises(MissingKey):
        decrypt(value, Keyring([]), CONTEXT)


def test_the_same_text_is_never_the_same_value() -> None:
    assert encrypt("x", OURS, CONTEXT) != encrypt("x", OURS, CONTEXT)


def test_a_value_of_another_column_is_refused() -> None:
    value = encrypt("token", OURS, "leadconnector.pages.access_token")
    with pytest.raises(DecryptionFailed, match="moved"):
        decrypt(value, Keyring([OURS]), CONTEXT)


@pytest.mark.parametrize("text", ["", "t", "to", "token"])
def test_every_changed_character_is_noticed(text: str) -> None:
    """The last one, too, of which base64 leaves some bits unused."""
    value = encrypt(text, OURS, CONTEXT)
    assert decrypt(value, Keyring([OURS]), CONTEXT) == text
    digits = string.ascii_letters + string.digits + "-_+/=. "
    for position, character in enumerate(value):
        others = digits if position == len(value) - 1 else ("A" if character != "A" else "B")
        for other in others.replace(character, ""):
            changed = value[:position] + other + value[position + 1 :]
            with pytest.raises((DecryptionFailed, NotEncrypted, UnknownKey)):
                decrypt(changed, Keyring([OURS]), CONTEXT)


def test_every_shortened_value_is_noticed() -> None:
    value = encrypt("token", OURS, CONTEXT)
    for length in range(len(value)):
        with pytest.raises((DecryptionFailed, NotEncrypted)):
            decrypt(value[:length], Keyring([OURS]), CONTEXT)


@pytest.mark.parametrize("digits", ["", "abc", "zz" * 32, "ab" * 31])
def test_a_malformed_key_is_refused_and_not_shown(digits: str) -> None:
    with pytest.raises(InvalidKey) as caught:
        Key.from_hex("mine", digits)
    assert not digits or digits not in caught.value.message
    assert "mine" in caught.value.message


def test_keys_do_not_show_themselves() -> None:
    assert KEY not in repr(OURS)
    assert KEY not in repr(Keyring([OURS]))


def test_columns(leadconnector: Prepared) -> None:
    engine = run_engine(leadconnector.target(), "test")
    with using(Keyring([OURS])), Session(engine) as session:
        user = session.scalars(select(User)).one()
        assert user.access_token == "test_access_token"
        user.access_token = "new"
        user.refresh_token = None
        session.commit()
        assert user.access_token == "new"
        ((stored,),) = leadconnector.query("SELECT access_token FROM users")
        assert stored.startswith(f"lc1.{OURS.fingerprint}.")
        assert session.scalars(select(User).where(User.refresh_token.is_(None))).one() is user
        with pytest.raises(TypeError, match="compared"):
            select(User).where(User.access_token == "new")


@pytest.mark.parametrize(
    ("stored", "error"),
    [
        ("'plain text'", NotEncrypted),
        ("(SELECT access_token FROM pages)", DecryptionFailed),
        ("left(access_token, -4)", DecryptionFailed),
    ],
)
def test_ciphertext_is_never_returned_as_text(
    leadconnector: Prepared, stored: str, error: type[Exception]
) -> None:
    leadconnector.query(f"UPDATE users SET access_token = {stored}")
    engine = run_engine(leadconnector.target(), "test")
    with using(Keyring([OURS])), Session(engine) as session, pytest.raises(error):
        session.scalars(select(User)).one()
    with using(Keyring([])), Session(engine) as session:
        assert session.execute(text("SELECT count(*) FROM users")).scalar() == 1


def test_a_renamed_column_still_reads(leadconnector: Prepared) -> None:
    leadconnector.query("ALTER TABLE users RENAME TO accounts")
    ((stored,),) = leadconnector.query("SELECT access_token FROM accounts")
    assert decrypt(stored, Keyring([OURS]), CONTEXT) == "test_access_token"
