"""Keeps conversations and accounts: in SQLite by default, in PostgreSQL by URL. Knows rows, no format and no socket."""

from dragoman.store.store import Store, open_store

__all__ = ["Store", "open_store"]
