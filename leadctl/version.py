"""The version of leadctl, for the package, its metadata and what backups record."""

__version__ = "0.1.0"
