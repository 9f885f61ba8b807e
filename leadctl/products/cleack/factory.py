"""The synthetic rows of cleack: a year of draws, and of the credits that they cost.

The server writes the entries' numbers and balances, and the draws' history: nothing here does.
"""

import json

from leadctl.apps.synthetic.chunk import Chunk, Values
from leadctl.apps.synthetic.makers import (
    PASSWORD_HASH,
    After,
    By,
    Json,
    Pick,
    Unique,
    Whole,
    choice,
)
from leadctl.apps.synthetic.pools import phrases
from leadctl.apps.synthetic.shapes import Factory, Shape
from leadctl.products.cleack.queries import certificate_hash

_DAY = 86_400
_ROUND = 10
"""Entries of a ledger from one purchase to the next: what is bought is enough for them."""


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


def end_date(chunk: Chunk) -> Values:
    """When what was paid for ends: a month or a year after it began, or never."""
    months = {"monthly": 30 * _DAY, "annual": 365 * _DAY}
    return [
        start + months[plan] if plan in months else None
        for start, plan in zip(chunk["start_date"], chunk["plan_type"], strict=True)
    ]


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


FACTORY = Factory(
    (
        Shape(
            "users",
            share=4,
            columns={
                "password_hash": PASSWORD_HASH,
                "verification_token": Unique("token", null=0.86, name="verification"),
            },
        ),
        Shape(
            "credits",
            share=32,
            columns={
                "entry": None,
                "balance": None,
                "transaction_type": transaction_type,
                # Never more is used than is there.
                "amount": By(
                    "transaction_type", {"bonus": _ROUND, "purchase": 50, "refund": 1, "usage": -1}
                ),
            },
        ),
        Shape(
            "subscriptions",
            share=3,
            columns={
                "plan_type": Pick({"monthly": 7, "annual": 3, "enterprise": 0.2}),
                "price_cents": By(
                    "plan_type", {"monthly": 14_99, "annual": 99_00, "enterprise": 499_00}
                ),
                "credits_per_month": By(
                    "plan_type", {"monthly": 10, "annual": 50, "enterprise": 1000}
                ),
                "end_date": end_date,
                "stripe_subscription_id": Unique("token", "sub_{}", null=0.3),
                "apple_subscription_id": Unique("token", "apple_{}", null=0.8),
            },
        ),
        Shape("social_accounts", share=6, columns={"platform_user_id": Unique("digits")}),
        Shape(
            "draws",
            share=30,
            columns={
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
                "credits_used": choice("1"),
                "error": By("status", {"failed": "The post has no comments"}),
                "executed_at": After(
                    "created_at", 60, 3 * _DAY, when=("status", ("completed", "failed"))
                ),
            },
        ),
        Shape("draw_history", share=0),
        Shape("blacklist", 9, {"platform": Pick({"all": 6, "instagram": 3, "tiktok": 1})}),
        Shape("system_metrics", share=4),
    )
)
