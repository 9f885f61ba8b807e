"""The engine of a host application: one per process, sized by the settings."""

import multiprocessing
import os

import pytest
from sqlalchemy import text
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.pool import QueuePool

from leadctl.postgres.engine import engine
from leadctl.settings import Settings, load_settings
from tests.conftest import Prepared


def settings(url: str, **variables: str) -> Settings:
    return load_settings(environ={"DATABASE_URL": url, **variables})


def test_one_engine_per_process_and_app(
    leadconnector: Prepared, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("leadctl.postgres.engine._engines", {})
    found = settings(leadconnector.url)
    first = engine(found)
    assert engine(found) is first
    with first.connect() as connection:
        assert connection.execute(text("SELECT count(*) FROM users")).scalar() == 1
        assert connection.execute(text("SHOW search_path")).scalar() == '"public"'
    monkeypatch.setattr(os, "getpid", lambda: -1)
    assert engine(found) is not first
    first.dispose()


def test_the_pool_has_the_size_that_was_set(
    leadconnector: Prepared, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("leadctl.postgres.engine._engines", {})
    url = f"{leadconnector.url}?pool_timeout=0.2"
    made = engine(settings(url, DATABASE_POOL_MIN="1", DATABASE_POOL_MAX="2"))
    assert isinstance(made.pool, QueuePool)
    with made.connect(), made.connect(), pytest.raises(PoolTimeout):
        made.connect()
    assert made.pool.checkedin() == 1  # one stays open, the other was over the minimum
    made.dispose()


def test_the_connection_limit_of_the_url_wins(
    leadconnector: Prepared, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("leadctl.postgres.engine._engines", {})
    made = engine(settings(f"{leadconnector.url}?connection_limit=1&pool_timeout=0.1"))
    with made.connect(), pytest.raises(PoolTimeout):
        made.connect()
    made.dispose()


def _in_child(url: str, queue: "multiprocessing.Queue[int]") -> None:
    with engine(settings(url)).connect() as connection:
        queue.put(connection.execute(text("SELECT pg_backend_pid()")).scalar_one())


def test_a_forked_process_has_connections_of_its_own(
    leadconnector: Prepared, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("leadctl.postgres.engine._engines", {})
    made = engine(settings(leadconnector.url))
    with made.connect() as connection:
        ours = connection.execute(text("SELECT pg_backend_pid()")).scalar_one()
    context = multiprocessing.get_context("fork")
    queue: multiprocessing.Queue[int] = context.Queue()
    child = context.Process(target=_in_child, args=(leadconnector.url, queue))
    child.start()
    assert queue.get(timeout=30) != ours
    child.join()
    made.dispose()
