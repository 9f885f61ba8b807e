"""`leadctl keys`."""

from typing import Annotated

import typer

from leadctl.cli.exit_codes import ExitCode
from leadctl.cli.fast_typer import Tree
from leadctl.cli.group import LeadctlGroup
from leadctl.cli.run import LOCK_WAIT, Run, command

group = Tree(
    name="keys", cls=LeadctlGroup, no_args_is_help=True, help="The keys of encrypted columns."
)


@group.leaf("generate")
@command()
def generate(run: Run) -> None:
    """Print a new key, and say how to install it; it is kept nowhere."""
    from leadctl.keys.status import generate as operation
    from leadctl.render.views.keys import generate as view

    result = operation()
    run.emit(result, view)
    run.narrate(
        f"Fingerprint {result.fingerprint}. Set it as ENCRYPTION_KEY. To replace a key, keep the "
        "old one readable: ENCRYPTION_KEYS=new:<this key>,old:<the old one>; then run: "
        "leadctl keys rotate"
    )


@group.leaf("status")
@command()
def status(run: Run) -> None:
    """Count values per encrypted column and key; exit 1 unless all can be read.

    Each table is read once and nothing is decrypted, so it works without the keys, too.
    """
    from leadctl.crypto.keyring import keyring_of
    from leadctl.keys.status import keys_status
    from leadctl.render.views.keys import status as view

    target = run.target()
    result = keys_status(target, run.app, keyring_of(run.settings))
    run.emit(result, view)
    if not result.ok:
        raise typer.Exit(ExitCode.NO)


@group.leaf("rotate")
@command(LOCK_WAIT)
def rotate(
    run: Run,
    *,
    encrypt_plaintext: Annotated[
        bool,
        typer.Option(
            "--encrypt-plaintext", help="Encrypt what is not ciphertext, too.", show_envvar=False
        ),
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Count only; change nothing.", show_envvar=False)
    ] = False,
) -> None:
    """Re-encrypt everything to the primary key, beside a running application.

    A killed run is continued by running it again. Ends with the count per key; exit 1 unless
    every value is ciphertext that a key reads.
    """
    from leadctl.crypto.keyring import keyring_of
    from leadctl.keys.rotate import rotate as operation
    from leadctl.render.views.keys import rotate as view

    target = run.target()
    result = operation(
        target,
        run.app,
        keyring_of(run.settings),
        encrypt_plaintext=encrypt_plaintext,
        dry_run=dry_run,
        lock_wait=run.settings.lock_wait,
        narrate=run.narrate,
        progress=run.console.progress,
    )
    run.emit(result, view)
    if not result.dry_run and not result.status.ok:
        raise typer.Exit(ExitCode.NO)
