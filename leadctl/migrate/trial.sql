-- name: reach
-- what: What can statements reach that name these words: what is named, what rests on it, of which it is a
--       part, and what all that needs to be made?  A table that is `whole` comes with all its parts, one that is
--       only needed with its columns, and with parts that are listed.  `held` are names whose users count, too: of
--       what is dropped or changed.  Everything in `schemas`, or in the database where `everything` is true.
--       Rows go along foreign keys that delete or update others where `writes`, along all where `empties`.
-- versions: 15-
-- Few rows are expected everywhere, which the server cannot know: OFFSET has it use the indexes of the catalog.
WITH RECURSIVE place AS (
    SELECT oid, nspname FROM pg_namespace
    WHERE nspname !~ '^pg_' AND nspname NOT IN ('information_schema', 'leadctl')
), near AS (  -- where names lead without a schema, and the schemas that are named
    SELECT oid, nspname FROM place
    WHERE %(everything)s OR oid = to_regnamespace(current_setting('leadctl.seen_from'))
       OR nspname = ANY (%(words)s) OR nspname = ANY (%(schemas)s)
       OR oid IN (SELECT extnamespace FROM pg_extension)
), named (class, oid) AS (
    SELECT 'pg_class'::regclass::oid, c.oid FROM near n CROSS JOIN LATERAL (
        SELECT oid FROM pg_class WHERE relnamespace = n.oid AND relname = ANY (%(words)s)
        AND relkind IN ('r', 'p', 'v', 'm', 'f', 'S', 'i', 'I') OFFSET 0) c
    UNION ALL
    SELECT 'pg_class'::regclass::oid, c.oid FROM pg_class c JOIN near n ON n.oid = c.relnamespace
    WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f', 'S', 'i', 'I') AND %(everything)s
    UNION ALL  -- what a publication has, which may leave it
    SELECT 'pg_class'::regclass, r.prrelid FROM pg_publication p JOIN pg_publication_rel r ON r.prpubid = p.oid
    WHERE p.pubname = ANY (%(words)s)
    UNION ALL
    SELECT 'pg_type'::regclass, t.oid FROM near n CROSS JOIN LATERAL (
        SELECT oid FROM pg_type WHERE typnamespace = n.oid AND typname = ANY (%(held)s) OFFSET 0) t
    UNION ALL
    SELECT d.classid, d.objid FROM near n JOIN pg_depend d
      ON d.refclassid = 'pg_namespace'::regclass AND d.refobjid = n.oid
    WHERE n.nspname = ANY (%(schemas)s) AND d.classid IN ('pg_class'::regclass, 'pg_type'::regclass)
    UNION ALL
    SELECT 'pg_proc'::regclass, p.oid FROM pg_proc p JOIN near n ON n.oid = p.pronamespace
    WHERE p.proname = ANY (%(held)s) OR n.nspname = ANY (%(schemas)s)
    UNION ALL
    SELECT 'pg_collation'::regclass, l.oid FROM pg_collation l JOIN near n ON n.oid = l.collnamespace
    WHERE l.collname = ANY (%(held)s) OR n.nspname = ANY (%(schemas)s)
    UNION ALL
    SELECT 'pg_extension'::regclass, e.oid FROM pg_extension e
    WHERE e.extname = ANY (%(held)s) AND e.extname <> 'plpgsql'
), resting (class, oid, part) AS (
    SELECT class, oid, 0 FROM named
    UNION
    SELECT n.class, n.oid, n.part FROM resting w CROSS JOIN LATERAL (
        SELECT d.classid, d.objid, d.objsubid FROM pg_depend d
        WHERE d.refclassid = w.class AND d.refobjid = w.oid AND (w.part = 0 OR d.refobjsubid = w.part)
        UNION ALL
        -- what goes with it: the view of a rule, the column of an expression, the table of a row's type
        SELECT d.refclassid, d.refobjid, d.refobjsubid FROM pg_depend d
        WHERE d.classid = w.class AND d.objid = w.oid AND d.objsubid = w.part AND d.deptype = 'i'
        UNION ALL
        -- the tables above it, and with those the ones beside it
        SELECT w.class, h.inhparent, 0 FROM pg_inherits h
        WHERE w.class = 'pg_class'::regclass AND w.part = 0 AND h.inhrelid = w.oid
        UNION ALL
        -- what rows written to a view, or to a table with a rule, go to
        SELECT d.refclassid, d.refobjid, 0 FROM pg_depend d
        WHERE %(writes)s AND w.class = 'pg_rewrite'::regclass AND d.classid = w.class AND d.objid = w.oid
          AND d.refclassid = 'pg_class'::regclass
        UNION ALL
        SELECT 'pg_class'::regclass, k.conrelid, 0 FROM pg_constraint k
        WHERE w.class = 'pg_constraint'::regclass AND k.oid = w.oid AND k.contype = 'f'
          AND (%(empties)s OR (%(writes)s AND (k.confdeltype IN ('c', 'n', 'd') OR k.confupdtype IN ('c', 'n', 'd'))))
    ) AS n (class, oid, part)
), whole AS (
    SELECT oid FROM resting WHERE class = 'pg_class'::regclass AND part = 0
), used (class, oid) AS (
    SELECT 'pg_type'::regclass::oid, t.oid FROM near n CROSS JOIN LATERAL (
        SELECT oid FROM pg_type WHERE typnamespace = n.oid AND typname = ANY (%(words)s) OFFSET 0) t
    UNION ALL
    SELECT 'pg_proc'::regclass, p.oid FROM pg_proc p JOIN near n ON n.oid = p.pronamespace
    WHERE p.proname = ANY (%(words)s)
    UNION ALL
    SELECT 'pg_collation'::regclass, l.oid FROM pg_collation l JOIN near n ON n.oid = l.collnamespace
    WHERE l.collname = ANY (%(words)s)
    UNION ALL
    SELECT 'pg_extension'::regclass, e.oid FROM pg_extension e WHERE e.extname = ANY (%(words)s)
    UNION ALL
    SELECT 'pg_extension'::regclass, d.refobjid FROM pg_opclass o JOIN pg_am a ON a.oid = o.opcmethod
    JOIN pg_depend d ON d.classid = 'pg_opclass'::regclass AND d.objid = o.oid AND d.deptype = 'e'
    WHERE o.opcname = ANY (%(words)s) OR (a.amname = ANY (%(words)s) AND a.amname NOT IN ('btree', 'hash'))
), needed (class, oid) AS (
    SELECT class, oid FROM (SELECT class, oid FROM resting UNION ALL SELECT class, oid FROM used) AS s
    UNION
    SELECT n.class, n.oid FROM needed w CROSS JOIN LATERAL (
        SELECT d.refclassid, d.refobjid FROM pg_depend d WHERE d.classid = w.class AND d.objid = w.oid
        UNION ALL
        SELECT d.classid, d.objid FROM pg_depend d
        WHERE d.refclassid = w.class AND d.refobjid = w.oid AND d.deptype IN ('a', 'i', 'P')
          -- of a table that is only needed, what its columns have; its indexes and keys where they are used
          AND (w.class <> 'pg_class'::regclass OR w.oid IN (SELECT oid FROM whole)
               OR d.classid IN ('pg_attrdef'::regclass, 'pg_rewrite'::regclass))
    ) AS n (class, oid)
), own AS (
    SELECT class, oid FROM needed w
    WHERE class = 'pg_extension'::regclass
       OR (SELECT true FROM pg_depend e WHERE e.classid = w.class AND e.objid = w.oid AND e.deptype = 'e' LIMIT 1) IS NULL
)
SELECT CASE WHEN c.relkind IN ('v', 'm') THEN 'view' WHEN c.relkind = 'S' THEN 'sequence' ELSE 'table' END AS kind,
    n.nspname AS schema, quote_ident(c.relname) AS name, c.relname AS plain, NULL AS source,
    c.relkind IN ('v', 'm') OR c.oid IN (SELECT oid FROM whole) AS whole
FROM own w CROSS JOIN LATERAL (SELECT * FROM pg_class WHERE oid = w.oid OFFSET 0) c
JOIN place n ON n.oid = c.relnamespace
WHERE w.class = 'pg_class'::regclass AND c.relkind IN ('r', 'p', 'v', 'm', 'f', 'S')
UNION ALL
SELECT CASE t.typtype WHEN 'e' THEN 'enum' WHEN 'd' THEN 'domain' ELSE 'type' END, n.nspname, quote_ident(t.typname),
    t.typname, NULL, true
FROM own w CROSS JOIN LATERAL (SELECT * FROM pg_type WHERE oid = w.oid OFFSET 0) t
JOIN place n ON n.oid = t.typnamespace
WHERE w.class = 'pg_type'::regclass
UNION ALL
SELECT 'function', n.nspname, quote_ident(p.proname) || '(' || oidvectortypes(p.proargtypes) || ')', p.proname,
    coalesce(pg_get_function_sqlbody(p.oid), p.prosrc), true
FROM own w JOIN pg_proc p ON p.oid = w.oid JOIN place n ON n.oid = p.pronamespace
WHERE w.class = 'pg_proc'::regclass
UNION ALL
SELECT 'collation', n.nspname, quote_ident(l.collname), l.collname, NULL, true
FROM own w JOIN pg_collation l ON l.oid = w.oid JOIN place n ON n.oid = l.collnamespace
WHERE w.class = 'pg_collation'::regclass
UNION ALL
SELECT 'extension', n.nspname, e.extname, e.extname, e.extversion, true
FROM own w JOIN pg_extension e ON e.oid = w.oid JOIN pg_namespace n ON n.oid = e.extnamespace
WHERE w.class = 'pg_extension'::regclass AND e.extname <> 'plpgsql'
UNION ALL
SELECT p.kind, n.nspname, quote_ident(c.relname) || '.' || quote_ident(p.name), p.name, NULL, false
FROM own w CROSS JOIN LATERAL (
    SELECT 'constraint' AS kind, conrelid AS relation, conname AS name FROM pg_constraint
    WHERE w.class = 'pg_constraint'::regclass AND oid = w.oid AND conrelid <> 0
    UNION ALL
    SELECT 'trigger', tgrelid, tgname FROM pg_trigger WHERE w.class = 'pg_trigger'::regclass AND oid = w.oid
    UNION ALL
    SELECT 'policy', polrelid, polname FROM pg_policy WHERE w.class = 'pg_policy'::regclass AND oid = w.oid
    UNION ALL
    SELECT 'rule', ev_class, rulename FROM pg_rewrite WHERE w.class = 'pg_rewrite'::regclass AND oid = w.oid
    OFFSET 0) AS p
JOIN pg_class c ON c.oid = p.relation JOIN place n ON n.oid = c.relnamespace
WHERE c.oid NOT IN (SELECT oid FROM whole)
UNION ALL
SELECT 'index', n.nspname, quote_ident(c.relname), c.relname, NULL, false
FROM own w CROSS JOIN LATERAL (
    SELECT i.*, x.indrelid FROM pg_class i JOIN pg_index x ON x.indexrelid = i.oid WHERE i.oid = w.oid OFFSET 0) c
JOIN place n ON n.oid = c.relnamespace
WHERE w.class = 'pg_class'::regclass AND c.relkind IN ('i', 'I') AND c.indrelid NOT IN (SELECT oid FROM whole)

-- name: schemas
-- what: Which schemas have one of these names?
-- versions: 15-
SELECT nspname FROM pg_namespace WHERE nspname = ANY (%(names)s) AND nspname !~ '^pg_'
  AND nspname NOT IN ('information_schema', 'leadctl')

-- name: unreached
-- what: Which tables and views of a schema are not among these?
-- versions: 15-
SELECT relname FROM pg_class
WHERE relnamespace = to_regnamespace(quote_ident(%(schema)s)) AND relkind IN ('r', 'p', 'v', 'm', 'f')
  AND relname <> ALL (%(names)s)

-- name: beside
-- what: What else belongs to tables, by the statement that sets it: tablespaces, and publications with a name?
-- versions: 15-
SELECT format('ALTER %%s %%I.%%I SET TABLESPACE %%I', CASE c.relkind WHEN 'm' THEN 'MATERIALIZED VIEW' ELSE 'TABLE' END,
    n.nspname, c.relname, t.spcname)
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace JOIN pg_tablespace t ON t.oid = c.reltablespace
WHERE c.relkind IN ('r', 'p', 'm') AND c.relname = ANY (%(names)s) AND n.nspname = ANY (%(schemas)s)
UNION ALL
SELECT format('CREATE PUBLICATION %%I', p.pubname) FROM pg_publication p
WHERE p.pubname = ANY (%(words)s) AND NOT p.puballtables
UNION ALL
SELECT format('ALTER PUBLICATION %%I ADD TABLE %%I.%%I', p.pubname, n.nspname, c.relname)
FROM pg_publication p JOIN pg_publication_rel r ON r.prpubid = p.oid
JOIN pg_class c ON c.oid = r.prrelid JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE p.pubname = ANY (%(words)s) AND c.relname = ANY (%(names)s) AND n.nspname = ANY (%(schemas)s)

-- name: made_like
-- what: In which encoding and with which locale was the database made?
-- versions: 15-
SELECT pg_encoding_to_char(encoding) AS encoding, datcollate AS lc_collate, datctype AS lc_ctype,
    datlocprovider::text AS provider,
    coalesce(to_jsonb(d) ->> 'datlocale', to_jsonb(d) ->> 'daticulocale') AS locale
FROM pg_database d WHERE datname = current_database()

-- name: left_behind
-- what: Which scratch databases of trials are there that no run holds any more, and this role may drop?
-- versions: 15-
SELECT d.datname FROM pg_database d
WHERE d.datname ~ '^leadctl_trial_[0-9]+$' AND pg_has_role(d.datdba, 'USAGE')
  AND NOT EXISTS (SELECT FROM pg_locks l WHERE l.locktype = 'advisory' AND l.classid = %(lock)s
                  AND l.objid::text = substr(d.datname, 15))

-- name: relations
-- what: Which relations are there, or which of some, which files do they lie in, how often were they read whole, and
--       which columns do they have?
-- versions: 15-
SELECT c.oid::bigint AS oid, n.nspname AS schema, c.relname AS name, c.relkind::text AS kind,
    coalesce(x.indrelid::bigint, 0) AS of_table, pg_relation_filenode(c.oid)::bigint AS file,
    coalesce(CASE WHEN c.relkind IN ('r', 'm') THEN pg_stat_get_xact_numscans(c.oid) END, 0) AS scans,
    (SELECT i.inhparent::bigint FROM pg_inherits i WHERE i.inhrelid = c.oid AND c.relispartition) AS part_of,
    coalesce(a.columns, '{}'::jsonb) AS columns
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
LEFT JOIN pg_index x ON x.indexrelid = c.oid
LEFT JOIN LATERAL (
    SELECT jsonb_object_agg(a.attnum, jsonb_build_array(a.attname, format_type(a.atttypid, a.atttypmod),
        a.atttypid IN (SELECT y.oid FROM pg_type y WHERE y.typtype = 'e'))) AS columns FROM pg_attribute a
    WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped AND c.relkind IN ('r', 'p', 'm', 'f', 'c')
) AS a ON true
WHERE c.oid >= 16384 AND n.nspname !~ '^pg_' AND n.nspname NOT IN ('information_schema', 'leadctl_trial')
  AND c.relkind IN ('r', 'p', 'v', 'm', 'f', 'S', 'i', 'I', 'c')
  AND (%(among)s::bigint[] IS NULL OR c.oid = ANY (%(among)s::bigint[]::oid[]))

-- name: scans
-- what: Which tables were read whole by this session, and how often, since it last told the server's statistics?
-- versions: 15-
SELECT oid::bigint, pg_stat_get_xact_numscans(oid) FROM pg_class
WHERE relkind IN ('r', 'm') AND oid >= 16384 AND pg_stat_get_xact_numscans(oid) > 0

-- name: locks
-- what: Which relations are locked by this session, and how?
-- versions: 15-
SELECT relation::bigint AS oid, array_agg(mode) AS modes FROM pg_locks
WHERE pid = pg_backend_pid() AND locktype = 'relation' AND granted AND relation >= 16384
  AND mode <> 'SIReadLock'  -- which blocks nobody
  AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
GROUP BY relation

-- name: inherits
-- what: Which tables are partitions of which, or inherit from which?
-- versions: 15-
SELECT inhrelid::bigint, inhparent::bigint FROM pg_inherits

-- name: keys
-- what: Which foreign keys change rows of their own table when those that they refer to go or change, which
--       columns, and which do they refer to?
-- versions: 15-
SELECT k.confrelid::bigint, k.conrelid::bigint, k.confdeltype::text, k.confupdtype::text,
    ARRAY(SELECT a.attname FROM pg_attribute a WHERE a.attrelid = k.conrelid AND a.attnum = ANY (k.conkey)),
    ARRAY(SELECT a.attname FROM pg_attribute a WHERE a.attrelid = k.confrelid AND a.attnum = ANY (k.confkey))
FROM pg_constraint k
WHERE k.contype = 'f' AND k.conparentid = 0
  AND (k.confdeltype IN ('c', 'n', 'd') OR k.confupdtype IN ('c', 'n', 'd'))

-- name: validated
-- what: Which tables do foreign keys of these names hold against which?
-- versions: 15-
SELECT conrelid::bigint, confrelid::bigint, p.relid::bigint FROM pg_constraint
LEFT JOIN LATERAL (SELECT relid::oid FROM pg_partition_tree(conrelid)
                   UNION ALL SELECT relid::oid FROM pg_partition_tree(confrelid)) AS p ON true
WHERE contype = 'f' AND conname = ANY (%(names)s)

-- name: code
-- what: Which functions and procedures are there that no extension brings, and how are they defined?
-- versions: 15-
SELECT p.proname, string_agg(pg_get_functiondef(p.oid), E'\n') FROM pg_proc p
JOIN pg_namespace n ON n.oid = p.pronamespace
WHERE p.prokind IN ('f', 'p', 'w') AND n.nspname !~ '^pg_'
  AND n.nspname NOT IN ('information_schema', 'leadctl_trial')
  AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.classid = 'pg_proc'::regclass AND d.objid = p.oid AND d.deptype = 'e')
GROUP BY p.proname

-- name: row_triggers
-- what: Which triggers of tables run for each row, at what, by which code?
-- versions: 15-
SELECT t.tgrelid::bigint, t.tgtype::int, p.proname, p.prosrc
FROM pg_trigger t JOIN pg_proc p ON p.oid = t.tgfoid
WHERE NOT t.tgisinternal AND t.tgtype & 1 = 1 AND t.tgenabled <> 'D'

-- name: users_of_type
-- what: Which columns are of a composite type?
-- versions: 15-
SELECT a.attrelid::bigint, a.attname FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid
JOIN pg_type t ON t.oid = a.atttypid
WHERE c.relkind IN ('r', 'p', 'm') AND NOT a.attisdropped
  AND (SELECT reltype FROM pg_class WHERE oid = %(type)s::bigint::oid) IN (t.oid, t.typelem)

-- name: tell
-- what: How does every table tell which rows a statement would change, also where there are none?
-- versions: 15-
DO $$
DECLARE t pg_catalog.regclass;
BEGIN
    CREATE SCHEMA leadctl_trial;
    CREATE FUNCTION leadctl_trial.tell() RETURNS trigger LANGUAGE plpgsql AS $tell$
    BEGIN
        RAISE INFO USING ERRCODE = 'LEAD1', MESSAGE = TG_RELID::pg_catalog.text || ' ' || TG_OP;
        RETURN NULL;
    END $tell$;
    FOR t IN SELECT c.oid FROM pg_catalog.pg_class c
             WHERE c.relkind IN ('r', 'p') AND c.oid OPERATOR(pg_catalog.>=) 16384 LOOP
        EXECUTE 'CREATE TRIGGER leadctl_trial BEFORE INSERT OR UPDATE OR DELETE OR TRUNCATE ON '
            || t || ' FOR EACH STATEMENT EXECUTE FUNCTION leadctl_trial.tell()';
        EXECUTE 'ALTER TABLE ' || t || ' ENABLE ALWAYS TRIGGER leadctl_trial';
    END LOOP;
END $$

-- name: tell_again
-- what: How do they, once a statement has disabled triggers?
-- versions: 15-
DO $$
DECLARE t pg_catalog.regclass;
BEGIN
    FOR t IN SELECT tgrelid FROM pg_catalog.pg_trigger
             WHERE tgname OPERATOR(pg_catalog.=) 'leadctl_trial' LOOP
        EXECUTE 'ALTER TABLE ' || t || ' ENABLE ALWAYS TRIGGER leadctl_trial';
    END LOOP;
END $$
