"""The view of the effective settings."""

from leadctl.config import EffectiveConfig
from leadctl.postgres.target import DEFAULT_SCHEMA, NamedTarget
from leadctl.render.blocks import Block, Cell, Grid, Pairs


def config(result: EffectiveConfig) -> list[Block]:
    """The folder, then every setting with its source."""
    return [
        Pairs(
            [
                ("Project", str(result.project)),
                ("File", str(result.config_file) if result.config_file else "none"),
                ("Environments", ", ".join(result.environments) or "none"),
                ("Apps", ", ".join(result.apps)),
                *([("Run env.py", ", ".join(result.computed))] if result.computed else []),
                ("Target", _target(result.target)),
                ("Keys", ", ".join(result.keys) or "none"),
            ]
        ),
        Grid(
            ["Setting", "Value", "Source"],
            [
                (entry.variable, _plain(entry.value), Cell(entry.source, "dim"))
                for entry in result.settings
            ],
        ),
    ]


def _target(target: NamedTarget) -> str:
    shown = target.source if target.url is None else f"{target.url} (from {target.source})"
    schema = "" if target.schema == DEFAULT_SCHEMA else f", schema {target.schema}"
    return shown + schema + (", protected" if target.protected else "")


def _plain(value: object) -> str:
    if value is None:
        return ""
    return f"{value:g}" if isinstance(value, float) else str(value)
