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

-- name: privileges
-- what: May this role create databases, and rename this one where it is there?
-- versions: 15-
SELECT r.rolsuper OR r.rolcreatedb,
    coalesce((SELECT r.rolsuper OR pg_has_role(d.datdba, 'USAGE')
              FROM pg_database d WHERE d.datname = %(name)s), true)
FROM pg_roles r WHERE r.rolname = current_user

-- name: analyzed
-- what: Which tables does ANALYZE take, the largest first?  A partitioned one stands for its parts.
-- versions: 15-
SELECT quote_ident(n.nspname) || '.' || quote_ident(c.relname)
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind IN ('r', 'p', 'm') AND NOT c.relispartition AND c.relpersistence <> 't'
ORDER BY coalesce((SELECT sum(pg_table_size(relid)) FROM pg_partition_tree(c.oid)), pg_table_size(c.oid)) DESC

-- name: data_directory
-- what: Where are the server's files? No row for a role that may not know.
-- versions: 15-
SELECT setting FROM pg_settings WHERE name = 'data_directory'

-- name: kept
-- what: Which databases did earlier restores of this one replace and keep?
-- versions: 15-
SELECT datname FROM pg_database WHERE starts_with(datname, %(name)s || '_before_') ORDER BY 1

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

-- name: references
-- what: Which of these tables refers to which other one of them?
-- versions: 15-
WITH wanted AS (SELECT name, to_regclass(name) AS oid FROM unnest(%(names)s::text[]) AS name)
SELECT child.name, parent.name FROM pg_constraint k
JOIN wanted child ON child.oid = k.conrelid JOIN wanted parent ON parent.oid = k.confrelid
WHERE k.contype = 'f' AND child.oid <> parent.oid

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

-- name: become
-- what: Makes a restored database the one that it replaces.
-- versions: 15-
INSERT INTO leadctl.identity (state_version, id, environment, protected, created_at)
VALUES (%(state_version)s, %(identity)s, %(environment)s, %(protected)s, %(created_at)s)
ON CONFLICT (only_row) DO UPDATE SET id = excluded.id, environment = excluded.environment,
    protected = excluded.protected, created_at = excluded.created_at

-- name: columns_of_runs
-- what: Which columns does the journal have?
-- versions: 15-
SELECT attname FROM pg_attribute
WHERE attrelid = to_regclass('leadctl.run') AND attnum > 0 AND NOT attisdropped ORDER BY attnum

-- name: number_on_after_runs
-- what: Lets the journal's next run have a number that none has.
-- versions: 15-
SELECT setval(pg_get_serial_sequence('leadctl.run', 'id'), coalesce(max(id), 0) + 1, false)
FROM leadctl.run

-- name: sequences_of_table
-- what: Which sequences give a table's columns their numbers, and how far are they?
-- versions: 15-
SELECT seq.oid::regclass::text, a.attname, coalesce(pg_sequence_last_value(seq.oid), 0)
FROM pg_depend d
JOIN pg_class seq ON seq.oid = d.objid AND seq.relkind = 'S'
JOIN pg_attribute a ON a.attrelid = d.refobjid AND a.attnum = d.refobjsubid
WHERE d.classid = 'pg_class'::regclass AND d.refclassid = 'pg_class'::regclass
  AND d.deptype IN ('a', 'i') AND d.refobjid = to_regclass(%(name)s)
