"""Every file system call of a conversion is a moment at which the program is killed; what is left has to open with
exactly one of the two: the old way or the new one."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from ca import homekey, keyfiles, privatefiles
from ca.custody import LINKS_FILE, Custody
from ca.device import DeviceKeys
from ca.errors import ConfigError
from ca.homekey import is_sealed
from syncd.methods.linkcert import open_certificate
from tests.helpers.rosters import seeded

OLD, NEW = "nine tall ships sail", "eight small boats sink"
CALLS = ("open", "fsync", "replace", "rename", "link", "unlink", "pwrite")


@pytest.fixture(autouse=True)
def cheap(monkeypatch: pytest.MonkeyPatch) -> None:
    """The lock says itself what a guess costs."""
    monkeypatch.setattr(homekey, "_MEMORY_KIB", 256)
    monkeypatch.setattr(homekey, "_PASSES", 1)


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """With all three secret files, in the open."""
    place = tmp_path / "home"
    keyfiles.load_or_create(place, seeded("device"))
    keyfiles.load_or_create_recovery(place, seeded("recovery"))
    open_certificate(place, None, ["anna-laptop"], time.time(), os.urandom)
    return place


def identity(home: Path) -> DeviceKeys:
    return keyfiles.load_or_create(home, seeded("another"))


def secrets_of(home: Path) -> list[bytes]:
    """What must not be found in a home whose keys are locked."""
    keys, recovery = identity(home), keyfiles.load_recovery(home)
    assert recovery is not None
    pem = (home / "keys" / LINKS_FILE).read_bytes().split(b"-----BEGIN PRIVATE KEY-----\n")[1]
    return [keys.sign_seed, keys.seal_seed, keys.tls_seed, recovery.seed, pem[:40]]


def everything_in(home: Path) -> bytes:
    return b"".join(path.read_bytes() for path in sorted(home.rglob("*")) if path.is_file())


def locked(home: Path, passphrase: str = OLD) -> Custody:
    custody = Custody.open(home, seeded("home key"))
    custody.protect(passphrase, identity(home).id)
    return custody


class Killed(BaseException):
    """kill -9: nothing of the program runs after it, so no call reaches the disk any more either."""


@contextmanager
def killed_at(number: int, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[int]]:
    """The program dies just before its call of this number."""
    count = [0]

    def mortal(call: Callable[..., object]) -> Callable[..., object]:
        def do(*arguments: object, **named: object) -> object:
            count[0] += 1
            if count[0] >= number:
                raise Killed
            return call(*arguments, **named)

        return do

    with monkeypatch.context() as patched:
        for name in CALLS:
            patched.setattr(os, name, mortal(getattr(os, name)))
        yield count


def every_kill(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, convert: Callable[[Custody], None], said: str | None
) -> Iterator[Path]:
    """Homes as kills left them, one for each call of a conversion, and in the end one that was not killed."""
    number = 0
    while True:
        number += 1
        left = tmp_path / f"killed-{number}"
        shutil.copytree(home, left)
        custody = Custody.open(left, seeded("home key"))
        if said is not None:
            custody.unlock(said)
        try:
            with killed_at(number, monkeypatch):
                convert(custody)
        except Killed:
            yield left
            continue
        assert number > 5  # it was really killed
        yield left
        return


def opens_with(home: Path) -> str | None:
    """The one passphrase that opens it; None: it opens without one. Fails if there are two ways, or none."""
    custody = Custody.open(home, seeded("again"))
    if not custody.is_protected:
        assert not any(is_sealed(path.read_bytes()) for path in (home / "keys").iterdir())
        return None
    with pytest.raises(ConfigError) as told:
        identity(home)
    assert told.value.id == "SY-KEY-10"
    ways = []
    for passphrase in (OLD, NEW):
        try:
            custody.unlock(passphrase)
        except ConfigError as error:
            assert error.id == "SY-KEY-11"
        else:
            ways.append(passphrase)
    assert len(ways) == 1
    return ways[0]


def loads(home: Path, way: str | None) -> bytes:
    """All secrets, opened, as one value to compare."""
    custody = Custody.open(home, seeded("again"))
    if way is not None:
        custody.unlock(way)
    device = keyfiles.load_or_create(home, seeded("another"), custody.key)
    recovery = keyfiles.load_recovery(home, custody.key)
    assert recovery is not None
    links = (home / "keys" / LINKS_FILE).read_bytes()
    return device.sign_seed + recovery.seed + (links if custody.key is None else custody.key.open(LINKS_FILE, links))


def test_nothing_secret_is_readable_without_the_passphrase(home: Path) -> None:
    secrets, before = secrets_of(home), loads(home, None)
    locked(home)
    found = everything_in(home)
    assert not [secret for secret in secrets if secret in found]
    assert opens_with(home) == OLD
    assert loads(home, OLD) == before
    with pytest.raises(ConfigError):
        keyfiles.load_recovery(home)
    with pytest.raises(ConfigError):
        keyfiles.read_all(home)


def test_modes_stay_tight(home: Path) -> None:
    locked(home)
    assert {path.name: oct(path.stat().st_mode & 0o777) for path in (home / "keys").iterdir()} == dict.fromkeys(
        ("device.key", "links.pem", "lock", "recovery.key"), "0o600"
    )


@pytest.mark.long
def test_killed_at_any_call_while_locking(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    secrets, before = secrets_of(home), loads(home, None)
    device, ways = identity(home).id, []
    for left in every_kill(home, tmp_path, monkeypatch, lambda custody: custody.protect(OLD, device), None):
        ways.append(opens_with(left))
        if ways[-1] is not None:
            found = everything_in(left)
            assert not [secret for secret in secrets if secret in found]
        assert loads(left, ways[-1]) == before
        assert sorted(path.name for path in (left / "keys").iterdir() if path.name != "lock") == [
            "device.key",
            "links.pem",
            "recovery.key",
        ]
    assert ways == sorted(ways, key=lambda way: way is not None)  # first the old way, then the new one
    assert set(ways) == {None, OLD}


@pytest.mark.long
def test_killed_at_any_call_while_removing_the_passphrase(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    secrets, before = secrets_of(home), loads(home, None)
    locked(home)
    ways = []
    for left in every_kill(home, tmp_path, monkeypatch, lambda custody: custody.release(OLD), OLD):
        ways.append(opens_with(left))
        if ways[-1] is not None:
            found = everything_in(left)
            assert not [secret for secret in secrets if secret in found]
        assert loads(left, ways[-1]) == before
    assert ways == sorted(ways, key=lambda way: way is None)
    assert set(ways) == {None, OLD}


def test_killed_at_any_call_while_changing_the_passphrase(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = loads(home, None)
    locked(home)
    sealed = (home / "keys" / "device.key").read_bytes()
    ways = []
    for left in every_kill(home, tmp_path, monkeypatch, lambda custody: custody.change(OLD, NEW), OLD):
        ways.append(opens_with(left))
        assert loads(left, ways[-1]) == before
        assert (left / "keys" / "device.key").read_bytes() == sealed  # only the lock was written anew
    assert ways == sorted(ways, key=lambda way: way == NEW)
    assert set(ways) == {OLD, NEW}


def test_disk_that_refuses_leaves_the_old_way_and_a_second_try_works(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before, custody = loads(home, None), Custody.open(home, seeded("home key"))
    device = identity(home).id
    written = [0]
    real = os.fsync

    def full(descriptor: int) -> None:
        written[0] += 1
        if written[0] > 3:  # the first secret file is ready by then
            raise OSError(28, "No space left on device")
        real(descriptor)

    with monkeypatch.context() as patched, pytest.raises(ConfigError):
        patched.setattr(os, "fsync", full)
        custody.protect(NEW, device)
    custody.protect(OLD, device)
    assert opens_with(home) == OLD
    assert loads(home, OLD) == before


def test_new_secrets_of_a_locked_home_are_sealed(tmp_path: Path) -> None:
    keyfiles.load_or_create(tmp_path, seeded("device"))
    custody = locked(tmp_path)
    made = keyfiles.load_or_create_recovery(tmp_path, seeded("recovery"), custody.key)
    assert made.seed not in everything_in(tmp_path)
    assert keyfiles.load_recovery(tmp_path, custody.key) == made


def test_key_that_somebody_put_there_in_the_open_is_sealed_with_the_next_unlocking(home: Path) -> None:
    recovery = (home / "keys" / "recovery.key").read_bytes()
    locked(home)
    (home / "keys" / "recovery.key").unlink()
    privatefiles.replace(home / "keys" / "recovery.key", recovery, seeded("put back"))
    custody = Custody.open(home, seeded("again"))
    custody.unlock(OLD)
    assert recovery not in everything_in(home)


def test_passphrase_that_was_right_once_lets_no_other_in_when_unlocking_failed(home: Path) -> None:
    locked(home)
    links = home / "keys" / LINKS_FILE
    links.unlink()
    links.write_bytes(b"in the open, and no key")
    links.chmod(0o600)
    custody = Custody.open(home, seeded("again"))
    with pytest.raises(ConfigError) as told:
        custody.unlock(OLD)
    assert told.value.id == "SY-KEY-01" and custody.is_locked and custody.key is None


def test_files_of_others_beside_the_keys_are_named(home: Path) -> None:
    (home / "keys" / "device.key.bak").write_bytes(b"a copy that somebody made")
    assert locked(home).others() == ["device.key.bak"]


def test_lock_that_is_gone_is_an_error_and_no_new_identity(home: Path) -> None:
    locked(home)
    (home / "keys" / "lock").rename(home / "aside")
    Custody.open(home, seeded("again"))
    with pytest.raises(ConfigError) as told:
        identity(home)
    assert told.value.id == "SY-KEY-01" and "lock" in told.value.why
    (home / "aside").rename(home / "keys" / "lock")
    assert opens_with(home) == OLD


def test_device_key_that_is_gone_from_a_locked_home_is_an_error_and_no_new_identity(home: Path) -> None:
    custody = locked(home)
    (home / "keys" / "device.key").unlink()
    with pytest.raises(ConfigError) as told:
        keyfiles.load_or_create(home, seeded("another"), custody.key)
    assert told.value.id == "SY-KEY-01"


def test_copy_of_a_key_under_another_name_is_not_overwritten(home: Path) -> None:
    """A backup made of hard links shares the bytes."""
    kept, before = home / "my-copy", (home / "keys" / "device.key").read_bytes()
    os.link(home / "keys" / "device.key", kept)
    locked(home)
    assert kept.read_bytes() == before


def test_bytes_of_a_key_that_was_sealed_are_overwritten(home: Path) -> None:
    with (home / "keys" / "device.key").open("rb") as held:
        locked(home)
        assert held.read().strip(b"\0") == b""


def test_passphrase_cannot_be_set_twice_nor_changed_where_there_is_none(home: Path) -> None:
    custody = Custody.open(home, seeded("home key"))
    refusals: list[Callable[[], None]] = [
        lambda: custody.change(OLD, NEW),
        lambda: custody.release(OLD),
        lambda: custody.unlock(OLD),
    ]
    for wrong in refusals:
        with pytest.raises(ConfigError) as told:
            wrong()
        assert told.value.id == "SY-KEY-13"
    custody.protect(OLD, identity(home).id)
    with pytest.raises(ConfigError) as told:
        custody.protect(NEW, identity(home).id if custody.key is None else custody.device())
    assert told.value.id == "SY-KEY-13"
    refusals = [lambda: custody.change(NEW, OLD), lambda: custody.release(NEW), lambda: custody.check(NEW)]
    for refused in refusals:
        with pytest.raises(ConfigError) as told:
            refused()
        assert told.value.id == "SY-KEY-11"
    assert opens_with(home) == OLD


def test_file_that_is_no_key_stops_the_locking_and_nothing_is_changed(home: Path) -> None:
    (home / "keys" / LINKS_FILE).write_bytes(b"nothing of the kind")
    custody, device = Custody.open(home, seeded("home key")), identity(home).id
    with pytest.raises(ConfigError) as told:
        custody.protect(OLD, device)
    assert told.value.id == "SY-KEY-01" and LINKS_FILE in told.value.what
    assert opens_with(home) is None and identity(home).id == device
