"""Blocking. The control socket as a file: made before a daemon loads anything else, and taken away at its end.

Whoever asks while the daemon loads waits in the kernel's queue and is answered as soon as it can, instead of being told
that nothing runs. It needs the standard library alone, so that it is there a moment after the process.
"""

from __future__ import annotations

import errno
import os
import socket
import stat
import sys
from contextlib import suppress
from pathlib import Path

from syncd.errors import ConfigError, StoreBusy
from syncd.home import short_address

BACKLOG = 64
PROBE_S = 1.0


def open_control(path: Path) -> socket.socket:
    """Bind `path` and listen, replacing a socket on which nobody listens. Mode 0600 from the first moment.

    Raises: StoreBusy SY-HOME-01 if somebody listens there; ConfigError SY-HOME-06 if it cannot be made.
    """
    try:
        if _somebody_listens(path):
            raise StoreBusy(f"another syncd answers on {path}", id="SY-HOME-01")
        remove_control(path)
        return _bind(path)
    except OSError as error:
        why = error.strerror or str(error)
        raise ConfigError(f"the control socket {path} cannot be made", id="SY-HOME-06", why=why) from error


def remove_control(path: Path) -> None:
    """Take a socket away; anything else at its place is somebody's, and binding will say so."""
    with suppress(FileNotFoundError):
        if stat.S_ISSOCK(path.lstat().st_mode):
            path.unlink()


def _somebody_listens(path: Path) -> bool:
    with short_address(path) as address, _unix_socket() as probe:
        probe.settimeout(PROBE_S)
        try:
            probe.connect(address)
        except (TimeoutError, BlockingIOError):  # so many wait there that no more are taken
            return True
        except OSError as error:
            if error.errno in (errno.ECONNREFUSED, errno.ENOENT):
                return False
            raise
        return True


def _bind(path: Path) -> socket.socket:
    listening = _unix_socket()
    try:
        if sys.platform == "linux":
            os.fchmod(listening.fileno(), 0o600)  # Linux makes the file with this mode; elsewhere chmod must do
        with short_address(path) as address:
            listening.bind(address)
        os.chmod(path, 0o600)
        listening.listen(BACKLOG)
    except BaseException:
        listening.close()
        raise
    return listening


def _unix_socket() -> socket.socket:
    return socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
