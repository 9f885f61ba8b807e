"""Retention rules: which rows of an app may go, and when, as data."""

from leadctl.settings.model import Rule

__all__ = ["Rule"]
