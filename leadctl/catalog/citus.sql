-- What a Citus cluster says of tables whose rows are on its other nodes.

-- name: distributed_sizes
-- what: How large are the distributed ones of these tables on all nodes, with about how many rows?
--   NULL where a node does not answer.
-- versions: 15-
-- needs: citus for pg_dist_partition, run_command_on_placements
SELECT p.logicalrelid::oid::bigint AS oid, bool_and(r.success) AS whole,
    sum((r.result::json ->> 0)::bigint) FILTER (WHERE r.success)::bigint AS heap_bytes,
    sum((r.result::json ->> 1)::bigint) FILTER (WHERE r.success)::bigint AS table_bytes,
    sum((r.result::json ->> 2)::bigint) FILTER (WHERE r.success)::bigint AS index_bytes,
    sum((r.result::json ->> 3)::float8) FILTER (WHERE r.success)::bigint AS rows,
    bool_or((r.result::json ->> 3)::float8 < 0) FILTER (WHERE r.success) AS unknown
FROM pg_dist_partition p, LATERAL run_command_on_placements(p.logicalrelid,
    $$SELECT json_build_array(pg_relation_size(oid), pg_table_size(oid), pg_indexes_size(oid), reltuples)
      FROM pg_class WHERE oid = '%%s'::regclass$$) r
WHERE p.logicalrelid::oid = ANY (%(oids)s::bigint[]::oid[])
GROUP BY 1

-- name: schema_bytes
-- what: How large is each distributed schema on all nodes?  NULL where a node does not answer.
-- versions: 15-
-- needs: citus for citus_shards
SELECT n.nspname, CASE WHEN bool_and(s.shard_size IS NOT NULL) THEN sum(s.shard_size)::bigint END
FROM citus_shards s JOIN pg_class c ON c.oid = s.table_name JOIN pg_namespace n ON n.oid = c.relnamespace
GROUP BY 1

-- name: distributes
-- what: Has one of these schemas a table whose rows are on other nodes?
-- versions: 15-
-- needs: citus for pg_dist_partition
SELECT EXISTS (SELECT FROM pg_dist_partition p JOIN pg_class c ON c.oid = p.logicalrelid
               JOIN pg_namespace n ON n.oid = c.relnamespace WHERE n.nspname = ANY (%(schemas)s))

-- name: on_workers
-- what: Which rows, as one JSON text, has a query on each other node?
-- versions: 15-
-- needs: citus for pg_dist_node, run_command_on_workers
SELECT r.nodename || ':' || r.nodeport AS node, n.nodeid::bigint AS number, r.success, r.result
FROM run_command_on_workers(
    'SELECT coalesce(json_agg(r), ''[]'')::text FROM (' || %(query)s || ') r') r
JOIN pg_dist_node n USING (nodename, nodeport)
ORDER BY n.nodeid

-- name: has_citus
-- what: Is the database one of a Citus cluster?
-- versions: 15-
SELECT EXISTS (SELECT FROM pg_extension WHERE extname = 'citus')
