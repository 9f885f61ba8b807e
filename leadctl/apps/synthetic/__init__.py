"""Synthetic rows: what a factory declares, and the arithmetic that makes rows of it.

Every value is a function of the run's seed and the row's number, so that any process can make any
part of any table, and a child knows its parent's key without asking the database.  Nothing here
imports SQLAlchemy: the processes that make rows start quickly.
"""
