"""WhatsApp campaigns: contacts, templates, messages and the webhooks that report on them."""
