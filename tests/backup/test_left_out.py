"""`leadctl backup --exclude` and `--exclude-data`, and what a role may not read."""

import shutil
from datetime import UTC, datetime, timedelta
from urllib.parse import quote

import pytest
from psycopg import sql

from tests.backup.test_evidence import rewrite
from tests.backups import Place
from tests.restore.test_counted import DATA_ONLY, place
from tests.servers import PASSWORD, small_disk

__all__ = ["place"]

TABLES = """
CREATE SCHEMA "odd one";
CREATE TABLE kept (id int PRIMARY KEY); INSERT INTO kept SELECT generate_series(1, 5);
CREATE TABLE "odd one"."a.b*" (id serial PRIMARY KEY, kept int REFERENCES kept);
INSERT INTO "odd one"."a.b*" (kept) SELECT generate_series(1, 3);
CREATE TABLE "a.b*" AS SELECT 1 AS id;
CREATE TABLE log (at date NOT NULL, id int) PARTITION BY RANGE (at);
CREATE TABLE log_1 PARTITION OF log FOR VALUES FROM ('2026-01-01') TO ('2026-02-01');
CREATE TABLE log_2 PARTITION OF log FOR VALUES FROM ('2026-02-01') TO ('2026-03-01');
INSERT INTO log SELECT date '2026-01-01' + i, i FROM generate_series(0, 40) i;
"""


def kept_of(place: Place, start: str) -> str:
    """Return the name of the one database that a restore kept; others' tests keep some, too."""
    names = [name for (name,) in place.query("SELECT datname FROM pg_database")]
    (kept,) = [each for each in names if each.startswith(start) and "_before_" in each]
    return str(kept)


@pytest.mark.thorough
def test_rows_that_are_left_out(place: Place) -> None:
    place.query(TABLES)
    made = place.leadctl("backup", "--exclude-data", "log", "-o", "json")
    assert made.code == 0, made.err
    assert made.json["excluded_data"] == ["public.log", "public.log_1", "public.log_2"]
    everything = place.leadctl("backup", "-o", "json").json["rows"]
    assert made.json["rows"] == everything - 41
    shutil.rmtree(max(place.backups.glob("2*")))
    (listed,) = place.leadctl("backup", "list", "-o", "json").json["backups"]
    assert listed["excluded_data"] == made.json["excluded_data"]
    assert "rows of public.log_1" in place.leadctl("backup", "list").out
    assert "rows of public.log_1" in place.leadctl("backup", "show", "latest").out
    verified = place.leadctl("backup", "verify", "latest", "--restore")
    assert verified.code == 0, verified.out
    assert place.leadctl("restore", "latest", "--into", "counted_copy").code == 0
    assert place.query("SELECT count(*) FROM log", "counted_copy") == [(0,)]
    assert place.query('SELECT count(*) FROM "odd one"."a.b*"', "counted_copy") == [(3,)]
    assert "public.log_1" in place.leadctl("restore", "latest", "--dry-run").out
    over = place.leadctl("restore", "latest", "--confirm", place.name, "--drop-old")
    assert (over.code, "Kept counted_before_" in over.err) == (0, True), over.err
    kept = kept_of(place, f"{place.name}_before_")
    assert place.query("SELECT count(*) FROM log", kept) == [(41,)]
    place.query("DELETE FROM log")
    refused = place.leadctl(*DATA_ONLY, "--table", "log")
    assert (refused.code, "left out" in refused.err) == (1, True), refused.err
    place.query('ALTER TABLE "a.b*" ADD PRIMARY KEY (id)')
    rest = place.leadctl(*DATA_ONLY)
    assert (rest.code, "rows of public.log, public.log_1" in rest.err) == (0, True), rest.err


def test_health_names_what_the_newest_backup_does_not_have(place: Place) -> None:
    """Its age is that of the last one, and the last one that has all may be old."""

    def check() -> tuple[str, str]:
        arguments = ("health-check", "--check", "backups", "-o", "json")
        (one,) = place.leadctl(*arguments).json["checks"]
        return one["status"], one["message"]

    place.query(TABLES)
    assert place.leadctl("backup").code == 0
    assert place.leadctl("backup", "verify", "latest").code == 0
    assert place.leadctl("backup", "--exclude-data", "log", "--exclude", '"a.b*"').code == 0
    status, message = check()
    assert (status, "without public" in message) == ("ok", True)
    assert all(name in message for name in ('public."a.b*"', "public.log", "public.log_1"))
    whole = min(place.backups.glob("2*"))
    old = f"{datetime.now(UTC) - timedelta(hours=30):%Y%m%dT%H%M%S}-000Z"
    rewrite(whole, lambda manifest: manifest.update(id=old))
    whole.rename(whole.with_name(old))
    status, message = check()
    assert (status, f"the last with them is {old}" in message) == ("warning", True), message


@pytest.mark.few(1)
@pytest.mark.parametrize("option", ["--exclude", "--exclude-data"])
def test_what_lacks_a_table_displaces_none_that_has_it(place: Place, option: str) -> None:
    """The newest of a day is kept, and the night's whole backup beside it."""
    place.query(TABLES)
    ids = [
        place.leadctl("backup", *more, "-o", "json").json["id"]
        for more in ([], [], [option, "log"], [option, '"a.b*"'], [option, "log"])
    ]
    few = ("--keep-minimum", "1", "--keep-weekly", "0", "--keep-monthly", "0")
    pruned = place.leadctl("backup", "prune", "--yes", *few, "-o", "json").json["backups"]
    assert {each["id"] for each in pruned if each["kept_as"]} == {ids[1], ids[3], ids[4]}
    again = place.leadctl("backup", "-o", "json").json["id"]
    place.leadctl("backup", "prune", "--yes", *few)
    assert [path.name for path in place.backups.glob("2*Z")] == [again]


def test_tables_that_are_left_out(place: Place) -> None:
    place.query(TABLES)
    made = place.leadctl("backup", "create", "--exclude", "log", "--exclude", '"odd one"."a.b*"')
    assert made.code == 0, made.err
    assert '"odd one"."a.b*"' in made.out
    verified = place.leadctl("backup", "verify", "latest", "--restore")
    assert verified.code == 0, verified.out
    assert place.leadctl("restore", "latest", "--into", "counted_copy").code == 0
    tables = "SELECT relname FROM pg_class WHERE relkind IN ('r', 'p') AND oid > 16384 ORDER BY 1"
    found = [name for (name,) in place.query(tables, "counted_copy") if name in TABLES]
    assert found == ["a.b*", "kept"]


@pytest.mark.parametrize(
    ("needs", "option"),
    [
        ("CREATE TABLE child (id int REFERENCES kept)", "--exclude"),
        ("CREATE TABLE child (id int REFERENCES kept)", "--exclude-data"),
        ("CREATE VIEW child AS SELECT * FROM kept", "--exclude"),
        ("CREATE FUNCTION child(kept) RETURNS int LANGUAGE sql AS 'SELECT 1'", "--exclude"),
        (
            "CREATE FUNCTION child() RETURNS bigint BEGIN ATOMIC SELECT count(*) FROM kept; END",
            "--exclude",
        ),
    ],
)
def test_what_would_lack_a_table(place: Place, needs: str, option: str) -> None:
    place.query(f"CREATE TABLE kept (id int PRIMARY KEY); {needs}")
    refused = place.leadctl("backup", option, "kept")
    assert (refused.code, "child" in refused.err) == (2, True), refused.err
    if "REFERENCES" in needs:
        assert place.leadctl("backup", option, "kept", option, "child").code == 0
        assert place.leadctl("backup", "verify", "latest", "--restore").code == 0
    assert place.leadctl("backup", "--exclude", "nobody").code == 2


@pytest.mark.parametrize(
    ("hide", "option"),
    [
        ("CREATE TABLE secret (id serial)", "--exclude"),
        ("CREATE SCHEMA closed; CREATE TABLE closed.secret (id int)", "--exclude"),
        (
            "CREATE TABLE secret (id int); ALTER TABLE secret ENABLE ROW LEVEL SECURITY;"
            " GRANT SELECT ON secret TO counted_reader",
            "--exclude-data",
        ),
    ],
)
def test_what_may_not_be_read_is_named(place: Place, hide: str, option: str) -> None:
    place.query(f"CREATE ROLE counted_reader LOGIN PASSWORD '{PASSWORD}'")
    try:
        place.query(f"CREATE TABLE open (id int); GRANT SELECT ON open TO counted_reader; {hide}")
        url = place.server.url(place.name).replace("//postgres:", "//counted_reader:")
        for (name,) in place.query("SELECT nspname FROM pg_namespace WHERE nspname = 'leadctl'"):
            place.query(
                f"GRANT USAGE ON SCHEMA {name} TO counted_reader;"
                f"GRANT SELECT ON ALL TABLES IN SCHEMA {name} TO counted_reader;"
                f"GRANT SELECT ON ALL SEQUENCES IN SCHEMA {name} TO counted_reader"
            )
        refused = place.leadctl("backup", "--url", url)
        assert (refused.code, "secret" in refused.err) == (4, True), refused.err
        assert f"{option} " in refused.err
        command = refused.err[refused.err.index("leadctl backup") :].split()
        made = place.leadctl(*command[1:], "--url", url)
        assert made.code == 0, made.err
        assert place.leadctl("backup", "verify", "latest", "--restore").code == 0
    finally:
        place.query("DROP OWNED BY counted_reader; DROP ROLE counted_reader")


@pytest.mark.parametrize("limit", [1, 2, 3])
@pytest.mark.parametrize("of", ["ROLE counted_reader", "DATABASE counted"])
def test_connection_limits(place: Place, of: str, limit: int) -> None:
    place.query(f"CREATE ROLE counted_reader LOGIN PASSWORD '{PASSWORD}' IN ROLE pg_read_all_data")
    try:
        place.query(
            f"CREATE TABLE t AS SELECT generate_series(1, 9); ALTER {of} CONNECTION LIMIT {limit}"
        )
        url = place.server.url(place.name).replace("//postgres:", "//counted_reader:")
        made = place.leadctl("backup", "--url", url)
        if limit == 1:
            assert (made.code, "needs two connections" in made.err) == (4, True), made.err
        else:
            assert made.code == 0, made.err
    finally:
        place.query("DROP OWNED BY counted_reader; DROP ROLE counted_reader")


def test_a_name_that_is_no_text(place: Place) -> None:
    place.server.drop(place.name)
    place.query(
        f"CREATE DATABASE {place.name} TEMPLATE template0 ENCODING 'SQL_ASCII' LOCALE 'C'",
        "postgres",
    )
    with place.server.connect(place.name, client_encoding="LATIN1") as connection:
        connection.execute('CREATE TABLE "caf\u00e9" (id int)')
    refused = place.leadctl("backup")
    assert (refused.code, "not valid UTF-8" in refused.err) == (1, True), refused.err
    assert "relname" in refused.err
    with place.server.connect(place.name, client_encoding="LATIN1") as connection:
        connection.execute('ALTER TABLE "caf\u00e9" RENAME TO cafe')
    assert place.leadctl("backup").code == 0


@pytest.mark.parametrize("name", ["counted=b", "counted dbname=postgres", 'counted"x', "counted'x"])
def test_roles_are_in_the_backup_whatever_the_database_is_called(place: Place, name: str) -> None:
    place.query(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)).as_string(), "postgres")
    made = place.leadctl("backup", "-o", "json", "--url", place.server.url(quote(name)))
    assert (made.code, made.json["globals_left_out"]) == (0, None), made.err
    assert made.json["database"] == name


@pytest.mark.thorough
def test_kept_databases_of_a_long_name_are_known(place: Place) -> None:
    name = "counted_" + "n" * 55
    place.query(f"CREATE DATABASE {name}; ", "postgres")
    url = ("--url", place.server.url(name))
    place.query("CREATE TABLE t AS SELECT 1 AS id", name)
    assert place.leadctl("db", "environment", "dev", "--unprotect", *url).code == 0
    assert place.leadctl("backup", *url).code == 0
    first = place.leadctl("restore", "latest", "--yes", *url)
    assert first.code == 0, first.err
    kept = kept_of(place, "counted_nnn")
    second = place.leadctl("restore", "latest", "--yes", *url)
    assert (second.code, kept in second.err) == (0, True), second.err


def test_a_full_disk_is_named_by_its_folder(place: Place) -> None:
    place.query("CREATE TABLE t AS SELECT md5(random()::text) FROM generate_series(1, 60000)")
    with small_disk("512k") as folder:
        failed = place.leadctl("backup", "--to", str(folder / "backups"))
        assert (failed.code, str(folder / "backups") in failed.err) == (1, True), failed.err
        assert not list((folder / "backups").glob("2*"))
