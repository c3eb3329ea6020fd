"""Pure. Who fetches which block from whom.

Candidates are polled for the whole need in batches; every block is then assigned to exactly one of those that have it,
and to another one only after a failure. A link asks for its next batch when it has room, so a fast peer takes more than
a slow one; among what it may take, blocks that few have come first, and peers begin at different places, so that
several receivers of one source can soon serve one another.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from ca.ids import DeviceId
from syncd.model.ids import Cid

MAX_BATCH_BLOCKS = 512
MAX_BATCH_BYTES = 8 * 1024 * 1024
POLL_BLOCKS = 4096
"""Cids in one poll."""


@dataclass(slots=True)
class _Block:
    length: int
    holders: set[DeviceId] = field(default_factory=set)
    asked: set[DeviceId] = field(default_factory=set)
    refused: set[DeviceId] = field(default_factory=set)
    assigned: DeviceId | None = None


@dataclass(frozen=True, slots=True)
class Batch:
    """What one request asks of one peer."""

    cids: tuple[Cid, ...]
    size: int


class Pull:
    """The wanted blocks of one folder. All methods are quick; none waits."""

    def __init__(self, offset: int = 0) -> None:
        """`offset`: a number of this device's own, so that receivers of one source begin at different blocks."""
        self._blocks: dict[Cid, _Block] = {}
        self._offset = offset

    def __len__(self) -> int:
        return len(self._blocks)

    @property
    def wanted_bytes(self) -> int:
        return sum(block.length for block in self._blocks.values())

    def want(self, blocks: Iterable[tuple[Cid, int]]) -> None:
        """Add blocks, (cid, bytes). Wanting one twice is wanting it once."""
        for cid, length in blocks:
            self._blocks.setdefault(cid, _Block(length))

    def forget(self, cids: Iterable[Cid]) -> None:
        """No longer wanted, or here."""
        for cid in cids:
            self._blocks.pop(cid, None)

    def to_poll(self, peer: DeviceId, most: int = POLL_BLOCKS) -> list[Cid]:
        """Unassigned blocks about which this peer was not asked yet."""
        found = []
        for cid, block in self._blocks.items():
            if block.assigned is None and peer not in block.asked:
                found.append(cid)
                if len(found) == most:
                    break
        return found

    def polled(self, peer: DeviceId, cids: Sequence[Cid], bitmap: bytes) -> None:
        """A peer's answer: bit i says whether it has cids[i]."""
        for index, cid in enumerate(cids):
            block = self._blocks.get(cid)
            if block is None:
                continue
            block.asked.add(peer)
            if index // 8 < len(bitmap) and bitmap[index // 8] & (0x80 >> index % 8):
                block.holders.add(peer)

    def next_batch(self, peer: DeviceId, most_bytes: int = MAX_BATCH_BYTES) -> Batch | None:
        """Assign this peer its next blocks; None when there is nothing for it now."""
        mine = [
            (cid, block)
            for cid, block in self._blocks.items()
            if block.assigned is None and peer in block.holders and peer not in block.refused
        ]
        if not mine:
            return None
        fewest = min(len(block.holders) for _, block in mine)
        if any(len(block.holders) != fewest for _, block in mine):
            mine = [(cid, block) for cid, block in mine if len(block.holders) == fewest]
        start = self._offset * len(mine) // 16 % len(mine) if self._offset else 0
        size = 0
        cids: list[Cid] = []
        for cid, block in mine[start:] + mine[:start]:
            if cids and (size + block.length > most_bytes or len(cids) == MAX_BATCH_BLOCKS):
                break
            block.assigned = peer
            size += block.length
            cids.append(cid)
        return Batch(tuple(cids), size)

    def failed(self, peer: DeviceId, cids: Iterable[Cid], *, refused: bool) -> None:
        """These did not come. `refused`: the peer said that it does not have them (any more); do not ask it again."""
        for cid in cids:
            block = self._blocks.get(cid)
            if block is not None and block.assigned == peer:
                block.assigned = None
                if refused:
                    block.refused.add(peer)
                    block.holders.discard(peer)

    def peer_gone(self, peer: DeviceId) -> None:
        """Whatever was assigned to it is free again, and it will be asked anew when it is back."""
        for block in self._blocks.values():
            if block.assigned == peer:
                block.assigned = None
            block.asked.discard(peer)
            block.holders.discard(peer)
            block.refused.discard(peer)

    def poll_again(self, peer: DeviceId) -> None:
        """It may have got more since it was asked."""
        for block in self._blocks.values():
            if block.assigned is None and peer not in block.holders:
                block.asked.discard(peer)
                block.refused.discard(peer)

    def unavailable(self, peers: Iterable[DeviceId]) -> list[Cid]:
        """Blocks that every one of these peers was asked about and none has."""
        connected = set(peers)
        return [
            cid
            for cid, block in self._blocks.items()
            if block.assigned is None and not block.holders & connected and connected <= block.asked
        ]
