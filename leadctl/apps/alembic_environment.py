"""A team's own Alembic environment: what its env.py hands to Alembic."""

import ast
import contextlib
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from leadctl.apps.output import to_stderr
from leadctl.errors import MigrationsInvalid, ModelsNotImportable

DEFAULT_VERSION_TABLE = "alembic_version"

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


def environment_file(migrations: Path) -> Path | None:
    """Return the env.py of a migrations folder, or of the folder around its `versions/`."""
    for folder in (migrations, migrations.parent):
        if (folder / "env.py").is_file() and (
            folder == migrations or migrations.name == "versions"
        ):
            return folder / "env.py"
    return None


def version_table(environment: Path | None) -> str:
    """Return the name of Alembic's table that an env.py gives, read from its text.

    Raises MigrationsInvalid where the name is not written out.
    """
    for keyword in _configured(environment) if environment else ():
        if keyword.arg != "version_table":
            continue
        if isinstance(keyword.value, ast.Constant) and isinstance(keyword.value.value, str):
            return keyword.value.value
        raise MigrationsInvalid(
            f"{environment}: version_table is {ast.unparse(keyword.value)}, no literal.",
            hint='Write it out: context.configure(version_table="…").',
        )
    return DEFAULT_VERSION_TABLE


def options(env_py: Path, root: Path) -> Mapping[str, Any]:
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


def _configured(environment: Path) -> list[ast.keyword]:
    try:
        module = ast.parse(environment.read_text(encoding="utf-8"))
    except (OSError, SyntaxError, UnicodeDecodeError) as error:
        raise MigrationsInvalid(f"Cannot read {environment}: {error}", hint="Correct it.") from None
    return [
        keyword
        for node in ast.walk(module)
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and node.func.attr == "configure"
        for keyword in node.keywords
    ]


def _ini(env_py: Path, root: Path) -> str | None:
    for folder in (root, env_py.parent.parent, env_py.parent):
        if (folder / "alembic.ini").is_file():
            return str(folder / "alembic.ini")
    return None
