"""Loading: the sources are laid over each other and every value is checked."""

import os
import re
from collections.abc import Collection, Mapping
from dataclasses import Field, fields
from pathlib import Path
from typing import Any, TypeVar, get_args, get_origin

from leadctl.errors import (
    InvalidFlag,
    InvalidSetting,
    NotOnThisMachine,
    UnknownEnvironment,
    UnknownSetting,
    UsageError,
)
from leadctl.files import absolute, object_url, package_folder
from leadctl.redact import Secret
from leadctl.settings.model import (
    FOLDER_OR_URL,
    RULE_IDENTITY,
    AppConfig,
    EnvironmentConfig,
    FleetConfig,
    HealthConfig,
    Rule,
    Settings,
)
from leadctl.settings.sources import (
    ENVIRONMENT,
    FLAG,
    Layer,
    ProjectFolder,
    find_project,
    variable_layers,
)
from leadctl.text import did_you_mean

Named = TypeVar("Named", EnvironmentConfig, FleetConfig, HealthConfig)

_PLAIN_VALUE = re.compile(r"[a-z -]{1,12}|[\d.:+-]{1,20} ?[A-Za-z]{0,10}")
_PREFIXES = ("backup", "pitr")
"""The tables of leadctl.toml whose keys are the settings that begin with their name."""
_DECLARED = tuple(declared for declared in fields(Settings) if "variable" in declared.metadata)
_AT_THE_TOP = frozenset(declared.name for declared in _DECLARED if declared.metadata["toml"])
_TABLES = frozenset({"env", "apps", "fleet", "retention", "health", *_PREFIXES})


def load_settings(
    flags: Mapping[str, str | None] | None = None,
    *,
    cwd: Path | None = None,
    environ: Mapping[str, str] | None = None,
) -> Settings:
    """Load the settings: flags over environment over `.env` files over leadctl.toml.

    `flags` are texts by setting name, None where a flag was not given.  Raises a
    ConfigurationError that names the setting, its source and what is allowed.
    """
    project = find_project(cwd or Path.cwd())
    layers = variable_layers(project.root, environ)
    values: dict[str, Any] = {}
    sources: dict[str, str] = {}
    for declared in _DECLARED:
        found = _find(declared, flags or {}, layers, project)
        if found is not None:
            values[declared.name] = _parse(declared, *found, project)
            sources[declared.name] = found[1]
        elif isinstance(declared.default, Path):
            values[declared.name] = absolute(declared.default, project.root)
    apps = declared_apps(project)
    if "app" not in values and len(apps) == 1:
        values["app"], sources["app"] = next(iter(apps)), _file_name(project)
    settings = Settings(
        **values,
        project=project.root,
        config_file=project.config_file,
        environments=_named(project, "env", EnvironmentConfig),
        apps=apps,
        fleets=_named(project, "fleet", FleetConfig),
        health=_named(project, "health", HealthConfig),
        app_rules=_app_rules(project),
        retention={
            name: _fields(project, f"retention.{name}", table, Rule, without=RULE_IDENTITY)
            for name, table in _table(project, "retention").items()
        },
        libpq=_libpq(layers),
        sources=sources,
    )
    _refuse_contradictions(settings)
    return settings


def _find(
    declared: Field[Any],
    flags: Mapping[str, str | None],
    layers: list[Layer],
    project: ProjectFolder,
) -> tuple[str, str] | None:
    flag = flags.get(declared.name)
    if flag is not None:
        return flag, f"{FLAG} --{declared.name.replace('_', '-')}"
    for layer in layers:
        if layer.values.get(declared.metadata["variable"]):
            return layer.values[declared.metadata["variable"]], layer.name
    if declared.name in _AT_THE_TOP and declared.name in project.config:
        return str(project.config[declared.name]), _file_name(project)
    table, _, key = declared.name.partition("_")
    if table in _PREFIXES and key in _texts(project, table):
        return _texts(project, table)[key], f"[{table}] in {_file_name(project)}"
    return None


def _texts(project: ProjectFolder, name: str) -> dict[str, str]:
    """Return the table `[backup]` or `[pitr]`, its values as the texts that variables have."""
    names = [declared.name.partition("_") for declared in _DECLARED]
    table = _table(project, name)
    allowed = [key for prefix, _, key in names if prefix == name]
    _refuse_unknown(project, f"[{name}] in ", table, allowed)
    return {
        key: ",".join(map(str, value)) if isinstance(value, list) else str(value)
        for key, value in table.items()
    }


def _parse(declared: Field[Any], text: str, source: str, project: ProjectFolder) -> Any:
    parse = declared.metadata["parse"]
    try:
        if parse is FOLDER_OR_URL[0] and (url := object_url(text)):
            return url
        if parse in {Path, FOLDER_OR_URL[0]}:
            here = source.startswith((FLAG, ENVIRONMENT))
            return absolute(text, None if here else project.root)
        return parse(text)
    except NotOnThisMachine as error:
        if source.startswith(FLAG):
            raise
        name = declared.metadata["variable"]
        raise InvalidSetting(f"{name} (from {source}): {error.message}", hint=error.hint) from None
    except (ValueError, UsageError):
        # Anything but a word or a number may be a secret in the wrong place.
        shown = (
            f" has the invalid value {text!r}"
            if _PLAIN_VALUE.fullmatch(text)
            else " has an invalid value"
        )
        what = f"{shown}."
        hint = f"Allowed: {declared.metadata['allowed']}."
        if source.startswith(FLAG):
            raise InvalidFlag(f"{source.removeprefix(f'{FLAG} ')}{what}", hint=hint) from None
        name = declared.metadata["variable"]
        raise InvalidSetting(f"{name} (from {source}){what}", hint=hint) from None


def _refuse_contradictions(settings: Settings) -> None:
    if settings.pool_min > settings.pool_max:
        raise InvalidSetting(
            f"DATABASE_POOL_MIN is {settings.pool_min} (from {settings.source('pool_min')}), more "
            f"than DATABASE_POOL_MAX, {settings.pool_max} (from {settings.source('pool_max')}).",
            hint="Make the minimum at most the maximum.",
        )
    if settings.env and settings.env not in settings.environments:
        raise UnknownEnvironment(
            f"There is no environment {settings.env!r} (from {settings.source('env')}).",
            hint=_suggest(
                settings.env, settings.environments, "Declare it as [env.NAME] in leadctl.toml"
            ),
        )
    for fleet in settings.fleets.values():
        _refuse_contradictory_fleet(settings, fleet)


def _refuse_contradictory_fleet(settings: Settings, fleet: FleetConfig) -> None:
    where = f"[fleet.{fleet.name}] in {os.path.relpath(settings.config_file or 'leadctl.toml')}"
    ways = [name for name in ("schemas", "query", "databases") if getattr(fleet, name)]
    if len(ways) > 1:
        raise InvalidSetting(
            f"{where} has {' and '.join(ways)}.", hint=f"Keep one of them: {', '.join(ways)}."
        )
    if not ways and not fleet.envs:
        raise InvalidSetting(
            f"{where} does not say what its targets are.",
            hint='Add schemas = "tenant_*", query = "SELECT …", databases = "shop_*" or '
            'envs = ["eu", "us"].',
        )
    for name in fleet.envs:
        if name not in settings.environments:
            raise UnknownEnvironment(
                f"{where} names an environment that does not exist: {name!r}.",
                hint=_suggest(name, settings.environments, "Declare it as [env.NAME]"),
            )


def _named(project: ProjectFolder, table: str, kind: type[Named]) -> dict[str, Named]:
    """Return the tables `[TABLE.NAME]` by name, each as the record that it fills."""
    name_field = {next(iter(kind.__annotations__))}
    return {
        name: kind(name, **_fields(project, f"{table}.{name}", values, kind, without=name_field))
        for name, values in _table(project, table).items()
    }


def declared_apps(project: ProjectFolder) -> dict[str, AppConfig]:
    """Return the apps that a configuration file declares as [apps.NAME], by name.

    Raises a ConfigurationError that names the table and what is wrong with it.
    """
    apps = {}
    for name, table in _table(project, "apps").items():
        if isinstance(table, Mapping) and table.keys() == {"retention"}:
            continue  # rules for an app that is declared elsewhere
        entry, without = f"apps.{name}", ("name", "root")
        values = _fields(
            project, entry, table, AppConfig, without=without, read_elsewhere=("retention",)
        )
        if not {"models", "migrations"} & values.keys():
            raise InvalidSetting(
                f"[apps.{name}] in {_file_name(project)} does not say where its models are.",
                hint='Add models = "package.module:Base", or migrations = "folder of env.py".',
            )
        values.setdefault("migrations", project.root / "migrations")
        apps[name] = AppConfig(name, project.root, **values)
    return apps


def _app_rules(project: ProjectFolder) -> dict[str, tuple[Rule, ...]]:
    """Return the rules of `[[apps.NAME.retention]]`, by app."""
    needs = [name for name in Rule._fields if name not in Rule._field_defaults]
    found: dict[str, tuple[Rule, ...]] = {}
    for name, table in _table(project, "apps").items():
        entry = f"apps.{name}.retention"
        tables = table.get("retention", [])
        if not isinstance(tables, list):
            raise InvalidSetting(
                f"retention of [apps.{name}] in {_file_name(project)} is not a list.",
                hint=f"Write each rule as [[{entry}]].",
            )
        rules = [_fields(project, entry, each, Rule, without=()) for each in tables]
        for missing in ([need for need in needs if need not in rule] for rule in rules):
            if missing:
                raise InvalidSetting(
                    f"A rule of [[{entry}]] in {_file_name(project)} lacks: {', '.join(missing)}.",
                    hint=f"A rule needs: {', '.join(needs)}.",
                )
        found[name] = tuple(Rule(**rule) for rule in rules)
    return found


def _fields(
    project: ProjectFolder,
    entry: str,
    table: Any,
    kind: type[Any],
    *,
    without: Collection[str],
    read_elsewhere: Collection[str] = (),
) -> dict[str, Any]:
    """Return the values of a table by the fields of the record that it fills.

    `without` are fields that it does not have, `read_elsewhere` are keys that somebody else reads.
    """
    if not isinstance(table, Mapping):
        raise InvalidSetting(
            f"{entry} in {_file_name(project)} is not a table.",
            hint=f"Write it as [{entry}].",
        )
    types = kind.__annotations__
    own = types.keys() - set(without)
    _refuse_unknown(project, f"[{entry}] in ", table, {*own, *read_elsewhere})
    return {
        key: _value(project, f"{key} of [{entry}]", value, types[key])
        for key, value in table.items()
        if key in own
    }


_KINDS: Mapping[Any, tuple[type | tuple[type, ...], str]] = {
    str: (str, "a text"),
    Secret: (str, "a text"),
    Path: (str, "a text"),
    bool: (bool, "true or false"),
    int: (int, "a whole number"),
    float: ((int, float), "a number"),
    tuple: (list, "a list"),
}


def _value(project: ProjectFolder, what: str, given: Any, declared: Any) -> Any:
    """Return a value as a field of this type has it."""
    plain = get_origin(declared) or declared
    if plain not in _KINDS:  # str | None, str | Interval
        plain = get_args(declared)[0]
    accepted, kind = _KINDS[plain]
    if not isinstance(given, accepted) or (isinstance(given, bool) and plain is not bool):
        raise InvalidSetting(
            f"{what} in {_file_name(project)} is not {kind}.", hint=f"Allowed is {kind}."
        )
    value: Any = given
    if plain is Path:
        return _folder(project, what, value)
    if plain is tuple:
        return tuple(map(str, value))
    return Secret(value) if plain is Secret else value


def _folder(project: ProjectFolder, what: str, path: str) -> Path:
    package = package_folder(path, [str(project.root)]) if ":" in path else None
    try:
        return package or absolute(path, project.root)
    except UsageError as error:
        raise InvalidSetting(
            f"{what} in {_file_name(project)}: {error.message}", hint=error.hint
        ) from None


def _table(project: ProjectFolder, name: str) -> Mapping[str, Any]:
    _refuse_unknown(project, "", project.config, _AT_THE_TOP | _TABLES)
    table = project.config.get(name, {})
    if not isinstance(table, Mapping):
        raise InvalidSetting(
            f"{name} in {_file_name(project)} is not a table.", hint=f"Write it as [{name}.NAME]."
        )
    return table


def _refuse_unknown(
    project: ProjectFolder, entry: str, table: Mapping[str, Any], known: Collection[str]
) -> None:
    for key in table:
        if key not in known:
            raise UnknownSetting(
                f"{entry}{_file_name(project)} has a key that leadctl does not know: {key}",
                hint=_suggest(key, known, "Remove it"),
            )


def _libpq(layers: list[Layer]) -> dict[str, str]:
    found: dict[str, str] = {}
    for layer in reversed(layers):
        found |= {name: value for name, value in layer.values.items() if name.startswith("PG")}
    return found


def _file_name(project: ProjectFolder) -> str:
    return os.path.relpath(project.config_file or "leadctl.toml")


def _suggest(word: str, known: Collection[str], otherwise: str) -> str:
    names = ", ".join(sorted(known)) or "none"
    return did_you_mean(word, known, f"{otherwise}. Known: {names}.")
