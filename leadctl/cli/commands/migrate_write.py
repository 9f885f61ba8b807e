"""`leadctl migrate new` and `dev`: revisions are written."""

import sys
from typing import Annotated

from leadctl.cli.command import Effect, Run, command
from leadctl.cli.commands.migrate import Renames, group, named
from leadctl.cli.options import (
    TIMEOUTS,
    Message,
    Text,
    Texts,
    Yes,
    exclusive,
    flag,
    not_with,
    only_with,
    option,
    revision_names,
)
from leadctl.errors import UnreadableFile, UsageError
from leadctl.files import expanded
from leadctl.render import views

Fills = Annotated[
    Texts,
    option("--fill", "TABLE.COLUMN=SQL", "SQL value for rows that lack a newly required column."),
]
Plain = Annotated[
    bool, flag("--plain", "Write one short file: for small tables and no other users.")
]
Sql = Annotated[
    Text, option("--sql", "FILE", "Write a revision from this SQL; - is standard input.")
]
Revert = Annotated[
    Text, option("--revert", "REV", "Write a revision that undoes REV.", names=revision_names)
]
Merge = Annotated[bool, flag("--merge", "Write a revision that joins the branches.")]

Renumber = Annotated[
    Texts,
    option("--renumber", "FILE", "With --merge: give FILE a new id if two files share one."),
]
Head = Annotated[
    Text, option("--head", "REV", "Follow this revision or branch.", names=revision_names)
]
Splice = Annotated[bool, flag("--splice", "Allow a --head that another revision already follows.")]
BranchLabel = Annotated[Text, option("--branch-label", "NAME", "Name the branch that it begins.")]
DependsOn = Annotated[
    Texts,
    option(
        "--depends-on", "REV", "Require REV to be applied first (repeatable).", names=revision_names
    ),
]
RevId = Annotated[Text, option("--rev-id", "ID", "Use this id instead of a generated one.")]
VersionPath = Annotated[
    Text, option("--version-path", "DIR", "Write the file to this version location.")
]


@group.leaf("new")
@command(Effect.ADDS)
def new(
    run: Run,
    *,
    message: Message = None,
    renames: Renames = None,
    fills: Fills = None,
    plain: Plain = False,
    empty: Annotated[bool, flag("--empty", "Write a revision without operations.")] = False,
    sql: Sql = None,
    revert: Revert = None,
    merge: Merge = False,
    renumber: Renumber = None,
    head: Head = None,
    splice: Splice = False,
    branch_label: BranchLabel = None,
    depends_on: DependsOn = None,
    rev_id: RevId = None,
    version_path: VersionPath = None,
) -> None:
    r"""Write revisions that bring the migrations to the models.

    A change that would block a big table is written in a safe form, in separate revisions if
    needed. The output says what would be lost. Nothing is applied.

    \b
    leadctl migrate new -m "Phone numbers" --rename users.tel:phone
    leadctl migrate new -m "Websites" --fill "companies.website='unknown'"
    leadctl migrate new --revert leadconnector_0002
    leadctl migrate new --merge
    leadctl migrate new -m "Plug-in" --empty --head base --branch-label plugin
    """
    for of_models in ({"rename": renames}, {"plain": plain}, {"fill": fills}):
        exclusive(**of_models, empty=empty, sql=sql, revert=revert, merge=merge)
    placement = {
        "head": head, "splice": splice, "branch_label": branch_label, "rev_id": rev_id,
        "depends_on": tuple(depends_on or ()), "version_path": version_path,
    }  # fmt: skip
    if merge or revert is not None:
        not_with("--merge" if merge else "--revert", **placement)
    only_with("--head", splice=splice and head is None)
    if renumber and not merge:
        raise UsageError("--renumber works with --merge only.", hint="Add --merge.")
    if merge:
        result = run.database().new_merge(message, renumber=renumber or ())
    elif revert is not None:
        result = run.database().new_revert(revert, message)
    elif empty:
        result = run.database().new_empty(named(run, message), placement=placement)
    elif sql is not None:
        result = run.database().new_sql(named(run, message), _read(sql), placement=placement)
    else:
        database = run.database(may_create=True)
        result = database.new(
            named(run, message),
            renames=renames or (),
            fills=fills or (),
            plain=plain,
            ask=run.ask_text,
            placement=placement,
        )
    run.emit(result, views.migrate.new)


@group.leaf("dev")
@command(Effect.LOCAL, *TIMEOUTS)
def dev(
    run: Run,
    *,
    message: Message = None,
    renames: Renames = None,
    fills: Fills = None,
    plain: Plain = False,
    yes: Yes = False,
) -> None:
    r"""Write a revision from the models, and apply it.

    For development, on a database of your own: a protected one is refused. It asks before rows or
    values are lost, and for a value if existing rows lack one that becomes required.

    \b
    leadctl migrate dev -m "Phone numbers"
    leadctl migrate dev -m "Websites" --fill "companies.website='unknown'"
    """
    database = run.database(may_create=True)
    done = database.dev(
        named(run, message),
        renames=renames or (),
        fills=fills or (),
        plain=plain,
        ask=run.ask_text,
        confirm=run.consent(yes=yes),
    )
    run.emit(done, views.migrate.dev)


def _read(name: str) -> str:
    if name == "-":
        return sys.stdin.read()
    try:
        return expanded(name).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UnreadableFile(f"Cannot read {name}: {error}", hint="Name a file of SQL.") from None
