"""Which targets a fleet has: found in its databases when a run begins."""

from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from typing import Literal

import psycopg
from psycopg.rows import tuple_row

from leadctl.errors import (
    EmptyFleet,
    InvalidSchema,
    InvalidSetting,
    LeadctlError,
    TargetDropped,
    UnknownDatabase,
    UnknownFleet,
    UsageError,
)
from leadctl.journal.kept_names import kept_schemas, kept_since
from leadctl.postgres.connect import connect
from leadctl.postgres.exact import authored
from leadctl.postgres.provision import has_schema
from leadctl.postgres.queries import queries_of
from leadctl.postgres.target import Target
from leadctl.postgres.translate import translate
from leadctl.settings.model import FleetConfig, Settings
from leadctl.text import did_you_mean

_QUERIES = queries_of(__file__, "fleet.sql")
_SECONDS = 60.0
"""How long the query of a fleet may take."""
CatalogKind = Literal["schema", "database"] | None
_Resolve = Callable[[str | None], Target]
"""Return the target of an environment, or of the settings alone.  Raises LeadctlError."""


@dataclass(frozen=True)
class FleetTarget:
    """One target of a fleet, or an environment whose targets cannot be found."""

    name: str
    """What it is called in reports: `eu/tenant_7`."""
    env: str | None
    target: Target | None = field(repr=False)
    error: LeadctlError | None = None
    """Why the targets of the environment are not known."""
    found_as: CatalogKind = None
    """What it is in the catalog, if it was found there: then migrate does not make it."""
    stands_for_all: bool = False
    """Whether it is the one of its database, for a verb that is about the whole of that."""

    @property
    def database(self) -> str | None:
        """The database that it is in."""
        return self.target.database if self.target else None

    @property
    def schema(self) -> str | None:
        """The schema that it is; None where it stands for its whole database."""
        return self.target.schema if self.target and not self.stands_for_all else None

    def matches(self, patterns: Iterable[str]) -> bool:
        """Whether a pattern is of its name, whole or without its environment, or of that."""
        names = {self.name}
        if self.env:
            names |= {self.env, self.name.removeprefix(f"{self.env}/")}
        return any(fnmatchcase(name, pattern) for pattern in patterns for name in names)

    def may_have(self, patterns: Iterable[str], envs: Iterable[str]) -> bool:
        """Whether a pattern can be of a target in it, an environment that cannot be asked.

        A pattern of one of `envs` is not of targets.
        """
        if self.error is None or self.env is None or self.name != self.env:
            return False
        for pattern in patterns:
            env, slash, _ = pattern.partition("/")
            if (
                fnmatchcase(self.env, env)
                if slash
                else not any(fnmatchcase(e, pattern) for e in envs)
            ):
                return True
        return False


def require_there(target: Target, found_as: CatalogKind) -> None:
    """Raise TargetDropped where a schema or database that was seen is no longer there."""
    if found_as is None:
        return
    with suppress(UnknownDatabase), connect(target, "fleet", read_only=True) as connection:
        if found_as != "schema" or has_schema(connection, target.schema):
            return
    name = target.schema if found_as == "schema" else target.database
    raise TargetDropped(
        f"The {found_as} {name} was dropped after the run began.",
        hint="It was not created again. If you still need it: leadctl tenants create NAME",
    )


def _kind_in_catalog(config: FleetConfig) -> CatalogKind:
    if config.query:
        return None
    return "schema" if config.schemas else "database"


def declared(settings: Settings, name: str) -> FleetConfig:
    """Return the fleet of a name.  Raises UnknownFleet, and UsageError beside --env."""
    if name not in settings.fleets:
        known = sorted(settings.fleets)
        raise UnknownFleet(
            f"There is no fleet {name!r}.",
            hint=did_you_mean(
                name, known, f"Declare it as [fleet.{name}] in leadctl.toml. Known: "
                f"{', '.join(known) or 'none'}.",
            ),
        )  # fmt: skip
    config = settings.fleets[name]
    if config.envs and (settings.is_flag("env") or settings.is_flag("url")):
        given = "--env" if settings.is_flag("env") else "--url"
        raise UsageError(
            f"{given} cannot be used with the fleet {name}: the fleet names its environments.",
            hint=f'Leave {given} out, or run some of them with --only "{config.envs[0]}*".',
        )
    if settings.is_flag("schema"):
        raise UsageError(
            "--schema cannot be used with --fleet: the fleet names its schemas.",
            hint="Leave --schema out, or run one of them with --only NAME.",
        )
    return config


def find_targets(
    config: FleetConfig, resolve: _Resolve, only: Sequence[str] = ()
) -> tuple[FleetTarget, ...]:
    """Return the targets of a fleet, those in `only`, in the order of environments and names.

    An environment that cannot be asked is one target with an error, also if `only` may be of one
    in it.  Raises EmptyFleet where there is none, InvalidSetting for a query that fails, and
    UsageError where `only` matches none.
    """
    found: list[FleetTarget] = []
    named = config.schemas or config.databases or config.query
    for env in config.envs or (None,):
        try:
            found += _of_environment(config, resolve(env), env)
        except LeadctlError as error:
            if env is None or isinstance(error, InvalidSetting):
                raise
            found.append(FleetTarget(env, env, None, error))
    _require_once(config, found)
    kept = [each for each in found if not each.matches(config.exclude)]
    if not kept:
        raise EmptyFleet(
            f"The fleet {config.name} has no targets: {_said(config)} gives "
            f"{'only excluded names' if found else 'nothing'}.",
            hint=f"Check [fleet.{config.name}] of leadctl.toml, and that it is the right database.",
        )
    chosen = tuple(
        each
        for each in kept
        if not only or each.matches(only) or (named and each.may_have(only, config.envs))
    )
    if not chosen:
        raise UsageError(
            f"No target of the fleet {config.name} matches {' or '.join(only)}.",
            hint=f"The fleet has {len(kept):,} targets; the first is {kept[0].name}.",
        )
    return chosen


def _require_once(config: FleetConfig, found: Sequence[FleetTarget]) -> None:
    """Refuse two environments that name the same place: each would be done twice."""
    seen: dict[Hashable, FleetTarget] = {}
    for each in found:
        if each.target is None:
            continue
        params = each.target.url.params
        server = tuple(params.get(name) for name in ("service", "host", "hostaddr", "port"))
        first = seen.setdefault((server, each.database, each.target.schema), each)
        if first is not each:
            raise InvalidSetting(
                f"{first.name} and {each.name} of the fleet {config.name} are the same: "
                f"{each.database} on the same server.",
                hint=f"Correct [env.{each.env}], or leave it out of [fleet.{config.name}].",
            )


def _said(config: FleetConfig) -> str:
    for way in ("schemas", "databases"):
        if pattern := getattr(config, way):
            return f'{way} = "{pattern}"'
    return "its query"


def _of_environment(config: FleetConfig, base: Target, env: str | None) -> Iterator[FleetTarget]:
    if not (config.schemas or config.databases or config.query):
        yield FleetTarget(env or config.name, env, base)
        return
    prefix = f"{env}/" if env else ""
    for name in _names(config, base):
        try:
            target = base.on(name) if config.databases else replace(base, schema=name)
            yield FleetTarget(f"{prefix}{name}", env, target, found_as=_kind_in_catalog(config))
        except InvalidSchema as error:  # of one row; the others are as good as before
            yield FleetTarget(f"{prefix}{name}", env, None, error)


def _names(config: FleetConfig, base: Target) -> list[str]:
    if config.query:
        return _asked(config, base)
    pattern = str(config.schemas or config.databases)
    with connect(base, "fleet", read_only=True) as connection:
        if config.schemas:
            kept = kept_schemas(connection)
            names = [name for name in _QUERIES.column(connection, "schemas") if name not in kept]
        else:
            databases = _QUERIES.column(connection, "databases")
            names = [name for name in databases if not kept_since(name)]
    return [name for name in names if fnmatchcase(name, pattern)]


def _asked(config: FleetConfig, base: Target) -> list[str]:
    """Return the names that a fleet's own query gives, each once.

    It is read as a report is: a function or an operator of the app's is not taken for the server's.
    """
    where = f"The query of [fleet.{config.name}]"
    with connect(
        base, "fleet", rows=True, read_only=True, statement_timeout=_SECONDS
    ) as connection:
        try:
            query = authored(connection, base.schema, str(config.query).replace("%", "%%"))
            rows = query.fetch(connection, {"schema": base.schema}, tuple_row)
        except psycopg.Error as error:
            reason = translate(error)
            raise InvalidSetting(
                f"{where} failed in {base.database}: {reason.message if reason else error}",
                hint="Try it with: leadctl db shell",
            ) from None
    names = [row[0] for row in rows if len(row) == 1]
    if len(names) < len(rows) or not all(isinstance(name, str) and name for name in names):
        raise InvalidSetting(
            f"{where} must return one column of names.",
            hint='For example: query = "SELECT schema_name FROM public.tenants WHERE active"',
        )
    return list(dict.fromkeys(names))
