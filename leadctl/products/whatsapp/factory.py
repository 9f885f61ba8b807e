"""The synthetic rows of whatsapp: businesses, their contacts, and a year of messages."""

from leadctl.apps.synthetic.chunk import Chunk, Values
from leadctl.apps.synthetic.makers import (
    After,
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
_SENT = ("sent", "delivered", "read")
_USER = Reference(Link("users", through="users"), "id")


def direction(chunk: Chunk) -> Values:
    """Who wrote: a campaign's messages are ours, of the others half are answers."""
    return [
        "outbound" if campaign is not None or bits < 32_768 else "inbound"
        for campaign, bits in zip(chunk["campaign_id"], chunk.bits("direction"), strict=True)
    ]


def content_type(chunk: Chunk) -> Values:
    """What a message is made of: a campaign's is a template mostly."""
    others = chunk.draw("type", _TYPES)
    return [
        "template" if campaign is not None else other
        for campaign, other in zip(chunk["campaign_id"], others, strict=True)
    ]


def content(chunk: Chunk) -> Values:
    """The content, as the Business API has it for each type."""
    texts = chunk.draw("text", phrases("{verb} the {adjective} {noun}, {first}"))
    firsts = chunk.draw("parameter", phrases("{first}"))
    found = []
    for kind, text, first in zip(chunk["type"], texts, firsts, strict=True):
        if kind == "template":
            found.append(f'{{"parameters": ["{first}"]}}')
        elif kind == "text":
            found.append(f'{{"body": "{text}"}}')
        else:
            found.append(f'{{"link": "https://cdn.example.com/{first}", "caption": "{text}"}}')
    return found


def status(chunk: Chunk) -> Values:
    """How far a message came: an inbound one is there."""
    outbound = chunk.draw("status", _STATUSES)
    return [
        mine if way == "outbound" else "delivered"
        for way, mine in zip(chunk["direction"], outbound, strict=True)
    ]


def retry_count(chunk: Chunk) -> Values:
    """How often a failed message was tried again."""
    return [
        bits % 4 if state == "failed" else 0
        for state, bits in zip(chunk["status"], chunk.bits("retries"), strict=True)
    ]


def error_code(chunk: Chunk) -> Values:
    """Meta's code of a failure."""
    return ["131026" if state == "failed" else None for state in chunk["status"]]


def error_message(chunk: Chunk) -> Values:
    """Meta's words for a failure."""
    return ["Message undeliverable" if state == "failed" else None for state in chunk["status"]]


def payload(chunk: Chunk) -> Values:
    """What WhatsApp reports of a message."""
    numbers = chunk.draw("number", phrases("{number}"))
    return [
        f'{{"object": "whatsapp_business_account", "entry": [{{"changes": [{{"field": "messages", '
        f'"value": {{"statuses": [{{"status": "{kind}", "id": "wamid.{number}"}}]}}}}]}}]}}'
        for kind, number in zip(chunk["event_type"], numbers, strict=True)
    ]


def sent_count(chunk: Chunk) -> Values:
    """Messages that were sent; a draft or scheduled campaign has none yet."""
    return [
        0 if state in {"draft", "scheduled"} else total - total // 50
        for state, total in zip(chunk["status"], chunk["total_recipients"], strict=True)
    ]


def delivered_count(chunk: Chunk) -> Values:
    """Messages that came at least that far."""
    return [sent - sent // 20 for sent in chunk["sent_count"]]


def read_count(chunk: Chunk) -> Values:
    """Messages that were read."""
    return [delivered * 6 // 10 for delivered in chunk["delivered_count"]]


def failed_count(chunk: Chunk) -> Values:
    """Messages that were not sent after all."""
    return [
        total - sent if sent else 0
        for total, sent in zip(chunk["total_recipients"], chunk["sent_count"], strict=True)
    ]


_TYPES = Pick({"text": 85, "image": 10, "document": 5}).pool
_STATUSES = Pick({"read": 58, "delivered": 27, "sent": 6, "failed": 7, "queued": 2}).pool

FACTORY = Factory(
    (
        Shape(
            "users",
            share=0.2,
            columns={
                "business_name": Phrase("{adjective} {trade} {city}", null=0.05),
                "waba_id": Unique("digits", null=0.05, name="waba"),
                "phone_number_id": Unique("digits", null=0.05, name="phone"),
                "access_token": Unique("hex", "EAAW{}"),
                "webhook_verify_token": Unique("token", null=0.2, name="verify"),
                "subscription_tier": Pick({"free": 6, "basic": 3, "pro": 1}),
                "is_active": Pick({"t": 94, "f": 6}),
                "updated_at": After("created_at", 0, 90 * _DAY),
            },
        ),
        Shape(
            "contacts",
            share=18,
            columns={
                "phone": Unique("phone"),
                "name": Phrase("{first} {last}", null=0.15),
                "email": Phrase("contact{number}@example.com", null=0.7),
                "opted_in": Pick({"t": 78, "f": 22}),
                "opted_in_at": After("created_at", 0, _DAY, when=("opted_in", ("t",))),
                "opted_out_at": After(
                    "created_at", _DAY, 200 * _DAY, when=("opted_in", ("f",)), null=0.5
                ),
                "opt_in_source": Pick({"csv": 5, "api": 3, "manual": 1, "webhook": 1}),
                "tags": Pick({"{}": 4, "{customer}": 4, "{vip,customer}": 1, "{newsletter}": 2}),
                "metadata": Json(({}, {"city": "{city}", "source": "{noun}"})),
                "is_blocked": Pick({"f": 98.5, "t": 1.5}),
                "blocked_reason": choice(None),
                "updated_at": After("created_at", 0, 90 * _DAY),
            },
        ),
        Shape(
            "templates",
            share=0.6,
            columns={
                "name": Unique("token", "template_{}"),
                "whatsapp_template_id": Unique("digits", null=0.2),
                "language": Pick({"en_US": 5, "fr": 3, "es": 2, "pt_BR": 1}),
                "category": Pick({"marketing": 6, "utility": 3, "authentication": 1}),
                "status": Pick({"approved": 80, "draft": 8, "pending": 7, "rejected": 5}),
                "components": Json(
                    (
                        [{"type": "BODY", "text": "{verb} the {adjective} {noun}."}],
                        [
                            {"type": "HEADER", "format": "TEXT", "text": "{adjective} {noun}"},
                            {"type": "BODY", "text": "Hello, {verb} your {noun} today."},
                        ],
                    )
                ),
                "rejection_reason": choice(None),
                "approved_at": After("created_at", _HOUR, 3 * _DAY, when=("status", ("approved",))),
                "updated_at": After("created_at", _HOUR, 30 * _DAY),
            },
        ),
        Shape(
            "campaigns",
            share=1.2,
            columns={
                "name": Phrase("{adjective} {noun} {number}"),
                "message_type": Pick({"template": 9, "text": 1}),
                "message_content": Json(({"parameters": ["{first}"]},)),
                "status": Pick(
                    {
                        "completed": 86,
                        "draft": 6,
                        "scheduled": 3,
                        "processing": 1,
                        "failed": 2,
                        "paused": 2,
                    }
                ),
                "scheduled_at": After("created_at", _HOUR, 7 * _DAY, ahead=True),
                "started_at": After(
                    "created_at",
                    _HOUR,
                    7 * _DAY,
                    when=("status", ("completed", "processing", "failed", "paused")),
                ),
                "completed_at": After(
                    "started_at", _MINUTE, _HOUR, when=("status", ("completed",))
                ),
                "total_recipients": Whole(5, 20_000, tail=5),
                "sent_count": sent_count,
                "delivered_count": delivered_count,
                "read_count": read_count,
                "failed_count": failed_count,
                "error_message": choice(None),
                "updated_at": After("created_at", _HOUR, 8 * _DAY),
            },
        ),
        Shape(
            "messages",
            share=55,
            owner="contacts",
            event=True,
            columns={
                "user_id": _USER,
                "campaign_id": Reference(
                    Link("campaigns", through="users", null=0.35, required=False), "id"
                ),
                "whatsapp_message_id": Unique("cuid", "wamid.{}"),
                "direction": direction,
                "type": content_type,
                "content": content,
                "status": status,
                "created_at": Made(),
                "sent_at": After("created_at", 0, 30, when=("status", _SENT)),
                "delivered_at": After("sent_at", 1, _MINUTE, when=("status", _SENT[1:])),
                "read_at": After("delivered_at", 5, _DAY, when=("status", _SENT[2:])),
                "failed_at": After("created_at", 1, _HOUR, when=("status", ("failed",))),
                "error_code": error_code,
                "error_message": error_message,
                "retry_count": retry_count,
                "metadata": Json(({},)),
                "updated_at": After("created_at", 1, _DAY),
            },
        ),
        Shape(
            "webhook_events",
            share=25,
            owner="messages",
            even=True,
            columns={
                "user_id": _USER,
                "event_type": Pick({"delivered": 4, "read": 3, "sent": 3, "failed": 0.3}),
                "payload": payload,
                "received_at": After("created_at", 1, 10 * _MINUTE, of_owner=True),
                "created_at": After("received_at", 0, 1),
                "processed": Pick({"t": 98, "f": 2}),
                "processed_at": After("received_at", 0, 5, when=("processed", ("t",))),
                "error_message": choice(None),
            },
        ),
    )
)
