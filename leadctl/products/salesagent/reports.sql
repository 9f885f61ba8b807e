-- The reports of salesagent.  Each is read behind the table expression `organisation`, those that
-- count; a row counts where neither it nor its organisation is marked as deleted.

-- name: counts
-- what: Rows of the main tables
-- versions: 15-
SELECT (SELECT count(*) FROM organisation) AS organisations,
       (SELECT count(*) FROM users JOIN organisation USING (organisation_id)
        WHERE deleted_at IS NULL) AS users,
       (SELECT count(*) FROM prospects JOIN organisation USING (organisation_id)
        WHERE deleted_at IS NULL) AS prospects,
       (SELECT count(*) FROM campaigns JOIN organisation USING (organisation_id)
        WHERE deleted_at IS NULL) AS campaigns,
       (SELECT count(*) FROM messages JOIN organisation USING (organisation_id)
        WHERE deleted_at IS NULL) AS messages,
       (SELECT count(*) FROM activities JOIN organisation USING (organisation_id)
        WHERE deleted_at IS NULL) AS activities

-- name: prospects_by_stage
-- what: Prospects by stage
-- versions: 15-
SELECT s.stage::text, count(p.stage) AS prospects,
       round(avg(p.score), 1)::float8 AS average_score
FROM unnest(enum_range((SELECT stage FROM prospects LIMIT 0))) AS s (stage)
LEFT JOIN (
    SELECT stage, score FROM prospects JOIN organisation USING (organisation_id)
    WHERE deleted_at IS NULL
) p ON p.stage = s.stage
GROUP BY s.stage ORDER BY s.stage

-- name: prospects_by_score
-- what: Prospects by score
-- versions: 15-
SELECT b.band, count(p.band) AS prospects
FROM (VALUES (4, '80-100'), (3, '60-79'), (2, '40-59'), (1, '20-39'), (0, '0-19'),
             (-1, 'none')) AS b (number, band)
LEFT JOIN (
    SELECT CASE WHEN score IS NULL THEN -1 ELSE least(score / 20, 4) END AS band
    FROM prospects JOIN organisation USING (organisation_id)
    WHERE deleted_at IS NULL
) p ON p.band = b.number
GROUP BY b.number, b.band ORDER BY b.number DESC

-- name: campaigns
-- what: Replies to the 50 campaigns that sent the most
-- versions: 15-
SELECT c.name AS campaign, c.status::text,
       count(m.sent_at) AS sent,
       count(m.opened_at) AS opened,
       count(m.replied_at) AS replied,
       count(*) FILTER (WHERE m.status = 'BOUNCED') AS bounced,
       round(100.0 * count(m.replied_at) / nullif(count(m.sent_at), 0), 1)::float8
           AS reply_percent
FROM campaigns c JOIN organisation USING (organisation_id)
LEFT JOIN messages m ON m.organisation_id = c.organisation_id AND m.campaign_id = c.id
                    AND m.direction = 'OUTBOUND' AND m.deleted_at IS NULL
                    AND (%(since)s::timestamptz IS NULL OR m.created_at >= %(since)s)
WHERE c.deleted_at IS NULL
GROUP BY c.id, c.name, c.status ORDER BY sent DESC, c.name, c.id LIMIT 50

-- name: insights
-- what: AI insights by type
-- versions: 15-
SELECT t.type::text, count(i.type) AS insights,
       count(*) FILTER (WHERE i.status = 'NEW') AS new,
       count(*) FILTER (WHERE i.status = 'ACCEPTED') AS accepted,
       count(*) FILTER (WHERE i.status = 'DISMISSED') AS dismissed,
       round(100 * avg(i.confidence)::numeric, 1)::float8 AS confidence_percent
FROM unnest(enum_range((SELECT type FROM ai_insights LIMIT 0))) AS t (type)
LEFT JOIN (
    SELECT type, status, confidence FROM ai_insights JOIN organisation USING (organisation_id)
    WHERE deleted_at IS NULL
) i ON i.type = t.type
GROUP BY t.type ORDER BY t.type

-- name: subscriptions
-- what: Subscriptions by plan
-- versions: 15-
SELECT p.plan::text, count(s.plan) AS subscriptions,
       count(*) FILTER (WHERE s.status = 'TRIALING') AS trialing,
       count(*) FILTER (WHERE s.status = 'ACTIVE') AS active,
       count(*) FILTER (WHERE s.status = 'PAST_DUE') AS past_due,
       count(*) FILTER (WHERE s.status = 'CANCELED') AS canceled,
       coalesce(sum(s.seats) FILTER (WHERE s.status <> 'CANCELED'), 0)::bigint AS seats
FROM unnest(enum_range((SELECT plan FROM subscriptions LIMIT 0))) AS p (plan)
LEFT JOIN (
    SELECT plan, status, seats FROM subscriptions JOIN organisation USING (organisation_id)
    WHERE deleted_at IS NULL
) s ON s.plan = p.plan
GROUP BY p.plan ORDER BY p.plan

-- name: activity_by_week
-- what: Activities by week, each from a Monday
-- versions: 15-
SELECT w.week::date AS week, count(a.week) AS activities,
       count(*) FILTER (WHERE a.status = 'COMPLETED') AS completed
FROM generate_series(date_trunc('week', coalesce(%(since)s::timestamptz,
                         now() - interval '11 weeks')),
                     date_trunc('week', now()), '1 week') AS w (week)
LEFT JOIN (
    SELECT date_trunc('week', created_at) AS week, status
    FROM activities JOIN organisation USING (organisation_id)
    WHERE deleted_at IS NULL
      AND created_at >= coalesce(%(since)s::timestamptz,
                             date_trunc('week', now()) - interval '11 weeks')
) a ON a.week = w.week
GROUP BY w.week ORDER BY w.week
