"""Point in time: an archive of a server and its WAL, by Barman, and what is recovered from it."""
