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
