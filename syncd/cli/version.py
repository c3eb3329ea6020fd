"""Blocking. `syncd version`: of this program, and with -v of the daemon that runs."""

from __future__ import annotations

import platform

from syncd import __version__
from syncd.cli import text
from syncd.cli.client import Json, NotRunning
from syncd.cli.session import Session, command

SCHEMA = "syncd.version/1"


@command()
def version(session: Session) -> None:
    """Print the version; with -v also Python, and the daemon's. `--json` prints syncd.version/1."""
    daemon = _maybe_daemon(session) if session.flags.verbose or session.json else None
    found = {"schema": SCHEMA, "version": __version__, "python": platform.python_version(), "daemon": daemon}
    session.show(found, lambda: version_lines(found, session.flags.verbose))


def _maybe_daemon(session: Session) -> Json | None:
    try:
        return session.call("version")
    except NotRunning:
        return None


def version_lines(found: Json, verbose: bool) -> list[str]:
    first = f"syncd {found['version']}"
    if not verbose:
        return [first]
    daemon = found["daemon"]
    if daemon is None:
        return [first, f"python {found['python']}", "daemon not running"]
    running = f"daemon {daemon['version']}, pid {daemon['pid']}, up {text.duration(daemon['uptime_s'])}"
    return [first, f"python {found['python']}", running, f"listens on {', '.join(daemon['listen'])}"]
