"""What each command prints, to the letter, per format and width.

UPDATE_GOLDEN=1 writes the files anew; read the difference before it is committed.
"""

import os
import re
from pathlib import Path

import pytest

from tests.conftest import Cli, Prepared

EXPECTED = Path(__file__).parent / "expected"

COMMANDS = {
    "migrate_nothing": ["migrate"],
    "migrate_status": ["migrate", "status"],
    "migrate_history": ["migrate", "history"],
    "seed": ["seed"],
    "seed_bulk": ["seed", "--bulk", "50", "--span", "2025-01-01..2025-12-31"],
    "reset": ["reset", "--yes"],
    "stats": ["stats"],
    "stats_counts": ["stats", "counts"],
    "stats_leads": ["stats", "leads", "--user", "test@example.com"],
    "health": ["health-check"],
    "health_list": ["health-check", "--list"],
    "inspect": ["inspect"],
    "inspect_covered_indexes": ["inspect", "covered-indexes"],
    "history": ["history"],
    "cleanup": ["cleanup"],
    "cleanup_list": ["cleanup", "--list"],
    "cleanup_dry_run": ["cleanup", "--dry-run", "--rule", "archived-leads"],
    "environment": ["db", "environment"],
    "config": ["config"],
    "error": ["stats", "nothing"],
    "help": ["--help"],
    "help_migrate": ["migrate", "--help"],
    "help_reset": ["reset", "--help"],
    "help_backup": ["backup", "--help"],
    "help_restore": ["restore", "--help"],
    "backup_list": ["backup", "list"],
    "help_cleanup": ["cleanup", "--help"],
}

VARIANTS = {
    "table": ([], {"COLUMNS": ""}),
    "table_60": ([], {"COLUMNS": "60"}),
    "json": (["-o", "json"], {"COLUMNS": ""}),
}

VOLATILE = [
    (r"\x1b\[[0-9;]*m", ""),
    (r"t_[0-9a-f]{12}", "DATABASE"),
    (r"127\.0\.0\.1:\d+", "HOST:PORT"),
    (r"PostgreSQL \d+[.\d]*", "PostgreSQL VERSION"),
    (r'"(server_version|value)": "\d+\.\d+[^"]*"', r'"\1": "VERSION"'),
    (r"\d{4}-\d\d-\d\dT[\d:.]+Z", "TIME"),
    (r'"day": "\d{4}-\d\d-\d\d"', '"day": "DAY"'),
    (r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\dZ", "TIME"),
    (r'"seconds": [\d.]+', '"seconds": N'),
    (r"\b\d+ (s|min) ago", "AGE"),
    (r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}", "UUID"),
    (r"[0-9a-f]{64}", "SHA256"),
    (r"[\w.-]+@[\w.-]+ pid\s+\d+", "WHO"),
    (r"\b[\d,.]+ ms\b", "N ms"),
    (r"\b\d+\.\d s\b", "N s"),
    (r"\b\d+(\.\d)? [kM]B\b", "SIZE"),
    (
        r'"(\w*bytes|duration_ms|latency_ms|connections|cache_hit|dead_rows|id|seconds'
        r'|rows_per_second)": [\d.]+',
        r'"\1": N',
    ),
    (r"[\d.]+ million in \w+", "N million in DATABASE"),
    (r'("name": "(?:latency|connections|\w+-age)",\s+"status": "ok",\s+"value": )[\d.]+', r"\1N"),
    (r"[\d,]+ a second", "N a second"),
    (r"(?m)(?<=\d  )\s*\d\.\d$", "N"),
    (r"\d+ of \d+", "N of N"),
    (r"\d+\.\d%", "N%"),
    (r"/\S*/test_\S+?(?=[\"\s])", "FOLDER"),
    (r" {2,}", "  "),
    (r"─+", "─"),
]


def stable(text: str) -> str:
    for pattern, replacement in VOLATILE:
        text = re.sub(pattern, replacement, text)
    return text


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("command", COMMANDS)
def test_output(
    leadconnector: Prepared,
    cli: Cli,
    command: str,
    variant: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if command.startswith("help") and variant != "table":
        return  # the test runner gives help its own width
    monkeypatch.setattr("leadctl.text.ago", lambda _: "1 s ago")  # its length moves columns
    monkeypatch.setattr("leadctl.settings.load.Path.cwd", lambda: Path("/project"))
    flags, env = VARIANTS[variant]
    outcome = cli(*COMMANDS[command], *flags, url=leadconnector.url, env=env)
    shown = stable(f"{outcome.out}--- exit {int(outcome.code)}\n{outcome.err}")
    if variant == "table_60":
        assert max(map(len, outcome.out.splitlines() or [""])) <= 60
    file = EXPECTED / f"{command}.{variant}.txt"
    if os.environ.get("UPDATE_GOLDEN"):
        file.write_text(shown)
    assert shown == file.read_text()
