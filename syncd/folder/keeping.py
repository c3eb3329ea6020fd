"""Async. Looking after a folder: whether its root is there and ours, what a crash left behind, what may be let go."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from math import inf

import trio

from ca.values import dataclass
from syncd.folder.ground import Ground
from syncd.folder.proving import Copies
from syncd.store import waves
from syncd.store.denying import db_put_back
from syncd.store.moments import note_arrivals
from syncd.store.packing import (
    Comparison,
    Superseded,
    db_let_go,
    db_next_due,
    db_packed_of,
    db_pressed,
    db_superseded,
    pack_superseded,
)
from syncd.store.past import db_note_past
from syncd.store.pruning import db_copies
from syncd.store.recovery import (
    db_adopt_old,
    db_count_nameless,
    db_doubted,
    db_publish_late,
    db_recheck_old,
    db_recover_intents,
    publish_late_edits,
    read_late,
)
from syncd.store.steps import db_recover_steps
from syncd.store.timing import db_keep_rates
from syncd.treetypes import RootState, TreeError

log = logging.getLogger("syncd.folder")

ROOT_CHECK_S = 20.0
ROOT_BACK_S = 2.0
"""A root that is there is looked at now and then, and before anything is said to be gone; one that is not, more often:
somebody waits for it."""
HOUSEKEEPING_S = 20.0
ASK_EVERY_S = 300.0
"""Whether others have what a short disk would let go. So long nothing is packed, too, after nothing could be: every
byte of it would be read again for that."""
READ_AGAIN_S = 600.0
"""What could not be read in `.syncd/old` is tried again: a disk that fails takes its time over each attempt. So is what
a program had open."""


@dataclass(frozen=True, slots=True)
class Found:
    """The root at a start, the newest row, and what a crash left behind: tokens of what is staged, and how many things
    in `.syncd/old` have no row."""

    state: RootState
    newest: int
    staged: Sequence[bytes] = ()
    nameless: int = 0


class Keeper:
    """Looks after the root and the leftovers of one folder."""

    def __init__(self, ground: Ground, copies: Copies) -> None:
        self.on_root_moved: Callable[[], object] = lambda: None
        """The root is there again, or gone: the disk is to be looked at again."""
        self._ground = ground
        self._copies = copies
        self._asked_at = -inf
        self._store = ground.store
        self._db = ground.db
        self._blocking = ground.workers.run_blocking
        self._clock = ground.clock
        self._puller = ground.puller
        self._finisher = ground.finisher
        self._root_lock = trio.Lock()
        self._checked_at = -inf
        self._unread: dict[int, float] = {}
        """Rows of what could not be read in `.syncd/old`, and when that is tried again."""
        self._held: dict[int, float] = {}
        """And of what a program has open there for writing."""
        self._packs_at = -inf
        """When packing is tried again, after nothing could be packed."""
        self._measured = ground.rates.as_json()
        self._newest = 0
        """The youngest row."""
        self._changes = -1
        """Of the rows, before the leftovers were looked at."""
        self._due_at = -inf
        """When something of them is due, as far as the rows said then, in unix seconds."""

    async def check_root(self, *, fresh_s: float = 0.0) -> bool:
        """Whether the root is there and ours. Whoever finds it come back first sees to what a crash left behind.

        `fresh_s`: what was found so lately is good enough. Whoever takes what is missing for gone looks anew."""
        if self._ground.is_recovered and self.is_root_fresh(fresh_s):
            return self._ground.root_state is RootState.OK
        async with self._root_lock:
            state = await self._blocking(self._store.tree.check_root, self._ground.marker)
            self._checked_at = self._clock.monotonic()
            if state is RootState.OK and not self._ground.is_recovered:
                await self._recover()
                self._ground.is_recovered = True
            await self._note(state)
            return state is RootState.OK

    def db_begin(self) -> Found:
        """At a start, before anybody else is at work: is the root there and ours, and if so, what did a crash leave
        behind? Raises TreeError."""
        tree, newest = self._store.tree, waves.db_newest_row(self._store.connection)
        state = tree.check_root(self._ground.marker)
        if state is not RootState.OK:
            return Found(state, newest)
        self._db_recover_past()
        staged = [token for token, _ in tree.list_staged()]
        return Found(state, newest, staged, self._db_recover_disk())

    async def begin(self, found: Found) -> None:
        """Take in what `db_begin` found."""
        self._checked_at = self._clock.monotonic()
        self._ground.ages.note(self._checked_at, found.newest)
        if found.state is RootState.OK:
            self._puller.lies_staged(found.staged)
            self._ground.nameless = found.nameless
            self._ground.is_recovered = True
            self._ground.wake_plan()
        await self._note(found.state)

    async def _note(self, state: RootState) -> None:
        if state is self._ground.root_state:
            return
        self._ground.root_state = state
        self._ground.root_moved.set()
        self._ground.root_moved = trio.Event()
        log.warning(
            "folder %s: its directory is %s", self._ground.name, "back" if state is RootState.OK else state.value
        )
        self.on_root_moved()
        self._ground.wake_plan()
        await self._ground.recount()
        self._ground.tell()

    def is_root_fresh(self, fresh_s: float) -> bool:
        """Whether the root was looked for so lately."""
        return self._clock.monotonic() < self._checked_at + fresh_s

    def root_was_there(self) -> None:
        """Somebody has just looked."""
        self._checked_at = self._clock.monotonic()

    async def _recover(self) -> None:
        await self._db(self._db_recover_past)
        staged = await self._blocking(self._store.tree.list_staged)
        self._puller.lies_staged(token for token, _ in staged)
        async with self._finisher.disk:  # what is being put in place now is no crash
            self._ground.nameless = await self._db(self._db_recover_disk)
        self._ground.wake_plan()

    def _db_recover_past(self) -> None:
        self._store.packs.db_adopt(self._store.keyring, self._clock.now())
        db_note_past(self._store)

    def _db_recover_disk(self) -> int:
        """What was done to the disk and not written down; how many things in `.syncd/old` have no row."""
        now = self._clock.now()
        db_put_back(self._store)
        edited = db_recover_steps(self._store, now).edited
        edited += db_recover_intents(self._store, now).edited
        db_adopt_old(self._store, now)
        nameless = db_count_nameless(self._store)
        if edited:
            publish_late_edits(self._store, edited, self._ground.now_ms())
        return nameless

    async def run(self) -> None:
        """Look after what was replaced or deleted, and after names with problems, until cancelled."""
        while True:
            await trio.sleep(HOUSEKEEPING_S)
            await self._keep_rates()
            is_there = self._ground.root_state is RootState.OK
            if self._is_as_before(is_there):  # the rows may rest
                self._ground.ages.note(self._clock.monotonic(), self._newest)
                continue
            self._changes = self._ground.database.changes
            self._newest, self._due_at, found = await self._db(self._db_leftovers, is_there)
            self._ground.ages.note(self._clock.monotonic(), self._newest)
            if not is_there:
                continue
            try:
                if isinstance(found, TreeError):
                    raise found
                edited, due = found
                edits = await self.publish_late(edited)
                if due:
                    async with self._ground.packing:
                        known = await self._db(db_packed_of, self._store, due)
                        compared = await self._blocking(pack_superseded, self._store, due, known)
                        self._pass_over(compared.unread)
                        await self._have_copies_proved(compared)
                        await self._db(db_let_go, self._store, compared, self._clock.now())
                        if compared.is_stuck:
                            self._packs_at = self._clock.monotonic() + ASK_EVERY_S
                        edits += await self.publish_late(compared.edited)
                        self._held.update(dict.fromkeys(compared.held, self._again_at()))
                        self._ground.plain_waiting = compared.waiting
                    await self._ground.recount()  # `status` tells how much is plain, and how much packed
            except TreeError as error:
                log.warning("folder %s: %s", self._ground.name, error)
                continue
            self._ground.unread_old = len(self._unread)  # not before: what was to be tried again is in it again by now
            if edits:
                self._ground.announce(await self._db(self._store.journal.newest_seq))
                self._ground.wake_plan()
            if self._ground.problems:
                self._ground.look_again([tuple(p.path.split(b"/")) for p in self._ground.problems if p.path])

    async def publish_late(self, old: Sequence[int]) -> int:
        """Publish what was written to inodes in `.syncd/old`; the number of edits. Nobody waits at the rows while they
        are read."""
        if not old:
            return 0
        unread: set[int] = set()
        doubted = await self._db(db_doubted, self._store, old)
        read = await self._blocking(read_late, self._store, doubted, unread)
        self._pass_over(unread)
        return await self._db(db_publish_late, self._store, read, self._ground.now_ms())

    def _is_as_before(self, is_there: bool) -> bool:
        """No row has changed since the leftovers were looked at, and nothing of them is due."""
        return (
            self._ground.database.changes == self._changes
            and self._clock.now() < self._due_at
            and not (is_there and (self._ground.nameless or self._ground.problems))
        )

    def _db_leftovers(self, is_there: bool) -> tuple[int, float, tuple[list[int], list[Superseded]] | TreeError]:
        """In one visit: the newest row; when something is due next; and of what was replaced or deleted, what may hold
        edits and what is due, or why the disk would not say. What has come since the last visit is said to have."""
        newest = waves.db_newest_row(self._store.connection)
        note_arrivals(self._store.connection, self._ground.now_ms())
        if not is_there:
            return newest, -inf, ([], [])
        try:
            if self._ground.nameless:  # a person may have taken some away
                self._ground.nameless = db_count_nameless(self._store)
            self._unread, self._held = self._still_passed(self._unread), self._still_passed(self._held)
            unread = set(self._unread)
            edited = db_recheck_old(self._store, self._clock.now(), unread)
            self._pass_over(unread - self._unread.keys())
            found: list[Superseded] = []
            if self._clock.monotonic() >= self._packs_at:
                found = db_superseded(self._store, self._clock.now(), unread | self._held.keys())
            return newest, -inf if found else db_next_due(self._store), (edited, found)
        except TreeError as error:
            return newest, -inf, error

    def _pass_over(self, unread: Iterable[int]) -> None:
        """These rows could not be read: for a while nothing waits for them."""
        self._unread.update(dict.fromkeys(unread, self._again_at()))

    def _again_at(self) -> float:
        return self._clock.monotonic() + READ_AGAIN_S

    def _still_passed(self, passed: Mapping[int, float]) -> dict[int, float]:
        return {old: at for old, at in passed.items() if at > self._clock.monotonic()}

    async def _have_copies_proved(self, compared: Comparison) -> None:
        """Before a short disk makes old inodes go that no pack has: whether others have them, asked now and then."""
        pressed = await self._db(db_pressed, self._store, compared)
        now = self._clock.monotonic()
        if not pressed or now < self._asked_at + ASK_EVERY_S:
            return
        self._asked_at = now
        wanted = await self._db(db_copies, self._store)
        if wanted:
            await self._copies.prove(pressed, wanted, hold=True)

    async def _keep_rates(self) -> None:
        measured = self._ground.rates.as_json()
        if measured != self._measured:
            self._measured = measured
            await self._db(db_keep_rates, self._store, self._ground.rates)

    async def watch_root(self) -> None:
        """Notice a root that goes or comes back, until cancelled."""
        while True:
            wait_s = ROOT_CHECK_S if self._ground.root_state is RootState.OK else ROOT_BACK_S
            await trio.sleep(max(0.0, self._checked_at + wait_s - self._clock.monotonic()))
            await self.check_root(fresh_s=wait_s / 2)
