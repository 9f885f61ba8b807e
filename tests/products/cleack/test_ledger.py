"""The ledger of credits: against a naive model, and under many writers at once."""

import threading
from collections.abc import Callable
from itertools import pairwise

import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Engine, func, select
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session, sessionmaker

from leadctl.models import with_retry
from leadctl.postgres.engine import run_engine
from leadctl.products.cleack.models import Credit, TransactionType, User
from leadctl.products.cleack.queries import (
    NotEnoughCredits,
    add_credits,
    current_balance,
    spend_credits,
)
from tests.conftest import Prepare

pytestmark = pytest.mark.thorough

HASH = "$2b$12$" + "a" * 53
GIVEN = [TransactionType.PURCHASE, TransactionType.REFUND, TransactionType.BONUS]


@pytest.fixture
def engine(prepared: Prepare) -> Engine:
    return run_engine(prepared("cleack").target(app="cleack"), "test")


@pytest.fixture
def user(engine: Engine) -> str:
    """The id of a user without credits."""
    return new_user(engine, "somebody@example.com")


def new_user(engine: Engine, email: str) -> str:
    with Session(engine) as session:
        somebody = User(email=email, password_hash=HASH)
        session.add(somebody)
        session.commit()
        return somebody.id


def give(engine: Engine, user: str, amount: int) -> None:
    with Session(engine) as session:
        add_credits(session, user, TransactionType.PURCHASE, amount)
        session.commit()


def entries(engine: Engine, user: str) -> list[Credit]:
    """The user's ledger in its order, after checking that it is sound."""
    with Session(engine) as session:
        query = select(Credit).where(Credit.user_id == user)
        found = list(session.scalars(query.order_by(Credit.entry)))
        by_time = list(session.scalars(query.order_by(Credit.created_at)))
    assert [entry.entry for entry in found] == list(range(1, len(found) + 1))
    assert by_time == found
    assert [entry.balance for entry in found[:1]] == [entry.amount for entry in found[:1]]
    for previous, entry in pairwise(found):
        assert entry.balance == previous.balance + entry.amount
    assert all(entry.balance >= 0 for entry in found)
    return found


def test_spending_more_than_there_is(engine: Engine, user: str) -> None:
    with Session(engine) as session:
        assert current_balance(session, user) == 0
        add_credits(session, user, TransactionType.BONUS, 3, metadata={"reason": "welcome"})
        with pytest.raises(NotEnoughCredits, match=r"has 3 credits; 4 are needed"):
            spend_credits(session, user, 4)
        entry = spend_credits(session, user, 3, metadata={"draw_id": "d"})
        assert (entry.amount, entry.balance, entry.entry) == (-3, 0, 2)
        with pytest.raises(NotEnoughCredits):
            spend_credits(session, user, 1)
        session.commit()
    assert [entry.metadata_ for entry in entries(engine, user)] == [
        {"reason": "welcome"},
        {"draw_id": "d"},
    ]


def test_other_errors_are_not_taken_for_missing_credits(engine: Engine) -> None:
    with Session(engine) as session, pytest.raises(DBAPIError) as caught:
        add_credits(session, "nobody", TransactionType.BONUS, 1)
    assert isinstance(caught.value.orig, psycopg.errors.ForeignKeyViolation)
    with Session(engine) as session, pytest.raises(DBAPIError) as caught:
        spend_credits(session, "nobody", 2**40)
    assert isinstance(caught.value.orig, psycopg.errors.NumericValueOutOfRange)


@pytest.mark.parametrize("amount", [0, -1])
def test_amounts_are_positive(engine: Engine, user: str, amount: int) -> None:
    with Session(engine) as session:
        with pytest.raises(ValueError, match="at least 1"):
            spend_credits(session, user, amount)
        with pytest.raises(ValueError, match="at least 1"):
            add_credits(session, user, TransactionType.BONUS, amount)
        with pytest.raises(ValueError, match="usage"):
            add_credits(session, user, TransactionType.USAGE, 1)


CHANGES = st.lists(
    st.tuples(st.sampled_from(TransactionType), st.integers(1, 20), st.booleans()), max_size=30
)


@settings(
    max_examples=25,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(changes=CHANGES)
def test_the_ledger_is_what_a_naive_model_says(engine: Engine, changes: list) -> None:  # type: ignore[type-arg]
    """Each change in a transaction of its own, which is committed or rolled back."""
    with Session(engine) as session:
        number = session.scalar(select(func.count()).select_from(User))
    user = new_user(engine, f"user{number}@example.com")
    model: list[tuple[TransactionType, int, int]] = []
    for kind, amount, committed in changes:
        balance = model[-1][2] if model else 0
        signed = -amount if kind is TransactionType.USAGE else amount
        with Session(engine) as session:
            try:
                if kind is TransactionType.USAGE:
                    spend_credits(session, user, amount)
                else:
                    add_credits(session, user, kind, amount)
            except NotEnoughCredits:
                assert balance + signed < 0
                continue
            assert balance + signed >= 0
            if committed:
                session.commit()
                model.append((kind, signed, balance + signed))
    found = entries(engine, user)
    assert [(e.transaction_type, e.amount, e.balance) for e in found] == model
    with Session(engine) as session:
        assert current_balance(session, user) == (model[-1][2] if model else 0)


def at_once(*work: Callable[[], None]) -> None:
    """Run each in a thread of its own, all from the same moment."""
    together = threading.Barrier(len(work))
    failures: list[BaseException] = []

    def run(one: Callable[[], None]) -> None:
        try:
            together.wait(30)
            one()
        except BaseException as error:  # noqa: BLE001 - raised in the test's thread
            failures.append(error)

    threads = [threading.Thread(target=run, args=(one,)) for one in work]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failures:
        raise failures[0]


def test_fifty_who_spend_at_once(engine: Engine, user: str) -> None:
    give(engine, user, 70)
    outcomes: list[bool] = []

    def spend() -> None:
        with Session(engine) as session:
            try:
                spend_credits(session, user, 2)
                session.commit()
                outcomes.append(True)
            except NotEnoughCredits:
                outcomes.append(False)

    at_once(*[spend] * 50)
    assert (outcomes.count(True), outcomes.count(False)) == (35, 15)
    found = entries(engine, user)
    assert (len(found), found[-1].balance) == (36, 0)


def test_givers_and_spenders_of_two_users_do_not_stop_each_other(engine: Engine, user: str) -> None:
    other = new_user(engine, "other@example.com")
    for one in (user, other):
        give(engine, one, 5)

    def change(one: str, kind: TransactionType) -> Callable[[], None]:
        def work() -> None:
            for _ in range(5):
                with Session(engine) as session:
                    try:
                        if kind is TransactionType.USAGE:
                            spend_credits(session, one, 3)
                        else:
                            add_credits(session, one, kind, 2)
                        session.commit()
                    except NotEnoughCredits:
                        pass

        return work

    at_once(*(change(one, kind) for one in (user, other) for kind in TransactionType))
    for one in (user, other):
        found = entries(engine, one)
        given = [entry for entry in found if entry.transaction_type in GIVEN]
        assert len(given) == 1 + 3 * 5
        assert found[-1].balance == sum(entry.amount for entry in found)


def test_writing_about_a_user_does_not_wait_for_the_ledger(engine: Engine, user: str) -> None:
    """Who only refers to the user's row, as a new draw does, is not locked out."""
    with Session(engine) as session, Session(engine) as other:
        add_credits(session, user, TransactionType.BONUS, 1)
        other.connection().exec_driver_sql("SET lock_timeout = '100ms'")
        other.connection().exec_driver_sql(
            "INSERT INTO blacklist (id, user_id, username) VALUES ('b', %s, 'x')", (user,)
        )
        with pytest.raises(DBAPIError) as caught:
            add_credits(other, user, TransactionType.BONUS, 1)
        assert isinstance(caught.value.orig, psycopg.errors.LockNotAvailable)


@pytest.mark.parametrize(
    ("level", "refusal"),
    [
        ("SERIALIZABLE", psycopg.errors.SerializationFailure),
        ("REPEATABLE READ", psycopg.errors.UniqueViolation),
    ],
)
def test_a_snapshot_that_is_too_old_is_refused(
    engine: Engine, user: str, level: str, refusal: type[Exception]
) -> None:
    give(engine, user, 1)
    snapshots = engine.execution_options(isolation_level=level)
    with Session(snapshots) as late:
        assert current_balance(late, user) == 1
        with Session(snapshots) as early:
            spend_credits(early, user, 1)
            early.commit()
        with pytest.raises(DBAPIError) as caught:
            spend_credits(late, user, 1)
        assert isinstance(caught.value.orig, refusal)
    assert entries(engine, user)[-1].balance == 0


def test_a_retried_transaction_finds_what_is_left(engine: Engine, user: str) -> None:
    give(engine, user, 10)
    sessions = sessionmaker(engine.execution_options(isolation_level="SERIALIZABLE"))

    def spend() -> None:
        with_retry(sessions, lambda s: spend_credits(s, user, 2), attempts=50, delay=0.001)

    at_once(*[spend] * 5)
    assert entries(engine, user)[-1].balance == 0
