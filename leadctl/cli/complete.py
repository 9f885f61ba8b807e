"""Shell completion of what a project has: apps, environments, revisions, tables, backups.

The names are found quickly and without changing anything; where there are none, it is silent.
"""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    from leadctl.settings import Settings

_SETTINGS = ("app", "env", "url", "schema", "backup_dir")
_SECONDS = 2
"""How long somebody who pressed a key waits for a database."""


def _completing(
    find: "Callable[[Settings], Sequence[str]]",
) -> Callable[[typer.Context, str], list[str]]:
    """Return what completes the names that `find` finds, where the command line says so far."""

    def complete(ctx: typer.Context, incomplete: str) -> list[str]:
        from leadctl.settings import load_settings

        try:
            found = find(load_settings(_given(ctx)))
        except Exception:  # noqa: BLE001 - whatever is wrong, a shell's line is no place to say it
            return []
        return [name for name in found if name.startswith(incomplete)]

    return complete


def _given(ctx: typer.Context) -> dict[str, str | None]:
    """Return the settings that stand before, at the command or at a group above it."""
    given: dict[str, str | None] = {}
    place: typer.Context | None = ctx
    while place is not None:
        for name in _SETTINGS:
            given[name] = given.get(name) or place.params.get(name)
        place = place.parent  # type: ignore[assignment]
    return given


def _apps(settings: "Settings") -> Sequence[str]:
    from leadctl.apps.registry import all_apps

    return sorted(all_apps(settings))


def _environments(settings: "Settings") -> Sequence[str]:
    return sorted(settings.environments)


def _revisions(settings: "Settings") -> Sequence[str]:
    """Return the app's revisions, the newest first; none is applied or imported."""
    from leadctl.apps.registry import find_app
    from leadctl.migrate.revisions import read_history

    history = read_history(find_app(settings).migrations)
    return [revision.id for revision in reversed(history.revisions)]


def _tables(settings: "Settings") -> Sequence[str]:
    """Return the tables and views of the target's schema.

    No server is started for that, and no command run for a URL.  Raises what connecting raises.
    """
    from dataclasses import replace

    from leadctl.catalog.relations import relation_names
    from leadctl.postgres.connect import connect
    from leadctl.postgres.embedded import server
    from leadctl.postgres.embedded.home import Home
    from leadctl.postgres.target import resolve

    environment = settings.environment
    if environment is not None and environment.url_command:
        return []
    home = Home.of(settings.project)
    if not (settings.url or environment) and home.exists and not server.status(home).running:
        return []
    target = replace(resolve(settings, app=settings.app), connect_timeout=_SECONDS)
    with connect(target, "complete", read_only=True, statement_timeout=_SECONDS) as connection:
        return relation_names(connection, target.schema)


def _backups(settings: "Settings") -> Sequence[str]:
    """Return the ids of the backups in the configured folder, the newest first."""
    from leadctl.api.project import Project

    folder = Project(settings).known_backup_folder
    found = [backup.id for backup in folder.backups()] if folder else []
    return ["latest", *found] if found else []


apps = _completing(_apps)
environments = _completing(_environments)
revisions = _completing(_revisions)
tables = _completing(_tables)
backups = _completing(_backups)
