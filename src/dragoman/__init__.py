"""Dragoman: a self-hosted gateway between any chat client and any large language model."""

__version__ = "0.1.0"
