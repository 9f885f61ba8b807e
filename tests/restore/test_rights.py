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


def test_rows_that_policies_hide_from_their_owner_are_counted(
    cli: Cli, server: Server, database: str, tmp_path: Path
) -> None:
    """As pg_restore loads them: they are no reason to refuse a good backup."""
    owner, copy = f"{database}_owner", f"{database}_copy"
    with server.connect(database) as connection:
        connection.execute(
            f"CREATE ROLE {owner} LOGIN CREATEDB PASSWORD 'x'; GRANT CREATE ON SCHEMA public TO {owner};"
            f"SET ROLE {owner}; CREATE TABLE notes AS SELECT generate_series(1, 5) AS id;"
            "ALTER TABLE notes ENABLE ROW LEVEL SECURITY; ALTER TABLE notes FORCE ROW LEVEL SECURITY;"
            "CREATE POLICY p ON notes USING (id > 3)"
        )
        try:
            place = Place(server, database, cli, tmp_path)
            assert place.leadctl("backup").code == 0
            place.url = (
                f"postgresql://{owner}:x@{server.host}:{server.port}/{database}"  # an ordinary role
            )
            verified = place.leadctl("backup", "verify", "latest", "--restore")
            assert verified.code == 0, verified.out + verified.err
            restored = place.leadctl("restore", "latest", "--into", copy, "--no-owner")
            assert restored.code == 0, restored.err
            assert place.query("SELECT count(*) FROM notes", copy) == [(5,)]
            assert place.query(
                "SELECT relforcerowsecurity FROM pg_class WHERE relname = 'notes'", copy
            ) == [(True,)]
        finally:
            server.drop(copy)
            connection.execute(f"RESET ROLE; DROP OWNED BY {owner} CASCADE; DROP ROLE {owner}")
