"""What salesagent asks of its database; nothing here commits, the caller's transaction does.

Whoever shows an organisation's rows names the organisation: a row of another one is not found.
"""

import secrets
from dataclasses import dataclass
from datetime import timedelta
from hashlib import sha256
from ipaddress import ip_address
from typing import Any

from sqlalchemy import delete, func, select, update
from sqlalchemy.orm import InstrumentedAttribute, Session, load_only, selectinload, undefer

from leadctl.models import Page, hash_password, only_active, paginate, rows_changed
from leadctl.products.salesagent.enums import Plan, ProspectStage, UserRole, UserStatus
from leadctl.products.salesagent.models import (
    Activity,
    AiInsight,
    LoginSession,
    Message,
    Organisation,
    Prospect,
    Subscription,
    User,
)

_TOKEN_BYTES = 32


@dataclass(frozen=True)
class Account:
    """A new customer: the first user, and what the organisation subscribes to."""

    user: User
    subscription: Subscription


def create_account(
    session: Session,
    organisation: Organisation,
    *,
    email: str,
    password: str,
    first_name: str,
    last_name: str,
    plan: Plan = Plan.FREE,
) -> Account:
    """Insert an organisation with its owner and a subscription.

    Raises IntegrityError where the email address or the domain is taken, and ValueError for a
    password that is longer than 72 bytes.
    """
    user = User(
        organisation=organisation,
        email=email,
        password_hash=hash_password(password),
        first_name=first_name,
        last_name=last_name,
        role=UserRole.OWNER,
    )
    subscription = Subscription(organisation=organisation, plan=plan)
    session.add_all([user, subscription])
    session.flush()
    return Account(user, subscription)


def list_users(
    session: Session, organisation_id: str, *, page: int = 1, limit: int = 20
) -> Page[User]:
    """Return a page of an organisation's users by email: id, email, first and last name.

    Nothing else of them is loaded; reading it raises InvalidRequestError.
    """
    query = only_active(select(User).where(User.organisation_id == organisation_id))
    shown = load_only(User.id, User.email, User.first_name, User.last_name, raiseload=True)
    query = query.options(shown)
    return paginate(session, query, page=page, limit=limit, sort_by=User.email)


def find_login(session: Session, email: str) -> User | None:
    """Return who may sign in with an email address, in any case, with the password's hash.

    Nobody may whose account, or whose organisation, is suspended or marked as deleted.
    """
    query = only_active(select(User).where(func.lower(User.email) == func.lower(email)))
    query = query.join(User.organisation).where(
        User.status == UserStatus.ACTIVE, Organisation.deleted_at.is_(None)
    )
    return session.scalars(query.options(undefer(User.password_hash))).one_or_none()


def create_session(
    session: Session,
    user: User,
    *,
    lifetime: timedelta,
    ip: str | None = None,
    user_agent: str | None = None,
) -> tuple[LoginSession, str]:
    """Insert a session and return it with its token, which is nowhere else.

    The token is random, so a plain SHA-256 of it is enough.  Raises ValueError for an `ip` that
    is no address, and IntegrityError for a lifetime that is not positive.
    """
    token = secrets.token_urlsafe(_TOKEN_BYTES)
    login = LoginSession(
        organisation_id=user.organisation_id,
        user_id=user.id,
        token_hash=_hash(token),
        ip_address=None if ip is None else ip_address(ip),
        user_agent=user_agent,
        expires_at=func.now() + lifetime,
    )
    session.add(login)
    session.flush()
    return login, token


def find_session(session: Session, token: str) -> LoginSession | None:
    """Return the session that a token belongs to, unless it ended or its user may not sign in."""
    query = (
        only_active(select(LoginSession))
        .join(LoginSession.user)
        .join(User.organisation)
        .where(
            LoginSession.token_hash == _hash(token),
            LoginSession.expires_at > func.now(),
            User.status == UserStatus.ACTIVE,
            User.deleted_at.is_(None),
            Organisation.deleted_at.is_(None),
        )
    )
    return session.scalars(query).one_or_none()


def end_sessions(session: Session, user: User) -> int:
    """End all sessions of a user, as after a change of password; return how many there were."""
    statement = (
        update(LoginSession)
        .where(
            LoginSession.organisation_id == user.organisation_id,
            LoginSession.user_id == user.id,
            LoginSession.deleted_at.is_(None),
        )
        .values(deleted_at=func.now())
    )
    return rows_changed(session, statement)


def delete_expired_sessions(session: Session) -> int:
    """Delete the sessions that have expired, everybody's; return how many there were."""
    return rows_changed(session, delete(LoginSession).where(LoginSession.expires_at <= func.now()))


def list_prospects(
    session: Session,
    organisation_id: str,
    *,
    user_id: str | None = None,
    stage: ProspectStage | None = None,
    page: int = 1,
    limit: int = 20,
    sort_by: InstrumentedAttribute[Any] = Prospect.created_at,
    descending: bool = True,
) -> Page[Prospect]:
    """Return a page of an organisation's prospects: all, one user's, or those at one stage."""
    query = only_active(select(Prospect).where(Prospect.organisation_id == organisation_id))
    if user_id is not None:
        query = query.where(Prospect.user_id == user_id)
    if stage is not None:
        query = query.where(Prospect.stage == stage)
    return paginate(session, query, page=page, limit=limit, sort_by=sort_by, descending=descending)


def find_prospect(session: Session, organisation_id: str, prospect_id: str) -> Prospect | None:
    """Return a prospect with its messages, activities and insights; deleted ones are left out."""
    query = only_active(
        select(Prospect).where(
            Prospect.organisation_id == organisation_id, Prospect.id == prospect_id
        )
    ).options(
        selectinload(Prospect.messages.and_(Message.deleted_at.is_(None))),
        selectinload(Prospect.activities.and_(Activity.deleted_at.is_(None))),
        selectinload(Prospect.insights.and_(AiInsight.deleted_at.is_(None))),
    )
    # What the session loaded before may have rows that were deleted since.
    return session.scalars(query, execution_options={"populate_existing": True}).one_or_none()


def delete_prospect(session: Session, organisation_id: str, prospect_id: str) -> bool:
    """Mark a prospect as deleted; say whether there was one that was not."""
    statement = update(Prospect).where(
        Prospect.organisation_id == organisation_id,
        Prospect.id == prospect_id,
        Prospect.deleted_at.is_(None),
    )
    return rows_changed(session, statement.values(deleted_at=func.now())) == 1


def restore_prospect(session: Session, organisation_id: str, prospect_id: str) -> bool:
    """Bring a deleted prospect back; say whether there was one.

    Raises IntegrityError where another prospect has the email address by now.
    """
    statement = update(Prospect).where(
        Prospect.organisation_id == organisation_id,
        Prospect.id == prospect_id,
        Prospect.deleted_at.is_not(None),
    )
    return rows_changed(session, statement.values(deleted_at=None)) == 1


def _hash(token: str) -> str:
    return sha256(token.encode()).hexdigest()
