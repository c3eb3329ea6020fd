"""Async. Contents on their way to this disk: asked of peers block by block, staged, put in place in groups.

Three kinds of task meet here. `offer` takes contents from the planner and begins to stage them. Every link has
fetchers, which take batches from the pure scheduler (`engine.pull`) and hand what arrives to a worker thread that
checks and writes it. One finisher gives complete contents their names, as many as are ready at once, behind one flush.

Connections never touch the disk: what a fetcher has handed over is written even if its connection is cut in that
moment.
"""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import trio

from ca.ids import DeviceId
from syncd.engine.pull import MAX_BATCH_BYTES, Pull
from syncd.errors import PeerUnavailable, RemoteProtocolError
from syncd.model.ids import Cid
from syncd.model.lists import Entry
from syncd.protocol.exchange import FrameStatus, Link
from syncd.seams import Lane, Workers
from syncd.store.apply import Committed, Want, put_in_place
from syncd.store.folder import FolderStore, Needed
from syncd.store.keyring import EpochKeyMissing
from syncd.store.staging import Delivery, Stager, Staging
from syncd.treetypes import TreeError

RATE_WINDOW_S = 10.0
POLL_AGAIN_S = 3.0
MAX_STAGED_FILES = 2048
MAX_OPEN_WRITERS = 32
MAX_GROUP = 1024
"""Contents put in place behind one flush."""
FETCH_TIMEOUT_S = 60.0
"""Without a single block from a peer in that time, what was asked of it is asked of another."""


class ByteBudget:
    """Bytes asked for and not yet written: a bound on memory, shared by all folders of the process."""

    def __init__(self, limit_bytes: int) -> None:
        self._free = limit_bytes
        self._limit = limit_bytes
        self._changed = trio.Event()

    @asynccontextmanager
    async def take(self, size: int) -> AsyncIterator[None]:
        """Hold `size` bytes (at most the whole limit), waiting until they are free."""
        size = min(size, self._limit)
        while self._free < size:
            await self._changed.wait()
        self._free -= size
        try:
            yield
        finally:
            self._free += size
            self._changed.set()
            self._changed = trio.Event()


@dataclass(slots=True)
class Meter:
    """What `status` says about transfers."""

    received_bytes: int = 0
    sent_bytes: int = 0
    duplicate_bytes: int = 0
    blocks_fetched: int = 0
    copied_bytes: int = 0
    _samples: deque[tuple[float, int, int]] = field(default_factory=deque)

    def receive_rate(self, now: float) -> int:
        """Bytes a second over the last seconds; `now` is monotonic."""
        return self._rates(now)[0]

    def send_rate(self, now: float) -> int:
        return self._rates(now)[1]

    def sample(self, now: float) -> None:
        """Note the counters, about once a second."""
        self._samples.append((now, self.received_bytes, self.sent_bytes))
        while self._samples[0][0] < now - RATE_WINDOW_S:
            self._samples.popleft()

    def _rates(self, now: float) -> tuple[int, int]:
        if not self._samples or now <= self._samples[0][0]:
            return 0, 0
        began, received, sent = self._samples[0]
        return (
            round((self.received_bytes - received) / (now - began)),
            round((self.sent_bytes - sent) / (now - began)),
        )


@dataclass(slots=True)
class _Goal:
    """Where a wanted block has to go: places in files, or a part of a list that someone waits for."""

    entry: Entry
    places: list[tuple[Staging, int]] = field(default_factory=list)
    is_part: bool = False


class Puller:
    """All contents of one folder that are being fetched."""

    def __init__(
        self,
        store: FolderStore,
        workers: Workers,
        lane: Lane,
        budget: ByteBudget,
        meter: Meter,
        own_number: int,
    ) -> None:
        self._store = store
        self._workers = workers
        self._lane = lane
        self._budget = budget
        self.meter = meter
        self.pull = Pull(own_number)
        self._goals: dict[Cid, _Goal] = {}
        self._stager = Stager(store.tree, store.keyring)
        self.busy: set[int] = set()
        self._stagings: dict[int, list[Staging]] = {}
        self._waiting_parts: list[Want] = []
        self._writers = 0
        self._ready: list[Staging] = []
        self._ready_event = trio.Event()
        self._room = trio.Event()
        self._work = trio.Event()
        self._links: dict[DeviceId, Link] = {}
        self._fetched: dict[Cid, None] = {}
        self.resumable: frozenset[bytes] = frozenset()
        self.on_committed: Callable[[Committed], Awaitable[None]] | None = None
        self.on_failed: Callable[[Staging], Awaitable[None]] | None = None

    # taking contents in --------------------------------------------------------------------------------------

    async def offer(self, wants: Sequence[Want]) -> None:
        """Begin to stage contents; waits while too many are on their way."""
        at = 0
        while at < len(wants):
            while len(self.busy) >= MAX_STAGED_FILES or self._writers >= MAX_OPEN_WRITERS:
                await self._room.wait()
            part: list[Want] = []
            writers = self._writers
            while at < len(wants) and len(self.busy) + len(part) < MAX_STAGED_FILES and writers < MAX_OPEN_WRITERS:
                writers += wants[at].size > 65536
                part.append(wants[at])
                at += 1
            self.busy.update(want.node for want in part)
            await self._begin(part)

    async def _begin(self, wants: Sequence[Want]) -> None:
        needed = await self._workers.run_blocking(self._store.db_needed, wants, lane=self._lane)
        whole = []
        for item in needed:
            if item.parts:
                self._waiting_parts.append(item.want)
                for entry in item.parts:
                    self._goals.setdefault(entry.cid, _Goal(entry, is_part=True))
                self.pull.want((entry.cid, entry.length) for entry in item.parts)
            else:
                whole.append(item)
        if whole:
            await self._stage(whole)
        self._new_work()

    async def _stage(self, needed: Sequence[Needed]) -> None:
        stagings = await self._workers.run_blocking(self._stager.begin, needed, self.resumable)
        for staging in stagings:
            self.meter.copied_bytes += staging.copied_bytes
            self._stagings.setdefault(staging.want.node, []).append(staging)
            staging.opened = staging.writer is not None
            self._writers += staging.opened
            if staging.error is not None:
                await self._give_up(staging)
            elif staging.is_complete:
                self._complete(staging)
            else:
                for offset, entry in staging.missing.items():
                    goal = self._goals.setdefault(entry.cid, _Goal(entry))
                    goal.places.append((staging, offset))
                self.pull.want((entry.cid, entry.length) for entry in staging.missing.values())

    def drop(self, nodes: Sequence[int]) -> None:
        """These contents are not wanted any more (a newer version has come)."""
        for node in nodes:
            for staging in self._stagings.get(node, ()):
                gone = [entry.cid for entry in staging.missing.values()]
                for cid in gone:
                    goal = self._goals.get(cid)
                    if goal is not None:
                        goal.places = [place for place in goal.places if place[0] is not staging]
                        if not goal.places and not goal.is_part:
                            del self._goals[cid]
                            self.pull.forget([cid])

    # links ---------------------------------------------------------------------------------------------------

    async def run_link(self, link: Link) -> None:
        """Fetch through one link until it is lost or cancelled."""
        self._links[link.device] = link
        try:
            async with trio.open_nursery() as nursery:
                for _ in range(max(1, link.lanes)):
                    nursery.start_soon(self._fetcher, link)
        except* PeerUnavailable:
            pass  # the connection's owner sees it too, and dials again
        finally:
            self._links.pop(link.device, None)
            self.pull.peer_gone(link.device)
            self._new_work()

    async def _fetcher(self, link: Link) -> None:
        while True:
            work = self._work
            cids = self.pull.to_poll(link.device)
            if cids:
                bitmap = await link.have(cids)
                self.pull.polled(link.device, cids, bitmap)
                continue
            batch = self.pull.next_batch(link.device, min(MAX_BATCH_BYTES, 4 << 20))
            if batch is None:
                await work.wait()
                continue
            async with self._budget.take(batch.size):
                await self._fetch(link, batch.cids)

    async def _fetch(self, link: Link, cids: Sequence[Cid]) -> None:
        arrived: list[tuple[Cid, bytes]] = []
        left = set(cids)
        try:
            with trio.move_on_after(FETCH_TIMEOUT_S) as patience:
                async with link.blocks(cids) as frames:
                    async for frame in frames:
                        patience.deadline = trio.current_time() + FETCH_TIMEOUT_S
                        cid = cids[frame.index]
                        if cid not in left:
                            raise RemoteProtocolError("a block was answered twice")
                        left.discard(cid)
                        if frame.status is FrameStatus.OK:
                            arrived.append((cid, bytes(frame.ciphertext)))
                        else:
                            self.pull.failed(link.device, [cid], refused=frame.status is not FrameStatus.BUSY)
        finally:
            self.pull.failed(link.device, left, refused=False)
            if arrived:
                # Checked and written even if the connection was cut meanwhile: it never has to come again.
                with trio.CancelScope(shield=True):
                    await self._take(link.device, arrived)

    async def _take(self, device: DeviceId, arrived: Sequence[tuple[Cid, bytes]]) -> None:
        deliveries: list[Delivery] = []
        parts: list[tuple[Entry, bytes]] = []
        for cid, ciphertext in arrived:
            self.meter.received_bytes += len(ciphertext)
            goal = self._goals.get(cid)
            if goal is None or cid in self._fetched:
                self.meter.duplicate_bytes += len(ciphertext) if cid in self._fetched else 0
                continue
            self.meter.blocks_fetched += 1
            if goal.is_part:
                parts.append((goal.entry, ciphertext))
            deliveries += [Delivery(staging, offset, goal.entry, ciphertext) for staging, offset in goal.places]
        if parts:
            await self._take_parts(device, parts)
        if deliveries:
            delivered = await self._workers.run_blocking(self._stager.deliver, deliveries)
            self.pull.failed(device, delivered.refused, refused=True)
            await self._written(delivered.good)
        self._new_work()

    async def _take_parts(self, device: DeviceId, parts: Sequence[tuple[Entry, bytes]]) -> None:
        good = []
        for entry, ciphertext in parts:
            try:
                good.append((entry, self._store.open_part_untrusted(entry, ciphertext)))
            except (RemoteProtocolError, EpochKeyMissing):
                self.pull.failed(device, [entry.cid], refused=True)
        await self._workers.run_blocking(self._store.db_keep_parts, good, lane=self._lane)
        for entry, _ in good:
            self._goals.pop(entry.cid, None)
            self.pull.forget([entry.cid])
        waiting, self._waiting_parts = self._waiting_parts, []
        if waiting:
            await self._begin(waiting)

    async def _written(self, good: Sequence[Delivery]) -> None:
        finished = []
        for delivery in good:
            staging = delivery.staging
            cid = delivery.entry.cid
            if staging.missing.pop(delivery.offset, None) is None:
                continue
            goal = self._goals.get(cid)
            if goal is not None:
                goal.places = [place for place in goal.places if place != (staging, delivery.offset)]
                if not goal.places:
                    del self._goals[cid]
                    self.pull.forget([cid])
            if staging.error is not None:
                await self._give_up(staging)
            elif not staging.missing:
                finished.append(staging)
        large = [staging for staging in finished if not staging.is_complete]
        if large:
            await self._workers.run_blocking(self._stager.finish, large)
        for staging in finished:
            if staging.error is not None:
                await self._give_up(staging)
            else:
                self._complete(staging)

    def _complete(self, staging: Staging) -> None:
        self._ready.append(staging)
        self._ready_event.set()

    async def _give_up(self, staging: Staging) -> None:
        self.drop([staging.want.node])
        if self.on_failed is not None:
            await self.on_failed(staging)
        self._forget(staging)

    def _forget(self, staging: Staging) -> None:
        known = self._stagings.get(staging.want.node, [])
        if staging in known:
            known.remove(staging)
        if not known:
            self._stagings.pop(staging.want.node, None)
            self.busy.discard(staging.want.node)
        self._writers -= staging.opened
        staging.opened = False
        self._room.set()
        self._room = trio.Event()

    # finishing -----------------------------------------------------------------------------------------------

    async def run_finisher(self, now: Callable[[], float]) -> None:
        """Put complete contents in place, group after group."""
        while True:
            await self._ready_event.wait()
            group, self._ready = self._ready[:MAX_GROUP], self._ready[MAX_GROUP:]
            if not self._ready:
                self._ready_event = trio.Event()
            with trio.CancelScope(shield=True):
                await self._finish(group, now)

    async def _finish(self, group: Sequence[Staging], now: Callable[[], float]) -> None:
        wants = [staging.want for staging in group]
        await self._workers.run_blocking(self._store.db_intents, wants, lane=self._lane)
        try:
            await self._workers.run_blocking(self._store.tree.flush, [want.token for want in wants])
            done = await self._workers.run_blocking(put_in_place, self._store.tree, wants)
        except TreeError as error:
            # The disk reported a failure: nothing of this group may be believed, and all of it is staged again.
            for staging in group:
                staging.error = error
                await self._give_up(staging)
            return
        committed = await self._workers.run_blocking(self._store.db_commit, done, now(), lane=self._lane)
        for staging in group:
            self._forget(staging)
        if self.on_committed is not None:
            await self.on_committed(committed)

    # waking --------------------------------------------------------------------------------------------------

    def _new_work(self) -> None:
        self._work.set()
        self._work = trio.Event()

    def peers_have_more(self, device: DeviceId) -> None:
        """A peer has told news: what it lacked it may have now."""
        self.pull.poll_again(device)
        self._new_work()

    async def poll_again_forever(self) -> None:
        """While blocks are wanted that no connected peer had when it was asked, ask again now and then."""
        while True:
            await trio.sleep(POLL_AGAIN_S)
            if self._links and self.pull.unavailable(self._links):
                for device in self._links:
                    self.peers_have_more(device)

    def new_keys(self) -> None:
        """The store's keyring was replaced."""
        self._stager.keyring = self._store.keyring
        self._new_work()

    @property
    def needs(self) -> tuple[int, int]:
        """(contents under way, bytes still to be fetched)."""
        return len(self.busy), self.pull.wanted_bytes
