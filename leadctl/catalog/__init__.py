"""What a database has: its relations, and the definitions that are compared."""
