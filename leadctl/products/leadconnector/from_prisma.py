"""From the schema that Prisma made of the product's first models to that of this app.

The rows stay where they are; tokens stay as they are encrypted, and are read with a legacy key.
"""

import re
from collections.abc import Collection, Iterator, Mapping

TABLES: Mapping[str, tuple[str, ...]] = {
    "users": (
        "facebookId", "accessToken", "refreshToken", "tokenExpiry", "createdAt", "updatedAt",
        "lastLogin",
    ),
    "pages": (
        "facebookPageId", "accessToken", "isActive", "userId", "createdAt", "updatedAt",
    ),
    "leads": (
        "facebookLeadId", "pageId", "formId", "formName", "campaignId", "campaignName", "adsetId",
        "adsetName", "adId", "adName", "leadData", "createdAt", "processedAt",
    ),
    "webhooks": (
        "userId", "authType", "authConfig", "retryCount", "timeoutMs", "isActive", "lastSuccess",
        "lastFailure", "createdAt", "updatedAt",
    ),
    "page_webhook_configs": ("pageId", "webhookId", "isActive", "createdAt"),
    "webhook_deliveries": (
        "webhookId", "leadId", "statusCode", "responseBody", "attemptNumber", "nextRetryAt",
        "createdAt", "completedAt",
    ),
}  # fmt: skip
"""The columns of each table that have another name here."""

_ENUMS = ("AuthType", "DeliveryStatus", "HttpMethod", "LeadStatus")
_TIMES = ("tokenExpiry", "createdAt", "updatedAt", "lastLogin", "processedAt", "lastSuccess",
          "lastFailure", "nextRetryAt", "completedAt")  # fmt: skip
_NOW = ("createdAt", "updatedAt")
_UNIQUE = (
    ("users", "email"),
    ("users", "facebookId"),
    ("pages", "facebookPageId"),
    ("leads", "facebookLeadId"),
    ("page_webhook_configs", "pageId_webhookId"),
)
_REDUNDANT = ("users_email_idx", "users_facebookId_idx", "pages_facebookPageId_idx",
              "leads_facebookLeadId_idx")  # fmt: skip
"""Indexes that a unique one of the same column makes superfluous."""
_INDEXES = (
    ("pages", "isActive"), ("pages", "userId"), ("leads", "createdAt"), ("leads", "pageId"),
    ("leads", "status"), ("webhooks", "isActive"), ("webhooks", "userId"),
    ("page_webhook_configs", "pageId"), ("page_webhook_configs", "webhookId"),
    ("webhook_deliveries", "leadId"), ("webhook_deliveries", "nextRetryAt"),
    ("webhook_deliveries", "status"), ("webhook_deliveries", "webhookId"),
)  # fmt: skip
_FOREIGN = (
    ("pages", "userId", "users"),
    ("leads", "pageId", "pages"),
    ("webhooks", "userId", "users"),
    ("page_webhook_configs", "pageId", "pages"),
    ("page_webhook_configs", "webhookId", "webhooks"),
    ("webhook_deliveries", "leadId", "leads"),
    ("webhook_deliveries", "webhookId", "webhooks"),
)
_NEW_INDEXES = (
    "idx_users_last_login ON users (last_login)",
    "idx_pages_updated_at ON pages (updated_at)",
    "idx_leads_form_id ON leads (form_id)",
    "idx_leads_campaign_id ON leads (campaign_id)",
    "idx_leads_page_status ON leads (page_id, status)",
    "idx_webhook_deliveries_created_at ON webhook_deliveries (created_at)",
    "idx_deliveries_webhook_status ON webhook_deliveries (webhook_id, status)",
    "idx_deliveries_lead_status ON webhook_deliveries (lead_id, status)",
)


def is_from_prisma(tables: Mapping[str, Collection[str]]) -> bool:
    """Whether tables, given with their columns, are those that Prisma made for this product."""
    return all(set(columns) <= set(tables.get(table, ())) for table, columns in TABLES.items())


def statements() -> Iterator[str]:
    """Yield the SQL that takes the schema from Prisma's to this app's, at its second revision."""
    # In this zone a time without one becomes a time with one without being written anew.
    yield "SET LOCAL TimeZone = 'UTC'"
    for name in _ENUMS:
        yield f'ALTER TYPE "{name}" RENAME TO {_snake(name)}'
    for name in _REDUNDANT:
        yield f'DROP INDEX "{name}"'
    for table, column, _ in _FOREIGN:
        yield f'ALTER TABLE {table} DROP CONSTRAINT "{table}_{column}_fkey"'
    for table, columns in TABLES.items():
        changes = [
            f'ALTER COLUMN "{name}" TYPE timestamp with time zone'
            for name in columns
            if name in _TIMES
        ]
        changes += [f'ALTER COLUMN "{name}" SET DEFAULT now()' for name in columns if name in _NOW]
        yield f"ALTER TABLE {table} {', '.join(changes)}"
        for name in columns:
            yield f'ALTER TABLE {table} RENAME COLUMN "{name}" TO {_snake(name)}'
        yield f"ALTER TABLE {table} RENAME CONSTRAINT {table}_pkey TO pk_{table}"
    for table, columns_ in _UNIQUE:
        constraint = f"uq_{table}_{_snake(columns_)}"
        yield (
            f"ALTER TABLE {table} ADD CONSTRAINT {constraint} "
            f'UNIQUE USING INDEX "{table}_{columns_}_key"'
        )
    for table, column in _INDEXES:
        yield f'ALTER INDEX "{table}_{column}_idx" RENAME TO ix_{table}_{_snake(column)}'
    for table, column, referred in _FOREIGN:
        own = _snake(column)
        yield (
            f"ALTER TABLE {table} ADD CONSTRAINT fk_{table}_{own}_{referred} "
            f"FOREIGN KEY ({own}) REFERENCES {referred} (id) ON DELETE CASCADE"
        )
    for index in _NEW_INDEXES:
        yield f"CREATE INDEX {index}"


def _snake(name: str) -> str:
    return re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name).lower()
