"""Async. One computer on a real disk, in a process of its own that can be killed at any system call.

`python -m tests.helpers.alone PLACE DEED...` opens the folder of PLACE (made if it is not there), does these deeds, and
ends. All blocking work of the last one runs in a thread of its own, one call after the other: the process writes BEGIN
and the number of that thread, and waits for a line before it goes on, so that `strace` can end it at any system call of
that thread. The folder's clock is the wall's, ahead by as many days as PLACE/days says.

What stood there at moments that were promised lies in PLACE/moments, written when all was quiet; `check` holds the
folder to that.
"""

from __future__ import annotations

import json
import os
import random
import sys
import threading
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import TypeVar, TypeVarTuple

import trio

from syncd.engine.retention import Policy, Step, Tier
from syncd.model.cipher import BlockKind
from syncd.model.records import ContentKind
from syncd.seams import Lane
from syncd.store import pruning, restoring, snapshots
from syncd.store.folder import FolderStore, SourceReader
from syncd.store.packing import PACK_AFTER_S, db_let_go, db_packed_of, db_superseded, pack_superseded
from syncd.store.recovery import db_recheck_old, publish_late_edits
from syncd.store.restoring import Moment, Part
from syncd.store.watch import LocalTrees
from tests.helpers.computers import Disappointment
from tests.helpers.tasks import Members, RealSite, device_keys

Result = TypeVar("Result")
Arguments = TypeVarTuple("Arguments")
Picture = dict[str, str | None]
"""By path: the content of a file as hex, of a symlink behind an arrow, None for a directory."""

SETTLE_S = 60.0
APART_S = 0.05
"""Between moments: changes are told apart by the millisecond."""
FILES = 4
KEEP_DAYS = 3
NAME = "solo"


class OneWorker:
    """seams.Workers: inline, and from some moment on in the one thread that there is beside."""

    def __init__(self) -> None:
        self._turn = trio.Lock()
        self._limiter = trio.CapacityLimiter(1)
        self._is_beside = False

    async def run_blocking(
        self, function: Callable[[*Arguments], Result], *arguments: *Arguments, lane: Lane | None = None
    ) -> Result:
        async with self._turn:
            if self._is_beside:
                return await trio.to_thread.run_sync(function, *arguments, limiter=self._limiter)
            return function(*arguments)

    async def go_beside(self) -> int:
        """From now on in a thread: its number. trio uses one that is idle again and makes no other."""
        self._is_beside = True
        return await self.run_blocking(threading.get_native_id)


class Solo(RealSite):
    """The computer; its clock is ahead."""

    def __init__(self, place: Path) -> None:
        super().__init__(NAME, place, Members([device_keys(NAME)]))
        self.place = place
        self.worker = OneWorker()
        self.workers = self.worker
        self.trees = LocalTrees(self.workers, time.monotonic)
        self.ahead = AheadClock(place / "days")
        self.clock = self.ahead

    @property
    def store(self) -> FolderStore:
        return self.task.store

    async def settle(self) -> None:
        """Until nothing is left to be done, for half a second on end."""
        quiet = 0
        with trio.move_on_after(SETTLE_S) as patience:
            while quiet < 5:
                await trio.sleep(0.1)
                quiet = quiet + 1 if self.task.is_settled else 0
        if patience.cancelled_caught:
            raise Disappointment(f"not settled: {self.task.counts} {self.task.problems}")

    async def restored(self, moment: Moment) -> None:
        """Restore the whole folder, as the daemon does once it has found that all is there."""
        await self.task.db(restoring.db_restore, self.store, moment, Part(), "test", self.clock.now())
        self.task.wake_plan()
        await self.settle()

    def picture(self) -> Picture:
        return picture_of(self.root)


class AheadClock:
    """seams.Clock, ahead by whole days that a file tells."""

    def __init__(self, days: Path) -> None:
        self._file = days

    @property
    def days(self) -> float:
        return float(self._file.read_text()) if self._file.exists() else 0.0

    def now(self) -> float:
        return time.time() + 86_400 * self.days

    def monotonic(self) -> float:
        return time.monotonic()

    def advance(self, days: float) -> None:
        self._file.write_text(f"{self.days + days}")


def picture_of(root: Path) -> Picture:
    found: Picture = {}
    for path in sorted(root.rglob("*")):
        name = str(path.relative_to(root))
        if name.split("/")[0] == ".syncd":
            continue
        if path.is_symlink():
            found[name] = f"-> {os.readlink(path)}"
        else:
            found[name] = None if path.is_dir() else path.read_bytes().hex()
    return found


# --- what was promised -----------------------------------------------------------------------------------------------


def promised(place: Path) -> dict[int, Picture]:
    """By moment, in milliseconds: what stood there."""
    file = place / "moments"
    return {int(at): picture for at, picture in json.loads(file.read_text()).items()} if file.exists() else {}


def note_moment(site: Solo) -> int:
    """All is quiet: what stands here now is to be had for ever, by a snapshot."""
    at_ms = int(site.clock.now() * 1000)
    snapshots.db_add(site.store, f"at {at_ms}", at_ms, site.clock.now())
    (site.place / "moments").write_text(json.dumps({**promised(site.place), at_ms: site.picture()}))
    return at_ms


def past(store: FolderStore, at_ms: int) -> Picture:
    """What stood there at a moment, every byte read from what this computer has kept."""
    reader = SourceReader(store.tree, store.packs, store.keyring)
    found: Picture = {}
    for path, seen in restoring.db_tree(store, Moment(at_ms)).items():
        name = b"/".join(path).decode()
        match seen.content.kind:
            case ContentKind.DIRECTORY:
                found[name] = None
            case ContentKind.SYMLINK:
                found[name] = f"-> {seen.content.target.decode()}"
            case _:
                found[name] = _bytes(store, reader, restoring.db_packed(store, seen.content), name, at_ms).hex()
    reader.close()
    return found


def _bytes(store: FolderStore, reader: SourceReader, packed: bytes, name: str, at_ms: int) -> bytes:
    whole = b""
    for entry, places in restoring.db_places(store, packed):
        view = memoryview(bytearray(entry.length))
        if not reader.read_checked(places, entry, view):
            raise Disappointment(f"lost: a block of {name} as it was at {at_ms}")
        if store.keyring.cipher().pid(BlockKind.DATA, view) != entry.pid:
            raise Disappointment(f"{name} at {at_ms}: a block is not what it should be")
        whole += view
    return whole


def demand_promises(site: Solo) -> None:
    for at_ms, expected in promised(site.place).items():
        found = past(site.store, at_ms)
        if found != expected:
            strange = sorted(name for name in found.keys() | expected.keys() if found.get(name) != expected.get(name))
            raise Disappointment(f"at {at_ms} these are not what they were: {strange}")


# --- deeds -----------------------------------------------------------------------------------------------------------


async def begin(site: Solo) -> None:
    """Two moments between which everything changes; what each of them needs lies in `.syncd/old` or in the tree."""
    chance = random.Random("alone")
    await site.settle()
    empty = int(site.clock.now() * 1000)
    moments = []
    for number in range(2):
        await trio.sleep(APART_S)
        write_tree(site.root, chance, number)
        await site.settle()
        moments.append(note_moment(site))
        await trio.sleep(APART_S)
        await site.restored(Moment(empty if number == 0 else moments[0]))
    policy = Policy((Tier(Step.ALL, KEEP_DAYS),), ())
    pruning.db_set_policy(site.store, policy)


def write_tree(root: Path, chance: random.Random, number: int) -> None:
    """Files that both trees have, with other bytes; files, directories and links that only one of them has."""
    for name in ("shared", f"only {number}", "empty"):
        directory = root / name
        directory.mkdir(exist_ok=True)
    for name in ("shared/small", "shared/large", f"only {number}/one", f"only {number}/two"):
        (root / name).write_bytes(chance.randbytes(700_000 if name.endswith("large") else 900))
    (root / f"only {number}" / "link").symlink_to(f"somewhere {number}")


async def restore(site: Solo) -> None:
    """To that of the two moments that is not now, and until it is in place."""
    await site.restored(Moment(other_moment(site)))


def other_moment(site: Solo) -> int:
    first, second = sorted(promised(site.place))[:2]
    return second if site.picture() == promised(site.place)[first] else first


async def undo(site: Solo) -> None:
    """Take the newest restore back."""
    deed = restoring.db_deeds(site.store)[0]
    await site.task.db(restoring.db_undo, site.store, deed, site.clock.now())
    site.task.wake_plan()
    await site.settle()


async def litter(site: Solo) -> None:
    """New files: of some every version is promised, of others none will be, and all go into the same packs."""
    chance = random.Random(f"{site.clock.now()}")
    back = other_moment(site)
    before = Moment(at_ms=int(site.clock.now() * 1000))
    for kind in ("kept", "let go"):
        await trio.sleep(APART_S)
        for number in range(FILES):
            (site.root / f"{kind} {number}").write_bytes(chance.randbytes(30_000))
        await site.settle()
        if kind == "kept":
            note_moment(site)
    await trio.sleep(APART_S)
    await site.restored(before if chance.random() < 0.5 else Moment(back))
    site.ahead.advance(0.1)


async def pack(site: Solo) -> None:
    """What the keeper does with `.syncd/old` now and then."""
    await site.task.db(housekeeping, site, site.clock.now())


def housekeeping(site: Solo, now: float) -> None:
    store = site.store
    edits = publish_late_edits(store, db_recheck_old(store, now), int(now * 1000))
    due = db_superseded(store, now + PACK_AFTER_S)
    db_let_go(store, compared := pack_superseded(store, due, db_packed_of(store, due)), now)
    edits += publish_late_edits(store, compared.edited, int(now * 1000))
    if edits:
        raise Disappointment("something in .syncd/old was taken for an edit, though nobody edits")


async def later(site: Solo) -> None:
    """So much that what is not promised for ever is not promised any more."""
    site.ahead.advance(KEEP_DAYS + 1)


async def prune(site: Solo) -> None:
    """Let go of what is not promised."""
    await site.task.archivist.prune(dry_run=False)


async def hold(site: Solo) -> None:
    """After a kill: everything that was promised is to be had, and the tree is a whole one of those that may stand
    here."""
    demand_promises(site)
    now, known = site.picture(), promised(site.place)
    if now not in known.values():
        raise Disappointment(f"a half-restored tree: {sorted(now)}")
    if site.task.problems:
        raise Disappointment(f"problems: {site.task.problems}")


async def check(site: Solo) -> None:
    """As `hold`; and from where a restore has led, an undo leads back."""
    await hold(site)
    deeds = [deed for deed in restoring.db_deeds(site.store) if deed.kind == "restore"]
    if not deeds:
        raise Disappointment("no restore can be undone")
    newest = deeds[0]
    if newest.undone is None:
        before = past(site.store, int(newest.at * 1000) - 1)
        restoring.db_undo(site.store, newest, site.clock.now())
        site.task.wake_plan()
        await site.settle()
        if site.picture() != before:
            raise Disappointment("undo did not lead back")
        demand_promises(site)


DEEDS: Mapping[str, Callable[[Solo], Awaitable[None]]] = {
    "begin": begin,
    "restore": restore,
    "undo": undo,
    "litter": litter,
    "pack": pack,
    "later": later,
    "prune": prune,
    "hold": hold,
    "check": check,
}


async def run(place: Path, deeds: Sequence[str]) -> None:
    site = Solo(place)
    async with trio.open_nursery() as nursery:
        await nursery.start(site.live)
        await site.settle()
        for deed in deeds[:-1]:
            await DEEDS[deed](site)
        os.write(1, b"BEGIN %d\n" % await site.worker.go_beside())
        await trio.to_thread.run_sync(sys.stdin.readline)
        await DEEDS[deeds[-1]](site)
        nursery.cancel_scope.cancel()


if __name__ == "__main__":
    try:
        trio.run(run, Path(sys.argv[1]), sys.argv[2:])
    except* Disappointment as group:
        sys.exit(f"disappointment: {group.exceptions[0]}")
