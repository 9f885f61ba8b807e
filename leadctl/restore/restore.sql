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

-- name: partition_roots
-- what: Which partitions are there, and which table is the root of their tree?
-- versions: 15-
SELECT n.nspname, c.relname, rn.nspname, r.relname
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
JOIN pg_class r ON r.oid = pg_partition_root(c.oid) JOIN pg_namespace rn ON rn.oid = r.relnamespace
WHERE c.relispartition AND c.relkind = 'r'

-- name: databases
-- what: Which databases of these names are there?
-- versions: 15-
SELECT datname FROM pg_database WHERE datname = ANY (%(names)s)

-- name: missing_extensions
-- what: Which of these extensions is not available on this server?
-- versions: 15-
SELECT unnest(%(names)s::text[]) EXCEPT SELECT name FROM pg_available_extensions ORDER BY 1

-- name: other_versions
-- what: Of which of these extensions does this server make another version by default?  And does
--   it have that one, too?
-- versions: 15-
SELECT e.name, a.default_version || ' (backup: ' || e.version || ')',
    EXISTS (SELECT FROM pg_available_extension_versions v WHERE (v.name, v.version) = (e.name, e.version))
FROM unnest(%(names)s::text[], %(versions)s::text[]) e (name, version)
JOIN pg_available_extensions a ON a.name = e.name AND a.default_version <> e.version
WHERE e.name <> 'plpgsql' ORDER BY 1

-- name: missing_roles
-- what: Which of these roles does this server not have?  A user mapping may be for public, which is none.
-- versions: 15-
SELECT unnest(%(names)s::text[]) EXCEPT (SELECT rolname FROM pg_roles UNION SELECT 'public') ORDER BY 1

-- name: other_owners
-- what: Which of these roles may this role not make the owner of something?  Whoever restores owns
--   the new database, and so is what stands for its owner.
-- versions: 15-15
SELECT rolname FROM pg_roles
WHERE rolname = ANY (%(names)s) AND rolname <> 'pg_database_owner' AND NOT pg_has_role(oid, 'MEMBER') ORDER BY 1

-- name: other_owners
-- what: As above.
-- versions: 16-
SELECT rolname FROM pg_roles
WHERE rolname = ANY (%(names)s) AND rolname <> 'pg_database_owner' AND NOT pg_has_role(oid, 'SET') ORDER BY 1

-- name: missing_collations
-- what: Which of these collations of the server's own does this server not have?
-- versions: 15-
SELECT unnest(%(names)s::text[]) EXCEPT SELECT collname FROM pg_collation
WHERE collnamespace = 'pg_catalog'::regnamespace ORDER BY 1

-- name: privileges
-- what: May this role create databases, and rename this one where it is there?
-- versions: 15-
SELECT r.rolsuper OR r.rolcreatedb,
    coalesce((SELECT r.rolsuper OR pg_has_role(d.datdba, 'USAGE')
              FROM pg_database d WHERE d.datname = %(name)s), true)
FROM pg_roles r WHERE r.rolname = current_user

-- name: analyzed
-- what: Which tables does ANALYZE take, the largest first?  A partitioned one stands for its parts;
--   the server's own are those of any new database.  No server of a foreign table is asked.
-- versions: 15-17
WITH RECURSIVE far (oid) AS (
    SELECT oid FROM pg_class WHERE relkind = 'f'
    UNION SELECT i.inhparent FROM far f JOIN pg_inherits i ON i.inhrelid = f.oid)
SELECT quote_ident(n.nspname) || '.' || quote_ident(c.relname)
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind IN ('r', 'p', 'm') AND c.relpersistence <> 't' AND c.oid >= 16384 AND c.oid NOT IN (TABLE far)
  AND (NOT c.relispartition OR (SELECT inhparent FROM pg_inherits WHERE inhrelid = c.oid) IN (TABLE far))
ORDER BY coalesce((SELECT sum(pg_table_size(relid)) FROM pg_partition_tree(c.oid)), pg_table_size(c.oid)) DESC

-- name: analyzed
-- what: Of which tables were no statistics restored, or not all, the largest first?  Those of
--   expressions in indexes and of several columns are in no dump.  As above.
-- versions: 18-
WITH RECURSIVE far (oid) AS (
    SELECT oid FROM pg_class WHERE relkind = 'f'
    UNION SELECT i.inhparent FROM far f JOIN pg_inherits i ON i.inhrelid = f.oid),
parts AS (
    SELECT c.oid AS root, t.oid, t.relkind, tn.nspname, t.relname
    FROM pg_class c
    CROSS JOIN LATERAL (SELECT c.oid UNION SELECT relid FROM pg_partition_tree(c.oid)) m (oid)
    JOIN pg_class t ON t.oid = m.oid JOIN pg_namespace tn ON tn.oid = t.relnamespace
    WHERE c.relkind IN ('r', 'p', 'm') AND c.relpersistence <> 't' AND c.oid >= 16384 AND c.oid NOT IN (TABLE far)
      AND (NOT c.relispartition OR (SELECT inhparent FROM pg_inherits WHERE inhrelid = c.oid) IN (TABLE far))
      AND t.relkind IN ('r', 'p', 'm')),
without AS (
    SELECT p.root FROM parts p
    JOIN pg_attribute a ON a.attrelid = p.oid AND a.attnum > 0 AND NOT a.attisdropped
        AND a.attgenerated <> 'v' AND coalesce(a.attstattarget, -1) <> 0
    -- OFFSET: else it is joined, and the privileges on each column of the server's own tables are asked for.
    WHERE NOT EXISTS (
        SELECT FROM pg_stats k WHERE (k.schemaname, k.tablename, k.attname, k.inherited)
            = (p.nspname, p.relname, a.attname, p.relkind = 'p') OFFSET 0)
    UNION SELECT p.root FROM parts p JOIN pg_index i ON i.indrelid = p.oid WHERE i.indexprs IS NOT NULL
    UNION SELECT p.root FROM parts p JOIN pg_statistic_ext e ON e.stxrelid = p.oid)
SELECT quote_ident(n.nspname) || '.' || quote_ident(c.relname)
FROM without w JOIN pg_class c ON c.oid = w.root JOIN pg_namespace n ON n.oid = c.relnamespace
ORDER BY coalesce((SELECT sum(pg_table_size(relid)) FROM pg_partition_tree(c.oid)), pg_table_size(c.oid)) DESC

-- name: without_foreign
-- what: Which of these tables have no foreign table below them, which ANALYZE would ask for rows?
-- versions: 15-
WITH RECURSIVE far (oid) AS (
    SELECT oid FROM pg_class WHERE relkind = 'f'
    UNION SELECT i.inhparent FROM far f JOIN pg_inherits i ON i.inhrelid = f.oid)
SELECT name FROM unnest(%(names)s::text[]) name WHERE to_regclass(name) NOT IN (TABLE far)

-- name: kept_from_dropping
-- what: Is a database a template, and how many subscriptions are in it?  Neither can be dropped.
-- versions: 15-
SELECT d.datistemplate, (SELECT count(*) FROM pg_subscription s WHERE s.subdbid = d.oid)
FROM pg_database d WHERE d.datname = %(name)s

-- name: subscriptions
-- what: Which subscriptions are in this database?
-- versions: 15-
SELECT s.subname FROM pg_subscription s JOIN pg_database d ON d.oid = s.subdbid
WHERE d.datname = current_database() ORDER BY 1

-- name: obstacles
-- what: What keeps this database from being replaced, and how is it removed?
-- versions: 15-
SELECT format('the transaction %%L is prepared', gid) AS obstacle,
    format('connect to it and run ROLLBACK PREPARED %%L; or COMMIT PREPARED', gid) AS remedy
FROM pg_prepared_xacts WHERE database = %(name)s
UNION ALL
SELECT format('the subscription %%I is enabled, and would go on in the database that is kept', subname),
    format('connect to it and run ALTER SUBSCRIPTION %%I DISABLE', subname)
FROM pg_subscription s JOIN pg_database d ON d.oid = s.subdbid
WHERE d.datname = %(name)s AND s.subenabled
UNION ALL
SELECT format('the logical replication slot %%L is being read, and does not move to another database',
              slot_name),
    'stop its consumer first; afterwards it needs a new slot'
FROM pg_replication_slots WHERE database = %(name)s AND active

-- name: missing_tablespaces
-- what: Which of these tablespaces does this server not have?
-- versions: 15-
SELECT unnest(%(names)s::text[]) EXCEPT SELECT spcname FROM pg_tablespace ORDER BY 1

-- name: may_make
-- what: Which of these extensions may this role not make, nor event triggers and subscriptions?
--   Managed services list what their administrators may make in settings of their own.
-- versions: 15-
SELECT (SELECT coalesce(array_agg(DISTINCT v.name::text), '{}')
        FROM pg_available_extensions a
        JOIN pg_available_extension_versions v ON (v.name, v.version) = (a.name, a.default_version)
        WHERE v.name = ANY (%(extensions)s) AND v.superuser AND NOT v.trusted AND NOT r.rolsuper
          AND NOT EXISTS (SELECT FROM pg_settings s, string_to_array(s.setting, ',') n(names)
                          WHERE s.name IN ('supautils.privileged_extensions', 'rds.allowed_extensions',
                                           'rds.extensions', 'extwlist.extensions', 'azure.extensions')
                            AND v.name ILIKE ANY (SELECT btrim(x) FROM unnest(names) x))
          AND NOT service.admin) AS extensions,
    r.rolsuper OR service.admin AS event_triggers,
    r.rolsuper OR service.admin OR EXISTS (SELECT FROM pg_roles g
        WHERE g.rolname = 'pg_create_subscription' AND pg_has_role(g.oid, 'USAGE')) AS subscriptions
FROM pg_roles r, LATERAL (SELECT EXISTS (SELECT FROM pg_roles g
        WHERE g.rolname IN ('rds_superuser', 'cloudsqlsuperuser', 'azure_pg_admin', 'neon_superuser',
                            'supabase_privileged_role')
          AND pg_has_role(g.oid, 'MEMBER')) AS admin) service
WHERE r.rolname = current_user

-- name: data_directory
-- what: Where are the server's files? No row for a role that may not know.
-- versions: 15-
SELECT setting FROM pg_settings WHERE name = 'data_directory'

-- name: kept
-- what: Which databases did earlier restores of this one replace and keep?
-- versions: 15-
SELECT datname FROM pg_database WHERE starts_with(datname, %(prefix)s) ORDER BY 1

-- name: own_objects
-- what: What is in these schemas that this role owns, by kind, as DROP names it?  Not what an
--   extension made, nor a part of something else.
-- versions: 15-
WITH found (kind, class, oid, owner, schema) AS (
    SELECT CASE relkind WHEN 'v' THEN 'VIEW' WHEN 'm' THEN 'MATERIALIZED VIEW' WHEN 'S' THEN 'SEQUENCE'
                        WHEN 'f' THEN 'FOREIGN TABLE' ELSE 'TABLE' END,
        'pg_class'::regclass, oid, relowner, relnamespace
    FROM pg_class WHERE relkind IN ('r', 'p', 'v', 'm', 'S', 'f') AND NOT relispartition
    UNION ALL
    SELECT 'ROUTINE', 'pg_proc'::regclass, oid, proowner, pronamespace FROM pg_proc
    UNION ALL
    SELECT CASE typtype WHEN 'd' THEN 'DOMAIN' ELSE 'TYPE' END, 'pg_type'::regclass, oid, typowner, typnamespace
    FROM pg_type WHERE typtype IN ('e', 'd', 'r') OR (typtype = 'c' AND EXISTS (
        SELECT FROM pg_class c WHERE c.oid = typrelid AND c.relkind = 'c'))
    UNION ALL
    SELECT 'COLLATION', 'pg_collation'::regclass, oid, collowner, collnamespace FROM pg_collation
    UNION ALL
    SELECT 'CONVERSION', 'pg_conversion'::regclass, oid, conowner, connamespace FROM pg_conversion
    UNION ALL
    SELECT 'TEXT SEARCH CONFIGURATION', 'pg_ts_config'::regclass, oid, cfgowner, cfgnamespace
    FROM pg_ts_config
    UNION ALL
    SELECT 'TEXT SEARCH DICTIONARY', 'pg_ts_dict'::regclass, oid, dictowner, dictnamespace
    FROM pg_ts_dict
    UNION ALL
    SELECT 'OPERATOR CLASS', 'pg_opclass'::regclass, oid, opcowner, opcnamespace FROM pg_opclass
    UNION ALL
    SELECT 'OPERATOR FAMILY', 'pg_opfamily'::regclass, oid, opfowner, opfnamespace FROM pg_opfamily
    UNION ALL
    SELECT 'OPERATOR', 'pg_operator'::regclass, oid, oprowner, oprnamespace FROM pg_operator
)
SELECT f.kind, (pg_identify_object(f.class, f.oid, 0)).identity, f.class::oid::bigint, f.oid::bigint
FROM found f JOIN pg_namespace n ON n.oid = f.schema
WHERE n.nspname = ANY (%(schemas)s) AND pg_has_role(f.owner, 'USAGE')
  AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.classid = f.class AND d.objid = f.oid
                  AND d.deptype IN ('e', 'i', 'a') AND d.refclassid <> 'pg_namespace'::regclass
                  AND NOT (d.refclassid = f.class AND d.refobjid = f.oid))

-- name: tables_of_others
-- what: Which tables in these schemas does another role own?  Not those of extensions, nor partitions,
--   which go with their table.
-- versions: 15-
SELECT n.nspname, c.relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE n.nspname = ANY (%(schemas)s) AND c.relkind IN ('r', 'p') AND NOT c.relispartition
  AND NOT pg_has_role(c.relowner, 'USAGE')
  AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid
                  AND d.deptype = 'e')

-- name: outside
-- what: What needs these objects, or a part of them, and is itself none?  Does it need a routine, and
--   is right whatever that does?  An index, a check or a stored column is not, as it holds results.
-- versions: 15-
WITH RECURSIVE part (class, oid) AS (
    SELECT * FROM unnest(%(classes)s::bigint[]::oid[], %(oids)s::bigint[]::oid[])
    UNION
    SELECT d.classid, d.objid FROM part p
    JOIN pg_depend d ON d.refclassid = p.class AND d.refobjid = p.oid AND d.deptype IN ('a', 'i', 'P', 'S')
)
SELECT DISTINCT CASE WHEN r.oid IS NULL THEN pg_describe_object(d.classid, d.objid, 0)
        ELSE pg_describe_object('pg_class'::regclass, r.ev_class, 0) END
    || ' depends on ' || pg_describe_object(d.refclassid, d.refobjid, 0) AS what,
    CASE d.refclassid WHEN 'pg_proc'::regclass THEN d.refobjid END::bigint AS routine,
    d.classid IN ('pg_trigger'::regclass, 'pg_policy'::regclass, 'pg_rewrite'::regclass, 'pg_proc'::regclass,
                  'pg_event_trigger'::regclass)
    OR EXISTS (SELECT FROM pg_attrdef f JOIN pg_attribute a ON a.attrelid = f.adrelid AND a.attnum = f.adnum
               WHERE d.classid = 'pg_attrdef'::regclass AND f.oid = d.objid AND a.attgenerated = '') AS replaceable
FROM part p JOIN pg_depend d ON d.refclassid = p.class AND d.refobjid = p.oid
LEFT JOIN pg_rewrite r ON d.classid = 'pg_rewrite'::regclass AND r.oid = d.objid
WHERE d.deptype NOT IN ('a', 'i', 'P', 'S')
  AND NOT EXISTS (SELECT FROM part o WHERE o.class = d.classid AND o.oid = d.objid)
ORDER BY 1

-- name: replicated
-- what: Which publications and subscriptions have these tables, by what statement does each publication
--   take the table, and may this role run it?
-- versions: 15-
WITH replicated (by, oid, columns, condition, owner) AS (
    SELECT 'publication ' || quote_ident(p.pubname), r.prrelid, r.prattrs, pg_get_expr(r.prqual, r.prrelid), p.pubowner
    FROM pg_publication_rel r JOIN pg_publication p ON p.oid = r.prpubid
    UNION ALL
    SELECT 'subscription ' || quote_ident(s.subname), r.srrelid, NULL, NULL, NULL
    FROM pg_subscription_rel r JOIN pg_subscription s ON s.oid = r.srsubid)
SELECT r.by, format('%%I.%%I', n.nspname, c.relname) AS "table", coalesce(pg_has_role(r.owner, 'USAGE'), false) AS may_add,
    format('ALTER %%s ADD TABLE ONLY %%I.%%I', r.by, n.nspname, c.relname)
    || coalesce((SELECT ' (' || string_agg(quote_ident(a.attname), ', ' ORDER BY a.attnum) || ')' FROM pg_attribute a
                 WHERE a.attrelid = c.oid AND a.attnum = ANY (r.columns)), '')
    || coalesce(' WHERE (' || r.condition || ')', '') AS adds
FROM replicated r JOIN pg_class c ON c.oid = r.oid JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.oid = ANY (%(oids)s::bigint[]::oid[]) ORDER BY 1, 2

-- name: own_publications
-- what: Which publications may this role change?
-- versions: 15-
SELECT pubname FROM pg_publication WHERE pg_has_role(pubowner, 'USAGE')

-- name: hide_from_owner
-- what: Which tables of this role's own have policies that hide rows from their owner, too?
-- versions: 15-
SELECT quote_ident(n.nspname) || '.' || quote_ident(c.relname) FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
JOIN pg_roles r ON r.rolname = current_user
WHERE c.relrowsecurity AND c.relforcerowsecurity AND pg_has_role(c.relowner, 'USAGE')
  AND NOT (r.rolsuper OR r.rolbypassrls)
ORDER BY 1

-- name: count_writes
-- what: Let the server count what this session writes, where it does not and this role may ask for it.
-- versions: 15-
SELECT pg_catalog.set_config('track_counts', 'on', false)
WHERE pg_catalog.has_parameter_privilege('track_counts', 'SET')

-- name: refuse_shared_writes
-- what: Did this transaction write to a catalog of the whole server, or rows of a foreign table?  An
--   error names those, so that no COMMIT follows.  Owners, subscriptions and what is said of these
--   are of this database, and that it has a login trigger is noted in its row.
-- versions: 15-
WITH said AS (
SELECT 'pg_shdescription' AS of, classoid, objoid, xmin FROM pg_catalog.pg_shdescription
UNION ALL SELECT 'pg_shseclabel', classoid, objoid, xmin FROM pg_catalog.pg_shseclabel
), written AS (
SELECT c.relname::text AS name FROM pg_catalog.pg_class c, pg_catalog.pg_database d
WHERE c.relisshared AND c.relkind = 'r' AND d.datname = pg_catalog.current_database()
  AND c.relname NOT IN ('pg_shdepend', 'pg_subscription', 'pg_replication_origin')
  AND pg_catalog.pg_stat_get_xact_tuples_inserted(c.oid) + pg_catalog.pg_stat_get_xact_tuples_deleted(c.oid)
    + pg_catalog.pg_stat_get_xact_tuples_updated(c.oid)
    > CASE c.relname
        WHEN 'pg_database' THEN (pg_catalog.to_jsonb(d) ->> 'dathasloginevt' IS NOT DISTINCT FROM 'true')::int
        ELSE (
            SELECT pg_catalog.count(*) FROM pg_catalog.pg_subscription s JOIN said o
            ON o.classoid = 'pg_catalog.pg_subscription'::pg_catalog.regclass AND o.objoid = s.oid AND s.subdbid = d.oid
            WHERE o.of = c.relname
              AND pg_catalog.age(o.xmin) <= pg_catalog.age(pg_catalog.pg_current_xact_id_if_assigned()::pg_catalog.xid))
        END
UNION SELECT 'rows of a foreign table' FROM pg_catalog.pg_locks l
WHERE l.pid = pg_catalog.pg_backend_pid() AND l.mode = 'RowExclusiveLock' AND EXISTS (
    SELECT FROM pg_catalog.pg_class c WHERE c.oid = l.relation AND c.relkind = 'f')
)
SELECT CAST('"leadctl: ' || pg_catalog.string_agg(name, ', ' ORDER BY name) || '"' AS pg_catalog.regclass)
FROM written

-- name: left_behind
-- what: Which databases did restores of this one replace and keep, which schemas did they make or
--   keep?  A move of a tenant keeps one, too.
-- versions: 15-
SELECT 'database', d.datname,
    CASE WHEN has_database_privilege(d.oid, 'CONNECT') OR pg_has_role('pg_read_all_stats', 'USAGE')
         THEN pg_database_size(d.oid) END
FROM pg_database d WHERE starts_with(d.datname, %(prefix)s)
UNION ALL
SELECT 'schema', n.nspname, (SELECT coalesce(sum(pg_total_relation_size(c.oid)), 0)
                             FROM pg_class c WHERE c.relnamespace = n.oid AND c.relkind = 'r')::bigint
FROM pg_namespace n WHERE n.nspname ~ '^(restored|orphans)_[0-9]{8}_[0-9]{6}$|_(before|moved)_[0-9]{8}t[0-9]{6}z$'

-- name: lock
-- what: Lets one restore of a database go on at a time; asked in the maintenance database.
-- versions: 15-
SELECT pg_try_advisory_lock(hashtext('leadctl restore'), hashtext(%(name)s))

-- name: end_sessions
-- what: Ends the sessions of a database, so that it can be renamed.  That ends autovacuum by itself.
-- versions: 15-
SELECT pid, pg_terminate_backend(pid)
FROM pg_stat_activity
WHERE datname = %(name)s AND pid <> pg_backend_pid() AND backend_type <> 'autovacuum worker'

-- name: are_there
-- what: Are any of these sessions still there?
-- versions: 15-
SELECT EXISTS (SELECT FROM pg_stat_activity WHERE pid = ANY (%(pids)s))

-- name: own_tables
-- what: Does a database have tables of its own, so that it is more than just made?
-- versions: 15-
SELECT EXISTS (SELECT FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE c.relkind IN ('r', 'p', 'm', 'S') AND n.nspname !~ '^pg_'
      AND n.nspname <> 'information_schema')

-- name: become
-- what: Makes a restored database the one that it replaces.
-- versions: 15-
INSERT INTO leadctl.identity (state_version, id, environment, protected, created_at)
VALUES (%(state_version)s, %(identity)s, %(environment)s, %(protected)s, %(created_at)s)
ON CONFLICT (only_row) DO UPDATE SET id = excluded.id, environment = excluded.environment,
    protected = excluded.protected, created_at = excluded.created_at

-- name: number_on_after_runs
-- what: Lets the journal's next run have a number that none has.
-- versions: 15-
SELECT setval(pg_get_serial_sequence('leadctl.run', 'id'), coalesce(max(id), 0) + 1, false)
FROM leadctl.run

-- name: relation_exists
-- what: Is there a relation of this name, which is as SQL has it?
-- versions: 15-
SELECT to_regclass(%(name)s) IS NOT NULL

-- name: foreign_key
-- what: Which foreign key of a table has this name?
-- versions: 15-
SELECT oid::bigint FROM pg_constraint
WHERE conrelid = to_regclass(%(table)s) AND conname = %(name)s AND contype = 'f'

-- name: has_period
-- what: Has a foreign key of a table PERIOD, as PostgreSQL 18 has it?
-- versions: 15-
SELECT coalesce((to_jsonb(c) ->> 'conperiod')::boolean, false) FROM pg_constraint c
WHERE conrelid = to_regclass(%(table)s) AND conname = %(name)s AND contype = 'f'

-- name: foreign_keys_of
-- what: Which foreign keys of a partitioned table must the rows of a new partition keep?
-- versions: 15-
SELECT k.oid::bigint, k.conname FROM pg_constraint k
LEFT JOIN pg_constraint above ON above.oid = k.conparentid
WHERE k.conrelid = to_regclass(%(table)s) AND k.contype = 'f' AND k.convalidated
  AND above.conrelid IS DISTINCT FROM k.conrelid

-- name: row_secured
-- what: Which of these tables have row-level security?
-- versions: 15-
SELECT name FROM unnest(%(names)s::text[]) name JOIN pg_class c ON c.oid = to_regclass(name) WHERE c.relrowsecurity

-- name: granted_by_default
-- what: What did default privileges change of new objects: what was granted, and to whom, and what
--   does everybody have else?
-- versions: 15-
WITH entry AS (
    SELECT * FROM unnest(%(kinds)s::text[], %(schemas)s::text[], %(tags)s::text[]) e (kind, schema, tag)),
made AS (
    SELECT CASE c.relkind WHEN 'S' THEN 'SEQUENCE ' ELSE 'TABLE ' END
            || format('%%I.%%I', n.nspname, c.relname) AS name,
        c.relacl AS acl, c.relowner AS owner, NULL AS usual
    FROM unnest(%(names)s::text[]) AS new (name) JOIN pg_class c ON c.oid = to_regclass(new.name)
    JOIN pg_namespace n ON n.oid = c.relnamespace
    UNION ALL
    SELECT 'ROUTINE ' || p.oid::regprocedure::text, p.proacl, p.proowner, 'EXECUTE'
    FROM pg_proc p WHERE p.oid = ANY (%(routines)s::bigint[]::oid[])
    UNION ALL
    SELECT 'TYPE ' || format('%%I.%%I', n.nspname, t.typname), t.typacl, t.typowner, 'USAGE'
    FROM entry e JOIN pg_namespace n ON n.nspname = e.schema
    JOIN pg_type t ON t.typnamespace = n.oid AND t.typname = e.tag
    WHERE e.kind IN ('TYPE', 'DOMAIN'))
SELECT DISTINCT m.name, CASE WHEN a.grantee <> 0 THEN pg_get_userbyid(a.grantee) END, NULL
FROM made m CROSS JOIN aclexplode(m.acl) a
WHERE a.grantee <> m.owner AND (a.grantee <> 0 OR m.usual IS NULL)
UNION ALL
SELECT m.name, NULL, m.usual FROM made m
WHERE m.usual IS NOT NULL AND m.acl IS NOT NULL
  AND NOT EXISTS (SELECT FROM aclexplode(m.acl) a WHERE a.grantee = 0)

-- name: routines
-- what: Which routines are in these schemas, as an archive names them: by the types of their arguments?
-- versions: 15-
SELECT n.nspname, format('%%s(%%s)', p.proname,
    coalesce((SELECT string_agg(format_type(a.type, NULL), ', ' ORDER BY place)
              FROM unnest(p.proargtypes) WITH ORDINALITY AS a (type, place)),
             CASE p.prokind WHEN 'a' THEN '*' END)), p.oid::bigint
FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace WHERE n.nspname = ANY (%(schemas)s)

-- name: extension_version
-- what: In which version is an extension installed? None where it is not.
-- versions: 15-
SELECT (SELECT extversion FROM pg_extension WHERE extname = %(name)s)

-- name: same_definition
-- what: Is a routine, a collation or a type what its temporary copy is, but for name, owner, grants?
--   None where it is not there.
-- versions: 15-
WITH two AS (
    SELECT to_jsonb(p) - '{oid,proname,pronamespace,proowner,proacl,proargdefaults,prosqlbody}'::text[]
        || jsonb_build_object('arguments', pg_get_function_arguments(p.oid),
            'body', pg_get_function_sqlbody(p.oid),
            'aggregate', (SELECT to_jsonb(a) - 'aggfnoid' FROM pg_aggregate a WHERE a.aggfnoid = p.oid)) AS definition
    FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace
    WHERE p.oid = %(routine)s::bigint::oid
       OR %(kind)s IN ('FUNCTION', 'PROCEDURE', 'AGGREGATE') AND n.oid = pg_my_temp_schema() AND p.proname = %(copy)s
    UNION ALL
    SELECT jsonb_build_object('kind', t.typtype, 'base', format_type(nullif(t.typbasetype, 0), t.typtypmod),
        'collation', t.typcollation, 'required', t.typnotnull, 'default', t.typdefault,
        'checks', (SELECT jsonb_agg(pg_get_constraintdef(k.oid) ORDER BY k.conname) FROM pg_constraint k
                   WHERE k.contypid = t.oid AND k.contype = 'c'),
        'labels', (SELECT jsonb_agg(e.enumlabel ORDER BY e.enumsortorder) FROM pg_enum e WHERE e.enumtypid = t.oid),
        'range', (SELECT ARRAY[rngsubtype, rngcollation, rngsubopc, rngcanonical, rngsubdiff] FROM pg_range
                  WHERE rngtypid = t.oid),
        'attributes', (SELECT jsonb_agg(ARRAY[a.attname, format_type(a.atttypid, a.atttypmod), a.attcollation::text]
                                        ORDER BY a.attnum)
                       FROM pg_attribute a WHERE a.attrelid = t.typrelid AND a.attnum > 0 AND NOT a.attisdropped))
    FROM pg_type t JOIN pg_namespace n ON n.oid = t.typnamespace
    WHERE %(kind)s IN ('DOMAIN', 'TYPE')
      AND (n.oid = pg_my_temp_schema() AND t.typname = %(copy)s OR n.nspname = %(schema)s AND t.typname = %(tag)s)
    UNION ALL
    SELECT to_jsonb(c) - '{oid,collname,collnamespace,collowner,collversion}'::text[]
    FROM pg_collation c JOIN pg_namespace n ON n.oid = c.collnamespace
    WHERE %(kind)s = 'COLLATION'
      AND (n.oid = pg_my_temp_schema() AND c.collname = %(copy)s OR n.nspname = %(schema)s AND c.collname = %(tag)s))
SELECT CASE count(*) WHEN 2 THEN count(DISTINCT definition) = 1 END FROM two

-- name: orphans
-- what: Of which rows does a table have to look for those that refer to nothing by a foreign key,
--       by which condition on `r`, and are its operators the server's?  The key may be that of a
--       partition's table.
-- versions: 15-
WITH parts AS (
    SELECT k.confmatchtype = 'f' AS match_full, k.period, bool_and(o.oid < 16384) AS plain,
        format(CASE f.relkind WHEN 'p' THEN '%%I.%%I' ELSE 'ONLY %%I.%%I' END, n.nspname, f.relname) AS parent,
        string_agg(format('r.%%I IS NOT NULL', c.attname), ' AND ' ORDER BY u.place) AS given,
        string_agg(format('r.%%I IS NOT NULL', c.attname), ' OR ' ORDER BY u.place) AS any_given,
        string_agg(format('p.%%I OPERATOR(%%I.%%s) r.%%I', p.attname, s.nspname, o.oprname, c.attname),
                   ' AND ' ORDER BY u.place)
            FILTER (WHERE NOT k.period OR u.place < array_length(k.conkey, 1)) AS same,
        max(c.attname) FILTER (WHERE u.place = array_length(k.conkey, 1)) AS child_period,
        max(p.attname) FILTER (WHERE u.place = array_length(k.conkey, 1)) AS parent_period
    -- PERIOD is of PostgreSQL 18.
    FROM (SELECT *, coalesce((to_jsonb(c) ->> 'conperiod')::boolean, false) AS period FROM pg_constraint c) k
    CROSS JOIN unnest(k.conkey, k.confkey, k.conpfeqop)
        WITH ORDINALITY AS u (child, parent, operator, place)
    JOIN pg_attribute c ON c.attrelid = k.conrelid AND c.attnum = u.child
    JOIN pg_attribute p ON p.attrelid = k.confrelid AND p.attnum = u.parent
    JOIN pg_operator o ON o.oid = u.operator JOIN pg_namespace s ON s.oid = o.oprnamespace
    JOIN pg_class f ON f.oid = k.confrelid JOIN pg_namespace n ON n.oid = f.relnamespace
    WHERE k.oid = %(oid)s
    GROUP BY k.oid, k.confmatchtype, k.period, f.oid, n.oid
)
SELECT (SELECT format(CASE c.relkind WHEN 'p' THEN '%%I.%%I' ELSE 'ONLY %%I.%%I' END, n.nspname, c.relname)
        FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
        WHERE c.oid = to_regclass(%(table)s)),
    CASE WHEN match_full
         THEN format('(%%s) AND NOT (%%s AND EXISTS (SELECT FROM %%s AS p WHERE %%s))',
                     any_given, given, parent, same)
         WHEN period
         THEN format('%%s AND NOT coalesce(r.%%I OPERATOR(pg_catalog.<@) (SELECT pg_catalog.range_agg(p.%%I)'
                     ' FROM %%s AS p WHERE %%s), false)', given, child_period, parent_period, parent, same)
         ELSE format('%%s AND NOT EXISTS (SELECT FROM %%s AS p WHERE %%s)', given, parent, same) END, plain
FROM parts

-- name: lost
-- what: What has a relation as it was (`copy`) that the one of now (`live`) lacks, and that went
--   because it needs one of the tables that are `back`?  An object goes with what it depends on, and
--   with what is an internal part of it.
-- versions: 15-
WITH had (place, what, name, action, required, class, oid, sub) AS (
    SELECT a.attnum, CASE c.relkind WHEN 'c' THEN 'ATTRIBUTE' ELSE 'COLUMN' END, a.attname,
        format('ADD %%s %%I %%s', CASE c.relkind WHEN 'c' THEN 'ATTRIBUTE' ELSE 'COLUMN' END, a.attname,
               format_type(a.atttypid, a.atttypmod))
        || coalesce((SELECT format(' COLLATE %%I.%%I', n.nspname, l.collname)
                     FROM pg_collation l JOIN pg_namespace n ON n.oid = l.collnamespace
                     JOIN pg_type t ON t.oid = a.atttypid
                     WHERE l.oid = a.attcollation AND l.oid <> t.typcollation), '')
        || coalesce(CASE a.attgenerated WHEN '' THEN ' DEFAULT ' ELSE ' GENERATED ALWAYS AS (' END
                    || pg_get_expr(d.adbin, d.adrelid)
                    || CASE a.attgenerated WHEN '' THEN '' WHEN 's' THEN ') STORED' ELSE ') VIRTUAL' END, ''),
        a.attnotnull, 'pg_class'::regclass, a.attrelid, a.attnum::int
    FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid
    LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
    WHERE a.attrelid = to_regclass(%(copy)s) AND a.attnum > 0 AND NOT a.attisdropped
      AND NOT EXISTS (SELECT FROM pg_attribute l WHERE l.attrelid = to_regclass(%(live)s)
                      AND l.attname = a.attname AND NOT l.attisdropped)
    UNION ALL
    SELECT 10000 + d.adnum, 'DEFAULT', a.attname,
        format('ALTER COLUMN %%I SET DEFAULT %%s', a.attname, pg_get_expr(d.adbin, d.adrelid)),
        false, 'pg_attrdef'::regclass, d.oid, 0
    FROM pg_attrdef d JOIN pg_attribute a ON a.attrelid = d.adrelid AND a.attnum = d.adnum
    JOIN pg_attribute l ON l.attrelid = to_regclass(%(live)s) AND l.attname = a.attname
        AND NOT l.attisdropped AND NOT l.atthasdef AND l.attidentity = ''
    WHERE d.adrelid = to_regclass(%(copy)s) AND a.attgenerated = ''
    UNION ALL
    SELECT 20000, 'CHECK CONSTRAINT', k.conname,
        format('ADD CONSTRAINT %%I %%s', k.conname, pg_get_constraintdef(k.oid))
        || CASE WHEN k.convalidated THEN ' NOT VALID' ELSE '' END,
        k.convalidated, 'pg_constraint'::regclass, k.oid, 0
    FROM pg_constraint k
    WHERE k.conrelid = to_regclass(%(copy)s) AND k.contype = 'c'
      AND NOT EXISTS (SELECT FROM pg_constraint l
                      WHERE l.conrelid = to_regclass(%(live)s) AND l.conname = k.conname)
)
SELECT h.what, h.name, h.action, h.required FROM had h
WHERE EXISTS (
    WITH RECURSIVE needed (class, oid, sub) AS (
        SELECT h.class::oid, h.oid, h.sub
        UNION
        SELECT more.* FROM needed e CROSS JOIN LATERAL (
            SELECT d.refclassid, d.refobjid, d.refobjsubid FROM pg_depend d
            WHERE d.classid = e.class AND d.objid = e.oid
              AND (d.objsubid = e.sub OR (d.objsubid = 0 AND e.oid <> h.oid))
            UNION ALL  -- such as the expression of a generated column
            SELECT d.classid, d.objid, d.objsubid FROM pg_depend d
            WHERE d.refclassid = e.class AND d.refobjid = e.oid AND d.refobjsubid = e.sub AND d.deptype = 'i'
        ) more
    )
    SELECT FROM needed WHERE class = 'pg_class'::regclass
        AND oid = ANY (SELECT to_regclass(name) FROM unnest(%(back)s::text[]) name))
ORDER BY h.place, h.name

-- name: dependents
-- what: How many objects need these columns of a table?
-- versions: 15-
SELECT count(*) FROM pg_depend d JOIN pg_attribute a
    ON a.attrelid = d.refobjid AND a.attnum = d.refobjsubid
WHERE d.refclassid = 'pg_class'::regclass AND d.refobjid = to_regclass(%(table)s)
  AND a.attname = ANY (%(columns)s)

-- name: ruled
-- what: Which of these tables, or roots of their partition trees, have rules for what is written?
-- versions: 15-
SELECT DISTINCT ev_class::regclass::text FROM pg_rewrite
WHERE ev_class IN (SELECT unnest(ARRAY[oid, pg_partition_root(oid)]) FROM unnest(%(oids)s::oid[]) oid)
  AND ev_type IN ('2', '3') AND ev_enabled <> 'D' ORDER BY 1

-- name: loaded_as
-- what: Which role owns a table, where this one is a superuser and that none?
-- versions: 15-
SELECT r.rolname FROM pg_class c JOIN pg_roles r ON r.oid = c.relowner
WHERE c.oid = to_regclass(%(name)s) AND current_setting('is_superuser') = 'on' AND NOT r.rolsuper

-- name: may_load
-- what: May a role write rows of a table, and what is the table's schema?
-- versions: 15-
SELECT n.nspname, has_schema_privilege(%(role)s, n.oid, 'USAGE'), has_table_privilege(%(role)s, c.oid, 'INSERT')
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE c.oid = to_regclass(%(name)s)

-- name: has_logins_of_nodes
-- what: Has a Citus cluster logins or pools of its own for its nodes?
-- versions: 15-
-- needs: citus for pg_dist_authinfo, pg_dist_poolinfo
SELECT EXISTS (SELECT FROM pg_dist_authinfo) OR EXISTS (SELECT FROM pg_dist_poolinfo)

-- name: set_coordinator
-- what: Tells a new database of a Citus cluster how the other nodes reach it.
-- versions: 15-
-- needs: citus for citus_set_coordinator_host
SELECT citus_set_coordinator_host(%(host)s, %(port)s)

-- name: add_node
-- what: Lets a node take part in a new database of a Citus cluster.
-- versions: 15-
-- needs: citus for citus_add_node
SELECT citus_add_node(%(host)s, %(port)s)

-- name: let_hold
-- what: Lets a node of a Citus cluster hold tables, or not.
-- versions: 15-
-- needs: citus for citus_set_node_property
SELECT citus_set_node_property(%(host)s, %(port)s, 'shouldhaveshards', %(holds)s)

-- name: distribute_schema
-- what: Distributes a schema over a Citus cluster, with its tables on one node.
-- versions: 15-
-- needs: citus for citus_schema_distribute
SELECT citus_schema_distribute(%(name)s::regnamespace)

-- name: distribute_reference
-- what: Lets each node of a Citus cluster have a copy of a table.
-- versions: 15-
-- needs: citus for create_reference_table
SELECT create_reference_table(%(name)s::regclass)

-- name: distribute_local
-- what: Lets the nodes of a Citus cluster know a table of the coordinator.
-- versions: 15-
-- needs: citus for citus_add_local_table_to_metadata
SELECT citus_add_local_table_to_metadata(%(name)s::regclass)

-- name: distribute_table
-- what: Distributes a table over a Citus cluster by a column, or as one shard.
-- versions: 15-
-- needs: citus for create_distributed_table
SELECT create_distributed_table(%(name)s::regclass, %(column)s, colocate_with => %(beside)s,
    shard_count => %(shards)s::int)

-- name: distribute_function
-- what: Lets a function run on the node of a Citus cluster that has the rows of an argument.
-- versions: 15-
-- needs: citus for create_distributed_function
SELECT create_distributed_function(%(name)s::regprocedure, %(column)s, colocate_with => %(beside)s)

-- name: prepared
-- what: Which transactions has a killed restore prepared here?
-- versions: 15-
SELECT gid FROM pg_prepared_xacts
WHERE starts_with(gid, %(prefix)s) AND database = current_database() ORDER BY 1

-- name: knows_citus
-- what: Has the server Citus' library?
-- versions: 15-
SELECT current_setting('citus.version', true) IS NOT NULL

-- name: distributes_schemas
-- what: Does a server with Citus distribute each schema that is made?
-- versions: 15-
SELECT current_setting('citus.enable_schema_based_sharding', true) = 'on'

-- name: limits_temporary_files
-- what: Does a sort that does not fit in memory end with an error when it is large?
-- versions: 15-
SELECT current_setting('temp_file_limit') <> '-1'
