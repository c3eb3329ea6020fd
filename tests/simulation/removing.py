"""Async. Removals among whole daemons on virtual time: how soon the connections are cut, and what comes after it."""

from __future__ import annotations

from dataclasses import dataclass, field
from random import Random

import trio

from ca.ids import DeviceId
from tests.helpers.simulation import FOLDER, SimComputer, Simulation, simulate
from tests.helpers.tasks import device_keys

LOOK_S = 0.01
CUT_S = 5.0
SILENCE_S = 10.0


def write(computer: SimComputer, name: str, words: str) -> None:
    path = (name.encode(),)
    computer.disk.write(path, words.encode())
    computer.disk.flush_file(path)


def names(computer: SimComputer) -> set[str]:
    return {path[0].decode() for path in computer.disk.contents() if path[0] != b".syncd"}


def received(computer: SimComputer) -> int:
    """Bytes of content that a computer was ever given."""
    assert computer._daemon is not None
    return computer._daemon.meter.received_bytes


def is_linked(computer: SimComputer, device: DeviceId) -> bool:
    """Whether a connection on which content may pass is open to a device."""
    assert computer._daemon is not None
    return any(one.device == device and one.epoch_id is not None for one in computer._daemon.connections)


@dataclass(slots=True)
class Removals:
    """Seconds from the command to the last connection's end, for each."""

    cut_s: list[float] = field(default_factory=list)

    def percentile(self, share: float) -> float:
        return sorted(self.cut_s)[min(len(self.cut_s) - 1, int(len(self.cut_s) * share))]


async def remove_again_and_again(simulation: Simulation, rounds: int, found: Removals) -> None:
    """Cleo joins, works, is removed, gets nothing more, and joins anew as a new member."""
    ana, bert, cleo = simulation
    gone = device_keys(cleo.name).public.id
    await bert.join(await ana.share(uses=1))
    for number in range(rounds):
        link = await ana.call("share", path=ana.path, name=FOLDER, role="editor", link=True, uses=1, yes=True)
        await cleo.join(str(link["link"]))
        write(cleo, f"by cleo {number}", "while she is in")
        await simulation.settle([ana, bert, cleo])
        assert is_linked(ana, gone) and is_linked(bert, gone)
        began = trio.current_time()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(remove, ana, cleo.name)
            with trio.fail_after(CUT_S):
                while is_linked(ana, gone) or is_linked(bert, gone):  # noqa: ASYNC110 (looks as a stranger would)
                    await trio.sleep(LOOK_S)
            found.cut_s.append(trio.current_time() - began)
            before = received(cleo)
        for writer in (ana, bert):
            write(writer, f"secret {number} of {writer.name}", "not for cleo")
        await simulation.settle([ana, bert])
        await trio.sleep(SILENCE_S)
        assert received(cleo) == before, "content after the cut"
        assert not any(name.startswith(f"secret {number} ") for name in names(cleo))
        await cleo.call("folder.leave", folder=FOLDER)


async def remove(computer: SimComputer, member: str) -> None:
    await computer.call("member.remove", folder=FOLDER, member=member)


async def remove_in_partitions(simulation: Simulation, chance: Random) -> int:
    """Dora is removed while nobody sees everybody; how many files were written by who knew of it."""
    ana, bert, cleo, dora = simulation
    link = await ana.share(uses=3)
    for other in (bert, cleo, dora):
        await other.join(link)
    await ana.call("member.change", folder=FOLDER, member="bert", what="role", role="admin")
    await simulation.settle()
    hosts = [computer.host for computer in simulation]
    secrets = 0
    removal, steps = chance.randint(0, 2), chance.randint(4, 8)
    for step in range(steps):
        groups = chance.randint(1, 3)
        side = {host: chance.randrange(groups) for host in hosts}
        simulation.internet.partition(*[[host for host in hosts if side[host] == one] for one in range(groups)])
        if step == removal:
            await remove(chance.choice([ana, bert]), dora.name)
        for writer in (ana, bert, cleo):
            if chance.random() < 0.6:
                knows = writer.folder.membership.role_of(device_keys(dora.name).public.id) is None
                secrets += knows
                write(writer, f"{'secret' if knows else 'old'} {step} of {writer.name}", f"{step}")
        if chance.random() < 0.5:
            write(dora, f"dora's {step}", "from outside, or from a day before")
        await trio.sleep(chance.uniform(1, 40))
    simulation.internet.heal()
    insiders = [ana, bert, cleo]
    await simulation.settle(insiders)
    assert not any(name.startswith("secret") for name in names(dora)), "content of the new epoch reached the removed"
    epoch = ana.folder.membership.epoch.id
    hers = dora.folder.membership.secrets
    assert hers is None or hers.of(epoch) is None
    for insider in insiders:
        assert insider.folder.membership.role_of(device_keys(dora.name).public.id) is None
        assert insider.folder.membership.epoch.id == epoch
    return secrets


def run_removals(seed: int, rounds: int) -> Removals:
    """One simulation with so many removals."""
    found = Removals()
    simulate(lambda simulation: remove_again_and_again(simulation, rounds, found), seed)
    return found


def run_partitions(seed: int) -> int:
    """One schedule of partitions."""
    found: list[int] = []

    async def story(simulation: Simulation) -> None:
        found.append(await remove_in_partitions(simulation, Random(seed)))

    simulate(story, seed, ("ana", "bert", "cleo", "dora"))
    return found[0]
