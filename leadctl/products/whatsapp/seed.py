"""The fixtures of whatsapp: a user whose one campaign was sent, and how its contacts took it.

The counts of the campaign are those of its messages.
"""

from datetime import UTC, datetime

from leadctl.apps.fixtures import Fixture

_AGREED = datetime(2026, 1, 5, 10, 0, tzinfo=UTC)
_SENT = datetime(2026, 1, 15, 9, 0, tzinfo=UTC)
_READ = datetime(2026, 1, 15, 9, 5, tzinfo=UTC)
_STOPPED = datetime(2026, 1, 15, 9, 30, tzinfo=UTC)

USER = Fixture(
    "users",
    key={"email": "test@example.com"},
    values={
        "business_name": "Test Business",
        "waba_id": "test_waba_id",
        "phone_number_id": "test_phone_number_id",
        "access_token": "test_access_token",
        "webhook_verify_token": "test_webhook_verify_token",
        "subscription_tier": "pro",
    },
)


def _contact(phone: str, **values: object) -> Fixture:
    return Fixture("contacts", key={"user_id": USER.ref(), "phone": phone}, values=values)


CUSTOMER = _contact(
    "+12025550101",
    name="Ada Customer",
    email="ada@example.com",
    opted_in=True,
    opted_in_at=_AGREED,
    opt_in_source="csv",
    tags=["customer", "vip"],
    metadata={"city": "Lyon"},
)
SUBSCRIBER = _contact(
    "+12025550102",
    name="Bob Subscriber",
    opted_in=True,
    opted_in_at=_AGREED,
    opt_in_source="webhook",
    tags=["newsletter"],
)
OPTED_OUT = _contact(
    "+12025550103",
    name="Cleo Former",
    opted_in_at=_AGREED,
    opted_out_at=_STOPPED,
    opt_in_source="api",
    tags=["customer"],
)
PROSPECT = _contact("+12025550104", name="Dan Prospect", opt_in_source="manual")

APPROVED = Fixture(
    "templates",
    key={"user_id": USER.ref(), "name": "spring_sale"},
    values={
        "whatsapp_template_id": "test_template_id",
        "category": "marketing",
        "status": "approved",
        "components": [{"type": "BODY", "text": "Hello {{1}}, our spring sale is open."}],
        "approved_at": _AGREED,
    },
)

DRAFT = Fixture(
    "templates",
    key={"user_id": USER.ref(), "name": "order_shipped"},
    values={
        "category": "utility",
        "components": [{"type": "BODY", "text": "Your order {{1}} is on its way."}],
    },
)

CAMPAIGN = Fixture(
    "campaigns",
    key={"id": "5f0c2a52-6f0e-4c39-9f0a-7d4b1c1e0001"},
    values={
        "user_id": USER.ref(),
        "name": "Spring Sale",
        "template_id": APPROVED.ref(),
        "message_type": "template",
        "message_content": {"parameters": ["Customer"]},
        "status": "completed",
        "scheduled_at": _SENT,
        "started_at": _SENT,
        "completed_at": _READ,
        "total_recipients": 3,
        "sent_count": 2,
        "delivered_count": 2,
        "read_count": 1,
        "failed_count": 1,
    },
)


def _message(name: str, contact: Fixture, **values: object) -> Fixture:
    common = {"contact_id": contact.ref(), "user_id": USER.ref()}
    key = {"whatsapp_message_id": f"wamid.test_{name}"}
    return Fixture("messages", key=key, values={**common, **values})


def _from_campaign(status: str, contact: Fixture, **values: object) -> Fixture:
    return _message(
        status,
        contact,
        campaign_id=CAMPAIGN.ref(),
        direction="outbound",
        type="template",
        content={"parameters": ["Customer"]},
        status=status,
        sent_at=_SENT,
        **values,
    )


READ = _from_campaign("read", CUSTOMER, delivered_at=_SENT, read_at=_READ)
DELIVERED = _from_campaign("delivered", OPTED_OUT, delivered_at=_SENT)
FAILED = _from_campaign(
    "failed",
    SUBSCRIBER,
    failed_at=_SENT,
    error_code="131026",
    error_message="Message undeliverable",
    retry_count=3,
)
STOP = _message(
    "stop",
    OPTED_OUT,
    direction="inbound",
    type="text",
    content={"body": "STOP"},
    status="delivered",
    delivered_at=_STOPPED,
)

EVENT = Fixture(
    "webhook_events",
    key={"id": "5f0c2a52-6f0e-4c39-9f0a-7d4b1c1e0002"},
    values={
        "user_id": USER.ref(),
        "event_type": "message_status",
        "payload": {"statuses": [{"id": "wamid.test_read", "status": "read"}]},
        "message_id": READ.ref(),
        "processed": True,
        "processed_at": lambda: datetime.now(UTC),
    },
)

FIXTURES = (
    USER,
    CUSTOMER,
    SUBSCRIBER,
    OPTED_OUT,
    PROSPECT,
    APPROVED,
    DRAFT,
    CAMPAIGN,
    READ,
    DELIVERED,
    FAILED,
    STOP,
    EVENT,
)
