"""From table to table: labels of the rows that keys refer to, relation paths, and whose rights."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from tests.conftest import KEY, Cli, Prepared
from tests.servers import Server

TABLES = r"""
CREATE TABLE companies (id uuid PRIMARY KEY, api_token text, "name" text, plan text);
CREATE TABLE people (id int PRIMARY KEY, company_id uuid REFERENCES companies, email text,
    manager_id int REFERENCES people, password_hash text, data jsonb);
CREATE TABLE deals (id uuid PRIMARY KEY, owner_id int REFERENCES people,
    company_id uuid REFERENCES companies, title text, amount numeric, vault_id int, room text,
    seat int, "Odd %s ""x"".y" text);
CREATE TABLE vaults (id int PRIMARY KEY, access_token text, secret_title text, token text);
INSERT INTO vaults VALUES (1, 'open', 'sesame', 'sesame');
ALTER TABLE deals ADD FOREIGN KEY (vault_id) REFERENCES vaults;
CREATE TABLE seats (room text, number int, label text, PRIMARY KEY (room, number));
ALTER TABLE deals ADD FOREIGN KEY (room, seat) REFERENCES seats;
CREATE TABLE "Odd %s ""t"".s" ("Key %s" text PRIMARY KEY, "Full ""Name"" %s" text, "Name" text);
ALTER TABLE deals ADD FOREIGN KEY ("Odd %s ""x"".y") REFERENCES "Odd %s ""t"".s";
INSERT INTO companies VALUES
    ('c0000000-0000-4000-8000-00000000000a', 'hunter2', 'Solar; DROP', 'free'),
    ('c0000000-0000-4000-8000-00000000000b', 'hunter3', 'Wind', NULL),
    ('c0000000-0000-4000-8000-00000000000c', 'hunter4', NULL, 'free');
INSERT INTO people VALUES
    (1, 'c0000000-0000-4000-8000-00000000000a', 'ada@solar.example', NULL, 'h', '{"vip": true}'),
    (2, 'c0000000-0000-4000-8000-00000000000b', 'bo@wind.example', 1, 'h', NULL),
    (3, NULL, NULL, 2, 'h', '{"vip": false}');
INSERT INTO seats VALUES ('red', 1, 'Window'), ('red', 2, 'Aisle');
INSERT INTO "Odd %s ""t"".s" VALUES ('100%', 'quoted "full" %s', 'Percent 100%');
INSERT INTO deals VALUES
    ('d0000000-0000-4000-8000-000000000001', 1, 'c0000000-0000-4000-8000-00000000000a', 'Roof', 10,
     1, 'red', 1, '100%'),
    ('d0000000-0000-4000-8000-000000000002', 2, 'c0000000-0000-4000-8000-00000000000b', 'Mast', 20,
     NULL, 'red', 2, NULL),
    ('d0000000-0000-4000-8000-000000000003', 3, 'c0000000-0000-4000-8000-00000000000c', 'Both', 30,
     NULL, NULL, 2, NULL),
    ('d0000000-0000-4000-8000-000000000004', NULL, NULL, 'None', 40, NULL, NULL, NULL, NULL);
"""


@dataclass(frozen=True)
class Shop:
    """A database with relations of every kind."""

    server: Server
    name: str

    @property
    def url(self) -> str:
        return self.server.url(self.name)

    def ids(self, statement: str) -> list[str]:
        with self.server.connect(self.name) as connection:
            return sorted(str(row[0]) for row in connection.execute(statement.encode()))


@pytest.fixture(scope="module")
def shop(server: Server) -> Iterator[Shop]:
    name = server.create()
    with server.connect(name) as connection:
        connection.execute(TABLES.encode())
    yield Shop(server, name)
    server.drop(name)


def table(cli: Cli, shop: Shop, *arguments: str, width: str = "300") -> str:
    outcome = cli("studio", *arguments, url=shop.url, env={"COLUMNS": width})
    assert outcome.code == 0, outcome.err
    return outcome.out


def test_a_foreign_key_shows_what_its_row_is_called(shop: Shop, cli: Cli) -> None:
    out = table(cli, shop, "deals")
    assert "Solar; DROP (c000" in out
    assert "ada@solar.example (1)" in out
    assert "Window (1)" in out
    assert "Percent 100% (100%)" in out
    nameless = out.splitlines()[4]
    assert "Both" in nameless
    assert "(c000" not in nameless
    assert "Window" not in nameless
    manager = table(cli, shop, "people", "--columns", "id,manager_id")
    assert "ada@solar.example (1)" in manager


def test_no_label_is_a_secret(shop: Shop, cli: Cli) -> None:
    for more in ([], ["--reveal", "--confirm", shop.name]):
        out = table(cli, shop, "deals", *more) + table(
            cli, shop, "deals", "d0000000-0000-4000-8000-000000000001", *more
        )
        assert not re.search("hunter|sesame|open", out)


def test_an_encrypted_column_is_no_label(leadconnector: Prepared, cli: Cli) -> None:
    """Ciphertext is none either where no model says so, and nothing is decrypted for one."""
    cipher = leadconnector.query("SELECT access_token FROM users")[0][0]
    leadconnector.query("UPDATE users SET name = %s", cipher)
    for more in ([], ["--reveal"]):
        outcome = cli(
            "studio", "pages", "--columns", "user_id", *more, url=leadconnector.url,
            env={"COLUMNS": "200", "ENCRYPTION_KEY": KEY},
        )  # fmt: skip
        assert "lc1." not in outcome.out
        assert "test_access_token" not in outcome.out
        assert "(" not in outcome.out.splitlines()[2]


def test_ids_are_short_where_they_are_opaque(shop: Shop, cli: Cli) -> None:
    out = table(cli, shop, "deals", "--sort", "title")
    first = out.splitlines()[2].split()[0]
    assert first == "d0000000-0000-4000-8000-000000000003"  # nothing shorter tells them apart
    one = table(cli, shop, "deals", "--where", "title=Roof")
    assert one.splitlines()[2].split()[0] == "d0000000…"
    for line in (["--wide"], ["-o", "csv"], ["-o", "json"], ["-o", "jsonl"]):
        whole = table(cli, shop, "deals", "--where", "title=Roof", *line)
        assert "d0000000-0000-4000-8000-000000000001" in whole
        assert "…" not in whole
    assert "Window (1)" in table(cli, shop, "deals", "--wide")
    assert "Window" not in table(cli, shop, "deals", "-o", "json")


@pytest.mark.parametrize(
    ("ids", "shown"),
    [
        (["cm3x9k2v80000qzrmn831i7rn", "cm3x9k2v80001qzrmn831i7rn"], "cm3x9k2v80000…"),
        (["01HZX3V9Q8J5K7M2N4P6R8T0VW"], "01HZX3V9…"),
        (["cus_9s6XKzkNRiz8i3Ab12cdE"], "cus_9s6XKzkN…"),
        (["V1StGXR8_Z5jdHi6B-myT"], "V1StGXR8…"),
        (["65f1c0ffee65f1c0ffee65f1"], "65f1c0ff…"),
        (["my-long-page-about-nothing-in-2026"], "my-long-page-about-nothing-in-2026"),
        (["invoice_2026_11_28_customer_7"], "invoice_2026_11_28_customer_7"),
        (["internationalisation"], "internationalisation"),
        (["1234567890123456789012"], "1234567890123456789012"),
    ],
)
def test_a_short_id_leads_to_its_row(
    ids: list[str], shown: str, server: Server, database: str, cli: Cli
) -> None:
    """What is shortened tells rows apart, and is found again; what people read is whole."""
    with server.connect(database) as connection:
        connection.execute("CREATE TABLE t (id text PRIMARY KEY, n int)")
        for number, each in enumerate(ids):
            connection.execute("INSERT INTO t VALUES (%s, %s)", (each, number))
    url = server.url(database)
    out = cli("studio", "t", url=url, env={"COLUMNS": "80"}).out
    assert out.splitlines()[2].split()[0] == shown
    found = cli("studio", "t", shown, url=url)
    assert (found.code, found.out.splitlines()[0]) == (0, f"t {ids[0]}"), found.err


def test_the_beginning_of_an_id_finds_its_row(shop: Shop, cli: Cli) -> None:
    def outcome(*arguments: str) -> Any:
        return cli("studio", *arguments, url=shop.url)

    assert "Solar" in outcome("companies", "c0000000-0000-4000-8000-00000000000A").out
    many = outcome("companies", "c0000000")
    assert many.code == 2
    assert "c0000000-0000-4000-8000-00000000000b" in many.err
    assert outcome("companies", "c1000000").code != 0
    assert outcome("companies", "c0' OR true --").code == 2
    assert outcome("companies", "c00%").code == 2
    assert outcome("seats", "re,1").code == 1
    assert outcome("people", "1").code == 0


PATHS = [
    ("company.name~solar", "company_id IN (SELECT id FROM companies WHERE name ILIKE '%solar%')"),
    ("company.name=Wind", "company_id IN (SELECT id FROM companies WHERE name = 'Wind')"),
    (
        "company.name!=Wind",
        "company_id IS NULL OR company_id IN (SELECT id FROM companies WHERE name <> 'Wind' OR name IS NULL)",
    ),
    (
        "company.plan is null",
        "company_id IS NULL OR company_id IN (SELECT id FROM companies WHERE plan IS NULL)",
    ),
    (
        "company.plan is not null",
        "company_id IN (SELECT id FROM companies WHERE plan IS NOT NULL)",
    ),
    ("company is null", "company_id IS NULL"),
    ("company is not null", "company_id IS NOT NULL"),
    ("owner.id>=2", "owner_id >= 2"),
    ("owner.id in 1,3", "owner_id IN (1, 3)"),
    ("owner.manager.email~ada", "owner_id = 2"),
    ("owner.manager.manager.company.name~solar", "owner_id = 3"),
    ("owner.data.vip=true", "owner_id = 1"),
    ("owner.data.vip is not null", "owner_id IN (1, 3)"),
    ("owner_id.email~bo@", "owner_id = 2"),
    ("seats.label=Aisle", "title = 'Mast'"),
    ("OWNER.EMAIL~BO@", "owner_id = 2"),
    ('"Odd %s ""x"".y"."Full ""Name"" %s"~%s', "title = 'Roof'"),
]


@pytest.mark.parametrize(("condition", "meaning"), PATHS)
def test_a_condition_along_relations(condition: str, meaning: str, shop: Shop, cli: Cli) -> None:
    out = table(cli, shop, "deals", "--where", condition, "--columns", "id", "-o", "csv")
    assert out.splitlines()[1:] == shop.ids(f"SELECT id FROM deals WHERE {meaning}")


@pytest.mark.parametrize(
    ("condition", "meaning"),
    [
        ("people.email~@", "id IN (SELECT company_id FROM people WHERE email LIKE '%@%')"),
        (
            "people.email!~ada",
            "NOT EXISTS (SELECT FROM people WHERE company_id = c.id AND email ILIKE '%ada%')",
        ),
        ("people is null", "NOT EXISTS (SELECT FROM people WHERE company_id = c.id)"),
        ("people.manager.email~ada", "name = 'Wind'"),
        ("deals.owner.company is null", "name IS NULL"),
        ("deals.amount>15", "EXISTS (SELECT FROM deals WHERE company_id = c.id AND amount > 15)"),
    ],
)
def test_a_condition_on_rows_that_refer(condition: str, meaning: str, shop: Shop, cli: Cli) -> None:
    out = table(cli, shop, "companies", "--where", condition, "--columns", "id", "-o", "csv")
    assert out.splitlines()[1:] == shop.ids(f"SELECT id FROM companies c WHERE {meaning}")


@pytest.mark.parametrize(
    ("condition", "said"),
    [
        ("company=Wind", "company.name~Wind"),
        ("company.nothing=1", "companies has no column 'nothing'"),
        ("company.api_token~hunter", "api_token is masked"),
        ("owner.password_hash=h", "password_hash is masked"),
        ("owner.company.id=x", "is not a value for id"),
        ("nobody.name=x", "deals has no column 'nobody'"),
        ("title.name=x", "only JSON columns and relations have parts"),
        ("owner" + ".manager" * 9 + ".email=x", "more than 8 tables"),
    ],
)
def test_a_path_that_leads_nowhere(condition: str, said: str, shop: Shop, cli: Cli) -> None:
    outcome = cli("studio", "deals", "--where", condition, url=shop.url)
    assert outcome.code == 2
    assert said in outcome.err


def test_what_a_path_begins_with_is_shown(shop: Shop, cli: Cli) -> None:
    out = table(cli, shop, "deals", "--where", "company.name~solar", width="40")
    assert out.split()[:2] == ["id", "company_id"]


@pytest.mark.parametrize(
    ("row", "path", "found"),
    [
        (("deals", "d0000000-0000-4000-8000-000000000001"), "company", "companies c0000000-"),
        (("deals", "d0000000-0000-4000-8000-000000000001"), "owner.company", "companies c0000000-"),
        (("deals", "d0000000-0000-4000-8000-000000000003"), "owner.manager.manager", "people 1"),
        (("people", "2"), "manager.company.deals", "Roof"),
        (("companies", "c0000000-0000-4000-8000-00000000000b"), "people.deals", "Mast"),
        (("companies", "c0000000-0000-4000-8000-00000000000a"), "people.people.deals", "Mast"),
        (("companies", "c0000000-0000-4000-8000-00000000000b"), "deals.owner.manager", "ada@"),
    ],
)
def test_relations_are_followed(
    row: tuple[str, str], path: str, found: str, shop: Shop, cli: Cli
) -> None:
    assert found in table(cli, shop, *row, "--follow", path)
    for output in ("json", "csv"):
        assert cli("studio", *row, "--follow", path, "-o", output, url=shop.url).code == 0


def test_a_relation_that_leads_nowhere_is_named(shop: Shop, cli: Cli) -> None:
    four = ("deals", "d0000000-0000-4000-8000-000000000004")
    outcome = cli("studio", *four, "--follow", "owner.company", url=shop.url)
    assert (outcome.code, "deals refers to no owner" in outcome.err) == (1, True)
    outcome = cli("studio", "people", "2", "--follow", "manager.nobody", url=shop.url)
    assert (outcome.code, "people has no relation 'nobody'" in outcome.err) == (2, True)


def statements(cli: Cli, url: str, *arguments: str) -> list[str]:
    return [
        line for line in cli("studio", *arguments, "-vv", url=url).err.splitlines()
        if line.startswith("SQL ")
    ]  # fmt: skip


def test_labels_cost_one_statement_a_page(server: Server, database: str, cli: Cli) -> None:
    with server.connect(database) as connection:
        connection.execute(TABLES.encode())
        connection.execute(
            "INSERT INTO deals SELECT gen_random_uuid(), 1 + i % 3, c.id, 't' || i, i"
            " FROM generate_series(1, 100) AS i, companies AS c"
        )
    url = server.url(database)
    few = statements(cli, url, "deals", "--limit", "1")
    many = statements(cli, url, "deals", "--limit", "300")
    assert len(many) == len(few)
    assert sum("ROWS FROM" in each for each in many) == 1
    assert all("Solar" not in each for each in many)


OWNED = """
CREATE ROLE {role};
GRANT ALL ON SCHEMA public TO {role};
SET ROLE {role};
CREATE FUNCTION trap(int) RETURNS boolean LANGUAGE plpgsql IMMUTABLE AS $$
BEGIN
    IF current_setting('is_superuser') = 'on' THEN RAISE EXCEPTION 'as superuser'; END IF;
    RETURN true;
END $$;
CREATE TABLE parents (id int PRIMARY KEY, name text);
CREATE TABLE children (id int PRIMARY KEY, parent_id int REFERENCES parents);
INSERT INTO parents VALUES (1, 'Ada');
INSERT INTO children VALUES (1, 1);
RESET ROLE;
CREATE TABLE own (id int PRIMARY KEY, parent_id int REFERENCES parents, name text);
GRANT SELECT, REFERENCES ON own TO {role};
INSERT INTO own VALUES (1, 1, 'x');
SET ROLE {role};
CREATE INDEX ON parents (name) WHERE trap(1);
CREATE INDEX ON children (parent_id) WHERE trap(2);
"""


@pytest.mark.parametrize(
    "line",
    [
        ("children",),
        ("children", "1"),
        ("parents", "1"),
        ("own",),
        ("own", "1"),
        ("own", "1", "--follow", "parent.children"),
        ("parents", "1", "--follow", "children.parent"),
        ("children", "--where", "parent.name~ada"),
        ("parents", "--where", "children.id=1"),
        ("own", "--where", "parent.name~ada", "--count"),
    ],
)
def test_another_table_is_read_with_its_owners_rights(
    line: tuple[str, ...], server: Server, database: str, cli: Cli
) -> None:
    """To plan a statement the server runs functions of an index: not as whoever looks."""
    role = f"r_{database}"
    with server.connect(database) as connection:
        connection.execute(OWNED.format(role=role).encode())
    try:
        outcome = cli("studio", *line, url=server.url(database))
        assert outcome.code == 0, outcome.err
        assert "1" in outcome.out
    finally:
        with server.connect(database) as connection:
            connection.execute(f"DROP OWNED BY {role} CASCADE; DROP ROLE {role}".encode())


def test_a_label_that_may_not_be_read_is_left_out(shop: Shop, cli: Cli, server: Server) -> None:
    role = f"l_{shop.name}"
    with server.connect(shop.name) as connection:
        connection.execute(
            f"CREATE ROLE {role} LOGIN PASSWORD 'x'; GRANT USAGE ON SCHEMA public TO {role};"
            f" GRANT SELECT ON deals, people TO {role}".encode()
        )
    try:
        at = shop.url.partition("@")[2]
        url = f"postgresql://{role}:x@{at}"
        with server.connect(shop.name) as blocker, blocker.transaction():
            blocker.execute("LOCK TABLE seats")
            out = cli("studio", "deals", url=url, env={"COLUMNS": "300"})
            assert out.code == 0, out.err
            assert "ada@solar.example (1)" in out.out
            assert "Solar" not in out.out
            assert cli("studio", "deals", "d0000000-0000-4000-8000-000000000001", url=url).code == 0
    finally:
        with server.connect(shop.name) as connection:
            connection.execute(f"DROP OWNED BY {role} CASCADE; DROP ROLE {role}".encode())
