"""Progress of an index build is what the server says of it."""

import threading
import time

from leadctl.apps.registry import find_app
from leadctl.journal.guard import Consent
from leadctl.migrate.up import up
from leadctl.postgres.connect import Timeouts
from leadctl.postgres.target import resolve
from leadctl.settings import load_settings
from tests.history import Project
from tests.servers import Server


def test_it_is_reported_while_it_waits(project: Project, server: Server, database: str) -> None:
    project.revision("CREATE TABLE t AS SELECT n FROM generate_series(1, 50000) n")
    project.revision("CREATE INDEX CONCURRENTLY t_n ON t (n)", concurrently=True)
    settings = load_settings(environ={"DATABASE_URL": server.url(database)})
    target, app = resolve(settings, app="own"), find_app(settings)
    seen: list[tuple[int, int, str]] = []

    def migrate(to: str) -> None:
        up(
            target,
            app,
            to=to,
            consent=Consent(),
            timeouts=Timeouts(60, 10),
            narrate=lambda _: None,
            progress=lambda *facts: seen.append(facts),
        )

    migrate("own_0001")
    assert not seen
    with server.connect(database) as older:
        older.execute("BEGIN ISOLATION LEVEL REPEATABLE READ")
        older.execute("SELECT count(*) FROM t")
        building = threading.Thread(target=migrate, args=["own_0002"])
        building.start()
        deadline = time.monotonic() + 60
        while not seen and time.monotonic() < deadline:
            time.sleep(0.1)
        older.execute("COMMIT")
        building.join(60)
    assert seen
    assert all(done <= total for done, total, _ in seen)
    assert seen[0][2].endswith(("for t_n", "for an index on t"))
