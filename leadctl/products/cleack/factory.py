"""The synthetic rows of cleack: a year of draws, and of the credits that they cost.

The server writes the entries' numbers and balances, and the draws' history: nothing here does.
"""

import json

from leadctl.apps.synthetic.chunk import Chunk, Values
from leadctl.apps.synthetic.makers import (
    PASSWORD_HASH,
    After,
    Fraction,
    InTurn,
    Json,
    Made,
    Phrase,
    Pick,
    Unique,
    Whole,
    choice,
)
from leadctl.apps.synthetic.pools import phrases
from leadctl.apps.synthetic.shapes import Factory, Shape
from leadctl.products.cleack.certificate import certificate_hash

_DAY = 86_400
_ROUND = 10
"""Entries of a ledger from one purchase to the next: what is bought is enough for them."""
_PLATFORMS = ("instagram", "facebook", "tiktok", "twitter")


def transaction_type(chunk: Chunk) -> Values:
    """A bonus first, then purchases, each with what is used of it; now and then a refund."""
    return [
        "bonus" if not entry else _later_entry(entry, owner)
        for entry, owner in zip(chunk.positions, chunk.owners, strict=True)
    ]


def _later_entry(entry: int, owner: int) -> str:
    if entry % _ROUND == 0:
        return "purchase"
    return "refund" if entry % _ROUND == 7 and owner % 9 == 0 else "usage"


def amount(chunk: Chunk) -> Values:
    """Credits: never more used than are there."""
    return [_AMOUNTS[kind] for kind in chunk["transaction_type"]]


_AMOUNTS = {"bonus": _ROUND, "purchase": 50, "refund": 1, "usage": -1}


def end_date(chunk: Chunk) -> Values:
    """When what was paid for ends: a month or a year after it began, or never."""
    months = {"monthly": 30 * _DAY, "annual": 365 * _DAY}
    return [
        start + months[plan] if plan in months else None
        for start, plan in zip(chunk["start_date"], chunk["plan_type"], strict=True)
    ]


def price_cents(chunk: Chunk) -> Values:
    """The list price of a plan; an enterprise's is its own."""
    return [_PRICES[plan] for plan in chunk["plan_type"]]


def credits_per_month(chunk: Chunk) -> Values:
    """What a plan brings."""
    return [_CREDITS[plan] for plan in chunk["plan_type"]]


_PRICES = {"monthly": 14_99, "annual": 99_00, "enterprise": 499_00}
_CREDITS = {"monthly": 10, "annual": 50, "enterprise": 1000}


def winners(chunk: Chunk) -> Values:
    """The winners of a completed draw."""
    names = chunk.draw("winner", phrases("{noun}_{number}"))
    comments = chunk.draw("comment", phrases("{verb} the {noun}!"))
    return [
        f'[{{"username": "{name}", "user_id": "u{row}", "comment": "{comment}", '
        f'"selected_at": "2025-01-05T12:00:00Z"}}]'
        if status == "completed"
        else None
        for status, row, name, comment in zip(
            chunk["status"], chunk.rows, names, comments, strict=True
        )
    ]


def certificate(chunk: Chunk) -> Values:
    """The proof of a completed draw, over what is really in its row."""
    return [
        None if won is None else certificate_hash(key, json.loads(config), json.loads(won))
        for key, config, won in zip(chunk["id"], chunk["config"], chunk["winners"], strict=True)
    ]


def error(chunk: Chunk) -> Values:
    """Why a draw failed."""
    return ["The post has no comments" if s == "failed" else None for s in chunk["status"]]


FACTORY = Factory(
    (
        Shape(
            "users",
            share=4,
            columns={
                "name": Phrase("{first} {last}", null=0.1),
                "password_hash": PASSWORD_HASH,
                "email_verified": Pick({"t": 86, "f": 14}),
                "verification_token": Unique("token", null=0.86, name="verification"),
                "updated_at": After("created_at", 0, 90 * _DAY),
            },
        ),
        Shape(
            "credits",
            share=32,
            columns={
                "entry": None,
                "balance": None,
                "transaction_type": transaction_type,
                "amount": amount,
                "metadata": Json(({"source": "{noun}"},), null=0.6),
            },
        ),
        Shape(
            "subscriptions",
            share=3,
            columns={
                "plan_type": Pick({"monthly": 7, "annual": 3, "enterprise": 0.2}),
                "status": Pick({"active": 6, "cancelled": 2, "expired": 3, "past_due": 0.5}),
                "price_cents": price_cents,
                "credits_per_month": credits_per_month,
                "start_date": Made(),
                "end_date": end_date,
                "auto_renew": Pick({"t": 7, "f": 3}),
                "stripe_subscription_id": Unique("token", "sub_{}", null=0.3),
                "apple_subscription_id": Unique("token", "apple_{}", null=0.8),
                "updated_at": After("created_at", 0, 30 * _DAY),
            },
        ),
        Shape(
            "social_accounts",
            share=6,
            even=True,
            at_most=4,
            columns={
                "platform": InTurn(_PLATFORMS),
                "platform_user_id": Unique("digits"),
                "username": Phrase("{noun}.{number}", null=0.02),
                "access_token": Unique("hex", name="access"),
                "refresh_token": Unique("hex", null=0.3, name="refresh"),
                "token_expires_at": After("created_at", _DAY, 60 * _DAY, null=0.1, ahead=True),
                "is_active": Pick({"t": 9, "f": 1}),
                "updated_at": After("created_at", 0, 90 * _DAY),
            },
        ),
        Shape(
            "draws",
            share=30,
            columns={
                "platform": Pick({"instagram": 7, "tiktok": 3, "facebook": 2, "twitter": 1}),
                "post_url": Phrase("https://www.instagram.com/p/{noun}{number}/"),
                "status": Pick(
                    {"completed": 82, "failed": 6, "cancelled": 5, "pending": 5, "processing": 2}
                ),
                "config": Json(
                    (
                        {"filters": {}, "rules": {"one_entry": True}, "winners_count": 1},
                        {
                            "filters": {"keyword": "{noun}", "min_mentions": 2},
                            "rules": {"one_entry": True, "must_follow": True},
                            "winners_count": 1,
                        },
                    )
                ),
                "participants": Whole(3, 80_000, tail=5),
                "winners": winners,
                "certificate_hash": certificate,
                "video_url": Phrase("https://cdn.example.com/draws/{number}.mp4", null=0.7),
                "credits_used": choice("1"),
                "error": error,
                "executed_at": After(
                    "created_at", 60, 3 * _DAY, when=("status", ("completed", "failed"))
                ),
                "updated_at": After("created_at", 60, 3 * _DAY),
            },
        ),
        Shape("draw_history", share=0),
        Shape(
            "blacklist",
            share=9,
            columns={
                "username": Unique("token", "spam_{}"),
                "platform": Pick({"all": 6, "instagram": 3, "tiktok": 1}),
                "reason": Phrase("{verb} with several accounts", null=0.4),
                "is_active": Pick({"t": 9, "f": 1}),
                "updated_at": After("created_at", 0, 90 * _DAY),
            },
        ),
        Shape(
            "system_metrics",
            share=4,
            columns={
                "value": Fraction(0, 5000, 3),
                "metadata": Json(({"region": "{country}"},), null=0.5),
            },
        ),
    )
)
