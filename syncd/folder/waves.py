"""Async. Waves of deletions and overwrites: held by the brake before they are published or carried out, until a person
has spoken.

`engine.brake` says when a wave is one, `store.waves` what that means for the rows; here is who is asked, and who is
told.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import TypeVar

import trio

from syncd.engine.brake import WINDOW_S, Brake, Change, Measures
from syncd.engine.ransom import looks_disguised
from syncd.folder.gathering import fetch
from syncd.folder.ground import Ground
from syncd.store import denying, waves
from syncd.store.draft import Examined
from syncd.store.examine import Previous
from syncd.store.glance import Begun
from syncd.store.releasing import db_let_pass
from syncd.store.scan import Action, Item
from syncd.store.waves import SCAN_ORIGIN, Arriving, Held, Why
from syncd.treetypes import Dirty, Kind, Path

GROWING_S = 5.0
"""A wave that still grows is shown after this time all the same."""

log = logging.getLogger("syncd.folder")

Result = TypeVar("Result")


class Waves:
    """What the brake holds in one folder, and what becomes of it."""

    def __init__(self, ground: Ground, measures: Measures) -> None:
        self.on_release: Callable[[], object] = lambda: None
        """A wave passes: the disk is to be looked at again."""
        self._ground = ground
        self._store = ground.store
        self._db = ground.db
        self._clock = ground.clock
        self._brake = Brake(measures)
        self._counted: set[int] = set()
        """Nodes about which somebody else's decision was counted and has not been carried out yet."""
        self._written: dict[int, float] = {}
        """Nodes that were written over here, and when: each counts once in a window."""
        self._held: frozenset[int] = frozenset()
        self._has_strayed = True
        """Something that waits may have been met under another name, and was left alone: then all is looked at when it
        passes."""
        self._listed: tuple[int, list[Held]] | None = None
        """What waits, as of so many changes of the rows."""
        self._deciding = trio.Lock()
        """What a person lets pass is not judged between its release and the note that it was."""

    # before publishing ---------------------------------------------------------------------------------------

    async def begin_scan(self, begin: Callable[[], tuple[Begun, Result]]) -> tuple[Begun, Result]:
        """Begin, and find out what waits already, so that it is not looked at again and again."""
        async with self._deciding:
            begun, result = await self._db(begin)
            self._held = begun.held
            self._has_strayed = self._has_strayed and bool(begun.held)
        return begun, result

    def without_held(self, items: Sequence[Item]) -> list[Item]:
        """Findings about which no person has to say something first."""
        free: list[Item] = []
        waiting: list[Item] = []
        for item in items:
            is_free = item.known is None or item.known.is_copy or item.known.row not in self._held
            (free if is_free else waiting).append(item)
        self._has_strayed |= any(item.action is Action.MOVED for item in waiting)
        return free

    def is_held(self, row: int) -> bool:
        """Whether a node waits for a person."""
        return row in self._held

    async def holds_missing(self, nodes: Sequence[int], files: Sequence[int], *, has_copies: bool) -> bool:
        """Whether what a scan missed has to wait: `nodes` are gone, and with them the rows of `files`. Conflict copies
        that went with them (`has_copies`) wait as well, and are in no row of what waits: so all is looked at when it
        passes. Of themselves they hold nothing: their file is still there."""
        change = Change(len(files), self._count_old(files), len(nodes))
        if nodes and self._holds(SCAN_ORIGIN, change):
            await self._hold(SCAN_ORIGIN, Why.GONE, sorted({*nodes, *files}))
            self._has_strayed |= has_copies
            return True
        if files:
            await self._db(waves.db_pass, self._store.connection, SCAN_ORIGIN, files, self._clock.now())
        return False

    async def sift(
        self, found: Sequence[Examined], previous: Mapping[Path, Previous]
    ) -> tuple[list[Examined], list[int]]:
        """Of findings, those that may be published now; the others wait. And the rows of which it is to be noted
        (`waves.db_pass`), before that, that they pass."""
        written = [one for one in found if _is_overwrite(one, previous)]
        disguised = [one for one in found if _is_disguise(one)]
        if not written and not disguised:
            return list(found), []
        ransom = [one for one in written if one.is_noise] + disguised
        held: list[Examined] = []
        if self._holds(SCAN_ORIGIN, Change(0, 0, 0, is_stroke=False, ransom=len(ransom))):
            await self._hold_found(ransom, Why.ENCRYPTED)
            held += ransom
            written = [one for one in written if not one.is_noise]
            disguised = []
        news = self._count_written(written)
        if self._holds(SCAN_ORIGIN, Change(len(news), len(news), len(news), is_stroke=False)):
            await self._hold_found(written, Why.CHANGED)
            held += written
            written = []
        passing = [_row(one) for one in (*written, *disguised)]
        return [one for one in found if one not in held] if held else list(found), passing

    def _count_written(self, written: Sequence[Examined]) -> list[int]:
        now = self._clock.monotonic()
        self._written = {row: at for row, at in self._written.items() if at > now - WINDOW_S}
        newest_old = self._ground.ages.newest_old
        news = [row for one in written if (row := _row(one)) <= newest_old and row not in self._written]
        self._written.update(dict.fromkeys(news, now))
        return news

    async def _hold_found(self, found: Sequence[Examined], why: Why) -> None:
        moved = [(_row(one), one.item.parent, one.item.name) for one in found if one.item.action is Action.MOVED]
        await self._hold(SCAN_ORIGIN, why, [_row(one) for one in found])
        if moved:
            is_noted = await self._db(waves.db_hold_moved, self._store.connection, moved)
            self._has_strayed |= not is_noted
        self._held |= {_row(one) for one in found}

    # before applying -----------------------------------------------------------------------------------------

    async def judged(self, go_on: Callable[[], Result]) -> Result:
        """Hold what others have deleted, written over or disguised, if that is too much; then `go_on` on the rows, in
        the same visit to them when there is nobody to be judged."""
        async with self._deciding:
            own, counted = self._store.journal.device, frozenset(self._counted)
            look = await self._db(waves.db_arrive, self._store.connection, own, counted, go_on)
            self._counted &= set() if look.is_over else {node for one in look.arriving.values() for node in one.nodes}
            if look.went_on is not None:
                return look.went_on
            if look.freed:
                count = len(look.freed)
                log.warning("folder %s: somebody has decided about %s files that waited", self._ground.name, count)
                await self._ground.recount()
                self._look_at(look.names)  # what people did to them meanwhile was left alone
                self._ground.tell()
            passing = [
                (device.hex(), await self._judge(device.hex(), one))
                for device, one in sorted(look.arriving.items())
                if device != own
            ]
        now = self._clock.now()

        def note_and_go_on() -> Result:
            for origin, nodes in passing:
                if nodes:
                    waves.db_pass(self._store.connection, origin, nodes, now)
            return go_on()

        return await self._db(note_and_go_on)

    def carried_out(self, nodes: Iterable[int]) -> None:
        """What was decided elsewhere about these has been done: the next decision is another one."""
        self._counted.difference_update(nodes)

    async def _judge(self, origin: str, arriving: Arriving) -> list[int]:
        """Hold what is too much; the nodes that pass."""
        gone, written, disguised = (
            [node for node in nodes if node not in self._counted]
            for nodes in (arriving.gone, arriving.overwritten, arriving.disguised)
        )
        old = [node for node in written if node <= self._ground.ages.newest_old]
        passing: list[int] = []
        for why, every, news, change in (
            (Why.ENCRYPTED, arriving.disguised, disguised, Change(0, 0, 0, False, ransom=len(disguised))),
            (Why.GONE, arriving.gone, gone, Change(len(gone), self._count_old(gone), min(arriving.units, len(gone)))),
            (Why.CHANGED, arriving.overwritten, written, Change(len(old), len(old), len(old), False)),
        ):
            if news and self._holds(origin, change):
                await self._hold(origin, why, every)
            else:
                passing += news
        self._counted.update(passing)
        return passing

    # both ----------------------------------------------------------------------------------------------------

    def _holds(self, origin: str, change: Change) -> bool:
        return self._brake.holds(origin, change, self._ground.counts.files, self._clock.monotonic())

    def _count_old(self, nodes: Sequence[int]) -> int:
        return sum(node <= self._ground.ages.newest_old for node in nodes)

    async def _hold(self, origin: str, why: Why, nodes: Sequence[int]) -> None:
        wave, of_files = f"held-{origin[:8]}", self._ground.counts.files
        connection = self._store.connection
        await self._db(waves.db_hold, connection, wave, origin, why, nodes, self._clock.now(), of_files)
        log.warning(
            "folder %s: a wave of changes (%s, by %s) waits for a person", self._ground.name, why.value, origin[:8]
        )
        await self._ground.recount()
        self._ground.tell()

    # what a person says --------------------------------------------------------------------------------------

    async def held(self) -> list[Held]:
        """The waves that wait for a person."""
        return await self._db(self._db_held)

    def _db_held(self) -> list[Held]:
        """Who looks, and answers, asks several times: nothing is read again that nobody can have changed."""
        connection = self._store.connection
        if self._listed is None or self._listed[0] != connection.total_changes:
            self._listed = connection.total_changes, waves.db_held(connection)
        return self._listed[1]

    async def shown(self) -> list[Held]:
        """The same, but for one that is just being made: who answered that would not have seen all of it."""
        ground, now = self._ground, self._clock.now()
        is_made = ground.is_scanning or ground.work.more or bool(ground.work)
        return [
            one
            for one in await self.held()
            if one.origin != SCAN_ORIGIN or not (is_made and 0 <= now - one.since < GROWING_S)
        ]

    async def held_paths(self, wave: str) -> list[str]:
        """Some of the names that a wave holds."""
        return await self._db(waves.db_held_paths, self._store.connection, wave, 5)

    async def approve(self, wave: str) -> bool:
        """Let a held wave pass; whether that frees it on all devices, and not only on this one. Raises SyncdError if it
        has changed since its id was shown, waits no more, or cannot be published now."""
        held = await self._asked_about(wave)
        if held.origin == SCAN_ORIGIN and self._ground.rights.waits:
            raise waves.cannot_pass_now()
        async with self._deciding:
            with trio.CancelScope(shield=True):  # who does not wait for the end of it has answered all the same
                is_for_all = await self._let_pass(held)
        return is_for_all

    async def _let_pass(self, held: Held) -> bool:
        now, publishes = self._clock.now(), self._ground.rights.publishes
        is_for_all, nodes, names = await self._db(partial(db_let_pass, self._store, held, now, publishes=publishes))
        if held.origin == SCAN_ORIGIN:
            self._brake.release(held.origin, self._clock.monotonic())
        else:
            self._counted.update(nodes)  # these pass, and nothing else of their author
        self._ground.announce(await self._db(self._store.journal.newest_seq))
        await self._go_on(names)
        return is_for_all

    async def deny(self, wave: str) -> int:
        """Undo a wave: what waited, and what of it had passed before it was noticed, here and everywhere; how many
        files keep what was written over them, as nobody has their former contents any more. Raises SyncdError if it has
        changed since its id was shown, or waits no more, or if some of it could not be undone and goes on waiting."""
        held = await self._asked_about(wave)
        lacking, parts = await self._db(denying.db_lacking_of, self._store, held)
        if lacking:  # what a peer says that it has may have gone from there a moment ago
            await fetch(self._ground, lacking, parts)
            lacking, _ = await self._db(denying.db_lacking_of, self._store, held)
        nowhere = frozenset(entry.cid for entry in lacking)
        with trio.CancelScope(shield=True):
            denied = await self._db(denying.db_deny, self._store, held, self._clock.now(), nowhere)
            self._ground.announce(await self._db(self._store.journal.newest_seq))
            await self._go_on()
        if denied.stuck:
            raise denying.not_undone(denied.stuck)
        return denied.not_restored

    async def _asked_about(self, wave: str) -> Held:
        for held in await self.held():
            if held.id == wave:
                return held
            if held.key == wave.rpartition("-")[0]:
                raise waves.has_changed(held)
        raise waves.waits_no_more()

    async def _go_on(self, names: Mapping[Path, frozenset[bytes]] | None = None) -> None:
        """`names`: all that is to be looked at, by directory; None for everything."""
        await self._ground.recount()
        self._look_at(names)
        self._ground.wake_plan()
        self._ground.tell()

    def _look_at(self, names: Mapping[Path, frozenset[bytes]] | None) -> None:
        """At what waits no more; at everything where it may stand elsewhere by now, or where a look is under way that
        still leaves it alone."""
        if names is None or self._has_strayed or self._ground.is_scanning:
            self.on_release()
        else:
            self._ground.work.add(Dirty(names))


def _row(found: Examined) -> int:
    assert found.item.known is not None
    return found.item.known.row


def _is_overwrite(found: Examined, previous: Mapping[Path, Previous]) -> bool:
    item = found.item
    if item.action is not Action.CHANGED or item.known is None or item.known.is_copy or found.hashed is None:
        return False
    before = previous.get(item.path)
    return before is not None and before.packed != found.hashed.packed


def _is_disguise(found: Examined) -> bool:
    item = found.item
    if item.action is not Action.MOVED or item.stat.kind is not Kind.FILE or item.known is None:
        return False
    return looks_disguised(item.known.name, item.name)
