"""What several tests of cleanup start from."""

from collections.abc import Callable, Iterator

import pytest

from tests.conftest import Prepare, Prepared, copies
from tests.leads import LEADS, fill
from tests.servers import Server


@pytest.fixture(scope="session")
def filled_once(server: Server, template: Callable[[str], str]) -> Iterator[Prepared]:
    """A database to copy, with leads of every age and status, each with two deliveries."""
    with copies(server) as copy:
        database = copy(template("leadconnector"))
        fill(database, LEADS, deliveries=2)
        yield database


@pytest.fixture
def filled(filled_once: Prepared, copied: Prepare) -> Prepared:
    """A database of one's own with leads of every age and status."""
    return copied(filled_once.name)
