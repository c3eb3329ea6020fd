"""Async. Copies that count: proving to others that a block is here, and having others prove it before ours goes.

Nothing of the past that the folder promises leaves this disk on a peer's word. Each of so many other devices must have
answered a challenge about each single block (`protocol.possession`), and have promised to keep it for a week. While a
device is asked about a block, it gets that block from here neither by its own name nor without one.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence

import trio

from ca.ids import DeviceId
from ca.values import dataclass
from syncd.errors import PeerUnavailable, RemoteProtocolError
from syncd.folder.gathering import held_by
from syncd.folder.ground import Ground
from syncd.model.ids import Cid
from syncd.protocol.exchange import FrameStatus, Link
from syncd.protocol.possession import (
    MAX_CIDS_IN_PROVE,
    NONCE_BYTES,
    ProveAnswer,
    ProveRequest,
    all_of,
    answer_of,
    challenge_key,
    judge,
)
from syncd.store import proofs
from syncd.store.folder import Served

log = logging.getLogger("syncd.history")

ASK_BYTES = 16 << 20
ANSWER_BYTES = 64 << 20
"""Of blocks in one request: what we ask for, and what we read for anybody."""
BYTES_PER_S = 32.0 * (1 << 20)
BURST_BYTES = 256.0 * (1 << 20)
"""What one device may have us read: a question of 8 KiB costs megabytes of reading, so it is answered in measure."""
ASK_AGAIN_S = 3600.0
"""A proof that is older is asked for again while its device is connected."""


@dataclass(slots=True)
class _Measure:
    """How many bytes may be read for one device."""

    left: float
    counted_at: float

    def take(self, size: int, now: float) -> bool:
        self.left = min(BURST_BYTES, self.left + (now - self.counted_at) * BYTES_PER_S)
        self.counted_at = now
        if self.left < size:
            return False
        self.left -= size
        return True


class Prover:
    """Answers the challenges of other devices, one at a time."""

    def __init__(self, ground: Ground) -> None:
        self._ground = ground
        self._is_busy = False
        self._measures: dict[DeviceId, _Measure] = {}

    async def answer(self, asker: DeviceId, request: ProveRequest) -> ProveAnswer:
        """What of these blocks is here, proved. What cannot be read now is called busy."""
        if self._is_busy or not self._ground.rights.exchanges:
            return all_of(FrameStatus.BUSY, request.cids)
        self._is_busy = True
        try:
            return await self._answer(asker, request)
        finally:
            self._is_busy = False

    async def _answer(self, asker: DeviceId, request: ProveRequest) -> ProveAnswer:
        ground, store = self._ground, self._ground.store
        located = await ground.db(proofs.db_locate, store, request.cids, request.hold, ground.clock.now())
        now, size = ground.clock.monotonic(), 0
        measure = self._measures.setdefault(asker, _Measure(BURST_BYTES, now))
        chosen: list[Served] = []
        rest: dict[int, FrameStatus] = {}
        for one in located:
            size += one.most_bytes
            if size <= ANSWER_BYTES and measure.take(one.most_bytes, now):
                chosen.append(one)
            else:
                rest[one.index] = FrameStatus.BUSY
        key = challenge_key(request.nonce, store.keyring.folder, asker, store.journal.device)
        found = await ground.blocking(proofs.proofs, store, chosen, key)
        return answer_of(len(request.cids), found, rest)


@dataclass(frozen=True, slots=True)
class Proved:
    """Which of the blocks asked about so many others hold; when the oldest proof that counted was given; and in words
    what is lacking, if anything is."""

    cids: frozenset[Cid]
    oldest: float | None
    why: str


class Copies:
    """Has other devices prove that they hold blocks of this device's packs."""

    def __init__(self, ground: Ground) -> None:
        self._ground = ground
        self._asking = trio.Lock()

    async def prove(self, sizes: Mapping[Cid, int], wanted: int, *, hold: bool) -> Proved:
        """Which of these blocks (and their sizes) at least `wanted` others hold. Without `hold` nobody promises
        anything, and nothing that was shown now counts later."""
        ground, store = self._ground, self._ground.store
        async with self._asking:
            now = ground.clock.now()
            known = await ground.db(proofs.db_known, store, sizes, now)
            asked = await self._ask_linked(sizes, known, wanted, set(), hold)
            lacks = any(len(known.get(cid, {})) < wanted for cid in sizes)
            if lacks and not store.others <= asked.keys():
                async with ground.reach_out():  # those who are not linked now may hold the rest
                    asked |= await self._ask_linked(sizes, known, wanted, asked.keys(), hold)
            answered = sum(asked.values())
        given = {cid: sorted(known.get(cid, {}).values()) for cid in sizes}
        enough = {cid: times for cid, times in given.items() if len(times) >= wanted}
        oldest = min((times[-wanted] for times in enough.values()), default=None)
        return Proved(frozenset(enough), oldest, _why(len(sizes) - len(enough), wanted, len(store.others), answered))

    async def _ask_linked(
        self,
        sizes: Mapping[Cid, int],
        known: dict[Cid, dict[DeviceId, float]],
        wanted: int,
        but: Collection[DeviceId],
        hold: bool,
    ) -> dict[DeviceId, bool]:
        """Ask who is linked and was not asked before; who could be asked, and whether it answered. What is proved goes
        into `known`."""
        ground, store, now = self._ground, self._ground.store, self._ground.clock.now()
        asked: dict[DeviceId, bool] = {}
        for state in list(ground.links.values()):
            device = state.link.device
            if device not in store.others or device in but:
                continue
            due = [cid for cid in sizes if _is_due(known.get(cid, {}), device, wanted, now)]
            judged = await self._ask(state.link, due, sizes, hold)
            asked[device] = judged is not None
            if hold and judged:
                await ground.db(proofs.db_note, store, device, judged, now)
            _take_in(known, device, judged or {}, now)
        return asked

    async def _ask(
        self, link: Link, cids: Sequence[Cid], sizes: Mapping[Cid, int], hold: bool
    ) -> dict[Cid, FrameStatus] | None:
        """What one device could show; None if it could not be asked."""
        judged: dict[Cid, FrameStatus] = {}
        try:
            held = await held_by(link, cids)
            judged.update((cid, FrameStatus.GONE) for cid in cids if cid not in held)
            for some in _batches([cid for cid in cids if cid in held], sizes):
                judged.update(await self._challenge(link, some, hold))
        except (PeerUnavailable, RemoteProtocolError) as error:
            log.info("folder %s: a peer could not be asked for proofs: %s", self._ground.name, error)
            return judged or None
        return judged

    async def _challenge(self, link: Link, cids: Sequence[Cid], hold: bool) -> dict[Cid, FrameStatus]:
        ground, store = self._ground, self._ground.store
        nonce = store.journal.random(NONCE_BYTES)
        key = challenge_key(nonce, store.keyring.folder, store.journal.device, link.device)
        located = await ground.db(store.db_locate, cids)
        found = await ground.blocking(proofs.proofs, store, located, key)
        own = {cids[index]: proof for index, (status, proof) in found.items() if status is FrameStatus.OK}
        if not own:
            return {}
        request = ProveRequest(nonce, tuple(own), hold)
        ground.challenged[link.device] = frozenset(own)
        try:
            judged = judge(request, await link.prove(request), own)
        finally:
            ground.challenged.pop(link.device, None)
        wrong = sum(status is FrameStatus.GONE for status in judged.values())
        if wrong:
            log.warning("folder %s: a peer said that it has %s blocks that it could not show", ground.name, wrong)
        return judged


def _is_due(proved: Mapping[DeviceId, float], device: DeviceId, wanted: int, now: float) -> bool:
    fresh = [one for one, at in proved.items() if at > now - ASK_AGAIN_S]
    return device not in fresh and len(fresh) < wanted


def _take_in(
    known: dict[Cid, dict[DeviceId, float]], device: DeviceId, judged: Mapping[Cid, FrameStatus], now: float
) -> None:
    for cid, status in judged.items():
        if status is FrameStatus.OK:
            known.setdefault(cid, {})[device] = now
        elif status is FrameStatus.GONE:
            known.get(cid, {}).pop(device, None)


def _batches(cids: Iterable[Cid], sizes: Mapping[Cid, int]) -> Iterator[list[Cid]]:
    batch: list[Cid] = []
    size = 0
    for cid in cids:
        if batch and (size + sizes[cid] > ASK_BYTES or len(batch) == MAX_CIDS_IN_PROVE):
            yield batch
            batch, size = [], 0
        batch.append(cid)
        size += sizes[cid]
    if batch:
        yield batch


def _why(lacking: int, wanted: int, others: int, answered: int) -> str:
    if not lacking:
        return ""
    return f"{wanted} of {others} other devices have to prove that they hold them; {answered} could be asked"
