"""Steps as SQL for people and psql."""

from collections.abc import Sequence

from leadctl.migrate.ddl.steps import Step


def script(steps: Sequence[Step]) -> str:
    """Return steps as statements with comments: why, and what they lose.

    Each statement is meant to commit by itself, as psql has it.
    """
    return "\n".join(f"{''.join(_comments(step))}{step.sql};" for step in steps)


def losses(steps: Sequence[Step]) -> list[str]:
    """Return what the steps lose, in words."""
    return [step.loses for step in steps if step.loses]


def _comments(step: Step) -> list[str]:
    said = [f"Loses {step.loses}."] if step.loses else []
    return [f"-- {line}\n" for line in [*said, *([step.why] if step.why else [])]]
