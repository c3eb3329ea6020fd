"""Async. What `make simulate` claims of every story, and how trees are compared whose disks cannot all hold the same.

All who are honest and members say that they are in sync and have the same tree. Each content that anybody wrote is in
every tree, or it was given up by somebody who had seen it. What a program wrote into a file that syncd had replaced
already may lie in `.syncd/old` until somebody looks there again; after two minutes nothing is overlooked any more, but
where a database was lost meanwhile, and the computer says that there is something to look through.
"""

from __future__ import annotations

import re
import sqlite3
import unicodedata
from collections.abc import Iterable, Sequence

import trio

from syncd.store.rows import PARKED_ROW
from tests.helpers.simdisk import SimDisk
from tests.helpers.simulation import SimComputer, what_is_shared
from tests.helpers.tasks import demand_same_pictures
from tests.simulation.tale import Tale

LOOKED_AGAIN_S = 120.0
COLLISION = re.compile(rb" \(name [0-9a-f]{8,64}\)")


async def settle(tale: Tale) -> None:
    """All who count are in sync and have the same tree."""
    await tale.simulation.settle(tale.honest, demand=demand_equal)


def demand_equal(computers: Sequence[SimComputer]) -> None:
    """Usual disks have the same tree, attributes included; with others all agree on what every disk can hold."""
    plain = [one for one in computers if one.personality is None]
    demand_same_pictures({one.host: what_is_shared(one.disk) for one in plain})
    if len(plain) < len(computers):
        demand_same_pictures({one.host: folded(one.disk) for one in computers})


async def check(tale: Tale) -> None:
    """The claim."""
    simulation = tale.simulation
    demand_one_row_at_a_name(simulation)
    await settle(tale)
    demand_one_row_at_a_name(simulation)
    simulation.demand_nothing_lost(tale.honest, kept=tale.honest)
    if simulation.book.lost([one.disk for one in tale.honest]):
        tale.faults["found in .syncd/old later"] += 1
        await trio.sleep(LOOKED_AGAIN_S)
        await settle(tale)
        simulation.demand_nothing_lost(
            tale.honest, kept=[one for one in tale.honest if await says_it_forgot(tale, one)]
        )


def demand_one_row_at_a_name(computers: Iterable[SimComputer]) -> None:
    """Where two rows stand at one name of a disk, no look ever misses the one that is not there."""
    for computer in computers:
        if computer.is_running and computer.folder.task is not None:
            found = two_at_a_name(computer.store.connection)
            assert not found, f"{computer.name} has several rows at one name: {found}"


def two_at_a_name(connection: sqlite3.Connection) -> list[tuple[int, bytes, str]]:
    """Names of a disk at which two rows stand, with these; conflict copies are negative."""
    return connection.execute(_TWO_AT_A_NAME).fetchall()


_TWO_AT_A_NAME = (
    "SELECT l_parent, l_name, group_concat(id) FROM (SELECT l_parent, l_name, id FROM node WHERE l_kind<>0 "
    f"AND l_parent<>{PARKED_ROW} UNION ALL SELECT l_parent, l_name, -id FROM copy WHERE l_parent<>{PARKED_ROW}) "
    "GROUP BY l_parent, l_name HAVING count(*)>1"
)


async def says_it_forgot(tale: Tale, computer: SimComputer) -> bool:
    """Whether it lost the rows that said what lies in its `.syncd/old`, and tells people so."""
    problems = (await computer.status())["problems"]
    return computer.name in tale.forgot and any(problem["id"] == "SY-HIST-10" for problem in problems)


def folded(disk: SimDisk) -> dict[bytes, tuple[object, ...]]:
    """What disks of any kind must agree on: names without what tells some of them apart, kinds and contents."""
    found: dict[bytes, list[bytes]] = {}
    for path, content in disk.contents().items():
        found.setdefault(_fold(b"/".join(path)), []).append(b"directory" if content is None else b"content " + content)
    return {name: tuple(sorted(contents)) for name, contents in found.items()}


def _fold(name: bytes) -> bytes:
    bare = COLLISION.sub(b"", name).translate(bytes.maketrans(b'?:*<>|"\\', b"_" * 8))
    text = unicodedata.normalize("NFD", bare.decode("utf-8", "replace"))
    return unicodedata.normalize("NFC", unicodedata.normalize("NFD", text.casefold()).casefold()).encode()
