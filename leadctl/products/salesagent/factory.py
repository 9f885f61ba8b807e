"""The synthetic rows of salesagent: organisations, their prospects, and a year of outreach."""

from collections.abc import Iterator

from leadctl.apps.synthetic.chunk import Chunk, Values
from leadctl.apps.synthetic.makers import (
    PASSWORD_HASH,
    After,
    By,
    Phrase,
    Pick,
    Unique,
    Whole,
    choice,
)
from leadctl.apps.synthetic.shapes import Factory, Shape

_MINUTE, _HOUR, _DAY = 60, 3600, 86_400
_SENT = ("SENT", "DELIVERED", "BOUNCED")
_BROWSER = choice("Mozilla/5.0 (Macintosh)", "Mozilla/5.0 (Windows NT 10.0)")


# --- Which campaign writes to whom ------------------------------------------------------------


def _one_of(chunk: Chunk, table: str, organisations: list[int], numbers: list[int]) -> Values:
    """Return the row of an organisation's that a number stands for; None where it has none."""
    starts = chunk.world.layout.starts(table)
    return [
        starts[owner] + number % count if (count := starts[owner + 1] - starts[owner]) else None
        for owner, number in zip(organisations, numbers, strict=True)
    ]


def campaign_sequence(chunk: Chunk) -> Values:
    """The sequence that a campaign sends: its number decides, so that its messages know it."""
    rows = _one_of(chunk, "email_sequences", chunk.owners, list(chunk.rows))
    return chunk.world.texts("email_sequences", "id", rows)


def _campaigns(chunk: Chunk) -> Values:
    def make() -> Values:
        return _one_of(chunk, "campaigns", chunk.owned_by("organisations"), chunk.owners)

    return chunk.made("campaign of the prospect", make)


def message_campaign(chunk: Chunk) -> Values:
    """The campaign of a message: a prospect is in one."""
    return chunk.world.texts("campaigns", "id", _campaigns(chunk))


def _steps(chunk: Chunk) -> Values:
    """The step of each message: a prospect's first messages are the steps of the sequence."""
    return chunk.made("step of the message", lambda: list(_step_of_each(chunk)))


def _step_of_each(chunk: Chunk) -> Iterator[int | None]:
    campaigns, starts = _campaigns(chunk), chunk.world.layout.starts("sequence_steps")
    numbers = [campaign or 0 for campaign in campaigns]
    sequences = _one_of(chunk, "email_sequences", chunk.owned_by("organisations"), numbers)
    for campaign, sequence, position in zip(campaigns, sequences, chunk.positions, strict=True):
        if campaign is None or sequence is None:
            yield None
        else:
            step = starts[sequence] + position
            yield step if step < starts[sequence + 1] else None


def message_step(chunk: Chunk) -> Values:
    """The step's id."""
    return chunk.world.texts("sequence_steps", "id", _steps(chunk))


def direction(chunk: Chunk) -> Values:
    """Who wrote: what is no step of a sequence is a conversation."""
    return [
        "OUTBOUND" if step is not None or bits < 30_000 else "INBOUND"
        for step, bits in zip(_steps(chunk), chunk.bits("direction"), strict=True)
    ]


def message_status(chunk: Chunk) -> Values:
    """How far a message came; an inbound one is received."""
    outbound = chunk.draw("status", _STATUSES)
    return [
        "RECEIVED" if way == "INBOUND" else mine
        for way, mine in zip(chunk["direction"], outbound, strict=True)
    ]


def open_count(chunk: Chunk) -> Values:
    """How often a message was opened."""
    return [
        0 if time is None else 1 + bits % 3
        for time, bits in zip(chunk["opened_at"], chunk.bits("opens"), strict=True)
    ]


def click_count(chunk: Chunk) -> Values:
    """How often a link in it was."""
    return [0 if time is None else 1 for time in chunk["clicked_at"]]


_STATUSES = Pick(
    {"DELIVERED": 80, "SENT": 8, "BOUNCED": 4, "FAILED": 2, "QUEUED": 4, "DRAFT": 2}
).pool

FACTORY = Factory(
    (
        Shape(
            "organisations",
            share=0.1,
            columns={
                "name": Phrase("{adjective} {trade}"),
                "domain": Unique("token", "{}.example"),
            },
        ),
        Shape(
            "users",
            share=0.8,
            columns={
                "password_hash": PASSWORD_HASH,
                "role": Pick({"MEMBER": 7, "ADMIN": 2, "OWNER": 1}),
                "status": Pick({"ACTIVE": 96, "SUSPENDED": 4}),
            },
        ),
        Shape(
            "sessions",
            share=3,
            owner="users",
            columns={"token_hash": Unique("hex"), "user_agent": _BROWSER},
        ),
        Shape(
            "subscriptions",
            share=0.1,
            columns={
                "status": Pick({"ACTIVE": 7, "TRIALING": 2, "PAST_DUE": 0.5, "CANCELED": 1}),
                "price_cents": By(
                    "plan", {"FREE": 0, "STARTER": 4900, "PROFESSIONAL": 19900, "ENTERPRISE": 99900}
                ),
                "seats": Whole(1, 60, tail=3),
                "canceled_at": After("created_at", 1, 60 * _DAY, when=("status", ("CANCELED",))),
            },
        ),
        Shape(
            "icps",
            share=0.3,
            columns={
                "name": Unique("token", "Profile {}"),
                "countries": choice("{FR,BE}", "{US,CA}", "{DE}"),
                "min_employees": Whole(1, 50),
                "max_employees": Whole(51, 5000, tail=2),
            },
        ),
        Shape(
            "prospects",
            share=25,
            columns={
                "job_title": choice("CEO", "COO", "Head of Sales", "Buyer", "Founder", None),
                "company_domain": Phrase("{noun}-{number}.example", null=0.2),
                "unsubscribed_at": After("created_at", _DAY, 90 * _DAY, null=0.97),
            },
        ),
        Shape("email_sequences", share=0.2, columns={"name": Unique("token", "Sequence {}")}),
        Shape(
            "sequence_steps",
            share=0.8,
            owner="email_sequences",
            even=True,
            columns={
                "delay_days": Whole(0, 14, tail=2),
                "subject_template": Phrase("{{{{first_name}}}}: {verb} your {noun}"),
                "body_template": Phrase("Hello {{{{first_name}}}}, {verb} the {adjective} {noun}."),
            },
        ),
        Shape(
            "campaigns",
            share=0.3,
            columns={
                "sequence_id": campaign_sequence,
                "name": Phrase("{adjective} {noun} {number}"),
                "status": Pick(
                    {"COMPLETED": 5, "ACTIVE": 3, "PAUSED": 1, "DRAFT": 1, "CANCELED": 0.5}
                ),
                "daily_limit": Pick({"50": 6, "100": 3, "200": 1}),
            },
        ),
        Shape(
            "messages",
            share=45,
            owner="prospects",
            columns={
                "campaign_id": message_campaign,
                "step_id": message_step,
                "direction": direction,
                "channel": Pick({"EMAIL": 92, "LINKEDIN": 6, "SMS": 2}),
                "status": message_status,
                "error": By("status", dict.fromkeys(("BOUNCED", "FAILED"), "550 No such user")),
                "scheduled_at": After("created_at", 0, _HOUR, null=0.3),
                "sent_at": After("created_at", 1, _HOUR, when=("status", _SENT)),
                "delivered_at": After("sent_at", 1, _MINUTE, when=("status", ("DELIVERED",))),
                "opened_at": After("delivered_at", _MINUTE, 2 * _DAY, null=0.55),
                "clicked_at": After("opened_at", _MINUTE, _HOUR, null=0.8),
                "replied_at": After("opened_at", _MINUTE, 3 * _DAY, null=0.88),
                "bounced_at": After("sent_at", 1, _HOUR, when=("status", ("BOUNCED",))),
                "open_count": open_count,
                "click_count": click_count,
            },
        ),
        Shape(
            "activities",
            share=12,
            owner="prospects",
            columns={
                "status": Pick({"COMPLETED": 7, "PENDING": 2, "CANCELED": 1}),
                "completed_at": After(
                    "created_at", _HOUR, 10 * _DAY, when=("status", ("COMPLETED",))
                ),
            },
        ),
        Shape(
            "ai_insights",
            share=4,
            owner="prospects",
            columns={
                "campaign_id": choice(None),
                "recommendation": Phrase("{verb} {first} this week and {verb} the {noun}."),
                "model": choice("example-1", "example-2"),
                "reviewed_at": After(
                    "created_at", _HOUR, 5 * _DAY, when=("status", ("ACCEPTED", "DISMISSED"))
                ),
            },
        ),
        Shape(
            "audit_logs",
            share=8.4,
            owner="organisations",
            event=True,
            columns={
                "actor": Phrase("{noun}{number}@example.com"),
                "entity": Pick({"prospects": 6, "messages": 3, "campaigns": 1, "users": 1}),
                "entity_id": Unique("cuid", name="entity"),
                "user_agent": _BROWSER,
                "deleted_at": choice(None),
            },
        ),
    )
)
