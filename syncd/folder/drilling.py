"""Async. Restore drills: now and then some files of some past moment are restored to a scratch directory and compared.

A backup that nobody has restored is a hope. So a drill goes the way of a real restore: a random moment of those that
are promised, files drawn by chance, blocks read from wherever they lie, and those that this device lacks fetched from
peers who have them, plain files written. Then these are read back and cut as their lists say, and every piece must have
the name that the list gives it. What was fetched stays: this device promises that moment.
"""

from __future__ import annotations

import json
import logging
import os
import shutil
from collections.abc import Sequence
from dataclasses import asdict, replace
from datetime import UTC

import trio

from ca.values import dataclass
from syncd.engine.timeline import Seen
from syncd.errors import SyncdError
from syncd.folder.gathering import fetch, held_by_peers
from syncd.folder.ground import Ground
from syncd.model.cipher import MAX_BLOCK_BYTES, BlockKind
from syncd.model.lists import Entry
from syncd.model.paths import Path
from syncd.model.records import ContentKind
from syncd.seams import Random
from syncd.store import pruning, restoring
from syncd.store.folder import FolderStore, SourceReader
from syncd.store.keyring import Keyring
from syncd.store.outside import DirectoryTarget, Writing, write_all
from syncd.store.restoring import Moment
from syncd.treetypes import RootState, TreeError

log = logging.getLogger("syncd.history")

EVERY_S = 86400.0
LOOK_S = 600.0
FILES, BYTES = 20, 64 << 20
"""Of one drill, at most."""
LIST_THEN_BLOCKS = 2
"""Of a large file the blocks are known only once its list is here."""


@dataclass(frozen=True, slots=True)
class Drilled:
    """What a drill showed. `not_here`: files of which some block is neither here nor at any peer that is connected;
    `failed`: files that could not be restored as they were, though they should be here; `from_peers`: files of which
    some blocks came from peers."""

    at: float
    moment_ms: int
    files: int = 0
    size: int = 0
    not_here: int = 0
    failed: int = 0
    why: str = ""
    from_peers: int = 0


class Driller:
    """One folder's."""

    def __init__(self, ground: Ground) -> None:
        self._ground = ground
        self._drilling = trio.Lock()
        self._place: str | None = None
        self._random: Random | None = None
        self.last: Drilled | None = None

    def equip(self, place: str, random: Random) -> None:
        """Where the scratch directory may be made. Without one there are no drills."""
        self._place, self._random = place, random

    async def run(self) -> None:
        """A drill a day, until cancelled."""
        while True:
            await trio.sleep(LOOK_S)
            if self._place is not None and self.is_due and self._ground.root_state is RootState.OK:
                await self.drill()

    def db_begin(self) -> None:
        """At a start, before `run`: recall the last drill, and remove what a crash left of it."""
        self.last = _db_last(self._ground.store)
        if self._place is not None:
            _remove(self._place)

    @property
    def is_due(self) -> bool:
        return self.last is None or not 0 <= self._ground.clock.now() - self.last.at < EVERY_S

    async def drill(self) -> Drilled | None:
        """One drill; None where there is nothing to drill with, or nothing was ever published."""
        async with self._drilling:
            return await self._drill()

    async def _drill(self) -> Drilled | None:
        if self._place is None or self._random is None:
            return None
        ground, store = self._ground, self._ground.store
        moment_ms = await ground.db(_db_some_moment, store, ground.clock.now(), self._chance())
        if moment_ms is None:
            return None
        chances = [self._chance() for _ in range(restoring.DRAWN)]
        tree = await ground.db(restoring.db_some_of_tree, store, Moment(at_ms=moment_ms), chances)
        drilled = Drilled(ground.clock.now(), moment_ms)
        chosen, not_here, from_peers = await self._choose(tree)
        size = sum(one.seen.content.size for one in chosen)
        drilled = replace(drilled, not_here=not_here, from_peers=from_peers, files=len(chosen), size=size)
        try:
            wrong = await ground.blocking(_try, self._place, chosen, store)
        except (SyncdError, TreeError, OSError) as error:
            drilled = replace(drilled, failed=1, why=f"{error}")
        else:
            drilled = replace(drilled, failed=len(wrong), why=", ".join(wrong)[:500])
        finally:
            await ground.blocking(_remove, self._place)
        await ground.db(_db_note, store, drilled)
        self.last = drilled
        if drilled.failed:
            log.error("folder %s: a restore drill failed: %s", ground.name, drilled.why)
        ground.tell()
        return drilled

    def _chance(self) -> float:
        assert self._random is not None
        return int.from_bytes(self._random.token(6), "big") / (1 << 48)

    async def _choose(self, tree: dict[Path, Seen]) -> tuple[list[Writing], int, int]:
        """Some files by chance, under numbers for names; how many of those drawn are nowhere to be had; and how many of
        the chosen came from peers."""
        store, files = self._ground.store, [seen for seen in tree.values() if seen.content.kind is ContentKind.FILE]
        chosen: list[Writing] = []
        size = not_here = from_peers = 0
        for _ in range(min(FILES, len(files))):
            seen = files.pop(int(self._chance() * len(files)))
            if size + seen.content.size > BYTES and chosen:
                continue
            lacking, parts = await self._ground.db(restoring.db_lacking, store, [seen.content])
            if lacking:
                if not await self._fetch(seen, lacking, parts):
                    not_here += 1
                    continue
                from_peers += 1
            placed = await self._ground.db(_db_placed, store, seen)
            chosen.append(Writing((b"%d" % len(chosen),), seen, placed))
            size += seen.content.size
        return chosen, not_here, from_peers

    async def _fetch(self, seen: Seen, lacking: Sequence[Entry], parts: frozenset[bytes]) -> bool:
        """Fetch what a file lacks from peers, its list first; whether all of it came."""
        for _ in range(LIST_THEN_BLOCKS):
            held = await held_by_peers(self._ground, lacking)
            if any(entry.cid not in held for entry in lacking):
                return False
            await fetch(self._ground, lacking, parts)
            lacking, parts = await self._ground.db(restoring.db_lacking, self._ground.store, [seen.content])
            if not lacking:
                return True
        return False


def _db_placed(store: FolderStore, seen: Seen) -> Sequence[restoring.Placed]:
    return restoring.db_places(store, restoring.db_packed(store, seen.content))


def _try(place: str, chosen: Sequence[Writing], store: FolderStore) -> list[str]:
    """Restore, read back, compare: what is wrong."""
    reader = SourceReader(store.tree, store.packs, store.keyring)
    try:
        with DirectoryTarget(os.fsencode(place)) as target:
            write_all(target, chosen, reader)
    finally:
        reader.close()
    return [
        f"{one.path[0].decode()}: {why}" for one in chosen if (why := _wrong(place, one, store.keyring)) is not None
    ]


def _wrong(place: str, one: Writing, keyring: Keyring) -> str | None:
    """What a restored file is not as its version was; None if it is."""
    path = os.path.join(os.fsencode(place), *one.path)
    found, attributes = os.stat(path), one.seen.attributes
    if found.st_size != one.seen.content.size:
        return f"has {found.st_size} bytes, not {one.seen.content.size}"
    if attributes.mode is not None and found.st_mode & 0o777 != attributes.mode:
        return "has another mode"
    if attributes.mtime_ns is not None and found.st_mtime_ns != attributes.mtime_ns:
        return "has another time"
    buffer = memoryview(bytearray(MAX_BLOCK_BYTES))
    with open(path, "rb", buffering=0) as file:
        for entry, _ in one.blocks:
            view = buffer[: entry.length]
            if file.readinto(view) != entry.length or keyring.cipher().pid(BlockKind.DATA, view) != entry.pid:
                return "has other bytes"
    return None


def _remove(place: str) -> None:
    shutil.rmtree(place, ignore_errors=True)


def _db_some_moment(store: FolderStore, now: float, chance: float) -> int | None:
    """One of the moments that are promised."""
    (first,) = store.connection.execute("SELECT min(at_ms) FROM moment").fetchone()
    if first is None:
        return None
    promised = pruning.db_promise(store, pruning.db_effective(store), now, UTC)
    singles = [one for one in promised.moments if first <= one < promised.since_ms]
    since, until = max(first, promised.since_ms), int(now * 1000)
    pick = int(chance * (max(1, until - since) + len(singles)))
    return singles[pick] if pick < len(singles) else since + pick - len(singles)


def _db_last(store: FolderStore) -> Drilled | None:
    found = store.connection.execute("SELECT value FROM meta WHERE key='drill'").fetchone()
    return None if found is None else Drilled(**json.loads(found[0]))


def _db_note(store: FolderStore, drilled: Drilled) -> None:
    value = json.dumps(asdict(drilled)).encode()
    store.connection.execute("INSERT OR REPLACE INTO meta VALUES ('drill', ?)", (value,))
