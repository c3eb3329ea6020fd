"""Async. Moves bytes between daemons: streams, listeners, dialling, peers, discovery."""
