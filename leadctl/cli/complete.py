"""Shell completion of what a project has: apps, environments, revisions, tables, backups."""

from collections.abc import Callable

import typer

_SETTINGS = ("app", "env", "url", "schema", "backup_dir")


def names_of(kind: str) -> Callable[[typer.Context, str], list[str]]:
    """Return what completes the names of a kind that `leadctl.cli.completion_names` knows.

    It looks where the command line up to there says, and is silent where it finds nothing.
    """

    def complete(ctx: typer.Context, incomplete: str) -> list[str]:
        from leadctl.cli.completion_names import NAMES
        from leadctl.settings import load_settings

        try:
            found = NAMES[kind](load_settings(_given(ctx)))
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


apps = names_of("app")
environments = names_of("env")
revisions = names_of("revision")
tables = names_of("table")
backups = names_of("backup")
