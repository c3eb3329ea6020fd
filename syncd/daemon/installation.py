"""Async. This installation: its keys, its database, and the seams that its parts share."""

from __future__ import annotations

import logging
import sqlite3
from collections.abc import Callable, Sequence
from dataclasses import field
from pathlib import Path
from typing import TypeVar, TypeVarTuple

from ca.authority import HPKE, Signer
from ca.certs import device_certificate
from ca.custody import Custody
from ca.device import DeviceKeys
from ca.homekey import HomeKey
from ca.ids import DeviceId, FolderId
from ca.recovery import PublicRecovery
from ca.values import dataclass
from ca.wraps import Sealer
from syncd.daemon.devicedb import DeviceDb
from syncd.engine.brake import USUAL, Measures
from syncd.seams import Clock, Lane, Random, Workers

log = logging.getLogger("syncd.daemon")

Result = TypeVar("Result")
Arguments = TypeVarTuple("Arguments")


@dataclass(frozen=True, slots=True)
class Installation:
    """One device. `home` is None where there is no disk (simulation); then `recovery` has to be given."""

    keys: DeviceKeys
    db: DeviceDb
    workers: Workers
    clock: Clock
    random: Random
    home: Path | None = None
    sealer: Sealer = HPKE
    recovery: PublicRecovery | None = None
    """Who may recover the folders made here; None: the home's recovery key, made when it is first needed."""
    custody: Custody | None = None
    """Who can open the secret files of the home; None where there is no disk."""
    tell_migration: Callable[[str], None] = field(default=lambda line: None, compare=False)
    """Hears, in a worker, how the migration of a database goes."""
    measures: Measures = USUAL
    """From which on changes are a wave that waits for a person."""
    certificate: bytes = field(init=False)
    """DER that this device shows on control connections."""
    _lane: Lane = field(default_factory=lambda: Lane("device"))

    def __post_init__(self) -> None:
        object.__setattr__(self, "certificate", device_certificate(self.keys))

    @property
    def id(self) -> DeviceId:
        return self.keys.id

    @property
    def home_key(self) -> HomeKey | None:
        """What seals the secret files of the home; None where no passphrase locks them."""
        return None if self.custody is None else self.custody.key

    def now_s(self) -> int:
        """Wall clock in whole seconds, as entries and invitations have it."""
        return int(self.clock.now())

    def signer(self) -> Signer:
        """This device, now, as the author of roster entries."""
        return Signer(self.keys, self.now_s(), self.random.token, self.sealer)

    @property
    def book(self) -> AddressBook:
        """Where devices were seen."""
        return AddressBook(self)

    async def keep_copy(self) -> None:
        """Renew the copy of the database. That it cannot be written is no reason to stop: the one before stays."""
        try:
            await self.on_disk(self.db.keep_copy)
        except (OSError, sqlite3.Error) as error:
            log.warning("the copy of the device's database cannot be renewed: %s", error)

    async def on_disk(self, function: Callable[[*Arguments], Result], *arguments: *Arguments) -> Result:
        """Call a method of `db` in its lane."""
        return await self.workers.run_blocking(function, *arguments, lane=self._lane)


@dataclass(frozen=True, slots=True)
class AddressBook:
    """Where devices were seen, for those who dial them. What it says is a hint, never evidence."""

    _installation: Installation

    async def addresses(self, device: DeviceId) -> tuple[str, ...]:
        """`host:port`, the latest first."""
        own = self._installation
        return tuple(entry.address for entry in await own.on_disk(own.db.addresses, device))

    async def note(self, device: DeviceId, addresses: Sequence[str], source: str) -> None:
        """A device was reached at these addresses, or said that it listens there."""
        own = self._installation
        await own.on_disk(own.db.note_addresses, device, addresses, own.clock.now(), source)

    async def seen(self, folder: FolderId, device: DeviceId) -> None:
        """A device of a folder is connected now."""
        own = self._installation
        await own.on_disk(own.db.note_seen, folder, device, own.clock.now())

    async def last_seen(self, folder: FolderId) -> dict[DeviceId, float]:
        """When each device of a folder was last connected; unix seconds."""
        own = self._installation
        return await own.on_disk(own.db.last_seen, folder)
