"""Blocking. The private keys of this computer, on its disk.

A key file is mode 0600 from its first byte, in a directory of mode 0700; it is complete or absent (written aside,
synced, then linked to its name), and never overwritten. A file that is damaged, or that others can read, is an error
that a person has to settle: it never leads to a silent new identity.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

from ca import device, recovery
from ca.codec import bytes_of, decode_untrusted, encode, fields_untrusted, uint
from ca.device import KEY_BYTES, SEAL_SEED_BYTES, DeviceKeys
from ca.errors import CodecError, ConfigError
from ca.recovery import SEED_BYTES, RecoveryKey

KEYS_DIRECTORY: Final = "keys"
DEVICE_FILE: Final = "device.key"
RECOVERY_FILE: Final = "recovery.key"
_MAX_FILE_BYTES: Final = 4096
_FORMAT: Final = 1

Random = Callable[[int], bytes]


def load_or_create(home: Path, random: Random) -> DeviceKeys:
    """This computer's identity, made at the first call. Raises ConfigError when it cannot be read or trusted."""
    path = _directory(home) / DEVICE_FILE
    raw = _read(path)
    if raw is None:
        keys = device.generate(random)
        content = encode({1: _FORMAT, 2: keys.sign_seed, 3: keys.seal_seed, 4: keys.tls_seed, 5: bytes(keys.id)})
        raw = _write_new(path, content, random)
    return _parse_device(path, raw)


def load_or_create_recovery(home: Path, random: Random) -> RecoveryKey:
    """The recovery key for all folders made on this computer, made at the first call. Raises ConfigError."""
    path = _directory(home) / RECOVERY_FILE
    raw = _read(path)
    if raw is None:
        raw = _write_new(path, _encode_recovery(recovery.generate(random)), random)
    return _parse_recovery(path, raw)


def load_recovery(home: Path) -> RecoveryKey | None:
    """The recovery key of this computer, if it ever made a folder and the key was not moved elsewhere since."""
    path = home / KEYS_DIRECTORY / RECOVERY_FILE
    raw = _read(path)
    return None if raw is None else _parse_recovery(path, raw)


def read_all(home: Path) -> list[tuple[str, bytes]]:
    """The key files of this computer as they are, by name, for a backup. Raises ConfigError when one is damaged."""
    directory = home / KEYS_DIRECTORY
    parsers: tuple[tuple[str, Callable[[Path, bytes], object]], ...] = (
        (DEVICE_FILE, _parse_device),
        (RECOVERY_FILE, _parse_recovery),
    )
    found = []
    for name, parse in parsers:
        raw = _read(directory / name)
        if raw is not None:
            parse(directory / name, raw)
            found.append((name, raw))
    return found


def put_back(home: Path, files: Mapping[str, bytes], random: Random) -> None:
    """Write the key files of a backup into a home that has none, the device's last. Raises ConfigError when one is
    damaged, or another is there."""
    directory = _directory(home)
    if DEVICE_FILE not in files:
        raise _damaged(directory / DEVICE_FILE)
    _parse_device(directory / DEVICE_FILE, files[DEVICE_FILE])
    if RECOVERY_FILE in files:
        _parse_recovery(directory / RECOVERY_FILE, files[RECOVERY_FILE])
    for name in (RECOVERY_FILE, DEVICE_FILE):
        if name in files and _write_new(directory / name, files[name], random) != files[name]:
            raise ConfigError(f"there is another key in {directory / name}", id="SY-KEY-07")


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


# --- the disk --------------------------------------------------------------------------------------------------------


def _directory(home: Path) -> Path:
    path = home / KEYS_DIRECTORY
    try:
        home.mkdir(mode=0o700, parents=True, exist_ok=True)
        path.mkdir(mode=0o700, exist_ok=True)
        _check_private(path, path.lstat(), stat.S_ISDIR, "directory")
    except OSError as error:
        raise _unreachable(path, error) from error
    return path


def _read(path: Path) -> bytes | None:
    """The content of a file that only its owner can read; None when there is none."""
    try:
        # O_NONBLOCK: a fifo in its place must not hang the start.
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise _unreachable(path, error) from error
    try:
        _check_private(path, os.fstat(descriptor), stat.S_ISREG, "file")
        return os.read(descriptor, _MAX_FILE_BYTES + 1)
    finally:
        os.close(descriptor)


def _check_private(path: Path, found: os.stat_result, is_kind: Callable[[int], bool], kind: str) -> None:
    if not is_kind(found.st_mode):
        raise ConfigError(f"{path} is not a {kind}", id="SY-KEY-03", fix="move it away")
    if found.st_uid != os.geteuid():
        raise ConfigError(
            f"{path} belongs to somebody else", id="SY-KEY-02", fix="run this program as the user that it belongs to"
        )
    if found.st_mode & 0o077:
        wanted = "700" if kind == "directory" else "600"
        raise ConfigError(
            f"{path} can be read by others",
            id="SY-KEY-02",
            why=f"its mode is {stat.S_IMODE(found.st_mode):o}",
            fix=f"chmod {wanted} {path}",
        )


def _write_new(path: Path, content: bytes, random: Random) -> bytes:
    """Write a file that is not there yet; what stands in it afterwards, which is another's if that one was faster.

    Order: content, its sync, the name, the sync of the directory. A crash leaves the whole file or only a stray copy.
    """
    aside = path.with_name(f".{path.name}.{random(8).hex()}")
    try:
        descriptor = os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        try:
            with open(descriptor, "wb", closefd=True) as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            try:
                os.link(aside, path)
            except FileExistsError:
                return _read(path) or b""
        finally:
            os.unlink(aside)
        _sync_directory(path.parent)
    except OSError as error:
        raise _unreachable(path, error) from error
    return content


def _sync_directory(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _unreachable(path: Path, error: OSError) -> ConfigError:
    return ConfigError(
        f"cannot use the key file {path}: {error.strerror}", id="SY-KEY-03", fix="check who may read and write there"
    )
