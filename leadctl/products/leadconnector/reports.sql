-- The reports of leadconnector.

-- name: counts
-- what: Rows of the main tables
-- versions: 15-
SELECT (SELECT count(*) FROM users) AS users,
       (SELECT count(*) FROM pages) AS pages,
       (SELECT count(*) FROM leads) AS leads,
       (SELECT count(*) FROM webhooks) AS webhooks

-- name: leads
-- what: Leads by outcome
-- versions: 15-
SELECT count(*) AS total,
       count(*) FILTER (WHERE l.status = 'DELIVERED') AS delivered,
       count(*) FILTER (WHERE l.status = 'FAILED') AS failed,
       count(*) FILTER (WHERE l.status = 'NEW') AS pending
FROM leads l JOIN pages p ON p.id = l.page_id
WHERE (%(user)s::text IS NULL OR p.user_id = %(user)s)
  AND (%(since)s::timestamptz IS NULL OR l.created_at >= %(since)s)

-- name: webhooks
-- what: Webhooks and their deliveries
-- versions: 15-
SELECT count(*) AS total,
       count(*) FILTER (WHERE w.is_active) AS active,
       coalesce(sum(d.successful), 0)::bigint AS successful,
       coalesce(sum(d.failed), 0)::bigint AS failed
FROM webhooks w
LEFT JOIN (
    SELECT webhook_id,
           count(*) FILTER (WHERE status = 'SUCCESS') AS successful,
           count(*) FILTER (WHERE status = 'FAILED') AS failed
    FROM webhook_deliveries
    WHERE (%(user)s::text IS NULL
           OR webhook_id IN (SELECT id FROM webhooks WHERE user_id = %(user)s))
      AND (%(since)s::timestamptz IS NULL OR created_at >= %(since)s)
    GROUP BY webhook_id
) d ON d.webhook_id = w.id
WHERE %(user)s::text IS NULL OR w.user_id = %(user)s

-- name: leads_by_status
-- what: Leads by status
-- versions: 15-
SELECT s.status::text, count(l.id) AS leads
FROM unnest(enum_range((SELECT status FROM leads LIMIT 0))) AS s (status)
LEFT JOIN (
    SELECT l.id, l.status FROM leads l JOIN pages p ON p.id = l.page_id
    WHERE (%(user)s::text IS NULL OR p.user_id = %(user)s)
      AND (%(since)s::timestamptz IS NULL OR l.created_at >= %(since)s)
) l ON l.status = s.status
GROUP BY s.status ORDER BY s.status

-- name: leads_by_page
-- what: Leads by page
-- versions: 15-
SELECT p.name AS page, count(l.id) AS leads,
       count(l.id) FILTER (WHERE l.status = 'DELIVERED') AS delivered,
       count(l.id) FILTER (WHERE l.status = 'FAILED') AS failed,
       max(l.created_at) AS newest
FROM pages p LEFT JOIN leads l ON l.page_id = p.id
    AND (%(since)s::timestamptz IS NULL OR l.created_at >= %(since)s)
WHERE %(user)s::text IS NULL OR p.user_id = %(user)s
GROUP BY p.id, p.name ORDER BY leads DESC, p.name LIMIT 50

-- name: leads_by_campaign
-- what: Leads by campaign
-- versions: 15-
SELECT coalesce(l.campaign_name, l.campaign_id, '(none)') AS campaign, count(*) AS leads,
       count(*) FILTER (WHERE l.status = 'DELIVERED') AS delivered,
       count(*) FILTER (WHERE l.status = 'FAILED') AS failed
FROM leads l JOIN pages p ON p.id = l.page_id
WHERE (%(user)s::text IS NULL OR p.user_id = %(user)s)
  AND (%(since)s::timestamptz IS NULL OR l.created_at >= %(since)s)
GROUP BY 1 ORDER BY leads DESC, campaign LIMIT 50

-- name: leads_by_day
-- what: Leads by day
-- versions: 15-
SELECT d.day::date AS day, coalesce(l.leads, 0) AS leads
FROM generate_series(
    coalesce(%(since)s::timestamptz::date, current_date - 29), current_date, '1 day') AS d (day)
LEFT JOIN (
    SELECT l.created_at::date AS day, count(*) AS leads
    FROM leads l JOIN pages p ON p.id = l.page_id
    WHERE l.created_at >= coalesce(%(since)s::timestamptz, current_date - 29)
      AND (%(user)s::text IS NULL OR p.user_id = %(user)s)
    GROUP BY 1
) l ON l.day = d.day
ORDER BY d.day

-- name: deliveries
-- what: Deliveries by webhook
-- versions: 15-
SELECT w.name AS webhook, count(d.id) AS deliveries,
       count(d.id) FILTER (WHERE d.status = 'SUCCESS') AS successful,
       count(d.id) FILTER (WHERE d.status = 'FAILED') AS failed,
       round(100.0 * count(d.id) FILTER (WHERE d.status = 'SUCCESS') / nullif(
           count(d.id) FILTER (WHERE d.status IN ('SUCCESS', 'FAILED')), 0), 1)::float8
           AS success_percent,
       round(avg(d.attempt_number), 2)::float8 AS attempts,
       round((percentile_cont(0.5) WITHIN GROUP (
           ORDER BY extract(epoch FROM d.completed_at - d.created_at)))::numeric, 2)::float8
           AS median_seconds
FROM webhooks w LEFT JOIN webhook_deliveries d ON d.webhook_id = w.id
    AND (%(since)s::timestamptz IS NULL OR d.created_at >= %(since)s)
WHERE %(user)s::text IS NULL OR w.user_id = %(user)s
GROUP BY w.id, w.name ORDER BY deliveries DESC, w.name LIMIT 50
