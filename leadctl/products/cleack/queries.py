"""What cleack asks of its tables, always for one user, within the caller's transaction.

Nothing here commits.  The ledger is meant for READ COMMITTED, PostgreSQL's own default, or for
SERIALIZABLE: under REPEATABLE READ one of two transactions that meet at a user's ledger fails.
"""

import hashlib
import json
import secrets
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, NamedTuple

from sqlalchemy import Select, exists, func, literal, select
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from leadctl.errors import OperationFailed
from leadctl.products.cleack.models import (
    PRICE_LIST,
    BlacklistEntry,
    BlacklistPlatform,
    Credit,
    Draw,
    DrawAction,
    DrawHistory,
    DrawStatus,
    MetricType,
    PlanType,
    Platform,
    Subscription,
    SystemMetric,
    Terms,
    TransactionType,
    User,
)

_STEPS = {
    DrawAction.STARTED: ({DrawStatus.PENDING}, DrawStatus.PROCESSING),
    DrawAction.COMPLETED: ({DrawStatus.PROCESSING}, DrawStatus.COMPLETED),
    DrawAction.FAILED: ({DrawStatus.PROCESSING}, DrawStatus.FAILED),
    DrawAction.CANCELLED: ({DrawStatus.PENDING, DrawStatus.PROCESSING}, DrawStatus.CANCELLED),
    DrawAction.RETRIED: ({DrawStatus.FAILED}, DrawStatus.PROCESSING),
}
"""What may be done to a draw of which status, and the status that it has then."""


class NotEnoughCredits(OperationFailed):
    """A user has fewer credits than are to be spent."""


class UnknownDraw(OperationFailed):
    """A user has no draw with this id."""


class WrongStatus(OperationFailed):
    """What should be done to a draw cannot be done at its status."""


class Profile(NamedTuple):
    """What may be shown of a user: no password hash and no token."""

    id: str
    email: str
    name: str | None


def profile_of(session: Session, user_id: str) -> Profile | None:
    """Return what may be shown of a user, or None; nothing else leaves the database."""
    row = session.execute(select(User.id, User.email, User.name).where(User.id == user_id)).first()
    return Profile(*row) if row else None


def new_verification_token(session: Session, user_id: str) -> str:
    """Give a user a token, 256 random bits, to verify the address with; an earlier one is void.

    Raises SQLAlchemy's NoResultFound for a user who is not there.
    """
    token = secrets.token_urlsafe(32)
    session.get_one(User, user_id).verification_token = token
    session.flush()
    return token


def user_to_verify(session: Session, token: str) -> User | None:
    """Return the user whose address a verification token is for, or None."""
    return session.scalars(
        select(User).where(User.verification_token == token, ~User.email_verified)
    ).one_or_none()


def verify_email(session: Session, token: str) -> User | None:
    """Mark the address that a token is for as verified and forget the token; None for no one."""
    user = user_to_verify(session, token)
    if user is not None:
        user.email_verified = True
        user.verification_token = None
        session.flush()
    return user


def current_balance(session: Session, user_id: str) -> int:
    """Return a user's credits; 0 for who never had any."""
    newest = select(Credit.balance).where(Credit.user_id == user_id).order_by(Credit.entry.desc())
    return session.scalar(newest.limit(1)) or 0


def spend_credits(
    session: Session, user_id: str, amount: int, *, metadata: dict[str, Any] | None = None
) -> Credit:
    """Take credits from a user, and return the entry, which has the new balance.

    Raises NotEnoughCredits, after which the session is usable, and ValueError for an amount
    below 1.  Until the transaction ends, others wait who change the credits of the same user.
    """
    _refuse_below_1(amount)
    try:
        with session.begin_nested():
            return _append(session, user_id, TransactionType.USAGE, -amount, metadata)
    except IntegrityError as error:
        diag = getattr(error.orig, "diag", None)
        if getattr(diag, "constraint_name", None) != "ck_credits_balance_not_negative":
            raise
    raise NotEnoughCredits(
        f"The user {user_id} has {current_balance(session, user_id)} credits; {amount} are needed.",
        hint="Buy credits, or wait for the next month of the subscription.",
    )


def add_credits(
    session: Session,
    user_id: str,
    transaction_type: TransactionType,
    amount: int,
    *,
    metadata: dict[str, Any] | None = None,
) -> Credit:
    """Give a user credits by a purchase, refund or bonus; return the entry with the new balance.

    Raises ValueError for an amount below 1 and for USAGE, which takes credits away.
    """
    _refuse_below_1(amount)
    if transaction_type is TransactionType.USAGE:
        raise ValueError("usage takes credits away; spend_credits does it")
    return _append(session, user_id, transaction_type, amount, metadata)


def subscribe(
    session: Session,
    user_id: str,
    plan_type: PlanType,
    end_date: datetime | None,
    *,
    terms: Terms | None = None,
    stripe_subscription_id: str | None = None,
    apple_subscription_id: str | None = None,
) -> Subscription:
    """Add a subscription on today's list price, or on terms that were agreed.

    Raises ValueError for the enterprise plan without terms: it has no list price.
    """
    terms = terms or PRICE_LIST.get(plan_type)
    if terms is None:
        raise ValueError(f"the plan {plan_type.value} has no list price: give its terms")
    subscription = Subscription(
        user_id=user_id,
        plan_type=plan_type,
        price_cents=terms.price_cents,
        credits_per_month=terms.credits_per_month,
        end_date=end_date,
        stripe_subscription_id=stripe_subscription_id,
        apple_subscription_id=apple_subscription_id,
    )
    session.add(subscription)
    session.flush()
    return subscription


def draws_of(user_id: str, status: DrawStatus | None = None) -> Select[Draw]:
    """Draws of a user, of one status or all, the newest first; for `leadctl.models.paginate`."""
    query = select(Draw).where(Draw.user_id == user_id)
    if status is not None:
        query = query.where(Draw.status == status)
    return query.order_by(Draw.created_at.desc(), Draw.id)


def history_of(user_id: str, draw_id: str) -> Select[DrawHistory]:
    """The steps of a user's draw, in their order."""
    return (
        select(DrawHistory)
        .where(DrawHistory.user_id == user_id, DrawHistory.draw_id == draw_id)
        .order_by(DrawHistory.step)
    )


def set_actor(session: Session, **metadata: str) -> None:
    """Say who acts until the transaction ends, as `ip` and `user_agent`.

    The history of draws records it as the metadata of every step.
    """
    session.execute(select(func.set_config("cleack.actor", json.dumps(metadata), True)))


def start_draw(session: Session, user_id: str, draw_id: str) -> Draw:
    """Begin to process a pending draw.  Raises UnknownDraw and WrongStatus, as the next ones do."""
    draw = _step(session, user_id, draw_id, DrawAction.STARTED)
    session.flush()
    return draw


def complete_draw(
    session: Session,
    user_id: str,
    draw_id: str,
    *,
    winners: list[dict[str, Any]],
    participants: int,
    video_url: str | None = None,
) -> Draw:
    """End a draw with its winners, certified."""
    # As the database will return them: it is what a certificate is checked against.
    stored: list[dict[str, Any]] = session.scalars(select(literal(winners, JSONB))).one()
    draw = _step(session, user_id, draw_id, DrawAction.COMPLETED)
    draw.winners = stored
    draw.certificate_hash = certificate_hash(draw.id, draw.config, stored)
    draw.participants = participants
    draw.video_url = video_url
    draw.executed_at = func.now()
    session.flush()
    return draw


def fail_draw(session: Session, user_id: str, draw_id: str, error: str) -> Draw:
    """End a draw that could not be executed; it can be retried."""
    draw = _step(session, user_id, draw_id, DrawAction.FAILED)
    draw.error = error
    session.flush()
    return draw


def cancel_draw(session: Session, user_id: str, draw_id: str) -> Draw:
    """End a draw that is pending or being processed, because its user wants so."""
    draw = _step(session, user_id, draw_id, DrawAction.CANCELLED)
    session.flush()
    return draw


def retry_draw(session: Session, user_id: str, draw_id: str) -> Draw:
    """Begin to process a failed draw again."""
    draw = _step(session, user_id, draw_id, DrawAction.RETRIED)
    draw.error = None
    session.flush()
    return draw


def is_blacklisted(session: Session, user_id: str, username: str, platform: Platform) -> bool:
    """Whether a user excludes a username on a platform or on all; upper and lower case are one."""
    places = [BlacklistPlatform(platform.value), BlacklistPlatform.ALL]
    entry = select(BlacklistEntry.id).where(
        BlacklistEntry.user_id == user_id,
        BlacklistEntry.is_active,
        BlacklistEntry.platform.in_(places),
        func.lower(BlacklistEntry.username) == func.lower(username),
    )
    return bool(session.scalar(select(exists(entry))))


def record_metric(
    session: Session,
    metric_type: MetricType,
    value: float,
    *,
    metadata: dict[str, Any] | None = None,
) -> SystemMetric:
    """Record a measurement of the whole system, as of now."""
    metric = SystemMetric(metric_type=metric_type, value=value, metadata_=metadata)
    session.add(metric)
    session.flush()
    return metric


def _refuse_below_1(amount: int) -> None:
    if amount < 1:
        raise ValueError(f"an amount of credits is at least 1, not {amount}")


def _append(
    session: Session,
    user_id: str,
    transaction_type: TransactionType,
    amount: int,
    metadata: dict[str, Any] | None,
) -> Credit:
    entry = Credit(
        user_id=user_id, transaction_type=transaction_type, amount=amount, metadata_=metadata
    )
    session.add(entry)
    session.flush()
    return entry


def _step(session: Session, user_id: str, draw_id: str, action: DrawAction) -> Draw:
    """Lock a draw as it is now and give it the action's status; the caller flushes.

    The server records the step.
    """
    query = select(Draw).where(Draw.id == draw_id, Draw.user_id == user_id)
    draw = session.scalars(
        query.with_for_update(), execution_options={"populate_existing": True}
    ).one_or_none()
    if draw is None:
        raise UnknownDraw(
            f"The user {user_id} has no draw {draw_id}.",
            hint="Look for it with: leadctl studio draws --app cleack",
        )
    allowed, status = _STEPS[action]
    if draw.status not in allowed:
        raise WrongStatus(
            f"The draw {draw_id} is {draw.status.value}: it cannot be {action.value}.",
            hint=f"It must be {' or '.join(sorted(status.value for status in allowed))}.",
        )
    draw.status = status
    return draw


def certificate_hash(
    draw_id: str, config: Mapping[str, Any], winners: Sequence[Mapping[str, Any]]
) -> str:
    """Return the SHA-256, as 64 hexadecimal digits, of what decided a draw and what came of it.

    It is taken over the UTF-8 of a JSON object with the keys config, draw_id and winners: keys
    sorted at every level, no white space, nothing escaped that need not be.  Config and winners
    must be as they were read from the database, which writes some numbers in another way than
    they were sent.  Raises ValueError for a number beyond what a float holds.
    """
    document = {"config": config, "draw_id": draw_id, "winners": winners}
    canonical = json.dumps(
        document, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False
    )
    return hashlib.sha256(canonical.encode()).hexdigest()
