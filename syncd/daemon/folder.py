"""Async. One folder at work: scan, publish, plan, pull, apply, serve, each a task of its own, none waiting for
another's trouble.

The task decides nothing itself. What to do is decided by pure functions (`engine.detect`, `engine.plan`, `engine.pull`,
`engine.brake`), what it means for the rows by `store`; here is only the order in which they are asked, and who is told.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import TypeVar, TypeVarTuple

import trio

from ca.ids import DeviceId
from syncd.daemon.problems import ROOT_IDS, problem_of
from syncd.daemon.pulling import ByteBudget, Meter, Puller
from syncd.engine.brake import Ages, Brake
from syncd.errors import PeerUnavailable, RemoteProtocolError, TrustError
from syncd.model.cipher import max_ciphertext
from syncd.model.heads import Head, decode_head_untrusted, verify_head
from syncd.model.ids import ChangesetHash, Cid, Incarnation
from syncd.model.ignores import Ignores, parse_ignores
from syncd.protocol.exchange import Frame, FrameStatus, HeadsPage, Link
from syncd.seams import Clock, Lane, Workers
from syncd.store import counts
from syncd.store.apply import execute
from syncd.store.commit import ANYTHING, Committed
from syncd.store.draft import Draft
from syncd.store.examine import examine
from syncd.store.folder import Arrived, FolderStore, Served, SourceReader, seal_served
from syncd.store.journal import Accepted, Verdict
from syncd.store.keyring import EpochKeyMissing, Keyring
from syncd.store.prepare import Round
from syncd.store.recovery import (
    compare_superseded,
    db_let_go,
    db_recheck_old,
    db_recover_intents,
    db_superseded,
    db_undelete,
    publish_late_edits,
)
from syncd.store.scan import Found, Gone, Item, Trouble
from syncd.store.staging import Staging
from syncd.treetypes import (
    ROOT,
    Dirty,
    Kind,
    LocallyChanged,
    Marker,
    NameTaken,
    NoSpace,
    NotThere,
    Path,
    RootState,
    TreeError,
)

log = logging.getLogger("syncd.folder")

Result = TypeVar("Result")
Arguments = TypeVarTuple("Arguments")

SCAN_STEP = 2048
EXAMINE_BYTES = 32 << 20
EXAMINE_FILES = 1024
SERVE_BYTES = 1 << 20
SERVE_BUFFER = 8 << 20
HEADS_PER_PAGE = 256
HEADS_AT_ONCE = 64
BODIES_BYTES = 4 << 20
"""Of changesets that are opened and joined together, compressed as they travel."""
PACE_S = 0.1
FIRST_WAIT_S = 1.0
LONGEST_WAIT_S = 60.0
FULL_SCAN_S = 3600.0
ROOT_CHECK_S = 2.0
HOUSEKEEPING_S = 20.0
RETRY_S = 2.0
RACE_RETRY_S = 0.25
RESTLESS_S = 2.0
SCAN_ORIGIN = "here"
NOTHING = memoryview(b"")
COOKIE_S = 5.0

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


@dataclass(frozen=True, slots=True)
class Rights:
    """What the roster lets this device do with the folder now."""

    publishes: bool
    exchanges: bool = True
    """False: the membership is in doubt (a fork, a freeze), so no content is sent or fetched."""
    waits: bool = False
    """It publishes, but not now: the newest epoch is not open here yet, or there is a fork. What is found waits too."""


@dataclass(slots=True)
class LinkState:
    """What we know of one connected peer."""

    link: Link
    reached: bool = False
    """Its heads were all taken in at some moment of this connection."""
    newest: int = 0


@dataclass(slots=True)
class Progress:
    """Numbers that only grow, for `wait`: what was asked before is answered when they have moved on."""

    scans_begun: int = 0
    scans_done: int = 0
    looked_at: int = 0


@dataclass(slots=True)
class _Work:
    """Directories that have to be looked at."""

    names: dict[Path, frozenset[bytes] | None] = field(default_factory=dict)
    deep: set[Path] = field(default_factory=set)
    """Directories with all that is in them."""
    everything: bool = True
    event: trio.Event = field(default_factory=trio.Event)

    def add(self, dirty: Dirty) -> None:
        if dirty.rescan:
            self.everything = True
        for path, names in dirty.names.items():
            self.add_names(path, names)
        self.event.set()

    def add_names(self, path: Path, names: frozenset[bytes] | None) -> None:
        known = self.names.get(path, frozenset())
        self.names[path] = None if names is None or known is None else known | names
        self.event.set()

    def take(self) -> tuple[Mapping[Path, frozenset[bytes] | None] | None, set[Path]]:
        """What to look at now, None for everything; and directories to look at with all that is in them."""
        everything, names, deep = self.everything, self.names, self.deep
        self.everything, self.names, self.deep, self.event = False, {}, set(), trio.Event()
        return (None if everything else names), deep

    def __bool__(self) -> bool:
        return self.everything or bool(self.names) or bool(self.deep)


class FolderTask:
    """One folder. `run` is its life; everything else may be called from other tasks meanwhile."""

    def __init__(
        self,
        name: str,
        store: FolderStore,
        marker: Marker,
        workers: Workers,
        clock: Clock,
        lane: Lane,
        budget: ByteBudget,
        meter: Meter,
        rights: Rights,
    ) -> None:
        self.name = name
        self.store = store
        self.marker = marker
        self.rights = rights
        self.meter = meter
        self.counts = counts.Counts(0, 0, 0, 0, 0, 0, 0, 0)
        self.problems: list[counts.Problem] = []
        self.root_state = RootState.OK
        self.stopped_why: str | None = None
        self.links: dict[DeviceId, LinkState] = {}
        self.peer_needs: dict[DeviceId, tuple[int, int]] = {}
        """(files, bytes) that a connected peer said it still lacks, as of its last word."""
        self.progress = Progress()
        self.on_roster_needed: Callable[[DeviceId], None] = lambda device: None
        self.on_change: Callable[[], None] = lambda: None
        self._workers = workers
        self._clock = clock
        self._lane = lane
        self._work = _Work()
        self._brake = Brake()
        self._ages = Ages()
        self._counted: set[int] = set()
        """Nodes whose deletion by somebody else was counted by the brake and has not been carried out yet."""
        self._ignores: Ignores = parse_ignores(b"")
        self._plan_event = trio.Event()
        self._planning = False
        self._news = trio.Event()
        self._newest = 0
        self._intake = trio.Lock()
        self._reached_ever = False
        self._is_doubted = False
        """A peer has shown that this database is an older one. Believed once: it costs everybody a new numbering."""
        self._may_scan = trio.Event()
        self._may_work = trio.Event()
        self._may_work.set()
        self._knows_disk = trio.Event()
        """Set once this disk was looked at: before that, files of which it has a copy would be fetched."""
        self._cookies_seen: frozenset[bytes] = frozenset()
        self._cookies_done: frozenset[bytes] = frozenset()
        self._scanning = False
        self._changed = trio.Event()
        self._root_lock = trio.Lock()
        self._recovered = False
        self._retries: set[Path] = set()
        self._swept_at = 0.0
        self._space_at = 0.0
        """The disk was full, or failed: when to try again. 0: it was not."""
        own = store.journal.device[0] % 16
        self.puller = Puller(store, workers, lane, budget, meter, own)
        self.puller.on_committed = self._after_commit
        self.puller.on_failed = self._after_failure
        self.puller.on_fed = self._wake_plan

    # life ----------------------------------------------------------------------------------------------------

    async def run(self, *, wait_for_peer: bool, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Work until cancelled. `wait_for_peer`: a device that joined publishes nothing before it has reached a
        peer."""
        await self._db(self.store.db_begin)
        await self._check_root()
        self._newest = await self._db(self.store.journal.newest_seq)
        if not wait_for_peer or self._newest:
            self._may_scan.set()
            self._knows_disk.set()
        await self._recount()
        task_status.started()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._scan_forever)
            nursery.start_soon(self._plan_forever)
            nursery.start_soon(self.puller.run_finisher, self._clock.now)
            nursery.start_soon(self._keep_house)
            nursery.start_soon(self.puller.poll_again_forever)
            nursery.start_soon(self._watch_root)

    async def run_link(self, link: Link) -> None:
        """Exchange with one peer until its connection is lost or cancelled."""
        state = self.links[link.device] = LinkState(link)
        self._tell()
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._follow, state)
                nursery.start_soon(self._tell_needs, link)
                nursery.start_soon(self.puller.run_link, link)
        except* PeerUnavailable as lost:
            log.debug("folder %s: %s", self.name, lost.exceptions[0])
        finally:
            if self.links.get(link.device) is state:
                del self.links[link.device]
                self.peer_needs.pop(link.device, None)
            self._tell()

    def hold(self) -> None:
        """Before `run`: take in what peers tell, but neither look at the disk nor change it until `go`."""
        self._may_work = trio.Event()

    def go(self) -> None:
        """Begin to work after `hold`."""
        self._may_work.set()

    def use_keyring(self, keyring: Keyring) -> None:
        """A rotation gave us new keys."""
        self.store.keyring = keyring
        self.puller.new_keys()
        self._wake_plan()

    def use_rights(self, rights: Rights) -> None:
        """The roster, or the clock, lets this device do something else from now on."""
        if rights != self.rights:
            self.rights = rights
            self._wake_plan()
            self._tell()

    def peer_reached(self) -> None:
        """There is nobody to wait for (or somebody was reached): indexing may begin."""
        self._may_scan.set()

    # scanning ------------------------------------------------------------------------------------------------

    def dirty(self, dirty: Dirty) -> None:
        """What a watch reports."""
        if dirty.ignore_changed:
            self._work.everything = True
        self._cookies_seen |= dirty.cookies
        self._work.add(dirty)

    def rescan(self) -> int:
        """Look at everything again; the number of the scan that will have done so (`progress.scans_done`)."""
        self._work.everything = True
        self._work.event.set()
        return self.progress.scans_begun + 1

    async def _scan_forever(self) -> None:
        await self._may_scan.wait()
        await self._may_work.wait()
        self._work.event.set()  # the first scan waits for no event
        while True:
            with trio.move_on_after(FULL_SCAN_S) as hour:
                await self._work.event.wait()
            if hour.cancelled_caught:
                self._work.everything = True
            if self.root_state is not RootState.OK or not await self._check_root():
                await trio.sleep(1)
                self._work.event.set()
                continue
            self.progress.scans_begun += 1
            cookies, self._cookies_seen = self._cookies_seen, frozenset()
            self._scanning = True
            self._tell()
            try:
                await self._scan(*self._work.take())
            except TreeError as error:
                log.warning("folder %s: the scan stopped: %s", self.name, error)
                self._work.everything = True
            finally:
                self._scanning = False
            self.progress.scans_done = self.progress.scans_begun
            self._knows_disk.set()
            self._cookies_done = cookies
            await self._recount()
            self._tell()
            if self._work:
                self._work.event.set()
                await trio.sleep(RESTLESS_S if self._retries else 0)

    async def _scan(self, dirty: Mapping[Path, frozenset[bytes] | None] | None, deep: set[Path]) -> None:
        self._retries.clear()
        rules = await self._workers.run_blocking(self.store.tree.read_ignore)
        self._ignores = parse_ignores(rules or b"")
        walk = await self._db(self.store.walk, self._ignores.match, dirty, deep)
        if dirty is None:
            await self._db(self._clear_folder_problems)
        else:
            paths = [(*path, name) for path, names in dirty.items() for name in names or ()]
            await self._db(counts.db_clear_problems, self.store.connection, [*dirty, *paths])
        while (found := await self._db(walk.step, SCAN_STEP)) is not None:
            await self._take_found(found)
        missing = walk.missing()
        if missing and await self._check_root():
            await self._take_missing(missing)
        self.progress.looked_at += 1

    async def _take_found(self, found: Found) -> None:
        await self._note_trouble(found.trouble)
        at = 0
        while at < len(found.items):
            part: list[Item] = []
            size = 0
            while at < len(found.items) and len(part) < EXAMINE_FILES and (size < EXAMINE_BYTES or not part):
                part.append(found.items[at])
                size += found.items[at].stat.size if found.items[at].stat.kind is Kind.FILE else 0
                at += 1
            await self._take_items(part)

    async def _take_items(self, items: Sequence[Item]) -> None:
        previous = await self._db(self.store.db_previous, items)
        result = await self._workers.run_blocking(
            lambda: examine(self.store.tree, self.store.keyring.hasher(), items, previous, self._now_ns)
        )
        await self._note_trouble(result.trouble)
        self._look_again(result.restless)
        if result.examined:
            publishes = await self._publishes()
            draft = await self._db(lambda: self.store.db_publish(result.examined, self._now_ms(), publishes=publishes))
            await self._after_draft(draft)

    async def _take_missing(self, missing: Sequence[Gone]) -> None:
        vanished = await self._db(lambda: counts.db_vanished(self.store.connection, missing, self.store.moving))
        rows = [gone.known.row for gone in vanished if gone.known.kind != Kind.DIR]
        directories = [gone.known.row for gone in vanished if gone.known.kind == Kind.DIR and not gone.known.is_copy]
        if directories:
            rows += await self._db(counts.db_files_below, self.store.connection, directories)
        old = sum(row <= self._ages.newest_old for row in rows)
        current = await self._db(counts.db_counts, self.store.connection)
        if self._brake.holds(SCAN_ORIGIN, len(rows), old, current.files, self._clock.monotonic()):
            nodes = [gone.known.row for gone in missing if not gone.known.is_copy]
            await self._hold(SCAN_ORIGIN, nodes, len(rows), current.files)
            return
        publishes = await self._publishes()
        draft = await self._db(lambda: self.store.db_delete(missing, self._now_ms(), publishes=publishes))
        await self._after_draft(draft)

    async def _publishes(self) -> bool:
        """Whether what was found is published or only here, once that is certain: only here is for good."""
        while self.rights.waits:
            await self._changed.wait()
        return self.rights.publishes

    async def _after_draft(self, draft: Draft) -> None:
        self._look_again(draft.again)
        if draft.records:
            self._announce(await self._db(self.store.journal.newest_seq))
        if draft.records or draft.unchanged:
            self._wake_plan()

    def _look_again(self, paths: Sequence[Path]) -> None:
        for path in paths:
            if path and path[-1] == ANYTHING:
                self._work.add_names(path[:-1], None)
            elif path:
                self._work.add_names(path[:-1], frozenset(path[-1:]))
            self._retries.add(path)

    async def _note_trouble(self, trouble: Sequence[Trouble]) -> None:
        def note() -> None:
            for item in trouble:
                if item.error is not None:
                    code, why, fix = problem_of(item.error, reading=True)
                elif item.stat is not None and item.stat.kind is Kind.BROKEN:
                    code, why, fix = "SY-DISK-03", "the disk does not say what this is", "check the disk"
                else:
                    code, why, fix = "SY-FILE-04", "it is a pipe, a socket or a device", "nothing, or move it elsewhere"
                counts.db_note_problem(self.store.connection, 0, item.path, code, why, fix, self._clock.now(), RETRY_S)

        if trouble:
            await self._db(note)

    def _clear_folder_problems(self) -> None:
        self.store.connection.execute("DELETE FROM problem WHERE node=0 AND path<>x''")

    # planning and applying -----------------------------------------------------------------------------------

    def _wake_plan(self) -> None:
        self._plan_event.set()

    async def _plan_forever(self) -> None:
        await self._may_work.wait()
        await self._knows_disk.wait()
        while True:
            with trio.move_on_after(await self._until_retry_s()):
                await self._plan_event.wait()
            self._plan_event = trio.Event()
            if self.root_state is not RootState.OK:
                continue
            self._planning = True
            self._tell()
            try:
                while await self._sweep():
                    pass
            except TreeError as error:
                log.warning("folder %s: the disk failed: %s", self.name, error)
                self._space_at = self._clock.monotonic() + RETRY_S
            finally:
                self._planning = False
            await self._recount()
            self._tell()

    async def _until_retry_s(self) -> float:
        """How long until something that failed is due again: what the last sweep passed over."""
        due = await self._db(counts.db_next_retry, self.store.connection, self._swept_at)
        wait_s = FULL_SCAN_S if due is None else max(0.05, due - self._clock.now())
        return min(wait_s, max(0.05, self._space_at - self._clock.monotonic())) if self._space_at else wait_s

    async def _sweep(self) -> bool:
        """Once through all pending nodes; True if that brought anything closer."""
        self._swept_at = self._clock.now()
        await self._hold_waves()
        await self.puller.let_go(await self._db(self.store.db_outdated, self.puller.on_their_way))
        ignored = self._ignores.match if self._ignores.spec.patterns else None
        after: int | None = 0
        progress = False
        while after is not None:
            async with self.puller.disk:
                engaged = self.puller.engaged
                page, after = await self._db(self.store.db_plan, after, self._swept_at, engaged, ignored)
                progress = await self._carry_out(page) or progress
            if page.wants and self.rights.exchanges and self._clock.monotonic() >= self._space_at:
                await self.puller.offer(page.wants)
        return progress

    async def _carry_out(self, page: Round) -> bool:
        """Do what needs no content. The puller's `disk` is held."""
        done = []
        if page.steps:
            nodes = {step.operation.node for step in page.steps}
            self.store.moving |= nodes
            try:
                done = await self._workers.run_blocking(execute, self.store.tree, page.steps)
                directories = sorted(
                    {step.path[:-1] for step in page.steps} | {s.target[:-1] for s in page.steps if s.target}
                )
                await self._workers.run_blocking(self.store.tree.flush_dirs, await self._existing(directories))
                committed = await self._db(self.store.db_commit, done, self._clock.now())
            finally:
                self.store.moving -= nodes
            await self._after_commit(committed)
        if page.blocked:
            taken = [(node, path, NameTaken("something that is only here has its name")) for node, path in page.blocked]
            await self._db(self._note_failures, Committed(failed=list(taken)))
        return page.settled + page.woken > 0 or any(not isinstance(item.outcome, TreeError) for item in done)

    async def _existing(self, directories: Sequence[Path]) -> list[Path]:
        def existing() -> list[Path]:
            found = []
            for path in directories:
                try:
                    self.store.tree.stat(path)
                except TreeError:
                    continue
                found.append(path)
            return found

        return await self._workers.run_blocking(existing)

    async def _after_commit(self, committed: Committed) -> None:
        if committed.applied and self._space_at:
            self._space_at = 0.0
            await self._db(counts.db_clear_problems, self.store.connection, [ROOT])
        if committed.edited:
            await self._db(publish_late_edits, self.store, committed.edited, self._now_ms())
            self._announce(await self._db(self.store.journal.newest_seq))
        if committed.failed:
            await self._db(self._note_failures, committed)
        self._look_again(committed.look_again)
        if committed.moved:
            self._work.deep.update(committed.moved)
            self._work.event.set()
        self._wake_plan()
        self._tell()

    def _note_failures(self, committed: Committed) -> None:
        for node, path, error in committed.failed:
            if isinstance(error, NoSpace):
                # That concerns all of the folder: nothing more is staged until some time has passed.
                self._space_at = self._clock.monotonic() + RETRY_S
                node, path = 0, ROOT
            code, why, fix = problem_of(error, reading=False)
            # A local edit got in between: the scan that looks there is on its way, so the next try is close.
            retry_s = RACE_RETRY_S if isinstance(error, LocallyChanged | NotThere | NameTaken) else RETRY_S
            counts.db_note_problem(self.store.connection, node, path, code, why, fix, self._clock.now(), retry_s)

    async def _after_failure(self, staging: Staging) -> None:
        assert staging.error is not None
        failed = Committed(failed=[(staging.want.node, staging.want.path, staging.error)])
        await self._db(self._note_failures, failed)
        self._recovered = False  # it may have its name already: that is found out before the next look at the disk
        self._wake_plan()

    # the brake -----------------------------------------------------------------------------------------------

    async def _hold_waves(self) -> None:
        vanishing = await self._db(counts.db_vanishing, self.store.connection)
        self._counted &= {node for nodes in vanishing.values() for node in nodes}
        if not vanishing:
            return
        current = await self._db(counts.db_counts, self.store.connection)
        for device, nodes in sorted(vanishing.items()):
            if device == self.store.journal.device:
                continue
            origin = device.hex()
            news = [node for node in nodes if node not in self._counted]
            old = sum(node <= self._ages.newest_old for node in news)
            if self._brake.holds(origin, len(news), old, current.files, self._clock.monotonic()):
                await self._hold(origin, nodes, len(nodes), current.files)
            else:
                self._counted.update(news)

    async def _hold(self, origin: str, nodes: Sequence[int], files: int, of_files: int) -> None:
        wave = f"held-{origin[:8]}"
        log.warning(
            "folder %s: %s of %s files would vanish (%s); held until approved", self.name, files, of_files, origin
        )
        await self._db(counts.db_hold, self.store.connection, wave, origin, nodes, files, self._clock.now(), of_files)
        await self._recount()
        self._tell()

    async def pass_cookie(self) -> None:
        """Return when everything that was on the disk at the call has been looked at.

        A cookie file comes back through the watch behind all events before it; where that takes too long (no watch), a
        full scan answers instead.
        """
        while self.progress.scans_done == 0 or self.root_state is not RootState.OK:
            await self._changed.wait()
        with trio.move_on_after(COOKIE_S):
            if await self._cookie_came_back():
                return
        number = self.rescan()
        while self.progress.scans_done < number:
            await self._changed.wait()

    async def _cookie_came_back(self) -> bool:
        cookie = self.store.journal.random_name()
        try:
            await self._workers.run_blocking(self.store.tree.write_cookie, cookie)
        except TreeError as error:  # a full or read-only disk can still be looked at
            log.debug("folder %s: no cookie: %s", self.name, error)
            return False
        while cookie not in self._cookies_done:
            await self._changed.wait()
        return True

    async def ask(self, function: Callable[[*Arguments], Result], *arguments: *Arguments) -> Result:
        """Run a question about the rows in this folder's lane."""
        return await self._db(function, *arguments)

    async def in_worker(self, function: Callable[[*Arguments], Result], *arguments: *Arguments) -> Result:
        """Run a question about the disk in a worker."""
        return await self._workers.run_blocking(function, *arguments)

    @property
    def ignores(self) -> Ignores:
        """The rules of `.syncd/ignore`, as of the last scan."""
        return self._ignores

    async def journal_heads(self) -> list[JournalHead]:
        """The newest changeset of every journal, for the seals of a removal."""
        return await self._db(self.store.journal.heads)

    async def held(self) -> list[counts.Held]:
        return await self._db(counts.db_held, self.store.connection)

    async def held_paths(self, wave: str) -> list[str]:
        return await self._db(counts.db_held_paths, self.store.connection, wave, 5)

    async def approve(self, wave: str) -> None:
        """Let a held wave pass."""
        for held in await self.held():
            if held.id == wave:
                self._brake.release(held.origin, self._clock.monotonic())
                await self._db(counts.db_release, self.store.connection, wave)
        self.rescan()
        self._wake_plan()

    async def deny(self, wave: str) -> None:
        """Undo a held wave: what was to vanish is brought back, here and everywhere."""
        for held in await self.held():
            if held.id != wave:
                continue
            nodes = await self._db(counts.db_release, self.store.connection, wave)
            if held.origin == SCAN_ORIGIN:
                await self._db(counts.db_bring_back, self.store.connection, nodes)
            else:
                await self._db(db_undelete, self.store, nodes, self._now_ms())
                self._announce(await self._db(self.store.journal.newest_seq))
        self._wake_plan()

    # peers ---------------------------------------------------------------------------------------------------

    async def _follow(self, state: LinkState) -> None:
        """Take in what a peer has accepted, and wait for more."""
        link = state.link
        log_id, after = await self._db(counts.db_cursor, self.store.connection, link.device)
        wait_s = 0.0
        while True:
            asked_at = trio.current_time()
            page = await link.heads(log_id, after)
            if page.log != log_id:
                log_id, after = page.log, 0
                if page.last and not page.heads:
                    await trio.sleep(PACE_S)
                    continue
            elif page.last < after or (page.heads and page.last == after):
                raise RemoteProtocolError("a page of heads that leads back")
            if not await self._take_page(link, page):
                await trio.sleep(FIRST_WAIT_S)  # the roster has to catch up first
                with trio.move_on_after(wait_s):
                    await self._news.wait()
                wait_s = min(2 * wait_s + FIRST_WAIT_S, LONGEST_WAIT_S)
                continue
            wait_s = 0.0
            if not page.heads and trio.current_time() < asked_at + PACE_S:
                await trio.sleep(PACE_S)  # whoever has no news is to wait with the answer
            after = page.last
            await self._db(counts.db_keep_cursor, self.store.connection, link.device, log_id, after)
            state.newest = max(state.newest, page.newest)
            if after >= page.newest and not state.reached:
                state.reached = True
                self._may_scan.set()
            if page.heads:
                self.puller.peers_have_more(link.device)
            self._tell()

    async def _tell_needs(self, link: Link) -> None:
        """Let the peer know what we still lack: at most once a second, and at once when nothing is lacking."""
        told: tuple[int, int] | None = None
        while True:
            changed = self._changed
            level = self.is_settled and self.heads_reached
            needs = (0, 0) if level else (max(1, self.counts.need_files), self.counts.need_bytes)
            if needs != told:
                await link.tell_needs(*needs)
                told = needs
                await trio.sleep(0 if needs == (0, 0) else 1)
                continue
            await changed.wait()

    async def _take_page(self, link: Link, page: HeadsPage) -> bool:
        if not page.heads:
            return True
        heads = [self._check_head_untrusted(link, raw) for raw in page.heads]
        async with self._intake:
            unknown = await self._db(lambda: [head for head in heads if not self.store.journal.has(head)])
            for part in _batches_of_heads(unknown):
                if not await self._take_heads(link, part):
                    return False
        return True

    def _check_head_untrusted(self, link: Link, raw: bytes) -> Head:
        head = decode_head_untrusted(raw)
        if head.folder != self.store.keyring.folder:
            raise RemoteProtocolError("a head of another folder")
        key = self.store.membership.sign_key(head.device)
        if key is None:
            self.on_roster_needed(link.device)
            raise PeerUnavailable("a head by a device that our roster does not know yet")
        try:
            verify_head(head, key)
        except TrustError as error:
            raise RemoteProtocolError("a head with a wrong signature") from error
        return head

    async def _take_heads(self, link: Link, heads: Sequence[Head]) -> bool:
        bodies = await self._fetch_bodies(link, heads)
        arrived = []
        refused: RemoteProtocolError | None = None
        for head in heads:
            body = bodies.get(head.cid)
            if body is None:
                break
            try:
                changeset = await self._workers.run_blocking(self.store.open_changeset_untrusted, head, body)
            except EpochKeyMissing:
                self.on_roster_needed(link.device)
                break
            except RemoteProtocolError as error:
                refused = error  # those before it are fine
                break
            arrived.append(Arrived(head, changeset, body))
        if refused is not None and not arrived:
            raise refused
        if not arrived:
            return False
        verdicts = await self._db(self.store.db_accept, arrived)
        for one, accepted in zip(arrived, verdicts, strict=True):
            self._note_verdict(link, one, accepted)
        self._announce(await self._db(self.store.journal.newest_seq))
        self._wake_plan()
        if refused is not None:
            raise refused
        behind = any(accepted.verdict in (Verdict.ROSTER, Verdict.EARLY) for accepted in verdicts)
        if behind:
            self.on_roster_needed(link.device)
        return not behind and len(arrived) == len(heads)

    def _note_verdict(self, link: Link, arrived: Arrived, accepted: Accepted) -> None:
        if accepted.verdict in (Verdict.APPLIED, Verdict.KNOWN):
            return
        log.warning(
            "folder %s: changeset %s of %s: %s",
            self.name,
            arrived.head.counter,
            arrived.head.device.hex()[:8],
            accepted.verdict.value,
        )
        if accepted.verdict is Verdict.REFUSED:
            raise RemoteProtocolError(f"a changeset refused: {accepted.verdict.value}")

    async def _fetch_bodies(self, link: Link, heads: Sequence[Head]) -> dict[Cid, bytes]:
        cids = [head.cid for head in heads]
        bodies = {}
        async with link.blocks(cids) as frames:
            async for frame in frames:
                if frame.status is FrameStatus.OK:
                    if len(frame.ciphertext) > max_ciphertext(heads[frame.index].length):
                        raise RemoteProtocolError("a changeset is longer than its head says")
                    bodies[cids[frame.index]] = bytes(frame.ciphertext)
                    self.meter.received_bytes += len(frame.ciphertext)
        return bodies

    def _announce(self, newest: int) -> None:
        """Tell peers who wait for news."""
        if newest > self._newest:
            self._newest = newest
            self._news.set()
            self._news = trio.Event()

    def roster_moved(self) -> None:
        """The roster has a new head: whoever waits for news is to learn it."""
        self._news.set()
        self._news = trio.Event()

    # serving (FolderServer) ----------------------------------------------------------------------------------

    async def heads_after(self, device: DeviceId, log_id: bytes, after: int, wait_s: float) -> HeadsPage:
        """What was accepted here after a number; waits up to `wait_s` for news."""
        if log_id == self.log_id and after > self._newest and not self._is_doubted:
            # It has read further than we have written: this database is an older one, and its numbers mean nothing.
            self._is_doubted = True
            log.warning("folder %s: a peer knows more of our numbering than we do; it begins anew", self.name)
            await self._db(self.store.db_begin_journal)
        if log_id != self.log_id or after > self._newest:
            after = 0
        elif after == self._newest:
            with trio.move_on_after(wait_s):
                await self._news.wait()
        moved = await self._db(self.store.journal.moved_after, after, HEADS_PER_PAGE)
        self._announce(moved.newest)  # whoever wrote it may not have come to that yet, and it is told from here on
        last = moved.heads[-1][0] if len(moved.heads) == HEADS_PER_PAGE else max(moved.newest, after)
        roster_head = self.store.membership.head
        return HeadsPage(self.log_id, last, moved.newest, tuple(head for _, head in moved.heads), roster_head)

    async def have(self, cids: Sequence[Cid]) -> bytes:
        """Bitmap of blocks that are here."""
        return await self._db(self.store.db_have, cids)

    async def digest(self) -> bytes:
        """Over all journal heads that are here."""
        return await self._db(self.store.journal.digest)

    async def newest_of(self, device: DeviceId) -> bytes | None:
        """The newest signed head that is here of a device's journals."""
        return await self._db(self.store.journal.newest_of, device)

    def own_journal_seen(self, raw_head: bytes | None) -> None:
        """A peer shows the newest head that it has of our journals; one that we lack comes to us with its other
        heads."""

    def peer_needs_now(self, device: DeviceId, files: int, size: int) -> None:
        """A peer tells what it still lacks."""
        if self.peer_needs.get(device) != (files, size):
            self.puller.peers_have_more(device)  # what it lacked it may have now
        self.peer_needs[device] = (files, size)
        self._tell()

    async def serve_blocks(self, cids: Sequence[Cid]) -> AsyncIterator[Frame]:
        """Frames in the order asked; each batch is read in one hop to a thread."""
        if not self.rights.exchanges:
            for index in range(len(cids)):
                yield Frame(index, FrameStatus.BUSY, NOTHING)
            return
        served = await self._db(self.store.db_locate, cids)
        reader = SourceReader(self.store.tree)
        buffer = memoryview(bytearray(max((s.entry.length for s in served if s.entry is not None), default=0)))
        changed: list[Path] = []
        at = 0
        try:
            while at < len(served):
                part, at = _batch(served, at)
                frames = await self._workers.run_blocking(self._seal, reader, part, buffer)
                for frame in frames:
                    self.meter.sent_bytes += len(frame.ciphertext)
                    if frame.status is FrameStatus.CHANGED:
                        changed += [source[1] for source, _ in served[frame.index].places]
                    yield frame
        finally:
            reader.close()
            self._look_again([path for path in changed if path])

    def _seal(self, reader: SourceReader, part: Sequence[Served], buffer: memoryview) -> list[Frame]:
        frames = []
        for served in part:
            status, ciphertext = seal_served(reader, self.store.keyring, served, buffer)
            content = NOTHING if ciphertext is None else memoryview(bytes(ciphertext))
            frames.append(Frame(served.index, FrameStatus(status), content))
        return frames

    # housekeeping --------------------------------------------------------------------------------------------

    async def _recover(self) -> None:
        staged = await self._workers.run_blocking(self.store.tree.list_staged)
        self.puller.resumable = {token for token, _ in staged}
        async with self.puller.disk:  # what is being put in place now is no crash
            committed = await self._db(db_recover_intents, self.store, self._clock.now())
        if committed.edited:
            await self._db(publish_late_edits, self.store, committed.edited, self._now_ms())
        self._wake_plan()

    async def _keep_house(self) -> None:
        while True:
            self._ages.note(self._clock.monotonic(), await self._db(counts.db_newest_row, self.store.connection))
            await trio.sleep(HOUSEKEEPING_S)
            if self.root_state is not RootState.OK:
                continue
            try:
                edits = await self._db(db_recheck_old, self.store, self._clock.now(), self._now_ms())
                due = await self._db(db_superseded, self.store, self._clock.now())
                if due:
                    compared = await self._workers.run_blocking(compare_superseded, self.store, due)
                    edits += await self._db(db_let_go, self.store, compared, self._now_ms())
            except TreeError as error:
                log.warning("folder %s: %s", self.name, error)
                continue
            if edits:
                self._announce(await self._db(self.store.journal.newest_seq))
                self._wake_plan()
            if self.problems:
                self._look_again([tuple(p.path.split(b"/")) for p in self.problems if p.path])

    async def _watch_root(self) -> None:
        while True:
            await trio.sleep(ROOT_CHECK_S)
            await self._check_root()

    async def _check_root(self) -> bool:
        """Whether the root is there and ours. Whoever finds it come back first sees to what a crash left behind."""
        async with self._root_lock:
            state = await self._workers.run_blocking(self.store.tree.check_root, self.marker)
            if state is RootState.OK and not self._recovered:
                await self._recover()
                self._recovered = True
            if state is not self.root_state:
                self.root_state = state
                log.warning(
                    "folder %s: its directory is %s", self.name, "back" if state is RootState.OK else state.value
                )
                self.rescan()
                self._wake_plan()
                await self._recount()
                self._tell()
            return state is RootState.OK

    def stopped(self) -> None:
        """The task has ended: wake everybody who waits for it."""
        self.links.clear()
        self._tell()

    async def _recount(self) -> None:
        await self._db(counts.db_drop_solved, self.store.connection)
        self.counts = await self._db(counts.db_counts, self.store.connection)
        self.problems = await self._db(counts.db_problems, self.store.connection)
        if self.root_state is not RootState.OK:
            code = ROOT_IDS[self.root_state]
            why = f"the folder's directory: {self.root_state.value}"
            self.problems.insert(0, counts.Problem(code, b"", why, f"syncd help {code}", self._clock.now()))

    @property
    def log_id(self) -> bytes:
        """Names the numbering of this database: a fresh or doubtful one has a new incarnation, and so a new log."""
        return self.store.journal.incarnation

    # looking in from outside ---------------------------------------------------------------------------------

    @property
    def state(self) -> State:
        """One word for what it is doing."""
        if self.stopped_why is not None or self.root_state is not RootState.OK:
            return State.STOPPED
        if not self._may_scan.is_set():
            return State.WAITING
        if self._scanning:
            return State.SCANNING
        if self.progress.scans_done == 0:
            return State.STARTING
        if self.is_settled:
            return State.SYNCED
        return State.SYNCING if self.links else State.WAITING

    @property
    def is_settled(self) -> bool:
        """Nothing is left to be done here, as far as this device knows."""
        return (
            self.root_state is RootState.OK
            and self.progress.scans_done > 0
            and not self._scanning
            and not self._planning
            and not self._plan_event.is_set()
            and not self._work
            and not self.puller.busy
            and self.counts.need_files == 0
        )

    @property
    def heads_reached(self) -> bool:
        """The heads of at least one peer were reached since this start."""
        return any(state.reached for state in self.links.values()) or self._reached_ever

    def peer_is_level(self, device: DeviceId) -> bool:
        """That peer has told, on its present connection, that it has everything there is."""
        return self.peer_needs.get(device) == (0, 0)

    async def changed(self) -> None:
        """Wait until something of this folder's state may have changed."""
        await self._changed.wait()

    def _tell(self) -> None:
        self._reached_ever = self._reached_ever or any(state.reached for state in self.links.values())
        self._changed.set()
        self._changed = trio.Event()
        self.on_change()

    async def _db(self, function: Callable[[*Arguments], Result], *arguments: *Arguments) -> Result:
        return await self._workers.run_blocking(function, *arguments, lane=self._lane)

    def _now_ms(self) -> int:
        return int(self._clock.now() * 1000)

    def _now_ns(self) -> int:
        return int(self._clock.now() * 1e9)


def _batches_of_heads(heads: Sequence[Head]) -> Iterator[Sequence[Head]]:
    """Heads whose bodies may be in memory together."""
    start = size = 0
    for at, head in enumerate(heads):
        if at > start and (at - start == HEADS_AT_ONCE or size + head.length > BODIES_BYTES):
            yield heads[start:at]
            start, size = at, 0
        size += head.length
    if start < len(heads):
        yield heads[start:]


def _batch(served: Sequence[Served], start: int) -> tuple[Sequence[Served], int]:
    """The next blocks to seal in one go: some megabytes."""
    size = 0
    at = start
    while at < len(served) and (at == start or size < SERVE_BYTES):
        entry = served[at].entry
        size += 4096 if entry is None else entry.length
        at += 1
    return served[start:at], at
