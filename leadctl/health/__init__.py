"""Health: checks with evidence and a next step."""
