"""The command line's tree: every command is registered here, and does its work elsewhere."""

from typing import Annotated

import typer

from leadctl.cli.commands import (
    backup,
    cleanup,
    config,
    db,
    health,
    history,
    init,
    inspect,
    keys,
    migrate,
    migrate_compare,
    migrate_down,
    migrate_write,
    partition,
    reset,
    restore,
    schedule,
    schema,
    seed,
    stats,
    studio,
)
from leadctl.cli.fast_typer import Tree
from leadctl.cli.group import RootGroup

app = Tree(
    name="leadctl",
    cls=RootGroup,
    help="Run the PostgreSQL database behind a product.",
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"], "auto_envvar_prefix": "LEADCTL"},
)


def _version(wanted: bool) -> None:
    if wanted:
        from leadctl.version import __version__

        typer.echo(f"leadctl {__version__}")
        raise typer.Exit


@app.callback()
def root(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_version, is_eager=True, help="Show the version."),
    ] = False,
) -> None:
    """Run the PostgreSQL database behind a product."""


_SCHEMA, _ROWS, _BACKUPS, _STATE, _SETUP = "Schema", "Rows", "Backups", "State", "Setup"

migrate.group.leaf("new")(migrate_write.new)
migrate.group.leaf("dev")(migrate_write.dev)
migrate.group.leaf("down")(migrate_down.down)
migrate.group.leaf("check")(migrate_compare.check)
migrate.group.leaf("drift")(migrate_compare.drift)
migrate.group.leaf("diff")(migrate_compare.diff)
app.add_typer(migrate.group, rich_help_panel=_SCHEMA)
app.leaf("partition", _SCHEMA)(partition.partition)
app.leaf("reset", _SCHEMA)(reset.reset)
app.add_typer(schema.group, rich_help_panel=_SCHEMA)
app.leaf("seed", _ROWS)(seed.seed)
app.add_typer(cleanup.group, rich_help_panel=_ROWS)
app.add_typer(keys.group, rich_help_panel=_ROWS)
app.leaf("studio", _ROWS)(studio.studio)
app.add_typer(backup.group, rich_help_panel=_BACKUPS)
app.leaf("restore", _BACKUPS)(restore.restore)
app.leaf("stats", _STATE)(stats.stats)
app.leaf("health-check", _STATE)(health.health_check)
app.leaf("inspect", _STATE)(inspect.inspect)
app.leaf("history", _STATE)(history.history)
app.leaf("init", _SETUP)(init.init)
app.leaf("config", _SETUP)(config.config)
app.add_typer(schedule.group, rich_help_panel=_SETUP)
app.add_typer(db.group, rich_help_panel=_SETUP)
