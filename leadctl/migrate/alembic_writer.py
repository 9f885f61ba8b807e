"""Revisions as a project's own Alembic writes them: its template, hooks, names and places.

What a revision does is leadctl's; the file around it is Alembic's `generate_revision()`, so that
whatever alembic.ini and env.py say of files holds.
"""

import io
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import alembic
from alembic import command
from alembic.autogenerate import RevisionContext, renderers
from alembic.operations.ops import DowngradeOps, MigrateOperation, UpgradeOps
from alembic.script import Script, ScriptDirectory
from alembic.util import CommandError

from leadctl.apps.alembic_environment import AlembicEnvironment, application_of
from leadctl.apps.loading import user_code
from leadctl.errors import EnvironmentNotRun, LeadctlError, MigrationsInvalid
from leadctl.migrate.revision import RevisionText
from leadctl.migrate.revisions import RevisionPlacement

_TEMPLATE = "script.py.mako"
_OP = "from alembic import op"
_COMMENTS = ("# ### commands auto generated", "# ### end Alembic commands")
"""What Alembic writes around operations that it found itself."""
_UPGRADES, _DOWNGRADES = "upgrades", "downgrades"


class _Body(MigrateOperation):
    """The body of a function, as leadctl wrote it."""

    def __init__(self, text: str) -> None:
        self.text = text

    @property
    def mark(self) -> str:
        """What stands for it while Alembic renders what is around it."""
        return f"leadctl_body_{id(self)}()"


@renderers.dispatch_for(_Body)
def _render(_context: Any, body: _Body) -> str:
    return body.mark


def write_revision(
    environment: AlembicEnvironment,
    folders: Sequence[Path],
    content: RevisionText,
    rev_id: str,
    follows: Sequence[str],
    placement: RevisionPlacement,
) -> list[tuple[str, Path]]:
    """Write a revision's file; return its id and path: several or none if env.py's hook says so.

    env.py is run as `alembic revision` runs it: for what has operations, and for others where
    `revision_environment` is set.  Raises MigrationsInvalid for what Alembic refuses, and
    EnvironmentNotRun.
    """
    config = environment.alembic_config("driver://")
    is_run = content.operates or environment.config.flag("revision_environment")
    is_merge = len(follows) > 1
    given = _arguments(content, rev_id, follows, placement)
    bodies = [_Body(content.upgrade), _Body(content.downgrade)]
    written: list[tuple[str, Path]] = []
    before = _files(folders)
    with _within(environment), user_code():
        try:
            context = None
            if is_run:
                context = _hooked(environment, given, content, bodies, hook=not is_merge)
            if context is None:
                script = environment.script(config)
                script.version_locations = [str(each) for each in folders]
                context = RevisionContext(config, script, given)
            if not content.operates:
                texts: dict[str, Any] = context.template_args
                texts |= {_UPGRADES: bodies[0].mark, _DOWNGRADES: bodies[1].mark}
            _render_bodies(context.script_directory, bodies, content.head_lines)
            for made in context.generate_scripts():
                written.append(_made(made, environment))
        except CommandError as error:
            names = ", ".join(sorted(each.name for each in _files(folders) - before))
            if names:  # what runs after a file is written failed: a hook
                raise MigrationsInvalid(
                    f"{names} was written, then Alembic failed: {error}",
                    hint="Correct [post_write_hooks]; keep the file, or delete it.",
                ) from None
            raise MigrationsInvalid(
                f"Alembic did not write the revision: {error}",
                hint="See: leadctl migrate new --help",
            ) from None
    return written


def _arguments(
    content: RevisionText, rev_id: str, follows: Sequence[str], placement: RevisionPlacement
) -> dict[str, Any]:
    """Return what `alembic revision` is given."""
    return {
        "message": content.title,
        "autogenerate": content.operates,
        "sql": False,
        "head": list(follows) if len(follows) > 1 else next(iter(follows), "base"),
        "splice": placement.splice,
        "branch_label": placement.branch_label,
        "version_path": placement.version_path,
        "rev_id": placement.rev_id or rev_id,
        "depends_on": list(placement.depends_on) or None,
    }


def _files(folders: Iterable[Path]) -> set[Path]:
    return {path for folder in folders for path in folder.rglob("*.py")}


def _hooked(
    environment: AlembicEnvironment,
    given: Mapping[str, Any],
    content: RevisionText,
    bodies: Sequence[_Body],
    *,
    hook: bool,
) -> RevisionContext:
    """Run env.py, and its `process_revision_directives` on what is to be written."""
    found: list[RevisionContext] = []
    template_args: dict[str, Any] = {}

    def steps(heads: tuple[str, ...], context: Any) -> Iterator[Any]:
        made = RevisionContext(context.config, context.script, dict(given))
        template_args.update({"config": context.config} | template_args)
        made.template_args = template_args
        found.append(made)
        if not hook:
            return iter(())
        (revision,) = made.generated_revisions
        if content.operates:
            revision.upgrade_ops = UpgradeOps([bodies[0]])
            revision.downgrade_ops = DowngradeOps([bodies[1]])
            revision.imports = set(content.head_lines)
        try:
            made.run_no_autogenerate(heads, context)
        except LeadctlError:
            raise
        except Exception as error:
            raise EnvironmentNotRun(
                f"{environment.env_py}: process_revision_directives failed: "
                f"{type(error).__name__}: {error}",
                hint="Fix it: leadctl calls it like `alembic revision` does, with SQL operations.",
            ) from error
        return iter(())

    start = None if given["head"] == "base" else given["head"]
    offline = {"as_sql": True, "starting_rev": start, "template_args": template_args}
    arguments = {**given, "cmd": (command.revision, [], [])}
    ours = {"dialect_name": "postgresql", "output_buffer": io.StringIO()}
    environment.run(steps, ours, offline=offline, arguments=arguments)
    return found[0]


def _render_bodies(
    script: ScriptDirectory, bodies: Sequence[_Body], imports: Sequence[str]
) -> None:
    """Have the project's template filled with what the marks stand for.

    A folder without a template gets Alembic's own; one that does not place imports has them in the
    function.
    """
    own = Path(script.dir) / _TEMPLATE
    has_own = own.is_file() and own.stat().st_size > 0
    source = own if has_own else Path(alembic.__file__).parent / "templates/generic" / _TEMPLATE
    template = source.read_text(encoding="utf-8")
    lines = [*([] if "import op" in template else [_OP]), *imports]
    generate = script._generate_template  # noqa: SLF001 - nothing public fills in a text as it is

    def filled(_source: Any, path: Any, **values: Any) -> None:
        for name, value in values.items():
            if isinstance(value, str):
                values[name] = _with_bodies(value, bodies)
        there = set(str(values.get("imports", "")).split("\n"))
        missing = [line for line in lines if line not in there]
        if missing and "imports" in template:
            values["imports"] = "\n".join([*missing, *filter(None, [values.get("imports")])])
        elif missing and isinstance(values.get(_UPGRADES), str):
            values[_UPGRADES] = "\n    ".join([*missing, values[_UPGRADES]])
        generate(source, path, **values)

    vars(script)["_generate_template"] = filled


def _with_bodies(value: str, bodies: Sequence[_Body]) -> str:
    for body in bodies:
        if body.mark in value:
            rest = [line for line in value.split("\n") if not line.strip().startswith(_COMMENTS)]
            alone = len(rest) == 1
            text = "\n".join(rest) if alone else value
            value = text.strip().replace(body.mark, body.text.strip())
    return value


def _made(made: Script | None, environment: AlembicEnvironment) -> tuple[str, Path]:
    if made is None:
        raise MigrationsInvalid(
            f"The template {environment.env_py.with_name(_TEMPLATE)} does not produce a revision.",
            hint="Correct it; `alembic init` writes one that works.",
        )
    return str(made.revision), Path(made.path)


@contextmanager
def _within(environment: AlembicEnvironment) -> Iterator[None]:
    """Be where `alembic` is run: hooks, relative paths and templates count on that."""
    before = Path.cwd()
    os.chdir(environment.config.folder)
    try:
        with application_of(environment):
            yield
    finally:
        os.chdir(before)
