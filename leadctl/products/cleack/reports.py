"""The reports of cleack."""

from leadctl.apps.reports import Chart, reports_beside

CHARTS = {
    "draws": Chart("bars", ("draws",)),
    "draws-by-day": Chart("line", ("draws",)),
    "platforms": Chart("bars", ("accounts",)),
}
REPORTS = reports_beside(__file__, CHARTS)
