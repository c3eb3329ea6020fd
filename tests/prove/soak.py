"""Blocking. Twenty minutes of everything at once, with real daemons: edits, kill -9, full disks, pulled cables.

Three daemons, each on a machine (network namespace) and a disk (tmpfs) of its own. Needs root on Linux.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

from tests.helpers.computers import Computer, Disappointment, join, requests_of, share, start_all, wait_equal
from tests.helpers.namespaces import Machine, switched_machines
from tests.helpers.people import Person, RealBook

CLAIM = (
    "After 20 minutes of random edits, kill -9, full disks and partitions, three daemons have equal trees, have lost"
)
CLAIM += " nothing, and use no more memory and descriptors than before"

LASTS_S = 1_200.0
DISK_BYTES = 256 << 20
PORT = 22067
SETTLE_S = 600.0
LOOK_S = 20.0
SAMPLE_S = 10.0
PEOPLE_PAUSE_S = 0.5
MEMORY_SLACK_BYTES = 24 << 20
DESCRIPTOR_SLACK = 16


@dataclass(slots=True)
class Samples:
    """Resident memory and open descriptors of one daemon, over time; each start begins anew."""

    memory: list[int] = field(default_factory=list)
    descriptors: list[int] = field(default_factory=list)


@dataclass(slots=True)
class Site:
    """One computer with its machine, its disk and its person."""

    computer: Computer
    machine: Machine
    person: Person
    disk: Path
    samples: Samples = field(default_factory=Samples)


def prove(place: Path) -> str:
    return run(place, LASTS_S)


def run(place: Path, lasts_s: float) -> str:
    """Everything for so long, then peace, and what must be true then."""
    chance, book, faults = Random(f"soak {lasts_s}"), RealBook(), Counter[str]()
    with _sites(place, book, chance) as sites:
        start_all([site.computer for site in sites])
        first, *others = sites
        link = share(first.computer, "Notes", uses=len(others))
        for other in others:
            join(other.computer, link)
        began = sampled_at = time.monotonic()
        while time.monotonic() < began + lasts_s:
            trouble = chance.choice([nothing, nothing, kill, fill, unplug])
            faults[trouble.__name__] += 1
            trouble(sites, chance)
            if time.monotonic() > sampled_at + SAMPLE_S:
                sampled_at = time.monotonic()
                for site in sites:
                    sample(site)
        entries = settle(sites)
        for site in sites:
            site.computer.wait_synced(SETTLE_S)
            if lost := book.lost(site.computer.folder):
                raise Disappointment(f"{site.computer.name} lacks {len(lost)} contents: {lost[:3]}")
        growth = demand_flat(first)  # the others were killed again and again
    told = ", ".join(f"{name} {count}" for name, count in sorted(faults.items()) if name != "nothing")
    return f"{book.acts} acts, {told}: {entries} entries equal, none of {len(book.written)} versions lost; {growth}"


def settle(sites: list[Site]) -> int:
    """Until all trees are equal. What these people write is noise, and they write over most of what there is: what the
    brake holds of that, they let pass, as a person would who knows that it was no accident."""
    until = time.monotonic() + SETTLE_S
    while True:
        for site in sites:
            for held in requests_of(site.computer):
                answer(site.computer, held)
        try:
            return wait_equal([site.computer.folder for site in sites], LOOK_S)
        except (Disappointment, FileNotFoundError):
            if time.monotonic() > until:
                raise


def answer(computer: Computer, held: str) -> None:
    """It may pass. A wave that has grown since it was shown is shown anew, and answered then."""
    try:
        computer.ask("approve", held, "--yes")
    except Disappointment as error:
        if "SY-BRAKE-02" not in str(error):
            raise


# --- troubles --------------------------------------------------------------------------------------------------------


def work(sites: list[Site], chance: Random, seconds: float) -> None:
    """People work for a while."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        chance.choice(sites).person.act()
        time.sleep(chance.uniform(0, 2 * PEOPLE_PAUSE_S))


def nothing(sites: list[Site], chance: Random) -> None:
    work(sites, chance, chance.uniform(2, 10))


def kill(sites: list[Site], chance: Random) -> None:
    """kill -9, and a start some seconds later. The first is spared, so that one daemon is watched all the time."""
    victim = chance.choice(sites[1:])
    work(sites, chance, chance.uniform(0, 2))
    victim.computer.kill()
    victim.samples = Samples()
    work(sites, chance, chance.uniform(0, 5))
    victim.computer.start()


def fill(sites: list[Site], chance: Random) -> None:
    """A disk is full for a while."""
    victim = chance.choice(sites)
    filler = victim.disk / "filler"
    subprocess.run(
        ["dd", "if=/dev/zero", f"of={filler}", "bs=1M"], capture_output=True, check=False
    )  # until it is full
    work(sites, chance, chance.uniform(2, 10))
    filler.unlink()


def unplug(sites: list[Site], chance: Random) -> None:
    """A cable is pulled out and plugged in again."""
    victim = chance.choice(sites)
    victim.machine.set_cable(plugged=False)
    work(sites, chance, chance.uniform(2, 30))
    victim.machine.set_cable(plugged=True)


# --- what is measured ------------------------------------------------------------------------------------------------


def sample(site: Site) -> None:
    daemon = site.computer.daemon
    assert daemon is not None
    process = Path(f"/proc/{daemon.pid}")
    pages = int((process / "statm").read_text().split()[1])
    site.samples.memory.append(pages * os.sysconf("SC_PAGE_SIZE"))
    site.samples.descriptors.append(len(list((process / "fd").iterdir())))


def demand_flat(site: Site) -> str:
    """The last quarter of the samples is not above the second one, but for what noise there is."""
    name, samples = site.computer.name, site.samples
    memory, descriptors = _quarters(samples.memory), _quarters(samples.descriptors)
    if memory[1] > memory[0] + MEMORY_SLACK_BYTES or descriptors[1] > descriptors[0] + DESCRIPTOR_SLACK:
        raise Disappointment(
            f"{name} grows: memory {memory[0]:.0f} to {memory[1]:.0f} bytes, descriptors {descriptors}"
        )
    return f"{name}: {memory[1] / (1 << 20):.0f} MiB, {descriptors[1]:.0f} descriptors"


def _quarters(values: list[int]) -> tuple[float, float]:
    quarter = len(values) // 4
    return statistics.median(values[quarter : 2 * quarter]), statistics.median(values[-quarter:])


# --- computers -------------------------------------------------------------------------------------------------------


@contextmanager
def _sites(place: Path, book: RealBook, chance: Random) -> Iterator[list[Site]]:
    with ExitStack() as stack:
        machines = stack.enter_context(switched_machines(3))
        sites = []
        for name, machine in zip(("anna", "ben", "carla"), machines, strict=True):
            disk = stack.enter_context(_disk(place / name / "disk"))
            config = f'[network]\nlisten = ["{machine.host}:{PORT}"]\ndiscovery = false\n'
            inside = tuple(machine.command())
            computer = Computer(name, place / name, disk / "Notes", PORT, config=config, inside=inside)
            stack.callback(computer.stop)
            computer.folder.mkdir(parents=True)
            person = Person(computer.folder, disk / "aside", book, Random(f"{chance.random()} {name}"))
            sites.append(Site(computer, machine, person, disk))
        yield sites


@contextmanager
def _disk(place: Path) -> Iterator[Path]:
    place.mkdir(parents=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={DISK_BYTES}", "tmpfs", str(place)], check=True)
    try:
        yield place
    finally:
        subprocess.run(["umount", "-l", str(place)], check=False)
