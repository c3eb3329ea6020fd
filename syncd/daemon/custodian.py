"""Async. The passphrase of this device's keys, as a person sets, changes and removes it; and what is lost with it."""

from __future__ import annotations

import logging
import sqlite3
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import trio

from ca.custody import Custody
from ca.keyfiles import load_recovery
from ca.roles import Role
from ca.state import Status
from syncd.daemon.installation import Installation
from syncd.daemon.running import RunningFolder
from syncd.daemon.tlsfiles import drop_tls_keys
from syncd.daemon.views import Json
from syncd.errors import ConfigError
from syncd.wording import escape

if TYPE_CHECKING:
    from syncd.daemon.app import Daemon

log = logging.getLogger("syncd")

Params = Mapping[str, Any]
Progress = Callable[[Mapping[str, Any]], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class AtStake:
    """A folder, and who else could still open it."""

    name: str
    others: int
    """Other devices that are members."""
    has_other_owner: bool


def loss_warning(folders: Sequence[AtStake]) -> str:
    """What is gone with a passphrase that nobody knows any more. It never says less than is lost."""
    alone = [escape(one.name) for one in folders if not one.others]
    ownerless = [escape(one.name) for one in folders if one.others and not one.has_other_owner]
    told = ["Nobody can reset this passphrase. If it is lost, the keys of this device are lost."]
    if alone:
        told.append(
            f"No other device has {', '.join(alone)}: the files stay on this disk, their past is lost without the "
            "recovery key."
        )
    if ownerless:
        told.append(f"This device is the only owner of {', '.join(ownerless)}: only the recovery key makes another.")
    return " ".join(told)


class Custodian:
    """Methods of the control socket."""

    def __init__(self, daemon: Daemon) -> None:
        self._daemon = daemon

    def state(self) -> Json:
        """What `status` says of the keys."""
        is_protected = self._daemon.installation.home_key is not None
        return {"locked": False, "passphrase": is_protected, "warning": self._warning() if is_protected else None}

    async def unlock(self, params: Params, progress: Progress) -> Json:
        """They are open already; but who asks with a wrong passphrase should not believe that it was the right one."""
        if self._daemon.installation.home_key is not None:
            await self._daemon.installation.on_disk(self._custody.check, params["passphrase"])
        return {"schema": "syncd.key.unlock/1", "unlocked": False}

    async def lock(self, params: Params, progress: Progress) -> Json:
        """Put the keys behind a passphrase. Without one: say what would be lost with it."""
        own, custody = self._daemon.installation, self._custody
        if custody.is_protected:
            raise ConfigError("the keys of this device have a passphrase", id="SY-KEY-13", fix="syncd key passphrase")
        recovery = None if own.home is None else await own.on_disk(load_recovery, own.home)
        left: list[str] = []
        if not params["dry_run"]:
            with trio.CancelScope(shield=True):  # begun is begun, also if nobody waits for the answer any more
                await own.on_disk(custody.protect, params["passphrase"] or "", own.id)
                left = await own.on_disk(seal_the_rest, own)
        return {
            "schema": "syncd.key.lock/1",
            "passphrase": True,
            "warning": self._warning(),
            "recovery_key_here": recovery is not None,
            "left_open": left,
            "dry_run": params["dry_run"],
        }

    async def passphrase(self, params: Params, progress: Progress) -> Json:
        """Another passphrase, or none any more."""
        own, custody = self._daemon.installation, self._custody
        old, new = params["passphrase"], params["new"]
        with trio.CancelScope(shield=True):
            if params["dry_run"]:
                await own.on_disk(custody.check, old)
            elif new is not None:
                await own.on_disk(custody.change, old, new)
            else:
                await own.on_disk(_release, custody, old, own)
        return {
            "schema": "syncd.key.passphrase/1",
            "passphrase": new is not None,
            "warning": None if new is None else self._warning(),
            "dry_run": params["dry_run"],
        }

    @property
    def _custody(self) -> Custody:
        custody = self._daemon.installation.custody
        if custody is None:
            raise ConfigError("this daemon has no home", id="SY-KEY-13")
        return custody

    def _warning(self) -> str:
        return loss_warning([_at_stake(folder) for folder in self._daemon.folders])


def _at_stake(folder: RunningFolder) -> AtStake:
    own = folder.membership.device
    owners = [
        member
        for member in folder.membership.everybody()
        if member.role is Role.OWNER and member.status is Status.ACTIVE
    ]
    others = any(device.id != own for member in owners for device in member.devices)
    return AtStake(folder.name, len(folder.membership.devices()), others)


def seal_the_rest(own: Installation) -> list[str]:
    """Beside the files of keys: seal what lets others in, remove keys that were written for `curl`. Runs in the lane of
    the database, after every unlocking; what could not be done is logged and returned."""
    left: list[str] = []
    todo: tuple[tuple[str, Callable[[], None]], ...] = (
        ("open invitations in device.db", partial(own.db.guard, own.home_key)),
        ("keys that folder show wrote", lambda: None if own.home is None else drop_tls_keys(own.home)),
    )
    for what, do in todo:
        try:
            do()
        except (OSError, sqlite3.Error) as error:
            log.error("%s may still be readable without the passphrase: %s", what, error)
            left.append(what)
    return left


def _release(custody: Custody, passphrase: str, own: Installation) -> None:
    custody.check(passphrase)
    own.db.guard(None)  # if this ends in the middle, the next unlocking seals them again
    custody.release(passphrase)
