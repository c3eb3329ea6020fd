"""Blocking. `syncd run` is the daemon; `syncd stop` ends one."""

from __future__ import annotations

import gc
import os
import time
from typing import Annotated

import typer

from syncd.cli.session import Session, command
from syncd.cli.terminal import warn_root
from syncd.errors import SyncdError
from syncd.home import is_locked, lock_home, prepare_home

STOP_TIMEOUT_S = 30.0
POLL_S = 0.02
WHILE_LOADING = 20_000
"""Objects that come before Python looks for circles of them: what is loaded stays, and at its own 700 looking takes a
tenth of the start. The daemon sets its own pace (`daemon.main.COLLECT_AFTER`)."""


@command(dry_run=False)
def run(
    session: Session,
    foreground: Annotated[bool, typer.Option("--foreground", help="What it does anyway; for service files.")] = True,
) -> None:
    """Run the daemon in the foreground until Ctrl-C or `syncd stop`. The log goes to stderr."""
    home = session.place.home
    warn_root(session.terminal)
    prepare_home(home)
    with lock_home(home):
        from syncd.config import load_settings

        settings = load_settings(home, socket=session.place.socket)
        gc.set_threshold(WHILE_LOADING)
        from syncd.daemon import run as run_daemon  # a second: only a daemon that will run pays for it

        os.chdir("/")  # a daemon must not keep a file system busy only because it was started there
        run_daemon(settings)


@command(dry_run=False)
def stop(session: Session) -> None:
    """Stop the daemon of this home and wait until it has ended."""
    done = session.call("stop")
    deadline = time.monotonic() + (session.timeout_s or STOP_TIMEOUT_S)
    while is_locked(session.place.home):
        if time.monotonic() > deadline:
            raise SyncdError(f"syncd with pid {done['pid']} has not ended yet", id="SY-HOME-05", why="It was told to.")
        time.sleep(POLL_S)
    session.show(done, lambda: f"Stopped (pid {done['pid']}).")
