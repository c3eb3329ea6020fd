"""Blocking. A line that is no LAN between two network namespaces: delay, loss, and a rate for each direction.

The kernels of some machines come without netem, so the packets go through this process: a TUN device on each machine,
and between them a queue as a modem has one. What does not fit into the queue is dropped, and TCP has to cope. Needs
root on Linux.
"""

from __future__ import annotations

import ctypes
import fcntl
import os
import random
import select
import struct
import subprocess
import sys
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from tests.helpers.namespaces import TIMEOUT_S, Machine, ip

DEVICE = "tun0"
MTU = 1500
QUEUE_S = 0.15
"""Of packets that wait for their turn: about one round trip, as in a well-kept modem."""
LEAST_QUEUE_BYTES = 64 * 1024

_TUNSETIFF = 0x400454CA
_IFF_TUN, _IFF_NO_PI = 0x0001, 0x1000
_CLONE_NEWNET = 0x40000000


@dataclass(frozen=True, slots=True)
class Line:
    """Bytes a second (of IP packets) from the left machine to the right and back, the round trip in seconds, and the
    share of packets that is lost on each way."""

    right_rate: float
    left_rate: float
    round_trip_s: float = 0.1
    loss: float = 0.0


@dataclass(slots=True)
class Way:
    """One direction: reads packets of one device, and writes them, when their time has come, to the other."""

    source: int
    target: int
    rate: float
    delay_s: float
    loss: float
    random: random.Random
    free_at: float = 0.0
    under_way: deque[tuple[float, bytes]] = field(default_factory=deque)

    def take(self, now: float) -> None:
        """Everything that the machine wants to send now."""
        with suppress(BlockingIOError):
            while packet := os.read(self.source, MTU + 64):
                self._queue(packet, now)

    def _queue(self, packet: bytes, now: float) -> None:
        begin = max(now, self.free_at)
        if (begin - now) * self.rate > max(QUEUE_S * self.rate, LEAST_QUEUE_BYTES):
            return
        self.free_at = begin + len(packet) / self.rate
        if self.random.random() >= self.loss:
            self.under_way.append((self.free_at + self.delay_s, packet))

    def give(self, now: float) -> None:
        """Everything that has arrived by now."""
        while self.under_way and self.under_way[0][0] <= now:
            with suppress(BlockingIOError):
                os.write(self.target, self.under_way.popleft()[1])

    def wait_s(self, now: float) -> float:
        """How long nothing arrives."""
        return max(0.0, self.under_way[0][0] - now) if self.under_way else TIMEOUT_S


@contextmanager
def far_machines(line: Line, network: str = "10.79.0", seed: int = 1) -> Iterator[tuple[Machine, Machine]]:
    """Two machines, `.1` and `.2` of the network, at the ends of such a line; gone afterwards."""
    left, right = (Machine(f"syncd-{os.getpid()}-far{side}", f"{network}.{side}") for side in (1, 2))
    forwarder: subprocess.Popen[bytes] | None = None
    try:
        for machine in (left, right):
            ip("netns", "add", machine.name)
            machine.ip("link", "set", "lo", "up")
        numbers = (line.right_rate, line.left_rate, line.round_trip_s, line.loss, seed)
        forwarder = subprocess.Popen(
            [sys.executable, "-m", "tests.helpers.longline", left.name, right.name, *map(str, numbers)],
            stdout=subprocess.PIPE,
        )
        assert forwarder.stdout is not None
        if forwarder.stdout.readline() != b"ready\n":
            raise RuntimeError("the line between two namespaces never came up")
        for machine, other in ((left, right), (right, left)):
            machine.ip("addr", "add", machine.host, "peer", other.host, "dev", DEVICE)
            machine.ip("link", "set", DEVICE, "mtu", str(MTU), "up")
        yield left, right
    finally:
        if forwarder is not None:
            forwarder.kill()
            forwarder.wait()
            assert forwarder.stdout is not None
            forwarder.stdout.close()
        for machine in (left, right):
            subprocess.run(["ip", "netns", "del", machine.name], capture_output=True, timeout=TIMEOUT_S, check=False)


def forward(left: str, right: str, line: Line, seed: int) -> None:
    """Carry packets until killed."""
    here, there = _device(left), _device(right)
    chance = random.Random(seed)
    ways = (
        Way(here, there, line.right_rate, line.round_trip_s / 2, line.loss, chance),
        Way(there, here, line.left_rate, line.round_trip_s / 2, line.loss, chance),
    )
    os.write(sys.stdout.fileno(), b"ready\n")
    while True:
        now = time.monotonic()
        select.select([here, there], [], [], min(way.wait_s(now) for way in ways))
        now = time.monotonic()
        for way in ways:
            way.take(now)
            way.give(now)


def _device(namespace: str) -> int:
    """A TUN device that lives in a namespace; this process moves there for good, until the next call."""
    with Path(f"/var/run/netns/{namespace}").open() as file:
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.setns(file.fileno(), _CLONE_NEWNET) != 0:
            raise OSError(ctypes.get_errno(), "setns", namespace)
    device = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
    fcntl.ioctl(device, _TUNSETIFF, struct.pack("16sH22x", DEVICE.encode(), _IFF_TUN | _IFF_NO_PI))
    return device


if __name__ == "__main__":
    forward(sys.argv[1], sys.argv[2], Line(*map(float, sys.argv[3:7])), int(sys.argv[7]))
