"""The database: the only place that opens connections, takes locks and reads the catalog."""
