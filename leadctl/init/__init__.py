"""Init: leadctl for a project's own models, or for a database that exists already."""
