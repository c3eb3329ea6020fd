"""Async. Many whole daemons that join one folder one after another: what that costs, and how quickly a change is with
everybody.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from itertools import permutations

import trio

from tests.helpers.simulation import SimComputer, Simulation, simulate
from tests.helpers.tasks import device_keys
from tests.simulation.removing import CUT_S, is_linked
from tests.simulation.removing import remove as remove_member

LOOK_S = 0.01


@dataclass(frozen=True, slots=True)
class Crowd:
    """What was measured. Seconds of this process for all devices together; virtual seconds for what has to be quick."""

    devices: int
    joining: list[int]
    """Connections made for each newcomer, in order."""
    joined_cpu_s: float
    links_each: int
    """Most that anybody has."""
    change_s: float
    cut_s: float
    """From the command that removes somebody to the end of their last connection."""

    @property
    def connections(self) -> int:
        return sum(self.joining)

    def __str__(self) -> str:
        return (
            f"{self.devices} devices: {self.connections} connections and {self.joined_cpu_s:.1f} s of processor time "
            f"to join ({self.joining[-1]} for the last), at most {self.links_each} links each, a change is everywhere"
            f" in {self.change_s:.2f} s, a removed member cut everywhere in {self.cut_s:.2f} s"
        )


def gather(devices: int, seed: int = 1) -> Crowd:
    """Let so many join, one at a time, and do what people do then."""
    found: list[Crowd] = []

    async def story(simulation: Simulation) -> None:
        first, *others = simulation
        save(first, b"readme")
        link = await first.share(uses=len(others))
        joining, cpu_s = [], time.process_time()
        for other in others:
            before = simulation.internet.connections
            await other.join(link)
            joining.append(simulation.internet.connections - before)
        await simulation.settle()
        cpu_s = time.process_time() - cpu_s
        await demand_truth(simulation)
        links = max(len(computer.folder.task.links) for computer in simulation if computer.folder.task is not None)
        change_s = max([await spread(simulation, computer) for computer in (first, others[-1])])
        await demand_away(simulation)
        cut_s = await remove(simulation, others[0])
        found.append(Crowd(devices, joining, cpu_s, links, change_s, cut_s))

    simulate(story, seed, [f"d{number:02}" for number in range(devices)])
    return found[0]


def save(computer: SimComputer, name: bytes) -> None:
    """Somebody saves a file, and it is on the disk."""
    computer.disk.write((name,), b"by " + computer.name.encode())
    computer.disk.flush_file((name,))


async def spread(simulation: Simulation, author: SimComputer) -> float:
    """How long until a change is on every disk."""
    name, began = b"news of " + author.name.encode(), trio.current_time()
    save(author, name)
    with trio.fail_after(60):
        while not all((name,) in computer.disk.contents() for computer in simulation):  # noqa: ASYNC110 (looks as a stranger would)
            await trio.sleep(LOOK_S)
    return trio.current_time() - began


async def presence(computer: SimComputer) -> dict[str, str]:
    """How everybody else stands, by name, as `status` says it."""
    peers = (await computer.status())["peers"]
    return {
        peer["name"]: "connected" if peer["connected"] else "through" if peer["through"] else "away" for peer in peers
    }


async def demand_truth(simulation: Simulation) -> None:
    """After some rest everybody is there for everybody, and only who has a connection is called connected."""
    await trio.sleep(10)
    seen = {computer.name: await presence(computer) for computer in simulation}
    assert not [(one, other) for one, others in seen.items() for other, how in others.items() if how == "away"]
    for one, other in permutations(simulation, 2):
        if seen[one.name][other.name] == "connected":
            assert is_linked(one, device_keys(other.name).public.id), (one.name, other.name)


async def demand_away(simulation: Simulation) -> None:
    """Whoever has lost its power is told as away by everybody, before long, and is there again when it is back."""
    *others, last = simulation
    await last.crash()
    with trio.fail_after(120):
        while any([(await presence(other))[last.name] != "away" for other in others]):  # noqa: ASYNC110 (looks as a stranger would)
            await trio.sleep(1)
    await simulation.start(last)
    with trio.fail_after(120):
        while any([(await presence(other))[last.name] == "away" for other in others]):  # noqa: ASYNC110 (looks as a stranger would)
            await trio.sleep(1)


async def remove(simulation: Simulation, gone: SimComputer) -> float:
    """How long a removed member keeps any connection; it gets nothing of what is written from then on."""
    first = next(iter(simulation))
    others = [computer for computer in simulation if computer is not gone]
    device, began = device_keys(gone.name).public.id, trio.current_time()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(remove_member, first, gone.name)
        with trio.fail_after(CUT_S):
            while any(is_linked(other, device) for other in others):  # noqa: ASYNC110 (looks as a stranger would)
                await trio.sleep(LOOK_S)
        took_s = trio.current_time() - began
    save(first, b"secret")
    with trio.fail_after(60):
        while not all((b"secret",) in computer.disk.contents() for computer in others):  # noqa: ASYNC110 (looks as a stranger would)
            await trio.sleep(LOOK_S)
    assert (b"secret",) not in gone.disk.contents()
    return took_s
