"""One frozen `Settings`: every value typed, checked, and with the place it came from.

The dataclasses here are also the tables of leadctl.toml: a table's keys are the fields of its
class, and a field's type is what its value may be.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from leadctl.files import ObjectUrl, object_url
from leadctl.redact import Secret
from leadctl.settings.durations import DURATION, Interval, parse_interval, parse_seconds
from leadctl.settings.sources import DEFAULT, FLAG

DEFAULT_APP = "leadconnector"
LIBPQ_TARGET = frozenset({"PGHOST", "PGSERVICE", "PGDATABASE"})
"""The variables of libpq that name a database as a URL does."""
OUTPUTS = (
    "table",
    "json",
    "csv",
    "jsonl",
    "nagios",
    "prometheus",
    "mermaid",
    "sql",
    "sarif",
    "github",
)


def _flag(value: str) -> bool:
    lowered = value.strip().lower()
    if lowered in {"1", "true", "yes", "on"}:
        return True
    if lowered in {"", "0", "false", "no", "off"}:
        return False
    raise ValueError


def _at_least(least: int) -> Callable[[str], int]:
    def parse(value: str) -> int:
        number = int(value)
        if number < least:
            raise ValueError
        return number

    return parse


def _output(value: str) -> str:
    if value not in OUTPUTS:
        raise ValueError
    return value


Kind = tuple[Callable[[str], Any], str]
"""How a setting's text is read, and what is allowed.

A `Path` is resolved when settings are loaded: one of a flag or the environment from the current
folder, one of a file or a default from the project's; `~` is a home.
"""
_URL: Kind = (Secret, "a PostgreSQL URL")
_FOLDER: Kind = (Path, "a folder's path")
FOLDER_OR_URL: Kind = (
    lambda text: object_url(text) or Path(text),
    "a folder's path, s3://, gs:// or az://",
)
_FILE: Kind = (Path, "a file's path")
_COMMAND: Kind = (str, "a shell command")
_SECONDS: Kind = (parse_seconds, DURATION)
_COUNT: Kind = (_at_least(1), "a whole number from 1 up")
_NUMBER: Kind = (_at_least(0), "a whole number from 0 up")
_FLAG: Kind = (_flag, "1 or 0")


def setting(
    variable: str, kind: Kind, help: str, *, default: Any = None, toml: bool = False
) -> Any:
    """Declare a setting: its variable, its kind and what it is for.

    `toml` lets leadctl.toml have it at its top, by the field's name.
    """
    parse, allowed = kind
    metadata = {"variable": variable, "parse": parse, "help": help, "allowed": allowed}
    return field(default=default, metadata={**metadata, "toml": toml})


class EnvironmentConfig(NamedTuple):
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


class FleetConfig(NamedTuple):
    """`[fleet.NAME]` of leadctl.toml: the targets that one command acts on.

    Patterns are those of a shell: `tenant_*`.
    """

    name: str
    schemas: str | None = None
    """A pattern: each schema of the database that it matches is a target."""
    query: str | None = None
    """SQL whose one column names the schemas, whether they exist yet or not."""
    databases: str | None = None
    """A pattern: each database of the server that it matches is a target."""
    envs: tuple[str, ...] = ()
    """The [env.NAME] that are targets themselves, or in which the others are looked for."""
    exclude: tuple[str, ...] = ()
    """Patterns of what is no target."""


class HealthConfig(NamedTuple):
    """`[health.CHECK]` of leadctl.toml: the thresholds of one check, None for its own ones."""

    check: str
    warning: float | None = None
    critical: float | None = None


class Rule(NamedTuple):
    """Rows of `table` that are older than `older_than`, by `age_column`, and meet `condition`.

    A row whose age column is NULL is never due.  `[[apps.NAME.retention]]` of leadctl.toml has the
    same fields.
    """

    name: str
    table: str
    age_column: str
    older_than: str | Interval
    """How old: "90d", "6 months" or ISO 8601."""
    condition: str | None = None
    """An SQL condition on the table's own columns.  A subquery in it may name the table itself:
    cleanup gives the table no other name."""
    archive: bool = False
    """Whether rows are written to an archive before they are deleted."""
    description: str = ""
    expiry: bool = False
    """Whether the age column says when a row ends, so that an `older_than` of zero is meant."""
    max_rows: int | None = None
    """How many rows a run takes at most."""
    fuse_share: float = 0.5
    """The share of the table that a run may take without consent."""
    fuse_rows: int = 1000
    """So many rows may go without consent, whatever share they are."""
    enabled: bool = True

    @property
    def age(self) -> Interval:
        """`older_than` as an interval.  Raises ValueError where the text is not one."""
        found = self.older_than
        return found if isinstance(found, Interval) else parse_interval(found)


RULE_IDENTITY = frozenset({"name", "table", "age_column", "description", "expiry"})
"""The fields of a rule that `[retention.RULE]` cannot override: with others it is another rule."""


class AppConfig(NamedTuple):
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
    take_over: Path | None = None
    """A file of SQL that makes of another tool's tables those of the app."""
    schema: str | None = None
    schemas: tuple[str, ...] = ()
    """Schemas that the models name, next to that one."""
    unmanaged: tuple[str, ...] = ()
    """Objects that stay as they are whatever the models say, as `index people_lower_email`."""
    alembic: Path | None = None
    """The configuration file of an Alembic environment, where it is in no usual place."""
    alembic_section: str = "alembic"
    """The section of it that is read."""


@dataclass(frozen=True, eq=False, repr=False)
class Settings:
    """What leadctl was told, by flags, environment, `.env` files and leadctl.toml, in that order.

    `sources[name]` says where the value of the field `name` came from.
    """

    app: str = setting(
        "LEADCTL_APP",
        (str, "an app's name"),
        "The app whose models, migrations and fixtures are used.",
        default=DEFAULT_APP,
        toml=True,
    )
    env: str | None = setting(
        "LEADCTL_ENV",
        (str, "the name of an [env.NAME] in leadctl.toml"),
        "The environment of leadctl.toml to act on.",
    )
    url: Secret | None = setting(
        "DATABASE_URL",
        _URL,
        "The database: a libpq, SQLAlchemy or Prisma URL. Unset: the embedded server.",
    )
    direct_url: Secret | None = setting(
        "DIRECT_URL",
        _URL,
        "The same database without a pooler in between; leadctl itself uses it where set.",
    )
    schema: str | None = setting(
        "LEADCTL_SCHEMA",
        (str, "a schema's name"),
        'The schema that the app lives in. Unset: the URL\'s schema=, else "public".',
        toml=True,
    )
    pool_min: int = setting(
        "DATABASE_POOL_MIN",
        _COUNT,
        "Connections that a host application's engine keeps open.",
        default=2,
    )
    pool_max: int = setting(
        "DATABASE_POOL_MAX",
        _COUNT,
        "Connections that a host application's engine opens at most.",
        default=10,
    )
    connect_timeout: float = setting(
        "LEADCTL_CONNECT_TIMEOUT",
        _SECONDS,
        "How long to wait for the server when connecting.",
        default=10.0,
        toml=True,
    )
    lock_wait: float = setting(
        "LEADCTL_LOCK_WAIT",
        _SECONDS,
        "How long to wait for another run that holds the lock on the target.",
        default=60.0,
        toml=True,
    )
    lock_timeout: float = setting(
        "LEADCTL_LOCK_TIMEOUT",
        _SECONDS,
        "How long one statement of a revision may wait for a lock on a table.",
        default=3.0,
        toml=True,
    )
    statement_timeout: float | None = setting(
        "LEADCTL_STATEMENT_TIMEOUT",
        _SECONDS,
        "How long one statement of a revision may take. Unset: as long as it takes.",
        toml=True,
    )
    encryption_key: Secret | None = setting(
        "ENCRYPTION_KEY",
        (Secret, "64 hexadecimal digits"),
        "The key of encrypted columns: 32 bytes as hexadecimal digits.",
    )
    encryption_keys: Secret | None = setting(
        "ENCRYPTION_KEYS",
        (Secret, "label:hex,label:hex,…"),
        "Several keys, label:hex,label:hex; the first encrypts, all decrypt.",
    )
    encryption_key_file: Path | None = setting(
        "ENCRYPTION_KEY_FILE",
        _FILE,
        "A file of keys, label:hex one a line, that only its owner may read.",
    )
    encryption_key_command: str | None = setting(
        "ENCRYPTION_KEY_COMMAND",
        _COMMAND,
        "A command that prints keys, label:hex one a line: a vault's or a cloud's client.",
    )
    archive_dir: Path | ObjectUrl = setting(
        "LEADCTL_ARCHIVE_DIR",
        FOLDER_OR_URL,
        "Where cleanup archives, for rules that ask for it: a folder, s3://, gs:// or az://.",
        default=Path("archives"),
    )
    backup_dir: Path | ObjectUrl = setting(
        "BACKUP_DIR",
        FOLDER_OR_URL,
        "The folder of backups, or s3://bucket/prefix, gs://, az://.",
        default=Path("backups"),
    )
    backup_copy_to: Path | ObjectUrl | None = setting(
        "BACKUP_COPY_TO",
        FOLDER_OR_URL,
        "Where each new backup is copied to: another disk, s3://bucket/prefix, gs://, az://.",
    )
    backup_recipients: str | None = setting(
        "BACKUP_RECIPIENTS",
        (str, "age or SSH public keys, separated by commas"),
        "The public keys that backups are encrypted to. Unset: backups are plain.",
    )
    backup_identity_file: Path | None = setting(
        "BACKUP_IDENTITY_FILE", _FILE, "The file of the private key that reads encrypted backups."
    )
    backup_keep_daily: int = setting(
        "BACKUP_KEEP_DAILY", _NUMBER, "Days of which prune keeps the newest backup.", default=7
    )
    backup_keep_weekly: int = setting(
        "BACKUP_KEEP_WEEKLY", _NUMBER, "Weeks of which prune keeps the newest backup.", default=4
    )
    backup_keep_monthly: int = setting(
        "BACKUP_KEEP_MONTHLY", _NUMBER, "Months of which prune keeps the newest backup.", default=12
    )
    backup_keep_minimum: int = setting(
        "BACKUP_KEEP_MINIMUM", _COUNT, "The newest backups that prune always keeps.", default=3
    )
    backup_on_success: str | None = setting(
        "BACKUP_ON_SUCCESS",
        _COMMAND,
        "A command that runs after a backup, with the facts in LEADCTL_BACKUP_… variables.",
    )
    backup_on_failure: str | None = setting(
        "BACKUP_ON_FAILURE",
        _COMMAND,
        "A command that runs when a backup failed, with the reason in LEADCTL_BACKUP_ERROR.",
    )
    pitr_dir: Path = setting(
        "PITR_DIR",
        _FOLDER,
        "The folder of the archive for point in time: base backups and WAL, by Barman.",
        default=Path("pitr"),
    )
    pitr_keep_days: int = setting(
        "PITR_KEEP_DAYS",
        _COUNT,
        "Days that the archive for point in time goes back; pitr setup writes it down.",
        default=14,
    )
    output: str = setting(
        "LEADCTL_OUTPUT", (_output, ", ".join(OUTPUTS)), "The format of results.", default="table"
    )
    log_sql: bool = setting(
        "LEADCTL_LOG_SQL",
        _FLAG,
        "Log every statement with its time to standard error; parameters stay hidden.",
        default=False,
    )
    project: Path = field(default_factory=Path.cwd)
    """The folder of leadctl.toml, else the current one."""
    config_file: Path | None = None
    environments: Mapping[str, EnvironmentConfig] = field(default_factory=dict)
    apps: Mapping[str, AppConfig] = field(default_factory=dict)
    fleets: Mapping[str, FleetConfig] = field(default_factory=dict)
    health: Mapping[str, HealthConfig] = field(default_factory=dict)
    app_rules: Mapping[str, tuple[Rule, ...]] = field(default_factory=dict)
    """`[[apps.NAME.retention]]` by app: retention rules besides those of the app's own code."""
    retention: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """`[retention.RULE]` by rule: what is otherwise than the rule says."""
    libpq: Mapping[str, str] = field(default_factory=dict)
    """libpq's own variables (PGHOST and so on), from the environment and the `.env` files."""
    sources: Mapping[str, str] = field(default_factory=dict)

    def source(self, name: str) -> str:
        """Say where the value of a setting came from."""
        return self.sources.get(name, DEFAULT)

    def is_set(self, name: str) -> bool:
        """Whether anything but the default says what a setting is."""
        return name in self.sources

    @property
    def names_app(self) -> bool:
        """Whether it is known which app is meant: by a project, or by its name."""
        return self.config_file is not None or self.is_set("app")

    def is_flag(self, name: str) -> bool:
        """Whether a setting was given for this run, which is stronger than all else."""
        return self.source(name).startswith(FLAG)

    @property
    def embedded(self) -> bool:
        """Whether nothing names a database, so that the embedded server is the target."""
        return self.url is None and self.env is None and not LIBPQ_TARGET & self.libpq.keys()

    @property
    def environment(self) -> EnvironmentConfig | None:
        """The `[env.NAME]` that was chosen, if one was."""
        return self.environments[self.env] if self.env else None
