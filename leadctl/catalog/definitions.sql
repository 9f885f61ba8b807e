-- Every block returns (name, attributes): an object's name within its kind, and what defines it.
-- Definitions are read with exactly the schema as search path, so that nothing in it is qualified.
-- Objects of extensions, and the tables in %(ignore)s, are not the schema's own.
-- %(prefix)s is how names of a schema begin that is not in the search path; else it is empty.

-- name: schema
-- what: Is this a schema that an app has besides its own?
-- versions: 15-
SELECT quote_ident(n.nspname) AS name, jsonb_strip_nulls(jsonb_build_object(
    'extensions', (SELECT jsonb_agg(quote_ident(e.extname) ORDER BY e.extname) FROM pg_extension e
                   WHERE e.extnamespace = n.oid),
    'comment', obj_description(n.oid, 'pg_namespace'))) AS attributes
FROM pg_namespace n
WHERE n.oid = %(schema)s::regnamespace AND %(prefix)s <> ''

-- name: table
-- what: Which tables are there, how are they stored and partitioned, is row security on?
-- versions: 15-
SELECT %(prefix)s || quote_ident(c.relname) AS name, jsonb_strip_nulls(jsonb_build_object(
    'persistence', CASE c.relpersistence WHEN 'u' THEN 'unlogged' END,
    'foreign', (SELECT 'SERVER ' || quote_ident(s.srvname) || coalesce(' OPTIONS (' || (
                    SELECT string_agg(quote_ident(o.option_name) || ' ' || quote_literal(o.option_value), ', ')
                    FROM pg_options_to_table(f.ftoptions) AS o) || ')', '')
                FROM pg_foreign_table f JOIN pg_foreign_server s ON s.oid = f.ftserver
                WHERE f.ftrelid = c.oid),
    'partition_key', pg_get_partkeydef(c.oid),
    'partition_of', (SELECT i.inhparent::regclass::text FROM pg_inherits i
                     WHERE i.inhrelid = c.oid AND c.relispartition),
    'partition_bound', pg_get_expr(c.relpartbound, c.oid),
    'inherits', (SELECT jsonb_agg(i.inhparent::regclass::text ORDER BY i.inhseqno)
                 FROM pg_inherits i WHERE i.inhrelid = c.oid AND NOT c.relispartition),
    'row_security', CASE WHEN c.relrowsecurity AND c.relforcerowsecurity THEN 'forced'
                         WHEN c.relrowsecurity THEN 'enabled' END,
    'options', to_jsonb(c.reloptions),
    'comment', (SELECT o.description FROM pg_description o WHERE o.objoid = c.oid
                AND o.classoid = 'pg_class'::regclass AND o.objsubid = 0))) AS attributes
FROM pg_class c
WHERE c.oid = ANY (ARRAY(SELECT objid FROM pg_depend WHERE classid = 'pg_class'::regclass
        AND refclassid = 'pg_namespace'::regclass AND refobjid = %(schema)s::regnamespace)) AND c.relkind IN ('r', 'p', 'f')
  AND c.relname <> ALL (%(ignore)s)
  AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.classid = 'pg_class'::regclass
                  AND d.objid = c.oid AND d.deptype = 'e')

-- name: column
-- what: Which columns do the tables have?  What a partition or child inherits is its parent's.
-- versions: 15-
SELECT %(prefix)s || quote_ident(c.relname) || '.' || quote_ident(a.attname), jsonb_strip_nulls(jsonb_build_object(
    'type', format_type(a.atttypid, a.atttypmod),
    'nullable', NOT a.attnotnull,
    'not_null', CASE WHEN a.attnotnull THEN (
        SELECT quote_ident(n.conname) FROM pg_constraint n WHERE n.conrelid = c.oid AND n.contype = 'n'
        AND n.conkey = ARRAY[a.attnum] AND n.conname <> c.relname || '_' || a.attname || '_not_null') END,
    'unvalidated', CASE WHEN a.attnotnull THEN (
        SELECT quote_ident(n.conname) FROM pg_constraint n WHERE n.conrelid = c.oid AND n.contype = 'n'
        AND n.conkey = ARRAY[a.attnum] AND NOT n.convalidated) END,
    'required_by', CASE WHEN c.relkind = 'p' AND a.attnotnull THEN (
        SELECT jsonb_agg(t.relid::regclass::text ORDER BY t.level, t.relid::regclass::text)
        FROM pg_partition_tree(c.oid) AS t
        JOIN pg_constraint n ON n.conrelid = t.relid AND n.contype = 'n' AND n.conislocal
        JOIN pg_attribute o ON o.attrelid = t.relid AND o.attnum = n.conkey[1] AND o.attname = a.attname
        WHERE t.level > 0) END,
    'default', CASE WHEN a.attgenerated = '' THEN pg_get_expr(d.adbin, d.adrelid) END,
    'generated', CASE WHEN a.attgenerated <> '' THEN pg_get_expr(d.adbin, d.adrelid) END,
    'virtual', CASE WHEN a.attgenerated = 'v' THEN true END,
    'identity', CASE a.attidentity WHEN 'a' THEN 'always' WHEN 'd' THEN 'by default' END,
    'identity_options', (
        SELECT nullif(concat_ws(' ',
            CASE WHEN s.seqstart <> 1 THEN 'START WITH ' || s.seqstart END,
            CASE WHEN s.seqincrement <> 1 THEN 'INCREMENT BY ' || s.seqincrement END,
            CASE WHEN s.seqmin <> CASE WHEN s.seqincrement > 0 THEN 1 ELSE t.least END
                 THEN 'MINVALUE ' || s.seqmin END,
            CASE WHEN s.seqmax <> CASE WHEN s.seqincrement > 0 THEN t.largest ELSE -1 END
                 THEN 'MAXVALUE ' || s.seqmax END,
            CASE WHEN s.seqcache <> 1 THEN 'CACHE ' || s.seqcache END,
            CASE WHEN s.seqcycle THEN 'CYCLE' END), '')
        FROM pg_depend i JOIN pg_sequence s ON s.seqrelid = i.objid
        JOIN (VALUES ('smallint'::regtype, -32768::bigint, 32767::bigint),
                     ('integer', -2147483648, 2147483647),
                     ('bigint', -9223372036854775808, 9223372036854775807)
             ) AS t (type, least, largest) ON t.type = s.seqtypid
        WHERE a.attidentity <> '' AND i.classid = 'pg_class'::regclass AND i.deptype = 'i'
          AND i.refclassid = 'pg_class'::regclass AND i.refobjid = c.oid AND i.refobjsubid = a.attnum),
    'collation', CASE WHEN a.attcollation NOT IN (0, y.typcollation) THEN a.attcollation::regcollation::text END,
    'position', a.attnum,
    'comment', (SELECT o.description FROM pg_description o WHERE o.objoid = c.oid
                AND o.classoid = 'pg_class'::regclass AND o.objsubid = a.attnum)))
FROM pg_class c
JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped AND a.attislocal
JOIN pg_type y ON y.oid = a.atttypid
LEFT JOIN pg_attrdef d ON d.adrelid = c.oid AND d.adnum = a.attnum
WHERE c.oid = ANY (ARRAY(SELECT objid FROM pg_depend WHERE classid = 'pg_class'::regclass
        AND refclassid = 'pg_namespace'::regclass AND refobjid = %(schema)s::regnamespace)) AND c.relkind IN ('r', 'p', 'f')
  AND c.relname <> ALL (%(ignore)s)
  AND NOT EXISTS (SELECT FROM pg_depend e WHERE e.classid = 'pg_class'::regclass
                  AND e.objid = c.oid AND e.deptype = 'e')

-- name: constraint
-- what: Which primary keys, foreign keys, uniques, checks and exclusions do the tables have?
--       NOT NULL is an attribute of its column; what a partition inherits is its parent's.
-- versions: 15-
SELECT %(prefix)s || quote_ident(c.relname) || '.' || quote_ident(n.conname), jsonb_strip_nulls(jsonb_build_object(
    'definition', pg_get_constraintdef(n.oid, true),
    'invalid', (SELECT true FROM pg_index x WHERE x.indexrelid = n.conindid AND n.contype IN ('p', 'u')
                AND NOT x.indisvalid),
    'comment', (SELECT o.description FROM pg_description o WHERE o.objoid = n.oid
                AND o.classoid = 'pg_constraint'::regclass AND o.objsubid = 0)))
FROM pg_constraint n
JOIN pg_class c ON c.oid = n.conrelid
WHERE c.oid = ANY (ARRAY(SELECT objid FROM pg_depend WHERE classid = 'pg_class'::regclass
        AND refclassid = 'pg_namespace'::regclass AND refobjid = %(schema)s::regnamespace)) AND n.contype IN ('p', 'f', 'u', 'c', 'x')
  AND n.conparentid = 0 AND n.coninhcount = 0 AND c.relname <> ALL (%(ignore)s)
  AND NOT EXISTS (SELECT FROM pg_depend e WHERE e.classid = 'pg_class'::regclass
                  AND e.objid = c.oid AND e.deptype = 'e')

-- name: index
-- what: Which indexes are there besides those of constraints, and which of them are invalid?
-- versions: 15-
SELECT %(prefix)s || quote_ident(i.relname), jsonb_strip_nulls(jsonb_build_object(
    'table', %(prefix)s || quote_ident(c.relname),
    'definition', pg_get_indexdef(i.oid, 0, true),
    'invalid', CASE WHEN NOT (x.indisvalid AND x.indisready) THEN true END,
    'options', to_jsonb(i.reloptions),
    'comment', (SELECT o.description FROM pg_description o WHERE o.objoid = i.oid
                AND o.classoid = 'pg_class'::regclass AND o.objsubid = 0)))
FROM pg_index x
JOIN pg_class i ON i.oid = x.indexrelid
JOIN pg_class c ON c.oid = x.indrelid
WHERE x.indrelid = ANY (ARRAY(SELECT objid FROM pg_depend WHERE classid = 'pg_class'::regclass
        AND refclassid = 'pg_namespace'::regclass AND refobjid = %(schema)s::regnamespace)) AND NOT i.relispartition
  AND c.relname <> ALL (%(ignore)s)
  AND NOT EXISTS (SELECT FROM pg_constraint n WHERE n.conrelid = x.indrelid AND n.conindid = i.oid
                  AND n.contype IN ('p', 'u', 'x'))
  AND NOT EXISTS (SELECT FROM pg_depend e WHERE e.classid = 'pg_class'::regclass
                  AND e.objid = c.oid AND e.deptype = 'e')

-- name: enum
-- what: Which enums are there, with their values in order?
-- versions: 15-
SELECT %(prefix)s || quote_ident(t.typname), jsonb_strip_nulls(jsonb_build_object(
    'values', (SELECT jsonb_agg(e.enumlabel ORDER BY e.enumsortorder)
               FROM pg_enum e WHERE e.enumtypid = t.oid),
    'comment', obj_description(t.oid, 'pg_type')))
FROM pg_type t
WHERE t.oid = ANY (ARRAY(SELECT objid FROM pg_depend WHERE classid = 'pg_type'::regclass
        AND refclassid = 'pg_namespace'::regclass AND refobjid = %(schema)s::regnamespace)) AND t.typtype = 'e'
  AND NOT EXISTS (SELECT FROM pg_depend e WHERE e.classid = 'pg_type'::regclass
                  AND e.objid = t.oid AND e.deptype = 'e')

-- name: domain
-- what: Which domains are there?
-- versions: 15-
SELECT %(prefix)s || quote_ident(t.typname), jsonb_strip_nulls(jsonb_build_object(
    'type', format_type(t.typbasetype, t.typtypmod),
    'nullable', NOT t.typnotnull,
    'collation', (SELECT l.oid::regcollation::text FROM pg_collation l JOIN pg_type b ON b.oid = t.typbasetype
                  WHERE l.oid = t.typcollation AND t.typcollation <> b.typcollation),
    'default', t.typdefault,
    'checks', (SELECT jsonb_object_agg(quote_ident(n.conname), pg_get_constraintdef(n.oid, true))
               FROM pg_constraint n WHERE n.contypid = t.oid AND n.contype = 'c'),
    'comment', obj_description(t.oid, 'pg_type')))
FROM pg_type t
WHERE t.oid = ANY (ARRAY(SELECT objid FROM pg_depend WHERE classid = 'pg_type'::regclass
        AND refclassid = 'pg_namespace'::regclass AND refobjid = %(schema)s::regnamespace)) AND t.typtype = 'd'
  AND NOT EXISTS (SELECT FROM pg_depend e WHERE e.classid = 'pg_type'::regclass
                  AND e.objid = t.oid AND e.deptype = 'e')

-- name: type
-- what: Which composite types and ranges are there?
-- versions: 15-
SELECT %(prefix)s || quote_ident(t.typname), jsonb_strip_nulls(jsonb_build_object(
    'attributes', (SELECT jsonb_agg(quote_ident(a.attname) || ' ' || format_type(a.atttypid, a.atttypmod)
                                    || CASE WHEN a.attcollation <> b.typcollation
                                            THEN ' COLLATE ' || a.attcollation::regcollation::text ELSE '' END
                                    ORDER BY a.attnum)
                   FROM pg_attribute a JOIN pg_type b ON b.oid = a.atttypid
                   WHERE a.attrelid = t.typrelid AND a.attnum > 0 AND NOT a.attisdropped),
    'range', (SELECT concat_ws(', ', 'SUBTYPE = ' || format_type(r.rngsubtype, NULL),
                  'SUBTYPE_OPCLASS = ' || CASE WHEN NOT o.opcdefault THEN quote_ident(o.opcname) END,
                  'COLLATION = ' || CASE WHEN r.rngcollation <> b.typcollation
                                         THEN r.rngcollation::regcollation::text END,
                  'CANONICAL = ' || nullif(r.rngcanonical::oid, 0)::regproc::text,
                  'SUBTYPE_DIFF = ' || nullif(r.rngsubdiff::oid, 0)::regproc::text,
                  'MULTIRANGE_TYPE_NAME = ' || %(prefix)s || quote_ident(m.typname))
              FROM pg_range r JOIN pg_type b ON b.oid = r.rngsubtype JOIN pg_opclass o ON o.oid = r.rngsubopc
              WHERE r.rngtypid = t.oid),
    'multirange', %(prefix)s || quote_ident(m.typname),
    'comment', obj_description(t.oid, 'pg_type')))
FROM pg_type t
LEFT JOIN pg_class c ON c.oid = t.typrelid
LEFT JOIN pg_range x ON x.rngtypid = t.oid
LEFT JOIN pg_type m ON m.oid = x.rngmultitypid
WHERE t.oid = ANY (ARRAY(SELECT objid FROM pg_depend WHERE classid = 'pg_type'::regclass
        AND refclassid = 'pg_namespace'::regclass AND refobjid = %(schema)s::regnamespace)) AND (t.typtype = 'r' OR c.relkind = 'c')
  AND NOT EXISTS (SELECT FROM pg_depend e WHERE e.classid = 'pg_type'::regclass
                  AND e.objid = t.oid AND e.deptype = 'e')

-- name: collation
-- what: Which collations are there?
-- versions: 15-
SELECT %(prefix)s || quote_ident(l.collname), jsonb_strip_nulls(jsonb_build_object(
    'provider', CASE l.collprovider WHEN 'i' THEN 'icu' WHEN 'b' THEN 'builtin' ELSE 'libc' END,
    'locale', coalesce(to_jsonb(l) ->> 'colllocale', to_jsonb(l) ->> 'colliculocale'),
    'lc_collate', l.collcollate,
    'lc_ctype', l.collctype,
    'deterministic', CASE WHEN NOT l.collisdeterministic THEN false END,
    'rules', to_jsonb(l) ->> 'collicurules',
    'comment', obj_description(l.oid, 'pg_collation')))
FROM pg_collation l
WHERE l.collnamespace = %(schema)s::regnamespace
  AND NOT EXISTS (SELECT FROM pg_depend e WHERE e.classid = 'pg_collation'::regclass
                  AND e.objid = l.oid AND e.deptype = 'e')

-- name: sequence
-- what: Which sequences are there besides those of identity columns?
-- versions: 15-
SELECT %(prefix)s || quote_ident(c.relname), jsonb_strip_nulls(jsonb_build_object(
    'type', format_type(s.seqtypid, NULL), 'start', s.seqstart, 'increment', s.seqincrement,
    'min', s.seqmin, 'max', s.seqmax, 'cache', s.seqcache, 'cycle', s.seqcycle,
    'owned_by', (SELECT d.refobjid::regclass || '.' || quote_ident(a.attname)
                 FROM pg_depend d JOIN pg_attribute a ON a.attrelid = d.refobjid AND a.attnum = d.refobjsubid
                 WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid AND d.deptype = 'a'
                   AND d.refclassid = 'pg_class'::regclass),
    'comment', obj_description(c.oid, 'pg_class')))
FROM pg_sequence s
JOIN pg_class c ON c.oid = s.seqrelid
WHERE c.oid = ANY (ARRAY(SELECT objid FROM pg_depend WHERE classid = 'pg_class'::regclass
        AND refclassid = 'pg_namespace'::regclass AND refobjid = %(schema)s::regnamespace))
  AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.classid = 'pg_class'::regclass
                  AND d.objid = c.oid AND d.deptype IN ('i', 'e'))

-- name: view
-- what: Which views and materialized views are there?
-- versions: 15-
SELECT %(prefix)s || quote_ident(c.relname), jsonb_strip_nulls(jsonb_build_object(
    'materialized', CASE WHEN c.relkind = 'm' THEN true END,
    'columns', (SELECT jsonb_agg(quote_ident(a.attname) || ' ' || format_type(a.atttypid, a.atttypmod)
                                 ORDER BY a.attnum)
                FROM pg_attribute a WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped),
    'definition', pg_get_viewdef(c.oid, true),
    'options', to_jsonb(c.reloptions),
    'column_comments', (SELECT jsonb_object_agg(quote_ident(a.attname), d.description)
                        FROM pg_attribute a JOIN pg_description d ON d.objsubid = a.attnum
                        WHERE a.attrelid = c.oid AND d.objoid = c.oid AND d.classoid = 'pg_class'::regclass
                          AND a.attnum > 0),
    'comment', obj_description(c.oid, 'pg_class')))
FROM pg_class c
WHERE c.oid = ANY (ARRAY(SELECT objid FROM pg_depend WHERE classid = 'pg_class'::regclass
        AND refclassid = 'pg_namespace'::regclass AND refobjid = %(schema)s::regnamespace)) AND c.relkind IN ('v', 'm')
  AND NOT EXISTS (SELECT FROM pg_depend e WHERE e.classid = 'pg_class'::regclass
                  AND e.objid = c.oid AND e.deptype = 'e')

-- name: function
-- what: Which functions and procedures are there?  Their definition names them without a schema.
--       Those that come with a range are its own.
-- versions: 15-
SELECT %(prefix)s || quote_ident(p.proname) || '(' || oidvectortypes(p.proargtypes) || ')',
  jsonb_strip_nulls(jsonb_build_object(
    'kind', CASE p.prokind WHEN 'p' THEN 'procedure' WHEN 'a' THEN 'aggregate' WHEN 'w' THEN 'window' END,
    'arguments', pg_get_function_arguments(p.oid),
    'returns', pg_get_function_result(p.oid),
    'definition', CASE WHEN p.prokind <> 'a' THEN overlay(
        pg_get_functiondef(p.oid) PLACING %(prefix)s || quote_ident(p.proname)
        FROM length('CREATE OR REPLACE ')
           + length(CASE p.prokind WHEN 'p' THEN 'PROCEDURE ' ELSE 'FUNCTION ' END) + 1
        FOR length(quote_ident(n.nspname) || '.' || quote_ident(p.proname))) END,
    'aggregate', (SELECT jsonb_build_object(
        'state', format_type(g.aggtranstype, NULL), 'transition', g.aggtransfn::regproc::text,
        'final', nullif(g.aggfinalfn::oid, 0)::regproc::text, 'initial', g.agginitval)
        FROM pg_aggregate g WHERE g.aggfnoid = p.oid),
    'aggregate_options', (SELECT nullif(jsonb_strip_nulls(jsonb_build_object(
        'KIND', nullif(g.aggkind, 'n'), 'SSPACE', nullif(g.aggtransspace, 0),
        'FINALFUNC_EXTRA', nullif(g.aggfinalextra, false),
        'FINALFUNC_MODIFY', nullif(g.aggfinalmodify, CASE g.aggkind WHEN 'n' THEN 'r' ELSE 'w' END),
        'COMBINEFUNC', nullif(g.aggcombinefn::oid, 0)::regproc::text,
        'SERIALFUNC', nullif(g.aggserialfn::oid, 0)::regproc::text,
        'DESERIALFUNC', nullif(g.aggdeserialfn::oid, 0)::regproc::text,
        'MSFUNC', nullif(g.aggmtransfn::oid, 0)::regproc::text,
        'MINVFUNC', nullif(g.aggminvtransfn::oid, 0)::regproc::text,
        'MSTYPE', CASE WHEN g.aggmtranstype <> 0 THEN format_type(g.aggmtranstype, NULL) END,
        'MSSPACE', nullif(g.aggmtransspace, 0),
        'MFINALFUNC', nullif(g.aggmfinalfn::oid, 0)::regproc::text,
        'MFINALFUNC_EXTRA', nullif(g.aggmfinalextra, false),
        'MINITCOND', g.aggminitval,
        'SORTOP', nullif(g.aggsortop, 0)::regoper::text,
        'PARALLEL', nullif(p.proparallel, 'u'))), '{}')
        FROM pg_aggregate g WHERE g.aggfnoid = p.oid),
    'comment', obj_description(p.oid, 'pg_proc')))
FROM pg_proc p
JOIN pg_namespace n ON n.oid = p.pronamespace
WHERE p.oid = ANY (ARRAY(SELECT objid FROM pg_depend WHERE classid = 'pg_proc'::regclass
        AND refclassid = 'pg_namespace'::regclass AND refobjid = %(schema)s::regnamespace))
  AND NOT EXISTS (SELECT FROM pg_depend e WHERE e.classid = 'pg_proc'::regclass
                  AND e.objid = p.oid AND e.deptype IN ('e', 'i'))

-- name: trigger
-- what: Which triggers do the tables and views have?
-- versions: 15-
SELECT %(prefix)s || quote_ident(c.relname) || '.' || quote_ident(t.tgname), jsonb_strip_nulls(jsonb_build_object(
    'definition', pg_get_triggerdef(t.oid, true),
    'enabled', CASE t.tgenabled WHEN 'D' THEN 'disabled' WHEN 'R' THEN 'replica' WHEN 'A' THEN 'always' END,
    'comment', obj_description(t.oid, 'pg_trigger')))
FROM pg_trigger t
JOIN pg_class c ON c.oid = t.tgrelid
WHERE c.oid = ANY (ARRAY(SELECT objid FROM pg_depend WHERE classid = 'pg_class'::regclass
        AND refclassid = 'pg_namespace'::regclass AND refobjid = %(schema)s::regnamespace)) AND NOT t.tgisinternal AND t.tgparentid = 0
  AND c.relname <> ALL (%(ignore)s)

-- name: policy
-- what: Which row security policies do the tables have?
-- versions: 15-
SELECT %(prefix)s || quote_ident(c.relname) || '.' || quote_ident(p.polname), jsonb_strip_nulls(jsonb_build_object(
    'command', p.polcmd,
    'restrictive', CASE WHEN NOT p.polpermissive THEN true END,
    'roles', (SELECT jsonb_agg(CASE WHEN r = 0 THEN 'public' ELSE r::regrole::text END ORDER BY r)
              FROM unnest(p.polroles) AS r),
    'using', pg_get_expr(p.polqual, p.polrelid),
    'check', pg_get_expr(p.polwithcheck, p.polrelid),
    'comment', obj_description(p.oid, 'pg_policy')))
FROM pg_policy p
JOIN pg_class c ON c.oid = p.polrelid
WHERE c.oid = ANY (ARRAY(SELECT objid FROM pg_depend WHERE classid = 'pg_class'::regclass
        AND refclassid = 'pg_namespace'::regclass AND refobjid = %(schema)s::regnamespace)) AND c.relname <> ALL (%(ignore)s)

-- name: statistics
-- what: Which extended statistics are there?
-- versions: 15-
SELECT %(prefix)s || quote_ident(s.stxname), jsonb_strip_nulls(jsonb_build_object(
    'table', s.stxrelid::regclass::text,
    'definition', overlay(pg_get_statisticsobjdef(s.oid) PLACING %(prefix)s || quote_ident(s.stxname)
        FROM length('CREATE STATISTICS ') + 1
        FOR length(quote_ident(n.nspname) || '.' || quote_ident(s.stxname))),
    'comment', obj_description(s.oid, 'pg_statistic_ext')))
FROM pg_statistic_ext s
JOIN pg_namespace n ON n.oid = s.stxnamespace
WHERE s.oid = ANY (ARRAY(SELECT objid FROM pg_depend WHERE classid = 'pg_statistic_ext'::regclass
        AND refclassid = 'pg_namespace'::regclass AND refobjid = %(schema)s::regnamespace))

-- name: rule
-- what: Which rewrite rules do the tables and views have, besides what makes a view one?
-- versions: 15-
SELECT %(prefix)s || quote_ident(c.relname) || '.' || quote_ident(r.rulename), jsonb_strip_nulls(jsonb_build_object(
    'definition', pg_get_ruledef(r.oid, true),
    'enabled', CASE r.ev_enabled WHEN 'D' THEN 'disabled' WHEN 'R' THEN 'replica' WHEN 'A' THEN 'always' END,
    'comment', obj_description(r.oid, 'pg_rewrite')))
FROM pg_rewrite r
JOIN pg_class c ON c.oid = r.ev_class
WHERE c.oid = ANY (ARRAY(SELECT objid FROM pg_depend WHERE classid = 'pg_class'::regclass
        AND refclassid = 'pg_namespace'::regclass AND refobjid = %(schema)s::regnamespace)) AND r.rulename <> '_RETURN'
  AND c.relname <> ALL (%(ignore)s)
  AND NOT EXISTS (SELECT FROM pg_depend e WHERE e.classid = 'pg_class'::regclass
                  AND e.objid = c.oid AND e.deptype = 'e')

-- name: grant
-- what: Who else than the owner may do what, beyond what PostgreSQL grants by itself?
-- versions: 15-
SELECT coalesce(o.of_column, o.of) || ' to ' || g.grantee, jsonb_build_object(
    'of', o.of, 'on', o.target, 'to', g.grantee, 'privileges', g.privileges, 'default', g.by_default)
FROM (
    SELECT CASE WHEN c.relkind IN ('v', 'm') THEN 'view ' WHEN c.relkind = 'S' THEN 'sequence '
                ELSE 'table ' END || %(prefix)s || quote_ident(c.relname) AS of,
        CASE c.relkind WHEN 'S' THEN 'SEQUENCE ' ELSE 'TABLE ' END || %(prefix)s || quote_ident(c.relname) AS target,
        NULL AS of_column, '' AS part, c.relacl AS acl, NULL::aclitem[] AS by_default, c.relowner AS owner
    FROM pg_class c
    WHERE c.oid = ANY (ARRAY(SELECT objid FROM pg_depend WHERE classid = 'pg_class'::regclass
            AND refclassid = 'pg_namespace'::regclass AND refobjid = %(schema)s::regnamespace)) AND c.relkind IN ('r', 'p', 'f', 'v', 'm', 'S')
      AND c.relacl IS NOT NULL AND c.relname <> ALL (%(ignore)s)
      AND NOT EXISTS (SELECT FROM pg_depend e WHERE e.classid = 'pg_class'::regclass AND e.objid = c.oid
                      AND (e.deptype = 'e' OR (e.deptype = 'i' AND c.relkind = 'S')))
    UNION ALL
    SELECT 'column ' || w.name, 'SEQUENCE ' || %(prefix)s || quote_ident(c.relname), 'sequence of ' || w.name,
        '', c.relacl, NULL, c.relowner
    FROM pg_class c
    JOIN pg_depend i ON i.classid = 'pg_class'::regclass AND i.objid = c.oid AND i.deptype = 'i'
    CROSS JOIN LATERAL (
        SELECT %(prefix)s || quote_ident(t.relname) || '.' || quote_ident(a.attname) AS name
        FROM pg_attribute a JOIN pg_class t ON t.oid = a.attrelid
        WHERE a.attrelid = i.refobjid AND a.attnum = i.refobjsubid AND t.relname <> ALL (%(ignore)s)) AS w
    WHERE c.oid = ANY (ARRAY(SELECT objid FROM pg_depend WHERE classid = 'pg_class'::regclass
            AND refclassid = 'pg_namespace'::regclass AND refobjid = %(schema)s::regnamespace)) AND c.relkind = 'S'
      AND c.relacl IS NOT NULL
    UNION ALL
    SELECT CASE WHEN c.relkind IN ('v', 'm') THEN 'view ' || %(prefix)s || quote_ident(c.relname)
                ELSE 'column ' || %(prefix)s || quote_ident(c.relname) || '.' || quote_ident(a.attname) END,
        'TABLE ' || %(prefix)s || quote_ident(c.relname),
        'column ' || %(prefix)s || quote_ident(c.relname) || '.' || quote_ident(a.attname),
        ' (' || quote_ident(a.attname) || ')', a.attacl, NULL, c.relowner
    FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid
    WHERE c.oid = ANY (ARRAY(SELECT objid FROM pg_depend WHERE classid = 'pg_class'::regclass
            AND refclassid = 'pg_namespace'::regclass AND refobjid = %(schema)s::regnamespace)) AND a.attacl IS NOT NULL AND NOT a.attisdropped
      AND c.relname <> ALL (%(ignore)s)
      AND NOT EXISTS (SELECT FROM pg_depend e WHERE e.classid = 'pg_class'::regclass
                      AND e.objid = c.oid AND e.deptype = 'e')
    UNION ALL
    SELECT 'function ' || %(prefix)s || quote_ident(p.proname) || '(' || oidvectortypes(p.proargtypes) || ')',
        'ROUTINE ' || %(prefix)s || quote_ident(p.proname) || '(' || oidvectortypes(p.proargtypes) || ')',
        NULL, '', p.proacl, acldefault('f', p.proowner), p.proowner
    FROM pg_proc p
    WHERE p.oid = ANY (ARRAY(SELECT objid FROM pg_depend WHERE classid = 'pg_proc'::regclass
            AND refclassid = 'pg_namespace'::regclass AND refobjid = %(schema)s::regnamespace)) AND p.proacl IS NOT NULL
      AND NOT EXISTS (SELECT FROM pg_depend e WHERE e.classid = 'pg_proc'::regclass
                      AND e.objid = p.oid AND e.deptype IN ('e', 'i'))
    UNION ALL
    SELECT CASE t.typtype WHEN 'e' THEN 'enum ' WHEN 'd' THEN 'domain ' ELSE 'type ' END
        || %(prefix)s || quote_ident(t.typname),
        'TYPE ' || %(prefix)s || quote_ident(t.typname), NULL, '', t.typacl, acldefault('T', t.typowner), t.typowner
    FROM pg_type t
    LEFT JOIN pg_class c ON c.oid = t.typrelid
    WHERE t.oid = ANY (ARRAY(SELECT objid FROM pg_depend WHERE classid = 'pg_type'::regclass
            AND refclassid = 'pg_namespace'::regclass AND refobjid = %(schema)s::regnamespace)) AND t.typacl IS NOT NULL
      AND (t.typtype IN ('e', 'd', 'r') OR c.relkind = 'c')
      AND NOT EXISTS (SELECT FROM pg_depend e WHERE e.classid = 'pg_type'::regclass
                      AND e.objid = t.oid AND e.deptype = 'e')
) AS o
CROSS JOIN LATERAL (
    SELECT CASE x.grantee WHEN 0 THEN 'PUBLIC' ELSE x.grantee::regrole::text END AS grantee,
        coalesce(jsonb_agg(DISTINCT x.privilege) FILTER (WHERE x.given), '[]') AS privileges,
        coalesce(jsonb_agg(DISTINCT x.privilege) FILTER (WHERE NOT x.given), '[]') AS by_default
    FROM (
        SELECT grantee, true AS given, privilege_type || o.part
            || CASE WHEN is_grantable THEN ' WITH GRANT OPTION' ELSE '' END AS privilege
        FROM aclexplode(o.acl)
        UNION ALL
        SELECT grantee, false, privilege_type FROM aclexplode(o.by_default)
    ) AS x
    WHERE x.grantee <> o.owner
    GROUP BY x.grantee
) AS g
WHERE g.privileges <> g.by_default

-- name: other
-- what: Which operators, operator classes, text search objects, conversions and base types are there,
--       and which indexes of partitions are parts of others?  `written` are the statements that make one.
-- versions: 15-
SELECT o.described, jsonb_strip_nulls(o.attributes || jsonb_build_object(
    'comment', CASE WHEN o.class <> 'pg_class' THEN obj_description(o.oid, o.class::name) END))
FROM (
    SELECT 'pg_operator' AS class, oid, oprnamespace AS schema,
        pg_describe_object('pg_operator'::regclass, oid, 0) AS described, jsonb_build_object(
        'function', oprcode::regproc::text, 'result', format_type(oprresult, NULL),
        'commutator', nullif(oprcom, 0)::regoperator::text, 'negator', nullif(oprnegate, 0)::regoperator::text,
        'restrict', nullif(oprrest::oid, 0)::regproc::text, 'join', nullif(oprjoin::oid, 0)::regproc::text,
        'hashes', oprcanhash, 'merges', oprcanmerge,
        'reference', 'OPERATOR ' || oid::regoperator,
        'written', ARRAY['CREATE OPERATOR ' || %(prefix)s || oprname || ' (' || concat_ws(', ',
            'FUNCTION = ' || oprcode::regproc, 'LEFTARG = ' || format_type(nullif(oprleft, 0), NULL),
            'RIGHTARG = ' || format_type(nullif(oprright, 0), NULL),
            'COMMUTATOR = ' || (SELECT CASE WHEN c.oprnamespace = %(schema)s::regnamespace AND %(prefix)s = '' THEN c.oprname
                    ELSE 'OPERATOR(' || quote_ident(n.nspname) || '.' || c.oprname || ')' END
                FROM pg_operator c JOIN pg_namespace n ON n.oid = c.oprnamespace WHERE c.oid = o.oprcom),
            'NEGATOR = ' || (SELECT CASE WHEN c.oprnamespace = %(schema)s::regnamespace AND %(prefix)s = '' THEN c.oprname
                    ELSE 'OPERATOR(' || quote_ident(n.nspname) || '.' || c.oprname || ')' END
                FROM pg_operator c JOIN pg_namespace n ON n.oid = c.oprnamespace WHERE c.oid = o.oprnegate),
            'RESTRICT = ' || nullif(oprrest::oid, 0)::regproc, 'JOIN = ' || nullif(oprjoin::oid, 0)::regproc,
            CASE WHEN oprcanhash THEN 'HASHES' END, CASE WHEN oprcanmerge THEN 'MERGES' END) || ')']) AS attributes
    FROM pg_operator o WHERE oprcode <> 0
    UNION ALL
    SELECT 'pg_opfamily', f.oid, f.opfnamespace, pg_describe_object('pg_opfamily'::regclass, f.oid, 0), jsonb_build_object(
        'operators', (SELECT jsonb_agg(a.amopstrategy || ' ' || a.amopopr::regoperator::text
                                       ORDER BY a.amopstrategy, a.amopopr::regoperator::text)
                      FROM pg_amop a WHERE a.amopfamily = f.oid),
        'functions', (SELECT jsonb_agg(a.amprocnum || ' ' || a.amproc::regprocedure::text
                                       ORDER BY a.amprocnum, a.amproc::regprocedure::text)
                      FROM pg_amproc a WHERE a.amprocfamily = f.oid),
        'reference', 'OPERATOR FAMILY ' || w.family,
        'written', array_remove(ARRAY['CREATE OPERATOR FAMILY ' || w.family,
            'ALTER OPERATOR FAMILY ' || w.family || ' ADD ' || nullif(concat_ws(', ',
                (SELECT string_agg('OPERATOR ' || a.amopstrategy || ' ' || a.amopopr::regoperator || coalesce(' FOR ORDER BY ' || (
                        SELECT quote_ident(n.nspname) || '.' || quote_ident(s.opfname) FROM pg_opfamily s
                        JOIN pg_namespace n ON n.oid = s.opfnamespace WHERE s.oid = a.amopsortfamily), ''), ', '
                                   ORDER BY a.amopstrategy, a.amopopr)
                 FROM pg_amop a WHERE a.amopfamily = f.oid
                   AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.classid = 'pg_amop'::regclass
                                   AND d.objid = a.oid AND d.refclassid = 'pg_opclass'::regclass)),
                (SELECT string_agg('FUNCTION ' || a.amprocnum || ' (' || format_type(a.amproclefttype, NULL) || ', '
                                   || format_type(a.amprocrighttype, NULL) || ') ' || a.amproc::regprocedure, ', '
                                   ORDER BY a.amprocnum, a.amproc)
                 FROM pg_amproc a WHERE a.amprocfamily = f.oid
                   AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.classid = 'pg_amproc'::regclass
                                   AND d.objid = a.oid AND d.refclassid = 'pg_opclass'::regclass))), '')], NULL))
    FROM pg_opfamily f JOIN pg_am m ON m.oid = f.opfmethod
    CROSS JOIN LATERAL (SELECT %(prefix)s || quote_ident(f.opfname) || ' USING ' || quote_ident(m.amname) AS family) AS w
    UNION ALL
    SELECT 'pg_opclass', c.oid, c.opcnamespace, pg_describe_object('pg_opclass'::regclass, c.oid, 0), jsonb_build_object(
        'type', format_type(opcintype, NULL), 'default', opcdefault,
        'reference', 'OPERATOR CLASS ' || w.class || ' USING ' || quote_ident(m.amname),
        'written', ARRAY['CREATE OPERATOR CLASS ' || w.class || CASE WHEN opcdefault THEN ' DEFAULT' ELSE '' END
            || ' FOR TYPE ' || format_type(opcintype, NULL) || ' USING ' || quote_ident(m.amname) || ' FAMILY '
            || CASE f.opfnamespace WHEN %(schema)s::regnamespace THEN %(prefix)s
               ELSE quote_ident((SELECT nspname FROM pg_namespace WHERE oid = f.opfnamespace)) || '.' END
            || quote_ident(f.opfname) || ' AS ' || concat_ws(', ',
                (SELECT string_agg('OPERATOR ' || a.amopstrategy || ' ' || a.amopopr::regoperator || coalesce(' FOR ORDER BY ' || (
                        SELECT quote_ident(n.nspname) || '.' || quote_ident(s.opfname) FROM pg_opfamily s
                        JOIN pg_namespace n ON n.oid = s.opfnamespace WHERE s.oid = a.amopsortfamily), ''), ', ' ORDER BY a.amopstrategy)
                 FROM pg_amop a JOIN pg_depend d ON d.classid = 'pg_amop'::regclass AND d.objid = a.oid
                   AND d.refclassid = 'pg_opclass'::regclass AND d.refobjid = c.oid),
                (SELECT string_agg('FUNCTION ' || a.amprocnum || ' (' || format_type(a.amproclefttype, NULL) || ', '
                                   || format_type(a.amprocrighttype, NULL) || ') ' || a.amproc::regprocedure, ', '
                                   ORDER BY a.amprocnum)
                 FROM pg_amproc a JOIN pg_depend d ON d.classid = 'pg_amproc'::regclass AND d.objid = a.oid
                   AND d.refclassid = 'pg_opclass'::regclass AND d.refobjid = c.oid),
                'STORAGE ' || format_type(coalesce(nullif(opckeytype, 0), opcintype), NULL))])
    FROM pg_opclass c JOIN pg_am m ON m.oid = c.opcmethod JOIN pg_opfamily f ON f.oid = c.opcfamily
    CROSS JOIN LATERAL (SELECT %(prefix)s || quote_ident(c.opcname) AS class) AS w
    UNION ALL
    SELECT 'pg_ts_config', c.oid, c.cfgnamespace, pg_describe_object('pg_ts_config'::regclass, c.oid, 0), jsonb_build_object(
        'parser', pg_describe_object('pg_ts_parser'::regclass, c.cfgparser, 0),
        'mapping', (SELECT jsonb_agg(m.maptokentype || ' ' || m.mapdict::regdictionary::text
                                     ORDER BY m.maptokentype, m.mapseqno)
                    FROM pg_ts_config_map m WHERE m.mapcfg = c.oid),
        'reference', 'TEXT SEARCH CONFIGURATION ' || w.config,
        'written', 'CREATE TEXT SEARCH CONFIGURATION ' || w.config || ' (PARSER = ' || (
                SELECT quote_ident(n.nspname) || '.' || quote_ident(s.prsname)
                FROM pg_ts_parser s JOIN pg_namespace n ON n.oid = s.prsnamespace WHERE s.oid = c.cfgparser) || ')'
            || ARRAY(SELECT 'ALTER TEXT SEARCH CONFIGURATION ' || w.config || ' ADD MAPPING FOR ' || quote_ident(k.alias)
                            || ' WITH ' || string_agg(m.mapdict::regdictionary::text, ', ' ORDER BY m.mapseqno)
                     FROM pg_ts_config_map m JOIN ts_token_type(c.cfgparser) AS k ON k.tokid = m.maptokentype
                     WHERE m.mapcfg = c.oid GROUP BY k.tokid, k.alias ORDER BY k.tokid))
    FROM pg_ts_config c CROSS JOIN LATERAL (SELECT %(prefix)s || quote_ident(c.cfgname) AS config) AS w
    UNION ALL
    SELECT 'pg_ts_dict', d.oid, d.dictnamespace, pg_describe_object('pg_ts_dict'::regclass, d.oid, 0), jsonb_build_object(
        'template', pg_describe_object('pg_ts_template'::regclass, d.dicttemplate, 0),
        'options', d.dictinitoption,
        'reference', 'TEXT SEARCH DICTIONARY ' || %(prefix)s || quote_ident(d.dictname),
        'written', ARRAY['CREATE TEXT SEARCH DICTIONARY ' || %(prefix)s || quote_ident(d.dictname) || ' (TEMPLATE = '
            || quote_ident(n.nspname) || '.' || quote_ident(t.tmplname) || coalesce(', ' || d.dictinitoption, '') || ')'])
    FROM pg_ts_dict d JOIN pg_ts_template t ON t.oid = d.dicttemplate JOIN pg_namespace n ON n.oid = t.tmplnamespace
    UNION ALL
    -- Which index of a partition is a part of which index of its parent.
    SELECT 'pg_class', i.oid, i.relnamespace, pg_describe_object('pg_class'::regclass, i.oid, 0), jsonb_build_object(
        'table', x.indrelid::regclass::text,
        'part_of', (SELECT h.inhparent::regclass::text FROM pg_inherits h WHERE h.inhrelid = i.oid))
    FROM pg_index x JOIN pg_class i ON i.oid = x.indexrelid
    WHERE x.indrelid = ANY (ARRAY(SELECT objid FROM pg_depend WHERE classid = 'pg_class'::regclass
            AND refclassid = 'pg_namespace'::regclass AND refobjid = %(schema)s::regnamespace)) AND i.relispartition
    UNION ALL
    SELECT 'pg_conversion', oid, connamespace, pg_describe_object('pg_conversion'::regclass, oid, 0), jsonb_build_object(
        'function', conproc::text, 'is_default', CASE WHEN condefault THEN true END,
        'encodings', ARRAY[pg_encoding_to_char(conforencoding)::text, pg_encoding_to_char(contoencoding)::text],
        'reference', 'CONVERSION ' || %(prefix)s || quote_ident(conname),
        'written', ARRAY['CREATE ' || CASE WHEN condefault THEN 'DEFAULT ' ELSE '' END || 'CONVERSION ' || %(prefix)s
            || quote_ident(conname) || ' FOR ' || quote_literal(pg_encoding_to_char(conforencoding)) || ' TO '
            || quote_literal(pg_encoding_to_char(contoencoding)) || ' FROM ' || conproc])
    FROM pg_conversion
    UNION ALL
    SELECT 'pg_type', oid, typnamespace, pg_describe_object('pg_type'::regclass, oid, 0), jsonb_build_object(
        'input', typinput::text, 'output', typoutput::text,
        'details', concat_ws(' ', typreceive, typsend, typmodin, typmodout, typanalyze, to_jsonb(t) ->> 'typsubscript',
            typlen, typbyval, typalign, typstorage, typcategory, typispreferred, typdelim, typelem::regtype,
            typcollation <> 0, quote_literal(typdefault)))
    FROM pg_type t
    WHERE oid = ANY (ARRAY(SELECT objid FROM pg_depend WHERE classid = 'pg_type'::regclass
            AND refclassid = 'pg_namespace'::regclass AND refobjid = %(schema)s::regnamespace))
      AND (NOT typisdefined OR typtype = 'b') AND typsubscript <> 'array_subscript_handler'::regproc
) AS o
WHERE o.schema = %(schema)s::regnamespace
  AND NOT EXISTS (SELECT FROM pg_depend e WHERE e.classid = o.class::regclass AND e.objid = o.oid AND e.deptype = 'e')


-- name: property
-- what: What else are tables, columns, keys and the like set to, each with what sets it and what takes it back?
-- versions: 15-
WITH r AS (
    SELECT c.*, %(prefix)s || quote_ident(c.relname) AS name,
        CASE c.relkind WHEN 'v' THEN 'view ' WHEN 'm' THEN 'view ' WHEN 'S' THEN 'sequence ' WHEN 'c' THEN 'type '
                       ELSE 'table ' END || %(prefix)s || quote_ident(c.relname) AS key
    FROM pg_class c
    WHERE c.oid = ANY (ARRAY(
            SELECT CASE WHEN d.classid = 'pg_class'::regclass THEN d.objid ELSE t.typrelid END
            FROM pg_depend d LEFT JOIN pg_type t ON d.classid = 'pg_type'::regclass AND t.oid = d.objid
            WHERE d.classid IN ('pg_class'::regclass, 'pg_type'::regclass)
              AND d.refclassid = 'pg_namespace'::regclass AND d.refobjid = %(schema)s::regnamespace)) AND c.relname <> ALL (%(ignore)s)
      AND NOT EXISTS (SELECT FROM pg_depend e WHERE e.classid = 'pg_class'::regclass
                      AND e.objid = c.oid AND e.deptype = 'e')
), required AS (
    SELECT n.conrelid, n.conkey[1] AS attnum, n.conname, n.connoinherit, n.convalidated, n.conislocal,
        o.description AS comment
    FROM r JOIN pg_constraint n ON n.conrelid = r.oid AND n.contype = 'n'
    LEFT JOIN pg_description o ON o.objoid = n.oid AND o.classoid = 'pg_constraint'::regclass AND o.objsubid = 0
), a AS (  -- those of which anything is said below
    SELECT r.oid AS rel, r.relkind, r.key, r.name AS of_table, r.name || '.' || quote_ident(a.attname) AS name,
        'ALTER TABLE ONLY ' || r.name || ' ALTER COLUMN ' || quote_ident(a.attname) || ' ' AS alter, a.*,
        pg_get_expr(d.adbin, d.adrelid) AS expression, t.typstorage
    FROM r JOIN pg_attribute a ON a.attrelid = r.oid AND a.attnum > 0 AND NOT a.attisdropped
    JOIN pg_type t ON t.oid = a.atttypid
    LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
    WHERE NOT a.attislocal OR a.attstattarget >= 0 OR a.attoptions IS NOT NULL OR a.attcompression <> ''
       OR a.attstorage <> t.typstorage OR a.attidentity <> '' OR a.attacl IS NOT NULL OR r.relkind NOT IN ('r', 'p')
       OR (a.attrelid, a.attnum) IN (SELECT conrelid, attnum FROM required WHERE connoinherit OR comment IS NOT NULL)
), i AS (
    SELECT i.oid, i.reloptions, x.indisclustered, %(prefix)s || quote_ident(i.relname) AS name, r.name AS of_table,
        CASE WHEN i.relispartition THEN r.key
             WHEN n.oid IS NOT NULL THEN 'constraint ' || r.name || '.' || quote_ident(n.conname)
             ELSE 'index ' || %(prefix)s || quote_ident(i.relname) END AS key, n.oid IS NOT NULL AS of_key,
        i.relispartition, o.description AS comment
    FROM pg_index x JOIN pg_class i ON i.oid = x.indexrelid JOIN r ON r.oid = x.indrelid
    LEFT JOIN pg_description o ON o.objoid = i.oid AND o.classoid = 'pg_class'::regclass AND o.objsubid = 0
    LEFT JOIN pg_constraint n ON n.conrelid = x.indrelid AND n.conindid = i.oid AND n.contype IN ('p', 'u', 'x')
    WHERE r.relkind IN ('r', 'p', 'm')
      AND (i.reloptions IS NOT NULL OR x.indisclustered OR o.description IS NOT NULL OR x.indexprs IS NOT NULL
           OR (i.relispartition AND EXISTS (SELECT FROM pg_inherits h JOIN pg_class p ON p.oid = h.inhparent
                                            WHERE h.inhrelid = i.oid AND p.reloptions IS NOT NULL)))
), commented AS MATERIALIZED (  -- first: a schema may have as many sequences as tables
    SELECT r.oid, r.name, o.description
    FROM r JOIN pg_description o ON o.objoid = r.oid AND o.classoid = 'pg_class'::regclass AND o.objsubid = 0
    WHERE r.relkind = 'S'
), handed AS (  -- constraints that come from a parent, with what its own are
    SELECT r.key, r.name AS of_table, r.relispartition, quote_ident(n.conname) AS name, n.contype, n.conislocal,
        (SELECT quote_ident(attname) FROM pg_attribute WHERE attrelid = r.oid AND attnum = n.conkey[1]) AS attname,
        n.convalidated, pg_get_constraintdef(n.oid) AS definition, p.convalidated AS parent_valid,
        p.conrelid::regclass::text AS parent, quote_ident(p.conname) AS parents,
        pg_get_constraintdef(p.oid) AS parent_definition, o.description AS comment
    FROM r JOIN pg_constraint n ON n.conrelid = r.oid AND (n.coninhcount > 0 OR n.conparentid <> 0)
    LEFT JOIN pg_description o ON o.objoid = n.oid AND o.classoid = 'pg_constraint'::regclass AND o.objsubid = 0
    CROSS JOIN LATERAL (
        SELECT p.* FROM pg_inherits h JOIN pg_constraint p ON p.conrelid = h.inhparent
        WHERE h.inhrelid = r.oid AND CASE WHEN n.conparentid <> 0 THEN p.oid = n.conparentid
            WHEN n.contype = 'n' THEN p.contype = 'n' AND (SELECT attname FROM pg_attribute
                WHERE attrelid = p.conrelid AND attnum = p.conkey[1]) = (SELECT attname FROM pg_attribute
                WHERE attrelid = r.oid AND attnum = n.conkey[1])
            ELSE p.contype = n.contype AND p.conname = n.conname END
        LIMIT 1) AS p
    WHERE o.description IS NOT NULL OR (n.convalidated AND NOT p.convalidated)
       OR (n.conislocal AND n.contype IN ('c', 'n') AND NOT r.relispartition)
), parent AS (
    SELECT a.rel, a.attname, bool_or(p.attnotnull AND (p.attrelid, p.attnum) NOT IN (
        SELECT conrelid, attnum FROM required WHERE connoinherit)) AS required, min(pg_get_expr(d.adbin, d.adrelid)) AS expression
    FROM a JOIN pg_inherits h ON h.inhrelid = a.rel
    JOIN pg_attribute p ON p.attrelid = h.inhparent AND p.attname = a.attname AND NOT p.attisdropped
    LEFT JOIN pg_attrdef d ON d.adrelid = p.attrelid AND d.adnum = p.attnum
    WHERE a.relkind IN ('r', 'p', 'f')
    GROUP BY a.rel, a.attname
)
SELECT q.name, jsonb_build_object('of', q.key, 'do', q.set_by, 'undo', q.undone_by)
FROM (
    SELECT 'forced row security of ' || name, key, 'ALTER TABLE ' || name || ' FORCE ROW LEVEL SECURITY',
        'ALTER TABLE ' || name || ' NO FORCE ROW LEVEL SECURITY'
    FROM r WHERE relkind IN ('r', 'p') AND relforcerowsecurity AND NOT relrowsecurity
    UNION ALL
    SELECT 'toast.' || split_part(o, '=', 1) || ' of ' || r.name, r.key,
        'ALTER TABLE ' || r.name || ' SET (toast.' || o || ')',
        'ALTER TABLE ' || r.name || ' RESET (toast.' || split_part(o, '=', 1) || ')'
    FROM r JOIN pg_class t ON t.oid = r.reltoastrelid, unnest(t.reloptions) AS o
    WHERE r.relkind IN ('r', 'm')
    UNION ALL
    SELECT 'privileges of the owner of ' || r.name, r.key, 'REVOKE ' || m.missing || m.what || r.name || ' FROM '
        || r.relowner::regrole, 'GRANT ' || m.missing || m.what || r.name || ' TO ' || r.relowner::regrole
    FROM r CROSS JOIN LATERAL (
        SELECT string_agg(d.privilege_type, ', ' ORDER BY d.privilege_type) AS missing,
            CASE r.relkind WHEN 'S' THEN ' ON SEQUENCE ' ELSE ' ON TABLE ' END AS what
        FROM aclexplode(acldefault(CASE r.relkind WHEN 'S' THEN 's'::"char" ELSE 'r' END, r.relowner)) AS d
        WHERE d.grantee = r.relowner AND NOT EXISTS (
            SELECT FROM aclexplode(r.relacl) AS x
            WHERE x.grantee = r.relowner AND x.privilege_type = d.privilege_type)) AS m
    WHERE r.relacl IS NOT NULL AND m.missing IS NOT NULL AND r.relkind IN ('r', 'p', 'f', 'v', 'm', 'S')
    UNION ALL
    SELECT 'replica identity of ' || r.name, r.key, 'ALTER TABLE ' || r.name || ' REPLICA IDENTITY '
        || CASE r.relreplident WHEN 'f' THEN 'FULL' WHEN 'n' THEN 'NOTHING' ELSE 'USING INDEX ' || (
            SELECT quote_ident(c.relname) FROM pg_index x JOIN pg_class c ON c.oid = x.indexrelid
            WHERE x.indrelid = r.oid AND x.indisreplident) END,
        'ALTER TABLE ' || r.name || ' REPLICA IDENTITY DEFAULT'
    FROM r WHERE relkind IN ('r', 'p') AND (relreplident IN ('f', 'n') OR (relreplident = 'i' AND EXISTS (
        SELECT FROM pg_index x WHERE x.indrelid = r.oid AND x.indisreplident)))
    UNION ALL
    SELECT 'type of ' || name, key, 'ALTER TABLE ' || name || ' OF ' || format_type(reloftype, NULL),
        'ALTER TABLE ' || name || ' NOT OF'
    FROM r WHERE relkind IN ('r', 'p') AND reloftype <> 0
    UNION ALL
    SELECT 'persistence of ' || r.name, r.key, 'ALTER SEQUENCE ' || r.name || ' SET UNLOGGED',
        'ALTER SEQUENCE ' || r.name || ' SET LOGGED'
    FROM r WHERE relkind = 'S' AND relpersistence = 'u'
      AND NOT EXISTS (SELECT FROM pg_depend d JOIN pg_class t ON t.oid = d.refobjid AND t.relpersistence = 'u'
                      WHERE d.classid = 'pg_class'::regclass AND d.objid = r.oid AND d.deptype IN ('a', 'i'))
    UNION ALL
    SELECT split_part(o, '=', 1) || ' of ' || i.name, i.key, 'ALTER INDEX ' || i.name || ' SET (' || o || ')',
        'ALTER INDEX ' || i.name || ' RESET (' || split_part(o, '=', 1) || ')'
    FROM i, unnest(i.reloptions) AS o WHERE i.of_key AND NOT i.relispartition
    UNION ALL
    -- Of a partition's index, what is another than its parent's; a change of the parent's is none of it.
    SELECT 'own ' || o.name || ' of ' || i.name, i.key,
        'ALTER INDEX ' || i.name || coalesce(' SET (' || o.own || ')', ' RESET (' || o.name || ')'),
        'ALTER INDEX ' || i.name || coalesce(' SET (' || o.parents || ')', ' RESET (' || o.name || ')')
    FROM i JOIN pg_inherits h ON h.inhrelid = i.oid JOIN pg_class p ON p.oid = h.inhparent
    CROSS JOIN LATERAL (
        SELECT coalesce(split_part(a.o, '=', 1), split_part(b.o, '=', 1)) AS name, a.o AS own, b.o AS parents
        FROM unnest(i.reloptions) AS a (o)
        FULL JOIN unnest(p.reloptions) AS b (o) ON split_part(a.o, '=', 1) = split_part(b.o, '=', 1)) AS o
    WHERE i.relispartition AND o.own IS DISTINCT FROM o.parents
    UNION ALL
    SELECT 'comment of index ' || i.name, i.key,
        'COMMENT ON INDEX ' || i.name || ' IS ' || quote_literal(i.comment),
        'COMMENT ON INDEX ' || i.name || ' IS NULL'
    FROM i WHERE (i.of_key OR i.relispartition) AND i.comment IS NOT NULL
    UNION ALL
    SELECT 'order of ' || i.of_table, i.key, 'ALTER TABLE ' || i.of_table || ' CLUSTER ON ' || quote_ident(c.relname),
        'ALTER TABLE ' || i.of_table || ' SET WITHOUT CLUSTER'
    FROM i JOIN pg_class c ON c.oid = i.oid WHERE i.indisclustered
    UNION ALL
    SELECT 'statistics of ' || i.name || ' ' || a.attnum, i.key,
        'ALTER INDEX ' || i.name || ' ALTER COLUMN ' || a.attnum || ' SET STATISTICS ' || a.attstattarget,
        'ALTER INDEX ' || i.name || ' ALTER COLUMN ' || a.attnum || ' SET STATISTICS -1'
    FROM i JOIN pg_attribute a ON a.attrelid = i.oid WHERE a.attstattarget >= 0
      AND (SELECT x.indkey[a.attnum - 1] FROM pg_index x WHERE x.indexrelid = i.oid) = 0
    UNION ALL
    SELECT 'statistics of ' || quote_ident(s.stxname), 'statistics ' || %(prefix)s || quote_ident(s.stxname),
        'ALTER STATISTICS ' || %(prefix)s || quote_ident(s.stxname) || ' SET STATISTICS ' || s.stxstattarget,
        'ALTER STATISTICS ' || %(prefix)s || quote_ident(s.stxname) || ' SET STATISTICS -1'
    FROM pg_statistic_ext s WHERE s.oid = ANY (ARRAY(SELECT objid FROM pg_depend WHERE classid = 'pg_statistic_ext'::regclass
            AND refclassid = 'pg_namespace'::regclass AND refobjid = %(schema)s::regnamespace)) AND s.stxstattarget >= 0
    UNION ALL
    SELECT 'statistics of ' || name, key, alter || 'SET STATISTICS ' || attstattarget, alter || 'SET STATISTICS -1'
    FROM a WHERE relkind IN ('r', 'p', 'm', 'f') AND attstattarget >= 0
    UNION ALL
    SELECT split_part(o, '=', 1) || ' of ' || name, key, alter || 'SET (' || o || ')',
        alter || 'RESET (' || split_part(o, '=', 1) || ')'
    -- Minor versions of November 2026 and later keep a number of their own there, which nobody set.
    FROM a, unnest(attoptions) AS o WHERE relkind IN ('r', 'p', 'm', 'f') AND o !~ '^pg_attver='
    UNION ALL
    SELECT 'storage of ' || a.name, a.key, a.alter || 'SET STORAGE ' || w.word,
        a.alter || 'SET STORAGE ' || (SELECT u.word FROM (VALUES ('p', 'PLAIN'), ('e', 'EXTERNAL'), ('x', 'EXTENDED'),
            ('m', 'MAIN')) AS u (c, word) WHERE u.c = a.typstorage)
    FROM a JOIN (VALUES ('p', 'PLAIN'), ('e', 'EXTERNAL'), ('x', 'EXTENDED'), ('m', 'MAIN')) AS w (c, word)
      ON w.c = a.attstorage
    WHERE a.relkind IN ('r', 'p', 'm') AND a.attstorage <> a.typstorage
    UNION ALL
    SELECT 'compression of ' || name, key,
        alter || 'SET COMPRESSION ' || CASE attcompression WHEN 'l' THEN 'lz4' ELSE 'pglz' END,
        alter || 'SET COMPRESSION default'
    FROM a WHERE relkind IN ('r', 'p', 'm') AND attcompression <> ''
    UNION ALL
    SELECT 'NOT NULL of ' || a.name, a.key, a.alter || 'SET NOT NULL', a.alter || 'DROP NOT NULL'
    FROM a JOIN parent p ON p.rel = a.rel AND p.attname = a.attname
    WHERE NOT a.attislocal AND a.attnotnull AND NOT p.required
      AND (a.rel, a.attnum) NOT IN (SELECT conrelid, attnum FROM required WHERE NOT convalidated)
    UNION ALL
    SELECT 'unvalidated NOT NULL of ' || a.name, a.key,
        'ALTER TABLE ' || a.of_table || ' ADD CONSTRAINT ' || quote_ident(n.conname) || ' NOT NULL ' || quote_ident(a.attname)
        || ' NOT VALID',
        'ALTER TABLE ' || a.of_table || CASE WHEN p.required THEN ' VALIDATE' ELSE ' DROP' END || ' CONSTRAINT '
        || quote_ident(n.conname)
    FROM a JOIN parent p ON p.rel = a.rel AND p.attname = a.attname
    JOIN required n ON n.conrelid = a.rel AND n.attnum = a.attnum AND NOT n.convalidated AND n.conislocal
    WHERE NOT a.attislocal
    UNION ALL
    SELECT 'default of ' || a.name, a.key,
        a.alter || coalesce('SET DEFAULT ' || a.expression, 'DROP DEFAULT'),
        a.alter || coalesce('SET DEFAULT ' || p.expression, 'DROP DEFAULT')
    FROM a JOIN parent p ON p.rel = a.rel AND p.attname = a.attname
    WHERE NOT a.attislocal AND a.attgenerated = '' AND a.expression IS DISTINCT FROM p.expression
    UNION ALL
    SELECT 'expression of ' || a.name, a.key, a.alter || 'SET EXPRESSION AS (' || a.expression || ')',
        a.alter || 'SET EXPRESSION AS (' || p.expression || ')'
    FROM a JOIN parent p ON p.rel = a.rel AND p.attname = a.attname
    WHERE NOT a.attislocal AND a.attgenerated <> '' AND a.expression <> p.expression
    UNION ALL
    SELECT 'identity of ' || a.name, a.key, a.alter || 'ADD GENERATED '
        || CASE a.attidentity WHEN 'a' THEN 'ALWAYS' ELSE 'BY DEFAULT' END || ' AS IDENTITY (' || concat_ws(' ',
            'START WITH', s.seqstart, 'INCREMENT BY', s.seqincrement, 'MINVALUE', s.seqmin, 'MAXVALUE', s.seqmax,
            'CACHE', s.seqcache, CASE WHEN s.seqcycle THEN 'CYCLE' END) || E');\nSELECT setval(pg_get_serial_sequence('
        || quote_literal(a.of_table) || ', ' || quote_literal(a.attname) || '), max(' || quote_ident(a.attname)
        || ')) FROM ONLY ' || a.of_table || ' HAVING max(' || quote_ident(a.attname) || ') >= ' || s.seqstart,
        a.alter || 'DROP IDENTITY'
    FROM a
    JOIN pg_depend i ON i.classid = 'pg_class'::regclass AND i.deptype = 'i' AND i.refclassid = 'pg_class'::regclass
      AND i.refobjid = a.rel AND i.refobjsubid = a.attnum
    JOIN pg_sequence s ON s.seqrelid = i.objid
    WHERE NOT a.attislocal AND a.attidentity <> ''
    UNION ALL
    SELECT 'rights of the owner of ' || a.name, a.key,
        'GRANT ' || g.privileges || ' ON TABLE ' || a.of_table || ' TO ' || r.relowner::regrole,
        'REVOKE ' || g.privileges || ' ON TABLE ' || a.of_table || ' FROM ' || r.relowner::regrole
    FROM a JOIN r ON r.oid = a.rel CROSS JOIN LATERAL (
        SELECT string_agg(x.privilege_type || ' (' || quote_ident(a.attname) || ')', ', ' ORDER BY x.privilege_type)
            AS privileges
        FROM aclexplode(a.attacl) AS x WHERE x.grantee = r.relowner) AS g
    WHERE g.privileges IS NOT NULL
    UNION ALL
    SELECT 'rights of the owner of ' || o.name, o.key, 'REVOKE ' || o.right || o.name || ' FROM ' || o.owner::regrole,
        'GRANT ' || o.right || o.name || ' TO ' || o.owner::regrole
    FROM (
        SELECT 'EXECUTE ON ROUTINE ' AS right, f.name, 'function ' || f.name AS key, p.proowner AS owner, p.proacl AS acl,
            'pg_proc'::regclass AS class, p.oid
        FROM pg_proc p CROSS JOIN LATERAL (
            SELECT %(prefix)s || quote_ident(p.proname) || '(' || oidvectortypes(p.proargtypes) || ')' AS name) AS f
        WHERE p.oid = ANY (ARRAY(SELECT objid FROM pg_depend WHERE classid = 'pg_proc'::regclass
                AND refclassid = 'pg_namespace'::regclass AND refobjid = %(schema)s::regnamespace))
        UNION ALL
        SELECT 'USAGE ON TYPE ', y.name, CASE t.typtype WHEN 'e' THEN 'enum ' WHEN 'd' THEN 'domain ' ELSE 'type ' END
            || y.name, t.typowner, t.typacl, 'pg_type', t.oid
        FROM pg_type t LEFT JOIN pg_class c ON c.oid = t.typrelid
        CROSS JOIN LATERAL (SELECT %(prefix)s || quote_ident(t.typname) AS name) AS y
        WHERE t.oid = ANY (ARRAY(SELECT objid FROM pg_depend WHERE classid = 'pg_type'::regclass
                AND refclassid = 'pg_namespace'::regclass AND refobjid = %(schema)s::regnamespace))
          AND (t.typtype IN ('e', 'd', 'r') OR c.relkind = 'c')) AS o
    WHERE o.acl IS NOT NULL AND NOT EXISTS (SELECT FROM aclexplode(o.acl) AS x WHERE x.grantee = o.owner)
      AND NOT EXISTS (SELECT FROM pg_depend e WHERE e.classid = o.class AND e.objid = o.oid AND e.deptype IN ('e', 'i'))
    UNION ALL
    SELECT 'dependence of ' || o.name || ' on ' || quote_ident(x.extname), o.key,
        'ALTER ' || o.name || ' DEPENDS ON EXTENSION ' || quote_ident(x.extname),
        'ALTER ' || o.name || ' NO DEPENDS ON EXTENSION ' || quote_ident(x.extname)
    FROM pg_extension x
    JOIN pg_depend d ON d.refclassid = 'pg_extension'::regclass AND d.refobjid = x.oid AND d.deptype = 'x'
    CROSS JOIN LATERAL (
        SELECT 'function ' || f.name, 'ROUTINE ' || f.name
        FROM pg_proc p CROSS JOIN LATERAL (
            SELECT %(prefix)s || quote_ident(p.proname) || '(' || oidvectortypes(p.proargtypes) || ')' AS name) AS f
        WHERE d.classid = 'pg_proc'::regclass AND p.oid = d.objid AND p.pronamespace = %(schema)s::regnamespace
        UNION ALL
        SELECT 'trigger ' || r.name || '.' || quote_ident(t.tgname), 'TRIGGER ' || quote_ident(t.tgname) || ' ON ' || r.name
        FROM pg_trigger t JOIN r ON r.oid = t.tgrelid WHERE d.classid = 'pg_trigger'::regclass AND t.oid = d.objid
        UNION ALL
        SELECT CASE c.relkind WHEN 'm' THEN 'view ' ELSE 'index ' END || %(prefix)s || quote_ident(c.relname),
            CASE c.relkind WHEN 'm' THEN 'MATERIALIZED VIEW ' ELSE 'INDEX ' END || %(prefix)s || quote_ident(c.relname)
        FROM pg_class c WHERE d.classid = 'pg_class'::regclass AND c.oid = d.objid AND c.relkind IN ('m', 'i', 'I')
          AND c.relnamespace = %(schema)s::regnamespace) AS o (key, name)
    UNION ALL
    SELECT 'comment of trigger ' || quote_ident(t.tgname) || ' of ' || r.name, r.key,
        'COMMENT ON TRIGGER ' || quote_ident(t.tgname) || ' ON ' || r.name || ' IS '
        || quote_literal(obj_description(t.oid, 'pg_trigger')),
        'COMMENT ON TRIGGER ' || quote_ident(t.tgname) || ' ON ' || r.name || ' IS NULL'
    FROM pg_trigger t JOIN r ON r.oid = t.tgrelid
    WHERE t.tgparentid <> 0 AND NOT t.tgisinternal AND obj_description(t.oid, 'pg_trigger') IS NOT NULL
    UNION ALL
    SELECT 'default of ' || name, key, 'ALTER VIEW ' || of_table || ' ALTER COLUMN ' || quote_ident(attname)
        || ' SET DEFAULT ' || expression, 'ALTER VIEW ' || of_table || ' ALTER COLUMN ' || quote_ident(attname)
        || ' DROP DEFAULT'
    FROM a WHERE relkind = 'v' AND expression IS NOT NULL
    UNION ALL
    SELECT o.option_name || ' of ' || a.name, a.key, 'ALTER FOREIGN TABLE ' || a.of_table || ' ALTER COLUMN '
        || quote_ident(a.attname) || ' OPTIONS (ADD ' || quote_ident(o.option_name) || ' '
        || quote_literal(o.option_value) || ')', 'ALTER FOREIGN TABLE ' || a.of_table || ' ALTER COLUMN '
        || quote_ident(a.attname) || ' OPTIONS (DROP ' || quote_ident(o.option_name) || ')'
    FROM a, pg_options_to_table(a.attfdwoptions) AS o WHERE a.relkind = 'f'
    UNION ALL
    SELECT 'comment of ' || name, key,
        'COMMENT ON COLUMN ' || name || ' IS ' || quote_literal(col_description(rel, attnum)),
        'COMMENT ON COLUMN ' || name || ' IS NULL'
    FROM a WHERE (relkind = 'c' OR (relkind IN ('r', 'p', 'f') AND NOT attislocal))
      AND col_description(rel, attnum) IS NOT NULL
    UNION ALL
    SELECT 'comment of ' || quote_ident(n.conname) || ' of ' || a.name, a.key,
        'COMMENT ON CONSTRAINT ' || quote_ident(n.conname) || ' ON ' || a.of_table || ' IS '
        || quote_literal(n.comment),
        'COMMENT ON CONSTRAINT ' || quote_ident(n.conname) || ' ON ' || a.of_table || ' IS NULL'
    FROM a JOIN required n ON n.conrelid = a.rel AND n.attnum = a.attnum WHERE n.comment IS NOT NULL
    UNION ALL
    SELECT 'inherited comment of ' || name || ' of ' || of_table, key,
        'COMMENT ON CONSTRAINT ' || name || ' ON ' || of_table || ' IS ' || quote_literal(comment),
        'COMMENT ON CONSTRAINT ' || name || ' ON ' || of_table || ' IS NULL'
    FROM handed WHERE comment IS NOT NULL AND contype <> 'n'
    UNION ALL
    SELECT 'inherited validity of ' || name || ' of ' || of_table, key,
        'ALTER TABLE ' || of_table || ' VALIDATE CONSTRAINT ' || name,
        'ALTER TABLE ' || parent || ' DROP CONSTRAINT ' || parents || E';\nALTER TABLE ' || parent
        || ' ADD CONSTRAINT ' || parents || ' ' || parent_definition
    FROM handed WHERE convalidated AND NOT parent_valid
    UNION ALL
    -- A child that leaves its parent keeps what it had of that, but for what another parent holds for it.
    SELECT CASE contype WHEN 'c' THEN 'inherited and own ' || name || ' of ' || of_table
                ELSE 'own NOT NULL of ' || of_table || '.' || attname END, key,
        'ALTER TABLE ' || of_table || CASE contype WHEN 'c' THEN ' ADD CONSTRAINT ' || name || ' ' || definition
                                      ELSE ' ALTER COLUMN ' || attname || ' SET NOT NULL' END,
        concat_ws(E';\n', 'CREATE TABLE ' || holder || ' (LIKE ' || parent || ' INCLUDING CONSTRAINTS INCLUDING GENERATED)',
            'ALTER TABLE ' || holder || CASE contype WHEN 'c' THEN ' DROP CONSTRAINT ' || parents
                                        ELSE ' ALTER COLUMN ' || attname || ' DROP NOT NULL' END,
            'ALTER TABLE ' || of_table || ' INHERIT ' || holder,
            'ALTER TABLE ' || of_table || ' NO INHERIT ' || parent,
            'ALTER TABLE ' || of_table || CASE contype WHEN 'c' THEN ' DROP CONSTRAINT ' || name
                                          ELSE ' ALTER COLUMN ' || attname || ' DROP NOT NULL' END,
            'ALTER TABLE ' || holder || ' ADD CONSTRAINT ' || parents || ' ' || parent_definition,
            'ALTER TABLE ' || of_table || ' INHERIT ' || parent,
            'ALTER TABLE ' || of_table || ' NO INHERIT ' || holder,
            'DROP TABLE ' || holder)
    FROM handed, (VALUES (%(prefix)s || 'leadctl_parent')) AS h (holder)
    WHERE conislocal AND contype IN ('c', 'n') AND NOT relispartition
    UNION ALL
    SELECT 'NO INHERIT of ' || a.name, a.key,
        'ALTER TABLE ' || a.of_table || ' ALTER CONSTRAINT ' || quote_ident(n.conname) || ' NO INHERIT',
        'ALTER TABLE ' || a.of_table || ' ALTER CONSTRAINT ' || quote_ident(n.conname) || ' INHERIT'
    FROM a JOIN required n ON n.conrelid = a.rel AND n.attnum = a.attnum WHERE n.connoinherit
    UNION ALL
    SELECT 'comment of the sequence of ' || a.name, a.key,
        'COMMENT ON SEQUENCE ' || s.name || ' IS ' || quote_literal(s.description),
        'COMMENT ON SEQUENCE ' || s.name || ' IS NULL'
    FROM commented s
    JOIN pg_depend d ON d.classid = 'pg_class'::regclass AND d.objid = s.oid AND d.deptype = 'i'
    JOIN a ON d.refclassid = 'pg_class'::regclass AND d.refobjid = a.rel AND d.refobjsubid = a.attnum
    WHERE a.attidentity <> ''
    UNION ALL
    SELECT 'comment of ' || quote_ident(n.conname) || ' of ' || quote_ident(t.typname),
        'domain ' || %(prefix)s || quote_ident(t.typname),
        'COMMENT ON CONSTRAINT ' || quote_ident(n.conname) || ' ON DOMAIN ' || %(prefix)s || quote_ident(t.typname)
        || ' IS ' || quote_literal(obj_description(n.oid, 'pg_constraint')),
        'COMMENT ON CONSTRAINT ' || quote_ident(n.conname) || ' ON DOMAIN ' || %(prefix)s || quote_ident(t.typname)
        || ' IS NULL'
    FROM pg_type t CROSS JOIN LATERAL (SELECT * FROM pg_constraint WHERE contypid = t.oid OFFSET 0) AS n
    WHERE t.oid = ANY (ARRAY(SELECT objid FROM pg_depend WHERE classid = 'pg_type'::regclass
            AND refclassid = 'pg_namespace'::regclass AND refobjid = %(schema)s::regnamespace)) AND obj_description(n.oid, 'pg_constraint') IS NOT NULL
    UNION ALL
    SELECT 'trigger ' || quote_ident(t.tgname) || ' of ' || r.name, r.key, 'ALTER TABLE ' || r.name || ' '
        || CASE t.tgenabled WHEN 'D' THEN 'DISABLE' WHEN 'R' THEN 'ENABLE REPLICA' WHEN 'A' THEN 'ENABLE ALWAYS'
           ELSE 'ENABLE' END || ' TRIGGER ' || quote_ident(t.tgname),
        'ALTER TABLE ' || r.name || ' '
        || CASE p.tgenabled WHEN 'D' THEN 'DISABLE' WHEN 'R' THEN 'ENABLE REPLICA' WHEN 'A' THEN 'ENABLE ALWAYS'
           ELSE 'ENABLE' END || ' TRIGGER ' || quote_ident(t.tgname)
    FROM pg_trigger t JOIN pg_trigger p ON p.oid = t.tgparentid JOIN r ON r.oid = t.tgrelid
    WHERE NOT t.tgisinternal AND t.tgenabled <> p.tgenabled
    UNION ALL
    SELECT 'cast of ' || format_type(k.castsource, NULL) || ' to ' || format_type(k.casttarget, NULL),
        CASE t.typtype WHEN 'e' THEN 'enum ' WHEN 'd' THEN 'domain ' ELSE 'type ' END || %(prefix)s
        || quote_ident(t.typname),
        'CREATE CAST (' || format_type(k.castsource, NULL) || ' AS ' || format_type(k.casttarget, NULL) || ') '
        || CASE k.castmethod WHEN 'f' THEN 'WITH FUNCTION ' || k.castfunc::regprocedure WHEN 'i' THEN 'WITH INOUT'
           ELSE 'WITHOUT FUNCTION' END
        || CASE k.castcontext WHEN 'a' THEN ' AS ASSIGNMENT' WHEN 'i' THEN ' AS IMPLICIT' ELSE '' END
        || coalesce(E';\nCOMMENT ON CAST (' || format_type(k.castsource, NULL) || ' AS ' || format_type(k.casttarget, NULL)
                    || ') IS ' || quote_literal(obj_description(k.oid, 'pg_cast')), ''),
        'DROP CAST (' || format_type(k.castsource, NULL) || ' AS ' || format_type(k.casttarget, NULL) || ')'
    FROM pg_cast k JOIN pg_type s ON s.oid = k.castsource JOIN pg_type g ON g.oid = k.casttarget
    JOIN pg_type t ON t.oid = CASE WHEN s.typnamespace = %(schema)s::regnamespace THEN s.oid ELSE g.oid END
    WHERE %(schema)s::regnamespace IN (s.typnamespace, g.typnamespace)
      AND NOT EXISTS (SELECT FROM pg_depend e WHERE e.classid = 'pg_cast'::regclass AND e.objid = k.oid
                      AND e.deptype IN ('e', 'i'))
) AS q (name, key, set_by, undone_by)

-- name: namespace
-- what: What is set on the schema itself: its comment, who may use it, what is granted on what is made in it?
-- versions: 15-
SELECT 'comment', jsonb_build_object(
    'do', 'COMMENT ON SCHEMA ' || quote_ident(n.nspname) || ' IS ' || quote_literal(obj_description(n.oid, 'pg_namespace')),
    'undo', 'COMMENT ON SCHEMA ' || quote_ident(n.nspname)
        || CASE n.nspname WHEN 'public' THEN ' IS ''standard public schema''' ELSE ' IS NULL' END)
FROM pg_namespace n
WHERE n.oid = %(schema)s::regnamespace AND %(prefix)s = ''
  AND obj_description(n.oid, 'pg_namespace') <> 'standard public schema'
UNION ALL
SELECT %(prefix)s || 'privileges to ' || g.grantee, jsonb_build_object(
    'do', 'GRANT ' || g.privileges || ' ON SCHEMA ' || n.name || ' TO ' || g.grantee,
    'undo', 'REVOKE ' || g.privileges || ' ON SCHEMA ' || n.name || ' FROM ' || g.grantee)
FROM (SELECT oid, nspacl, nspowner, quote_ident(nspname) AS name FROM pg_namespace) AS n
CROSS JOIN LATERAL (
    SELECT CASE x.grantee WHEN 0 THEN 'PUBLIC' ELSE x.grantee::regrole::text END AS grantee,
        string_agg(x.privilege_type, ', ' ORDER BY x.privilege_type) AS privileges
    FROM aclexplode(n.nspacl) AS x WHERE x.grantee <> n.nspowner GROUP BY x.grantee) AS g
WHERE n.oid = %(schema)s::regnamespace
  -- What a new database has by itself.
  AND NOT (n.name = 'public' AND g.grantee = 'PUBLIC' AND g.privileges = 'USAGE')
UNION ALL
SELECT %(prefix)s || 'privileges to ' || g.grantee || ' with grant option', jsonb_build_object(
    'do', 'GRANT ' || g.privileges || ' ON SCHEMA ' || n.name || ' TO ' || g.grantee || ' WITH GRANT OPTION',
    'undo', 'REVOKE GRANT OPTION FOR ' || g.privileges || ' ON SCHEMA ' || n.name || ' FROM ' || g.grantee)
FROM (SELECT oid, nspacl, nspowner, quote_ident(nspname) AS name FROM pg_namespace) AS n
CROSS JOIN LATERAL (
    SELECT x.grantee::regrole::text AS grantee, string_agg(x.privilege_type, ', ' ORDER BY x.privilege_type) AS privileges
    FROM aclexplode(n.nspacl) AS x WHERE x.grantee <> n.nspowner AND x.is_grantable GROUP BY x.grantee) AS g
WHERE n.oid = %(schema)s::regnamespace
UNION ALL
SELECT %(prefix)s || 'rights of the owner', jsonb_build_object(
    'do', 'REVOKE ' || m.missing || ' ON SCHEMA ' || quote_ident(n.nspname) || ' FROM ' || n.nspowner::regrole,
    'undo', 'GRANT ' || m.missing || ' ON SCHEMA ' || quote_ident(n.nspname) || ' TO ' || n.nspowner::regrole)
FROM pg_namespace n CROSS JOIN LATERAL (
    SELECT string_agg(p.name, ', ' ORDER BY p.name) AS missing FROM (VALUES ('CREATE'), ('USAGE')) AS p (name)
    WHERE NOT EXISTS (SELECT FROM aclexplode(n.nspacl) AS x WHERE x.grantee = n.nspowner AND x.privilege_type = p.name)
) AS m
WHERE n.oid = %(schema)s::regnamespace AND n.nspacl IS NOT NULL AND m.missing IS NOT NULL
UNION ALL
SELECT %(prefix)s || 'privileges to PUBLIC', jsonb_build_object(
    'do', 'REVOKE ALL ON SCHEMA public FROM PUBLIC', 'undo', 'GRANT USAGE ON SCHEMA public TO PUBLIC')
FROM pg_namespace n
WHERE n.oid = %(schema)s::regnamespace AND n.nspname = 'public'
  AND NOT EXISTS (SELECT FROM aclexplode(n.nspacl) AS x WHERE x.grantee = 0)
UNION ALL
SELECT %(prefix)s || 'default privileges of ' || d.role || ' on ' || d.what || ' to ' || g.grantee || g.further,
    jsonb_build_object(
    'do', d.alter || ' GRANT ' || g.privileges || ' ON ' || d.what || ' TO ' || g.grantee || upper(g.further),
    'undo', d.alter || ' REVOKE ' || CASE g.further WHEN '' THEN '' ELSE 'GRANT OPTION FOR ' END || g.privileges || ' ON '
        || d.what || ' FROM ' || g.grantee)
FROM (
    SELECT a.defaclacl AS acl, a.defaclrole::regrole::text AS role,
        'ALTER DEFAULT PRIVILEGES FOR ROLE ' || a.defaclrole::regrole || ' IN SCHEMA ' || quote_ident(n.nspname)
        AS alter, CASE a.defaclobjtype WHEN 'r' THEN 'TABLES' WHEN 'S' THEN 'SEQUENCES' WHEN 'f' THEN 'ROUTINES'
                  WHEN 'T' THEN 'TYPES' ELSE 'SCHEMAS' END AS what
    FROM pg_default_acl a JOIN pg_namespace n ON n.oid = a.defaclnamespace
    WHERE n.oid = %(schema)s::regnamespace) AS d
CROSS JOIN LATERAL (
    SELECT CASE x.grantee WHEN 0 THEN 'PUBLIC' ELSE x.grantee::regrole::text END AS grantee,
        string_agg(x.privilege_type, ', ' ORDER BY x.privilege_type) AS privileges, f.further
    FROM aclexplode(d.acl) AS x
    JOIN (VALUES (''), (' with grant option')) AS f (further) ON f.further = '' OR x.is_grantable
    GROUP BY x.grantee, f.further) AS g
