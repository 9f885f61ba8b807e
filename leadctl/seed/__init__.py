"""Bringing rows in: fixtures, files of rows, synthetic rows."""
