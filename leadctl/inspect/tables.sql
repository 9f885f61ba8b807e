-- The tables of the app's schemas: how large, how well kept.  Partitions stand for themselves.

-- name: tables
-- what: How large is each table, its TOAST and its indexes?
--       Rows are the server's estimate, nothing where never analysed; the size of a table that
--       somebody holds an exclusive lock on is as of its last VACUUM or ANALYZE.
-- versions: 15-
WITH locked AS (
    SELECT coalesce(i.indrelid, l.relation) AS oid
    FROM pg_locks l LEFT JOIN pg_index i ON i.indexrelid = l.relation
    WHERE l.locktype = 'relation' AND l.mode = 'AccessExclusiveLock'
      AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
), sized AS (
    SELECT c.oid, c.relname, c.reltuples, c.oid IN (SELECT oid FROM locked) AS is_locked,
           coalesce(t.relpages, 0)::bigint AS toast_pages, c.relpages::bigint AS pages,
           (SELECT coalesce(sum(i.relpages), 0) FROM pg_index x JOIN pg_class i ON i.oid = x.indexrelid
            WHERE x.indrelid = c.oid)::bigint AS index_pages,
           current_setting('block_size')::bigint AS block
    FROM pg_class c LEFT JOIN pg_class t ON t.oid = c.reltoastrelid
    WHERE c.oid = ANY (ARRAY(
        SELECT d.objid FROM pg_depend d JOIN pg_namespace n ON n.oid = d.refobjid
        WHERE d.classid = 'pg_class'::regclass AND d.refclassid = 'pg_namespace'::regclass AND n.nspname = ANY (%(schemas)s))) AND c.relkind IN ('r', 'm')
), bytes AS (
    SELECT s.*,
           CASE WHEN is_locked THEN pages * block ELSE pg_relation_size(oid) END AS heap,
           CASE WHEN is_locked THEN (pages + toast_pages) * block ELSE pg_table_size(oid) END AS whole,
           CASE WHEN is_locked THEN index_pages * block ELSE pg_indexes_size(oid) END AS indexes
    FROM sized s
)
SELECT oid::regclass::text AS "table", nullif(reltuples, -1)::bigint AS rows,
       heap AS heap_bytes, greatest(whole - heap, 0) AS toast_bytes, indexes AS index_bytes,
       whole + indexes AS total_bytes
FROM bytes ORDER BY whole + indexes DESC, relname

-- name: bloat
-- what: How much space of tables, their TOAST and B-tree indexes is probably wasted?
--       An estimate from the planner's statistics, for what is 1 MB or larger, and at least so much of
--       TOAST; of other indexes only those that are wholly empty.  Nothing where there are no statistics,
--       or this role may not read them, or the table is a fifth larger by now.  Exact: bloat-exact.
-- versions: 15-
WITH constants AS (
    SELECT current_setting('block_size')::numeric AS block
), locked AS (
    SELECT relation FROM pg_locks
    WHERE locktype = 'relation' AND mode = 'AccessExclusiveLock'
      AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
), own AS MATERIALIZED (
    SELECT d.objid AS oid FROM pg_depend d JOIN pg_namespace n ON n.oid = d.refobjid
    WHERE d.classid = 'pg_class'::regclass AND d.refclassid = 'pg_namespace'::regclass AND n.nspname = ANY (%(schemas)s)
), members AS (
    SELECT c.oid, c.oid AS relation, c.relkind AS kind
    FROM pg_class c WHERE c.oid = ANY (ARRAY(SELECT oid FROM own)) AND c.relkind IN ('r', 'm')
    UNION ALL
    SELECT c.oid, c.oid, c.relkind FROM pg_index x JOIN pg_class c ON c.oid = x.indexrelid
    WHERE x.indrelid = ANY (ARRAY(SELECT oid FROM own)) AND c.relkind = 'i'
    UNION ALL
    SELECT c.oid, c.reltoastrelid, 't'
    FROM pg_class c WHERE c.oid = ANY (ARRAY(SELECT oid FROM own)) AND c.reltoastrelid <> 0
), measured AS (
    SELECT m.oid AS whose, m.kind, c.*, n.nspname, x.indrelid, x.indkey, x.indexprs, a.amname,
           -- A size waits for whoever holds the table alone.
           CASE WHEN m.kind = 'i' OR m.oid IN (SELECT relation FROM locked) THEN c.relpages
                ELSE pg_relation_size(c.oid) / k.block END::bigint AS pages_now
    FROM members m
    CROSS JOIN constants k
    JOIN pg_class c ON c.oid = m.relation
    JOIN pg_namespace n ON n.oid = c.relnamespace
    LEFT JOIN pg_index x ON x.indexrelid = c.oid
    LEFT JOIN pg_am a ON a.oid = c.relam
), large AS (
    SELECT oid, whose, kind, relnamespace, relname, reltuples, relpages, reloptions, nspname, indrelid, indkey,
           pages_now, reltuples >= 0 AND (pages_now - relpages < 128 OR pages_now < relpages * 1.25) AS is_fresh
    FROM measured
    WHERE greatest(pages_now, relpages) >= 128
      AND (kind <> 'i' OR reltuples >= 0 AND (amname = 'btree' OR reltuples = 0 AND amname <> 'brin'))
), columns AS (
    SELECT l.oid, a.attnum, s.avg_width, s.null_frac
    FROM large l
    JOIN pg_attribute a ON a.attrelid = l.oid AND a.attnum > 0 AND NOT a.attisdropped
    LEFT JOIN pg_stats s ON s.schemaname = l.nspname AND NOT s.inherited
      AND ((l.indrelid IS NULL AND s.tablename = l.relname AND s.attname = a.attname)
        OR (l.indrelid IS NOT NULL AND l.indkey[a.attnum - 1] <> 0
            AND s.tablename = (SELECT t.relname FROM pg_class t WHERE t.oid = l.indrelid)
            AND s.attname = (SELECT b.attname FROM pg_attribute b
                             WHERE b.attrelid = l.indrelid AND b.attnum = l.indkey[a.attnum - 1]))
        OR (l.indrelid IS NOT NULL AND l.indkey[a.attnum - 1] = 0
            AND s.tablename = l.relname AND s.attname = a.attname))
), widths AS (
    SELECT oid, count(*) AS columns, bool_and(avg_width IS NOT NULL) AS is_known,
           coalesce(max(null_frac), 0) > 0 AS has_nulls,
           sum((1 - null_frac) * avg_width)::numeric AS width
    FROM columns GROUP BY oid
), tuples AS (
    SELECT l.*, w.is_known,
           -- a line pointer, the tuple's header with its null bitmap, the data: each 8-aligned
           CASE WHEN l.indrelid IS NULL
                THEN 4 + ceil((23 + CASE WHEN w.has_nulls THEN ceil(w.columns / 8.0) ELSE 0 END) / 8) * 8
                ELSE 4 + CASE WHEN w.has_nulls THEN 16 ELSE 8 END END
           + ceil(w.width / 8) * 8 AS tuple_bytes,
           coalesce((SELECT split_part(o, '=', 2)::numeric FROM unnest(l.reloptions) AS o
                     WHERE o LIKE 'fillfactor=%%'),
                    CASE WHEN l.indrelid IS NULL THEN 100 ELSE 90 END) AS fillfactor
    FROM large l LEFT JOIN widths w USING (oid)
), needed AS (
    SELECT t.*, k.block, CASE
               WHEN NOT is_fresh THEN NULL
               WHEN t.reltuples = 0 THEN 0
               WHEN t.kind = 't' THEN least(t.relpages, ceil(t.reltuples / 4))  -- so many fit, or more
               WHEN t.is_known THEN least(t.relpages, ceil(
                   t.reltuples::numeric * t.tuple_bytes
                   / ((k.block - CASE WHEN t.indrelid IS NULL THEN 24 ELSE 40 END) * t.fillfactor / 100)))
           END AS pages
    FROM tuples t CROSS JOIN constants k
)
SELECT whose::regclass::text AS name,
       CASE kind WHEN 'i' THEN 'index' WHEN 't' THEN 'TOAST' ELSE 'table' END AS kind,
       (pages_now * block)::bigint AS bytes,
       (wasted * block)::bigint AS wasted_bytes,
       round((100 * wasted / nullif(pages_now, 0))::numeric, 1)::float8 AS wasted_percent
FROM needed CROSS JOIN LATERAL (
    SELECT CASE WHEN pages < least(relpages, pages_now) THEN least(relpages, pages_now) - pages
                WHEN pages IS NOT NULL THEN 0 END) AS rest (wasted)
ORDER BY wasted_bytes DESC NULLS LAST, relname

-- name: bloat_exact
-- what: How much space of tables, their TOAST and B-tree indexes is wasted?
--       Reads every page of them, so it is asked by its name only, never by "all".
-- versions: 15-
-- needs: pgstattuple for pgstattuple, pgstatindex
SELECT c.oid::regclass::text AS name, 'table' AS kind, s.table_len AS bytes,
       s.dead_tuple_len + s.free_space AS wasted_bytes,
       round((s.dead_tuple_percent + s.free_percent)::numeric, 1)::float8 AS wasted_percent
FROM pg_class c CROSS JOIN LATERAL pgstattuple(c.oid::regclass) s
WHERE c.oid = ANY (ARRAY(
        SELECT d.objid FROM pg_depend d JOIN pg_namespace n ON n.oid = d.refobjid
        WHERE d.classid = 'pg_class'::regclass AND d.refclassid = 'pg_namespace'::regclass AND n.nspname = ANY (%(schemas)s))) AND c.relkind IN ('r', 'm')
UNION ALL
SELECT c.oid::regclass::text, 'TOAST', s.table_len, s.dead_tuple_len + s.free_space,
       round((s.dead_tuple_percent + s.free_percent)::numeric, 1)::float8
FROM pg_class c CROSS JOIN LATERAL pgstattuple(c.reltoastrelid::regclass) s
WHERE c.oid = ANY (ARRAY(
        SELECT d.objid FROM pg_depend d JOIN pg_namespace n ON n.oid = d.refobjid
        WHERE d.classid = 'pg_class'::regclass AND d.refclassid = 'pg_namespace'::regclass AND n.nspname = ANY (%(schemas)s))) AND c.relkind IN ('r', 'm')
  AND c.reltoastrelid <> 0 AND s.table_len > 0
UNION ALL
SELECT c.oid::regclass::text, 'index', s.index_size,
       (s.index_size * (100 - s.avg_leaf_density) / 100)::bigint,
       round((100 - s.avg_leaf_density)::numeric, 1)::float8
FROM pg_class c
JOIN pg_am m ON m.oid = c.relam AND m.amname = 'btree'
JOIN pg_index x ON x.indexrelid = c.oid AND x.indisvalid
CROSS JOIN LATERAL pgstatindex(c.oid) s
WHERE x.indrelid = ANY (ARRAY(
        SELECT d.objid FROM pg_depend d JOIN pg_namespace n ON n.oid = d.refobjid
        WHERE d.classid = 'pg_class'::regclass AND d.refclassid = 'pg_namespace'::regclass AND n.nspname = ANY (%(schemas)s))) AND c.relkind = 'i'
  AND s.avg_leaf_density <> 'NaN'
ORDER BY 4 DESC, 1

-- name: vacuum
-- what: How many dead rows has each table, of how many that start autovacuum, and when was it
--       last vacuumed and analysed, by hand or by autovacuum?
--       Values that were too long for a row are in a table next to it, which has dead rows of its own.
--       A table with many rows but without counters is shown as not counted: they were reset, lost in a
--       crash, or it is a standby or a copy.  A table is analysed if the planner has statistics of it.
-- versions: 15-
WITH parts AS (
    SELECT c.oid, c.oid AS whose, c.relname, false AS is_toast, c.reltuples, c.reloptions, c.reloptions AS own
    FROM pg_class c
    WHERE c.oid = ANY (ARRAY(
        SELECT d.objid FROM pg_depend d JOIN pg_namespace n ON n.oid = d.refobjid
        WHERE d.classid = 'pg_class'::regclass AND d.refclassid = 'pg_namespace'::regclass AND n.nspname = ANY (%(schemas)s))) AND c.relkind IN ('r', 'm')
    UNION ALL
    SELECT t.oid, c.oid, c.relname, true, t.reltuples, t.reloptions, c.reloptions
    FROM pg_class c JOIN pg_class t ON t.oid = c.reltoastrelid
    WHERE c.oid = ANY (ARRAY(
        SELECT d.objid FROM pg_depend d JOIN pg_namespace n ON n.oid = d.refobjid
        WHERE d.classid = 'pg_class'::regclass AND d.refclassid = 'pg_namespace'::regclass AND n.nspname = ANY (%(schemas)s))) AND c.relkind IN ('r', 'm')
      AND pg_stat_get_dead_tuples(t.oid) > 0
), settings AS (
    SELECT p.*, coalesce((SELECT jsonb_object_agg(split_part(o, '=', 1), split_part(o, '=', 2))
                          -- TOAST without options has those of its table
                          FROM unnest(coalesce(p.reloptions, p.own)) AS o), '{}') AS o
    FROM parts p
), thresholds AS (
    SELECT s.oid, s.whose, s.relname, s.is_toast, s.reltuples,
           coalesce(o ->> 'autovacuum_enabled', 'true')::boolean
           AND current_setting('autovacuum')::boolean AS autovacuum,
           least(coalesce(o ->> 'autovacuum_vacuum_threshold',
                          current_setting('autovacuum_vacuum_threshold'))::float8
                 + coalesce(o ->> 'autovacuum_vacuum_scale_factor',
                            current_setting('autovacuum_vacuum_scale_factor'))::float8
                 * greatest(s.reltuples, 0),
                 nullif(coalesce(o ->> 'autovacuum_vacuum_max_threshold',
                                 current_setting('autovacuum_vacuum_max_threshold', true))::float8, -1))
           AS threshold
    FROM settings s
)
SELECT t.whose::regclass::text AS "table", CASE WHEN is_toast THEN 'TOAST' ELSE 'table' END AS part,
       u.n_live_tup AS live_rows, u.n_dead_tup AS dead_rows,
       t.threshold::bigint AS threshold_rows,
       round((100 * u.n_dead_tup / greatest(t.threshold, 1))::numeric, 1)::float8 AS threshold_percent,
       u.n_ins_since_vacuum AS inserted_since, u.n_mod_since_analyze AS changed_since_analyze,
       t.autovacuum,
       CASE WHEN is_toast THEN true
            WHEN reltuples < 0 THEN false
            WHEN greatest(reltuples, u.n_live_tup) < 1 THEN true
            WHEN EXISTS (SELECT FROM pg_stats s WHERE (s.schemaname, s.tablename) = (u.schemaname, u.relname)
                         AND NOT s.inherited) THEN true
            WHEN has_table_privilege(t.oid, 'SELECT') AND NOT row_security_active(t.oid) THEN false
       END AS analysed,
       is_toast OR reltuples < 1 OR u.n_live_tup + u.n_dead_tup >= reltuples / 2
       OR num_nonnulls(u.last_vacuum, u.last_autovacuum, u.last_analyze, u.last_autoanalyze) > 0 AS counted,
       reltuples::bigint AS rows_then, greatest(u.last_vacuum, u.last_autovacuum) AS last_vacuum,
       greatest(u.last_analyze, u.last_autoanalyze) AS last_analyze
FROM thresholds t JOIN pg_stat_all_tables u ON u.relid = t.oid
WHERE u.relid = ANY (ARRAY(SELECT oid FROM parts))  -- else all tables of the database are looked at
ORDER BY threshold_percent DESC, t.relname, is_toast

-- name: wraparound
-- what: How old are the oldest transaction and multixact ids, per database, and in the 20 oldest
--       tables of this one, TOAST included?  A server stops writing near 2,147 million.
-- versions: 15-
(SELECT 'database' AS kind, datname::text AS name, age(datfrozenxid) AS transaction_age,
        mxid_age(datminmxid) AS multixact_age,
        round(100.0 * age(datfrozenxid) / current_setting('autovacuum_freeze_max_age')::int, 1)::float8
        AS freeze_percent
 FROM pg_database ORDER BY age(datfrozenxid) DESC, datname)
UNION ALL
(SELECT 'table', c.oid::regclass::text, greatest(age(c.relfrozenxid), age(t.relfrozenxid)),
        greatest(mxid_age(c.relminmxid), mxid_age(t.relminmxid)),
        round(100.0 * greatest(age(c.relfrozenxid), age(t.relfrozenxid))
              / current_setting('autovacuum_freeze_max_age')::int, 1)::float8
 FROM pg_class c LEFT JOIN pg_class t ON t.oid = c.reltoastrelid
 WHERE c.relkind IN ('r', 'm') AND c.oid = ANY (ARRAY(  -- of the 40 oldest, with TOAST, 20 tables come
     WITH oldest AS MATERIALIZED (
         SELECT oid, relkind FROM pg_class WHERE relkind IN ('r', 'm', 't') ORDER BY age(relfrozenxid) DESC, oid LIMIT 40)
     SELECT oid FROM oldest WHERE relkind <> 't'
     UNION ALL
     SELECT o.oid FROM oldest JOIN pg_class o ON o.reltoastrelid = oldest.oid WHERE oldest.relkind = 't'))
 ORDER BY 3 DESC, c.oid LIMIT 20)

-- name: cache_hit
-- what: Which share of the blocks that were read of each table and its indexes was in memory?
-- versions: 15-
SELECT relid::regclass::text AS "table",
       coalesce(heap_blks_hit, 0) + coalesce(idx_blks_hit, 0) + coalesce(toast_blks_hit, 0)
       + coalesce(tidx_blks_hit, 0) AS hits,
       coalesce(heap_blks_read, 0) + coalesce(idx_blks_read, 0) + coalesce(toast_blks_read, 0)
       + coalesce(tidx_blks_read, 0) AS reads,
       round(100.0 * heap_blks_hit / nullif(heap_blks_hit + heap_blks_read, 0), 2)::float8
       AS table_percent,
       round(100.0 * idx_blks_hit / nullif(idx_blks_hit + idx_blks_read, 0), 2)::float8
       AS index_percent
FROM pg_statio_all_tables WHERE relid = ANY (ARRAY(
        SELECT d.objid FROM pg_depend d JOIN pg_namespace n ON n.oid = d.refobjid
        WHERE d.classid = 'pg_class'::regclass AND d.refclassid = 'pg_namespace'::regclass AND n.nspname = ANY (%(schemas)s)))
ORDER BY heap_blks_read + coalesce(idx_blks_read, 0) DESC, relname

-- name: index_usage
-- what: How often is each table read through an index, and how often from end to end?
-- versions: 15-
SELECT relid::regclass::text AS "table", n_live_tup AS rows, seq_scan AS sequential_scans,
       coalesce(idx_scan, 0) AS index_scans,
       round(100.0 * coalesce(idx_scan, 0) / nullif(seq_scan + coalesce(idx_scan, 0), 0), 1)::float8
       AS index_percent
FROM pg_stat_all_tables WHERE relid = ANY (ARRAY(
        SELECT d.objid FROM pg_depend d JOIN pg_namespace n ON n.oid = d.refobjid
        WHERE d.classid = 'pg_class'::regclass AND d.refclassid = 'pg_namespace'::regclass AND n.nspname = ANY (%(schemas)s)))
ORDER BY n_live_tup DESC, relname

-- name: sequences
-- what: How much of what its column can hold has each sequence used?
--       The column is the smallest of those that own the sequence, or have it in their default, or in
--       that of their domain; an array is as large as its elements, a text as its digits, and a default
--       with a cast as what it casts to.  Nothing where it goes round before that end, or this role may
--       not read it.
-- versions: 15-
WITH RECURSIVE own AS MATERIALIZED (
    SELECT d.objid AS oid FROM pg_depend d JOIN pg_namespace n ON n.oid = d.refobjid
    WHERE d.classid = 'pg_class'::regclass AND d.refclassid = 'pg_namespace'::regclass AND n.nspname = ANY (%(schemas)s)
), here AS MATERIALIZED (
    SELECT seqrelid AS oid FROM pg_sequence WHERE seqrelid = ANY (ARRAY(SELECT oid FROM own))
), users AS MATERIALIZED (
    SELECT d.classid, d.objid, d.objsubid, d.refobjid AS oid FROM here
    JOIN pg_depend d ON d.refclassid = 'pg_class'::regclass AND d.refobjid = here.oid
    WHERE d.classid IN ('pg_attrdef'::regclass, 'pg_type'::regclass)
), unbound AS MATERIALIZED (  -- nextval by a text, as old dumps have it: the server knows no dependency
    SELECT f.adrelid, f.adnum, pg_get_expr(f.adbin, f.adrelid) AS expression FROM pg_attrdef f
    WHERE f.adrelid = ANY (ARRAY(SELECT oid FROM own)) AND f.adbin::text LIKE '%%:funcid 1574 %%'
      AND NOT EXISTS (SELECT FROM pg_depend d JOIN pg_sequence s ON s.seqrelid = d.refobjid
                      WHERE d.classid = 'pg_attrdef'::regclass AND d.objid = f.oid
                        AND d.refclassid = 'pg_class'::regclass)
), fed AS (
    SELECT here.oid, d.refobjid AS table_oid, d.refobjsubid AS attnum FROM here
    JOIN pg_depend d ON d.classid = 'pg_class'::regclass AND d.objid = here.oid
    WHERE d.refclassid = 'pg_class'::regclass AND d.deptype IN ('a', 'i')
    UNION
    SELECT u.oid, f.adrelid, f.adnum FROM users u JOIN pg_attrdef f ON f.oid = u.objid
    WHERE u.classid = 'pg_attrdef'::regclass
    UNION
    SELECT u.oid, a.attrelid, a.attnum FROM users u
    JOIN pg_depend d ON d.refclassid = u.classid AND d.refobjid = u.objid AND d.classid = 'pg_class'::regclass
    JOIN pg_attribute a ON a.attrelid = d.objid AND a.attnum = d.objsubid
    WHERE u.classid = 'pg_type'::regclass AND NOT a.atthasdef AND NOT a.attisdropped
    UNION
    SELECT to_regclass(substring(expression FROM 'nextval\(+''([^'']+)''::text'))::oid, adrelid, adnum
    FROM unbound
), types AS (
    SELECT f.oid, f.table_oid, f.attnum, a.atttypid AS type, a.atttypmod AS modifier
    FROM fed f CROSS JOIN LATERAL (  -- OFFSET: by the index, few as they are, and not all of the database
        SELECT atttypid, atttypmod FROM pg_attribute WHERE attrelid = f.table_oid AND attnum = f.attnum OFFSET 0) a
    UNION ALL  -- what a default casts it to before the column gets it
    SELECT f.oid, f.table_oid, f.attnum, c.type::regtype, -1
    FROM fed f JOIN pg_attrdef d ON d.adrelid = f.table_oid AND d.adnum = f.attnum
    CROSS JOIN LATERAL substring(CASE WHEN d.adbin::text ~ ':funcid (480|714) '  -- int8 to int4 or int2
                                      THEN pg_get_expr(d.adbin, d.adrelid) END
                                 FROM 'nextval[(](?:[(]''[^'']*''::text[)]::regclass|[^)]*)[)][)]?::(integer|smallint)') AS c (type)
    WHERE c.type IS NOT NULL
    UNION ALL  -- a domain holds what its base type does, an array what its elements do
    SELECT y.oid, y.table_oid, y.attnum, CASE t.typtype WHEN 'd' THEN t.typbasetype ELSE t.typelem END,
           CASE t.typtype WHEN 'd' THEN t.typtypmod ELSE y.modifier END
    FROM types y JOIN pg_type t ON t.oid = y.type WHERE t.typtype = 'd' OR t.typcategory = 'A'
), smallest AS (
    SELECT DISTINCT ON (y.oid) y.oid, o.oid::regclass::text || '.' || quote_ident(a.attname) AS "column",
           format_type(y.type, y.modifier) AS type,
           CASE WHEN y.type = 'int2'::regtype THEN 32767 WHEN y.type = 'int4'::regtype THEN 2147483647
                WHEN y.type = 'oid'::regtype THEN 4294967295
                -- whole numbers that it tells apart
                WHEN y.type = 'float4'::regtype THEN 16777216 WHEN y.type = 'float8'::regtype THEN 9007199254740992
                WHEN y.type = 'numeric'::regtype AND y.modifier >= 4  -- as many digits before the point
                THEN least(10::numeric ^ greatest(0, ((y.modifier - 4) >> 16)
                                                     - ((((y.modifier - 4) & 2047) # 1024) - 1024)) - 1,
                           9223372036854775807)
                WHEN y.type IN ('varchar'::regtype, 'bpchar'::regtype) AND y.modifier > 4
                THEN least(10::numeric ^ least(y.modifier - 4, 19) - 1, 9223372036854775807)
                ELSE 9223372036854775807 END::bigint AS type_max
    FROM types y
    JOIN pg_type t ON t.oid = y.type AND t.typtype <> 'd' AND t.typcategory <> 'A'
    JOIN pg_class o ON o.oid = y.table_oid
    JOIN pg_attribute a ON a.attrelid = y.table_oid AND a.attnum = y.attnum
    ORDER BY y.oid, type_max, o.relname, a.attname
), limits AS (
    SELECT c.oid, c.relname, s.seqincrement, s.seqcycle, m."column",
           coalesce(m.type, format_type(s.seqtypid, NULL)) AS type,
           -- of the sequence: the end that it goes to, and those of its type and of what it fills
           CASE WHEN s.seqincrement > 0 THEN s.seqmax ELSE -(s.seqmin + 1) END AS own,
           CASE s.seqtypid WHEN 'int2'::regtype THEN 32767 WHEN 'int4'::regtype THEN 2147483647
                ELSE 9223372036854775807 END::bigint AS own_type,
           coalesce(m.type_max, 9223372036854775807) AS filled,
           has_sequence_privilege(c.oid, 'SELECT,USAGE')
           AND NOT (pg_is_in_recovery() AND c.relpersistence = 'u') AS is_readable,
           greatest(s.seqmin, -coalesce(m.type_max, 9223372036854775807) - 1)::numeric AS first,
           least(s.seqmax, coalesce(m.type_max, 9223372036854775807))::numeric AS last
    FROM pg_sequence s
    JOIN pg_class c ON c.oid = s.seqrelid
    LEFT JOIN smallest m ON m.oid = c.oid
    WHERE c.oid = ANY (ARRAY(SELECT oid FROM here))
), called AS MATERIALIZED (
    SELECT l.*, CASE WHEN is_readable THEN pg_sequence_last_value(oid) END AS last_value FROM limits l
), used AS (
    -- Of one that was not called since it was made or set, only itself knows where it begins; a function
    -- of text search is the only one of the server that reads a relation whose name is a value.
    SELECT c.*, middle, coalesce(last_value::numeric, begins - seqincrement) AS value,
           CASE WHEN seqincrement > 0 THEN last - coalesce(middle, first)
                ELSE coalesce(middle, last) - first END AS span
    FROM called c
    CROSS JOIN LATERAL (SELECT CASE WHEN last_value IS NULL AND is_readable AND has_sequence_privilege(oid, 'SELECT')
        THEN (SELECT word::numeric FROM ts_stat('SELECT pg_catalog.array_to_tsvector(ARRAY[last_value::pg_catalog.text]) FROM '
                                                || oid::regclass)) END) AS own (begins)
    -- Of numbers on both sides of 0, those from there on count: a bigint's other half is never begun.
    CROSS JOIN LATERAL (SELECT CASE WHEN first < 0 AND last > 0 THEN 0 END::numeric) AS zero (middle)
)
SELECT oid::regclass::text AS sequence, "column", type::text, last_value,
       (CASE WHEN seqincrement > 0 THEN last ELSE first END)::bigint AS last_possible,
       CASE WHEN seqcycle AND own <= filled OR value IS NULL THEN NULL
            WHEN span < 0 THEN 100  -- the column holds none of its numbers
            WHEN seqincrement > 0 THEN round(100 * greatest(value - coalesce(middle, first), 0) / (span + 1), 1)
            ELSE round(100 * greatest(coalesce(middle, last) - value, 0) / (span + 1), 1)
       END::float8 AS used_percent, value IS NOT NULL AS readable,
       CASE WHEN own >= filled THEN 'column' WHEN own = own_type THEN 'sequence type' ELSE 'sequence' END AS ended_by
FROM used
ORDER BY used_percent DESC NULLS LAST, relname

-- name: unvalidated_constraints
-- what: Which constraints were never checked against the rows that were there before them?
-- versions: 15-
WITH locked AS (
    SELECT relation FROM pg_locks
    WHERE locktype = 'relation' AND mode = 'AccessExclusiveLock'
      AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
)
SELECT c.oid::regclass::text AS "table", false AS of_domain, quote_ident(n.conname) AS "constraint",
       CASE WHEN c.oid NOT IN (SELECT relation FROM locked) THEN pg_get_constraintdef(n.oid) END
       AS definition
FROM pg_constraint n JOIN pg_class c ON c.oid = n.conrelid
WHERE n.conrelid = ANY (ARRAY(
        SELECT d.objid FROM pg_depend d JOIN pg_namespace n ON n.oid = d.refobjid
        WHERE d.classid = 'pg_class'::regclass AND d.refclassid = 'pg_namespace'::regclass AND n.nspname = ANY (%(schemas)s))) AND NOT n.convalidated
  -- From 18 on one may be NOT ENFORCED: it is not meant to be checked.
  AND coalesce((to_jsonb(n) ->> 'conenforced')::boolean, true)
UNION ALL
SELECT n.contypid::regtype::text, true, quote_ident(n.conname), pg_get_constraintdef(n.oid)
FROM pg_constraint n
WHERE n.contypid = ANY (ARRAY(
        SELECT d.objid FROM pg_depend d JOIN pg_namespace n ON n.oid = d.refobjid
        WHERE d.classid = 'pg_type'::regclass AND d.refclassid = 'pg_namespace'::regclass AND n.nspname = ANY (%(schemas)s))) AND NOT n.convalidated
ORDER BY 1, 3

-- name: missing_primary_keys
-- what: Which tables have no primary key, so that their rows cannot be told apart?
-- versions: 15-
SELECT c.oid::regclass::text AS "table", nullif(c.reltuples, -1)::bigint AS rows
FROM pg_class c
WHERE c.oid = ANY (ARRAY(
        SELECT d.objid FROM pg_depend d JOIN pg_namespace n ON n.oid = d.refobjid
        WHERE d.classid = 'pg_class'::regclass AND d.refclassid = 'pg_namespace'::regclass AND n.nspname = ANY (%(schemas)s))) AND c.relkind IN ('r', 'p')
  AND NOT c.relispartition
  AND NOT EXISTS (SELECT FROM pg_constraint n WHERE n.conrelid = c.oid AND n.contype = 'p')
ORDER BY c.relname
