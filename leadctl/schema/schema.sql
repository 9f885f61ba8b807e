-- What a live schema has besides its relations.  Names are as they are, not quoted.

-- name: enums
-- what: Which enums are there, with their values in order?
-- versions: 15-
SELECT t.typname AS name, array_agg(e.enumlabel::text ORDER BY e.enumsortorder) AS values
FROM pg_type t JOIN pg_enum e ON e.enumtypid = t.oid
WHERE t.oid = ANY (ARRAY(SELECT objid FROM pg_depend WHERE classid = 'pg_type'::regclass
        AND refclassid = 'pg_namespace'::regclass AND refobjid = to_regnamespace(quote_ident(%(schema)s))))
  AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.classid = 'pg_type'::regclass
                  AND d.objid = t.oid AND d.deptype = 'e')
GROUP BY t.typname ORDER BY t.typname
