"""The five built-in products: apps that come in by the registry, as a user's own does."""
