-- What loading rows needs to know of the tables, and what is dropped while they are loaded.

-- name: series
-- what: How many runs have filled these tables since the last reset?
--       Those that added rows, though they may have been killed before they could say so.
-- versions: 15-
SELECT count(*) FROM leadctl.run
WHERE app = %(app)s AND schema = %(schema)s AND command = 'seed --bulk' AND summary ? 'added'
  AND id > coalesce((SELECT max(id) FROM leadctl.run
                     WHERE app = %(app)s AND schema = %(schema)s AND command = 'reset'), 0)

-- name: secured
-- what: For which of these tables do policies restrict what this role sees and adds?
-- versions: 15-
SELECT oid::regclass::text FROM pg_class
WHERE oid = ANY (%(oids)s::bigint[]::oid[]) AND row_security_active(oid)
ORDER BY 1

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
-- what: Which indexes have the tables besides those of constraints, and how are they made?
--       One stays that has a comment, a tablespace or statistics targets of its own.
-- versions: 15-
SELECT format('%%I', c.relname) AS table_name, x.relname AS name, 'i' AS kind,
    pg_get_indexdef(i.indexrelid) AS definition
FROM pg_index i
JOIN pg_class c ON c.oid = i.indrelid
JOIN pg_class x ON x.oid = i.indexrelid
WHERE c.relnamespace = %(schema)s::regnamespace AND c.relname = ANY (%(tables)s)
  AND i.indisvalid AND NOT i.indisclustered AND NOT i.indisreplident AND x.reltablespace = 0
  AND NOT EXISTS (SELECT FROM pg_constraint k WHERE k.conrelid = i.indrelid AND k.conindid = i.indexrelid
                  AND k.contype <> 'f')
  AND NOT EXISTS (SELECT FROM pg_description d WHERE d.objoid = i.indexrelid)
  AND NOT EXISTS (SELECT FROM pg_attribute a WHERE a.attrelid = i.indexrelid
                  AND a.attstattarget >= 0)
ORDER BY c.relname, x.relname

-- name: conditions
-- what: Which CHECK constraints hold for rows of the tables, those of their columns' domains too?
--       `base` is the type beneath a domain, with its length; the domain's expression says VALUE.
-- versions: 15-
WITH RECURSIVE domains (oid, name, domain, below, modifier) AS (
    SELECT a.attrelid, a.attname, t.oid, t.typbasetype, t.typtypmod
    FROM pg_attribute a
    JOIN pg_type t ON t.oid = a.atttypid
    WHERE a.attrelid = ANY (%(oids)s::bigint[]::oid[]) AND a.attnum > 0 AND NOT a.attisdropped
      AND t.typtype = 'd' AND a.attgenerated = ''
    UNION ALL
    SELECT d.oid, d.name, t.oid, t.typbasetype, t.typtypmod
    FROM domains d JOIN pg_type t ON t.oid = d.below
    WHERE t.typtype = 'd'
), bases (oid, name, base) AS (
    SELECT d.oid, d.name, format_type(d.below, CASE WHEN d.below IN ('varchar'::regtype, 'bpchar'::regtype)
                                            THEN -1 ELSE d.modifier END)
    FROM domains d JOIN pg_type t ON t.oid = d.below
    WHERE t.typtype <> 'd'
)
SELECT k.conrelid::bigint, k.conname, ARRAY(
           SELECT a.attname FROM unnest(k.conkey) WITH ORDINALITY AS c (number, place)
           JOIN pg_attribute a ON a.attrelid = k.conrelid AND a.attnum = c.number
           ORDER BY c.place), pg_get_expr(k.conbin, k.conrelid), NULL
FROM pg_constraint k
WHERE k.contype = 'c' AND k.conrelid = ANY (%(oids)s::bigint[]::oid[])
  AND coalesce((to_jsonb(k) ->> 'conenforced')::boolean, true)
UNION ALL
SELECT d.oid::bigint, k.conname, ARRAY[d.name], pg_get_expr(k.conbin, 0), b.base
FROM domains d
JOIN bases b USING (oid, name)
JOIN pg_constraint k ON k.contypid = d.domain AND k.contype = 'c'
UNION ALL
SELECT d.oid::bigint, t.typname, ARRAY[d.name], '(VALUE IS NOT NULL)', b.base
FROM domains d
JOIN bases b USING (oid, name)
JOIN pg_type t ON t.oid = d.domain
WHERE t.typnotnull
UNION ALL
-- A cast cuts what is too long, and COPY refuses it.
SELECT a.attrelid::bigint, format_type(a.atttypid, a.atttypmod), ARRAY[a.attname],
    format('(char_length(%%I) <= %%s)', a.attname, a.atttypmod - 4), NULL
FROM pg_attribute a
WHERE a.attrelid = ANY (%(oids)s::bigint[]::oid[]) AND a.attnum > 0 AND NOT a.attisdropped
  AND a.atttypid IN ('varchar'::regtype, 'bpchar'::regtype) AND a.atttypmod > 4
  AND EXISTS (SELECT FROM pg_constraint k WHERE k.conrelid = a.attrelid AND k.contype = 'c'
              AND a.attnum = ANY (k.conkey))
UNION ALL
SELECT d.oid::bigint, format_type(d.below, d.modifier), ARRAY[d.name],
    format('(char_length(VALUE) <= %%s)', d.modifier - 4), b.base
FROM domains d
JOIN bases b USING (oid, name)
WHERE d.below IN ('varchar'::regtype, 'bpchar'::regtype) AND d.modifier > 4
ORDER BY 1, 2
