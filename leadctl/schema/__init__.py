"""Schemas: what tables consist of, in models or in a live database."""
