"""Restoring a backup: loaded into a new database, compared with its manifest."""
