"""Rendering: results become text, one writer per output format."""
