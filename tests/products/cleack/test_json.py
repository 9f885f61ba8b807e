"""The checks of a draw's JSON: they let right shapes pass, and answer odd ones with a refusal."""

import json
from collections.abc import Callable, Iterator
from typing import Any

import psycopg
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from tests.conftest import Prepare

pytestmark = pytest.mark.thorough

texts = st.text(st.characters(codec="utf-8", exclude_characters="\x00"), max_size=8)
"""What JSONB can hold: no zero character, no half of a surrogate pair."""
scalars = st.none() | st.booleans() | st.integers() | st.floats(-1e9, 1e9) | texts
keys = texts | st.sampled_from(
    ["filters", "rules", "winners_count", "username", "user_id", "selected_at", "comment"]
)
anything = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(keys, inner, max_size=4),
    max_leaves=12,
)
objects = st.dictionaries(keys, anything, max_size=3)
configs = st.builds(
    lambda more, filters, rules, count: {
        **more,
        "filters": filters,
        "rules": rules,
        "winners_count": count,
    },
    objects,
    objects,
    objects,
    st.integers(1, 999_999_999),
)
winner = st.builds(
    lambda more, name, user, at, comment: {
        **{key: value for key, value in more.items() if key != "comment"},
        "username": name,
        "user_id": user,
        "selected_at": at,
        **comment,
    },
    objects,
    texts,
    texts,
    texts,
    st.fixed_dictionaries({}, optional={"comment": texts | st.none()}),
)

Check = Callable[[Any, Any], str | None]
"""Try a config and winners; None where they are stored, else the constraint that refuses them."""

ONE_SERVER = settings(
    max_examples=150,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)


@pytest.fixture
def stored(prepared: Prepare) -> Iterator[Check]:
    database = prepared("cleack")
    with database.server.connect(database.name) as connection:
        row = connection.execute("SELECT id FROM users").fetchone()
        assert row is not None

        def check(config: Any, winners: Any) -> str | None:
            try:
                with connection.transaction(force_rollback=True):
                    connection.execute(
                        "INSERT INTO draws (id, user_id, platform, post_url, config, winners,"
                        " status, certificate_hash, executed_at) VALUES ('d', %s, 'tiktok', 'u',"
                        " %s::jsonb, %s::jsonb, 'completed', repeat('a', 64), now())",
                        (row[0], json.dumps(config), json.dumps(winners)),
                    )
            except psycopg.errors.CheckViolation as error:
                return error.diag.constraint_name
            return None

        yield check


CONFIG = {"filters": {}, "rules": {}, "winners_count": 1}


@ONE_SERVER
@given(config=configs, winners=st.lists(winner, max_size=3))
def test_right_shapes_are_stored(stored: Check, config: Any, winners: Any) -> None:
    assert stored(config, winners) is None


def is_config(value: Any) -> bool:
    return (
        isinstance(value, dict)
        and isinstance(value.get("filters"), dict)
        and isinstance(value.get("rules"), dict)
        and type(value.get("winners_count")) is int
        and 1 <= value["winners_count"] <= 999_999_999
    )


def is_winners(value: Any) -> bool:
    return isinstance(value, list) and all(
        isinstance(one, dict)
        and all(isinstance(one.get(key), str) for key in ("username", "user_id", "selected_at"))
        and isinstance(one.get("comment"), str | None)
        for one in value
    )


@ONE_SERVER
@given(config=anything | objects)
@example({**CONFIG, "winners_count": 0})
@example({**CONFIG, "winners_count": -1})
@example({**CONFIG, "winners_count": 1.5})
@example({**CONFIG, "winners_count": 2.0})
@example({**CONFIG, "winners_count": "1"})
@example({**CONFIG, "winners_count": [1]})
@example({**CONFIG, "winners_count": 10**9})
@example({**CONFIG, "winners_count": 10**300})
@example({**CONFIG, "filters": None})
@example({**CONFIG, "filters": [{}]})
@example({**CONFIG, "rules": "{}"})
@example([CONFIG])
@example(None)
def test_any_other_config_is_refused(stored: Check, config: Any) -> None:
    expected = None if is_config(config) else "ck_draws_config_shape"
    assert stored(config, []) == expected


RIGHT = {"username": "w", "user_id": "1", "selected_at": "t"}


@ONE_SERVER
@given(winners=anything | st.lists(objects | winner, max_size=3))
@example(None)
@example({})
@example(RIGHT)
@example([[RIGHT]])
@example([RIGHT, []])
@example([RIGHT, None])
@example([RIGHT, {**RIGHT, "username": ["w"]}])
@example([RIGHT, {**RIGHT, "username": None}])
@example([RIGHT, {**RIGHT, "user_id": 1}])
@example([RIGHT, {**RIGHT, "comment": 1}])
@example([RIGHT, {**RIGHT, "comment": ["c"]}])
@example([RIGHT, {"username": "w", "user_id": "1"}])
def test_any_other_winners_are_refused(stored: Check, winners: Any) -> None:
    expected = None if is_winners(winners) else "ck_draws_winners_shape"
    assert stored(CONFIG, winners) == expected


@ONE_SERVER
@given(config=configs, winners=st.lists(winner, min_size=1, max_size=2), data=st.data())
def test_one_broken_part_is_enough(stored: Check, config: Any, winners: Any, data: Any) -> None:
    broken = data.draw(anything)
    key = data.draw(st.sampled_from(["filters", "rules", "winners_count"]))
    config[key] = broken
    assert (stored(config, winners) is None) is is_config(config)
    key = data.draw(st.sampled_from(["username", "user_id", "selected_at", "comment"]))
    winners[-1][key] = broken
    assert (stored(CONFIG, winners) is None) is is_winners(winners)
