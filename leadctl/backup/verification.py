"""How a backup was verified, as it is kept beside it."""

import json
from dataclasses import asdict, dataclass
from datetime import UTC, datetime


@dataclass(frozen=True)
class Verification:
    """The outcome of `backup verify`.

    `depth` is how far it looked: "bytes" (every byte against its hash), "content" (decrypted and
    read to the archive's end) or "restored" (loaded into a database and compared).
    """

    at: datetime
    ok: bool
    depth: str
    problems: tuple[str, ...] = ()

    def render(self) -> str:
        """Return the text that is kept."""
        return json.dumps({**asdict(self), "at": self.at.astimezone(UTC).isoformat()}) + "\n"

    @classmethod
    def parse(cls, text: str) -> "Verification":
        """Read what was kept.  Raises ValueError, TypeError or KeyError for anything else."""
        document = json.loads(text)
        document["at"] = datetime.fromisoformat(document["at"])
        document["problems"] = tuple(document["problems"])
        return cls(**document)
