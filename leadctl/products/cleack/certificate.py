"""The certificate of a draw: a hash that anybody can compute again from what it covers."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any


def certificate_hash(
    draw_id: str, config: Mapping[str, Any], winners: Sequence[Mapping[str, Any]]
) -> str:
    """Return the SHA-256, as 64 hexadecimal digits, of what decided a draw and what came of it.

    It is taken over the UTF-8 of a JSON object with the keys config, draw_id and winners: keys
    sorted at every level, no white space, nothing escaped that need not be.  Config and winners
    must be as they were read from the database, which writes some numbers in another way than
    they were sent.  Raises ValueError for a number beyond what a float holds.
    """
    document = {"config": config, "draw_id": draw_id, "winners": winners}
    canonical = json.dumps(
        document, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False
    )
    return hashlib.sha256(canonical.encode()).hexdigest()
