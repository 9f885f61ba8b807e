"""Standard error: narration, errors, and the one place that speaks them."""

import json
import sys
from datetime import UTC, datetime

from leadctl.errors import LeadctlError
from leadctl.redact import scrub


class Console:
    """What a command says beside its result."""

    def __init__(self, *, quiet: bool = False, as_json: bool = False) -> None:
        self.quiet = quiet
        self.as_json = as_json

    def narrate(self, message: str) -> None:
        """Say what is being done: plain on a terminal, with a UTC time in a log."""
        if self.quiet:
            return
        stamp = "" if sys.stderr.isatty() else f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ} "
        sys.stderr.write(f"{stamp}{scrub(message)}\n")
        sys.stderr.flush()

    def error(self, error: LeadctlError) -> None:
        """Say what went wrong and what to do next; one JSON object where JSON was asked for."""
        if self.as_json:
            document = {
                "code": error.code,
                "message": scrub(error.message),
                "hint": scrub(error.hint),
            }
            sys.stderr.write(json.dumps(document, ensure_ascii=False) + "\n")
        else:
            sys.stderr.write(f"Error: {scrub(error.message)}\n")
            if error.hint:
                sys.stderr.write(f"Hint: {scrub(error.hint)}\n")
        sys.stderr.flush()
