"""What takes outside input, against all of it."""

import string

import pytest
from hypothesis import given
from hypothesis import strategies as st
from psycopg.conninfo import conninfo_to_dict

from leadctl.crypto import Key, Keyring, decrypt, encrypt
from leadctl.errors import InvalidUrl, LeadctlError
from leadctl.redact import Secret
from leadctl.settings.durations import parse_seconds
from leadctl.settings.url import DatabaseUrl, parse_url
from leadctl.text import plain

KEY = Key.from_hex("test", "ab" * 32)
names = st.text(
    st.characters(codec="utf-8", exclude_characters="\x00", exclude_categories=["Cs"]),
    min_size=1,
    max_size=12,
)
hosts = st.text(string.ascii_lowercase + string.digits + ".-", min_size=1, max_size=12)


@given(names, names, hosts, st.integers(1, 65535), st.text(string.printable.strip(), min_size=1))
def test_a_url_comes_back_as_libpq_reads_it(
    user: str, database: str, host: str, port: int, password: str
) -> None:
    url = DatabaseUrl(
        {"user": user, "dbname": database, "host": host, "port": str(port)}, Secret(password)
    )
    assert conninfo_to_dict(url.without_password()) == url.params
    assert parse_url(url.without_password()).params == url.params


@given(st.text(st.characters(exclude_characters="XYZ"), max_size=60), st.text("XYZ", min_size=6))
def test_no_url_crashes_or_shows_its_password(tail: str, password: str) -> None:
    try:
        url = parse_url(f"postgresql://ada:{password}@{tail}")
        shown = repr(url) + url.redacted() + url.without_password()
    except InvalidUrl as error:
        shown = error.message + error.hint
    assert password not in shown


@given(st.text(max_size=60))
def test_any_text_as_a_url(text: str) -> None:
    try:
        hint = parse_url(text).redacted()
    except LeadctlError as error:
        hint = error.hint
    assert hint


@given(st.text(max_size=20))
def test_durations_are_numbers_or_errors(text: str) -> None:
    try:
        seconds = parse_seconds(text)
    except ValueError:
        seconds = 0
    assert 0 <= seconds < float("inf")


@given(st.text(), st.text(min_size=1, max_size=20))
def test_ciphertext_comes_back(text: str, context: str) -> None:
    value = encrypt(text.encode("utf-8", "replace").decode(), KEY, context)
    assert decrypt(value, Keyring([KEY]), context) == text.encode("utf-8", "replace").decode()
    assert value.isascii()


@given(st.text())
def test_any_text_as_ciphertext(text: str) -> None:
    with pytest.raises(LeadctlError):
        decrypt(text, Keyring([KEY]), "x")


@given(st.text())
def test_nothing_acts_on_a_terminal(text: str) -> None:
    shown = plain(text)
    assert "\x1b" not in shown
    assert not any(ord(character) < 32 and character not in "\t\n" for character in shown)
