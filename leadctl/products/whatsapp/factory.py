"""The synthetic rows of whatsapp: businesses, their contacts, and a year of messages."""

from leadctl.apps.synthetic.chunk import Chunk, Values
from leadctl.apps.synthetic.makers import (
    After,
    By,
    Json,
    Link,
    Phrase,
    Pick,
    Reference,
    Unique,
    choice,
)
from leadctl.apps.synthetic.pools import phrases
from leadctl.apps.synthetic.shapes import Factory, Shape

_MINUTE, _HOUR, _DAY = 60, 3600, 86_400
_SENT = ("sent", "delivered", "read")
_STARTED = ("completed", "processing", "failed", "paused")


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


_CAMPAIGNS = Pick(
    {"completed": 86, "draft": 6, "scheduled": 3, "processing": 1, "failed": 2, "paused": 2}
)
_TYPES = Pick({"text": 85, "image": 10, "document": 5}).pool
_STATUSES = Pick({"read": 58, "delivered": 27, "sent": 6, "failed": 7, "queued": 2}).pool

FACTORY = Factory(
    (
        Shape(
            "users",
            share=0.2,
            columns={
                "waba_id": Unique("digits", null=0.05, name="waba"),
                "phone_number_id": Unique("digits", null=0.05, name="phone"),
            },
        ),
        Shape(
            "contacts",
            share=18,
            columns={
                "opted_in_at": After("created_at", 0, _DAY, when=("opted_in", ("t",))),
                "opted_out_at": After(
                    "created_at", _DAY, 200 * _DAY, when=("opted_in", ("f",)), null=0.5
                ),
                "is_blocked": Pick({"f": 98.5, "t": 1.5}),
                "blocked_reason": By("is_blocked", {"t": "Complained"}),
            },
        ),
        Shape(
            "templates",
            share=0.6,
            columns={
                "whatsapp_template_id": Unique("digits", null=0.2),
                "language": choice("en_US", "fr", "es", "pt_BR"),
                "status": Pick({"approved": 80, "draft": 8, "pending": 7, "rejected": 5}),
                "components": Json(([{"type": "BODY", "text": "Hello, {verb} your {noun}."}],)),
                "rejection_reason": By("status", {"rejected": "Promotional content"}),
                "approved_at": After("created_at", _HOUR, 3 * _DAY, when=("status", ("approved",))),
            },
        ),
        Shape(
            "campaigns",
            share=1.2,
            columns={
                "name": Phrase("{adjective} {noun} {number}"),
                "message_type": Pick({"template": 9, "text": 1}),
                "message_content": Json(({"parameters": ["{first}"]},)),
                "status": _CAMPAIGNS,
                "started_at": After("created_at", _HOUR, 7 * _DAY, when=("status", _STARTED)),
                "completed_at": After(
                    "started_at", _MINUTE, _HOUR, when=("status", ("completed",))
                ),
                "sent_count": sent_count,
                "delivered_count": delivered_count,
                "read_count": read_count,
                "failed_count": failed_count,
                "error_message": By("status", {"failed": "The template was rejected"}),
            },
        ),
        Shape(
            "messages",
            share=55,
            owner="contacts",
            event=True,
            columns={
                "campaign_id": Reference(
                    Link("campaigns", through="users", null=0.35, required=False), "id"
                ),
                "whatsapp_message_id": Unique("cuid", "wamid.{}"),
                "direction": direction,
                "type": content_type,
                "content": content,
                "status": status,
                "sent_at": After("created_at", 0, 30, when=("status", _SENT)),
                "delivered_at": After("sent_at", 1, _MINUTE, when=("status", _SENT[1:])),
                "read_at": After("delivered_at", 5, _DAY, when=("status", _SENT[2:])),
                "failed_at": After("created_at", 1, _HOUR, when=("status", ("failed",))),
                "error_code": By("status", {"failed": "131026"}),
                "error_message": By("status", {"failed": "Message undeliverable"}),
                "retry_count": retry_count,
                "metadata": choice("{}"),
            },
        ),
        Shape(
            "webhook_events",
            share=25,
            owner="messages",
            even=True,
            columns={
                "user_id": Reference(Link("users", through="users"), "id"),
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
