"""Async. Devices and their memberships in one process: real rosters, real HPKE, databases in memory or in a home."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar, TypeVarTuple

import trio

from ca.authority import HPKE
from ca.ids import FolderId
from ca.recovery import generate
from ca.roles import Role
from ca.wraps import Sealer
from syncd.daemon.beginning import create_folder, join_folder, load_folder
from syncd.daemon.devicedb import DeviceDb
from syncd.daemon.installation import Installation
from syncd.daemon.membership import FolderMembership
from syncd.engine.membership import Update
from syncd.protocol.invitation import Admission, Offer
from syncd.protocol.messages import RosterPage, RosterSubmit
from syncd.seams import Lane
from tests.helpers.rosters import NOW, keys_of, seeded

Result = TypeVar("Result")
Arguments = TypeVarTuple("Arguments")


class InlineWorkers:
    """Runs what it is given at once: a jumping clock then never sees a thread in flight."""

    async def run_blocking(
        self, function: Callable[[*Arguments], Result], *arguments: *Arguments, lane: Lane | None = None
    ) -> Result:
        await trio.lowlevel.checkpoint()
        return function(*arguments)


@dataclass(slots=True)
class RunClock:
    """Wall time that goes with trio's clock, and can be set ahead."""

    ahead_s: float = 0.0

    def now(self) -> float:
        return NOW + trio.current_time() % 1e6 + self.ahead_s

    def monotonic(self) -> float:
        return trio.current_time()


@dataclass(slots=True)
class SeededRandom:
    """Randomness that repeats."""

    draw: Callable[[int], bytes]

    def token(self, length: int) -> bytes:
        return self.draw(length)


@dataclass(slots=True)
class Devices:
    """Installations by name. Those with a home keep their database there."""

    clock: RunClock = field(default_factory=RunClock)

    def device(self, name: str, *, home: Path | None = None, sealer: Sealer = HPKE) -> Installation:
        db = DeviceDb.open(_in_memory, lambda: "aside") if home is None else DeviceDb.open_in(home)
        return Installation(
            keys_of(name), db, InlineWorkers(), self.clock, SeededRandom(seeded(f"random of {name}")), home, sealer
        )


def _in_memory() -> sqlite3.Connection:
    return sqlite3.connect(":memory:", check_same_thread=False)


async def new_folder(own: Installation, name: str = "ann") -> FolderMembership:
    recovery = generate(seeded("recovery")).public
    return await create_folder(
        own, folder_name="Photos", member_name=name, device_name=f"{name}'s laptop", recovery=recovery
    )


def offer_of(inviter: FolderMembership, own: Installation, role: Role = Role.EDITOR) -> Offer:
    head = inviter.head_at
    return Offer(own.keys.public, "ann", inviter.folder_id, "Photos", role, head.hash, head.number, 0, 0, True)


def admission_of(inviter: FolderMembership, own: Installation) -> Admission:
    page = inviter.page_for(own.id, inviter.roster.number)
    assert page is not None and page.wrap is not None and page.proof is not None
    return Admission(tuple(inviter.roster.raw_after(-1)), page.wrap, page.proof)


async def bring_in(
    inviter: FolderMembership, host: Installation, guest: Installation, name: str, role: Role = Role.EDITOR
) -> FolderMembership:
    """Admit a device, and begin its membership there."""
    offer = offer_of(inviter, host, role)
    await inviter.admit(guest.keys.public, name, role)
    return await join_folder(guest, offer, admission_of(inviter, guest))


async def tell(one: FolderMembership, other: FolderMembership) -> Update:
    """`other` asks `one` for what it lacks, and shows it what forks left behind."""

    async def fetch(after: int) -> RosterPage:
        page = one.page_for(other.device, after)
        assert page is not None
        return RosterPage.decode_untrusted(page.encode())

    update = await other.catch_up(fetch, one.head_at)
    for raw in other.roster.stray():
        await one.submit_untrusted(RosterSubmit(raw))
    return update


async def restarted(own: Installation, folder: FolderId) -> FolderMembership:
    """The membership as a new process reads it from the same database."""
    return await load_folder(own, folder)
