"""Async. Stories in which one person works and all others only receive. Here holds what a random story cannot claim, as
others work there too: nobody else has changed anything, so syncd has nothing to do on that person's disk, ever.
"""

from __future__ import annotations

from random import Random

import trio

from syncd.engine.brake import USUAL, Measures
from syncd.treetypes import PRIVATE, Path
from tests.helpers.simulation import SimComputer, Simulation
from tests.helpers.tasks import picture
from tests.simulation.asking import ODD_ENDINGS, answer
from tests.simulation.claim import check
from tests.simulation.tale import Tale

ROUNDS = 8
CHANGES = frozenset(
    ("exchange", "retire", "create", "move", "park", "unpark", "make_dir", "remove_dir", "set_attributes")
)
"""Steps of syncd that a person could see."""


def measures_of(seed: int) -> Measures:
    """In every other story nearly everything is a wave."""
    chance = Random(f"alone {seed}")
    return Measures(0.02, chance.randint(1, 4), chance.randint(2, 5), chance.randint(1, 2)) if seed % 2 else USUAL


async def tell(simulation: Simulation) -> None:
    """One works, the network and the power come and go, people say yes to what waits."""
    chance = Random(f"alone {simulation.seed}")
    author, *others = simulation.computers
    if simulation.seed % 2:
        simulation.names = (*simulation.names, *ODD_ENDINGS)
    tale = Tale(simulation, chance, honest=list(simulation))
    await simulation.share_with_all(files=8)
    await check(tale)
    touched: list[str] = []

    def before(step: str, path: Path) -> None:
        if step in CHANGES and path[:1] != (PRIVATE,):
            touched.append(f"{step} {path}")

    author.on_step = before
    async with trio.open_nursery() as nursery:
        nursery.start_soon(answer, tale, False)
        for _ in range(ROUNDS):
            await _trouble(tale, author, others)
            _work(tale, author)
            await trio.sleep(chance.choice([0, 0.1, 0.3, 2, 20]))
            simulation.internet.heal()
        left = picture(author.disk)
        await check(tale)
        nursery.cancel_scope.cancel()
    assert not touched, f"syncd has changed what nobody else had: {touched[:5]}"
    assert picture(author.disk) == left


def _work(tale: Tale, author: SimComputer) -> None:
    user = tale.user(author)
    for _ in range(tale.chance.randint(1, 5)):
        act = tale.chance.choice([user.turn_over, user.disguise, user.disguise, None, None, None])
        if act is None or not act():
            user.act()
        author.note(user.log[-1])


async def _trouble(tale: Tale, author: SimComputer, others: list[SimComputer]) -> None:
    chance, simulation = tale.chance, tale.simulation
    other = chance.choice(others)
    match chance.randrange(6):
        case 0:
            simulation.internet.partition([author.host], [one.host for one in others])
        case 1:
            simulation.internet.block(other.host, author.host)
        case 2:
            await other.crash()
            await simulation.start(other)
        case 3:
            simulation.internet.loss = chance.uniform(0.05, 0.3)
        case 4:
            await chance.choice([author, other]).stop()
            _work(tale, author)
            for one in simulation:
                if not one.is_running:
                    await simulation.start(one)
        case _:
            pass
