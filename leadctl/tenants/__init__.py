"""Tenants: schemas that hold one app's tables each, made, listed, renamed, moved and dropped."""
