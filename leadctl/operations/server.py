"""The embedded server's verbs, and the ways to reach any target with other tools."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from leadctl.db import embedded
from leadctl.db.binaries import client_program
from leadctl.db.embedded import Home, ServerStatus
from leadctl.db.target import Target

Narrate = Callable[[str], None]


@dataclass(frozen=True)
class TargetUrl:
    """A target's URL for other tools, without the password."""

    url: str
    database: str
    schema: str
    password_left_out: bool


@dataclass(frozen=True)
class ShellCommand:
    """How psql is started for a target: the password is in the environment, never an argument."""

    program: Path
    arguments: tuple[str, ...]
    environment: Mapping[str, str]


def start(project: Path, narrate: Narrate) -> ServerStatus:
    """Start the project's embedded server, making it where it is missing."""
    return embedded.start(Home.of(project), narrate)


def stop(project: Path) -> ServerStatus:
    """Stop the project's embedded server."""
    return embedded.stop(Home.of(project))


def status(project: Path) -> ServerStatus:
    """Say whether the project's embedded server exists and runs."""
    return embedded.status(Home.of(project))


def destroy(project: Path) -> ServerStatus:
    """Remove the project's embedded server with all of its data."""
    home = Home.of(project)
    embedded.destroy(home)
    return embedded.status(home)


def url(target: Target) -> TargetUrl:
    """Return the target's URL without the password."""
    return TargetUrl(
        url=target.url.without_password(),
        database=target.database,
        schema=target.schema,
        password_left_out=target.url.password is not None,
    )


def shell(target: Target) -> ShellCommand:
    """Return how to start psql on the target.  Raises MissingExtra where there is no psql."""
    environment = {"PGOPTIONS": f"-c search_path={target.schema}", "PGAPPNAME": "leadctl shell"}
    if target.url.password:
        environment["PGPASSWORD"] = target.url.password.reveal()
    return ShellCommand(client_program("psql"), (target.url.without_password(),), environment)
