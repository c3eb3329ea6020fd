"""Async. What people ask of a daemon: the methods of the control socket, and what they need."""
