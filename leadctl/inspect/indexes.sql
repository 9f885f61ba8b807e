-- The indexes of the app's schemas.  Definitions are read with a lock on the table, so of one that
-- somebody holds an exclusive lock on there is none; expressions are compared as they are stored,
-- without the places that they had in the statement.

-- name: indexes
-- what: How large is each index, and how often was it used?
--       Sizes are as of the last VACUUM or ANALYZE.
-- versions: 15-
WITH locked AS (
    SELECT relation FROM pg_locks
    WHERE locktype = 'relation' AND mode = 'AccessExclusiveLock'
      AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
)
SELECT t.oid::regclass::text AS "table", i.oid::regclass::text AS index,
       i.relpages * current_setting('block_size')::bigint AS bytes, coalesce(s.idx_scan, 0) AS scans,
       x.indisprimary AS "primary", x.indisunique AS "unique",
       CASE WHEN t.oid NOT IN (SELECT relation FROM locked)
            THEN pg_get_indexdef(i.oid, 0, true) END AS definition
FROM pg_index x
JOIN pg_class i ON i.oid = x.indexrelid
JOIN pg_class t ON t.oid = x.indrelid
LEFT JOIN pg_stat_all_indexes s ON s.indexrelid = i.oid
WHERE x.indrelid = ANY (ARRAY(
        SELECT d.objid FROM pg_depend d JOIN pg_namespace n ON n.oid = d.refobjid
        WHERE d.classid = 'pg_class'::regclass AND d.refclassid = 'pg_namespace'::regclass AND n.nspname = ANY (%(schemas)s))) AND i.relkind = 'i'
ORDER BY bytes DESC, i.relname

-- name: unused_indexes
-- what: Which indexes of 1 MB or more were used at most 20 times, and serve no constraint?
--       Counters are of this server alone: a replica may use what the primary does not.
-- versions: 15-15
SELECT t.oid::regclass::text AS "table", i.oid::regclass::text AS index,
       i.relpages * current_setting('block_size')::bigint AS bytes, s.idx_scan AS scans
FROM pg_index x
JOIN pg_class i ON i.oid = x.indexrelid
JOIN pg_class t ON t.oid = x.indrelid
JOIN pg_stat_all_indexes s ON s.indexrelid = i.oid
WHERE x.indrelid = ANY (ARRAY(
        SELECT d.objid FROM pg_depend d JOIN pg_namespace n ON n.oid = d.refobjid
        WHERE d.classid = 'pg_class'::regclass AND d.refclassid = 'pg_namespace'::regclass AND n.nspname = ANY (%(schemas)s))) AND i.relkind = 'i' AND NOT x.indisunique
  AND NOT EXISTS (SELECT FROM pg_constraint n WHERE n.conrelid = x.indrelid AND n.conindid = i.oid
                  AND n.contype IN ('p', 'u', 'x'))
  AND i.relpages * current_setting('block_size')::bigint >= 1000000 AND s.idx_scan <= 20
ORDER BY bytes DESC, i.relname

-- name: unused_indexes
-- what: Which indexes of 1 MB or more were used at most 20 times, and serve no constraint?
--       Counters are of this server alone: a replica may use what the primary does not.
-- versions: 16-
SELECT t.oid::regclass::text AS "table", i.oid::regclass::text AS index,
       i.relpages * current_setting('block_size')::bigint AS bytes, s.idx_scan AS scans,
       s.last_idx_scan AS last_used
FROM pg_index x
JOIN pg_class i ON i.oid = x.indexrelid
JOIN pg_class t ON t.oid = x.indrelid
JOIN pg_stat_all_indexes s ON s.indexrelid = i.oid
WHERE x.indrelid = ANY (ARRAY(
        SELECT d.objid FROM pg_depend d JOIN pg_namespace n ON n.oid = d.refobjid
        WHERE d.classid = 'pg_class'::regclass AND d.refclassid = 'pg_namespace'::regclass AND n.nspname = ANY (%(schemas)s))) AND i.relkind = 'i' AND NOT x.indisunique
  AND NOT EXISTS (SELECT FROM pg_constraint n WHERE n.conrelid = x.indrelid AND n.conindid = i.oid
                  AND n.contype IN ('p', 'u', 'x'))
  AND i.relpages * current_setting('block_size')::bigint >= 1000000 AND s.idx_scan <= 20
ORDER BY bytes DESC, i.relname

-- name: duplicate_indexes
-- what: Which indexes are exactly like another one, so that one of the two can go?
--       Operators of an EXCLUDE, parameters of operator classes and whether a constraint waits for the
--       commit count.  What a primary key, a foreign key or replication is in need of stays, and what a
--       partition has of its parent's index cannot go by itself: the parent's is said.
-- versions: 15-
WITH shaped AS MATERIALIZED (
    SELECT i.oid, i.relname, i.relpages, i.relkind, i.relam, i.reloptions, i.relispartition, x.indrelid,
           x.indisprimary,
           x.indisreplident, x.indisclustered, x.indexprs, x.indpred,
           concat_ws('/', i.relam, x.indnkeyatts, x.indkey, x.indclass, x.indcollation, x.indoption,
                     x.indisunique, x.indimmediate, x.indnullsnotdistinct) AS shape
    FROM pg_index x JOIN pg_class i ON i.oid = x.indexrelid
    WHERE x.indrelid = ANY (ARRAY(
        SELECT d.objid FROM pg_depend d JOIN pg_namespace n ON n.oid = d.refobjid
        WHERE d.classid = 'pg_class'::regclass AND d.refclassid = 'pg_namespace'::regclass AND n.nspname = ANY (%(schemas)s))) AND i.relkind IN ('i', 'I')
      AND x.indisvalid
), alike AS MATERIALIZED (  -- few are; what costs more is asked of them alone
    SELECT * FROM (SELECT s.*, count(*) OVER (PARTITION BY indrelid, shape) AS many FROM shaped s) AS counted
    WHERE many > 1
), described AS (
    SELECT a.oid, a.relname, a.relpages, a.relkind, a.relispartition, a.indrelid, n.conname,
           CASE WHEN a.indisprimary OR a.indisreplident OR a.relispartition
                     OR a.oid IN (SELECT conindid FROM pg_constraint WHERE contype = 'f') THEN 4
                WHEN n.conname IS NOT NULL THEN 3
                WHEN a.indisclustered THEN 2 ELSE 1 END AS worth,
           ROW(a.shape, n.conexclop::text,
               (SELECT array_agg(array(SELECT p FROM unnest(o.attoptions) p WHERE p !~ '^pg_attver=')::text
                                 ORDER BY o.attnum)
                FROM pg_attribute o WHERE o.attrelid = a.oid)::text,
               -- How full its pages are is no matter of what an index finds, how many blocks BRIN sums up is.
               CASE WHEN m.amname NOT IN ('btree', 'hash', 'gist', 'gin', 'spgist')
                    THEN array(SELECT o FROM unnest(a.reloptions) o ORDER BY o)::text END,
               regexp_replace(a.indexprs::text, ':location -?[0-9]+', '', 'g'),
               regexp_replace(a.indpred::text, ':location -?[0-9]+', '', 'g')) AS definition
    FROM alike a JOIN pg_am m ON m.oid = a.relam
    LEFT JOIN pg_constraint n
      ON n.conrelid = a.indrelid AND n.conindid = a.oid AND n.contype IN ('p', 'u', 'x')
)
SELECT t.oid::regclass::text AS "table", a.oid::regclass::text AS index,
       b.oid::regclass::text AS same_as,
       a.relpages * current_setting('block_size')::bigint AS bytes,
       CASE WHEN a.conname IS NOT NULL
            THEN 'ALTER TABLE ' || t.oid::regclass::text || ' DROP CONSTRAINT ' || quote_ident(a.conname)
            WHEN a.relkind = 'I' THEN 'DROP INDEX ' || a.oid::regclass::text
            ELSE 'DROP INDEX CONCURRENTLY ' || a.oid::regclass::text END AS remedy
FROM described a
JOIN described b ON b.indrelid = a.indrelid AND b.definition IS NOT DISTINCT FROM a.definition
  AND (b.worth, -b.oid::bigint) > (a.worth, -a.oid::bigint)
JOIN pg_class t ON t.oid = a.indrelid
WHERE a.worth < 4
ORDER BY t.relname, a.relname, b.relname

-- name: covered_indexes
-- what: Which plain B-tree indexes begin as a longer or a unique one does, which can serve instead?
-- versions: 15-
WITH btree AS (
    SELECT i.oid, i.relname, i.relpages, i.relispartition, x.indrelid, x.indisunique,
           x.indnkeyatts AS keys, x.indnatts,
           string_to_array(x.indkey::text, ' ') AS columns,
           string_to_array(x.indclass::text, ' ') AS classes,
           string_to_array(x.indcollation::text, ' ') AS collations,
           string_to_array(x.indoption::text, ' ') AS options,
           regexp_replace(x.indpred::text, ':location -?[0-9]+', '', 'g') AS predicate
    FROM pg_index x
    JOIN pg_class i ON i.oid = x.indexrelid
    JOIN pg_am m ON m.oid = i.relam AND m.amname = 'btree'
    WHERE x.indrelid = ANY (ARRAY(
        SELECT d.objid FROM pg_depend d JOIN pg_namespace n ON n.oid = d.refobjid
        WHERE d.classid = 'pg_class'::regclass AND d.refclassid = 'pg_namespace'::regclass AND n.nspname = ANY (%(schemas)s))) AND i.relkind IN ('i', 'I')
      AND x.indisvalid AND x.indexprs IS NULL
)
SELECT t.oid::regclass::text AS "table", a.oid::regclass::text AS index,
       b.oid::regclass::text AS covered_by,
       a.relpages * current_setting('block_size')::bigint AS bytes
FROM btree a
JOIN btree b ON b.indrelid = a.indrelid AND b.oid <> a.oid
  AND (b.keys > a.keys OR b.keys = a.keys AND b.indisunique)
  AND b.columns[:a.keys] = a.columns AND b.classes[:a.keys] = a.classes
  AND b.collations[:a.keys] = a.collations AND b.options[:a.keys] = a.options
  AND b.predicate IS NOT DISTINCT FROM a.predicate
JOIN pg_class t ON t.oid = a.indrelid
WHERE NOT a.indisunique AND NOT a.relispartition AND a.indnatts = a.keys
ORDER BY t.relname, a.relname, b.relname

-- name: invalid_indexes
-- what: Which indexes are invalid and not being built now, as a cancelled concurrent build leaves?
--       Whether one is being built is not known while REINDEX works on its table, which names one index at
--       a time, nor where the role does not see what others do and somebody holds the lock of a build.
--       An index of a partitioned table is invalid until each partition has its part of it.  REINDEX
--       leaves those of TOAST, too.
-- versions: 15-
WITH locked AS (
    SELECT relation FROM pg_locks
    WHERE locktype = 'relation' AND mode = 'AccessExclusiveLock'
      AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
), in_work AS (
    SELECT relation FROM pg_locks
    WHERE locktype = 'relation' AND mode = 'ShareUpdateExclusiveLock' AND pid <> pg_backend_pid()
      AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
      AND NOT pg_has_role('pg_read_all_stats', 'USAGE')
    UNION ALL
    SELECT relid FROM pg_stat_progress_create_index
    WHERE datname = current_database() AND command LIKE 'REINDEX%%'
), own AS (
    SELECT d.objid AS oid FROM pg_depend d JOIN pg_namespace n ON n.oid = d.refobjid
    WHERE d.classid = 'pg_class'::regclass AND d.refclassid = 'pg_namespace'::regclass AND n.nspname = ANY (%(schemas)s)
), toast AS MATERIALIZED (
    SELECT c.oid, c.reltoastrelid FROM pg_class c
    WHERE c.oid = ANY (ARRAY(SELECT oid FROM own)) AND c.reltoastrelid <> 0
)
SELECT coalesce(o.oid, t.oid)::regclass::text AS "table", i.oid::regclass::text AS index,
       i.relkind = 'I' AS partitioned, o.oid IS NOT NULL AS of_toast,
       CASE WHEN t.oid NOT IN (SELECT relation FROM in_work WHERE relation IS NOT NULL)
            THEN false END AS being_built,
       CASE WHEN t.oid NOT IN (SELECT relation FROM locked)
            THEN pg_get_indexdef(i.oid, 0, true) END AS definition
FROM pg_index x
JOIN pg_class i ON i.oid = x.indexrelid
JOIN pg_class t ON t.oid = x.indrelid
LEFT JOIN toast o ON o.reltoastrelid = t.oid
WHERE x.indrelid = ANY (ARRAY(SELECT oid FROM own UNION ALL SELECT reltoastrelid FROM toast)) AND i.relkind IN ('i', 'I')
  AND NOT (x.indisvalid AND x.indisready)
  AND NOT EXISTS (SELECT FROM pg_stat_progress_create_index p
                  WHERE p.index_relid = i.oid AND p.datname = current_database())
ORDER BY t.relname, i.relname

-- name: missing_indexes
-- what: Which foreign keys have no index on their columns, so that a deleted parent costs a scan?
-- versions: 15-
WITH locked AS (
    SELECT relation FROM pg_locks
    WHERE locktype = 'relation' AND mode = 'AccessExclusiveLock'
      AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
)
SELECT c.oid::regclass::text AS "table", quote_ident(n.conname) AS "constraint",
       n.confrelid::regclass::text AS "references", nullif(c.reltuples, -1)::bigint AS rows,
       -- CONCURRENTLY is refused for a partitioned table.
       CASE c.relkind WHEN 'p' THEN 'CREATE INDEX ON ' ELSE 'CREATE INDEX CONCURRENTLY ON ' END
       || c.oid::regclass::text || CASE WHEN spans THEN ' USING gist' ELSE '' END || ' (' || (
           SELECT string_agg(quote_ident(a.attname), ', ' ORDER BY k.place)
           FROM unnest(n.conkey) WITH ORDINALITY AS k (attnum, place)
           JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum = k.attnum) || ')' AS remedy
FROM pg_constraint n JOIN pg_class c ON c.oid = n.conrelid
-- From 18 on a key may be of spans of time, which GiST finds, or not be kept.
CROSS JOIN LATERAL (SELECT coalesce((to_jsonb(n) ->> 'conperiod')::boolean, false),
                           coalesce((to_jsonb(n) ->> 'conenforced')::boolean, true)) AS k18 (spans, is_enforced)
WHERE n.contype = 'f' AND n.conparentid = 0 AND is_enforced
  AND n.conrelid = ANY (ARRAY(
        SELECT d.objid FROM pg_depend d JOIN pg_namespace n ON n.oid = d.refobjid
        WHERE d.classid = 'pg_class'::regclass AND d.refclassid = 'pg_namespace'::regclass AND n.nspname = ANY (%(schemas)s)))
  AND NOT EXISTS (
      SELECT FROM pg_index x
      JOIN pg_class i ON i.oid = x.indexrelid
      JOIN pg_am m ON m.oid = i.relam
      WHERE x.indrelid = n.conrelid AND x.indisvalid AND m.amname = ANY (CASE WHEN spans THEN '{gist}' ELSE '{btree,hash}' END::name[])
        AND (x.indkey::int2[])[0:cardinality(n.conkey) - 1] @> n.conkey
        AND CASE WHEN x.indpred IS NULL OR c.oid IN (SELECT relation FROM locked) THEN true
            ELSE pg_get_expr(x.indpred, x.indrelid) IN (
                SELECT '(' || quote_ident(a.attname) || ' IS NOT NULL)' FROM pg_attribute a
                WHERE a.attrelid = c.oid AND a.attnum = ANY (n.conkey)) END)
ORDER BY c.relname, n.conname

-- name: narrow_foreign_keys
-- what: Which foreign keys are narrower than the key that they refer to, so that its rows cannot all be
--       referred to?  A domain is as wide as its base type.
-- versions: 15-
WITH RECURSIVE own AS MATERIALIZED (
    SELECT n.conname, n.conrelid, n.confrelid, k.child, k.parent, a.atttypid AS child_type, b.atttypid AS parent_type
    FROM pg_constraint n
    CROSS JOIN LATERAL unnest(n.conkey, n.confkey) AS k (child, parent)
    JOIN pg_attribute a ON a.attrelid = n.conrelid AND a.attnum = k.child
    JOIN pg_attribute b ON b.attrelid = n.confrelid AND b.attnum = k.parent
    WHERE n.contype = 'f' AND n.conparentid = 0 AND a.atttypid <> b.atttypid
      AND n.conrelid = ANY (ARRAY(
        SELECT d.objid FROM pg_depend d JOIN pg_namespace n ON n.oid = d.refobjid
        WHERE d.classid = 'pg_class'::regclass AND d.refclassid = 'pg_namespace'::regclass AND n.nspname = ANY (%(schemas)s)))
), base AS (
    SELECT oid, oid AS type FROM (SELECT child_type FROM own UNION SELECT parent_type FROM own) AS used (oid)
    UNION ALL
    SELECT b.oid, t.typbasetype FROM base b JOIN pg_type t ON t.oid = b.type WHERE t.typtype = 'd'
), widths AS (
    SELECT oid, CASE type WHEN 'int2'::regtype THEN 2 WHEN 'int4'::regtype THEN 4 ELSE 8 END AS width
    FROM base WHERE type IN ('int2'::regtype, 'int4'::regtype, 'int8'::regtype)
)
SELECT c.oid::regclass::text AS "table", quote_ident(n.conname) AS "constraint",
       quote_ident(a.attname) AS "column", format_type(a.atttypid, a.atttypmod) AS type,
       n.confrelid::regclass::text AS "references", quote_ident(b.attname) AS referenced_column,
       format_type(b.atttypid, b.atttypmod) AS referenced_type
FROM own n
JOIN pg_class c ON c.oid = n.conrelid
JOIN pg_attribute a ON a.attrelid = n.conrelid AND a.attnum = n.child
JOIN pg_attribute b ON b.attrelid = n.confrelid AND b.attnum = n.parent
JOIN widths v ON v.oid = n.child_type
JOIN widths w ON w.oid = n.parent_type
WHERE v.width < w.width
ORDER BY c.relname, n.conname, a.attname
