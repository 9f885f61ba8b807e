-- Tokens stay as Node encrypted them until leadctl keys rotate: put the old key behind a new one, as
-- ENCRYPTION_KEYS=new:HEX,legacy/node:HEX.

-- In this zone a time without one becomes a time with one without being rewritten.
SET LOCAL TimeZone = 'UTC';

ALTER TYPE "AuthType" RENAME TO auth_type;
ALTER TYPE "DeliveryStatus" RENAME TO delivery_status;
ALTER TYPE "HttpMethod" RENAME TO http_method;
ALTER TYPE "LeadStatus" RENAME TO lead_status;

-- A unique index of the same column makes them superfluous.
DROP INDEX "users_email_idx";
DROP INDEX "users_facebookId_idx";
DROP INDEX "pages_facebookPageId_idx";
DROP INDEX "leads_facebookLeadId_idx";

ALTER TABLE pages DROP CONSTRAINT "pages_userId_fkey";
ALTER TABLE leads DROP CONSTRAINT "leads_pageId_fkey";
ALTER TABLE webhooks DROP CONSTRAINT "webhooks_userId_fkey";
ALTER TABLE page_webhook_configs DROP CONSTRAINT "page_webhook_configs_pageId_fkey";
ALTER TABLE page_webhook_configs DROP CONSTRAINT "page_webhook_configs_webhookId_fkey";
ALTER TABLE webhook_deliveries DROP CONSTRAINT "webhook_deliveries_leadId_fkey";
ALTER TABLE webhook_deliveries DROP CONSTRAINT "webhook_deliveries_webhookId_fkey";

ALTER TABLE users
    ALTER COLUMN "tokenExpiry" TYPE timestamp with time zone,
    ALTER COLUMN "createdAt" TYPE timestamp with time zone,
    ALTER COLUMN "updatedAt" TYPE timestamp with time zone,
    ALTER COLUMN "lastLogin" TYPE timestamp with time zone,
    ALTER COLUMN "createdAt" SET DEFAULT now(),
    ALTER COLUMN "updatedAt" SET DEFAULT now();
ALTER TABLE users RENAME COLUMN "facebookId" TO facebook_id;
ALTER TABLE users RENAME COLUMN "accessToken" TO access_token;
ALTER TABLE users RENAME COLUMN "refreshToken" TO refresh_token;
ALTER TABLE users RENAME COLUMN "tokenExpiry" TO token_expiry;
ALTER TABLE users RENAME COLUMN "createdAt" TO created_at;
ALTER TABLE users RENAME COLUMN "updatedAt" TO updated_at;
ALTER TABLE users RENAME COLUMN "lastLogin" TO last_login;
ALTER TABLE users RENAME CONSTRAINT users_pkey TO pk_users;

ALTER TABLE pages
    ALTER COLUMN "createdAt" TYPE timestamp with time zone,
    ALTER COLUMN "updatedAt" TYPE timestamp with time zone,
    ALTER COLUMN "createdAt" SET DEFAULT now(),
    ALTER COLUMN "updatedAt" SET DEFAULT now();
ALTER TABLE pages RENAME COLUMN "facebookPageId" TO facebook_page_id;
ALTER TABLE pages RENAME COLUMN "accessToken" TO access_token;
ALTER TABLE pages RENAME COLUMN "isActive" TO is_active;
ALTER TABLE pages RENAME COLUMN "userId" TO user_id;
ALTER TABLE pages RENAME COLUMN "createdAt" TO created_at;
ALTER TABLE pages RENAME COLUMN "updatedAt" TO updated_at;
ALTER TABLE pages RENAME CONSTRAINT pages_pkey TO pk_pages;

ALTER TABLE leads
    ALTER COLUMN "createdAt" TYPE timestamp with time zone,
    ALTER COLUMN "processedAt" TYPE timestamp with time zone,
    ALTER COLUMN "createdAt" SET DEFAULT now();
ALTER TABLE leads RENAME COLUMN "facebookLeadId" TO facebook_lead_id;
ALTER TABLE leads RENAME COLUMN "pageId" TO page_id;
ALTER TABLE leads RENAME COLUMN "formId" TO form_id;
ALTER TABLE leads RENAME COLUMN "formName" TO form_name;
ALTER TABLE leads RENAME COLUMN "campaignId" TO campaign_id;
ALTER TABLE leads RENAME COLUMN "campaignName" TO campaign_name;
ALTER TABLE leads RENAME COLUMN "adsetId" TO adset_id;
ALTER TABLE leads RENAME COLUMN "adsetName" TO adset_name;
ALTER TABLE leads RENAME COLUMN "adId" TO ad_id;
ALTER TABLE leads RENAME COLUMN "adName" TO ad_name;
ALTER TABLE leads RENAME COLUMN "leadData" TO lead_data;
ALTER TABLE leads RENAME COLUMN "createdAt" TO created_at;
ALTER TABLE leads RENAME COLUMN "processedAt" TO processed_at;
ALTER TABLE leads RENAME CONSTRAINT leads_pkey TO pk_leads;

ALTER TABLE webhooks
    ALTER COLUMN "lastSuccess" TYPE timestamp with time zone,
    ALTER COLUMN "lastFailure" TYPE timestamp with time zone,
    ALTER COLUMN "createdAt" TYPE timestamp with time zone,
    ALTER COLUMN "updatedAt" TYPE timestamp with time zone,
    ALTER COLUMN "createdAt" SET DEFAULT now(),
    ALTER COLUMN "updatedAt" SET DEFAULT now();
ALTER TABLE webhooks RENAME COLUMN "userId" TO user_id;
ALTER TABLE webhooks RENAME COLUMN "authType" TO auth_type;
ALTER TABLE webhooks RENAME COLUMN "authConfig" TO auth_config;
ALTER TABLE webhooks RENAME COLUMN "retryCount" TO retry_count;
ALTER TABLE webhooks RENAME COLUMN "timeoutMs" TO timeout_ms;
ALTER TABLE webhooks RENAME COLUMN "isActive" TO is_active;
ALTER TABLE webhooks RENAME COLUMN "lastSuccess" TO last_success;
ALTER TABLE webhooks RENAME COLUMN "lastFailure" TO last_failure;
ALTER TABLE webhooks RENAME COLUMN "createdAt" TO created_at;
ALTER TABLE webhooks RENAME COLUMN "updatedAt" TO updated_at;
ALTER TABLE webhooks RENAME CONSTRAINT webhooks_pkey TO pk_webhooks;

ALTER TABLE page_webhook_configs
    ALTER COLUMN "createdAt" TYPE timestamp with time zone,
    ALTER COLUMN "createdAt" SET DEFAULT now();
ALTER TABLE page_webhook_configs RENAME COLUMN "pageId" TO page_id;
ALTER TABLE page_webhook_configs RENAME COLUMN "webhookId" TO webhook_id;
ALTER TABLE page_webhook_configs RENAME COLUMN "isActive" TO is_active;
ALTER TABLE page_webhook_configs RENAME COLUMN "createdAt" TO created_at;
ALTER TABLE page_webhook_configs RENAME CONSTRAINT page_webhook_configs_pkey TO pk_page_webhook_configs;

ALTER TABLE webhook_deliveries
    ALTER COLUMN "nextRetryAt" TYPE timestamp with time zone,
    ALTER COLUMN "createdAt" TYPE timestamp with time zone,
    ALTER COLUMN "completedAt" TYPE timestamp with time zone,
    ALTER COLUMN "createdAt" SET DEFAULT now();
ALTER TABLE webhook_deliveries RENAME COLUMN "webhookId" TO webhook_id;
ALTER TABLE webhook_deliveries RENAME COLUMN "leadId" TO lead_id;
ALTER TABLE webhook_deliveries RENAME COLUMN "statusCode" TO status_code;
ALTER TABLE webhook_deliveries RENAME COLUMN "responseBody" TO response_body;
ALTER TABLE webhook_deliveries RENAME COLUMN "attemptNumber" TO attempt_number;
ALTER TABLE webhook_deliveries RENAME COLUMN "nextRetryAt" TO next_retry_at;
ALTER TABLE webhook_deliveries RENAME COLUMN "createdAt" TO created_at;
ALTER TABLE webhook_deliveries RENAME COLUMN "completedAt" TO completed_at;
ALTER TABLE webhook_deliveries RENAME CONSTRAINT webhook_deliveries_pkey TO pk_webhook_deliveries;

ALTER TABLE users ADD CONSTRAINT uq_users_email UNIQUE USING INDEX "users_email_key";
ALTER TABLE users ADD CONSTRAINT uq_users_facebook_id UNIQUE USING INDEX "users_facebookId_key";
ALTER TABLE pages ADD CONSTRAINT uq_pages_facebook_page_id
    UNIQUE USING INDEX "pages_facebookPageId_key";
ALTER TABLE leads ADD CONSTRAINT uq_leads_facebook_lead_id
    UNIQUE USING INDEX "leads_facebookLeadId_key";
ALTER TABLE page_webhook_configs ADD CONSTRAINT uq_page_webhook_configs_page_id_webhook_id
    UNIQUE USING INDEX "page_webhook_configs_pageId_webhookId_key";

ALTER INDEX "pages_isActive_idx" RENAME TO ix_pages_is_active;
ALTER INDEX "pages_userId_idx" RENAME TO ix_pages_user_id;
ALTER INDEX "leads_createdAt_idx" RENAME TO ix_leads_created_at;
ALTER INDEX "leads_pageId_idx" RENAME TO ix_leads_page_id;
ALTER INDEX "leads_status_idx" RENAME TO ix_leads_status;
ALTER INDEX "webhooks_isActive_idx" RENAME TO ix_webhooks_is_active;
ALTER INDEX "webhooks_userId_idx" RENAME TO ix_webhooks_user_id;
ALTER INDEX "page_webhook_configs_pageId_idx" RENAME TO ix_page_webhook_configs_page_id;
ALTER INDEX "page_webhook_configs_webhookId_idx" RENAME TO ix_page_webhook_configs_webhook_id;
ALTER INDEX "webhook_deliveries_leadId_idx" RENAME TO ix_webhook_deliveries_lead_id;
ALTER INDEX "webhook_deliveries_nextRetryAt_idx" RENAME TO ix_webhook_deliveries_next_retry_at;
ALTER INDEX "webhook_deliveries_status_idx" RENAME TO ix_webhook_deliveries_status;
ALTER INDEX "webhook_deliveries_webhookId_idx" RENAME TO ix_webhook_deliveries_webhook_id;

ALTER TABLE pages ADD CONSTRAINT fk_pages_user_id_users
    FOREIGN KEY (user_id) REFERENCES users (id) ON DELETE CASCADE;
ALTER TABLE leads ADD CONSTRAINT fk_leads_page_id_pages
    FOREIGN KEY (page_id) REFERENCES pages (id) ON DELETE CASCADE;
ALTER TABLE webhooks ADD CONSTRAINT fk_webhooks_user_id_users
    FOREIGN KEY (user_id) REFERENCES users (id) ON DELETE CASCADE;
ALTER TABLE page_webhook_configs ADD CONSTRAINT fk_page_webhook_configs_page_id_pages
    FOREIGN KEY (page_id) REFERENCES pages (id) ON DELETE CASCADE;
ALTER TABLE page_webhook_configs ADD CONSTRAINT fk_page_webhook_configs_webhook_id_webhooks
    FOREIGN KEY (webhook_id) REFERENCES webhooks (id) ON DELETE CASCADE;
ALTER TABLE webhook_deliveries ADD CONSTRAINT fk_webhook_deliveries_lead_id_leads
    FOREIGN KEY (lead_id) REFERENCES leads (id) ON DELETE CASCADE;
ALTER TABLE webhook_deliveries ADD CONSTRAINT fk_webhook_deliveries_webhook_id_webhooks
    FOREIGN KEY (webhook_id) REFERENCES webhooks (id) ON DELETE CASCADE;

CREATE INDEX idx_users_last_login ON users (last_login);
CREATE INDEX idx_pages_updated_at ON pages (updated_at);
CREATE INDEX idx_leads_form_id ON leads (form_id);
CREATE INDEX idx_leads_campaign_id ON leads (campaign_id);
CREATE INDEX idx_leads_page_status ON leads (page_id, status);
CREATE INDEX idx_webhook_deliveries_created_at ON webhook_deliveries (created_at);
CREATE INDEX idx_deliveries_webhook_status ON webhook_deliveries (webhook_id, status);
CREATE INDEX idx_deliveries_lead_status ON webhook_deliveries (lead_id, status);
