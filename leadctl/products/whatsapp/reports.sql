-- The reports of whatsapp.

-- name: counts
-- what: Rows of the main tables
-- versions: 15-
SELECT (SELECT count(*) FROM users
        WHERE %(user)s::uuid IS NULL OR id = %(user)s::uuid) AS users,
       (SELECT count(*) FROM contacts
        WHERE %(user)s::uuid IS NULL OR user_id = %(user)s::uuid) AS contacts,
       (SELECT count(*) FROM templates
        WHERE %(user)s::uuid IS NULL OR user_id = %(user)s::uuid) AS templates,
       (SELECT count(*) FROM campaigns
        WHERE %(user)s::uuid IS NULL OR user_id = %(user)s::uuid) AS campaigns,
       (SELECT count(*) FROM messages
        WHERE %(user)s::uuid IS NULL OR user_id = %(user)s::uuid) AS messages,
       (SELECT count(*) FROM webhook_events
        WHERE %(user)s::uuid IS NULL OR user_id = %(user)s::uuid) AS webhook_events

-- name: campaign_funnel
-- what: How far the messages of the newest campaigns came
-- versions: 15-
-- The newest campaigns are chosen first, so that only their messages are read, by the index.
SELECT c.name AS campaign, c.status::text, m.messages, m.queued, m.sent, m.delivered, m.read,
       m.failed,
       round(100.0 * m.delivered / nullif(m.sent, 0), 1)::float8 AS delivered_percent,
       round(100.0 * m.read / nullif(m.delivered, 0), 1)::float8 AS read_percent,
       round(100.0 * m.failed / nullif(m.messages, 0), 1)::float8 AS failed_percent
FROM (
    SELECT id, name, status, created_at FROM campaigns
    WHERE (%(user)s::uuid IS NULL OR user_id = %(user)s::uuid)
      AND (%(since)s::timestamptz IS NULL OR created_at >= %(since)s)
    ORDER BY created_at DESC, id LIMIT 50
) c
CROSS JOIN LATERAL (
    SELECT count(*) AS messages,
           count(*) FILTER (WHERE status = 'queued') AS queued,
           count(*) FILTER (WHERE status IN ('sent', 'delivered', 'read')) AS sent,
           count(*) FILTER (WHERE status IN ('delivered', 'read')) AS delivered,
           count(*) FILTER (WHERE status = 'read') AS read,
           count(*) FILTER (WHERE status = 'failed') AS failed
    FROM messages WHERE campaign_id = c.id AND direction = 'outbound'
) m
ORDER BY c.created_at DESC, c.id

-- name: opt_ins
-- what: Contacts by where they come from
-- versions: 15-
SELECT s.source::text, count(c.id) AS contacts,
       count(c.id) FILTER (WHERE c.opted_in) AS opted_in,
       count(c.id) FILTER (WHERE NOT c.opted_in AND c.opted_out_at IS NOT NULL) AS opted_out,
       count(c.id) FILTER (WHERE NOT c.opted_in AND c.opted_out_at IS NULL) AS never_opted_in,
       count(c.id) FILTER (WHERE c.is_blocked) AS blocked,
       count(c.id) FILTER (WHERE c.opted_in AND NOT c.is_blocked) AS reachable,
       round(100.0 * count(c.id) FILTER (WHERE c.opted_in) / nullif(count(c.id), 0),
           1)::float8 AS opted_in_percent
FROM unnest(enum_range((SELECT opt_in_source FROM contacts LIMIT 0))) AS s (source)
LEFT JOIN contacts c ON c.opt_in_source = s.source
    AND (%(user)s::uuid IS NULL OR c.user_id = %(user)s::uuid)
GROUP BY s.source ORDER BY s.source

-- name: unprocessed_events
-- what: Webhook events that are not processed, by age
-- versions: 15-
SELECT a.age, count(e.id) AS events,
       count(e.id) FILTER (WHERE e.error_message IS NULL) AS waiting,
       count(e.id) FILTER (WHERE e.error_message IS NOT NULL) AS failed,
       min(e.received_at) AS oldest
FROM (VALUES ('under an hour', now() - interval '1 hour', 'infinity'::timestamptz),
             ('under a day', now() - interval '1 day', now() - interval '1 hour'),
             ('under a week', now() - interval '7 days', now() - interval '1 day'),
             ('a week or more', '-infinity', now() - interval '7 days')
) AS a (age, after, until)
LEFT JOIN webhook_events e ON NOT e.processed
    AND e.received_at > a.after AND e.received_at <= a.until
    AND (%(user)s::uuid IS NULL OR e.user_id = %(user)s::uuid)
GROUP BY a.age, a.after ORDER BY a.after DESC

-- name: template_approval
-- what: Templates by category, and what Meta decided
-- versions: 15-
SELECT k.category::text, count(t.id) AS templates,
       count(t.id) FILTER (WHERE t.status = 'draft') AS draft,
       count(t.id) FILTER (WHERE t.status = 'pending') AS pending,
       count(t.id) FILTER (WHERE t.status = 'approved') AS approved,
       count(t.id) FILTER (WHERE t.status = 'rejected') AS rejected,
       round(100.0 * count(t.id) FILTER (WHERE t.status = 'approved') / nullif(
           count(t.id) FILTER (WHERE t.status IN ('approved', 'rejected')), 0), 1)::float8
           AS approved_percent,
       coalesce(sum(c.waiting) FILTER (WHERE t.status <> 'approved'), 0)::bigint
           AS campaigns_held_back
FROM unnest(enum_range((SELECT category FROM templates LIMIT 0))) AS k (category)
LEFT JOIN templates t ON t.category = k.category
    AND (%(user)s::uuid IS NULL OR t.user_id = %(user)s::uuid)
LEFT JOIN (
    SELECT template_id, count(*) AS waiting FROM campaigns
    WHERE status = 'scheduled' AND message_type = 'template' GROUP BY template_id
) c ON c.template_id = t.id
GROUP BY k.category ORDER BY k.category

-- name: failures
-- what: Failed messages by error
-- versions: 15-
SELECT coalesce(error_code, '(none)') AS error_code, max(error_message) AS example,
       count(*) AS messages,
       count(*) FILTER (WHERE retry_count < 3) AS to_retry,
       max(failed_at) AS newest
FROM messages
WHERE status = 'failed' AND (%(user)s::uuid IS NULL OR user_id = %(user)s::uuid)
  AND (%(since)s::timestamptz IS NULL OR failed_at >= %(since)s)
GROUP BY 1 ORDER BY messages DESC, error_code LIMIT 50
