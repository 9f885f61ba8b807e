"""A project with a history of revisions that a test writes."""

import io
from contextlib import redirect_stdout
from pathlib import Path

from alembic import command
from alembic.config import Config

_CONFIG = """\
app = "own"

[apps.own]
models = "own_models:Base"
migrations = "migrations"
"""
_MODELS = """\
from sqlalchemy import Integer
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

class Base(DeclarativeBase):
    pass

class Unused(Base):
    __tablename__ = "unused"
    id: Mapped[int] = mapped_column(primary_key=True)
"""
_REVISION = '''\
"""{message}."""
{head}
from alembic import op

revision = "{id}"
down_revision = {down!r}


def upgrade():
{upgrade}


def downgrade():
{downgrade}
'''


class Project:
    """A folder with leadctl.toml, models and a history."""

    def __init__(self, folder: Path) -> None:
        self.migrations = folder / "migrations"
        self.migrations.mkdir()
        (folder / "leadctl.toml").write_text(_CONFIG)
        (folder / "own_models.py").write_text(_MODELS)
        self._last: str | None = None

    def revision(
        self,
        *statements: str,
        code: str = "",
        concurrently: bool = False,
        downgrade: str = "    pass",
        head: str = "",
        down: str | tuple[str, ...] | None = None,
        name: str = "",
    ) -> Path:
        """Write the next revision, of SQL statements or of code; return its file."""
        number = len(list(self.migrations.iterdir())) + 1
        name = name or f"own_{number:04d}"
        lines = [f"op.execute({statement!r})" for statement in statements]
        if concurrently:
            lines = [
                "with op.get_context().autocommit_block():",
                *(f"    {line}" for line in lines),
            ]
        path = self.migrations / f"{name}.py"
        path.write_text(
            _REVISION.format(
                id=name,
                down=down or self._last,
                message=f"Step {number}",
                head=head,
                upgrade=code or "\n".join(f"    {line}" for line in lines) or "    pass",
                downgrade=downgrade,
            )
        )
        self._last = name
        return path


def alembic_init() -> None:
    """Make in the current folder what `alembic init db` makes there."""
    with redirect_stdout(io.StringIO()):
        command.init(Config("alembic.ini", stdout=io.StringIO()), "db")
