"""`leadctl keys`."""

from typing import Annotated

from leadctl.cli.command import Effect, Run, command
from leadctl.cli.fleet import FleetUse
from leadctl.cli.group import subtree
from leadctl.cli.options import LOCK_WAIT, flag
from leadctl.render import views

group = subtree("keys", "Rows", "Manage the keys of encrypted columns.")


@group.leaf("generate")
@command(Effect.READS)
def generate(run: Run) -> None:
    """Print a new key, without storing it."""
    result = run.project().generate_key()
    run.emit(result, views.keys.generate)
    run.narrate(
        f"Fingerprint {result.fingerprint}. Set it as ENCRYPTION_KEY. To replace a key, first add "
        "this one behind the old one on every host: ENCRYPTION_KEYS=old:<the old one>,new:<this "
        "key>. When all have it, put it first on every host; then run: leadctl keys rotate"
    )


@group.leaf("status")
@command(Effect.READS, of_app=True, fleet=FleetUse())
def status(run: Run) -> None:
    """Count values per encrypted column and key.

    Exit 1 unless every value can be read.

    Each table is read once and nothing is decrypted, so it works without the keys, too.
    """
    result = run.database().keys()
    run.emit(result, views.keys.status, ok=result.ok)


@group.leaf("rotate")
@command(Effect.ADDS, LOCK_WAIT, fleet=FleetUse())
def rotate(
    run: Run,
    *,
    encrypt_plaintext: Annotated[
        bool, flag("--encrypt-plaintext", "Also encrypt values that are plaintext.")
    ] = False,
    encrypt_foreign: Annotated[
        bool, flag("--encrypt-foreign", "Also encrypt other tools' ciphertexts and hashes.")
    ] = False,
    dry_run: Annotated[bool, flag("--dry-run", "Count only; change nothing.")] = False,
) -> None:
    """Re-encrypt all values with the primary key.

    The application may keep running.

    What looks like another tool's ciphertext or hash (Rails, Fernet, PGP, JWT, argon2, bcrypt …) is
    not plaintext: if it were encrypted again, the application could not read it. It is not changed
    unless --encrypt-foreign is given. If a run is killed, run it again: it continues. The result
    counts the values per key; exit 1 unless every value can be read and is encrypted with a key
    that is set.
    """
    result = run.database().rotate_keys(
        encrypt_plaintext=encrypt_plaintext, encrypt_foreign=encrypt_foreign, dry_run=dry_run
    )
    run.emit(result, views.keys.rotate, ok=result.ok)
