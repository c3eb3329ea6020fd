"""Pure. A device at work, as far as those see it who work for it: what they may ask of the daemon that made them.

`daemon.app` wires them together and knows them; they know this only.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Protocol

from ca.ids import FolderId
from ca.values import dataclass
from syncd.config import Settings
from syncd.daemon.auditing import AuditLog
from syncd.daemon.devicedb import FolderRow
from syncd.daemon.installation import Installation
from syncd.daemon.membership import FolderMembership
from syncd.daemon.running import RunningFolder
from syncd.net.connections import Connections
from syncd.net.peers import PeerKeeper
from syncd.protocol.refusals import Refusals
from syncd.protocol.tls import LabelTable
from syncd.seams import Clock, Network, Random, Trees, Workers


@dataclass(frozen=True, slots=True)
class Seams:
    """The world, as far as the daemon touches it."""

    clock: Clock
    random: Random
    network: Network
    trees: Trees
    workers: Workers


@dataclass(frozen=True, slots=True)
class DeviceProblem:
    """What is wrong with the device as a whole."""

    id: str
    why: str
    fix: str


class Host(Protocol):
    """The device: its settings, its folders, and how to begin something with one of them."""

    settings: Settings
    seams: Seams
    installation: Installation
    audit: AuditLog
    refusals: Refusals
    table: LabelTable
    connections: Connections

    @property
    def folders(self) -> list[RunningFolder]:
        """All of them, in the order of their names."""

    def folder(self, id_: FolderId, /) -> RunningFolder | None:
        """None where it is not one of ours."""

    def keeper(self, id_: FolderId, /) -> PeerKeeper | None:
        """Who dials its members; None until it runs."""

    def reachable_at(self) -> tuple[str, ...]:
        """Addresses by which others may reach us, best first."""

    def start(self, work: Callable[..., Awaitable[object]], /, *args: object) -> None:
        """Begin something that outlives whoever asked for it."""

    def new_row(self, path: bytes, name: str, /) -> Callable[[FolderId], FolderRow]:
        """The row of a folder about to be made."""

    async def make_root(self, path: bytes, /) -> None:
        """Make the directory of a folder. Raises ConfigError."""

    async def mark_root(self, row: FolderRow, /) -> None:
        """Write the marker that says which folder this root is. Raises TreeError."""

    async def add_folder(self, membership: FolderMembership, row: FolderRow, /, *, joined: bool) -> RunningFolder:
        """Run a folder that is on disk now."""


def reachable(listening: Sequence[str], local: Sequence[str]) -> tuple[str, ...]:
    """`host:port` for others, from the addresses listened on; an address of all interfaces stands for each of ours."""
    found: list[str] = []
    for address in listening:
        host, _, port = address.rpartition(":")
        hosts = local if host in ("", "0.0.0.0", "[::]", "::") else (host,)
        found += [f"[{one}]:{port}" if ":" in one and not one.startswith("[") else f"{one}:{port}" for one in hosts]
    return tuple(dict.fromkeys(found))
