-- The reports of cleack.

-- name: counts
-- what: Rows of the main tables
-- versions: 15-
SELECT (SELECT count(*) FROM users) AS users,
       (SELECT count(*) FROM credits) AS credits,
       (SELECT count(*) FROM subscriptions) AS subscriptions,
       (SELECT count(*) FROM social_accounts) AS social_accounts,
       (SELECT count(*) FROM draws) AS draws,
       (SELECT count(*) FROM draw_history) AS draw_history,
       (SELECT count(*) FROM blacklist) AS blacklist,
       (SELECT count(*) FROM system_metrics) AS system_metrics

-- name: draws
-- what: Draws by status
-- versions: 15-
SELECT s.status::text AS status, count(d.id) AS draws,
       coalesce(sum(d.participants), 0)::bigint AS participants,
       coalesce(sum(d.credits_used), 0)::bigint AS credits_used,
       max(d.created_at) AS newest
FROM unnest(enum_range((SELECT status FROM draws LIMIT 0))) AS s (status)
LEFT JOIN draws d ON d.status = s.status AND (%(user)s::text IS NULL OR d.user_id = %(user)s)
    AND (%(since)s::timestamptz IS NULL OR d.created_at >= %(since)s)
GROUP BY s.status ORDER BY s.status

-- name: draws_by_platform
-- what: Draws by platform
-- versions: 15-
SELECT p.platform::text AS platform, count(d.id) AS draws,
       count(*) FILTER (WHERE d.status = 'completed') AS completed,
       count(*) FILTER (WHERE d.status = 'failed') AS failed,
       round(100.0 * count(d.id) / nullif(sum(count(d.id)) OVER (), 0), 1)::float8
           AS share_percent,
       round(avg(d.participants) FILTER (WHERE d.status = 'completed'), 1)::float8
           AS participants_per_draw
FROM unnest(enum_range((SELECT platform FROM draws LIMIT 0))) AS p (platform)
LEFT JOIN draws d
    ON d.platform = p.platform AND (%(user)s::text IS NULL OR d.user_id = %(user)s)
    AND (%(since)s::timestamptz IS NULL OR d.created_at >= %(since)s)
GROUP BY p.platform ORDER BY draws DESC, p.platform

-- name: draws_by_day
-- what: Draws by day
-- versions: 15-
SELECT d.day::date AS day, coalesce(n.draws, 0) AS draws,
       coalesce(n.completed, 0) AS completed
FROM generate_series(
    coalesce(%(since)s::timestamptz::date, current_date - 29), current_date, '1 day') AS d (day)
LEFT JOIN (
    SELECT created_at::date AS day, count(*) AS draws,
           count(*) FILTER (WHERE status = 'completed') AS completed
    FROM draws
    WHERE created_at >= coalesce(%(since)s::timestamptz, current_date - 29)
      AND (%(user)s::text IS NULL OR user_id = %(user)s)
    GROUP BY 1
) n ON n.day = d.day
ORDER BY d.day

-- name: credits
-- what: Credits by user, those who use most first
-- versions: 15-
SELECT u.email, coalesce(sum(c.amount), 0)::bigint AS balance,
       coalesce(sum(c.amount) FILTER (WHERE c.transaction_type = 'purchase'), 0)::bigint
           AS purchased,
       coalesce(sum(c.amount) FILTER (WHERE c.transaction_type = 'bonus'), 0)::bigint AS bonus,
       coalesce(sum(c.amount) FILTER (WHERE c.transaction_type = 'refund'), 0)::bigint
           AS refunded,
       coalesce(-sum(c.amount) FILTER (WHERE c.transaction_type = 'usage'), 0)::bigint AS used,
       max(c.created_at) FILTER (WHERE c.transaction_type = 'usage') AS last_used
FROM users u LEFT JOIN credits c ON c.user_id = u.id
WHERE %(user)s::text IS NULL OR u.id = %(user)s
GROUP BY u.id, u.email ORDER BY used DESC, u.email LIMIT 50

-- name: revenue
-- what: Recurring revenue by plan, in US cents
-- versions: 15-
SELECT p.plan_type::text AS plan, count(s.id) AS subscriptions,
       count(*) FILTER (WHERE s.pays) AS paying,
       coalesce(sum(s.price_cents) FILTER (WHERE s.pays), 0)::bigint AS price_cents,
       round(coalesce(sum(s.price_cents) FILTER (WHERE s.pays), 0)
           / CASE p.plan_type WHEN 'annual' THEN 12.0 ELSE 1 END, 2)::float8
           AS cents_per_month,
       coalesce(sum(s.credits_per_month) FILTER (WHERE s.pays), 0)::bigint
           AS credits_per_month
FROM unnest(enum_range((SELECT plan_type FROM subscriptions LIMIT 0))) AS p (plan_type)
LEFT JOIN (
    SELECT *, status = 'active' AND (end_date IS NULL OR end_date > now()) AS pays
    FROM subscriptions
) s ON s.plan_type = p.plan_type AND (%(user)s::text IS NULL OR s.user_id = %(user)s)
GROUP BY p.plan_type ORDER BY p.plan_type

-- name: platforms
-- what: Connected accounts by platform
-- versions: 15-
SELECT p.platform::text AS platform, count(a.id) AS accounts,
       count(*) FILTER (WHERE a.is_active) AS active,
       count(*) FILTER (WHERE a.is_active AND a.token_expires_at < now()) AS token_expired,
       round(100.0 * count(a.id) / nullif(sum(count(a.id)) OVER (), 0), 1)::float8
           AS share_percent
FROM unnest(enum_range((SELECT platform FROM draws LIMIT 0))) AS p (platform)
LEFT JOIN social_accounts a
    ON a.platform = p.platform AND (%(user)s::text IS NULL OR a.user_id = %(user)s)
GROUP BY p.platform ORDER BY accounts DESC, p.platform

-- name: metrics
-- what: Metrics: the newest value, and the last 30 days
-- versions: 15-
SELECT t.metric_type::text AS metric, newest.value AS newest, newest.created_at AS recorded_at,
       recent.measured, recent.lowest, recent.mean, recent.highest
FROM unnest(enum_range((SELECT metric_type FROM system_metrics LIMIT 0))) AS t (metric_type)
LEFT JOIN LATERAL (
    SELECT value, created_at FROM system_metrics m
    WHERE m.metric_type = t.metric_type ORDER BY created_at DESC, id DESC LIMIT 1
) newest ON true
CROSS JOIN LATERAL (
    SELECT count(*) AS measured, min(value) AS lowest, avg(value) AS mean,
           max(value) AS highest
    FROM system_metrics m
    WHERE m.metric_type = t.metric_type AND created_at >= current_date - 29
) recent
ORDER BY t.metric_type

-- name: metrics_by_day
-- what: Metrics by day: each day's newest values
-- versions: 15-
SELECT d.day::date AS day,
       max(n.value) FILTER (WHERE n.metric_type = 'daily_draws') AS daily_draws,
       max(n.value) FILTER (WHERE n.metric_type = 'user_signups') AS user_signups,
       max(n.value) FILTER (WHERE n.metric_type = 'revenue') AS revenue,
       max(n.value) FILTER (WHERE n.metric_type = 'avg_participants_per_draw')
           AS avg_participants_per_draw,
       max(n.value) FILTER (WHERE n.metric_type = 'error_rate') AS error_rate
FROM generate_series(
    coalesce(%(since)s::timestamptz::date, current_date - 29), current_date, '1 day') AS d (day)
LEFT JOIN (
    SELECT DISTINCT ON (1, metric_type) created_at::date AS day, metric_type, value
    FROM system_metrics WHERE created_at >= coalesce(%(since)s::timestamptz, current_date - 29)
    ORDER BY 1, metric_type, created_at DESC, id DESC
) n ON n.day = d.day
GROUP BY d.day ORDER BY d.day
