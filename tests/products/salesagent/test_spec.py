"""The keys, indexes and defaults of salesagent are its document's, and so are the seeded rows."""

import pytest

from leadctl.catalog.definitions import Catalog, read_catalog
from leadctl.models import verify_password
from leadctl.postgres.connect import connect
from tests.conftest import Cli, Prepared
from tests.products.salesagent.document import (
    LINKED,
    OF_AN_ORGANISATION,
    OTHER_INDEXES,
    OWNED,
    TABLES,
)


@pytest.fixture
def catalog(salesagent: Prepared) -> Catalog:
    with connect(salesagent.target(app="salesagent"), rows=True) as connection:
        return read_catalog(connection, "public")


def constraints(catalog: Catalog, kind: str) -> set[tuple[str, str]]:
    return {
        (name.partition(".")[0], definition)
        for name in catalog.names("constraint")
        if (definition := str(catalog.objects[f"constraint {name}"]["definition"])).startswith(kind)
    }


def test_there_are_no_other_defaults(catalog: Catalog) -> None:
    assert {
        name for name in catalog.names("column") if "default" in catalog.objects[f"column {name}"]
    } == {f"{name}.{column}" for name, spec in TABLES.items() for column in spec.defaults}


def test_foreign_keys(catalog: Catalog) -> None:
    expected = {
        (name, "(organisation_id) REFERENCES organisations(id) ON DELETE CASCADE")
        for name in OF_AN_ORGANISATION
    }
    for action, keys in (("CASCADE", OWNED), ("SET NULL ({column})", LINKED)):
        expected |= {
            (
                name,
                f"(organisation_id, {column}) REFERENCES {parent}(organisation_id, id)"
                f" ON DELETE {action.format(column=column)}",
            )
            for name, columns in keys.items()
            for column, parent in columns.items()
        }
    expected |= {
        ("audit_logs", "(organisation_id) REFERENCES organisations(id) ON DELETE SET NULL"),
        ("audit_logs", "(user_id) REFERENCES users(id) ON DELETE SET NULL"),
    }
    assert constraints(catalog, "FOREIGN KEY") == {(t, f"FOREIGN KEY {k}") for t, k in expected}


def test_unique_constraints_and_indexes(catalog: Catalog) -> None:
    assert constraints(catalog, "UNIQUE") == {
        (name, f"UNIQUE ({columns})") for name, spec in TABLES.items() for columns in spec.unique
    }
    found = [catalog.objects[f"index {name}"] for name in catalog.names("index")]
    assert sorted(
        (
            str(index["table"]),
            "UNIQUE " * ("UNIQUE" in str(index["definition"]))
            + str(index["definition"]).partition(" USING ")[2],
        )
        for index in found
    ) == sorted(
        [(name, f"btree ({columns})") for name, spec in TABLES.items() for columns in spec.indexes]
        + [(name, "btree (deleted_at) WHERE deleted_at IS NOT NULL") for name in TABLES]
        + list(OTHER_INDEXES)
    )


def test_seed_rows(salesagent: Prepared) -> None:
    ((organisation,),) = salesagent.query("SELECT id FROM organisations WHERE region = 'EU'")
    users = salesagent.query(
        "SELECT email, password_hash, role::text, organisation_id FROM users ORDER BY email"
    )
    assert [(email, role) for email, _, role, _ in users] == [
        ("admin@aisalesagent.com", "ADMIN"),
        ("demo@example.com", "MEMBER"),
    ]
    for (_, hashed, _, its_organisation), password in zip(
        users, ["Admin123!", "Demo123!"], strict=True
    ):
        assert its_organisation == organisation
        assert verify_password(password, hashed)
        assert int(hashed.split("$")[2]) >= 10
    counts = {name: salesagent.query(f"SELECT count(*) FROM {name}")[0][0] for name in TABLES}
    assert {name: rows for name, rows in counts.items() if rows} == {
        "organisations": 1,
        "users": 2,
        "subscriptions": 1,
        "icps": 1,
        "prospects": 3,
        "email_sequences": 2,
        "sequence_steps": 5,
        "ai_insights": 3,
    }
    assert salesagent.query(
        "SELECT p.score FROM ai_insights i JOIN prospects p ON p.id = i.prospect_id"
        " JOIN icps c ON c.id = p.icp_id ORDER BY 1 NULLS LAST"
    ) == [(64,), (85,), (None,)]
    templates = salesagent.query("SELECT subject_template, body_template FROM sequence_steps")
    assert all(subject and "{{first_name}}" in body for subject, body in templates)


@pytest.mark.thorough
def test_reset_and_health(salesagent: Prepared, cli: Cli) -> None:
    salesagent.query("INSERT INTO organisations (id, name, region) VALUES ('o', 'O', 'CA')")
    reset = cli("reset", "--yes", "--app", "salesagent", "-o", "json", url=salesagent.url)
    assert reset.code == 0, reset.err
    assert salesagent.query("SELECT count(*) FROM organisations") == [(1,)]
    health = cli("health-check", "--app", "salesagent", "-o", "json", url=salesagent.url)
    states = {check["status"] for check in health.json["checks"]}
    assert (health.code, states) == (0, {"ok", "skipped"})
