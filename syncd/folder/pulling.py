"""Async. Contents on their way to this disk: asked of peers block by block, staged, handed on when they are whole.

Two kinds of task meet here. `offer` takes contents from the planner and begins to stage them. Every link has fetchers,
which take batches from the pure scheduler (`engine.pull`) and hand what arrives to a worker thread that checks and
writes it. Complete contents go to the finisher (`finishing.py`), which gives them their names.

Connections never touch the disk: what a fetcher has handed over is written even if its connection is cut in that
moment.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import field
from math import inf

import trio

from ca.ids import DeviceId
from ca.values import dataclass
from syncd.engine.pull import Batch, Pull
from syncd.engine.rates import work_of
from syncd.errors import PeerUnavailable, RemoteProtocolError
from syncd.folder.database import FolderDatabase
from syncd.folder.finishing import Finisher
from syncd.folder.metering import Transfers
from syncd.folder.pacing import FolderPace
from syncd.model.cipher import max_ciphertext
from syncd.model.ids import HASH_BYTES, Cid
from syncd.model.lists import Entry
from syncd.protocol.exchange import Frame, FrameStatus, Link
from syncd.protocol.frames import room_for
from syncd.seams import Workers
from syncd.store.blocks import SourceKind
from syncd.store.folder import FolderStore, Needed
from syncd.store.hashing import SMALL_FILE_BYTES
from syncd.store.keyring import EpochKeyMissing
from syncd.store.locating import BlockSource, Places
from syncd.store.prepare import Want
from syncd.store.staging import STAGERS, Delivery, Stager, Staging, shares
from syncd.treetypes import NotSupported
from syncd.workers import Buffers

FIRST_POLL_AGAIN_S = 0.1
"""Mostly somebody else is about to have it. Each time in a row it is twice as long."""
POLL_AGAIN_S = 3.0
NEIGHBOUR_S = 0.25
"""Who fetches the same has got more of it by then."""
NEIGHBOUR_SHARE = 64
"""And it is asked again only when so many times more bytes have come here than the questions take."""
STARVED_MAX_S = 60.0
BUSY_S = 1.0
MAX_STAGED_FILES = 2560
"""Each is a handful of objects while it is on its way, and what they leave in the heap stays: of 20,000 small files,
6,144 at a time left 102 MiB behind, these 93, in the same time; 1,536 took longer."""
MAX_SMALL_BYTES = 128 << 20
"""Of contents of one block each. So much, on its way to its name or staged in part, comes again after a power cut."""
FEW_LARGE = 32
MAX_LARGE_BYTES = 256 << 20
"""More than a few contents of several blocks are on their way at a time as long as they are not larger together."""
FETCH_BYTES = 8 << 20
"""Of one request: while one lane's is written, those of the others are received. Measured: 4 MiB over two lanes took a
fifth longer for a large file."""
LEAST_FETCH_BYTES = 1 << 20
IDLE_BUFFERS = 3
FETCH_TIMEOUT_S = 60.0
"""Without a single block from a peer in that time, what was asked of it is asked of another."""


@dataclass(slots=True)
class _Goal:
    """Where a wanted block has to go: places in files, or a part of a list that someone waits for."""

    entry: Entry
    places: dict[tuple[Staging, int], None] = field(default_factory=dict)
    """In order; a dictionary, since a block of zeros may have very many."""
    is_part: bool = False


async def _wait_on(wants: Sequence[tuple[Want, Cid]]) -> set[int]:
    """Where nobody gives anything up."""
    return set()


class Puller:
    """All contents of one folder that are being fetched."""

    def __init__(
        self,
        store: FolderStore,
        workers: Workers,
        database: FolderDatabase,
        transfers: Transfers,
        pace: FolderPace,
        own_number: int,
        finisher: Finisher,
    ) -> None:
        self._store = store
        self._workers = workers
        self._db = database.visit
        self._transfers = transfers
        self._pace = pace
        self.meter = transfers.meter
        self.pull = Pull(own_number)
        self._goals: dict[Cid, _Goal] = {}
        self._stager = Stager(store.tree, store.keyring, store.packs)
        self.busy: set[int] = set()
        """Nodes whose contents are on their way."""
        self.starved: set[int] = set()
        """Nodes with contents that no connected peer has just now: put aside, so that they are in nobody's way."""
        self._stagings: dict[int, list[Staging]] = {}
        self._waiting_parts: list[Staging] = []
        self._partial: set[Staging] = set()
        """Large contents of which a part has arrived."""
        self._tokens: set[bytes] = set()
        """Of everything on its way: no content is ever staged twice at a time."""
        self._large: dict[Staging, None] = {}
        """Contents of several blocks on their way, and how large they are together."""
        self._large_bytes = 0
        self._small_bytes = 0
        self._room = trio.Event()
        self._work = trio.Event()
        self._links: dict[DeviceId, Link] = {}
        self._polling: set[DeviceId] = set()
        self._since_asked_bytes = 0
        """What has come since neighbours were asked what they have got."""
        self._buffers = Buffers(IDLE_BUFFERS)
        self._patience_s = POLL_AGAIN_S
        self._feed_at = 0.0
        self._finisher = finisher
        finisher.on_done = self._in_place
        finisher.on_failed = self._not_in_place
        self._resumable: set[bytes] = set()
        """Tokens under which parts of contents lie in the stage."""
        self.on_failed: Callable[[Staging], Awaitable[None]] | None = None
        self.on_aside: Callable[[Sequence[tuple[Want, Cid]]], Awaitable[set[int]]] = _wait_on
        """Contents were put aside, each with a block that nobody has; of which nodes none is waited for any more."""
        self.on_starving: Callable[[bool], None] = lambda is_so: None
        """Whether somebody else than those who are linked may have what they lack."""
        self.on_fed: Callable[[], None] = lambda: None
        """What was put aside may be planned again."""

    def lies_staged(self, tokens: Iterable[bytes]) -> None:
        """Under these tokens parts of contents lie in the stage. None of them is believed once the disk has refused to
        save anything."""
        if not self._finisher.refusals:
            self._resumable = set(tokens)

    @property
    def engaged(self) -> frozenset[int]:
        """Nodes whose contents the planner need not ask for."""
        return frozenset(self.busy | self.starved)

    # taking contents in --------------------------------------------------------------------------------------

    async def offer(self, wants: Sequence[Want]) -> None:
        """Begin to stage contents; waits while too many are on their way."""
        wants = [want for want in wants if want.token not in self._tokens]
        at = 0
        while at < len(wants):
            while not self._has_room():
                await self._make_room()
            part: list[Staging] = []
            while at < len(wants) and self._has_room():
                part.append(self._staging(wants[at]))
                at += 1
            await self._begin(part)

    def _staging(self, want: Want) -> Staging:
        staging = Staging(want, refusals=self._finisher.refusals)
        self.busy.add(want.node)
        self._tokens.add(want.token)
        self._stagings.setdefault(want.node, []).append(staging)
        if want.size > SMALL_FILE_BYTES:
            self._large[staging] = None
            self._large_bytes += want.size
        else:
            self._small_bytes += want.size
        return staging

    def _has_room(self) -> bool:
        is_much = len(self._large) >= FEW_LARGE and self._large_bytes >= MAX_LARGE_BYTES
        return len(self.busy) < MAX_STAGED_FILES and self._small_bytes < MAX_SMALL_BYTES and not is_much

    async def _make_room(self) -> None:
        room = self._room
        await self._put_starved_aside()
        if not self._has_room():
            with trio.move_on_after(POLL_AGAIN_S):
                await room.wait()

    def with_nobody(self) -> list[tuple[Want, Cid]]:
        """Contents that cannot be had, each with a block of it that nobody has who is connected."""
        lacking = set(self.pull.unavailable(self._links))
        return [(one.want, min(missing)) for one in self.stagings if (missing := lacking & one.wanted_cids)]

    async def _put_starved_aside(self) -> None:
        """Of what is on its way, let go of all that nobody who is connected can send anything for."""
        lacking = set(self.pull.unavailable(self._links))
        if not lacking:
            return
        starved = [
            staging
            for stagings in self._stagings.values()
            for staging in stagings
            if staging.wanted_cids and lacking.issuperset(staging.wanted_cids)
        ]
        if not starved:
            return
        self.starved.update(staging.want.node for staging in starved)
        wants = [(staging.want, min(staging.wanted_cids)) for staging in starved]
        await self._let_go(starved)
        given_up = await self.on_aside(wants)
        self.starved.difference_update(given_up)

    async def let_go(self, wants: Sequence[Want]) -> None:
        """These contents are not needed any more."""
        tokens = {want.token for want in wants}
        every = [staging for stagings in self._stagings.values() for staging in stagings]
        # What is complete is about to be put in place, and will be looked at then.
        await self._let_go([one for one in every if one.want.token in tokens and not one.is_complete])

    async def _let_go(self, stagings: Sequence[Staging]) -> None:
        for staging in stagings:
            self._drop_goals(staging)
            self._forget(staging)
        if stagings:
            self._tell_room()
            await self._workers.run_blocking(self._stager.abandon, stagings)

    @property
    def stagings(self) -> list[Staging]:
        """Contents on their way, those that wait for their list included."""
        return [staging for stagings in self._stagings.values() for staging in stagings]

    @property
    def on_their_way(self) -> list[Want]:
        """Contents that were offered and are not in place yet."""
        return [staging.want for stagings in self._stagings.values() for staging in stagings]

    async def _begin(self, stagings: Sequence[Staging]) -> None:
        by_token = {staging.want.token: staging for staging in stagings}
        wants = [staging.want for staging in stagings]
        needed = await self._db(self._store.db_needed, wants)
        whole: list[tuple[Staging, Needed]] = []
        for item in needed:
            staging = by_token[item.want.token]
            if staging.is_gone:
                continue
            if item.is_false:
                staging.error = NotSupported("its author published it with a list of blocks that is not its own")
                await self._give_up(staging)
                continue
            if not item.parts:
                whole.append((staging, item))
                continue
            staging.parts = {entry.cid for entry in item.parts}
            self._waiting_parts.append(staging)
            for entry in item.parts:
                self._goals.setdefault(entry.cid, _Goal(entry)).is_part = True
            self.pull.want((entry.cid, entry.length) for entry in item.parts)
        if whole:
            await self._stage(whole)
        self._new_work()

    async def _stage(self, whole: Sequence[tuple[Staging, Needed]]) -> None:
        resumable = frozenset(self._resumable)
        began = trio.current_time()
        async with trio.open_nursery() as nursery:
            for share in shares(whole):
                nursery.start_soon(self._workers.run_blocking, self._stager.begin, share, resumable)
        if together := [one for one in whole if one[0].to_copy]:
            async with trio.open_nursery() as nursery:
                for _ in range(STAGERS):
                    nursery.start_soon(self._workers.run_blocking, self._stager.copy, together)
            await self._workers.run_blocking(self._stager.begun, together)
        copied = [staging.copied_bytes for staging, _ in whole if staging.copied_bytes]
        if copied:
            self._finisher.rates.stage.note(work_of(len(copied), sum(copied)), trio.current_time() - began)
        wanted: list[tuple[Cid, int]] = []
        written: dict[DeviceId, list[Cid]] = {}
        goals = self._goals
        is_believed = self._finisher.refusals
        self._resumable.update(staging.want.token for staging, _ in whole if staging.refusals == is_believed)
        self.meter.copied_bytes += sum(copied)
        for staging, needed in whole:
            if staging.is_gone:
                continue
            if staging.error is not None:
                await self._give_up(staging)
            elif staging.is_complete:
                self._complete(staging)
            else:
                cids = []
                for offset, entry in staging.missing.items():
                    goal = goals.get(cid := entry.cid)
                    if goal is None:
                        goal = goals[cid] = _Goal(entry)
                    goal.places[staging, offset] = None
                    wanted.append((cid, entry.length))
                    cids.append(cid)
                if needed.author is not None:
                    written.setdefault(needed.author, []).extend(cids)
        self.pull.want(wanted)
        for author, cids in written.items():
            if author in self._links and self._pace.down(author).rate != 0:
                self.pull.assume(author, cids)

    # what others may have of it ------------------------------------------------------------------------------

    def staged(self, cids: Sequence[Cid]) -> dict[Cid, tuple[Entry, Places]]:
        """Of these blocks, those that lie in contents which are still being staged."""
        found: dict[Cid, tuple[Entry, Places]] = {}
        for staging in self._partial:
            source = BlockSource(SourceKind.STAGED, (), staging.want.token)
            for cid in staging.arrived.keys() & cids:
                offset, entry = staging.arrived[cid]
                found[cid] = entry, ((source, offset),)
        return found

    @property
    def partial_bytes(self) -> int:
        """What has arrived of contents that are not complete."""
        return sum(entry.length for staging in self._partial for _, entry in staging.arrived.values())

    def _drop_goals(self, staging: Staging) -> None:
        """What only this content wants is not wanted any more."""
        for cid in staging.wanted_cids:
            goal = self._goals.get(cid)
            if goal is None:
                continue
            goal.places = {place: None for place in goal.places if place[0] is not staging}
            goal.is_part = goal.is_part and any(cid in other.parts for other in self._waiting_parts if other != staging)
            self._maybe_reached(cid, goal)

    def _maybe_reached(self, cid: Cid, goal: _Goal) -> None:
        if not goal.places and not goal.is_part:
            del self._goals[cid]
            self.pull.forget([cid])

    # links ---------------------------------------------------------------------------------------------------

    async def run_link(self, link: Link) -> None:
        """Fetch through one link until it is lost or cancelled."""
        self._links[link.device] = link
        self._feed_again()
        try:
            async with trio.open_nursery() as nursery:
                for _ in range(max(1, link.lanes)):
                    nursery.start_soon(self._fetcher, link)
        except* PeerUnavailable:
            pass  # the connection's owner sees it too, and dials again
        finally:
            if self._links.get(link.device) is link:
                del self._links[link.device]
                self.pull.peer_gone(link.device)
            self._new_work()

    async def _fetcher(self, link: Link) -> None:
        while True:
            work = self._work
            if link.device not in self._polling and (cids := self.pull.to_poll(link.device)):
                await self._poll(link, cids)
                continue
            if (pace := self._pace.down(link.device)).rate == 0:
                self.pull.waits(link.device)
                self._new_work()
                await pace.wait_open()
            # With several peers less of each: what is under way fits into memory, and who has what is asked more often.
            batch = self.pull.next_batch(link.device, max(FETCH_BYTES // max(1, len(self._links)), LEAST_FETCH_BYTES))
            if batch is None:
                await work.wait()
                continue
            has_own_limit = self._pace.down(link.device).has_own
            budget = self._transfers.limited if has_own_limit else self._transfers.budget
            try:
                async with budget.take(batch.size):
                    is_busy = await self._fetch(link, batch)
            finally:
                self.pull.ended(link.device)
            if is_busy:
                await trio.sleep(BUSY_S)

    async def _poll(self, link: Link, cids: Sequence[Cid]) -> None:
        """Ask what a peer has; its other lane fetches meanwhile."""
        self._polling.add(link.device)
        try:
            bitmap = await link.have(cids)
        finally:
            self._polling.discard(link.device)
        self.pull.polled(link.device, cids, bitmap)
        self._new_work()

    async def _fetch(self, link: Link, batch: Batch) -> bool:
        """Ask for blocks and take in what comes; whether the peer was too busy for some."""
        limits = [max_ciphertext(length) for length in batch.lengths]
        arrived: list[tuple[Cid, memoryview]] = []
        left = set(batch.cids)
        is_busy = is_late = False
        began = trio.current_time()
        with self._buffers.lend(room_for(limits)) as place:
            try:
                with trio.move_on_after(FETCH_TIMEOUT_S) as patience:
                    async with link.blocks(batch.cids, limits, place) as groups:
                        async for frames in groups:
                            patience.deadline = inf
                            down = self._pace.down(link.device)
                            is_paused = down.rate == 0
                            if not is_paused:
                                await down.take(sum(len(frame.ciphertext) for frame in frames))
                            patience.deadline = trio.current_time() + FETCH_TIMEOUT_S
                            is_busy |= self._sort(link.device, batch.cids, frames, left, arrived)
                            if is_paused:  # the rest may be had from others meanwhile, and the memory is theirs
                                break
                is_late = patience.cancelled_caught
                if arrived:
                    size = sum(len(ciphertext) for _, ciphertext in arrived)
                    self.pull.took(link.device, size, trio.current_time() - began)
                self._finisher.rates.fetch.note(sum(len(one) for _, one in arrived), trio.current_time() - began)
            finally:
                self.pull.failed(link.device, left, refused=is_late)
                if not arrived:
                    self._new_work()  # for others
                if arrived:
                    # Checked and written even if the connection was cut meanwhile: it never has to come again.
                    with trio.CancelScope(shield=True):
                        await self._take(link.device, arrived)
        return is_busy

    def _sort(
        self,
        device: DeviceId,
        cids: Sequence[Cid],
        frames: Sequence[Frame],
        left: set[Cid],
        arrived: list[tuple[Cid, memoryview]],
    ) -> bool:
        """What came goes to `arrived`, what was refused back to the scheduler; whether the peer was too busy."""
        is_busy = False
        for frame in frames:
            cid = cids[frame.index]
            left.discard(cid)
            if frame.status is FrameStatus.OK:
                arrived.append((cid, frame.ciphertext))
            else:
                is_busy |= frame.status is FrameStatus.BUSY
                self.pull.failed(device, [cid], refused=frame.status is not FrameStatus.BUSY)
        return is_busy

    async def _take(self, device: DeviceId, arrived: Sequence[tuple[Cid, memoryview]]) -> None:
        deliveries: list[Delivery] = []
        parts: list[tuple[Entry, bytes]] = []
        size = sum(len(ciphertext) for _, ciphertext in arrived)
        self.meter.received_bytes += size
        self._since_asked_bytes += size
        self.meter.traffic.note(device, size, 0)
        for cid, ciphertext in arrived:
            goal = self._goals.get(cid)
            if goal is None:
                self.meter.duplicate_bytes += len(ciphertext)
                continue
            self.meter.blocks_fetched += 1
            if goal.is_part:
                parts.append((goal.entry, bytes(ciphertext)))
            for staging, offset in goal.places:
                deliveries.append(Delivery(staging, offset, goal.entry, ciphertext))
        if parts:
            await self._take_parts(device, parts)
        if deliveries:
            delivered = await self._workers.run_blocking(self._stager.deliver, deliveries)
            self.meter.refused_blocks += len(delivered.refused)
            self.pull.failed(device, delivered.refused, refused=True)
            await self._written(delivered.good)
        # A place that was added while these were being written did not get its block.
        self.pull.failed(device, [cid for cid, _ in arrived], refused=False)
        self._new_work()

    async def _take_parts(self, device: DeviceId, parts: Sequence[tuple[Entry, bytes]]) -> None:
        good = []
        for entry, ciphertext in parts:
            try:
                good.append((entry, self._store.open_part_untrusted(entry, ciphertext)))
            except (RemoteProtocolError, EpochKeyMissing):
                self.meter.refused_blocks += 1
                self.pull.failed(device, [entry.cid], refused=True)
        await self._db(self._store.db_keep_parts, good)
        for entry, _ in good:
            goal = self._goals.get(entry.cid)
            if goal is not None:
                goal.is_part = False
                self._maybe_reached(entry.cid, goal)
        waiting, self._waiting_parts = self._waiting_parts, []
        for staging in waiting:
            staging.parts = set()
        if waiting:
            await self._begin(waiting)

    async def _written(self, good: Sequence[Delivery]) -> None:
        finished = []
        for delivery in good:
            staging = delivery.staging
            if staging.missing.pop(delivery.offset, None) is None:
                continue
            if staging in self._large:
                staging.arrived[delivery.entry.cid] = delivery.offset, delivery.entry
                self._partial.add(staging)
            goal = self._goals.get(delivery.entry.cid)
            if goal is not None:
                goal.places.pop((staging, delivery.offset), None)
                self._maybe_reached(delivery.entry.cid, goal)
            if staging.is_gone:
                continue
            if staging.error is not None:
                await self._give_up(staging)
            elif not staging.missing:
                finished.append(staging)
        for staging in finished:
            if staging.error is not None:
                await self._give_up(staging)
            else:
                self._complete(staging)

    def _complete(self, staging: Staging) -> None:
        if not staging.is_gone:
            self._finisher.add(staging)

    def _in_place(self, group: Sequence[Staging]) -> None:
        for staging in group:
            self._resumable.discard(staging.want.token)
            self._forget(staging)
        self._tell_room()

    async def _not_in_place(self, group: Sequence[Staging]) -> None:
        self._resumable.clear()  # what can be read in the stage now may never come to the disk
        for staging in group:
            await self._give_up(staging)

    async def _give_up(self, staging: Staging) -> None:
        self._drop_goals(staging)
        if self.on_failed is not None:
            await self.on_failed(staging)
        self._forget(staging)
        self._tell_room()

    def _forget(self, staging: Staging) -> None:
        known = self._stagings.get(staging.want.node, [])
        if staging in known:
            known.remove(staging)
            staging.is_gone = True
            self._let_room(staging)
            self._tokens.discard(staging.want.token)
        self._partial.discard(staging)
        if staging in self._waiting_parts:
            self._waiting_parts.remove(staging)
        if not known:
            self._stagings.pop(staging.want.node, None)
            self.busy.discard(staging.want.node)

    def _let_room(self, staging: Staging) -> None:
        if staging in self._large:
            del self._large[staging]
            self._large_bytes -= staging.want.size
        else:
            self._small_bytes -= staging.want.size

    def _tell_room(self) -> None:
        self._room.set()
        self._room = trio.Event()

    # waking --------------------------------------------------------------------------------------------------

    def _new_work(self) -> None:
        """Wake whoever fetches, if there is anything to be fetched."""
        if self.pull or self.starved:
            self._work.set()
            self._work = trio.Event()
        else:
            self._buffers.clear()
            self._stager.memory.clear()

    def give_back_buffers(self) -> None:
        """Those that came back after the last of the work, too."""
        self._buffers.clear()

    def peers_have_more(self, device: DeviceId) -> None:
        """A peer has told news: what it lacked it may have now."""
        if device in self._links:  # whoever only asks us is not to be asked, and so has nothing for us
            self.pull.poll_again(device)
        self._feed_again()
        self._new_work()

    def _feed_again(self) -> None:
        self._patience_s = POLL_AGAIN_S
        self._feed()

    def _feed(self) -> None:
        self._feed_at = trio.current_time() + self._patience_s
        if self.starved:
            self.starved.clear()
            self.on_fed()

    async def poll_again_forever(self) -> None:
        """While blocks are wanted that no connected peer had when it was asked, ask again now and then."""
        wait_s = FIRST_POLL_AGAIN_S
        while True:
            if not self.pull.wanted_bytes and not self.starved:
                self.on_starving(False)
                await self._work.wait()
                wait_s = FIRST_POLL_AGAIN_S
            await trio.sleep(wait_s)
            if not self._links:
                continue
            is_lacking = bool(self.pull.unavailable(self._links))
            self.on_starving(wait_s >= POLL_AGAIN_S and (is_lacking or bool(self.starved)))
            wait_s = min(2 * wait_s, POLL_AGAIN_S)
            if is_lacking:
                for device in self._links:
                    self.pull.poll_again(device)
                self._new_work()
            if self.starved and trio.current_time() >= self._feed_at:
                self._patience_s = min(2 * self._patience_s, STARVED_MAX_S)
                self._feed()

    async def poll_neighbours_forever(self) -> None:
        """Ask those who fetch the same again and again: what they have got is to be had from them, too."""
        while True:
            if not self.pull:
                await self._work.wait()
                continue
            await trio.sleep(NEIGHBOUR_S)
            neighbours = [device for device in self._links if self.pull.lacks(device)]
            if self._since_asked_bytes < NEIGHBOUR_SHARE * len(neighbours) * len(self.pull) * HASH_BYTES:
                continue
            self._since_asked_bytes = 0
            for device in neighbours:
                self.pull.poll_again(device)
            if neighbours:
                self._new_work()

    def new_keys(self) -> None:
        """The store's keyring was replaced."""
        self._stager.keyring = self._store.keyring
        self._new_work()

    @property
    def needs(self) -> tuple[int, int]:
        """(contents under way, bytes still to be fetched)."""
        return len(self.busy), self.pull.wanted_bytes
