"""PostgreSQL: connections, targets, its programs, and the embedded server."""
