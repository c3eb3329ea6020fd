"""Blocking. Who can open the secret files of a home: whoever reads them, or only who knows its passphrase.

The file `lock` decides. While it is there, every secret file beside it is sealed by the home key (`ca.homekey`), which
the lock gives to the passphrase. Going from one to the other is one step for whoever looks at it later, whenever the
program is killed:

1. every secret file is written anew in its other form as NAME.next, and all of that is made durable;
2. the lock appears, or goes: from that moment the home opens in the new way and in no other;
3. each NAME.next takes its name.

`Custody.open` ends what was begun: a NAME.next whose form fits takes its name, one that does not is taken away. So
before step 2 everything is as it was, and after it everything is done.

What is overwritten or removed on the way is filled with zeros first where nobody else has a name for it. That reaches
the old bytes on a plain disk with a file system that writes in place, and not on most others.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Final

from ca import privatefiles
from ca.errors import ConfigError
from ca.homekey import HomeKey, is_sealed, locked_device, make_lock, open_lock
from ca.ids import DeviceId
from ca.keyfiles import DEVICE_FILE, KEYS_DIRECTORY, LOCK_FILE, RECOVERY_FILE, is_protected, load_or_create

LINKS_FILE: Final = "links.pem"
SECRET_FILES: Final = (DEVICE_FILE, RECOVERY_FILE, LINKS_FILE)
_NEXT: Final = ".next"
_KEY_BYTES: Final = 32

Random = Callable[[int], bytes]


class Custody:
    """The secret files of one home. `key` seals them; None while there is no passphrase, or it was not said yet.

    Calls run one at a time: the daemon makes them in the lane of the device's database.
    """

    def __init__(self, home: Path, random: Random) -> None:
        self.key: HomeKey | None = None
        self._home = home
        self._place = home / KEYS_DIRECTORY
        self._random = random

    @classmethod
    def open(cls, home: Path, random: Random) -> Custody:
        """End what was begun when the program was killed. The caller holds the home. Raises ConfigError."""
        found = cls(home, random)
        try:
            if found._place.is_dir():
                privatefiles.remove_strays(found._place)
                found._settle()
        except OSError as error:
            raise privatefiles.unreachable(found._place, error) from error
        return found

    @property
    def is_protected(self) -> bool:
        """Whether there is a passphrase."""
        return is_protected(self._home)

    @property
    def is_locked(self) -> bool:
        """Whether there is a passphrase that was not said yet."""
        return self.key is None and self.is_protected

    def others(self) -> list[str]:
        """Files beside the secret ones that somebody else put there; they stay as they are."""
        ours = {*SECRET_FILES, LOCK_FILE}
        return sorted(path.name for path in self._place.iterdir() if path.name not in ours)

    def device(self) -> DeviceId:
        """Whose keys are locked. Raises ConfigError SY-KEY-01."""
        return locked_device(self._read_lock())

    def unlock(self, passphrase: str) -> None:
        """Open the home key; a secret file that somebody put there in the open is sealed. Raises ConfigError
        SY-KEY-11 for another passphrase, SY-KEY-01 for a lock that is damaged, or if the keys are of another device."""
        key = open_lock(self._read_lock(), passphrase)
        if load_or_create(self._home, self._random, key).id != self.device():
            raise self._damaged(DEVICE_FILE)
        for name, content in self._secrets():
            if not is_sealed(content):
                privatefiles.replace(self._place / name, self._sealed(key, name, content), self._random)
        self.key = key

    def protect(self, passphrase: str, device: DeviceId) -> None:
        """Put the secret files behind a passphrase. Raises ConfigError SY-KEY-12 if it is too short."""
        self._finish()
        if self.is_protected:
            raise ConfigError("the keys of this device have a passphrase", id="SY-KEY-13", fix="syncd key passphrase")
        key = HomeKey(self._random(_KEY_BYTES))
        lock = make_lock(key, passphrase, device, self._random)
        try:
            self._write_next(lambda name, content: self._sealed(key, name, content))
            privatefiles.write_new(self._place / LOCK_FILE, lock, self._random)
        finally:  # a disk that refuses leaves one of the two, too: the lock decides
            self.key = key if is_protected(self._home) else None
            self._finish()

    def change(self, old: str, new: str) -> None:
        """Another passphrase from now on. Raises ConfigError SY-KEY-11, SY-KEY-12."""
        lock = self._read_lock()
        fresh = make_lock(open_lock(lock, old), new, locked_device(lock), self._random)
        privatefiles.replace(self._place / LOCK_FILE, fresh, self._random)

    def check(self, passphrase: str) -> None:
        """Raises ConfigError SY-KEY-11 if it is not the passphrase."""
        open_lock(self._read_lock(), passphrase)

    def release(self, passphrase: str) -> None:
        """Leave the secret files to whoever reads them, as before there was a passphrase. Raises ConfigError."""
        self._finish()
        key = open_lock(self._read_lock(), passphrase)
        try:
            self._write_next(lambda name, content: self._opened(key, name, content))
            privatefiles.remove(self._place / LOCK_FILE)
        except OSError as error:
            raise privatefiles.unreachable(self._place / LOCK_FILE, error) from error
        finally:  # with the lock still there nothing may stay in the open
            self.key = key if is_protected(self._home) else None
            self._finish()

    def _read_lock(self) -> bytes:
        lock = privatefiles.read(self._place / LOCK_FILE)
        if lock is None:
            raise ConfigError("the keys of this device have no passphrase", id="SY-KEY-13", fix="syncd key lock")
        return lock

    def _secrets(self) -> list[tuple[str, bytes]]:
        found = [(name, privatefiles.read(self._place / name)) for name in SECRET_FILES]
        return [(name, content) for name, content in found if content is not None]

    def _write_next(self, other: Callable[[str, bytes], bytes]) -> None:
        for name, content in self._secrets():
            privatefiles.make_writable(self._place / name)  # found out before the lock changes, not after it
            privatefiles.replace(self._place / (name + _NEXT), other(name, content), self._random)

    def _sealed(self, key: HomeKey, name: str, content: bytes) -> bytes:
        try:
            return content if is_sealed(content) else key.seal(name, content)
        except ValueError:
            raise self._damaged(name) from None

    def _opened(self, key: HomeKey, name: str, content: bytes) -> bytes:
        try:
            return key.open(name, content) if is_sealed(content) else content
        except ValueError:
            raise self._damaged(name) from None

    def _damaged(self, name: str) -> ConfigError:
        return ConfigError(
            f"the key file {self._place / name} is damaged",
            id="SY-KEY-01",
            why="its content is not what was written",
            fix="put it back from a backup; links.pem can be moved away, a new one is made",
        )

    def _finish(self) -> None:
        try:
            self._settle()
        except OSError as error:
            raise privatefiles.unreachable(self._place, error) from error

    def _settle(self) -> None:
        """Every file, whatever becomes of another. Raises the first OSError, ConfigError."""
        refused: OSError | None = None
        for name in SECRET_FILES:
            path = self._place / (name + _NEXT)
            content = privatefiles.read(path)
            if content is None:
                continue
            try:
                if is_sealed(content) == self.is_protected:
                    privatefiles.take_name(path, self._place / name)
                else:
                    privatefiles.remove(path)
            except OSError as error:
                refused = refused or error
        if refused is not None:
            raise refused
