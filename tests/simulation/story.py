"""Async. The random story that `make simulate` tells of each seed, and what is claimed of it.

Three computers share a folder, a trouble or two come over them while people work, and in the end the claim must hold of
all who are honest and members: all say that they are in sync, the trees are equal, and each content that nobody gave up
who had seen it is in every tree.
"""

from __future__ import annotations

import time
import traceback
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from random import Random

import trio

from syncd.engine.brake import USUAL
from syncd.treetypes import Personality
from tests.helpers.simulation import SimComputer, Simulation, simulate
from tests.helpers.users import ODD_NAMES, Book
from tests.simulation.asking import ODD_ENDINGS, answer, measures_of
from tests.simulation.claim import COLLISION, check
from tests.simulation.scenes import play, scene_of
from tests.simulation.tale import Tale
from tests.simulation.troubles import TROUBLES, Trouble, liar

CLAIM = "everybody converges and no version is lost"
NAMES = ("ana", "bert", "cleo")
ROUNDS = (1, 1, 2)
ODD_ONE_IN = 4
EVICTION_ONE_IN = 4
LIAR_ONE_IN = 6

PERSONALITIES = {
    "folds case": Personality(case_insensitive=True, name="folds case"),
    "normalises": Personality(normalising=True, utf8_only=True, name="normalises"),
    "folds and normalises": Personality(case_insensitive=True, normalising=True, utf8_only=True, name="both"),
    "as FAT": Personality(
        case_insensitive=True, utf8_only=True, illegal=frozenset(b'?:*<>|"\\'), modes=False, xattrs=False,
        symlinks=False, hard_links=False, exchange=False, mtime_step_ns=2_000_000_000, name="as FAT",
    ),
    "mtime of 2 s": Personality(mtime_step_ns=2_000_000_000, name="coarse"),
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of one seed. `why` is empty when the claim held."""

    seed: int
    virtual_s: float = 0.0
    real_s: float = 0.0
    cpu_s: float = 0.0
    events: int = 0
    connections: int = 0
    faults: Mapping[str, int] = field(default_factory=dict)
    conflicts: Mapping[str, int] = field(default_factory=dict)
    shapes: Mapping[str, int] = field(default_factory=dict)
    why: str = ""


def personalities_of(seed: int) -> dict[str, Personality]:
    """Whose file system is not the usual one, and how it is."""
    chance = Random(f"personalities {seed}")
    if chance.randrange(ODD_ONE_IN):
        return {}
    return {
        name: PERSONALITIES[chance.choice(list(PERSONALITIES))] for name in chance.sample(NAMES, chance.randint(1, 2))
    }


def troubles_of(seed: int) -> list[Trouble]:
    """What comes over them."""
    chance = Random(f"troubles {seed}")
    return chance.choices(list(TROUBLES), list(TROUBLES.values()), k=chance.choice(ROUNDS))


@dataclass(slots=True)
class Telling:
    """A story, and what is counted meanwhile."""

    faults: Counter[str] = field(default_factory=Counter)
    conflicts: Counter[str] = field(default_factory=Counter)

    async def tell(self, simulation: Simulation) -> None:
        """They share, are troubled, converge; then perhaps one is removed or begins to lie."""
        chance = Random(f"story {simulation.seed}")
        for computer in simulation:
            if computer.personality is not None:
                simulation.names = ODD_NAMES
                self.faults[f"disk {computer.personality.name}"] += 1
        tale = Tale(simulation, chance, self.faults, list(simulation))
        if measures_of(simulation.seed) is USUAL:
            await self._tell(tale)
            return
        self.faults["nearly all is a wave"] += 1
        simulation.names = (*simulation.names, *ODD_ENDINGS)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(answer, tale)
            await self._tell(tale)
            nursery.cancel_scope.cancel()

    async def _tell(self, tale: Tale) -> None:
        simulation, chance = tale.simulation, tale.chance
        await simulation.share_with_all()
        await check(tale)
        for trouble in troubles_of(simulation.seed):
            simulation.trace.note("story", trouble.__name__)
            self.faults[trouble.__name__.replace("_", " ")] += 1
            await trouble(tale)
            if chance.random() < 0.5:
                await check(tale)
        await check(tale)
        scene = scene_of(simulation.seed)
        if scene is not None:
            simulation.trace.note("story", scene.__name__)
            await play(tale, scene)
            await check(tale)
        if not chance.randrange(LIAR_ONE_IN):
            await liar(tale)
            await check(tale)
        elif not chance.randrange(EVICTION_ONE_IN):
            await evict(tale)
            await check(tale)
        self.conflicts.update(conflicts_on(tale.honest[0]))


async def evict(tale: Tale) -> None:
    """One is removed, and works on for itself; the others go on without."""
    first, last = tale.honest[0], tale.honest[-1]
    await first.call("member.remove", folder="Photos", member=last.name)
    tale.faults["eviction"] += 1
    tale.honest.remove(last)
    tale.simulation.act([last], 3, Book())
    await tale.be_busy(2)


def conflicts_on(computer: SimComputer) -> Counter[str]:
    """Which kinds of conflict can be seen on a disk, for statistics."""
    found: Counter[str] = Counter()
    query = "SELECT name, kind, heads FROM node WHERE heads > 1"
    for _, kind, heads in computer.store.connection.execute(query):
        found["changed differently" if kind else "changed and deleted"] += heads - 1
    for path in computer.disk.contents():
        if b" (conflict " in path[-1]:
            found["conflict name"] += 1
        if COLLISION.search(path[-1]):
            found["collision name"] += 1
    return found


def tell_seed(seed: int, *, again: bool) -> Outcome:
    """One seed. Raises when the claim does not hold. `again`: also when a second time gives another history."""
    began = time.process_time()
    telling = Telling()
    odd, measures = personalities_of(seed), measures_of(seed)
    history = simulate(telling.tell, seed, NAMES, personalities=odd, measures=measures)
    cpu_s = time.process_time() - began
    if again:
        second = simulate(Telling().tell, seed, NAMES, personalities=odd, measures=measures)
        assert second.digest == history.digest, f"seed {seed} has two histories"
    return Outcome(
        seed, history.virtual_s, history.real_s, cpu_s, history.events, history.connections,
        telling.faults, telling.conflicts, history.shapes,
    )  # fmt: skip


def run_seed(seed: int, *, again: bool = False) -> Outcome:
    """One seed, in this process, and what went wrong if anything did."""
    began = time.perf_counter()
    try:
        return tell_seed(seed, again=again)
    except Exception:
        return Outcome(seed, real_s=time.perf_counter() - began, why=traceback.format_exc())
