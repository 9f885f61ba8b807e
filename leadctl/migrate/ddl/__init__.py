"""Writing the SQL that turns one catalog into another."""
