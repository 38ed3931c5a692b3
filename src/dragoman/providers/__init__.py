"""Kinds of upstream: one file each, found by its name."""
