"""A database an app, migrated and seeded."""

import pytest

from tests.conftest import Prepare, Prepared


@pytest.fixture
def cleack(prepared: Prepare) -> Prepared:
    return prepared("cleack")


@pytest.fixture
def salesagent(prepared: Prepare) -> Prepared:
    return prepared("salesagent")


@pytest.fixture
def viralmommy(prepared: Prepare) -> Prepared:
    return prepared("viralmommy")


@pytest.fixture
def whatsapp(prepared: Prepare) -> Prepared:
    return prepared("whatsapp")
