"""The reports of viralmommy; what is marked as deleted does not count."""

from leadctl.apps.reports import Chart, reports_beside

CHARTS = {
    "posts": Chart("bars", ("posts",)),
    "jobs": Chart("bars", ("jobs",)),
    "quota": Chart("bars", ("used_percent",)),
}
REPORTS = reports_beside(__file__, CHARTS)
