-- What the health checks ask; every block is cheap and reads the catalog only.

-- name: tables
-- what: How many tables does the schema have?
-- versions: 15-
SELECT count(*) FROM pg_class
WHERE relnamespace = to_regnamespace(quote_ident(%(schema)s)) AND relkind IN ('r', 'p')
  AND relname <> 'alembic_version'

-- name: schema
-- what: Is the schema there?
-- versions: 15-
SELECT to_regnamespace(quote_ident(%(schema)s)) IS NOT NULL

-- name: largest
-- what: How many bytes has the largest table or index of the schema, as of its last VACUUM?
-- versions: 15-
SELECT coalesce(max(relpages), 0) * current_setting('block_size')::bigint FROM pg_class
WHERE relnamespace = to_regnamespace(quote_ident(%(schema)s))

-- name: connections
-- what: How many client connections are there, and how many may ordinary roles make?
-- versions: 15-15
SELECT (SELECT count(*) FROM pg_stat_activity WHERE usesysid IS NOT NULL
        AND coalesce(backend_type, 'client backend') = 'client backend'),
       current_setting('max_connections')::int
       - current_setting('superuser_reserved_connections')::int

-- name: connections
-- what: How many client connections are there, and how many may ordinary roles make?
-- versions: 16-
SELECT (SELECT count(*) FROM pg_stat_activity WHERE usesysid IS NOT NULL
        AND coalesce(backend_type, 'client backend') = 'client backend'),
       current_setting('max_connections')::int
       - current_setting('superuser_reserved_connections')::int
       - current_setting('reserved_connections')::int

-- name: indexes
-- what: Which indexes do the app's schemas have, is each valid, is it being built now?
-- versions: 15-
SELECT CASE WHEN n.nspname <> %(schema)s THEN quote_ident(n.nspname) || '.' ELSE '' END
         || quote_ident(i.relname), x.indisvalid AND x.indisready,
       EXISTS (SELECT FROM pg_stat_progress_create_index p WHERE p.index_relid = i.oid)
FROM pg_index x
JOIN pg_class i ON i.oid = x.indexrelid
JOIN pg_namespace n ON n.oid = i.relnamespace
WHERE n.nspname = %(schema)s OR n.nspname = ANY (%(schemas)s)

-- name: oid
-- what: Which number has a relation, by its quoted name?
-- versions: 15-
SELECT coalesce(to_regclass(%(name)s)::oid::bigint, 0)

-- name: invalid_index
-- what: Is an index invalid, and of which table is it?
-- versions: 15-
SELECT n.nspname::text, t.relname::text
FROM pg_index x JOIN pg_class t ON t.oid = x.indrelid JOIN pg_namespace n ON n.oid = t.relnamespace
WHERE x.indexrelid = %(oid)s::bigint::oid AND NOT x.indisvalid

-- name: autovacuum
-- what: Does the server vacuum by itself, and does it count what is written?
-- versions: 15-
SELECT current_setting('autovacuum')::boolean, current_setting('track_counts')::boolean

-- name: connection_limits
-- what: Which role or database is nearest to a connection limit of its own?  Superusers have none.
-- versions: 15-
SELECT name, used, most FROM (
    SELECT 'role ' || quote_ident(r.rolname),
           (SELECT count(*) FROM pg_stat_activity a WHERE a.usesysid = r.oid), r.rolconnlimit
    FROM pg_roles r WHERE r.rolconnlimit > 0 AND NOT r.rolsuper
    UNION ALL
    SELECT 'database ' || quote_ident(d.datname),
           (SELECT count(*) FROM pg_stat_activity a WHERE a.datid = d.oid AND a.usesysid IS NOT NULL),
           d.datconnlimit
    FROM pg_database d WHERE d.datconnlimit > 0
) AS limits (name, used, most)
ORDER BY used::float8 / most DESC, name LIMIT 1
