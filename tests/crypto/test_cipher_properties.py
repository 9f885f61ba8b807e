"""The cipher of columns against any text."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from leadctl.crypto import Key, Keyring, decrypt, encrypt
from leadctl.errors import LeadctlError

KEY = Key.from_hex("test", "ab" * 32)


@pytest.mark.thorough
@given(st.text(), st.text(min_size=1, max_size=20))
def test_ciphertext_comes_back(text: str, context: str) -> None:
    value = encrypt(text.encode("utf-8", "replace").decode(), KEY, context)
    assert decrypt(value, Keyring([KEY]), context) == text.encode("utf-8", "replace").decode()
    assert value.isascii()


@given(st.text())
def test_any_text_as_ciphertext(text: str) -> None:
    with pytest.raises(LeadctlError):
        decrypt(text, Keyring([KEY]), "x")
