"""Shell completion, asked for as bash does."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import Prepared
from tests.processes import environment

_AS_INSTALLED = "import sys; sys.argv[0] = 'leadctl'; from leadctl.__main__ import main; main()"


def completed(line: str, folder: Path, **env: str) -> list[str]:
    """Return what TAB offers at the end of a line."""
    done = subprocess.run(
        [sys.executable, "-c", _AS_INSTALLED],
        cwd=folder,
        env=environment(
            {
                "_LEADCTL_COMPLETE": "complete_bash",
                "COMP_WORDS": line,
                "COMP_CWORD": str(line.count(" ")),
                **env,
            }
        ),
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    assert done.stderr == ""
    return done.stdout.split()


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A project with an app, two environments and a backup."""
    (tmp_path / "leadctl.toml").write_text(
        '[apps.shop]\nmodels = "shop:Base"\n\n'
        '[env.production]\nurl_command = "touch was-run"\n\n'
        '[env.preview]\nurl = "postgresql://127.0.0.1:1/x"\n'
    )
    revision = 'revision = "{}"\ndown_revision = {}\n'
    migrations = tmp_path / "migrations"
    migrations.mkdir()
    (migrations / "1.py").write_text(revision.format("shop_0001", None))
    (migrations / "2.py").write_text(revision.format("shop_0002", '"shop_0001"'))
    (tmp_path / "backups" / "20260101T000000-000Z").mkdir(parents=True)
    return tmp_path


@pytest.mark.few(4)
@pytest.mark.parametrize(
    ("line", "offered"),
    [
        ("leadctl stats --app s", ["salesagent", "shop"]),
        ("leadctl migrate --env p", ["preview", "production"]),
        ("leadctl migrate up ", ["shop_0002", "shop_0001"]),
        ("leadctl migrate down shop_0001", ["shop_0001"]),
        ("leadctl migrate --app whatsapp up ", ["whatsapp_0001"]),
        ("leadctl migrate new --revert ", ["shop_0002", "shop_0001"]),
        ("leadctl migrate resolve --accept-edit ", ["shop_0002", "shop_0001"]),
        ("leadctl inspect blo", ["bloat", "bloat-exact", "blocking"]),
        ("leadctl health-check --check mig", ["migrations"]),
        ("leadctl health-check -o ", ["table", "json", "nagios", "prometheus"]),
        ("leadctl cleanup --app leadconnector --rule arch", ["archived-leads"]),
        ("leadctl stats --app leadconnector leads-by-d", ["leads-by-day"]),
    ],
)
def test_what_a_project_has(line: str, offered: list[str], project: Path) -> None:
    assert completed(line, project) == offered


def test_backups(project: Path) -> None:
    backups = ["latest", "20260101T000000-000Z"]
    assert completed("leadctl backup show ", project, BACKUP_DIR="backups") == backups
    assert completed("leadctl restore l", project, BACKUP_DIR="backups") == ["latest"]
    assert completed("leadctl restore ", project, BACKUP_DIR="nowhere") == []


@pytest.mark.thorough
def test_tables(leadconnector: Prepared, tmp_path: Path) -> None:
    for line in ("studio page", "seed --export page", "schema show page", "restore --table page"):
        offered = completed(f"leadctl {line}", tmp_path, DATABASE_URL=leadconnector.url)
        assert offered == ["page_webhook_configs", "pages"], line


@pytest.mark.parametrize("env", ["production", "preview"])
def test_what_cannot_be_had_is_silence(env: str, project: Path) -> None:
    """No command is run for a URL, and nobody is told that a server is away."""
    assert completed(f"leadctl studio --env {env} ", project) == []
    assert not (project / "was-run").exists()


def test_a_broken_project_is_silence(tmp_path: Path) -> None:
    (tmp_path / "leadctl.toml").write_text("[apps.shop\n")
    assert completed("leadctl migrate up ", tmp_path) == []
    assert completed("leadctl studio ", tmp_path) == []


RULES = """
[[apps.shop.retention]]
name = "old-sessions"
table = "sessions"
age_column = "created_at"
older_than = "90d"
"""


@pytest.mark.parametrize(
    ("line", "some"),
    [
        ("leadctl inspect b", ["bloat", "bloat-exact", "blocking"]),
        ("leadctl inspect al", ["all"]),
        ("leadctl stats --app leadconnector c", ["counts"]),
        ("leadctl health-check --check lo", ["long-queries", "long-transactions"]),
        ("leadctl health-check --skip prepared", ["prepared-transactions"]),
        ("leadctl cleanup --rule o", ["old-sessions"]),
        ("leadctl cleanup --app leadconnector --rule arch", ["archived-leads"]),
    ],
)
def test_reports_checks_and_rules(line: str, some: list[str], project: Path) -> None:
    path = project / "leadctl.toml"
    text = path.read_text()
    path.write_text(text.replace("\n[env.production]", f"{RULES}\n[env.production]", 1))
    assert completed(line, project) == some


@pytest.mark.parametrize(
    ("line", "offered"),
    [
        ("leadctl studio pages --columns is_", ["is_active"]),
        ("leadctl studio pages --columns id,is_", ["id,is_active"]),
        ("leadctl studio pages --sort name,-is_", ["name,-is_active"]),
        ("leadctl studio pages --where is_", ["is_active="]),
        ("leadctl studio pages ID --follow us", ["user"]),
        ("leadctl studio nothing --columns ", []),
    ],
)
def test_columns_and_relations(
    line: str, offered: list[str], leadconnector: Prepared, tmp_path: Path
) -> None:
    assert completed(line, tmp_path, DATABASE_URL=leadconnector.url) == offered
