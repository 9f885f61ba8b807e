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

-- name: databases
-- what: Which databases of these names are there?
-- versions: 15-
SELECT datname FROM pg_database WHERE datname = ANY (%(names)s)

-- name: missing_extensions
-- what: Which of these extensions cannot be had on this server?
-- versions: 15-
SELECT unnest(%(names)s::text[]) EXCEPT SELECT name FROM pg_available_extensions ORDER BY 1

-- name: missing_roles
-- what: Which of these roles does this server not have?
-- versions: 15-
SELECT unnest(%(names)s::text[]) EXCEPT SELECT rolname FROM pg_roles ORDER BY 1

-- name: lock
-- what: Lets one restore of a database go on at a time; asked in the maintenance database.
-- versions: 15-
SELECT pg_try_advisory_lock(hashtext('leadctl restore'), hashtext(%(name)s))

-- name: end_sessions
-- what: Ends the sessions of a database, so that it can be renamed.
-- versions: 15-
SELECT pid, usename, application_name, pg_terminate_backend(pid, 2000)
FROM pg_stat_activity WHERE datname = %(name)s AND pid <> pg_backend_pid()

-- name: own_tables
-- what: Does a database have tables of its own, so that it is more than just made?
-- versions: 15-
SELECT EXISTS (SELECT FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE c.relkind IN ('r', 'p', 'm', 'S') AND n.nspname !~ '^pg_'
      AND n.nspname <> 'information_schema')

-- name: leaves
-- what: Which tables hold the rows of this one: itself, or its partitions?
-- versions: 15-
SELECT quote_ident(n.nspname) || '.' || quote_ident(c.relname)
FROM pg_partition_tree(coalesce(to_regclass(%(name)s), to_regclass(quote_ident(%(name)s)))) p
JOIN pg_class c ON c.oid = p.relid JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE p.isleaf AND c.relkind = 'r'
UNION
SELECT quote_ident(n.nspname) || '.' || quote_ident(c.relname)
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.oid = coalesce(to_regclass(%(name)s), to_regclass(quote_ident(%(name)s)))
  AND c.relkind = 'r'

-- name: primary_key
-- what: Which columns are the primary key of a table, in its order?
-- versions: 15-
SELECT a.attname FROM pg_index i
JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = ANY (i.indkey)
WHERE i.indrelid = to_regclass(%(name)s) AND i.indisprimary
ORDER BY array_position(i.indkey::int2[], a.attnum)

-- name: fixed
-- what: Which columns of a table cannot be set by an UPDATE: generated, and identity always?
-- versions: 15-
SELECT attname FROM pg_attribute
WHERE attrelid = to_regclass(%(name)s) AND attnum > 0 AND NOT attisdropped
  AND (attgenerated <> '' OR attidentity = 'a')

-- name: triggers
-- what: Which triggers of a table's own are enabled, and how?
-- versions: 15-
SELECT tgname, tgenabled FROM pg_trigger
WHERE tgrelid = to_regclass(%(name)s) AND NOT tgisinternal AND tgenabled <> 'D'
ORDER BY tgname
