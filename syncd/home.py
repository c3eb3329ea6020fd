"""Blocking. The home: the directory that holds everything of one installation, and its lock: one daemon per home.

Both sides of the control socket need this and nothing heavier, so it imports only the standard library. The lock is an
`flock`, which the kernel drops with the process however it ends; the pid in the file is only for the message. The file
itself stays, because removing it would let two daemons hold locks on two files of the same name.
"""

from __future__ import annotations

import fcntl
import os
import stat
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from syncd.errors import ConfigError, StoreBusy

SOCKET_NAME = "control.sock"
LOCK_NAME = "daemon.lock"
LOG_NAME = "daemon.log"
CONFIG_NAME = "config.toml"

# `sun_path` holds 108 bytes on Linux and 104 on macOS, the terminating zero included.
LONGEST_ADDRESS_BYTES = 100


def resolve_home(option: str | None, environ: Mapping[str, str]) -> Path:
    """Where the home is: `--home`, else `SYNCD_HOME`, else the place the platform has for such things. Absolute."""
    chosen = option or environ.get("SYNCD_HOME")
    if chosen:
        return Path(os.path.abspath(os.path.expanduser(chosen)))
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Application Support" / "syncd"
    base = environ.get("XDG_DATA_HOME")
    return Path(base) / "syncd" if base and os.path.isabs(base) else Path.home() / ".local" / "share" / "syncd"


def prepare_home(home: Path) -> None:
    """Make the home if it is missing, and keep everybody else out of it.

    Raises: ConfigError SY-HOME-04 if it belongs to another user, SY-HOME-06 if it cannot be made or is no directory.
    """
    try:
        home.mkdir(mode=0o700, parents=True, exist_ok=True)
        found = home.stat()
        if found.st_uid != os.geteuid():
            raise ConfigError(f"{home} belongs to user {found.st_uid}", id="SY-HOME-04")
        if stat.S_IMODE(found.st_mode) & 0o077:
            home.chmod(0o700)
    except OSError as error:
        raise _unusable(home, error) from error


def socket_path(home: Path) -> Path:
    return home / SOCKET_NAME


@contextmanager
def short_address(path: Path) -> Iterator[str]:
    """A name of a Unix socket that is short enough for the kernel; valid inside the `with`.

    A long path is named through a descriptor of its directory.
    Raises: OSError if that directory cannot be opened; ConfigError SY-HOME-06 where there is no /proc.
    """
    if len(os.fsencode(path)) <= LONGEST_ADDRESS_BYTES:
        yield str(path)
        return
    if not os.path.isdir("/proc/self/fd"):
        raise ConfigError(
            "the path of the control socket is too long", id="SY-HOME-06", fix="give a shorter one with --socket"
        )
    directory = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{directory}/{path.name}"
    finally:
        os.close(directory)


@contextmanager
def lock_home(home: Path) -> Iterator[int]:
    """Hold the home for this process; yields our pid. Raises StoreBusy SY-HOME-01, with the pid of the holder."""
    descriptor = _open_lock(home)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise _busy(home, _read_pid(descriptor)) from None
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
        try:
            yield os.getpid()
        finally:
            os.ftruncate(descriptor, 0)
    finally:
        os.close(descriptor)


def is_locked(home: Path) -> bool:
    """Whether a daemon holds this home right now."""
    try:
        descriptor = os.open(home / LOCK_NAME, os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False


def _open_lock(home: Path) -> int:
    try:
        return os.open(home / LOCK_NAME, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise _unusable(home / LOCK_NAME, error) from error


def _unusable(path: Path, error: OSError) -> ConfigError:
    return ConfigError(f"{path} cannot be used", id="SY-HOME-06", why=error.strerror or str(error))


def _read_pid(descriptor: int) -> int | None:
    text = os.pread(descriptor, 32, 0).strip()
    return int(text) if text.isdigit() else None


def _busy(home: Path, pid: int | None) -> StoreBusy:
    holder = f"syncd with pid {pid}" if pid else "another syncd"
    return StoreBusy(f"{holder} uses the home {home}", id="SY-HOME-01")
