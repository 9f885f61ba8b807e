"""One frozen `Settings`: every value typed, checked, and with the place it came from."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from leadctl.redact import Secret
from leadctl.settings.duration import ALLOWED as DURATION
from leadctl.settings.duration import parse_seconds
from leadctl.settings.sources import DEFAULT

Parse = Callable[[str], Any]

DEFAULT_APP = "leadconnector"
LIBPQ_TARGET = frozenset({"PGHOST", "PGSERVICE", "PGDATABASE"})
"""The variables of libpq that name a database as a URL does."""
OUTPUTS = ("table", "json", "csv", "jsonl", "nagios", "prometheus", "mermaid", "sql")


def _text(value: str) -> str:
    return value


def _flag(value: str) -> bool:
    lowered = value.strip().lower()
    if lowered in {"1", "true", "yes", "on"}:
        return True
    if lowered in {"", "0", "false", "no", "off"}:
        return False
    raise ValueError


def _count(value: str) -> int:
    number = int(value)
    if number < 1:
        raise ValueError
    return number


def _number(value: str) -> int:
    number = int(value)
    if number < 0:
        raise ValueError
    return number


def _output(value: str) -> str:
    if value not in OUTPUTS:
        raise ValueError
    return value


def setting(
    variable: str, parse: Parse, *, help: str, default: Any = None, allowed: str = "text"
) -> Any:
    """Declare a setting: its variable, how its text is read, what is allowed, what it is for."""
    metadata = {"variable": variable, "parse": parse, "help": help, "allowed": allowed}
    return field(default=default, metadata=metadata)


@dataclass(frozen=True)
class EnvironmentConfig:
    """`[env.NAME]` of leadctl.toml: one named database."""

    name: str
    url: Secret | None = None
    url_command: str | None = None
    """A shell command that prints the URL, or the password for `url`."""
    protected: bool = False
    role: str | None = None
    schema: str | None = None
    replica: Secret | None = None
    """The URL of a standby that is read instead, where reading is all that is done."""


@dataclass(frozen=True)
class HealthConfig:
    """`[health.CHECK]` of leadctl.toml: the thresholds of one check, None for its own ones."""

    check: str
    warning: float | None = None
    critical: float | None = None


@dataclass(frozen=True)
class AppConfig:
    """`[apps.NAME]` of leadctl.toml: a team's own models, an equal of the built-in apps."""

    name: str
    root: Path
    """The folder that its modules are imported from and its paths are relative to."""
    migrations: Path
    models: str | None = None
    """`package.module:Base`, or anything else that has a `metadata`; None where the env.py of
    the migrations says it."""
    seed: str | None = None
    """`package.module:FIXTURES`, or a function that is handed a session."""
    seed_files: Path | None = None
    """A folder of YAML, JSON, CSV and SQL files."""
    reports: str | None = None
    """`package.module:REPORTS`."""
    rules: str | None = None
    """`package.module:RULES`, the retention rules."""
    factory: str | None = None
    """`package.module:FACTORY`, the shapes of synthetic rows."""
    schema: str | None = None
    schemas: tuple[str, ...] = ()
    """Schemas that the models name, beside that one."""


@dataclass(frozen=True)
class Settings:
    """What leadctl was told, by flags, environment, `.env` files and leadctl.toml, in that order.

    `sources[name]` says where the value of the field `name` came from.
    """

    app: str = setting(
        "LEADCTL_APP",
        _text,
        default=DEFAULT_APP,
        allowed="an app's name",
        help="The app whose models, migrations and fixtures are used.",
    )
    env: str | None = setting(
        "LEADCTL_ENV",
        _text,
        allowed="the name of an [env.NAME] in leadctl.toml",
        help="The environment of leadctl.toml to act on.",
    )
    url: Secret | None = setting(
        "DATABASE_URL",
        Secret,
        allowed="a PostgreSQL URL",
        help="The database: a libpq, SQLAlchemy or Prisma URL. Unset: the embedded server.",
    )
    direct_url: Secret | None = setting(
        "DIRECT_URL",
        Secret,
        allowed="a PostgreSQL URL",
        help="The same database without a pooler in between; leadctl itself uses it where set.",
    )
    schema: str | None = setting(
        "LEADCTL_SCHEMA",
        _text,
        allowed="a schema's name",
        help='The schema that the app lives in. Unset: the URL\'s schema=, else "public".',
    )
    pool_min: int = setting(
        "DATABASE_POOL_MIN",
        _count,
        default=2,
        allowed="a whole number from 1 up",
        help="Connections that a host application's engine keeps open.",
    )
    pool_max: int = setting(
        "DATABASE_POOL_MAX",
        _count,
        default=10,
        allowed="a whole number from 1 up",
        help="Connections that a host application's engine opens at most.",
    )
    connect_timeout: float = setting(
        "LEADCTL_CONNECT_TIMEOUT",
        parse_seconds,
        default=10.0,
        allowed=DURATION,
        help="How long to wait for the server when connecting.",
    )
    lock_wait: float = setting(
        "LEADCTL_LOCK_WAIT",
        parse_seconds,
        default=60.0,
        allowed=DURATION,
        help="How long to wait for another run that holds the lock on the target.",
    )
    lock_timeout: float = setting(
        "LEADCTL_LOCK_TIMEOUT",
        parse_seconds,
        default=3.0,
        allowed=DURATION,
        help="How long one statement of a revision may wait for a lock on a table.",
    )
    statement_timeout: float | None = setting(
        "LEADCTL_STATEMENT_TIMEOUT",
        parse_seconds,
        allowed=DURATION,
        help="How long one statement of a revision may take. Unset: as long as it takes.",
    )
    encryption_key: Secret | None = setting(
        "ENCRYPTION_KEY",
        Secret,
        allowed="64 hexadecimal digits",
        help="The key of encrypted columns: 32 bytes as hexadecimal digits.",
    )
    encryption_keys: Secret | None = setting(
        "ENCRYPTION_KEYS",
        Secret,
        allowed="label:hex,label:hex,…",
        help="Several keys, label:hex,label:hex; the first encrypts, all decrypt.",
    )
    encryption_key_file: str | None = setting(
        "ENCRYPTION_KEY_FILE",
        _text,
        allowed="a file's path",
        help="A file of keys, label:hex one a line, that only its owner may read.",
    )
    encryption_key_command: str | None = setting(
        "ENCRYPTION_KEY_COMMAND",
        _text,
        allowed="a shell command",
        help="A command that prints keys, label:hex one a line: a vault's or a cloud's client.",
    )
    archive_dir: str = setting(
        "LEADCTL_ARCHIVE_DIR",
        _text,
        default="archives",
        allowed="a folder's path",
        help="The folder that cleanup archives to where a rule asks for it.",
    )
    backup_dir: str = setting(
        "BACKUP_DIR",
        _text,
        default="backups",
        allowed="a folder's path",
        help="The folder of backups.",
    )
    backup_recipients: str | None = setting(
        "BACKUP_RECIPIENTS",
        _text,
        allowed="age or SSH public keys, separated by commas",
        help="The public keys that backups are encrypted to. Unset: backups are plain.",
    )
    backup_identity_file: str | None = setting(
        "BACKUP_IDENTITY_FILE",
        _text,
        allowed="a file's path",
        help="The file of the private key that reads encrypted backups.",
    )
    backup_keep_daily: int = setting(
        "BACKUP_KEEP_DAILY",
        _number,
        default=7,
        allowed="a whole number from 0 up",
        help="Days of which prune keeps the newest backup.",
    )
    backup_keep_weekly: int = setting(
        "BACKUP_KEEP_WEEKLY",
        _number,
        default=4,
        allowed="a whole number from 0 up",
        help="Weeks of which prune keeps the newest backup.",
    )
    backup_keep_monthly: int = setting(
        "BACKUP_KEEP_MONTHLY",
        _number,
        default=12,
        allowed="a whole number from 0 up",
        help="Months of which prune keeps the newest backup.",
    )
    backup_keep_minimum: int = setting(
        "BACKUP_KEEP_MINIMUM",
        _count,
        default=3,
        allowed="a whole number from 1 up",
        help="The newest backups that prune always keeps.",
    )
    backup_on_success: str | None = setting(
        "BACKUP_ON_SUCCESS",
        _text,
        allowed="a shell command",
        help="A command that runs after a backup, with the facts in LEADCTL_BACKUP_… variables.",
    )
    backup_on_failure: str | None = setting(
        "BACKUP_ON_FAILURE",
        _text,
        allowed="a shell command",
        help="A command that runs when a backup failed, with the reason in LEADCTL_BACKUP_ERROR.",
    )
    output: str = setting(
        "LEADCTL_OUTPUT",
        _output,
        default="table",
        allowed=", ".join(OUTPUTS),
        help="The format of results.",
    )
    log_sql: bool = setting(
        "LEADCTL_LOG_SQL",
        _flag,
        default=False,
        allowed="1 or 0",
        help="Log every statement with its time to standard error; parameters stay hidden.",
    )
    project: Path = field(default_factory=Path.cwd)
    """The folder of leadctl.toml, else the current one."""
    config_file: Path | None = None
    environments: Mapping[str, EnvironmentConfig] = field(default_factory=dict)
    apps: Mapping[str, AppConfig] = field(default_factory=dict)
    health: Mapping[str, HealthConfig] = field(default_factory=dict)
    app_rules: Mapping[str, tuple[Mapping[str, Any], ...]] = field(default_factory=dict)
    """`[[apps.NAME.retention]]` by app: retention rules beside those of the app's own code."""
    retention: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """`[retention.RULE]` by rule: what is otherwise than the rule says."""
    libpq: Mapping[str, str] = field(default_factory=dict)
    """libpq's own variables (PGHOST and so on), from the environment and the `.env` files."""
    sources: Mapping[str, str] = field(default_factory=dict)

    def source(self, name: str) -> str:
        """Say where the value of a setting came from."""
        return self.sources.get(name, DEFAULT)

    @property
    def embedded(self) -> bool:
        """Whether nothing names a database, so that the embedded server is the target."""
        return self.url is None and self.env is None and not LIBPQ_TARGET & self.libpq.keys()

    @property
    def environment(self) -> EnvironmentConfig | None:
        """The `[env.NAME]` that was chosen, if one was."""
        return self.environments[self.env] if self.env else None
