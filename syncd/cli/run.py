"""Blocking. `syncd run` is the daemon; `syncd stop` ends one."""

from __future__ import annotations

import gc
import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

from syncd.cli.options import Option
from syncd.cli.session import Session, command
from syncd.cli.terminal import warn_root
from syncd.controlsocket import open_control, remove_control
from syncd.errors import SyncdError
from syncd.home import is_locked, lock_home, prepare_home

STOP_TIMEOUT_S = 30.0
POLL_S = 0.02


@command(dry_run=False)
def run(
    session: Session,
    foreground: Annotated[bool, Option("--foreground", help="What it does anyway; for service files.")] = True,
) -> None:
    """Run the daemon in the foreground until Ctrl-C or `syncd stop`. The log goes to stderr."""
    home = session.place.home
    warn_root(session.terminal)
    prepare_home(home)
    with lock_home(home):
        from syncd.config import load_settings

        settings = load_settings(home, socket=session.place.socket)
        with _control_socket(settings.socket) as listening:
            gc.disable()  # what is loaded stays, and looking for circles in it takes an eighth of the start
            from syncd.main import run_until_stopped  # trio and OpenSSL only where a daemon really runs

            os.chdir("/")  # a daemon must not keep a file system busy only because it was started there
            run_until_stopped(settings, listening)


@contextmanager
def _control_socket(path: Path) -> Iterator[socket.socket | None]:
    """Listen from now on: whoever asks while the daemon loads is answered then. None where somebody does."""
    if "LISTEN_FDS" in os.environ:
        yield None
        return
    listening = open_control(path)
    try:
        yield listening
    finally:
        listening.close()
        remove_control(path)


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
