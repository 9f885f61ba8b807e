"""What salesagent asks of its data: within an organisation, and never what is deleted."""

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from ipaddress import ip_address
from typing import Any

import pytest
from sqlalchemy import Engine, select, text
from sqlalchemy.exc import IntegrityError, InvalidRequestError
from sqlalchemy.orm import Session, sessionmaker

from leadctl.models import verify_password, with_retry
from leadctl.postgres.engine import run_engine
from leadctl.products.salesagent import queries
from leadctl.products.salesagent.audit import snapshot, write_audit_log
from leadctl.products.salesagent.enums import (
    ActivityType,
    AuditAction,
    InsightType,
    MessageDirection,
    MessageStatus,
    Plan,
    ProspectStage,
    Region,
    SubscriptionStatus,
    UserRole,
    UserStatus,
)
from leadctl.products.salesagent.models import (
    Activity,
    AiInsight,
    AuditLog,
    LoginSession,
    Message,
    Organisation,
    Prospect,
    Subscription,
    User,
)
from tests.conftest import Prepared

pytestmark = pytest.mark.thorough

LONG_AGO = datetime(2020, 1, 1, tzinfo=UTC)
DAY = timedelta(days=1)


@pytest.fixture
def engine(salesagent: Prepared) -> Engine:
    return run_engine(salesagent.target(app="salesagent"), "test")


@pytest.fixture
def session(engine: Engine) -> Iterator[Session]:
    """A session with two organisations, `a` with the users ada and bob, and `b` with cy."""
    with Session(engine) as session:
        session.add_all(
            [
                Organisation(id="a", name="A", domain="a.example", region=Region.EU),
                Organisation(id="b", name="B", domain="b.example", region=Region.CA),
            ]
        )
        session.flush()
        session.add_all([user("ada", "a"), user("bob", "a"), user("cy", "b")])
        session.commit()
        yield session


def user(name: str, organisation: str) -> User:
    return User(
        id=name,
        organisation_id=organisation,
        email=f"{name}@{organisation}.example",
        password_hash=f"$2b$12${'x' * 53}",
        first_name=name.title(),
        last_name="X",
    )


def prospect(name: str, organisation: str = "a", **values: Any) -> Prospect:
    return Prospect(id=name, organisation_id=organisation, email=f"{name}@c.example", **values)


def account(session: Session, **values: Any) -> queries.Account:
    domain = values.pop("domain", "new.example")
    organisation = Organisation(name="New", domain=domain, region=Region.US)
    named = {"first_name": "Nia", "last_name": "N", "password": "correct horse", **values}
    return queries.create_account(session, organisation, **{"email": "nia@new.example", **named})


def test_an_account_is_made_whole(session: Session) -> None:
    made = account(session, plan=Plan.STARTER)
    session.commit()
    assert made.user.role is UserRole.OWNER
    assert made.subscription.organisation_id == made.user.organisation_id
    assert (made.subscription.plan, made.subscription.status) == (
        Plan.STARTER,
        SubscriptionStatus.TRIALING,
    )
    found = queries.find_login(session, "NIA@new.example")
    assert found is made.user
    assert verify_password("correct horse", found.password_hash)
    assert not verify_password("wrong", found.password_hash)


@pytest.mark.parametrize(
    ("values", "constraint"),
    [({"email": "Ada@A.example"}, "uq_users_email"), ({"domain": "A.example"}, "uq_organis")],
)
def test_an_account_is_made_whole_or_not_at_all(
    engine: Engine, session: Session, values: dict[str, str], constraint: str
) -> None:
    with pytest.raises(IntegrityError, match=constraint):
        with_retry(sessionmaker(engine), lambda new: account(new, **values))
    assert session.scalars(select(Organisation).where(Organisation.name == "New")).all() == []
    with pytest.raises(ValueError, match="72"):
        account(session, password="x" * 73)


def test_an_address_is_free_again_after_deletion(session: Session) -> None:
    ada = queries.find_login(session, "ada@a.example")
    assert ada is not None
    ada.soft_delete()
    session.flush()
    assert queries.find_login(session, "ada@a.example") is None
    assert account(session, email="ADA@a.example").user.email == "ADA@a.example"
    session.commit()
    ada.restore()
    with pytest.raises(IntegrityError, match="uq_users_email"):
        session.flush()


def test_a_page_of_users_has_no_hashes(session: Session) -> None:
    session.get_one(User, "bob").soft_delete()
    session.flush()
    session.expunge_all()
    page = queries.list_users(session, "a")
    assert [(u.id, u.email, u.first_name, u.last_name) for u in page.data] == [
        ("ada", "ada@a.example", "Ada", "X")
    ]
    assert page.total == 1
    for hidden in ("password_hash", "role", "organisation"):
        with pytest.raises(InvalidRequestError):
            getattr(page.data[0], hidden)
    session.get_one(User, "bob").restore()
    session.flush()
    second = queries.list_users(session, "a", page=2, limit=1)
    assert ([u.id for u in second.data], second.total, second.has_next) == (["bob"], 2, False)


@pytest.mark.parametrize("lost", ["user", "suspended", "organisation"])
def test_who_may_not_sign_in_has_no_session(session: Session, lost: str) -> None:
    ada = queries.find_login(session, "ada@a.example")
    assert ada is not None
    _, token = queries.create_session(session, ada, lifetime=DAY)
    assert queries.find_session(session, token) is not None
    if lost == "user":
        ada.soft_delete()
    elif lost == "suspended":
        ada.status = UserStatus.SUSPENDED
    else:
        ada.organisation.soft_delete()
    session.flush()
    assert queries.find_login(session, "ada@a.example") is None
    assert queries.find_session(session, token) is None


def test_sessions_end(session: Session) -> None:
    ada, bob = session.get_one(User, "ada"), session.get_one(User, "bob")
    login, token = queries.create_session(
        session, ada, lifetime=DAY, ip="2001:db8::1", user_agent="x"
    )
    _, hers = queries.create_session(session, ada, lifetime=DAY)
    _, other = queries.create_session(session, bob, lifetime=DAY)
    assert (login.organisation_id, login.user_id) == ("a", "ada")
    assert login.token_hash == sha256(token.encode()).hexdigest()
    assert login.ip_address == ip_address("2001:db8::1")
    assert login.expires_at - login.created_at == DAY
    assert queries.find_session(session, token) is login
    assert queries.find_session(session, f"{token}x") is None
    assert queries.find_session(session, login.token_hash) is None
    assert queries.end_sessions(session, ada) == 2
    assert queries.end_sessions(session, ada) == 0
    assert [queries.find_session(session, t) for t in (token, hers)] == [None, None]
    assert queries.find_session(session, other) is not None


def test_a_session_has_a_lifetime_and_an_address(session: Session) -> None:
    ada = session.get_one(User, "ada")
    with pytest.raises(ValueError, match="not an address"):
        queries.create_session(session, ada, lifetime=DAY, ip="not an address")
    with pytest.raises(IntegrityError, match="expires_after_creation"):
        queries.create_session(session, ada, lifetime=timedelta())


def test_expired_sessions(session: Session) -> None:
    tokens = {}
    for name in ("ada", "cy"):
        login, tokens[name] = queries.create_session(
            session, session.get_one(User, name), lifetime=DAY
        )
        if name == "ada":
            login.created_at, login.expires_at = LONG_AGO, LONG_AGO + DAY
    session.flush()
    assert queries.find_session(session, tokens["ada"]) is None
    assert queries.delete_expired_sessions(session) == 1
    assert queries.delete_expired_sessions(session) == 0
    assert [login.user_id for login in session.scalars(select(LoginSession))] == ["cy"]


def test_prospects_of_an_organisation(session: Session) -> None:
    session.add_all(
        [
            prospect("old", user_id="ada", created_at=LONG_AGO, score=1),
            prospect("new", user_id="ada", created_at=LONG_AGO + DAY, score=3),
            prospect("won", user_id="bob", created_at=LONG_AGO + 2 * DAY, score=2),
            prospect("gone", user_id="ada", deleted_at=LONG_AGO),
            prospect("theirs", "b", user_id="cy"),
        ]
    )
    session.flush()
    session.get_one(Prospect, "won").stage = ProspectStage.WON

    def ids(organisation: str = "a", **options: Any) -> list[str]:
        return [p.id for p in queries.list_prospects(session, organisation, **options).data]

    assert ids() == ["won", "new", "old"]
    assert ids("b") == ["theirs"]
    assert ids("a", user_id="ada") == ["new", "old"]
    assert ids("b", user_id="ada") == []
    assert ids(stage=ProspectStage.WON) == ["won"]
    assert ids(sort_by=Prospect.score, descending=False) == ["old", "won", "new"]
    second = queries.list_prospects(session, "a", page=2, limit=2)
    assert ([p.id for p in second.data], second.total, second.pages) == (["old"], 3, 2)


def test_a_prospect_with_what_belongs_to_it(session: Session) -> None:
    session.add(prospect("p"))
    session.flush()
    for name, deleted in (("kept", None), ("gone", LONG_AGO)):
        common = {"id": name, "organisation_id": "a", "prospect_id": "p", "deleted_at": deleted}
        session.add_all(
            [
                Activity(**common, type=ActivityType.CALL, title="Call"),
                AiInsight(
                    **common,
                    type=InsightType.RISK,
                    title="T",
                    recommendation="R",
                    confidence=0.5,
                    model="m",
                ),
                Message(
                    **common,
                    direction=MessageDirection.INBOUND,
                    status=MessageStatus.RECEIVED,
                    body="Yes",
                ),
            ]
        )
    session.flush()
    known = session.get_one(Prospect, "p")
    assert len(known.messages) == 2  # what is deleted, too
    found = queries.find_prospect(session, "a", "p")
    assert found is known
    session.expunge_all()  # nothing more can be loaded
    assert [[row.id for row in rows] for rows in (found.messages, found.activities)] == [
        ["kept"],
        ["kept"],
    ]
    assert [insight.id for insight in found.insights] == ["kept"]
    assert queries.find_prospect(session, "b", "p") is None


def test_a_prospect_is_deleted_and_comes_back(engine: Engine, session: Session) -> None:
    session.add(prospect("p"))
    session.commit()
    before = session.get_one(Prospect, "p").updated_at
    assert not queries.delete_prospect(session, "b", "p")
    assert not queries.restore_prospect(session, "a", "p")
    session.commit()
    known = session.get_one(Prospect, "p")
    with Session(engine) as other, other.begin():
        assert queries.delete_prospect(other, "a", "p")
    assert known.deleted_at is None  # as this session knows it
    assert not queries.delete_prospect(session, "a", "p")
    session.expire_all()
    assert known.is_deleted
    assert known.updated_at > before
    assert queries.find_prospect(session, "a", "p") is None
    assert not queries.restore_prospect(session, "b", "p")
    assert queries.restore_prospect(session, "a", "p")
    assert not known.is_deleted
    assert queries.find_prospect(session, "a", "p") is known


def test_a_prospect_does_not_come_back_beside_another_with_its_address(session: Session) -> None:
    session.add(prospect("p"))
    session.flush()
    assert queries.delete_prospect(session, "a", "p")
    session.add(Prospect(id="p2", organisation_id="a", email="P@c.example"))
    session.add(prospect("theirs", "b"))
    session.flush()
    with pytest.raises(IntegrityError, match="uq_prospects_email"):
        queries.restore_prospect(session, "a", "p")


def test_the_audit_log(session: Session) -> None:
    ada = session.get_one(User, "ada")
    row = Prospect(organisation_id="a", email="p@c.example", tags=["x"], enrichment={"n": [1]})
    session.add(row)
    made = write_audit_log(
        session, row, AuditAction.CREATE, actor=ada, after=snapshot(row), ip="192.0.2.1"
    )
    session.commit()
    before = snapshot(row)
    row.stage = ProspectStage.WON
    changed = write_audit_log(
        session, row, AuditAction.UPDATE, actor="nightly", before=before, after=snapshot(row)
    )
    session.commit()
    assert (made.organisation_id, made.user_id, made.actor) == ("a", "ada", "ada@a.example")
    assert (made.entity, made.entity_id, made.before) == ("prospects", row.id, None)
    assert made.ip_address == ip_address("192.0.2.1")
    assert (changed.user_id, changed.actor) == (None, "nightly")
    assert made.after is not None
    assert (made.after["id"], made.after["stage"]) == (row.id, "NEW")
    assert changed.after is not None
    assert changed.before == made.after
    assert {name for name, value in changed.after.items() if value != changed.before[name]} == {
        "stage",
        "updated_at",
    }
    assert (changed.after["stage"], changed.after["enrichment"]) == ("WON", {"n": [1]})


def test_no_secret_is_in_the_audit_log(session: Session) -> None:
    ada = session.get_one(User, "ada")
    login, _ = queries.create_session(session, ada, lifetime=DAY, ip="192.0.2.1")
    for row in (ada, login):
        assert not {"password_hash", "token_hash"} & snapshot(row).keys()
    forged = {"password_hash": "x", "token_hash": "y", "role": "ADMIN"}
    write_audit_log(session, ada, AuditAction.UPDATE, actor=ada, before=forged, after=forged)
    entry = session.scalars(select(AuditLog)).one()
    assert (entry.before, entry.after) == ({"role": "ADMIN"}, {"role": "ADMIN"})


def test_an_entry_outlives_its_organisation(session: Session) -> None:
    organisation = session.get_one(Organisation, "b")
    entry = write_audit_log(
        session, organisation, AuditAction.DELETE, actor=session.get_one(User, "cy")
    )
    session.delete(organisation)
    session.flush()
    session.expire_all()
    assert (entry.organisation_id, entry.user_id) == (None, None)
    assert (entry.actor, entry.entity_id) == ("cy@b.example", "b")
    assert (
        session.scalars(select(Subscription).where(Subscription.organisation_id == "b")).all() == []
    )


MANY = """
INSERT INTO organisations (id, name, region) SELECT n, n, 'EU' FROM generate_series(1, 50) n;
INSERT INTO users (id, organisation_id, email, password_hash, first_name, last_name)
    SELECT n, n % 50 + 1, n || '@c.example', '$2b$12$' || repeat('x', 53), 'F', 'L'
    FROM generate_series(1, 5000) n;
INSERT INTO prospects (id, organisation_id, email, created_at)
    SELECT n, n % 50 + 1, n || '@c.example', now() - n * interval '1 hour'
    FROM generate_series(1, 20000) n;
INSERT INTO sessions (id, organisation_id, user_id, token_hash, created_at, expires_at)
    SELECT n, n % 50 + 1, n, encode(sha256(n::text::bytea), 'hex'), '2020-01-01',
           '2020-01-02'::timestamptz + CASE WHEN n % 500 = 0 THEN '0' ELSE '99 years' END::interval
    FROM generate_series(1, 5000) n;
"""


@pytest.mark.parametrize(
    ("index", "ask"),
    [
        ("uq_users_email", lambda s: queries.find_login(s, "7@C.example")),
        ("uq_sessions_token_hash", lambda s: queries.find_session(s, "7")),
        ("ix_sessions_expires_at", queries.delete_expired_sessions),
        ("ix_prospects_organisation_id_created_at", lambda s: queries.list_prospects(s, "7")),
    ],
)
def test_the_index_that_was_made_for_it_is_used(
    salesagent: Prepared, session: Session, index: str, ask: Callable[[Session], object]
) -> None:
    salesagent.query(MANY)
    salesagent.query("ANALYZE")
    assert ask(session)
    assert session.scalar(text(f"SELECT pg_stat_get_xact_numscans('{index}'::regclass)")) > 0
