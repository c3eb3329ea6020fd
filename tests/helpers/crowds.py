"""Blocking. A folder with very many devices, and a roster with very many entries: what they cost, in CPU seconds."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from ca import authority, device
from ca.authority import HPKE, Newcomer, Signer
from ca.device import DeviceKeys
from ca.recovery import generate
from ca.roles import Role
from ca.roster import Roster
from ca.wraps import Sealer
from syncd.daemon import standing as steps
from syncd.daemon.standing import Standing
from syncd.protocol.messages import RosterPage
from tests.helpers.rosters import NOW, keys_of, seeded
from tests.helpers.sealer import SimulationSealer

Made = TypeVar("Made")


@dataclass(frozen=True, slots=True)
class RosterCosts:
    """What was measured. Seconds of one core; bytes."""

    devices: int
    commands: int
    rotation_s: float
    rotation_bytes: int
    fetched_bytes: int
    took_in_s: float

    def __str__(self) -> str:
        return (
            f"{self.devices} devices by {self.commands} commands; a rotation: {self.rotation_s:.2f} s of one core, "
            f"{self.rotation_bytes / 1e6:.1f} MB; a node fetches {self.fetched_bytes} bytes for it and takes them in "
            f"within {self.took_in_s:.2f} s"
        )


def cpu_s(work: Callable[[], Made]) -> tuple[float, Made]:
    """Seconds of CPU that some work takes, and what it makes."""
    began = time.process_time()
    made = work()
    return time.process_time() - began, made


def measure_roster(commands: int, at_once: int) -> RosterCosts:
    """A folder whose people are admitted `at_once` in one command each time, and then one rotation."""
    owner, sealer = Signer(keys_of("ann"), NOW, seeded("crowd"), SimulationSealer()), HPKE
    made = authority.make_genesis(
        owner,
        folder_name="crowd",
        member_name="ann",
        device_name="ann's",
        recovery=generate(seeded("recovery")).public,
    )
    keys: DeviceKeys | None = None
    for command in range(commands):
        newcomers = []
        for place in range(at_once):
            keys = device.generate(seeded(f"{command} {place}"))
            newcomers.append(Newcomer(f"p{command}-{place}", Role.EDITOR, [(keys.public, "laptop")]))
        made = authority.admit(made.roster, made.secrets, owner, newcomers)
    assert keys is not None and made.wraps is not None
    guest = _guest(made, keys, owner.sealer)
    real = Signer(owner.keys, NOW + 1, owner.random, sealer)
    before = made
    rotation_s, made = cpu_s(lambda: authority.rotate(before.roster, before.secrets, real))
    assert made.wraps is not None
    host = steps.follow(Standing(owner.keys.id, before.roster, before.secrets), made)[0]
    page = host.page_for(keys.id, guest.roster.number)
    assert page is not None
    sent = page.encode()
    took_in_s, (after, _) = cpu_s(
        lambda: steps.receive_untrusted(guest, RosterPage.decode_untrusted(sent), keys, sealer, NOW + 1)
    )
    assert after.is_current and after.is_complete
    size = len(made.entry) + sum(len(wrap) + len(id) for id, wrap in made.wraps.items())
    return RosterCosts(len(made.wraps), commands, rotation_s, size, len(sent), took_in_s)


def _guest(made: authority.Outcome, keys: DeviceKeys, sealer: Sealer) -> Standing:
    """Where the last who was admitted stands."""
    host = steps.follow(Standing(keys_of("ann").id, made.roster, made.secrets), made)[0]
    page = host.page_for(keys.id, made.roster.number)
    assert page is not None
    return steps.receive_untrusted(Standing(keys.id, made.roster), page, keys, sealer, NOW)[0]


def long_chain(entries: int) -> list[bytes]:
    """A roster of so many entries, as it travels: names are changed, and every hundredth entry opens an epoch."""
    owner = Signer(keys_of("ann"), NOW, seeded("chain"), SimulationSealer())
    made = authority.make_genesis(
        owner,
        folder_name="chain",
        member_name="ann",
        device_name="ann's",
        recovery=generate(seeded("recovery")).public,
    )
    for number in range(1, entries):
        if number % 100:
            made = authority.rename_folder(made.roster, made.secrets, owner, f"name {number}")
        else:
            made = authority.rotate(made.roster, made.secrets, owner)
    return made.roster.raw_after(-1)


def verify_s(raws: list[bytes]) -> float:
    """Seconds of CPU to verify a roster from genesis on."""
    seconds, roster = cpu_s(lambda: Roster.from_entries_untrusted(raws))
    assert roster.number == len(raws) - 1
    return seconds
