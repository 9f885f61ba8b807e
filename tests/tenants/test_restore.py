"""`backup --tenant` and `restore --tenant`: one tenant back, while the others work on."""

import shutil
import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from leadctl.backup.manifest import parse, render
from tests.backups import plain_dump
from tests.processes import start, wait_for
from tests.tenants.conftest import ROLE, Tenants

NAMES = ["acme", 'we"ird näme']


@pytest.mark.thorough
@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("whole", [False, True], ids=["own", "whole"])
def test_a_tenant_is_as_it_was(tenants: Tenants, name: str, whole: bool) -> None:
    tenants.done("tenants", "create", name)
    tenants.done("tenants", "create", "other")
    tenants.fill(name, 100)
    tenants.fill("other", 10)
    quoted = '"' + name.replace('"', '""') + '"'
    tenants.query(
        f"GRANT USAGE ON SCHEMA {quoted} TO {ROLE}; GRANT SELECT ON {quoted}.orders TO {ROLE};"
        f"ALTER DEFAULT PRIVILEGES IN SCHEMA {quoted} GRANT SELECT ON TABLES TO {ROLE};"
        f"COMMENT ON SCHEMA {quoted} IS 'a customer'; ALTER SCHEMA {quoted} OWNER TO {ROLE}"
    )
    before, other = tenants.dump(name), tenants.dump("other")
    records = tenants.query("SELECT * FROM leadctl.migration ORDER BY schema, revision")
    made = tenants.done("backup", *([] if whole else ["--tenant", name]))
    assert made["tenant"] == (None if whole else name)
    tenants.query(
        f"DELETE FROM {quoted}.orders; DROP VIEW {quoted}.busy; DROP FUNCTION {quoted}.lowered;"
        f"ALTER TABLE {quoted}.customers DROP COLUMN mood; INSERT INTO other.customers (name) VALUES ('n')"
    )
    damaged = tenants.dump(name)
    tried = tenants.done("restore", "--tenant", name, "--dry-run")
    assert (tried["rows"], tried["dry_run"]) == (201, True)
    assert tenants.dump(name) == damaged
    assert tenants.leadctl("restore", "--tenant", name).code == 5
    back = tenants.done("restore", "--tenant", name, "--yes")
    assert (back["rows"], back["revision"], back["backup"]) == (201, "own_0002", made["id"])
    assert tenants.dump(name) == before
    assert tenants.dump("other") != other  # what others wrote meanwhile is there
    assert tenants.query("SELECT count(*) FROM other.customers") == [(11,)]
    kept = back["kept_as"]
    here, there = quoted, '"' + kept.replace('"', '""') + '"'
    assert [line.replace(there, here).replace(kept, name) for line in tenants.dump(kept)] != before
    assert tenants.query(f"SELECT count(*) FROM {there}.customers") == [(100,)]
    now = tenants.query("SELECT * FROM leadctl.migration ORDER BY schema, revision")
    assert [row for row in now if row[1] != kept] == records
    assert tenants.leadctl("tenants", "drop", kept, "--yes").code == 0
    assert tenants.done("migrate", "--schema", name)["applied"] == []


@pytest.mark.thorough
def test_others_and_the_tenant_itself_work_on_meanwhile(tenants: Tenants) -> None:
    """Writers in both, from before the restore to after it: none of them sees an error."""
    for name in NAMES:
        tenants.done("tenants", "create", name)
    tenants.fill("acme", 2000)
    tenants.done("backup", "--tenant", "acme")
    stop, errors, written = threading.Event(), list[str](), dict.fromkeys(NAMES, 0)

    def write(name: str) -> None:
        quoted = '"' + name.replace('"', '""') + '"'
        with tenants.server.connect(tenants.name) as session:
            while not stop.is_set():
                try:
                    session.execute(f"INSERT INTO {quoted}.customers (name) VALUES ('during')")
                    written[name] += 1
                except Exception as error:  # noqa: BLE001 - whatever a client would see
                    errors.append(f"{name}: {error}")
                    return

    writers = [threading.Thread(target=write, args=(name,)) for name in NAMES]
    for writer in writers:
        writer.start()
    try:
        wait_for(lambda: all(written.values()))
        before = dict(written)
        back = tenants.done("restore", "--tenant", "acme", "--yes")
        during = {name: written[name] - before[name] for name in NAMES}
    finally:
        stop.set()
        for writer in writers:
            writer.join()
    assert errors == []
    assert min(during.values()) > 0
    other = tenants.query("""SELECT count(*) FROM "we""ird näme".customers""")
    assert other == [(written[NAMES[1]],)]
    kept = back["kept_as"]
    ((mine,),) = tenants.query(
        f"SELECT (SELECT count(*) FROM acme.customers WHERE name = 'during')"
        f" + (SELECT count(*) FROM {kept}.customers WHERE name = 'during')"
    )
    assert mine == written["acme"]  # each row is in the old schema or in the new one


@pytest.mark.thorough
def test_a_kill_leaves_the_tenant_as_it_was(tenants: Tenants) -> None:
    tenants.done("tenants", "create", "acme")
    tenants.fill("acme", 50)
    tenants.done("backup", "--tenant", "acme")
    tenants.query("DELETE FROM acme.orders")
    before = tenants.dump("acme")
    with tenants.server.connect(tenants.name) as holder, holder.transaction():
        # Its foreign keys need a lock on the shared table, and wait for this session.
        holder.execute("LOCK TABLE public.plans IN ACCESS EXCLUSIVE MODE")
        process = start("restore", "--tenant", "acme", "--yes", "--lock-wait", "60s",
                        env={"DATABASE_URL": tenants.url, **tenants.env})  # fmt: skip
        wait_for(lambda: tenants.query(
            "SELECT 1 FROM pg_locks WHERE relation = 'public.plans'::regclass AND NOT granted"))  # fmt: skip
        process.kill()
        process.communicate()
    wait_for(lambda: tenants.schemas() == ["acme"] and not tenants.query(
        "SELECT 1 FROM pg_stat_activity WHERE datname = current_database()"
        " AND application_name LIKE 'leadctl%%'"))  # fmt: skip
    assert tenants.dump("acme") == before
    assert tenants.done("restore", "--tenant", "acme", "--yes")["rows"] == 101


@pytest.mark.few(2)
@pytest.mark.parametrize(
    "statement",
    [
        "CREATE VIEW public.needs AS SELECT * FROM acme.customers",
        "CREATE TABLE public.needs (customer int REFERENCES acme.customers)",
        "CREATE TABLE public.needs (mood acme.mood)",
        "CREATE TABLE public.needs (id int DEFAULT nextval('acme.customers_id_seq'))",
        "CREATE FUNCTION public.needs(acme.mood) RETURNS int LANGUAGE sql AS 'SELECT 1'",
        "CREATE TABLE public.needs (id int) INHERITS (acme.customers)",
        "CREATE PUBLICATION needs FOR TABLE acme.customers",
    ],
)
def test_what_would_go_on_with_the_old_one_stops_it(tenants: Tenants, statement: str) -> None:
    tenants.done("tenants", "create", "acme")
    tenants.done("backup", "--tenant", "acme")
    tenants.query(statement)
    before = plain_dump(tenants.server, tenants.name, None, "--exclude-schema=leadctl")
    outcome = tenants.leadctl("restore", "--tenant", "acme", "--yes")
    assert (outcome.code, "needs" in outcome.err) == (5, True), outcome.err
    assert plain_dump(tenants.server, tenants.name, None, "--exclude-schema=leadctl") == before


def test_another_count_than_in_the_manifest_changes_nothing(tenants: Tenants) -> None:
    tenants.done("tenants", "create", "acme")
    tenants.fill("acme", 5)
    path = Path(tenants.done("backup", "--tenant", "acme")["path"]) / "manifest.json"
    manifest = parse(path.read_text())
    document = render(manifest).replace('"rows": 5', '"rows": 6')
    assert document != render(manifest)
    import dataclasses

    tables = tuple(dataclasses.replace(t, rows=t.rows + (t.rows == 5)) for t in manifest.tables)
    path.write_text(render(dataclasses.replace(manifest, tables=tables)))
    before = tenants.dump("acme")
    outcome = tenants.leadctl("restore", "--tenant", "acme", "--yes")
    assert (outcome.code, "manifest" in outcome.err) == (1, True), outcome.err
    assert (tenants.dump("acme"), tenants.schemas()) == (before, ["acme"])


@pytest.mark.thorough
def test_rows_that_the_backup_does_not_have(tenants: Tenants) -> None:
    tenants.done("tenants", "create", "acme")
    tenants.fill("acme", 10)
    tenants.done("backup", "--exclude-data", "acme.orders")
    before = tenants.dump("acme")
    refused = tenants.leadctl("restore", "--tenant", "acme", "--yes")
    assert (refused.code, "rows of acme.orders" in refused.err) == (1, True), refused.err
    assert (tenants.dump("acme"), tenants.schemas()) == (before, ["acme"])


@pytest.mark.thorough
def test_a_tenants_backup_is_never_one_of_the_whole(tenants: Tenants) -> None:
    """Neither the latest, nor what prune counts, nor what replaces the database."""
    tenants.done("tenants", "create", "acme")
    tenants.done("tenants", "create", "other")
    own = tenants.done("backup", "--tenant", "acme")
    assert tenants.leadctl("restore", "latest", "--yes").code == 1
    whole = tenants.done("backup")
    newer = tenants.done("backup", "--tenant", "acme")
    assert [each["id"] for each in tenants.done("backup", "list")["backups"]] == [whole["id"]]
    assert [each["id"] for each in tenants.done("backup", "list", "--tenant", "acme")["backups"]] == [
        newer["id"], own["id"]]  # fmt: skip
    assert tenants.done("backup", "show", "latest")["manifest"]["tenant"] is None
    assert tenants.done("backup", "verify", "latest", "--tenant", "acme")["ok"]
    folder = str(Path(own["path"]).parent)
    before = plain_dump(tenants.server, tenants.name, None, "--exclude-schema=leadctl")
    for more in ([], ["--dry-run"]):
        outcome = tenants.leadctl("restore", own["id"], "--from", folder, "--yes", *more)
        assert (outcome.code, "alone" in outcome.err) == (1, True), outcome.err
    assert plain_dump(tenants.server, tenants.name, None, "--exclude-schema=leadctl") == before
    assert tenants.leadctl("restore", "--tenant", "nobody", "--yes").code == 1
    archive = next(Path(own["path"]).glob("archive*"))
    assert b"other" not in archive.read_bytes()


@pytest.mark.thorough
def test_the_old_one_gets_a_name_that_is_free(tenants: Tenants) -> None:
    """Another was kept in the same second."""
    tenants.done("tenants", "create", "acme")
    tenants.done("backup", "--tenant", "acme")
    now = datetime.now(UTC)
    taken = [f"acme_before_{now + timedelta(seconds=n):%Y%m%dt%H%M%Sz}" for n in range(4)]
    tenants.query("; ".join(f"CREATE SCHEMA {name}" for name in taken))
    back = tenants.done("restore", "--tenant", "acme", "--yes")
    assert back["kept_as"] not in taken
    names = tenants.query("SELECT nspname FROM pg_namespace WHERE nspname LIKE 'acme_before_%'")
    assert sorted(name for (name,) in names) == sorted([*taken, back["kept_as"]])


def test_a_dropped_tenant_comes_back(tenants: Tenants) -> None:
    tenants.done("tenants", "create", "acme")
    tenants.fill("acme", 7)
    before = tenants.dump("acme")
    dropped = tenants.done("tenants", "drop", "acme", "--yes", "--backup")
    assert tenants.schemas() == []
    back = tenants.done("restore", "--tenant", "acme")
    assert (back["backup"], back["kept_as"], back["rows"]) == (dropped["backup"], None, 15)
    assert tenants.dump("acme") == before
    assert tenants.leadctl("migrate", "drift", "--schema", "acme").code == 0


@pytest.mark.thorough
def test_a_tenant_of_the_same_name_elsewhere_is_another_customer(tenants: Tenants) -> None:
    """Two databases, one folder of backups: the latest is never the other's."""
    there = tenants.server.create()
    url = f"--url={tenants.server.url(there)}"
    try:
        plans = (
            "CREATE TABLE public.plans (id int PRIMARY KEY); INSERT INTO public.plans VALUES (1)"
        )
        tenants.query(plans, name=there)
        for place in ([], [url]):
            assert tenants.leadctl("tenants", "create", "acme", *place).code == 0
        tenants.query("INSERT INTO acme.customers (name) VALUES ('theirs')", name=there)
        tenants.fill("acme", 3)
        theirs = tenants.done("backup", "--tenant", "acme", url)
        refused = tenants.leadctl("restore", "--tenant", "acme", "--yes", "-o", "json")
        assert (refused.code, theirs["id"] in refused.err) == (1, True), refused.err
        ours = tenants.done("backup")
        tenants.done("backup", "--tenant", "acme", url)
        whole = tenants.done("backup", url)
        tenants.query("DELETE FROM acme.orders; DELETE FROM acme.customers")
        assert tenants.done("restore", "--tenant", "acme", "--yes")["backup"] == ours["id"]
        assert tenants.query("SELECT DISTINCT name FROM acme.customers ORDER BY 1") == [
            ("c1",), ("c2",), ("c3",)]  # fmt: skip
        rows = ("--table", "customers", "--data-only", "--schema", "acme", "--yes")
        assert tenants.done("restore", *rows)["backup"] == ours["id"]
        assert tenants.done("restore", "--dry-run")["backup"] == ours["id"]
        shutil.rmtree(ours["path"])
        for less in (rows, ("--table", "customers"), ("--in-place", "--schema", "acme", "--yes")):
            refused = tenants.leadctl("restore", *less)
            assert (refused.code, "is of another database" in refused.err) == (1, True), refused.err
        named = tenants.done("restore", "--tenant", "acme", theirs["id"], "--yes")
        assert tenants.query("SELECT name FROM acme.customers") == [("theirs",)]
        assert named["backup"] == theirs["id"]
        assert tenants.done("restore", "--dry-run")["backup"] == whole["id"]
    finally:
        tenants.server.drop(there)


@pytest.mark.few(1)
@pytest.mark.parametrize("owns_schema", [True, False])
def test_checks_of_a_tenants_owner_do_not_run_with_a_superusers_rights(
    tenants: Tenants, owns_schema: bool
) -> None:
    """As triggers and views do not: what a table's CHECK and a domain call tells who runs it."""
    tenants.done("tenants", "create", "acme", "--owner", ROLE)
    tenants.query(
        f"""ALTER SCHEMA acme OWNER TO {ROLE if owns_schema else "postgres"}; GRANT USAGE, CREATE ON SCHEMA acme TO {ROLE};
        CREATE TABLE public.seen (who text); GRANT INSERT ON public.seen TO {ROLE};
        SET ROLE {ROLE}; SET search_path = acme;
        CREATE FUNCTION noted(text) RETURNS bool LANGUAGE plpgsql AS $$
            BEGIN INSERT INTO public.seen VALUES (current_user); RETURN true; END $$;
        CREATE DOMAIN word AS text CHECK (acme.noted(VALUE));
        ALTER TABLE customers ADD COLUMN w word, ADD CHECK (acme.noted(name));
        INSERT INTO customers (name, w) VALUES ('a', 'b')"""
    )
    tenants.done("backup", "--tenant", "acme")
    tenants.query("TRUNCATE public.seen")
    tenants.done("restore", "--tenant", "acme", "--yes")
    assert tenants.query("SELECT DISTINCT who FROM public.seen") == [(ROLE,)]
