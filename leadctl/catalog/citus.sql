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
    $$SELECT pg_catalog.json_build_array(pg_catalog.pg_relation_size(oid), pg_catalog.pg_table_size(oid),
                                         pg_catalog.pg_indexes_size(oid), reltuples)
      FROM pg_catalog.pg_class WHERE oid OPERATOR(pg_catalog.=) '%%s'::pg_catalog.regclass$$) r
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

-- name: distribution
-- what: What is distributed over the cluster, and how?  Of a partitioned table its root; in the order
--   in which it can be made again.  A table that a foreign key brought in comes with that.
-- versions: 15-
-- needs: citus for pg_dist_schema, pg_dist_partition, pg_dist_colocation, pg_dist_object, column_to_column_name
SELECT kind, name, "column", shards, copies, "group" FROM (
    SELECT 3 AS place, 'schema' AS kind, quote_ident(n.nspname) AS name, NULL AS "column", 0 AS shards,
        1 AS copies, s.colocationid AS "group"
    FROM pg_dist_schema s JOIN pg_namespace n ON n.oid = s.schemaid
    UNION ALL
    SELECT CASE p.repmodel WHEN 't' THEN 1 ELSE 2 END, CASE
            WHEN p.repmodel = 't' THEN 'reference'
            WHEN p.partmethod NOT IN ('h', 'n') THEN 'method ' || p.partmethod::text
            WHEN p.colocationid = 0 THEN 'local' ELSE 'table' END,
        quote_ident(n.nspname) || '.' || quote_ident(c.relname),
        CASE p.partmethod WHEN 'h' THEN column_to_column_name(p.logicalrelid, p.partkey) END,
        coalesce(k.shardcount, 0), CASE p.partmethod WHEN 'h' THEN k.replicationfactor ELSE 1 END,
        p.colocationid
    FROM pg_dist_partition p JOIN pg_class c ON c.oid = p.logicalrelid
    JOIN pg_namespace n ON n.oid = c.relnamespace
    LEFT JOIN pg_dist_colocation k ON k.colocationid = p.colocationid
    WHERE NOT EXISTS (SELECT FROM pg_dist_schema s WHERE s.schemaid = n.oid)
      AND NOT c.relispartition AND NOT (p.repmodel <> 't' AND p.colocationid = 0 AND p.autoconverted)
    UNION ALL
    SELECT 4, 'function', (pg_identify_object('pg_proc'::regclass, f.oid, 0)).identity, '$' || (o.distribution_argument_index + 1)::text, 0, 1,
        coalesce(o.colocationid, 0)
    FROM pg_dist_object o JOIN pg_proc f ON f.oid = o.objid AND o.classid = 'pg_proc'::regclass
    WHERE o.distribution_argument_index IS NOT NULL
      AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.classid = o.classid AND d.objid = o.objid AND d.deptype = 'e')
) AS parts ORDER BY place, "group", name

-- name: nodes
-- what: Which nodes work in the cluster, may they hold tables, and which one is the coordinator?
-- versions: 15-
-- needs: citus for pg_dist_node
SELECT nodename AS host, nodeport AS port, shouldhaveshards AS holds, groupid = 0 AS coordinates
FROM pg_dist_node WHERE noderole = 'primary' AND isactive ORDER BY nodeid

-- name: on_workers
-- what: Which rows, as one JSON text, has a query on each other node?  What the node, its database or
--   a role set there changes nothing: the query is planned when the settings are ours.  ts_stat runs
--   a text, and what it finds are words of at most 2 kB: the JSON is cut into numbered ones.
-- versions: 15-
-- needs: citus for pg_dist_node, run_command_on_workers
SELECT r.nodename || ':' || r.nodeport AS node, n.nodeid::bigint AS number, r.success,
    CASE WHEN r.success THEN convert_from(decode(r.result, 'hex'), 'UTF8') END AS result
FROM run_command_on_workers(format(
    'SELECT pg_catalog.string_agg(pg_catalog.substr(word, 10), '''' ORDER BY word)'
    ' FROM pg_catalog.ts_stat(CASE WHEN pg_catalog.concat(%%s) IS NOT NULL THEN %%L END)',
    (SELECT string_agg(format('pg_catalog.set_config(%%L, %%L, true)', s.key, s.value), ', ')
     FROM jsonb_each_text(%(settings)s) s),
    'WITH found AS (SELECT encode(convert_to(coalesce(json_agg(r), ''[]'')::text, ''UTF8''), ''hex'') AS hex'
    ' FROM (' || %(query)s || ') r)'
    ' SELECT array_to_tsvector(ARRAY[lpad(n::text, 9, ''0'') || substr(hex, n * 2000 + 1, 2000)])'
    ' FROM found, generate_series(0, length(hex) / 2000) n')) r
JOIN pg_dist_node n USING (nodename, nodeport)
ORDER BY n.nodeid

-- name: records_schemas
-- what: Is this Citus 12 or newer, which distributes schemas?
-- versions: 15-
SELECT to_regclass('pg_dist_schema') IS NOT NULL

-- name: shards
-- what: What is each shard of these schemas' tables called, on its node and on this one if it is here,
--   and its table and that one's indexes, on another node and here?
-- versions: 15-
-- needs: citus for pg_dist_partition, pg_dist_shard, shard_name
SELECT s.shard, s.number, to_regclass(s.shard)::text AS here, quote_ident(n.nspname) || '.' || quote_ident(c.relname) AS named,
    c.oid::regclass::text AS "table", (
        SELECT coalesce(json_object_agg(quote_ident(n.nspname) || '.' || quote_ident(i.relname), i.oid::regclass::text), '{}')
        FROM pg_index x JOIN pg_class i ON i.oid = x.indexrelid WHERE x.indrelid = c.oid) AS indexes
FROM pg_dist_partition p JOIN pg_class c ON c.oid = p.logicalrelid JOIN pg_namespace n ON n.oid = c.relnamespace
CROSS JOIN LATERAL (
    SELECT d.shardid AS number, CASE n.nspname WHEN 'public' THEN 'public.' ELSE '' END
           || shard_name(p.logicalrelid, d.shardid) AS shard
    FROM pg_dist_shard d WHERE d.logicalrelid = p.logicalrelid) s
WHERE n.nspname = ANY (%(schemas)s)

-- name: has_citus
-- what: Is the database one of a Citus cluster?
-- versions: 15-
SELECT EXISTS (SELECT FROM pg_extension WHERE extname = 'citus')
