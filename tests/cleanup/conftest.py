"""What several tests of integration start from."""

import pytest

from tests.conftest import Prepared
from tests.leads import LEADS, fill


@pytest.fixture
def filled(leadconnector: Prepared) -> Prepared:
    """A database with leads of every age and status, each with two deliveries."""
    fill(leadconnector, LEADS, deliveries=2)
    return leadconnector
