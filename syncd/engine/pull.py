"""Pure. Who fetches which block from whom.

Candidates are polled for the whole need in batches; every block is then assigned to exactly one of those that have it,
and to another one only after a failure. A link asks for its next batch when it has room, so a fast peer takes more than
a slow one, and no batch is more than its peer sends in about a second. Among what it may take, blocks that few have
come first, and peers begin at different places, so that several receivers of one source can soon serve one another. As
soon as somebody turns out to lack what is wanted here, it is asked for in an order of this device's own: whatever
others fetch at the same time is something else then, and can be had from them afterwards. While they send enough, who
has all is asked for one small batch at a time.

Nothing here looks at all wanted blocks to hand out a few. Every peer has queues: of what it is to be asked about, and
of what it has, by how many have it. Entries are not taken out when they cease to be true; whoever takes them looks.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import field

from ca.ids import DeviceId
from ca.values import dataclass
from syncd.model.ids import Cid

MAX_BATCH_BLOCKS = 512
MAX_BATCH_BYTES = 8 * 1024 * 1024
FIRST_BATCH_BYTES = 1024 * 1024
"""Asked of a peer whose speed is not known yet."""
LEAST_BATCH_BYTES = 128 * 1024
BATCH_S = 1.0
"""How long a batch may take by what was measured."""
LEFT_PARTS = 8
"""Of several peers each is asked at a time for so small a part of its share in what is left, that all end together."""
SMALL_NEED_BYTES = 64 * 1024
"""A change of every day: it comes from who made it, without asking around first who has it. One way less to wait."""
POLL_BLOCKS = 4096
"""Cids in one poll."""
_MASK = (1 << 64) - 1
COMMON = 4
"""A block that so many peers have is as common as one that more have."""
BEGINNINGS = 16
"""How many different places there are at which receivers begin."""
RUN_BLOCKS = 8
"""So many blocks that follow one another stay together in an order of one's own: about two megabytes of a file."""


@dataclass(slots=True, eq=False)
class _Block:
    """One wanted block. Peers are bits (`_Peer.bit`) of three numbers: sets of their names would be most of it."""

    cid: Cid
    length: int
    holders: int = 0
    asked: int = 0
    refused: int = 0
    denied: int = 0
    """Who said last that it lacks it; also while it is asked once more."""
    assigned: DeviceId | None = None
    author: int = 0
    """Who is connected and wrote it: as long as it holds that, nobody else need be asked."""
    is_wanted: bool = True

    @property
    def rarity(self) -> int:
        return min(self.holders.bit_count(), COMMON)


@dataclass(slots=True)
class _Peer:
    """What one peer is to be asked about, what it has, by rarity, and how fast it sent a batch (bytes a second)."""

    bit: int
    to_ask: deque[_Block] = field(default_factory=deque)
    ready: list[deque[_Block]] = field(default_factory=lambda: [deque() for _ in range(COMMON + 1)])
    rate: float | None = None
    lacks: bool = False
    """It did not have something that is wanted, when it was asked last: it may be fetching the same."""
    batches: int = 0
    """So many are on their way from it."""

    @property
    def batch_bytes(self) -> float:
        """As much as is asked of it at a time."""
        return FIRST_BATCH_BYTES if self.rate is None else max(self.rate * BATCH_S, LEAST_BATCH_BYTES)


@dataclass(frozen=True, slots=True)
class Batch:
    """What one request asks of one peer: cids with the lengths of their plaintexts."""

    cids: tuple[Cid, ...]
    lengths: tuple[int, ...]

    @property
    def size(self) -> int:
        """Bytes of plaintext."""
        return sum(self.lengths)


class Pull:
    """The wanted blocks of one folder. All methods are quick; none waits."""

    def __init__(self, own_number: int = 0) -> None:
        """`own_number`: of this device alone, so that receivers of one source ask for different blocks."""
        self._blocks: dict[Cid, _Block] = {}
        self._peers: dict[DeviceId, _Peer] = {}
        self._offset = own_number % BEGINNINGS
        self._factor = 2 * own_number + 1
        self._is_scattered = False
        self._wanted_bytes = 0

    def __len__(self) -> int:
        return len(self._blocks)

    @property
    def wanted_bytes(self) -> int:
        return self._wanted_bytes

    def want(self, blocks: Iterable[tuple[Cid, int]]) -> None:
        """Add blocks, (cid, bytes). Wanting one twice is wanting it once."""
        for cid, length in blocks:
            if cid in self._blocks:
                continue
            block = self._blocks[cid] = _Block(cid, length)
            self._wanted_bytes += length
            for peer in self._peers.values():
                peer.to_ask.append(block)

    def forget(self, cids: Iterable[Cid]) -> None:
        """No longer wanted, or here."""
        for cid in cids:
            block = self._blocks.pop(cid, None)
            if block is not None:
                block.is_wanted = False
                self._wanted_bytes -= block.length
        self._is_scattered = self._is_scattered and bool(self._blocks)

    def holders(self, cid: Cid) -> tuple[DeviceId | None, int]:
        """Who was asked to send a block just now, and how many connected peers are known to have it."""
        block = self._blocks.get(cid)
        return (None, 0) if block is None else (block.assigned, block.holders.bit_count())

    def to_poll(self, peer: DeviceId, most: int = POLL_BLOCKS) -> list[Cid]:
        """Unassigned blocks about which this peer was not asked yet, and of which it is not settled whom to ask."""
        known = self._peer(peer)
        to_ask, bit = known.to_ask, known.bit
        found: list[_Block] = []
        assigned: list[_Block] = []
        while to_ask and len(found) < most:
            block = to_ask.popleft()
            if not block.is_wanted or block.asked & bit:
                continue
            is_settled = block.assigned is not None or block.author & block.holders
            (assigned if is_settled else found).append(block)
        # They stay: an answer may never come, and what is assigned to others may come back from them.
        to_ask.extend(assigned)
        to_ask.extendleft(reversed(found))
        return [block.cid for block in found]

    def assume(self, peer: DeviceId, cids: Sequence[Cid]) -> None:
        """A peer wrote what consists of these, and that is little: it has them, unless it says that it has not."""
        known = self._peers.get(peer)
        if known is None or self._wanted_bytes > SMALL_NEED_BYTES:
            return
        for cid in cids:
            block = self._blocks.get(cid)
            if block is not None and not block.refused & known.bit:
                block.author = known.bit
        self.polled(peer, cids, b"\xff" * (len(cids) // 8 + 1))

    def waits(self, peer: DeviceId) -> None:
        """A peer may send nothing now: what it wrote is asked of others as well."""
        others = ~self._peer(peer).bit
        for block in self._blocks.values():
            block.author &= others

    def polled(self, peer: DeviceId, cids: Sequence[Cid], bitmap: bytes) -> None:
        """A peer's answer: bit i says whether it has cids[i]."""
        known = self._peer(peer)
        bit = known.bit
        first: list[_Block] = []
        known.lacks = False
        for index, cid in enumerate(cids):
            block = self._blocks.get(cid)
            if block is None:
                continue
            block.asked |= bit
            if index // 8 >= len(bitmap) or not bitmap[index // 8] & (0x80 >> index % 8):
                known.lacks = True
                block.denied |= bit
            elif not block.holders & bit:
                before, block.holders = block.holders, block.holders | bit
                block.denied &= ~bit
                if not before:
                    first.append(block)
                elif before.bit_count() < COMMON:
                    self._offer(block)
                else:
                    known.ready[COMMON].append(block)
        known.ready[1].extend(self._in_own_order(first) if self._is_scattered else first)
        if known.lacks and not self._is_scattered:
            self._scatter()
        elif self._offset and not self._is_scattered:
            self._begin_elsewhere(peer, len(cids))

    def next_batch(self, peer: DeviceId, most_bytes: int = MAX_BATCH_BYTES) -> Batch | None:
        """Assign this peer its next blocks, all of one rarity; None when there is nothing for it now."""
        most_bytes = min(most_bytes, self._most_for(peer))
        known = self._peer(peer)
        if not known.lacks and self._is_helped(known):
            if known.batches:
                return None
            most_bytes = min(most_bytes, FIRST_BATCH_BYTES)
        for rarity, queue in enumerate(known.ready):
            chosen: list[_Block] = []
            size = 0
            while queue and len(chosen) < MAX_BATCH_BLOCKS:
                block = queue[0]
                if _is_due(block, known.bit, rarity):
                    if chosen and size + block.length > most_bytes:
                        break
                    block.assigned = peer
                    size += block.length
                    chosen.append(block)
                queue.popleft()
            if chosen:
                known.batches += 1
                return Batch(tuple(block.cid for block in chosen), tuple(block.length for block in chosen))
        return None

    def ended(self, peer: DeviceId) -> None:
        """A batch of it has come, or will not come any more."""
        known = self._peers.get(peer)
        if known is not None:
            known.batches = max(0, known.batches - 1)

    def _is_helped(self, source: _Peer) -> bool:
        """Whether those who fetch the same send as much at this moment as one batch of this one, who has all. As long
        as that lasts, little is asked of the source: it is left to those who have nobody else."""
        sending = [peer for peer in self._peers.values() if peer.lacks and peer.batches]
        rate = sum((peer.rate or 0.0) * peer.batches for peer in sending)
        return bool(sending) and rate >= (source.rate or 0.0)

    def _most_for(self, peer: DeviceId) -> int:
        """As much as it sends in about a second; less when little is left and others could send some of that."""
        most = self._peer(peer).batch_bytes
        if len(self._peers) > 1:
            most = min(most, max(self._wanted_bytes / len(self._peers) / LEFT_PARTS, LEAST_BATCH_BYTES))
        return int(most)

    def took(self, peer: DeviceId, size: int, seconds: float) -> None:
        """A batch of so many bytes came in that time."""
        rate = size / max(seconds, 1e-6)
        known = self._peer(peer)
        known.rate = rate if known.rate is None else (known.rate + rate) / 2

    def failed(self, peer: DeviceId, cids: Iterable[Cid], *, refused: bool) -> None:
        """These did not come. `refused`: the peer said that it does not have them (any more); do not ask it again."""
        for cid in cids:
            block = self._blocks.get(cid)
            if block is None or block.assigned != peer:
                continue
            block.assigned, block.author = None, 0  # whoever wrote it, others are asked from here on
            if refused:
                bit = self._peer(peer).bit
                block.refused |= bit
                block.denied |= bit
                block.holders &= ~bit
            self._offer(block)

    def peer_gone(self, peer: DeviceId) -> None:
        """Whatever was assigned to it is free again, and it will be asked anew when it is back."""
        known = self._peers.pop(peer, None)
        if known is None:
            return
        others = ~known.bit
        for block in self._blocks.values():
            before, was_mine = block.rarity, block.assigned == peer
            if was_mine:
                block.assigned = None
            block.asked &= others
            block.holders &= others
            block.refused &= others
            block.denied &= others
            block.author &= others
            if was_mine or block.rarity != before:
                self._offer(block)

    def poll_again(self, peer: DeviceId) -> None:
        """It may have got more since it was asked."""
        known = self._peer(peer)
        bit = known.bit
        for block in self._blocks.values():
            if block.assigned is None and block.asked & bit and not block.holders & bit:
                block.asked &= ~bit
                block.refused &= ~bit
                known.to_ask.append(block)

    def lacks(self, peer: DeviceId) -> bool:
        """Whether it is to be asked again soon, as it may be fetching what is wanted here."""
        known = self._peers.get(peer)
        return known is not None and known.lacks

    def unavailable(self, peers: Iterable[DeviceId]) -> list[Cid]:
        """Blocks that every one of these peers said last that it lacks."""
        connected = 0
        for device in peers:
            peer = self._peers.get(device)
            if peer is None:
                return []  # it was not asked anything yet
            connected |= peer.bit
        return [
            cid
            for cid, block in self._blocks.items()
            if block.assigned is None and not block.holders & connected and not connected & ~block.denied
        ]

    def _peer(self, device: DeviceId) -> _Peer:
        peer = self._peers.get(device)
        if peer is None:
            taken = 0
            for other in self._peers.values():
                taken |= other.bit
            peer = self._peers[device] = _Peer(~taken & (taken + 1), deque(self._blocks.values()))
        return peer

    def _offer(self, block: _Block) -> None:
        """Let all who have it have it in the queue of its rarity."""
        rarity = block.rarity
        for peer in self._peers.values():
            if block.holders & peer.bit:
                peer.ready[rarity].append(block)

    def _scatter(self) -> None:
        """Others want the same. What only one has is asked for in an order of our own from here on."""
        self._is_scattered = True
        for peer in self._peers.values():
            peer.ready[1] = deque(self._in_own_order(list(peer.ready[1])))

    def _in_own_order(self, blocks: Sequence[_Block]) -> list[_Block]:
        """Runs of them in the order of their cids, which are as good as random, each multiplied by our number."""
        runs = [blocks[start : start + RUN_BLOCKS] for start in range(0, len(blocks), RUN_BLOCKS)]
        runs.sort(key=lambda run: int.from_bytes(run[0].cid[-8:], "big") * self._factor & _MASK)
        return [block for run in runs for block in run]

    def _begin_elsewhere(self, peer: DeviceId, news: int) -> None:
        """Turn the queues in which `news` blocks came last, so that this device begins with a part of its own."""
        for queue in self._peers[peer].ready:
            if 0 < len(queue) <= news:
                queue.rotate(-(self._offset * len(queue) // BEGINNINGS))


def _is_due(block: _Block, bit: int, rarity: int) -> bool:
    """Whether what a peer's queue says of a block is still so."""
    return (
        block.is_wanted
        and block.assigned is None
        and bool(block.holders & bit)
        and not block.refused & bit
        and block.rarity == rarity
    )
