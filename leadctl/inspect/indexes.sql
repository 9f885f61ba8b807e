-- The indexes of the target's schema.  Definitions are read with a lock on the table, so of one that
-- somebody holds an exclusive lock on there is none; expressions are compared as they are stored,
-- without the places that they had in the statement.

-- name: indexes
-- what: How large is each index, and how often was it used?
--       Sizes are as of the last VACUUM or ANALYZE.
-- versions: 15-
WITH locked AS (
    SELECT relation FROM pg_locks WHERE locktype = 'relation' AND mode = 'AccessExclusiveLock'
)
SELECT quote_ident(t.relname) AS "table", quote_ident(i.relname) AS index,
       i.relpages * current_setting('block_size')::bigint AS bytes, coalesce(s.idx_scan, 0) AS scans,
       x.indisprimary AS "primary", x.indisunique AS "unique",
       CASE WHEN t.oid NOT IN (SELECT relation FROM locked)
            THEN pg_get_indexdef(i.oid, 0, true) END AS definition
FROM pg_index x
JOIN pg_class i ON i.oid = x.indexrelid
JOIN pg_class t ON t.oid = x.indrelid
LEFT JOIN pg_stat_all_indexes s ON s.indexrelid = i.oid
WHERE i.relnamespace = to_regnamespace(quote_ident(%(schema)s)) AND i.relkind = 'i'
ORDER BY bytes DESC, i.relname

-- name: unused_indexes
-- what: Which indexes of 1 MB or more were used at most 20 times, and serve no constraint?
--       Counters are of this server alone: a replica may use what the primary does not.
-- versions: 15-15
SELECT quote_ident(t.relname) AS "table", quote_ident(i.relname) AS index,
       i.relpages * current_setting('block_size')::bigint AS bytes, s.idx_scan AS scans
FROM pg_index x
JOIN pg_class i ON i.oid = x.indexrelid
JOIN pg_class t ON t.oid = x.indrelid
JOIN pg_stat_all_indexes s ON s.indexrelid = i.oid
WHERE i.relnamespace = to_regnamespace(quote_ident(%(schema)s)) AND i.relkind = 'i' AND NOT x.indisunique
  AND NOT EXISTS (SELECT FROM pg_constraint n WHERE n.conindid = i.oid AND n.contype IN ('p', 'u', 'x'))
  AND i.relpages * current_setting('block_size')::bigint >= 1000000 AND s.idx_scan <= 20
ORDER BY bytes DESC, i.relname

-- name: unused_indexes
-- what: Which indexes of 1 MB or more were used at most 20 times, and serve no constraint?
--       Counters are of this server alone: a replica may use what the primary does not.
-- versions: 16-
SELECT quote_ident(t.relname) AS "table", quote_ident(i.relname) AS index,
       i.relpages * current_setting('block_size')::bigint AS bytes, s.idx_scan AS scans,
       s.last_idx_scan AS last_used
FROM pg_index x
JOIN pg_class i ON i.oid = x.indexrelid
JOIN pg_class t ON t.oid = x.indrelid
JOIN pg_stat_all_indexes s ON s.indexrelid = i.oid
WHERE i.relnamespace = to_regnamespace(quote_ident(%(schema)s)) AND i.relkind = 'i' AND NOT x.indisunique
  AND NOT EXISTS (SELECT FROM pg_constraint n WHERE n.conindid = i.oid AND n.contype IN ('p', 'u', 'x'))
  AND i.relpages * current_setting('block_size')::bigint >= 1000000 AND s.idx_scan <= 20
ORDER BY bytes DESC, i.relname

-- name: duplicate_indexes
-- what: Which indexes are exactly like another one, so that one of the two can go?
--       Operators of an EXCLUDE and parameters of operator classes count.  What a partition has of its
--       parent's index cannot go by itself: the parent's is said.
-- versions: 15-
WITH described AS (
    SELECT i.oid, i.relname, i.relpages, i.relkind, i.relispartition, x.indrelid,
           EXISTS (SELECT FROM pg_constraint n WHERE n.conindid = i.oid) OR x.indisreplident
           OR i.relispartition AS is_needed,
           (SELECT n.conname FROM pg_constraint n
            WHERE n.conindid = i.oid AND n.contype IN ('p', 'u', 'x')) AS "constraint",
           ROW(i.relam, x.indnkeyatts, x.indkey::text, x.indclass::text, x.indcollation::text,
               x.indoption::text, x.indisunique, x.indnullsnotdistinct,
               (SELECT n.conexclop::text FROM pg_constraint n
                WHERE n.conindid = i.oid AND n.contype = 'x'),
               (SELECT array_agg(o.attoptions::text ORDER BY o.attnum) FROM pg_attribute o
                WHERE o.attrelid = i.oid)::text,
               regexp_replace(x.indexprs::text, ':location -?[0-9]+', '', 'g'),
               regexp_replace(x.indpred::text, ':location -?[0-9]+', '', 'g')) AS definition
    FROM pg_index x JOIN pg_class i ON i.oid = x.indexrelid
    WHERE i.relnamespace = to_regnamespace(quote_ident(%(schema)s)) AND i.relkind IN ('i', 'I')
      AND x.indisvalid
)
SELECT quote_ident(t.relname) AS "table", quote_ident(a.relname) AS index,
       quote_ident(b.relname) AS same_as,
       a.relpages * current_setting('block_size')::bigint AS bytes,
       CASE WHEN a."constraint" IS NOT NULL
            THEN 'ALTER TABLE ' || quote_ident(t.relname) || ' DROP CONSTRAINT ' || quote_ident(a."constraint")
            WHEN a.relkind = 'I' THEN 'DROP INDEX ' || quote_ident(a.relname)
            ELSE 'DROP INDEX CONCURRENTLY ' || quote_ident(a.relname) END AS remedy
FROM described a
JOIN described b ON b.indrelid = a.indrelid AND b.definition IS NOT DISTINCT FROM a.definition
  AND (b.is_needed, -b.oid::bigint) > (a.is_needed, -a.oid::bigint)
JOIN pg_class t ON t.oid = a.indrelid
WHERE NOT a.relispartition
ORDER BY t.relname, a.relname, b.relname

-- name: covered_indexes
-- what: Which plain B-tree indexes begin as a longer or a unique one does, which can serve instead?
-- versions: 15-
WITH btree AS (
    SELECT i.oid, i.relname, i.relpages, x.indrelid, x.indisunique, x.indnkeyatts AS keys, x.indnatts,
           string_to_array(x.indkey::text, ' ') AS columns,
           string_to_array(x.indclass::text, ' ') AS classes,
           string_to_array(x.indcollation::text, ' ') AS collations,
           string_to_array(x.indoption::text, ' ') AS options,
           regexp_replace(x.indpred::text, ':location -?[0-9]+', '', 'g') AS predicate
    FROM pg_index x
    JOIN pg_class i ON i.oid = x.indexrelid
    JOIN pg_am m ON m.oid = i.relam AND m.amname = 'btree'
    WHERE i.relnamespace = to_regnamespace(quote_ident(%(schema)s)) AND i.relkind = 'i'
      AND x.indisvalid AND x.indexprs IS NULL
)
SELECT quote_ident(t.relname) AS "table", quote_ident(a.relname) AS index,
       quote_ident(b.relname) AS covered_by,
       a.relpages * current_setting('block_size')::bigint AS bytes
FROM btree a
JOIN btree b ON b.indrelid = a.indrelid AND b.oid <> a.oid
  AND (b.keys > a.keys OR b.keys = a.keys AND b.indisunique)
  AND b.columns[:a.keys] = a.columns AND b.classes[:a.keys] = a.classes
  AND b.collations[:a.keys] = a.collations AND b.options[:a.keys] = a.options
  AND b.predicate IS NOT DISTINCT FROM a.predicate
JOIN pg_class t ON t.oid = a.indrelid
WHERE NOT a.indisunique AND a.indnatts = a.keys
ORDER BY t.relname, a.relname, b.relname

-- name: invalid_indexes
-- what: Which indexes are invalid and not being built now, as a cancelled concurrent build leaves?
--       Whether one is being built is not known where the role does not see what others do, and
--       somebody holds the lock of a build on the table.  An index of a partitioned table is invalid
--       until each partition has its part of it.
-- versions: 15-
WITH locked AS (
    SELECT relation FROM pg_locks WHERE locktype = 'relation' AND mode = 'AccessExclusiveLock'
), in_work AS (
    SELECT relation FROM pg_locks
    WHERE locktype = 'relation' AND mode = 'ShareUpdateExclusiveLock' AND pid <> pg_backend_pid()
      AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
)
SELECT quote_ident(t.relname) AS "table", quote_ident(i.relname) AS index,
       i.relkind = 'I' AS partitioned,
       CASE WHEN pg_has_role('pg_read_all_stats', 'USAGE') OR t.oid NOT IN (SELECT relation FROM in_work)
            THEN false END AS being_built,
       CASE WHEN t.oid NOT IN (SELECT relation FROM locked)
            THEN pg_get_indexdef(i.oid, 0, true) END AS definition
FROM pg_index x
JOIN pg_class i ON i.oid = x.indexrelid
JOIN pg_class t ON t.oid = x.indrelid
WHERE i.relnamespace = to_regnamespace(quote_ident(%(schema)s)) AND i.relkind IN ('i', 'I')
  AND NOT (x.indisvalid AND x.indisready)
  -- REINDEX CONCURRENTLY of a table names one of its indexes at a time.
  AND NOT EXISTS (SELECT FROM pg_stat_progress_create_index p
                  WHERE p.relid = t.oid AND p.datname = current_database())
ORDER BY t.relname, i.relname

-- name: missing_indexes
-- what: Which foreign keys have no index on their columns, so that a deleted parent costs a scan?
-- versions: 15-
WITH locked AS (
    SELECT relation FROM pg_locks WHERE locktype = 'relation' AND mode = 'AccessExclusiveLock'
)
SELECT quote_ident(c.relname) AS "table", quote_ident(n.conname) AS "constraint",
       n.confrelid::regclass::text AS "references", nullif(c.reltuples, -1)::bigint AS rows,
       -- CONCURRENTLY is refused for a partitioned table.
       CASE c.relkind WHEN 'p' THEN 'CREATE INDEX ON ' ELSE 'CREATE INDEX CONCURRENTLY ON ' END
       || quote_ident(c.relname) || ' (' || (
           SELECT string_agg(quote_ident(a.attname), ', ' ORDER BY k.place)
           FROM unnest(n.conkey) WITH ORDINALITY AS k (attnum, place)
           JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum = k.attnum) || ')' AS remedy
FROM pg_constraint n JOIN pg_class c ON c.oid = n.conrelid
WHERE n.contype = 'f' AND n.conparentid = 0
  AND n.connamespace = to_regnamespace(quote_ident(%(schema)s))
  AND NOT EXISTS (
      SELECT FROM pg_index x
      JOIN pg_class i ON i.oid = x.indexrelid
      JOIN pg_am m ON m.oid = i.relam
      WHERE x.indrelid = n.conrelid AND x.indisvalid AND m.amname IN ('btree', 'hash')
        AND (x.indkey::int2[])[0:cardinality(n.conkey) - 1] @> n.conkey
        AND CASE WHEN x.indpred IS NULL OR c.oid IN (SELECT relation FROM locked) THEN true
            ELSE pg_get_expr(x.indpred, x.indrelid) IN (
                SELECT '(' || quote_ident(a.attname) || ' IS NOT NULL)' FROM pg_attribute a
                WHERE a.attrelid = c.oid AND a.attnum = ANY (n.conkey)) END)
ORDER BY c.relname, n.conname
