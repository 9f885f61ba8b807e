"""The effective settings, each with its source; secrets stay hidden."""

import re
from dataclasses import dataclass, fields
from pathlib import Path

from leadctl.crypto import Keyring
from leadctl.errors import LeadctlError
from leadctl.postgres.target import NamedTarget, named_target
from leadctl.redact import HIDDEN, Secret, scrub
from leadctl.settings import Settings
from leadctl.settings.url import parse_url

_PUBLIC_KEY = re.compile(r"age1[a-z0-9]+|(ssh-|ecdsa-|sk-)\S+ \S+( \S+)?")
_COMMANDS = ("_command", "_on_success", "_on_failure")
_PROGRAM = re.compile(r"[\w./+-]+")
_NAME = re.compile(r"[^\W\d][\w .-]{0,62}")


@dataclass(frozen=True)
class EffectiveSetting:
    """One setting: its variable, the value as it may be shown, and where it came from."""

    name: str
    variable: str
    value: str | int | float | bool | None
    source: str
    help: str


@dataclass(frozen=True)
class EffectiveConfig:
    """All settings of this run."""

    project: Path
    config_file: Path | None
    environments: tuple[str, ...]
    apps: tuple[str, ...]
    computed: tuple[str, ...]
    """Apps whose env.py every command runs, since its text says no version table or folders."""
    target: NamedTarget
    keys: tuple[str, ...]
    """Label and fingerprint of each encryption key; the first encrypts.  No command is run."""
    settings: tuple[EffectiveSetting, ...]


def effective_config(
    settings: Settings, apps: tuple[str, ...], computed: tuple[str, ...], keyring: Keyring
) -> EffectiveConfig:
    """Describe the settings."""
    target = named_target(settings, settings.app)
    return EffectiveConfig(
        project=settings.project,
        config_file=settings.config_file,
        environments=tuple(settings.environments),
        apps=apps,
        computed=computed,
        target=target._replace(schema=_public("schema", target.schema)),
        keys=(
            *(f"{key.label} {key.fingerprint}" for key in keyring.keys),
            *(["those of ENCRYPTION_KEY_COMMAND"] if settings.encryption_key_command else []),
        ),
        settings=tuple(
            EffectiveSetting(
                name=declared.name,
                variable=declared.metadata["variable"],
                value=_shown(settings, declared.name),
                source=settings.source(declared.name),
                help=declared.metadata["help"],
            )
            for declared in fields(Settings)
            if "variable" in declared.metadata
        ),
    )


def _shown(settings: Settings, name: str) -> str | int | float | bool | None:
    value = getattr(settings, name)
    if name == "app" and not settings.names_app:
        return None
    if isinstance(value, Secret):
        if name not in {"url", "direct_url"}:
            return HIDDEN
        try:
            return parse_url(value.reveal()).redacted()
        except LeadctlError as error:
            return f"invalid: {error.message}"
    if value is None or isinstance(value, int | float):
        return value
    if isinstance(value, Path):
        inside = value.is_relative_to(settings.project)
        return scrub(str(value.relative_to(settings.project) if inside else value))
    return _public(name, str(value))


def _public(name: str, text: str) -> str:
    """Return of a text what anybody may see: a name, the program of a command, a public key."""
    if name == "backup_recipients":
        keys = [key.strip() for key in text.split(",")]
        return ",".join(key if _PUBLIC_KEY.fullmatch(key) else HIDDEN for key in keys)
    if name.endswith(_COMMANDS):
        program, _, arguments = text.strip().partition(" ")
        program = scrub(program) if _PROGRAM.fullmatch(program) else HIDDEN
        return f"{program} …" if arguments else program
    return text if _NAME.fullmatch(text) else HIDDEN
