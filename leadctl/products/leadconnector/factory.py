"""The synthetic rows of leadconnector: a year of leads, delivered to webhooks."""

from dataclasses import dataclass

from leadctl.apps.synthetic.chunk import Chunk, Values
from leadctl.apps.synthetic.makers import After, Json, Phrase, Pick, choice
from leadctl.apps.synthetic.pools import phrases
from leadctl.apps.synthetic.shapes import Factory, Shape

_MINUTE, _HOUR = 60, 3600
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


@dataclass(frozen=True)
class CampaignId:
    """The id at Facebook of a lead's campaign, ad set or ad, which begins with its kind."""

    kind: str

    def __call__(self, chunk: Chunk) -> Values:
        """Make the values of a chunk."""
        return [None if n is None else f"{self.kind}{n:09d}" for n in campaigns(chunk)]


@dataclass(frozen=True)
class CampaignName:
    """The name of a lead's campaign, ad set or ad: the same for the same campaign."""

    form: str

    def __call__(self, chunk: Chunk) -> Values:
        """Make the values of a chunk."""
        pool = phrases(self.form)
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
        Shape("users", share=0.6),
        Shape(
            "pages",
            share=1.2,
            columns={
                "name": Phrase("{adjective} {trade} {city}"),
                "category": choice("Business", "Local service", "Real estate", "Health", None),
            },
        ),
        Shape(
            "leads",
            share=44,
            event=True,
            columns={
                "form_id": form_id,
                "form_name": Phrase("{verb} {noun} form"),
                "campaign_id": CampaignId("120210"),
                "campaign_name": CampaignName("{adjective} {noun} campaign"),
                "adset_id": CampaignId("120211"),
                "adset_name": CampaignName("{city}, {noun}"),
                "ad_id": CampaignId("120212"),
                "ad_name": CampaignName("{verb} your {noun}"),
                "lead_data": lead_data,
                "status": Pick(
                    {"DELIVERED": 74, "ARCHIVED": 11, "FAILED": 7, "NEW": 6, "PROCESSING": 2}
                ),
                "processed_at": After("created_at", 1, 10 * _MINUTE, when=("status", _FINAL)),
            },
        ),
        Shape(
            "webhooks",
            share=0.9,
            columns={
                "name": Phrase("{trade} {noun} webhook"),
                "headers": Json(({"Content-Type": "application/json"},), null=0.3),
                "retry_count": Pick({"3": 8, "5": 2, "1": 1}),
                "timeout_ms": Pick({"30000": 8, "10000": 2, "5000": 1}),
            },
        ),
        Shape("page_webhook_configs", share=1.1, even=True, at_most=1),
        Shape(
            "webhook_deliveries",
            share=52,
            owner="leads",
            even=True,
            columns={
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
