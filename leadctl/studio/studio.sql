-- What `leadctl studio` asks the catalog of types.

-- name: types
-- what: What are the types of a table's columns made of, and by which operators are their values
--       equal and in order?  `ordering` is <, <=, =, >=, > of the type's own order.
-- versions: 15-
WITH RECURSIVE reached (oid) AS (
    SELECT DISTINCT a.atttypid FROM pg_attribute a
    WHERE a.attrelid = %(oid)s::bigint::oid AND a.attnum > 0 AND NOT a.attisdropped
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

-- name: held
-- what: Which relations of this database does somebody hold for himself alone?
-- versions: 15-
SELECT l.relation::regclass::text, l.pid FROM pg_locks l JOIN pg_class c ON c.oid = l.relation
WHERE l.locktype = 'relation' AND l.mode = 'AccessExclusiveLock' AND l.granted AND l.pid <> pg_backend_pid()
  AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
  AND c.relkind IN ('r', 'p', 'm', 'f', 'v')
ORDER BY 1
