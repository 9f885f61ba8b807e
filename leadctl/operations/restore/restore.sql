-- What a restored database is compared by.

-- name: amcheck_available
-- what: Can the extension amcheck be had here?
-- versions: 15-
SELECT EXISTS (SELECT FROM pg_available_extensions WHERE name = 'amcheck')

-- name: btree_indexes
-- what: Which B-tree indexes can be checked, each against its table?
-- versions: 15-
SELECT i.indexrelid::regclass::text FROM pg_index i
JOIN pg_class c ON c.oid = i.indexrelid JOIN pg_am a ON a.oid = c.relam
JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE a.amname = 'btree' AND c.relkind = 'i' AND i.indisready AND i.indisvalid
  AND c.relpersistence <> 't' AND n.nspname NOT IN ('pg_catalog', 'pg_toast', 'information_schema')
ORDER BY 1
