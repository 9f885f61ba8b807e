"""What leadctl's env.py does under plain Alembic: the same lock, timeouts and records."""

import sys
from typing import Any

from leadctl.apps.registry import find_app, load_metadata
from leadctl.journal import state
from leadctl.journal.lock import schema_lock
from leadctl.migrate.recorder import Execution
from leadctl.migrate.revisions import read_history
from leadctl.migrate.up import refuse_other_apps
from leadctl.postgres.connect import Timeouts, connect
from leadctl.postgres.engine import run_engine
from leadctl.postgres.provision import ensure_schema
from leadctl.postgres.target import resolve
from leadctl.settings import load_settings

_APP_OPTION = "leadctl_app"
"""The option of alembic.ini that names the app; without it, the settings do."""


def run(context: Any) -> None:
    """Run what the `alembic` command asked for; `context` is the module `alembic.context`.

    Raises what `leadctl migrate` raises for the target, the lock and the schema.
    """
    settings = load_settings({"app": context.config.get_main_option(_APP_OPTION)})
    app = find_app(settings)
    target = resolve(settings, app=app.name, narrate=_narrate)
    metadata = load_metadata(app)
    if context.is_offline_mode():
        context.configure(dialect_name="postgresql", target_metadata=metadata, literal_binds=True)
        with context.begin_transaction():
            context.run_migrations()
        return
    with schema_lock(target, "alembic", settings.lock_wait, _narrate):
        with connect(target, "alembic") as connection:
            refuse_other_apps(connection, target, app)
            ensure_schema(connection, target, _narrate)
            state.ensure(connection, target)
        with run_engine(target, "alembic").connect() as connection:
            execution = Execution(
                connection,
                app,
                read_history(app.migrations),
                target.schema,
                Timeouts(settings.lock_wait, settings.lock_timeout, settings.statement_timeout),
            )
            execution.begin()
            context.configure(
                connection=connection,
                target_metadata=metadata,
                transaction_per_migration=True,
                on_version_apply=execution.on_version_apply,
                compare_server_default=True,
            )
            with context.begin_transaction():
                context.run_migrations()


def _narrate(message: str) -> None:
    sys.stderr.write(f"{message}\n")
