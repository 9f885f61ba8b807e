"""What leadconnector loads together: a row with the relations that its pages show."""

from sqlalchemy import Select, select
from sqlalchemy.orm import joinedload, selectinload

from leadctl.products.leadconnector.models import (
    Lead,
    Page,
    PageWebhookConfig,
    User,
    Webhook,
    WebhookDelivery,
)


def users_with_pages() -> Select[User]:
    """Users, each with its pages."""
    return select(User).options(selectinload(User.pages))


def users_with_webhooks() -> Select[User]:
    """Users, each with its webhooks."""
    return select(User).options(selectinload(User.webhooks))


def pages_with_leads() -> Select[Page]:
    """Pages, each with its leads."""
    return select(Page).options(selectinload(Page.leads))


def pages_with_webhooks() -> Select[Page]:
    """Pages, each with the webhooks that get its leads."""
    return select(Page).options(
        selectinload(Page.webhook_configs).joinedload(PageWebhookConfig.webhook)
    )


def leads_with_deliveries() -> Select[Lead]:
    """Leads, each with the attempts to deliver it."""
    return select(Lead).options(selectinload(Lead.deliveries))


def leads_with_page() -> Select[Lead]:
    """Leads, each with its page."""
    return select(Lead).options(joinedload(Lead.page))


def webhooks_with_deliveries() -> Select[Webhook]:
    """Webhooks, each with its deliveries."""
    return select(Webhook).options(selectinload(Webhook.deliveries))


def webhooks_with_pages() -> Select[Webhook]:
    """Webhooks, each with the pages whose leads it gets."""
    return select(Webhook).options(
        selectinload(Webhook.page_configs).joinedload(PageWebhookConfig.page)
    )


def deliveries_with_details() -> Select[WebhookDelivery]:
    """Deliveries, each with its webhook, its lead and the lead's page."""
    return select(WebhookDelivery).options(
        joinedload(WebhookDelivery.webhook),
        joinedload(WebhookDelivery.lead).joinedload(Lead.page),
    )
