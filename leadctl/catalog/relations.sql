-- A table as PostgreSQL has it, facet by facet.  Every block costs what the relations have that are
-- asked for, not what the database has: it begins at an index of the catalog.
-- `oids` are the relations; where they are found in the same statement it becomes their selection.

-- name: in_schema
-- what: Which tables and views are in a schema, found as what depends on it?  Partitions are in
--       their table.
-- versions: 15-
SELECT c.oid::bigint AS oid, NULL AS asked
FROM pg_catalog.pg_depend d
JOIN pg_catalog.pg_class c ON c.oid = d.objid
WHERE d.refclassid = 'pg_catalog.pg_namespace'::pg_catalog.regclass
  AND d.refobjid = pg_catalog.to_regnamespace(pg_catalog.quote_ident(%(schema)s))::oid
  AND d.classid = 'pg_catalog.pg_class'::pg_catalog.regclass
  AND c.relkind IN ('r', 'p', 'v', 'm', 'f') AND NOT c.relispartition

-- name: named
-- what: Which relations have these names?  A name is as SQL has it, or as it is.
-- versions: 15-
SELECT coalesce(pg_catalog.to_regclass(asked),
                pg_catalog.to_regclass(pg_catalog.quote_ident(asked)))::oid::bigint AS oid, asked
FROM pg_catalog.unnest(%(names)s::text[]) AS n (asked)

-- name: numbered
-- what: Which relations have these oids?
-- versions: 15-
SELECT oid, NULL AS asked FROM pg_catalog.unnest(%(oids)s::bigint[]) AS n (oid)

-- name: names
-- what: Which tables and views can be looked at in a schema, partitions among them?
-- versions: 15-
SELECT c.relname
FROM pg_catalog.pg_depend d
JOIN pg_catalog.pg_class c ON c.oid = d.objid
WHERE d.refclassid = 'pg_catalog.pg_namespace'::pg_catalog.regclass
  AND d.refobjid = pg_catalog.to_regnamespace(pg_catalog.quote_ident(%(schema)s))::oid
  AND d.classid = 'pg_catalog.pg_class'::pg_catalog.regclass
  AND c.relkind IN ('r', 'p', 'v', 'm', 'f')
ORDER BY c.relname

-- name: relations
-- what: Which relations are these, of what kind, whose, and how are they partitioned?
--       Rows are `touched_as` the owner where this role is a superuser and the owner none.  Where a
--       policy would hide rows from the owner, too, this role's own rights are needed.
-- versions: 15-
SELECT c.oid::bigint AS oid, n.nspname AS schema, c.relname AS name,
       c.oid::pg_catalog.regclass::text AS quoted,
       pg_catalog.quote_ident(n.nspname) || '.' || pg_catalog.quote_ident(c.relname) AS qualified,
       c.relkind::text AS kind, pg_catalog.pg_get_userbyid(c.relowner) AS owner,
       pg_catalog.pg_has_role(c.relowner, 'USAGE') AS owned,
       CASE WHEN pg_catalog.current_setting('is_superuser') = 'on' AND NOT c.relforcerowsecurity
            THEN (SELECT r.rolname FROM pg_catalog.pg_roles r WHERE r.oid = c.relowner AND NOT r.rolsuper)
       END AS touched_as,
       c.relrowsecurity AS row_security,
       c.relispartition AS is_partition, p.partstrat::text AS strategy,
       ARRAY(SELECT a.attname
             FROM pg_catalog.unnest(p.partattrs::int2[]) WITH ORDINALITY AS k (attnum, number)
             LEFT JOIN pg_catalog.pg_attribute a ON a.attrelid = c.oid AND a.attnum = k.attnum
             ORDER BY k.number) AS partition_key,
       ARRAY(SELECT i.inhparent::bigint FROM pg_catalog.pg_inherits i
             WHERE i.inhrelid = c.oid ORDER BY i.inhseqno) AS parents,
       EXISTS (SELECT FROM pg_catalog.pg_depend d
               WHERE d.classid = 'pg_catalog.pg_class'::pg_catalog.regclass
                 AND d.objid = c.oid AND d.deptype = 'e') AS of_extension,
       pg_catalog.obj_description(c.oid, 'pg_class') AS comment
FROM pg_catalog.pg_class c
JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
LEFT JOIN pg_catalog.pg_partitioned_table p ON p.partrelid = c.oid
WHERE c.oid = ANY (%(oids)s::bigint[]::oid[])
ORDER BY c.relname, n.nspname

-- name: columns
-- what: Which columns are there, of which types, and what makes their values?
--       `base` is the type beneath a domain, without length or precision.  `operators` is the schema
--       of those by which its values are equal and in order.
-- versions: 15-
SELECT a.attrelid::bigint AS oid, a.attname AS name,
       pg_catalog.format_type(a.atttypid, a.atttypmod) AS type, a.atttypid::bigint AS type_oid,
       pg_catalog.format_type(beneath.oid, NULL) AS base,
       coalesce((SELECT pg_catalog.quote_ident(s.nspname) FROM pg_catalog.pg_type b
                 JOIN pg_catalog.pg_opclass k ON k.opcintype = b.oid AND k.opcdefault
                 JOIN pg_catalog.pg_am m ON m.oid = k.opcmethod AND m.amname IN ('btree', 'hash')
                 JOIN pg_catalog.pg_amop p ON p.amopfamily = k.opcfamily AND p.amoplefttype = b.oid
                                          AND p.amoprighttype = b.oid AND p.amoppurpose = 's'
                 JOIN pg_catalog.pg_operator o ON o.oid = p.amopopr AND o.oprname = '='
                 JOIN pg_catalog.pg_namespace s ON s.oid = o.oprnamespace
                 WHERE b.oid = beneath.oid AND b.typnamespace <> 'pg_catalog'::pg_catalog.regnamespace
                 ORDER BY m.amname LIMIT 1), 'pg_catalog') AS operators,
       t.typtype = 'd' AS domain, a.attnotnull AS not_null, a.atthasdef AS has_expression,
       nullif(a.attgenerated::text, '') AS generated, nullif(a.attidentity::text, '') AS identity,
       pg_catalog.col_description(a.attrelid, a.attnum) AS comment
FROM pg_catalog.pg_attribute a
JOIN pg_catalog.pg_type t ON t.oid = a.atttypid
CROSS JOIN LATERAL (SELECT CASE WHEN t.typtype = 'd' THEN (
    WITH RECURSIVE beneath (oid, base) AS (
        SELECT t.oid, t.typbasetype
        UNION ALL
        SELECT b.oid, b.typbasetype
        FROM beneath JOIN pg_catalog.pg_type b ON b.oid = beneath.base)
    SELECT oid FROM beneath WHERE base = 0) ELSE t.oid END) AS beneath (oid)
WHERE a.attrelid = ANY (%(oids)s::bigint[]::oid[]) AND a.attnum > 0 AND NOT a.attisdropped
ORDER BY a.attrelid, a.attnum

-- name: sequences
-- what: Which sequences number columns: those of identity columns, those that columns own, and
--       those that are the whole default of a number?
-- versions: 15-
SELECT a.attrelid::bigint AS oid, a.attname AS column, n.nspname AS schema, s.relname AS name,
       pg_catalog.bool_or(f.owned) AS owned
FROM (
    SELECT d.refobjid, d.refobjsubid, d.objid, true
    FROM pg_catalog.pg_depend d
    WHERE d.refclassid = 'pg_catalog.pg_class'::pg_catalog.regclass
      AND d.refobjid = ANY (%(oids)s::bigint[]::oid[])
      AND d.classid = 'pg_catalog.pg_class'::pg_catalog.regclass AND d.deptype IN ('a', 'i')
    UNION ALL
    SELECT e.adrelid, e.adnum, d.refobjid, false
    FROM pg_catalog.pg_attrdef e
    JOIN pg_catalog.pg_depend d ON d.classid = 'pg_catalog.pg_attrdef'::pg_catalog.regclass
        AND d.objid = e.oid AND d.refclassid = 'pg_catalog.pg_class'::pg_catalog.regclass
    JOIN pg_catalog.pg_attribute a ON a.attrelid = e.adrelid AND a.attnum = e.adnum
    JOIN pg_catalog.pg_type t ON t.oid = a.atttypid AND t.typcategory = 'N'
    WHERE e.adrelid = ANY (%(oids)s::bigint[]::oid[])
      AND pg_catalog.pg_get_expr(e.adbin, e.adrelid)
          ~ '^[(]?nextval[(]''([^'']|'''')*''::regclass[)][)]?(::[a-z]+)?$'
) AS f (of, number, sequence, owned)
JOIN pg_catalog.pg_class s ON s.oid = f.sequence AND s.relkind = 'S'
JOIN pg_catalog.pg_namespace n ON n.oid = s.relnamespace
JOIN pg_catalog.pg_attribute a ON a.attrelid = f.of AND a.attnum = f.number
GROUP BY a.attrelid, a.attnum, a.attname, s.oid, n.nspname, s.relname
ORDER BY a.attrelid, a.attnum, s.oid

-- name: sequence
-- what: How does a sequence count, and what did it last draw?  The server tells that to whom may
--       use it; no row is none.
-- versions: 15-
SELECT seqincrement AS step, seqmin AS least, seqmax AS most, seqstart AS start,
       pg_catalog.pg_sequence_last_value(seqrelid) AS drawn,
       pg_catalog.has_sequence_privilege(seqrelid, 'SELECT') AS readable
FROM pg_catalog.pg_sequence
WHERE seqrelid = pg_catalog.to_regclass(%(name)s)

-- name: indexes
-- what: Which indexes are there, on which columns (NULL is an expression), for which constraint?
-- versions: 15-
SELECT x.indrelid::bigint AS oid, i.relname AS name, m.amname AS method,
       ARRAY(SELECT a.attname
             FROM pg_catalog.generate_series(0, x.indnkeyatts - 1) AS k (number)
             LEFT JOIN pg_catalog.pg_attribute a
                    ON a.attrelid = x.indrelid AND a.attnum = x.indkey[k.number]
             ORDER BY k.number) AS columns,
       x.indisunique AS unique, x.indisprimary AS primary, x.indimmediate AS immediate,
       x.indisvalid AND x.indisready AS valid, x.indpred IS NOT NULL AS partial, k.conname AS constraint
FROM pg_catalog.pg_index x
JOIN pg_catalog.pg_class i ON i.oid = x.indexrelid
JOIN pg_catalog.pg_am m ON m.oid = i.relam
LEFT JOIN pg_catalog.pg_constraint k
       ON k.conrelid = x.indrelid AND k.conindid = x.indexrelid AND k.contype IN ('p', 'u', 'x')
WHERE x.indrelid = ANY (%(oids)s::bigint[]::oid[])
ORDER BY x.indrelid, x.indexrelid

-- name: constraints
-- what: Which keys, checks, exclusions and foreign keys are there, and on which columns?
--       A foreign key to a partitioned table is one, though the server has one more a partition.
-- versions: 15-
SELECT n.conrelid::bigint AS oid, n.conname AS name, n.contype::text AS kind,
       ARRAY(SELECT a.attname
             FROM pg_catalog.unnest(n.conkey) WITH ORDINALITY AS k (attnum, number)
             JOIN pg_catalog.pg_attribute a ON a.attrelid = n.conrelid AND a.attnum = k.attnum
             ORDER BY k.number) AS columns,
       n.convalidated AS validated
FROM pg_catalog.pg_constraint n
LEFT JOIN pg_catalog.pg_constraint p ON p.oid = n.conparentid
WHERE n.conrelid = ANY (%(oids)s::bigint[]::oid[]) AND n.contype IN ('p', 'u', 'c', 'x', 'f')
  AND p.conrelid IS DISTINCT FROM n.conrelid
ORDER BY n.conrelid, n.conname

-- name: references
-- what: Which foreign keys are there (`outgoing`), and which refer to the relations?
--       What refers is found as what depends on the columns; that of a partition is its table's.
-- versions: 15-
WITH found (oid, constraint_oid, outgoing) AS (
    SELECT n.conrelid, n.oid, true
    FROM pg_catalog.pg_constraint n
    LEFT JOIN pg_catalog.pg_constraint p ON p.oid = n.conparentid
    WHERE n.conrelid = ANY (%(oids)s::bigint[]::oid[]) AND n.contype = 'f'
      AND p.conrelid IS DISTINCT FROM n.conrelid
    UNION
    SELECT n.confrelid, n.oid, false
    FROM pg_catalog.pg_depend d
    JOIN pg_catalog.pg_constraint n ON n.oid = d.objid AND n.confrelid = d.refobjid
    WHERE d.refclassid = 'pg_catalog.pg_class'::pg_catalog.regclass
      AND d.refobjid = ANY (%(oids)s::bigint[]::oid[])
      AND d.classid = 'pg_catalog.pg_constraint'::pg_catalog.regclass
      AND n.contype = 'f' AND n.conparentid = 0
)
SELECT f.oid::bigint AS oid, f.outgoing, n.conname AS name,
       n.conrelid::bigint AS child, cn.nspname AS child_schema, c.relname AS child_table,
       c.oid::pg_catalog.regclass::text AS child_quoted, c.relkind = 'p' AS child_partitioned,
       n.confrelid::bigint AS parent, pn.nspname AS parent_schema, p.relname AS parent_table,
       p.oid::pg_catalog.regclass::text AS parent_quoted, p.relkind = 'p' AS parent_partitioned,
       ARRAY(SELECT a.attname
             FROM pg_catalog.unnest(n.conkey) WITH ORDINALITY AS k (attnum, number)
             JOIN pg_catalog.pg_attribute a ON a.attrelid = n.conrelid AND a.attnum = k.attnum
             ORDER BY k.number) AS columns,
       ARRAY(SELECT a.attname
             FROM pg_catalog.unnest(n.confkey) WITH ORDINALITY AS k (attnum, number)
             JOIN pg_catalog.pg_attribute a ON a.attrelid = n.confrelid AND a.attnum = k.attnum
             ORDER BY k.number) AS referred,
       ARRAY(SELECT pg_catalog.quote_ident(s.nspname) || '.' || o.oprname
             FROM pg_catalog.unnest(n.conpfeqop) WITH ORDINALITY AS k (operator, number)
             JOIN pg_catalog.pg_operator o ON o.oid = k.operator
             JOIN pg_catalog.pg_namespace s ON s.oid = o.oprnamespace
             ORDER BY k.number) AS equal,
       n.confdeltype::text AS on_delete,
       coalesce((pg_catalog.to_jsonb(n) ->> 'conperiod')::boolean, false) AS period,
       coalesce((pg_catalog.to_jsonb(n) ->> 'conenforced')::boolean, true) AS enforced
FROM found f
JOIN pg_catalog.pg_constraint n ON n.oid = f.constraint_oid
JOIN pg_catalog.pg_class c ON c.oid = n.conrelid
JOIN pg_catalog.pg_namespace cn ON cn.oid = c.relnamespace
JOIN pg_catalog.pg_class p ON p.oid = n.confrelid
JOIN pg_catalog.pg_namespace pn ON pn.oid = p.relnamespace
ORDER BY f.oid, CASE WHEN f.outgoing THEN p.relname ELSE c.relname END, n.conname

-- name: expressions
-- what: How does SQL write defaults, checks and the like?  The server locks a table to say that.
-- versions: 15-
SELECT d.adrelid::bigint AS oid, 'column' AS of,
       (SELECT a.attname FROM pg_catalog.pg_attribute a
        WHERE a.attrelid = d.adrelid AND a.attnum = d.adnum) AS name,
       0 AS number, pg_catalog.pg_get_expr(d.adbin, d.adrelid) AS sql
FROM pg_catalog.pg_attrdef d
WHERE d.adrelid = ANY (%(oids)s::bigint[]::oid[])
UNION ALL
SELECT n.conrelid::bigint, 'constraint', n.conname, 0, pg_catalog.pg_get_constraintdef(n.oid, true)
FROM pg_catalog.pg_constraint n
WHERE n.conrelid = ANY (%(oids)s::bigint[]::oid[]) AND n.contype IN ('p', 'u', 'c', 'x', 'f')
UNION ALL
SELECT x.indrelid::bigint, 'predicate', i.relname, 0,
       pg_catalog.pg_get_expr(x.indpred, x.indrelid, true)
FROM pg_catalog.pg_index x JOIN pg_catalog.pg_class i ON i.oid = x.indexrelid
WHERE x.indrelid = ANY (%(oids)s::bigint[]::oid[]) AND x.indpred IS NOT NULL
UNION ALL
SELECT x.indrelid::bigint, 'key', i.relname, k.number,
       pg_catalog.pg_get_indexdef(x.indexrelid, k.number, true)
FROM pg_catalog.pg_index x JOIN pg_catalog.pg_class i ON i.oid = x.indexrelid
CROSS JOIN pg_catalog.generate_series(1, x.indnkeyatts) AS k (number)
WHERE x.indrelid = ANY (%(oids)s::bigint[]::oid[]) AND x.indkey[k.number - 1] = 0

-- name: descendants
-- what: Which tables are partitions or children of the relations, on any level, within which bounds?
-- versions: 15-
WITH RECURSIVE tree (root, oid, parent, detaching) AS (
    SELECT i.inhparent, i.inhrelid, i.inhparent, i.inhdetachpending FROM pg_catalog.pg_inherits i
    WHERE i.inhparent = ANY (%(oids)s::bigint[]::oid[])
    UNION
    SELECT t.root, i.inhrelid, i.inhparent, t.detaching OR i.inhdetachpending
    FROM tree t JOIN pg_catalog.pg_inherits i ON i.inhparent = t.oid
)
SELECT t.root::bigint AS oid, t.oid::bigint AS child, t.parent::bigint AS parent,
       c.relname AS name, c.oid::pg_catalog.regclass::text AS quoted,
       pg_catalog.quote_ident(n.nspname) || '.' || pg_catalog.quote_ident(c.relname) AS qualified,
       c.relkind::text AS kind, c.relispartition AS is_partition, t.detaching,
       pg_catalog.pg_get_expr(c.relpartbound, c.oid) AS bound
FROM tree t
JOIN pg_catalog.pg_class c ON c.oid = t.oid
JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
ORDER BY t.root, c.relname, n.nspname

-- name: triggers
-- what: Which triggers of their own do the relations have, and when are they enabled?
-- versions: 15-
SELECT t.tgrelid::bigint AS oid, t.tgname AS name, t.tgenabled::text AS enabled,
       t.tgtype & 4 = 4 AS on_insert
FROM pg_catalog.pg_trigger t
WHERE t.tgrelid = ANY (%(oids)s::bigint[]::oid[]) AND NOT t.tgisinternal
ORDER BY t.tgrelid, t.tgname

-- name: sizes
-- what: How many bytes and about how many rows do the relations have, their partitions included?
--       `rows` are as of the last VACUUM or ANALYZE, `dense_rows` as many as fit the pages of now.
--       NULL where nothing was ever analysed.  Nobody waits for what is `locked`: its sizes are of
--       the last VACUUM.
-- versions: 15-
WITH RECURSIVE tree (root, oid) AS (
    SELECT r.oid::oid, r.oid::oid FROM pg_catalog.unnest(%(oids)s::bigint[]) AS r (oid)
    UNION
    SELECT t.root, i.inhrelid FROM tree t
    JOIN pg_catalog.pg_inherits i ON i.inhparent = t.oid AND NOT i.inhdetachpending
    JOIN pg_catalog.pg_class c ON c.oid = i.inhrelid AND c.relispartition
), locked AS (
    SELECT coalesce(i.indrelid, l.relation) AS oid
    FROM pg_catalog.pg_locks l LEFT JOIN pg_catalog.pg_index i ON i.indexrelid = l.relation
    WHERE l.locktype = 'relation' AND l.mode = 'AccessExclusiveLock'
      AND l.database = (SELECT oid FROM pg_catalog.pg_database
                        WHERE datname = pg_catalog.current_database())
), held AS (
    SELECT t.root, c.oid, c.relkind, c.relkind IN ('r', 'm', 'f') AS has_rows, c.reltuples, c.relpages::bigint,
           pg_catalog.current_setting('block_size')::bigint AS block,
           t.root IN (SELECT oid FROM locked) OR c.oid IN (SELECT oid FROM locked) AS is_locked
    FROM tree t JOIN pg_catalog.pg_class c ON c.oid = t.oid
), measured AS (
    SELECT h.*,
           CASE WHEN is_locked THEN relpages * block
                ELSE coalesce(pg_catalog.pg_relation_size(oid), 0) END AS heap,
           CASE WHEN is_locked THEN relpages * block
                ELSE coalesce(pg_catalog.pg_table_size(oid), 0) END AS whole,
           CASE WHEN is_locked
                THEN (SELECT coalesce(pg_catalog.sum(i.relpages), 0) FROM pg_catalog.pg_index x
                      JOIN pg_catalog.pg_class i ON i.oid = x.indexrelid WHERE x.indrelid = h.oid)::bigint * block
                ELSE coalesce(pg_catalog.pg_indexes_size(oid), 0) END AS indexes
    FROM held h
)
SELECT root::bigint AS oid, pg_catalog.to_regclass('pg_catalog.pg_dist_partition') IS NOT NULL AS citus,
       pg_catalog.bool_or(is_locked) AS locked,
       pg_catalog.sum(heap)::bigint AS heap_bytes, pg_catalog.sum(whole)::bigint AS table_bytes,
       pg_catalog.sum(indexes)::bigint AS index_bytes, pg_catalog.sum(heap / block)::bigint AS pages,
       coalesce(pg_catalog.sum(reltuples) FILTER (WHERE has_rows AND reltuples >= 0),
                CASE WHEN pg_catalog.bool_and(relkind = 'p') THEN 0 END)::bigint AS known_rows,
       coalesce(pg_catalog.bool_or(reltuples < 0) FILTER (WHERE has_rows), false) AS unknown,
       pg_catalog.sum(CASE WHEN relpages > 0 THEN reltuples / relpages * (heap / block)
                           ELSE heap / 100 END)::bigint AS dense_rows,
       CASE WHEN pg_catalog.current_setting('track_counts')::boolean
            THEN coalesce(pg_catalog.sum(pg_catalog.pg_stat_get_dead_tuples(oid)), 0)::bigint END AS dead_rows,
       pg_catalog.max(greatest(pg_catalog.pg_stat_get_last_vacuum_time(oid),
                               pg_catalog.pg_stat_get_last_autovacuum_time(oid))) AS last_vacuum
FROM measured
GROUP BY root
