"""Reading from a target's replica, where leadctl.toml names one."""

from dataclasses import replace
from typing import NamedTuple

from leadctl.errors import NotAReplica
from leadctl.postgres.connect import connect
from leadctl.postgres.queries import queries_of
from leadctl.postgres.target import Target
from leadctl.progress import Narrate

_QUERIES = queries_of(__file__, "replica.sql")


class Reading(NamedTuple):
    """Where to read, and how many seconds that is behind; None where it is the target itself."""

    target: Target
    lag_seconds: float | None


def reading(target: Target, narrate: Narrate) -> Reading:
    """Return the target's replica where it has one, else the target; say so with the lag.

    Raises ConnectionFailed where the replica cannot be reached, and NotAReplica where it is none.
    """
    if target.replica is None:
        return Reading(target, None)
    standby = replace(target, url=target.replica, url_command=None, replica=None)
    with connect(standby, "replica", read_only=True) as connection:
        row = _QUERIES.one(connection, "lag")
    if row is None:
        raise NotAReplica(
            f"The replica of [env.{target.environment}], {standby.describe()}, is not a standby.",
            hint="Correct replica = in leadctl.toml, or remove it.",
        )
    lag = row[0]
    narrate(f"Reading from the replica {standby.describe()}, {lag:.1f} s behind.")
    return Reading(standby, lag)
