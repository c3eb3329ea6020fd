"""Machines of its own for each process: network namespaces, and cables between them. Needs root on Linux."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

TIMEOUT_S = 60.0
MULTICAST_DNS = ("224.0.0.251/32", "ff02::fb/128")


def ip(*arguments: str) -> str:
    """Run `ip` and return what it prints; what it says on failure is in the exception."""
    return _run("ip", *arguments)


def _run(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT_S, check=False)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)}: {done.stderr.strip()}")
    return done.stdout


@dataclass(frozen=True, slots=True)
class Machine:
    """A network namespace with one cable, `eth0`."""

    name: str
    host: str

    def command(self, *arguments: str) -> list[str]:
        """The command line that runs a program on this machine."""
        return ["ip", "netns", "exec", self.name, *arguments]

    def run(self, *arguments: str) -> str:
        """Run a program there and return what it prints."""
        return _run(*self.command(*arguments))

    def ip(self, *arguments: str) -> str:
        return ip("-n", self.name, *arguments)

    def set_cable(self, *, plugged: bool) -> None:
        """Pull the cable out or plug it in; the other end loses its carrier with it."""
        self.ip("link", "set", "eth0", "up" if plugged else "down")

    def block_multicast(self) -> None:
        """Refuse to send multicast DNS, as a strict firewall does (a kernel needs no further program for this)."""
        for group in MULTICAST_DNS:
            self.ip("xfrm", "policy", "add", "dst", group, "dir", "out", "action", "block")

    def allow_multicast(self) -> None:
        """Undo `block_multicast`."""
        for group in MULTICAST_DNS:
            self.ip("xfrm", "policy", "delete", "dst", group, "dir", "out")


@contextmanager
def two_machines(network: str = "10.77.0") -> Iterator[tuple[Machine, Machine]]:
    """Two machines joined by one cable, `.1` and `.2` of the network; gone afterwards with all that runs in them."""
    left, right = (Machine(f"syncd-{os.getpid()}-{side}", f"{network}.{side}") for side in (1, 2))
    try:
        for machine in (left, right):
            ip("netns", "add", machine.name)
            _run(*machine.command("sysctl", "-q", "net.ipv6.conf.default.accept_dad=0"))  # no second of probing
        ip("link", "add", "eth0", "netns", left.name, "type", "veth", "peer", "name", "eth0", "netns", right.name)
        for machine in (left, right):
            machine.ip("addr", "add", f"{machine.host}/24", "dev", "eth0")
            machine.ip("link", "set", "lo", "up")
            machine.ip("link", "set", "eth0", "up")
        for machine in (left, right):
            _wait_for_carrier(machine)
        yield left, right
    finally:
        for machine in (left, right):
            subprocess.run(["ip", "netns", "del", machine.name], capture_output=True, timeout=TIMEOUT_S, check=False)


def _wait_for_carrier(machine: Machine) -> None:
    deadline = time.monotonic() + TIMEOUT_S
    while "state UP" not in machine.ip("link", "show", "eth0"):
        if time.monotonic() > deadline:
            raise RuntimeError("the cable between two namespaces never came up")
        time.sleep(0.01)


@contextmanager
def switched_machines(count: int, network: str = "10.78.0") -> Iterator[list[Machine]]:
    """Machines on one switch, `.1` and on of the network. A cable that is pulled out concerns only its own machine."""
    switch = f"syncd-{os.getpid()}-switch"
    machines = [Machine(f"syncd-{os.getpid()}-{number}", f"{network}.{number}") for number in range(1, count + 1)]
    try:
        ip("netns", "add", switch)
        ip("-n", switch, "link", "add", "name", "bridge", "type", "bridge")
        ip("-n", switch, "link", "set", "bridge", "up")
        for number, machine in enumerate(machines):
            ip("netns", "add", machine.name)
            ip("link", "add", "eth0", "netns", machine.name, "type", "veth",
               "peer", "name", f"port{number}", "netns", switch)  # fmt: skip
            ip("-n", switch, "link", "set", f"port{number}", "master", "bridge", "up")
            machine.ip("addr", "add", f"{machine.host}/24", "dev", "eth0")
            machine.ip("link", "set", "eth0", "up")
            machine.ip("link", "set", "lo", "up")
        for machine in machines:
            _wait_for_carrier(machine)
        yield machines
    finally:
        for name in (switch, *(machine.name for machine in machines)):
            subprocess.run(["ip", "netns", "del", name], capture_output=True, timeout=TIMEOUT_S, check=False)
