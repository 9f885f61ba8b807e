"""The reports of whatsapp."""

from leadctl.apps.reports import Chart, reports_beside

CHARTS = {
    "campaign-funnel": Chart("funnel", ("messages", "sent", "delivered", "read")),
    "opt-ins": Chart("bars", ("contacts",)),
    "failures": Chart("bars", ("messages",)),
}
REPORTS = reports_beside(
    __file__,
    CHARTS,
    # Compared as text, so that one that is no UUID is merely not found.
    find_user="SELECT id FROM users WHERE id::text = lower(%(user)s) OR email = %(user)s",
)
