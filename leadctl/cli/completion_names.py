"""The names that a shell completes, found quickly and without changing anything."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from leadctl.apps.registry import all_apps, find_app
from leadctl.backup.configured import known_folder
from leadctl.catalog.relations import relation_names
from leadctl.migrate.revisions import read_history
from leadctl.postgres.connect import connect
from leadctl.postgres.embedded import server
from leadctl.postgres.embedded.home import Home
from leadctl.postgres.target import resolve
from leadctl.settings import Settings

_SECONDS = 2
"""How long somebody who pressed a key waits for a database."""


def apps(settings: Settings) -> Sequence[str]:
    """Return the built-in apps and those that leadctl.toml declares."""
    return sorted(all_apps(settings))


def environments(settings: Settings) -> Sequence[str]:
    """Return the environments of leadctl.toml."""
    return sorted(settings.environments)


def revisions(settings: Settings) -> Sequence[str]:
    """Return the app's revisions, the newest first; none is applied or imported."""
    history = read_history(find_app(settings).migrations)
    return [revision.id for revision in reversed(history.revisions)]


def tables(settings: Settings) -> Sequence[str]:
    """Return the tables and views of the target's schema.

    No server is started for that, and no command run for a URL.  Raises what connecting raises.
    """
    environment = settings.environment
    if environment is not None and environment.url_command:
        return []
    home = Home.of(settings.project)
    if not (settings.url or environment) and home.exists and not server.status(home).running:
        return []
    target = replace(resolve(settings, app=settings.app), connect_timeout=_SECONDS)
    with connect(target, "complete", read_only=True, statement_timeout=_SECONDS) as connection:
        return relation_names(connection, target.schema)


def backups(settings: Settings) -> Sequence[str]:
    """Return the ids of the backups in the configured folder, the newest first."""
    folder = known_folder(settings)
    found = [backup.id for backup in folder.backups()] if folder else []
    return ["latest", *found] if found else []


NAMES: Mapping[str, Callable[[Settings], Sequence[str]]] = {
    "app": apps,
    "env": environments,
    "revision": revisions,
    "table": tables,
    "backup": backups,
}
"""What finds the names of each kind of thing."""
