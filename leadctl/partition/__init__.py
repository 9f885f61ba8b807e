"""Partitioning a table by time, as a revision."""
