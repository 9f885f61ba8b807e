-- name: create_seed_files
-- what: Where is it recorded which seed files were brought in?
-- versions: 15-
CREATE TABLE IF NOT EXISTS leadctl.seed_file (
    app text NOT NULL,
    schema text NOT NULL,
    file text NOT NULL,
    checksum text NOT NULL,
    seeded_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (app, schema, file)
)

-- name: is_recorded
-- what: Is anything recorded of seed files?
-- versions: 15-
SELECT to_regclass('leadctl.seed_file') IS NOT NULL

-- name: seed_files
-- what: Which seed files were brought in, with which content?
-- versions: 15-
SELECT file, checksum FROM leadctl.seed_file WHERE app = %(app)s AND schema = %(schema)s

-- name: record_seed_file
-- what: Records that a seed file was brought in.
-- versions: 15-
INSERT INTO leadctl.seed_file (app, schema, file, checksum)
VALUES (%(app)s, %(schema)s, %(file)s, %(checksum)s)
ON CONFLICT (app, schema, file) DO UPDATE SET checksum = excluded.checksum, seeded_at = now()

-- name: forget_seed_files
-- what: Forgets what was brought into a schema for an app.
-- versions: 15-
DELETE FROM leadctl.seed_file WHERE app = %(app)s AND schema = %(schema)s

-- name: try_lock
-- what: Does nobody else seed this schema?  The lock is held to the end of the transaction.
-- versions: 15-
SELECT pg_try_advisory_xact_lock(hashtext('leadctl: seed'), hashtext(%(schema)s))

-- name: lock
-- what: Waits until nobody else seeds this schema.
-- versions: 15-
SELECT pg_advisory_xact_lock(hashtext('leadctl: seed'), hashtext(%(schema)s))
