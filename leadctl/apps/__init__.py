"""Apps: a registry, and one folder for each that is built in."""
