"""Async. The daemon. `run` is what `syncd run` calls; everything else is wired in `daemon.app`."""

from __future__ import annotations

from syncd.config import Settings


def run(settings: Settings) -> None:
    """Run the daemon until SIGTERM, SIGINT or `syncd stop`. Raises SyncdError when it cannot start."""
    from syncd.main import run_until_stopped  # trio and OpenSSL only where a daemon really runs

    run_until_stopped(settings)
