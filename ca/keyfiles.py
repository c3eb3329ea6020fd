"""Blocking. The private keys of this computer, on its disk.

A key file is mode 0600 from its first byte, in a directory of mode 0700; it is complete or absent (`ca.privatefiles`),
and never overwritten. A file that is damaged, or that others can read, is an error that a person has to settle: it
never leads to a silent new identity. Where a passphrase locks the home (`ca.custody`), what stands in the files is
sealed, and `key` opens it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

from ca import device, privatefiles, recovery
from ca.codec import bytes_of, decode_untrusted, encode, fields_untrusted, uint
from ca.device import KEY_BYTES, SEAL_SEED_BYTES, DeviceKeys
from ca.errors import CodecError, ConfigError
from ca.homekey import HomeKey, is_sealed
from ca.recovery import SEED_BYTES, RecoveryKey

KEYS_DIRECTORY: Final = "keys"
DEVICE_FILE: Final = "device.key"
RECOVERY_FILE: Final = "recovery.key"
LOCK_FILE: Final = "lock"
_MAX_FILE_BYTES: Final = 4096
_FORMAT: Final = 1

Random = Callable[[int], bytes]


def load_or_create(home: Path, random: Random, key: HomeKey | None = None) -> DeviceKeys:
    """This computer's identity, made at the first call. Raises ConfigError when it cannot be read or trusted."""
    path = privatefiles.directory(home / KEYS_DIRECTORY) / DEVICE_FILE
    raw = _read(path, key)
    if raw is None:
        if is_protected(home):
            raise _damaged(path)
        keys = device.generate(random)
        content = encode({1: _FORMAT, 2: keys.sign_seed, 3: keys.seal_seed, 4: keys.tls_seed, 5: bytes(keys.id)})
        raw = privatefiles.write_new(path, content, random)
    return _parse_device(path, raw)


def load_or_create_recovery(home: Path, random: Random, key: HomeKey | None = None) -> RecoveryKey:
    """The recovery key for all folders made on this computer, made at the first call. Raises ConfigError."""
    path = privatefiles.directory(home / KEYS_DIRECTORY) / RECOVERY_FILE
    raw = _read(path, key)
    if raw is None:
        if key is None and is_protected(home):
            raise _locked(path)
        content = _encode_recovery(recovery.generate(random))
        written = privatefiles.write_new(path, content if key is None else key.seal(path.name, content), random)
        raw = _opened(path, written, key)
    return _parse_recovery(path, raw)


def load_recovery(home: Path, key: HomeKey | None = None) -> RecoveryKey | None:
    """The recovery key of this computer, if it ever made a folder and the key was not moved elsewhere since."""
    path = home / KEYS_DIRECTORY / RECOVERY_FILE
    raw = _read(path, key)
    return None if raw is None else _parse_recovery(path, raw)


def is_protected(home: Path) -> bool:
    """Whether the keys of this home are behind a passphrase."""
    return (home / KEYS_DIRECTORY / LOCK_FILE).exists()


def read_all(home: Path, key: HomeKey | None = None) -> list[tuple[str, bytes]]:
    """What is in the key files of this computer, by name, for a backup. Raises ConfigError when one is damaged."""
    directory = home / KEYS_DIRECTORY
    parsers: tuple[tuple[str, Callable[[Path, bytes], object]], ...] = (
        (DEVICE_FILE, _parse_device),
        (RECOVERY_FILE, _parse_recovery),
    )
    found = []
    for name, parse in parsers:
        raw = _read(directory / name, key)
        if raw is not None:
            parse(directory / name, raw)
            found.append((name, raw))
    return found


def put_back(home: Path, files: Mapping[str, bytes], random: Random) -> None:
    """Write the key files of a backup into a home that has none, the device's last. Raises ConfigError when one is
    damaged, or another is there."""
    directory = privatefiles.directory(home / KEYS_DIRECTORY)
    if DEVICE_FILE not in files:
        raise _damaged(directory / DEVICE_FILE)
    _parse_device(directory / DEVICE_FILE, files[DEVICE_FILE])
    if RECOVERY_FILE in files:
        _parse_recovery(directory / RECOVERY_FILE, files[RECOVERY_FILE])
    for name in (RECOVERY_FILE, DEVICE_FILE):
        if name in files and privatefiles.write_new(directory / name, files[name], random) != files[name]:
            raise ConfigError(f"there is another key in {directory / name}", id="SY-KEY-07")


def _read(path: Path, key: HomeKey | None) -> bytes | None:
    raw = privatefiles.read(path)
    return None if raw is None else _opened(path, raw, key)


def _opened(path: Path, raw: bytes, key: HomeKey | None) -> bytes:
    if not is_sealed(raw):
        return raw
    if key is None:
        raise _locked(path)
    try:
        return key.open(path.name, raw)
    except ValueError:
        raise _damaged(path) from None


def _parse_device(path: Path, raw: bytes) -> DeviceKeys:
    secret, sealing = bytes_of(KEY_BYTES), bytes_of(SEAL_SEED_BYTES)
    try:
        value = decode_untrusted(raw, max_bytes=_MAX_FILE_BYTES)
        checks = {1: uint(_FORMAT, minimum=_FORMAT), 2: secret, 3: sealing, 4: secret, 5: bytes_of(32)}
        _, sign_seed, seal_seed, tls_seed, id = fields_untrusted(value, checks)
    except CodecError:
        raise _damaged(path) from None
    keys = DeviceKeys(sign_seed, seal_seed, tls_seed)
    if keys.id != id:
        raise _damaged(path)
    return keys


def _encode_recovery(key: RecoveryKey) -> bytes:
    return encode({1: _FORMAT, 2: key.seed, 3: key.public.id})


def _parse_recovery(path: Path, raw: bytes) -> RecoveryKey:
    try:
        value = decode_untrusted(raw, max_bytes=_MAX_FILE_BYTES)
        checks = {1: uint(_FORMAT, minimum=_FORMAT), 2: bytes_of(SEED_BYTES), 3: bytes_of(32)}
        _, seed, id = fields_untrusted(value, checks)
    except CodecError:
        raise _damaged(path) from None
    key = RecoveryKey(seed)
    if key.public.id != id:
        raise _damaged(path)
    return key


def _damaged(path: Path) -> ConfigError:
    return ConfigError(
        f"the key file {path} is damaged",
        id="SY-KEY-01",
        why="its content is not what was written",
        fix="put it back from a backup; or move it away to become a new device, which must be admitted again",
    )


def _locked(path: Path) -> ConfigError:
    if path.with_name(LOCK_FILE).exists():
        return ConfigError("the keys of this device are locked", id="SY-KEY-10")
    return ConfigError(
        f"{path} is sealed, and the lock that opens it is gone",
        id="SY-KEY-01",
        why=f"there is no file {path.with_name(LOCK_FILE)}",
        fix="put it back from a copy of the home; or syncd key restore a backup into another home",
    )
