"""Statistics: the database, its tables, and the app's reports."""
