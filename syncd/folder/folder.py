"""Async. One folder at work: scan, publish, plan, pull, apply, serve, each a task of its own, none waiting for
another's trouble.

The task decides nothing itself. What to do is decided by pure functions (`engine.detect`, `engine.plan`, `engine.pull`,
`engine.brake`), what it means for the rows by `store`; here the parts are put together, and their life is led.
"""

from __future__ import annotations

from enum import Enum

import trio

from ca.ids import DeviceId
from syncd.engine.brake import USUAL, Measures
from syncd.folder.applying import Applier
from syncd.folder.archiving import Archivist
from syncd.folder.database import FolderDatabase
from syncd.folder.doubting import Doubter
from syncd.folder.drilling import Driller
from syncd.folder.following import Follower
from syncd.folder.ground import Ground, Rights
from syncd.folder.keeping import Found, Keeper
from syncd.folder.lacking import Lacking
from syncd.folder.metering import Transfers
from syncd.folder.proving import Copies
from syncd.folder.replicating import Replication
from syncd.folder.scanning import Scanner
from syncd.folder.serving import Server
from syncd.folder.unlisted import ListFetcher
from syncd.folder.waves import Waves
from syncd.model.ids import ChangesetHash, Incarnation
from syncd.seams import Clock, Workers
from syncd.store.folder import FolderStore
from syncd.store.keyring import Keyring
from syncd.store.tally import Counted
from syncd.store.timing import db_take_rates
from syncd.treetypes import Marker, RootState

JournalHead = tuple[DeviceId, Incarnation, int, ChangesetHash]


class State(Enum):
    """The word that `status` shows."""

    STARTING = "starting"
    SCANNING = "scanning"
    SYNCING = "syncing"
    SYNCED = "synced"
    WAITING = "waiting"
    PAUSED = "paused"
    STOPPED = "stopped"


class FolderTask(Ground):
    """One folder. `run` is its life; everything else may be called from other tasks meanwhile."""

    def __init__(
        self,
        name: str,
        store: FolderStore,
        marker: Marker,
        workers: Workers,
        clock: Clock,
        database: FolderDatabase,
        transfers: Transfers,
        rights: Rights,
        measures: Measures = USUAL,
    ) -> None:
        """`measures`: from which on changes are a wave that waits for a person."""
        super().__init__(name, store, marker, workers, clock, database, transfers, rights)
        self.stopped_why: str | None = None
        copies = Copies(self)
        self.keeper = Keeper(self, copies)
        self.archivist = Archivist(self, copies)
        self.driller = Driller(self)
        self.replication = Replication(self)
        self.waves = Waves(self, measures)
        self.scanner = Scanner(self, self.keeper, self.waves)
        self.applier = Applier(self, self.keeper, self.waves)
        self.lacking = Lacking(self)
        self.follower = Follower(self, self.lacking)
        self.server = Server(self)
        self.doubter = Doubter(self)
        self.list_fetcher = ListFetcher(self)
        self.keeper.on_root_moved = self.waves.on_release = self.scanner.rescan

    async def run(self, *, wait_for_peer: bool, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Work until cancelled. `wait_for_peer`: a device that joined publishes nothing before it has reached a
        peer."""
        judges = self.is_judged = self.rights.exchanges
        found, self.newest, counted = await self.db(self._db_begin, judges)
        self.is_judged = self.is_judged and found.state is RootState.OK
        await self.keeper.begin(found)
        if not wait_for_peer or self.newest:
            self.may_scan.set()
            self.knows_disk.set()
        await self.recount(counted)
        task_status.started()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self.scanner.run)
            nursery.start_soon(self.applier.run)
            nursery.start_soon(self.finisher.run, self.clock.now)
            nursery.start_soon(self.keeper.run)
            nursery.start_soon(self.puller.poll_again_forever)
            nursery.start_soon(self.puller.poll_neighbours_forever)
            nursery.start_soon(self.keeper.watch_root)
            nursery.start_soon(self.archivist.run)
            nursery.start_soon(self.driller.run)
            nursery.start_soon(self.replication.run)
            nursery.start_soon(self.doubter.run)
            nursery.start_soon(self.lacking.run)
            nursery.start_soon(self.list_fetcher.run)

    def _db_begin(self, judges: bool) -> tuple[Found, int, Counted]:
        """All that is asked of the rows at a start, in one visit: the root, the newest changeset, the counts."""
        self.store.db_begin()
        db_take_rates(self.store, self.rates)
        found = self.keeper.db_begin()
        if judges and found.state is RootState.OK:
            self.applier.db_judge_again()
        self.replication.db_begin()
        self.driller.db_begin()
        self.list_fetcher.db_begin()
        return found, self.store.journal.newest_seq(), self.db_count()

    def give_back_buffers(self) -> None:
        """Nothing has been sent or fetched for a while."""
        self.puller.give_back_buffers()
        self.server.give_back_buffers()

    def hold(self) -> None:
        """Before `run`: take in what peers tell, but neither look at the disk nor change it until `go`."""
        self.may_work = trio.Event()

    def expect_watch(self) -> None:
        """Before `run`: somebody is going to watch the disk, and says so (`is_watched`)."""
        self.is_watched = trio.Event()

    def go(self) -> None:
        """Begin to work after `hold`."""
        self.may_work.set()

    def use_keyring(self, keyring: Keyring) -> None:
        """A rotation gave us new keys."""
        self.store.keyring = keyring
        self.puller.new_keys()
        self.wake_plan()

    def use_rights(self, rights: Rights) -> None:
        """The roster, or the clock, lets this device do something else from now on."""
        if rights != self.rights:
            if rights.publishes and not self.rights.publishes:
                self.scanner.rescan()  # what was made here meanwhile is to be told
            self.rights = rights
            self.wake_plan()
            self.tell()

    def peer_reached(self) -> None:
        """There is nobody to wait for (or somebody was reached): indexing may begin."""
        self.may_scan.set()

    async def journal_heads(self) -> list[JournalHead]:
        """The newest changeset of every journal, for the seals of a removal."""
        return await self.db(self.store.journal.heads)

    def stopped(self) -> None:
        """The task has ended: wake everybody who waits for it."""
        self.links.clear()
        self.tell()

    @property
    def state(self) -> State:
        """One word for what it is doing."""
        if self.stopped_why is not None or self.root_state is not RootState.OK:
            return State.STOPPED
        if not self.may_scan.is_set():
            return State.WAITING
        if self.is_scanning:
            return State.SCANNING
        if self.progress.scans_done == 0:
            return State.STARTING
        if self.is_settled:
            return State.SYNCED
        return State.SYNCING if self.links else State.WAITING
