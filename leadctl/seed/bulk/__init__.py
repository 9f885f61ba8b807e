"""`seed --bulk`: synthetic rows by the million, for any models."""
