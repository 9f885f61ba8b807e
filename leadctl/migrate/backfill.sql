-- name: is_there
-- what: Is there a table of checkpoints?
-- versions: 15-
SELECT to_regclass('leadctl.backfill') IS NOT NULL

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
SET after_key = excluded.after_key, rows = excluded.rows, updated_at = statement_timestamp()

-- name: forget
-- what: Forgets the checkpoint of a fill that is done.
-- versions: 15-
DELETE FROM leadctl.backfill WHERE schema = current_schema() AND work = %(work)s
