"""Inspect: what the server knows about itself, one report a question."""
