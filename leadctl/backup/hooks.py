"""Commands that run after a backup, with the facts in environment variables."""

import os
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from leadctl.backup.create import CreatedBackup
from leadctl.errors import HookFailed
from leadctl.progress import Narrate
from leadctl.redact import scrub

_SECONDS = 3600
_STDERR = 2


@dataclass(frozen=True)
class Hooks:
    """Shell commands, and the folder that they run in."""

    on_success: str | None
    on_failure: str | None
    folder: Path

    @contextmanager
    def failure(self, database: str, narrate: Narrate) -> Iterator[None]:
        """Run `on_failure` where the block ends with an error or a signal, which goes on."""
        try:
            yield
        except BaseException as error:
            if self.on_failure:
                reason = scrub(str(error)) or type(error).__name__
                facts = {"DATABASE": database, "OUTCOME": "failed", "ERROR": reason}
                code = self._run(self.on_failure, facts)
                if code:
                    narrate(f"The hook on_failure failed with exit code {code}.")
            raise

    def success(self, made: CreatedBackup) -> None:
        """Run `on_success`.  Raises HookFailed."""
        if self.on_success is None:
            return
        facts = {
            "ID": made.id,
            "PATH": str(made.path),
            "DATABASE": made.database,
            "OUTCOME": "done",
            "BYTES": str(made.bytes),
            "ROWS": str(made.rows),
            "ENCRYPTED": "1" if made.encrypted else "0",
            "SECONDS": f"{made.duration_ms / 1000:.1f}",
        }
        code = self._run(self.on_success, facts)
        if code:
            raise HookFailed(
                f"The backup {made.id} is whole, but the hook on_success failed with exit code "
                f"{code}.",
                hint="Run what it does by hand; the backup need not be made again.",
            )

    def _run(self, command: str, facts: Mapping[str, str]) -> int:
        """Run a hook; what it prints goes to standard error.  Returns its exit code."""
        variables = {f"LEADCTL_BACKUP_{name}": value for name, value in facts.items()}
        try:
            return subprocess.run(
                ["/bin/sh", "-c", command],
                env={**os.environ, **variables},
                cwd=self.folder,
                stdin=subprocess.DEVNULL,
                stdout=_STDERR,
                timeout=_SECONDS,
                check=False,
            ).returncode
        except subprocess.TimeoutExpired:
            return 124  # as timeout(1) has it
