-- What loading rows needs to know of the tables, and what is dropped while they are loaded.

-- name: series
-- what: How many runs have filled these tables since the last reset?
--       Those that added rows, though they may have been killed before they could say so.
-- versions: 15-
SELECT count(*) FROM leadctl.run
WHERE app = %(app)s AND schema = %(schema)s AND command = 'seed --bulk' AND summary ? 'added'
  AND id > coalesce((SELECT max(id) FROM leadctl.run
                     WHERE app = %(app)s AND schema = %(schema)s AND command = 'reset'), 0)

-- name: constraints
-- what: Which keys and foreign keys have the tables, the latter first, and how are they made?
--       A key stays that a table which is not loaded refers to, or that has a comment.
-- versions: 15-
SELECT format('%%I', c.relname) AS table_name, k.conname AS name, k.contype AS kind,
    pg_get_constraintdef(k.oid) AS definition
FROM pg_constraint k
JOIN pg_class c ON c.oid = k.conrelid
LEFT JOIN pg_index i ON i.indexrelid = k.conindid AND k.contype <> 'f'
WHERE c.relnamespace = %(schema)s::regnamespace AND c.relname = ANY (%(tables)s)
  AND k.contype IN ('f', 'p', 'u', 'x') AND k.conparentid = 0
  AND NOT EXISTS (SELECT FROM pg_description d WHERE d.objoid IN (k.oid, i.indexrelid))
  AND (k.contype = 'f' OR NOT (i.indisclustered OR i.indisreplident OR NOT i.indisvalid) AND NOT EXISTS (
      SELECT FROM pg_constraint f JOIN pg_class r ON r.oid = f.conrelid
      WHERE f.contype = 'f' AND f.conindid = k.conindid AND NOT (
          r.relnamespace = %(schema)s::regnamespace AND r.relname = ANY (%(tables)s))))
ORDER BY k.contype <> 'f', c.relname, k.contype <> 'p', k.conname

-- name: indexes
-- what: Which indexes have the tables beside those of constraints, and how are they made?
--       One stays that has a comment, a tablespace or statistics targets of its own.
-- versions: 15-
SELECT format('%%I', c.relname) AS table_name, x.relname AS name, 'i' AS kind,
    pg_get_indexdef(i.indexrelid) AS definition
FROM pg_index i
JOIN pg_class c ON c.oid = i.indrelid
JOIN pg_class x ON x.oid = i.indexrelid
WHERE c.relnamespace = %(schema)s::regnamespace AND c.relname = ANY (%(tables)s)
  AND i.indisvalid AND NOT i.indisclustered AND NOT i.indisreplident AND x.reltablespace = 0
  AND NOT EXISTS (SELECT FROM pg_constraint k WHERE k.conindid = i.indexrelid
                  AND k.contype <> 'f')
  AND NOT EXISTS (SELECT FROM pg_description d WHERE d.objoid = i.indexrelid)
  AND NOT EXISTS (SELECT FROM pg_attribute a WHERE a.attrelid = i.indexrelid
                  AND a.attstattarget >= 0)
ORDER BY c.relname, x.relname
