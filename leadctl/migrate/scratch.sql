-- What is asked before and behind each statement that is tried in a scratch schema.  The search path is
-- anybody's there, so everything is named with its schema.

-- name: path
-- what: Where does the session look for names?
-- versions: 15-
SELECT pg_catalog.current_setting('search_path')

-- name: go_back
-- what: May it look there again?
-- versions: 15-
SELECT pg_catalog.set_config('search_path', %(path)s, true)

-- name: locked_there
-- what: Which relations of the target's schema, but for extensions', does the session hold?
-- versions: 15-
SELECT c.oid FROM pg_catalog.pg_locks l
JOIN pg_catalog.pg_class c ON c.oid OPERATOR(pg_catalog.=) l.relation
WHERE l.locktype OPERATOR(pg_catalog.=) 'relation'
  AND l.pid OPERATOR(pg_catalog.=) pg_catalog.pg_backend_pid()
  AND c.relnamespace OPERATOR(pg_catalog.=) (
      SELECT n.oid FROM pg_catalog.pg_namespace n WHERE n.nspname OPERATOR(pg_catalog.=) %(schema)s)
  AND NOT EXISTS (
      SELECT FROM pg_catalog.pg_depend d
      WHERE d.classid OPERATOR(pg_catalog.=) 'pg_catalog.pg_class'::pg_catalog.regclass
        AND d.objid OPERATOR(pg_catalog.=) c.oid AND d.deptype OPERATOR(pg_catalog.=) 'e')

-- name: found_there
-- what: Which words lead to a relation in the target's schema without naming it, since the scratch lacks it?
-- versions: 15-
SELECT c.relname FROM pg_catalog.pg_class c
WHERE c.relnamespace OPERATOR(pg_catalog.=) (
      SELECT n.oid FROM pg_catalog.pg_namespace n WHERE n.nspname OPERATOR(pg_catalog.=) %(schema)s)
  AND c.relname OPERATOR(pg_catalog.=) ANY (%(words)s::pg_catalog.name[])
  AND NOT EXISTS (
      SELECT FROM pg_catalog.pg_depend d
      WHERE d.classid OPERATOR(pg_catalog.=) 'pg_catalog.pg_class'::pg_catalog.regclass
        AND d.objid OPERATOR(pg_catalog.=) c.oid AND d.deptype OPERATOR(pg_catalog.=) 'e')
  AND NOT EXISTS (
      SELECT FROM pg_catalog.pg_class s
      WHERE s.relname OPERATOR(pg_catalog.=) c.relname AND s.relnamespace OPERATOR(pg_catalog.=) (
            SELECT n.oid FROM pg_catalog.pg_namespace n WHERE n.nspname OPERATOR(pg_catalog.=) %(other)s))

-- name: holds_unwritten
-- what: Does a schema hold what leadctl does not write: an extension, operators, text search objects?
-- versions: 15-
SELECT EXISTS (
    SELECT FROM pg_namespace n WHERE n.nspname = %(schema)s AND n.oid IN (
        SELECT extnamespace FROM pg_extension UNION ALL SELECT oprnamespace FROM pg_operator
        UNION ALL SELECT opcnamespace FROM pg_opclass UNION ALL SELECT cfgnamespace FROM pg_ts_config
        UNION ALL SELECT dictnamespace FROM pg_ts_dict))

-- name: extensions
-- what: Which extensions are there, in the order in which they were made?
-- versions: 15-
SELECT e.extname, n.nspname, e.extversion FROM pg_extension e
JOIN pg_namespace n ON n.oid = e.extnamespace WHERE n.nspname <> 'pg_catalog' ORDER BY e.oid

-- name: existing
-- what: Which of some schemas are there?
-- versions: 15-
SELECT nspname FROM pg_namespace WHERE nspname = ANY (%(schemas)s)
