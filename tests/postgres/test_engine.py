"""The engine of a host application: one per process and database, sized by the settings."""

import multiprocessing
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from psycopg import sql
from sqlalchemy import Engine, text
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.pool import QueuePool

import leadctl
from leadctl.errors import AuthenticationFailed, NotAReplica
from leadctl.postgres import target as targets
from tests.conftest import Prepared
from tests.servers import PASSWORD, Server


def asked(made: Engine, question: str) -> object:
    with made.connect() as connection:
        return connection.execute(text(question)).scalar()


@pytest.fixture
def engine(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Engine]]:
    """Return the engine of a URL, with variables; all are closed in the end."""
    made: list[Engine] = []

    def make(url: str, **variables: str) -> Engine:
        for name, value in variables.items():
            monkeypatch.setenv(name, value)
        made.append(leadctl.database(url).engine())
        return made[-1]

    yield make
    for each in made:
        each.dispose()


def test_one_engine_per_process(
    leadconnector: Prepared, engine: Callable[..., Engine], monkeypatch: pytest.MonkeyPatch
) -> None:
    first = engine(leadconnector.url)
    assert engine(leadconnector.url) is first
    assert asked(first, "SELECT count(*) FROM users") == 1
    assert asked(first, "SHOW search_path") == '"public"'
    monkeypatch.setattr(os, "getpid", lambda: -1)
    assert engine(leadconnector.url) is not first


def test_an_engine_is_that_of_its_own_database(
    leadconnector: Prepared, server: Server, database: str, tmp_path: Path
) -> None:
    """What makes a connection another one makes the engine another one."""
    with server.connect() as connection:
        connection.execute("DROP ROLE IF EXISTS engine_owner")
        connection.execute("CREATE ROLE engine_owner")
    (tmp_path / "leadctl.toml").write_text(
        f'[env.mine]\nurl = "{leadconnector.url}"\n'
        f'[env.owned]\nurl = "{leadconnector.url}"\nrole = "engine_owner"\n'
    )
    made = [
        leadctl.database(leadconnector.url).engine(),
        leadctl.database(server.url(database)).engine(),
        leadctl.database(leadconnector.url, schema="elsewhere").engine(),
        leadctl.database(f"{leadconnector.url}?schema=other").engine(),
        leadctl.database(env="mine").engine(),
        leadctl.database(env="owned").engine(),
    ]
    asks = "SELECT format('%s %s %s', current_database(), current_setting('search_path'), role)"
    asks = asks.replace("role)", "current_user)")
    try:
        found = [asked(each, asks) for each in made]
        assert found == [
            f'{leadconnector.name} "public" postgres',
            f'{database} "public" postgres',
            f'{leadconnector.name} "elsewhere" postgres',
            f'{leadconnector.name} "other" postgres',
            f'{leadconnector.name} "public" postgres',
            f'{leadconnector.name} "public" engine_owner',
        ]
        assert len({id(each) for each in made}) == len(made)
    finally:
        for each in made:
            each.dispose()
        with server.connect() as connection:
            connection.execute("DROP ROLE engine_owner")


def test_the_pool_has_the_size_that_was_set(
    leadconnector: Prepared, engine: Callable[..., Engine]
) -> None:
    url = f"{leadconnector.url}?pool_timeout=0.2"
    made = engine(url, DATABASE_POOL_MIN="1", DATABASE_POOL_MAX="2")
    assert isinstance(made.pool, QueuePool)
    with made.connect(), made.connect(), pytest.raises(PoolTimeout):
        made.connect()
    assert made.pool.checkedin() == 1  # one stays open, the other was over the minimum


def test_the_connection_limit_of_the_url_wins(
    leadconnector: Prepared, engine: Callable[..., Engine]
) -> None:
    made = engine(f"{leadconnector.url}?connection_limit=1&pool_timeout=0.1")
    with made.connect(), pytest.raises(PoolTimeout):
        made.connect()


def _in_child(url: str, queue: "multiprocessing.Queue[object]") -> None:
    queue.put(asked(leadctl.database(url).engine(), "SELECT pg_backend_pid()"))


def test_a_forked_process_has_connections_of_its_own(
    leadconnector: Prepared, engine: Callable[..., Engine]
) -> None:
    ours = asked(engine(leadconnector.url), "SELECT pg_backend_pid()")
    context = multiprocessing.get_context("fork")
    queue: multiprocessing.Queue[object] = context.Queue()
    child = context.Process(target=_in_child, args=(leadconnector.url, queue))
    child.start()
    assert queue.get(timeout=30) != ours
    child.join()


@dataclass
class Token:
    """A role whose password is a token, and an environment whose url_command prints it."""

    database: Prepared
    folder: Path

    @property
    def role(self) -> str:
        return f"token_{self.database.name}"

    @property
    def calls(self) -> int:
        """How often the command was run."""
        return len((self.folder / "calls").read_text().split())

    def renew(self, text: str) -> None:
        """Make another token; the one of before is refused from then on."""
        (self.folder / "token").write_text(text)
        statement = sql.SQL("ALTER ROLE {} PASSWORD {}")
        self.execute(statement.format(sql.Identifier(self.role), sql.Literal(text)))

    def execute(self, statement: sql.Composable) -> None:
        with self.database.server.connect(self.database.name) as connection:
            connection.execute(statement)


@pytest.fixture
def token(leadconnector: Prepared, tmp_path: Path) -> Iterator[Token]:
    made = Token(leadconnector, tmp_path)
    server = leadconnector.server
    url = f"postgresql://{made.role}@{server.host}:{server.port}/{leadconnector.name}"
    (tmp_path / "leadctl.toml").write_text(
        f'[env.cloud]\nurl = "{url}"\nurl_command = "echo x >> calls; cat token"\n'
    )
    name = sql.Identifier(made.role)
    made.execute(sql.SQL("CREATE ROLE {} LOGIN").format(name))
    made.execute(sql.SQL("GRANT USAGE ON SCHEMA leadctl TO {}").format(name))
    made.execute(sql.SQL("GRANT SELECT ON ALL TABLES IN SCHEMA leadctl TO {}").format(name))
    made.renew("first")
    yield made
    made.execute(sql.SQL("DROP OWNED BY {}; DROP ROLE {}").format(name, name))


def test_an_expired_token_is_asked_for_again(token: Token) -> None:
    """By each new connection of the pool, and by a Database that lives as long as its process."""
    db = leadctl.database(env="cloud")
    made = db.engine()
    assert db.engine() is made
    with made.connect():
        assert asked(made, "SELECT 1") == 1  # another connection
        assert db.history().runs
        assert token.calls == 1
        token.renew("second")
        with made.connect(), made.connect():
            assert token.calls == 2
        token.renew("third")
        assert db.history().runs
        assert db.engine() is made
        assert token.calls == 3
    made.dispose()
    token.renew("fourth")
    (token.folder / "token").write_text("not that one")
    for _ in range(2):
        with pytest.raises(AuthenticationFailed):
            db.history()


def test_a_token_is_asked_for_again_in_time(token: Token, monkeypatch: pytest.MonkeyPatch) -> None:
    db = leadctl.database(env="cloud")
    began = time.monotonic()
    for minutes, calls in ((0, 1), (4, 1), (6, 2), (10, 2), (12, 3)):
        monkeypatch.setattr(targets.time, "monotonic", lambda now=minutes: began + now * 60)
        assert db.history().runs
        assert token.calls == calls


def test_another_token_never_leads_to_another_database(token: Token, server: Server) -> None:
    db = leadctl.database(env="cloud", schema="public")
    assert db.history().runs
    other = f"postgresql://postgres:{{}}@{server.host}:{server.port}/postgres?schema=other"
    token.renew("second")
    (token.folder / "token").write_text(other.format(PASSWORD.replace(" ", "%20")))
    assert db.history().runs  # the database of the new URL has no journal
    assert token.calls == 2


def test_a_replica_has_a_url_of_its_own(
    token: Token, server: Server, database: str, tmp_path: Path
) -> None:
    """What the url_command prints is the primary's; the replica here is no standby, and refused."""
    with (tmp_path / "leadctl.toml").open("a") as file:
        file.write(f'replica = "{server.url(database)}"\n')
    with pytest.raises(NotAReplica, match=database):
        leadctl.database(env="cloud").stats()
