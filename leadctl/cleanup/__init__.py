"""Retention: deleting, by rules, what an app no longer needs."""
