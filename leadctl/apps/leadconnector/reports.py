"""The reports of leadconnector."""

from leadctl.apps.reports import AppReports, Report

COUNTS = Report(
    "counts",
    "Rows of the main tables",
    """
    SELECT (SELECT count(*) FROM users) AS users,
           (SELECT count(*) FROM pages) AS pages,
           (SELECT count(*) FROM leads) AS leads,
           (SELECT count(*) FROM webhooks) AS webhooks
    """,
)

LEADS = Report(
    "leads",
    "Leads by outcome",
    """
    SELECT count(*) AS total,
           count(*) FILTER (WHERE l.status = 'DELIVERED') AS delivered,
           count(*) FILTER (WHERE l.status = 'FAILED') AS failed,
           count(*) FILTER (WHERE l.status = 'NEW') AS pending
    FROM leads l JOIN pages p ON p.id = l.page_id
    WHERE %(user)s::text IS NULL OR p.user_id = %(user)s
    """,
    per_user=True,
)

WEBHOOKS = Report(
    "webhooks",
    "Webhooks and their deliveries",
    """
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
        WHERE %(user)s::text IS NULL
           OR webhook_id IN (SELECT id FROM webhooks WHERE user_id = %(user)s)
        GROUP BY webhook_id
    ) d ON d.webhook_id = w.id
    WHERE %(user)s::text IS NULL OR w.user_id = %(user)s
    """,
    per_user=True,
)

REPORTS = AppReports(
    reports=(COUNTS, LEADS, WEBHOOKS),
    find_user="SELECT id FROM users WHERE id = %(user)s OR email = %(user)s",
)
