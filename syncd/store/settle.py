"""Pure. When a changed name has come to rest, so that it may be looked at.

A name rests 200 ms after an event that ends something (closed after writing, deleted, moved, made, other attributes)
and 2 s after one that does not (written, still open). What keeps changing is looked at all the same: after 30 s, then
after twice as long each time, up to 10 minutes, until it rests once.

A cookie comes out with the last of the names that were in unrest before it: whoever has written it knows that all that
had changed by then is looked at.

The old name of a rename does not rest before the new one: looked at alone, it would count as deleted. The two events
may arrive apart, as a watch can be read between them. A name that has rested before the other was heard of is told as
half of a rename: that other may lie outside of the folder, or the machine had no time to tell it.

Times are seconds of any one clock, given by the caller.
"""

from __future__ import annotations

import heapq
import math
from collections import defaultdict
from collections.abc import Iterable

from syncd.treetypes import Change, Dirty, Path, RawEvent

DONE_S = 0.2
WRITING_S = 2.0
RESTLESS_S = 30.0
RESTLESS_MAX_S = 600.0
MOST_HELD_BACK = 64
"""Names that one name holds back: some programs save by renaming ever new names."""

_Key = tuple[Path, bytes]


class _Unrest:
    """One name that has changed."""

    __slots__ = ("before", "deadline_s", "due_s", "halves", "is_tree", "number", "patience_s", "queued_s")

    def __init__(self, now_s: float, number: int) -> None:
        self.number = number  # of those that came before it and were not looked at since, all are lower
        self.due_s = now_s  # at rest then, if nothing more happens
        self.patience_s = RESTLESS_S
        self.deadline_s = now_s + RESTLESS_S  # looked at then in any case
        self.queued_s = math.inf  # when its one valid entry of the heap comes up
        self.is_tree = False  # all of the directory of that name is to be looked at
        self.halves: list[int] = []  # pairs of which the other name was not known when it was heard of
        self.before: list[_Unrest] = []  # names that what stands here had before; none of them rests earlier


class Settling:
    """Events in, names at rest out."""

    def __init__(self) -> None:
        self._unrest: dict[_Key, _Unrest] = {}  # by number
        self._queue: list[tuple[float, _Key]] = []  # a heap; entries whose time is not `queued_s` are void
        self._rescan = False
        self._limited = False
        self._ignore_changed = False
        self._number = 0
        self._cookies: dict[bytes, int] = {}  # and the highest number in unrest before each
        self._halves: dict[int, _Unrest] = {}  # renames of which one name is known, by pair

    def feed(self, events: Iterable[RawEvent], now_s: float) -> None:
        """Take note of events that arrived at `now_s`."""
        for event in events:
            match event.change:
                case Change.DONE:
                    unrest = self._stir((event.parent, event.name), now_s, DONE_S)
                    if event.pair:
                        self._tie(event.pair, unrest)
                case Change.WRITING:
                    self._stir((event.parent, event.name), now_s, WRITING_S)
                case Change.TREE:
                    self._stir((event.parent, event.name), now_s, DONE_S).is_tree = True
                case Change.LOST:
                    self._rescan = True
                case Change.LIMITED:
                    self._limited = True
                case Change.COOKIE:
                    self._cookies[event.name] = self._number
                case Change.IGNORE:
                    self._ignore_changed = True

    def _stir(self, key: _Key, now_s: float, quiet_s: float) -> _Unrest:
        unrest = self._unrest.get(key)
        if unrest is None:
            unrest = self._unrest[key] = _Unrest(now_s, self._next_number())
        unrest.due_s = now_s + quiet_s
        if unrest.due_s < unrest.queued_s:
            self._enqueue(key, unrest)
        self._hold_back(unrest)
        return unrest

    def _next_number(self) -> int:
        self._number += 1
        return self._number

    def _tie(self, pair: int, unrest: _Unrest) -> None:
        """The old name comes first, and is held back by the new one."""
        old = self._halves.pop(pair, None)
        if old is None:
            self._halves[pair] = unrest
            unrest.halves.append(pair)
        elif old is not unrest and len(unrest.before) < MOST_HELD_BACK:
            unrest.before.append(old)
            old.deadline_s = unrest.deadline_s = min(old.deadline_s, unrest.deadline_s)
            self._hold_back(unrest)

    def _hold_back(self, unrest: _Unrest) -> None:
        """Names that its file had before rest no earlier; renames may go round in a circle."""
        waiting = [unrest]
        while waiting:
            new = waiting.pop()
            for old in new.before:
                if old.due_s < new.due_s:
                    old.due_s = new.due_s
                    waiting.append(old)

    def _enqueue(self, key: _Key, unrest: _Unrest) -> None:
        unrest.queued_s = min(unrest.due_s, unrest.deadline_s)
        heapq.heappush(self._queue, (unrest.queued_s, key))

    def next_due_s(self) -> float | None:
        """When `take` should be called next; None when nothing is waiting."""
        if self._rescan or self._limited or self._ignore_changed or self._passed():
            return 0.0
        return self._queue[0][0] if self._queue else None

    def _passed(self) -> list[bytes]:
        """Cookies before which no name is left."""
        if not self._cookies:
            return []
        oldest = next(iter(self._unrest.values())).number if self._unrest else math.inf
        return [cookie for cookie, number in self._cookies.items() if number < oldest]

    def take(self, now_s: float) -> Dirty | None:
        """What has come to rest by `now_s`, or None. It is forgotten here."""
        names: defaultdict[Path, set[bytes]] = defaultdict(set)
        trees: set[Path] = set()
        halves: set[Path] = set()
        rested = self._rested(now_s)
        for key, unrest in rested:
            parent, name = key
            names[parent].add(name)
            if self._forget_halves(unrest):
                halves.add((*parent, name))
            if unrest.is_tree:
                trees.add((*parent, name))
        if not names and self.next_due_s() != 0.0:
            return None
        frozen: dict[Path, frozenset[bytes] | None] = {path: frozenset(found) for path, found in names.items()}
        frozen.update(dict.fromkeys(trees))
        cookies, more = frozenset(self._passed()), bool(self._unrest)
        dirty = Dirty(frozen, self._rescan, self._limited, cookies, self._ignore_changed, more, frozenset(halves))
        self._rescan = self._limited = self._ignore_changed = False
        for cookie in cookies:
            del self._cookies[cookie]
        return dirty

    def _forget_halves(self, unrest: _Unrest) -> bool:
        """The other names of these are outside of the folder: the stage, for all that is put in place. Whether there
        are any."""
        halves = [pair for pair in unrest.halves if self._halves.get(pair) is unrest]
        for pair in halves:
            del self._halves[pair]
        unrest.halves.clear()
        return bool(halves)

    def _rested(self, now_s: float) -> list[tuple[_Key, _Unrest]]:
        rested: list[tuple[_Key, _Unrest]] = []
        while self._queue and self._queue[0][0] <= now_s:
            queued_s, key = heapq.heappop(self._queue)
            unrest = self._unrest.get(key)
            if unrest is None or unrest.queued_s != queued_s:
                continue
            if unrest.due_s <= now_s:
                del self._unrest[key]
                rested.append((key, unrest))
                continue
            if unrest.deadline_s <= now_s:
                rested.append((key, unrest))
                unrest.before.clear()  # they are due as well
                unrest.patience_s = min(2 * unrest.patience_s, RESTLESS_MAX_S)
                unrest.deadline_s = now_s + unrest.patience_s
                unrest.number = self._next_number()
                self._unrest[key] = self._unrest.pop(key)
            self._enqueue(key, unrest)
        return rested
