"""A disk that refuses in the middle of a conversion, files that a person made read-only, keys from elsewhere."""

from __future__ import annotations

import errno
import os
import stat
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from ca import homekey, keyfiles, privatefiles
from ca.custody import Custody
from ca.errors import ConfigError
from syncd.methods.linkcert import open_certificate
from tests.helpers.rosters import seeded

PASSPHRASE = "nine tall ships sail"


@pytest.fixture(autouse=True)
def cheap(monkeypatch: pytest.MonkeyPatch) -> None:
    """The lock says itself what a guess costs."""
    monkeypatch.setattr(homekey, "_MEMORY_KIB", 256)
    monkeypatch.setattr(homekey, "_PASSES", 1)


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """With all three secret files, in the open."""
    keyfiles.load_or_create(tmp_path, seeded("device"))
    keyfiles.load_or_create_recovery(tmp_path, seeded("recovery"))
    open_certificate(tmp_path, None, ["anna-laptop"], time.time(), os.urandom)
    return tmp_path


def locked(home: Path) -> Custody:
    device = keyfiles.load_or_create(home, seeded("another")).id
    custody = Custody.open(home, seeded("home key"))
    custody.protect(PASSPHRASE, device)
    return custody


def names_in(home: Path) -> list[str]:
    return sorted(path.name for path in (home / "keys").iterdir())


def everything_in(home: Path) -> bytes:
    return b"".join(path.read_bytes() for path in sorted((home / "keys").iterdir()))


def full_after(calls: int, real: Callable[[int], None]) -> Callable[[int], None]:
    left = [calls]

    def fsync(descriptor: int) -> None:
        left[0] -= 1
        if left[0] < 0:
            raise OSError(errno.ENOSPC, "No space left on device")
        real(descriptor)

    return fsync


@pytest.mark.parametrize("calls", range(1, 6))
def test_removal_that_the_disk_refuses_leaves_nothing_in_the_open(
    home: Path, calls: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not even until the next start: nobody starts a computer again that was stolen."""
    sign = keyfiles.load_or_create(home, seeded("another")).sign_seed
    custody = locked(home)
    with monkeypatch.context() as patched, pytest.raises(ConfigError):
        patched.setattr(os, "fsync", full_after(calls, os.fsync))
        custody.release(PASSPHRASE)
    assert custody.is_protected and custody.key is not None
    assert names_in(home) == ["device.key", "links.pem", "lock", "recovery.key"]
    assert sign not in everything_in(home)


def test_removal_whose_last_step_cannot_be_flushed_is_one(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    keys, recovery = keyfiles.load_or_create(home, seeded("another")), keyfiles.load_recovery(home)
    custody = locked(home)
    real = privatefiles.sync_directory

    def refuse(path: Path) -> None:
        if not (home / "keys" / "lock").exists():
            raise OSError(errno.EIO, "Input/output error")
        real(path)

    with monkeypatch.context() as patched, pytest.raises(ConfigError):
        patched.setattr(privatefiles, "sync_directory", refuse)
        custody.release(PASSPHRASE)
    assert not custody.is_protected and custody.key is None
    assert names_in(home) == ["device.key", "links.pem", "recovery.key"]
    assert keyfiles.load_or_create(home, seeded("another")).id == keys.id and keyfiles.load_recovery(home) == recovery


def test_old_bytes_that_cannot_be_overwritten_do_not_keep_the_other_keys_in_the_open(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A full file system that writes changes elsewhere refuses the zeros, when the lock is there already."""
    keys, recovery = keyfiles.load_or_create(home, seeded("another")), keyfiles.load_recovery(home)
    custody = Custody.open(home, seeded("home key"))

    def refuse(descriptor: int, content: bytes, offset: int) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patched, pytest.raises(ConfigError):
        patched.setattr(os, "pwrite", refuse)
        custody.protect(PASSPHRASE, keys.id)
    assert custody.is_protected and custody.key is not None
    assert names_in(home) == ["device.key", "links.pem", "lock", "recovery.key"]
    assert recovery is not None
    assert not any(secret in everything_in(home) for secret in (recovery.seed, keys.seal_seed))
    assert keyfiles.load_recovery(home, custody.key) == recovery


def test_lock_whose_directory_cannot_be_flushed_counts_as_the_lock_that_it_is(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    device = keyfiles.load_or_create(home, seeded("another")).id
    custody = Custody.open(home, seeded("home key"))
    real = privatefiles.sync_directory

    def refuse(path: Path) -> None:
        if (home / "keys" / "lock").exists():
            raise OSError(errno.EIO, "Input/output error")
        real(path)

    with monkeypatch.context() as patched, pytest.raises(ConfigError):
        patched.setattr(privatefiles, "sync_directory", refuse)
        custody.protect(PASSPHRASE, device)
    assert custody.is_protected and custody.key is not None and not custody.is_locked
    assert Custody.open(home, seeded("again")).is_locked
    assert keyfiles.load_or_create(home, seeded("another"), custody.key).id == device


def test_keys_that_a_person_made_read_only_are_locked_all_the_same(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The mode stops root as well here, as it stops everybody else."""
    real = os.open

    def strict(path: Path, flags: int, mode: int = 0o777) -> int:
        if flags & os.O_WRONLY and os.path.exists(path) and not os.stat(path).st_mode & stat.S_IWUSR:
            raise PermissionError(errno.EACCES, "Permission denied")
        return real(path, flags, mode)

    monkeypatch.setattr(os, "open", strict)
    for path in (home / "keys").iterdir():
        path.chmod(0o400)
    device = keyfiles.load_or_create(home, seeded("another")).id
    custody = locked(home)
    (home / "keys" / "lock").chmod(0o400)
    custody.change(PASSPHRASE, PASSPHRASE[::-1])
    again = Custody.open(home, seeded("again"))
    again.unlock(PASSPHRASE[::-1])
    assert keyfiles.load_or_create(home, seeded("another"), again.key).id == device
    again.release(PASSPHRASE[::-1])
    assert keyfiles.load_or_create(home, seeded("another")).id == device
    assert names_in(home) == ["device.key", "links.pem", "recovery.key"]


def test_only_what_syncd_left_behind_is_taken_away(home: Path) -> None:
    place = home / "keys"
    others = [".gitignore", ".nfs000000000abc", ".note of a person"]
    for name in (*others, ".device.key.0123456789abcdef", ".links.pem.new"):
        (place / name).write_bytes(b"something")
    Custody.open(home, seeded("home key"))
    assert [name for name in names_in(home) if name[0] == "."] == others


def test_device_key_of_somebody_else_is_not_taken_in(home: Path) -> None:
    """The lock says whose keys are behind it: with the passphrase nobody becomes another device."""
    locked(home)
    keyfiles.load_or_create(home / "other", seeded("other"))
    (home / "keys" / "device.key").unlink()
    (home / "other" / "keys" / "device.key").rename(home / "keys" / "device.key")
    custody = Custody.open(home, seeded("again"))
    with pytest.raises(ConfigError) as told:
        custody.unlock(PASSPHRASE)
        keyfiles.load_or_create(home, seeded("another"), custody.key)
    assert told.value.id == "SY-KEY-01"


def test_machine_without_the_memory_says_so(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    locked(home)

    class Poor:
        def __init__(self, **_: object) -> None: ...

        def derive(self, typed: bytes) -> bytes:
            raise MemoryError("Not enough memory to derive key.")

    monkeypatch.setattr(homekey, "Argon2id", Poor)
    with pytest.raises(ConfigError) as told:
        Custody.open(home, seeded("again")).unlock(PASSPHRASE)
    assert told.value.id == "SY-KEY-03" and "memory" in told.value.what
