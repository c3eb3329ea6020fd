"""Async. The passphrase of this device's keys, as a person sets, changes and removes it; and what is lost with it."""

from __future__ import annotations

import logging
import re
import sqlite3
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import trio

from ca.custody import Custody
from ca.ids import DeviceId
from ca.keyfiles import load_recovery
from ca.roles import Role, reads
from ca.state import Member, Status
from ca.values import dataclass
from syncd.daemon.devicedb import DATABASE_NAME
from syncd.daemon.installation import Installation
from syncd.daemon.tlsfiles import drop_tls_keys
from syncd.daemon.views import Json
from syncd.errors import ConfigError
from syncd.wording import escape

if TYPE_CHECKING:
    from syncd.daemon.app import Daemon

log = logging.getLogger("syncd")

_ASIDE: Final = re.compile(rf"{re.escape(DATABASE_NAME)}\.(broken|newer|before)-[0-9]+")

Params = Mapping[str, Any]
Progress = Callable[[Mapping[str, Any]], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class AtStake:
    """A folder, and who else could still open it."""

    name: str
    others: int
    """Other devices of members who read it."""
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
        home = own.home
        recovery = None if home is None else await own.on_disk(lambda: load_recovery(home, own.home_key))
        left: list[str] = []
        if not params["dry_run"]:
            with trio.CancelScope(shield=True):  # begun is begun, also if nobody waits for the answer any more
                left = await own.on_disk(_protect, custody, params["passphrase"] or "", own)
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
        own, now_s = self._daemon.installation.id, self._daemon.installation.now_s()
        return loss_warning(
            [
                at_stake(folder.name, folder.membership.roster.members.values(), own, now_s)
                for folder in self._daemon.folders
            ]
        )


def at_stake(name: str, members: Iterable[Member], own: DeviceId, now_s: int) -> AtStake:
    """Whoever keeps blocks without reading them (a vault) saves nobody's past, and who is suspended lets nobody in."""
    others = [
        (member.role, device)
        for member in members
        if member.status is Status.ACTIVE and not member.has_expired(now_s) and reads(member.role, member.capabilities)
        for device in member.devices
        if device != own
    ]
    return AtStake(name, len(others), any(role is Role.OWNER for role, _ in others))


def _protect(custody: Custody, passphrase: str, own: Installation) -> list[str]:
    """Whatever a disk refuses: once the lock is there, nothing else is left in the open that could be sealed."""
    left: list[str] = []
    try:
        custody.protect(passphrase, own.id)
    finally:
        if custody.key is not None:
            left = seal_the_rest(own)
    return left


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
    return left + _set_aside(own)


def _set_aside(own: Installation) -> list[str]:
    """Databases that broke, or that a rollback replaced. They are a person's: nothing is changed in them."""
    if own.home is None:
        return []
    found = (path.name for path in own.home.glob(f"{DATABASE_NAME}.*") if _ASIDE.fullmatch(path.name))
    left = [f"open invitations in {name}, which was set aside" for name in sorted(found)]
    left += [f"keys/{name}, which somebody put there" for name in ([] if own.custody is None else own.custody.others())]
    for what in left:
        log.warning("%s, may be readable without the passphrase; delete it if nobody needs it", what)
    return left


def _release(custody: Custody, passphrase: str, own: Installation) -> None:
    custody.check(passphrase)
    try:
        own.db.guard(None)  # if this is killed in the middle, the next unlocking seals them again
        custody.release(passphrase)
    finally:
        if custody.key is not None:  # the disk refused, and the passphrase stays
            seal_the_rest(own)
