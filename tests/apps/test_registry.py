"""The registry: built-in and declared apps come in by the same door."""

from pathlib import Path

import pytest

from leadctl.apps.metadata import load_metadata
from leadctl.apps.registry import all_apps, find_app, load_reports, load_rules
from leadctl.settings import load_settings


@pytest.mark.parametrize("name", all_apps(load_settings(cwd=Path("/"), environ={})))
def test_a_built_in_app_has_all_that_it_declares(name: str) -> None:
    app = find_app(load_settings({"app": name}, cwd=Path("/"), environ={}))
    assert (app.migrations / "alembic.ini").is_file()
    assert app.environment is None
    assert load_metadata(app).tables
    assert load_reports(app).reports
    assert load_rules(app)


def test_a_declaration_that_version_0_1_0_wrote_is_understood(tmp_path: Path) -> None:
    (tmp_path / "leadctl.toml").write_text(
        '[apps.ours]\nmodels = "leadctl.apps.whatsapp.models:Base"\n'
        'rules = "leadctl.apps.whatsapp.retention:RULES"\n'
        'reports = "leadctl.apps.reports:AppReports"\n'
    )
    app = find_app(load_settings(cwd=tmp_path, environ={}))
    assert (app.root, app.migrations) == (tmp_path, tmp_path / "migrations")
    assert "campaigns" in load_metadata(app).tables
    assert load_rules(app)
    assert app.reports == "leadctl.apps.reports:AppReports"
