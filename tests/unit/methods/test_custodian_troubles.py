"""A disk that refuses while the passphrase is set or removed, and folders that are made meanwhile."""

from __future__ import annotations

import errno
import os
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from ca import homekey, keyfiles, privatefiles
from ca.custody import Custody
from ca.errors import ConfigError
from ca.ids import DeviceId, FolderId, MemberId
from ca.roles import ALL_CAPABILITIES, Capability, Role
from ca.state import Member, Status
from syncd.daemon.app import Daemon
from syncd.daemon.beginning import create_folder
from syncd.daemon.devicedb import DeviceDb
from syncd.daemon.installation import Installation
from syncd.methods.custodian import AtStake, Custodian, at_stake
from syncd.workers import ThreadWorkers
from tests.helpers.memberships import RunClock, SeededRandom
from tests.helpers.rosters import keys_of, seeded

PASSPHRASE = "nine tall ships sail"
FOLDER, SECRET = FolderId(b"f" * 32), b"the secret of a link, 16 or more"


@dataclass
class Household:
    """Of the daemon what a custodian asks for."""

    installation: Installation
    folders: tuple[()] = field(default=())


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Installation:
    """With an open invitation."""
    monkeypatch.setattr(homekey, "_MEMORY_KIB", 256)
    monkeypatch.setattr(homekey, "_PASSES", 1)
    keys = keyfiles.load_or_create(tmp_path, os.urandom)
    custody, random = Custody.open(tmp_path, os.urandom), SeededRandom(seeded("random"))
    db = DeviceDb.open_in(tmp_path)
    db.put_invite(b"a" * 8, FOLDER, SECRET)
    return Installation(keys, db, ThreadWorkers(), RunClock(), random, tmp_path, custody=custody)


def custodian(own: Installation) -> Custodian:
    return Custodian(cast(Daemon, Household(own)))


async def silent(progress: Any) -> None:
    """There is nothing to tell."""


async def lock(own: Installation) -> dict[str, Any]:
    return await custodian(own).lock({"passphrase": PASSPHRASE, "dry_run": False}, silent)


async def remove(own: Installation) -> dict[str, Any]:
    return await custodian(own).passphrase({"passphrase": PASSPHRASE, "new": None, "dry_run": False}, silent)


def everything_in(own: Installation) -> bytes:
    assert own.home is not None
    return b"".join(path.read_bytes() for path in sorted(own.home.rglob("*")) if path.is_file())


def refuse_when(refuses: Callable[[], bool], monkeypatch: pytest.MonkeyPatch) -> None:
    real = privatefiles.sync_directory

    def sync(path: Path) -> None:
        if refuses():
            raise OSError(errno.EIO, "Input/output error")
        real(path)

    monkeypatch.setattr(privatefiles, "sync_directory", sync)


async def test_removal_that_the_disk_refuses_leaves_no_invitation_in_the_open(
    own: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    await lock(own)
    assert SECRET not in everything_in(own)
    with monkeypatch.context() as patched, pytest.raises(ConfigError):
        refuse_when(lambda: True, patched)
        await remove(own)
    assert own.home_key is not None and SECRET not in everything_in(own)
    await own.on_disk(own.db.put_invite, b"b" * 8, FOLDER, SECRET[::-1])
    assert SECRET[::-1] not in everything_in(own)
    assert await own.on_disk(own.db.invites) == [SECRET, SECRET[::-1]]
    assert (await remove(own))["passphrase"] is False
    assert await own.on_disk(own.db.invites) == [SECRET, SECRET[::-1]]
    assert SECRET in everything_in(own)


async def test_lock_that_the_disk_let_in_but_does_not_flush_seals_invitations_too(
    own: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert own.home is not None
    there = own.home / "keys" / "lock"
    with monkeypatch.context() as patched, pytest.raises(ConfigError):
        refuse_when(there.exists, patched)
        await lock(own)
    assert own.home_key is not None and SECRET not in everything_in(own)


async def test_recovery_key_made_while_the_passphrase_is_removed_is_no_longer_sealed(own: Installation) -> None:
    """What is queued behind the removal must not seal it by a key that nobody has any more."""
    assert own.home is not None and own.custody is not None
    await lock(own)
    busy = threading.Event()

    async def make() -> None:
        await create_folder(own, folder_name="Photos", member_name="ann", device_name="laptop")

    async def keep_busy() -> None:
        await own.on_disk(busy.wait)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(keep_busy)
        await wait_all_tasks_blocked()
        nursery.start_soon(remove, own)
        await wait_all_tasks_blocked()
        nursery.start_soon(make)
        await wait_all_tasks_blocked()
        busy.set()
    assert not own.custody.is_protected
    assert keyfiles.load_recovery(own.home) is not None


async def test_second_of_two_who_lock_at_once_is_told_that_there_is_a_passphrase(own: Installation) -> None:
    """And not that the keys are locked: they are open, and `key unlock` would do nothing."""
    assert own.home is not None and own.custody is not None
    keyfiles.load_or_create_recovery(own.home, os.urandom)
    busy, custody, refused = threading.Event(), own.custody, []

    async def other() -> None:
        try:
            await lock(own)
        except ConfigError as error:
            refused.append(error.id)

    async def first() -> None:
        await own.on_disk(custody.protect, PASSPHRASE, own.id)

    async def keep_busy() -> None:
        await own.on_disk(busy.wait)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(keep_busy)
        await wait_all_tasks_blocked()
        nursery.start_soon(first)
        await wait_all_tasks_blocked()
        nursery.start_soon(other)
        await wait_all_tasks_blocked()
        busy.set()
    assert refused == ["SY-KEY-13"]


async def test_database_that_was_set_aside_is_said_to_be_readable(own: Installation) -> None:
    assert own.home is not None
    (own.home / "device.db.broken-1").write_bytes(SECRET)
    (own.home / "device.db.broken-1-wal").write_bytes(b"")
    (own.home / "folder-00.db.broken-1").write_bytes(b"names")
    done = await lock(own)
    assert done["left_open"] == ["open invitations in device.db.broken-1, which was set aside"]


def member(name: str, role: Role, can: Capability = ALL_CAPABILITIES, **other: Any) -> Member:
    keys = keys_of(name)
    given = {"status": Status.ACTIVE, "until": None, **other}
    return Member(
        MemberId(keys.id), name.encode(), role, can, given["status"], 0, {keys.id: keys.public}, {}, given["until"]
    )  # fmt: skip


@pytest.mark.parametrize(
    ("others", "expected"),
    [
        ([], (0, False)),
        ([member("ben", Role.EDITOR)], (1, False)),
        ([member("ben", Role.OWNER)], (1, True)),
        ([member("ben", Role.VAULT, Capability.NONE)], (0, False)),
        ([member("ben", Role.ADMIN, Capability.ADMIT)], (0, False)),
        ([member("ben", Role.OWNER, status=Status.SUSPENDED)], (0, False)),
        ([member("ben", Role.VIEWER, until=50)], (0, False)),
        ([member("ben", Role.VIEWER, until=5000), member("carl", Role.VAULT, Capability.NONE)], (1, False)),
    ],
)
def test_only_who_can_read_a_folder_counts_as_another_that_has_it(
    others: list[Member], expected: tuple[int, bool]
) -> None:
    own = member("ann", Role.OWNER)
    assert at_stake("Photos", [own, *others], DeviceId(keys_of("ann").id), 100) == AtStake("Photos", *expected)
