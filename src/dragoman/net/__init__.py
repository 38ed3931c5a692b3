"""Sockets: listeners, the upstream client, deadlines, child processes. Knows bytes, knows no chat."""
