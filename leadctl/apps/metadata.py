"""An app's models, imported, or as its own Alembic environment hands them over."""

import ast
import contextlib
import os
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from leadctl.apps.registry import App, load_object, make_importable, to_stderr
from leadctl.errors import ModelsNotImportable

if TYPE_CHECKING:
    from sqlalchemy import MetaData

HONOURED = frozenset(
    {
        "compare_server_default",
        "compare_type",
        "include_name",
        "include_object",
        "render_item",
        "target_metadata",
        "user_module_prefix",
        "version_table",
    }
)
"""Options of `context.configure` that leadctl passes on."""
_OURS = frozenset(
    {
        "as_sql",
        "connection",
        "dialect_name",
        "dialect_opts",
        "literal_binds",
        "output_buffer",
        "transaction_per_migration",
        "url",
    }
)
"""Options that say how to connect and to run, which leadctl does in its own way."""


def load_metadata(app: App) -> "MetaData":
    """Import an app's models and return their metadata.

    Raises ModelsNotImportable with the file and line that matter.
    """
    if app.models is None:
        assert app.environment is not None
        make_importable(app.root)
        options = environment_options(app.environment, app.root)
        found: Any = options.get("target_metadata")
    else:
        found = load_object(app, app.models, "models")
    metadata = getattr(found, "metadata", found)
    if not hasattr(type(metadata), "sorted_tables"):
        raise ModelsNotImportable(
            f"The models of {app.name}, {_place(app)}, have no metadata.",
            hint='Name the declarative base or the MetaData: models = "package.module:Base".',
        )
    if not metadata.tables:
        raise ModelsNotImportable(
            f"The models of {app.name}, {_place(app)}, have no tables.",
            hint="Import the modules that define them from the module that is named.",
        )
    result: MetaData = metadata
    return result


def _place(app: App) -> str:
    """Say where an app's models are: the object, and the file and line that define it."""
    if app.models is None:
        return str(app.environment)
    module_name, _, attribute = app.models.partition(":")
    module = sys.modules[module_name]
    if module.__file__ is None:
        return app.models
    for node in ast.parse(Path(module.__file__).read_bytes()).body:
        targets = getattr(node, "targets", [getattr(node, "target", node)])
        if attribute in {
            getattr(target, "id", getattr(target, "name", None)) for target in targets
        }:
            return f"{app.models} ({module.__file__}, line {node.lineno})"
    return f"{app.models} ({module.__file__})"


def environment_options(env_py: Path, root: Path) -> Mapping[str, Any]:
    """Return what an env.py hands to `context.configure`, up to which it is run.

    It is run in the folder `root` as for offline mode: it connects to nothing.  Raises
    ModelsNotImportable where it fails before it configures anything.
    """
    from alembic.config import Config
    from alembic.runtime.environment import EnvironmentContext
    from alembic.script import ScriptDirectory

    folder = env_py.parent
    found: dict[str, Any] = {}

    def configure(*_args: Any, **given: Any) -> None:
        found.update(given)
        raise _Configured

    config = Config(_ini(env_py, root))
    config.set_main_option("script_location", str(folder).replace("%", "%%"))
    script = ScriptDirectory(str(folder), messaging_opts={"quiet": True})
    environment = EnvironmentContext(config, script, as_sql=True)
    # `alembic.context` is a proxy for this very class, so a subclass would not do.
    environment.__dict__["configure"] = configure
    before = Path.cwd()
    try:
        os.chdir(root)  # where the alembic command would be run
        with (
            to_stderr(),
            contextlib.suppress(_Configured),
            _logging_as_it_is(),
            environment,
        ):
            script.run_env()
    except Exception as error:  # noqa: BLE001 - a team's env.py may raise anything
        raise ModelsNotImportable(
            f"Cannot run {env_py}: {type(error).__name__}: {error}",
            hint="leadctl runs it for what it hands to context.configure(), in offline mode.",
        ) from None
    finally:
        os.chdir(before)
    return found


@contextlib.contextmanager
def _logging_as_it_is() -> Iterator[None]:
    """Let env.py's `fileConfig()` do nothing: standard error is leadctl's."""
    import logging.config  # 10 ms that few commands need

    module = vars(logging.config)
    before = module["fileConfig"]
    module["fileConfig"] = lambda *_args, **_options: None
    try:
        yield
    finally:
        module["fileConfig"] = before


def not_honoured(given: Mapping[str, Any]) -> list[str]:
    """Return the options that are set and that leadctl cannot honour."""
    unknown = {name for name, value in given.items() if value is not None}
    return sorted(unknown - HONOURED - _OURS)


class _Configured(BaseException):
    """Ends an env.py once it said what it had to say; it must not be caught by it."""


def _ini(env_py: Path, root: Path) -> str | None:
    for folder in (root, env_py.parent.parent, env_py.parent):
        if (folder / "alembic.ini").is_file():
            return str(folder / "alembic.ini")
    return None
