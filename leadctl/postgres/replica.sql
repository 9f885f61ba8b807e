-- Reading from a replica.

-- name: lag
-- what: How many seconds is this standby behind its primary?  No row where it is none.
--       0 where all that was received is replayed: an idle primary sends no newer time.
-- versions: 15-
SELECT CASE WHEN pg_last_wal_receive_lsn() = pg_last_wal_replay_lsn() THEN 0
            ELSE extract(epoch FROM clock_timestamp() - pg_last_xact_replay_timestamp()) END::float8
WHERE pg_is_in_recovery()
