"""Citus: on a cluster where LEADCTL_TEST_CITUS_URL names one, and what one server can tell of it."""

import dataclasses
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import psycopg
import pytest

from leadctl.backup.manifest import ExtensionFacts, parse, render
from leadctl.postgres.queries import Queries
from tests.backups import encrypted_backups
from tests.conftest import Cli, Outcome, Prepared
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
    path.write_text(render(dataclasses.replace(manifest, extensions=(*manifest.extensions, citus))))
    for more in (["--yes"], ["--dry-run"], ["--into", "elsewhere"]):
        outcome = tenants.leadctl("restore", "latest", *more)
        assert (outcome.code, "Citus" in outcome.err) == (5, True), outcome.err
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


class Cluster:
    """A database of a cluster, in which each test has tenants of its own."""

    def __init__(self, url: str, cli: Cli, folder: Path) -> None:
        self.url, self._cli, self._env = url, cli, encrypted_backups(folder)
        self.name = f"tenant_{uuid4().hex[:8]}"

    def leadctl(self, *arguments: str) -> Outcome:
        return self._cli(*arguments, url=self.url, env=self._env)

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


def test_of_files_and_counters_of_other_nodes_nothing_is_said(cluster: Cluster) -> None:
    cluster.done("tenants", "create", cluster.name)
    schema = ("--schema", cluster.name)
    for asked in ("tables", "bloat", "vacuum", "unused-indexes"):
        (report,) = cluster.leadctl("inspect", asked, *schema, "-o", "json").json["reports"]
        assert (report["rows"], "other nodes" in report["skipped"]) == ([], True)
    checks = cluster.leadctl("health-check", *schema, "-o", "json").json["checks"]
    skipped = {each["name"] for each in checks if "other nodes" in (each["message"] or "")}
    assert {"vacuum", "bloat", "cache-hit", "index-usage"} <= skipped
    assert cluster.done("inspect", "tables", "--schema", "public")["reports"][0]["skipped"] is None


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
