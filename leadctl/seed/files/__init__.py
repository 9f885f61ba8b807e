"""Seed files: rows as YAML, JSON or CSV, and SQL, that seeding brings into the database."""
