-- What depends on what, as the server has it (pg_depend); names are those of definitions.sql.

-- name: uses
-- what: What does each object use, by the server's account?  A default is apart from its column.
-- versions: 15-
WITH place AS (
    SELECT oid, CASE oid WHEN %(home)s::regnamespace THEN '' ELSE quote_ident(nspname) || '.' END AS prefix
    FROM pg_namespace WHERE nspname = ANY (%(schemas)s)
), relation AS (
    SELECT c.oid, c.relkind, c.reltype, p.prefix, p.prefix || quote_ident(c.relname) AS name,
        CASE WHEN c.relkind IN ('v', 'm') THEN 'view ' WHEN c.relkind = 'S' THEN 'sequence '
             WHEN c.relkind = 'c' THEN 'type ' WHEN c.relispartition AND c.relkind IN ('i', 'I') THEN 'other index '
             WHEN c.relkind IN ('i', 'I') THEN 'index ' ELSE 'table ' END || p.prefix || quote_ident(c.relname) AS key
    FROM pg_class c JOIN place p ON p.oid = c.relnamespace
    WHERE c.relkind IN ('r', 'p', 'f', 'v', 'm', 'S', 'c', 'i', 'I')
), kind AS (
    SELECT t.oid, coalesce(r.key, CASE t.typtype WHEN 'e' THEN 'enum ' WHEN 'd' THEN 'domain ' ELSE 'type ' END
                           || p.prefix || quote_ident(t.typname)) AS key, t.typarray
    FROM pg_type t JOIN place p ON p.oid = t.typnamespace LEFT JOIN relation r ON r.reltype = t.oid
    WHERE t.typtype IN ('e', 'd', 'r', 'c')
), node (class, oid, part, key) AS (
    SELECT 'pg_class'::regclass, r.oid, 0, coalesce('constraint ' || o.name || '.' || quote_ident(n.conname), r.key)
    FROM relation r
    LEFT JOIN pg_index x ON r.relkind IN ('i', 'I') AND x.indexrelid = r.oid
    LEFT JOIN pg_constraint n ON n.conrelid = x.indrelid AND n.conindid = r.oid AND n.contype IN ('p', 'u', 'x')
      AND n.conparentid = 0
    LEFT JOIN relation o ON o.oid = n.conrelid
    UNION ALL
    SELECT 'pg_class'::regclass, r.oid, a.attnum,
        CASE WHEN r.relkind IN ('r', 'p', 'f') THEN 'column ' || r.name || '.' || quote_ident(a.attname) ELSE r.key END
    FROM relation r JOIN pg_attribute a ON a.attrelid = r.oid AND a.attnum > 0 AND NOT a.attisdropped
    WHERE r.relkind IN ('r', 'p', 'f', 'v', 'm', 'c')
    UNION ALL
    SELECT 'pg_type'::regclass, oid, 0, key FROM kind
    UNION ALL
    SELECT 'pg_type'::regclass, typarray, 0, key FROM kind WHERE typarray <> 0
    UNION ALL
    SELECT 'pg_type'::regclass, unnest(ARRAY[m.oid, m.typarray]), 0, k.key
    FROM pg_range g JOIN kind k ON k.oid = g.rngtypid JOIN pg_type m ON m.oid = g.rngmultitypid
    UNION ALL
    SELECT 'pg_constraint'::regclass, n.oid, 0, coalesce(CASE n.contype
        WHEN 'n' THEN 'column ' || r.name || '.' || (SELECT quote_ident(a.attname) FROM pg_attribute a
                                                     WHERE a.attrelid = n.conrelid AND a.attnum = n.conkey[1])
        ELSE 'constraint ' || r.name || '.' || quote_ident(n.conname) END, k.key)
    FROM pg_constraint n LEFT JOIN relation r ON r.oid = n.conrelid LEFT JOIN kind k ON k.oid = n.contypid
    -- By their indexes: there may be as many constraints elsewhere as there are schemas.
    WHERE (n.conrelid = ANY (ARRAY(SELECT oid FROM relation)) OR n.contypid = ANY (ARRAY(SELECT oid FROM kind)))
      AND n.conparentid = 0
    UNION ALL
    SELECT 'pg_attrdef'::regclass, d.oid, 0, CASE WHEN a.attgenerated <> '' THEN 'column '
        WHEN a.attislocal AND r.relkind <> 'v' THEN 'default ' ELSE 'property default of ' END
        || r.name || '.' || quote_ident(a.attname)
    FROM pg_attrdef d JOIN relation r ON r.oid = d.adrelid
    JOIN pg_attribute a ON a.attrelid = d.adrelid AND a.attnum = d.adnum
    UNION ALL
    SELECT 'pg_rewrite'::regclass, w.oid, 0,
        CASE w.rulename WHEN '_RETURN' THEN r.key ELSE 'rule ' || r.name || '.' || quote_ident(w.rulename) END
    FROM pg_rewrite w JOIN relation r ON r.oid = w.ev_class
    UNION ALL
    SELECT 'pg_trigger'::regclass, t.oid, 0, CASE t.tgparentid WHEN 0
        THEN 'trigger ' || r.name || '.' || quote_ident(t.tgname)
        ELSE 'property trigger ' || quote_ident(t.tgname) || ' of ' || r.name END
    FROM pg_trigger t JOIN relation r ON r.oid = t.tgrelid WHERE NOT t.tgisinternal
    UNION ALL
    SELECT 'pg_policy'::regclass, y.oid, 0, 'policy ' || r.name || '.' || quote_ident(y.polname)
    FROM pg_policy y JOIN relation r ON r.oid = y.polrelid
    UNION ALL
    SELECT 'pg_proc'::regclass, f.oid, 0,
        'function ' || p.prefix || quote_ident(f.proname) || '(' || oidvectortypes(f.proargtypes) || ')'
    FROM pg_proc f JOIN place p ON p.oid = f.pronamespace
    UNION ALL
    SELECT 'pg_collation'::regclass, l.oid, 0, 'collation ' || p.prefix || quote_ident(l.collname)
    FROM pg_collation l JOIN place p ON p.oid = l.collnamespace
    UNION ALL
    SELECT 'pg_statistic_ext'::regclass, s.oid, 0, 'statistics ' || p.prefix || quote_ident(s.stxname)
    FROM pg_statistic_ext s JOIN place p ON p.oid = s.stxnamespace
    UNION ALL
    SELECT 'pg_cast'::regclass, oid, 0, 'property cast of ' || format_type(castsource, NULL) || ' to '
        || format_type(casttarget, NULL)
    FROM pg_cast WHERE oid >= 16384
    UNION ALL
    SELECT d.classid, d.objid, 0, 'other ' || pg_describe_object(d.classid, d.objid, 0)
    FROM pg_depend d JOIN place p ON p.oid = d.refobjid
    WHERE d.refclassid = 'pg_namespace'::regclass AND d.classid IN (
        'pg_operator'::regclass, 'pg_opfamily'::regclass, 'pg_opclass'::regclass, 'pg_ts_config'::regclass,
        'pg_ts_dict'::regclass, 'pg_conversion'::regclass)
    UNION ALL
    -- What an operator class or, alone, a family has uses its operators and functions.
    SELECT d.classid, d.objid, 0, 'other ' || pg_describe_object(d.refclassid, d.refobjid, 0)
    FROM pg_depend d
    WHERE d.classid IN ('pg_amop'::regclass, 'pg_amproc'::regclass) AND d.objid >= 16384
      AND (d.refclassid = 'pg_opclass'::regclass OR (d.refclassid = 'pg_opfamily'::regclass AND d.deptype = 'a'))
    UNION ALL
    SELECT 'pg_namespace'::regclass, oid, 0, 'schema ' || rtrim(prefix, '.') FROM place WHERE prefix <> ''
)
SELECT a.key, jsonb_agg(DISTINCT b.key)
FROM node a
CROSS JOIN LATERAL (
    SELECT * FROM pg_depend p WHERE p.classid = a.class AND p.objid = a.oid AND p.objsubid = a.part
    OFFSET 0) AS d -- by its index, whatever else is in the database
JOIN node b ON b.class = d.refclassid AND b.oid = d.refobjid AND b.part = d.refobjsubid
WHERE d.deptype <> 'e' AND a.key <> b.key
  -- What a sequence belongs to is set when both are there.
  AND NOT (d.deptype = 'a' AND a.key LIKE 'sequence %%')
  -- Which index of a partition is a part of which is no matter of order.
  AND a.key NOT LIKE 'other index %%'
GROUP BY a.key

-- name: published
-- what: Which tables do publications name columns of, in a list or in a filter?  What makes one like it.
-- versions: 15-
SELECT t.name, 'CREATE PUBLICATION ' || quote_ident(p.pubname || ' of ' || c.relname) || ' FOR TABLE ' || t.name
    || coalesce(' (' || (SELECT string_agg(quote_ident(a.attname), ', ' ORDER BY a.attnum) FROM pg_attribute a
                         WHERE a.attrelid = c.oid AND a.attnum = ANY (r.prattrs)) || ')', '')
    || coalesce(' WHERE (' || pg_get_expr(r.prqual, c.oid) || ')', '') AS statement
FROM pg_publication p JOIN pg_publication_rel r ON r.prpubid = p.oid
JOIN pg_class c ON c.oid = r.prrelid JOIN pg_namespace n ON n.oid = c.relnamespace
CROSS JOIN LATERAL (
    SELECT CASE n.nspname WHEN %(home)s THEN '' ELSE quote_ident(n.nspname) || '.' END || quote_ident(c.relname) AS name
) AS t
WHERE n.nspname = ANY (%(schemas)s) AND (r.prattrs IS NOT NULL OR r.prqual IS NOT NULL)
ORDER BY 1, 2

-- name: absent
-- what: Which kinds of definitions.sql has a schema none of?  To plan what reads them takes as long
--       as to read all others.  With a LIMIT the server goes by the schema's own objects.
-- versions: 15-
WITH made AS MATERIALIZED (
    SELECT classid, objid FROM pg_depend
    WHERE refclassid = 'pg_namespace'::regclass AND refobjid = %(schema)s::regnamespace
)
SELECT unnest(k.kinds) FROM (
    SELECT '{enum,domain,type}'::text[], EXISTS (SELECT FROM made WHERE classid = 'pg_type'::regclass)
    UNION ALL
    SELECT '{collation}', EXISTS (SELECT FROM made WHERE classid = 'pg_collation'::regclass)
    UNION ALL
    SELECT '{function}', EXISTS (SELECT FROM made WHERE classid = 'pg_proc'::regclass)
    UNION ALL
    SELECT '{statistics}', EXISTS (SELECT FROM made WHERE classid = 'pg_statistic_ext'::regclass)
    UNION ALL
    SELECT '{trigger}', EXISTS (SELECT FROM made, LATERAL (
        SELECT FROM pg_trigger WHERE tgrelid = made.objid AND NOT tgisinternal LIMIT 1) AS t
        WHERE made.classid = 'pg_class'::regclass)
    UNION ALL
    SELECT '{policy}', EXISTS (SELECT FROM pg_policy)
    UNION ALL
    SELECT '{rule}', EXISTS (SELECT FROM made, LATERAL (
        SELECT FROM pg_rewrite WHERE ev_class = made.objid AND rulename <> '_RETURN' LIMIT 1) AS r
        WHERE made.classid = 'pg_class'::regclass)
    UNION ALL
    SELECT '{other}', EXISTS (SELECT FROM pg_inherits)
        OR EXISTS (SELECT FROM made WHERE classid IN (
            'pg_operator'::regclass, 'pg_opfamily'::regclass, 'pg_opclass'::regclass, 'pg_ts_config'::regclass,
            'pg_ts_dict'::regclass, 'pg_conversion'::regclass))
        OR EXISTS (SELECT FROM made JOIN pg_type t ON t.oid = made.objid
                   WHERE made.classid = 'pg_type'::regclass AND (NOT t.typisdefined OR t.typtype = 'b'))
) AS k (kinds, is_there) WHERE NOT k.is_there
