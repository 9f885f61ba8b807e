"""Facebook leads, delivered to webhooks."""
