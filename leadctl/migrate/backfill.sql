-- name: create
-- what: Makes the table of checkpoints where it is missing.
-- versions: 15-
CREATE TABLE IF NOT EXISTS leadctl.backfill (
    schema text NOT NULL,
    work text NOT NULL,
    after_key text[] NOT NULL,
    rows bigint NOT NULL,
    updated_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (schema, work)
)

-- name: key
-- what: Which columns are a table's primary key, in order, and of which types?
-- versions: 15-
SELECT quote_ident(a.attname), format_type(a.atttypid, a.atttypmod)
FROM pg_index x
CROSS JOIN unnest(x.indkey) WITH ORDINALITY AS k (attnum, place)
JOIN pg_attribute a ON a.attrelid = x.indrelid AND a.attnum = k.attnum
WHERE x.indrelid = to_regclass(%(table)s) AND x.indisprimary
ORDER BY k.place

-- name: estimate
-- what: How many rows does a table have, as the statistics know it?
-- versions: 15-
SELECT greatest(reltuples, 0)::bigint FROM pg_class WHERE oid = to_regclass(%(table)s)

-- name: checkpoint
-- what: Up to which key did a fill come, and how many rows had it changed?
-- versions: 15-
SELECT after_key, rows FROM leadctl.backfill WHERE schema = current_schema() AND work = %(work)s

-- name: keep
-- what: Keeps up to which key a fill has come.
-- versions: 15-
INSERT INTO leadctl.backfill (schema, work, after_key, rows)
VALUES (current_schema(), %(work)s, %(after_key)s, %(rows)s)
ON CONFLICT (schema, work) DO UPDATE
SET after_key = excluded.after_key, rows = excluded.rows, updated_at = clock_timestamp()

-- name: forget
-- what: Forgets the checkpoint of a fill that is done.
-- versions: 15-
DELETE FROM leadctl.backfill WHERE schema = current_schema() AND work = %(work)s
