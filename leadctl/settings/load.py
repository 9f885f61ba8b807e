"""Loading: the sources are laid over each other and every value is checked."""

import os
from collections.abc import Mapping
from dataclasses import Field, fields
from pathlib import Path
from typing import Any

from leadctl.errors import InvalidFlag, InvalidSetting, UnknownEnvironment, UnknownSetting
from leadctl.redact import Secret
from leadctl.settings.model import AppConfig, EnvironmentConfig, HealthConfig, Settings
from leadctl.settings.sources import Layer, Project, find_project, variable_layers
from leadctl.text import did_you_mean

FLAG = "flag"

_SCALARS = {"app", "schema", "connect_timeout", "lock_wait", "lock_timeout", "statement_timeout"}
"""The settings that leadctl.toml may hold at its top."""
_BACKUP = "backup"
"""The table of leadctl.toml whose keys are the settings that begin with its name."""


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
    for declared in _declared():
        found = _find(declared, flags or {}, layers, project)
        if found is not None:
            text, source = found
            values[declared.name] = _parse(declared, text, source)
            sources[declared.name] = source
    apps = declared_apps(project)
    if "app" not in values and len(apps) == 1:
        values["app"], sources["app"] = next(iter(apps)), _file_name(project)
    settings = Settings(
        **values,
        project=project.root,
        config_file=project.config_file,
        environments=_environments(project),
        apps=apps,
        health=_health(project),
        app_rules=_app_rules(project),
        retention=_retention(project),
        libpq=_libpq(layers),
        sources=sources,
    )
    return _settle(settings)


def _declared() -> list[Field[Any]]:
    return [declared for declared in fields(Settings) if "variable" in declared.metadata]


def _find(
    declared: Field[Any], flags: Mapping[str, str | None], layers: list[Layer], project: Project
) -> tuple[str, str] | None:
    flag = flags.get(declared.name)
    if flag is not None:
        return flag, f"{FLAG} --{declared.name.replace('_', '-')}"
    for layer in layers:
        if layer.values.get(declared.metadata["variable"]):
            return layer.values[declared.metadata["variable"]], layer.name
    if declared.name in _SCALARS and declared.name in project.config:
        return str(project.config[declared.name]), _file_name(project)
    table, _, key = declared.name.partition("_")
    if table == _BACKUP and key in _backup(project):
        return _backup(project)[key], f"[{_BACKUP}] in {_file_name(project)}"
    return None


def _backup(project: Project) -> dict[str, str]:
    """Return the table `[backup]`, its values as the texts that variables have."""
    table = _table(project, _BACKUP)
    names = [field.name.partition("_") for field in _declared()]
    allowed = [key for prefix, _, key in names if prefix == _BACKUP]
    for key in table:
        if key not in allowed:
            raise UnknownSetting(
                f"[{_BACKUP}] in {_file_name(project)} has a key that leadctl does not know: {key}",
                hint=_suggest(key, allowed, "Remove it"),
            )
    return {
        key: ",".join(map(str, value)) if isinstance(value, list) else str(value)
        for key, value in table.items()
    }


def _parse(declared: Field[Any], text: str, source: str) -> Any:
    try:
        return declared.metadata["parse"](text)
    except ValueError:
        shown = "" if declared.metadata["parse"] is Secret else f" is {text!r}, which"
        name = declared.metadata["variable"]
        hint = f"Allowed is {declared.metadata['allowed']}."
        if source.startswith(FLAG):
            flag = source.removeprefix(f"{FLAG} ")
            raise InvalidFlag(
                f"{flag}{shown} is not a value that it can have.", hint=hint
            ) from None
        raise InvalidSetting(
            f"{name} (from {source}){shown} is not a value that it can have.", hint=hint
        ) from None


def _settle(settings: Settings) -> Settings:
    """Resolve what depends on more than one setting."""
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
    return settings


def _environments(project: Project) -> dict[str, EnvironmentConfig]:
    tables = _table(project, "env")
    return {
        name: EnvironmentConfig(name=name, **_fields(project, f"env.{name}", table, _ENV_FIELDS))
        for name, table in tables.items()
    }


def declared_apps(project: Project) -> dict[str, AppConfig]:
    """Return the apps that a configuration file declares as [apps.NAME], by name.

    Raises a ConfigurationError that names the table and what is wrong with it.
    """
    apps = {}
    for name, table in _table(project, "apps").items():
        if isinstance(table, Mapping) and table.keys() == {"retention"}:
            continue  # rules for an app that is declared elsewhere
        values = _fields(project, f"apps.{name}", table, _APP_FIELDS)
        values.pop("retention", None)
        if not {"models", "migrations"} & values.keys():
            raise InvalidSetting(
                f"[apps.{name}] in {_file_name(project)} does not say where its models are.",
                hint='Add models = "package.module:Base", or migrations = "folder of env.py".',
            )
        values.setdefault("migrations", "migrations")
        for declared in fields(AppConfig):
            if declared.name in values and declared.type in {Path, Path | None}:
                values[declared.name] = project.root / values[declared.name]
        values["schemas"] = tuple(map(str, values.get("schemas", ())))
        apps[name] = AppConfig(name=name, root=project.root, **values)
    return apps


def _health(project: Project) -> dict[str, HealthConfig]:
    return {
        name: HealthConfig(check=name, **_fields(project, f"health.{name}", table, _HEALTH_FIELDS))
        for name, table in _table(project, "health").items()
    }


_ENV_FIELDS: Mapping[str, type] = {
    "url": Secret,
    "url_command": str,
    "protected": bool,
    "role": str,
    "schema": str,
    "replica": Secret,
}
_HEALTH_FIELDS: Mapping[str, type] = {"warning": float, "critical": float}
_APP_FIELDS: Mapping[str, type] = {
    field.name: list if field.name == "schemas" else str
    for field in fields(AppConfig)
    if field.name not in {"name", "root"}
} | {"retention": list}
_OVERRIDES: Mapping[str, type] = {
    "older_than": str,
    "condition": str,
    "archive": bool,
    "max_rows": int,
    "fuse_share": float,
    "fuse_rows": int,
    "enabled": bool,
}
_RULE_FIELDS: Mapping[str, type] = {
    **dict.fromkeys(("name", "table", "age_column", "description"), str),
    "expiry": bool,
    **_OVERRIDES,
}
_RULE_NEEDS = ("name", "table", "age_column", "older_than")
_KINDS: Mapping[type, tuple[type | tuple[type, ...], str]] = {
    str: (str, "a text"),
    bool: (bool, "true or false"),
    int: (int, "a whole number"),
    float: ((int, float), "a number"),
    list: (list, "a list"),
}


def _app_rules(project: Project) -> dict[str, tuple[Mapping[str, Any], ...]]:
    """Return the rules of `[[apps.NAME.retention]]`, by app."""
    found: dict[str, tuple[Mapping[str, Any], ...]] = {}
    for name, table in _table(project, "apps").items():
        place = f"apps.{name}.retention"
        rules = [_fields(project, place, rule, _RULE_FIELDS) for rule in table.get("retention", [])]
        for rule in rules:
            missing = [field for field in _RULE_NEEDS if field not in rule]
            if missing:
                raise InvalidSetting(
                    f"A rule of [[{place}]] in {_file_name(project)} lacks: {', '.join(missing)}.",
                    hint=f"A rule needs: {', '.join(_RULE_NEEDS)}.",
                )
        found[name] = tuple(rules)
    return found


def _retention(project: Project) -> dict[str, Mapping[str, Any]]:
    """Return what `[retention.RULE]` overrides, by rule."""
    return {
        name: _fields(project, f"retention.{name}", table, _OVERRIDES)
        for name, table in _table(project, "retention").items()
    }


def _fields(
    project: Project, place: str, table: Any, allowed: Mapping[str, type]
) -> dict[str, Any]:
    if not isinstance(table, Mapping):
        raise InvalidSetting(
            f"{place} in {_file_name(project)} is not a table.", hint=f"Write it as [{place}]."
        )
    values: dict[str, Any] = {}
    for key, value in table.items():
        if key not in allowed:
            raise UnknownSetting(
                f"[{place}] in {_file_name(project)} has a key that leadctl does not know: {key}",
                hint=_suggest(key, allowed, "Remove it"),
            )
        plain = str if allowed[key] is Secret else allowed[key]
        accepted, kind = _KINDS[plain]
        if not isinstance(value, accepted) or (isinstance(value, bool) and plain is not bool):
            raise InvalidSetting(
                f"{key} of [{place}] in {_file_name(project)} is not {kind}.",
                hint=f"Allowed is {kind}.",
            )
        values[key] = Secret(str(value)) if allowed[key] is Secret else value
    return values


def _table(project: Project, name: str) -> Mapping[str, Any]:
    known = _SCALARS | {"env", "apps", "retention", "health", _BACKUP}
    for key in project.config:
        if key not in known:
            raise UnknownSetting(
                f"{_file_name(project)} has a key that leadctl does not know: {key}",
                hint=_suggest(key, known, "Remove it"),
            )
    table = project.config.get(name, {})
    if not isinstance(table, Mapping):
        raise InvalidSetting(
            f"{name} in {_file_name(project)} is not a table.", hint=f"Write it as [{name}.NAME]."
        )
    return table


def _libpq(layers: list[Layer]) -> dict[str, str]:
    found: dict[str, str] = {}
    for layer in reversed(layers):
        found |= {name: value for name, value in layer.values.items() if name.startswith("PG")}
    return found


def _file_name(project: Project) -> str:
    return os.path.relpath(project.config_file or "leadctl.toml")


def _suggest(word: str, known: Any, otherwise: str) -> str:
    names = ", ".join(sorted(known)) or "none"
    return did_you_mean(word, known, f"{otherwise}; known: {names}.")
