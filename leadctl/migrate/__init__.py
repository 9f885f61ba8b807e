"""Migrations: the history in the folder, what the database has of it, and applying the rest."""
