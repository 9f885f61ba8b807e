"""What a command costs on one of many schemas: the catalog is read by the schema's own objects."""

import pytest

from leadctl.backup.snapshot import exported
from leadctl.postgres.connect import connect
from leadctl.postgres.target import Target
from leadctl.settings.url import parse_url
from tests.conftest import Cli, Prepared

_SCHEMAS = 2000
_CATALOGS = ["pg_attribute", "pg_depend", "pg_attrdef", "pg_trigger", "pg_type"]
_COMMANDS = (
    "health-check", "stats", "inspect all", "migrate lint", "migrate drift", "migrate check",
    "migrate --plan", "cleanup --dry-run",
)  # fmt: skip


def _scanned(place: Prepared) -> dict[str, int]:
    """Return how many rows were read of each catalog other than by an index, by all sessions."""
    return dict(
        place.query(
            "SELECT relname, seq_tup_read FROM pg_stat_sys_tables WHERE relname = ANY (%s)",
            _CATALOGS,
        )
    )


@pytest.mark.thorough
def test_other_schemas_are_not_read(leadconnector: Prepared, cli: Cli) -> None:
    place = leadconnector
    for start in range(0, _SCHEMAS, 100):  # a transaction of all would need more locks
        place.query(
            f"""DO $$ BEGIN FOR i IN {start} .. {start + 99} LOOP
                EXECUTE format('CREATE SCHEMA t_%1$s', i);
                EXECUTE format('CREATE TABLE t_%1$s.a (id serial PRIMARY KEY, b int)', i);
                EXECUTE format('CREATE TABLE t_%1$s.b (a int REFERENCES t_%1$s.a)', i);
            END LOOP; END $$"""
        )
    place.query("VACUUM ANALYZE")
    assert cli("migrate", "down", "--yes", url=place.url).code == 0
    whole = {name: place.query(f"SELECT count(*) FROM {name}")[0][0] for name in _CATALOGS}
    found = {}
    for command in _COMMANDS:
        before = _scanned(place)
        cli(*command.split(), url=place.url)
        after = _scanned(place)
        read = {name: after[name] - before[name] for name in _CATALOGS}
        found[command] = {name: n for name, n in read.items() if n >= whole[name]}
    assert not {command: read for command, read in found.items() if read}
    # What pg_dump asks of materialized views is not one loop in another.
    target = Target(parse_url(place.url), schema="t_7", source="--url", connect_timeout=10)
    with exported(target, 60, "t_7", print) as snapshot:
        dumped = snapshot.dumped_by(target)
    with connect(dumped) as connection:
        assert connection.execute("SHOW enable_mergejoin").fetchone() == ("off",)
    assert cli("backup", "--tenant", "t_7", url=place.url).code == 0
