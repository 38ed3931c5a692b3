"""Alembic's environment (`env.py`) and the steps between schemas (`versions/`)."""
