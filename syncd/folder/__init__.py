"""Async. One folder's work on this device: look at its disk, follow its peers, fetch, put in place, serve."""
