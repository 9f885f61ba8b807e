-- The server and the database as a whole: counters, replication, WAL.

-- name: database
-- what: What do the counters of this database say: transactions, deadlocks, temporary files?
-- versions: 15-
SELECT datname::text AS database, stats_reset AS counted_since, xact_commit AS commits,
       xact_rollback AS rollbacks, blks_hit AS hits, blks_read AS reads,
       round(100.0 * blks_hit / nullif(blks_hit + blks_read, 0), 2)::float8 AS hit_percent,
       deadlocks, conflicts, temp_files, temp_bytes,
       -- Tables that all databases share are counted by themselves.
       d.checksum_failures + coalesce(s.checksum_failures, 0) AS checksum_failures,
       greatest(d.checksum_last_failure, s.checksum_last_failure) AS checksum_last_failure,
       current_setting('data_checksums')::boolean AS checksums, sessions, sessions_killed
FROM pg_stat_database d
LEFT JOIN (SELECT checksum_failures, checksum_last_failure FROM pg_stat_database WHERE datid = 0) AS s ON true
WHERE datname = current_database()

-- name: replication
-- what: Which standbys and receivers are connected here, and how far is each behind?
--       What was measured last is as old as the last reply: a standby that no longer replies falls behind
--       as long as that.
-- versions: 15-
WITH measured AS (
    SELECT r.*, CASE WHEN pg_is_in_recovery() THEN NULL
                     ELSE pg_wal_lsn_diff(pg_current_wal_lsn(),
                                          -- what keeps WAL without replaying it says what it wrote
                                          coalesce(r.replay_lsn, r.flush_lsn, r.write_lsn))::bigint END AS behind
    FROM pg_stat_replication r
)
SELECT application_name AS name, host(client_addr) AS client, state, sync_state, behind AS behind_bytes,
       extract(epoch FROM write_lag)::float8 AS write_lag_seconds,
       extract(epoch FROM flush_lag)::float8 AS flush_lag_seconds,
       extract(epoch FROM replay_lag)::float8 AS replay_lag_seconds,
       CASE WHEN behind = 0 THEN 0 ELSE greatest(0, extract(epoch FROM replay_lag),
           CASE WHEN behind > 0 THEN extract(epoch FROM clock_timestamp() - reply_time) END) END::float8
       AS lag_seconds, reply_time
FROM measured ORDER BY behind_bytes DESC NULLS LAST, pid

-- name: standby
-- what: Is this server a standby, and how far behind its primary?
--       0 where a receiver is there and all that it received is replayed: an idle primary sends nothing.
--       Else it is behind at least since the newest WAL was written that it received, and at most since
--       the last transaction that it replayed.  Without a receiver nobody knows what the primary wrote
--       since: it is behind as long as nothing was replayed.
-- versions: 15-
WITH receiver AS (
    SELECT count(*) > 0 AS receiving, max(status) AS status, max(latest_end_time) AS newest,
           max(last_msg_receipt_time) AS heard
    FROM pg_stat_wal_receiver
), facts AS (
    SELECT r.*, pg_last_wal_receive_lsn() AS received, pg_last_wal_replay_lsn() AS replayed,
           clock_timestamp() - pg_last_xact_replay_timestamp() AS since_replay,
           clock_timestamp() - pg_postmaster_start_time() AS since_start,
           clock_timestamp() - newest AS since_newest,
           (SELECT setting::float8 / 1000 FROM pg_settings WHERE name = 'recovery_min_apply_delay')
           AS delay_seconds,
           (SELECT setting::float8 / 1000 FROM pg_settings WHERE name = 'wal_receiver_timeout')
           AS timeout_seconds
    FROM receiver r
)
SELECT received::text, replayed::text, pg_wal_lsn_diff(received, replayed)::bigint AS behind_bytes,
       CASE WHEN receiving AND replayed >= received THEN 0
            WHEN receiving AND since_newest IS NOT NULL
            THEN greatest(0, extract(epoch FROM least(since_newest, since_replay)) - delay_seconds)
            WHEN receiving THEN 0
            ELSE extract(epoch FROM coalesce(since_replay, since_start)) END::float8
       AS lag_at_least_seconds,
       CASE WHEN receiving AND replayed >= received THEN 0
            WHEN receiving AND since_replay IS NOT NULL
            THEN greatest(0, extract(epoch FROM since_replay) - delay_seconds)
            WHEN receiving THEN NULL
            ELSE extract(epoch FROM coalesce(since_replay, since_start)) END::float8
       AS lag_at_most_seconds,
       pg_is_wal_replay_paused() AS paused, status AS receiver, receiving,
       extract(epoch FROM clock_timestamp() - heard)::float8 AS silent_seconds,
       timeout_seconds, current_setting('restore_command') <> '' AS restores, delay_seconds
FROM facts WHERE pg_is_in_recovery()

-- name: replication_slots
-- what: Which replication slots are there, and how much WAL does each keep from being removed?
-- versions: 15-16
SELECT slot_name::text AS slot, slot_type AS kind, database::text, active, wal_status, safe_wal_size,
       pg_wal_lsn_diff(CASE WHEN pg_is_in_recovery() THEN pg_last_wal_replay_lsn()
                            ELSE pg_current_wal_lsn() END, restart_lsn)::bigint AS retained_bytes,
       false AS synced
FROM pg_replication_slots ORDER BY retained_bytes DESC NULLS LAST, slot_name

-- name: replication_slots
-- what: Which replication slots are there, and how much WAL does each keep from being removed?
-- versions: 17-
SELECT slot_name::text AS slot, slot_type AS kind, database::text, active, wal_status, safe_wal_size,
       pg_wal_lsn_diff(CASE WHEN pg_is_in_recovery() THEN pg_last_wal_replay_lsn()
                            ELSE pg_current_wal_lsn() END, restart_lsn)::bigint AS retained_bytes,
       inactive_since, conflicting, synced
FROM pg_replication_slots ORDER BY retained_bytes DESC NULLS LAST, slot_name

-- name: wal
-- what: How much WAL was written?
-- versions: 15-
SELECT stats_reset AS counted_since, wal_records AS records, wal_fpi AS full_page_images,
       wal_bytes::bigint AS bytes, wal_buffers_full AS buffers_full,
       current_setting('wal_level') AS wal_level, current_setting('max_wal_size') AS max_wal_size
FROM pg_stat_wal

-- name: archiving
-- what: Is WAL archived, when did it last succeed and fail, how many segments wait?
-- versions: 15-
WITH segment AS (
    SELECT pg_size_bytes(current_setting('wal_segment_size')) AS size
)
SELECT current_setting('archive_mode') AS archive_mode, a.archived_count AS archived,
       a.last_archived_wal, a.last_archived_time, a.failed_count AS failed, a.last_failed_wal,
       a.last_failed_time,
       coalesce(a.last_failed_time > coalesce(a.last_archived_time, '-infinity'), false) AS failing,
       CASE WHEN a.last_archived_wal ~ '^[0-9A-F]{24}' AND NOT pg_is_in_recovery() THEN greatest(0,
           pg_wal_lsn_diff(pg_current_wal_lsn(), '0/0')::bigint / s.size
           - ('x' || substr(a.last_archived_wal, 9, 8))::bit(32)::bigint * (4294967296 / s.size)
           - ('x' || substr(a.last_archived_wal, 17, 8))::bit(32)::bigint - 1) END AS waiting_segments,
       current_setting('archive_command') NOT IN ('', '(disabled)') OR current_setting('archive_library') <> ''
       AS configured,
       a.stats_reset AS counted_since
FROM pg_stat_archiver a CROSS JOIN segment s

-- name: checkpoints
-- what: How often are there checkpoints, by the clock and by request, and what do they write?
-- versions: 15-16
SELECT stats_reset AS counted_since, checkpoints_timed AS timed, checkpoints_req AS requested,
       checkpoint_write_time AS write_ms, checkpoint_sync_time AS sync_ms,
       buffers_checkpoint AS buffers_written
FROM pg_stat_bgwriter

-- name: checkpoints
-- what: How often are there checkpoints, by the clock and by request, and what do they write?
-- versions: 17-
SELECT stats_reset AS counted_since, num_timed AS timed, num_requested AS requested,
       write_time AS write_ms, sync_time AS sync_ms, buffers_written
FROM pg_stat_checkpointer

-- name: extensions
-- what: Which extensions are installed, and for which is a newer version on the server?
-- versions: 15-
SELECT e.extname::text AS extension, n.nspname::text AS schema, e.extversion AS installed,
       a.default_version AS available, e.extversion IS DISTINCT FROM a.default_version AS outdated
FROM pg_extension e
JOIN pg_namespace n ON n.oid = e.extnamespace
LEFT JOIN pg_available_extensions a ON a.name = e.extname
ORDER BY outdated DESC, e.extname

-- name: nodes
-- what: Which nodes has the Citus cluster, how much of it does each hold, and which of the others that
--   answer at all reach it?
-- versions: 15-
-- needs: citus for pg_dist_node, citus_check_cluster_node_health, citus_shards
WITH seen AS MATERIALIZED (
    SELECT from_nodename, from_nodeport, to_nodename, to_nodeport, result
    FROM citus_check_cluster_node_health()
), answering AS (
    SELECT from_nodename, from_nodeport FROM seen GROUP BY 1, 2 HAVING bool_or(result IS NOT NULL)
), reached AS (
    SELECT s.to_nodename, s.to_nodeport, count(*) FILTER (WHERE s.result) AS reached_by, count(*) AS asked
    FROM seen s JOIN answering a USING (from_nodename, from_nodeport) GROUP BY 1, 2
)
SELECT n.nodename || ':' || n.nodeport AS node, n.noderole::text AS role, n.isactive AS active,
    n.shouldhaveshards AS holds_shards, coalesce(r.reached_by, 0) AS reached_by, coalesce(r.asked, 0) AS asked,
    (SELECT count(*) FROM pg_dist_placement p WHERE p.groupid = n.groupid) AS shards
FROM pg_dist_node n LEFT JOIN reached r ON (r.to_nodename, r.to_nodeport) = (n.nodename, n.nodeport)
ORDER BY n.nodeid
