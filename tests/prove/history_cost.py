"""Async. What the history of a month of small changes costs, on virtual time: packs and rows beside the bytes that were
changed.

Every hour one hundredth of the folder is changed: at least half of it by writing files anew, the rest by overwriting
stretches in the middle of others, at any place. What is measured is the other computer, which keeps what these changes
replace. At random hours the tree as it was then is read back from what was kept.
"""

from __future__ import annotations

import os
import random
from dataclasses import dataclass, field
from hashlib import blake2b
from pathlib import Path as FilePath

import trio
import trio.testing

from syncd.model.records import ContentKind
from syncd.store import restoring
from syncd.store.folder import FolderStore, SourceReader
from syncd.store.packing import db_let_go, db_packed_of, db_superseded, pack_superseded
from syncd.store.recovery import db_recheck_old
from syncd.store.restoring import Moment
from syncd.treetypes import Path
from tests.helpers.computers import Disappointment
from tests.helpers.simdisk import SimDisk
from tests.helpers.tasks import SimClock, SimSite, World

MIB = 1 << 20
FOLDER_MIB = int(os.environ.get("SYNCD_HISTORY_MIB", "1024"))
"""All of it is held in memory, several times over, and so is its history: 13 GiB for 1024."""
FILE_BYTES = 4 * MIB
DAYS = 30
CHECKED = 12
BRAKE_S = 45.0
"""Of virtual time for an hour: the brake counts by a clock that cannot be set."""
MOST = 1.3

CLAIM = (
    f"History of {DAYS} days of hourly changes of 1 % of a folder of 1 GiB of files of 4 MiB, at least half of it "
    "files written anew and the rest stretches overwritten inside of files, costs at most "
    f"{MOST} times the changed bytes, rows included"
)


@dataclass(slots=True)
class Cost:
    """What was changed, and what keeping it takes. `pictures`: digests of all files at the end of an hour."""

    changed: int = 0
    packs: int = 0
    rows: int = 0
    pictures: dict[int, dict[Path, bytes]] = field(default_factory=dict)

    @property
    def ratio(self) -> float:
        return (self.packs + self.rows) / self.changed


def prove(place: FilePath) -> str:
    cost = measure(FOLDER_MIB * MIB // FILE_BYTES, FILE_BYTES, DAYS * 24)
    size = (
        ""
        if FOLDER_MIB == 1024
        else f" (in a folder of {FOLDER_MIB} MiB, with files a {1024 // FOLDER_MIB}th as large)"
    )
    measured = (
        f"{cost.ratio:.3f} of the changed bytes{size}: {cost.changed / MIB:,.0f} MiB changed in {DAYS * 24} hours, "
        f"{cost.packs / MIB:,.0f} MiB of packs, {cost.rows / MIB:,.1f} MiB of rows; {CHECKED} random hours were read "
        "back whole"
    )
    if cost.ratio > MOST:
        raise Disappointment(measured)
    return measured


def measure(files: int, file_bytes: int, hours: int) -> Cost:
    return trio.run(_measure, files, file_bytes, hours, clock=trio.testing.MockClock(autojump_threshold=0))


class Hours(SimClock):
    """Hours pass at a word."""

    hours = 0

    def now(self) -> float:
        return super().now() + 3600 * self.hours


async def _measure(files: int, file_bytes: int, hours: int) -> Cost:
    world = World(["ann", "bob"], seed=30)
    chance = random.Random("history cost")
    ann, bob = world["ann"], world["bob"]
    ann.clock = bob.clock = clock = Hours()
    for number in range(files):
        ann.disk.write(name(number), chance.randbytes(file_bytes))
    cost = Cost()
    async with world.running():
        await world.settle(86_400.0)
        begun = rows(bob.task.store)
        checked = set(chance.sample(range(hours), min(CHECKED, hours)))
        for hour in range(hours):
            cost.changed += change(ann.disk, chance, files, file_bytes)
            await world.settle(3600.0)
            if hour in checked:
                cost.pictures[int(bob.clock.now() * 1000)] = digests(ann.disk, files)
            await trio.sleep(BRAKE_S)
            clock.hours += 1
            keep_house(bob)
        clock.hours += 1
        keep_house(bob)
        await demand_moments(bob, cost)
        store = bob.task.store
        cost.packs = store.packs.db_size()[1]
        cost.rows = rows(store) - begun
        if store.connection.execute("SELECT count(*) FROM old").fetchone() != (0,):
            raise Disappointment("not everything that was replaced is packed after an hour and a half")
    return cost


def keep_house(site: SimSite) -> None:
    """What the keeper does with `.syncd/old` every few seconds, until nothing is due."""
    store, now = site.task.store, site.clock.now()
    db_recheck_old(store, now)
    while due := db_superseded(store, now):
        db_let_go(store, pack_superseded(store, due, db_packed_of(store, due)), now)


def name(number: int) -> Path:
    return (b"file-%04d" % number,)


def change(disk: SimDisk, chance: random.Random, files: int, file_bytes: int) -> int:
    """A hundredth of all bytes: how many."""
    share = files * file_bytes // 100
    left = share
    for number in chance.sample(range(files), files):
        if left <= 0:
            break
        size = min(left, file_bytes)
        if size == file_bytes and left > share // 2:
            disk.write(name(number), chance.randbytes(file_bytes))
        else:
            size = min(size, max(file_bytes // 2, 1))
            content = disk.read(name(number))
            at = chance.randrange(file_bytes - size + 1)
            disk.write(name(number), content[:at] + chance.randbytes(size) + content[at + size :])
        left -= size
    return share


def rows(store: FolderStore) -> int:
    """Bytes of the database that are in use."""
    values = [store.connection.execute(f"PRAGMA {what}").fetchone()[0] for what in ("page_count", "freelist_count")]
    (page,) = store.connection.execute("PRAGMA page_size").fetchone()
    return int((values[0] - values[1]) * page)


def digests(disk: SimDisk, files: int) -> dict[Path, bytes]:
    return {name(number): blake2b(disk.read(name(number)), digest_size=16).digest() for number in range(files)}


async def demand_moments(bob: SimSite, cost: Cost) -> None:
    """At each noted hour, from what is kept: every file as it was, and no other."""
    store = bob.task.store
    reader = SourceReader(store.tree, store.packs, store.keyring)
    for at_ms, expected in cost.pictures.items():
        tree = restoring.db_tree(store, Moment(at_ms))
        if tree.keys() != expected.keys():
            raise Disappointment("a moment has other names than it had")
        for path, seen in tree.items():
            if seen.content.kind is not ContentKind.FILE:
                raise Disappointment("a file is none any more")
            if _digest(store, reader, restoring.db_packed(store, seen.content)) != expected[path]:
                raise Disappointment(f"{path!r} is not what it was")
        await trio.lowlevel.checkpoint()


def _digest(store: FolderStore, reader: SourceReader, packed: bytes) -> bytes:
    digest = blake2b(digest_size=16)
    for entry, places in restoring.db_places(store, packed):
        view = memoryview(bytearray(entry.length))
        if not reader.read_checked(places, entry, view):
            raise Disappointment("a block of a promised moment is not to be had")
        digest.update(view)
    return digest.digest()
