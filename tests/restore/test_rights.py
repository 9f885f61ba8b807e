"""Rows of a backup are loaded with the rights of who owns the table, and never a superuser's."""

import os
from pathlib import Path

import pytest

from tests.backups import Place
from tests.conftest import Cli
from tests.servers import Server

ROLE = f"restore_owner_{os.getpid()}"
OWN = f"""
CREATE TABLE public.seen (who text); GRANT INSERT ON public.seen TO {ROLE};
CREATE SCHEMA theirs AUTHORIZATION {ROLE};
SET ROLE {ROLE};
CREATE FUNCTION theirs.noted(text) RETURNS bool LANGUAGE plpgsql AS $$
    BEGIN INSERT INTO public.seen VALUES (current_user); RETURN true; END $$;
CREATE DOMAIN theirs.word AS text CHECK (theirs.noted(VALUE));
CREATE FUNCTION theirs.twice(n int) RETURNS int IMMUTABLE LANGUAGE plpgsql AS $$
    BEGIN PERFORM theirs.noted(''); RETURN n * 2; END $$;
CREATE TABLE theirs.things (
    id int PRIMARY KEY, w theirs.word, name text CHECK (theirs.noted(name)),
    n int, doubled int GENERATED ALWAYS AS (theirs.twice(n)) STORED);
INSERT INTO theirs.things VALUES (1, 'a', 'b', 3), (2, 'c', 'd', 4);
"""
WITHOUT_RIGHTS = f"""
REVOKE INSERT ON theirs.things FROM {ROLE}; REVOKE ALL ON SCHEMA theirs FROM {ROLE};
"""
RIGHTS = """SELECT nspacl::text, (SELECT relacl::text FROM pg_class WHERE oid = to_regclass('theirs.things'))
FROM pg_namespace WHERE nspname = 'theirs'"""


@pytest.mark.few(2)
@pytest.mark.parametrize("revoked", [False, True], ids=["", "the owner has no rights"])
@pytest.mark.parametrize(
    ("before", "options"),
    [
        ("", ()),
        ("DELETE FROM theirs.things WHERE id = 1", ("--data-only",)),
        ("DROP TABLE theirs.things", ()),
    ],
    ids=["beside", "rows", "gone"],
)
def test_checks_run_as_the_owner(
    cli: Cli,
    server: Server,
    database: str,
    tmp_path: Path,
    before: str,
    options: tuple[str, ...],
    revoked: bool,
) -> None:
    place = Place(server, database, cli, tmp_path)
    with server.connect(database) as connection:
        connection.execute(f"CREATE ROLE {ROLE}")
        try:
            connection.execute(OWN + WITHOUT_RIGHTS * revoked)
            connection.execute("RESET ROLE")
            rights = connection.execute(RIGHTS).fetchall()
            for line in ("db environment development --unprotect", "backup"):
                assert place.leadctl(*line.split()).code == 0, line
            connection.execute(f"TRUNCATE seen; {before}; TRUNCATE seen")
            back = place.leadctl("restore", "latest", "--table", "theirs.things", *options, "--yes")
            # What cannot enter its own schema cannot call its functions there, and nobody else does.
            denied = revoked and not before.startswith("DROP")
            seen = connection.execute("SELECT DISTINCT who FROM seen").fetchall()
            assert (back.code, seen) == ((4, []) if denied else (0, [(ROLE,)])), back.err
            assert connection.execute(RIGHTS).fetchall() == rights
        finally:
            connection.execute(f"DROP OWNED BY {ROLE} CASCADE; DROP ROLE {ROLE}")
