"""The synthetic rows of salesagent: organisations, their prospects, and a year of outreach."""

from leadctl.apps.synthetic.chunk import Chunk, Values
from leadctl.apps.synthetic.makers import (
    PASSWORD_HASH,
    After,
    Fraction,
    Json,
    Link,
    Made,
    Phrase,
    Pick,
    Reference,
    Unique,
    Whole,
    choice,
)
from leadctl.apps.synthetic.pools import phrases
from leadctl.apps.synthetic.shapes import Factory, Shape

_MINUTE, _HOUR, _DAY = 60, 3600, 86_400
_SENT = ("SENT", "DELIVERED", "BOUNCED")
_LANGUAGE = Pick({"en": 6, "fr": 4})
_UPDATED = After("created_at", 0, 60 * _DAY)
_DELETED = After("created_at", _DAY, 200 * _DAY, null=0.97)
_COMMON = {"updated_at": _UPDATED, "deleted_at": _DELETED}


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

    def make() -> Values:
        sequences = _one_of(
            chunk, "email_sequences", chunk.owned_by("organisations"),
            [campaign or 0 for campaign in _campaigns(chunk)],
        )  # fmt: skip
        starts = chunk.world.layout.starts("sequence_steps")
        return [
            None if sequence is None or campaign is None
            else step if (step := starts[sequence] + position) < starts[sequence + 1] else None
            for sequence, campaign, position in zip(
                sequences, _campaigns(chunk), chunk.positions, strict=True
            )
        ]  # fmt: skip

    return chunk.made("step of the message", make)


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


def _seldom(share: float, within: int, after: str) -> After:
    return After(after, _MINUTE, within, null=1.0 - share)


def open_count(chunk: Chunk) -> Values:
    """How often a message was opened."""
    return [0 if t is None else 1 + b % 3
            for t, b in zip(chunk["opened_at"], chunk.bits("opens"), strict=True)]  # fmt: skip


def click_count(chunk: Chunk) -> Values:
    """How often a link in it was."""
    return [0 if time is None else 1 for time in chunk["clicked_at"]]


def bounce(chunk: Chunk) -> Values:
    """What the provider said of a message that came back."""
    return ["550 No such user" if s in {"BOUNCED", "FAILED"} else None for s in chunk["status"]]


def canceled_at(chunk: Chunk) -> Values:
    """When a canceled subscription was."""
    return [time if status == "CANCELED" else None
            for time, status in zip(chunk["updated_at"], chunk["status"], strict=True)]  # fmt: skip


def job_actor(chunk: Chunk) -> Values:
    """Who it was at the time: an address."""
    heads = chunk.draw("actor", phrases("{noun}{number}@example.com"))
    return list(heads)


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
                "region": Pick({"EU": 6, "US": 3, "CA": 1}),
                "language": _LANGUAGE,
                "updated_at": _UPDATED,
                "deleted_at": After("created_at", _DAY, 200 * _DAY, null=0.99),
            },
        ),
        Shape(
            "users",
            share=0.8,
            columns={
                "password_hash": PASSWORD_HASH,
                "first_name": Phrase("{first}"),
                "last_name": Phrase("{last}"),
                "role": Pick({"MEMBER": 7, "ADMIN": 2, "OWNER": 1}),
                "status": Pick({"ACTIVE": 96, "SUSPENDED": 4}),
                "language": _LANGUAGE,
                "last_login_at": After("created_at", _HOUR, 200 * _DAY, null=0.05),
                **_COMMON,
            },
        ),
        Shape(
            "sessions",
            share=3,
            owner="users",
            columns={
                "token_hash": Unique("hex"),
                "ip_address": choice("203.0.113.7", "198.51.100.23", "2001:db8::7", None),
                "user_agent": choice("Mozilla/5.0 (Macintosh)", "Mozilla/5.0 (Windows NT 10.0)"),
                "expires_at": After("created_at", _DAY, 30 * _DAY, ahead=True),
                "updated_at": _UPDATED,
                "deleted_at": _DELETED,
            },
        ),
        Shape(
            "subscriptions",
            share=0.1,
            even=True,
            at_most=1,
            columns={
                "plan": Pick({"FREE": 4, "STARTER": 3, "PROFESSIONAL": 2, "ENTERPRISE": 1}),
                "status": Pick({"ACTIVE": 7, "TRIALING": 2, "PAST_DUE": 0.5, "CANCELED": 1}),
                "billing_interval": Pick({"MONTHLY": 7, "YEARLY": 3}),
                "price_cents": Pick({"0": 4, "4900": 3, "19900": 2, "99900": 1}),
                "currency": Pick({"EUR": 6, "USD": 3, "CAD": 1}),
                "seats": Whole(1, 60, tail=3),
                "current_period_start": Made(),
                "current_period_end": After(
                    "current_period_start", 30 * _DAY, 365 * _DAY, ahead=True
                ),
                "canceled_at": canceled_at,
                "external_id": Unique("token", "sub_{}", null=0.2),
                **_COMMON,
            },
        ),
        Shape(
            "icps",
            share=0.3,
            columns={
                "name": Unique("token", "Profile {}"),
                "description": Phrase("{adjective} {trade} in {country}", null=0.3),
                "industries": Pick({"{software}": 3, "{manufacturing,logistics}": 2, "{}": 1}),
                "countries": Pick({"{FR,BE}": 3, "{US,CA}": 2, "{DE}": 1}),
                "job_titles": Pick({"{CEO,COO}": 2, '{"Head of Sales"}': 2, "{}": 1}),
                "min_employees": Whole(1, 50),
                "max_employees": Whole(51, 5000, tail=2),
                "min_score": Whole(30, 80),
                "criteria": Json(({}, {"keyword": "{noun}"})),
                **_COMMON,
            },
        ),
        Shape(
            "prospects",
            share=25,
            columns={
                "icp_id": Reference(
                    Link("icps", through="organisations", null=0.2, required=False), "id"
                ),
                "first_name": Phrase("{first}", null=0.05),
                "last_name": Phrase("{last}", null=0.05),
                "job_title": choice("CEO", "COO", "Head of Sales", "Buyer", "Founder", None),
                "phone": Unique("phone", null=0.4),
                "linkedin_url": Phrase("https://www.linkedin.com/in/{noun}-{number}", null=0.3),
                "company_name": Phrase("{adjective} {trade}", null=0.1),
                "company_domain": Phrase("{noun}-{number}.example", null=0.2),
                "country": Phrase("{country}", null=0.1),
                "language": _LANGUAGE,
                "stage": Pick(
                    {
                        "NEW": 30,
                        "CONTACTED": 36,
                        "ENGAGED": 13,
                        "QUALIFIED": 7,
                        "MEETING": 4,
                        "WON": 3,
                        "LOST": 7,
                    }
                ),
                "source": Pick({"IMPORT": 5, "ENRICHMENT": 3, "INBOUND": 1, "MANUAL": 1}),
                "score": Whole(0, 100, null=0.2, name="score"),
                "fit_score": Whole(0, 100, null=0.2, name="fit"),
                "intent_score": Whole(0, 100, tail=2, null=0.3, name="intent"),
                "tags": Pick({"{}": 5, "{hot}": 1, "{saas}": 2, "{event,2025}": 1}),
                "enrichment": Json(({}, {"employees": 40, "city": "{city}", "tech": "{noun}"})),
                "last_contacted_at": After("created_at", _DAY, 90 * _DAY, null=0.35),
                "unsubscribed_at": After("created_at", _DAY, 90 * _DAY, null=0.97),
                **_COMMON,
            },
        ),
        Shape(
            "email_sequences",
            share=0.2,
            columns={
                "name": Unique("token", "Sequence {}"),
                "description": Phrase("{verb} the {noun}", null=0.3),
                "status": Pick({"ACTIVE": 7, "DRAFT": 2, "ARCHIVED": 1}),
                "language": _LANGUAGE,
                **_COMMON,
            },
        ),
        Shape(
            "sequence_steps",
            share=0.8,
            owner="email_sequences",
            even=True,
            columns={
                "delay_days": Whole(0, 14, tail=2),
                "subject_template": Phrase("{{{{first_name}}}}: {verb} your {noun}"),
                "body_template": Phrase("Hello {{{{first_name}}}}, {verb} the {adjective} {noun}."),
                **_COMMON,
            },
        ),
        Shape(
            "campaigns",
            share=0.3,
            columns={
                "sequence_id": campaign_sequence,
                "name": Phrase("{adjective} {noun} {number}"),
                "description": Phrase("{verb} the {noun}", null=0.4),
                "status": Pick(
                    {
                        "ACTIVE": 3,
                        "COMPLETED": 5,
                        "PAUSED": 1,
                        "DRAFT": 1,
                        "SCHEDULED": 1,
                        "CANCELED": 0.5,
                    }
                ),
                "daily_limit": Pick({"50": 6, "100": 3, "200": 1}),
                "starts_at": After("created_at", _HOUR, 10 * _DAY),
                "ends_at": After("starts_at", 10 * _DAY, 60 * _DAY, null=0.3, ahead=True),
                **_COMMON,
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
                "subject": Phrase("{verb} your {noun}", null=0.08),
                "body": Phrase(
                    "Hello {first}, {verb} the {adjective} {noun} and {verb} the {noun}."
                ),
                "external_id": Unique("cuid", "<{}@mail.example>", null=0.05),
                "error": bounce,
                "scheduled_at": After("created_at", 0, _HOUR, null=0.3),
                "sent_at": After("created_at", 1, _HOUR, when=("status", _SENT)),
                "delivered_at": After("sent_at", 1, _MINUTE, when=("status", ("DELIVERED",))),
                "opened_at": _seldom(0.45, 2 * _DAY, "delivered_at"),
                "clicked_at": _seldom(0.2, _HOUR, "opened_at"),
                "replied_at": _seldom(0.12, 3 * _DAY, "opened_at"),
                "bounced_at": After("sent_at", 1, _HOUR, when=("status", ("BOUNCED",))),
                "open_count": open_count,
                "click_count": click_count,
                "updated_at": After("created_at", 0, 3 * _DAY),
                "deleted_at": _DELETED,
            },
        ),
        Shape(
            "activities",
            share=12,
            owner="prospects",
            columns={
                "type": Pick({"TASK": 4, "CALL": 3, "EMAIL": 3, "MEETING": 1, "NOTE": 2}),
                "status": Pick({"COMPLETED": 7, "PENDING": 2, "CANCELED": 1}),
                "priority": Pick({"MEDIUM": 6, "LOW": 2, "HIGH": 2}),
                "title": Phrase("{verb} the {noun}"),
                "description": Phrase("{verb} {first} and {verb} the {noun}.", null=0.5),
                "due_at": After("created_at", _HOUR, 14 * _DAY, null=0.2, ahead=True),
                "completed_at": After(
                    "created_at", _HOUR, 10 * _DAY, when=("status", ("COMPLETED",))
                ),
                **_COMMON,
            },
        ),
        Shape(
            "ai_insights",
            share=4,
            owner="prospects",
            columns={
                "campaign_id": choice(None),
                "type": Pick(
                    {"QUALIFICATION": 4, "NEXT_ACTION": 3, "TIMING": 2, "MESSAGING": 1, "RISK": 1}
                ),
                "status": Pick({"NEW": 5, "ACCEPTED": 3, "DISMISSED": 2}),
                "title": Phrase("{verb} the {noun}"),
                "recommendation": Phrase("{verb} {first} this week and {verb} the {noun}."),
                "confidence": Fraction(0.3, 0.99),
                "model": choice("example-1", "example-2"),
                "evidence": Json(({"pages": ["/pricing"], "opened_emails": 3}, {"tag": "{noun}"})),
                "reviewed_at": After(
                    "created_at", _HOUR, 5 * _DAY, when=("status", ("ACCEPTED", "DISMISSED"))
                ),
                **_COMMON,
            },
        ),
        Shape(
            "audit_logs",
            share=8.4,
            owner="organisations",
            event=True,
            columns={
                "organisation_id": Reference(Link("organisations", through="organisations"), "id"),
                "actor": job_actor,
                "action": Pick(
                    {
                        "UPDATE": 5,
                        "CREATE": 3,
                        "LOGIN": 4,
                        "LOGOUT": 2,
                        "DELETE": 0.5,
                        "EXPORT": 0.2,
                    }
                ),
                "entity": Pick({"prospects": 6, "messages": 3, "campaigns": 1, "users": 1}),
                "entity_id": Unique("cuid", name="entity"),
                "before": Json(({"stage": "NEW"},), null=0.5),
                "after": Json(({"stage": "CONTACTED"},), null=0.3),
                "ip_address": choice("203.0.113.7", "198.51.100.23", None),
                "user_agent": choice("Mozilla/5.0 (Macintosh)", None),
                "updated_at": After("created_at", 0, 1),
                "deleted_at": choice(None),
            },
        ),
    )
)
