"""Database URLs: every form that a team has is understood, everything else is named."""

import string

import pytest
from hypothesis import given
from hypothesis import strategies as st
from psycopg.conninfo import conninfo_to_dict

from leadctl.errors import InvalidUrl, LeadctlError
from leadctl.redact import Secret
from leadctl.settings.url import DatabaseUrl, parse_url

names = st.text(
    st.characters(codec="utf-8", exclude_characters="\x00", exclude_categories=["Cs"]),
    min_size=1,
    max_size=12,
)
hosts = st.text(string.ascii_lowercase + string.digits + ".-", min_size=1, max_size=12)


@pytest.mark.parametrize(
    "text",
    [
        "postgresql://ada:s3cret%40@db.example:5433/shop",
        "postgres://ada:s3cret%40@db.example:5433/shop",
        "postgresql+psycopg://ada:s3cret%40@db.example:5433/shop",
        "postgresql+asyncpg://ada:s3cret%40@db.example:5433/shop",
        "postgresql://ada:s3cret%40@db.example:5433/shop?",
        "host=db.example port=5433 user=ada password=s3cret@ dbname=shop",
    ],
)
def test_every_form_is_the_same_database(text: str) -> None:
    url = parse_url(text)
    assert url.params == {"host": "db.example", "port": "5433", "user": "ada", "dbname": "shop"}
    assert url.password is not None
    assert url.password.reveal() == "s3cret@"
    assert "s3cret" not in repr(url)
    assert url.redacted() == "postgresql://ada:••••@db.example:5433/shop"
    assert url.without_password() == "postgresql://ada@db.example:5433/shop"


def test_prisma_parameters() -> None:
    url = parse_url(
        "postgresql://ada@db/shop?schema=app&connection_limit=5&pool_timeout=2&pgbouncer=true"
        "&sslmode=require&connect_timeout=7&statement_cache_size=0&sslaccept=strict"
    )
    assert (url.schema, url.connection_limit, url.pool_timeout) == ("app", 5, 2.0)
    assert url.pgbouncer
    assert url.params["sslmode"] == "require"
    assert url.params["connect_timeout"] == "7"
    assert url.notes == (
        "The URL's parameter statement_cache_size is ignored.",
        "The URL's parameter sslaccept is ignored.",
    )


def test_asyncpg_ssl_is_sslmode() -> None:
    assert parse_url("postgresql+asyncpg://db/shop?ssl=true").params["sslmode"] == "require"


def test_socket_and_several_hosts_come_back_as_a_url() -> None:
    socket = parse_url("postgresql://postgres@/shop?host=/run/my pg".replace(" ", "%20"))
    assert socket.params["host"] == "/run/my pg"
    assert parse_url(socket.without_password()).params == socket.params
    several = parse_url("postgresql://a:1,[::1]:2/shop")
    assert several.params["host"] == "a,::1"
    assert parse_url(several.without_password()).params == several.params


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("mysql://localhost/x", "mysql://"),
        ("prisma+postgres://localhost:51213/?api_key=abc", "prisma+postgres://"),
        ("jdbc:postgresql://localhost/x", "jdbc:postgresql"),
        ("postgresql://localhost/x?shema=app", "shema"),
        ("hots=localhost", "hots"),
        ("postgresql://localhost/x?connection_limit=many", "connection_limit"),
        ("postgresql://localhost/x?connection_limit=0", "connection_limit"),
        ("postgresql://localhost/x?pool_timeout=-1", "pool_timeout"),
    ],
)
def test_what_is_wrong_is_named(text: str, named: str) -> None:
    with pytest.raises(InvalidUrl) as caught:
        parse_url(text)
    assert named in caught.value.message
    assert caught.value.hint


@pytest.mark.parametrize(
    "text",
    [
        "postgresql://ada:top/secret@db/shop",
        "postgresql://ada:top@secret@db/shop",
        "postgresql://ada:top%secret@db/shop",
    ],
)
def test_a_password_that_is_not_encoded_is_never_shown(text: str) -> None:
    with pytest.raises(InvalidUrl) as caught:
        parse_url(text)
    assert "top" not in caught.value.message + caught.value.hint
    assert "secret" not in caught.value.message + caught.value.hint
    assert "percent-encoded" in caught.value.hint


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
