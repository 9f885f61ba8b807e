"""Init for an empty folder: two tables, a seed file and a retention rule to begin with."""

from leadctl.errors import AlreadyDeclared
from leadctl.init.existing_models import InitResult, app_name, refuse_declared
from leadctl.init.project_files import Files, RetentionGuess, leadctl_toml
from leadctl.settings import Settings

_MODELS = '''\
"""The app's tables. After a change run: leadctl migrate dev -m "what changed"."""

from datetime import datetime

from sqlalchemy import DateTime, ForeignKey, Text, func
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column


class Base(DeclarativeBase):
    """Each class below it is a table; leadctl.toml names it."""

    type_annotation_map = {str: Text, datetime: DateTime(timezone=True)}


class User(Base):
    """Somebody who signs in."""

    __tablename__ = "users"

    id: Mapped[int] = mapped_column(primary_key=True)
    email: Mapped[str] = mapped_column(unique=True)
    name: Mapped[str | None]
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())


class Session(Base):
    """A sign-in; leadctl.toml has a rule that deletes old ones."""

    __tablename__ = "sessions"

    id: Mapped[int] = mapped_column(primary_key=True)
    user_id: Mapped[int] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"), index=True)
    created_at: Mapped[datetime] = mapped_column(server_default=func.now(), index=True)
'''
_SEED = """\
# Rows that every database of the app has: leadctl seed
users:
  ada: {email: ada@example.com, name: Ada}
  grace: {email: grace@example.com, name: Grace}
sessions:
  - {id: 1, user_id: "@ada"}
"""
_RULE = RetentionGuess("sessions", "created_at", "90d", "leadctl cleanup deletes old sessions")


def init_starter(settings: Settings) -> InitResult:
    """Write a project to begin with.

    Raises AlreadyDeclared where a file or folder of a project exists; then nothing was written.
    """
    root = settings.project
    refuse_declared(settings)
    name = app_name(settings)
    migrations = root / "migrations"
    for folder in (root / "models", migrations, root / "seeds"):
        if folder.is_dir() and any(folder.iterdir()):
            raise AlreadyDeclared(
                f"{folder} has files, and --starter is for a folder without a project.",
                hint="For existing models: leadctl init. Otherwise use an empty folder.",
            )
    files = Files(root)
    files.new(root / "models.py", _MODELS, "two tables")
    files.new(root / "seeds" / "first.yaml", _SEED, "rows to begin with")
    files.new(migrations / ".gitkeep", "", "the folder of revisions")
    entries = {"models": "models:Base", "migrations": "migrations", "seed_files": "seeds"}
    files.new_configuration(leadctl_toml(name, entries, (_RULE,), in_force=True))
    files.add_variables(name, has_url=bool(settings.url), needs_key=False)
    files.ignore()
    written = files.write()
    return InitResult(
        app=name,
        models="models:Base",
        migrations=migrations,
        tables=("sessions", "users"),
        files=written,
        encrypted=(),
        retention=(),
        notes=(),
        next=(
            'leadctl migrate dev -m "first tables"',
            "leadctl seed",
            "leadctl studio users",
        ),
    )
