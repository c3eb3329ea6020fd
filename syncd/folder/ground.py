"""Async. What the parts of one folder's work share: its store and seams, what is known of it, and who is to be woken.

`Scanner`, `Applier`, `Waves`, `Follower`, `Server` and `Keeper` each hold the same ground, and reach one another only
through it or through what `FolderTask` hands them. Everything here is touched by the event loop alone.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, nullcontext
from dataclasses import field
from math import inf
from typing import TypeVar, TypeVarTuple

import trio

from ca.ids import DeviceId
from ca.values import dataclass
from syncd.engine.brake import Ages
from syncd.engine.rates import Rates
from syncd.errors import SyncdError
from syncd.folder.database import FolderDatabase, NotOpened
from syncd.folder.finishing import Finisher
from syncd.folder.hearsay import Hearsay
from syncd.folder.metering import Transfers
from syncd.folder.problems import ROOT_IDS
from syncd.folder.pulling import Puller
from syncd.model.ids import Cid
from syncd.model.ignores import Ignores, parse_ignores
from syncd.protocol.exchange import Link
from syncd.protocol.messages import MAX_TOLD
from syncd.seams import Clock, Workers
from syncd.store import counts
from syncd.store.apart import Apart, Called
from syncd.store.commit import ANYTHING
from syncd.store.folder import FolderStore
from syncd.store.tally import Counted, Tally, db_standing
from syncd.treetypes import Dirty, Marker, Path, RootState

Result = TypeVar("Result")
Arguments = TypeVarTuple("Arguments")

LEVEL = (0, 0)
"""What is told as lacking by who has everything. Who takes in nothing more by itself, and lacks something all the same
(`Counts.lacks_bytes`), tells no files and the bytes of that."""
COUNTED_BITS = 20
"""Of the number of a word on what is lacking: the lowest bits count, the others name the link that it is counted on."""
STALE_S = 1.0
"""How old what `status` says may be while contents arrive."""
COUNTING_SHARE = 20.0
RECENT_HEADS = 256


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
    """Of its log, as it said last."""
    called: Called = field(default_factory=Called)
    kept_log: bytes = b""
    kept: int = 0
    """Up to where its log was taken in, as the rows say: from there we go on after a restart."""
    told_needs: tuple[int, int] | None = None
    """What we said last that we lack; None when there was news from it since, and it is to be told anew."""
    told_at: float = -inf
    words: int = 0
    """Number of our last word on that."""
    comes_level: bool = False
    """What it told is being done, and it is to hear with our next question that we lack nothing: nobody else need say
    so."""
    needs_moved: trio.Event = field(default_factory=trio.Event)
    """Something is to be said about what we lack, or may be before long."""
    patience_bytes: float = -1.0
    """Whoever says it waits already until some time has passed, unless we lack more than this."""
    has_more: trio.Event = field(default_factory=trio.Event)
    """What it lacked when it was asked last it may have now."""


@dataclass(frozen=True, slots=True)
class Withheld:
    """What of the past stays although this device does not promise it: fewer than `wanted` other devices have proved
    that they hold it. `proved`: blocks that enough of them have, the oldest proof of which is from `oldest`.
    `promised`: blocks that nothing else keeps here than our word to another device."""

    wanted: int = 0
    proved: int = 0
    blocks: int = 0
    size: int = 0
    oldest: float | None = None
    why: str = ""
    promised: int = 0


@dataclass(slots=True)
class Progress:
    """Numbers that only grow, for `wait`: what was asked before is answered when they have moved on."""

    scans_begun: int = 0
    scans_done: int = 0
    looked_at: int = 0
    scan_s: float | None = None
    """How long the last scan took."""


@dataclass(slots=True)
class Work:
    """Directories that have to be looked at."""

    names: dict[Path, frozenset[bytes] | None] = field(default_factory=dict)
    deep: set[Path] = field(default_factory=set)
    """Directories with all that is in them."""
    halves: set[Path] = field(default_factory=set)
    """Names of renames whose other name was not heard of yet."""
    everything: bool = True
    more: bool = False
    """A watch has heard of more, which is not at rest yet."""
    event: trio.Event = field(default_factory=trio.Event)

    def add(self, dirty: Dirty) -> None:
        self.more = dirty.more
        if dirty.rescan:
            self.everything = True
        for path, names in dirty.names.items():
            self.add_names(path, names)
        self.halves |= dirty.halves
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

    def take_halves(self) -> set[Path]:
        """Of what is to be looked at now, names of which it is not known where to what stood there was renamed."""
        halves, self.halves = self.halves, set()
        return halves

    def __bool__(self) -> bool:
        return self.everything or bool(self.names) or bool(self.deep)


async def _no_audit(action: str, about: str) -> None:
    """Where nobody keeps an audit log."""


class Ground:
    """What the parts of one folder's work share."""

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
    ) -> None:
        self.name = name
        self.store = store
        self.marker = marker
        self.workers = workers
        self.clock = clock
        self.rights = rights
        self.meter = transfers.meter
        self.pace = transfers.pace.of(name)
        self.counts = counts.Counts(0, 0, 0, 0, 0, 0, 0, 0)
        self.problems: list[counts.Problem] = []
        self.apart: list[Apart] = []
        """What is kept of others without counting."""
        self.counts_are_stale = False
        self._tally: Tally | None = None
        self._recount_at = 0.0
        self.swept_at = 0.0
        """When the planner last looked at all that is pending, in unix seconds."""
        self.next_retry: float | None = None
        """When something that it passed over then is due again, as of the last count."""
        self.has_strays = False
        """As of the last count the planner waits for something that stands where no walk comes."""
        self.root_state = RootState.OK
        self.root_moved = trio.Event()
        """The root has gone, or come back."""
        self.lacks_since: float | None = None
        """Since when this disk has not had everything, in trio's time."""
        self.links: dict[DeviceId, LinkState] = {}
        self.peer_needs: dict[DeviceId, tuple[int, int]] = {}
        """(files, bytes) that a connected peer said it still lacks, as of its last word."""
        self.level_until: dict[DeviceId, float] = {}
        """When a peer that had everything was last connected, in unix seconds; since this start."""
        self.peer_read: dict[DeviceId, int] = {}
        """Up to which arrival number a connected peer has taken in our news."""
        self.copies_wanted = 0
        """On how many other devices a block has to be before it goes early."""
        self.withheld: Withheld | None = None
        """As of the last collection."""
        self.is_over_space = False
        """What was kept at the last collection takes more than the space that the past is allowed."""
        self.plain_waiting = 0
        """Old inodes that would go, as their disk is short, if other devices had proved to hold what is in them."""
        self.nameless = 0
        """Things in `.syncd/old` of which no row says what they are."""
        self.unread_old = 0
        """Things in `.syncd/old` that the disk does not let be read: whether somebody has written to them, and whether
        they can be packed, is not known."""
        self.challenged: dict[DeviceId, frozenset[Cid]] = {}
        """Blocks that a peer is being asked to prove: it cannot have them from here meanwhile."""
        self.progress = Progress()
        self.ignores: Ignores = parse_ignores(b"")
        """The rules of `.syncd/ignore`, as of the last scan."""
        self.reach_out: Callable[[], AbstractAsyncContextManager[None]] = nullcontext
        """While it is entered, there are links to as many members as may be."""
        self.on_roster_needed: Callable[[DeviceId], None] = lambda device: None
        self.on_change: Callable[[], None] = lambda: None
        self.on_audit: Callable[[str, str], Awaitable[None]] = _no_audit
        """Writes into the audit log of this device what was done, and about what."""
        self.work = Work()
        self.retries: set[Path] = set()
        """Names that the next look is only for because they did not rest, or could not be read, at the last one."""
        self.ages = Ages()
        self.doubted: set[Path] = set()
        """Files of which a block was not what it should be when it was read for somebody."""
        self.doubted_event = trio.Event()
        self.plan_event = trio.Event()
        self.lacks_lists = False
        """There are files here that nobody can have from here, as parts of their lists are not here."""
        self.unlisted = trio.Event()
        """Set when that is so anew."""
        self.is_planning = False
        self.is_judged = False
        """What was accepted was judged by the present roster."""
        self.is_scanning = False
        self.packing = trio.Lock()
        """Held by whoever puts blocks into packs because others are there, or takes packs away."""
        self.news = trio.Event()
        self.newest = 0
        self.hearsay = Hearsay()
        self.known_heads: dict[bytes, None] = {}
        """Heads that were taken in or told lately, as they travel: each comes back from every other peer."""
        self.may_scan = trio.Event()
        self.may_work = trio.Event()
        self.may_work.set()
        self.is_watched = trio.Event()
        self.is_watched.set()
        """All of the disk is being watched, or is not going to be. Set where nobody says that a watch is to come."""
        self.knows_disk = trio.Event()
        """Set once this disk was looked at: before that, files of which it has a copy would be fetched."""
        self.is_recovered = False
        """What a crash left behind was seen to. False: before the next look at the disk it has to be."""
        self.rates = Rates()
        """How fast contents came to this disk lately."""
        self.finisher = Finisher(store, workers, database, self.rates)
        own_number = int.from_bytes(store.journal.device[:8], "big")
        self.puller = Puller(store, workers, database, transfers, self.pace, own_number, self.finisher)
        self.database = database
        database.is_needed = lambda: self.is_at_work
        self._is_closed = False
        self._changed: trio.Event | None = None
        """Somebody waits for this folder to change."""
        self._reached_ever = False

    # asking ---------------------------------------------------------------------------------------------------

    async def db(self, function: Callable[[*Arguments], Result], *arguments: *Arguments) -> Result:
        """Run a question about the rows, one after the other. Raises SyncdError SY-FIND-05 once they are closed."""
        try:
            return await self.database.visit(function, *arguments)
        except NotOpened as error:
            raise not_at_work(self.name, "syncd status") from error
        except sqlite3.ProgrammingError:
            if not self._is_closed:
                raise
            raise not_at_work(self.name, "syncd status") from None

    async def close(self) -> None:
        """Close the database and the tree, behind whatever uses the rows just now. Its tasks have ended."""
        self._is_closed = True
        await self.database.close(self.store.tree.close)

    async def blocking(self, function: Callable[[*Arguments], Result], *arguments: *Arguments) -> Result:
        """Run a question about the disk in a worker."""
        return await self.workers.run_blocking(function, *arguments)

    def now_ms(self) -> int:
        return int(self.clock.now() * 1000)

    def now_ns(self) -> int:
        return int(self.clock.now() * 1e9)

    # waking ---------------------------------------------------------------------------------------------------

    def wake_plan(self) -> None:
        """Something may be left to be done."""
        self.plan_event.set()

    def has_more(self, device: DeviceId) -> None:
        """A peer has told news: what it lacked it may have now."""
        self.puller.peers_have_more(device)
        if device in self.links:
            self.links[device].has_more.set()

    def can_be_had(self) -> None:
        """What nobody had is with somebody, and due. Peers hear at once that it is lacking, however soon it comes: that
        it is lacking no more is news to them then, who may lack it as well."""
        self.lacks_since = -inf
        self.wake_plan()
        self.tell()

    def note_unlisted(self) -> None:
        """Files are right that nobody can have from here before their lists have come."""
        self.lacks_lists = True
        self.unlisted.set()

    def look_again(self, paths: Sequence[Path]) -> None:
        """Look at these names soon."""
        for path in paths:
            if path and path[-1] == ANYTHING:
                self.work.add_names(path[:-1], None)
            elif path:
                self.work.add_names(path[:-1], frozenset(path[-1:]))
            self.retries.add(path)

    def doubt(self, paths: Iterable[Path]) -> None:
        """Read these files whole, soon: a block of them is not what it should be."""
        self.doubted.update(paths)
        self.doubted_event.set()

    def announce(self, newest: int, by: DeviceId | None = None, told: Iterable[DeviceId] = ()) -> None:
        """Tell peers who wait for news. `by`: all that is new was told by that device, which need not hear it; nor need
        those whom it said to have told."""
        if newest > self.newest:
            if by is not None:
                self.hearsay.note(self.newest, newest, by, frozenset(told))
            self.newest = newest
            self.wake_askers()

    def news_for(self, device: DeviceId) -> int:
        """The newest arrival number that may be news to a device."""
        return self.hearsay.news_for(device, self.newest)

    def hear_too(self, device: DeviceId, first: int) -> tuple[DeviceId, ...]:
        """Who else is about to read our news from that number on, as it has read all before."""
        readers = (one for one, read in self.peer_read.items() if one in self.links and read >= first - 1)
        return tuple(one for one in readers if one != device)[:MAX_TOLD]

    def note_heads(self, heads: Iterable[bytes]) -> None:
        """These are in the rows: they need not be looked at when they come again."""
        self.known_heads.update(dict.fromkeys(heads))
        while len(self.known_heads) > RECENT_HEADS:
            del self.known_heads[next(iter(self.known_heads))]

    def tell_now(self, device: DeviceId) -> None:
        """Tell a device also what it is said to know from others: so it says before long how far it is with that."""
        self.hearsay.forget(device)
        self.wake_askers()

    def wake_askers(self) -> None:
        """Whoever waits for news here may have something to hear."""
        self.news.set()
        self.news = trio.Event()

    def roster_moved(self) -> None:
        """The roster has a new head: whoever waits for news is to learn it, and what was accepted is judged again."""
        self.is_judged = False
        self.wake_askers()
        self.wake_plan()

    def tell(self) -> None:
        """Wake whoever waits for this folder to change."""
        self._reached_ever = self._reached_ever or any(state.reached for state in self.links.values())
        if self._changed is not None:
            self._changed.set()
            self._changed = None
        needs = self.needs
        self.lacks_since = None if is_level(needs) else self.lacks_since or trio.current_time()
        for state in self.links.values():
            if needs == state.told_needs or (is_level(needs) and state.comes_level):
                continue
            if is_level(needs) or needs[1] > state.patience_bytes:
                state.needs_moved.set()
        self.on_change()

    async def changed(self) -> None:
        """Wait until something of this folder's state may have changed."""
        if self._changed is None:
            self._changed = trio.Event()
        await self._changed.wait()

    # what is known --------------------------------------------------------------------------------------------

    @property
    def may_count(self) -> bool:
        """Counting looks at all rows. While contents arrive, and with every group of them there is more to count, it
        may take a twentieth of the time."""
        return not self.puller.busy or self.clock.monotonic() >= self._recount_at

    def db_count(self) -> Counted:
        """What the rows say of the whole folder, for `recount`. For who is at the rows anyway and changes no more."""
        began = self.clock.monotonic()
        standing = db_standing(self.store, self._tally, self.swept_at)
        return Counted(standing, self.clock.monotonic() - began)

    async def recount(self, counted: Counted | None = None) -> None:
        """Read again what `status` says, or take what was found just now; `counts_are_stale` says that neither was."""
        self.counts_are_stale = counted is None and not self.may_count
        if self.counts_are_stale:
            return
        standing, took_s = await self.db(self.db_count) if counted is None else counted
        if self._tally is not None and standing.tally.changes < self._tally.changes:
            return  # somebody else has counted since
        self._tally = standing.tally
        self.counts, self.problems, self.apart = standing.tally.counts, standing.tally.problems[:], standing.tally.apart
        self.has_strays = standing.tally.has_strays
        self.copies_wanted, self.next_retry = standing.copies_wanted, standing.next_retry
        if self.root_state is not RootState.OK:
            code = ROOT_IDS[self.root_state]
            why = f"the folder's directory: {self.root_state.value}"
            self.problems.insert(0, counts.Problem(code, b"", why, f"syncd help {code}", self.clock.now()))
        self._recount_at = self.clock.monotonic() + min(STALE_S, COUNTING_SHARE * took_s)

    @property
    def is_at_work(self) -> bool:
        """Something is under way that asks the rows again and again."""
        return self.is_scanning or self.is_planning or bool(self.puller.busy) or self.packing.locked()

    @property
    def is_settled(self) -> bool:
        """Nothing is left to be done here, as far as this device knows."""
        return (
            self.root_state is RootState.OK
            and self.progress.scans_done > 0
            and not self.is_scanning
            and not self.is_planning
            and not self.plan_event.is_set()
            and not self.work
            and not self.puller.busy
            and self.counts.need_files == 0
        )

    @property
    def needs(self) -> tuple[int, int]:
        """(files, bytes) that this disk lacks, as peers are told; no files when all there is was taken in."""
        if self.is_settled and self.heads_reached and not self.lacks_lists:
            return 0, self.counts.lacks_bytes
        return max(1, self.counts.need_files), self.counts.need_bytes

    @property
    def heads_reached(self) -> bool:
        """The heads of at least one peer were reached since this start."""
        return any(state.reached for state in self.links.values()) or self._reached_ever

    def peer_is_level(self, device: DeviceId) -> bool:
        """That peer has told, on its present connection, that it has taken in everything there is, and knows what there
        is."""
        told = self.peer_needs.get(device)
        is_done = told is not None and is_level(told)
        return is_done and self.peer_read.get(device, 0) >= self.hearsay.untold_by(device, self.newest)

    def peer_is_whole(self, device: DeviceId) -> bool:
        """And that it has all of it still."""
        return self.peer_needs.get(device) == LEVEL and self.peer_is_level(device)


def is_level(needs: tuple[int, int]) -> bool:
    """Whether who tells this takes in nothing more."""
    return needs[0] == 0


def not_at_work(name: str, fix: str) -> SyncdError:
    """What is asked of a folder that is closed, or not open yet."""
    return SyncdError(f"{name} is not at work", id="SY-FIND-05", fix=fix)
