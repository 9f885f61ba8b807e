"""Fleets: one command over many targets."""
