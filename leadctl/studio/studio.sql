-- What `leadctl studio` asks the catalog; names are returned as they are, not quoted.

-- name: relations
-- what: Which tables and views are there, how many rows are they estimated to have, and which
--       tables do they refer to and are referred by?  Partitions count with their table.
-- versions: 15-
SELECT c.relname AS name,
       CASE c.relkind WHEN 'v' THEN 'view' WHEN 'm' THEN 'materialized view'
                      WHEN 'f' THEN 'foreign table' ELSE 'table' END AS kind,
       CASE WHEN c.relkind = 'v' OR e.unknown THEN NULL ELSE e.rows END AS estimate,
       CASE WHEN c.relkind = 'v' THEN NULL ELSE e.bytes END AS bytes,
       ARRAY(SELECT DISTINCT r.relname::text FROM pg_constraint f JOIN pg_class r ON r.oid = f.confrelid
             WHERE f.conrelid = c.oid AND f.contype = 'f' ORDER BY 1) AS refers_to,
       ARRAY(SELECT DISTINCT r.relname::text FROM pg_constraint f JOIN pg_class r ON r.oid = f.conrelid
             WHERE f.confrelid = c.oid AND f.contype = 'f' AND f.conparentid = 0 ORDER BY 1) AS referred_by,
       obj_description(c.oid, 'pg_class') AS comment
FROM pg_class c
CROSS JOIN LATERAL (
    SELECT coalesce(sum(l.reltuples) FILTER (WHERE l.relkind IN ('r', 'm', 'f') AND l.reltuples >= 0), 0)::bigint AS rows,
           coalesce(bool_or(l.relkind IN ('r', 'm', 'f') AND l.reltuples < 0), false) AS unknown,
           coalesce(sum(pg_relation_size(l.oid)), 0)::bigint AS bytes
    FROM (SELECT c.oid AS relid WHERE c.relkind <> 'p'
          UNION ALL SELECT p.relid FROM pg_partition_tree(c.oid) AS p WHERE c.relkind = 'p') AS p
    JOIN pg_class l ON l.oid = p.relid) AS e
WHERE c.relnamespace = to_regnamespace(quote_ident(%(schema)s)) AND c.relkind IN ('r', 'p', 'v', 'm', 'f')
  AND NOT c.relispartition AND c.relname <> 'alembic_version'
  AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.classid = 'pg_class'::regclass
                  AND d.objid = c.oid AND d.deptype = 'e')
ORDER BY c.relname

-- name: names
-- what: Which tables and views can be looked at, partitions among them?
-- versions: 15-
SELECT relname FROM pg_class
WHERE relnamespace = to_regnamespace(quote_ident(%(schema)s)) AND relkind IN ('r', 'p', 'v', 'm', 'f')
ORDER BY relname

-- name: columns
-- what: Which columns does a table have, of which type?
-- versions: 15-
SELECT a.attname AS name, format_type(a.atttypid, a.atttypmod) AS type, a.atttypid AS oid,
       a.attnotnull AS not_null
FROM pg_attribute a
WHERE a.attrelid = to_regclass(%(table)s) AND a.attnum > 0 AND NOT a.attisdropped
ORDER BY a.attnum

-- name: types
-- what: What are the types of a table's columns made of, and by which operators are their values
--       equal and in order?  `ordering` is <, <=, =, >=, > of the type's own order.
-- versions: 15-
WITH RECURSIVE reached (oid) AS (
    SELECT DISTINCT a.atttypid FROM pg_attribute a
    WHERE a.attrelid = to_regclass(%(table)s) AND a.attnum > 0 AND NOT a.attisdropped
    UNION
    SELECT v.part FROM reached
    JOIN pg_type t ON t.oid = reached.oid
    LEFT JOIN pg_range r ON t.oid IN (r.rngtypid, r.rngmultitypid)
    CROSS JOIN LATERAL (VALUES (t.typbasetype), (CASE WHEN t.typcategory = 'A' THEN t.typelem END),
                               (r.rngsubtype)) AS v (part)
    WHERE v.part <> 0
), equal (oid, method, family, input) AS (
    SELECT DISTINCT ON (t.oid, m.amname) t.oid, m.amname, k.opcfamily, k.opcintype
    FROM reached
    JOIN pg_type t ON t.oid = reached.oid
    JOIN pg_opclass k ON k.opcdefault
    JOIN pg_am m ON m.oid = k.opcmethod AND m.amname IN ('btree', 'hash')
    WHERE k.opcintype = t.oid
       OR EXISTS (SELECT FROM pg_cast b WHERE b.castsource = t.oid AND b.casttarget = k.opcintype
                  AND b.castmethod = 'b' AND b.castcontext = 'i')
       OR k.opcintype = CASE WHEN t.typtype = 'e' THEN 'anyenum'::regtype
                             WHEN t.typtype = 'r' THEN 'anyrange'::regtype
                             WHEN t.typtype = 'm' THEN 'anymultirange'::regtype
                             WHEN t.typcategory = 'A' THEN 'anyarray'::regtype END
    ORDER BY t.oid, m.amname, k.opcintype <> t.oid, k.opcintype
)
SELECT t.oid, n.nspname AS schema, t.typname AS name, t.typtype AS kind, t.typcategory AS category,
       nullif(t.typbasetype, 0) AS base,
       CASE WHEN t.typcategory = 'A' THEN nullif(t.typelem, 0) END AS element,
       (SELECT r.rngsubtype FROM pg_range r WHERE t.oid IN (r.rngtypid, r.rngmultitypid)) AS subtype,
       ARRAY(SELECT l.enumlabel::text FROM pg_enum l WHERE l.enumtypid = t.oid ORDER BY l.enumsortorder) AS labels,
       ARRAY(SELECT quote_ident(s.nspname) || '.' || o.oprname FROM equal q
             JOIN pg_amop p ON p.amopfamily = q.family AND p.amoplefttype = q.input
                           AND p.amoprighttype = q.input AND p.amoppurpose = 's'
             JOIN pg_operator o ON o.oid = p.amopopr
             JOIN pg_namespace s ON s.oid = o.oprnamespace
             WHERE q.oid = t.oid AND q.method = 'btree' ORDER BY p.amopstrategy) AS ordering,
       (SELECT quote_ident(s.nspname) || '.' || o.oprname FROM equal q
        JOIN pg_amop p ON p.amopfamily = q.family AND p.amoplefttype = q.input
                      AND p.amoprighttype = q.input AND p.amoppurpose = 's' AND p.amopstrategy = 1
        JOIN pg_operator o ON o.oid = p.amopopr
        JOIN pg_namespace s ON s.oid = o.oprnamespace
        WHERE q.oid = t.oid AND q.method = 'hash') AS equality
FROM reached
JOIN pg_type t ON t.oid = reached.oid
JOIN pg_namespace n ON n.oid = t.typnamespace

-- name: row_key
-- what: Which columns tell a table's rows apart: its primary key, else its shortest unique index
--       without NULLs?
-- versions: 15-
SELECT ARRAY(SELECT a.attname::text FROM unnest(i.indkey::int2[]) WITH ORDINALITY AS k (attnum, place)
             JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = k.attnum
             WHERE k.place <= i.indnkeyatts ORDER BY k.place) AS columns
FROM pg_index i
JOIN pg_class c ON c.oid = i.indexrelid
WHERE i.indrelid = to_regclass(%(table)s) AND i.indisunique AND i.indimmediate AND i.indisvalid
  AND i.indpred IS NULL AND i.indexprs IS NULL
  AND NOT EXISTS (SELECT FROM unnest(i.indkey::int2[]) AS k (attnum)
                  JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = k.attnum
                  WHERE NOT a.attnotnull)
ORDER BY i.indisprimary DESC, i.indnkeyatts, c.relname
LIMIT 1

-- name: references
-- what: Which foreign keys does a table have (`outgoing`), and which refer to it?
-- versions: 15-
SELECT f.name, f.outgoing, n.nspname AS schema, r.relname AS table, f.referring, f.referred
FROM (
    SELECT c.conname AS name, v.outgoing, v.other,
           ARRAY(SELECT a.attname::text FROM unnest(c.conkey) WITH ORDINALITY AS k (attnum, place)
                 JOIN pg_attribute a ON a.attrelid = c.conrelid AND a.attnum = k.attnum ORDER BY k.place) AS referring,
           ARRAY(SELECT a.attname::text FROM unnest(c.confkey) WITH ORDINALITY AS k (attnum, place)
                 JOIN pg_attribute a ON a.attrelid = c.confrelid AND a.attnum = k.attnum ORDER BY k.place) AS referred
    FROM pg_constraint c
    CROSS JOIN LATERAL (VALUES (true, c.conrelid, c.confrelid), (false, c.confrelid, c.conrelid)) AS v (outgoing, here, other)
    WHERE c.contype = 'f' AND v.here = to_regclass(%(table)s) AND (v.outgoing OR c.conparentid = 0)) AS f
JOIN pg_class r ON r.oid = f.other
JOIN pg_namespace n ON n.oid = r.relnamespace
ORDER BY f.outgoing DESC, r.relname, f.name

-- name: estimate
-- what: How many rows is one table estimated to have?  NULL where it was never analysed.
-- versions: 15-
SELECT sum(c.reltuples) FILTER (WHERE c.relkind IN ('r', 'm', 'f') AND c.reltuples >= 0)::bigint
FROM (SELECT to_regclass(%(table)s)::oid AS relid
      UNION SELECT p.relid FROM pg_partition_tree(to_regclass(%(table)s)) AS p) AS p
JOIN pg_class c ON c.oid = p.relid
