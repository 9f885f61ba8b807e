-- What a live schema consists of; one row a table, so that thousands of them are one answer.
-- Names are as they are, not quoted.

-- name: tables
-- what: Which tables and views are there, with columns, keys, indexes, checks and comments?
-- versions: 15-
WITH relation AS (
    SELECT c.oid, c.relname, c.relkind FROM pg_class c
    WHERE c.relnamespace = to_regnamespace(quote_ident(%(schema)s)) AND c.relkind IN ('r', 'p', 'v', 'm', 'f')
      AND NOT c.relispartition AND c.relname <> 'alembic_version'
      AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.classid = 'pg_class'::regclass
                      AND d.objid = c.oid AND d.deptype = 'e')
), part AS (
    SELECT a.attrelid AS oid, 'columns' AS part, jsonb_agg(jsonb_build_object(
        'name', a.attname, 'type', format_type(a.atttypid, a.atttypmod), 'nullable', NOT a.attnotnull,
        'default', CASE WHEN a.attgenerated = '' THEN pg_get_expr(d.adbin, d.adrelid) END,
        'generated', CASE WHEN a.attgenerated <> '' THEN pg_get_expr(d.adbin, d.adrelid)
                          WHEN a.attidentity = 'a' THEN 'always as identity'
                          WHEN a.attidentity = 'd' THEN 'by default as identity' END,
        'comment', col_description(a.attrelid, a.attnum)) ORDER BY a.attnum) AS content
    FROM relation
    JOIN pg_attribute a ON a.attrelid = relation.oid AND a.attnum > 0 AND NOT a.attisdropped
    LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
    GROUP BY 1
    UNION ALL
    SELECT n.conrelid, CASE n.contype WHEN 'p' THEN 'primary' WHEN 'u' THEN 'uniques'
                                      WHEN 'f' THEN 'foreign' ELSE 'checks' END,
           jsonb_agg(jsonb_build_object(
        'name', n.conname,
        'columns', ARRAY(SELECT a.attname FROM unnest(n.conkey) WITH ORDINALITY AS k (attnum, place)
                         JOIN pg_attribute a ON a.attrelid = n.conrelid AND a.attnum = k.attnum ORDER BY k.place),
        'definition', pg_get_constraintdef(n.oid, true),
        'table', CASE WHEN r.relnamespace <> n.connamespace
                      THEN quote_ident(s.nspname) || '.' || quote_ident(r.relname) ELSE r.relname END,
        'referred', ARRAY(SELECT a.attname FROM unnest(n.confkey) WITH ORDINALITY AS k (attnum, place)
                          JOIN pg_attribute a ON a.attrelid = n.confrelid AND a.attnum = k.attnum ORDER BY k.place),
        'on_delete', CASE n.confdeltype WHEN 'c' THEN 'CASCADE' WHEN 'n' THEN 'SET NULL'
                                        WHEN 'd' THEN 'SET DEFAULT' WHEN 'r' THEN 'RESTRICT' ELSE '' END)
        ORDER BY n.conname)
    FROM relation
    JOIN pg_constraint n ON n.conrelid = relation.oid AND n.contype IN ('p', 'u', 'f', 'c', 'x')
    LEFT JOIN pg_class r ON r.oid = n.confrelid
    LEFT JOIN pg_namespace s ON s.oid = r.relnamespace
    GROUP BY 1, 2
    UNION ALL
    SELECT x.indrelid, 'indexes', jsonb_agg(jsonb_build_object(
        'name', i.relname,
        'columns', ARRAY(SELECT CASE WHEN x.indkey[k - 1] = 0 THEN pg_get_indexdef(i.oid, k, true) ELSE a.attname END
                         FROM generate_series(1, x.indnkeyatts) AS k
                         LEFT JOIN pg_attribute a ON a.attrelid = x.indrelid AND a.attnum = x.indkey[k - 1] ORDER BY k),
        'unique', x.indisunique, 'method', m.amname,
        'where', pg_get_expr(x.indpred, x.indrelid, true)) ORDER BY i.relname)
    FROM relation
    JOIN pg_index x ON x.indrelid = relation.oid
    JOIN pg_class i ON i.oid = x.indexrelid
    JOIN pg_am m ON m.oid = i.relam
    WHERE NOT EXISTS (SELECT FROM pg_constraint n WHERE n.conindid = i.oid AND n.contype IN ('p', 'u', 'x'))
    GROUP BY 1
)
SELECT relation.relname AS name,
       CASE relation.relkind WHEN 'v' THEN 'view' WHEN 'm' THEN 'materialized view'
                             WHEN 'f' THEN 'foreign table' ELSE 'table' END AS kind,
       coalesce(jsonb_object_agg(part.part, part.content) FILTER (WHERE part.part IS NOT NULL), '{}') AS parts,
       obj_description(relation.oid, 'pg_class') AS comment
FROM relation LEFT JOIN part ON part.oid = relation.oid
GROUP BY relation.oid, relation.relname, relation.relkind
ORDER BY relation.relname

-- name: enums
-- what: Which enums are there, with their values in order?
-- versions: 15-
SELECT t.typname AS name, array_agg(e.enumlabel::text ORDER BY e.enumsortorder) AS values
FROM pg_type t JOIN pg_enum e ON e.enumtypid = t.oid
WHERE t.typnamespace = to_regnamespace(quote_ident(%(schema)s))
  AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.classid = 'pg_type'::regclass
                  AND d.objid = t.oid AND d.deptype = 'e')
GROUP BY t.typname ORDER BY t.typname
