-- The reports of viralmommy; what is marked as deleted does not count.

-- name: counts
-- what: Rows of the main tables
-- versions: 15-
SELECT (SELECT count(*) FROM users
        WHERE %(user)s::text IS NULL OR id = %(user)s) AS users,
       (SELECT count(*) FROM platform_connections
        WHERE %(user)s::text IS NULL OR user_id = %(user)s) AS connections,
       (SELECT count(*) FROM videos
        WHERE deleted_at IS NULL AND (%(user)s::text IS NULL OR user_id = %(user)s)) AS videos,
       (SELECT count(*) FROM published_posts
        WHERE deleted_at IS NULL AND (%(user)s::text IS NULL OR user_id = %(user)s)) AS posts,
       (SELECT count(*) FROM publish_jobs
        WHERE %(user)s::text IS NULL OR user_id = %(user)s) AS jobs

-- name: posts
-- what: Posts and engagement by platform
-- versions: 15-
SELECT p.platform::text, count(o.id) AS posts,
       coalesce(sum(o.views), 0) AS views,
       coalesce(sum(o.likes), 0) AS likes,
       coalesce(sum(o.comments), 0) AS comments,
       coalesce(sum(o.shares), 0) AS shares,
       round(100.0 * (sum(o.likes) + sum(o.comments) + sum(o.shares))
           / nullif(sum(o.views), 0), 2)::float8 AS engagement_percent,
       max(o.published_at) AS newest
FROM unnest(enum_range((SELECT platform FROM published_posts LIMIT 0))) AS p (platform)
LEFT JOIN published_posts o ON o.platform = p.platform AND o.deleted_at IS NULL
     AND (%(since)s::timestamptz IS NULL OR o.published_at >= %(since)s)
     AND (%(user)s::text IS NULL OR o.user_id = %(user)s)
GROUP BY p.platform ORDER BY p.platform

-- name: connections
-- what: Connections by status and expiry
-- versions: 15-
SELECT s.status::text, count(c.id) AS connections,
       count(c.id) FILTER (WHERE c.expires_at <= now()) AS expired,
       count(c.id) FILTER (WHERE c.expires_at > now()
           AND c.expires_at <= now() + interval '1 day') AS within_a_day,
       count(c.id) FILTER (WHERE c.expires_at > now() + interval '1 day'
           AND c.expires_at <= now() + interval '7 days') AS within_a_week,
       count(c.id) FILTER (WHERE c.expires_at > now() + interval '7 days') AS later,
       count(c.id) FILTER (WHERE c.expires_at IS NULL) AS no_expiry,
       min(c.expires_at) FILTER (WHERE c.expires_at > now()) AS next_expiry
FROM unnest(enum_range((SELECT status FROM platform_connections LIMIT 0))) AS s (status)
LEFT JOIN platform_connections c ON c.status = s.status
     AND (%(user)s::text IS NULL OR c.user_id = %(user)s)
GROUP BY s.status ORDER BY s.status

-- name: jobs
-- what: Publishing jobs by status
-- versions: 15-
SELECT s.status::text, count(j.id) AS jobs,
       count(j.id) FILTER (WHERE j.status IN ('PENDING', 'DELAYED')
           AND coalesce(j.scheduled_for, j.created_at) <= now()) AS due,
       round(avg(j.attempt_number), 2)::float8 AS attempts,
       round((percentile_cont(0.5) WITHIN GROUP (ORDER BY extract(
           epoch FROM coalesce(j.completed_at, j.failed_at) - j.started_at)))::numeric, 2
       )::float8 AS median_seconds,
       min(j.created_at) AS oldest
FROM unnest(enum_range((SELECT status FROM publish_jobs LIMIT 0))) AS s (status)
LEFT JOIN publish_jobs j ON j.status = s.status
     AND (%(since)s::timestamptz IS NULL OR j.created_at >= %(since)s)
     AND (%(user)s::text IS NULL OR j.user_id = %(user)s)
GROUP BY s.status ORDER BY s.status

-- name: quota
-- what: Today's YouTube quota, in units; an upload takes 1600
-- versions: 15-
SELECT date, used, "limit", "limit" - used AS remaining,
       ("limit" - used) / 1600 AS uploads_left,
       round(100.0 * used / "limit", 1)::float8 AS used_percent
FROM (
    SELECT d.date, coalesce(q.used, 0) AS used, coalesce(q."limit", 10000) AS "limit"
    FROM (SELECT (now() AT TIME ZONE 'UTC')::date AS date) d
    LEFT JOIN youtube_quotas q ON q.date = d.date
) today
