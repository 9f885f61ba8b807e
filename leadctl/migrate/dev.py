"""The developer's loop: apply what is pending, write what the models say, apply that."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from leadctl.apps.registry import App
from leadctl.errors import Protected, UnknownDatabase
from leadctl.journal.guard import Consent, protection
from leadctl.migrate.compose import Written
from leadctl.migrate.new import Ask, new
from leadctl.migrate.up import MigrateResult, up
from leadctl.postgres.connect import Timeouts, connect
from leadctl.postgres.target import Target
from leadctl.progress import Progress


@dataclass(frozen=True)
class Dev:
    """What was written, and where the database is now."""

    written: tuple[Written, ...]
    migrated: MigrateResult


def dev(
    target: Target,
    app: App,
    message: str,
    *,
    renames: Sequence[str] = (),
    ask: Ask | None = None,
    timeouts: Timeouts,
    narrate: Callable[[str], None],
    progress: Progress,
) -> Dev:
    """Apply what is pending, write the revisions that the models ask for, show and apply them.

    Raises Protected for a protected database, which is no place to develop on, and what `up` and
    `new` raise.
    """

    def apply() -> MigrateResult:
        return up(
            target, app, consent=Consent(), timeouts=timeouts, narrate=narrate, progress=progress
        )

    reason = _protection(target)
    if reason:
        raise Protected(
            f"migrate dev is refused on {target.database}: {reason}. Nothing was changed.",
            hint="Develop on a database of your own, and write revisions with migrate new.",
        )
    first = apply()
    written = new(target, app, message, renames=renames, ask=ask, narrate=narrate).revisions
    for each in written:
        narrate(each.path.read_text(encoding="utf-8").rstrip())
    return Dev(written, apply() if written else first)


def _protection(target: Target) -> str | None:
    try:
        with connect(target, "dev", read_only=True) as connection:
            return protection(connection, target)
    except UnknownDatabase:
        return None
