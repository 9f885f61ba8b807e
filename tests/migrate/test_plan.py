"""What `migrate` says before it acts, and where it refuses."""

import json
import re
import shutil
import subprocess
from pathlib import Path
from urllib.parse import unquote

import pytest

from leadctl.migrate.transaction_rules import control_of_transactions
from tests.conftest import Cli
from tests.history import Project
from tests.servers import Server

BIG = "INSERT INTO big SELECT n, repeat('x', 80) FROM generate_series(1, 120000) n"


@pytest.fixture
def applied(project: Project, server: Server, database: str, cli: Cli) -> str:
    """The URL of a database at a first revision, with a big table and a small one."""
    project.revision(
        "CREATE TABLE big (id int PRIMARY KEY, a text)",
        "CREATE TABLE small (id int PRIMARY KEY, a varchar(20), b int)",
    )
    url = server.url(database)
    assert cli("migrate", url=url).code == 0
    with server.connect(database) as connection:
        connection.execute(BIG)
        connection.execute(
            "INSERT INTO small SELECT n, n, nullif(n, 1) FROM generate_series(1, 9) n"
        )
        connection.execute("ANALYZE")
    return url


def planned(cli: Cli, url: str, *arguments: str) -> dict:
    outcome = cli("migrate", "--plan", "-o", "json", *arguments, url=url)
    assert outcome.code in {0, 1}, outcome.err
    assert outcome.code == any(
        finding["allowed"] is None
        for revision in outcome.json["revisions"]
        for finding in revision["findings"]
    )
    return outcome.json["revisions"]


def rules(revision: dict) -> list[tuple[int | None, str]]:
    return [(finding["statement"], finding["rule"]) for finding in revision["findings"]]


def test_a_plan_changes_nothing(project: Project, applied: str, cli: Cli) -> None:
    project.revision("CREATE TABLE later (id int)")
    (revision,) = planned(cli, applied)
    assert revision["statements"][0]["sql"] == "CREATE TABLE later (id int)"
    assert cli("migrate", "status", url=applied).code == 1
    assert "own_0002" in cli("migrate", "--plan", url=applied).out
    assert cli("migrate", url=applied).code == 0
    assert cli("migrate", "--plan", url=applied).out.startswith("Nothing to do")


def test_locks_sizes_and_what_it_costs(project: Project, applied: str, cli: Cli) -> None:
    project.revision(
        "CREATE INDEX big_a ON big (a)",
        "ALTER TABLE big ALTER a TYPE varchar(100)",
        "UPDATE big SET a = 'y'",
        "ALTER TABLE small ALTER a TYPE varchar(40)",
        "CREATE INDEX small_a ON small (a)",
    )
    (revision,) = planned(cli, applied)
    first = revision["statements"][0]["effects"][0]
    assert (first["table"], first["lock"], first["blocks"]) == ("big", "SHARE", "writes")
    assert first["scans"]
    assert first["rows"] == 120_000
    assert first["bytes"] > 12_000_000
    widened = revision["statements"][3]["effects"][0]
    assert (widened["rewrites"], widened["scans"]) == (False, False)
    assert rules(revision) == [
        (1, "blocking-scan"),
        (2, "blocking-rewrite"),
        (3, "overwrites-values"),
        (3, "unbatched-write"),
    ]


def test_what_is_lost_is_counted(project: Project, applied: str, cli: Cli) -> None:
    project.revision(
        "ALTER TABLE small DROP COLUMN b",
        "DELETE FROM small WHERE id > 3",
        "DROP TABLE big",
        "CREATE TABLE fresh (id int)",
        "DROP TABLE fresh",
    )
    (revision,) = planned(cli, applied)
    losses = [
        statement["effects"][0]["loss"]
        for statement in revision["statements"]
        if statement["effects"]
    ]
    assert losses == [
        {"what": "column b", "rows": 8, "exact": True},
        {"what": "rows", "rows": None, "exact": False},
        {"what": "table", "rows": 120_000, "exact": True},
        None,
    ]
    assert [rule for _, rule in rules(revision)] == ["loses-data"] * 3


def test_a_table_renamed_or_made_by_the_plan(project: Project, applied: str, cli: Cli) -> None:
    project.revision("ALTER TABLE big RENAME TO huge", "CREATE TABLE fresh (id int)")
    project.revision("CREATE INDEX huge_a ON huge (a)", "CREATE INDEX fresh_id ON fresh (id)")
    _, second = planned(cli, applied)
    assert second["statements"][0]["effects"][0]["rows"] == 120_000
    assert second["statements"][1]["effects"][0]["is_new"]
    assert rules(second) == [(1, "blocking-scan")]


def test_who_is_in_the_way(
    project: Project, applied: str, server: Server, database: str, cli: Cli
) -> None:
    project.revision("ALTER TABLE small ADD c int", "CREATE TABLE x (id int REFERENCES small)")
    with server.connect(database) as other, other.transaction():
        other.execute("SET application_name = 'a report'")
        other.execute("SELECT FROM small")
        (revision,) = planned(cli, applied)
        waits = [statement["effects"][0]["waits_for"] for statement in revision["statements"]]
        assert "a report" in waits[0][0]
        assert "ACCESS SHARE" in waits[0][0]
        assert waits[1] == []  # SHARE ROW EXCLUSIVE lets readers be
        assert "Blocked now by: small: a report" in cli("migrate", "--plan", url=applied).out


def test_what_a_serializable_session_has_read_blocks_nobody(
    project: Project, applied: str, server: Server, database: str, cli: Cli
) -> None:
    project.revision("ALTER TABLE small ADD c int")
    with server.connect(database) as other, other.transaction():
        other.execute("SET TRANSACTION ISOLATION LEVEL SERIALIZABLE")
        other.execute("SELECT FROM small")
        ((reads,),) = other.execute(
            "SELECT count(*) FROM pg_locks WHERE mode = 'SIReadLock'"
        ).fetchall()
        assert reads
        (revision,) = planned(cli, applied)
    (waits,) = revision["statements"][0]["effects"][0]["waits_for"]
    assert "ACCESS SHARE" in waits


@pytest.mark.thorough
def test_what_reads_the_database_cannot_be_planned(
    project: Project, applied: str, cli: Cli
) -> None:
    project.revision(
        code="    rows = op.get_bind().execute(sa.text('SELECT 1')).fetchall()",
        head="import sqlalchemy as sa",
    )
    project.revision("DO $$ BEGIN DROP TABLE small; END $$")
    first, second = planned(cli, applied)
    assert "cannot be rendered as SQL offline" in first["cannot_be_planned"]
    assert rules(first) == [(None, "unplannable")]
    assert rules(second) == [(1, "loses-data")]
    assert "It cannot be planned." in cli("migrate", "--plan", url=applied).out
    assert cli("migrate", "--sql", url=applied).code == 1
    assert cli("migrate", url=applied).code == 0  # nothing protects it


def test_a_database_that_does_not_exist_is_empty(
    project: Project, server: Server, database: str, cli: Cli
) -> None:
    project.revision("CREATE TABLE t (id int)")
    project.revision("CREATE INDEX t_id ON t (id)")
    revisions = planned(cli, server.url(f"{database}_missing"))
    assert [revision["findings"] for revision in revisions] == [[], []]


@pytest.mark.thorough
def test_a_protected_database_wants_a_clean_plan(
    project: Project, applied: str, database: str, cli: Cli
) -> None:
    assert cli("db", "environment", "production", "--protect", url=applied).code == 0
    project.revision("CREATE TABLE harmless (id int)")
    assert cli("migrate", url=applied).code == 0
    project.revision("DROP TABLE big")
    refused = cli("migrate", url=applied)
    assert refused.code == 5
    assert "loses the table big with 120,000 rows" in refused.err
    assert f"--confirm {database}" in refused.err
    assert cli("migrate", "--allow", "blocking-scan", url=applied).code == 5
    assert cli("migrate", "--confirm", "another", url=applied).code == 5
    assert cli("migrate", "status", url=applied).code == 1
    assert cli("migrate", "--allow", "loses-data", url=applied).code == 0
    project.revision("DROP TABLE small")
    assert cli("migrate", "--confirm", database, url=applied).code == 0


@pytest.mark.thorough
def test_a_comment_with_a_reason_silences_a_rule(project: Project, applied: str, cli: Cli) -> None:
    assert cli("db", "environment", "production", "--protect", url=applied).code == 0
    path = project.revision("DROP TABLE big", head="# leadctl: allow loses-data")
    assert cli("migrate", url=applied).code == 5
    path.write_text(path.read_text().replace("allow loses-data", "allow loses-data it moved away"))
    (revision,) = planned(cli, applied)
    assert revision["findings"][0]["allowed"] == "it moved away"
    assert cli("migrate", "lint", url=applied).code == 0
    assert cli("migrate", url=applied).code == 0


def test_a_mix_is_refused_before_anything_is_done(project: Project, applied: str, cli: Cli) -> None:
    project.revision(
        code="    op.execute('CREATE TABLE t (id int)')\n"
        "    with op.get_context().autocommit_block():\n"
        "        op.execute('CREATE INDEX CONCURRENTLY t_id ON t (id)')"
    )
    refused = cli("migrate", url=applied)
    assert refused.code == 1
    assert "own_0002" in refused.err
    assert "revision for each part" in refused.err
    assert cli("migrate", "--allow", "mixed-transaction", url=applied).code == 0


def test_lint_without_a_database(project: Project, cli: Cli) -> None:
    project.revision("CREATE TABLE t (id int)", "CREATE INDEX t_id ON t (id)")
    project.revision("CREATE INDEX t_id2 ON t (id)", "ALTER TABLE t ADD x int NOT NULL")
    outcome = cli("migrate", "lint", "-o", "json")
    assert outcome.code == 1
    first, second = outcome.json["revisions"]
    assert first["findings"] == []
    assert {finding["rule"] for finding in second["findings"]} >= {"blocking-scan"}
    if outcome.json["squawk"]:
        assert {finding["rule"] for finding in second["findings"]} >= {"adding-required-field"}
    only = cli("migrate", "lint", "own_0001", "-o", "json")
    assert (only.code, len(only.json["revisions"])) == (0, 1)
    assert cli("migrate", "lint", "nothing").code == 1
    assert "CREATE INDEX CONCURRENTLY" in cli("migrate", "lint").out


def test_lint_knows_the_tables(project: Project, applied: str, cli: Cli) -> None:
    project.revision("CREATE INDEX small_a ON small (a)")
    assert cli("migrate", "lint", url=applied).code == 0
    project.revision("CREATE INDEX big_a ON big (a)")
    assert cli("migrate", "lint", url=applied).code == 1
    assert cli("migrate", "lint", "--allow", "blocking-scan", url=applied).code == 0
    unreachable = cli("migrate", "lint", url="postgresql://nobody@127.0.0.1:1/none")
    assert unreachable.code == 1
    assert "all tables are large" in unreachable.err


def test_the_sql_applied_by_psql_is_the_same(
    project: Project, applied: str, server: Server, database: str, cli: Cli
) -> None:
    project.revision("CREATE TABLE \"odd'name\" (a text DEFAULT '50% of ''it''')")
    project.revision("CREATE INDEX CONCURRENTLY big_a ON big (a)", concurrently=True)
    script = cli("migrate", "--sql", url=applied).out
    psql = shutil.which("psql")
    if psql is None:
        pytest.skip("there is no psql")
    subprocess.run([psql, "-q", "-X", applied], input=script, text=True, check=True)
    assert cli("migrate", "status", url=applied).code == 0
    assert cli("migrate", "--sql", url=applied).out == "-- Nothing is pending.\n"
    document = json.loads(cli("migrate", "--sql", "-o", "json", url=applied).out)
    assert document["revisions"] == []
    with server.connect(database) as connection:
        (default,) = connection.execute(
            "SELECT column_default FROM information_schema.columns WHERE table_name = 'odd''name'"
        ).fetchone()
    assert default == "'50% of ''it'''::text"


def test_a_table_that_was_never_analysed_has_a_guess(
    project: Project, applied: str, server: Server, database: str, cli: Cli
) -> None:
    project.revision("ALTER TABLE unknown ADD b int")
    with server.connect(database) as connection:
        connection.execute("CREATE TABLE unknown (id int) WITH (autovacuum_enabled = off)")
        connection.execute("INSERT INTO unknown SELECT generate_series(1, 10000)")
    (revision,) = planned(cli, applied)
    assert 5_000 < revision["statements"][0]["effects"][0]["rows"] < 20_000


FOUND = {
    "concurrently-in-transaction": ["CREATE INDEX CONCURRENTLY x ON small (b)"],
    "work-under-lock": [
        "ALTER TABLE big ADD CONSTRAINT c CHECK (id > 0) NOT VALID",
        "ALTER TABLE big VALIDATE CONSTRAINT c",
    ],
    "enum-value-used": ["ALTER TYPE mood ADD VALUE 'new'", "INSERT INTO moods VALUES ('new')"],
    "row-security-without-policy": ["ALTER TABLE small ENABLE ROW LEVEL SECURITY"],
    "unbatched-write": ["CREATE TABLE copied AS SELECT * FROM big"],
    "transaction-control": ["COMMIT", "CREATE TABLE x (id int)"],
}
PASSED = {
    "a lock of a small table": ["ALTER TABLE small ADD x int", "SELECT count(*) FROM big"],
    "a value that nobody uses": ["ALTER TYPE mood ADD VALUE 'new'"],
    "a value of a type that is new": [
        "CREATE TYPE own AS ENUM ('a')",
        "ALTER TYPE own ADD VALUE 'b'",
        "CREATE TABLE o (m own DEFAULT 'b')",
    ],
    "with its policy": [
        "CREATE POLICY p ON small USING (true)",
        "ALTER TABLE small ENABLE ROW LEVEL SECURITY",
    ],
    "with a policy from before": ["ALTER TABLE moods ENABLE ROW LEVEL SECURITY"],
    "END of a function, and names that are words of transactions": [
        "CREATE FUNCTION f() RETURNS int LANGUAGE plpgsql AS "
        "$$ BEGIN PERFORM 1; COMMIT; RETURN 1; END; $$",
        'ALTER TABLE small ADD "end" date',
        "COMMENT ON TABLE small IS 'begin'",
    ],
    "savepoints": ["SAVEPOINT s", "CREATE TABLE x (id int)", "ROLLBACK TO s"],
    "validated alone": ["ALTER TABLE big VALIDATE CONSTRAINT later"],
    "what is new": ["CREATE TABLE x (id int)", "ALTER TABLE x ENABLE ROW LEVEL SECURITY"],
}


@pytest.mark.parametrize(
    ("call", "controls"),
    [
        ('op.execute("COMMIT AND NO CHAIN")', True),
        ('TEXT = "CREATE TABLE a (id int); commit;"', True),
        ("op.get_bind().rollback()", True),
        (
            'op.execute("CREATE TRIGGER t BEFORE UPDATE ON q BEGIN SELECT RAISE(ABORT); END;")',
            False,
        ),
        ('sa.Column("end", sa.Date, comment="commit")', False),
        ("session.commit()", False),
        ("op.execute(\"COMMIT PREPARED 'x'\")", False),
    ],
)
def test_who_controls_transactions(call: str, controls: bool) -> None:
    """Also where nothing can be rendered: the text of the file tells."""
    assert bool(list(control_of_transactions(f"def upgrade():\n    {call}\n"))) is controls


def test_a_file_that_python_cannot_read_is_a_finding(
    project: Project, applied: str, cli: Cli
) -> None:
    project.revision(code='    op.execute("SELECT 1"')
    (revision,) = planned(cli, applied)
    assert "was never closed" in revision["cannot_be_planned"]
    assert rules(revision) == [(None, "unplannable")]


@pytest.fixture
def with_moods(applied: str, server: Server, database: str) -> str:
    with server.connect(database) as connection:
        connection.execute(
            "CREATE TYPE mood AS ENUM ('sad'); CREATE TABLE moods (m mood);"
            "CREATE POLICY p ON moods USING (true);"
            "ALTER TABLE big ADD CONSTRAINT later CHECK (id < 10000000) NOT VALID"
        )
    return applied


@pytest.mark.few(2)
@pytest.mark.parametrize("rule", FOUND)
def test_what_statements_do_to_each_other(
    project: Project, with_moods: str, cli: Cli, rule: str
) -> None:
    project.revision(*FOUND[rule])
    (revision,) = planned(cli, with_moods)
    assert rule in [found for _, found in rules(revision)]


@pytest.mark.few(2)
@pytest.mark.parametrize("case", PASSED)
def test_what_is_safe_passes(
    project: Project, with_moods: str, cli: Cli, case: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("leadctl.migrate.lint.find_squawk", lambda: None)
    project.revision(*PASSED[case])
    (revision,) = planned(cli, with_moods)
    assert rules(revision) == []


@pytest.mark.thorough
def test_findings_stand_in_the_pull_request(project: Project, applied: str, cli: Cli) -> None:
    path = project.revision("CREATE TABLE fresh (id int)", "DROP TABLE small")
    head = "# leadctl: allow loses-data nobody reads it\n"
    (line,) = (
        number
        for number, text in enumerate(path.read_text().splitlines(), 1)
        if "DROP TABLE small" in text
    )
    outcome = cli("migrate", "lint", "-o", "github", url=applied)
    assert outcome.code == 1
    (annotation,) = (each for each in outcome.out.splitlines() if "loses-data" in each)
    assert annotation.startswith(
        f"::error file=migrations/{path.name},line={line},title=loses-data::It loses the table"
    )
    log = cli("migrate", "lint", "-o", "sarif", url=applied).json
    assert log["version"] == "2.1.0"
    (run,) = log["runs"]
    found = [each for each in run["results"] if each["ruleId"] == "loses-data"]
    (place,) = found[0]["locations"]
    assert place["physicalLocation"]["region"]["startLine"] == line
    assert place["physicalLocation"]["artifactLocation"]["uri"] == f"migrations/{path.name}"
    for each in run["results"]:
        assert run["tool"]["driver"]["rules"][each["ruleIndex"]]["id"] == each["ruleId"]
        assert "suppressions" not in each
    path.write_text(head + path.read_text())
    log = cli("migrate", "lint", "-o", "sarif", "--allow", "ban-drop-table", url=applied).json
    allowed = [each for each in log["runs"][0]["results"] if each["ruleId"] == "loses-data"]
    assert allowed[0]["suppressions"] == [{"kind": "inSource", "justification": "nobody reads it"}]


_URI = re.compile(r"(?:file:///)?[A-Za-z0-9._~!$&'()*+,;=:@/%-]+")


def test_sarif_has_what_the_standard_requires(project: Project, applied: str, cli: Cli) -> None:
    """What SARIF 2.1.0 requires of each object, and GitHub besides; names that are no URI as such."""
    path = project.revision("DROP TABLE small", "ALTER TABLE big RENAME TO bigger")
    path.rename(path.with_name("mit Umlaut ü %20 und,Komma.py"))
    outcome = cli("migrate", "lint", "-o", "sarif", url=applied)
    assert outcome.code == 1
    log = outcome.json
    assert (log["version"], len(log["runs"])) == ("2.1.0", 1)
    (run,) = log["runs"]
    driver = run["tool"]["driver"]
    assert driver["name"]
    ids = [rule["id"] for rule in driver["rules"]]
    assert len(ids) == len(set(ids)) >= 2
    for rule in driver["rules"]:
        for text in ("shortDescription", "fullDescription", "help"):
            assert rule[text]["text"].strip()
    assert run["results"]
    for result in run["results"]:
        assert ids[result["ruleIndex"]] == result["ruleId"]
        assert result["level"] in {"none", "note", "warning", "error"}
        assert result["message"]["text"].strip()
        assert all(isinstance(each, str) for each in result["partialFingerprints"].values())
        for location in result["locations"]:
            place = location["physicalLocation"]
            assert _URI.fullmatch(place["artifactLocation"]["uri"])
            file = Path(unquote(place["artifactLocation"]["uri"]))
            assert "ü %20 und,Komma" in file.name
            assert file.exists()
            assert 1 <= place["region"]["startLine"] <= len(file.read_text().splitlines())
    annotations = cli("migrate", "lint", "-o", "github", url=applied).out.splitlines()
    assert len(annotations) == len(run["results"])
    for each in annotations:
        head, _, told = each.removeprefix("::error ").partition("::")
        assert {part.partition("=")[0] for part in head.split(",")} == {"file", "line", "title"}
        assert "%2520 und%2CKomma" in head
        assert told


def test_what_the_server_refuses_is_said(project: Project, with_moods: str, cli: Cli) -> None:
    """It would stop the run; what fails for want of rows in the trial only is read instead."""
    project.revision("CREATE TABLE part (id int, small_id int REFERENCES small)")
    project.revision("INSERT INTO part VALUES (1, 1)", "ALTER TABLE big ADD COLUMN a text")
    _, second = planned(cli, with_moods)
    assert rules(second) == [(2, "unplannable")]
    assert 'column "a" of relation "big" already exists' in second["findings"][0]["message"]
