"""PostgreSQL: connections, targets, its programs, and the embedded server."""

OLDEST_MAJOR = 15
"""The oldest server that leadctl supports."""
LONGEST_NAME = 63
"""Bytes that the server keeps of a name: NAMEDATALEN less the end."""
