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

-- name: connections
-- what: How many client connections are there, and how many may ordinary roles make?
-- versions: 15-15
SELECT (SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend'),
       current_setting('max_connections')::int
       - current_setting('superuser_reserved_connections')::int

-- name: connections
-- what: How many client connections are there, and how many may ordinary roles make?
-- versions: 16-
SELECT (SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend'),
       current_setting('max_connections')::int
       - current_setting('superuser_reserved_connections')::int
       - current_setting('reserved_connections')::int

-- name: indexes
-- what: Which indexes does the schema have, is each valid, is it being built now?
-- versions: 15-
SELECT quote_ident(i.relname), x.indisvalid AND x.indisready,
       EXISTS (SELECT FROM pg_stat_progress_create_index p WHERE p.index_relid = i.oid)
FROM pg_index x
JOIN pg_class i ON i.oid = x.indexrelid
WHERE i.relnamespace = to_regnamespace(quote_ident(%(schema)s))
