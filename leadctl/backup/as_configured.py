"""Making a backup as the settings say: its folder, its recipients, its hooks."""

from leadctl.apps.registry import App
from leadctl.backup.configured import folder_of
from leadctl.backup.create import BackupOptions, CreatedBackup, create
from leadctl.backup.hooks import Hooks
from leadctl.crypto.age import split_recipients
from leadctl.postgres.target import Target
from leadctl.progress import Narrate, Progress
from leadctl.settings import Settings


def create_as_configured(
    settings: Settings,
    app: App,
    target: Target,
    narrate: Narrate,
    progress: Progress,
    *,
    role_passwords: bool = False,
) -> CreatedBackup:
    """Make a backup, and call the hook of its success or failure.  Raises as `create` does."""
    hooks = Hooks(settings.backup_on_success, settings.backup_on_failure, settings.project)
    options = BackupOptions(
        recipients=split_recipients(settings.backup_recipients),
        lock_wait=settings.lock_wait,
        version_table=app.version_table,
        role_passwords=role_passwords,
    )
    with hooks.failure(target.database, narrate):
        made = create(target, folder_of(settings), options, narrate, progress)
    hooks.success(made)
    return made
