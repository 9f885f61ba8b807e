"""Adopting drift makes check equal, here and where the revision is applied for real."""

from pathlib import Path

import pytest

from tests.conftest import Cli
from tests.history import Project
from tests.servers import Server

MADE = (
    "CREATE TYPE state AS ENUM ('open', 'done')",
    "CREATE TABLE unused (id serial PRIMARY KEY)",
    "CREATE TABLE tasks (id int PRIMARY KEY, title varchar(50), state state DEFAULT 'open', user_id int)",
    "CREATE INDEX tasks_user ON tasks (user_id)",
    "CREATE VIEW open_tasks AS SELECT id FROM tasks WHERE state = 'open'",
)
BY_HAND = {
    "a column's type": "ALTER TABLE tasks ALTER title TYPE text",
    "a column": "ALTER TABLE tasks ADD note text DEFAULT 'a :b'",
    "a column dropped": "ALTER TABLE tasks DROP title",
    "not null": "ALTER TABLE tasks ALTER title SET NOT NULL",
    "an index dropped": "DROP INDEX tasks_user",
    "an enum value": "ALTER TYPE state ADD VALUE 'late' BEFORE 'done'",
    "a view replaced": "CREATE OR REPLACE VIEW open_tasks AS SELECT id, title FROM tasks WHERE state = 'open'",
    "a foreign key": "ALTER TABLE tasks ADD FOREIGN KEY (user_id) REFERENCES unused",
    "a table": "CREATE TABLE more (id int)",
    "a function": "CREATE FUNCTION f() RETURNS text LANGUAGE sql AS $$ SELECT 'x :y' || E'\\\\n' $$",
}


@pytest.mark.few(1)
@pytest.mark.parametrize("what", BY_HAND)
def test_adopted(project: Project, server: Server, database: str, cli: Cli, what: str) -> None:
    url = server.url(database)
    project.revision(*MADE)
    assert cli("migrate", url=url).code == 0
    nothing = cli("migrate", "resolve", "--adopt-drift", "-m", "x", url=url)
    assert "Nothing to adopt" in nothing.out
    with server.connect(database) as connection:
        connection.execute(BY_HAND[what])
    assert cli("migrate", "drift", url=url).code == 1
    adopted = cli("migrate", "resolve", "--adopt-drift", "-m", "By hand", "-o", "json", url=url)
    assert adopted.code == 0, adopted.err
    if "dropped" in what and "index" not in what:
        assert "loses the column title of tasks" in adopted.err
    for command in ("drift", "status"):
        outcome = cli("migrate", command, url=url)
        assert outcome.code == 0, outcome.out
    assert cli("migrate", "check", "-o", "json", url=url).json["drift"] == []
    other = server.create()
    try:
        assert cli("migrate", url=server.url(other)).code == 0
        same = cli("migrate", "diff", "database", server.url(other), url=url)
        text = "".join(path.read_text() for path in Path("migrations").glob("*.py"))
        assert same.code == 0, same.out + text
        back = cli("migrate", "down", "own_0001", "--rehearse", url=url)
        assert back.code == 0, back.out
    finally:
        server.drop(other)
    assert cli("migrate", "resolve", "--adopt-drift", url=url).code == 2
