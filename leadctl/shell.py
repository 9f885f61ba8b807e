"""Commands of the user's that print a secret: a login's token, a database's URL, keys."""

from pathlib import Path

from leadctl.errors import LeadctlError
from leadctl.redact import Secret

_SECONDS = 60


def printed_secret(
    command: str, folder: Path, error: type[LeadctlError], *, name: str, prints: str
) -> Secret:
    """Run a command in `/bin/sh` and return what it prints, which is a secret from then on.

    `name` is what the command is called in messages, `prints` what it is to print.  Raises
    `error` where it fails, prints nothing or does not end within a minute.
    """
    import subprocess

    try:
        done = subprocess.run(
            ["/bin/sh", "-c", command],
            capture_output=True,
            text=True,
            timeout=_SECONDS,
            cwd=folder,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise error(
            f"{name} did not end within {_SECONDS} s.",
            hint="Run it by hand to see what it waits for.",
        ) from None
    printed = Secret(done.stdout.strip())
    if done.returncode or not printed.reveal():
        what = f"failed with exit code {done.returncode}" if done.returncode else "printed nothing"
        raise error(
            f"{name} {what}.", hint=f"Run it by hand; it must print {prints}, and nothing else."
        )
    return printed
