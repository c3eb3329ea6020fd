"""Async. Stories in which nearly everything is a wave: people are asked before a few files go, are written over or get
odd names, and say yes or no after a while. One story in five is like that.

A no brings back what was; the contents that it takes away were seen by whoever says it.
"""

from __future__ import annotations

from random import Random

import trio

from syncd.engine.brake import USUAL, Measures
from syncd.errors import SyncdError
from syncd.store import rows, waves
from syncd.treetypes import Kind
from tests.helpers.simulation import SimComputer
from tests.helpers.tasks import PowerCut
from tests.helpers.users import NAMES
from tests.simulation.tale import Tale

ASKED_ONE_IN = 5
NO_ONE_IN = 4
SHORTEST_S, LONGEST_S = 5.0, 60.0
PATIENCE_S = 60.0
TOO_LATE = ("SY-BRAKE-02", "SY-BRAKE-03", "SY-BRAKE-04", "SY-FIND-01")
"""It has grown meanwhile, the disk has errors, nothing can be published now, or it waits no more."""
ODD_ENDINGS = (*NAMES, b"b.final", b"b.txt.locked", b"d.crypt")
"""With some that nobody knows, as files have them that were encrypted for ransom."""


def measures_of(seed: int) -> Measures:
    """From which on changes are a wave in a story."""
    chance = Random(f"asked {seed}")
    if chance.randrange(ASKED_ONE_IN):
        return USUAL
    return Measures(0.02, chance.randint(1, 4), chance.randint(2, 5), chance.randint(1, 3))


async def answer(tale: Tale, may_deny: bool = True) -> None:
    """Until cancelled: everybody is asked now and then, and answers all that waits."""
    chance = Random(f"answers {tale.simulation.seed}")
    while True:
        await trio.sleep(chance.uniform(SHORTEST_S, LONGEST_S))
        for computer in list(tale.honest):
            if computer.is_running:
                with trio.move_on_after(PATIENCE_S):  # it may lose its power meanwhile
                    await _answer_at(tale, computer, chance, may_deny)


async def _answer_at(tale: Tale, computer: SimComputer, chance: Random, may_deny: bool) -> None:
    try:
        asked = await computer.call("requests", folder=None, cwd=None)
        for one in asked["requests"]:
            if one["kind"] != "held" or not computer.is_running:
                continue
            if chance.randrange(NO_ONE_IN) or not may_deny:
                tale.faults["a yes to a wave"] += 1
                await computer.call("approve", id=one["id"], role=None)
            else:
                tale.faults["a no to a wave"] += 1
                _give_up(tale, computer, one["id"])
                await computer.call("deny", id=one["id"])
    except SyncdError as error:
        if error.id not in TOO_LATE:
            raise
        tale.faults["an answer too late"] += 1
    except PowerCut:
        tale.faults["a power cut before an answer"] += 1


def _give_up(tale: Tale, computer: SimComputer, wave: str) -> None:
    """What a no takes away: the contents that stand for what waits, and for what had passed before, on any disk."""
    connection = computer.store.connection
    for held in waves.db_held(connection):
        if held.mark != wave.rpartition("-")[2]:
            continue
        passed = [one.node for one in waves.db_passed(connection, held.origin, held.since)]
        nodes = rows.read_ids(connection, {*waves.nodes_of(connection, held.key), *passed}).values()
        for nid in [row.nid for row in nodes]:
            for one in tale.honest:
                if one.is_running:
                    _give_up_content(tale, one, nid)


def _give_up_content(tale: Tale, computer: SimComputer, nid: bytes) -> None:
    """Where its row says that it stands, and wherever it was moved that no row says yet."""
    for row in rows.read(computer.store.connection, "WHERE nid=? AND l_kind IN (1,3)", (nid,)):
        path, disk = waves.path_of(computer.store.connection, row), computer.disk
        for at in disk.contents():
            node = disk.at(at)
            if node.kind is not Kind.DIR and (at == path or node.ino == row.l_ino):
                tale.simulation.book.given_up.add(bytes(node.data) or node.target)
