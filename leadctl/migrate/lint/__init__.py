"""Lint: what is dangerous in a revision, by squawk's rules and by ours, which ask the catalog."""
