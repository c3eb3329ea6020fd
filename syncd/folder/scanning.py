"""Async. Looking at this disk: directory after directory is compared with its rows, what changed is published.

Whether a name that is missing was moved or deleted is decided only after everything dirty was looked at.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Mapping, Sequence
from contextlib import nullcontext
from functools import partial
from typing import NamedTuple

import trio

from syncd.folder.ground import Ground
from syncd.folder.keeping import Keeper
from syncd.folder.problems import problem_of
from syncd.folder.retrying import Retries
from syncd.folder.waves import Waves
from syncd.model.changesets import MAX_RECORDS
from syncd.store import counts, filtering, older, reoffer, waves
from syncd.store.draft import Draft, Examined
from syncd.store.examine import Examination, Opened, Previous, examine, is_shared
from syncd.store.glance import Begun, RootMoved, Seen, db_begin, db_look, db_look_also
from syncd.store.scan import Found, Gone, Item, Older, Trouble, Walk
from syncd.store.tally import Counted
from syncd.treetypes import ROOT, Dirty, Kind, Path, RootState, TreeError, show_path

log = logging.getLogger("syncd.folder")

EXAMINE_BYTES = 64 << 20
EXAMINE_FILES = MAX_RECORDS
"""One changeset for all that a step of the walk found: at 1,024 rows to a commit the rows of 20,000 files took a third
longer, as each commit writes nearly every page of their indexes."""
EXAMINERS = 2
"""Threads for one large file: reading and cutting it take about as long as hashing and encrypting."""
FULL_SCAN_S = 3600.0
RETRY_S = 2.0
STRAYS_S = 60.0
"""Something is said to stand where no walk comes: all is looked at this soon."""
RESTLESS_S = 2.0
REST_SHARE = 4.0
LONGEST_REST_S = 1.0
"""While contents arrive, most of what a watch reports is our own doing: a scan rests four times as long as the one
before it took, so that several reports are looked at together."""
STOPPED_S, LONGEST_STOPPED_S = 2.0, 60.0
"""After a look that the disk stopped: until the next, at first and at most."""
COOKIE_S = 5.0
WATCH_S = 2.0
"""The first look waits so long for the watch: of a folder with very many directories it begins before that stands, and
all is looked at once more when it does."""
HEARD_S = 0.5
"""After a long look: what was moved behind its back has come to rest by then, and a watch has told where it went."""
HALF_S = 1.0
"""What left its name by a rename is taken for gone when nothing is heard of it for so long: a machine that has much to
do tells of the other name later, and what is taken for another file then has lost its history and its links."""


class _Published(NamedTuple):
    """What was published. `is_left`: something is pending now."""

    draft: Draft
    newest: int
    is_left: bool


class Scanner:
    """Looks at the disk of one folder, whenever there is something to look at."""

    def __init__(self, ground: Ground, keeper: Keeper, waves: Waves) -> None:
        self._ground = ground
        self._store = ground.store
        self._db = ground.db
        self._blocking = ground.workers.run_blocking
        self._clock = ground.clock
        self._work = ground.work
        self._keeper = keeper
        self._waves = waves
        self._rest_s = 0.0
        self._counted: Counted | None = None
        """At the end of the last look, if that was at the rows then."""
        self._cookies_seen: frozenset[bytes] = frozenset()
        self._cookies_done: frozenset[bytes] = frozenset()
        self._retries = Retries()
        self._was_older = False
        self._looks_at_all = False
        self._unsure: set[Path] = set()
        """Of this look, what is known and could not be compared."""
        self._rests_s = STOPPED_S
        self._may_clear_root = True
        """A look that was stopped, maybe before this start, may have told what concerns the folder as a whole."""
        self._full_at = self._clock.monotonic() + FULL_SCAN_S

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
        return self._ground.progress.scans_begun + 1

    async def pass_cookie(self) -> None:
        """Return when everything that was on the disk at the call has been looked at.

        A cookie file comes back through the watch behind all events before it; where that takes too long (no watch), a
        full scan answers instead.
        """
        while self._ground.progress.scans_done == 0 or self._ground.root_state is not RootState.OK:
            await self._ground.changed()
        with trio.move_on_after(COOKIE_S):
            if await self._cookie_came_back():
                return
        number = self.rescan()
        while self._ground.progress.scans_done < number:
            await self._ground.changed()

    async def _cookie_came_back(self) -> bool:
        cookie = self._store.journal.random_name()
        try:
            await self._blocking(self._store.tree.write_cookie, cookie)
        except TreeError as error:  # a full or read-only disk can still be looked at
            log.debug("folder %s: no cookie: %s", self._ground.name, error)
            return False
        while cookie not in self._cookies_done:
            await self._ground.changed()
        return True

    async def run(self) -> None:
        await self._ground.may_scan.wait()
        await self._ground.may_work.wait()
        with trio.move_on_after(WATCH_S):  # it asks for a look at everything when it stands: let that be the first
            await self._ground.is_watched.wait()
        self._work.event.set()  # the first scan waits for no event
        while True:
            await self._wait_for_work()
            if self._ground.puller.busy:
                await trio.sleep(self._rest_s)
            if self._ground.root_state is not RootState.OK or not (
                self._ground.is_recovered or await self._keeper.check_root()
            ):
                await trio.sleep(1)
                self._work.event.set()
                continue
            async with self._ground.database.turn() if self._work.everything else nullcontext():
                self._ground.progress.scans_begun += 1
                began = self._clock.monotonic()
                cookies, self._cookies_seen = self._cookies_seen, frozenset()
                dirty, deep = self._work.take()
                looks = dirty is None or bool(dirty or deep)  # else only a cookie came by
                error = await (self._maybe_scan(dirty, deep) if looks else self._maybe_gone())
            if error is not None:
                self._cookies_seen |= cookies
                await self._rest_after(error)
                continue
            self._rests_s = STOPPED_S
            self._ground.progress.scans_done = self._ground.progress.scans_begun
            self._ground.progress.scan_s = self._clock.monotonic() - began
            self._rest_s = min(LONGEST_REST_S, REST_SHARE * self._ground.progress.scan_s)
            self._ground.knows_disk.set()
            self._cookies_done = cookies
            if looks:
                await self._ground.recount(self._counted)
            if self._ground.has_strays and dirty is not None:
                self._full_at = min(self._full_at, self._clock.monotonic() + STRAYS_S)
            self._ground.tell()
            if self._work:
                self._work.event.set()
                await trio.sleep(RESTLESS_S if self._ground.retries else 0)

    async def _maybe_scan(
        self, dirty: Mapping[Path, frozenset[bytes] | None] | None, deep: set[Path]
    ) -> TreeError | None:
        """Look at the disk; what stopped that, if something did."""
        self._ground.is_scanning = True
        self._ground.tell()
        try:
            await self._scan(dirty, deep)
        except TreeError as error:
            return error
        finally:
            self._ground.is_scanning = False
        return None

    async def _maybe_gone(self) -> TreeError | None:
        """Where there is nothing to look at, no row is asked either: is the root still there?"""
        return None if await self._keeper.check_root() else RootMoved("the folder's directory has gone", ROOT)

    async def _rest_after(self, error: TreeError) -> None:
        """A look at the disk was stopped by something that concerns all of it: nobody may take that for a look, and
        everything is looked at again."""
        log.warning("folder %s: the scan stopped: %s", self._ground.name, error)
        self._work.everything = True
        root_moved = self._ground.root_moved
        if await self._keeper.check_root() and not isinstance(error, RootMoved):
            await self._note_trouble([Trouble(error.path, error)], retries=False)
            self._may_clear_root = True
            await self._ground.recount()
            self._ground.tell()
            with trio.move_on_after(self._rests_s):
                await root_moved.wait()
            self._rests_s = min(2 * self._rests_s, LONGEST_STOPPED_S)
        self._work.event.set()

    async def _wait_for_work(self) -> None:
        """Until something is dirty, or what gave trouble is due; everything is looked at each hour."""
        due = min(self._full_at, self._retries.next_s())
        with trio.move_on_after(max(0.0, due - self._clock.monotonic())):
            await self._work.event.wait()
        now = self._clock.monotonic()
        self._work.deep.update(self._retries.take(now))
        if now >= self._full_at:
            self._work.everything = True

    async def _scan(self, dirty: Mapping[Path, frozenset[bytes] | None] | None, deep: set[Path]) -> None:
        self._ground.retries.clear()
        self._looks_at_all, self._unsure = dirty is None, set()
        halves = self._work.take_halves()
        ground, may_count = self._ground, self._ground.may_count
        look = partial(db_begin, self._store, ground.marker, ground.ignores, ground.now_ns, dirty, deep)
        rights = ground.rights

        def begin() -> tuple[Begun, tuple[_Published | None, Counted | None]]:
            if dirty is None and rights.publishes:
                reoffer.db_offer(self._store.connection)
            begun, published = look(), None
            if begun.is_as_known and not rights.waits and self._store.older is None:
                assert begun.glimpse is not None
                published = self._db_publish(begun.glimpse.examined, publishes=rights.publishes)
            is_over = begun.first.is_all_well or (published is not None and begun.walk.misses_nothing)
            if dirty is None and begun.first.is_all_well:
                self._db_reconsider(begun, notes_rules=not begun.walk.is_blind)
            return begun, (published, ground.db_count() if may_count and is_over else None)

        begun, (published, self._counted) = await self._waves.begin_scan(begin)
        self._keeper.root_was_there()
        is_older = self._store.older is not None
        if is_older and not self._was_older:
            log.warning("folder %s: its directory is an older state of it, or a copy: nothing is deleted", ground.name)
            await ground.on_audit(
                "older directory", "what it lacks comes back, what it holds of before is brought forward"
            )
            ground.tell()
        self._was_older = is_older
        rules, walk, seen = begun.rules, begun.walk, begun.first
        if rules != self._ground.ignores:
            if dirty is not None:  # what was left out so far may be anywhere
                self._work.everything = True
            self._ground.ignores = rules
            self._ground.wake_plan()
        if dirty is None:
            self._full_at = self._clock.monotonic() + FULL_SCAN_S
        if published is not None:
            self._after_draft(published)
            seen = Seen(None) if walk.misses_nothing else await self._db(db_look, self._store, walk)
        missing = await self._take_all_found(walk, seen, begun.glimpse if published is None else None)
        is_half = any(gone.path in halves for gone in missing)
        if missing and (walk.is_long or is_half):
            await trio.sleep(HALF_S if is_half else HEARD_S)
            seen = await self._db(db_look_also, self._store, walk, dict(self._work.names))
            missing = await self._take_all_found(walk, seen)
        if walk.doubled:
            log.error(
                "folder %s: several rows stood at %s, of which only one can be there (%s are not); please report this",
                self._ground.name,
                show_path(walk.doubled[0].path),
                [(one.known.row, one.known.kind, one.known.is_copy) for one in walk.doubled[:4]],
            )
        is_taken = not missing or (await self._still_there() and await self._take_missing(missing))
        if dirty is None:
            if not begun.first.is_all_well:
                await self._db(partial(self._db_reconsider, begun, notes_rules=is_taken and not walk.is_blind))
            self._may_clear_root = walk.is_blind
            self._ground.wake_plan()
            if is_taken:
                await self._note_seen(walk.unsure | self._unsure)
        self._retries.tried(None if dirty is None else deep)
        self._ground.progress.looked_at += 1

    async def _still_there(self) -> bool:
        """Whether the root is there, and still the one in which this look has begun."""
        return await self._keeper.check_root() and self._store.tree.opened() == self._store.looked_at

    async def _note_seen(self, unsure: Collection[Path]) -> None:
        """All of this directory is in the rows, but for what is `unsure`."""
        store = self._store
        was = store.older
        left = [] if was is None else [path for path in unsure if was.holds(path)]
        try:
            if not self._work.everything and await self._still_there():
                if left:
                    store.older = Older.only(left)
                else:
                    await self._db(older.db_note_seen, store)
        except TreeError as error:  # full or read-only: the next look tries again
            log.debug("folder %s: how far it was looked at cannot be noted: %s", self._ground.name, error)
        if was is not None:
            self._ground.tell()

    def _db_reconsider(self, begun: Begun, *, notes_rules: bool) -> None:
        """After a look at everything: what rules had put aside, and do not leave out any more; and what kept earlier
        looks from all of the folder is over."""
        walk, connection = begun.walk, self._store.connection
        filtering.db_reconsider_here(connection, walk.left_out, every_kind=begun.before is not None)
        if begun.rules.asks_for_age:  # the clock may have been wrong
            filtering.db_reconsider_elsewhere(connection)
        if self._may_clear_root and not walk.is_blind:
            counts.db_clear_problems(connection, [ROOT])
        if notes_rules:
            filtering.db_note_rules(connection, begun.rules)

    async def _take_all_found(self, walk: Walk, seen: Seen, glimpse: Examination | None = None) -> Sequence[Gone]:
        """Go on until all was looked at; what is missing then. `glimpse`: what is in what was seen."""
        while seen.found is not None:
            if glimpse is not None:
                await self._take_examined(glimpse, seen.previous or {}, is_last=walk.misses_nothing)
                glimpse = None
            else:
                await self._take_found(seen.found, seen.previous, is_last=walk.misses_nothing)
            seen = Seen(None) if walk.misses_nothing else await self._db(db_look, self._store, walk)
        await self._note_trouble(seen.refused)
        return seen.missing

    async def _take_found(self, found: Found, previous: Mapping[Path, Previous] | None, *, is_last: bool) -> None:
        """`is_last`: the look ends with these."""
        await self._note_trouble(found.trouble)
        if found.left_out:
            await self._db(filtering.db_put_aside, self._store.connection, found.left_out)
        at, items = 0, self._without_ours(found.items)
        while at < len(items):
            part: list[Item] = []
            size = 0
            while at < len(items) and len(part) < EXAMINE_FILES and (size < EXAMINE_BYTES or not part):
                if part and is_shared(items[at]):
                    break
                part.append(items[at])
                size += items[at].stat.size if items[at].stat.kind is Kind.FILE else 0
                at += 1
            free = self._waves.without_held(part)
            if len(free) < len(part):
                self._keeps_unsure([item for item in part if item not in free])
            await self._take_items(free, previous, is_last=is_last and at == len(items))

    def _without_ours(self, items: Sequence[Item]) -> Sequence[Item]:
        """What just gets its name is looked at when the rows know of it, and need not be read for that."""
        ours = self._ground.finisher.paths if items else set()
        if ours:
            self._ground.look_again([path for item in items if item.path in ours for path in item.paths])
            if self._keeps_unsure([item for item in items if item.path in ours]):
                self._full_at = min(self._full_at, self._clock.monotonic() + STRAYS_S)
            items = [item for item in items if item.path not in ours]
        return items

    async def _take_items(self, items: Sequence[Item], known: Mapping[Path, Previous] | None, *, is_last: bool) -> None:
        previous = await self._db(self._store.db_previous, items) if known is None else known
        result = await self._examine(items, previous)
        await self._take_examined(result, previous, is_last=is_last)

    async def _take_examined(self, result: Examination, previous: Mapping[Path, Previous], *, is_last: bool) -> None:
        await self._note_trouble(result.trouble)
        self._ground.look_again(result.restless)
        self._keeps_unsure(result.refused)
        examined: Sequence[Examined] = result.examined
        state = self._store.older
        if state is not None:
            examined = await self._db(older.db_bring_forward, self._store, examined)
            self._ground.wake_plan()
        beside = {one.item.path for one in examined if state is not None and state.holds(one.item.path)}
        publishable, passing = await self._waves.sift(
            [one for one in examined if one.item.path not in beside], previous
        )
        if beside:  # nothing of it was written over
            passed = {one.item.path for one in publishable}
            publishable = [one for one in examined if one.item.path in beside or one.item.path in passed]
        again: frozenset[Path] = frozenset()
        if publishable:
            publishes = await self._publishes()

            def publish() -> tuple[_Published, Counted | None]:
                if passing:
                    waves.db_pass(self._store.connection, waves.SCAN_ORIGIN, passing, self._clock.now())
                published = self._db_publish(publishable, publishes=publishes)
                return published, self._ground.db_count() if counts_too else None

            counts_too = is_last and self._ground.may_count
            published, self._counted = await self._db(publish)
            self._after_draft(published)
            again = frozenset(published.draft.again)
        if state is not None and not self._looks_at_all:
            self._is_sure_of([one.item.path for one in result.examined if one.item.path not in again])

    def _keeps_unsure(self, items: Sequence[Item]) -> bool:
        """Whether any of these, which were not compared with their rows, keep an older directory what it is. What has
        no row can be taken for nothing but new."""
        known = [item.path for item in items if item.known is not None]
        if self._store.older is None or not self._looks_at_all:
            return False
        self._unsure.update(known)
        return bool(known)

    def _is_sure_of(self, paths: Sequence[Path]) -> None:
        """What could not be compared when all of an older directory was looked at was compared now."""
        was = self._store.older
        if was is None or was.unsure is None or was.unsure.isdisjoint(paths):
            return
        left = was.unsure.difference(paths)
        self._store.older = Older.only(left)
        self._work.everything |= not left

    async def _examine(self, items: Sequence[Item], previous: Mapping[Path, Previous]) -> Examination:
        if len(items) == 1 and is_shared(items[0]):
            return await self._examine_together(items[0], previous.get(items[0].path))
        return await self._blocking(
            lambda: examine(self._store.tree, self._store.keyring.hasher(), items, previous, self._ground.now_ns)
        )

    async def _examine_together(self, item: Item, previous: Previous | None) -> Examination:
        """A large file, by several threads."""
        result, keyring = Examination(), self._store.keyring
        try:
            opened = await self._blocking(Opened, self._store.tree, item, previous, self._ground.now_ns)
        except TreeError as error:
            result.refuse(item, error)
            return result
        try:
            async with trio.open_nursery() as nursery:
                for _ in range(EXAMINERS):
                    nursery.start_soon(self._blocking, lambda: opened.work(keyring.hasher()))
            result.add(await self._blocking(lambda: opened.finish(keyring.hasher())))
        except TreeError as error:
            result.refuse(item, error)
        finally:
            opened.close()
        return result

    async def _take_missing(self, missing: Sequence[Gone]) -> bool:
        """Publish what is gone, unless it has to wait. Whether all is known of what was left out."""
        vanished = await self._db(lambda: waves.db_vanished(self._store.connection, missing, self._store.moving))
        nodes = [gone.known.row for gone in vanished]
        rows = [gone.known.row for gone in vanished if gone.known.kind != Kind.DIR]
        directories = [gone.known.row for gone in vanished if gone.known.kind == Kind.DIR]
        if directories:
            rows += await self._db(waves.db_files_below, self._store.connection, directories)
        missing = [gone for gone in missing if gone.known.is_copy or not self._waves.is_held(gone.known.row)]
        has_copies = any(gone.known.is_copy for gone in missing)
        if await self._waves.holds_missing(nodes, rows, has_copies=has_copies):
            missing = [gone for gone in missing if gone.is_left_out]
        publishes = await self._publishes()
        now_ms = self._ground.now_ms()
        published = await self._db(
            lambda: self._db_published(self._store.db_delete(missing, now_ms, publishes=publishes))
        )
        self._after_draft(published)
        return not published.draft.again

    def _db_publish(self, found: Sequence[Examined], *, publishes: bool) -> _Published:
        return self._db_published(self._store.db_publish(found, self._ground.now_ms(), publishes=publishes))

    def _db_published(self, draft: Draft) -> _Published:
        return _Published(draft, self._store.journal.newest_seq(), self._store.is_pending())

    async def _publishes(self) -> bool:
        """Whether what was found is published or only here, once that is certain: only here is for good."""
        while self._ground.rights.waits:
            await self._ground.changed()
        return self._ground.rights.publishes

    def _after_draft(self, published: _Published) -> None:
        draft = published.draft
        self._ground.look_again(draft.again)
        if draft.again and self._store.older is not None and self._looks_at_all:
            self._work.everything = True
        if draft.records:
            self._ground.announce(published.newest)
        if published.is_left and (draft.records or draft.unchanged):
            self._ground.wake_plan()

    async def _note_trouble(self, trouble: Sequence[Trouble], *, retries: bool = True) -> None:
        """`retries`: what could not be looked at is looked at again before everything is."""

        def note() -> None:
            for item in trouble:
                if item.error is not None:
                    code, why, fix = problem_of(item.error, reading=True)
                elif item.stat is not None and item.stat.kind is Kind.BROKEN:
                    code, why, fix = "SY-DISK-03", "the disk does not say what this is", "check the disk"
                else:
                    code, why, fix = "SY-FILE-04", "it is a pipe, a socket or a device", "nothing, or move it elsewhere"
                counts.db_note_problem(self._store.connection, 0, item.path, code, why, fix, self._clock.now(), RETRY_S)

        if trouble:
            await self._db(note)
        now = self._clock.monotonic()
        for item in trouble if retries else ():
            if item.error is not None or (item.stat is not None and item.stat.kind is Kind.BROKEN):
                self._retries.failed(item.path, now)
                if item.before is not None:
                    self._retries.failed(item.before, now)
