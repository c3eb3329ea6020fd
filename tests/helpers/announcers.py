"""Blocking. A neighbour that announces a new machine with every packet: `python -m tests.helpers.announcers SECONDS`.

For use inside a network namespace, from 10.77.0.1. Prints how many packets it sent.
"""

from __future__ import annotations

import os
import socket
import sys
import time

from zeroconf import ServiceInfo
from zeroconf._protocol.outgoing import DNSOutgoing

PER_MIN = 110_000  # a little more than is claimed: the machine of the proof is busy
ADDRESS = "10.77.0.1"
GROUP = ("224.0.0.251", 5353)
_IS_ANSWER = 0x8400


def packet(random: bytes) -> bytes:
    """A whole announcement of a machine that nobody knows, with an open code so that it could mean something."""
    name = f"{random.hex()}._syncd._tcp.local."
    properties = {"v": b"1", "t": os.urandom(32), "p": b"7"}
    info = ServiceInfo(
        "_syncd._tcp.local.",
        name,
        port=1,
        properties=properties,
        server=f"{random.hex()}.local.",
        parsed_addresses=[ADDRESS],
    )
    out = DNSOutgoing(_IS_ANSWER)
    for record in (info.dns_pointer(), info.dns_service(), info.dns_text(), *info.dns_addresses()):
        out.add_answer_at_time(record, 0)
    return out.packets()[0]


def main() -> None:
    seconds = float(sys.argv[1])
    sender = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sender.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, socket.inet_aton(ADDRESS))
    sender.bind((ADDRESS, 0))
    began, sent = time.monotonic(), 0
    while time.monotonic() < began + seconds:
        sender.sendto(packet(os.urandom(16)), GROUP)
        sent += 1
        time.sleep(max(0.0, began + sent * 60 / PER_MIN - time.monotonic()))
    sys.stdout.write(f"{sent}\n")


if __name__ == "__main__":
    main()
