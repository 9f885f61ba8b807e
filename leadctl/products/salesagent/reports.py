"""The reports of salesagent: one organisation's numbers, or everybody's.

`--user` names a user; the numbers are those of the organisation that the user belongs to.
"""

from dataclasses import replace

from leadctl.apps.reports import Chart, reports_beside

_SCOPE = """
    WITH organisation AS (
        SELECT id AS organisation_id FROM organisations
        WHERE deleted_at IS NULL AND (%(user)s::text IS NULL OR id = %(user)s)
    )
"""
"""What each begins with: the organisations that count."""
CHARTS = {
    "prospects-by-stage": Chart("bars", ("prospects",)),
    "campaigns": Chart("bars", ("reply_percent",)),
    "activity-by-week": Chart("line", ("activities",)),
}
_READ = reports_beside(
    __file__,
    CHARTS,
    find_user="SELECT organisation_id FROM users WHERE deleted_at IS NULL"
    " AND (id = %(user)s OR lower(email) = lower(%(user)s))",
)
REPORTS = replace(
    _READ, reports=tuple(replace(each, sql=_SCOPE + each.sql) for each in _READ.reports)
)
