"""Backups: made through pg_dump, compressed, encrypted, verified, and kept as long as is wanted."""
