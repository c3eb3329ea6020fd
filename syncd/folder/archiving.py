"""Async. Looking after the packs of a folder: snapshots by the schedule, reading packs again, letting go of what may
go.

Everything here is slow and in no hurry; it holds `Ground.packing` only while it exchanges packs.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from datetime import UTC, datetime
from math import inf

import trio

from ca.values import dataclass
from syncd.folder.collecting import Collector, Pruned
from syncd.folder.gathering import fetch
from syncd.folder.ground import Ground
from syncd.folder.proving import Copies
from syncd.store import pruning, restoring, snapshots
from syncd.treetypes import RootState, TreeError

log = logging.getLogger("syncd.history")

JUMP_S = 3 * 86_400.0
"""A clock that went on by so much more than time did, or less, was set; or the computer slept that long."""
ROUND_S = 300.0
SNAPSHOT_EVERY_S = 12 * 3600.0
KEEP_SNAPSHOTS_S = 90 * 86400.0
"""Of the schedule; those that a person made stay until a person removes them."""
SCRUB_WITHIN_S = 14 * 86400.0
COLLECT_EVERY_S = 86400.0


@dataclass(frozen=True, slots=True)
class Scrub:
    """What reading packs showed."""

    packs: int
    size: int
    damaged: int
    healed: int
    lost: int


class Archivist:
    """One folder's."""

    def __init__(self, ground: Ground, copies: Copies) -> None:
        self._ground = ground
        self._store = ground.store
        self._db = ground.db
        self._blocking = ground.workers.run_blocking
        self._clock = ground.clock
        self._collector = Collector(ground, copies)
        self._collected_at = ground.clock.monotonic()
        self._seen_at = (ground.clock.now(), ground.clock.monotonic())
        self._changes = -1
        """Of the rows, before it was looked up what is due next."""
        self._due: tuple[float, float] = -inf, -inf
        """From when to when nothing is, in unix seconds, unless a row changes."""

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            await trio.sleep(ROUND_S)
            self._watch_clock()
            if self._ground.root_state is not RootState.OK:
                continue
            is_due = self._clock.monotonic() >= self._collected_at + COLLECT_EVERY_S
            if not is_due and self._is_as_before:  # the rows may rest
                continue
            try:
                await self._db(self._take_snapshot)
                await self.scrub(SCRUB_WITHIN_S, most=1)
                self._changes = self._ground.database.changes
                self._due = self._clock.now(), await self._db(self._db_next_due)
                if is_due and self._ground.rights.exchanges:
                    self._collected_at = self._clock.monotonic()
                    await self._db(self._drop_snapshots)  # not at a start either, when nobody knows of the clock
                    await self.prune(dry_run=False)
            except TreeError as error:
                log.warning("folder %s: its history waits: %s", self._ground.name, error)

    @property
    def _is_as_before(self) -> bool:
        """No row has changed since the last round, and by the clock nothing is due."""
        since, due_at = self._due
        return self._ground.database.changes == self._changes and since <= self._clock.now() < due_at

    def _db_next_due(self) -> float:
        """When there is a snapshot to be taken or a pack to be read next, in unix seconds."""
        taken = [one.made for one in snapshots.db_list(self._store) if one.is_scheduled]
        read = pruning.db_read_since(self._store)
        return min(
            max(taken, default=-inf) + SNAPSHOT_EVERY_S,
            inf if read is None else read + SCRUB_WITHIN_S,
        )

    def _watch_clock(self) -> None:
        """After a jump of the clock nothing goes for a day: what it says is long ago may be of yesterday."""
        now, running = self._clock.now(), self._clock.monotonic()
        ahead_s = (now - self._seen_at[0]) - (running - self._seen_at[1])
        self._seen_at = now, running
        if not -JUMP_S < ahead_s < JUMP_S:
            log.warning("folder %s: the clock jumped by %.0f s; old versions wait", self._ground.name, ahead_s)
            self._collected_at = running

    # snapshots -----------------------------------------------------------------------------------------------

    def _take_snapshot(self) -> None:
        """Every twelve hours; after a time of sleep at once, and one only."""
        now = self._clock.now()
        taken = [one.made for one in snapshots.db_list(self._store) if one.is_scheduled]
        if taken and max(taken) <= now < max(taken) + SNAPSHOT_EVERY_S:
            return
        name = datetime.fromtimestamp(now, UTC).strftime("auto-%Y-%m-%dT%H:%M")
        snapshots.db_add(self._store, name, int(now * 1000), now, snapshots.BY_SCHEDULE)

    def _drop_snapshots(self) -> None:
        snapshots.db_drop_scheduled(self._store, int((self._clock.now() - KEEP_SNAPSHOTS_S) * 1000))

    # scrub ---------------------------------------------------------------------------------------------------

    async def scrub(self, within_s: float, most: int | None = None) -> Scrub:
        """Read packs that were not read for so long, the longest first; heal what is damaged."""
        packs = size = damaged = healed = lost = 0
        before = self._clock.now() - within_s
        unread: set[str] = set()
        while most is None or packs < most:
            due = await self._db(pruning.db_to_scrub, self._store, before, unread)
            if due is None:
                break
            name, length, blocks = due
            try:
                found = await self._scrub_one(name, length, blocks)
            except TreeError as error:  # what the disk does not say now it may say later: it stays, others have a turn
                log.error("folder %s: a pack of old versions cannot be read: %s", self._ground.name, error)
                unread.add(name)
                damaged += 1
                continue
            packs, size = packs + 1, size + length
            if found.is_good:
                continue
            placed = await self._db(restoring.db_places, self._store, b"".join(found.damaged))
            entries = await self._blocking(pruning.damaged_only, self._store, placed)
            came = await fetch(self._ground, entries, frozenset())
            lost_now = len(entries) - came
            damaged, healed, lost = damaged + 1, healed + came, lost + lost_now
            await self._ground.on_audit("history healed", f"pack {name}: {came} blocks from peers, {lost_now} lost")
            log.error(
                "folder %s: a pack of old versions was damaged: %s blocks came back from peers, %s did not",
                self._ground.name,
                came,
                lost_now,
            )
        if packs:
            await self._ground.recount()
        return Scrub(packs, size, damaged, healed, lost)

    async def _scrub_one(self, name: str, size: int, blocks: Sequence[tuple[int, bytes]]) -> pruning.Scrubbed:
        """Read a pack; what is whole in a damaged one goes to another."""
        async with self._ground.packing:
            found = await self._blocking(pruning.scrub, self._store, name, size, blocks)
            if found.is_good:
                await self._db(pruning.db_verified, self._store, name, self._clock.now())
            else:
                rescued = await self._blocking(pruning.rescue, self._store, found)
                await self._db(pruning.db_retire_damaged, self._store, found, rescued, self._clock.now())
            return found

    # pruning -------------------------------------------------------------------------------------------------

    async def prune(self, *, dry_run: bool) -> Pruned:
        """Let go of what no promise covers."""
        return await self._collector.prune(dry_run=dry_run)
