"""The target: the database that a command acts on."""

import os
import re
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import NamedTuple

from leadctl.child_processes import printed_secret
from leadctl.errors import CommandOfUrlFailed, InvalidSchema, InvalidUrl, NoTarget
from leadctl.postgres import LONGEST_NAME
from leadctl.progress import Narrate
from leadctl.redact import Secret
from leadctl.settings.model import LIBPQ_TARGET, EnvironmentConfig, Settings
from leadctl.settings.sources import DEFAULT, ENVIRONMENT
from leadctl.settings.url import DatabaseUrl, parse_url
from leadctl.text import plain

DEFAULT_SCHEMA = "public"
_EXTENSION = re.compile(
    r"CREATE\s+EXTENSION\s+(?:IF\s+NOT\s+EXISTS\s+)?[\\\"']*(?P<name>[\w-]+)", re.IGNORECASE
)
_FRESH_SECONDS = 300.0
"""How long what a url_command printed is used; tokens of cloud logins last 15 minutes or more."""
_ORDER = ("flag", ENVIRONMENT, ".env.local", ".env")
"""The sources of variables, the strongest first."""


class UrlCommand(NamedTuple):
    """The `url_command` of an [env.NAME]: what it prints expires, so it is run again in time."""

    command: str
    origin: str
    """The environment, in the user's words."""
    folder: Path
    base: Secret | None
    """The `url` of the environment: the command may print its password only."""

    def url(self, known: DatabaseUrl | None = None, *, refused: bool = False) -> DatabaseUrl:
        """Return the URL by what was printed lately: in another process, that is `known`.

        The server may have `refused` it.  Raises CommandOfUrlFailed and InvalidUrl.
        """
        with _guard:
            at, url = _printed.get(self) or (time.monotonic(), known)
            old = time.monotonic() - at > _FRESH_SECONDS
            if url is None or old or (refused and known and _login(url) == _login(known)):
                at, url = time.monotonic(), self._run()
            _printed[self] = (at, url)
            return url

    def _run(self) -> DatabaseUrl:
        name = f"The url_command of {self.origin}"
        prints = "the URL, or the password"
        printed = printed_secret(
            self.command, self.folder, CommandOfUrlFailed, name=name, prints=prints
        )
        if "://" in printed.reveal():
            return _parse(printed, f"url_command of {self.origin}")
        if self.base is None:
            raise CommandOfUrlFailed(
                f"{name} printed no URL.",
                hint="If it prints a password or token, give the rest of the URL as url.",
            )
        return _parse(self.base, self.origin)._replace(password=printed)


_printed: dict[UrlCommand, tuple[float, DatabaseUrl]] = {}
"""What each command printed last, and when by the monotonic clock."""
_guard = threading.Lock()


def _login(url: DatabaseUrl) -> tuple[str | None, Secret | None]:
    return url.params.get("user"), url.password


@dataclass(frozen=True)
class Target:
    """A database, the schema in it, and how leadctl behaves there."""

    url: DatabaseUrl
    """Where leadctl connects: the direct URL where there is one."""
    schema: str
    source: str = field(compare=False)
    """Where the URL came from, in the user's words."""
    connect_timeout: float
    """Seconds."""
    environment: str | None = None
    protected: bool = False
    """Whether leadctl.toml protects it; the database's own identity may do so, too."""
    role: str | None = None
    embedded: bool = False
    log_sql: bool = False
    replica: DatabaseUrl | None = None
    """A standby of the database, for commands that only read."""
    application_url: DatabaseUrl | None = None
    """Where a host application connects instead, through a pooler perhaps."""
    url_command: UrlCommand | None = None
    """What printed the URL, if a command did."""

    def __post_init__(self) -> None:
        """Raise InvalidSchema for one that an app cannot have, or share."""
        if len(self.schema.encode(errors="surrogateescape")) > LONGEST_NAME:
            why = f"a name has at most {LONGEST_NAME} bytes"
        elif is_reserved(self.schema):
            why = "it is the server's or leadctl's"
        elif self.schema == "$user":
            why = "in a search path that is the schema named as the role"
        else:
            return
        raise InvalidSchema(
            f"{plain(self.schema)} cannot be the schema of an app: {why}.",
            hint="Name another one: --schema, LEADCTL_SCHEMA or schema= of the URL.",
        )

    def fresh(self, *, refused: bool = False) -> "Target":
        """Return the target with a URL that has not expired, nor is `refused` by the server.

        Only the target of a url_command ever changes, and never its database and schema.  Raises
        CommandOfUrlFailed and InvalidUrl.
        """
        if self.url_command is None:
            return self
        url = self.url_command.url(self.url, refused=refused)
        named = {key: self.url.params[key] for key in ("dbname",) if key in self.url.params}
        return replace(self, url=url._replace(params={**url.params, **named}))

    @property
    def database(self) -> str:
        """The database's name: of the URL, else what libpq takes for one."""
        named = self.url.params.get("dbname")
        return named or _libpq_database(self.url.params)

    def on(self, database: str) -> "Target":
        """Return the same target, on another database of the server."""
        return replace(self, url=self.url._replace(params={**self.url.params, "dbname": database}))

    def describe(self) -> str:
        """Return a name for people, without a password."""
        if self.embedded:
            return f"{self.database} on the embedded server"
        return self.url.redacted()


def resolve(
    settings: Settings, *, app: str, may_create: bool = False, narrate: Narrate = lambda _: None
) -> Target:
    """Find the target that the settings name, and start the embedded server where it is the one.

    `may_create` allows an embedded server that does not exist yet to be made.  Raises
    ConfigurationError for what cannot be resolved, and what `embedded.start` raises.
    """
    environment = settings.environment
    command = _url_command(settings, environment)
    url, source = (command.url(), command.origin) if command else _url(settings, environment)
    if url is None:
        return _embedded(settings, app, may_create, narrate)
    direct = _direct_url(settings, environment, narrate)
    for note in url.notes:
        narrate(note)
    return Target(
        url=direct or url,
        schema=schema_of(settings, app, url),
        source=settings.source("direct_url") if direct else source,
        connect_timeout=settings.connect_timeout,
        environment=environment.name if environment else None,
        protected=environment.protected if environment else False,
        role=environment.role if environment else None,
        log_sql=settings.log_sql,
        replica=_replica(settings, environment),
        application_url=url if direct else None,
        url_command=command,
    )


class NamedTarget(NamedTuple):
    """What settings say of the target: no command is run for it, and no server started."""

    url: str | None
    """Without its password; None where only running something would tell, or there is none."""
    source: str
    """Where it comes from, or why there is none."""
    schema: str
    protected: bool
    """Whether leadctl.toml protects it; the database's own identity may do so, too."""


def named_target(settings: Settings, app: str) -> NamedTarget:
    """Return what `resolve` would connect to, as far as settings say."""
    environment = settings.environment
    protected = environment is not None and environment.protected
    url: DatabaseUrl | None = None
    try:
        command = _url_command(settings, environment)
        if command is not None:
            source = f"url_command of {command.origin}, which is not run here"
        else:
            url, source = _url(settings, environment)
            direct = _direct_url(settings, environment, lambda _: None)
            if url is not None and direct is not None:
                url, source = direct, settings.source("direct_url")
            elif url is None:
                from leadctl.postgres.embedded import Home

                exists = Home.of(settings.project).exists
                source = "embedded server" if exists else "embedded server, not made yet"
    except (InvalidUrl, NoTarget) as error:
        source = error.message
    schema = schema_of(settings, app, url)
    return NamedTarget(url.redacted() if url else None, source, schema, protected)


def is_reserved(schema: str) -> bool:
    """Whether a schema is the server's or leadctl's own, so that no app may be in it."""
    return schema in {"information_schema", "leadctl"} or schema.startswith("pg_")


def schema_of(settings: Settings, app: str, url: DatabaseUrl | None) -> str:
    """Return the schema: the strongest source that names one wins, then the URL's own.

    At equal strength LEADCTL_SCHEMA wins over the URL, since it says nothing else.
    """
    if settings.schema and not (
        url and url.schema and _strength(settings, "url") < _strength(settings, "schema")
    ):
        return settings.schema
    environment = settings.environment
    declared = settings.apps.get(app)
    return (
        (url.schema if url else None)
        or (environment.schema if environment else None)
        or (declared.schema if declared else None)
        or DEFAULT_SCHEMA
    )


def _strength(settings: Settings, name: str) -> int:
    source = settings.source(name)
    return next((i for i, prefix in enumerate(_ORDER) if source.startswith(prefix)), len(_ORDER))


def _url(
    settings: Settings, environment: EnvironmentConfig | None
) -> tuple[DatabaseUrl | None, str]:
    given_by_flag = settings.is_flag("url")
    if environment and environment.url and not given_by_flag:
        origin = f"[env.{environment.name}]"
        return _parse(environment.url, origin), origin
    if settings.url:
        return _parse(settings.url, settings.source("url")), settings.source("url")
    if settings.embedded:
        return None, DEFAULT
    if LIBPQ_TARGET & settings.libpq.keys():
        return _with_libpq(DatabaseUrl(), settings), ", ".join(LIBPQ_TARGET & settings.libpq.keys())
    raise NoTarget(
        f"The environment {settings.env} has no url, and DATABASE_URL is not set.",
        hint=f'Add url = "postgresql://…" or url_command = "…" to [env.{settings.env}].',
    )


def _url_command(settings: Settings, environment: EnvironmentConfig | None) -> UrlCommand | None:
    if environment is None or environment.url_command is None or settings.is_flag("url"):
        return None
    origin = f"[env.{environment.name}]"
    return UrlCommand(environment.url_command, origin, settings.project, environment.url)


def _replica(settings: Settings, environment: EnvironmentConfig | None) -> DatabaseUrl | None:
    if environment is None or environment.replica is None or settings.is_flag("url"):
        return None
    return _parse(environment.replica, f"replica of [env.{environment.name}]")


def _direct_url(
    settings: Settings, environment: EnvironmentConfig | None, narrate: Narrate
) -> DatabaseUrl | None:
    """Return DIRECT_URL, unless the URL itself came from a stronger place.

    A `DATABASE_URL=… leadctl migrate` with a DIRECT_URL in `.env` must not reach the database
    that the file names.
    """
    if settings.direct_url is None or environment is not None:
        return None
    if _strength(settings, "direct_url") > _strength(settings, "url"):
        narrate(
            f"DIRECT_URL (from {settings.source('direct_url')}) is not used: the URL comes from "
            f"{settings.source('url')}."
        )
        return None
    return _parse(settings.direct_url, settings.source("direct_url"), "DIRECT_URL")


def _parse(text: Secret, source: str, name: str = "DATABASE_URL") -> DatabaseUrl:
    try:
        return parse_url(text.reveal())
    except InvalidUrl as error:
        where = source if source.startswith(("flag", "[", "url_command")) else f"{name} in {source}"
        raise InvalidUrl(f"{where}: {error.message}", hint=error.hint) from None


def _with_libpq(url: DatabaseUrl, settings: Settings) -> DatabaseUrl:
    """Add libpq's own variables that only a `.env` file has: libpq does not read it."""
    from psycopg import pq

    params, password = dict(url.params), url.password
    for option in pq.Conninfo.get_defaults():
        variable = option.envvar.decode() if option.envvar else ""
        if variable not in settings.libpq:
            continue
        if option.keyword == b"password":
            password = password or Secret(settings.libpq[variable])
        else:
            params.setdefault(option.keyword.decode(), settings.libpq[variable])
    return url._replace(params=params, password=password)


def _libpq_database(params: Mapping[str, str]) -> str:
    """Return the database that libpq takes where the URL names none.

    It is PGDATABASE, that of the service in pg_service.conf, or the user's name.
    https://www.postgresql.org/docs/current/libpq-connect.html
    """
    from psycopg import pq

    before = os.environ.get("PGSERVICE")
    if "service" in params:
        os.environ["PGSERVICE"] = params["service"]
    try:
        defaults = {option.keyword: option.val for option in pq.Conninfo.get_defaults()}
    finally:
        if before is not None:
            os.environ["PGSERVICE"] = before
        elif "service" in params:
            del os.environ["PGSERVICE"]
    user = params.get("user") or (defaults.get(b"user") or b"").decode()
    return (defaults.get(b"dbname") or b"").decode() or user


def wanted_extensions(settings: Settings) -> set[str]:
    """Return the extensions that a project's migrations name: a server that is made may bring them.

    That is of their text, so some may be named that no revision makes.
    """
    found: set[str] = set()
    for app in settings.apps.values():
        for path in (*app.migrations.rglob("*.py"), app.migrations.parent / "env.py"):
            with suppress(OSError):
                text = path.read_text(encoding="utf-8", errors="replace")
                found |= {each["name"].lower() for each in _EXTENSION.finditer(text)}
    return found


def _embedded(settings: Settings, app: str, may_create: bool, narrate: Narrate) -> Target:
    from leadctl.postgres.embedded import SUPERUSER, Home, start

    home = Home.of(settings.project)
    if not may_create and not home.exists:
        raise NoTarget(
            f"There is no database here: DATABASE_URL is not set and {home.folder} does not exist.",
            hint="Set DATABASE_URL, or make the embedded database with: leadctl migrate"
            if settings.names_app
            else "Set DATABASE_URL or --url, or go to a project's folder; for one of your own: "
            "leadctl init",
        )
    server = start(home, narrate, () if home.exists else wanted_extensions(settings))
    params = {"host": str(server.socket), "user": SUPERUSER, "dbname": app}
    return Target(
        url=DatabaseUrl(params=params),
        schema=schema_of(settings, app, None),
        source="embedded server",
        connect_timeout=settings.connect_timeout,
        environment="development",
        embedded=True,
        log_sql=settings.log_sql,
    )
