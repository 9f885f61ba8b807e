"""Citus: on a cluster where LEADCTL_TEST_CITUS_URL names one, and what one server can tell of it."""

import dataclasses
import os
import re
import threading
import time
from collections.abc import Iterator
from copy import copy as copied
from pathlib import Path
from typing import Any
from uuid import uuid4

import psycopg
import pytest

from leadctl.backup.manifest import Distributed, ExtensionFacts, parse, render
from leadctl.postgres.queries import Queries
from tests.backups import encrypted_backups
from tests.conftest import Cli, Outcome, Prepared
from tests.processes import wait_for
from tests.tenants.conftest import Tenants

CLUSTER = os.environ.get("LEADCTL_TEST_CITUS_URL")
PACKAGE = Path(__file__).parents[2] / "leadctl"


def test_only_the_tenants_schema_is_made_to_be_distributed(tenants: Tenants) -> None:
    """With the setting that distributes what is made, as Citus reads it at CREATE SCHEMA."""
    tenants.query("DROP SCHEMA leadctl CASCADE")
    tenants.query(
        f"""ALTER DATABASE "{tenants.name}" SET citus.enable_schema_based_sharding = on;
        CREATE TABLE public.seen (what text, sharded text);
        CREATE FUNCTION public.see() RETURNS event_trigger LANGUAGE plpgsql AS $$
            BEGIN INSERT INTO public.seen SELECT object_identity,
                current_setting('citus.enable_schema_based_sharding')
                FROM pg_event_trigger_ddl_commands(); END $$;
        CREATE EVENT TRIGGER see ON ddl_command_end WHEN TAG IN ('CREATE SCHEMA')
            EXECUTE FUNCTION public.see()"""
    )
    tenants.query("CREATE TABLE leadctl_before (id int)")
    assert tenants.leadctl("db", "environment", "dev", "--unprotect").code == 0
    tenants.done("tenants", "create", "acme")
    assert dict(tenants.query("SELECT * FROM public.seen")) == {"leadctl": "off", "acme": "on"}


def test_no_record_is_updated_by_a_volatile_function(leadconnector: Prepared) -> None:
    """Citus refuses them on distributed tables, such as version 0.1.0 has made there."""
    updates = [
        block.sql
        for file in PACKAGE.rglob("*.sql")
        for block in (Queries(file).blocks if file.name != "from_prisma.sql" else ())
        if re.search(r"UPDATE leadctl\.|INSERT INTO leadctl\..*DO UPDATE", block.sql, re.DOTALL)
    ]
    assert len(updates) > 10
    for update in updates:
        changing = re.split(r"DO UPDATE|UPDATE leadctl", update, maxsplit=1)[1]
        names = re.findall(r"(\w+)\(", changing)
        volatile = leadconnector.query(
            "SELECT proname FROM pg_proc WHERE proname = ANY (%s) AND provolatile = 'v'", names
        )
        assert volatile == [], update


def test_a_whole_clusters_backup_is_refused_by_name(tenants: Tenants) -> None:
    tenants.done("tenants", "create", "acme")
    path = Path(tenants.done("backup")["path"]) / "manifest.json"
    manifest = parse(path.read_text())
    citus = ExtensionFacts("citus", "13.2-1", "pg_catalog")
    appended = Distributed("method a", "acme.orders", None, 0, 1, 0)
    for distribution, said in ((None, "Citus"), ((appended,), "distributed by append")):
        facts = {"extensions": (*manifest.extensions, citus), "distribution": distribution}
        path.write_text(render(dataclasses.replace(manifest, **facts)))
        for more in (["--yes"], ["--dry-run"], ["--into", "elsewhere"]):
            outcome = tenants.leadctl("restore", "latest", *more)
            assert (outcome.code, said in outcome.err) == (5, True), outcome.err
    assert tenants.schemas() == ["acme"]
    assert tenants.done("restore", "--tenant", "acme", "--yes")["rows"] == 1


def test_a_node_is_a_clusters(tenants: Tenants) -> None:
    tenants.done("tenants", "create", "acme")
    outcome = tenants.leadctl("tenants", "move", "acme", "--to-node", "localhost:5432")
    assert (outcome.code, "Citus" in outcome.err) == (2, True), outcome.err
    both = ("--to", "us", "--to-node", "localhost:5432")
    assert tenants.leadctl("tenants", "move", "acme", *both).code == 2
    health = tenants.leadctl("health-check", "--check", "citus-nodes", "-o", "json").json
    assert [check["status"] for check in health["checks"]] == ["skipped"]


STAND_IN = r"""
    SET allow_system_table_mods = on;
    INSERT INTO pg_extension SELECT 99001, 'citus', 10, 'pg_catalog'::regnamespace, false, '13.2-1';
    CREATE TABLE pg_catalog.pg_dist_node (nodeid int, groupid int, nodename text, nodeport int,
        noderole text, isactive bool, shouldhaveshards bool, answers bool);
    INSERT INTO pg_catalog.pg_dist_node VALUES
        (1, 1, 'one', 5432, 'primary', true, true, true), (2, 2, 'two', 5432, 'primary', true, true, true);
    CREATE TABLE pg_catalog.pg_dist_partition (logicalrelid regclass, groupid int);
    CREATE SCHEMA evil;
    CREATE TABLE evil.pg_locks AS SELECT * FROM pg_locks WHERE false;
    CREATE TABLE evil.pg_class AS SELECT * FROM pg_class WHERE false;
    CREATE VIEW pg_catalog.pg_dist_shard AS SELECT logicalrelid, groupid::bigint AS shardid FROM pg_dist_partition;
    CREATE FUNCTION pg_catalog.citus_backend_gpid() RETURNS bigint LANGUAGE sql AS 'SELECT pg_backend_pid()';
    CREATE FUNCTION pg_catalog.shard_name(regclass, bigint) RETURNS text LANGUAGE sql AS $$
        SELECT quote_ident(nspname) || '.' || quote_ident(relname || '_' || $2)
        FROM pg_class c JOIN pg_namespace n ON n.oid = relnamespace WHERE c.oid = $1 $$;
    CREATE VIEW pg_catalog.pg_dist_placement AS SELECT groupid, groupid::bigint AS shardid FROM pg_dist_partition;
    CREATE VIEW pg_catalog.citus_shards AS SELECT logicalrelid AS table_name, nodename, nodeport,
        CASE WHEN answers THEN 8192::bigint END AS shard_size
        FROM pg_dist_partition JOIN pg_dist_node USING (groupid);
    CREATE FUNCTION pg_catalog.run_command_on_placements(regclass, text)
        RETURNS TABLE (success bool, result text) LANGUAGE sql AS $$
        SELECT answers, CASE WHEN answers THEN '[8192, 8192, 0, 5]' ELSE 'connection refused' END
        FROM pg_catalog.pg_dist_partition JOIN pg_catalog.pg_dist_node USING (groupid) WHERE logicalrelid = $1 $$;
    CREATE FUNCTION pg_catalog.citus_check_cluster_node_health() RETURNS TABLE (from_nodename text,
        from_nodeport int, to_nodename text, to_nodeport int, result bool) LANGUAGE sql AS $$
        SELECT f.nodename, f.nodeport, t.nodename, t.nodeport, CASE WHEN f.answers THEN t.answers END
        FROM pg_catalog.pg_dist_node f, pg_catalog.pg_dist_node t $$;
    CREATE FUNCTION pg_catalog.run_command_on_workers(text)
        RETURNS TABLE (nodename text, nodeport int, success bool, result text) LANGUAGE plpgsql
        SET search_path = evil, pg_catalog SET "TimeZone" = 'Asia/Tokyo' AS $$
        BEGIN
            EXECUTE regexp_replace($1, 'citus_internal gpid=\d+', coalesce((SELECT application_name FROM
                pg_stat_activity WHERE pid::text = substring($1 FROM 'gpid=(\d+)')), 'none')) INTO result;
            RETURN QUERY SELECT n.nodename, n.nodeport, answers, CASE WHEN answers THEN
                replace(run_command_on_workers.result, encode('psql', 'hex'),
                        encode('citus_internal gpid=10000000042', 'hex')) END
                FROM pg_catalog.pg_dist_node n;
        END $$;
    CREATE PROCEDURE pg_catalog.citus_cleanup_orphaned_resources() LANGUAGE sql AS 'SELECT';
    CREATE FUNCTION pg_catalog.citus_schema_move(regnamespace, text, int) RETURNS void LANGUAGE plpgsql AS $$
        BEGIN
            IF NOT (SELECT answers FROM pg_catalog.pg_dist_node WHERE nodename = $2) THEN
                RAISE 'connection to the remote node % failed', $2; END IF;
            UPDATE pg_catalog.pg_dist_partition p SET groupid = n.groupid FROM pg_catalog.pg_dist_node n
            WHERE n.nodename = $2 AND p.logicalrelid IN (SELECT oid FROM pg_class WHERE relnamespace = $1);
        END $$"""
"""What leadctl calls of Citus, as one of its sources has it, on one server: not Citus."""


@pytest.fixture
def stand_in(tenants: Tenants) -> Tenants:
    """Tenants `acme` on node one and `beta` on node two; node two does not answer."""
    for name in ("acme", "beta"):
        tenants.done("tenants", "create", name)
    tenants.query(STAND_IN)
    tenants.query(
        "INSERT INTO pg_dist_partition SELECT c.oid, CASE nspname WHEN 'acme' THEN 1 ELSE 2 END"
        " FROM pg_class c JOIN pg_namespace n ON n.oid = relnamespace"
        " WHERE nspname IN ('acme', 'beta') AND relkind = 'r'"
    )
    tenants.query("UPDATE pg_dist_node SET answers = false WHERE nodename = 'two'")
    return tenants


def test_of_a_node_that_is_down_nothing_is_said_as_if_it_were_empty(stand_in: Tenants) -> None:
    tenants = stand_in
    listed = {each["name"]: each for each in tenants.done("tenants", "list")["tenants"]}
    assert (listed["acme"]["bytes"], listed["beta"]["bytes"]) == (3 * 8192, None)
    assert {each["rows"] for each in listed.values()} == {None}
    lines = {line.split()[0]: line for line in tenants.leadctl("tenants", "list").out.splitlines()
             if line.strip()}  # fmt: skip
    assert ("unknown" in lines["beta"], "unknown" in lines["acme"]) == (True, False)
    with (tenants.folder / "leadctl.toml").open("a") as file:
        file.write('[fleet.all]\nschemas = "*a*"\n')
    both = tenants.leadctl("tenants", "list", "--fleet", "all", "--only", "*")
    assert (both.code, "unknown size" in both.out) == (0, True), both.err
    checked = tenants.leadctl("health-check", "--check", "citus-nodes", "-o", "json")
    assert (checked.code, "two:5432" in checked.json["checks"][0]["message"]) == (2, True)
    rows = tenants.done("inspect", "nodes")["reports"][0]["rows"]
    assert [(row["node"], row["reached_by"]) for row in rows] == [("one:5432", 1), ("two:5432", 0)]
    for name, known in (("acme", set()), ("beta", {"size of customers", "size of orders"})):
        found = tenants.done("stats", "--schema", name)
        assert {each["part"] for each in found["skipped"]} == known
        assert {each["table_bytes"] for each in found["tables"]} == ({None} if known else {8192})
        sizes = {each["bytes"] for each in tenants.done("studio", "--schema", name)["tables"]}
        assert sizes - {None} == (set() if known else {8192})


def test_who_waits_on_another_node_is_told(stand_in: Tenants) -> None:
    """By the session of the coordinator that the one on the node works for."""
    tenants = stand_in
    lock = "LOCK TABLE acme.orders"
    checked = ("health-check", "--check", "blocking", "-o", "json")
    holder = tenants.server.connect(tenants.name, application_name="psql")
    waiter = threading.Thread(target=lambda: tenants.query(f"BEGIN; {lock}"))
    with holder, holder.transaction():
        holder.execute(lock)
        waiter.start()
        wait_for(lambda: tenants.query("SELECT 1 FROM pg_locks WHERE NOT granted"))
        (report,) = tenants.leadctl("inspect", "blocking", "-o", "json").json["reports"]
        found = {row["node"]: row for row in report["rows"] if row["blocked_by"] is None}
        assert (found["one:5432"]["session"], "two:5432" in report["note"]) == ("10000000042", True)
        assert found["coordinator"]["session"] == str(holder.info.backend_pid)
        waiting = {row["blocked_by"] for row in report["rows"]} - {None}
        assert waiting == {10000000042, holder.info.backend_pid}
        assert [each["status"] for each in tenants.leadctl(*checked).json["checks"]] == ["skipped"]
        tenants.query("UPDATE pg_dist_node SET answers = true")
        time.sleep(1)
        (check,) = tenants.leadctl(*checked).json["checks"]
        assert (check["status"], "10000000042" in check["message"]) == ("warning", True), check
    waiter.join()


def test_tables_of_another_node_are_those_of_its_shards(stand_in: Tenants) -> None:
    """What the coordinator has of a distributed table is an empty one, and is left out."""
    tenants = stand_in
    tenants.query(
        "CREATE TABLE acme.orders_1 (LIKE acme.orders INCLUDING DEFAULTS INCLUDING IDENTITY)"
    )
    tenants.query("CREATE INDEX orders_customer_1 ON acme.orders_1 (customer)")
    tenants.query("INSERT INTO acme.orders_1 (customer) SELECT 1 FROM generate_series(1, 999) g")
    tenants.query("ANALYZE acme.orders_1")
    ((size,),) = tenants.query("SELECT pg_total_relation_size('acme.orders_1')")
    schema = ("--schema", "acme", "-o", "json")
    for asked in ("tables", "vacuum", "indexes", "index-usage", "cache-hit"):
        (report,) = tenants.leadctl("inspect", asked, *schema).json["reports"]
        assert {row["table"] for row in report["rows"]} == {"orders"}, asked
        assert {row["node"] for row in report["rows"]} == {"coordinator", "one:5432"}
        assert (report["skipped"], "two:5432" in report["note"]) == (None, True)
        if asked == "tables":
            assert {(row["rows"], row["total_bytes"]) for row in report["rows"]} == {(999, size)}
        if asked == "indexes":
            assert {row["index"] for row in report["rows"]} == {"orders_customer"}
    checks = tenants.leadctl("health-check", "--check", "vacuum", *schema).json["checks"]
    assert ["two:5432" in each["message"] for each in checks] == [True]
    assert tenants.leadctl("inspect", "vacuum", "--schema", "acme").code == 0
    tenants.query("UPDATE pg_dist_node SET answers = true")
    checks = tenants.leadctl("health-check", "--check", "vacuum", *schema).json["checks"]
    assert {each["status"] for each in checks} == {"ok"}


@pytest.mark.thorough
def test_nodes_that_are_not_dumped_as_of_one_moment_are_told(stand_in: Tenants) -> None:
    """Who writes for long is not waited for; a node that is silent is not known to be dumped."""
    tenants = stand_in
    tenants.env["LEADCTL_LOCK_WAIT"] = "1s"
    with tenants.server.connect(tenants.name) as writer, writer.transaction():
        writer.execute("INSERT INTO beta.customers (name) VALUES ('x')")
        made = tenants.leadctl("backup", "-o", "json")
    assert (made.code, made.json["one_moment"]) == (0, False), made.err
    assert "wrote to them the whole time" in made.err
    assert "a moment of its own" in tenants.leadctl("backup", "show", made.json["id"]).out
    tenants.env["LEADCTL_LOCK_WAIT"] = "60s"
    locked = "BEGIN; LOCK TABLE public.plans; SELECT pg_sleep(6); COMMIT"
    other = threading.Thread(target=lambda: tenants.query(locked))
    other.start()
    wait_for(lambda: tenants.query(
        "SELECT 1 FROM pg_locks WHERE relation = 'public.plans'::regclass AND granted"))  # fmt: skip
    made = tenants.leadctl("backup", "-o", "json")
    other.join()
    assert (made.json["one_moment"], "not seen on two:5432" in made.err) == (False, True), made.err
    tenants.query("UPDATE pg_dist_node SET answers = true")
    made = tenants.leadctl("backup", "-o", "json")
    assert (made.json["one_moment"], "as of one moment" in made.err) == (True, True), made.err
    assert tenants.done("backup", "--tenant", "acme")["one_moment"] is None


def test_what_cannot_be_done_on_a_cluster_is_refused_by_name(stand_in: Tenants) -> None:
    tenants = stand_in
    whole = (
        "tenants",
        "move",
        tenants.name,
        "--database",
        "--schema",
        "acme",
        "--to",
        tenants.url,
        "--yes",
    )
    refused = tenants.leadctl(*whole)
    assert (refused.code, "Citus" in refused.err) == (5, True), refused.err
    for line in (("rename", tenants.name, "other"), ("drop", tenants.name)):
        refused = tenants.leadctl("tenants", *line, "--database", "--schema", "acme", "--yes")
        assert (refused.code, "each node" in refused.err) == (5, True), refused.err
    move = ("tenants", "move", "acme", "--to-node")
    assert tenants.leadctl(*move, "three:5432").code == 2
    failed = tenants.leadctl(*move, "two:5432")
    assert (failed.code, "Citus did not move acme" in failed.err) == (1, True), failed.err
    tenants.query("UPDATE pg_dist_node SET answers = true")
    moved = tenants.done(*move, "two:5432")
    assert (moved["previous"], moved["node"]) == ("one:5432", "two:5432")
    assert tenants.query("SELECT DISTINCT groupid FROM pg_dist_partition") == [(2,)]
    tenants.done("tenants", "drop", "acme", "--yes")
    assert tenants.schemas() == ["beta", "evil"]


class Cluster:
    """A database of a cluster, in which each test has tenants of its own."""

    def __init__(self, url: str, cli: Cli, folder: Path) -> None:
        self.url, self._cli, self.env = url, cli, encrypted_backups(folder)
        self.name = f"tenant_{uuid4().hex[:8]}"

    def leadctl(self, *arguments: str) -> Outcome:
        return self._cli(*arguments, url=self.url, env=self.env)

    def done(self, *arguments: str) -> Any:
        outcome = self.leadctl(*arguments, "-o", "json")
        assert outcome.code == 0, outcome.err
        return outcome.json

    def query(self, statement: str, *params: Any) -> list[tuple[Any, ...]]:
        with psycopg.connect(self.url, autocommit=True) as connection:
            cursor = connection.execute(statement, params or None)
            return cursor.fetchall() if cursor.description else []

    def nodes_of(self, name: str) -> set[tuple[str, int]]:
        return set(self.query(
            "SELECT nodename, nodeport FROM citus_shards WHERE table_name::oid IN (SELECT oid FROM"
            " pg_class WHERE relnamespace = to_regnamespace(quote_ident(%s)))", name))  # fmt: skip


@pytest.fixture
def cluster(cli: Cli, tmp_path: Path) -> Iterator[Cluster]:
    if CLUSTER is None:
        pytest.skip("LEADCTL_TEST_CITUS_URL is not set: not run on Citus")
    found = Cluster(CLUSTER, cli, tmp_path)
    assert found.query("SHOW citus.enable_schema_based_sharding") == [("on",)]
    try:
        yield found
    finally:
        for (schema,) in found.query(
            "SELECT nspname FROM pg_namespace WHERE starts_with(nspname, %s)", found.name
        ):
            found.query(f'DROP SCHEMA "{schema}" CASCADE')


def test_the_next_tenant_on_a_cluster_needs_no_alembic(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Citus passes the text of some statements on to its nodes: they are sent one by one."""
    from leadctl.migrate.alembic_runner import AlembicRunner

    cluster.done("tenants", "create", cluster.name)
    monkeypatch.setattr(AlembicRunner, "run", None)
    made = cluster.done("tenants", "create", f"{cluster.name}_b")
    assert made["applied"] == 2
    assert len(cluster.nodes_of(f"{cluster.name}_b")) == 1
    assert cluster.leadctl("migrate", "drift", "--schema", f"{cluster.name}_b").code == 0


@pytest.mark.parametrize("how", ["hash", "range", "append"])
def test_tables_that_are_distributed_by_themselves_are_no_tenants(
    cluster: Cluster, how: str
) -> None:
    """A restore of their schema would put all on one node; it is refused, and changes nothing."""
    name = cluster.name
    cluster.query(
        f"SET citus.enable_schema_based_sharding = off; CREATE SCHEMA {name};"
        f"CREATE TABLE {name}.spread (id int, n int);"
        f"SELECT create_distributed_table('{name}.spread', 'id', '{how}')"
    )
    method = f"SELECT partmethod::text FROM pg_dist_partition WHERE logicalrelid = '{name}.spread'::regclass"
    whole, alone = cluster.done("backup")["id"], cluster.done("backup", "--tenant", name)["id"]
    for backup in (whole, alone):
        for more in ("--yes", "--dry-run"):
            outcome = cluster.leadctl("restore", backup, "--tenant", name, more)
            assert (outcome.code, f"{name}.spread" in outcome.err) == (5, True), outcome.err
    assert cluster.query(method) == [(how[0],)]
    cluster.query(f"DROP SCHEMA {name} CASCADE")
    outcome = cluster.leadctl("restore", alone, "--tenant", name, "--yes")
    assert (outcome.code, f"{name}.spread" in outcome.err) == (5, True), outcome.err
    if how != "hash":
        outcome = cluster.leadctl("restore", whole, "--into", f"{name}_copy", "--yes")
        assert (outcome.code, f"distributed by {how}" in outcome.err) == (5, True), outcome.err


def test_what_distributes_a_dropped_table_again_is_said(cluster: Cluster) -> None:
    name = cluster.name
    cluster.query(
        f"SET citus.enable_schema_based_sharding = off; CREATE SCHEMA {name};"
        f"CREATE TABLE {name}.spread (id int); CREATE TABLE {name}.small (id int);"
        f"CREATE TABLE {name}.single (id int); INSERT INTO {name}.spread VALUES (1), (2);"
        f"SELECT create_distributed_table('{name}.spread', 'id', shard_count => 6);"
        f"SELECT create_reference_table('{name}.small');"
        f"SELECT create_distributed_table('{name}.single', NULL)"
    )
    parts = (
        "SELECT table_name::text, citus_table_type, distribution_column, shard_count"
        f" FROM citus_tables WHERE starts_with(table_name::text, '{name}.') ORDER BY 1"
    )
    before = cluster.query(parts)
    assert len(before) == 3
    backup = cluster.done("backup")["id"]
    tables = [f"{name}.{table}" for table in ("spread", "small", "single")]
    cluster.query(f"DROP TABLE {', '.join(tables)}")
    wanted = [word for table in tables for word in ("--table", table)]
    back = cluster.done("restore", backup, *wanted, "--yes")
    for line in back["lines"]:
        cluster.query(line)
    assert cluster.query(parts) == before
    assert cluster.query(f"SELECT count(*) FROM {name}.spread") == [(2,)]


def test_a_tenant_on_a_cluster(cluster: Cluster) -> None:
    """Made, filled, measured, backed up, put back, renamed, moved and dropped: always distributed."""
    name = cluster.name
    cluster.done("tenants", "create", name)
    assert ("leadctl",) not in cluster.query("SELECT schema_name::text FROM citus_schemas")
    assert len(cluster.nodes_of(name)) == 1
    assert cluster.done("seed", "--schema", name, "--bulk", "300")["rows"] == 300
    for line in (["status"], ["check"], ["drift"]):
        assert cluster.leadctl("migrate", *line, "--schema", name).code == 0
    ((expected,),) = cluster.query(
        "SELECT sum(shard_size) FROM citus_shards s JOIN pg_class c ON c.oid = s.table_name"
        " WHERE relnamespace = to_regnamespace(%s)", name)  # fmt: skip
    (listed,) = cluster.done("tenants", "list", name)["tenants"]
    assert (listed["bytes"], listed["rows"], listed["pending"]) == (int(expected), None, 0)
    ((leads,),) = cluster.query(f"SELECT count(*) FROM {name}.leads")
    cluster.done("backup", "--tenant", name)
    cluster.query(f"TRUNCATE {name}.leads CASCADE")
    back = cluster.done("restore", "--tenant", name, "--yes")
    assert cluster.query(f"SELECT count(*) FROM {name}.leads") == [(leads,)]
    assert len(cluster.nodes_of(name)) == 1
    cluster.done("tenants", "drop", back["kept_as"], "--yes")
    cluster.done("tenants", "rename", name, f"{name}_b", "--yes")
    ((host, port),) = cluster.nodes_of(f"{name}_b")
    others = cluster.query(
        "SELECT nodename, nodeport FROM pg_dist_node WHERE shouldhaveshards AND isactive"
        " AND (nodename, nodeport) <> (%s, %s)", host, port)  # fmt: skip
    if others:
        cluster.done("tenants", "move", f"{name}_b", "--to-node", "{}:{}".format(*others[0]))
        assert cluster.nodes_of(f"{name}_b") == {others[0]}
    assert cluster.leadctl("migrate", "down", "--schema", f"{name}_b", "--yes").code == 0
    assert cluster.leadctl("migrate", "--schema", f"{name}_b").code == 0
    cluster.done("tenants", "drop", f"{name}_b", "--yes")
    runs = cluster.done("history")["runs"]
    assert {run["outcome"] for run in runs if run["schema"] in {name, f"{name}_b"}} == {"done"}


def test_files_and_counters_are_those_of_all_nodes(cluster: Cluster) -> None:
    """As Citus says itself, by citus_shards and by asking each shard."""
    name = cluster.name
    cluster.done("tenants", "create", name)
    cluster.done("seed", "--schema", name, "--bulk", "300")
    cluster.query(f"DELETE FROM {name}.webhook_deliveries")
    ((host, port),) = cluster.nodes_of(name)
    ((total,),) = cluster.query(
        "SELECT sum(shard_size) FROM citus_shards s JOIN pg_class c ON c.oid = s.table_name"
        " WHERE relnamespace = to_regnamespace(%s)", name)  # fmt: skip
    names = {table for (table,) in cluster.query(
        "SELECT relname::text FROM pg_class WHERE relnamespace = to_regnamespace(%s) AND relkind = 'r'", name)}  # fmt: skip

    def rows(report: str) -> Any:
        (found,) = cluster.done("inspect", report, "--schema", name)["reports"]
        assert found["skipped"] is None
        assert {row["node"] for row in found["rows"]} <= {f"{host}:{port}"}
        return found["rows"]

    tables = rows("tables")
    assert sum(row["total_bytes"] for row in tables) == int(total)
    assert {row["table"] for row in tables} == names
    indexes = cluster.query("SELECT indexrelid::regclass::text FROM pg_index i JOIN pg_class c ON c.oid = indrelid"
                            " WHERE relnamespace = to_regnamespace(%s)", name)  # fmt: skip
    assert {f"{name}.{row['index']}" for row in rows("indexes")} == {index for (index,) in indexes}
    dead = cluster.query(f"""SELECT result FROM run_command_on_shards('{name}.webhook_deliveries',
        $$SELECT pg_stat_get_dead_tuples('%s'::regclass)$$)""")  # fmt: skip
    counted = {row["table"]: row for row in rows("vacuum")}
    assert [(str(counted["webhook_deliveries"]["dead_rows"]),)] == dead
    rows("bloat"), rows("unused-indexes"), rows("cache-hit"), rows("index-usage")
    checks = cluster.leadctl("health-check", "--schema", name, "-o", "json").json["checks"]
    assert "ok" in {each["status"] for each in checks if each["name"] == "vacuum"}


def test_nodes_are_told(cluster: Cluster) -> None:
    assert cluster.leadctl("health-check", "--check", "citus-nodes").code == 0
    rows = cluster.done("inspect", "nodes")["reports"][0]["rows"]
    assert len(rows) == cluster.query("SELECT count(*) FROM pg_dist_node")[0][0]


def test_sizes_and_rows_are_those_of_all_nodes(cluster: Cluster) -> None:
    cluster.done("tenants", "create", cluster.name)
    cluster.done("seed", "--schema", cluster.name, "--bulk", "200")
    cluster.query(f"ANALYZE {cluster.name}.leads")
    ((leads,),) = cluster.query(f"SELECT count(*) FROM {cluster.name}.leads")
    tables = {
        each["name"]: each for each in cluster.done("stats", "--schema", cluster.name)["tables"]
    }
    assert tables["leads"]["rows"] == leads
    ((total,),) = cluster.query(
        "SELECT sum(shard_size) FROM citus_shards WHERE table_name::oid = to_regclass(%s)",
        f"{cluster.name}.leads")  # fmt: skip
    assert tables["leads"]["table_bytes"] + tables["leads"]["index_bytes"] == int(total)


def test_rows_that_a_cascade_takes_are_archived(cluster: Cluster, tmp_path: Path) -> None:
    """The other node knows its table by another number than the coordinator."""
    name, rows = cluster.name, f"{cluster.name}.webhook_deliveries"
    cluster.done("tenants", "create", name)
    cluster.done("seed", "--schema", name, "--bulk", "500")
    cluster.query(f"UPDATE {rows} SET status = 'PENDING'")
    cluster.query(f"UPDATE {name}.leads SET status = 'ARCHIVED', created_at = now() - interval '9 years'"
                  f" WHERE id IN (SELECT lead_id FROM {rows} ORDER BY 1 LIMIT 20)")  # fmt: skip
    before = set(cluster.query(f"SELECT md5(r::text) FROM {rows} r"))
    (database,) = cluster.query("SELECT current_database()")[0]
    line = ("cleanup", "--schema", name, "--confirm", database, "--archive", str(tmp_path / "old"))
    cluster.done(*line)
    left = set(cluster.query(f"SELECT md5(r::text) FROM {rows} r"))
    assert 0 < len(left) < len(before)
    for folder in (tmp_path / "old").iterdir():
        cluster.done("cleanup", "unarchive", str(folder), "--schema", name)
    assert set(cluster.query(f"SELECT md5(r::text) FROM {rows} r")) == before


def test_who_waits_for_whom_on_a_node(cluster: Cluster) -> None:
    cluster.done("tenants", "create", cluster.name)
    change = f"UPDATE {cluster.name}.users SET name = name"
    waiter = threading.Thread(target=lambda: cluster.query(change))
    with psycopg.connect(cluster.url) as holder:
        holder.execute(change)
        waiter.start()
        waits = f"SELECT blocking_gpid FROM citus_lock_waits WHERE position('{cluster.name}' IN blocked_statement) > 0"
        wait_for(lambda: cluster.query(waits))
        ((blocking,),) = cluster.query(waits)
        rows = cluster.done("inspect", "blocking")["reports"][0]["rows"]
        assert blocking in {row["blocked_by"] for row in rows}
        cluster.query("SELECT pg_terminate_backend(%s)", blocking)
        waiter.join()
        with pytest.raises(psycopg.Error):
            holder.execute("SELECT 1")


def test_a_clusters_backup_is_rehearsed(cluster: Cluster) -> None:
    """With a partitioned table, of which a distributed one would not take all that it is given."""
    cluster.done("tenants", "create", cluster.name)
    cluster.query(f"CREATE TABLE {cluster.name}.parted (id int, at date, PRIMARY KEY (id, at))"
                  " PARTITION BY RANGE (at)")  # fmt: skip
    cluster.query(f"CREATE TABLE {cluster.name}.part PARTITION OF {cluster.name}.parted"
                  " FOR VALUES FROM ('2020-01-01') TO ('2021-01-01')")  # fmt: skip
    made = cluster.done("backup")
    verified = cluster.done("backup", "verify", made["id"], "--restore")
    assert {check["ok"] for check in verified["checks"]} == {True}


def test_a_clusters_backup_has_the_rows_that_it_counts(cluster: Cluster) -> None:
    """Others write meanwhile, and each node has a snapshot of its own."""
    cluster.done("tenants", "create", cluster.name)
    cluster.done("seed", "--schema", cluster.name, "--bulk", "100")
    cluster.query(f"CREATE TABLE {cluster.name}.noted (what float)")
    row = f"INSERT INTO {cluster.name}.noted SELECT random()"
    over = threading.Event()

    def write() -> None:
        with psycopg.connect(cluster.url, autocommit=True) as connection:
            while not over.is_set():
                connection.execute(row.encode())

    writer = threading.Thread(target=write)
    writer.start()
    try:
        wait_for(lambda: cluster.query(f"SELECT 1 FROM {cluster.name}.noted"))
        made = [cluster.done("backup", *more) for more in ([], ["--tenant", cluster.name])]
    finally:
        over.set()
        writer.join()
    verified = cluster.done("backup", "verify", made[0]["id"], "--restore")
    assert {check["ok"] for check in verified["checks"]} == {True}
    cluster.done("restore", "--tenant", cluster.name, made[1]["id"], "--dry-run")


def test_all_nodes_are_backed_up_as_of_one_moment(cluster: Cluster) -> None:
    """Somebody writes a row to one node, then one to another, in transactions of their own."""
    names = [f"{cluster.name}_a", f"{cluster.name}_b"]
    for name in names:
        cluster.query(f"CREATE SCHEMA {name}")
        cluster.query(f"CREATE TABLE {name}.noted (id int)")
    assert cluster.nodes_of(names[0]) != cluster.nodes_of(names[1])
    cluster.query(f"CREATE TABLE {names[0]}.large AS SELECT g FROM generate_series(1, 100000) g")
    over = threading.Event()

    def write() -> None:
        with psycopg.connect(cluster.url, autocommit=True) as connection:
            while not over.is_set():
                for name in names:
                    connection.execute(f"INSERT INTO {name}.noted VALUES (1)".encode())

    writer = threading.Thread(target=write)
    writer.start()
    try:
        wait_for(lambda: cluster.query(f"SELECT 1 FROM {names[1]}.noted"))
        made = cluster.done("backup")
    finally:
        over.set()
        writer.join()
    manifest = cluster.done("backup", "show", made["id"])["manifest"]
    rows = {table["name"]: table["rows"] for table in manifest["tables"]}
    first, second = (rows[f"{name}.noted"] for name in names)
    assert (made["one_moment"], first - second in {0, 1}) == (True, True), (first, second)


@pytest.mark.parametrize("on", ["coordinator", "node"])
def test_who_writes_too_long_is_not_waited_for(cluster: Cluster, on: str) -> None:
    """On a node, too, where the time that the coordinator allows for a lock is not known."""
    cluster.done("tenants", "create", cluster.name)
    cluster.query(f"CREATE TABLE {cluster.name}.noted (id int)")
    cluster.query(f"CREATE SCHEMA {cluster.name}_b")
    cluster.query(f"CREATE TABLE {cluster.name}_b.noted (id int)")
    ((host, port),) = cluster.nodes_of(cluster.name)
    url = psycopg.conninfo.make_conninfo(
        cluster.url, **({"host": host, "port": port} if on == "node" else {})
    )
    with psycopg.connect(url) as writer:
        writer.execute(f"INSERT INTO {cluster.name}.noted VALUES (1)".encode())
        cluster.env["LEADCTL_LOCK_WAIT"] = "1s"
        outcome = cluster.leadctl("backup", "-o", "json")
    assert (outcome.code, outcome.json["one_moment"]) == (0, False)
    assert "wrote to them the whole time" in outcome.err


RICH = """
    SET citus.enable_schema_based_sharding = off;
    CREATE SCHEMA {0};
    CREATE TABLE {0}.countries (code text PRIMARY KEY);
    SELECT create_reference_table('{0}.countries');
    CREATE TABLE {0}."Odd ""Name" (id bigint GENERATED BY DEFAULT AS IDENTITY, "The Key" int NOT NULL,
        country text, PRIMARY KEY ("The Key", id));
    CREATE TABLE {0}.parted ("key" int, at date, PRIMARY KEY ("key", at)) PARTITION BY RANGE (at);
    CREATE TABLE {0}.part PARTITION OF {0}.parted FOR VALUES FROM ('2020-01-01') TO ('2030-01-01');
    CREATE INDEX ON {0}.parted (at);
    CREATE TABLE {0}.single (id int PRIMARY KEY);
    CREATE TABLE {0}.known (id int PRIMARY KEY);
    CREATE TABLE {0}.refers (id int PRIMARY KEY, country text REFERENCES {0}.countries);
    SELECT create_distributed_table('{0}."Odd ""Name"', 'The Key', shard_count => 6);
    SELECT create_distributed_table('{0}.parted', 'key', colocate_with => '{0}."Odd ""Name"');
    SELECT create_distributed_table('{0}.single', NULL, colocate_with => 'none');
    SELECT citus_add_local_table_to_metadata('{0}.known');
    ALTER TABLE {0}."Odd ""Name" ADD CONSTRAINT fk FOREIGN KEY (country) REFERENCES {0}.countries;
    INSERT INTO {0}.countries VALUES ('de'), ('fr');
    INSERT INTO {0}."Odd ""Name" ("The Key", country) SELECT g, 'de' FROM generate_series(1, 99) g;
    INSERT INTO {0}.parted SELECT g, '2020-01-01'::date + g FROM generate_series(1, 99) g;
    INSERT INTO {0}.single VALUES (1); INSERT INTO {0}.known VALUES (1); INSERT INTO {0}.refers VALUES (1, 'fr')"""
"""What is distributed in each way, in a schema that is not."""
HOW = (
    "SELECT table_name::text, citus_table_type, distribution_column, shard_count, table_owner::text,"
    " count(*) OVER (PARTITION BY colocation_id) FROM citus_tables WHERE table_name::text LIKE %s ORDER BY 1"
)


def on_each_node(cluster: Cluster, statement: str) -> list[list[tuple[Any, ...]]]:
    """Return what a maintenance database of each node answers."""
    parts = psycopg.conninfo.conninfo_to_dict(cluster.url)
    found = []
    for host, port in cluster.query("SELECT nodename, nodeport FROM pg_dist_node ORDER BY nodeid"):
        place = {**parts, "host": host, "port": port, "dbname": "postgres"}
        with psycopg.connect(**place, autocommit=True) as connection:
            cursor = connection.execute(statement)
            found.append(cursor.fetchall() if cursor.description else [])
    return found


def test_a_whole_cluster_comes_back(cluster: Cluster) -> None:
    """Into a database of each node, and over that one; Citus says how, an md5 says what."""
    name, copy = cluster.name, f"{cluster.name}_copy"
    cluster.done("tenants", "create", name)
    cluster.done("seed", "--schema", name, "--bulk", "200")
    with psycopg.connect(cluster.url, autocommit=True) as connection:
        for statement in RICH.format(f"{name}_rich").split(";"):
            connection.execute(statement.encode())
    named = "SELECT datname FROM pg_database WHERE starts_with(datname, {!r}) ORDER BY 1"
    tables = [table for (table, *_) in cluster.query(HOW, f"{name}%")]
    sums = [
        f"SELECT md5(string_agg(t::text, ',' ORDER BY t::text)) FROM {table} t" for table in tables
    ]
    before = cluster.query(HOW, f"{name}%"), [cluster.query(each) for each in sums]
    assert {kind for _, kind, *_ in before[0]} == {"schema", "reference", "distributed", "local"}
    made = cluster.done("backup")
    there = copied(cluster)
    there.url = psycopg.conninfo.make_conninfo(cluster.url, dbname=copy)
    try:
        cluster.done("restore", made["id"], "--into", copy)
        for again in (False, True):
            if again:
                there.query(f"DROP SCHEMA {name} CASCADE")
                back = there.done("restore", made["id"], "--yes")
                assert (
                    on_each_node(cluster, named.format(copy))
                    == [[(copy,), (back["previous"],)]] * 3
                )
                there.done("db", "kept", "--drop", back["previous"], "--yes")
            assert (there.query(HOW, f"{name}%"), [there.query(each) for each in sums]) == before
            there.query(f'INSERT INTO {name}_rich."Odd ""Name" ("The Key") VALUES (1)')
            there.query(f"INSERT INTO {name}_rich.refers VALUES ({2 + again}, 'de')")
            assert on_each_node(cluster, named.format(copy)) == [[(copy,)]] * 3
    finally:
        on_each_node(cluster, f'DROP DATABASE IF EXISTS "{copy}" WITH (FORCE)')
