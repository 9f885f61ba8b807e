"""The reports of leadconnector."""

from leadctl.apps.reports import Chart, reports_beside

CHARTS = {
    "leads-by-status": Chart("bars", ("leads",)),
    "leads-by-day": Chart("line", ("leads",)),
    "deliveries": Chart("bars", ("success_percent",)),
}
REPORTS = reports_beside(__file__, CHARTS)
