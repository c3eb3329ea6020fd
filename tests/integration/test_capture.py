"""What is on the wire while somebody joins, keys change and files travel: every packet of the loopback, written down by
the kernel."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from ca import authority, keyfiles
from syncd.daemon.devicedb import DeviceDb
from syncd.daemon.standing import restore
from syncd.engine.invites import unpack_untrusted
from tests.helpers.computers import SYNC_S, Computer, computers, join, share, start_all, wait_until

pytestmark = [pytest.mark.needs("root"), pytest.mark.needs("linux"), pytest.mark.slowest]

ALL_PROTOCOLS = 0x0003
BUFFER_BYTES = 64 << 20
CONTENT = b"words that only members read " * 40
NAME = "a name that only members see"


@dataclass(slots=True)
class Capture:
    """TCP payloads in the order in which they came, for each direction of each connection with one of our ports."""

    ports: frozenset[int]
    streams: dict[tuple[int, int], bytearray] = field(default_factory=dict)

    def take(self, packet: bytes) -> None:
        """A frame of Ethernet with IPv4 and TCP in it, or something else."""
        ip = packet[14:]
        if len(ip) < 40 or ip[0] >> 4 != 4 or ip[9] != socket.IPPROTO_TCP:
            return
        tcp = ip[(ip[0] & 15) * 4 : int.from_bytes(ip[2:4], "big")]
        key = int.from_bytes(tcp[0:2], "big"), int.from_bytes(tcp[2:4], "big")
        if self.ports.intersection(key):
            self.streams.setdefault(key, bytearray()).extend(tcp[(tcp[12] >> 4) * 4 :])

    def seen(self, what: bytes) -> bool:
        return any(what in stream for stream in self.streams.values())

    @property
    def size(self) -> int:
        return sum(map(len, self.streams.values()))


@contextmanager
def capturing(ports: list[int]) -> Iterator[Capture]:
    capture, ends = Capture(frozenset(ports)), threading.Event()
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ALL_PROTOCOLS)) as listening:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, BUFFER_BYTES)
        listening.bind(("lo", 0))
        listening.settimeout(0.2)

        def run() -> None:
            while not ends.is_set():
                try:
                    packet, address = listening.recvfrom(1 << 17)
                except TimeoutError:
                    continue
                if address[2] == socket.PACKET_OUTGOING:  # the loopback shows each packet twice
                    capture.take(packet)

        thread = threading.Thread(target=run)
        thread.start()
        try:
            yield capture
        finally:
            ends.set()
            thread.join()


@pytest.fixture
def group(tmp_path: Path) -> Iterator[list[Computer]]:
    with computers(("anna", "ben"), tmp_path, "Notes") as group:
        yield group


def keys_in(computer: Computer) -> list[bytes]:
    """Everything secret that a stopped computer has: of the device, its recovery key, the folder, every link."""

    def no_random(length: int) -> bytes:
        raise AssertionError("the keys are there already")

    keys = keyfiles.load_or_create(computer.home, no_random)
    found = [keys.sign_seed, keys.seal_seed, keys.tls_seed]
    recovery = keyfiles.load_recovery(computer.home)
    found += [] if recovery is None else [recovery.seed]
    db = DeviceDb.open_in(computer.home)
    try:
        (row,) = db.folders()
        stored = db.load_roster(row.id)
        assert stored is not None
        secrets = restore(keys, row.id, stored, authority.HPKE).secrets
        assert secrets is not None
        found += [secrets.folder, secrets.epoch, *secrets.older.values()]
        found += [secrets.keys.id_key, secrets.keys.name_key, secrets.keys.contact_key]
        for body in db.invites():
            invite = unpack_untrusted(body)
            found += [invite.secret] if invite.secret else ["-".join(invite.words).encode()]
    finally:
        db.close()
    return found


def test_nothing_secret_is_on_the_wire(group: list[Computer]) -> None:
    anna, ben = group
    start_all(group)
    (anna.folder / NAME).write_bytes(CONTENT)
    with capturing([anna.port, ben.port]) as capture, socket.create_server(("127.0.0.1", 0)) as canary:
        join(ben, share(anna, "Notes", uses=3))
        ben.wait_synced(SYNC_S)
        anna.ask("rotate", "Notes")
        (ben.folder / "answer").write_bytes(CONTENT[::-1])
        wait_until((anna.folder / "answer").exists, SYNC_S, "the answer does not come")
        capture.ports |= {canary.getsockname()[1]}
        with socket.create_connection(canary.getsockname()) as plain:
            plain.sendall(b"the partner: this was seen")
            wait_until(lambda: capture.seen(b"the partner: this was seen"), SYNC_S, "nothing is captured")
    for computer in group:
        computer.stop()
    secrets = keys_in(anna) + keys_in(ben)
    assert len(secrets) > 12 and capture.size > 10_000
    assert not [number for number, secret in enumerate(secrets) if capture.seen(secret)]
    for plain_words in (CONTENT[:40], CONTENT[::-1][:40], NAME.encode(), b"Notes", b"HTTP/1.1", b"/v1/"):
        assert not capture.seen(plain_words), plain_words
