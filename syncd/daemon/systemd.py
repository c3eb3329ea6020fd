"""Blocking. The service manager: what systemd is told about this daemon, and the socket it may hand over.

sd_notify(3) is a datagram of `NAME=value` lines to the socket named in NOTIFY_SOCKET; sd_listen_fds(3) is sockets that
are open from descriptor 3 on. Both are small enough to be spoken here, and both are nothing where no systemd is. The
variables are taken out of the environment, so that no program started by the daemon speaks in its name.
"""

from __future__ import annotations

import logging
import os
import socket
import time
from collections.abc import MutableMapping

from ca.values import dataclass

log = logging.getLogger("syncd.service")

FIRST_DESCRIPTOR = 3


@dataclass(frozen=True, slots=True)
class ServiceManager:
    """Where to tell how it goes; `address` None: nobody asked. `watchdog_s`: how long a silence may last at most."""

    address: str | None = None
    watchdog_s: float | None = None

    def ready(self, status: str) -> None:
        """Started, or done with reading the configuration again."""
        self._tell(f"READY=1\nSTATUS={_line(status)}")

    def status(self, text: str) -> None:
        """One line for `systemctl status`."""
        self._tell(f"STATUS={_line(text)}")

    def alive(self) -> None:
        """The daemon works: not yet time to kill it."""
        self._tell("WATCHDOG=1")

    def reloading(self) -> None:
        """The configuration is being read again; `ready` follows."""
        self._tell(f"RELOADING=1\nMONOTONIC_USEC={time.monotonic_ns() // 1000}")

    def stopping(self) -> None:
        self._tell("STOPPING=1\nSTATUS=stopping")

    def extend(self, seconds: float, status: str) -> None:
        """Starting takes longer, and this is why; has to be repeated before that time is over."""
        self._tell(f"EXTEND_TIMEOUT_USEC={int(seconds * 1e6)}\nWATCHDOG=1\nSTATUS={_line(status)}")

    def _tell(self, text: str) -> None:
        if self.address is None:
            return
        address = "\0" + self.address[1:] if self.address.startswith("@") else self.address
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sending:
                sending.setblocking(False)  # a manager that does not read must not stop the event loop
                sending.sendto(text.encode(), address)
        except OSError as error:
            log.warning("the service manager does not listen: %s", error)


def _line(text: str) -> str:
    """One line: names of folders come from others, and a line break would be a message of its own."""
    return "".join(char if char.isprintable() else " " for char in text)


def service_manager(environ: MutableMapping[str, str], pid: int) -> ServiceManager:
    """What the environment says, taken out of it."""
    address = environ.pop("NOTIFY_SOCKET", None)
    interval = environ.pop("WATCHDOG_USEC", "")
    watched = environ.pop("WATCHDOG_PID", str(pid))
    if not (interval.isdigit() and int(interval) and watched == str(pid)):
        return ServiceManager(address)
    return ServiceManager(address, int(interval) / 1e6)


def passed_socket(environ: MutableMapping[str, str], pid: int) -> socket.socket | None:
    """The listening Unix socket that systemd opened for this process, if it did. Taken out of the environment."""
    meant, count = environ.pop("LISTEN_PID", ""), environ.pop("LISTEN_FDS", "")
    environ.pop("LISTEN_FDNAMES", None)
    if meant != str(pid) or count != "1":
        return None
    passed = socket.socket(fileno=FIRST_DESCRIPTOR)
    if passed.family != socket.AF_UNIX or not passed.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
        log.warning("the socket that was passed is no listening Unix socket; it is not used")
        passed.close()
        return None
    os.set_inheritable(FIRST_DESCRIPTOR, False)
    return passed
