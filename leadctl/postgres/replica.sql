-- Reading from a replica.

-- name: lag
-- what: How many seconds is this standby behind its primary?  No row where it is none.
--       0 where all that was received is replayed: an idle primary sends no newer time.  Without a
--       receiver nobody knows what the primary wrote since the last that was replayed.
-- versions: 15-
SELECT CASE WHEN EXISTS (SELECT FROM pg_stat_wal_receiver)
                 AND pg_last_wal_replay_lsn() >= pg_last_wal_receive_lsn() THEN 0
            ELSE extract(epoch FROM clock_timestamp()
                         - coalesce(pg_last_xact_replay_timestamp(), pg_postmaster_start_time()))
       END::float8
WHERE pg_is_in_recovery()
