"""Formats, each once and in both directions: pure functions between bytes and words."""
