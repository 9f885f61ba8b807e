"""The synthetic rows of leadconnector: a year of leads, delivered to webhooks."""

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
)
from leadctl.apps.synthetic.pools import phrases
from leadctl.apps.synthetic.shapes import Factory, Shape

_MINUTE, _HOUR, _DAY = 60, 3600, 86_400
_FINAL = ("DELIVERED", "FAILED", "ARCHIVED")


def lead_data(chunk: Chunk) -> Values:
    """What Facebook sends of a form: names and values."""
    firsts = chunk.draw("first", phrases("{first}"))
    lasts = chunk.draw("last", phrases("{last}"))
    cities = chunk.draw("city", phrases("{city}"))
    numbers = chunk.draw("number", phrases("{number}"))
    return [
        f'{{"field_data": [{{"name": "full_name", "values": ["{first} {last}"]}}, '
        f'{{"name": "email", "values": ["{first}.{last}{number}@example.com"]}}, '
        f'{{"name": "phone_number", "values": ["+1202555{number}"]}}, '
        f'{{"name": "city", "values": ["{city}"]}}], "is_organic": false, "platform": "fb"}}'
        for first, last, city, number in zip(firsts, lasts, cities, numbers, strict=True)
    ]


def campaigns(chunk: Chunk) -> Values:
    """The campaign that each lead came from, as a number: an organic lead came from none."""
    return chunk.made("campaigns", lambda: _campaigns(chunk))


def _campaigns(chunk: Chunk) -> Values:
    # A page runs a handful of campaigns; a tenth of the leads is organic.
    return [
        None if bits < 6554 else (page * 7 + bits % 5) % 1_000_000
        for page, bits in zip(chunk.owners, chunk.bits("campaign"), strict=True)
    ]


def campaign_id(chunk: Chunk) -> Values:
    """The campaign's id at Facebook."""
    return [None if n is None else f"120210{n:09d}" for n in campaigns(chunk)]


def adset_id(chunk: Chunk) -> Values:
    """The ad set's id at Facebook."""
    return [None if n is None else f"120211{n:09d}" for n in campaigns(chunk)]


def ad_id(chunk: Chunk) -> Values:
    """The ad's id at Facebook."""
    return [None if n is None else f"120212{n:09d}" for n in campaigns(chunk)]


def campaign_name(chunk: Chunk) -> Values:
    """The campaign's name."""
    return _named(chunk, "{adjective} {noun} campaign")


def adset_name(chunk: Chunk) -> Values:
    """The ad set's name."""
    return _named(chunk, "{city}, {noun}")


def ad_name(chunk: Chunk) -> Values:
    """The ad's name."""
    return _named(chunk, "{verb} your {noun}")


def _named(chunk: Chunk, form: str) -> Values:
    pool = phrases(form)
    return [None if n is None else pool[n & 0xFFFF] for n in campaigns(chunk)]


def form_id(chunk: Chunk) -> Values:
    """The form's id: a page has three forms."""
    return [
        f"130{page:09d}{bits % 3}"
        for page, bits in zip(chunk.owners, chunk.bits("form"), strict=True)
    ]


def status_code(chunk: Chunk) -> Values:
    """What the webhook answered: nothing yet, or not at all, where there is none."""
    good = chunk.draw("good", _GOOD)
    bad = chunk.draw("bad", _BAD)
    return [
        yes if status == "SUCCESS" else None if status == "PENDING" else no
        for status, yes, no in zip(chunk["status"], good, bad, strict=True)
    ]


def response_body(chunk: Chunk) -> Values:
    """The body of an answer, now and then."""
    return [
        '{"received": true}' if code == "200" and bits < 20_000 else None
        for code, bits in zip(chunk["status_code"], chunk.bits("body"), strict=True)
    ]


def error(chunk: Chunk) -> Values:
    """Why a delivery failed."""
    return [
        None if status in {"SUCCESS", "PENDING"} else f"HTTP {code}" if code else "Timeout"
        for status, code in zip(chunk["status"], chunk["status_code"], strict=True)
    ]


_GOOD = Pick({"200": 9, "201": 1, "202": 1, "204": 1}).pool
_BAD = Pick({"500": 4, "502": 2, "503": 2, "404": 2, "401": 1, "429": 1, None: 3}).pool

FACTORY = Factory(
    (
        Shape(
            "users",
            share=0.6,
            columns={
                "facebook_id": Unique("digits"),
                "name": Phrase("{first} {last}", null=0.03),
                "access_token": Unique("hex", "EAAG{}", name="access"),
                "refresh_token": Unique("hex", "EAAR{}", null=0.4, name="refresh"),
                "created_at": Made(),
                "updated_at": After("created_at", 0, 200 * _DAY),
                "last_login": After("updated_at", 0, 60 * _DAY, null=0.05),
                "token_expiry": After("updated_at", _DAY, 60 * _DAY, ahead=True),
                "image": Phrase("https://cdn.example.com/avatars/{noun}-{number}.jpg", null=0.2),
            },
        ),
        Shape(
            "pages",
            share=1.2,
            columns={
                "facebook_page_id": Unique("digits"),
                "name": Phrase("{adjective} {trade} {city}"),
                "category": Pick(
                    {"Business": 5, "Local service": 3, "Real estate": 2, "Health": 2, None: 1}
                ),
                "access_token": Unique("hex", "EAAP{}"),
                "is_active": Pick({"t": 0.88, "f": 0.12}),
                "updated_at": After("created_at", 0, 120 * _DAY),
            },
        ),
        Shape(
            "leads",
            share=44,
            event=True,
            columns={
                "facebook_lead_id": Unique("digits"),
                "form_id": form_id,
                "form_name": Phrase("{verb} {noun} form"),
                "campaign_id": campaign_id,
                "campaign_name": campaign_name,
                "adset_id": adset_id,
                "adset_name": adset_name,
                "ad_id": ad_id,
                "ad_name": ad_name,
                "lead_data": lead_data,
                "status": Pick(
                    {"DELIVERED": 74, "ARCHIVED": 11, "FAILED": 7, "NEW": 6, "PROCESSING": 2}
                ),
                "created_at": Made(),
                "processed_at": After("created_at", 1, 10 * _MINUTE, when=("status", _FINAL)),
            },
        ),
        Shape(
            "webhooks",
            share=0.9,
            columns={
                "name": Phrase("{trade} {noun} webhook"),
                "url": Phrase("https://hooks.{noun}.example/{verb}/{number}"),
                "method": Pick({"POST": 92, "PUT": 6, "PATCH": 2}),
                "headers": Json(
                    (
                        {"Content-Type": "application/json"},
                        {"Content-Type": "application/json", "X-Source": "{noun}"},
                    ),
                    null=0.3,
                ),
                "auth_type": Pick(
                    {"NONE": 5, "BEARER": 3, "API_KEY": 2, "BASIC": 1, "CUSTOM": 0.3}
                ),
                "auth_config": Json(
                    ({"header": "Authorization", "token": "{noun}-{number}"},), 0.5
                ),
                "retry_count": Pick({"3": 8, "5": 2, "1": 1}),
                "timeout_ms": Pick({"30000": 8, "10000": 2, "5000": 1}),
                "is_active": Pick({"t": 0.9, "f": 0.1}),
                "updated_at": After("created_at", 0, 120 * _DAY),
                "last_success": After("updated_at", 0, 90 * _DAY, null=0.08),
                "last_failure": After("updated_at", 0, 90 * _DAY, null=0.6),
            },
        ),
        Shape(
            "page_webhook_configs",
            share=1.1,
            owner="pages",
            even=True,
            at_most=1,
            columns={
                "webhook_id": Reference(Link("webhooks", through="users"), "id"),
                "is_active": Pick({"t": 0.93, "f": 0.07}),
            },
        ),
        Shape(
            "webhook_deliveries",
            share=52,
            owner="leads",
            even=True,
            columns={
                "webhook_id": Reference(Link("webhooks", through="users"), "id"),
                "status": Pick({"SUCCESS": 86, "FAILED": 9, "RETRYING": 3, "PENDING": 2}),
                "status_code": status_code,
                "response_body": response_body,
                "error": error,
                "attempt_number": Pick({"1": 88, "2": 8, "3": 4}),
                "created_at": After("created_at", 1, 5 * _MINUTE, of_owner=True),
                "completed_at": After("created_at", 0, 30, when=("status", ("SUCCESS", "FAILED"))),
                "next_retry_at": After(
                    "created_at", _MINUTE, _HOUR, when=("status", ("RETRYING",)), ahead=True
                ),
            },
        ),
    )
)
