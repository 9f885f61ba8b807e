from leadctl.apps.reports import AppReports, Report

REPORTS = AppReports(
    (
        Report(
            "orders",
            "Orders by state",
            "SELECT state::text, count(*) AS orders, sum(total) AS total FROM orders GROUP BY state",
        ),
    )
)
