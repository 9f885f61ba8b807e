"""Studio: looking at tables, rows and records of any database, read-only."""
