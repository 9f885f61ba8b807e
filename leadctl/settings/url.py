"""Database URLs in the forms that teams have: libpq's, SQLAlchemy's and Prisma's."""

import re
from collections.abc import Mapping, Sequence
from typing import NamedTuple
from urllib.parse import quote, unquote, urlencode

from leadctl.errors import InvalidUrl
from leadctl.redact import HIDDEN, Secret

_SCHEME = re.compile(r"(?P<scheme>[A-Za-z][A-Za-z0-9+.:_-]*)://")
_POSTGRES = re.compile(r"postgres(?:ql)?(?:\+(?P<driver>[a-z0-9_]+))?$")

_PRISMA_IGNORED = frozenset(
    {
        "max_connection_lifetime",
        "max_idle_connection_lifetime",
        "pool_max_idle_time",
        "single_use_connections",
        "socket_timeout",
        "sslaccept",
        "sslidentity",
        "statement_cache_size",
    }
)
"""https://www.prisma.io/docs/orm/overview/databases/postgresql#arguments"""

_DRIVER_IGNORED = frozenset(
    {"async_fallback", "prepared_statement_cache_size", "prepared_statement_name_func"}
)
"""Parameters of SQLAlchemy's asyncpg dialect that say nothing about the server."""

_SHOWN = frozenset(
    {
        "application_name",
        "channel_binding",
        "client_encoding",
        "connect_timeout",
        "dbname",
        "fallback_application_name",
        "gssdelegation",
        "gssencmode",
        "gsslib",
        "host",
        "hostaddr",
        "keepalives",
        "keepalives_count",
        "keepalives_idle",
        "keepalives_interval",
        "krbsrvname",
        "load_balance_hosts",
        "max_protocol_version",
        "min_protocol_version",
        "passfile",
        "port",
        "require_auth",
        "requirepeer",
        "requiressl",
        "service",
        "servicefile",
        "ssl_max_protocol_version",
        "ssl_min_protocol_version",
        "sslcert",
        "sslcertmode",
        "sslcompression",
        "sslcrl",
        "sslcrldir",
        "sslkey",
        "sslmode",
        "sslnegotiation",
        "sslrootcert",
        "sslsni",
        "target_session_attrs",
        "tcp_user_timeout",
        "user",
    }
)
"""The parameters of libpq that anybody may see; what is not listed is a secret.
https://www.postgresql.org/docs/current/libpq-connect.html#LIBPQ-PARAMKEYWORDS
"""
_USABLE = _SHOWN | {"options"}
_PUBLIC_OPTIONS = re.compile(r"(\s*(-c\s*|--)?[a-z_]+=\S*)+\s*")
"""Settings of PostgreSQL's own, and Neon's endpoint=…; an app's have a dot, and may be secrets."""

_OURS = frozenset({"schema", "connection_limit", "pool_timeout", "pgbouncer"})

_FORM = (
    "The form is postgresql://USER:PASSWORD@HOST:PORT/DATABASE?schema=SCHEMA; special characters "
    "in the password are percent-encoded (@ is %40, / is %2F, # is %23)."
)


class DatabaseUrl(NamedTuple):
    """A parsed URL: libpq's own parameters, and what leadctl and pools read next to them."""

    params: Mapping[str, str] = {}
    """libpq keywords and values, without those that may be secret."""
    password: Secret | None = None
    hidden: Mapping[str, Secret] = {}
    """libpq's other parameters: sslpassword and whatever is not known to be public."""
    schema: str | None = None
    connection_limit: int | None = None
    """Connections at most, of a host application's pool."""
    pool_timeout: float | None = None
    """Seconds that a host application waits for a connection of the pool."""
    pgbouncer: bool = False
    notes: tuple[str, ...] = ()
    """What was understood and ignored, for the user to know."""

    def __hash__(self) -> int:
        return hash((frozenset(self.params.items()), self.password, self.schema))

    def redacted(self) -> str:
        """Return the URL for people: without a password."""
        shown = {**self.params, **dict.fromkeys(self.hidden, HIDDEN)}
        return self._render(shown, HIDDEN if self.password else "")

    def without_password(self) -> str:
        """Return a URL that libpq understands, without a password or another secret."""
        return self._render(dict(self.params), "")

    def _render(self, params: dict[str, str], password: str) -> str:
        user = quote(params.pop("user", ""), safe="")
        credentials = f"{user}:{password}" if password else user
        hosts = params.pop("host", "").split(",")
        ports = params.pop("port", "").split(",")
        if any(host.startswith(("/", "@")) for host in hosts):
            params["host"] = ",".join(hosts)
            if any(ports):
                params["port"] = ",".join(ports)
            authority = ""
        else:
            ports += ports[-1:] * (len(hosts) - len(ports))
            authority = ",".join(
                (f"[{host}]" if ":" in host else host) + (f":{port}" if port else "")
                for host, port in zip(hosts, ports, strict=False)
            )
        dbname = quote(params.pop("dbname", ""), safe="")
        query = urlencode(params, quote_via=quote, safe="/,").replace(quote(HIDDEN), HIDDEN)
        at = "@" if credentials else ""
        return f"postgresql://{credentials}{at}{authority}/{dbname}" + (
            f"?{query}" if query else ""
        )


def parse_url(text: str) -> DatabaseUrl:
    """Parse a libpq URI, a libpq keyword string, a SQLAlchemy URL or a Prisma URL.

    The grammar is libpq's own (its parser is called); the parameters that SQLAlchemy and Prisma
    add are taken out before.  Raises InvalidUrl, which never shows the password.
    """
    text = text.strip()
    scheme = _SCHEME.match(text)
    if scheme is None:
        return _from_libpq(text, {})
    name = scheme["scheme"].lower()
    known = _POSTGRES.match(name)
    if known is None:
        raise InvalidUrl(
            f"A URL that begins with {name}:// is not a PostgreSQL URL.",
            hint=_hint_for_scheme(name),
        )
    rest, _, query = text[scheme.end() :].partition("?")
    _refuse_spilled(rest, query)
    extra, ignored, own = {}, [], []
    for pair in filter(None, query.split("&")):
        key, _, raw = pair.partition("=")
        if key in _OURS:
            extra[key] = unquote(raw)
        elif key in _PRISMA_IGNORED or key in _DRIVER_IGNORED:
            ignored.append(key)
        elif key == "ssl" and known["driver"] == "asyncpg":
            mode = {"true": "require", "false": "disable"}.get(raw.lower(), raw)
            own.append(f"sslmode={mode}")
        else:
            own.append(pair)
    uri = f"postgresql://{rest}" + ("?" + "&".join(own) if own else "")
    return _from_libpq(uri, extra, ignored)


def _from_libpq(text: str, extra: Mapping[str, str], ignored: Sequence[str] = ()) -> DatabaseUrl:
    from psycopg import ProgrammingError
    from psycopg.conninfo import conninfo_to_dict

    try:
        parsed = conninfo_to_dict(text)
    except (ProgrammingError, UnicodeError) as error:
        raise InvalidUrl(_explain(str(error), text), hint=_FORM) from None
    params = {key: str(value) for key, value in parsed.items() if value is not None}
    _check_authority(params)
    password = params.pop("password", None)
    hidden = {name: Secret(params.pop(name)) for name in params.keys() - _USABLE}
    if "options" in params and not _PUBLIC_OPTIONS.fullmatch(params["options"]):
        hidden["options"] = Secret(params.pop("options"))
    limit = _number(extra, "connection_limit", at_least=1)
    return DatabaseUrl(
        params=params,
        password=Secret(password) if password else None,
        hidden=hidden,
        schema=extra.get("schema") or None,
        connection_limit=None if limit is None else int(limit),
        pool_timeout=_number(extra, "pool_timeout", at_least=0),
        pgbouncer=extra.get("pgbouncer", "").lower() in {"true", "1"},
        notes=tuple(f"The URL's parameter {name} is ignored." for name in ignored),
    )


def _explain(message: str, text: str) -> str:
    """Keep libpq's words only where they name a parameter: others may quote the password."""
    named = re.search(r'(?:query parameter|connection option):? "(\w*)"', message)
    if "://" not in text and "pass" in text:
        named = None  # a password with spaces, perhaps
    if named:
        return f"The database URL has an unknown parameter: {named[1]}"
    return "The database URL cannot be understood."


def _refuse_spilled(rest: str, query: str) -> None:
    """Refuse a URL whose password has a raw / or ? in it, and ends where something else is read.

    An @ behind the host is what tells: postgresql://u:12/rest-of-password@host/db.
    """
    path = rest.partition("/")[2]
    keys = (pair.partition("=")[::2] for pair in query.split("&"))
    if "@" in path or any(
        "@" in key + value and key not in _USABLE and not key.endswith(("password", "secret"))
        for key, value in keys
    ):
        raise InvalidUrl(
            "The database URL has an @ after its host: it may be the end of the password.",
            hint=_FORM,
        )


def _check_authority(params: Mapping[str, str]) -> None:
    # A password with a raw @ or / in it spills over into host and port: do not show those.
    host_spilled = "@" in params.get("host", "").lstrip("@")
    port_spilled = not re.fullmatch(r"[\d,]*", params.get("port", ""))
    if host_spilled or port_spilled:
        raise InvalidUrl("The host and port of the database URL cannot be told apart.", hint=_FORM)


def _number(extra: Mapping[str, str], name: str, *, at_least: float) -> float | None:
    if name not in extra:
        return None
    try:
        value = float(extra[name])
    except ValueError:
        value = -1.0
    if not at_least <= value < float("inf"):
        raise InvalidUrl(
            f"The URL's {name} is {extra[name]!r}; allowed is a number from {at_least:g} up.",
            hint=f"Correct {name} in the URL, or leave it out.",
        )
    return value


def _hint_for_scheme(scheme: str) -> str:
    if scheme.startswith("prisma"):
        return "Prisma's own service cannot be administered; give the database's direct URL."
    if scheme.startswith("jdbc"):
        return "Leave out the leading jdbc: and put user and password before the host."
    return "leadctl works on PostgreSQL: postgresql://USER:PASSWORD@HOST:PORT/DATABASE"
