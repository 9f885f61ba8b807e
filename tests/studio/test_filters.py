"""The filter language against PostgreSQL itself: what it means, and that nothing gets past it."""

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import psycopg
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from psycopg import sql

from leadctl.apps.registry import find_app
from leadctl.crypto import Keyring
from leadctl.errors import InvalidFilter, UsageError
from leadctl.postgres.target import resolve
from leadctl.settings import load_settings
from leadctl.studio import conditions
from leadctl.studio.parser import FilterCondition, join_list, parse, split_list
from leadctl.studio.session import Access, Session, read_session
from leadctl.studio.shape import build
from tests.servers import Server

SETUP = """
CREATE TYPE mood AS ENUM ('sad', 'ok', 'happy');
CREATE DOMAIN age AS int CHECK (value BETWEEN 0 AND 150);
CREATE TABLE everything (
    id int PRIMARY KEY, small int2, big int8, exact numeric(8, 2), approximate float8,
    flag bool, word text, code varchar(10), padded char(5), day date, moment timestamptz,
    plain_time timestamp, span interval, mood mood, years age, data jsonb, raw json, tags text[],
    numbers int[], period tstzrange, bytes bytea, address inet, uid uuid, spot point, doc box,
    "odd ""name" text, "Prozent %s" text, "größe" int
);
CREATE TABLE secrets (password text);
INSERT INTO secrets VALUES ('do not read');
INSERT INTO everything SELECT i, i % 7 - 3, i * 10000000000, i / 8.0, 1.5 * i,
    CASE i % 3 WHEN 0 THEN true WHEN 1 THEN false END,
    (ARRAY['NEW', 'new', '', 'a%b', 'a_b', 'x''y', 'back\\slash', '日本', NULL])[i % 9 + 1],
    CASE WHEN i % 4 > 0 THEN 'c' || i % 5 END, 'ab', DATE '2026-01-01' + i,
    TIMESTAMPTZ '2026-01-01 00:00:00Z' + i * INTERVAL '1 hour', '2026-01-01', i * INTERVAL '1 day',
    (ARRAY['sad', 'ok', 'happy', NULL])[i % 4 + 1]::mood, i,
    jsonb_build_object('email', 'u' || i || '@example.com', 'n', i, 'tags', '["vip"]'::jsonb),
    (CASE i % 3 WHEN 0 THEN '{"a": "\\ud83d\\ude00", "n": 1e999}' WHEN 1 THEN '{"a": "\\u0000"}'
                ELSE '{"a": "x", "n": 5}' END)::json,
    CASE WHEN i % 2 = 0 THEN ARRAY['vip', 't' || i] END, ARRAY[i, i + 1],
    tstzrange('2026-01-01', TIMESTAMPTZ '2026-01-02' + i * INTERVAL '1 day'), '\\xdeadbeef',
    '10.0.0.1', 'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11', point(i, 1), '(1,1),(0,0)', 'q' || i, 'p' || i, i
FROM generate_series(1, 40) AS i;
"""
COLUMNS = [
    "id",
    "small",
    "big",
    "exact",
    "approximate",
    "flag",
    "word",
    "code",
    "padded",
    "day",
    "moment",
    "plain_time",
    "span",
    "mood",
    "years",
    "data",
    "raw",
    "tags",
    "numbers",
    "period",
    "bytes",
    "address",
    "uid",
    "spot",
    "doc",
    "größe",
    '"odd ""name"',
    '"Prozent %s"',
    "data.email",
    "data.n",
    "raw.a",
    "raw.n",
    "data.tags",
]


@dataclass(frozen=True)
class Lab:
    """A table of every type, and a session that looks at it."""

    session: Session

    def ids(self, *texts: str) -> list[int]:
        """Return the ids of the rows that fit the conditions."""
        shape = self.session.shape("everything")
        where = conditions.where(self.session, shape, [parse(text) for text in texts])
        query = build("SELECT id FROM {} WHERE {} ORDER BY id", shape.identifier, where.sql)
        return [row[0] for row in query.run(self.session.connection)]

    def sql(self, condition: str) -> list[int]:
        """Return the ids that a condition of SQL's own finds."""
        query = sql.SQL("SELECT id FROM everything WHERE {} ORDER BY id").format(sql.SQL(condition))
        return [row[0] for row in self.session.connection.execute(query)]


@pytest.fixture(scope="module")
def lab(server: Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    name = server.create()
    with server.connect(name) as connection:
        connection.execute(SETUP)
    found = load_settings(
        {}, cwd=tmp_path_factory.mktemp("lab"), environ={"DATABASE_URL": server.url(name)}
    )
    access = Access(resolve(found, app=found.app), find_app(found), Keyring([]))
    with read_session(access) as session:
        yield Lab(session)
    server.drop(name)


@pytest.mark.parametrize(
    ("condition", "meaning"),
    [
        ("word=NEW", "word = 'NEW'"),
        ("word = NEW", "word = 'NEW'"),
        ("word=", "word = ''"),
        ("word!=NEW", "word IS DISTINCT FROM 'NEW'"),
        ("word~new", "word ILIKE '%new%'"),
        ("word~%", "position('%' IN word) > 0"),
        ("word~_", "position('_' IN word) > 0"),
        ("word~\\", "position('\\' IN word) > 0"),
        ("word!~new", "(word ILIKE '%new%') IS NOT TRUE"),
        ("word in NEW,x'y", "word IN ('NEW', 'x''y')"),
        ("word not in NEW,new", "(word IN ('NEW', 'new')) IS NOT TRUE"),
        ("word is null", "word IS NULL"),
        ("word IS NOT NULL", "word IS NOT NULL"),
        ("code=c3", "code = 'c3'"),
        ("padded=ab", "padded = 'ab'"),
        ("padded=abcdefgh", "false"),
        ("exact=0.125", "exact = 0.125"),
        ("exact>2.5", "exact > 2.5"),
        ("big>=200000000000", "big >= 200000000000"),
        ("approximate<3", "approximate < 3"),
        ("flag=yes", "flag"),
        ("flag!=true", "flag IS NOT TRUE"),
        ("day<=2026-01-05", "day <= '2026-01-05'"),
        ("moment>=2026-01-02", "moment >= '2026-01-02 00:00:00Z'"),
        ("moment<2026-01-02T05:00:00+02:00", "moment < '2026-01-02 03:00:00Z'"),
        ("span>20 days", "span > '20 days'"),
        ("mood>=ok", "mood >= 'ok'"),
        ("mood in sad,happy", "mood IN ('sad', 'happy')"),
        ("years>200", "false"),
        ("years>20", "years > 20"),
        ("tags has vip", "'vip' = ANY (tags)"),
        ("tags not has vip", "('vip' = ANY (tags)) IS NOT TRUE"),
        ("tags={vip,t2}", "tags = '{vip,t2}'"),
        ("numbers has 7", "7 = ANY (numbers)"),
        ("period has 2026-01-20", "period @> TIMESTAMPTZ '2026-01-20 00:00:00Z'"),
        ("data has email", "true"),
        ("data.email=u7@example.com", "id = 7"),
        ("data.n>=30", "id >= 30"),
        ("data.n=7", "id = 7"),
        ("data.nothing is null", "true"),
        ("data.tags has vip", "true"),
        ("data.tags.0=vip", "true"),
        ("raw.a=x", "id % 3 = 2"),
        ("raw.a=😀", "id % 3 = 0"),
        ("raw.n<6", "id % 3 = 2"),
        ("raw~u0000", "id % 3 = 1"),
        ("bytes=\\xdeadbeef", "true"),
        ("address=10.0.0.1", "true"),
        ("uid=A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11", "true"),
        ("spot=(3,1)", "id = 3"),
        ("doc=(1,1),(0,0)", "true"),
        ('"odd ""name"=q4', "id = 4"),
        ('"Prozent %s"=p4', "id = 4"),
        ("größe=4", "id = 4"),
        ("GRÖSSE=4", "id = 4"),
        ("WORD=NEW", "word = 'NEW'"),
        ('word=" NEW"', "false"),
    ],
)
def test_what_a_condition_means(lab: Lab, condition: str, meaning: str) -> None:
    assert lab.ids(condition) == lab.sql(meaning)


@pytest.mark.parametrize(
    "condition",
    [
        "",
        "=",
        "word",
        "word==x=",
        "nothing=1",
        "id=abc",
        "id=1.5",
        "id=99999999999",
        "id>",
        "flag=maybe",
        "mood=furious",
        "day=2026-02-30",
        "moment>=soon",
        "uid=x",
        "word has x",
        "spot>(1,1)",
        "doc<x",
        "word.x=1",
        "raw.a has x",
        "numbers has x",
        "tags={",
        "word=\x00",
        "word=\udce4",
        "word is nothing",
        "id in 1,,2",
        'word in "a"b',
        "id in " + ",".join(["1"] * 1001),
    ],
)
def test_what_cannot_be_asked_is_a_usage_error(lab: Lab, condition: str) -> None:
    if condition == "word==x=":
        assert lab.ids(condition) == []  # the value is "=x="
        return
    with pytest.raises(UsageError):
        lab.ids(condition)


INJECTIONS = [
    "' OR 1=1 --",
    "'; DROP TABLE secrets; --",
    "x' UNION SELECT password FROM secrets --",
    "$$); SELECT pg_sleep(10); --",
    '" OR "1"="1',
    "%s %(x)s {} {0}",
    "(SELECT password FROM secrets)",
    "\\'; --",
    "NULL",
    "CURRENT_USER",
]


@pytest.mark.parametrize("text", INJECTIONS)
@pytest.mark.parametrize("column", ["word", "data.email", "raw.a", '"Prozent %s"'])
@pytest.mark.parametrize("operator", ["=", "~", "!=", " in "])
def test_injections_are_values(lab: Lab, column: str, operator: str, text: str) -> None:
    nobody = lab.ids(f'{column}{operator}"{text.replace(chr(34), chr(34) * 2)}"')
    assert nobody == (lab.sql("true") if operator == "!=" else [])


@pytest.mark.parametrize("text", INJECTIONS)
def test_injections_as_names_are_no_columns(lab: Lab, text: str) -> None:
    quoted = text.replace('"', '""')
    with pytest.raises(UsageError):
        lab.ids(f'"{quoted}"=x')
    assert lab.ids(f'data."{quoted}" is null') == lab.sql("true")


texts = st.text(st.characters(exclude_categories=[]), max_size=12) | st.sampled_from(
    [
        *INJECTIONS,
        "1",
        "-1",
        "1e400",
        "NaN",
        "infinity",
        "2026-01-01",
        "{a,b}",
        "[1,2)",
        "now",
        "\\x",
    ]
)
operators = st.sampled_from(
    [
        "=",
        "!=",
        "<",
        "<=",
        ">",
        ">=",
        "~",
        "!~",
        " in ",
        " not in ",
        " has ",
        " not has ",
        " is null",
    ]
)
LIMITS = settings(
    deadline=None, max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


@pytest.mark.thorough
@LIMITS
@given(st.sampled_from(COLUMNS), operators, texts)
@example("raw.n", "<", "1e99")
@example("data.n", ">=", "9" * 400)
@example("approximate", ">", "1e400")
@example("tags", " has ", "{")
def test_no_input_is_an_error_of_sql(lab: Lab, column: str, operator: str, text: str) -> None:
    """Whatever is asked of any column is an answer, or an error in leadctl's own words."""
    found: list[int] = []
    with suppress(UsageError):
        found = lab.ids(f"{column}{operator}{text}")
    assert set(found) <= set(range(1, 41))


@pytest.mark.thorough
@LIMITS
@given(st.text(st.characters(exclude_categories=[]), max_size=40))
def test_any_text_as_a_condition(lab: Lab, text: str) -> None:
    with suppress(UsageError):
        lab.ids(text)


@pytest.mark.thorough
@LIMITS
@given(
    st.sampled_from(COLUMNS), st.sampled_from(["=", "~", "in", "has"]), st.lists(texts, min_size=1)
)
def test_a_negated_condition_is_the_rest(
    lab: Lab, column: str, operator: str, values: list[str]
) -> None:
    given_ = join_list(values) if operator == "in" else values[0]
    plain = {"=": "=", "~": "~", "in": " in ", "has": " has "}[operator]
    turned = {"=": "!=", "~": "!~", "in": " not in ", "has": " not has "}[operator]
    try:
        found = lab.ids(f"{column}{plain}{given_}")
    except UsageError:
        with pytest.raises(UsageError):
            lab.ids(f"{column}{turned}{given_}")
        return
    assert sorted([*found, *lab.ids(f"{column}{turned}{given_}")]) == lab.sql("true")


words = st.text(
    st.characters(codec="utf-8", exclude_characters="\x00", exclude_categories=["Cs"]), max_size=8
)


@pytest.mark.thorough
@LIMITS
@given(words, words)
def test_text_is_compared_as_the_server_compares_it(lab: Lab, stored: str, asked: str) -> None:
    connection = lab.session.connection
    quoted = asked.replace('"', '""')
    shape = lab.session.shape("everything")
    for operator, meaning in (
        ("=", "%s = %s"),
        ("~", 'position(lower(%s COLLATE "default") IN lower(%s)) > 0'),
        ("<", "%s < %s"),
    ):
        condition = parse(f'word{operator}"{quoted}"')
        composed = conditions.where(lab.session, shape, [condition]).sql
        query = build("SELECT {} FROM (SELECT CAST(%s AS text) AS word) AS r", composed)
        row = connection.execute(query.text, (*query.parameters, stored)).fetchone()  # type: ignore[arg-type]
        arguments = (asked, stored) if operator == "~" else (stored, asked)
        expected = connection.execute(f"SELECT {meaning}", arguments).fetchone()  # type: ignore[arg-type]
        assert row == expected, (operator, stored, asked)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("word = 'NEW'", "Leave them out: NEW"),
        ("word != 'it''s'", "single quotes"),
        ("word in ('NEW','OLD')", "single quotes"),
        ("word=NEW and id>5", "repeat --where"),
        ("id>5 AND word = 'x'", "repeat --where"),
        ("id=1 or id=2", "OR is not supported"),
        ("word is null or id=4", "OR is not supported"),
        ("word like Big%", "word~Big"),
        ("word NOT ILIKE '%big%'", "word~big"),
        ("id between 1 and 3", "id>=…"),
        ("lower(word)=new", "Functions are not supported"),
        ("word is 5", "For example: status=FAILED"),
    ],
)
def test_a_habit_of_sql_is_told_and_not_taken_for_a_value(text: str, said: str) -> None:
    """Taken for one it would be true of no row, which looks like an answer."""
    with pytest.raises(InvalidFilter) as raised:
        parse(text)
    assert said in f"{raised.value.message} {raised.value.hint}"


@pytest.mark.parametrize(
    ("text", "plain"),
    [
        ("word <> NEW", "word!=NEW"),
        ("word == NEW", "word=NEW"),
        ("id in (1, 2)", "id in 1, 2"),
        ("word = \"'NEW'\"", "word=\"'NEW'\""),
        ("word=Black and white", "word=Black and white"),
        ('word="a and id=1"', 'word="a and id=1"'),
        ("word=it's", "word=it's"),
    ],
)
def test_what_sql_and_filters_share(text: str, plain: str) -> None:
    assert parse(text) == parse(plain)
    assert parse(text).values[0].strip("'\"") in text


@given(st.lists(words, min_size=2, max_size=5))
def test_lists_come_back(items: list[str]) -> None:
    stripped = [item.strip() if not item.strip() else item for item in items]
    assert list(split_list(join_list(stripped))) == stripped


@given(st.text(max_size=60))
def test_parsing_ends_in_a_condition_or_an_error(text: str) -> None:
    try:
        condition: Any = parse(text)
    except UsageError:
        return
    assert isinstance(condition, FilterCondition)


def test_nothing_but_the_value_check_and_the_read_is_sent(lab: Lab) -> None:
    """A value that is none does not reach the statement that reads the table."""
    with pytest.raises(UsageError):
        lab.ids("id=abc")
    assert lab.session.connection.info.transaction_status is psycopg.pq.TransactionStatus.INTRANS
    assert lab.ids("id=3") == [3]
